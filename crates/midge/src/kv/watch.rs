//! Watching keys: what is there, and what comes.

use std::collections::VecDeque;
use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use midge_jetstream::kv::{
    Entry, Include, InitialEnd, WatchFilterError, WatchMachine, watch_filters,
};
use midge_jetstream::{ConsumerInfo, Notice, OrderedEnd, read_reply};
use midge_proto::Instant;

use super::{Boxed, KeyValue};
use crate::alarm::Alarm;
use crate::jetstream::stop::{Control, Wish};
use crate::jetstream::{Ordered, OrderedError, Stopper};

/// For how long nothing comes of what waited, until it is asked whether it has gone.
const QUIET: Duration = Duration::from_secs(1);

/// How often in a row a consumer says that something waits which it does not send, until it is given
/// up: one of the last revisions of keys may stand still for ever when its stream is purged (seen with
/// nats-server 2.15.1).
const STUCK: u32 = 3;

type OnNotice = Box<dyn FnMut(Notice) + Send>;

/// Why a watch could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The keys cannot be watched, or not together. Nothing was sent.
    #[error(transparent)]
    Filters(#[from] WatchFilterError),
    /// The consumer was not made.
    #[error(transparent)]
    Consumer(#[from] OrderedError),
}

/// What a watch gives.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchItem {
    /// A revision.
    Entry(Entry),
    /// All that was there when the watch began has been given; what follows is new. It comes once,
    /// also when nothing was there.
    ///
    /// Of a bucket with replicas, that is what the server had which gives the revisions: what was
    /// written a moment before may follow instead.
    InitialEnd,
}

impl WatchItem {
    /// The revision, if it is one.
    #[must_use]
    pub fn entry(self) -> Option<Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::InitialEnd => None,
        }
    }
}

impl KeyValue {
    /// Watches a key, or all that match one with wildcards: `*` for one part, `>` for the rest.
    ///
    /// ```no_run
    /// use midge::kv::WatchItem;
    ///
    /// # async fn example(kv: &midge::kv::KeyValue) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut watch = kv.watch("orders.*.state").ignore_deletes().await?;
    /// while let Some(item) = watch.next().await {
    ///     match item? {
    ///         WatchItem::Entry(entry) => println!("{} {:?}", entry.key(), entry.value()),
    ///         WatchItem::InitialEnd => println!("that is what there was"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, keys: impl Into<String>) -> WatchBuilder {
        self.watch_many([keys])
    }

    /// Watches every key.
    pub fn watch_all(&self) -> WatchBuilder {
        self.watch(">")
    }

    /// Watches keys that match any of several filters. Needs nats-server 2.10.
    pub fn watch_many(&self, filters: impl IntoIterator<Item = impl Into<String>>) -> WatchBuilder {
        WatchBuilder {
            kv: self.clone(),
            filters: watch_filters(filters),
            include: Include::Latest,
            ignore_deletes: false,
            meta_only: false,
            on_notice: None,
        }
    }
}

/// A watch that is about to begin. Made by [`KeyValue::watch`]; `.await` begins it, within the time
/// that the `JetStream` gives a call.
#[must_use = "nothing is watched until `.await`"]
pub struct WatchBuilder {
    kv: KeyValue,
    filters: Result<Vec<String>, WatchFilterError>,
    include: Include,
    ignore_deletes: bool,
    meta_only: bool,
    on_notice: Option<OnNotice>,
}

impl WatchBuilder {
    /// First every revision that is kept, instead of the last one of each key.
    pub fn include_history(mut self) -> Self {
        self.include = Include::History;
        self
    }

    /// Nothing of what is there: the first item is [`WatchItem::InitialEnd`].
    pub fn updates_only(mut self) -> Self {
        self.include = Include::Updates;
        self
    }

    /// First every revision that is kept, from this one on: to go on behind revision `n`, give
    /// `n + 1`. One that the bucket has not reached yet is waited for: until then
    /// [`WatchItem::InitialEnd`] comes, and nothing else.
    pub fn from_revision(mut self, revision: u64) -> Self {
        self.include = Include::From(revision);
        self
    }

    /// No revisions that delete: neither deletes, nor purges, nor markers that the server left.
    pub fn ignore_deletes(mut self) -> Self {
        self.ignore_deletes = true;
        self
    }

    /// No values; [`Entry::size`] tells how large they are.
    pub fn meta_only(mut self) -> Self {
        self.meta_only = true;
        self
    }

