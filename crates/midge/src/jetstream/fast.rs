//! Many messages to one stream, which says how fast it takes them.

mod adding;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge_jetstream::{
    ApiError, ApiLevel, BatchError, CommitError, FastEvent, FastIngest, Gaps, Need, PubAck,
    PublishHeaders, PublishHeadersError,
};
use midge_proto::{
    AsSubject, HeaderMap, Instant, PublishError, Subject, SubjectRef, SubscribeError,
};

pub use self::adding::{AddFast, AddingFast, CommitFast, CommittingFast};
use super::JetStream;
use super::request::FeatureError;
use crate::alarm::{Alarm, Changes};
use crate::ask::is_no_responders;
use crate::room::{Room, RoomWait};
use crate::shared::{Inner, lock};
use crate::subscribe::Plan;
use crate::{Client, EndReason, ServerError, Subscription};

const FAST: Need = Need::new("for fast ingest", ApiLevel::V2_14);
/// Messages between two acks at most.
const EVERY: u16 = 500;
/// Acks that may be awaited.
const OUTSTANDING: u8 = 2;
/// Notices that may be unread.
const NOTICES: usize = 1024;
/// Answers, and notices, that may be there: more than messages are on their way.
const MOST: usize = 256 * 1024;

impl JetStream {
    /// A batch of any number of messages to one stream, which stores them as they come and says how
    /// fast it takes them (ADR-50): the cheapest way to store much. The stream must allow it
    /// (`allow_batched`), and nats-server be 2.14 or newer.
    ///
    /// `.await` gives `Result<FastBatch, FastBatchError>`.
    ///
    /// ```no_run
    /// # async fn example(js: &midge::jetstream::JetStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut batch = js.fast_batch().await?;
    /// for number in 0..1_000_000 {
    ///     batch.add("numbers", number.to_string()).await?;
    /// }
    /// let ack = batch.end().await?;
    /// assert_eq!(ack.count, Some(1_000_000));
    /// # Ok(())
    /// # }
    /// ```
    pub fn fast_batch(&self) -> FastBatchBuilder {
        FastBatchBuilder {
            js: self.clone(),
            gaps: Gaps::default(),
            every: EVERY,
            outstanding: OUTSTANDING,
            timeout: self.timeout(),
        }
    }
}

/// A batch that is about to be begun. Made by [`JetStream::fast_batch`].
#[derive(Clone, Debug)]
#[must_use = "nothing is begun until `.await`"]
pub struct FastBatchBuilder {
    js: JetStream,
    gaps: Gaps,
    every: u16,
    outstanding: u8,
    timeout: Duration,
}

impl FastBatchBuilder {
    /// What the stream does where messages are missing, or were refused. Default: it ends the batch
    /// there.
    pub fn gaps(mut self, gaps: Gaps) -> Self {
        self.gaps = gaps;
        self
    }

    /// Messages between two acks at most, and acks that may be awaited, 1 to 3: their product may be
    /// on its way. The stream begins with fewer, and says how many. Default: 500, and 2.
    pub fn flow(mut self, every: u16, outstanding: u8) -> Self {
        self.every = every;
        self.outstanding = outstanding;
        self
    }

    /// How long to wait while the stream says nothing. Default: that of the [`JetStream`].
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

impl IntoFuture for FastBatchBuilder {
    type Output = Result<FastBatch, FastBatchError>;
    type IntoFuture = BeginningFastBatch;

    fn into_future(self) -> Self::IntoFuture {
        let beginning = async move {
            self.js.require_of_messages(FAST).await?;
            let wait = RoomWait::new(Room::Control);
            let client = self.js.client().clone();
            Subscribing { client, builder: self, made: None, wait }.await
        };
        BeginningFastBatch(Box::pin(beginning))
    }
}

/// The future of a [`FastBatchBuilder`].
#[must_use = "futures do nothing unless polled"]
pub struct BeginningFastBatch(
    Pin<Box<dyn Future<Output = Result<FastBatch, FastBatchError>> + Send>>,
);

impl Future for BeginningFastBatch {
    type Output = Result<FastBatch, FastBatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(context)
    }
}

