//! Publishing many messages to streams, with many on their way.

mod duplicates;
mod message;

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge_jetstream::{
    Answer, Outgoing, PublishHeadersError, PublishOrder, PublishWindow, Report, WindowConfig,
    WindowOutput,
};
use midge_proto::{
    HeaderError, HeaderMap, Instant, Position, PublishError, Subject, SubjectRef, SubscribeError,
};

use self::duplicates::Duplicates;
pub use self::message::{PublishWindowed, PublishingWindowed};
use super::JetStream;
use super::request::FeatureError;
use crate::alarm::{Alarm, Changes};
use crate::ask::is_no_responders;
use crate::room::{Room, RoomWait};
use crate::shared::{Inner, Shared, lock};
use crate::status::State;
use crate::subscribe::Plan;
use crate::{EndReason, ServerError, Subscription};

/// The time that may pass without any outcome. Long enough for a reconnect.
const STALL: Duration = Duration::from_secs(30);
/// Reports that may be unread, at least.
const REPORTS: usize = 1024;
/// Acks that may be unread, besides those for two windows.
const ACKS: usize = 4_096;
/// Acks are looked for this often, also while there is room.
const TURN: Duration = Duration::from_millis(5);
/// Publishing that has waited goes on when one part in so many of the window is free.
const PARTS: usize = 4;

impl JetStream {
    /// A publisher with many messages on their way at a time.
    ///
    /// `.await` gives `Result<Publisher, PublisherError>`.
    ///
    /// ```no_run
    /// # async fn example(js: &midge::jetstream::JetStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut publisher = js.publisher().await?;
    /// for number in 0..1_000_000 {
    ///     publisher.publish("numbers", number.to_string()).await?;
    /// }
    /// publisher.flush().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn publisher(&self) -> PublisherBuilder {
        let duplicate_window = Duration::MAX;
        let config =
            WindowConfig { ack_wait: self.timeout(), duplicate_window, ..WindowConfig::default() };
        PublisherBuilder { js: self.clone(), config, stall: STALL }
    }
}

/// A publisher that is about to be made. Made by [`JetStream::publisher`].
#[derive(Clone, Debug)]
#[must_use = "there is no publisher until `.await`"]
pub struct PublisherBuilder {
    js: JetStream,
    config: WindowConfig,
    stall: Duration,
}

impl PublisherBuilder {
    /// How much may be on its way: messages, and bytes of subjects, headers and payloads. One
    /// message alone may have more. Once it is full, publishing waits until a quarter of it is free,
    /// so that messages go out many at a time. Default: 256, and 8 MiB.
    pub fn window(mut self, messages: usize, bytes: usize) -> Self {
        self.config.max_messages = messages;
        self.config.max_bytes = bytes;
        self
    }

    /// The order in which messages come into the stream. Default: [`PublishOrder::Sent`].
    pub fn order(mut self, order: PublishOrder) -> Self {
        self.config.order = order;
        self
    }

    /// How often a message is sent again that no stream took, and the time before. Default: 2 and
    /// 250 ms (ADR-22).
    pub fn retries(mut self, retries: u32, wait: Duration) -> Self {
        self.config.retries = retries;
        self.config.retry_wait = wait;
        self
    }

    /// The time for an ack, after which a message is sent again, by the same id. Default: that of
    /// the [`JetStream`], 5 s.
    pub fn ack_wait(mut self, time: Duration) -> Self {
        self.config.ack_wait = time;
        self
    }

    /// For how long the streams know message ids again: their `duplicate_window`. A message that may
    /// have been stored is sent again within three quarters of it only. Default: what a stream says
    /// when it is asked, before the first message is sent again; 2 minutes, which streams have by
    /// default, if it may not be asked.
    pub fn duplicate_window(mut self, time: Duration) -> Self {
        self.config.duplicate_window = time;
        self
    }

    /// How long publishing and flushing wait while no outcome of any message becomes known. Default:
    /// 30 s.
    pub fn stall(mut self, time: Duration) -> Self {
        self.stall = time;
        self
    }

