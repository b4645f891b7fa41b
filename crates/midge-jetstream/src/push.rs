//! Watching over a push consumer: its heartbeats, and whether it still exists.

use core::time::Duration;

use midge_proto::Instant;

use crate::backoff::Backoff;
use crate::notice::Notice;
use crate::silence::Silence;

/// What is to be done for a push consumer, one thing at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "each output but `Wait` is given once"]
pub enum PushOutput {
    /// Find out whether the consumer exists, and say it by [`PushMachine::checked`].
    Check,
    /// Something was noticed.
    Notice(Notice),
    /// The consumer does not exist any more.
    Gone,
    /// Nothing to do until then, or until something comes.
    Wait(Option<Instant>),
}

/// The heartbeats of a push consumer. The server keeps what to send, so nothing is asked for; when
/// two heartbeats are missed that is told once, and the server is asked whether the consumer
/// exists, more and more seldom, until something comes. What there is may send elsewhere by then: the
/// caller looks, and says it by [`changed`](Self::changed).
#[derive(Clone, Debug)]
pub struct PushMachine {
    /// `None`: the consumer has none, and its loss is not noticed.
    silence: Option<Silence>,
    connected: bool,
    heard: bool,
    check_at: Option<Instant>,
    checking: bool,
    told: bool,
    gone: bool,
    /// Others read too, and heartbeats go to one of them at a time.
    shared: bool,
    /// Nobody could say whether the consumer exists.
    unknown: bool,
    backoff: Backoff,
}

impl PushMachine {
    /// For a consumer with such heartbeats. `seed` decides the random part of waits.
    #[must_use]
    pub fn new(heartbeat: Option<Duration>, seed: u64) -> Self {
        Self {
            silence: heartbeat
                .filter(|it| !it.is_zero())
                .map(|heartbeat| Silence::new(heartbeat, Instant::ZERO)),
            connected: false,
            heard: true,
            check_at: None,
            checking: false,
            told: false,
            gone: false,
            shared: false,
            unknown: false,
            backoff: Backoff::new(seed),
        }
    }

    /// The consumer has a queue group or not. Each heartbeat goes to one member of it, so a silence
    /// is told only once nobody answers either whether the consumer exists.
    #[must_use]
    pub fn of_group(mut self, is_shared: bool) -> Self {
        self.shared = is_shared;
        self
    }

    /// The consumer has such heartbeats now, and perhaps sends to another subject: what was missed
    /// before says nothing.
    pub fn changed(&mut self, heartbeat: Option<Duration>, is_shared: bool) {
        let heartbeat = heartbeat.filter(|it| !it.is_zero());
        self.silence = heartbeat.map(|heartbeat| Silence::new(heartbeat, Instant::ZERO));
        self.shared = is_shared;
        self.heard();
    }

    /// There is a connection, another than before.
    pub fn connected(&mut self) {
        self.connected = true;
        self.heard();
    }

    /// There is none: no heartbeat is missed.
    pub fn disconnected(&mut self) {
        self.connected = false;
        self.check_at = None;
    }

    /// A message, a heartbeat or a flow control came.
    #[inline]
    pub fn heard(&mut self) {
        self.heard = true;
    }

    /// Whether the consumer exists; `None` when that could not be found out.
    pub fn checked(&mut self, exists: Option<bool>, now: Instant) {
        self.checking = false;
        self.unknown = exists.is_none();
        self.gone |= exists == Some(false);
        self.check_at = Some(now + self.backoff.wait().max(Duration::from_secs(1)));
    }

