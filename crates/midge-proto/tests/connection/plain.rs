//! Publishes whose control line may be the one before: each is written, or refused, as if it came alone.

use midge_proto::wire::encode;
use midge_proto::{HeaderMap, Position, PublishError, SubjectError, SubjectRef, SubjectText};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::rig::{INFO, Rig, config};

/// Publishes as a client does: in the usual case, or the long way.
fn publish(
    rig: &mut Rig,
    subject: &str,
    headers: Option<&HeaderMap>,
    payload: &[u8],
) -> Result<Position, PublishError> {
    let text = SubjectText::new(subject);
    match rig.connection.publish_plain(&text, headers, payload) {
        Some(position) => Ok(position),
        None => rig.connection.publish(text.check()?, None, headers, payload),
    }
}

fn headers(value: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.append("Name", value).unwrap();
    headers
}

/// The INFO of a server that takes so many bytes.
fn info(max_payload: i64) -> String {
    INFO.replace("1048576", &max_payload.to_string())
}

#[test]
fn a_valid_subject_does_not_vouch_for_one_that_is_like_it() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.stalled = true;
    for text in ["", "a", "orders.eu.created", "orders"] {
        assert_eq!(publish(&mut rig, text, None, b"1").is_ok(), !text.is_empty(), "{text:?}");
        for wrong in ["", "*", ">", "orders.eu.*", "orders.eu.crea ed", "orders.eu.crea.", "orde s"]
        {
            let refused = publish(&mut rig, wrong, None, b"1").unwrap_err();
            let expected = match SubjectRef::new(wrong) {
                Ok(_) => PublishError::Wildcard,
                Err(error) => PublishError::Subject(error),
            };
            assert_eq!(refused, expected, "{wrong:?} behind {text:?}");
        }
    }
    let empty = SubjectText::new("");
    assert_eq!(rig.connection.publish_plain(&empty, None, b""), None);
    assert_eq!(empty.check(), Err(SubjectError::Empty));
    rig.stalled = false;
    rig.turn();
    assert_eq!(
        rig.sent(),
        b"PUB a 1\r\n1\r\nPUB orders.eu.created 1\r\n1\r\nPUB orders 1\r\n1\r\n"
    );
}

#[test]
fn a_limit_that_was_lowered_holds_for_the_next_message_of_the_same_size() {
    let mut rig = Rig::up(config("127.0.0.1"));
    assert_eq!(publish(&mut rig, "a", None, b"12345"), Ok(Position(0)));
    rig.turn();
    rig.feed(format!("{}\r\n", info(4)).as_bytes());
    let refused = PublishError::TooLarge { size: 5, max: 4 };
    assert_eq!(publish(&mut rig, "a", None, b"12345"), Err(refused));
    assert_eq!(publish(&mut rig, "a", None, b"1234"), Ok(Position(1)));
    rig.feed(format!("{}\r\n", info(-1)).as_bytes());
    assert_eq!(publish(&mut rig, "a", None, b"12345"), Ok(Position(2)));
    let headers = headers("x");
    assert_eq!(publish(&mut rig, "a", Some(&headers), b"12345"), Ok(Position(3)));
    rig.feed(format!("{}\r\n", INFO.replace("true", "false")).as_bytes());
    let refused = publish(&mut rig, "a", Some(&headers), b"12345");
    assert_eq!(refused, Err(PublishError::HeadersUnsupported));
    assert_eq!(publish(&mut rig, "a", None, b"12345"), Ok(Position(4)));
}

#[test]
fn the_room_is_the_same_to_the_byte() {
    let mut config = config("127.0.0.1");
    config.max_pending = 42;
    let mut rig = Rig::up(config);
    rig.stalled = true;
    // 14 bytes each.
    for number in 0..3 {
        assert_eq!(publish(&mut rig, "a", None, b"123"), Ok(Position(number)));
    }
    assert_eq!(publish(&mut rig, "a", None, b"123"), Err(PublishError::Full));
    assert_eq!(rig.connection.pending_bytes(), 42);
    rig.take(28);
    rig.turn();
    assert_eq!(rig.log(), ["writable"]);
    assert_eq!(publish(&mut rig, "a", None, b"123"), Ok(Position(3)));
}

