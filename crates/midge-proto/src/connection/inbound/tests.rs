//! Chunks: how large they are, when they are used again, what is moved.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::vec;

use super::*;
use crate::ServerUrl;

/// Takes all that is here whole, and counts the messages.
fn take(inbound: &mut Inbound) -> usize {
    let mut count = 0;
    while let Some(received) =
        inbound.next(usize::MAX, &mut Subscriptions::default()).expect("frames that are whole")
    {
        if let Received::Messages(messages) = received {
            count += messages.len();
            inbound.handed_over(messages);
        }
    }
    count
}

fn inbound() -> Inbound {
    let server = ServerUrl::parse("127.0.0.1").expect("an address");
    Inbound::new(&Config::new(vec![server], [7; 32]))
}

/// Reads `bytes`, as much at once as there is room for.
fn read(inbound: &mut Inbound, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let room = inbound.room();
        let count = room.len().min(bytes.len());
        room[..count].copy_from_slice(&bytes[..count]);
        inbound.received(count);
        bytes = &bytes[count..];
        take(inbound);
    }
}

#[test]
fn a_chunk_is_small_at_first_and_grows_while_reads_fill_it() {
    let mut inbound = inbound();
    assert_eq!(inbound.room().len(), SMALL_CHUNK);
    read(&mut inbound, b"MSG a 1 2\r\nhi\r\n");
    assert_eq!(inbound.capacity, SMALL_CHUNK);
    read(&mut inbound, &b"MSG a 1 2\r\nhi\r\n".repeat(20_000));
    assert_eq!((inbound.size, inbound.capacity), (64 << 10, 64 << 10));
}

#[test]
fn after_a_quiet_while_a_chunk_is_small_again_and_soon_large_when_it_is_needed() {
    let burst = b"MSG a 1 2\r\nhi\r\n".repeat(20_000);
    let mut inbound = inbound();
    for _ in 0..2 {
        read(&mut inbound, &burst);
        inbound.look_for_quiet();
        assert_eq!(inbound.capacity, 64 << 10, "much has come since the last look");
        read(&mut inbound, b"PONG\r\n");
        inbound.look_for_quiet();
        assert_eq!((inbound.capacity, inbound.found.capacity()), (0, 0));
        assert_eq!(inbound.room().len(), SMALL_CHUNK);
    }
}

#[test]
fn what_is_lent_or_holds_a_beginning_is_replaced_when_it_may_be() {
    let mut inbound = inbound();
    read(&mut inbound, &b"MSG a 1 2\r\nhi\r\n".repeat(20_000));
    inbound.look_for_quiet();
    read(&mut inbound, b"MSG a 1 2\r\nh");
    let buffer = inbound.lend(Attempt(0), false).expect("it is here");
    inbound.look_for_quiet();
    inbound.give_back(buffer, 0);
    assert_eq!(inbound.capacity, 64 << 10);
    read(&mut inbound, b"i\r\n");
    let before = inbound.in_bytes();
    read(&mut inbound, b"MSG a 1 2\r\nhi\r\n");
    assert_eq!((inbound.capacity, inbound.in_bytes() - before), (SMALL_CHUNK, 15));
}

#[test]
fn large_messages_that_are_kept_for_a_while_take_the_same_memory_again() {
    let mut inbound = inbound();
    let mut frame = b"MSG a 1 65536\r\n".to_vec();
    frame.resize(frame.len() + 65536, b'x');
    frame.extend_from_slice(b"\r\n");
    let mut places = alloc::collections::BTreeSet::new();
    let mut kept = VecDeque::new();
    for _ in 0..200 {
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let room = inbound.room();
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            inbound.received(count);
            rest = &rest[count..];
            let mut subscriptions = Subscriptions::default();
            while let Some(Received::Messages(mut messages)) =
                inbound.next(usize::MAX, &mut subscriptions).expect("whole frames")
            {
                kept.extend(messages.hand_over(&mut Nobody));
                inbound.handed_over(messages);
            }
            places.insert(inbound.chunk.as_ptr().addr() + inbound.chunk.capacity());
        }
        while kept.len() > 4 {
            kept.pop_front();
        }
    }
    // Those that were made while chunks grew are among them.
    assert!(places.len() <= 8, "{}", places.len());
}

struct Nobody;

impl Sink for Nobody {
    fn message(&mut self, _: Sid, _: Message) {}

    fn response(&mut self, _: crate::RequestId, _: Result<Message, crate::RequestError>) {}
}

#[test]
fn a_small_read_chunk_stays_small() {
    let server = ServerUrl::parse("127.0.0.1").expect("an address");
    let mut config = Config::new(vec![server], [7; 32]);
    config.read_chunk = 512;
    let mut inbound = Inbound::new(&config);
    // Cut so that the beginning of a frame is always left for the next chunk.
    for piece in b"MSG a 1 11\r\nhello world\r\n".repeat(200).chunks(7) {
        let mut rest = piece;
        while !rest.is_empty() {
            let room = inbound.room();
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            inbound.received(count);
            rest = &rest[count..];
            take(&mut inbound);
        }
        assert!(inbound.chunk.capacity() <= 2 * 512, "{}", inbound.chunk.capacity());
    }
}

#[test]
fn long_lines_one_after_the_other_take_the_memory_of_one() {
    let server = ServerUrl::parse("127.0.0.1").expect("an address");
    let mut config = Config::new(vec![server], [7; 32]);
    (config.read_chunk, config.max_control_line, config.max_info) = (1024, 1024, 16 * 1024);
    let mut inbound = Inbound::new(&config);
    let line = format!("INFO {{{}}}\r\n", "x".repeat(11_000));
    let mut first = None;
    for round in 0..20 {
        let mut rest = line.as_bytes();
        while !rest.is_empty() {
            let room = inbound.room();
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            inbound.received(count);
            rest = &rest[count..];
            take(&mut inbound);
        }
        // Where its memory ends: the chunk starts anew, and is not another one.
        let end = inbound.chunk.as_ptr().addr() + inbound.chunk.capacity();
        assert_eq!(*first.get_or_insert(end), end, "round {round}");
    }
}

#[test]
fn what_a_large_message_needed_is_given_back() {
    let server = ServerUrl::parse("127.0.0.1").expect("an address");
    let mut inbound = Inbound::new(&Config::new(vec![server], [7; 32]));
    let mut feed = |size: usize| {
        let mut frame = format!("MSG a 1 {size}\r\n").into_bytes();
        frame.resize(frame.len() + size, b'x');
        frame.extend_from_slice(b"\r\n");
        let (mut rest, mut messages) = (&frame[..], 0);
        while !rest.is_empty() {
            let room = inbound.room();
            let count = room.len().min(rest.len());
            room[..count].copy_from_slice(&rest[..count]);
            inbound.received(count);
            rest = &rest[count..];
            messages += take(&mut inbound);
        }
        (messages, inbound.chunk.capacity())
    };
    assert_eq!(feed(8 << 20).0, 1);
    for _ in 0..100 {
        let (messages, capacity) = feed(1000);
        assert_eq!(messages, 1);
        assert!(capacity <= 4 * 64 * 1024, "{capacity}");
    }
}