    /// What to do now. To be called until it says `Wait`, and again at that moment and after
    /// anything that happens. A `Wait` is later than `now`.
    pub fn poll(&mut self, now: Instant) -> PushOutput {
        if self.gone {
            return PushOutput::Gone;
        }
        let Some(silence) = self.silence.as_mut().filter(|_| self.connected) else {
            return PushOutput::Wait(None);
        };
        if core::mem::take(&mut self.heard) {
            silence.begin(now);
            self.check_at = None;
            self.told = false;
            self.unknown = false;
            self.backoff.reset();
        }
        if self.checking {
            return PushOutput::Wait(None);
        }
        match self.check_at {
            Some(check_at) if now < check_at => return PushOutput::Wait(Some(check_at)),
            None if !silence.is_over(now) => return PushOutput::Wait(Some(silence.until())),
            _ => {}
        }
        if (!self.shared || self.unknown) && !core::mem::replace(&mut self.told, true) {
            return PushOutput::Notice(Notice::HeartbeatsMissed);
        }
        self.checking = true;
        PushOutput::Check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn missed_heartbeats_are_told_once_and_the_consumer_is_looked_for() {
        let mut machine = PushMachine::new(Some(SECOND), 1);
        let mut now = Instant::ZERO;
        assert_eq!(machine.poll(now), PushOutput::Wait(None));
        machine.connected();
        assert_eq!(machine.poll(now), PushOutput::Wait(Some(now + 2 * SECOND)));
        now = now + 2 * SECOND;
        assert_eq!(machine.poll(now), PushOutput::Notice(Notice::HeartbeatsMissed));
        for _ in 0..10 {
            assert_eq!(machine.poll(now), PushOutput::Check);
            assert_eq!(machine.poll(now), PushOutput::Wait(None));
            machine.checked(Some(true), now);
            let PushOutput::Wait(Some(until)) = machine.poll(now) else { panic!("it waits") };
            assert!(until >= now + SECOND && until <= now + 5 * SECOND);
            now = until;
        }
        machine.heard();
        assert_eq!(machine.poll(now), PushOutput::Wait(Some(now + 2 * SECOND)));
        machine.disconnected();
        assert_eq!(machine.poll(now + 100 * SECOND), PushOutput::Wait(None));
    }

    #[test]
    fn a_member_of_a_group_tells_of_a_silence_only_when_nobody_answers() {
        let mut machine = PushMachine::new(Some(SECOND), 1).of_group(true);
        machine.connected();
        let mut now = Instant::ZERO;
        assert_eq!(machine.poll(now), PushOutput::Wait(Some(now + 2 * SECOND)));
        now = now + 2 * SECOND;
        for answer in [Some(true), Some(true), None] {
            assert_eq!(machine.poll(now), PushOutput::Check);
            machine.checked(answer, now);
            let PushOutput::Wait(Some(until)) = machine.poll(now) else { panic!("it waits") };
            now = until;
        }
        assert_eq!(machine.poll(now), PushOutput::Notice(Notice::HeartbeatsMissed));
        assert_eq!(machine.poll(now), PushOutput::Check);
        machine.checked(Some(true), now);
        // It is changed: what was missed is forgotten, and its new heartbeats count.
        machine.changed(Some(3 * SECOND), false);
        assert_eq!(machine.poll(now), PushOutput::Wait(Some(now + 6 * SECOND)));
        now = now + 6 * SECOND;
        assert_eq!(machine.poll(now), PushOutput::Notice(Notice::HeartbeatsMissed));
    }

    #[test]
    fn who_looks_late_reads_what_came_before_anything_is_missed() {
        let mut machine = PushMachine::new(Some(SECOND), 1);
        machine.connected();
        let mut now = Instant::ZERO;
        assert_eq!(machine.poll(now), PushOutput::Wait(Some(now + 2 * SECOND)));
        now = now + 2 * SECOND + SECOND / 2;
        assert_eq!(machine.poll(now), PushOutput::Wait(Some(now + SECOND / 2)));
        machine.heard();
        assert_eq!(machine.poll(now), PushOutput::Wait(Some(now + 2 * SECOND)));
        now = now + 20 * SECOND;
        assert_eq!(machine.poll(now), PushOutput::Wait(Some(now + SECOND)));
        now = now + 20 * SECOND;
        assert_eq!(machine.poll(now), PushOutput::Notice(Notice::HeartbeatsMissed));
    }

    #[test]
    fn a_consumer_that_is_gone_ends_it_and_one_without_heartbeats_is_not_watched() {
        let mut machine = PushMachine::new(Some(SECOND), 1);
        machine.connected();
        machine.checked(Some(false), Instant::ZERO);
        assert_eq!(machine.poll(Instant::ZERO), PushOutput::Gone);
        let mut machine = PushMachine::new(None, 1);
        machine.connected();
        assert_eq!(machine.poll(Instant::ZERO + 100 * SECOND), PushOutput::Wait(None));
    }
}
