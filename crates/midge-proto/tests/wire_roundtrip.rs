//! What is written is read back, for every operation in both directions.

use midge_proto::wire::{
    ClientOp, DecodeError, Decoder, Frame, Limits, ServerError, Span, Step, decode_client, encode,
};
use midge_proto::{HeaderMap, QueueGroup, SubjectRef};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn token() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>().prop_filter("blank or line end", |b| !b" \t\n".contains(b)), 1..40)
}

fn one_client_op(input: &[u8]) -> ClientOp<'_> {
    match decode_client(input, &Limits::default()) {
        Ok(Some((op, len))) if len == input.len() => op,
        other => panic!("{:?} gave {other:?}", input.escape_ascii().to_string()),
    }
}

fn one_frame(input: &[u8]) -> Frame {
    match Decoder::new(Limits::default()).decode(input) {
        Ok(Step::Frame { frame, len }) if len == input.len() => frame,
        other => panic!("{:?} gave {other:?}", input.escape_ascii().to_string()),
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

#[test]
fn writing_is_canonical() {
    let table: &[(Vec<u8>, &str)] = &[
        (written(|out| encode::publish(out, b"a", None, None, b"hi")), "PUB a 2\r\nhi\r\n"),
        (written(|out| encode::publish(out, b"a", Some(b"r"), None, b"")), "PUB a r 0\r\n\r\n"),
        (
            written(|out| {
                encode::publish(out, b"a", Some(b"r"), Some(b"NATS/1.0\r\n\r\n"), b"hi");
            }),
            "HPUB a r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
        ),
        (written(|out| encode::subscribe(out, b"a.>", None, 1)), "SUB a.> 1\r\n"),
        (written(|out| encode::subscribe(out, b"a", Some(b"q"), 12)), "SUB a q 12\r\n"),
        (written(|out| encode::unsubscribe(out, 1, None)), "UNSUB 1\r\n"),
        (written(|out| encode::unsubscribe(out, 1, Some(5))), "UNSUB 1 5\r\n"),
        (written(|out| encode::connect(out, b"{}")), "CONNECT {}\r\n"),
        (written(encode::ping), "PING\r\n"),
        (written(encode::pong), "PONG\r\n"),
        (
            written(|out| encode::message(out, b"a", b"x1", Some(b"r"), None, b"hi")),
            "MSG a x1 r 2\r\nhi\r\n",
        ),
        (
            written(|out| encode::message(out, b"a", b"1", None, Some(b"NATS/1.0\r\n\r\n"), b"")),
            "HMSG a 1 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        ),
        (written(|out| encode::info(out, b"{}")), "INFO {} \r\n"),
        (written(encode::ok), "+OK\r\n"),
        (written(|out| encode::err(out, "Stale Connection")), "-ERR 'Stale Connection'\r\n"),
        (written(|out| encode::err(out, "a\r\nPING")), "-ERR 'a  PING'\r\n"),
    ];
    for (bytes, expected) in table {
        assert_eq!(
            bytes.escape_ascii().to_string(),
            expected.as_bytes().escape_ascii().to_string()
        );
    }
}

#[test]
fn a_clients_operations_are_read_in_every_accepted_spelling() {
    let publish =
        |reply, headers| ClientOp::Publish { subject: b"a", reply, headers, payload: b"hi" };
    let table: &[(&[u8], ClientOp<'_>)] = &[
        (b"connect\t{} \r\n", ClientOp::Connect(b"{}")),
        (b"CONNECT {\"a\": 1}\n", ClientOp::Connect(b"{\"a\": 1}")),
        (b"pub  a\t0002 \nhi\r\n", publish(None, None)),
        (b"PUB a r 2\r\nhi\r\n", publish(Some(b"r"), None)),
        (b"HPUB a 0 2\r\nhi\r\n", publish(None, Some(b""))),
        (b"hpub a r 02 4\r\nxxhi\r\n", publish(Some(b"r"), Some(b"xx"))),
        (b"SUB a 1\r\n", ClientOp::Subscribe { subject: b"a", queue: None, sid: b"1" }),
        (b"sub\ta q.* x \n", ClientOp::Subscribe { subject: b"a", queue: Some(b"q.*"), sid: b"x" }),
        (b"UNSUB 1\r\n", ClientOp::Unsubscribe { sid: b"1", max: None }),
        (b"unsub 1 05\r\n", ClientOp::Unsubscribe { sid: b"1", max: Some(5) }),
        (b"UNSUB 1 0\r\n", ClientOp::Unsubscribe { sid: b"1", max: Some(0) }),
        (b"UNSUB 1 -1\r\n", ClientOp::Unsubscribe { sid: b"1", max: None }),
        (b"ping x\n", ClientOp::Ping),
        (b"PONG\r\n", ClientOp::Pong),
        (b"+OK\r\n", ClientOp::Ignored),
        (b"INFO {}\r\n", ClientOp::Ignored),
    ];
    for (input, expected) in table {
        assert_eq!(one_client_op(input), *expected);
    }
}

#[test]
fn what_a_server_refuses_of_a_client_is_refused() {
    use DecodeError::{
        BadArguments, BadSize, FrameTooLarge, LineTooLong, MissingCrlf, UnknownOperation,
    };
    let limits = Limits { control_line: 40, info: 40, frame: 60 };
    let table: &[(&[u8], DecodeError)] = &[
        (b"-ERR 'x'\r\n", UnknownOperation),
        (b"MSG a 1 0\r\n\r\n", UnknownOperation),
        (b"PUB\r\n", UnknownOperation),
        (b"PUBa 0\r\n", UnknownOperation),
        (b"SUB a b c 1\r\n", BadArguments),
        (b"SUB a\r\n", BadArguments),
        (b"SUB \r\n", BadArguments),
        (b"UNSUB 1 2 3\r\n", BadArguments),
        (b"PUB a b c 0\r\n", BadArguments),
        (b"PUB 0\r\n", BadArguments),
        (b"HPUB a 0\r\n", BadArguments),
        (b"CONNECT \r\n", BadArguments),
        (b"PUB a +2\r\nhi\r\n", BadSize),
        (b"PUB a 0000000002\r\nhi\r\n", BadSize),
        (b"HPUB a 3 2\r\nhi\r\n", BadSize),
        (b"PUB a 2\r\nhi\n", MissingCrlf),
        (b"PUB a 60\r\n", FrameTooLarge),
        (b"CONNECT {\"jwt\":\"xxxxxxxxxxxxxxxxxxxxxxxxxx", LineTooLong),
    ];
    for (input, expected) in table {
        let mut input = input.to_vec();
        if *expected == MissingCrlf {
            input.push(b'P');
        }
        let decoded = decode_client(&input, &limits);
        assert_eq!(decoded, Err(*expected), "{:?}", input.escape_ascii().to_string());
    }
}

fn same(input: &[u8], span: Option<Span>, expected: Option<&[u8]>) -> bool {
    span.map(|span| &input[span.range()]) == expected
}

proptest! {
    #[test]
    fn publishes(
        subject in token(),
        reply in option::of(token()),
        headers in option::of(vec(any::<u8>(), 0..200)),
        payload in vec(any::<u8>(), 0..1200),
    ) {
        let (reply, headers) = (reply.as_deref(), headers.as_deref());
        let bytes = written(|out| encode::publish(out, &subject, reply, headers, &payload));
        let len = encode::publish_len(
            subject.len(), reply.map(<[u8]>::len), headers.map(<[u8]>::len), payload.len(),
        );
        prop_assert_eq!(bytes.len(), len);
        let expected = ClientOp::Publish { subject: &subject, reply, headers, payload: &payload };
        prop_assert_eq!(one_client_op(&bytes), expected);
    }

    #[test]
    fn messages(
        subject in token(),
        sid in any::<u64>(),
        reply in option::of(token()),
        headers in option::of(vec(any::<u8>(), 0..200)),
        payload in vec(any::<u8>(), 0..1200),
    ) {
        let (reply, headers) = (reply.as_deref(), headers.as_deref());
        let name = sid.to_string();
        let bytes = written(|out| {
            encode::message(out, &subject, name.as_bytes(), reply, headers, &payload);
        });
        let Frame::Message(layout) = one_frame(&bytes) else { panic!("no message") };
        prop_assert_eq!(layout.sid, Some(sid));
        prop_assert!(same(&bytes, Some(layout.subject), Some(&subject)));
        prop_assert!(same(&bytes, layout.reply, reply));
        prop_assert!(same(&bytes, layout.headers, headers));
        prop_assert!(same(&bytes, Some(layout.payload), Some(&payload)));
    }

    #[test]
    fn subscriptions(
        subject in token(),
        queue in option::of(token()),
        sid in any::<u64>(),
        max in option::of(any::<u64>()),
    ) {
        let queue = queue.as_deref();
        let name = sid.to_string();
        let bytes = written(|out| encode::subscribe(out, &subject, queue, sid));
        let expected = ClientOp::Subscribe { subject: &subject, queue, sid: name.as_bytes() };
        prop_assert_eq!(one_client_op(&bytes), expected);
        let bytes = written(|out| encode::unsubscribe(out, sid, max));
        let expected = ClientOp::Unsubscribe { sid: name.as_bytes(), max };
        prop_assert_eq!(one_client_op(&bytes), expected);
    }

    #[test]
    fn lines_with_text(json in "\\{[ -~]{0,60}\\}", text in "[!-&(-~]([ -~]{0,60}[!-&(-~])?") {
        let bytes = written(|out| encode::connect(out, json.as_bytes()));
        prop_assert_eq!(one_client_op(&bytes), ClientOp::Connect(json.as_bytes()));
        let bytes = written(|out| encode::info(out, json.as_bytes()));
        let Frame::Info(span) = one_frame(&bytes) else { panic!("no INFO") };
        prop_assert_eq!(&bytes[span.range()], json.as_bytes());
        let bytes = written(|out| encode::err(out, &text));
        let Frame::Err(span) = one_frame(&bytes) else { panic!("no error") };
        prop_assert_eq!(&bytes[span.range()], text.as_bytes());
    }

    #[test]
    fn nothing_that_passes_the_checks_can_smuggle_a_second_operation(
        subject in hostile(), reply in hostile(), queue in hostile(),
        name in hostile(), value in vec(any::<u8>(), 0..12), payload in vec(any::<u8>(), 0..12),
    ) {
        let mut headers = HeaderMap::new();
        let _ = headers.append(&name, &value);
        let _ = headers.append("Fixed", &value);
        let _ = headers.insert(&name, value.repeat(2));
        let _ = headers.set_status(503, &name);
        prop_assert!(!headers.view().is_malformed());
        if let (Ok(subject), Ok(reply)) = (SubjectRef::new(&subject), SubjectRef::new(&reply)) {
            let (subject, reply) = (subject.as_bytes(), reply.as_bytes());
            let block = headers.as_bytes();
            let bytes =
                written(|out| encode::publish(out, subject, Some(reply), Some(block), &payload));
            let expected = ClientOp::Publish {
                subject, reply: Some(reply), headers: Some(block), payload: &payload,
            };
            prop_assert_eq!(one_client_op(&bytes), expected);
        }
        if let (Ok(subject), Ok(queue)) = (SubjectRef::new(&subject), QueueGroup::new(&queue)) {
            let (subject, queue) = (subject.as_bytes(), queue.as_bytes());
            let bytes = written(|out| encode::subscribe(out, subject, Some(queue), 1));
            let expected = ClientOp::Subscribe { subject, queue: Some(queue), sid: b"1" };
            prop_assert_eq!(one_client_op(&bytes), expected);
        }
    }

    #[test]
    fn errors_that_name_something(
        subject in "\\PC{1,20}|[a\"\\\\\u{1}\n\t]{1,8}", queue in option::of("[!-~]{1,9}"),
        sid in option::of(any::<u64>()), too_many_tokens in any::<bool>(),
    ) {
        for error in [
            ServerError::PublishPermission { subject: subject.clone() },
            ServerError::PublishReplyPermission { reply: subject.clone() },
            ServerError::SubscribePermission { subject, queue, sid, too_many_tokens },
        ] {
            prop_assert_eq!(ServerError::parse(error.to_text().as_bytes()), error);
        }
    }
}

/// Text in which line ends, blanks and operations are likely.
fn hostile() -> impl Strategy<Value = String> {
    "([a-z.>*]|[a-z]|\r|\n|\t| |\u{0}|\u{7f}|:|\r\nPING\r\n){0,6}"
}
