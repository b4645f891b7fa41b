//! Publishing many messages at once: which are on their way, what came of each, what is sent again.

mod answers;
mod entry;
mod report;
mod types;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use midge_proto::{HeaderError, HeaderMap, Instant, Position, PublishError, SubjectRef};

use crate::PublishHeadersError;
use crate::publish::{EXPECTED_LAST_SEQUENCE, INCREMENT, MESSAGE_ID};
use entry::{Entry, State};
pub use report::{PublishFailure, Report};
pub use types::{Answer, Outgoing, PublishOrder, WindowConfig, WindowOutput};

/// The messages of one publisher that are on their way.
///
/// It keeps each message until the stream has it, sends it again where that cannot store it twice,
/// and reports each that failed. It knows neither sockets nor clocks: call [`poll`](Self::poll) and
/// do what it says, until it is idle.
#[derive(Debug)]
pub struct PublishWindow {
    config: WindowConfig,
    /// What message ids begin with that nobody else gave.
    id_prefix: String,
    /// The most bytes that a block of headers with nothing but such an id has.
    id_room: usize,
    connected: bool,
    /// In the order of their numbers; the first one has the number `base` and is open.
    /// Each has a place of its own, and none is copied from one to another.
    entries: VecDeque<Box<Entry>>,
    base: u64,
    /// No message with a lower number is ready to be sent.
    next: u64,
    /// Messages without an outcome.
    open: usize,
    /// Messages that were sent and wait for an answer.
    in_flight: usize,
    bytes: usize,
    /// No deadline is earlier.
    check_at: Option<Instant>,
    /// Messages that are to be taken back, if they were not written.
    late: VecDeque<(u64, Position)>,
    /// Chained: there is a gap. What is on its way is waited for, then all is sent again.
    recovering: bool,
    /// Chained: not before.
    resume_at: Instant,
    /// Chained: the last number of the stream, as the next message will find it.
    expected: Option<u64>,
    /// Chained: the message that was sent without knowing it, and tells it.
    sync: Option<u64>,
    /// The highest number of the stream that an ack has told.
    highest: u64,
    /// Entries that are out of use, for their memory.
    #[expect(clippy::vec_box, reason = "they move between here and the entries as they are")]
    spare: Vec<Box<Entry>>,
    /// Messages that were sent again and are stored, while ones that were sent before that are open.
    suspects: VecDeque<Suspect>,
    /// No number of theirs in the stream is higher.
    suspects_highest: u64,
    reports: VecDeque<Report>,
    failures: usize,
    progress: u64,
    /// The stream that answered last, and the beginning of its answers.
    stream: Arc<str>,
    /// Tells streams apart.
    stream_mark: u32,
    answers_begin: Vec<u8>,
}

#[derive(Debug)]
struct Suspect {
    number: u64,
    seq: u64,
    stream: u32,
    /// Those with lower numbers were sent before it was stored.
    horizon: u64,
}

const ATTEMPT_BITS: u32 = 16;
/// What a time that is not bounded ends at.
const NEVER: Instant = Instant::from_nanos(u64::MAX);

impl PublishWindow {
    /// An empty window without a connection. `id_prefix` begins the ids of messages that have none
    /// of their own; nobody else may use it.
    ///
    /// # Errors
    ///
    /// [`HeaderError`] when `id_prefix` cannot stand in a header.
    pub fn new(mut config: WindowConfig, id_prefix: String) -> Result<Self, HeaderError> {
        config.max_messages = config.max_messages.max(1);
        let mut longest = HeaderMap::new();
        longest.append(MESSAGE_ID, format!("{id_prefix}{}", u64::MAX))?;
        Ok(Self {
            config,
            id_prefix,
            id_room: longest.as_bytes().len(),
            connected: false,
            entries: VecDeque::new(),
            base: 1,
            next: 1,
            open: 0,
            in_flight: 0,
            bytes: 0,
            check_at: None,
            late: VecDeque::new(),
            recovering: false,
            resume_at: Instant::ZERO,
            expected: None,
            sync: None,
            highest: 0,
            spare: Vec::new(),
            suspects: VecDeque::new(),
            suspects_highest: 0,
            reports: VecDeque::new(),
            failures: 0,
            progress: 0,
            stream: Arc::from(""),
            stream_mark: 0,
            answers_begin: Vec::new(),
        })
    }

