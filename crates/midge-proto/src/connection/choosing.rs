//! Which server is tried next, and when.

use alloc::sync::Arc;
use core::time::Duration;

use super::Connection;
use super::handshake::Phase;
use super::ids::Attempt;
use super::output::{Action, NextServer};
use super::timers::Timer;
use crate::{Instant, Scheme, ServerUrl};

impl Connection {
    /// The server to try next and the wait before it, for `Action::NextServer`. `None`, and a
    /// server that is not in the pool, leave the choice as it is without an answer.
    pub fn next_server(
        &mut self,
        attempt: Attempt,
        server: Option<&ServerUrl>,
        wait: Option<Duration>,
        now: Instant,
    ) {
        self.now = self.now.max(now);
        if self.session.attempt != attempt || !matches!(self.phase, Phase::Choosing) {
            return;
        }
        if let Some(server) = server {
            self.servers.prefer(server);
        }
        match wait {
            Some(wait) if wait.is_zero() => self.timers.stop(Timer::Reconnect),
            Some(wait) => self.timers.set(Timer::Reconnect, self.now + wait),
            None => {}
        }
        self.end_choice(true);
    }

    /// Asks the caller, when it wants to be asked and was not yet. True when it was asked now.
    pub(super) fn ask_for_server(&mut self) -> bool {
        if !self.config.choose_server || self.session.chosen {
            return false;
        }
        self.session.attempt.0 += 1;
        self.phase = Phase::Choosing;
        self.timers.set(Timer::Attempt, self.now + self.config.connect_timeout);
        let next = NextServer {
            servers: self.servers.candidates(),
            failed: self.session.failed,
            cause: self.session.cause.clone(),
            wait: self.next_attempt().map_or(Duration::ZERO, |at| at - self.now),
        };
        let attempt = self.session.attempt;
        self.actions.push_back(Action::NextServer { attempt, next: Arc::new(next) });
        true
    }

    /// The caller has `chosen`, by an answer or by silence; or its choice counts no more.
    pub(super) fn end_choice(&mut self, chosen: bool) {
        self.session.chosen = chosen;
        if matches!(self.phase, Phase::Choosing) {
            self.timers.stop(Timer::Attempt);
            self.forget_asked();
            self.phase = Phase::Waiting;
        }
    }

    /// The longest wait after so many tries in a row came to nothing, without jitter: it doubles
    /// with each, up to the maximum.
    pub(super) fn wait_after(&self, tries: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(30);
        let wait = self.config.reconnect_wait.saturating_mul(1 << doublings);
        wait.min(self.config.reconnect_wait_max)
    }

    /// The wait before the next attempt. The upper half of it is random, and so is the jitter on top.
    pub(super) fn backoff(&mut self) -> Duration {
        // Behind the first brief connection, the next attempt came at once.
        let brief = self.session.brief.saturating_sub(1);
        let half = self.wait_after(self.session.failed.saturating_add(brief)) / 2;
        let jitter = if self.next_uses_tls() {
            self.config.reconnect_jitter_tls
        } else {
            self.config.reconnect_jitter
        };
        half + self.rng.duration(half) + self.rng.duration(jitter)
    }

    fn next_uses_tls(&self) -> bool {
        self.must_be_secure(self.servers.next().map_or(Scheme::Nats, ServerUrl::scheme))
    }

    // ---- getters -------------------------------------------------------------------------

    /// Attempts that failed in a row, since a connection was lost or since the beginning.
    pub fn failed_attempts(&self) -> u32 {
        self.session.failed
    }

    /// When the next attempt begins; `None` while one is under way, while connected, and after the
    /// end.
    pub fn next_attempt(&self) -> Option<Instant> {
        self.timers.get(Timer::Reconnect)
    }
}
