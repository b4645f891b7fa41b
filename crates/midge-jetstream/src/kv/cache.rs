//! A copy of the keys of a bucket: what a watch gives changes it, and what goes unseen is found.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::entry::Entry;
use crate::time::Time;

/// A key that a check did not find, of which it cannot say that it has gone: see
/// [`CacheMachine::end_check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The key.
    pub key: String,
    /// Its revision in the copy.
    pub revision: u64,
}

/// Holds the last revision of each key that has a value.
///
/// Revisions are taken in their order, each once: one that is not newer than all before changes
/// nothing. One that deletes its key takes it out. A key that is older than the bucket keeps them is
/// not given any more, whether its end was told or not.
///
/// What is deleted while nobody watches may leave no trace: markers go too. So, whenever the watch
/// has got a new consumer, the copy is checked: [`begin_check`](Self::begin_check), then
/// [`listed`](Self::listed) for each key that the bucket has, then [`end_check`](Self::end_check).
#[derive(Clone, Debug)]
pub struct CacheMachine {
    keys: BTreeMap<Arc<str>, Slot>,
    /// The keys by revision, which is their order in time; empty where none expires.
    by_age: BTreeMap<u64, Arc<str>>,
    max_age: Option<Duration>,
    revision: u64,
    behind: u64,
    complete: bool,
    checks: u64,
    check: Option<Check>,
}

#[derive(Clone, Debug)]
struct Slot {
    entry: Entry,
    /// The last check that has found it.
    seen: u64,
}

#[derive(Clone, Copy, Debug)]
struct Check {
    /// What came later is not to be looked for.
    up_to: u64,
    /// The newest that was found.
    newest: u64,
}

impl CacheMachine {
    /// A copy of nothing, of a bucket that keeps revisions for so long.
    #[must_use]
    pub fn new(max_age: Option<Duration>) -> Self {
        Self {
            keys: BTreeMap::new(),
            by_age: BTreeMap::new(),
            max_age,
            revision: 0,
            behind: 0,
            complete: false,
            checks: 0,
            check: None,
        }
    }

    // ---- what comes ----------------------------------------------------------------------

    /// Takes a revision; false when it is not newer than all before.
    pub fn apply(&mut self, entry: Entry) -> bool {
        let revision = entry.revision();
        if revision <= self.revision {
            return false;
        }
        self.revision = revision;
        self.behind = entry.delta();
        let (key, seen) = match self.keys.remove_entry(entry.key()) {
            Some((key, slot)) => {
                self.by_age.remove(&slot.entry.revision());
                (key, slot.seen)
            }
            None => (Arc::from(entry.key()), 0),
        };
        if entry.is_put() {
            if self.max_age.is_some() {
                self.by_age.insert(revision, Arc::clone(&key));
            }
            self.keys.insert(key, Slot { entry: entry.detached(), seen });
        }
        true
    }

    /// All that was there when the watch began has been taken.
    pub fn initial_end(&mut self) {
        self.complete = true;
        self.behind = 0;
    }

    /// The bucket is another one of the same name: forgets all.
    pub fn restart(&mut self) {
        *self = Self { checks: self.checks, ..Self::new(self.max_age) };
    }

    /// Takes out what has become too old.
    pub fn expire(&mut self, now: Time) {
        while let Some((&revision, key)) = self.by_age.first_key_value() {
            let young = self.keys.get(key).is_some_and(|slot| !self.is_old(&slot.entry, now));
            if young {
                return;
            }
            if let Some(key) = self.by_age.remove(&revision) {
                self.keys.remove(&key);
            }
        }
    }

    fn is_old(&self, entry: &Entry, now: Time) -> bool {
        self.max_age.is_some_and(|max_age| {
            let age = now.unix_nanos().saturating_sub(entry.created().unix_nanos());
            age >= i128::try_from(max_age.as_nanos()).unwrap_or(i128::MAX)
        })
    }

    // ---- checks --------------------------------------------------------------------------

    /// Begins a check in place of the one before: each key that the bucket has from now on is to be
    /// told.
    pub fn begin_check(&mut self) {
        self.checks += 1;
        self.check = Some(Check { up_to: self.revision, newest: 0 });
    }

    /// The bucket has this revision, which need not have its value.
    pub fn listed(&mut self, entry: &Entry) {
        let Some(check) = &mut self.check else { return };
        check.newest = check.newest.max(entry.revision());
        if let Some(slot) = self.keys.get_mut(entry.key()) {
            slot.seen = self.checks;
        }
    }

