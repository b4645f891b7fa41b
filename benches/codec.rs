//! The codec: frames decoded and encoded, subjects checked, headers read and written.

use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use midge_benches::{
    Copy, MESSAGES, SIZES, SUBJECT, fill_headers, headers, messages, payload, publishes,
};
use midge_proto::wire::{Decoder, Frame, Limits, Step, encode, grammar};
use midge_proto::{HeaderMap, Headers, SubjectRef};

fn main() {
    divan::main();
}

fn per_message<'a, 'b>(bencher: Bencher<'a, 'b>, bytes: usize) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(MESSAGES)).counter(BytesCount::new(bytes))
}

fn copy(bencher: Bencher<'_, '_>, bytes: Vec<u8>) {
    let bencher = per_message(bencher, bytes.len());
    let mut copy = Copy::new(bytes);
    bencher.bench_local(|| black_box(copy.run()).len());
}

#[divan::bench_group]
mod decode {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn limit_msg(bencher: Bencher<'_, '_>, size: usize) {
        copy(bencher, messages(size, None, &[1]));
    }

    #[divan::bench(args = SIZES)]
    fn limit_hmsg(bencher: Bencher<'_, '_>, size: usize) {
        copy(bencher, messages(size, Some(&headers()), &[1]));
    }

    #[divan::bench(args = SIZES)]
    fn msg(bencher: Bencher<'_, '_>, size: usize) {
        decoder(bencher, &messages(size, None, &[1]));
    }

    #[divan::bench(args = SIZES)]
    fn hmsg(bencher: Bencher<'_, '_>, size: usize) {
        decoder(bencher, &messages(size, Some(&headers()), &[1]));
    }

    #[divan::bench(args = SIZES)]
    fn msg_by_the_grammar(bencher: Bencher<'_, '_>, size: usize) {
        let bytes = messages(size, None, &[1]);
        let limits = Limits::default();
        all(bencher, &bytes, |input| {
            grammar::decode_server(input, &limits).expect("canonical frames")
        });
    }

    #[divan::bench(args = SIZES)]
    fn hmsg_by_the_grammar(bencher: Bencher<'_, '_>, size: usize) {
        let bytes = messages(size, Some(&headers()), &[1]);
        let limits = Limits::default();
        all(bencher, &bytes, |input| {
            grammar::decode_server(input, &limits).expect("canonical frames")
        });
    }

    fn decoder(bencher: Bencher<'_, '_>, bytes: &[u8]) {
        let mut decoder = Decoder::new(Limits::default());
        all(bencher, bytes, |input| decoder.decode(input).expect("canonical frames"));
    }

    #[inline(always)]
    fn all(bencher: Bencher<'_, '_>, bytes: &[u8], mut decode: impl FnMut(&[u8]) -> Step) {
        per_message(bencher, bytes.len()).bench_local(|| {
            let mut rest = black_box(bytes);
            let mut payload = 0;
            while !rest.is_empty() {
                let Step::Frame { frame: Frame::Message(layout), len } = decode(rest) else {
                    panic!("whole messages");
                };
                payload += layout.payload.len();
                rest = &rest[len..];
            }
            payload
        });
    }
}

#[divan::bench_group]
mod encoding {
    use super::*;

    #[divan::bench(args = SIZES)]
    fn limit_publish(bencher: Bencher<'_, '_>, size: usize) {
        copy(bencher, publishes(size, None));
    }

    #[divan::bench(args = SIZES)]
    fn limit_hpub(bencher: Bencher<'_, '_>, size: usize) {
        copy(bencher, publishes(size, Some(&headers())));
    }

    #[divan::bench(args = SIZES)]
    fn publish(bencher: Bencher<'_, '_>, size: usize) {
        all(bencher, size, None);
    }

    #[divan::bench(args = SIZES)]
    fn hpub(bencher: Bencher<'_, '_>, size: usize) {
        all(bencher, size, Some(&headers()));
    }

    fn all(bencher: Bencher<'_, '_>, size: usize, headers: Option<&HeaderMap>) {
        let payload = payload(size);
        let mut out = publishes(size, headers);
        let block = headers.map(HeaderMap::as_bytes);
        per_message(bencher, out.len()).bench_local(|| {
            out.clear();
            for _ in 0..MESSAGES {
                let subject = black_box(SUBJECT.as_bytes());
                encode::publish(&mut out, subject, None, black_box(block), black_box(&payload));
            }
            out.len()
        });
    }
}

#[divan::bench_group]
mod subject {
    use super::*;

    const LONG: &str = "factory.hall-7.line-12.robot-0042.arm.joint-3.temperature.celsius";

    #[divan::bench(args = [SUBJECT, LONG])]
    fn check(bencher: Bencher<'_, '_>, subject: &str) {
        per_message(bencher, subject.len() * MESSAGES).bench_local(|| {
            for _ in 0..MESSAGES {
                let checked = SubjectRef::new(black_box(subject));
                black_box(checked.is_ok_and(|subject| !subject.has_wildcards()));
            }
        });
    }
}

/// Three headers each.
#[divan::bench_group]
mod header {
    use super::*;

    #[divan::bench]
    fn write_into_a_cleared_map(bencher: Bencher<'_, '_>) {
        let mut map = headers();
        per_message(bencher, map.as_bytes().len() * MESSAGES).bench_local(|| {
            for _ in 0..MESSAGES {
                map.clear();
                fill_headers(black_box(&mut map));
            }
        });
    }

    #[divan::bench]
    fn read_all(bencher: Bencher<'_, '_>) {
        read(bencher, |headers| headers.iter().map(|(name, value)| name.len() + value.len()).sum());
    }

    #[divan::bench]
    fn read_the_last_by_name(bencher: Bencher<'_, '_>) {
        read(bencher, |headers| headers.get("Trace").map_or(0, str::len));
    }

    #[divan::bench]
    fn read_the_status_that_is_not_there(bencher: Bencher<'_, '_>) {
        read(bencher, |headers| headers.status().map_or(0, |status| status.code.into()));
    }

    fn read(bencher: Bencher<'_, '_>, read: impl Fn(Headers<'_>) -> usize) {
        let block = headers().as_bytes().to_vec();
        per_message(bencher, block.len() * MESSAGES).bench_local(|| {
            for _ in 0..MESSAGES {
                black_box(read(Headers::from_block(black_box(&block))));
            }
        });
    }
}
