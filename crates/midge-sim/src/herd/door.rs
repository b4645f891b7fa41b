//! The front door of a server: who is served when, who is turned away.

use std::time::Duration;

use midge_proto::Instant;

use super::{Absence, Fate, Full, Herd, Scenario};

/// What a connection attempt meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Its handshake is done then.
    Served(Instant),
    Refused,
    /// The packet is lost.
    Silence,
}

#[derive(Debug)]
pub(super) struct Door {
    /// There is somebody from here on; `None`: never.
    opens: Option<Instant>,
    absence: Absence,
    full: Full,
    /// The time of a handshake.
    service: Duration,
    /// The time that all who may wait take.
    longest_queue: Duration,
    /// All who wait are served then.
    free: Instant,
}

impl Door {
    /// The door of a server that meets its fate at `loss`.
    pub(super) fn new(fate: Fate, loss: Instant, scenario: &Scenario, herd: &Herd) -> Self {
        let service = Duration::from_secs(1) / herd.handshakes.max(1);
        let backlog = if scenario.greedy { u32::MAX } else { herd.backlog };
        let (opens, absence) = match fate {
            Fate::Stays => (Some(Instant::ZERO), Absence::Refuses),
            Fate::Lost { back, meanwhile } => (back.map(|back| loss + back), meanwhile),
        };
        Self {
            opens,
            absence,
            full: scenario.full,
            service,
            longest_queue: service.saturating_mul(backlog),
            free: Instant::ZERO,
        }
    }

    /// An attempt arrives. Who is served costs a handshake, also when nobody waits for it any more
    /// by then: the server learns that when it answers.
    pub(super) fn knock(&mut self, now: Instant) -> Answer {
        if self.opens.is_none_or(|opens| now < opens) {
            return match self.absence {
                Absence::Refuses => Answer::Refused,
                Absence::Silent => Answer::Silence,
            };
        }
        if self.free.saturating_since(now) >= self.longest_queue {
            return match self.full {
                Full::Refuses => Answer::Refused,
                Full::Silent => Answer::Silence,
            };
        }
        self.free = self.free.max(now) + self.service;
        Answer::Served(self.free)
    }
}
