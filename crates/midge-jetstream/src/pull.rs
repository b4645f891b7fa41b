//! Deciding what to pull, and when.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use midge_proto::Instant;

use crate::backoff::Backoff;
use crate::notice::{Limit, Notice, PullEnd};
use crate::pace::Pace;
use crate::pull_config::{PullConfig, PullRequest};
use crate::silence::Silence;
use crate::status::{StatusKind, StatusMessage};

/// What is to be done for a pull consumer, one thing at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "each output but `Wait` is given once"]
pub enum PullOutput {
    /// Ask for messages, by [`PullMachine::write_request`]. If that cannot be sent, say so by
    /// [`PullMachine::not_sent`].
    Pull(PullRequest),
    /// Find out whether the consumer exists, and say it by [`PullMachine::checked`].
    Check,
    /// Something was noticed.
    Notice(Notice),
    /// Nothing more comes.
    End(PullEnd),
    /// Nothing to do until then, or until something comes. `None`: the connection is awaited.
    Wait(Option<Instant>),
}

/// How a pull consumer is read: on and on, or once.
///
/// It is told what comes, and what becomes of the connection, and says what to ask for. While it
/// is connected and has not ended, it always waits for a moment: a request that was lost is found
/// by the heartbeats that do not come, or by the end of its time.
///
/// - Messages and bytes are counted over all requests on an inbox; what a request that ends has
///   not got is taken off (ADR-37). Where it is not said how much that is, everything is given up:
///   the next request goes to a new inbox, and the server forgets those of the old one.
/// - After a new connection, and after missed heartbeats, the next request goes to a new inbox: so
///   one is outstanding at most.
/// - The first request after a loss goes at once, further ones with no message in between wait for
///   100 ms to 4.5 s.
#[derive(Clone, Debug)]
pub struct PullMachine {
    config: PullConfig,
    mode: Mode,
    end: Option<PullEnd>,
    connected: bool,
    /// The next request goes to a new inbox.
    fresh: bool,
    pending_messages: u64,
    pending_bytes: u64,
    /// Bytes that were left when the last message of all requests had come. That a request is complete
    /// is said behind that, and gives them back once more.
    left_bytes: u64,
    delivered: u64,
    delivered_bytes: u64,
    pace: Pace,
    /// Something has come since the silence was last looked at.
    heard: bool,
    /// That nothing is heard was told.
    silence_told: bool,
    /// When two heartbeats are missed; `None` without heartbeats.
    silent: Option<Silence>,
    /// When the last request was sent, and how long it waits.
    asked: Option<(Instant, Duration)>,
    /// A request was sent since the present fetch began.
    begun: bool,
    /// Until when a fetch reads what may have come, whose end was looked at too late.
    excused: Option<Instant>,
    /// Not before that.
    retry_at: Instant,
    backoff: Backoff,
    pin: Option<String>,
    /// The server has given the pin or taken it away since it was set.
    pin_changed: bool,
    check: Check,
    notices: VecDeque<Notice>,
    /// Why the last request brought nothing.
    refused: Option<PullEnd>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    OnAndOn,
    /// Until then.
    Once(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    None,
    Wanted,
    Asked,
}

/// How long after the end of its time a reader still waits for the server's word.
const GRACE: Duration = Duration::from_secs(2);
/// What is left of the time is not worth another request.
const REST: Duration = Duration::from_millis(10);
/// Requests that bring nothing come less often than so.
const OFTEN: Duration = Duration::from_millis(100);
/// Attempts that brought nothing after which a fetch ends.
const ATTEMPTS: u32 = 5;
/// The server reads an i64.
const MOST: u64 = i64::MAX as u64;
const NOTICES: usize = 32;
const SHORTEST_EXPIRES: Duration = Duration::from_secs(1);

impl PullMachine {
    /// Reads on and on. `seed` decides the random part of waits. The machine takes itself for not
    /// connected. What [`PullConfig::check`] refuses is mended.
    #[must_use]
    pub fn consume(config: PullConfig, seed: u64) -> Self {
        let config = PullConfig {
            expires: config.expires.max(SHORTEST_EXPIRES),
            heartbeat: config.heartbeat.map(|it| it.max(SHORTEST_EXPIRES / 2)),
            no_wait: false,
            ..config
        };
        Self::new(config, Mode::OnAndOn, seed)
    }

    /// Reads until `messages` or `bytes` of the configuration came, or its `expires` is over.
    #[must_use]
    pub fn fetch(config: PullConfig, seed: u64, now: Instant) -> Self {
        let until = now + config.expires;
        let limit = config.limit.map_or(config.messages, |limit| limit.min(config.messages));
        Self::new(PullConfig { limit: Some(limit), ..config }, Mode::Once(until), seed)
    }

