//! What is to happen, and when.

use std::collections::BTreeMap;
use std::task::Waker;

use midge_proto::Instant;

use crate::net::{Connection, Direction};
use crate::state::State;

pub(crate) enum Happening {
    /// A timer fires.
    Timer(Waker),
    /// A dial has reached the server and is answered.
    Dialled(u64),
    /// Bytes, or the end, reach the other side.
    Arrived(Connection, Direction),
    /// What a test has planned.
    Do(Box<dyn FnOnce(&mut State) + Send>),
}

/// Names an entry of the [`Schedule`].
pub(crate) type Entry = (Instant, u64);

/// Entries in the order of time; those of one time in the order in which they were added.
#[derive(Default)]
pub(crate) struct Schedule {
    entries: BTreeMap<Entry, Happening>,
    added: u64,
}

impl Schedule {
    pub(crate) fn add(&mut self, at: Instant, what: Happening) -> Entry {
        self.added += 1;
        self.entries.insert((at, self.added), what);
        (at, self.added)
    }

    pub(crate) fn remove(&mut self, entry: Entry) {
        self.entries.remove(&entry);
    }

    pub(crate) fn get_mut(&mut self, entry: Entry) -> Option<&mut Happening> {
        self.entries.get_mut(&entry)
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn take_first(&mut self) -> Option<Happening> {
        self.entries.pop_first().map(|(_, what)| what)
    }
}
