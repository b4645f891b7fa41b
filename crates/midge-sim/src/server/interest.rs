//! Which subscriptions a subject matches, and who has interest in what.

use std::collections::BTreeMap;

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
pub(super) type Interest = BTreeMap<Key, u32>;

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
