//! Messages of a pull consumer, on and on.

use std::fmt;
use std::future::{Future, IntoFuture, Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use midge_jetstream::{Notice, PullConfig, PullEnd};

use super::message::JetMessage;
use super::pull::{Consumer, PullError};
use super::reader::{Item, Reader, SMALL_MESSAGES};
use super::stop::{Control, Stopper, Wish};

/// Of small messages as many are asked for as are read so fast.
const READ_WITHIN: Duration = Duration::from_millis(100);

type OnNotice = Box<dyn FnMut(Notice) + Send>;

/// Consuming that is about to begin. Made by [`Consumer::consume`]; `.await` begins it without
/// waiting.
#[must_use = "nothing is asked for until `.await`"]
pub struct ConsumeBuilder<'a> {
    consumer: &'a Consumer,
    config: PullConfig,
    on_notice: Option<OnNotice>,
}

impl<'a> ConsumeBuilder<'a> {
    pub(crate) fn new(consumer: &'a Consumer) -> Self {
        let config = PullConfig {
            small_messages: Some(SMALL_MESSAGES),
            read_within: Some(READ_WITHIN),
            ..PullConfig::consume()
        };
        Self { consumer, config, on_notice: None }
    }

    /// Messages that are asked for and not read, at most: what the reader holds, and what is delivered
    /// again after `ack_wait` if it stops. Default: 500, or more while messages are small and read fast:
    /// as many as 1 MiB holds and as were read within 100 ms of late, up to 4,096. That a reader has
    /// become slow counts once it has read half of them. With [`max_bytes`](Self::max_bytes) alone it is
    /// a million.
    pub fn max_messages(mut self, messages: u64) -> Self {
        (self.config.messages, self.config.small_messages) = (messages, None);
        self
    }

    /// Bytes that are asked for and not read, at most: subject, reply, headers and payload. To
    /// limit messages too, give [`max_messages`](Self::max_messages) after it. Not for consumers of the
    /// last message of each subject, see [`PullConfig::bytes`].
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.config = self.config.by_bytes(bytes);
        self
    }

    /// More is asked for when so few messages are left. Default: half of `max_messages`.
    pub fn refill_messages(mut self, messages: u64) -> Self {
        self.config.refill_messages = Some(messages);
        self
    }

    /// More is asked for when so few bytes are left. Default: half of `max_bytes`.
    pub fn refill_bytes(mut self, bytes: u64) -> Self {
        self.config.refill_bytes = Some(bytes);
        self
    }

    /// How long a request waits at the server, at least 1 s. Default: 30 s.
    pub fn expires(mut self, expires: Duration) -> Self {
        self.config.expires = expires;
        self
    }

    /// How often the server says that it is there: at least 500 ms, at most half of `expires`.
    /// When two are missed, what was asked for is asked for again. Default: 2 s, so that a leader
    /// that died without a word holds messages up for little more than 4 s.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.config.heartbeat = Some(heartbeat);
        self
    }

    /// Ends after so many messages, and never asks for more.
    pub fn stop_after(mut self, messages: u64) -> Self {
        self.config.limit = Some(messages);
        self
    }

    /// When nobody answers, asks whether the consumer exists, and ends as [`PullEnd::Missing`] if
    /// not. Default: it waits until it exists.
    pub fn abort_when_missing(mut self) -> Self {
        self.config.abort_when_missing = true;
        self
    }

    /// Calls `function` with what was noticed, while the stream is polled.
    pub fn on_notice(mut self, function: impl FnMut(Notice) + Send + 'static) -> Self {
        self.on_notice = Some(Box::new(function));
        self
    }
}

impl IntoFuture for ConsumeBuilder<'_> {
    type Output = Result<Consume, PullError>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { consumer, config, on_notice } = self;
        if let Err(error) = config.check(true) {
            return ready(Err(error.into()));
        }
        let reader = Some(consumer.reader(config, false));
        let (consumer, seen) = (consumer.clone(), Wish::None);
        ready(Ok(Consume { consumer, reader, on_notice, control: None, seen, end: None }))
    }
}

