//! What keeps a copy current: a watch, and a comparison whenever its consumer was lost.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use midge_jetstream::{Notice, OrderedEnd};

use super::Local;
use crate::alarm::Alarm;
use crate::jetstream::OrderedError;
use crate::kv::watch::{Watch, WatchError, WatchItem};
use crate::kv::{Boxed, KeyValue};

/// Revisions that are taken under one lock.
const BATCH: usize = 256;
/// How often a leader that does not answer is asked again, in one comparison.
const ATTEMPTS: u32 = 10;
/// The wait before what has failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Keeps a copy current, in the background.
pub(super) struct Keeper {
    kv: KeyValue,
    filters: Vec<String>,
    local: Ending,
    watch: Watch,
    noticed: Arc<Noticed>,
    batch: Vec<WatchItem>,
    check: Option<Boxed<'static, ()>>,
}

/// What was noticed of the watch.
#[derive(Default)]
struct Noticed {
    recreated: AtomicBool,
    replaced: AtomicBool,
}

/// The copy; nobody keeps it current once this is dropped.
struct Ending(Arc<Local>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end(OrderedEnd::Closed);
    }
}

enum Left {
    /// The stream of the bucket is another one.
    Replaced,
    Ended(OrderedEnd),
}

impl Keeper {
    pub(super) async fn begin(
        kv: KeyValue,
        filters: Vec<String>,
        local: Arc<Local>,
    ) -> Result<Self, WatchError> {
        let noticed = Arc::default();
        let watch = watch(&kv, &filters, &noticed).await?;
        let (local, batch) = (Ending(local), Vec::new());
        Ok(Self { kv, filters, local, watch, noticed, batch, check: None })
    }

    /// Keeps it current until it ends.
    pub(super) async fn keep(mut self) {
        loop {
            let left = poll_fn(|context| self.poll(context)).await;
            let end = match left {
                Left::Ended(end) => Some(end),
                Left::Replaced => self.begin_anew().await.err(),
            };
            if let Some(end) = end {
                return self.local.0.end(end);
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Left> {
        loop {
            let item = self.watch.poll_item(context);
            if self.noticed.replaced.swap(false, Ordering::Relaxed) {
                return Poll::Ready(Left::Replaced);
            }
            match item {
                Poll::Ready(Some(Ok(item))) => {
                    self.batch.push(item);
                    if self.batch.len() >= BATCH {
                        self.take();
                    }
                }
                Poll::Ready(end) => {
                    self.take();
                    let end = end.and_then(Result::err).unwrap_or(OrderedEnd::Closed);
                    return Poll::Ready(Left::Ended(end));
                }
                Poll::Pending => break,
            }
        }
        self.take();
        self.compare(context);
        Poll::Pending
    }

    /// Takes what has come into the copy.
    fn take(&mut self) {
        let local = &self.local.0;
        let heard = match self.batch.is_empty() {
            true => self.watch.heard(),
            false => local.shared.clock.now(),
        };
        let now = local.server_time();
        local.change(|content| {
            content.heard = content.heard.max(heard);
            for item in self.batch.drain(..) {
                match item {
                    WatchItem::Entry(entry) => drop(content.machine.apply(entry)),
                    WatchItem::InitialEnd => content.machine.initial_end(),
                }
            }
            content.machine.expire(now);
        });
    }

    /// Begins a comparison where one is due, and goes on with it.
    fn compare(&mut self, context: &mut Context<'_>) {
        if self.local.0.read().machine.is_complete()
            && self.noticed.recreated.swap(false, Ordering::Relaxed)
        {
            self.local.0.change(|content| content.checking = true);
            let check = check(self.kv.clone(), self.filters.clone(), self.local.0.clone());
            self.check = Some(Box::pin(check));
        }
        if let Some(check) = &mut self.check
            && check.as_mut().poll(context).is_ready()
        {
            self.check = None;
        }
    }

    /// Begins with a new watch of another bucket that has the name.
    async fn begin_anew(&mut self) -> Result<(), OrderedEnd> {
        self.check = None;
        self.batch.clear();
        self.local.0.change(|content| {
            content.machine.restart();
            content.checking = false;
        });
        loop {
            match watch(&self.kv, &self.filters, &self.noticed).await {
                Ok(watch) => {
                    self.watch = watch;
                    self.noticed.recreated.store(false, Ordering::Relaxed);
                    return Ok(());
                }
                Err(WatchError::Consumer(OrderedError::Ended(end))) => return Err(end),
                Err(WatchError::Consumer(OrderedError::Refused(error)))
                    if error.err_code == midge_jetstream::ErrorCode::STREAM_NOT_FOUND =>
                {
                    return Err(OrderedEnd::StreamGone(error));
                }
                Err(_) => pause(&self.kv).await,
            }
        }
    }
}

async fn watch(
    kv: &KeyValue,
    filters: &[String],
    noticed: &Arc<Noticed>,
) -> Result<Watch, WatchError> {
    let noticed = noticed.clone();
    let note = move |notice| match notice {
        Notice::Recreated(_) => noticed.recreated.store(true, Ordering::Relaxed),
        Notice::StreamReplaced => noticed.replaced.store(true, Ordering::Relaxed),
        _ => {}
    };
    kv.watch_many(filters).on_notice(note).await
}

/// Compares the copy with the bucket.
async fn check(kv: KeyValue, filters: Vec<String>, local: Arc<Local>) {
    while !list(&kv, &filters, &local).await {
        pause(&kv).await;
    }
    let suspects = local.change(|content| content.machine.end_check());
    let mut attempts = ATTEMPTS;
    for suspect in suspects {
        let last = loop {
            match kv.read_leader(&suspect.key, None).await {
                Ok(last) => break last,
                Err(_) if attempts > 0 => {
                    attempts -= 1;
                    pause(&kv).await;
                }
                // Perhaps it may not be asked: what is not known to be gone stays.
                Err(_) => return local.change(|content| content.checking = false),
            }
        };
        // A later revision comes by the watch.
        if last.is_none() {
            local.change(|content| content.machine.gone(&suspect));
        }
    }
    local.change(|content| content.checking = false);
}

/// Tells the copy of all that the bucket has; false when that did not come to its end.
async fn list(kv: &KeyValue, filters: &[String], local: &Local) -> bool {
    local.change(|content| content.machine.begin_check());
    let Ok(mut watch) = kv.watch_many(filters).meta_only().await else { return false };
    while let Some(Ok(item)) = watch.next().await {
        match item {
            WatchItem::Entry(entry) => local.write().machine.listed(&entry),
            WatchItem::InitialEnd => return true,
        }
    }
    false
}

async fn pause(kv: &KeyValue) {
    let mut alarm = Alarm::new(kv.js().client().handle().shared.clone());
    let at = alarm.now() + PAUSE;
    poll_fn(|context| alarm.poll(at, context)).await;
}
