//! A server that is about to stop and sends its clients away, one by one.

use std::time::Duration;

use midge_proto::Instant;

use super::cluster::{Cluster, ServerId};
use super::routes::RouteOp;
use super::timers::Timer;
use super::{ClientId, Close};

#[derive(Debug)]
pub(super) struct LameDuck {
    /// Those still to be closed, the next one last.
    clients: Vec<ClientId>,
    /// Time between two of them, at most.
    interval: Duration,
}

impl Cluster {
    /// Whether a server runs and is in lame duck mode.
    pub fn is_lame_duck(&self, server: ServerId) -> bool {
        let running = self.nodes.get(server.0).and_then(|node| node.running.as_ref());
        running.is_some_and(|running| running.lame_duck.is_some())
    }

    /// Puts a server in lame duck mode: it accepts nobody, tells its clients and the other servers,
    /// and after `lame_duck_grace` closes its clients one by one; then it stops. Without clients it
    /// stops at once. Does nothing when it does not run or is in that mode already.
    pub fn lame_duck(&mut self, server: ServerId, now: Instant) {
        let now = self.advance(now);
        let Some(node) = self.nodes.get_mut(server.0) else { return };
        let Some(running) = node.running.as_mut().filter(|r| r.lame_duck.is_none()) else {
            return;
        };
        let grace = node.options.lame_duck_grace;
        let mut clients: Vec<ClientId> = running.clients.iter().copied().collect();
        if clients.is_empty() {
            self.stop(server, now);
            return;
        }
        let left = node.options.lame_duck_duration.saturating_sub(grace);
        let left = if left.is_zero() { Duration::from_secs(1) } else { left };
        let count = u32::try_from(clients.len()).unwrap_or(u32::MAX);
        let interval = (left / count).clamp(Duration::from_nanos(1), Duration::from_secs(1));
        for last in (1..clients.len()).rev() {
            clients.swap(last, self.rng.index(last + 1));
        }
        running.lame_duck = Some(LameDuck { clients, interval });
        self.timers.insert((now + grace, Timer::LameDuck(server.0)));
        self.push_to_peers(server.0, &RouteOp::LameDuck, now);
        self.push_info(server.0, true, now);
        self.lead(now);
        self.run_routes(now);
    }

    pub(super) fn lame_duck_timer(&mut self, server: usize, now: Instant) {
        let Some(running) = self.nodes[server].running.as_mut() else { return };
        let Some(duck) = running.lame_duck.as_mut() else { return };
        let interval = duck.interval;
        let next = duck.clients.pop();
        let ended = duck.clients.is_empty();
        if let Some(id) = next {
            self.give_up(id, Close::LameDuck, now);
        }
        if ended {
            self.stop(ServerId(server), now);
        } else {
            let pause = self.rng.between(interval / 2, interval);
            self.timers.insert((now + pause, Timer::LameDuck(server)));
        }
    }
}
