//! What a watch begins with, what it gives, and when it has given all there was.

use alloc::string::String;
use alloc::vec::Vec;

use super::entry::Operation;
use super::names::{KeyError, check_key_filter};
use crate::check::{collide, covers};
use crate::consumer::DeliverPolicy;

/// What a watch gives of what is there when it begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Include {
    /// The last revision of each key.
    #[default]
    Latest,
    /// Every revision that is kept.
    History,
    /// Nothing: only what comes.
    Updates,
    /// Every revision that is kept, from this one on.
    From(u64),
}

impl Include {
    /// Where its consumer begins.
    #[must_use]
    pub fn deliver_policy(self) -> DeliverPolicy {
        match self {
            Self::Latest => DeliverPolicy::LastPerSubject,
            Self::History => DeliverPolicy::All,
            Self::Updates => DeliverPolicy::New,
            Self::From(revision) => DeliverPolicy::ByStartSequence(revision.max(1)),
        }
    }
}

/// Filters that no watch can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchFilterError {
    /// One of them is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There are none.
    #[error("there is no key to watch: give one at least")]
    None,
    /// Some keys match two of them, and neither has all of the other's.
    #[error(
        "{first:?} and {second:?} have keys in common: servers take no such filters together; watch with one that has both, or twice"
    )]
    Overlap {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
}

/// The filters, checked, without those that another one covers.
///
/// # Errors
///
/// [`WatchFilterError`] when no server would take them.
pub fn watch_filters(
    filters: impl IntoIterator<Item = impl Into<String>>,
) -> Result<Vec<String>, WatchFilterError> {
    let mut kept: Vec<String> = Vec::new();
    for filter in filters {
        let filter = filter.into();
        check_key_filter(&filter)?;
        if kept.iter().any(|other| covers(other, &filter)) {
            continue;
        }
        kept.retain(|other| !covers(&filter, other));
        if let Some(first) = kept.iter().find(|other| collide(other, &filter)) {
            return Err(WatchFilterError::Overlap { first: first.clone(), second: filter });
        }
        kept.push(filter);
    }
    if kept.is_empty() {
        return Err(WatchFilterError::None);
    }
    Ok(kept)
}

/// When the end of what was there is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialEnd {
    /// Not with this revision.
    Not,
    /// Before it.
    Before,
    /// Behind it.
    Behind,
}

/// What to do with a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a revision is handed on only if it says so"]
pub struct WatchStep {
    /// Hand it on.
    pub deliver: bool,
    /// Whether all that was there has been given.
    pub initial_end: InitialEnd,
}

/// Decides what a watch gives.
///
/// The end of what was there is told exactly once, however often the consumer is lost, and not before
/// each key that was there has been given, or has gone: behind a revision after which none waited,
/// when none waits for a consumer, or at the first revision that is newer than the stream was when
/// the last consumer was made. Keys that were written again meanwhile are waited for.
#[derive(Clone, Debug)]
pub struct WatchMachine {
    ignore_deletes: bool,
    /// Each key comes once.
    by_key: bool,
    initial: Initial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Initial {
    /// There was no consumer yet.
    Unknown,
    /// Up to this revision. So many keys of it are still to come, where each comes once.
    UpTo {
        revision: u64,
        keys: u64,
    },
    /// Some keys were written again before they were given: so many revisions more, among which they
    /// are.
    Left(u64),
    Ended,
}

impl WatchMachine {
    /// A watch that has no consumer yet.
    #[must_use]
    pub fn new(include: Include, ignore_deletes: bool) -> Self {
        let initial = if include == Include::Updates { Initial::Ended } else { Initial::Unknown };
        Self { ignore_deletes, by_key: include == Include::Latest, initial }
    }

    /// Whether the end of what was there has been told, or was so from the beginning.
    #[must_use]
    pub fn has_all(&self) -> bool {
        self.initial == Initial::Ended
    }

