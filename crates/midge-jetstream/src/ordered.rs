//! Reading a stream in order and without gaps, by consumers that are made anew (ADR-17).

use alloc::collections::VecDeque;
use core::time::Duration;

use midge_proto::Instant;

use crate::Time;
use crate::backoff::Backoff;
use crate::codes::ErrorCode;
use crate::error::ApiError;
use crate::notice::{Notice, PullEnd, ResetCause};
use crate::pull::{PullMachine, PullOutput};
use crate::pull_config::{PullConfig, PullRequest};
use crate::silence::Silence;
use crate::status::{StatusKind, StatusMessage};

/// What is to be done for an ordered consumer, one thing at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "each output but `Wait` is given once"]
pub enum OrderedOutput {
    /// Make a consumer, with an inbox of its own, and say what came of it by
    /// [`OrderedMachine::created`], [`OrderedMachine::not_created`] or
    /// [`OrderedMachine::nobody_heard`]. What still comes for the one
    /// before is to be dropped, and what comes for this one is to be kept until it is said to be
    /// there: a server pushes before it answers.
    Create {
        /// The number of the consumer, which its name ends with.
        serial: u64,
        /// The message of the stream to begin with; `None`: where the caller wants to begin.
        from: Option<u64>,
    },
    /// Delete a consumer, if it exists, and say what came of it by [`OrderedMachine::deleted`]. The
    /// server does it too, after its `inactive_threshold`.
    Delete {
        /// Its number.
        serial: u64,
    },
    /// Ask for messages, by [`OrderedMachine::write_request`]. If that cannot be sent, say so by
    /// [`OrderedMachine::not_sent`].
    Pull(PullRequest),
    /// Something was noticed.
    Notice(Notice),
    /// Nothing more comes.
    End(OrderedEnd),
    /// Nothing to do until then, or until something comes.
    Wait(Option<Instant>),
}

/// Why an ordered consumer gives nothing more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrderedEnd {
    /// It was stopped.
    #[error("consuming was stopped")]
    Stopped,
    /// The connection was closed.
    #[error("the connection was closed")]
    Closed,
    /// The stream does not exist any more.
    #[error("the stream does not exist any more: {0}")]
    StreamGone(ApiError),
}

/// What the server says of a consumer that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The message of the stream before the first one that it delivers: `delivered.stream_seq`.
    pub before: u64,
    /// What the stream is, if that was asked: it tells when the stream was replaced.
    pub stream: Option<StreamNow>,
}

/// A stream as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamNow {
    /// The number of its first message.
    pub first: u64,
    /// When that was stored; `None` when there is none.
    pub first_time: Option<Time>,
    /// The number of its last message, which may be gone.
    pub last: u64,
    /// When that was stored.
    pub last_time: Option<Time>,
    /// When it was made.
    pub created: Option<Time>,
    /// When this was so, by the clock of the server.
    pub now: Option<Time>,
}

/// Nanoseconds by which the clocks of servers that lead one after the other may differ, or one be set
/// back.
const SKEW: i128 = 1_000_000_000;

impl StreamNow {
    /// Whether numbers are given again that were given by this time, up to `given`: what has one of
    /// them was stored later, or none was ever given.
    fn has_begun_anew(&self, given: u64, by: i64) -> bool {
        // Of a stream that has as many messages as before, the times alone are evidence.
        let skew = if self.last < given { 0 } else { SKEW };
        let is_new = |number: u64, time: Option<Time>| {
            number <= given && time.is_some_and(|time| time.unix_nanos() > i128::from(by) + skew)
        };
        self.last == 0 || is_new(self.first, self.first_time) || is_new(self.last, self.last_time)
    }
}

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a message is handed out only with `Deliver`"]
pub enum Verdict {
    /// It is the next one.
    Deliver,
    /// It was handed out before, or comes from a consumer that was given up.
    Drop,
}

