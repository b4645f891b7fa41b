//! A pull consumer as a reader sees it: `next`, `fetch`, `consume`.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use midge_jetstream::{
    ConsumerInfo, ConsumerName, NameError, PullConfig, PullConfigError, PullEnd, PullGroup,
    PullMachine, StreamName,
};
use midge_proto::Subject;

use super::JetStream;
use super::consume::ConsumeBuilder;
use super::fetch::FetchBuilder;
use super::message::JetMessage;
use super::reader::{Item, Reader, Target};
use crate::Client;
use crate::shared::lock;

/// A pull consumer, by its name. Made by [`JetStream::consumer`], which does not ask for it, and by
/// [`Stream::consumer`](super::Stream::consumer), which does. A clone is the same.
///
/// There are three ways to read it:
///
/// | | |
/// |---|---|
/// | [`next`](Self::next) | one message |
/// | [`fetch`](Self::fetch) | at most so many messages, once |
/// | [`consume`](Self::consume) | messages on and on: the fastest, and what a worker wants |
///
/// Each survives the loss of the connection and of the consumer's leader. They progress while
/// they are polled, and nothing runs in the background.
#[derive(Clone)]
pub struct Consumer {
    inner: Arc<Inner>,
    group: Option<PullGroup>,
}

struct Inner {
    stream: StreamName,
    name: ConsumerName,
    info: Option<ConsumerInfo>,
    target: Arc<Target>,
    idle: Mutex<Idle>,
    /// For the random part of waits.
    seeds: AtomicU64,
}

/// What calls leave to those after them.
#[derive(Default)]
struct Idle {
    /// The readers of `next`, one for each group, which may have asked for a message.
    #[expect(clippy::vec_box, reason = "boxes go from call to call without an allocation")]
    nexts: Vec<Box<Reader>>,
    /// A reader that a `fetch` has left clean.
    fetched: Option<Box<Reader>>,
    /// The pins that readers have got, by group.
    pins: Vec<(String, String)>,
}

impl Idle {
    fn take_next(&mut self, group: Option<&PullGroup>) -> Option<Box<Reader>> {
        let mut groups = self.nexts.iter().map(|reader| reader.machine().config().group.as_ref());
        let at = groups.position(|other| other == group)?;
        Some(self.nexts.swap_remove(at))
    }

    fn pin(&self, group: &PullGroup) -> Option<String> {
        self.pins.iter().find(|(name, _)| *name == group.name).map(|(_, pin)| pin.clone())
    }

    fn keep_pin(&mut self, group: &PullGroup, pin: Option<&str>) {
        self.pins.retain(|(name, _)| *name != group.name);
        self.pins.extend(pin.map(|pin| (group.name.clone(), pin.to_owned())));
    }
}

/// Why messages of a consumer do not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The options contradict each other. Nothing was asked for.
    #[error(transparent)]
    Config(#[from] PullConfigError),
    /// Nothing more comes.
    #[error(transparent)]
    End(PullEnd),
    /// The server calls a request wrong, in these words. To consume goes on: the request is sent
    /// again, more and more seldom, since the consumer may be changed.
    #[error("the server calls the request wrong: {0}")]
    BadRequest(String),
}

impl JetStream {
    /// A pull consumer of a stream, by its name. The server is not asked whether it exists:
    /// [`Stream::consumer`](super::Stream::consumer) asks. Where it does not, [`next`](Consumer::next)
    /// and [`fetch`](Consumer::fetch) fail, and [`consume`](Consumer::consume) waits until it does.
    ///
    /// # Errors
    ///
    /// [`NameError`] when nothing can have such a name.
    pub fn consumer(&self, stream: &str, name: &str) -> Result<Consumer, NameError> {
        Ok(Consumer::new(self, StreamName::new(stream)?, ConsumerName::new(name)?, None))
    }

    pub(crate) fn target(&self, stream: &StreamName, name: &ConsumerName) -> Target {
        let api = self.api_prefix();
        let subject = |call: &str| api.subject(&format!("CONSUMER.{call}.{stream}.{name}"));
        let next = Subject::new(&subject("MSG.NEXT"));
        Target {
            client: self.client().clone(),
            next: next.expect("checked names behind a checked prefix"),
            info: subject("INFO"),
            timeout: self.timeout(),
        }
    }
}

