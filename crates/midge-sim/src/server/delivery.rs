//! Who gets a message.

use std::collections::BTreeMap;

use bytes::Bytes;
use midge_proto::Instant;
use midge_proto::wire::encode;

use super::ClientId;
use super::cluster::Cluster;
use super::interest::{is_wild, matches};
use super::journal::Event;
use super::routes::For;

/// A message on its way through the cluster.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// Its index in the journal.
    pub(super) publish: usize,
    pub(super) from: ClientId,
    /// Where it goes.
    pub(super) subject: Bytes,
    /// The subject that it has, if that is another one.
    pub(super) shown: Option<Bytes>,
    pub(super) reply: Option<Bytes>,
    pub(super) headers: Option<Bytes>,
    pub(super) payload: Bytes,
}

/// A member of a queue group.
#[derive(Clone, Copy, Debug)]
enum Member {
    /// A subscription of a client of this server.
    Local(u64),
    /// A subscription of some client of another server.
    Remote(usize),
}

impl Cluster {
    /// Delivers what a client of `server` published; whether anybody may get it.
    pub(super) fn publish(&mut self, server: usize, message: &Message, now: Instant) -> bool {
        let taken = self.offer_to_jetstream(server, message, now);
        self.publish_to_clients(server, message, now) || taken
    }

    /// Delivers a message to clients of all servers; whether any may get it.
    pub(super) fn publish_to_clients(
        &mut self,
        server: usize,
        message: &Message,
        now: Instant,
    ) -> bool {
        let Some(running) = self.nodes[server].running.as_ref() else { return false };
        let (plain, mut groups) = self.local_matches(server, &message.subject);
        let mut targets: BTreeMap<usize, Vec<Bytes>> = BTreeMap::new();
        for (&peer, interest) in &running.remote {
            for (queue, count) in interest.matching(&message.subject) {
                match queue {
                    None => {
                        targets.entry(peer).or_default();
                    }
                    Some(queue) => {
                        let members = groups.entry(queue.clone()).or_default();
                        members.extend((0..count).map(|_| Member::Remote(peer)));
                    }
                }
            }
        }
        let mut delivered = !targets.is_empty();
        for subscription in plain {
            delivered |= self.deliver(server, subscription, message, now);
        }
        for (queue, members) in groups {
            let start = self.rng.index(members.len());
            for at in 0..members.len() {
                let chosen = match members[(start + at) % members.len()] {
                    Member::Local(subscription) => self.deliver(server, subscription, message, now),
                    Member::Remote(peer) => {
                        targets.entry(peer).or_default().push(queue.clone());
                        true
                    }
                };
                if chosen {
                    delivered = true;
                    break;
                }
            }
        }
        for (peer, queues) in targets {
            self.push_message(server, peer, message, For::All(queues), now);
        }
        delivered
    }

    /// Delivers what came from another server, which has chosen this one for the queue groups.
    pub(super) fn routed(&mut self, server: usize, message: &Message, whom: &For, now: Instant) {
        let (plain, mut groups) = self.local_matches(server, &message.subject);
        let queues = match whom {
            For::All(queues) => queues.as_slice(),
            For::Group(queue) => std::slice::from_ref(queue),
            For::JetStream => &[],
        };
        for subscription in plain {
            if matches!(whom, For::All(_)) {
                self.deliver(server, subscription, message, now);
            }
        }
        for queue in queues {
            let members = groups.remove(queue).unwrap_or_default();
            let start = self.rng.index(members.len());
            let taken = (0..members.len()).any(|at| match members[(start + at) % members.len()] {
                Member::Local(subscription) => self.deliver(server, subscription, message, now),
                Member::Remote(_) => false,
            });
            if !taken {
                self.pass_on(server, message, queue, now);
            }
        }
    }

    /// The members that were here are gone: some other server with members gets it.
    fn pass_on(&mut self, server: usize, message: &Message, queue: &Bytes, now: Instant) {
        let Some(running) = self.nodes[server].running.as_ref() else { return };
        let peer = running.remote.iter().find(|(_, interest)| {
            interest.matching(&message.subject).any(|(found, _)| found == Some(queue))
        });
        if let Some((&peer, _)) = peer {
            self.push_message(server, peer, message, For::Group(queue.clone()), now);
        }
    }

    /// The subscriptions of `server` that match: plain ones, and the members of queue groups.
    fn local_matches(
        &self,
        server: usize,
        subject: &[u8],
    ) -> (Vec<u64>, BTreeMap<Bytes, Vec<Member>>) {
        let mut plain = Vec::new();
        let mut groups: BTreeMap<Bytes, Vec<Member>> = BTreeMap::new();
        let running = self.nodes[server].running.as_ref();
        let matching = running.map_or_else(Vec::new, |r| r.subscriptions.matching(subject));
        for (number, subscription) in matching {
            match &subscription.key.queue {
                None => plain.push(number),
                Some(queue) => {
                    groups.entry(queue.clone()).or_default().push(Member::Local(number));
                }
            }
        }
        (plain, groups)
    }

    /// Queues a message for one subscription; whether it takes it.
    fn deliver(&mut self, server: usize, number: u64, message: &Message, now: Instant) -> bool {
        let Some(running) = self.nodes[server].running.as_mut() else { return false };
        let Some(subscription) = running.subscriptions.get_mut(number) else { return false };
        let to = subscription.client;
        let Some(client) = self.clients.get_mut(to.0).and_then(Option::as_mut) else {
            return false;
        };
        if to == message.from && !client.connect.echo {
            return false;
        }
        if is_wild(&subscription.key.subject)
            && let Some(user) = &client.user
            && user.subscribe.denies(&message.subject, subscription.key.queue.as_deref())
        {
            return false;
        }
        subscription.messages += 1;
        let ended = subscription.max.is_some_and(|max| subscription.messages >= max);
        let sid = subscription.sid.clone();
        let headers = message.headers.as_deref().filter(|_| client.headers);
        encode::message(
            client.output.buffer(),
            message.shown.as_ref().unwrap_or(&message.subject),
            &sid,
            message.reply.as_deref(),
            headers,
            &message.payload,
        );
        client.output.mark();
        let publish = message.publish;
        self.journal.push(now, Event::Delivered { to, sid: sid.clone(), publish });
        if ended {
            self.end_subscription(to, &sid, now);
        }
        self.written(to, now);
        true
    }

    /// Tells a client that nobody gets its request, if it wants to know.
    pub(super) fn no_responders(&mut self, id: ClientId, message: &Message, now: Instant) {
        let Some(reply) = message.reply.as_ref() else { return };
        let Some(client) = self.clients.get_mut(id.0).and_then(Option::as_mut) else { return };
        let Some(running) = self.nodes[client.server].running.as_ref() else { return };
        if !client.connect.no_responders {
            return;
        }
        let waiting = client.subscriptions.values().filter_map(|&number| {
            running.subscriptions.get(number).filter(|subscription| {
                subscription.key.queue.is_none() && matches(&subscription.key.subject, reply)
            })
        });
        let Some(subscription) = waiting.min_by_key(|s| client.subscriptions.get(&s.sid)) else {
            return;
        };
        let sid = subscription.sid.clone();
        let mut block = b"NATS/1.0 503\r\nNats-Subject: ".to_vec();
        block.extend_from_slice(&message.subject);
        block.extend_from_slice(b"\r\n\r\n");
        encode::message(client.output.buffer(), reply, &sid, None, Some(&block), b"");
        let publish = message.publish;
        self.journal.push(now, Event::NoResponders { to: id, sid, publish });
        self.written(id, now);
    }
}
