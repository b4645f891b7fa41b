//! The decoder of a server's bytes: every leniency and every trap of the protocol, as tables.

use midge_proto::wire::{DecodeError, Decoder, Frame, Layout, Limits, Span, Step, grammar};

const LIMITS: Limits = Limits { control_line: 64, info: 256, frame: 256 };

fn decode(input: &[u8]) -> Result<Step, DecodeError> {
    let decoded = Decoder::new(LIMITS).decode(input);
    assert_eq!(
        decoded,
        grammar::decode_server(input, &LIMITS),
        "decoder and grammar differ on {:?}",
        input.escape_ascii().to_string()
    );
    decoded
}

fn frame(input: &[u8]) -> Frame {
    match decode(input) {
        Ok(Step::Frame { frame, len }) if len == input.len() => frame,
        other => panic!("{:?} gave {other:?}", input.escape_ascii().to_string()),
    }
}

fn layout(input: &[u8]) -> Layout {
    match frame(input) {
        Frame::Message(layout) => layout,
        other => panic!("{other:?} is no message"),
    }
}

/// Sid, subject, reply, headers and payload.
type Parts<'a> = (Option<u64>, &'a [u8], Option<&'a [u8]>, Option<&'a [u8]>, &'a [u8]);

fn parts(input: &[u8]) -> Parts<'_> {
    let layout = layout(input);
    let part = |span: Span| &input[span.range()];
    (
        layout.sid,
        part(layout.subject),
        layout.reply.map(part),
        layout.headers.map(part),
        part(layout.payload),
    )
}