    // ---- looking at it -------------------------------------------------------------------

    /// Messages whose outcome is not known yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.open
    }

    /// Messages that were sent and wait for an answer.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// The bytes that the window holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many outcomes have become known: while it stands still, nothing goes on.
    #[must_use]
    pub fn progress(&self) -> u64 {
        self.progress
    }

    /// Failures among the reports that were not taken.
    #[must_use]
    pub fn unread_failures(&self) -> usize {
        self.failures
    }

    /// Reports that were not taken.
    #[must_use]
    pub fn unread(&self) -> usize {
        self.reports.len()
    }

    /// The oldest report that was not taken.
    pub fn take_report(&mut self) -> Option<Report> {
        let report = self.reports.pop_front()?;
        if let Report::Failed { .. } = report {
            self.failures -= 1;
        }
        Some(report)
    }

    /// Whether a message of so many bytes (subject, headers and payload) has room, and the id that
    /// it may get.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        self.fits(1, bytes.saturating_add(self.id_room))
    }

    /// Whether a message of so many bytes has room, and one part in `parts` of the window is free with
    /// it: for one who has waited for room, and goes on with many messages rather than with one for
    /// each ack.
    #[must_use]
    pub fn has_part_free(&self, bytes: usize, parts: usize) -> bool {
        let part = |most: usize| most.div_ceil(parts.max(1));
        let bytes = bytes.saturating_add(self.id_room).max(part(self.config.max_bytes));
        self.fits(part(self.config.max_messages), bytes)
    }

    /// An empty window takes any message.
    #[inline]
    fn fits(&self, messages: usize, bytes: usize) -> bool {
        self.entries.is_empty()
            || self.entries.len() + messages <= self.config.max_messages
                && self.bytes.saturating_add(bytes) <= self.config.max_bytes
    }

    // ---- messages ------------------------------------------------------------------------

    /// Whether messages may have these headers.
    ///
    /// # Errors
    ///
    /// [`PublishHeadersError::Chained`] for `Nats-Expected-Last-Sequence` and `Nats-Incr` in a chain.
    pub fn check_headers(&self, headers: &HeaderMap) -> Result<(), PublishHeadersError> {
        let refused = match self.config.order {
            PublishOrder::Chained => &[EXPECTED_LAST_SEQUENCE, INCREMENT][..],
            _ => &[],
        };
        match refused.iter().find(|header| headers.get(header).is_some()) {
            Some(header) => Err(PublishHeadersError::Chained { header }),
            None => Ok(()),
        }
    }

    /// Takes a message, which [`has_room`](Self::has_room), with headers that
    /// [`check_headers`](Self::check_headers) lets pass, and returns its number. It gets a message id
    /// unless its headers have one.
    pub fn push(
        &mut self,
        subject: SubjectRef<'_>,
        headers: Option<HeaderMap>,
        payload: &[u8],
    ) -> u64 {
        let number = self.base + self.entries.len() as u64;
        let mut entry = self.spare.pop().unwrap_or_default();
        let id_given = headers.as_ref().is_some_and(|headers| headers.get(MESSAGE_ID).is_some());
        if let Some(headers) = headers {
            entry.headers = headers;
        }
        if !id_given {
            let mut id = core::mem::take(&mut entry.scratch);
            id.push_str(&self.id_prefix);
            id.push_str(itoa::Buffer::new().format(number));
            entry
                .headers
                .append(MESSAGE_ID, &id)
                .expect("the prefix was checked when the window was made, and digits follow it");
            id.clear();
            entry.scratch = id;
        }
        entry.body.extend_from_slice(subject.as_bytes());
        entry.body.extend_from_slice(payload);
        entry.subject = subject.as_bytes().len();
        entry.size = entry.body.len() + entry.headers.as_bytes().len();
        self.bytes += entry.size;
        self.entries.push_back(entry);
        self.open += 1;
        number
    }

    /// What to do now.
    #[inline]
    pub fn poll(&mut self, now: Instant) -> WindowOutput {
        // Nothing is to be done mostly for the simplest of reasons: every message was sent.
        let all_sent = self.next == self.base + self.entries.len() as u64;
        let due = self.check_at.is_some_and(|at| at <= now);
        if all_sent && !due && !self.recovering && self.late.is_empty() {
            return WindowOutput::Idle(self.check_at);
        }
        self.poll_each(now)
    }

    fn poll_each(&mut self, now: Instant) -> WindowOutput {
        if self.check_at.is_some_and(|at| at <= now) {
            self.check(now);
        }
        if let Some((number, position)) = self.late.pop_front() {
            return WindowOutput::Withdraw(number, position);
        }
        if self.recovering && self.in_flight == 0 && self.connected && self.resume_at <= now {
            self.resume(now);
        }
        let most = match self.config.order {
            PublishOrder::OneByOne => 1,
            PublishOrder::Chained if self.expected.is_none() => 1,
            _ => usize::MAX,
        };
        if self.connected && !self.recovering && self.in_flight < most {
            while let Some(entry) = self.entry(self.next) {
                // In order: nothing passes one that waits to be sent again.
                if entry.state == State::Ready {
                    return WindowOutput::Send(self.next);
                }
                let waits = matches!(entry.state, State::Waiting { .. });
                if waits && self.config.order != PublishOrder::Sent {
                    break;
                }
                // The next one comes behind it. A number that is too low could let one pass others.
                match (entry.state, self.expected) {
                    (State::Stored { seq, .. }, Some(expected)) => {
                        self.expected = Some(expected.max(seq));
                    }
                    // It may be stored.
                    (State::Failed, Some(_)) => {
                        self.expected = None;
                        if self.in_flight > 0 {
                            break;
                        }
                    }
                    _ => {}
                }
                self.next += 1;
            }
        }
        let resume =
            (self.recovering && self.in_flight == 0 && self.connected).then_some(self.resume_at);
        let until = match (self.check_at, resume) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        WindowOutput::Idle(until)
    }

    /// The message that [`WindowOutput::Send`] has named.
    pub fn outgoing(&mut self, number: u64) -> Option<Outgoing<'_>> {
        let index = self.index(number)?;
        if self.config.order == PublishOrder::Chained {
            self.chain(index);
        }
        let entry = &self.entries[index];
        Some(Outgoing {
            token: number << ATTEMPT_BITS | u64::from(entry.attempt),
            subject: SubjectRef::from_bytes(entry.subject()).ok()?,
            headers: &entry.headers,
            payload: entry.payload(),
            in_doubt: entry.doubt.is_some(),
        })
    }

    /// Makes a message expect the one before it.
    fn chain(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        match self.expected {
            None => {
                entry.headers.remove(EXPECTED_LAST_SEQUENCE);
            }
            Some(seq) => {
                let mut digits = itoa::Buffer::new();
                // Digits can stand in every header.
                let _ = entry.headers.insert(EXPECTED_LAST_SEQUENCE, digits.format(seq));
            }
        }
    }

    /// The message was queued.
    pub fn sent(&mut self, number: u64, position: Position, now: Instant) {
        let Some(entry) = self.entry_mut(number) else { return };
        if entry.state != State::Ready {
            return;
        }
        entry.state = State::Sent { at: now };
        entry.position = Some(position);
        entry.withdrawn = false;
        let doubt = entry.doubt;
        if self.config.order == PublishOrder::Chained {
            match &mut self.expected {
                None => self.sync = Some(number),
                Some(seq) => *seq = seq.saturating_add(1),
            }
        }
        self.in_flight += 1;
        if self.next == number {
            self.next += 1;
        }
        self.check_by(now + self.config.ack_wait);
        if let Some(doubt) = doubt {
            self.check_by(self.known_until(doubt));
        }
    }

    /// The message was refused here, and would be refused again.
    pub fn not_sent(&mut self, number: u64, error: PublishError) {
        if self.index(number).is_some_and(|index| self.entries[index].is_open()) {
            self.fail(number, PublishFailure::NotSent(error));
        }
    }

    /// Whether a message that was to be taken back is certain never to be sent.
    pub fn withdrawn(&mut self, number: u64, certain: bool, now: Instant) {
        let ack_wait = self.config.ack_wait;
        let Some(entry) = self.entry_mut(number) else { return };
        let State::Sent { at } = entry.state else { return };
        entry.withdrawn = true;
        let overdue = at + ack_wait <= now;
        if overdue && !certain {
            entry.doubt.get_or_insert(at);
        }
        let doubt = entry.doubt;
        let known_until = doubt.map(|doubt| self.known_until(doubt));
        if !overdue && !certain {
            // An answer may still come.
            self.check_by(at + ack_wait);
        } else if known_until.is_some_and(|until| until <= now) {
            self.fail(number, PublishFailure::Unknown);
        } else {
            self.land(number);
            if let Some(until) = known_until {
                self.check_by(until);
            }
            if self.config.order == PublishOrder::Chained {
                self.recover(now);
            }
        }
    }

    // ---- what becomes of messages --------------------------------------------------------

    /// It is not on its way any more, and will be sent again.
    fn land(&mut self, number: u64) {
        let Some(entry) = self.entry_mut(number) else { return };
        let was_sent = matches!(entry.state, State::Sent { .. });
        entry.state = State::Ready;
        entry.attempt = entry.attempt.wrapping_add(1).max(1);
        self.in_flight -= usize::from(was_sent);
        self.next = self.next.min(number);
    }

    fn recover(&mut self, resume_at: Instant) {
        self.recovering = true;
        (self.expected, self.sync) = (None, None);
        self.resume_at = self.resume_at.max(resume_at);
    }

    /// Chained: nothing is on its way any more, so that all is sent again from the first open one.
    fn resume(&mut self, now: Instant) {
        self.recovering = false;
        self.resume_at = now;
        self.next = self.base;
    }

    fn fail(&mut self, number: u64, failure: PublishFailure) {
        let chained = self.config.order == PublishOrder::Chained;
        if let Some(entry) = self.close(number, State::Failed) {
            let mut message = entry.give_back();
            if chained {
                message.headers.remove(EXPECTED_LAST_SEQUENCE);
            }
            self.failures += 1;
            self.reports.push_back(Report::Failed { number, failure, message });
        }
        // Those behind it expect it.
        (self.expected, self.sync) = (None, None);
        if chained && self.in_flight > 0 {
            self.recover(Instant::ZERO);
        }
        self.trim();
    }

    /// Ends a message; `None` when it had ended.
    fn close(&mut self, number: u64, state: State) -> Option<&Entry> {
        let index = self.index(number)?;
        let entry = &mut self.entries[index];
        if !entry.is_open() {
            return None;
        }
        self.in_flight -= usize::from(matches!(entry.state, State::Sent { .. }));
        entry.state = state;
        self.open -= 1;
        self.progress += 1;
        Some(&self.entries[index])
    }

    /// Forgets the first messages that have ended.
    fn trim(&mut self) {
        while let Some(mut entry) = self.entries.pop_front_if(|entry| !entry.is_open()) {
            self.base += 1;
            self.bytes -= entry.size;
            if entry.clear() && self.spare.len() < self.config.max_messages {
                self.spare.push(entry);
            }
        }
        self.next = self.next.max(self.base);
        while self.suspects.front().is_some_and(|suspect| suspect.horizon <= self.base) {
            self.suspects.pop_front();
        }
        if self.suspects.is_empty() {
            self.suspects_highest = 0;
        }
    }

    // ---- the connection ------------------------------------------------------------------

    /// There is a connection: what is ready can be sent.
    pub fn connected(&mut self) {
        self.connected = true;
    }

    /// The connection was lost. `never_sent` says of which positions it is certain that they never
    /// were, and never will be, sent.
    pub fn disconnected(&mut self, never_sent: impl Fn(Position) -> bool) {
        self.connected = false;
        (self.expected, self.sync) = (None, None);
        let mut doubts = Vec::new();
        for entry in &mut self.entries {
            let State::Sent { at } = entry.state else { continue };
            if !entry.position.is_some_and(&never_sent) {
                doubts.push(*entry.doubt.get_or_insert(at));
            }
            entry.state = State::Ready;
            entry.attempt = entry.attempt.wrapping_add(1).max(1);
        }
        self.in_flight = 0;
        self.next = self.base;
        if let Some(first) = doubts.into_iter().min() {
            self.check_by(self.known_until(first));
        }
    }

    /// There will be no connection any more: every message fails that is not stored.
    pub fn closed(&mut self, never_sent: impl Fn(Position) -> bool) {
        self.disconnected(never_sent);
        let end = self.base + self.entries.len() as u64;
        for number in self.base..end {
            let Some(entry) = self.entry(number).filter(|entry| entry.is_open()) else { continue };
            let failure = match entry.doubt {
                Some(_) => PublishFailure::Unknown,
                None => PublishFailure::NotSent(PublishError::Closed),
            };
            self.fail(number, failure);
        }
    }

    // ---- time ----------------------------------------------------------------------------

    /// A stream that is published to knows ids again for this time; the shortest one counts.
    pub fn limit_duplicates(&mut self, window: Duration) {
        self.config.duplicate_window = self.config.duplicate_window.min(window);
        self.check_at = Some(Instant::ZERO);
    }

    /// Until when the stream is sure to know a message again that it may have stored at `doubt`.
    fn known_until(&self, doubt: Instant) -> Instant {
        doubt + self.config.duplicate_window / 4 * 3
    }

    fn check_by(&mut self, at: Instant) {
        if at == NEVER {
            return;
        }
        self.check_at = Some(self.check_at.map_or(at, |check| check.min(at)));
    }

    /// Looks at all deadlines: one pass over the window, not more often than one passes.
    fn check(&mut self, now: Instant) {
        self.check_at = None;
        let end = self.base + self.entries.len() as u64;
        for number in self.base..end {
            let Some(entry) = self.entry(number).filter(|entry| entry.is_open()) else { continue };
            let known_until = entry.doubt.map(|doubt| self.known_until(doubt));
            let forgotten = known_until.is_some_and(|until| until <= now);
            match entry.state {
                State::Sent { at } => {
                    let overdue = at + self.config.ack_wait;
                    if overdue <= now || forgotten && !entry.withdrawn {
                        let position = entry.position;
                        self.late.extend(position.map(|position| (number, position)));
                        continue;
                    }
                    self.check_by(overdue);
                }
                _ if forgotten => {
                    self.fail(number, PublishFailure::Unknown);
                    continue;
                }
                State::Waiting { until } if until <= now => self.land(number),
                State::Waiting { until } => self.check_by(until),
                State::Ready | State::Stored { .. } | State::Failed => {}
            }
            if let Some(until) = known_until.filter(|_| !forgotten) {
                self.check_by(until);
            }
        }
    }

    // ---- entries -------------------------------------------------------------------------

    fn index(&self, number: u64) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(self.base)?).ok()?;
        (index < self.entries.len()).then_some(index)
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.index(number).and_then(|index| self.entries.get(index)).map(Box::as_ref)
    }

    fn entry_mut(&mut self, number: u64) -> Option<&mut Entry> {
        self.index(number).and_then(|index| self.entries.get_mut(index)).map(Box::as_mut)
    }
}