    fn new(mut config: PullConfig, mode: Mode, seed: u64) -> Self {
        config.messages = config.messages.clamp(1, MOST);
        config.small_messages = config.small_messages.map(|messages| messages.min(MOST));
        config.bytes = config.bytes.map(|bytes| bytes.min(MOST));
        let end = (config.limit == Some(0)).then_some(PullEnd::Done);
        Self {
            pace: Pace::new(&config),
            config,
            mode,
            end,
            connected: false,
            fresh: false,
            pending_messages: 0,
            pending_bytes: 0,
            left_bytes: 0,
            delivered: 0,
            delivered_bytes: 0,
            heard: false,
            silence_told: false,
            silent: None,
            asked: None,
            begun: false,
            excused: None,
            retry_at: Instant::ZERO,
            backoff: Backoff::new(seed),
            pin: None,
            pin_changed: false,
            check: Check::None,
            notices: VecDeque::new(),
            refused: None,
        }
    }

    // ---- what happens --------------------------------------------------------------------

    /// There is a connection, another than before.
    pub fn connected(&mut self) {
        self.connected = true;
        self.give_up();
        self.retry_at = Instant::ZERO;
        self.backoff.reset();
    }

    /// There is none: nothing is asked for, and no heartbeat is missed.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.pace.slow_down(&self.config);
        self.give_up();
        if self.check == Check::Asked {
            self.check = Check::Wanted;
        }
    }

    /// A message came on the present inbox; `pin` is its `Nats-Pin-Id`, whose header the server does
    /// not count to `size`.
    #[inline]
    pub fn message(&mut self, size: usize, pin: Option<&str>) {
        self.pending_messages = self.pending_messages.saturating_sub(1);
        let bytes = u64::try_from(size).unwrap_or(u64::MAX);
        self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
        if self.pending_messages == 0 {
            self.left_bytes = self.left_bytes.saturating_add(self.pending_bytes);
        }
        self.settle();
        self.late_message(size);
        if let Some(pin) = pin
            && self.pin.as_deref() != Some(pin)
        {
            self.pin = Some(pin.to_string());
            self.pin_changed = true;
            self.notice(Notice::Pinned);
        }
    }

    /// A message came on an inbox that was given up.
    #[inline]
    pub fn late_message(&mut self, size: usize) {
        self.heard = true;
        self.silence_told = false;
        self.delivered = self.delivered.saturating_add(1);
        let bytes = u64::try_from(size).unwrap_or(u64::MAX);
        self.delivered_bytes = self.delivered_bytes.saturating_add(bytes);
        self.backoff.reset();
        self.retry_at = Instant::ZERO;
        self.refused = None;
        let enough = self.config.limit.is_some_and(|limit| self.delivered >= limit);
        let full = matches!(self.mode, Mode::Once(_))
            && self.config.bytes.is_some_and(|bytes| self.delivered_bytes >= bytes);
        if enough || full {
            self.finish(PullEnd::Done);
        }
    }

