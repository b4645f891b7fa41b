//! Frames of both directions: hand-written readers against the grammar, every cut of the input,
//! and what is written is read back.

use midge_proto::wire::{
    ClientOp, ConnectInfo, DecodeError, Decoder, Limits, Step, decode_client, encode, grammar,
};

/// Inputs are cut at every byte, which costs their length squared.
const LONGEST: usize = 256;

/// The first byte chooses how narrow the limits are, the rest is what a server sends.
///
/// The decoder gives what the grammar gives: at one look, at every prefix, with one cut at every
/// place, and a byte at a time.
pub fn decoder_vs_grammar(data: &[u8]) {
    let Some((&width, input)) = data.split_first() else { return };
    let input = &input[..input.len().min(LONGEST)];
    let limits = limits(width);
    let whole = grammar::decode_server(input, &limits);
    for end in 0..=input.len() {
        let prefix = &input[..end];
        let step = Decoder::new(limits).decode(prefix);
        assert_eq!(step, grammar::decode_server(prefix, &limits), "at one look, up to {end}");
        match step {
            Ok(Step::Incomplete { need }) => {
                if let Ok(Step::Frame { len, .. }) = whole {
                    assert!(end < len && (need == 0 || need == len), "{need} of {len} at {end}");
                }
            }
            decided => assert_eq!(decided, whole, "more input changed what was decided at {end}"),
        }
    }
    let expected = by_grammar(input, &limits);
    for cut in 0..=input.len() {
        assert_eq!(by_decoder(input, limits, &[cut]), expected, "cut at {cut}");
    }
    let every_byte: Vec<usize> = (0..input.len()).collect();
    assert_eq!(by_decoder(input, limits, &every_byte), expected, "a byte at a time");
}

fn limits(width: u8) -> Limits {
    match width % 4 {
        0 => Limits::default(),
        1 => Limits { control_line: 80, info: 120, frame: 200 },
        2 => Limits { control_line: 24, info: 16, frame: 48 },
        _ => Limits { control_line: width.into(), info: width.into(), frame: usize::MAX },
    }
}

type Steps = (Vec<Step>, Result<(), DecodeError>);

/// Everything that can be read from `input` when it arrives whole.
fn by_grammar(input: &[u8], limits: &Limits) -> Steps {
    let mut steps = Vec::new();
    let mut rest = input;
    loop {
        match grammar::decode_server(rest, limits) {
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
fn by_decoder(input: &[u8], limits: Limits, cuts: &[usize]) -> Steps {
    let mut decoder = Decoder::new(limits);
    let mut steps = Vec::new();
    let mut start = 0;
    for &cut in cuts.iter().chain([&input.len()]) {
        while start <= cut {
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

/// The first byte chooses how narrow the limits are, the rest is what a client sends.
///
/// A prefix is incomplete or decides as the whole does, and an operation that was read is the
/// same once it is written and read again.
pub fn client_bytes(data: &[u8]) {
    let Some((&width, input)) = data.split_first() else { return };
    let mut rest = &input[..input.len().min(LONGEST)];
    let limits = limits(width);
    loop {
        let whole = decode_client(rest, &limits);
        for end in 0..=rest.len() {
            match decode_client(&rest[..end], &limits) {
                Ok(None) => {
                    if let Ok(Some((_, len))) = whole {
                        assert!(end < len, "nothing of {len} bytes at {end}");
                    }
                }
                decided => {
                    assert_eq!(decided, whole, "more input changed what was decided at {end}");
                    break;
                }
            }
        }
        let Ok(Some((op, len))) = whole else { return };
        assert!(0 < len && len <= rest.len());
        write_and_read(op);
        rest = &rest[len..];
    }
}

fn write_and_read(op: ClientOp<'_>) {
    let mut out = Vec::new();
    let number = |sid| std::str::from_utf8(sid).ok().and_then(|sid| sid.parse::<u64>().ok());
    let expected = match op {
        ClientOp::Connect(json) => {
            encode::connect(&mut out, json);
            if let Ok(connect) = ConnectInfo::parse(json) {
                let mut json = Vec::new();
                connect.write_json(&mut json);
                assert!(!json.contains(&b'\n'), "the JSON is on one line");
                assert_eq!(ConnectInfo::parse(&json).as_ref(), Ok(&connect));
            }
            op
        }
        ClientOp::Publish { subject, reply, headers, payload } => {
            encode::publish(&mut out, subject, reply, headers, payload);
            let length = encode::publish_len(
                subject.len(),
                reply.map(<[u8]>::len),
                headers.map(<[u8]>::len),
                payload.len(),
            );
            assert_eq!(out.len(), length, "publish_len is exact");
            op
        }
        // A client of ours writes numbers; any other name of a subscription is only read.
        ClientOp::Subscribe { subject, queue, sid } => {
            let Some(number) = number(sid).filter(|number| number.to_string().as_bytes() == sid)
            else {
                return;
            };
            encode::subscribe(&mut out, subject, queue, number);
            op
        }
        ClientOp::Unsubscribe { sid, max } => {
            let Some(number) = number(sid).filter(|number| number.to_string().as_bytes() == sid)
            else {
                return;
            };
            encode::unsubscribe(&mut out, number, max);
            op
        }
        ClientOp::Ping => {
            encode::ping(&mut out);
            op
        }
        ClientOp::Pong => {
            encode::pong(&mut out);
            op
        }
        _ => return,
    };
    let roomy = Limits { control_line: 1 << 20, info: 1 << 20, frame: 1 << 30 };
    assert_eq!(decode_client(&out, &roomy), Ok(Some((expected, out.len()))));
}
