//! A message that a consumer delivered, and the answers to it.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use midge_jetstream::{Ack, Delivery, ack_subject};
use midge_proto::{Message, PublishError, RequestError, SubjectRef};

use crate::Client;
use crate::publish::Publishing;
use crate::request::Requesting;
use crate::room::HIGH_WATER;

/// A message that a consumer delivered.
///
/// It is a [`Message`], with the connection to answer by, and costs no allocation beside that. It
/// keeps the connection alive. Dropped without an answer, it is delivered again after the
/// consumer's `ack_wait`, unless its ack policy is `none`.
///
/// The first answer that settles it counts: [`ack`](Self::ack), [`nak`](Self::nak) and
/// [`term`](Self::term) after that are refused as [`AckError::Settled`].
pub struct JetMessage {
    message: Message,
    work: Work,
}

/// The work on a message.
struct Work {
    client: Client,
    /// An answer has settled the message.
    settled: AtomicBool,
    /// A drain waits until the message is settled or dropped.
    in_hand: AtomicBool,
}

impl Work {
    #[inline]
    fn new(client: Client) -> Self {
        Self { client, settled: AtomicBool::new(false), in_hand: AtomicBool::new(false) }
    }

    #[inline]
    fn is_over(&self) {
        if self.in_hand.load(Ordering::Relaxed) {
            self.put_down();
        }
    }

    #[cold]
    fn put_down(&self) {
        if self.in_hand.swap(false, Ordering::Relaxed) {
            self.client.shared().put_down();
        }
    }
}

impl Drop for Work {
    #[inline]
    fn drop(&mut self) {
        self.is_over();
    }
}

/// An answer that was not given, or of which that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AckError {
    /// The message has no reply subject to answer to.
    #[error("the message cannot be answered: no consumer has delivered it")]
    NoReply,
    /// Another answer has settled it.
    #[error("the message is settled already: only the first ack, nak or term counts")]
    Settled,
    /// The answer could not be queued, and may be given again.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The server has not confirmed the answer. It may have got it; giving it again does no harm.
    #[error("the server has not confirmed the answer: {0}")]
    Unconfirmed(RequestError),
}

impl JetMessage {
    #[inline]
    pub(crate) fn new(message: Message, client: Client) -> Self {
        Self { message, work: Work::new(client) }
    }

    /// A drain of the client waits until it is settled or dropped.
    pub(crate) fn take_in_hand(&self) {
        if !self.work.in_hand.swap(true, Ordering::Relaxed) {
            self.work.client.shared().in_hand.take();
        }
    }

    /// It is done.
    ///
    /// `.await` gives `Result<(), AckError>` once the answer is queued, behind which it may be lost
    /// with the connection; [`double_ack`](Self::double_ack) waits for the server.
    #[inline]
    pub fn ack(&self) -> Answer<'_> {
        self.answer(Ack::Ack)
    }

    /// It is done, and the server has said that it knows.
    pub fn double_ack(&self) -> ConfirmedAnswer<'_> {
        self.ack().confirmed()
    }

    /// It could not be done: deliver it again, to anyone.
    pub fn nak(&self) -> Answer<'_> {
        self.answer(Ack::Nak(None))
    }

    /// As [`nak`](Self::nak), but not before this time.
    pub fn nak_after(&self, delay: Duration) -> Answer<'_> {
        self.answer(Ack::Nak(Some(delay)))
    }

    /// It is being worked on: `ack_wait` begins anew.
    pub fn in_progress(&self) -> Answer<'_> {
        self.answer(Ack::InProgress)
    }

    /// It will never be done: do not deliver it again.
    pub fn term(&self) -> Answer<'_> {
        self.answer(Ack::Term(None))
    }

    /// As [`term`](Self::term), with a reason that the server tells in an advisory.
    pub fn term_because<'a>(&'a self, reason: &'a str) -> Answer<'a> {
        self.answer(Ack::Term(Some(reason)))
    }

    #[inline]
    fn answer<'a>(&'a self, ack: Ack<'a>) -> Answer<'a> {
        Answer { message: self, ack }
    }

    /// Where it stands in its stream and its consumer. Read out of its reply subject at each call.
    #[must_use]
    pub fn delivery(&self) -> Option<Delivery<'_>> {
        Delivery::of(&self.message)
    }

    /// Whether an answer has settled it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.work.settled.load(Ordering::Relaxed)
    }

    /// The message alone.
    #[must_use]
    pub fn into_message(self) -> Message {
        self.message
    }

    /// Takes the right to settle it.
    #[inline]
    fn settle(&self, ack: Ack<'_>) -> Result<bool, AckError> {
        if !ack.is_terminal() {
            return Ok(false);
        }
        match self.work.settled.swap(true, Ordering::Relaxed) {
            true => Err(AckError::Settled),
            false => Ok(true),
        }
    }

    /// The answer was given, or was not: then another one may settle it.
    #[inline]
    fn answered(&self, settled: bool, given: bool) {
        if settled && given {
            self.work.is_over();
        } else if settled {
            self.work.settled.store(false, Ordering::Relaxed);
        }
    }
}

