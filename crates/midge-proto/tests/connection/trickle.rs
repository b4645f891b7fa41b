//! Bytes that come one by one: the work grows with the bytes, not with their square.
//!
//! Work is counted: every byte that is moved to other memory, and every byte of memory that is
//! made ready to be read into. That no byte is scanned twice is a test of the decoder.

use midge_proto::wire::encode;
use midge_proto::{Message, Output, RequestError, RequestId, Sid, Sink};

use crate::rig::{INFO, Rig, config};

/// What one byte a read has cost.
#[derive(Debug, Default)]
struct Work {
    messages: usize,
    moved: usize,
    prepared: usize,
}

impl Sink for Work {
    fn message(&mut self, _: Sid, _: Message) {
        self.messages += 1;
    }

    fn response(&mut self, _: RequestId, _: Result<Message, RequestError>) {}
}

/// Delivers `frame` so many times, one byte a read and a turn after each.
fn trickle(frame: &[u8], times: usize) -> Work {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("subscribe a\n> SUB a 1");
    let mut work = Work::default();
    let mut place = 0;
    for _ in 0..times {
        for (received, byte) in frame.iter().enumerate() {
            let room = rig.connection.read_buf();
            if room.as_ptr().addr() != place {
                work.moved += received;
                work.prepared += room.len();
            }
            place = room.as_ptr().addr() + 1;
            room[0] = *byte;
            rig.connection.received(1);
            while !matches!(rig.connection.poll_into(rig.now, 64, &mut work), Output::Idle(_)) {}
        }
    }
    work
}

#[track_caller]
fn is_linear(frame: &[u8], times: usize, messages: usize) {
    let work = trickle(frame, times);
    let bytes = times * frame.len();
    assert_eq!(work.messages, messages);
    assert!(work.moved <= 2 * bytes, "{bytes} bytes: {work:?}");
    // The first buffer holds many small frames.
    assert!(work.prepared <= 2 * bytes + 2 * 64 * 1024, "{bytes} bytes: {work:?}");
}

fn msg(size: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    encode::message(&mut frame, b"a", b"1", None, None, &vec![b'x'; size]);
    frame
}

fn hmsg(size: usize) -> Vec<u8> {
    let mut frame = Vec::new();
    let block = b"NATS/1.0\r\nName: x\r\n\r\n";
    encode::message(&mut frame, b"a", b"1", None, Some(block), &vec![b'x'; size]);
    frame
}

#[test]
fn small_messages_cost_what_their_bytes_cost() {
    is_linear(&msg(128), 3000, 3000);
}

#[test]
fn a_message_of_a_mebibyte_costs_what_its_bytes_cost() {
    is_linear(&msg(1 << 20), 1, 1);
}

#[test]
fn so_do_those_with_headers() {
    is_linear(&hmsg(128), 3000, 3000);
    is_linear(&hmsg(1 << 20), 1, 1);
}

#[test]
fn an_info_of_thirty_kilobytes_costs_what_its_bytes_cost() {
    let info = format!("{}\r\n", INFO.replace(r#""S""#, &format!("{:?}", "S".repeat(30_000))));
    is_linear(info.as_bytes(), 10, 0);
}