impl fmt::Debug for ConsumeBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsumeBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The messages of a consumer, on and on: a stream that is kept filled.
///
/// It survives the loss of the connection, and of the consumer's leader. It ends when it is stopped
/// or drained, after [`stop_after`](ConsumeBuilder::stop_after) messages, when the consumer is
/// deleted, and when the connection closes; an end that nobody asked for is the last item, as an
/// error. What it notices on the way goes to [`on_notice`](ConsumeBuilder::on_notice).
///
/// It progresses while it is polled. A reader that works on a message for long asks for nothing
/// meanwhile, and what has come for it waits. Dropping it unsubscribes; what came and was not read
/// is delivered again after `ack_wait`.
pub struct Consume {
    consumer: Consumer,
    /// `None` after the end.
    reader: Option<Box<Reader>>,
    on_notice: Option<OnNotice>,
    control: Option<Arc<Control>>,
    seen: Wish,
    end: Option<PullEnd>,
}

impl Consume {
    /// The next message; `None` after the last one. Dropping the future loses no message.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<JetMessage, PullError>>> + Send {
        std::future::poll_fn(|context| self.poll_message(context))
    }

    /// Ends it at once. What came and was not read is delivered again after `ack_wait`.
    pub fn stop(&mut self) {
        self.finish(PullEnd::Stopped);
    }

    /// Asks for nothing more: what the server has sent comes, and then `None`.
    pub fn drain(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.drain();
        }
    }

    /// Stops it from elsewhere, and waits for its end.
    pub fn stopper(&mut self) -> Stopper {
        let control = self.control.get_or_insert_default().clone();
        if self.reader.is_none() {
            control.ended();
        }
        Stopper::new(control)
    }

    /// Why it has ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<&PullEnd> {
        self.end.as_ref()
    }

    fn finish(&mut self, end: PullEnd) {
        if let Some(reader) = self.reader.take() {
            self.consumer.keep_pin(&reader);
            self.end = Some(end);
        }
        if let Some(control) = &self.control {
            control.ended();
        }
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<JetMessage, PullError>>> {
        loop {
            self.heed();
            let Some(reader) = &mut self.reader else { return Poll::Ready(None) };
            if let Some(message) = reader.take_ready() {
                self.tell_notices();
                return Poll::Ready(Some(Ok(message)));
            }
            match reader.poll_item(context) {
                Poll::Ready(Item::Message(message)) => {
                    self.tell_notices();
                    return Poll::Ready(Some(Ok(message)));
                }
                Poll::Pending => match &self.control {
                    Some(control) if !control.wait(self.seen, context) => {}
                    _ => return Poll::Pending,
                },
                Poll::Ready(Item::Notice(notice)) => {
                    if let Notice::BadRequest(text) = &notice {
                        return Poll::Ready(Some(Err(PullError::BadRequest(text.clone()))));
                    }
                    if let Some(function) = &mut self.on_notice {
                        function(notice);
                    }
                }
                Poll::Ready(Item::End(end)) => {
                    self.finish(end.clone());
                    let error = (!end.is_regular()).then_some(PullError::End(end));
                    return Poll::Ready(error.map(Err));
                }
            }
        }
    }

    /// What was noticed with a message is told with it.
    #[inline]
    fn tell_notices(&mut self) {
        while let Some(notice) = self.reader.as_mut().and_then(|reader| reader.take_notice()) {
            if let Some(function) = &mut self.on_notice {
                function(notice);
            }
        }
    }

    /// Does what a [`Stopper`] wants.
    #[inline]
    fn heed(&mut self) {
        let Some(control) = &self.control else { return };
        let wish = control.wish();
        if wish <= self.seen {
            return;
        }
        self.seen = wish;
        match wish {
            Wish::Stop => self.stop(),
            _ => self.drain(),
        }
    }
}

impl Drop for Consume {
    fn drop(&mut self) {
        self.finish(PullEnd::Stopped);
    }
}

impl Stream for Consume {
    type Item = Result<JetMessage, PullError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(context)
    }
}

impl fmt::Debug for Consume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consume")
            .field("consumer", &self.consumer)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}
