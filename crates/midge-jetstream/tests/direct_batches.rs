//! Several messages by direct get: pages, gaps and ends.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod statuses;

use std::time::Duration;

use midge_jetstream::{
    DirectBatch, DirectBatchOf, DirectBatchRequest, DirectBatchStep, DirectGetError, StoredMessage,
};
use midge_proto::{HeaderMap, Message, SubjectRef};
use proptest::prelude::*;

use statuses::STATUSES;

/// At once.
const ASK: DirectBatchStep = DirectBatchStep::Ask { after: Duration::ZERO };

fn message(lines: &[(&str, &str)], status: Option<(u16, &str)>, payload: &str) -> Message {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, value).unwrap();
    }
    if let Some((code, text)) = status {
        headers.set_status(code, text).unwrap();
    }
    let inbox = SubjectRef::new("_INBOX.1").unwrap();
    Message::from_parts(inbox, None, Some(&headers), payload.as_bytes())
}

fn stored(sequence: u64, before: u64, pending: u64) -> Message {
    let lines = [
        ("Nats-Stream", "s"),
        ("Nats-Subject", "a.b"),
        ("Nats-Sequence", &sequence.to_string()),
        ("Nats-Time-Stamp", "2026-11-21T21:36:25.735489387Z"),
        ("Nats-Num-Pending", &pending.to_string()),
        ("Nats-Last-Sequence", &before.to_string()),
    ];
    message(&lines, None, "x")
}

fn end(last: u64, pending: u64) -> Message {
    let lines = [
        ("Nats-Num-Pending", &*pending.to_string()),
        ("Nats-Last-Sequence", &last.to_string()),
        ("Nats-UpTo-Sequence", "99"),
    ];
    message(&lines, Some((204, "EOB")), "")
}

fn batch(which: DirectBatchOf, max_messages: Option<u64>) -> DirectBatch {
    DirectBatch::new(DirectBatchRequest { which, max_messages })
}

fn from_start(max_messages: Option<u64>) -> DirectBatch {
    batch(DirectBatchOf::default(), max_messages)
}

fn request(batch: &mut DirectBatch) -> serde_json::Value {
    serde_json::to_value(batch.request()).unwrap()
}

fn sequence(step: DirectBatchStep) -> u64 {
    match step {
        DirectBatchStep::Message(message) => message.sequence,
        other => panic!("a message, not {other:?}"),
    }
}

#[test]
fn what_comes_beyond_the_most_is_not_handed_on() {
    let mut batch = from_start(Some(2));
    assert_eq!(request(&mut batch)["batch"], 2);
    assert_eq!(sequence(batch.receive(stored(1, 0, 9))), 1);
    assert_eq!(sequence(batch.receive(stored(2, 1, 8))), 2);
    assert_eq!(batch.receive(stored(3, 2, 7)), DirectBatchStep::End);
}

#[test]
fn headers_of_the_message_are_told_from_those_of_the_server() {
    let lines = [
        ("Nats-Subject", "forged"),
        ("Nats-Sequence", "77"),
        ("Color", "red"),
        ("Color", "blue"),
        ("Nats-Stream", "s"),
        ("Nats-Subject", "a.b"),
        ("Nats-Sequence", "5"),
        ("Nats-Time-Stamp", "2026-11-21T21:36:25.735489387Z"),
    ];
    let stored = StoredMessage::from_direct(message(&lines, None, "x")).unwrap();
    assert_eq!((stored.subject.as_str(), stored.sequence), ("a.b", 5));
    let own: Vec<_> = stored.headers.iter().collect();
    let forged: [(&str, &[u8]); 4] = [
        ("Nats-Subject", b"forged"),
        ("Nats-Sequence", b"77"),
        ("Color", b"red"),
        ("Color", b"blue"),
    ];
    assert_eq!(own, forged);
}

#[test]
fn a_status_is_no_message() {
    for (code, error) in [
        (404, DirectGetError::NotFound),
        (413, DirectGetError::TooManySubjects),
        (408, DirectGetError::Status { code: 408, description: "text".into() }),
    ] {
        let status = message(&[], Some((code, "text")), "");
        assert_eq!(StoredMessage::from_direct(status), Err(error.clone()));
        let mut batch = from_start(None);
        let _ = batch.request();
        let step = batch.receive(message(&[], Some((code, "text")), ""));
        assert_eq!(step, DirectBatchStep::Failed(error));
    }
    let bare = message(&[("A", "b")], None, "x");
    let error = DirectGetError::Malformed { header: "Nats-Subject" };
    assert_eq!(StoredMessage::from_direct(bare), Err(error));
}

