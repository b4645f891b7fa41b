//! Revisions are those of one stream: unique, and in the order of time across all keys.

use std::collections::BTreeMap;

use super::{Answer, Operation, Violation};

pub(super) fn check(operations: &[Operation]) -> Result<(), Violation> {
    let mut by_revision: BTreeMap<u64, &Operation> = BTreeMap::new();
    for operation in operations {
        if let Answer::Written(revision) = operation.answer
            && let Some(first) = by_revision.insert(revision, operation)
        {
            let (first, second) = (Box::new(first.clone()), Box::new(operation.clone()));
            return Err(Violation::Twice { revision, first, second });
        }
    }
    // What was known when: by the moments of answers.
    let mut told: Vec<(u64, u64)> = operations.iter().filter_map(told).collect();
    told.sort_unstable();
    let mut asked: Vec<&Operation> = by_revision.values().copied().collect();
    asked.sort_unstable_by_key(|operation| operation.called);
    let (mut known, mut told) = (0, told.into_iter().peekable());
    for later in asked {
        while let Some((_, revision)) = told.next_if(|&(at, _)| at < later.called) {
            known = known.max(revision);
        }
        if let Answer::Written(revision) = later.answer
            && revision <= known
        {
            return Err(Violation::Order { known, later: Box::new(later.clone()) });
        }
    }
    Ok(())
}

/// When a client got to know of which revision.
fn told(operation: &Operation) -> Option<(u64, u64)> {
    Some((operation.answered, operation.told()?))
}
