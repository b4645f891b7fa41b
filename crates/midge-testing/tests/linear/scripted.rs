//! A bucket and clients in memory: every history that they leave is one of registers, unless a client
//! has bad habits.

use midge_testing::Random;
use midge_testing::linear::{Answer, Call, Calling, Found, History, Operation};

const CLIENTS: usize = 5;
const KEYS: u64 = 3;
const STEPS: u64 = 250;
/// Revisions that a replica is behind.
const BEHIND: usize = 3;

/// What a client does that it must not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Habits {
    /// It sends a write again when it has heard nothing.
    pub(crate) sends_again: bool,
    /// It reads what a replica has.
    pub(crate) reads_replicas: bool,
}

/// A revision: its key and value.
type Stored = (u32, Option<u64>);

#[derive(Default)]
struct Bucket {
    stored: Vec<Stored>,
}

impl Bucket {
    fn last(&self, key: u32, behind: usize) -> Option<Found> {
        let known = &self.stored[..self.stored.len().saturating_sub(behind)];
        let place = known.iter().rposition(|stored| stored.0 == key)?;
        Some(Found { revision: place as u64 + 1, value: known[place].1 })
    }

    fn apply(&mut self, key: u32, call: Call, behind: usize) -> Answer {
        let last = self.last(key, 0);
        let revision = last.map_or(0, |last| last.revision);
        let value = match call {
            Call::Read => return Answer::Found(self.last(key, behind)),
            Call::Create { .. } if last.is_some_and(|last| last.value.is_some()) => {
                return Answer::Exists(revision);
            }
            Call::Update { expected, .. } | Call::Delete { expected: Some(expected) }
                if expected != revision =>
            {
                return Answer::WrongRevision;
            }
            Call::Put { value } | Call::Create { value } | Call::Update { value, .. } => {
                Some(value)
            }
            Call::Delete { .. } => None,
        };
        self.stored.push((key, value));
        Answer::Written(self.stored.len() as u64)
    }
}

/// A call of a client that is under way.
struct Running {
    key: u32,
    call: Call,
    calling: Option<Calling>,
    answer: Option<Answer>,
}

/// A history, which `seed` decides.
pub(crate) fn run(seed: u64, habits: Habits) -> Vec<Operation> {
    let mut random = Random::new(seed);
    let (history, mut bucket) = (History::new(), Bucket::default());
    let mut clients: Vec<Option<Running>> = (0..CLIENTS).map(|_| None).collect();
    let mut seen = vec![0; KEYS as usize];
    // Writes that are still on their way, though nobody waits for them.
    let mut late: Vec<(u32, Call)> = Vec::new();
    for value in 1..=STEPS {
        if !late.is_empty() && random.draw(0..=9) == 0 {
            let (key, call) = late.swap_remove(random.draw(0..=late.len() as u64 - 1) as usize);
            let _ = bucket.apply(key, call, 0);
        }
        let client = &mut clients[random.draw(0..=CLIENTS as u64 - 1) as usize];
        match client {
            None => {
                let key = random.draw(0..=KEYS - 1) as u32;
                let expected = seen[key as usize];
                let call = match random.draw(0..=5) {
                    0 => Call::Put { value },
                    1 => Call::Create { value },
                    2 | 3 => Call::Update { value, expected },
                    4 if random.draw(0..=3) == 0 => Call::Delete { expected: Some(expected) },
                    _ => Call::Read,
                };
                let calling = Some(history.call(key, call));
                *client = Some(Running { key, call, calling, answer: None });
            }
            Some(running) if running.answer.is_none() => {
                let lost = running.call != Call::Read && random.draw(0..=11) == 0;
                if lost && random.draw(0..=1) == 0 {
                    let _ = bucket.apply(running.key, running.call, 0);
                } else if lost {
                    late.push((running.key, running.call));
                }
                if lost && !habits.sends_again {
                    *client = None;
                } else if !lost {
                    let behind = if habits.reads_replicas { BEHIND } else { 0 };
                    let answer = bucket.apply(running.key, running.call, behind);
                    running.answer = Some(answer);
                }
            }
            Some(running) => {
                if let (Some(calling), Some(answer)) = (running.calling.take(), running.answer) {
                    if let Answer::Written(revision)
                    | Answer::Exists(revision)
                    | Answer::Found(Some(Found { revision, .. })) = answer
                    {
                        seen[running.key as usize] = revision;
                    }
                    calling.answer(answer);
                }
                *client = None;
            }
        }
    }
    history.operations()
}
