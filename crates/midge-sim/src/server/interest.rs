//! Which subscriptions a subject matches, and who has interest in what.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::ClientId;

/// Whether a message to `subject` goes to a subscription to `pattern`.
///
/// `subject` is taken literally: a wildcard in it is an ordinary token. A subject with an empty
/// token matches nothing.
pub fn matches(pattern: &[u8], subject: &[u8]) -> bool {
    let mut tokens = subject.split(|&byte| byte == b'.');
    for wanted in pattern.split(|&byte| byte == b'.') {
        let Some(token) = tokens.next().filter(|token| !token.is_empty()) else {
            return false;
        };
        match wanted {
            b">" => return tokens.all(|token| !token.is_empty()),
            b"*" => {}
            _ if wanted == token => {}
            _ => return false,
        }
    }
    tokens.next().is_none()
}

/// Whether a server takes a subscription to `subject`: no empty token, `>` only at the end.
pub(super) fn is_valid(subject: &[u8]) -> bool {
    let mut ended = false;
    subject.split(|&byte| byte == b'.').all(|token| {
        let valid = !token.is_empty() && !ended;
        ended = token == b">";
        valid
    })
}

/// Whether a pedantic server takes a publish to `subject`: no empty token, no wildcard.
pub(super) fn is_literal(subject: &[u8]) -> bool {
    subject
        .split(|&byte| byte == b'.')
        .all(|token| !token.is_empty() && token != b"*" && token != b">")
}

/// What a subscription asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) subject: Bytes,
    pub(super) queue: Option<Bytes>,
}

/// Number of subscriptions for each key that has some.
#[derive(Clone, Debug, Default)]
pub(super) struct Interest {
    literal: BTreeMap<Key, u32>,
    wild: BTreeMap<Key, u32>,
}

impl Interest {
    pub(super) fn count(&self, key: &Key) -> u32 {
        let side = if is_wild(&key.subject) { &self.wild } else { &self.literal };
        side.get(key).copied().unwrap_or(0)
    }

    pub(super) fn set(&mut self, key: Key, count: u32) {
        let side = if is_wild(&key.subject) { &mut self.wild } else { &mut self.literal };
        if count == 0 {
            side.remove(&key);
        } else {
            side.insert(key, count);
        }
    }

    /// The queue groups, or none, of what matches, each with its number of subscriptions.
    pub(super) fn matching<'a>(
        &'a self,
        subject: &'a Bytes,
    ) -> impl Iterator<Item = (Option<&'a Bytes>, u32)> {
        let first = Key { subject: subject.clone(), queue: None };
        let literal = self.literal.range(first..).take_while(|(key, _)| key.subject == *subject);
        let wild = self.wild.iter().filter(|(key, _)| matches(&key.subject, subject));
        literal.chain(wild).map(|(key, &count)| (key.queue.as_ref(), count))
    }
}

/// The subscriptions of a server's clients, by number: the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    last: u64,
    all: BTreeMap<u64, Subscription>,
    literal: BTreeMap<Bytes, BTreeSet<u64>>,
    wild: BTreeMap<Bytes, BTreeSet<u64>>,
}

impl Subscriptions {
    pub(super) fn insert(&mut self, subscription: Subscription) -> u64 {
        self.last += 1;
        let subject = subscription.key.subject.clone();
        let side = if is_wild(&subject) { &mut self.wild } else { &mut self.literal };
        side.entry(subject).or_default().insert(self.last);
        self.all.insert(self.last, subscription);
        self.last
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Subscription> {
        let removed = self.all.remove(&number)?;
        let subject = &removed.key.subject;
        let side = if is_wild(subject) { &mut self.wild } else { &mut self.literal };
        if let Some(same) = side.get_mut(subject) {
            same.remove(&number);
            if same.is_empty() {
                side.remove(subject);
            }
        }
        Some(removed)
    }

    pub(super) fn get(&self, number: u64) -> Option<&Subscription> {
        self.all.get(&number)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Subscription> {
        self.all.get_mut(&number)
    }

    /// What matches, in order.
    pub(super) fn matching(&self, subject: &[u8]) -> Vec<(u64, &Subscription)> {
        let literal = self.literal.get(subject);
        let wild = self.wild.iter().filter(|(pattern, _)| matches(pattern, subject));
        let numbers = literal.into_iter().chain(wild.map(|(_, numbers)| numbers)).flatten();
        let mut matching: Vec<(u64, &Subscription)> =
            numbers.filter_map(|number| Some((*number, self.all.get(number)?))).collect();
        matching.sort_unstable_by_key(|&(number, _)| number);
        matching
    }
}

/// A subscription of a client.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) client: ClientId,
    pub(super) sid: Bytes,
    pub(super) key: Key,
    /// Messages so far.
    pub(super) messages: u64,
    /// Messages after which it ends.
    pub(super) max: Option<u64>,
}

/// Whether there is a wildcard among the tokens.
pub(super) fn is_wild(subject: &[u8]) -> bool {
    subject.split(|&byte| byte == b'.').any(|token| token == b"*" || token == b">")
}
