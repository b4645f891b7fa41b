//! A cache in the memory of each process, whose entries are invalidated through NATS.
//!
//! It is a library as others would write one over Midge: it takes a [`Client`] and leaves it to the
//! application which runtime that client runs on, if any. It spawns no task and no thread, and sets
//! no timer:
//!
//! - what must happen while nobody polls is a [handler](midge::Subscribe::handler), which the driver
//!   of the connection calls;
//! - what waits is a future over plain wakers: `.await` it, or `.wait()` for it with `midge-std`;
//! - code of the caller that waits, such as a query of a database, comes in as a future.
//!
//! An entry is only as good as the connection that would bring its invalidation. So everything is
//! forgotten when the connection is lost, and nothing is kept while there is none. A loss that has
//! not been noticed yet, and a message that a cluster of servers loses between them, are what
//! [`Limits::age`] is for.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use midge::{
    AsSubject, Client, ConfirmError, FlushError, HandlerSubscription, Message, PublishError, State,
    Subject,
};

/// The header that says which cache a message is from.
const FROM: &str = "Cache";

/// How much a [`Cache`] keeps, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most entries. A cache that is full starts anew. Default: 10,000.
    pub entries: usize,
    /// An older entry is loaded again, whether it was invalidated or not. Default: 1 minute.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 10_000, age: Duration::from_secs(60) }
    }
}

/// An invalidation that other caches may not have heard of. Invalidate again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidateError {
    /// It could not be published.
    #[error("other caches do not know of the change: {0}")]
    Publish(PublishError),
    /// The server has not confirmed it.
    #[error("other caches may not know of the change: {0}")]
    Flush(FlushError),
}

/// Values by key, until somebody says that they have changed.
#[derive(Debug)]
pub struct Cache<V> {
    client: Client,
    /// Nobody else has it.
    name: String,
    subject: Subject,
    entries: Arc<Mutex<Entries<V>>>,
    invalidations: HandlerSubscription,
}

impl<V: Clone + Send + 'static> Cache<V> {
    /// A cache that is invalidated by messages on `subject`, each with a key as its payload: those
    /// of other caches, and of whoever else publishes them.
    ///
    /// # Errors
    ///
    /// [`ConfirmError`]: the server does not let the client subscribe, or does not answer.
    pub async fn new(
        client: &Client,
        subject: impl AsSubject,
        limits: Limits,
    ) -> Result<Self, ConfirmError> {
        let entries = Arc::new(Mutex::new(Entries::new(limits)));
        let name = client.new_inbox();
        let (heard, own) = (Arc::clone(&entries), name.clone());
        let forget = move |message: Message| {
            // What this cache has said itself it has done at once.
            let from = message.headers().and_then(|headers| headers.get(FROM));
            if from != Some(&*own) {
                lock(&heard).invalidate(message.payload());
            }
        };
        let invalidations = client.subscribe(subject).handler(forget).await?;
        invalidations.confirmed().await?;
        let subject = invalidations.subject().clone();
        Ok(Self { client: client.clone(), name, subject, entries, invalidations })
    }

    /// The value of `key`, if it is here and nothing speaks against it.
    pub fn get(&self, key: &str) -> Option<V> {
        self.trusted()?.get(key)
    }

    /// The value of `key`, by `load` when it is not here. Callers that miss at the same time each
    /// load for themselves.
    ///
    /// A value that was loaded while something was invalidated, or while the connection was lost,
    /// may be an old one: it is given to the caller and not kept.
    ///
    /// # Errors
    ///
    /// That of `load`.
    pub async fn get_or_load<E>(
        &self,
        key: &str,
        load: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        let before = match self.trusted() {
            Some(entries) => match entries.get(key) {
                Some(value) => return Ok(value),
                None => Some(entries.moment()),
            },
            None => None,
        };
        let value = load.await?;
        if let Some(mut entries) = self.trusted()
            && Some(entries.moment()) == before
        {
            entries.put(key, value.clone());
        }
        Ok(value)
    }

    /// Says that the value of `key` has changed. Call it after the change is made.
    ///
    /// The key is forgotten here at once, and when this returns the server has the message for the
    /// others. An invalidation may be repeated without harm, so one whose fate a lost connection
    /// has left unknown is sent again. A server that denies the subject says so in
    /// [`Event::ServerError`](midge::Event::ServerError) only.
    ///
    /// # Errors
    ///
    /// [`InvalidateError`], after `flush_timeout` of the client at the latest in each of its waits.
    pub async fn invalidate(&self, key: &str) -> Result<(), InvalidateError> {
        lock(&self.entries).invalidate(key.as_bytes());
        let send = async || {
            let sent = self.client.publish(&self.subject, key).header(FROM, &self.name).await;
            sent.map_err(InvalidateError::Publish)
        };
        let mut position = send().await?;
        loop {
            match self.client.flush().await {
                Ok(fates) if fates.confirmed.positions.contains(position) => return Ok(()),
                Ok(_) => position = send().await?,
                // The next flush waits for a connection, and knows more.
                Err(FlushError::Disconnected(_)) => {}
                Err(error) => return Err(InvalidateError::Flush(error)),
            }
        }
    }

    /// The entries, unless an invalidation could get past them now. Those of an earlier connection
    /// are gone: a number of a transition never comes again.
    fn trusted(&self) -> Option<MutexGuard<'_, Entries<V>>> {
        let status = self.client.status();
        let hears = matches!(status.state, State::Connected { .. });
        if !hears || self.invalidations.end().is_some() {
            return None;
        }
        let mut entries = lock(&self.entries);
        if entries.transition != status.transition {
            entries.values.clear();
            entries.transition = status.transition;
        }
        Some(entries)
    }
}

#[derive(Debug)]
struct Entries<V> {
    limits: Limits,
    values: HashMap<String, (V, Instant)>,
    /// The connection, by [`midge::Status::transition`], that `values` were stored under.
    transition: u64,
    /// Invalidations so far, of any key.
    invalidations: u64,
}

impl<V: Clone> Entries<V> {
    fn new(limits: Limits) -> Self {
        Self { limits, values: HashMap::new(), transition: 0, invalidations: 0 }
    }

    fn get(&self, key: &str) -> Option<V> {
        let (value, stored) = self.values.get(key)?;
        (stored.elapsed() < self.limits.age).then(|| value.clone())
    }

    fn put(&mut self, key: &str, value: V) {
        if self.values.len() >= self.limits.entries {
            self.values.clear();
        }
        self.values.insert(key.to_owned(), (value, Instant::now()));
    }

    fn invalidate(&mut self, key: &[u8]) {
        self.invalidations += 1;
        if let Ok(key) = str::from_utf8(key) {
            self.values.remove(key);
        }
    }

    /// Equal at two times when nothing was invalidated between, and nothing missed.
    fn moment(&self) -> (u64, u64) {
        (self.transition, self.invalidations)
    }
}

/// A panic of another thread does not hurt: each step leaves the entries whole.
fn lock<V>(entries: &Mutex<Entries<V>>) -> MutexGuard<'_, Entries<V>> {
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}