/// An ordered consumer: a stream in order, each message once, whatever happens to connections,
/// servers and consumers.
///
/// Each consumer counts its deliveries, so that a gap shows at the next message or heartbeat. Then,
/// and when its heartbeats stop, when the server says that it has gone, and after a new
/// connection, another consumer is made behind the last message that was handed out: at once the
/// first time, and after 100 ms to 4.5 s when that brings no message either. The old one is deleted.
/// It ends by itself only when the stream is said not to exist several times in a row.
#[derive(Clone, Debug)]
pub struct OrderedMachine {
    phase: Phase,
    end: Option<OrderedEnd>,
    connected: bool,
    /// The connection was lost while there was a consumer.
    lost: bool,
    serial: u64,
    /// The last message of the stream that was handed out, or the one before the first.
    cursor: Option<u64>,
    /// It cannot be said from the first consumer alone where the next one would have to begin.
    by_subject: bool,
    /// The message of the stream before the first one that the present consumer delivers.
    before: u64,
    /// The last number of the consumer.
    consumer_sequence: u64,
    /// When the last message that was handed out was stored, by the clock of the server. Where there
    /// was none, a time by which the one before the first was stored.
    stored_by: Option<i64>,
    created: Option<Time>,
    created_at: Instant,
    /// Messages are pulled, else pushed.
    pull: Option<PullMachine>,
    silence: Silence,
    heard: bool,
    retry_at: Instant,
    /// When the last consumer was asked for.
    asked: Option<Instant>,
    backoff: Backoff,
    /// How often in a row the stream did not exist.
    gone: u32,
    notices: VecDeque<Notice>,
    /// Consumers to be deleted, and when.
    deletes: VecDeque<Leftover>,
    told_behind: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// There is no consumer.
    None,
    Creating,
    Running,
}

/// A consumer that is to be deleted.
#[derive(Clone, Copy, Debug)]
struct Leftover {
    serial: u64,
    /// When to ask for it; `None` while it is asked for.
    due: Option<Instant>,
    /// The server has said that it is there.
    made: bool,
}

const NOTICES: usize = 32;
/// Consumers that are still to be deleted; the server deletes more by itself.
const DELETES: usize = 16;
/// The wait before another attempt to delete one.
const DELETE_AGAIN: Duration = Duration::from_secs(5);
/// Answers in a row after which a stream does not exist.
const GONE: u32 = 5;

impl OrderedMachine {
    /// By pulling, as the configuration says. `by_subject`: the deliver policy is
    /// `last_per_subject`. `seed` decides the random part of waits.
    #[must_use]
    pub fn pull(config: PullConfig, by_subject: bool, seed: u64) -> Self {
        let pull = PullMachine::consume(config, seed.rotate_left(32));
        Self { pull: Some(pull), ..Self::push(Duration::MAX, by_subject, seed) }
    }

    /// By being pushed to, with heartbeats this far apart.
    #[must_use]
    pub fn push(heartbeat: Duration, by_subject: bool, seed: u64) -> Self {
        Self {
            phase: Phase::None,
            end: None,
            connected: false,
            lost: false,
            serial: 1,
            cursor: None,
            by_subject,
            before: 0,
            consumer_sequence: 0,
            stored_by: None,
            created: None,
            created_at: Instant::ZERO,
            pull: None,
            silence: Silence::new(heartbeat, Instant::ZERO),
            heard: false,
            retry_at: Instant::ZERO,
            asked: None,
            backoff: Backoff::new(seed),
            gone: 0,
            notices: VecDeque::new(),
            deletes: VecDeque::new(),
            told_behind: false,
        }
    }

    // ---- what happens --------------------------------------------------------------------

    /// There is a connection, another than before.
    pub fn connected(&mut self, now: Instant) {
        let again = core::mem::replace(&mut self.connected, true);
        if (self.lost || again) && self.phase == Phase::Running {
            self.reset(ResetCause::Reconnected, now);
        }
        self.lost = false;
        if self.phase == Phase::None {
            self.retry_at = now;
        }
    }