    /// A consumer was made: so many revisions waited for it, and afterwards the last one of the
    /// stream was this. True when the end of what was there is to be told now.
    pub fn created(&mut self, pending: u64, last: u64) -> bool {
        if self.has_all() {
            return false;
        }
        let keys = if self.by_key { pending } else { 0 };
        self.initial = match pending {
            0 => Initial::Ended,
            _ => Initial::UpTo { revision: last, keys },
        };
        self.has_all()
    }

    /// A revision came, behind which so many waited.
    #[inline]
    pub fn revision(&mut self, revision: u64, pending: u64, operation: Operation) -> WatchStep {
        let deliver = !self.ignore_deletes || operation == Operation::Put;
        let step = |initial_end| WatchStep { deliver, initial_end };
        if self.has_all() {
            return step(InitialEnd::Not);
        }
        self.initial = match self.initial {
            Initial::UpTo { revision: up_to, keys } if revision <= up_to => {
                Initial::UpTo { revision: up_to, keys: keys.saturating_sub(1) }
            }
            Initial::UpTo { keys: 0, .. } => {
                self.initial = Initial::Ended;
                return step(InitialEnd::Before);
            }
            Initial::UpTo { .. } => Initial::Left(pending),
            Initial::Left(left) => Initial::Left(left.saturating_sub(1)),
            initial => initial,
        };
        let ends = match self.initial {
            Initial::UpTo { revision: up_to, keys } => revision == up_to && keys == 0,
            Initial::Left(left) => left == 0,
            _ => false,
        };
        if !ends && pending > 0 {
            return step(InitialEnd::Not);
        }
        self.initial = Initial::Ended;
        step(InitialEnd::Behind)
    }

