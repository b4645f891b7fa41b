//! The hand-written readers are equal to the grammar on every input and every cut of it.

use midge_proto::Headers;
use midge_proto::wire::{
    DecodeError, Decoder, Limits, ServerError, ServerInfo, Step, decode_client, encode, grammar,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

const LIMITS: Limits = Limits { control_line: 80, info: 120, frame: 200 };

/// Pieces of frames, so that random mixes come near to valid ones.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"MSG",
        b"HMSG",
        b"PING",
        b"PONG",
        b"INFO",
        b"+OK",
        b"-ERR",
        b"msg",
        b"hMsG",
        b"pInG",
        b"PUB",
        b"HPUB",
        b"SUB",
        b"UNSUB",
        b"CONNECT",
        b"connect",
        b" ",
        b" ",
        b" ",
        b"  ",
        b"\t",
        b" \t ",
        b"\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"'",
        b"\"",
        b"a.b",
        b"_INBOX.x.1",
        b"a",
        b"\xff",
        b"*",
        b">",
        b"0",
        b"1",
        b"2",
        b"5",
        b"12",
        b"14",
        b"007",
        b"000000001",
        b"0000000001",
        b"999999999",
        b"18446744073709551615",
        b"18446744073709551616",
        b"+1",
        b"-1",
        b"hello",
        b"hi",
        b"NATS/1.0",
        b"NATS/1.0\r\n\r\n",
        b"NATS/1.0 503\r\n",
        b"A: b\r\n",
        b"{}",
        b"{\"a\":1}",
    ];
    prop_oneof![
        8 => select(words).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..6),
        1 => "[a-z.]{1,20}".prop_map(String::into_bytes),
    ]
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    vec(piece(), 0..16).prop_map(|pieces| pieces.concat())
}

fn token() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[!-~]{1,12}".prop_map(String::into_bytes),
        vec(any::<u8>().prop_filter("blank", |b| !b" \t\r\n".contains(b)), 1..24),
    ]
}

fn server_frame() -> impl Strategy<Value = Vec<u8>> {
    let body = (token(), token(), proptest::option::of(token()));
    let body = (body, proptest::option::of(vec(any::<u8>(), 0..20)), vec(any::<u8>(), 0..40));
    prop_oneof![
        4 => body.prop_map(|((subject, sid, reply), headers, payload)| {
            let mut out = Vec::new();
            encode::message(&mut out, &subject, &sid, reply.as_deref(), headers.as_deref(), &payload);
            out
        }),
        1 => select(vec![&b"PING\r\n"[..], b"PONG\r\n", b"+OK\r\n", b"-ERR 'x'\r\n", b"INFO {} \r\n"])
            .prop_map(<[u8]>::to_vec),
    ]
}

/// Valid frames in a row, some of their bytes replaced, removed or doubled.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<Index>(), 0..4_u8, select(b" \t\r\n0159:'Mm\xff".to_vec()));
    (vec(server_frame(), 1..4), vec(edit, 0..4)).prop_map(|(frames, edits)| {
        let mut input = frames.concat();
        for (at, kind, byte) in edits {
            if input.is_empty() {
                break;
            }
            let at = at.index(input.len());
            match kind {
                0 => input[at] = byte,
                1 => drop(input.remove(at)),
                2 => input.insert(at, byte),
                _ => input.insert(at, input[at]),
            }
        }
        input
    })
}

/// An operation with arguments that are likely in each other's places, then a body.
fn shaped() -> impl Strategy<Value = Vec<u8>> {
    let op = select(vec![&b"MSG"[..], b"HMSG", b"msg", b"Hmsg"]);
    let blank = select(vec![&b" "[..], b" ", b" ", b" ", b"\t", b"  "]);
    let word = select(vec![&b"a"[..], b"a.b.c.d.e", b"1", b"2", b"04", b"7", b"r9", b"9r"]);
    let end = select(vec![&b"\r\n"[..], b"\r\n", b"\n", b" \r\n", b"\r\r\n"]);
    let body = vec(select(b"x \t\r\n".to_vec()), 0..9);
    (op, vec((blank, word), 2..7), end, body).prop_map(|(op, arguments, end, body)| {
        let arguments = arguments.iter().flat_map(|(blank, word)| [*blank, *word]);
        let mut input: Vec<u8> =
            [op].into_iter().chain(arguments).chain([end]).flatten().copied().collect();
        input.extend(body);
        input.extend(b"\r\n");
        input
    })
}

fn input() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![2 => noise(), 3 => mutated(), 3 => shaped(), 1 => vec(any::<u8>(), 0..64)]
}

