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
    /// The reader of the last `next` or `fetch`, for the next one.
    idle: Mutex<Idle>,
    /// For the random part of waits.
    seeds: AtomicU64,
}

#[derive(Default)]
struct Idle {
    reader: Option<Box<Reader>>,
    /// The pin of the group, as another reader has got it.
    pin: Option<String>,
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
    /// A pull consumer of a stream, by its name. The server is not asked whether it exists.
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

    /// Messages on and on.
    pub fn consume(&self) -> ConsumeBuilder<'_> {
        ConsumeBuilder::new(self)
    }

    // ---- readers -------------------------------------------------------------------------

    pub(crate) fn reader(&self, mut config: PullConfig, fetch: bool) -> Box<Reader> {
        config.group.clone_from(&self.group);
        let target = &self.inner.target;
        let seed = self.inner.seeds.fetch_add(1, Ordering::Relaxed);
        let now = target.client.shared().clock.now();
        let mut idle = lock(&self.inner.idle);
        let mut machine = match fetch {
            true => PullMachine::fetch(config, seed, now),
            false => PullMachine::consume(config, seed),
        };
        if self.group.is_some() {
            machine.set_pin(idle.pin.clone());
        }
        let clean = idle.reader.take_if(|reader| fetch && reader.is_clean());
        drop(idle);
        match clean {
            Some(mut reader) => {
                reader.restart(machine);
                reader
            }
            None => Box::new(Reader::new(target.clone(), machine)),
        }
    }

    /// The reader of `next`, which may have asked for a message already.
    fn next_reader(&self, expires: Duration) -> Box<Reader> {
        let now = self.inner.target.client.shared().clock.now();
        let mut idle = lock(&self.inner.idle);
        let reader = idle.reader.take_if(|reader| reader.machine().config().messages == 1);
        drop(idle);
        match reader {
            Some(mut reader) => {
                reader.machine_mut().again(expires, now);
                reader
            }
            None => self.reader(PullConfig { expires, ..PullConfig::fetch(1) }, true),
        }
    }

    /// Keeps a reader for the next call, and the pin for all.
    pub(crate) fn give_back(&self, reader: Box<Reader>) {
        let mut idle = lock(&self.inner.idle);
        if self.group.is_some() {
            idle.pin = reader.machine().pin().map(str::to_owned);
        }
        let old = idle.reader.replace(reader);
        drop(idle);
        drop(old);
    }

    pub(crate) fn keep_pin(&self, reader: &Reader) {
        if self.group.is_some() {
            lock(&self.inner.idle).pin = reader.machine().pin().map(str::to_owned);
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
    /// up to 2 s longer. Default: 30 s.
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
/// Dropped before it is ready, no message is lost: what was asked for comes to the next call on
/// this consumer, or a clone of it. If there is none, the server delivers it again after `ack_wait`.
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
                Poll::Ready(Item::Message(message)) => return Poll::Ready(Ok(Some(message))),
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
            self.next.consumer.give_back(reader);
        }
    }
}

impl fmt::Debug for NextingMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextingMessage").field("next", &self.next).finish_non_exhaustive()
    }
}
