//! Publishing one message and waiting for the stream's word.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge_jetstream::{ApiError, PubAck, PublishHeaders, PublishHeadersError, ReplyError};
use midge_proto::{AsSubject, HeaderMap, Instant, RequestError};

use super::JetStream;
use super::headers::header_options;
use super::level::Gate;
use super::request::FeatureError;
use crate::alarm::Alarm;
use crate::{Request, Requesting};

/// How often a message is sent again that no stream took (ADR-22).
const RETRIES: u32 = 2;
/// The time before.
const RETRY_WAIT: Duration = Duration::from_millis(250);

impl JetStream {
    /// Publishes a message and waits until a stream has it.
    ///
    /// `.await` gives `Result<PubAck, JetPublishError>`. Where no stream takes it, as while a
    /// leader is elected, it is sent again twice, 250 ms apart; otherwise it is sent once. After a
    /// timeout or a lost connection it may have been stored: with a
    /// [`message_id`](Publish::message_id) it can be published again, and is stored once.
    ///
    /// ```no_run
    /// # async fn example(js: &midge::jetstream::JetStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let ack = js.publish("orders.new", "one coffee").message_id("order-4711").await?;
    /// println!("{} has it, with the number {}", ack.stream, ack.seq);
    /// # Ok(())
    /// # }
    /// ```
    pub fn publish<'a, S: AsSubject, P: AsRef<[u8]>>(
        &self,
        subject: S,
        payload: P,
    ) -> Publish<'a, S, P> {
        Publish {
            js: self.clone(),
            request: self.client().request(subject, payload),
            headers: PublishHeaders::new(),
            timeout: self.timeout(),
            retries: RETRIES,
            retry_wait: RETRY_WAIT,
        }
    }
}

/// Why a message is not known to be in a stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JetPublishError {
    /// What was asked for contradicts itself. Nothing was sent.
    #[error(transparent)]
    Headers(#[from] PublishHeadersError),
    /// The server, or domain, is too old for a header of it, or was asked and did not say. Nothing
    /// was sent.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// The stream refused it. It is not stored.
    #[error("the stream refused the message: {0}")]
    Refused(ApiError),
    /// Nobody took it. It is not stored.
    #[error(
        "no stream took the message in {attempts} attempts: none listens on its subject, or it has no leader for now"
    )]
    NoStream {
        /// How often it was sent.
        attempts: u32,
    },
    /// It was not sent, or no answer came.
    #[error(transparent)]
    Request(RequestError),
    /// What answered is no stream. It may be stored.
    #[error("the answer is none of a stream: {0}")]
    Malformed(ReplyError),
}

impl JetPublishError {
    /// Whether the message may have been stored nevertheless.
    #[must_use]
    pub fn may_be_stored(&self) -> bool {
        match self {
            Self::Request(error) => matches!(error, RequestError::TimedOut | RequestError::Unknown),
            Self::Malformed(_) => true,
            _ => false,
        }
    }

    /// The stream's refusal, if that is what it is.
    #[must_use]
    pub fn refusal(&self) -> Option<&ApiError> {
        match self {
            Self::Refused(error) => Some(error),
            _ => None,
        }
    }
}

/// Reads the answer of a stream.
pub(super) fn read_ack(payload: &[u8]) -> Result<PubAck, JetPublishError> {
    PubAck::read(payload).map_err(|error| match error {
        ReplyError::Api(error) => JetPublishError::Refused(error),
        error => JetPublishError::Malformed(error),
    })
}

/// A message that is about to be published to a stream. Made by [`JetStream::publish`].
#[derive(Debug)]
#[must_use = "nothing is published until `.await`"]
pub struct Publish<'a, S, P> {
    js: JetStream,
    request: Request<'a, S, P>,
    headers: PublishHeaders,
    timeout: Duration,
    retries: u32,
    retry_wait: Duration,
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> Publish<'a, S, P> {
    header_options!();

    /// What it asks for by now.
    pub(crate) fn headers_so_far(&self) -> Result<Option<&HeaderMap>, PublishHeadersError> {
        self.headers.get()
    }

    /// How long to wait, from the first poll to the ack; waiting for room, for a connection and
    /// between attempts counts. Default: that of the [`JetStream`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How often it is sent again while no stream takes it, and the time before. Default: 2 and
    /// 250 ms.
    pub fn retries(mut self, retries: u32, wait: Duration) -> Self {
        self.retries = retries;
        self.retry_wait = wait;
        self
    }
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for Publish<'a, S, P> {
    type Output = Result<PubAck, JetPublishError>;
    type IntoFuture = Publishing<'a, S, P>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { js, request, headers, timeout, retries, retry_wait } = self;
        let gate = Gate::new(headers.need());
        let (request, state) = match headers.into_map() {
            Ok(Some(headers)) => (request.own_headers(headers), State::New),
            Ok(None) => (request, State::New),
            Err(error) => (request, State::Refused(Some(error))),
        };
        let requesting = request.into_future();
        let alarm = Alarm::new(js.client().handle().shared.clone());
        let (deadline, attempts) = (Instant::ZERO, 0);
        Publishing {
            js,
            requesting,
            state,
            gate,
            alarm,
            timeout,
            deadline,
            attempts,
            retries,
            retry_wait,
        }
    }
}

#[derive(Debug)]
enum State {
    New,
    /// It is asked whether the server knows what it needs.
    Gated,
    Sent,
    Waiting(Instant),
    Refused(Option<PublishHeadersError>),
}

/// The future of a [`Publish`].
///
/// Dropped before it is ready, the message is given up: if no byte of it was written it is not
/// sent, else it may be stored.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Publishing<'a, S, P> {
    js: JetStream,
    requesting: Requesting<'a, S, P>,
    state: State,
    gate: Gate,
    alarm: Alarm,
    timeout: Duration,
    deadline: Instant,
    attempts: u32,
    retries: u32,
    retry_wait: Duration,
}

/// Nothing here is pinned by being polled.
impl<S, P> Unpin for Publishing<'_, S, P> {}

impl<S: AsSubject, P: AsRef<[u8]>> Future for Publishing<'_, S, P> {
    type Output = Result<PubAck, JetPublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match &mut this.state {
                State::New => {
                    this.deadline = this.alarm.now() + this.timeout;
                    this.state = State::Gated;
                }
                State::Gated => {
                    ready!(this.gate.poll(&this.js, this.deadline, context))?;
                    this.requesting.again(this.deadline);
                    this.state = State::Sent;
                }
                State::Sent => {
                    let result = ready!(Pin::new(&mut this.requesting).poll(context));
                    this.attempts += 1;
                    match result {
                        Ok(message) => return Poll::Ready(read_ack(message.payload())),
                        Err(RequestError::NoResponders) => {}
                        Err(error) => return Poll::Ready(Err(JetPublishError::Request(error))),
                    }
                    let until = this.alarm.now() + this.retry_wait;
                    if this.attempts > this.retries || until >= this.deadline {
                        let attempts = this.attempts;
                        return Poll::Ready(Err(JetPublishError::NoStream { attempts }));
                    }
                    this.state = State::Waiting(until);
                }
                State::Waiting(until) => {
                    ready!(this.alarm.poll(*until, context));
                    this.requesting.again(this.deadline);
                    this.state = State::Sent;
                }
                State::Refused(error) => {
                    let error = error.take().expect("a publish is polled until it is ready");
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }
}
