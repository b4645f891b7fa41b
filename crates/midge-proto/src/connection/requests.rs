//! Requests that wait for a reply: one inbox for all, a slab for who waits, one structure for
//! the deadlines.

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

#[derive(Debug, Default)]
struct Slot {
    generation: u64,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
pub(super) struct Requests {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
    deadlines: Deadlines,
    /// `<prefix>.<random>.`: what every reply subject begins with.
    inbox: String,
    /// The subscription to the inbox, made with the first request.
    pub(super) mux: Option<Sid>,
    /// The reply subject that was built last, and the id that it names.
    reply: Vec<u8>,
    last: RequestId,
}

impl Requests {
    pub(super) fn new(inbox: String) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            live: 0,
            deadlines: Deadlines::new(),
            reply: Vec::new(),
            last: RequestId::from_number(0),
            inbox,
            mux: None,
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
        let index = self.free.last().map_or(self.slots.len(), |index| *index as usize);
        let generation = self.slots.get(index).map_or(0, |slot| slot.generation);
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
        if id.index() == self.slots.len() {
            self.slots.push(Slot::default());
        } else {
            self.free.pop();
        }
        self.live += 1;
        self.slots[id.index()].waiting = Some(Waiting { position, subject: hash(subject) });
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
        self.free.push(u32::try_from(id.index()).expect("an index of a slab is below 2^24"));
        self.deadlines.remove(id.index());
        self.live -= 1;
        true
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