    /// Also reports each message that was stored, which then has to be read.
    pub fn report_stored(mut self) -> Self {
        self.config.report_stored = true;
        self
    }
}

impl IntoFuture for PublisherBuilder {
    type Output = Result<Publisher, PublisherError>;
    type IntoFuture = MakingPublisher;

    fn into_future(self) -> Self::IntoFuture {
        MakingPublisher { builder: self, made: None, wait: RoomWait::new(Room::Control) }
    }
}

/// The future of a [`PublisherBuilder`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct MakingPublisher {
    builder: PublisherBuilder,
    made: Option<(Plan, String)>,
    wait: RoomWait,
}

impl Future for MakingPublisher {
    type Output = Result<Publisher, PublisherError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { builder, made, wait } = &mut *self;
        let client = builder.js.client();
        let shared = &client.handle().shared;
        let (plan, inbox) = made.get_or_insert_with(|| {
            let inbox = client.new_inbox() + ".";
            let subject = Subject::try_from(format!("{inbox}*"))
                .expect("an inbox is a checked prefix and a token");
            // One ack may come for each time that a message was sent.
            let most = builder.config.max_messages.saturating_mul(2).saturating_add(ACKS);
            (Plan::answers(subject, most), inbox)
        });
        let sid = ready!(shared.poll_with_room(
            wait,
            context,
            |error| *error == SubscribeError::Full,
            |inner| plan.make(shared, inner),
        ))?;
        let acks = Subscription::new(plan.made(client.handle().clone(), sid));
        let id = client.new_inbox();
        let id = format!("{}-", id.rsplit('.').next().unwrap_or_default());
        let mut window = PublishWindow::new(builder.config.clone(), id)?;
        let (changes, state) = Changes::new(shared.clone());
        if let State::Connected { .. } = state {
            window.connected();
        }
        Poll::Ready(Ok(Publisher {
            alarm: Alarm::new(shared.clone()),
            room: RoomWait::new(Room::Messages),
            js: builder.js.clone(),
            duplicates: Duplicates::new(builder.config.duplicate_window),
            held: None,
            reports: builder.config.max_messages.max(REPORTS),
            stall: builder.stall,
            reply: inbox.clone(),
            inbox: inbox.len(),
            window,
            acks,
            changes,
            closed: false,
            denied: None,
            until: None,
            next_turn: Instant::ZERO,
            full: false,
            seen: 0,
            quiet_since: None,
        }))
    }
}

impl Drop for MakingPublisher {
    fn drop(&mut self) {
        self.wait.abandon(self.builder.js.client().shared());
    }
}

/// Why a publisher does not go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublisherError {
    /// What was asked for contradicts itself. The message was not taken.
    #[error(transparent)]
    Headers(#[from] PublishHeadersError),
    /// The message, such as its subject, is not valid. It was not taken.
    #[error(transparent)]
    Publish(PublishError),
    /// The server, or domain, is too old for a header of the message, or was asked and did not say.
    /// The message was not taken.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// It is not known yet whether the server knows a header of the message: publish the first such
    /// message of a connection with `.await`. The message was not taken.
    #[error("it is not known yet what the server can do: publish with `.await`, which asks")]
    LevelUnknown,
    /// There is no room in the window. The message was not taken.
    #[error("{pending} messages wait for their acks: publish with `.await`, or flush")]
    Full {
        /// Messages whose outcome is not known.
        pending: usize,
    },
    /// For as long as `stall` says, nothing became known of any message. A message that was to be
    /// published was not taken.
    #[error(
        "no ack came for too long, {pending} messages wait for theirs: see whether there is a connection, and whether the stream has a leader"
    )]
    Stalled {
        /// Messages whose outcome is not known.
        pending: usize,
    },
    /// Too many reports wait to be read. The message was not taken.
    #[error(
        "{unread} reports of messages that failed or moved are not read: take them with `next_report`"
    )]
    Unread {
        /// Reports that wait.
        unread: usize,
    },
    /// Messages have failed. Their reports say which, and why.
    #[error(
        "{failed} messages are not stored, or not known to be: take the reports with `next_report`"
    )]
    Failed {
        /// Messages whose failure was reported and not read.
        failed: usize,
    },
    /// The inbox for acks could not be subscribed to.
    #[error("no acks could be received: {0}")]
    Inbox(SubscribeError),
    /// The server denies the inbox for acks. The message was not taken; those that were sent are
    /// reported, and may be stored.
    #[error("no acks come, so the user must be permitted to subscribe to its inboxes: {0}")]
    Denied(ServerError),
    /// The prefix of inboxes cannot stand in a header.
    #[error("no message ids can be made of the client's prefix of inboxes: {0}")]
    MessageId(HeaderError),
    /// The connection is closed. What is not stored is reported.
    #[error("the connection is closed")]
    Closed,
}