    /// The server said something on the present inbox.
    pub fn status(&mut self, status: &StatusMessage<'_>, now: Instant) {
        self.heard = true;
        self.silence_told = false;
        if matches!(status.kind, StatusKind::IdleHeartbeat | StatusKind::FlowControl) {
            return;
        }
        match status.pending_messages() {
            Some(rest) => {
                self.pending_messages = self.pending_messages.saturating_sub(rest);
                let mut bytes = status.pending_bytes().unwrap_or(0);
                if status.kind == StatusKind::BatchCompleted {
                    let given_back = bytes.min(self.left_bytes);
                    self.left_bytes -= given_back;
                    bytes -= given_back;
                }
                self.pending_bytes = self.pending_bytes.saturating_sub(bytes);
                self.settle();
            }
            None => self.give_up(),
        }
        let refused = || PullEnd::Refused(status.code, status.text.to_string());
        let mut cause = None;
        match status.kind {
            StatusKind::ConsumerDeleted => return self.finish(PullEnd::ConsumerDeleted),
            StatusKind::PushBased => return self.finish(PullEnd::PushBased),
            StatusKind::RequiredApiLevel => return self.finish(refused()),
            StatusKind::NoMessages | StatusKind::RequestsPending => {
                if matches!(self.mode, Mode::Once(_)) && self.config.no_wait {
                    return self.finish(PullEnd::NoMessages);
                }
            }
            StatusKind::RequestTimeout | StatusKind::InterestExpired => {}
            // It has brought all that it was to.
            StatusKind::BatchCompleted => return,
            StatusKind::MaxBytes => match self.mode {
                Mode::Once(_) if self.delivered > 0 => return self.finish(PullEnd::Done),
                Mode::Once(_) => return self.finish(PullEnd::MessageTooLarge),
                Mode::OnAndOn if self.backoff.attempts() == 1 => {
                    self.notice(Notice::MessageTooLarge);
                }
                Mode::OnAndOn => {}
            },
            StatusKind::LeadershipChange => self.notice(Notice::LeadershipChanged),
            StatusKind::ServerShutdown => self.notice(Notice::ServerShutdown),
            StatusKind::BadRequest => {
                if matches!(self.mode, Mode::Once(_)) {
                    return self.finish(refused());
                }
                self.notice(Notice::BadRequest(status.text.to_string()));
            }
            StatusKind::WrongPin => {
                if self.pin.take().is_some() {
                    self.pin_changed = true;
                    self.notice(Notice::Unpinned);
                }
            }
            StatusKind::ExceededMaxWaiting => {
                self.notice(Notice::TooManyWaiting);
                cause = Some(refused());
            }
            // Nobody has asked for more but the pace.
            StatusKind::ExceededBatch(limit)
                if limit >= self.config.messages && self.config.small_messages.is_some() =>
            {
                self.config.small_messages = Some(limit.min(self.config.most_messages()));
                self.pace.slow_down(&self.config);
            }
            StatusKind::ExceededBatch(limit) if limit > 0 && limit < self.config.messages => {
                self.config.messages = limit;
                self.config.small_messages = None;
                self.pace.slow_down(&self.config);
                self.notice(Notice::LimitLowered(Limit::Messages(limit)));
            }
            StatusKind::ExceededMaxBytes(limit)
                if limit > 0 && self.config.bytes.is_some_and(|bytes| bytes > limit) =>
            {
                self.config.bytes = Some(limit);
                self.notice(Notice::LimitLowered(Limit::Bytes(limit)));
            }
            StatusKind::ExceededExpires(limit)
                if !limit.is_zero() && self.config.expires > limit =>
            {
                self.config.expires = limit;
                self.notice(Notice::LimitLowered(Limit::Expires(limit)));
            }
            StatusKind::NoResponders => {
                self.notice(Notice::NoResponders);
                cause = Some(PullEnd::NoResponders);
                self.want_check();
            }
            StatusKind::TooManyRequests => {
                self.notice(Notice::TooManyRequests);
                cause = Some(refused());
            }
            _ => {
                self.notice(Notice::Status(status.code, status.text.to_string()));
                cause = Some(refused());
            }
        }
        self.ask_again(now, cause);
    }

    /// A request could not be sent.
    pub fn not_sent(&mut self, now: Instant) {
        self.give_up();
        self.ask_again(now, None);
    }

    /// Whether the consumer exists; `None` when that could not be found out.
    pub fn checked(&mut self, exists: Option<bool>, now: Instant) {
        self.check = Check::None;
        if exists == Some(false) {
            self.finish(PullEnd::Missing);
        } else {
            self.ask_again(now, None);
        }
    }

    /// Fetches once more, as many as the first time, until `expires` is over: what is outstanding
    /// counts.
    pub fn again(&mut self, expires: Duration, now: Instant) {
        self.mode = Mode::Once(now + expires);
        self.config.expires = expires;
        self.config.limit = Some(self.delivered.saturating_add(self.config.messages));
        self.end = None;
        self.begun = false;
        self.excused = None;
        self.refused = None;
        self.retry_at = Instant::ZERO;
        self.backoff.reset();
        if self.asked_until().is_some_and(|until| now >= until) {
            self.give_up();
        } else if let Some(silence) = &mut self.silent {
            // Nobody has listened meanwhile.
            silence.begin(now);
        }
    }

    /// Nothing more is asked for.
    pub fn stop(&mut self) {
        self.finish(PullEnd::Stopped);
    }

    // ---- what to do ----------------------------------------------------------------------

