//! The search for an order of the operations on one key.

use std::collections::{BTreeMap, HashSet};

use super::{Answer, Call, Found, MAX_OPERATIONS, Operation, Stuck, Violation};

/// Steps after which the search is given up.
const STEPS: usize = 1_000_000;
/// The same where it only looks for a shorter contradiction.
const SHORT: usize = 10_000;

/// What a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    revision: Revision,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Value {
    /// This one; `None` for nothing and for a marker.
    Is(Option<u64>),
    /// Any at all, as what came before is not looked at.
    Any,
}

impl Value {
    fn can_be(self, value: Option<u64>) -> bool {
        self == Self::Any || self == Self::Is(value)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Revision {
    /// This one; 0 where nothing was ever written.
    At(u64),
    /// Of a write without an answer: a later one than this.
    After(u64),
    /// Any at all.
    Any,
}

impl State {
    const NEW: Self = Self { revision: Revision::At(0), value: Value::Is(None) };
    const ANY: Self = Self { revision: Revision::Any, value: Value::Any };

    fn describe(self) -> String {
        let value = match self.value {
            Value::Is(None) => "no value".to_owned(),
            Value::Is(Some(value)) => format!("value {value}"),
            Value::Any => "any value".to_owned(),
        };
        match self.revision {
            Revision::At(revision) => format!("{value} at revision {revision}"),
            Revision::After(revision) => format!("{value} at a revision after {revision}"),
            Revision::Any => format!("{value} at any revision"),
        }
    }

    /// The same with the revision that a client was told, if that can be.
    fn told(self, told: u64) -> Option<Self> {
        let can_be = match self.revision {
            Revision::At(revision) => revision == told,
            Revision::After(revision) => revision < told,
            Revision::Any => true,
        };
        can_be.then_some(Self { revision: Revision::At(told), ..self })
    }

    fn written(self, revision: Option<u64>, value: Option<u64>) -> Option<Self> {
        let last = match self.revision {
            Revision::At(last) => last,
            Revision::After(last) => last + 1,
            Revision::Any => 0,
        };
        let revision = match revision {
            Some(revision) if revision <= last => return None,
            Some(revision) => Revision::At(revision),
            None => Revision::After(last),
        };
        Some(Self { revision, value: Value::Is(value) })
    }

    /// What an operation makes of it; `None` where it would have been answered otherwise.
    /// `revision`: the one that a write without an answer had if it took effect, where known.
    fn step(self, operation: &Operation, revision: Option<u64>) -> Option<Self> {
        match (operation.call, operation.answer) {
            (Call::Read, Answer::Found(None)) => {
                let empty = self.told(0).is_some() && self.value.can_be(None);
                empty.then_some(Self::NEW)
            }
            (Call::Read, Answer::Found(Some(Found { revision, value }))) => {
                let state = self.told(revision).filter(|state| state.value.can_be(value));
                state.map(|state| Self { value: Value::Is(value), ..state })
            }
            (Call::Create { .. }, Answer::Exists(revision)) => {
                self.told(revision).filter(|state| state.value != Value::Is(None))
            }
            (
                Call::Update { expected, .. } | Call::Delete { expected: Some(expected) },
                Answer::WrongRevision,
            ) => (self.revision != Revision::At(expected)).then_some(self),
            (_, Answer::NotWritten) => Some(self),
            (Call::Read | Call::Put { .. }, Answer::WrongRevision | Answer::Exists(_)) => None,
            (call, Answer::Written(_) | Answer::Unknown) => {
                let before = match call {
                    Call::Create { .. } => Some(self).filter(|state| state.value.can_be(None)),
                    Call::Update { expected, .. } | Call::Delete { expected: Some(expected) } => {
                        self.told(expected)
                    }
                    Call::Put { .. } | Call::Delete { expected: None } => Some(self),
                    Call::Read => None,
                };
                let revision = match operation.answer {
                    Answer::Written(revision) => Some(revision),
                    _ => revision,
                };
                before?.written(revision, operation.value())
            }
            _ => None,
        }
    }
}

/// Looks for an order of the operations on `key`.
pub(super) fn check(key: u32, operations: Vec<Operation>) -> Result<(), Violation> {
    check_from(State::NEW, key, operations, STEPS)
}

/// The answers among `operations`, which are no register, that contradict each other: without any of
/// them the others would not, as far as a short search can tell.
pub(super) fn contradiction(operations: &[Operation]) -> Vec<Operation> {
    let contradicts = |from: State, operations: &[Operation], steps| {
        let checked = check_from(from, 0, operations.to_vec(), steps);
        matches!(checked, Err(Violation::NotARegister { .. }))
    };
    let mut moments: Vec<u64> = operations.iter().map(|operation| operation.answered).collect();
    moments.sort_unstable();
    // What was known at a moment is a history too: the first moment that is one too many.
    let known_at = |moment: u64| -> Vec<Operation> {
        let asked = operations.iter().filter(|operation| operation.called <= moment);
        asked.map(|one| if one.answered <= moment { one.clone() } else { untold(one) }).collect()
    };
    let enough =
        moments.partition_point(|&moment| !contradicts(State::NEW, &known_at(moment), STEPS));
    let Some(&last) = moments.get(enough) else { return Vec::new() };
    let known = known_at(last);
    // What was answered before a moment may have left anything: the last moment that is enough.
    let since = |moment: u64| -> Vec<Operation> {
        known.iter().filter(|operation| operation.answered > moment).cloned().collect()
    };
    let enough = moments.partition_point(|&moment| contradicts(State::ANY, &since(moment), STEPS));
    let (from, mut left) = match enough.checked_sub(1) {
        Some(place) => (State::ANY, since(moments[place])),
        None => (State::NEW, known),
    };
    // Reads first: without their answers there is less to search.
    let mut places: Vec<usize> = (0..left.len()).collect();
    places.sort_by_key(|&place| left[place].is_write());
    for place in places {
        let weaker = untold(&left[place]);
        let told = std::mem::replace(&mut left[place], weaker);
        if !contradicts(from, &left, SHORT) {
            left[place] = told;
        }
    }
    left.retain(|operation| !operation.is_unknown());
    left
}

/// The same without its answer.
fn untold(operation: &Operation) -> Operation {
    Operation { answer: Answer::Unknown, answered: u64::MAX, ..operation.clone() }
}

fn check_from(
    from: State,
    key: u32,
    mut operations: Vec<Operation>,
    steps: usize,
) -> Result<(), Violation> {
    // Nobody was told anything.
    operations.retain(|operation| operation.is_write() || !operation.is_unknown());
    let count = operations.len();
    if count > MAX_OPERATIONS {
        return Err(Violation::TooMany { key, count });
    }
    operations.sort_unstable_by_key(|operation| operation.called);
    Search::new(from, operations).run(key, steps)
}

struct Search {
    from: State,
    operations: Vec<Operation>,
    /// The revisions of writes without an answer that others have read.
    read: Vec<Option<u64>>,
    /// The operations that must be placed.
    answered: u128,
    seen: HashSet<(u128, State)>,
    /// How each was come by: the one before, and what was placed.
    best: (u32, Vec<usize>, State),
}

impl Search {
    fn new(from: State, operations: Vec<Operation>) -> Self {
        let found = operations.iter().filter_map(|operation| match operation.answer {
            Answer::Found(Some(Found { revision, value: Some(value) })) => Some((value, revision)),
            _ => None,
        });
        let found: BTreeMap<u64, u64> = found.collect();
        let of = |operation: &Operation| found.get(&operation.value()?).copied();
        let read = operations.iter().map(of).collect();
        let mut answered = 0;
        for (place, operation) in operations.iter().enumerate() {
            answered |= u128::from(!operation.is_unknown()) << place;
        }
        let best = (0, Vec::new(), from);
        Self { from, operations, read, answered, seen: HashSet::new(), best }
    }

    fn run(mut self, key: u32, steps: usize) -> Result<(), Violation> {
        let mut stack = vec![(0_u128, self.from, Vec::new())];
        while let Some((placed, state, order)) = stack.pop() {
            let done = (placed & self.answered).count_ones();
            if placed & self.answered == self.answered {
                return Ok(());
            }
            if done >= self.best.0 {
                self.best = (done, order.clone(), state);
            }
            if self.seen.len() >= steps {
                return Err(Violation::Undecided { key, steps });
            }
            let mut next = Vec::new();
            for place in self.candidates(placed) {
                let operation = &self.operations[place];
                let Some(after) = state.step(operation, self.read[place]) else { continue };
                if after == state && !operation.is_unknown() {
                    // What changes nothing can as well be now as later.
                    next = vec![(place, after)];
                    break;
                }
                next.push((place, after));
            }
            // What has an answer is tried first: it is taken from the end.
            next.sort_by_key(|&(place, _)| !self.operations[place].is_unknown());
            for (place, after) in next {
                let placed = placed | 1 << place;
                if self.seen.insert((placed, after)) {
                    let mut order = order.clone();
                    order.push(place);
                    stack.push((placed, after, order));
                }
            }
        }
        Err(self.stuck())
    }

    /// The operations of which one is next: none of the others had its answer before they were
    /// asked for.
    fn candidates(&self, placed: u128) -> Vec<usize> {
        let open = |place: &usize| placed & 1 << place == 0;
        let all = 0..self.operations.len();
        let answered = all.clone().filter(open).map(|place| self.operations[place].answered);
        let first = answered.min().unwrap_or(u64::MAX);
        all.filter(open).filter(|&place| self.operations[place].called < first).collect()
    }

    fn stuck(self) -> Violation {
        let (_, order, state) = &self.best;
        let placed = order.iter().fold(0_u128, |placed, place| placed | 1 << place);
        let get = |&place: &usize| self.operations[place].clone();
        let stuck = Stuck {
            placed: order.iter().map(get).collect(),
            found: state.describe(),
            rest: self.candidates(placed).iter().map(get).collect(),
        };
        Violation::NotARegister { stuck: Box::new(stuck) }
    }
}