impl fmt::Debug for BeginningFastBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BeginningFastBatch").finish_non_exhaustive()
    }
}

/// Makes the inbox of a batch.
#[derive(Debug)]
struct Subscribing {
    client: Client,
    builder: FastBatchBuilder,
    made: Option<(Plan, String)>,
    wait: RoomWait,
}

impl Future for Subscribing {
    type Output = Result<FastBatch, FastBatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { client, builder, made, wait } = &mut *self;
        let shared = &client.handle().shared;
        let (plan, inbox) = made.get_or_insert_with(|| {
            let inbox = client.new_inbox();
            let subject = Subject::try_from(format!("{inbox}.>"))
                .expect("an inbox is a checked prefix and a token");
            (Plan::answers(subject, MOST), inbox)
        });
        let sid = ready!(shared.poll_with_room(
            wait,
            context,
            |error| *error == SubscribeError::Full,
            |inner| plan.make(shared, inner),
        ))
        .map_err(FastBatchError::Inbox)?;
        let acks = Subscription::new(plan.made(client.handle().clone(), sid));
        let id = client.new_inbox();
        let id = id.rsplit('.').next().unwrap_or_default().to_owned();
        let alarm = Alarm::new(shared.clone());
        let FastBatchBuilder { gaps, every, outstanding, .. } = *builder;
        let machine = FastIngest::new(inbox, id, gaps, every, outstanding, alarm.now())?;
        Poll::Ready(Ok(FastBatch {
            client: client.clone(),
            timeout: builder.timeout,
            machine,
            acks,
            changes: Changes::new(shared.clone()).0,
            alarm,
            room: RoomWait::new(Room::Messages),
            connects: None,
            last: None,
            notices: VecDeque::new(),
            end: None,
            answered: false,
            quiet_since: None,
        }))
    }
}

impl Drop for Subscribing {
    fn drop(&mut self) {
        self.wait.abandon(self.client.shared());
    }
}

/// What the stream tells of a batch that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FastNotice {
    /// Messages are missing.
    Gap {
        /// The first one that is missing.
        first: u64,
        /// The first one behind them.
        next: u64,
    },
    /// A message was refused, and is not stored.
    Refused {
        /// Its number in the batch.
        sequence: u64,
        /// Why.
        error: ApiError,
    },
}

/// Why a batch does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FastBatchError {
    /// The server is too old, or did not say whether it is. Nothing was sent.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// What was asked for contradicts itself. The message was not sent.
    #[error(transparent)]
    Headers(#[from] PublishHeadersError),
    /// The message is not valid. It was not sent.
    #[error(transparent)]
    Publish(PublishError),
    /// The batch is over, or empty.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The inbox for acks could not be subscribed to.
    #[error("no acks could be received: {0}")]
    Inbox(SubscribeError),
    /// The server denies the inbox for acks. What was sent may be stored.
    #[error("no acks come, so the user must be permitted to subscribe to its inboxes: {0}")]
    Denied(ServerError),
    /// The stream refused the batch, or does not know it any more.
    #[error("the stream refused the batch: {0}")]
    Refused(ApiError),
    /// The stream ended the batch at a gap or at a message that it refused. What came before is
    /// stored: so many messages.
    #[error(
        "the stream ended the batch behind {stored} messages, which are stored; the next one is missing or was refused: {cause:?}"
    )]
    Ended {
        /// Messages of the batch that are stored.
        stored: u64,
        /// What the stream told before, if anything.
        cause: Option<FastNotice>,
    },
    /// No stream took it.
    #[error("no stream took the batch: none listens on the subject, or it has no leader for now")]
    NoStream,
    /// The connection was lost, and the batch with it. What was acknowledged is stored, more may be.
    #[error(
        "the connection was lost, and the batch with it: {acknowledged} messages or more are stored"
    )]
    Lost {
        /// Messages up to which the stream has answered.
        acknowledged: u64,
    },
    /// The stream said nothing for too long. What was acknowledged is stored, more may be.
    #[error("the stream says nothing: {acknowledged} messages or more are stored")]
    TimedOut {
        /// Messages up to which the stream has answered.
        acknowledged: u64,
    },
    /// Too many notices wait to be read. The message was not sent.
    #[error(
        "{unread} notices of gaps and refused messages are not read: take them with `try_next_notice`"
    )]
    Unread {
        /// Notices that wait.
        unread: usize,
    },
    /// The end of the batch was confirmed, but not as it should be.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// A batch of fast ingest. Made by [`JetStream::fast_batch`].
