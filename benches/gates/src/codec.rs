//! The codec alone.

use std::hint::black_box;

use midge_benches::{MESSAGES, SUBJECT, messages, payload, publishes};
use midge_proto::HeaderMap;
use midge_proto::wire::{self, Decoder, Frame, Limits, Step};

use crate::{Failure, PAYLOAD};

/// Writes PUB or HPUB into a buffer that is used again.
pub(crate) fn encode(frames: usize, headers: Option<&HeaderMap>) -> Result<(), Failure> {
    let payload = payload(PAYLOAD);
    let block = headers.map(HeaderMap::as_bytes);
    let mut out = publishes(PAYLOAD, headers);
    for number in 0..frames {
        if number % MESSAGES == 0 {
            out.clear();
        }
        let subject = black_box(SUBJECT.as_bytes());
        wire::encode::publish(&mut out, subject, None, black_box(block), black_box(&payload));
    }
    black_box(&out);
    Ok(())
}

/// Reads MSG or HMSG.
pub(crate) fn decode(frames: usize, headers: Option<&HeaderMap>) -> Result<(), Failure> {
    let bytes = messages(PAYLOAD, headers, &[1]);
    let mut decoder = Decoder::new(Limits::default());
    let mut rest: &[u8] = &[];
    for _ in 0..frames {
        if rest.is_empty() {
            rest = black_box(&bytes);
        }
        let Step::Frame { frame: Frame::Message(layout), len } = decoder.decode(rest)? else {
            return Err("whole messages are whole".into());
        };
        black_box(&layout);
        rest = &rest[len..];
    }
    Ok(())
}