    /// All that the bucket has was told. Takes out keys that were not found, and gives those of which
    /// that says nothing: who has told may not have them yet, since he has told of nothing that is
    /// newer. It is for the leader to say what has become of them.
    pub fn end_check(&mut self) -> Vec<Suspect> {
        let Some(check) = self.check.take() else { return Vec::new() };
        let mut suspects = Vec::new();
        let (checks, by_age) = (self.checks, &mut self.by_age);
        self.keys.retain(|key, slot| {
            let revision = slot.entry.revision();
            if slot.seen == checks || revision > check.up_to {
                return true;
            }
            if revision > check.newest {
                suspects.push(Suspect { key: String::from(&**key), revision });
                return true;
            }
            by_age.remove(&revision);
            false
        });
        suspects
    }

    /// The bucket does not have the key any more.
    pub fn gone(&mut self, suspect: &Suspect) {
        let same = |slot: &Slot| slot.entry.revision() == suspect.revision;
        if self.keys.get(suspect.key.as_str()).is_some_and(same) {
            self.keys.remove(suspect.key.as_str());
            self.by_age.remove(&suspect.revision);
        }
    }

    // ---- what there is -------------------------------------------------------------------

    /// The last revision of a key; `None` when it has no value.
    #[must_use]
    pub fn get(&self, key: &str, now: Time) -> Option<&Entry> {
        let entry = &self.keys.get(key)?.entry;
        (!self.is_old(entry, now)).then_some(entry)
    }

    /// The last revision of each key that has a value, by the order of the keys.
    pub fn entries(&self, now: Time) -> impl Iterator<Item = &Entry> {
        let entries = self.keys.values().map(|slot| &slot.entry);
        entries.filter(move |entry| !self.is_old(entry, now))
    }

    /// Whether all was taken that was there when the watch began.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The newest revision that was taken; 0 before the first.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many revisions were to follow when the newest one was sent.
    #[must_use]
    pub fn behind(&self) -> u64 {
        self.behind
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::vec;

    use midge_proto::{HeaderMap, Message, SubjectRef};
    use proptest::prelude::*;

    use super::*;
    use crate::ApiPrefix;
    use crate::kv::{BucketConfig, BucketName, BucketSubjects};

    const SECOND: i128 = 1_000_000_000;

    /// A revision of which the number is the second of its creation too.
    fn entry(key: &str, revision: u64, operation: Option<&str>) -> Entry {
        let stream = BucketConfig::new("b").to_stream().unwrap();
        let subjects = BucketSubjects::new(&stream, &ApiPrefix::default()).unwrap();
        let mut headers = HeaderMap::new();
        if let Some(operation) = operation {
            headers.append("KV-Operation", operation).unwrap();
        }
        let headers = operation.is_some().then_some(&headers);
        let nanos = i128::from(revision) * SECOND;
        let reply = format!("$JS.ACK.KV_b.c.1.{revision}.{revision}.{nanos}.7");
        let (subject, value) = (format!("$KV.b.{key}"), format!("{key}@{revision}"));
        let message = Message::from_parts(
            SubjectRef::new(&subject).unwrap(),
            Some(SubjectRef::new(&reply).unwrap()),
            headers,
            value.as_bytes(),
        );
        Entry::delivered(&BucketName::new("b").unwrap(), &subjects, message).unwrap()
    }

    fn at(second: u64) -> Time {
        Time::from_unix_nanos(i128::from(second) * SECOND)
    }

    fn keys(cache: &CacheMachine) -> Vec<(&str, u64)> {
        cache.entries(at(0)).map(|entry| (entry.key(), entry.revision())).collect()
    }

    #[test]
    fn it_has_the_last_revision_of_each_key_that_has_a_value() {
        let mut cache = CacheMachine::new(None);
        assert!(cache.apply(entry("a", 1, None)) && cache.apply(entry("b", 3, None)));
        assert!(cache.apply(entry("a", 5, None)) && cache.apply(entry("c", 6, None)));
        assert!(cache.apply(entry("c", 7, Some("DEL"))) && cache.apply(entry("x", 8, Some("DEL"))));
        assert_eq!(keys(&cache), [("a", 5), ("b", 3)]);
        assert_eq!(cache.get("a", at(0)).unwrap().value(), b"a@5");
        assert_eq!(cache.get("c", at(0)), None);
        assert_eq!((cache.revision(), cache.behind(), cache.is_complete()), (8, 7, false));
        cache.initial_end();
        assert_eq!((cache.behind(), cache.is_complete()), (0, true));
        assert!(!cache.apply(entry("a", 1, None)), "it has come before");
        assert!(!cache.apply(entry("c", 6, None)), "and is deleted since");
        assert!(cache.apply(entry("b", 9, Some("PURGE"))));
        assert_eq!(keys(&cache), [("a", 5)]);
        cache.restart();
        assert_eq!((keys(&cache), cache.revision(), cache.is_complete()), (vec![], 0, false));
        assert!(cache.apply(entry("a", 1, None)), "of another bucket");
    }

    #[test]
    fn what_is_older_than_the_bucket_keeps_it_is_not_given() {
        let mut cache = CacheMachine::new(Some(Duration::from_secs(10)));
        for (key, revision) in [("a", 1), ("b", 2), ("a", 5)] {
            cache.apply(entry(key, revision, None));
        }
        assert!(cache.get("b", at(11)).is_some());
        assert!(cache.get("b", at(12)).is_none() && cache.get("a", at(12)).is_some());
        assert_eq!(cache.entries(at(12)).count(), 1);
        cache.expire(at(12));
        assert_eq!(keys(&cache), [("a", 5)]);
        cache.expire(at(15));
        assert!(keys(&cache).is_empty() && cache.by_age.is_empty());
    }

    #[test]
    fn what_went_unseen_is_found_by_a_check() {
        let mut cache = CacheMachine::new(None);
        for (key, revision) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
            cache.apply(entry(key, revision, None));
        }
        cache.begin_check();
        // Written while it lasts.
        cache.apply(entry("e", 5, None));
        cache.apply(entry("a", 6, None));
        cache.listed(&entry("c", 3, None));
        assert_eq!(cache.end_check(), [Suspect { key: "d".into(), revision: 4 }]);
        assert_eq!(keys(&cache), [("a", 6), ("c", 3), ("d", 4), ("e", 5)], "b has gone");
        cache.gone(&Suspect { key: "d".into(), revision: 3 });
        assert_eq!(cache.entries(at(0)).count(), 4, "it was written since");
        cache.gone(&Suspect { key: "d".into(), revision: 4 });
        assert_eq!(keys(&cache), [("a", 6), ("c", 3), ("e", 5)]);
        assert!(cache.end_check().is_empty(), "there is none");
    }