#[test]
fn messages_are_read_in_every_accepted_spelling() {
    let plain: Parts<'_> = (Some(7), b"a.b", None, None, b"hello");
    let replied: Parts<'_> = (Some(7), b"a.b", Some(b"r.1"), None, b"hello");
    let table: &[(&[u8], Parts<'_>)] = &[
        (b"MSG a.b 7 5\r\nhello\r\n", plain),
        (b"msg a.b 7 5\r\nhello\r\n", plain),
        (b"mSg\ta.b\t7\t5\r\nhello\r\n", plain),
        (b"MSG  a.b \t 7   5  \t\r\nhello\r\n", plain),
        (b"MSG a.b 7 5\nhello\r\n", plain),
        (b"MSG a.b 7 000000005\r\nhello\r\n", plain),
        (b"MSG a.b 007 5\r\nhello\r\n", plain),
        (b"MSG a.b 7 r.1 5\r\nhello\r\n", replied),
        (b"MSG a.b\t7 \t r.1 05 \nhello\r\n", replied),
        (b"MSG a.b\t7 r.1 5\r\nhello\r\n", replied),
        (b"MSG a.b\t7 8 5\r\nhello\r\n", (Some(7), b"a.b", Some(b"8"), None, b"hello")),
        (b"MSG a.b 7 8 5\r\nhello\r\n", (Some(7), b"a.b", Some(b"8"), None, b"hello")),
    ];
    for (input, expected) in table {
        assert_eq!(parts(input), *expected, "{:?}", input.escape_ascii().to_string());
    }
}

#[test]
fn header_messages_carry_the_block_as_it_came() {
    let table: &[(&[u8], Parts<'_>)] = &[
        (
            b"HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n",
            (Some(1), b"a", None, Some(b"NATS/1.0\r\n\r\n"), b"hi"),
        ),
        (
            b"hmsg a 1 r 012 0014\nNATS/1.0\r\n\r\nhi\r\n",
            (Some(1), b"a", Some(b"r"), Some(b"NATS/1.0\r\n\r\n"), b"hi"),
        ),
        (b"HMSG a 1 4 4\r\nab:c\r\n", (Some(1), b"a", None, Some(b"ab:c"), b"")),
        (b"HMSG a 1 0 2\r\nhi\r\n", (Some(1), b"a", None, Some(b""), b"hi")),
        (b"HMSG a 1 0 0\r\n\r\n", (Some(1), b"a", None, Some(b""), b"")),
        (b"HMSG a 1 3 3\r\n\xff\r\n\r\n", (Some(1), b"a", None, Some(b"\xff\r\n"), b"")),
    ];
    for (input, expected) in table {
        assert_eq!(parts(input), *expected, "{:?}", input.escape_ascii().to_string());
    }
}

#[test]
fn subjects_are_bytes_and_payloads_are_not_looked_at() {
    let table: &[(&[u8], &[u8], &[u8])] = &[
        (b"MSG h.* 1 0\r\n\r\n", b"h.*", b""),
        (b"MSG \xff\xfe 1 0\r\n\r\n", b"\xff\xfe", b""),
        (b"MSG a\x01\x7f.\r.b 1 0\r\n\r\n", b"a\x01\x7f.\r.b", b""),
        (b"MSG a 1 2\r\n\r\n\r\n", b"a", b"\r\n"),
        (b"MSG a 1 6\r\nPING\r\n\r\n", b"a", b"PING\r\n"),
    ];
    for &(input, subject, payload) in table {
        let found = parts(input);
        assert_eq!((found.1, found.4), (subject, payload));
    }
}

#[test]
fn a_sid_that_is_not_a_number_of_64_bits_is_not_ours() {
    let table: &[(&str, Option<u64>)] = &[
        ("0", Some(0)),
        ("18446744073709551615", Some(u64::MAX)),
        ("18446744073709551616", None),
        ("000000000000000000000000001", Some(1)),
        ("+1", None),
        ("-1", None),
        ("1x", None),
        ("abc", None),
    ];
    for (sid, expected) in table {
        let input = format!("MSG a {sid} 0\r\n\r\n");
        assert_eq!(layout(input.as_bytes()).sid, *expected, "{sid}");
    }
}

#[test]
fn control_lines_are_read_in_every_accepted_spelling() {
    let table: &[(&[u8], Frame)] = &[
        (b"PING\r\n", Frame::Ping),
        (b"ping\n", Frame::Ping),
        (b"PING now please\r\n", Frame::Ping),
        (b"PONG\r\n", Frame::Pong),
        (b"PoNg \t\r\n", Frame::Pong),
        (b"PONG 1\n", Frame::Pong),
        (b"+OK\r\n", Frame::Ok),
        (b"+ok fine\n", Frame::Ok),
    ];
    for (input, expected) in table {
        assert_eq!(frame(input), *expected, "{:?}", input.escape_ascii().to_string());
    }
}

#[test]
fn info_gives_the_json_without_the_blank_that_servers_put_behind_it() {
    let table: &[(&[u8], &[u8])] = &[
        (b"INFO {\"a\":1} \r\n", b"{\"a\":1}"),
        (b"INFO {}\r\n", b"{}"),
        (b"info\t \t{ \"a\" : 1 }\t \n", b"{ \"a\" : 1 }"),
    ];
    for &(input, expected) in table {
        match frame(input) {
            Frame::Info(json) => assert_eq!(&input[json.range()], expected),
            other => panic!("{other:?} is no INFO"),
        }
    }
}

#[test]
fn errors_give_the_text_without_its_quotes() {
    let table: &[(&[u8], &[u8])] = &[
        (b"-ERR 'Stale Connection'\r\n", b"Stale Connection"),
        (b"-err\t 'Stale Connection' \n", b"Stale Connection"),
        (b"-ERR Stale Connection\r\n", b"Stale Connection"),
        (b"-ERR ' x '\r\n", b"x"),
        (b"-ERR 'it's \"a\"'\r\n", b"it's \"a\""),
        (b"-ERR 'x\r\n", b"x"),
        (b"-ERR ''\r\n", b""),
        (b"-ERR '\r\n", b""),
        (b"-ERR\r\n", b""),
    ];
    for &(input, expected) in table {
        match frame(input) {
            Frame::Err(text) => assert_eq!(&input[text.range()], expected),
            other => panic!("{other:?} is no error"),
        }
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    use DecodeError::{BadArguments, BadSize, FrameTooLarge, MissingCrlf, UnknownOperation};
    let table: &[(&[u8], DecodeError)] = &[
        (b"\r\n", UnknownOperation),
        (b" PING\r\n", UnknownOperation),
        (b"\x15\x03\x01", UnknownOperation),
        (b"HTTP/1.1 400 Bad Request\r\n", UnknownOperation),
        (b"PINGS\r\n", UnknownOperation),
        (b"PING\rx\r\n", UnknownOperation),
        (b"+OKAY\r\n", UnknownOperation),
        (b"INFO{}\r\n", UnknownOperation),
        (b"MSGS a 1 0\r\n\r\n", UnknownOperation),
        (b"HMSG\x0ba 1 0 0\r\n\r\n", UnknownOperation),
        (b"PUB a 0\r\n\r\n", UnknownOperation),
        (b"INFO \r\n", BadArguments),
        (b"INFO\r\n", BadArguments),
        (b"MSG\r\n", BadArguments),
        (b"HMSG \r\n", BadArguments),
        (b"MSG a 1\r\n", BadArguments),
        (b"MSG a 1 r 0 x\r\n\r\n", BadArguments),
        (b"MSG a 1 r\tr 0\r\n\r\n", BadArguments),
        (b"MSG a\r\n 1 0\r\n\r\n", BadArguments),
        (b"MSG a 1 r 0 x y z\r\n\r\n", BadArguments),
        (b"HMSG a 1 0\r\n\r\n", BadArguments),
        (b"HMSG a 1 r 0 0 0\r\n\r\n", BadArguments),
        (b"MSG a 1 x\r\n", BadSize),
        (b"MSG a 1 +2\r\nhi\r\n", BadSize),
        (b"MSG a 1 -1\r\n", BadSize),
        (b"MSG a 1 0x2\r\n", BadSize),
        (b"MSG a 1 0000000002\r\nhi\r\n", BadSize),
        (b"MSG a 1 1000000000\r\n", BadSize),
        (b"HMSG a 1 x 2\r\n", BadSize),
        (b"HMSG a 1 3 2\r\nhi\r\n", BadSize),
        (b"MSG a 1 999999999\r\n", FrameTooLarge),
        (b"MSG a 1 2\r\nhi\n\n", MissingCrlf),
        (b"MSG a 1 2\r\nhi\rM", MissingCrlf),
        (b"MSG a 1 2\r\nhi!\r\n", MissingCrlf),
        (b"HMSG a 1 0 2\r\nhiPI", MissingCrlf),
    ];
    for (input, expected) in table {
        assert_eq!(decode(input), Err(*expected), "{:?}", input.escape_ascii().to_string());
    }
}

#[test]
fn nine_digits_are_a_size_and_ten_are_not() {
    let limits = Limits { frame: usize::MAX, ..LIMITS };
    let step = Decoder::new(limits).decode(b"MSG a 1 999999999\r\n");
    assert_eq!(step, Ok(Step::Incomplete { need: 19 + 999_999_999 + 2 }));
    let step = Decoder::new(limits).decode(b"MSG a 1 0999999999\r\n");
    assert_eq!(step, Err(DecodeError::BadSize));
}

#[test]
fn a_line_may_be_as_long_as_its_limit_and_no_longer() {
    let line = |op: &str, len: usize| format!("{op} {}\r\n", "x".repeat(len - op.len() - 3));
    for (op, limit) in [("PING", LIMITS.control_line), ("INFO", LIMITS.info)] {
        assert!(matches!(
            decode(line(op, limit).as_bytes()),
            Ok(Step::Frame { len, .. }) if len == limit
        ));
        let too_long = line(op, limit + 1);
        assert_eq!(decode(too_long.as_bytes()), Err(DecodeError::LineTooLong));
        assert_eq!(decode(&too_long.as_bytes()[..limit]), Err(DecodeError::LineTooLong));
        assert_eq!(decode(&too_long.as_bytes()[..limit - 1]), Ok(Step::Incomplete { need: 0 }));
    }
}

#[test]
fn a_frame_may_be_as_long_as_its_limit_and_no_longer() {
    let whole = format!("MSG a 1 {}\r\n{}\r\n", 241, "x".repeat(241));
    assert_eq!(whole.len(), LIMITS.frame);
    assert_eq!(layout(whole.as_bytes()).payload.len(), 241);
    assert_eq!(decode(b"MSG a 1 242\r\n"), Err(DecodeError::FrameTooLarge));
}

#[test]
fn only_the_first_frame_is_read() {
    assert_eq!(decode(b"PING\r\n\0\0"), Ok(Step::Frame { frame: Frame::Ping, len: 6 }));
    assert!(matches!(
        decode(b"MSG a 1 2\r\nhi\r\n\0\0"),
        Ok(Step::Frame { frame: Frame::Message(_), len: 15 })
    ));
}

#[test]
fn an_incomplete_body_is_announced_with_its_layout() {
    let input = b"HMSG a.b 7 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n";
    let mut decoder = Decoder::new(LIMITS);
    assert_eq!(decoder.decode(&input[..10]), Ok(Step::Incomplete { need: 0 }));
    assert_eq!(decoder.pending(), None);

    let need = input.len();
    assert_eq!(decoder.decode(&input[..20]), Ok(Step::Incomplete { need }));
    let (pending, line, total) = decoder.pending().unwrap();
    assert_eq!((pending.sid, line, total), (Some(7), 20, need));
    assert_eq!(*pending, layout(input));

    assert_eq!(decoder.decode(&input[..need - 1]), Ok(Step::Incomplete { need }));
    assert!(matches!(decoder.decode(input), Ok(Step::Frame { len, .. }) if len == need));
    assert_eq!(decoder.pending(), None);
    assert_eq!(decoder.decode(b"PING\r\n"), Ok(Step::Frame { frame: Frame::Ping, len: 6 }));
}

#[test]
fn reset_skips_the_frame_at_hand() {
    let mut decoder = Decoder::new(LIMITS);
    let _ = decoder.decode(b"MSG a 1 100\r\n").unwrap();
    decoder.reset();
    assert_eq!(decoder.pending(), None);
    assert_eq!(decoder.decode(b"PONG\r\n"), Ok(Step::Frame { frame: Frame::Pong, len: 6 }));

    let _ = decoder.decode(b"PON").unwrap();
    decoder.reset();
    assert_eq!(decoder.decode(b"\nPING\r\n"), Err(DecodeError::UnknownOperation));
}

#[test]
fn an_error_stays_until_reset() {
    for input in [&b"MSG a 1 x\r\n"[..], b"MSG a 1 0\r\nxx", b"\0"] {
        let mut decoder = Decoder::new(LIMITS);
        let error = decoder.decode(input).unwrap_err();
        assert_eq!(decoder.decode(input), Err(error));
        decoder.reset();
        assert!(decoder.decode(b"PING\r\n").is_ok());
    }
}

#[test]
fn new_limits_hold_from_the_next_line_on() {
    let mut decoder = Decoder::new(LIMITS);
    assert_eq!(decoder.decode(b"MSG a 1 2\r\n"), Ok(Step::Incomplete { need: 15 }));
    decoder.set_limits(Limits { frame: 10, ..LIMITS });
    assert!(matches!(decoder.decode(b"MSG a 1 2\r\nhi\r\n"), Ok(Step::Frame { .. })));
    assert_eq!(decoder.decode(b"MSG a 1 2\r\n"), Err(DecodeError::FrameTooLarge));
}

/// Were they looked at again, line ends in their place would be seen.
#[test]
fn bytes_that_were_looked_at_are_not_looked_at_again() {
    let info = format!("INFO {{\"cluster\":\"{}\"}}\r\n", "c".repeat(30_000));
    let msg = format!("MSG a.b 7 r.1 {}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let hmsg = "HMSG a.b 7 12 100000\r\nNATS/1.0\r\n\r\n".to_owned() + &"x".repeat(99_988) + "\r\n";
    for frame in [info.as_bytes(), msg.as_bytes(), hmsg.as_bytes()] {
        let line = frame.iter().position(|&byte| byte == b'\n').unwrap() + 1;
        let mut decoder = Decoder::new(Limits::default());
        let mut seen = frame[..1].to_vec();
        for at in 1..frame.len() {
            seen.push(frame[at]);
            let len = seen.len();
            // A line is read once more, when its end is there; a body is not read but for its end.
            if len == line {
                seen.copy_from_slice(&frame[..len]);
            }
            let step = decoder.decode(&seen).unwrap();
            if len < frame.len() {
                let need = if len < line { 0 } else { frame.len() };
                assert_eq!(step, Step::Incomplete { need }, "after {len} bytes");
            } else {
                assert!(matches!(step, Step::Frame { len, .. } if len == frame.len()));
            }
            if len == line {
                seen[1..].fill(b'\n');
            } else if len + 2 < frame.len() {
                seen[at] = b'\n';
            }
        }
    }
}