impl From<SubscribeError> for PublisherError {
    fn from(error: SubscribeError) -> Self {
        Self::Inbox(error)
    }
}

impl From<HeaderError> for PublisherError {
    fn from(error: HeaderError) -> Self {
        Self::MessageId(error)
    }
}

/// A publisher of many messages to streams.
///
/// Up to a window of messages is on its way; publishing waits while it is full. Each message gets a
/// message id unless it has one, and is sent again where that cannot store it twice: when no stream
/// took it, when no ack came in time, or when the connection was lost. One that was given up is
/// reported with its reason and its content, by [`next_report`](Self::next_report); too many reports
/// that nobody reads stop the publisher. Nothing fails in silence.
///
/// It works while [`publish`](Self::publish), [`flush`](Self::flush) or [`next_report`](Self::next_report)
/// is awaited, and only then: acks that come meanwhile wait, and what has to be sent again is sent
/// at the next of these calls. Finish with a flush.
///
/// Dropping it gives up what is on its way, which may be stored or not. A drain of the client waits
/// until the publisher is dropped, for at most `drain_timeout`.
pub struct Publisher {
    js: JetStream,
    window: PublishWindow,
    acks: Subscription,
    changes: Changes,
    alarm: Alarm,
    room: RoomWait,
    duplicates: Duplicates,
    /// The subject of a message that is not sent again before its stream was asked.
    held: Option<Subject>,
    /// Reports that may be unread.
    reports: usize,
    stall: Duration,
    /// The reply subject that is being built: the inbox, and a token.
    reply: String,
    /// Bytes of the inbox, with the dot behind it.
    inbox: usize,
    closed: bool,
    /// Why no acks come.
    denied: Option<ServerError>,
    /// When the window wants to be asked again.
    until: Option<Instant>,
    /// Acks are looked for by then, though there is room.
    next_turn: Instant,
    /// There was no room, and there is not much yet.
    full: bool,
    /// Outcomes when they were last counted, and since when there are no more.
    seen: u64,
    quiet_since: Option<Instant>,
}

impl Publisher {
    /// Waits until the outcome of every message is known.
    ///
    /// `.await` gives `Result<(), PublisherError>`: [`PublisherError::Failed`] while there are
    /// reports of failed messages that were not read, [`PublisherError::Stalled`] when nothing
    /// goes on, [`PublisherError::Denied`] when no acks may come.
    pub async fn flush(&mut self) -> Result<(), PublisherError> {
        self.quiet_since = None;
        poll_fn(|context| {
            self.turn(context);
            if let Some(error) = &self.denied {
                return Poll::Ready(Err(PublisherError::Denied(error.clone())));
            }
            if self.window.pending() == 0 {
                return Poll::Ready(match self.window.unread_failures() {
                    0 => Ok(()),
                    failed => Err(PublisherError::Failed { failed }),
                });
            }
            self.poll_wait(context)
        })
        .await
    }