/// The last message is message 1, and two more are promised.
#[test]
fn no_status_is_taken_for_a_message_and_each_ends_the_page() {
    for &(code, text) in STATUSES {
        for begun in [false, true] {
            let mut batch = from_start(None);
            let _ = batch.request();
            if begun {
                assert_eq!(sequence(batch.receive(stored(1, 0, 2))), 1);
            }
            let step = batch.receive(message(&[], Some((code, text)), ""));
            assert!(!matches!(step, DirectBatchStep::Message(_)), "{code} {text}: {step:?}");
            let asks = matches!(step, DirectBatchStep::Ask { .. });
            if asks {
                let from = if begun { 2 } else { 1 };
                assert_eq!(request(&mut batch)["seq"], from, "{code} {text}");
            }
        }
    }
}

#[test]
fn pages_go_on_behind_the_last_message() {
    let mut batch = from_start(None);
    let first = request(&mut batch);
    assert_eq!((first["seq"].as_u64(), first["batch"].as_u64()), (Some(1), Some(1_000)));
    assert!(first["max_bytes"].as_u64().is_some());
    assert_eq!(sequence(batch.receive(stored(1, 0, 2))), 1);
    assert_eq!(sequence(batch.receive(stored(4, 1, 1))), 4);
    assert_eq!(batch.receive(end(4, 1)), ASK);
    assert_eq!(request(&mut batch)["seq"], 5);
    assert_eq!(sequence(batch.receive(stored(9, 0, 0))), 9);
    assert_eq!(batch.receive(end(9, 0)), DirectBatchStep::End);
}

#[test]
fn no_more_is_asked_for_than_is_wanted() {
    let mut batch = from_start(Some(2));
    assert_eq!(request(&mut batch)["batch"], 2);
    assert_eq!(sequence(batch.receive(stored(1, 0, 8))), 1);
    assert_eq!(batch.receive(end(1, 8)), ASK);
    assert_eq!(request(&mut batch)["batch"], 1);
    assert_eq!(sequence(batch.receive(stored(2, 0, 7))), 2);
    assert_eq!(batch.receive(end(2, 7)), DirectBatchStep::End);
    assert!(from_start(Some(0)).is_empty());
}

#[test]
fn a_gap_is_asked_for_again() {
    let mut batch = from_start(None);
    let _ = batch.request();
    assert_eq!(sequence(batch.receive(stored(1, 0, 2))), 1);
    assert_eq!(batch.receive(stored(3, 2, 0)), ASK);
    assert_eq!(request(&mut batch)["seq"], 2);
    assert_eq!(sequence(batch.receive(stored(2, 0, 1))), 2);
    assert_eq!(batch.receive(end(3, 0)), ASK, "the last one is missing");
    assert_eq!(request(&mut batch)["seq"], 3);
    assert_eq!(sequence(batch.receive(stored(3, 0, 0))), 3);
    assert_eq!(batch.receive(end(3, 0)), DirectBatchStep::End);
}

#[test]
fn what_is_lost_again_and_again_is_given_up() {
    let mut batch = from_start(None);
    assert!(!batch.has_begun());
    let _ = batch.request();
    assert_eq!(sequence(batch.receive(stored(1, 0, 2))), 1);
    assert!(batch.has_begun());
    assert_eq!(batch.lost(), ASK);
    let _ = batch.request();
    let after = Duration::from_millis(250);
    assert_eq!(batch.receive(end(0, 2)), DirectBatchStep::Ask { after });
    let _ = batch.request();
    assert_eq!(batch.receive(end(7, 2)), DirectBatchStep::Ask { after: after * 2 });
    let _ = batch.request();
    assert_eq!(batch.lost(), DirectBatchStep::Ask { after: after * 4 });
    let _ = batch.request();
    assert_eq!(batch.lost(), DirectBatchStep::Failed(DirectGetError::Lost));
}

