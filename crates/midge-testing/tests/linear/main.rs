//! The judge of histories of buckets: what it accepts, and what it finds.

mod scripted;
mod wire;

use midge_testing::linear::{
    Answer, Call, Found, History, MAX_OPERATIONS, Operation, Violation, check,
};

use scripted::{Habits, run};

fn found(revision: u64, value: u64) -> Answer {
    Answer::Found(Some(Found { revision, value: Some(value) }))
}

fn marker(revision: u64) -> Answer {
    Answer::Found(Some(Found { revision, value: None }))
}

/// Calls that follow each other on one key.
fn in_turn(steps: &[(Call, Answer)]) -> Vec<Operation> {
    let history = History::new();
    for &(call, answer) in steps {
        history.call(1, call).answer(answer);
    }
    history.operations()
}

fn accepts(steps: &[(Call, Answer)]) {
    check(&in_turn(steps)).expect("it is one");
}

fn refuses(steps: &[(Call, Answer)]) {
    let violation = check(&in_turn(steps)).expect_err("it is none");
    assert!(matches!(violation, Violation::NotARegister { .. }), "{violation}");
}

const PUT: Call = Call::Put { value: 10 };
const UPDATE: Call = Call::Update { value: 11, expected: 1 };
const CREATE: Call = Call::Create { value: 12 };
const DELETE: Call = Call::Delete { expected: None };

#[test]
fn a_key_that_is_written_read_and_deleted_is_a_register() {
    accepts(&[
        (Call::Read, Answer::Found(None)),
        (PUT, Answer::Written(1)),
        (CREATE, Answer::Exists(1)),
        (UPDATE, Answer::Written(4)),
        (Call::Read, found(4, 11)),
        (Call::Update { value: 13, expected: 1 }, Answer::WrongRevision),
        (Call::Delete { expected: Some(1) }, Answer::WrongRevision),
        (DELETE, Answer::Written(7)),
        (Call::Read, marker(7)),
        (CREATE, Answer::Written(8)),
        (Call::Read, found(8, 12)),
    ]);
}

#[test]
fn a_write_without_an_answer_takes_effect_at_any_later_moment_or_never() {
    let lost = (PUT, Answer::Unknown);
    accepts(&[lost, (Call::Read, found(3, 10))]);
    accepts(&[lost, (Call::Read, Answer::Found(None)), (Call::Read, found(3, 10))]);
    accepts(&[lost, (CREATE, Answer::Written(2)), (Call::Read, found(3, 10))]);
    accepts(&[lost, (CREATE, Answer::Written(2)), (Call::Read, found(2, 12))]);
    accepts(&[lost, (CREATE, Answer::Exists(6)), (Call::Read, found(6, 10))]);
    // Seen or not, it is in the way.
    accepts(&[lost, (Call::Update { value: 3, expected: 0 }, Answer::WrongRevision)]);
}

#[test]
fn a_write_without_an_answer_takes_effect_once_and_not_before_it_is_asked_for() {
    let lost = (PUT, Answer::Unknown);
    let other = Call::Put { value: 20 };
    refuses(&[(Call::Read, found(3, 10)), lost]);
    refuses(&[lost, (Call::Read, found(3, 10)), (Call::Read, Answer::Found(None))]);
    refuses(&[
        lost,
        (Call::Read, found(3, 10)),
        (other, Answer::Written(4)),
        (Call::Read, found(5, 10)),
    ]);
    refuses(&[lost, (Call::Read, found(3, 10)), (CREATE, Answer::Written(4))]);
}

#[test]
fn what_cannot_be_is_found() {
    let put = (PUT, Answer::Written(1));
    refuses(&[put, (Call::Read, Answer::Found(None))]);
    refuses(&[put, (Call::Read, found(1, 99))]);
    refuses(&[put, (Call::Read, found(2, 10))]);
    refuses(&[put, (Call::Read, marker(1))]);
    refuses(&[put, (CREATE, Answer::Written(2))]);
    refuses(&[put, (UPDATE, Answer::WrongRevision)]);
    refuses(&[put, (Call::Update { value: 3, expected: 0 }, Answer::Written(2))]);
    refuses(&[put, (DELETE, Answer::Written(2)), (CREATE, Answer::Exists(2))]);
    refuses(&[put, (UPDATE, Answer::Written(2)), (Call::Read, found(1, 10))]);
    refuses(&[put, (Call::Read, Answer::WrongRevision)]);
    refuses(&[(PUT, Answer::NotWritten), (Call::Read, found(1, 10))]);
}

#[test]
fn calls_that_overlap_have_either_order() {
    for answer in [Answer::Found(None), found(1, 10)] {
        let history = History::new();
        let (put, read) = (history.call(1, PUT), history.call(1, Call::Read));
        put.answer(Answer::Written(1));
        read.answer(answer);
        check(&history.operations()).unwrap();
    }
    let history = History::new();
    let put = history.call(1, PUT);
    history.call(1, Call::Read).answer(found(1, 10));
    history.call(1, Call::Read).answer(Answer::Found(None));
    put.answer(Answer::Written(1));
    assert!(check(&history.operations()).is_err(), "what was read once was there");
}

