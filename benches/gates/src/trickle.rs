//! What comes one byte a read, taken in by the core without a driver.

use midge_benches::{Count, SUBJECT, Up, payload};
use midge_proto::HeaderMap;
use midge_proto::wire::encode;

use crate::Failure;

/// So many bytes of MSG or HMSG frames, the last of which may be cut off.
pub(crate) fn messages(
    bytes: usize,
    size: usize,
    headers: Option<&HeaderMap>,
) -> Result<(), Failure> {
    let mut up = Up::new(1);
    let sid = up.sids[0].to_string();
    let mut frame = Vec::new();
    let block = headers.map(HeaderMap::as_bytes);
    let subject = SUBJECT.as_bytes();
    encode::message(&mut frame, subject, sid.as_bytes(), None, block, &payload(size));
    let received = trickle(&mut up, bytes, &frame);
    let whole = received.messages == bytes / frame.len();
    if whole { Ok(()) } else { Err("not every message arrived".into()) }
}

/// The same of INFO lines.
pub(crate) fn infos(bytes: usize, size: usize) -> Result<(), Failure> {
    let mut up = Up::new(0);
    let mut json = String::from(r#"{"max_payload":1048576,"headers":true,"cluster":""#);
    json.extend(std::iter::repeat_n('x', size - json.len() - 2));
    json.push_str("\"}");
    let mut frame = Vec::new();
    encode::info(&mut frame, json.as_bytes());
    trickle(&mut up, bytes, &frame);
    Ok(())
}

fn trickle(up: &mut Up, bytes: usize, frame: &[u8]) -> Count {
    let mut received = Count::default();
    for byte in frame.chunks(1).cycle().take(bytes) {
        up.deliver(byte, &mut received);
    }
    received
}