impl Consumer {
    pub(super) fn new(
        js: &JetStream,
        stream: StreamName,
        name: ConsumerName,
        info: Option<ConsumerInfo>,
    ) -> Self {
        let target = Arc::new(js.target(&stream, &name));
        let (seeds, idle) = (AtomicU64::new(seed(js.client())), Mutex::default());
        let inner = Arc::new(Inner { stream, name, info, target, idle, seeds });
        Self { inner, group: None }
    }

    /// The same, as a member of a priority group (ADR-42), which each request names. The pin of the
    /// group is kept across calls, and dropped when the server says that another has it.
    #[must_use]
    pub fn with_group(mut self, group: PullGroup) -> Self {
        self.group = Some(group);
        self
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> &StreamName {
        &self.inner.stream
    }

    /// The consumer.
    #[must_use]
    pub fn name(&self) -> &ConsumerName {
        &self.inner.name
    }

    /// What it was when this handle was made, if the server told that then.
    /// [`Stream::consumer_info`](super::Stream::consumer_info) asks.
    #[must_use]
    pub fn cached_info(&self) -> Option<&ConsumerInfo> {
        self.inner.info.as_ref()
    }

    /// The next message. `.await` gives `Result<Option<JetMessage>, PullError>`; `None` when none
    /// comes in time.
    ///
    /// A drain of the client waits for the work on each message that was given: until it is settled or
    /// dropped, for `drain_timeout` at most.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(js: midge::jetstream::JetStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = js.consumer("ORDERS", "worker")?;
    /// while let Some(order) = worker.next().expires(Duration::from_secs(5)).await? {
    ///     println!("{:?}", order.payload());
    ///     order.ack().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn next(&self) -> NextMessage<'_> {
        NextMessage { consumer: self, expires: Duration::from_secs(30) }
    }

    /// At most so many messages, once.
    pub fn fetch(&self, messages: u64) -> FetchBuilder<'_> {
        FetchBuilder::new(self, PullConfig::fetch(messages))
    }

    /// As many messages as fit in so many bytes of subject, reply, headers and payload, once.
    pub fn fetch_bytes(&self, bytes: u64) -> FetchBuilder<'_> {
        FetchBuilder::new(self, PullConfig::fetch(1).by_bytes(bytes))
    }

    /// Messages on and on. A consumer that does not exist is waited for:
    /// [`abort_when_missing`](ConsumeBuilder::abort_when_missing) ends instead, and
    /// [`on_notice`](ConsumeBuilder::on_notice) tells of it.
    pub fn consume(&self) -> ConsumeBuilder<'_> {
        ConsumeBuilder::new(self)
    }

    // ---- readers -------------------------------------------------------------------------

    pub(crate) fn reader(&self, config: PullConfig, fetch: bool) -> Box<Reader> {
        let machine = self.machine(config, fetch);
        let left = if fetch { lock(&self.inner.idle).fetched.take() } else { None };
        match left {
            Some(mut reader) if reader.is_clean() => {
                reader.restart(machine);
                reader
            }
            _ => Box::new(Reader::new(self.inner.target.clone(), machine)),
        }
    }

    fn machine(&self, mut config: PullConfig, fetch: bool) -> PullMachine {
        config.group.clone_from(&self.group);
        let seed = self.inner.seeds.fetch_add(1, Ordering::Relaxed);
        let mut machine = match fetch {
            true => PullMachine::fetch(config, seed, self.inner.target.client.shared().clock.now()),
            false => PullMachine::consume(config, seed),
        };
        if let Some(group) = &self.group {
            machine.set_pin(lock(&self.inner.idle).pin(group));
        }
        machine
    }

    /// The reader of `next`, which may have asked for a message already.
    fn next_reader(&self, expires: Duration) -> Box<Reader> {
        let now = self.inner.target.client.shared().clock.now();
        let mut idle = lock(&self.inner.idle);
        let reader = idle.take_next(self.group.as_ref());
        let pin = self.group.as_ref().and_then(|group| idle.pin(group));
        drop(idle);
        match reader {
            Some(mut reader) => {
                let machine = reader.machine_mut();
                machine.again(expires, now);
                if self.group.is_some() {
                    machine.set_pin(pin);
                }
                reader
            }
            None => {
                let config = PullConfig { expires, ..PullConfig::fetch(1) };
                Box::new(Reader::new(self.inner.target.clone(), self.machine(config, true)))
            }
        }
    }

    /// Keeps the reader of a `next` with what it has asked for, and its pin.
    fn leave_next(&self, mut reader: Box<Reader>) {
        self.keep_pin(&reader);
        reader.come_back();
        while reader.is_clean() || reader.is_outstanding() {
            let mut idle = lock(&self.inner.idle);
            let Some(mut other) = idle.take_next(self.group.as_ref()) else {
                idle.nexts.push(reader);
                return;
            };
            drop(idle);
            // Of two one is enough, which also reads what the other has asked for.
            if !reader.is_outstanding() {
                std::mem::swap(&mut reader, &mut other);
            }
            if other.is_outstanding() {
                reader.take_over(*other);
            }
        }
    }

    /// Keeps the reader of a `fetch` if nothing is outstanding, and its pin.
    pub(crate) fn leave_fetched(&self, reader: Box<Reader>) {
        self.keep_pin(&reader);
        let left = reader.is_clean().then_some(reader);
        let old = left.and_then(|reader| lock(&self.inner.idle).fetched.replace(reader));
        drop(old);
    }

    pub(crate) fn keep_pin(&self, reader: &Reader) {
        // What another reader has got meanwhile is not forgotten for one that has heard nothing.
        if let Some(group) = self.group.as_ref().filter(|_| reader.machine().has_other_pin()) {
            lock(&self.inner.idle).keep_pin(group, reader.machine().pin());
        }
    }
}