    #[test]
    fn a_server_that_lags_behind_takes_nothing_out() {
        let mut cache = CacheMachine::new(None);
        for (key, revision) in [("a", 1), ("b", 2), ("c", 3)] {
            cache.apply(entry(key, revision, None));
        }
        cache.begin_check();
        cache.listed(&entry("a", 1, None));
        let suspects = cache.end_check();
        assert_eq!(suspects.iter().map(|one| one.revision).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(keys(&cache).len(), 3);
    }

    proptest! {
        /// Whatever comes twice, and whatever is missed and found by checks: in the end it is what
        /// the bucket is.
        #[test]
        fn it_becomes_what_the_bucket_is(
            steps in proptest::collection::vec((0_usize..6, 0_u8..4, any::<bool>(), any::<bool>()), 1..60),
        ) {
            let mut cache = CacheMachine::new(Some(Duration::from_secs(1_000_000)));
            let mut bucket: BTreeMap<String, Entry> = BTreeMap::new();
            let mut sent: Vec<Entry> = Vec::new();
            let mut revision = 0;
            for (key, what, repeated, checked) in steps {
                revision += 1;
                let key = format!("k{key}");
                match what {
                    // Gone without a trace.
                    0 => drop(bucket.remove(&key)),
                    1 => {
                        bucket.insert(key.clone(), entry(&key, revision, Some("DEL")));
                    }
                    _ => {
                        bucket.insert(key.clone(), entry(&key, revision, None));
                    }
                }
                if let Some(last) = bucket.get(&key).filter(|last| last.revision() == revision) {
                    sent.push(last.clone());
                    cache.apply(last.clone());
                }
                if repeated && let Some(old) = sent.get(sent.len() / 2) {
                    prop_assert!(!cache.apply(old.clone()));
                }
                if checked {
                    cache.begin_check();
                    bucket.values().for_each(|last| cache.listed(last));
                    for suspect in cache.end_check() {
                        if !bucket.contains_key(&suspect.key) {
                            cache.gone(&suspect);
                        }
                    }
                    let there = bucket.values().filter(|last| last.is_put());
                    let there: Vec<_> = there.map(|last| (last.key(), last.revision())).collect();
                    prop_assert_eq!(keys(&cache), there);
                }
                let by_age: Vec<_> = cache.by_age.values().collect();
                prop_assert_eq!(by_age.len(), cache.keys.len());
            }
        }
    }
}