/// Everything that can be read from `input` when it arrives whole.
fn by_grammar(input: &[u8]) -> (Vec<Step>, Result<(), DecodeError>) {
    let mut steps = Vec::new();
    let mut rest = input;
    loop {
        match grammar::decode_server(rest, &LIMITS) {
            Ok(step @ Step::Frame { len, .. }) => {
                steps.push(step);
                rest = &rest[len..];
            }
            Ok(Step::Incomplete { .. }) => return (steps, Ok(())),
            Err(error) => return (steps, Err(error)),
        }
    }
}

/// The same through the decoder, the input arriving up to each of `cuts` in turn.
fn by_decoder(input: &[u8], cuts: &[usize]) -> (Vec<Step>, Result<(), DecodeError>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut steps = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        loop {
            match decoder.decode(&input[start..cut]) {
                Ok(step @ Step::Frame { len, .. }) => {
                    steps.push(step);
                    start += len;
                }
                Ok(Step::Incomplete { .. }) => break,
                Err(error) => return (steps, Err(error)),
            }
        }
    }
    (steps, Ok(()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn decoder_and_grammar_agree_on_one_look(input in input()) {
        prop_assert_eq!(
            Decoder::new(LIMITS).decode(&input),
            grammar::decode_server(&input, &LIMITS)
        );
    }

    #[test]
    fn every_cut_gives_the_same_frames(input in input(), cuts in vec(any::<Index>(), 0..5)) {
        let expected = by_grammar(&input);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(&by_decoder(&input, &cuts), &expected);
        let every_byte: Vec<usize> = (0..input.len()).collect();
        prop_assert_eq!(&by_decoder(&input, &every_byte), &expected);
    }

    #[test]
    fn a_prefix_is_incomplete_or_gives_the_same(input in input()) {
        let whole = grammar::decode_server(&input, &LIMITS);
        for end in 0..=input.len() {
            let mut decoder = Decoder::new(LIMITS);
            let prefix = decoder.decode(&input[..end]);
            prop_assert_eq!(prefix, grammar::decode_server(&input[..end], &LIMITS));
            match prefix {
                Ok(Step::Incomplete { need }) => {
                    if let Ok(Step::Frame { len, .. }) = whole {
                        prop_assert!(end < len && (need == 0 || need == len));
                    }
                }
                decided => prop_assert_eq!(decided, whole),
            }
        }
    }

    #[test]
    fn a_prefix_of_a_clients_bytes_is_incomplete_or_gives_the_same(input in noise()) {
        let whole = decode_client(&input, &LIMITS);
        for end in 0..=input.len() {
            match decode_client(&input[..end], &LIMITS) {
                Ok(None) => {
                    if let Ok(Some((_, len))) = whole {
                        prop_assert!(end < len);
                    }
                }
                decided => prop_assert_eq!(decided, whole),
            }
        }
    }

    #[test]
    fn headers_and_grammar_agree_on_what_is_well_formed(
        pieces in vec(header_piece(), 0..10),
        noise in vec(any::<u8>(), 0..4),
    ) {
        let block = [pieces.concat(), noise].concat();
        let headers = Headers::from_block(&block);
        let by_grammar = grammar::header_block(&block);
        prop_assert_eq!(headers.is_malformed(), by_grammar.is_none());
        let Some(by_grammar) = by_grammar else { return Ok(()) };
        let entries: Vec<(&[u8], &[u8])> =
            headers.iter().map(|(name, value)| (name.as_bytes(), value)).collect();
        prop_assert_eq!(entries, by_grammar.entries);
        let status = headers.status().map(|status| status.code);
        prop_assert_eq!(status, by_grammar.status.map(|(code, _)| code));
    }

    #[test]
    fn nothing_panics_on_arbitrary_bytes(input in input()) {
        let headers = Headers::from_block(&input);
        let map = headers.to_map();
        prop_assert!(!map.view().is_malformed());
        let _ = (headers.status(), headers.get("A"), headers.get_ignore_case("a"), format!("{headers:?}"));
        let _ = ServerInfo::parse(&input);
        let _ = midge_proto::wire::ConnectInfo::parse(&input);
        let _ = ServerError::parse(&input).to_text();
    }
}

fn header_piece() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"NATS/1.0\r\n",
        b"NATS/1.0\r\n",
        b"NATS/1.0",
        b"NATS/1.0 503\r\n",
        b"NATS/1.0\t 404 No \r\n",
        b"NATS/1.0 50\r\n",
        b"NATS/1.0 5030\r\n",
        b"NATS/1.0 503x\r\n",
        b"NATS/1.0x\r\n",
        b"A: b\r\n",
        b"A:\r\n",
        b"Name-1:  v \xff \t\r\n",
        b": x\r\n",
        b"A : b\r\n",
        b" A: b\r\n",
        b"A: b\rc\r\n",
        b"A: b\n",
        b"AB\r\n",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
    ];
    select(words).prop_map(<[u8]>::to_vec)
}