#[test]
fn a_connection_that_is_lost_or_closes_takes_it_as_any_other() {
    let mut rig = Rig::up(config("127.0.0.1"));
    assert_eq!(publish(&mut rig, "a", None, b"1"), Ok(Position(0)));
    rig.turn();
    rig.command("eof");
    rig.sent();
    assert_eq!(rig.connection.publish_plain(&SubjectText::new("a"), None, b"2"), None);
    assert_eq!(publish(&mut rig, "a", None, b"2"), Ok(Position(1)));
    rig.command("connected");
    rig.feed(format!("{INFO}\r\n").as_bytes());
    rig.feed(b"PONG\r\n");
    assert_eq!(publish(&mut rig, "a", None, b"3"), Ok(Position(2)));
    rig.turn();
    let sent = rig.sent();
    assert!(sent.ends_with(b"PUB a 1\r\n2\r\nPUB a 1\r\n3\r\n"), "{sent:?}");
    rig.command("close 1s");
    assert_eq!(publish(&mut rig, "a", None, b"4"), Err(PublishError::Closed));
}

#[test]
fn a_line_that_the_server_would_not_take_is_refused() {
    let mut config = config("127.0.0.1");
    config.server_control_line = 12;
    let mut rig = Rig::up(config);
    // Without its operation: subject, blank, one digit, and the end.
    assert_eq!(publish(&mut rig, "12345678", None, b"1"), Ok(Position(0)));
    let refused = publish(&mut rig, "123456789-123", None, b"1");
    assert!(matches!(refused, Err(PublishError::LineTooLong { max: 12, .. })), "{refused:?}");
}

/// Subjects that are equal, or nearly, at lengths around those that are compared and kept whole.
fn subject() -> impl Strategy<Value = String> {
    let len = prop_oneof![1..=20usize, 45..=90usize];
    (len, select(vec!['a', 'b']), any::<bool>(), any::<prop::sample::Index>()).prop_map(
        |(len, letter, differs, at)| {
            let mut text = vec![letter; len];
            if differs {
                text[at.index(len)] = 'c';
            }
            text.into_iter().collect()
        },
    )
}

/// Subject, headers and size of a message.
type Publish = (String, Option<String>, usize);

/// Messages that share subjects, headers and sizes, so that some are alike in all and some in part.
fn publishes() -> impl Strategy<Value = Vec<Publish>> {
    let size = select(vec![0, 1, 9, 10, 99, 100, 128, 999, 1000, 9_999, 10_000, 65_536]);
    let headers = prop_oneof![Just(None), "[a-z]{0,300}".prop_map(Some)];
    (vec(subject(), 1..3), vec(headers, 1..4), vec(size, 1..3)).prop_flat_map(
        |(subjects, headers, sizes)| vec((select(subjects), select(headers), select(sizes)), 1..60),
    )
}

proptest! {
    /// One way of publishing gives the bytes that the other gives, and those are what the protocol says.
    #[test]
    fn what_is_written_is_each_frame_by_itself(messages in publishes(), texts in any::<bool>()) {
        let mut config = config("127.0.0.1");
        config.confirm_bytes = usize::MAX;
        let mut rig = Rig::up(config);
        let mut expected = Vec::new();
        for (number, (subject, value, size)) in messages.iter().enumerate() {
            let headers = value.as_deref().map(headers);
            let payload: Vec<u8> = (0..*size).map(|at| (at + number) as u8).collect();
            let position = if texts {
                publish(&mut rig, subject, headers.as_ref(), &payload)
            } else {
                let subject = SubjectRef::new(subject).unwrap();
                rig.connection.publish(subject, None, headers.as_ref(), &payload)
            };
            prop_assert_eq!(position, Ok(Position(number as u64)));
            let block = headers.as_ref().map(HeaderMap::as_bytes);
            encode::publish(&mut expected, subject.as_bytes(), None, block, &payload);
            prop_assert_eq!(rig.connection.pending_bytes(), expected.len());
        }
        rig.take(usize::MAX);
        prop_assert!(rig.sent() == expected);
        prop_assert_eq!(rig.connection.statistics().out_messages, messages.len() as u64);
    }
}
