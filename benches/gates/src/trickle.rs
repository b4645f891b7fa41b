//! What comes one byte a read, taken in by the core without a driver.

use midge_benches::{Count, SUBJECT, Up, payload};
use midge_proto::HeaderMap;
use midge_proto::wire::encode;

use crate::Failure;

/// MSG or HMSG.
pub(crate) fn messages(
    count: usize,
    size: usize,
    headers: Option<&HeaderMap>,
) -> Result<(), Failure> {
    let mut up = Up::new(1);
    let sid = up.sids[0].to_string();
    let mut frame = Vec::new();
    let block = headers.map(HeaderMap::as_bytes);
    let subject = SUBJECT.as_bytes();
    encode::message(&mut frame, subject, sid.as_bytes(), None, block, &payload(size));
    let received = trickle(&mut up, count, &frame);
    if received.messages == count { Ok(()) } else { Err("a message did not arrive".into()) }
}

/// INFO.
pub(crate) fn infos(count: usize, size: usize) -> Result<(), Failure> {
    let mut up = Up::new(0);
    let mut json = String::from(r#"{"server_id":"S","max_payload":1048576,"headers":true,"cluster":""#);
    json.extend(std::iter::repeat_n('x', size - json.len() - 2));
    json.push_str("\"}");
    let mut frame = Vec::new();
    encode::info(&mut frame, json.as_bytes());
    trickle(&mut up, count, &frame);
    Ok(())
}

fn trickle(up: &mut Up, count: usize, frame: &[u8]) -> Count {
    let mut received = Count::default();
    for _ in 0..count {
        for byte in frame.chunks(1) {
            up.deliver(byte, &mut received);
        }
    }
    received
}
