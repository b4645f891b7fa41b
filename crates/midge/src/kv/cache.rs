//! A copy of a bucket in memory, which is kept current.

mod keeper;

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use midge_jetstream::kv::{CacheMachine, Entry, WatchFilterError, watch_filters};
use midge_jetstream::{OrderedEnd, Time};
use midge_proto::Instant;

use self::keeper::Keeper;
use super::buckets::OpenError;
use super::watch::WatchError;
use super::{Boxed, KeyValue};
use crate::State;
use crate::alarm::Alarm;
use crate::background::Background;
use crate::shared::{Shared, lock};
use crate::waiters::{WaiterKey, Waiters, Wakes};

/// Why no copy of a bucket could be begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The keys cannot be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The bucket did not say what it is.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why what was waited for is not in the copy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CacheWaitError {
    /// It did not come in time. It may still come.
    #[error(
        "the copy of the bucket was at revision {reached} in the end, complete: {complete}: wait longer, or see its status"
    )]
    TimedOut {
        /// The newest revision that came.
        reached: u64,
        /// Whether all that was there had come.
        complete: bool,
    },
    /// The copy is not kept any more.
    #[error("the copy of the bucket is not kept any more: {0}")]
    Ended(OrderedEnd),
}

/// How good a [`Cache`] is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStatus {
    /// All has come that was there when it began.
    pub complete: bool,
    /// The newest revision that has come; 0 before the first.
    pub revision: u64,
    /// How many revisions were to follow, when that one was sent.
    pub behind: u64,
    /// There is a connection.
    pub connected: bool,
    /// How long ago the server last gave a revision, or said that there is none: every 2 s if all is
    /// well. What was written since may be missing.
    pub heard: Duration,
    /// It is being compared with the bucket, since its consumer was lost: keys whose deletion has left
    /// no marker may still be in it.
    pub checking: bool,
    /// Why it is not kept any more.
    pub end: Option<OrderedEnd>,
}

impl CacheStatus {
    /// Whether it lacks nothing that was written longer ago than this, as far as can be known here.
    #[must_use]
    pub fn is_current(&self, within: Duration) -> bool {
        self.complete
            && self.behind == 0
            && self.connected
            && self.heard <= within
            && !self.checking
            && self.end.is_none()
    }
}

impl KeyValue {
    /// A copy of the whole bucket in memory, which is kept current. `.await` gives
    /// `Result<Cache, CacheError>`, when it has begun.
    ///
    /// ```no_run
    /// # async fn example(kv: &midge::kv::KeyValue) -> Result<(), Box<dyn std::error::Error>> {
    /// let settings = kv.cache().await?;
    /// settings.completed().await?;
    /// if let Some(entry) = settings.get("timeout") {
    ///     println!("{:?}", entry.value());
    /// }
    /// let revision = kv.put("timeout", "5").await?;
    /// settings.wait_for(revision).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cache(&self) -> CacheBuilder {
        self.cache_of([">"])
    }

    /// A copy of the keys that match any of the filters, which may have wildcards. Several need
    /// nats-server 2.10.
    pub fn cache_of(&self, filters: impl IntoIterator<Item = impl Into<String>>) -> CacheBuilder {
        CacheBuilder { kv: self.clone(), filters: watch_filters(filters) }
    }
}

/// A copy that is about to begin. Made by [`KeyValue::cache`].
#[derive(Debug)]
#[must_use = "nothing is copied until `.await`"]
pub struct CacheBuilder {
    kv: KeyValue,
    filters: Result<Vec<String>, WatchFilterError>,
}