#[test]
fn keys_are_apart_and_their_revisions_are_of_one_stream() {
    let history = History::new();
    history.call(1, PUT).answer(Answer::Written(5));
    history.call(2, Call::Read).answer(Answer::Found(None));
    let before = history.operations();
    history.call(2, CREATE).answer(Answer::Written(6));
    check(&history.operations()).unwrap();
    let told = |revision| {
        let later =
            Operation { answer: Answer::Written(revision), ..history.operations().pop().unwrap() };
        check(&[&before[..], &[later]].concat())
    };
    assert!(matches!(told(4), Err(Violation::Order { known: 5, .. })));
    assert!(matches!(told(5), Err(Violation::Twice { revision: 5, .. })));
}

#[test]
fn more_operations_than_can_be_judged_are_said_to_be() {
    let steps = vec![(Call::Read, Answer::Found(None)); MAX_OPERATIONS + 1];
    assert!(matches!(check(&in_turn(&steps)), Err(Violation::TooMany { key: 1, .. })));
    accepts(&steps[1..]);
}

#[test]
fn what_well_behaved_clients_are_told_is_accepted() {
    for seed in 0..300 {
        let operations = run(seed, Habits::default());
        check(&operations).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
    }
}

/// Of 300 histories, those that are refused.
fn refused(habits: Habits) -> usize {
    (0..300).filter(|&seed| check(&run(seed, habits)).is_err()).count()
}

#[test]
fn a_client_that_sends_again_what_it_has_no_answer_to_is_found() {
    let refused = refused(Habits { sends_again: true, ..Habits::default() });
    assert!(refused > 200, "{refused}");
}

#[test]
fn a_client_that_reads_from_replicas_is_found() {
    let refused = refused(Habits { reads_replicas: true, ..Habits::default() });
    assert!(refused > 200, "{refused}");
}

#[test]
fn a_history_in_which_one_answer_is_another_is_found() {
    let (mut tried, mut missed) = (0, 0);
    for seed in 0..60 {
        let operations = run(seed, Habits::default());
        for place in 0..operations.len() {
            let mut corrupted = operations.clone();
            // Revisions that nobody ever had, and a key that is empty again.
            corrupted[place].answer = match corrupted[place].answer {
                Answer::Found(Some(found)) => {
                    Answer::Found(Some(Found { value: Some(u64::MAX), ..found }))
                }
                Answer::Exists(_) => Answer::Exists(u64::MAX),
                Answer::Written(revision) if revision > 1 => Answer::Written(1),
                _ => continue,
            };
            tried += 1;
            missed += usize::from(check(&corrupted).is_ok());
        }
    }
    // With a write behind every one that has no answer, as a rule; the first of a key can be any.
    assert!(tried > 2_000 && missed * 100 < tried, "{missed} of {tried}");
}

#[test]
fn of_a_contradiction_those_answers_are_reported_that_it_takes() {
    let history = History::new();
    for (call, answer) in [
        (Call::Read, Answer::Found(None)),
        (PUT, Answer::Written(1)),
        (CREATE, Answer::Exists(1)),
        (Call::Put { value: 20 }, Answer::Unknown),
        (UPDATE, Answer::Written(4)),
        (Call::Read, found(4, 11)),
        (Call::Update { value: 13, expected: 4 }, Answer::WrongRevision),
        (Call::Update { value: 14, expected: 1 }, Answer::WrongRevision),
        (Call::Read, found(4, 11)),
        (DELETE, Answer::Written(7)),
        (Call::Read, marker(7)),
    ] {
        history.call(1, call).answer(answer);
    }
    history.call(2, PUT).answer(Answer::Written(8));
    let operations = history.operations();
    let violation = check(&operations).expect_err("revision 4 is read after it is not the last");
    let report = history.report(&operations, violation);
    let answers = report.contradiction.iter().map(|witness| witness.operation.answer);
    assert_eq!(answers.collect::<Vec<_>>(), [found(4, 11), Answer::WrongRevision, found(4, 11)]);
    assert_eq!(report.operations.len(), 11, "all of the key, and none of the other one");
    assert!(!report.is_witnessed(), "nobody has recorded it");
}

#[test]
fn of_revisions_out_of_order_both_answers_are_reported() {
    let history = History::new();
    history.call(1, PUT).answer(Answer::Written(5));
    history.call(2, CREATE).answer(Answer::Written(4));
    history.call(3, CREATE).answer(Answer::Written(4));
    let operations = history.operations();
    let of = |operations: &[Operation]| {
        let violation = check(operations).expect_err("4 comes after 5, and twice");
        let report = history.report(operations, violation);
        report.contradiction.iter().map(|it| it.operation.key).collect::<Vec<_>>()
    };
    assert_eq!(of(&operations), [2, 3]);
    assert_eq!(of(&operations[..2]), [1, 2]);
}