    /// Calls `function` with what was noticed, while the watch is polled.
    pub fn on_notice(mut self, function: impl FnMut(Notice) + Send + 'static) -> Self {
        self.on_notice = Some(Box::new(function));
        self
    }

    /// Whether values are left out.
    pub(super) fn is_meta_only(&self) -> bool {
        self.meta_only
    }

    async fn begin(self) -> Result<Watch, WatchError> {
        let Self { kv, filters, include, ignore_deletes, meta_only, on_notice } = self;
        let bucket = &kv.bucket;
        let mut builder = kv.js().ordered(bucket.stream.name()).deliver(include.deliver_policy());
        for filter in filters? {
            builder = builder.filter(bucket.subjects.stored(&filter));
        }
        if meta_only {
            builder = builder.headers_only();
        }
        if let Some(function) = on_notice {
            builder = builder.on_notice(function);
        }
        let ordered = builder.by_subject_again().await?;
        let machine = WatchMachine::new(include, ignore_deletes);
        let mut queued = VecDeque::new();
        if machine.has_all() {
            queued.push_back(WatchItem::InitialEnd);
        }
        let alarm = Alarm::new(kv.js().client().handle().shared.clone());
        Ok(Watch {
            kv,
            ordered,
            machine,
            queued,
            serial: None,
            alarm,
            quiet: None,
            checking: None,
            stuck: (0, 0),
            control: None,
            seen: Wish::None,
        })
    }
}

impl IntoFuture for WatchBuilder {
    type Output = Result<Watch, WatchError>;
    type IntoFuture = Boxed<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.begin())
    }
}

impl fmt::Debug for WatchBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchBuilder")
            .field("kv", &self.kv)
            .field("filters", &self.filters)
            .finish_non_exhaustive()
    }
}

/// Revisions of keys, in their order, whatever happens to connections, servers and consumers.
///
/// Behind [`WatchItem::InitialEnd`] none that the bucket keeps is left out: where its consumer is
/// lost, the watch goes on behind the last revision that it gave. Before, a key that was written
/// again meanwhile may be given with its last revision alone. Where the bucket was deleted and made
/// anew, or has lost what it held, as one in memory may, the watch goes on with its first revision,
/// and tells of a [`Notice::StreamReplaced`]: only then a revision can be less than one before.
///
/// It ends when it is stopped, and when the client is drained; with a last item that is an error, when
/// the connection closes, and when the bucket does not exist any more. It progresses while it is
/// polled, and a drain of the client waits until it has been read to its end, or dropped. Dropping it
/// deletes its consumer.
pub struct Watch {
    kv: KeyValue,
    ordered: Ordered,
    machine: WatchMachine,
    queued: VecDeque<WatchItem>,
    /// The consumer of which the machine has heard.
    serial: Option<u64>,
    alarm: Alarm,
    /// When to ask what has become of that which waited.
    quiet: Option<Instant>,
    checking: Option<Boxed<'static, Option<ConsumerInfo>>>,
    /// The last delivery behind which nothing came of what waits, and how often that was seen.
    stuck: (u64, u32),
    control: Option<Arc<Control>>,
    seen: Wish,
}