impl CacheBuilder {
    async fn begin(self) -> Result<Cache, CacheError> {
        let Self { kv, filters } = self;
        let filters = filters.map_err(WatchError::from)?;
        let shared = kv.js().client().handle().shared.clone();
        let info = kv.bucket.stream.info().await;
        let info = info.map_err(|error| OpenError::of(kv.name(), error))?;
        // A server that does not tell the time dates revisions by a clock that is not known.
        let clock = info.timestamp.map(|time| ServerClock { time, at: shared.clock.now() });
        let max_age = info.config.max_age.filter(|_| clock.is_some());
        let local = Arc::new(Local {
            shared: shared.clone(),
            clock: clock.filter(|_| max_age.is_some()),
            content: RwLock::new(Content {
                machine: CacheMachine::new(max_age),
                heard: shared.clock.now(),
                checking: false,
                end: None,
            }),
            waiters: Mutex::default(),
        });
        let keeper = Keeper::begin(kv.clone(), filters, local.clone()).await?;
        let keeping = Background::begin(&shared, keeper.keep());
        Ok(Cache { kept: Arc::new(Kept { kv, local, keeping }) })
    }
}

impl IntoFuture for CacheBuilder {
    type Output = Result<Cache, CacheError>;
    type IntoFuture = Boxed<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.begin())
    }
}

/// A copy of a bucket, or of some of its keys, in memory. A clone is cheap, and is the same copy.
///
/// The driver of the connection keeps it current, whoever reads it or not; it needs no task and no
/// thread. It is a watch that outlives connections, servers and consumers. Besides the keys it holds
/// what a watch asks for ahead, 500 revisions at most. Each key is in memory of its own.
///
/// Where its consumer was lost, it is compared with the bucket, by a list of the keys without
/// values. So it loses what was deleted meanwhile without a marker that is left. While its
/// consumer lives, what goes without one is noticed if it is too old for the TTL that the bucket
/// had when the copy began, and otherwise with the next comparison.
///
/// It ends when the last clone is dropped or one is [stopped](Self::stop), when the connection is
/// closed, and when the bucket does not exist any more. What it holds then stays readable. Until
/// then it keeps the connection alive.
#[derive(Clone)]
pub struct Cache {
    kept: Arc<Kept>,
}

struct Kept {
    kv: KeyValue,
    local: Arc<Local>,
    keeping: Arc<Background>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeping.stop();
    }
}

impl Cache {
    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &KeyValue {
        &self.kept.kv
    }

    /// The last revision of a key, as far as it has come; `None` when it has no value, or is none of
    /// the copied keys.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Entry> {
        let local = &self.kept.local;
        let content = local.read();
        content.machine.get(key, local.server_time()).cloned()
    }

    /// The last revision of each key that has a value, in the order of the keys, at one moment.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let local = &self.kept.local;
        let content = local.read();
        content.machine.entries(local.server_time()).cloned().collect()
    }

    /// Every key that has a value, in their order, at one moment.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let local = &self.kept.local;
        let content = local.read();
        let entries = content.machine.entries(local.server_time());
        entries.map(|entry| entry.key().to_owned()).collect()
    }

    /// How good it is at the moment.
    #[must_use]
    pub fn status(&self) -> CacheStatus {
        let local = &self.kept.local;
        let connected =
            matches!(lock(&local.shared.board).state(), State::Connected { .. } | State::Draining);
        let content = local.read();
        CacheStatus {
            complete: content.machine.is_complete(),
            revision: content.machine.revision(),
            behind: content.machine.behind(),
            connected,
            heard: local.shared.clock.now().saturating_since(content.heard),
            checking: content.checking,
            end: content.end.clone(),
        }
    }

    /// Waits until all has come that was there when it began, as
    /// [`WatchItem::InitialEnd`](super::WatchItem::InitialEnd) has it. `.await` gives
    /// `Result<(), CacheWaitError>`.
    pub fn completed(&self) -> CacheWait {
        self.wait_for(0)
    }

    /// Waits until all that was there and this revision, or a later one, have come: until what the
    /// writer of the revision knew can be read here. `.await` gives `Result<(), CacheWaitError>`.
    ///
    /// It is to be the revision of one of the copied keys. One that is gone before it came, without
    /// a marker and with nothing after it, is waited for until the timeout.
    pub fn wait_for(&self, revision: u64) -> CacheWait {
        CacheWait { cache: self.clone(), revision, timeout: self.kept.kv.js().timeout() }
    }

    /// Ends it, and deletes its consumer. What it holds stays readable, and grows old.
    pub fn stop(&self) {
        self.kept.local.end(OrderedEnd::Stopped);
        self.kept.keeping.stop();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("bucket", self.kept.kv.name())
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// A wait for what a [`Cache`] is to hold. Made by [`Cache::completed`] and [`Cache::wait_for`].
#[derive(Debug)]
#[must_use = "nothing is waited for until `.await`"]
pub struct CacheWait {
    cache: Cache,
    revision: u64,
    timeout: Duration,
}

impl CacheWait {
    /// How long to wait at most. Default: the timeout of the
    /// [`JetStream`](crate::jetstream::JetStream).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    async fn wait(self) -> Result<(), CacheWaitError> {
        let local = self.cache.kept.local.clone();
        let mut alarm = Alarm::new(local.shared.clone());
        let deadline = alarm.now() + self.timeout;
        let mut waiting = Waiting { local: &local, key: None };
        poll_fn(|context| {
            // First the place, then the look: nothing comes between unseen.
            waiting.wait(context);
            let (reached, complete) = {
                let content = local.read();
                let (reached, complete) =
                    (content.machine.revision(), content.machine.is_complete());
                if complete && reached >= self.revision {
                    return Poll::Ready(Ok(()));
                }
                if let Some(end) = &content.end {
                    return Poll::Ready(Err(CacheWaitError::Ended(end.clone())));
                }
                (reached, complete)
            };
            match alarm.poll(deadline, context) {
                Poll::Pending => Poll::Pending,
                Poll::Ready(()) if alarm.now() < deadline => {
                    Poll::Ready(Err(CacheWaitError::Ended(OrderedEnd::Closed)))
                }
                Poll::Ready(()) => Poll::Ready(Err(CacheWaitError::TimedOut { reached, complete })),
            }
        })
        .await
    }
}