///
/// Messages are stored as they come, not all or nothing: [`commit`](Self::commit) or
/// [`end`](Self::end) says that all of them are. Adding a message waits while as many are on their
/// way as the stream allows; where it falls silent it is asked whether it still knows the batch.
/// It forgets one that gets no message for 10 s. A lost connection ends the batch.
///
/// A drain of the client waits until the batch is dropped, for at most `drain_timeout`.
pub struct FastBatch {
    client: Client,
    machine: FastIngest,
    acks: Subscription,
    changes: Changes,
    alarm: Alarm,
    room: RoomWait,
    timeout: Duration,
    /// The connection that it began on.
    connects: Option<u64>,
    /// The subject of the last message.
    last: Option<Subject>,
    notices: VecDeque<FastNotice>,
    end: Option<Result<PubAck, FastBatchError>>,
    /// The stream has said anything at all.
    answered: bool,
    quiet_since: Option<Instant>,
}

impl FastBatch {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.machine.id()
    }

    /// Messages that were added.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.machine.messages()
    }

    /// Of these, up to which the stream has answered.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.machine.acknowledged()
    }

    /// What the stream has told of gaps and refused messages, where gaps are allowed.
    pub fn try_next_notice(&mut self) -> Option<FastNotice> {
        self.notices.pop_front()
    }

    /// Adds a message, once there is room for it. `.await` gives `Result<u64, FastBatchError>`: its
    /// number in the batch. Dropped before it is ready, the message was not added.
    pub fn add<S: AsSubject, P: AsRef<[u8]>>(
        &mut self,
        subject: S,
        payload: P,
    ) -> AddFast<'_, S, P> {
        AddFast::new(self, subject, payload)
    }

    /// Adds a last message, and waits until all are stored. `.await` gives `Result<PubAck,
    /// FastBatchError>`. Dropped before it is ready, the batch may have ended.
    pub fn commit<S: AsSubject, P: AsRef<[u8]>>(
        &mut self,
        subject: S,
        payload: P,
    ) -> CommitFast<'_, S, P> {
        CommitFast::new(self, subject, payload)
    }

    /// Waits until all messages are stored, and ends the batch.
    ///
    /// # Errors
    ///
    /// [`FastBatchError`].
    pub async fn end(&mut self) -> Result<PubAck, FastBatchError> {
        let subject = self.last.clone().ok_or(BatchError::Empty)?;
        std::future::poll_fn(|context| {
            self.turn(context)?;
            let what = (What::End, subject.borrowed(), None, &b""[..]);
            self.poll_send(what, context)
        })
        .await?;
        std::future::poll_fn(|context| self.poll_ended(false, context)).await
    }

    /// Waits until the stream has confirmed the end; `stored`: of the last message too.
    fn poll_ended(
        &mut self,
        stored: bool,
        context: &Context<'_>,
    ) -> Poll<Result<PubAck, FastBatchError>> {
        // How it ended counts more than how it went.
        let went = self.turn(context);
        let Some(end) = self.end.take() else {
            went?;
            return self.poll_wait(context);
        };
        let ack = end?;
        Poll::Ready(match self.machine.committed(&ack, stored) {
            Err(CommitError::Count { .. }) if self.machine.gaps() == Gaps::End => {
                Err(self.cut_short(&ack))
            }
            result => Ok(result.map(|()| ack)?),
        })
    }

    fn cut_short(&mut self, ack: &PubAck) -> FastBatchError {
        let cause = self.notices.pop_front();
        FastBatchError::Ended { stored: ack.count.unwrap_or_default(), cause }
    }

    // ---- going on ------------------------------------------------------------------------

    /// Takes what has come.
    fn turn(&mut self, context: &Context<'_>) -> Result<(), FastBatchError> {
        while self.changes.poll(context).is_ready() {}
        let now = self.alarm.now();
        while let Poll::Ready(message) = self.acks.poll_message(context) {
            let Some(message) = message else {
                self.inbox_ended();
                break;
            };
            if is_no_responders(&message) {
                // Nobody took one of the messages; at first, that is all there is. Later, it is a
                // silence like another, as of a stream without a leader.
                if !self.answered && self.connects.is_some() {
                    self.machine.fail();
                    self.end = Some(Err(FastBatchError::NoStream));
                }
                continue;
            }
            match self.machine.answered(message.payload(), now) {
                Ok(FastEvent::Gap { first, next }) => {
                    self.notice(FastNotice::Gap { first, next });
                }
                Ok(FastEvent::Refused { sequence, error }) => {
                    self.notice(FastNotice::Refused { sequence, error });
                }
                Ok(FastEvent::Ended(ack)) => self.end = Some(Ok(ack)),
                Ok(FastEvent::Failed(error)) if self.end.is_none() => {
                    self.end = Some(Err(FastBatchError::Refused(error)));
                }
                Ok(_) => {}
                // Bytes that are no answer are for nobody.
                Err(_) => continue,
            }
            self.answered = true;
            self.quiet_since = None;
        }
        if self.end.is_none() && self.is_lost() {
            self.machine.fail();
            let acknowledged = self.machine.acknowledged();
            return Err(FastBatchError::Lost { acknowledged });
        }
        Ok(())
    }

    fn notice(&mut self, notice: FastNotice) {
        if self.notices.len() < MOST {
            self.notices.push_back(notice);
        }
    }

    /// No answers will come.
    fn inbox_ended(&mut self) {
        if let Some(EndReason::Denied(error)) = self.acks.end()
            && !self.machine.is_over()
        {
            self.machine.fail();
            self.end = Some(Err(FastBatchError::Denied(error)));
        }
    }

    fn is_lost(&self) -> bool {
        let Some(connects) = self.connects else { return false };
        let inner = lock(&self.client.shared().inner);
        !inner.connection.is_connected() || inner.connection.statistics().connects != connects
    }

    /// Waits for the stream, and asks it how far it is if that takes long.
    fn poll_wait<T>(&mut self, context: &Context<'_>) -> Poll<Result<T, FastBatchError>> {
        let now = self.alarm.now();
        let silent = *self.quiet_since.get_or_insert(now) + self.timeout;
        if silent <= now {
            self.machine.fail();
            let acknowledged = self.machine.acknowledged();
            return Poll::Ready(Err(FastBatchError::TimedOut { acknowledged }));
        }
        let mut until = silent;
        if let Some(ping_at) = self.machine.ping_at().filter(|_| self.connects.is_some()) {
            if ping_at <= now {
                self.ping(now);
            }
            until = until.min(self.machine.ping_at().unwrap_or(until));
        }
        if self.alarm.poll(until, context).is_ready() {
            if self.alarm.now() < until {
                // Before its time: the connection is closed.
                self.machine.fail();
                let acknowledged = self.machine.acknowledged();
                return Poll::Ready(Err(FastBatchError::Lost { acknowledged }));
            }
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn ping(&mut self, now: Instant) {
        let Some(subject) = &self.last else { return };
        let reply = self.machine.ping(now);
        if let Ok(reply) = SubjectRef::new(reply) {
            // If there is no room, the next one asks.
            let _ = self.client.shared().command(|inner| {
                inner.connection.publish_request(subject.borrowed(), reply, None, b"")
            });
        }
    }

    fn poll_add(
        &mut self,
        (what, subject, headers, payload): (What, &impl AsSubject, &PublishHeaders, &[u8]),
        context: &Context<'_>,
    ) -> Poll<Result<u64, FastBatchError>> {
        let headers = headers.get()?;
        let subject = subject.as_subject().map_err(PublishError::Subject);
        let subject = subject.map_err(FastBatchError::Publish)?;
        if subject.has_wildcards() {
            return Poll::Ready(Err(FastBatchError::Publish(PublishError::Wildcard)));
        }
        // Acks are looked for when there is no room, which is often enough.
        if !self.machine.has_room() || self.machine.is_over() {
            self.turn(context)?;
        }
        self.poll_send((what, subject, headers, payload), context)
    }

    fn poll_send(
        &mut self,
        (what, subject, headers, payload): (What, SubjectRef<'_>, Option<&HeaderMap>, &[u8]),
        context: &Context<'_>,
    ) -> Poll<Result<u64, FastBatchError>> {
        match self.end.take() {
            Some(Ok(ack)) => return Poll::Ready(Err(self.cut_short(&ack))),
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => {}
        }
        if self.notices.len() >= NOTICES {
            let unread = self.notices.len();
            return Poll::Ready(Err(FastBatchError::Unread { unread }));
        }
        if !self.machine.has_room() {
            return self.poll_wait(context);
        }
        let reply = match what {
            What::Append => self.machine.append()?,
            What::Commit => self.machine.commit(true)?,
            What::End => self.machine.commit(false)?,
        };
        let reply = SubjectRef::new(reply).map_err(PublishError::Reply);
        let reply = reply.map_err(FastBatchError::Publish)?;
        let began = self.connects;
        let sent = self.client.shared().poll_with_room(
            &mut self.room,
            context,
            |error| *error == Some(PublishError::Full),
            |inner: &mut Inner| {
                let connects = inner.connection.statistics().connects;
                if !inner.connection.is_connected() || began.is_some_and(|began| began != connects)
                {
                    return Err(None);
                }
                let sent = inner.connection.publish_request(subject, reply, headers, payload);
                sent.map(|_| connects).map_err(Some)
            },
        );
        match sent {
            Poll::Ready(Ok(connects)) => {
                self.connects.get_or_insert(connects);
                if self.last.as_ref().is_none_or(|last| last.as_bytes() != subject.as_bytes()) {
                    self.last = Some(subject.to_subject());
                }
                self.quiet_since = None;
                Poll::Ready(Ok(self.machine.messages()))
            }
            Poll::Ready(Err(Some(error))) => {
                self.machine.take_back();
                Poll::Ready(Err(FastBatchError::Publish(error)))
            }
            Poll::Ready(Err(None)) if began.is_none() => {
                self.machine.take_back();
                self.turn(context)?;
                self.poll_wait(context)
            }
            Poll::Ready(Err(None)) => {
                self.machine.fail();
                let acknowledged = self.machine.acknowledged();
                Poll::Ready(Err(FastBatchError::Lost { acknowledged }))
            }
            Poll::Pending => {
                self.machine.take_back();
                Poll::Pending
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Append,
    Commit,
    End,
}

impl Drop for FastBatch {
    fn drop(&mut self) {
        self.room.abandon(self.client.shared());
    }
}

impl fmt::Debug for FastBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FastBatch").field("machine", &self.machine).finish_non_exhaustive()
    }
}