impl Deref for JetMessage {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

impl fmt::Debug for JetMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JetMessage")
            .field("message", &self.message)
            .field("settled", &self.is_settled())
            .finish_non_exhaustive()
    }
}

/// An answer that is about to be given. Made by [`JetMessage::ack`] and its siblings.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is answered until `.await` or `try_send`"]
pub struct Answer<'a> {
    message: &'a JetMessage,
    ack: Ack<'a>,
}

type Payload = std::borrow::Cow<'static, [u8]>;

impl<'a> Answer<'a> {
    /// Answers now, or not at all.
    ///
    /// # Errors
    ///
    /// [`AckError`]; nothing was queued then.
    #[inline]
    pub fn try_send(self) -> Result<(), AckError> {
        let subject = self.subject()?;
        let settled = self.message.settle(self.ack)?;
        let sent = self.message.work.client.try_publish(subject, self.ack.payload());
        self.message.answered(settled, sent.is_ok());
        Ok(sent.map(drop)?)
    }

    /// Also waits until the server has said that it knows: `.await` then gives an answer of the
    /// server, within `request_timeout` of the options.
    pub fn confirmed(self) -> ConfirmedAnswer<'a> {
        ConfirmedAnswer { answer: self, timeout: None }
    }

    #[inline]
    fn subject(&self) -> Result<SubjectRef<'a>, AckError> {
        ack_subject(&self.message.message).ok_or(AckError::NoReply)
    }
}

impl<'a> IntoFuture for Answer<'a> {
    type Output = Result<(), AckError>;
    type IntoFuture = Answering<'a>;

    fn into_future(self) -> Answering<'a> {
        Answering { answer: self, settled: false, waiting: None, over: false }
    }
}

/// The future of an [`Answer`]. Dropped before it is ready, nothing was answered.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Answering<'a> {
    answer: Answer<'a>,
    /// It has taken the right to settle the message.
    settled: bool,
    /// There was no room.
    waiting: Option<Box<Publishing<'a, SubjectRef<'a>, Payload>>>,
    over: bool,
}

impl Future for Answering<'_> {
    type Output = Result<(), AckError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let waiting = match &mut this.waiting {
            Some(waiting) => waiting,
            None => {
                let Answer { message, ack } = this.answer;
                let (subject, payload) = (this.answer.subject()?, ack.payload());
                this.settled = message.settle(ack)?;
                let shared = message.work.client.shared();
                match shared.publish_below(HIGH_WATER, subject, None, None, &payload) {
                    Err(PublishError::Full) => {}
                    result => {
                        this.over = result.is_ok();
                        return Poll::Ready(Ok(result.map(drop)?));
                    }
                }
                let publish = message.work.client.publish(subject, payload);
                this.waiting.insert(Box::new(publish.into_future()))
            }
        };
        let Poll::Ready(result) = Pin::new(waiting).poll(context) else { return Poll::Pending };
        this.over = result.is_ok();
        Poll::Ready(Ok(result.map(drop)?))
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.answer.message.answered(self.settled, self.over);
    }
}

/// An answer that the server is to confirm. Made by [`Answer::confirmed`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is answered until `.await`"]
pub struct ConfirmedAnswer<'a> {
    answer: Answer<'a>,
    timeout: Option<Duration>,
}

impl ConfirmedAnswer<'_> {
    /// How long to wait for the server. Default: `request_timeout` of the options.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl<'a> IntoFuture for ConfirmedAnswer<'a> {
    type Output = Result<(), AckError>;
    type IntoFuture = ConfirmingAnswer<'a>;

    fn into_future(self) -> ConfirmingAnswer<'a> {
        ConfirmingAnswer { answer: self, settled: false, requesting: None, over: false }
    }
}

/// The future of a [`ConfirmedAnswer`]. Dropped before it is ready, the answer may have been given.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct ConfirmingAnswer<'a> {
    answer: ConfirmedAnswer<'a>,
    settled: bool,
    requesting: Option<Requesting<'a, SubjectRef<'a>, Payload>>,
    over: bool,
}

impl Future for ConfirmingAnswer<'_> {
    type Output = Result<(), AckError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let requesting = match &mut this.requesting {
            Some(requesting) => requesting,
            None => {
                let Answer { message, ack } = this.answer.answer;
                let subject = this.answer.answer.subject()?;
                this.settled = message.settle(ack)?;
                let mut request = message.work.client.request(subject, ack.payload());
                if let Some(timeout) = this.answer.timeout {
                    request = request.timeout(timeout);
                }
                this.requesting.insert(request.into_future())
            }
        };
        let Poll::Ready(result) = Pin::new(requesting).poll(context) else { return Poll::Pending };
        this.over = result.is_ok();
        Poll::Ready(result.map(drop).map_err(|error| match error {
            RequestError::Publish(error) => AckError::Publish(error),
            error => AckError::Unconfirmed(error),
        }))
    }
}

impl Drop for ConfirmingAnswer<'_> {
    fn drop(&mut self) {
        self.answer.answer.message.answered(self.settled, self.over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_few_words_larger_than_a_message() {
        assert!(size_of::<JetMessage>() <= size_of::<Message>() + 2 * size_of::<usize>());
    }
}