    /// The server was asked: nothing waits, and all that was delivered came. True when the end of
    /// what was there is to be told now: the rest has gone since.
    pub fn nothing_waits(&mut self) -> bool {
        core::mem::replace(&mut self.initial, Initial::Ended) != Initial::Ended
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(machine: &mut WatchMachine, revision: u64, pending: u64) -> InitialEnd {
        machine.revision(revision, pending, Operation::Put).initial_end
    }

    #[test]
    fn an_empty_bucket_has_an_end_too() {
        let mut machine = WatchMachine::new(Include::Latest, false);
        assert!(!machine.has_all());
        assert!(machine.created(0, 0));
        assert!(machine.has_all());
        assert_eq!(put(&mut machine, 1, 0), InitialEnd::Not);
        assert!(!machine.created(0, 1) && !machine.nothing_waits(), "it is told once");
    }

    #[test]
    fn with_updates_only_all_is_there_from_the_beginning() {
        let mut machine = WatchMachine::new(Include::Updates, false);
        assert!(machine.has_all());
        assert!(!machine.created(0, 5));
        assert_eq!(put(&mut machine, 6, 0), InitialEnd::Not);
    }

    #[test]
    fn the_end_is_behind_the_last_one_that_waited() {
        let mut machine = WatchMachine::new(Include::Latest, false);
        assert!(!machine.created(2, 9));
        assert_eq!(put(&mut machine, 3, 1), InitialEnd::Not);
        assert_eq!(put(&mut machine, 7, 0), InitialEnd::Behind);
        assert_eq!(put(&mut machine, 10, 0), InitialEnd::Not);
    }

    #[test]
    fn updates_that_never_cease_do_not_put_off_the_end() {
        let mut machine = WatchMachine::new(Include::Latest, false);
        assert!(!machine.created(2, 9));
        assert_eq!(put(&mut machine, 3, 50), InitialEnd::Not);
        assert_eq!(put(&mut machine, 9, 50), InitialEnd::Behind);
        let mut machine = WatchMachine::new(Include::Latest, false);
        assert!(!machine.created(1, 9));
        assert_eq!(put(&mut machine, 3, 50), InitialEnd::Not);
        assert_eq!(put(&mut machine, 12, 50), InitialEnd::Before, "3 was the only key");
        let mut machine = WatchMachine::new(Include::History, false);
        assert!(!machine.created(3, 9));
        assert_eq!(put(&mut machine, 12, 50), InitialEnd::Before, "the others have gone");
    }

    #[test]
    fn keys_that_are_written_again_meanwhile_are_waited_for() {
        let mut machine = WatchMachine::new(Include::Latest, false);
        assert!(!machine.created(3, 9));
        assert_eq!(put(&mut machine, 3, 2), InitialEnd::Not);
        // The other two are among this one and the two that wait.
        assert_eq!(put(&mut machine, 12, 2), InitialEnd::Not);
        assert_eq!(put(&mut machine, 13, 7), InitialEnd::Not);
        assert_eq!(put(&mut machine, 14, 7), InitialEnd::Behind);
        assert_eq!(put(&mut machine, 15, 0), InitialEnd::Not);
    }

    #[test]
    fn a_consumer_that_is_lost_midway_leaves_one_end() {
        let mut machine = WatchMachine::new(Include::Latest, false);
        assert!(!machine.created(3, 9));
        assert_eq!(put(&mut machine, 3, 2), InitialEnd::Not);
        assert!(!machine.created(2, 20));
        assert_eq!(put(&mut machine, 9, 1), InitialEnd::Not);
        assert_eq!(put(&mut machine, 20, 5), InitialEnd::Behind);
        assert!(!machine.created(0, 30));
    }

    #[test]
    fn what_has_gone_while_it_waited_does_not_put_off_the_end() {
        let mut machine = WatchMachine::new(Include::Latest, false);
        assert!(!machine.created(3, 9));
        assert!(machine.nothing_waits());
        assert!(!machine.nothing_waits());
        let mut machine = WatchMachine::new(Include::Latest, false);
        assert!(!machine.created(3, 9));
        assert!(machine.created(0, 9), "the next consumer finds nothing");
    }

    #[test]
    fn deletes_are_ignored_and_can_be_the_last_ones() {
        let mut machine = WatchMachine::new(Include::Latest, true);
        assert!(!machine.created(2, 9));
        let step = machine.revision(8, 1, Operation::Delete);
        assert_eq!(step, WatchStep { deliver: false, initial_end: InitialEnd::Not });
        let step = machine.revision(9, 0, Operation::Purge);
        assert_eq!(step, WatchStep { deliver: false, initial_end: InitialEnd::Behind });
        assert!(machine.revision(10, 0, Operation::Put).deliver);
    }

    #[test]
    fn a_filter_that_another_one_covers_is_left_out() {
        let kept = |filters: &[&str]| watch_filters(filters.iter().copied());
        assert_eq!(kept(&["a.b", "a.*", "c", "a.*"]).unwrap(), ["a.*", "c"]);
        assert_eq!(kept(&["a", ">", "b"]).unwrap(), [">"]);
        assert_eq!(kept(&[]), Err(WatchFilterError::None));
        assert!(matches!(kept(&["a.*", "*.b"]), Err(WatchFilterError::Overlap { .. })));
        assert!(matches!(kept(&["a..b"]), Err(WatchFilterError::Key(_))));
    }

    proptest! {
        /// A stream of keys, consumers that are lost anywhere: one end, never before a revision that
        /// the bucket began with.
        #[test]
        fn there_is_one_end_behind_all_that_was_there(
            stored in 0_u64..20,
            later in 0_u64..20,
            losses in proptest::collection::vec(0_u64..40, 0..5),
        ) {
            let mut machine = WatchMachine::new(Include::History, false);
            let mut ends = u64::from(machine.created(stored, stored));
            let mut at = 0;
            for revision in 1..=stored + later {
                if losses.contains(&revision) {
                    let last = (stored + later).max(at);
                    ends += u64::from(machine.created(last - at, last));
                }
                let waiting = if revision > stored { 1 } else { stored - revision };
                let step = machine.revision(revision, waiting, Operation::Put);
                if step.initial_end != InitialEnd::Not {
                    ends += 1;
                    let given = revision - u64::from(step.initial_end == InitialEnd::Before);
                    prop_assert!(given >= stored);
                }
                at = revision;
            }
            prop_assert_eq!(ends, 1);
        }
    }
}
