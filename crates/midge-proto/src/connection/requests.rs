//! Requests that wait for a reply: one inbox for all, a slab for who waits, one structure for
//! the deadlines.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use super::deadlines::Deadlines;
use super::fates::Position;
use super::ids::{MAX_SLOTS, RequestId, Sid};
use crate::{Instant, Subject};

#[derive(Debug, Clone, Copy)]
struct Waiting {
    position: Position,
    /// A hash of the subject, so that a denied publish finds its request without keeping a copy.
    subject: u64,
}

/// Places that are kept when nothing waits, at most.
const SPARE: usize = 1024;

#[derive(Debug)]
struct Slot {
    generation: u64,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
pub(super) struct Requests {
    slots: Vec<Slot>,
    /// Used again in the order in which they became free: who waits for replies that come together
    /// takes them in that order, and then asks again.
    free: VecDeque<u32>,
    /// What a new place begins with.
    generation: u64,
    live: usize,
    deadlines: Deadlines,
    /// `<prefix>.<random>.`: what every reply subject begins with.
    inbox: String,
    /// The subscription to the inbox, made with the first request.
    pub(super) mux: Option<Sid>,
    /// The first PING behind its SUB, by number; `None` when a handshake has announced it.
    pub(super) mux_ping: Option<u64>,
    /// The reply subject that was built last, and the id that it names.
    reply: Vec<u8>,
    last: RequestId,
}

impl Requests {
    pub(super) fn new(inbox: String) -> Self {
        Self {
            slots: Vec::new(),
            free: VecDeque::new(),
            generation: 0,
            live: 0,
            deadlines: Deadlines::new(),
            reply: Vec::new(),
            last: RequestId::from_number(0),
            inbox,
            mux: None,
            mux_ping: None,
        }
    }

    /// The subject that all replies match.
    pub(super) fn inbox_subject(&self) -> Subject {
        let mut subject = self.inbox.clone();
        subject.push('*');
        Subject::try_from(subject)
            .expect("a checked prefix, a token of letters and digits, and `*`")
    }

    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn is_full(&self, max: usize) -> bool {
        self.live >= max.min(MAX_SLOTS)
    }

    /// The id and the reply subject of the next request, which `start` makes real. Give the reply
    /// subject back with `put_reply`: its memory is used again.
    pub(super) fn reserve(&mut self) -> (RequestId, Vec<u8>) {
        let index = self.free.front().map_or(self.slots.len(), |index| *index as usize);
        let generation = self.slots.get(index).map_or(self.generation, |slot| slot.generation);
        let id = RequestId::new(index, generation);
        let mut reply = core::mem::take(&mut self.reply);
        if reply.is_empty() {
            reply.extend_from_slice(self.inbox.as_bytes());
        }
        reply.truncate(self.inbox.len());
        reply.extend_from_slice(itoa::Buffer::new().format(id.number()).as_bytes());
        self.last = id;
        (id, reply)
    }

    pub(super) fn put_reply(&mut self, reply: Vec<u8>) {
        self.reply = reply;
    }

    pub(super) fn start(
        &mut self,
        id: RequestId,
        position: Position,
        subject: &[u8],
        deadline: Instant,
    ) {
        let waiting = Some(Waiting { position, subject: hash(subject) });
        if id.index() == self.slots.len() {
            self.slots.push(Slot { generation: id.generation(), waiting });
        } else {
            self.free.pop_front();
            self.slots[id.index()].waiting = waiting;
        }
        self.live += 1;
        self.deadlines.set(id.index(), deadline);
    }

    /// The request that a reply to `subject` is for.
    pub(super) fn find(&self, subject: &[u8]) -> Option<RequestId> {
        // Of requests that follow each other it is the last.
        let id = if subject == self.reply { self.last } else { self.named(subject)? };
        self.position(id).map(|_| id)
    }

    /// The id whose number ends the subject.
    fn named(&self, subject: &[u8]) -> Option<RequestId> {
        let token = subject.strip_prefix(self.inbox.as_bytes())?;
        if token.is_empty() || token.len() > 19 {
            return None;
        }
        let mut number = 0u64;
        for byte in token {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return None;
            }
            number = number * 10 + u64::from(digit);
        }
        Some(RequestId::from_number(number))
    }