    /// There is none.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.lost = true;
    }

    /// The consumer was made.
    pub fn created(&mut self, created: Created, now: Instant) {
        if self.phase != Phase::Creating {
            return;
        }
        self.gone = 0;
        if let Some(stream) = created.stream {
            let replaced = self.created.is_some() && stream.created != self.created;
            self.created = stream.created.or(self.created);
            let handed_out = self.cursor.unwrap_or(0);
            let lost = |by| handed_out > 0 && stream.has_begun_anew(handed_out, by);
            if replaced || self.stored_by.is_some_and(lost) {
                self.replaced(now);
                return;
            }
            // What begins with a message to come has handed out none of those before it.
            if self.stored_by.is_none() && created.before <= stream.last {
                let nanos = stream.now.map(Time::unix_nanos);
                self.stored_by = nanos.and_then(|nanos| i64::try_from(nanos).ok());
            }
            if stream.last < handed_out && !self.told_behind {
                self.told_behind = true;
                self.notice(Notice::StreamBehind { handed_out, last: stream.last });
            }
        }
        self.phase = Phase::Running;
        self.before = created.before;
        if !self.by_subject {
            self.all_is_new();
        }
        self.consumer_sequence = 0;
        self.created_at = now;
        self.heard = true;
        if let Some(pull) = &mut self.pull {
            pull.connected();
        }
        if self.lost {
            self.lost = !self.connected;
            self.reset(ResetCause::Reconnected, now);
        }
    }

    /// There was nothing for the consumer that was made, or what there was has come or gone: another
    /// one begins behind the last message, else where this one began, also by subject.
    pub fn all_is_new(&mut self) {
        if self.phase == Phase::Running {
            self.cursor.get_or_insert(self.before);
        }
    }

    /// The consumer was not made, for this reason; `None` when it is not known whether it was.
    pub fn not_created(&mut self, error: Option<ApiError>, now: Instant) {
        if self.phase != Phase::Creating {
            return;
        }
        let gone = error.as_ref().is_some_and(|it| it.err_code == ErrorCode::STREAM_NOT_FOUND);
        self.gone = if gone { self.gone + 1 } else { 0 };
        if let Some(error) = error.as_ref().filter(|_| self.gone >= GONE) {
            self.end.get_or_insert(OrderedEnd::StreamGone(error.clone()));
        }
        let unknown = error.is_none();
        self.notice(Notice::CreateFailed(error));
        self.begin_anew(now, unknown);
    }

    /// Nobody listened to the request for a consumer, so there is none to be deleted.
    pub fn nobody_heard(&mut self, now: Instant) {
        if self.phase == Phase::Creating {
            self.gone = 0;
            self.notice(Notice::CreateFailed(None));
            self.begin_anew(now, false);
        }
    }

    /// A consumer was deleted, or was not there; `false`: it may still be there.
    pub fn deleted(&mut self, serial: u64, gone: bool, now: Instant) {
        let Some(place) = self.deletes.iter().position(|it| it.serial == serial) else { return };
        if gone {
            self.deletes.remove(place);
        } else {
            self.deletes[place].due = Some(now + DELETE_AGAIN);
        }
    }

    /// A message came, with its numbers in the consumer and the stream, and the time that it was stored,
    /// in nanoseconds.
    #[inline]
    pub fn message(
        &mut self,
        consumer: u64,
        stream: u64,
        stored: i64,
        size: usize,
        now: Instant,
    ) -> Verdict {
        if self.phase != Phase::Running || self.end.is_some() {
            return Verdict::Drop;
        }
        if consumer != self.consumer_sequence.saturating_add(1) {
            self.reset(ResetCause::Gap, now);
            return Verdict::Drop;
        }
        self.consumer_sequence = consumer;
        self.heard = true;
        if let Some(pull) = &mut self.pull {
            pull.message(size, None);
        }
        if self.cursor.is_some_and(|cursor| stream <= cursor) {
            self.dropped(stored, now);
            return Verdict::Drop;
        }
        self.cursor = Some(stream);
        self.stored_by = Some(stored);
        self.told_behind = false;
        self.backoff.reset();
        Verdict::Deliver
    }

    /// The server said something. A flow control is to be answered by the caller.
    pub fn status(&mut self, status: &StatusMessage<'_>, now: Instant) {
        if self.phase != Phase::Running {
            return;
        }
        self.heard = true;
        match status.kind {
            StatusKind::IdleHeartbeat
                if status
                    .last_consumer_sequence()
                    .is_some_and(|last| last > self.consumer_sequence) =>
            {
                self.reset(ResetCause::GapAtHeartbeat, now);
            }
            StatusKind::ConsumerDeleted => {
                self.reset(ResetCause::ConsumerDeleted, now);
            }
            StatusKind::LeadershipChange
            | StatusKind::ServerShutdown
            | StatusKind::NoResponders
            | StatusKind::PushBased => {
                self.reset(ResetCause::ConsumerLost, now);
            }
            _ => {
                if let Some(pull) = &mut self.pull {
                    pull.status(status, now);
                }
            }
        }
    }

    /// The inbox of the consumer ended without the caller's doing.
    pub fn inbox_lost(&mut self, now: Instant) {
        if self.phase == Phase::Running {
            self.reset(ResetCause::ConsumerLost, now);
        }
    }

    /// A request for messages could not be sent.
    pub fn not_sent(&mut self, now: Instant) {
        if let Some(pull) = &mut self.pull {
            pull.not_sent(now);
        }
    }

    /// Nothing more is wanted: the consumer is to be deleted.
    pub fn stop(&mut self, end: OrderedEnd) {
        if self.end.is_none() {
            self.end = Some(end);
            if self.phase != Phase::None {
                self.forget_consumer();
            }
            self.phase = Phase::None;
        }
    }

    // ---- what to do ----------------------------------------------------------------------

    /// What to do now. To be called until it says `Wait`, and again at that moment and after
    /// anything that happens. A `Wait` is later than `now`.
    pub fn poll(&mut self, now: Instant) -> OrderedOutput {
        if let Some(notice) = self.notices.pop_front() {
            return OrderedOutput::Notice(notice);
        }
        if self.connected
            && let Some(leftover) =
                self.deletes.iter_mut().find(|it| it.due.is_some_and(|due| now >= due))
        {
            leftover.due = None;
            return OrderedOutput::Delete { serial: leftover.serial };
        }
        if let Some(end) = &self.end {
            return OrderedOutput::End(end.clone());
        }
        if !self.connected {
            return OrderedOutput::Wait(None);
        }
        let output = self.poll_phase(now);
        let due = self.deletes.iter().filter_map(|it| it.due).min();
        match (output, due) {
            (OrderedOutput::Wait(until), Some(due)) => {
                OrderedOutput::Wait(Some(until.map_or(due, |until| until.min(due))))
            }
            (output, _) => output,
        }
    }

    fn poll_phase(&mut self, now: Instant) -> OrderedOutput {
        match self.phase {
            Phase::None if now < self.retry_at => OrderedOutput::Wait(Some(self.retry_at)),
            Phase::None => {
                self.phase = Phase::Creating;
                self.asked = Some(now);
                let from = self.cursor.map(|cursor| cursor.saturating_add(1));
                OrderedOutput::Create { serial: self.serial, from }
            }
            // The caller's request has a deadline.
            Phase::Creating => OrderedOutput::Wait(None),
            Phase::Running if self.pull.is_some() => self.poll_pull(now),
            Phase::Running => self.poll_push(now),
        }
    }

    /// Whether [`poll`](Self::poll) has more to say than to wait, after messages alone.
    #[inline]
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.end.is_some()
            || self.phase != Phase::Running
            || !self.notices.is_empty()
            || self.pull.as_ref().is_some_and(PullMachine::has_work)
    }

    /// Appends a request for messages as JSON.
    pub fn write_request(&self, request: &PullRequest, out: &mut alloc::vec::Vec<u8>) {
        if let Some(pull) = &self.pull {
            pull.write_request(request, out);
        }
    }

    /// The last message of the stream that was handed out, or the one before the first.
    #[must_use]
    pub fn cursor(&self) -> Option<u64> {
        self.cursor
    }

    /// The number of the present consumer, or of the next one.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The number of the last delivery of the present consumer; zero before the first.
    #[must_use]
    pub fn consumer_sequence(&self) -> u64 {
        self.consumer_sequence
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<&OrderedEnd> {
        self.end.as_ref()
    }

    // ---- inside --------------------------------------------------------------------------

    fn poll_pull(&mut self, now: Instant) -> OrderedOutput {
        let Some(pull) = &mut self.pull else { return OrderedOutput::Wait(None) };
        match pull.poll(now) {
            // Each inbox has a consumer of its own here.
            PullOutput::Pull(request) => {
                OrderedOutput::Pull(PullRequest { fresh: false, ..request })
            }
            PullOutput::Notice(Notice::HeartbeatsMissed) => {
                self.reset(ResetCause::HeartbeatsMissed, now);
                self.poll(now)
            }
            PullOutput::Notice(notice) => OrderedOutput::Notice(notice),
            PullOutput::Wait(until) => OrderedOutput::Wait(until),
            PullOutput::End(PullEnd::Done) => {
                self.stop(OrderedEnd::Stopped);
                self.poll(now)
            }
            PullOutput::End(_) | PullOutput::Check => {
                self.reset(ResetCause::ConsumerLost, now);
                self.poll(now)
            }
        }
    }

    fn poll_push(&mut self, now: Instant) -> OrderedOutput {
        if core::mem::take(&mut self.heard) {
            self.silence.begin(now);
        }
        if self.silence.is_over(now) {
            self.reset(ResetCause::HeartbeatsMissed, now);
            return self.poll(now);
        }
        OrderedOutput::Wait(Some(self.silence.until()))
    }

    /// A message has a number that was handed out. From a stream that has lost its end it may be new.
    #[cold]
    fn dropped(&mut self, stored: i64, now: Instant) {
        if self.told_behind && self.stored_by.is_some_and(|by| stored > by) {
            self.replaced(now);
        }
    }

    /// The numbers of the stream are given anew.
    #[cold]
    fn replaced(&mut self, now: Instant) {
        self.notice(Notice::StreamReplaced);
        self.cursor = Some(0);
        self.stored_by = None;
        self.told_behind = false;
        self.begin_anew(now, true);
    }

    /// The consumer is given up, and another one is to be made.
    #[cold]
    fn reset(&mut self, cause: ResetCause, now: Instant) {
        self.notice(Notice::Reset(cause));
        if now.saturating_since(self.created_at) >= Backoff::LONGEST {
            self.backoff.reset();
        }
        self.begin_anew(now, cause != ResetCause::ConsumerDeleted);
    }

    /// `exists`: there is a consumer to be deleted, perhaps.
    fn begin_anew(&mut self, now: Instant, exists: bool) {
        if exists {
            self.forget_consumer();
        }
        self.serial += 1;
        self.phase = Phase::None;
        if let Some(pull) = &mut self.pull {
            pull.another_consumer();
        }
        // Counted from the request: what was heard of too late has waited already.
        self.retry_at = self.asked.unwrap_or(now) + self.backoff.wait();
    }

    /// The present consumer is to be deleted. Those that may never have been made give way to others.
    fn forget_consumer(&mut self) {
        if self.deletes.len() == DELETES {
            let unsure = self.deletes.iter().position(|it| !it.made);
            self.deletes.remove(unsure.unwrap_or(0));
        }
        let (serial, made) = (self.serial, self.phase == Phase::Running);
        self.deletes.push_back(Leftover { serial, due: Some(Instant::ZERO), made });
    }

    fn notice(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES {
            self.notices.push_back(notice);
        }
    }
}
