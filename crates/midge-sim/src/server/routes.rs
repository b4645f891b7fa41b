//! What servers tell each other: interest, messages, and that they are there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use midge_proto::Instant;

use super::cluster::{Cluster, ServerId};
use super::delivery::Message;
use super::interest::{Interest, Key};
use super::journal::Event;

/// What travels from one server to another.
#[derive(Clone, Debug)]
pub(super) enum RouteOp {
    /// The route is there: the address for clients, and all interest.
    Hello { url: Option<String>, interest: Interest },
    /// The number of subscriptions with this key is now this.
    Interest(Key, u32),
    /// A message.
    Message(Message, For),
    /// Clients are no longer to be told of the server.
    LameDuck,
}

/// For whom a message goes to another server.
#[derive(Clone, Debug)]
pub(super) enum For {
    /// All plain subscriptions, and a member of each of these queue groups.
    All(Vec<Bytes>),
    /// A member of this queue group. A real server gives it to plain subscriptions besides, which
    /// may have it already.
    Group(Bytes),
    /// JetStream, which that server leads.
    JetStream,
}

/// The routes between servers; each direction is a queue of its own.
#[derive(Debug, Default)]
pub(super) struct Routes {
    delay: Duration,
    delays: BTreeMap<(usize, usize), Duration>,
    /// Pairs without a route, the lower number first.
    partitions: BTreeSet<(usize, usize)>,
    under_way: BTreeMap<(usize, usize), VecDeque<(Instant, RouteOp)>>,
    due: BTreeSet<(Instant, usize, usize)>,
}

impl Routes {
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|&(at, ..)| at)
    }

    fn is_parted(&self, a: usize, b: usize) -> bool {
        self.partitions.contains(&(a.min(b), a.max(b)))
    }

    fn push(&mut self, from: usize, to: usize, op: RouteOp, now: Instant) {
        let delay = self.delays.get(&(from.min(to), from.max(to))).copied().unwrap_or(self.delay);
        let queue = self.under_way.entry((from, to)).or_default();
        // When the delay has become shorter this waits behind what is slower: order is kept.
        let at = now + delay;
        if queue.is_empty() {
            self.due.insert((at, from, to));
        }
        queue.push_back((at, op));
    }

    fn pop(&mut self, now: Instant) -> Option<(usize, usize, RouteOp)> {
        let &(at, from, to) = self.due.first().filter(|&&(at, ..)| at <= now)?;
        self.due.remove(&(at, from, to));
        let queue = self.under_way.get_mut(&(from, to))?;
        let (_, op) = queue.pop_front()?;
        if let Some(&(at, _)) = queue.front() {
            self.due.insert((at, from, to));
        }
        Some((from, to, op))
    }

    /// What was under way from `from` to `to`.
    fn cut(&mut self, from: usize, to: usize) -> VecDeque<(Instant, RouteOp)> {
        let lost = self.under_way.remove(&(from, to)).unwrap_or_default();
        if let Some(&(at, _)) = lost.front() {
            self.due.remove(&(at, from, to));
        }
        lost
    }
}

impl Cluster {
    /// What is sent between any two servers from now on takes this long.
    pub fn set_route_delay(&mut self, delay: Duration) {
        self.routes.delay = delay;
        self.routes.delays.clear();
    }

    /// The same for one pair.
    pub fn set_route_delay_between(&mut self, a: ServerId, b: ServerId, delay: Duration) {
        self.routes.delays.insert((a.0.min(b.0), a.0.max(b.0)), delay);
    }

    /// Cuts the route between two servers, or lets them find each other again. What is under way
    /// is lost; each forgets the interest and the address of the other at once.
    pub fn partition(&mut self, a: ServerId, b: ServerId, parted: bool, now: Instant) {
        let now = self.advance(now);
        let (a, b) = (a.0.min(b.0), a.0.max(b.0));
        if a == b || b >= self.nodes.len() || self.routes.is_parted(a, b) == parted {
            return;
        }
        if parted {
            self.routes.partitions.insert((a, b));
            self.lose_route(a, b, now);
        } else {
            self.routes.partitions.remove(&(a, b));
            self.greet(a, b, now);
            self.greet(b, a, now);
        }
        self.lead(now);
        self.run_routes(now);
    }