impl Watch {
    /// The next item; `None` after the last one. Dropping the future loses none.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<WatchItem, OrderedEnd>>> + Send {
        poll_fn(|context| self.poll_item(context))
    }

    /// Ends it, and deletes its consumer.
    pub fn stop(&mut self) {
        self.queued.clear();
        self.checking = None;
        self.ordered.stop();
        if let Some(control) = &self.control {
            control.ended();
        }
    }

    /// Stops it from elsewhere, and waits for its end. A drained one gives what has come, and ends.
    pub fn stopper(&mut self) -> Stopper {
        let control = self.control.get_or_insert_default().clone();
        if self.ordered.end().is_some() {
            control.ended();
        }
        Stopper::new(control)
    }

    /// Whether all that was there has been given, or is about to be.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.machine.has_all()
    }

    /// The revision that was given last, or the one before the first; `None` while that is not
    /// known.
    #[must_use]
    pub fn last_revision(&self) -> Option<u64> {
        self.ordered.last_sequence()
    }

    /// When the server last said that it is there, other than by a revision.
    pub(super) fn heard(&self) -> Instant {
        self.ordered.heard()
    }

    pub(super) fn poll_item(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<WatchItem, OrderedEnd>>> {
        loop {
            let wish = self.control.as_ref().map_or(Wish::None, |control| control.wish());
            if wish > self.seen {
                self.seen = wish;
                if wish == Wish::Stop {
                    self.stop();
                }
            }
            if let Some(item) = self.queued.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            let polled = self.ordered.poll_numbered(context);
            self.look_at_consumer();
            match polled {
                Poll::Ready(Some(Ok((message, numbers)))) => {
                    let bucket = &self.kv.bucket;
                    let (name, subjects) = (&bucket.name, &bucket.subjects);
                    // What is under another subject is no revision of a key.
                    if let Ok(entry) = Entry::numbered(name, subjects, message, numbers)
                        && let Some(entry) = self.receive(entry)
                    {
                        return Poll::Ready(Some(Ok(WatchItem::Entry(entry))));
                    }
                }
                Poll::Ready(Some(Err(end))) => return Poll::Ready(Some(Err(end))),
                Poll::Ready(None) => {
                    if let Some(control) = &self.control {
                        control.ended();
                    }
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    if !self.queued.is_empty() || (!self.has_all() && self.poll_quiet(context)) {
                        continue;
                    }
                    if self.seen == Wish::Drain {
                        self.stop();
                        continue;
                    }
                    match &self.control {
                        Some(control) if !control.wait(self.seen, context) => {}
                        _ => return Poll::Pending,
                    }
                }
            }
        }
    }

    /// What is to be given now, with nothing queued before it.
    fn receive(&mut self, entry: Entry) -> Option<Entry> {
        let step = self.machine.revision(entry.revision(), entry.delta(), entry.operation());
        self.quiet = None;
        if step.initial_end == InitialEnd::Not && self.queued.is_empty() {
            return step.deliver.then_some(entry);
        }
        if step.initial_end == InitialEnd::Before {
            self.initial_end();
        }
        if step.deliver {
            self.queued.push_back(WatchItem::Entry(entry));
        }
        if step.initial_end == InitialEnd::Behind {
            self.initial_end();
        }
        None
    }

    fn initial_end(&mut self) {
        self.ordered.by_sequence_from_now_on();
        self.queued.push_back(WatchItem::InitialEnd);
        self.checking = None;
        self.alarm.stop();
    }

    /// Hears of a consumer that was made.
    fn look_at_consumer(&mut self) {
        if self.has_all() {
            return;
        }
        let Some(creation) = self.ordered.creation() else { return };
        if self.serial != Some(creation.serial) {
            self.serial = Some(creation.serial);
            self.quiet = None;
            self.checking = None;
            if self.machine.created(creation.pending, creation.last) {
                self.initial_end();
            }
        }
    }

    /// Finds out whether what waited has gone, as by its age: nobody tells. True when there is
    /// something to do.
    fn poll_quiet(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(checking) = &mut self.checking {
            let Poll::Ready(info) = checking.as_mut().poll(context) else { return false };
            self.checking = None;
            let came = self.ordered.consumer_sequence();
            let there = self.ordered.creation().is_some();
            match info.filter(|info| there && info.delivered.consumer == came) {
                Some(info) if info.num_pending > 0 && info.num_waiting > 0 => {
                    self.stands_still(came);
                }
                Some(info) if info.num_pending == 0 && self.machine.nothing_waits() => {
                    self.initial_end();
                }
                _ => {}
            }
            return true;
        }
        let now = self.alarm.now();
        let at = *self.quiet.get_or_insert(now + QUIET);
        if self.alarm.poll(at, context).is_pending() || self.alarm.now() < at {
            return false;
        }
        self.quiet = None;
        if self.ordered.creation().is_none() {
            return true;
        }
        let js = self.kv.js();
        let request = js.client().request(self.ordered.info_subject(), "").timeout(js.timeout());
        self.checking =
            Some(Box::pin(async move { read_reply(request.await.ok()?.payload()).ok() }));
        true
    }

    /// Something waits behind this delivery, is asked for, and does not come.
    fn stands_still(&mut self, delivery: u64) {
        let (before, seen) = self.stuck;
        self.stuck = (delivery, if before == delivery { seen + 1 } else { 1 });
        if self.stuck.1 == STUCK {
            self.stuck = (0, 0);
            self.ordered.give_up_consumer();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(control) = &self.control {
            control.ended();
        }
    }
}

impl Stream for Watch {
    type Item = Result<WatchItem, OrderedEnd>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(context)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("kv", &self.kv)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}