    /// Where its message stands among all, while it waits.
    pub(super) fn position(&self, id: RequestId) -> Option<Position> {
        let slot = self.slots.get(id.index())?;
        slot.waiting.filter(|_| slot.generation == id.generation()).map(|waiting| waiting.position)
    }

    /// Ends it; false when it had ended.
    pub(super) fn end(&mut self, id: RequestId) -> bool {
        if self.position(id).is_none() {
            return false;
        }
        let slot = &mut self.slots[id.index()];
        slot.waiting = None;
        slot.generation += 1;
        self.free.push_back(u32::try_from(id.index()).expect("an index of a slab is below 2^24"));
        self.deadlines.remove(id.index());
        self.live -= 1;
        if self.live == 0 && self.slots.len() > SPARE {
            self.shrink();
        }
        true
    }

    /// Gives up the places, of which none is in use.
    fn shrink(&mut self) {
        let generations = self.slots.iter().map(|slot| slot.generation);
        self.generation = generations.max().unwrap_or(self.generation);
        self.slots.clear();
        self.slots.shrink_to(SPARE);
        self.free.clear();
        self.free.shrink_to(SPARE);
        self.deadlines = Deadlines::new();
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// A request whose deadline has passed; it still waits until `end`.
    pub(super) fn expire(&mut self, now: Instant) -> Option<RequestId> {
        let index = self.deadlines.expire(now)?;
        Some(RequestId::new(index, self.slots[index].generation))
    }

    /// Every request that waits, by place.
    pub(super) fn all(&self) -> Vec<(RequestId, Position)> {
        let waiting = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.waiting.map(|waiting| (RequestId::new(index, slot.generation), waiting.position))
        });
        waiting.collect()
    }

    /// The oldest request to `subject`.
    pub(super) fn with_subject(&self, subject: &[u8]) -> Option<RequestId> {
        if self.live == 0 {
            return None;
        }
        let wanted = hash(subject);
        let waiting = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let waiting = slot.waiting.filter(|waiting| waiting.subject == wanted)?;
            Some((waiting.position, RequestId::new(index, slot.generation)))
        });
        waiting.min().map(|(_, id)| id)
    }
}

/// Eight bytes at a time; what follows them last.
fn hash(subject: &[u8]) -> u64 {
    let mix =
        |hash: u64, word: u64| (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (words, rest) = subject.as_chunks();
    let hash =
        words.iter().fold(subject.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_used_again_is_the_one_longest_free_and_many_are_given_up() {
        let mut requests = Requests::new(String::from("_INBOX.a."));
        let start = |requests: &mut Requests| {
            let (id, reply) = requests.reserve();
            requests.put_reply(reply.clone());
            requests.start(id, Position::default(), b"a", Instant::from_nanos(1));
            (id, reply)
        };
        let ids: Vec<_> = (0..3).map(|_| start(&mut requests).0).collect();
        for id in [2, 0, 1].map(|at| ids[at]) {
            assert!(requests.end(id));
        }
        let again: Vec<_> = (0..3).map(|_| start(&mut requests).0).collect();
        assert_eq!(again.iter().map(|id| id.index()).collect::<Vec<_>>(), [2, 0, 1]);
        let many: Vec<_> = (0..4 * SPARE).map(|_| start(&mut requests)).collect();
        for id in again.iter().chain(many.iter().map(|(id, _)| id)) {
            assert!(requests.end(*id));
        }
        assert!(requests.slots.capacity() <= SPARE && requests.free.capacity() <= SPARE);
        assert_eq!(requests.next_deadline(), None);
        let (fresh, _) = start(&mut requests);
        assert_eq!(fresh.index(), 0);
        assert!(many.iter().all(|(_, reply)| requests.find(reply).is_none()));
        assert!(ids.iter().chain(&again).all(|id| !requests.end(*id)));
        assert_eq!(requests.len(), 1);
    }
}