#[test]
fn losses_with_messages_in_between_are_borne() {
    let mut batch = from_start(None);
    for sequence in 1..=5 {
        let _ = batch.request();
        assert_eq!(crate::sequence(batch.receive(stored(sequence, 0, 9))), sequence);
        assert_eq!(batch.lost(), ASK, "after {sequence}");
    }
}

#[test]
fn the_last_of_each_subject_are_of_one_moment() {
    let which = DirectBatchOf::Last {
        subjects: vec!["a.*".into(), "b".into()],
        up_to_sequence: 0,
        up_to_time: Some("2026-01-01T00:00:00Z".parse().unwrap()),
    };
    let mut batch = batch(which, None);
    let first = request(&mut batch);
    assert_eq!(first["multi_last"], serde_json::json!(["a.*", "b"]));
    assert_eq!(first["up_to_time"], "2026-01-01T00:00:00Z");
    assert!(first.get("seq").is_none() && first.get("up_to_seq").is_none());
    assert_eq!(sequence(batch.receive(stored(7, 0, 1))), 7);
    assert_eq!(batch.receive(end(7, 1)), ASK);
    let second = request(&mut batch);
    assert_eq!((second["seq"].as_u64(), second["up_to_seq"].as_u64()), (Some(8), Some(99)));
    assert!(second.get("up_to_time").is_none(), "the moment is the sequence now");
}

#[test]
fn a_start_in_time_becomes_a_sequence() {
    let time = "2026-01-01T00:00:00Z".parse().unwrap();
    let mut batch = batch(DirectBatchOf::FromTime { time, subject: Some("a.>".into()) }, None);
    let first = request(&mut batch);
    assert_eq!(
        (&first["start_time"], &first["next_by_subj"]),
        (&"2026-01-01T00:00:00Z".into(), &"a.>".into())
    );
    assert!(first.get("seq").is_none());
    assert_eq!(sequence(batch.receive(stored(7, 0, 1))), 7);
    assert_eq!(batch.receive(end(7, 1)), ASK);
    let second = request(&mut batch);
    assert!(second.get("start_time").is_none());
    assert_eq!(second["seq"], 8);
}

#[test]
fn nothing_behind_what_came_is_the_end() {
    let mut batch = from_start(None);
    let _ = batch.request();
    assert_eq!(sequence(batch.receive(stored(1, 0, 1))), 1);
    assert_eq!(batch.receive(end(1, 1)), ASK);
    let _ = batch.request();
    let gone = message(&[], Some((404, "Message Not Found")), "");
    assert_eq!(batch.receive(gone), DirectBatchStep::End);
}

#[test]
fn a_server_that_knows_no_batches_is_noticed() {
    let lines = [
        ("Nats-Subject", "a"),
        ("Nats-Sequence", "1"),
        ("Nats-Time-Stamp", "2026-01-01T00:00:00Z"),
    ];
    let step = from_start(None).receive(message(&lines, None, "x"));
    assert_eq!(step, DirectBatchStep::Failed(DirectGetError::Unsupported));
}

proptest! {
    /// Whatever a server answers, messages come in order and the machine does not go on for ever.
    #[test]
    fn messages_come_in_order_whatever_is_answered(
        answers in proptest::collection::vec((0..4_u8, 0..6_u64, 0..6_u64, 0..3_u64), 0..60),
        wanted in proptest::option::of(0..8_u64),
    ) {
        let mut batch = from_start(wanted);
        let _ = batch.request();
        let (mut last, mut came, mut idle) = (0, 0, 0);
        for (kind, sequence, before, pending) in answers {
            let step = match kind {
                0 | 1 => batch.receive(stored(sequence, before, pending)),
                2 => batch.receive(end(before, pending)),
                _ => batch.lost(),
            };
            match step {
                DirectBatchStep::Message(message) => {
                    prop_assert!(message.sequence > last);
                    last = message.sequence;
                    came += 1;
                    idle = 0;
                }
                DirectBatchStep::Ask { .. } => {
                    idle += 1;
                    prop_assert!(idle < 6, "it asks without end");
                    let _ = batch.request();
                }
                _ => break,
            }
        }
        prop_assert!(came <= 8);
    }
}