    /// `server` has started: it and each server that it can reach find each other.
    pub(super) fn greet_all(&mut self, server: usize, now: Instant) {
        for peer in 0..self.nodes.len() {
            if peer != server {
                self.greet(server, peer, now);
                self.greet(peer, server, now);
            }
        }
    }

    fn greet(&mut self, from: usize, to: usize, now: Instant) {
        if !self.is_routed(from, to) {
            return;
        }
        let node = &self.nodes[from];
        let Some(running) = &node.running else { return };
        let told = node.options.advertise && running.lame_duck.is_none();
        let url = told.then(|| node.options.url());
        let op = RouteOp::Hello { url, interest: running.interest.clone() };
        self.routes.push(from, to, op, now);
    }

    /// `server` has stopped.
    pub(super) fn lose_routes(&mut self, server: usize, now: Instant) {
        for peer in 0..self.nodes.len() {
            if peer != server {
                self.lose_route(server, peer, now);
            }
        }
    }

    fn lose_route(&mut self, a: usize, b: usize, now: Instant) {
        for (from, to) in [(a, b), (b, a)] {
            for (_, op) in self.routes.cut(from, to) {
                if let RouteOp::Message(message, _) = op {
                    let (from, to) = (ServerId(from), ServerId(to));
                    let publish = message.publish;
                    self.journal.push(now, Event::LostOnRoute { publish, from, to });
                }
            }
            if let Some(running) = &mut self.nodes[to].running {
                running.remote.remove(&from);
                if running.urls.remove(&from).is_some() {
                    self.push_info(to, false, now);
                }
            }
        }
    }

    pub(super) fn is_routed(&self, a: usize, b: usize) -> bool {
        let runs = |server: usize| self.nodes[server].running.is_some();
        runs(a) && runs(b) && !self.routes.is_parted(a, b)
    }

    pub(super) fn push_to_peers(&mut self, from: usize, op: &RouteOp, now: Instant) {
        for to in 0..self.nodes.len() {
            if to != from && self.is_routed(from, to) {
                self.routes.push(from, to, op.clone(), now);
            }
        }
    }

    pub(super) fn push_message(
        &mut self,
        from: usize,
        to: usize,
        message: &Message,
        whom: For,
        now: Instant,
    ) {
        if self.is_routed(from, to) {
            self.routes.push(from, to, RouteOp::Message(message.clone(), whom), now);
        } else {
            let (publish, from, to) = (message.publish, ServerId(from), ServerId(to));
            self.journal.push(now, Event::LostOnRoute { publish, from, to });
        }
    }

    /// A subscription with `key` came or went at `server`.
    pub(super) fn count_interest(&mut self, server: usize, key: &Key, more: bool, now: Instant) {
        let Some(running) = self.nodes[server].running.as_mut() else { return };
        let count = running.interest.count(key);
        let count = if more { count + 1 } else { count.saturating_sub(1) };
        running.interest.set(key.clone(), count);
        let news = key.queue.is_some() || count == 0 || (more && count == 1);
        if news && self.nodes.len() > 1 {
            self.push_to_peers(server, &RouteOp::Interest(key.clone(), count), now);
        }
    }

    /// Lets arrive what is due between servers.
    pub(super) fn run_routes(&mut self, now: Instant) {
        while let Some((from, to, op)) = self.routes.pop(now) {
            let Some(running) = self.nodes[to].running.as_mut() else { continue };
            match op {
                RouteOp::Hello { url, interest } => {
                    running.remote.insert(from, interest);
                    let before = match url {
                        Some(url) => running.urls.insert(from, url.clone()) == Some(url),
                        None => running.urls.remove(&from).is_none(),
                    };
                    if !before {
                        self.push_info(to, false, now);
                    }
                }
                RouteOp::Interest(key, count) => {
                    if let Some(interest) = running.remote.get_mut(&from) {
                        interest.set(key, count);
                    }
                }
                RouteOp::Message(message, For::JetStream) => {
                    self.take_for_jetstream(to, &message, now);
                }
                RouteOp::Message(message, whom) => self.routed(to, &message, &whom, now),
                RouteOp::LameDuck => {
                    if running.urls.remove(&from).is_some() {
                        self.push_info(to, false, now);
                    }
                }
            }
        }
    }
}
