//! What a handle has written, so that it reads no less.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use midge_jetstream::kv::Entry;

use crate::shared::lock;

/// Keys that are remembered.
const MAX_KEYS: usize = 4_096;

/// The highest revisions that were written, by their keys: of the keys that were written last, as
/// those are the ones that a replica may lack.
#[derive(Debug, Default)]
pub(super) struct OwnWrites {
    writes: Mutex<Writes>,
}

#[derive(Debug, Default)]
struct Writes {
    revisions: HashMap<String, u64>,
    /// The same by revision. Two keys have the same one if the bucket was made anew between them.
    keys: BTreeSet<(u64, String)>,
}

impl OwnWrites {
    /// A key has this revision, at least.
    pub(super) fn note(&self, key: &str, revision: u64) {
        let mut writes = lock(&self.writes);
        let before = writes.revisions.get(key).copied();
        if before.is_some_and(|before| before >= revision) {
            return;
        }
        if let Some(before) = before {
            writes.keys.remove(&(before, key.to_owned()));
        }
        writes.revisions.insert(key.to_owned(), revision);
        writes.keys.insert((revision, key.to_owned()));
        if writes.keys.len() > MAX_KEYS
            && let Some((_, oldest)) = writes.keys.pop_first()
        {
            writes.revisions.remove(&oldest);
        }
    }

    /// Whether what a replica gave is older than what was written; of a revision that was asked for,
    /// whether the replica may just not have it yet.
    pub(super) fn is_missing(&self, key: &str, asked: Option<u64>, got: Option<&Entry>) -> bool {
        let Some(&written) = lock(&self.writes).revisions.get(key) else { return false };
        match (asked, got) {
            (Some(asked), None) => asked <= written,
            (Some(_), Some(_)) => false,
            (None, got) => got.is_none_or(|entry| entry.revision() < written),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_were_written_last_are_remembered() {
        let own = OwnWrites::default();
        own.note("a", 1);
        own.note("b", 2);
        own.note("a", 3);
        for revision in 4..4 + MAX_KEYS as u64 - 1 {
            own.note(&format!("k.{revision}"), revision);
        }
        assert!(own.is_missing("a", None, None) && !own.is_missing("b", None, None));
        own.note("a", 2);
        assert!(own.is_missing("a", Some(3), None) && !own.is_missing("a", Some(4), None));
        own.note("last", 9_999);
        assert!(!own.is_missing("a", None, None) && own.is_missing("last", None, None));
        let writes = lock(&own.writes);
        assert_eq!((writes.revisions.len(), writes.keys.len()), (MAX_KEYS, MAX_KEYS));
    }

    #[test]
    fn keys_of_one_revision_are_bounded_too() {
        let own = OwnWrites::default();
        for key in 0..2 * MAX_KEYS {
            own.note(&format!("k.{key}"), 1);
        }
        let writes = lock(&own.writes);
        assert_eq!((writes.revisions.len(), writes.keys.len()), (MAX_KEYS, MAX_KEYS));
    }
}
