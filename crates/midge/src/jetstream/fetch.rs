//! Messages of a pull consumer, once.

use std::fmt;
use std::future::{Future, IntoFuture, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use midge_jetstream::{PullConfig, PullEnd};

use super::message::JetMessage;
use super::pull::{Consumer, PullError, end_of_fetch};
use super::reader::{Item, Reader};

/// A fetch that is about to begin. Made by [`Consumer::fetch`]; `.await` gives it without waiting.
///
/// Its time runs from `.await` on, and the request goes out when the [`Fetch`] is first polled: one
/// that is polled after its time asks for nothing and ends as [`PullEnd::Expired`].
#[derive(Clone, Debug)]
#[must_use = "nothing is asked for until `.await`"]
pub struct FetchBuilder<'a> {
    consumer: &'a Consumer,
    config: PullConfig,
}

impl<'a> FetchBuilder<'a> {
    pub(crate) fn new(consumer: &'a Consumer, config: PullConfig) -> Self {
        Self { consumer, config }
    }

    /// Bytes of subject, reply, headers and payload, at most. Not for consumers of the last message of
    /// each subject, see [`PullConfig::bytes`].
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.config.bytes = Some(bytes);
        self
    }

    /// Messages, at most.
    pub fn max_messages(mut self, messages: u64) -> Self {
        self.config.messages = messages;
        self
    }

    /// How long to wait for all of them, from `.await` on; when the server does not say that the time
    /// is over, up to 2 s longer, and if the process has stood still meanwhile, up to 2 s from then on.
    /// Default: 30 s.
    pub fn expires(mut self, expires: Duration) -> Self {
        self.config.expires = expires;
        self
    }

    /// Takes what is there and does not wait for more. Where the server does not say that there is no
    /// more, as behind `max_ack_pending`, it ends when nothing has come for 2 s.
    pub fn no_wait(mut self) -> Self {
        self.config.no_wait = true;
        self
    }

    /// How often the server says that it is there, by which a lost request is noticed and sent again:
    /// at least 500 ms, at most half of `expires`. Default: 2 s for `expires` of 5 s and more, else
    /// none. Not together with [`no_wait`](Self::no_wait).
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.config.heartbeat = Some(heartbeat);
        self
    }
}

impl<'a> IntoFuture for FetchBuilder<'a> {
    type Output = Result<Fetch<'a>, PullError>;
    type IntoFuture = Ready<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { consumer, config } = self;
        if let Err(error) = config.check(false) {
            return ready(Err(error.into()));
        }
        let reader = Some(consumer.reader(config, true));
        ready(Ok(Fetch { consumer, reader, end: None }))
    }
}

/// The messages of one fetch, as they come: a stream that ends.
///
/// Where it ends early for another reason than that the time is over, the reason is the last item.
/// Dropped before the end, what came and was not read is delivered again after the consumer's
/// `ack_wait`.
pub struct Fetch<'a> {
    consumer: &'a Consumer,
    reader: Option<Box<Reader>>,
    end: Option<PullEnd>,
}

impl Fetch<'_> {
    /// The next message; `None` after the last one. Dropping the future loses no message.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<JetMessage, PullError>>> + Send {
        std::future::poll_fn(|context| self.poll_message(context))
    }

    /// Why it has ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<&PullEnd> {
        self.end.as_ref()
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<JetMessage, PullError>>> {
        loop {
            let Some(reader) = &mut self.reader else { return Poll::Ready(None) };
            match reader.poll_item(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Item::Notice(_)) => {}
                Poll::Ready(Item::Message(message)) => return Poll::Ready(Some(Ok(message))),
                Poll::Ready(Item::End(end)) => {
                    if let Some(reader) = self.reader.take() {
                        self.consumer.leave_fetched(reader);
                    }
                    self.end = Some(end.clone());
                    return Poll::Ready(end_of_fetch(end).err().map(Err));
                }
            }
        }
    }
}

impl Stream for Fetch<'_> {
    type Item = Result<JetMessage, PullError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(context)
    }
}

impl fmt::Debug for Fetch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch").field("end", &self.end).finish_non_exhaustive()
    }
}
