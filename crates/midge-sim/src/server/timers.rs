//! The deadlines of a cluster, and what happens at them.

use std::time::Duration;

use midge_proto::Instant;
use midge_proto::wire::ServerError;

use super::cluster::Cluster;
use super::{ClientId, Close};

const FIRST_PING: Duration = Duration::from_secs(2);
/// A PING is due even to a client that sends, to measure the way.
const ROUND_TRIP_EVERY: Duration = Duration::from_secs(3600);

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    Client(ClientId, ClientTimer),
    LameDuck(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientTimer {
    Auth,
    Ping,
    Write,
}

impl Cluster {
    /// When [`poll`](Self::poll) has something to do next.
    pub fn next(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|&(at, _)| at);
        let route = self.routes.next();
        timer.into_iter().chain(route).chain(self.jetstream.next()).min()
    }

    /// Does what is due at `now`: PINGs, stale and slow clients, lame ducks, what arrives
    /// between servers, and what JetStream has to do.
    pub fn poll(&mut self, now: Instant) {
        let now = self.advance(now);
        loop {
            self.run_routes(now);
            self.run_jetstream(now);
            let Some(&(at, timer)) = self.timers.first().filter(|&&(at, _)| at <= now) else {
                return;
            };
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Client(id, timer) => self.client_timer(id, timer, now),
                Timer::LameDuck(server) => self.lame_duck_timer(server, now),
            }
        }
    }

    pub(super) fn set_timer(&mut self, id: ClientId, timer: ClientTimer, at: Option<Instant>) {
        let Some(client) = self.client_mut(id) else { return };
        let before = std::mem::replace(&mut client.deadlines[timer as usize], at);
        if before == at {
            return;
        }
        if let Some(before) = before {
            self.timers.remove(&(before, Timer::Client(id, timer)));
        }
        if let Some(at) = at {
            self.timers.insert((at, Timer::Client(id, timer)));
        }
    }

    /// The first PING behind CONNECT comes early.
    pub(super) fn set_first_ping(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.client(id) else { return };
        let interval = self.nodes[client.server].options.ping_interval.min(FIRST_PING);
        let at = now + self.rng.between(interval, interval + interval / 5);
        self.set_timer(id, ClientTimer::Ping, Some(at));
    }

    fn client_timer(&mut self, id: ClientId, timer: ClientTimer, now: Instant) {
        let Some(client) = self.client_mut(id) else { return };
        client.deadlines[timer as usize] = None;
        match timer {
            ClientTimer::Auth => self.fail(id, &ServerError::AuthenticationTimeout.to_text(), now),
            ClientTimer::Write => self.give_up(id, Close::SlowConsumer, now),
            ClientTimer::Ping => self.ping_due(id, now),
        }
    }

    fn ping_due(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id.0).and_then(Option::as_mut) else { return };
        let options = &self.nodes[client.server].options;
        let again = now + options.ping_interval;
        let recent = |at: Option<Instant>, within| at.is_some_and(|at| now - at < within);
        let heard = recent(client.last_in, options.ping_interval);
        if !heard || !recent(client.last_ping, ROUND_TRIP_EVERY) {
            if client.pings_out + 1 > options.ping_max {
                return self.fail(id, &ServerError::StaleConnection.to_text(), now);
            }
            self.ping(id, now);
        }
        self.set_timer(id, ClientTimer::Ping, Some(again));
    }
}
