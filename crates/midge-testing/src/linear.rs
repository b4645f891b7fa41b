//! Judges what clients of a key-value bucket were told: each key must have been one register.
//!
//! A test records what it asks for and what it is told in a [`History`]. [`check`] then looks for an
//! order of all operations on a key, each at one moment between its call and its answer, in which a
//! register with revisions would have answered the same (Wing and Gong 1993, with the memory of Lowe
//! 2017). A write without an answer may take effect at any later moment, or never.

mod order;
mod report;
mod search;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::recording::{Passed, Recording};

pub use report::{Report, Witness};

/// The most operations that a key may have.
pub const MAX_OPERATIONS: usize = 128;

/// What a client asks for. Each write of a history has a value of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// To give the key a value, whatever it has.
    Put {
        /// The value.
        value: u64,
    },
    /// To give the key a value if it has none.
    Create {
        /// The value.
        value: u64,
    },
    /// To give the key a value if its last revision is this one.
    Update {
        /// The value.
        value: u64,
        /// The revision.
        expected: u64,
    },
    /// To leave a marker.
    Delete {
        /// Only if this is the last revision.
        expected: Option<u64>,
    },
    /// To read the last revision, markers too.
    Read,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was written, and has this revision.
    Written(u64),
    /// It was not written, for a reason that tells nothing of the key.
    NotWritten,
    /// The last revision is not the expected one. Nothing was written.
    WrongRevision,
    /// The key has a value, of this revision. Nothing was written.
    Exists(u64),
    /// What is there; `None` where nothing was ever written.
    Found(Option<Found>),
    /// Nothing, or nothing that tells: a write may take effect, now or later.
    Unknown,
}

/// A revision that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number.
    pub revision: u64,
    /// Its value; `None` for a marker.
    pub value: Option<u64>,
}

/// One call, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The key.
    pub key: u32,
    /// What was asked for.
    pub call: Call,
    /// What was told.
    pub answer: Answer,
    /// When it was asked, in the order of all that happened in the history.
    pub called: u64,
    /// When it was told; later than everything while it is not.
    pub answered: u64,
}

impl Operation {
    fn is_write(&self) -> bool {
        self.call != Call::Read
    }

    fn is_unknown(&self) -> bool {
        self.answer == Answer::Unknown
    }

    /// The revision that its client was told.
    fn told(&self) -> Option<u64> {
        match self.answer {
            Answer::Written(revision)
            | Answer::Exists(revision)
            | Answer::Found(Some(Found { revision, .. })) => Some(revision),
            Answer::NotWritten | Answer::WrongRevision | Answer::Found(None) | Answer::Unknown => {
                None
            }
        }
    }

    /// The value that it writes.
    fn value(&self) -> Option<u64> {
        match self.call {
            Call::Put { value } | Call::Create { value } | Call::Update { value, .. } => {
                Some(value)
            }
            Call::Delete { .. } | Call::Read => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, call, answer, called, answered } = self;
        write!(f, "{called}..")?;
        if *answered != u64::MAX {
            write!(f, "{answered}")?;
        }
        write!(f, " k{key} {call:?} -> {answer:?}")
    }
}

/// What many clients asked for and were told. Clones are the same history.
#[derive(Clone, Debug, Default)]
pub struct History {
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
    now: u64,
    operations: Vec<Operation>,
    /// Where each is on the wire, if it is known.
    wires: Vec<Option<(Recording, Range<usize>)>>,
}

impl History {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client is about to ask. What is dropped without an answer was told nothing.
    pub fn call(&self, key: u32, call: Call) -> Calling {
        self.begin(key, call, None)
    }

    /// The same for a client whose connections are recorded, and which asks for one thing at a time.
    pub fn call_over(&self, key: u32, call: Call, recording: &Recording) -> Calling {
        self.begin(key, call, Some(recording.clone()))
    }