    /// What to do now. To be called until it says `Wait`, and again at that moment and after
    /// anything that happens. A `Wait` is later than `now`.
    pub fn poll(&mut self, now: Instant) -> PullOutput {
        if let Some(notice) = self.notices.pop_front() {
            return PullOutput::Notice(notice);
        }
        if let Some(end) = &self.end {
            return PullOutput::End(end.clone());
        }
        let mut wait = None;
        if let Mode::Once(until) = self.mode {
            let last = self.last_look(until, now);
            if now >= last {
                let refused = self.refused.take().filter(|_| self.connected);
                let end = if self.connected { PullEnd::Expired } else { PullEnd::Disconnected };
                return self.ended(refused.unwrap_or(end));
            }
            wait = Some(last);
        }
        if !self.connected {
            return PullOutput::Wait(wait);
        }
        if self.check != Check::None {
            if self.check == Check::Wanted {
                self.check = Check::Asked;
                return PullOutput::Check;
            }
            return PullOutput::Wait(wait);
        }
        if self.is_silent_at(now) {
            if self.config.no_wait {
                return self.ended(PullEnd::Expired);
            }
            if !core::mem::replace(&mut self.silence_told, true) {
                self.notice(Notice::HeartbeatsMissed);
            }
            self.give_up();
            self.want_check();
            self.ask_again(now, None);
            return self.poll(now);
        }
        if self.is_low() && self.is_low_by_pace(now) {
            if now >= self.retry_at {
                return self.ask(now);
            }
            wait = earliest(wait, self.retry_at);
        }
        match &self.silent {
            Some(silence) if self.pending_messages > 0 => {
                PullOutput::Wait(earliest(wait, silence.until()))
            }
            _ => PullOutput::Wait(wait),
        }
    }