    /// The next report, in the order in which things became known; `None` once all messages are
    /// stored and nothing is left to report. Waits as long as that takes.
    pub async fn next_report(&mut self) -> Option<Report> {
        poll_fn(|context| {
            self.turn(context);
            if let Some(report) = self.window.take_report() {
                return Poll::Ready(Some(report));
            }
            if self.window.pending() == 0 {
                return Poll::Ready(None);
            }
            self.poll_alarm(None, context);
            Poll::Pending
        })
        .await
    }

    /// The next report that is there.
    pub fn try_next_report(&mut self) -> Option<Report> {
        self.window.take_report()
    }

    /// Messages whose outcome is not known yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.window.pending()
    }

    /// Reports that are not read.
    #[must_use]
    pub fn unread_reports(&self) -> usize {
        self.window.unread()
    }

    // ---- taking messages -----------------------------------------------------------------

    /// Whether a message of so many bytes can be taken now.
    fn has_room(&self, size: usize) -> Result<bool, PublisherError> {
        if self.closed {
            return Err(PublisherError::Closed);
        }
        if let Some(error) = &self.denied {
            return Err(PublisherError::Denied(error.clone()));
        }
        if self.window.unread() >= self.reports {
            return Err(PublisherError::Unread { unread: self.window.unread() });
        }
        Ok(self.window.has_room(size))
    }

    fn poll_take(
        &mut self,
        subject: SubjectRef<'_>,
        headers: &mut Option<HeaderMap>,
        payload: &[u8],
        context: &mut Context<'_>,
    ) -> Poll<Result<u64, PublisherError>> {
        let block = headers.as_ref().map_or(0, |headers| headers.as_bytes().len());
        let size = subject.as_bytes().len() + block + payload.len();
        let now = self.alarm.now();
        if now >= self.next_turn || self.full || !self.has_room(size)? {
            self.turn(context);
            self.next_turn = now + TURN;
        }
        let room = self.has_room(size)?;
        if !room || (self.full && !self.window.has_part_free(size, PARTS)) {
            self.full = true;
            let wait = self.poll_wait(context);
            // Each ack makes room for one message. Woken for each, the publisher would send one at a
            // time.
            if wait.is_pending() && !self.acks.wake_at((self.window.in_flight() / PARTS).max(1)) {
                context.waker().wake_by_ref();
            }
            return wait;
        }
        self.full = false;
        self.quiet_since = None;
        let number = self.window.push(subject, headers.take(), payload);
        self.send(now, None);
        Poll::Ready(Ok(number))
    }

    // ---- going on ------------------------------------------------------------------------

    /// Takes what has come, and sends what is due.
    fn turn(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(state) = self.changes.poll(context) {
            self.changed(&state);
        }
        let now = self.alarm.now();
        while let Poll::Ready(message) = self.acks.poll_message(context) {
            let Some(message) = message else {
                self.inbox_ended();
                break;
            };
            let token = Outgoing::read_token(message.subject_bytes(), self.inbox);
            let Some(token) = token else { continue };
            let answer = match is_no_responders(&message) {
                true => Answer::NoResponders,
                false => Answer::Payload(message.payload()),
            };
            self.window.answered(token, answer, now);
        }
        self.send(now, Some(context));
        while let Some(subject) = &self.held {
            let subject = subject.borrowed();
            match self.duplicates.poll(&self.js, subject, now, context) {
                Poll::Ready(window) => self.window.limit_duplicates(window),
                Poll::Pending => break,
            }
            self.send(now, Some(context));
        }
    }

    /// Nothing will be heard of any message.
    fn inbox_ended(&mut self) {
        let Some(EndReason::Denied(error)) = self.acks.end() else { return };
        if self.denied.is_none() {
            self.denied = Some(error);
            let inner = lock(&self.js.client().shared().inner);
            let dropped = &inner.connection.fates().dropped.positions;
            self.window.closed(|position| dropped.contains(position));
        }
    }

    fn changed(&mut self, state: &State) {
        let shared = self.js.client().shared();
        let inner = lock(&shared.inner);
        if *state == State::Draining && inner.connection.is_connected() {
            return;
        }
        let dropped = &inner.connection.fates().dropped.positions;
        if let State::Closed { .. } = state {
            self.closed = true;
            self.window.closed(|position| dropped.contains(position));
            return;
        }
        // The state may have changed twice: what was on its way is lost in any case.
        self.window.disconnected(|position| dropped.contains(position));
        if inner.connection.is_connected() {
            self.window.connected();
        }
    }

    /// Does what the window says, until it is idle. With a context, it waits for room.
    fn send(&mut self, now: Instant, context: Option<&Context<'_>>) {
        let shared = &self.js.client().handle().shared;
        self.held = None;
        // What is left for want of room or a connection is gone on with by their wakers.
        self.until = None;
        loop {
            match self.window.poll(now) {
                WindowOutput::Send(number) => {
                    let Some(outgoing) = self.window.outgoing(number) else { return };
                    if outgoing.in_doubt && !self.duplicates.knows(outgoing.subject) {
                        self.held = Some(outgoing.subject.to_subject());
                        return;
                    }
                    self.reply.truncate(self.inbox);
                    outgoing.write_token(&mut self.reply);
                    let sent = publish(shared, &outgoing, &self.reply, &mut self.room, context);
                    match sent {
                        Ok(position) => self.window.sent(number, position, now),
                        Err(None | Some(PublishError::Full | PublishError::Closed)) => return,
                        Err(Some(error)) => self.window.not_sent(number, error),
                    }
                }
                WindowOutput::Withdraw(number, position) => {
                    let certain = shared.command(|inner| inner.connection.withdraw(position));
                    self.window.withdrawn(number, certain, now);
                }
                WindowOutput::Idle(until) => {
                    self.until = until;
                    return;
                }
            }
        }
    }

    /// Waits for anything that happens, but not for longer than it may take.
    fn poll_wait<T>(&mut self, context: &Context<'_>) -> Poll<Result<T, PublisherError>> {
        let now = self.alarm.now();
        if self.seen != self.window.progress() {
            self.seen = self.window.progress();
            self.quiet_since = None;
        }
        let stalled = *self.quiet_since.get_or_insert(now) + self.stall;
        if stalled <= now {
            self.quiet_since = None;
            return Poll::Ready(Err(PublisherError::Stalled { pending: self.window.pending() }));
        }
        self.poll_alarm(Some(stalled), context);
        Poll::Pending
    }

    fn poll_alarm(&mut self, stalled: Option<Instant>, context: &Context<'_>) {
        self.js.client().handle().shared.write_before_waiting();
        let held = self.held.as_ref().and_then(|_| self.duplicates.due());
        let until = [self.until, stalled, held].into_iter().flatten().min();
        match until {
            None => self.alarm.stop(),
            Some(until) => {
                if self.alarm.poll(until, context).is_ready() {
                    context.waker().wake_by_ref();
                }
            }
        }
    }
}

/// Queues a message. Fails with `None` while there is no connection, or no room that can be waited
/// for.
fn publish(
    shared: &Arc<Shared>,
    outgoing: &Outgoing<'_>,
    reply: &str,
    room: &mut RoomWait,
    context: Option<&Context<'_>>,
) -> Result<Position, Option<PublishError>> {
    let subject = outgoing.subject;
    let reply = SubjectRef::new(reply).map_err(PublishError::Reply)?;
    let run = |inner: &mut Inner| {
        if !inner.connection.is_connected() {
            return Err(None);
        }
        let (headers, payload) = (Some(outgoing.headers), outgoing.payload);
        inner.connection.publish_request(subject, reply, headers, payload).map_err(Some)
    };
    let Some(context) = context else { return shared.publish_by(run) };
    let full = |error: &Option<PublishError>| *error == Some(PublishError::Full);
    match shared.poll_with_room(room, context, full, run) {
        Poll::Ready(result) => result,
        Poll::Pending => Err(None),
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.room.abandon(self.js.client().shared());
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher")
            .field("pending", &self.pending())
            .field("unread_reports", &self.unread_reports())
            .finish_non_exhaustive()
    }
}