/// For the random part of waits: what differs between clients, and repeats in a simulation.
pub(crate) fn seed(client: &Client) -> u64 {
    let inbox = client.new_inbox();
    inbox.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("stream", &self.inner.stream)
            .field("name", &self.inner.name)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

/// A wait for one message. Made by [`Consumer::next`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is asked for until `.await`"]
pub struct NextMessage<'a> {
    consumer: &'a Consumer,
    expires: Duration,
}

impl NextMessage<'_> {
    /// How long to wait, from the first poll on; when the server does not say that the time is over,
    /// up to 2 s longer, and if the process has stood still meanwhile, up to 2 s from then on.
    /// Default: 30 s.
    pub fn expires(mut self, expires: Duration) -> Self {
        self.expires = expires;
        self
    }
}

impl<'a> IntoFuture for NextMessage<'a> {
    type Output = Result<Option<JetMessage>, PullError>;
    type IntoFuture = NextingMessage<'a>;

    fn into_future(self) -> NextingMessage<'a> {
        NextingMessage { next: self, reader: None }
    }
}

/// The future of a [`NextMessage`].
///
/// Dropped before it is ready, no message is lost: what was asked for comes to the next `next` of
/// this consumer, or of a clone of it, in the same group. If there is none, the server delivers it
/// again after `ack_wait`. Of more than nine that were dropped since one was awaited, what the
/// others have asked for is given up, and what the server was about to send is delivered again so.
#[must_use = "futures do nothing unless polled"]
pub struct NextingMessage<'a> {
    next: NextMessage<'a>,
    reader: Option<Box<Reader>>,
}

impl Future for NextingMessage<'_> {
    type Output = Result<Option<JetMessage>, PullError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let NextMessage { consumer, expires } = this.next;
        let reader = match &mut this.reader {
            Some(reader) => reader,
            None => {
                PullConfig { expires, ..PullConfig::fetch(1) }.check(false)?;
                this.reader.insert(consumer.next_reader(expires))
            }
        };
        loop {
            match reader.poll_item(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Item::Notice(_)) => {}
                Poll::Ready(Item::Message(message)) => {
                    message.take_in_hand();
                    return Poll::Ready(Ok(Some(message)));
                }
                Poll::Ready(Item::End(end)) => {
                    return Poll::Ready(end_of_fetch(end).map(|()| None));
                }
            }
        }
    }
}

/// Nobody asks a fetch to stop: that is a client that drains, where `None` would invite to ask again.
pub(crate) fn end_of_fetch(end: PullEnd) -> Result<(), PullError> {
    match end {
        PullEnd::Done | PullEnd::Expired | PullEnd::NoMessages => Ok(()),
        end => Err(PullError::End(end)),
    }
}

impl Drop for NextingMessage<'_> {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.next.consumer.leave_next(reader);
        }
    }
}

impl fmt::Debug for NextingMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextingMessage").field("next", &self.next).finish_non_exhaustive()
    }
}