impl IntoFuture for CacheWait {
    type Output = Result<(), CacheWaitError>;
    type IntoFuture = Boxed<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.wait())
    }
}

/// What readers and keeper of a copy share.
struct Local {
    shared: Arc<Shared>,
    /// Where keys grow too old.
    clock: Option<ServerClock>,
    content: RwLock<Content>,
    waiters: Mutex<Waiters>,
}

struct Content {
    machine: CacheMachine,
    heard: Instant,
    checking: bool,
    end: Option<OrderedEnd>,
}

/// What the time was at the server, and here.
#[derive(Clone, Copy)]
struct ServerClock {
    time: Time,
    at: Instant,
}

impl Local {
    fn read(&self) -> RwLockReadGuard<'_, Content> {
        self.content.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Content> {
        self.content.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time by the clock that dates revisions; of no meaning where none grows too old.
    fn server_time(&self) -> Time {
        let Some(clock) = self.clock else { return Time::from_unix_nanos(0) };
        let passed = self.shared.clock.now().saturating_since(clock.at);
        let passed = i128::try_from(passed.as_nanos()).unwrap_or(i128::MAX);
        Time::from_unix_nanos(clock.time.unix_nanos().saturating_add(passed))
    }

    /// Changes it, and lets those look who wait.
    fn change<R>(&self, change: impl FnOnce(&mut Content) -> R) -> R {
        let result = change(&mut self.write());
        let mut wakes = Wakes::default();
        lock(&self.waiters).wake_all(&mut wakes);
        wakes.wake();
        result
    }

    fn end(&self, end: OrderedEnd) {
        self.change(|content| {
            content.end.get_or_insert(end);
        });
    }
}

/// A place among those who wait.
struct Waiting<'a> {
    local: &'a Local,
    key: Option<WaiterKey>,
}

impl Waiting<'_> {
    fn wait(&mut self, context: &Context<'_>) {
        let old = lock(&self.local.waiters).wait(&mut self.key, context.waker());
        drop(old);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let old = lock(&self.local.waiters).leave(&mut self.key);
        drop(old);
    }
}