    fn begin(&self, key: u32, call: Call, recording: Option<Recording>) -> Calling {
        let wire = recording.map(|recording| {
            let place = recording.place();
            (recording, place..place)
        });
        let mut record = self.lock();
        record.now += 1;
        let called = record.now;
        let place = record.operations.len();
        let (answer, answered) = (Answer::Unknown, u64::MAX);
        record.operations.push(Operation { key, call, answer, called, answered });
        record.wires.push(wire);
        Calling { history: self.clone(), place }
    }

    /// What passed over the connections of the client while it asked for this: what it sent, what it
    /// was answered, and what else there was. Nothing if it was not recorded.
    #[must_use]
    pub fn wire(&self, operation: &Operation) -> Vec<Passed> {
        let record = self.lock();
        // Each is asked for at a moment of its own.
        let place = record.operations.binary_search_by_key(&operation.called, |one| one.called);
        let wire = place.ok().and_then(|place| record.wires[place].as_ref());
        wire.map(|(recording, places)| recording.passed(places.clone())).unwrap_or_default()
    }

    /// All operations, in the order of the calls.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.lock().operations.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that has no answer yet. Made by [`History::call`].
#[derive(Debug)]
#[must_use = "what is not answered may take effect for ever"]
pub struct Calling {
    history: History,
    place: usize,
}

impl Calling {
    /// The client was told. [`Answer::Unknown`] leaves it open, as a drop does.
    pub fn answer(self, answer: Answer) {
        if answer == Answer::Unknown {
            return;
        }
        let mut record = self.history.lock();
        record.now += 1;
        let now = record.now;
        let operation = &mut record.operations[self.place];
        (operation.answer, operation.answered) = (answer, now);
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some((recording, places)) = &mut self.history.lock().wires[self.place] {
            places.end = recording.place();
        }
    }
}

/// Why no such registers can have been there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// No order of the operations on a key explains the answers.
    #[error("{stuck}")]
    NotARegister {
        /// How far the search came.
        stuck: Box<Stuck>,
    },
    /// A write has no greater revision than one that was known before it was asked for.
    #[error("revision {known} was known before this was asked for: {later}")]
    Order {
        /// The revision.
        known: u64,
        /// The write.
        later: Box<Operation>,
    },
    /// Two writes were told the same revision.
    #[error("both have revision {revision}: {first}; {second}")]
    Twice {
        /// The revision.
        revision: u64,
        /// One.
        first: Box<Operation>,
        /// The other.
        second: Box<Operation>,
    },
    /// A key has more operations than can be judged.
    #[error("key {key} has {count} operations, and at most {MAX_OPERATIONS} are judged")]
    TooMany {
        /// The key.
        key: u32,
        /// Its operations.
        count: usize,
    },
    /// The search was given up.
    #[error("no order was found for key {key} in {steps} steps, and none excluded")]
    Undecided {
        /// The key.
        key: u32,
        /// Steps of the search.
        steps: usize,
    },
}

/// How far the search for an order came.
#[derive(Clone, Debug)]
pub struct Stuck {
    /// The longest order that was found.
    pub placed: Vec<Operation>,
    /// What the key had then.
    pub found: String,
    /// Operations of which one had to be next, and none could.
    pub rest: Vec<Operation>,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "these fit in this order:")?;
        for operation in &self.placed {
            writeln!(f, "  {operation}")?;
        }
        writeln!(f, "then the key has {}, and none of these is next:", self.found)?;
        for operation in &self.rest {
            writeln!(f, "  {operation}")?;
        }
        Ok(())
    }
}

/// Judges a history.
///
/// # Errors
///
/// [`Violation`], the first one that is found.
pub fn check(operations: &[Operation]) -> Result<(), Violation> {
    order::check(operations)?;
    let mut keys: Vec<u32> = operations.iter().map(|operation| operation.key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().try_for_each(|key| {
        let of_key = operations.iter().filter(|operation| operation.key == key);
        search::check(key, of_key.cloned().collect())
    })
}