    /// Whether [`poll`](Self::poll) has more to say than to wait, after messages alone: for a reader
    /// that would not look at the clock for each.
    #[inline]
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.end.is_some() || !self.notices.is_empty() || (self.connected && self.is_low())
    }

    /// Appends a request as JSON.
    pub fn write_request(&self, request: &PullRequest, out: &mut Vec<u8>) {
        request.write(self.config.group.as_ref(), self.pin.as_deref(), out);
    }

    /// Messages that came.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Messages that were asked for and did not come.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending_messages
    }

    /// When nothing more comes of the last request, however it went; `None` before the first.
    #[must_use]
    pub fn asked_until(&self) -> Option<Instant> {
        self.asked.map(|(at, waits)| at + waits + GRACE)
    }

    /// Whether messages of a group are read, which may carry a pin.
    #[inline]
    #[must_use]
    pub fn has_group(&self) -> bool {
        self.config.group.is_some()
    }

    /// The pin that the server gave.
    #[must_use]
    pub fn pin(&self) -> Option<&str> {
        self.pin.as_deref()
    }

    /// Asks with this pin from now on: what another reader of the same process has got.
    pub fn set_pin(&mut self, pin: Option<String>) {
        self.pin = pin;
        self.pin_changed = false;
    }

    /// Whether the server has given a pin or taken it away since it was [set](Self::set_pin).
    #[must_use]
    pub fn has_other_pin(&self) -> bool {
        self.pin_changed
    }

    /// The configuration, with limits that the server has lowered.
    #[must_use]
    pub fn config(&self) -> &PullConfig {
        &self.config
    }

    /// How it ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<&PullEnd> {
        self.end.as_ref()
    }

    // ---- inside --------------------------------------------------------------------------

    /// There will be another consumer: what ended reading the one before does not end it, but for
    /// what the caller wanted.
    pub(crate) fn another_consumer(&mut self) {
        self.disconnected();
        self.end.take_if(|end| !matches!(end, PullEnd::Done | PullEnd::Stopped));
    }

    /// So little is asked for and not here that more is to be.
    #[inline]
    fn is_low(&self) -> bool {
        if self.pending_messages == 0 {
            return true;
        }
        if self.mode != Mode::OnAndOn {
            return false;
        }
        let Some(bytes) = self.config.bytes else {
            let aim = self.pace.aim();
            let more = aim > self.config.messages;
            let refill = if more { aim / 2 } else { self.config.refill_messages() };
            return self.pending_messages <= refill && self.left() > 0;
        };
        let refill = self.config.refill_bytes().unwrap_or(0);
        let low =
            self.pending_bytes <= refill || self.pending_messages <= self.config.refill_messages();
        // A request for few bytes would end before the next message.
        low && self.left() > 0 && self.pending_bytes <= refill.max(bytes / 2)
    }

    /// Looks whether so little is left at the present pace, too.
    fn is_low_by_pace(&mut self, now: Instant) -> bool {
        if self.mode == Mode::OnAndOn {
            self.pace.look(&self.config, self.delivered, self.delivered_bytes, now);
        }
        self.is_low()
    }

    /// Messages that may be asked for now.
    fn left(&self) -> u64 {
        let room = self.pace.aim().saturating_sub(self.pending_messages);
        let Some(limit) = self.config.limit else { return room };
        let asked = self.delivered.saturating_add(self.pending_messages);
        room.min(limit.saturating_sub(asked))
    }

    fn ask(&mut self, now: Instant) -> PullOutput {
        let on_and_on = self.mode == Mode::OnAndOn;
        let mut expires = self.config.expires;
        if let Mode::Once(until) = self.mode {
            let rest = until.saturating_since(now);
            if rest.is_zero() || (rest < REST && self.begun) {
                let end = self.refused.take().unwrap_or(PullEnd::Expired);
                return self.ended(end);
            }
            expires = expires.min(rest);
        }
        if self.fresh || self.asked.is_none() {
            self.pace.begin(self.delivered, self.delivered_bytes, now);
        }
        let heartbeat = self.config.heartbeat(expires, on_and_on);
        let used = if on_and_on { self.pending_bytes } else { self.delivered_bytes };
        let request = PullRequest {
            messages: self.left(),
            bytes: self.config.bytes.map(|bytes| bytes.saturating_sub(used).max(1)),
            expires: (!self.config.no_wait).then_some(expires),
            heartbeat,
            fresh: self.fresh,
        };
        self.fresh = false;
        self.pending_messages = self.pending_messages.saturating_add(request.messages);
        self.pending_bytes = self.pending_bytes.saturating_add(request.bytes.unwrap_or(0));
        self.heard = false;
        // A request may be lost, and the server does not answer every one that does not wait.
        let watched = match self.mode {
            _ if self.config.no_wait => Some(GRACE / 2),
            Mode::Once(until) if now + expires >= until => None,
            _ => Some((expires + GRACE) / 2),
        };
        self.silent = heartbeat.or(watched).map(|heartbeat| Silence::new(heartbeat, now));
        self.asked = Some((now, expires));
        self.begun = true;
        PullOutput::Pull(request)
    }

    /// When a fetch ends of which nothing is heard.
    ///
    /// Whoever looks late may have been kept from reading: what was delivered then lies in the socket,
    /// and would have to wait for the consumer's `ack_wait`. So the first late look is excused, and
    /// there is another one, as much later as this one was late, 2 s at most.
    fn last_look(&mut self, until: Instant, now: Instant) -> Instant {
        if !self.connected {
            return until;
        }
        let last = until + GRACE;
        if now > last && self.pending_messages > 0 && self.excused.is_none() {
            self.excused = Some(now + (now - last).clamp(REST, GRACE));
        }
        self.excused.unwrap_or(last)
    }

    /// The present requests are forgotten.
    fn give_up(&mut self) {
        self.fresh |= self.asked.is_some();
        self.pending_messages = 0;
        self.pending_bytes = 0;
        self.left_bytes = 0;
        self.silent = None;
    }

    /// A request ends with its last message and with its last byte, so all do when none is left.
    #[inline]
    fn settle(&mut self) {
        if self.pending_messages == 0 || (self.pending_bytes == 0 && self.config.bytes.is_some()) {
            self.pending_messages = 0;
            self.pending_bytes = 0;
        }
    }

    /// A request brought nothing; the next one may have to wait.
    fn ask_again(&mut self, now: Instant, cause: Option<PullEnd>) {
        if let Some((at, expires)) = self.asked
            && now.saturating_since(at) >= (expires / 10 * 9).clamp(OFTEN, Backoff::LONGEST)
        {
            self.backoff.reset();
        }
        // Counted from the request: what was heard of too late has waited already.
        self.retry_at = self.asked.map_or(now, |(at, _)| at) + self.backoff.wait();
        self.refused = cause.or(self.refused.take());
        if self.mode != Mode::OnAndOn
            && self.backoff.attempts() > ATTEMPTS
            && let Some(end) = self.refused.take()
        {
            self.finish(end);
        }
    }

    fn want_check(&mut self) {
        if self.config.abort_when_missing && self.check == Check::None {
            self.check = Check::Wanted;
        }
    }

    /// Whether two heartbeats are missed.
    fn is_silent_at(&mut self, now: Instant) -> bool {
        let heard = core::mem::take(&mut self.heard);
        let Some(silence) = self.silent.as_mut().filter(|_| self.pending_messages > 0) else {
            return false;
        };
        if heard {
            silence.begin(now);
        }
        silence.is_over(now)
    }

    #[cold]
    fn notice(&mut self, notice: Notice) {
        if self.notices.len() < NOTICES {
            self.notices.push_back(notice);
        }
    }

    fn finish(&mut self, end: PullEnd) {
        self.end.get_or_insert(end);
    }

    fn ended(&mut self, end: PullEnd) -> PullOutput {
        PullOutput::End(self.end.get_or_insert(end).clone())
    }
}

fn earliest(wait: Option<Instant>, other: Instant) -> Option<Instant> {
    Some(wait.map_or(other, |wait| wait.min(other)))
}
