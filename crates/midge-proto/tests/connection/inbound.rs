//! Bytes in: bounds, back-pressure, memory.

use bytes::BufMut;
use midge_proto::{Action, Event, Message, Output};

use crate::rig::{Rig, config};

#[test]
fn a_message_above_the_clients_cap_is_skipped_as_it_streams_by() {
    let mut config = config("127.0.0.1");
    config.max_message = 100;
    let mut rig = Rig::up(config);
    rig.run("subscribe a\n> SUB a 1");
    let mut bytes = b"MSG a 1 5000000\r\n".to_vec();
    bytes.extend(std::iter::repeat_n(b'x', 5_000_000));
    bytes.extend_from_slice(b"\r\nMSG a 1 101\r\n");
    bytes.extend(std::iter::repeat_n(b'y', 101));
    bytes.extend_from_slice(b"\r\nMSG a 1 2\r\nok\r\n");
    let mut largest = 0;
    for piece in bytes.chunks(10_000) {
        rig.feed(piece);
        largest = largest.max(rig.connection.read_buf().len());
    }
    rig.run("! oversized 1 5000000\n! oversized 1 101\n! message 1 a ok");
    assert!(largest <= 128 * 1024, "the buffer stays small: {largest}");
}

#[test]
fn a_message_above_the_cap_counts_and_can_be_the_last_one() {
    let mut config = config("127.0.0.1");
    config.max_message = 1;
    let mut rig = Rig::up(config);
    rig.run(
        "subscribe a
        > SUB a 1
        unsubscribe 1 2
        > UNSUB 1 2
        subscribe b
        > SUB b 2
        unsubscribe 2 1
        > UNSUB 2 1
        < MSG a 1 2\\r\\nxx
        ! oversized 1 2
        < MSG a 1 2\\r\\nxx
        ! oversized 1 2
        ! ended 1 the maximum number of messages came
        close 1s
        > PING
        < MSG b 2 2\\r\\nxx
        ! ended 2 the connection closed",
    );
    assert_eq!(rig.connection.statistics().in_messages, 3);
}

#[test]
fn a_message_as_large_as_the_cap_is_delivered_however_it_is_cut() {
    let mut config = config("127.0.0.1");
    config.max_message = 2;
    let mut rig = Rig::up(config);
    rig.run("subscribe a\n> SUB a 1\n< MSG a 1 2\\r\\nxx\n! message 1 a xx");
    for piece in b"MSG a 1 2\r\nxx\r\n".chunks(1) {
        rig.feed(piece);
    }
    rig.run("! message 1 a xx");
}

#[test]
fn more_than_there_was_room_for_cannot_be_received() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let before = rig.connection.statistics().in_bytes;
    let room = rig.connection.read_buf();
    room.fill(b' ');
    room[..6].copy_from_slice(b"PING\r\n");
    let room = room.len();
    rig.connection.received(6);
    rig.connection.received(usize::MAX);
    assert_eq!(rig.connection.statistics().in_bytes - before, room as u64);
    assert!(matches!(rig.connection.poll(rig.now), Output::Action(Action::Close { .. })));
}

#[test]
fn what_an_old_transport_began_is_forgotten_with_it() {
    let mut rig = Rig::up(config("127.0.0.1"));
    for rest in ["MSG a 1", "MSG a 1 5\r\nhe", "MSG a 1 99999999\r\nx", "PIN"] {
        rig.feed(rest.as_bytes());
        rig.run("+ 1s\neof\n! disconnected ...\n! connect 127.0.0.1:4222");
        rig.come_up();
        rig.run("< PING\n> PONG");
    }
}

#[test]
fn a_read_buffer_is_as_good_with_tls_as_without() {
    for tls in [false, true] {
        let mut rig = Rig::new(config("127.0.0.1"));
        rig.command(if tls { "connected-secure" } else { "connected" });
        rig.log();
        let mut buffer = rig.connection.take_read().unwrap();
        assert!(!buffer.is_empty());
        buffer[..9].copy_from_slice(b"INFO {}\r\n");
        rig.connection.filled(buffer, 9);
        rig.turn();
        rig.run("> CONNECT ...\n> PING");
    }
}

#[test]
fn a_read_need_not_be_made_into_initialised_memory() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("subscribe a\n> SUB a 1");
    let mut buffer = rig.connection.take_spare().unwrap();
    let room = buffer.room();
    assert_eq!(buffer.spare().remaining_mut(), room);
    buffer.spare().put_slice(b"PI");
    assert_eq!(&buffer[..], b"PI");
    // More than was put in never counts.
    rig.connection.filled(buffer, room);
    let mut buffer = rig.connection.take_spare().unwrap();
    buffer.initialise();
    assert_eq!(buffer.len(), buffer.room());
    buffer[..4].copy_from_slice(b"NG\r\n");
    rig.connection.filled(buffer, 4);
    rig.turn();
    rig.run("> PONG");
    let room = rig.connection.read_buf().len();
    assert_eq!(rig.connection.take_read().map(|buffer| buffer.len()), Some(room));
}

#[test]
fn a_message_larger_than_a_chunk_arrives_whole() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("subscribe a\n> SUB a 1");
    for size in [64 * 1024 - 20, 64 * 1024, 1 << 20] {
        let mut bytes = format!("MSG a 1 {size}\r\n").into_bytes();
        bytes.extend(std::iter::repeat_n(b'z', size));
        bytes.extend_from_slice(b"\r\nMSG a 1 2\r\nok\r\n");
        for piece in bytes.chunks(1500) {
            rig.feed(piece);
        }
        let log = rig.log();
        assert_eq!(log.len(), 2, "{size}");
        assert!(log[0].ends_with("zzz") && log[0].len() > size && log[1].ends_with("ok"));
    }
}

#[test]
fn bytes_that_are_no_protocol_end_the_connection_and_it_comes_back() {
    for garbage in ["XYZ", "MSG a 1", "MSG a 1 x", "HMSG a 1 5 2", "MSG a 1 2\\r\\nxxxx"] {
        let mut rig = Rig::up(config("127.0.0.1"));
        rig.run(&format!(
            "subscribe a
            > SUB a 1
            < {garbage}
            ! close
            ! disconnected the server broke the protocol: ...
            ! connect 127.0.0.1:4222"
        ));
    }
}

#[test]
fn a_control_line_without_end_is_refused_at_its_bound() {
    let mut config = config("127.0.0.1");
    config.max_control_line = 1000;
    let mut rig = Rig::up(config);
    rig.feed(b"MSG ");
    rig.feed(&[b'a'; 995]);
    assert!(rig.log().is_empty());
    rig.feed(b"aa");
    rig.run("! close\n! disconnected the server broke the protocol: ...\n! connect 127.0.0.1:4222");
}

#[test]
fn a_malformed_header_block_disturbs_nobody() {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("subscribe a\n> SUB a 1");
    rig.feed(
        b"HMSG a 1 9 11\r\nno:versionhi\r\n"
            .as_slice()
            .split_last()
            .map_or(b"".as_slice(), |_| b"HMSG a 1 9 11\r\nno:verionhi\r\n"),
    );
    rig.feed(b"HMSG a 1 14 14\r\n\xff\xfe garbage \r\r\n\r\n");
    rig.feed(b"MSG a 1 2\r\nok\r\n");
    assert_eq!(rig.log().len(), 3);
    assert!(rig.connection.is_connected());
}

/// Receives `count` messages of `size` bytes and keeps them.
fn receive(rig: &mut Rig, count: usize, size: usize) -> Vec<Message> {
    let mut frame = format!("MSG a 1 {size}\r\n").into_bytes();
    frame.extend(std::iter::repeat_n(b'x', size));
    frame.extend_from_slice(b"\r\n");
    let mut messages = Vec::new();
    for _ in 0..count {
        let mut rest = &frame[..];
        while !rest.is_empty() {
            let room = rig.connection.read_buf();
            let taken = room.len().min(rest.len());
            room[..taken].copy_from_slice(&rest[..taken]);
            rig.connection.received(taken);
            rest = &rest[taken..];
            loop {
                match rig.connection.poll(rig.now) {
                    Output::Event(Event::Message(_, message)) => messages.push(message),
                    Output::Idle(_) => break,
                    other => panic!("{other:?}"),
                }
            }
        }
    }
    messages
}

#[test]
fn kept_messages_pin_a_bounded_number_of_chunks() {
    let mut config = config("127.0.0.1");
    config.max_chunks = 4;
    config.read_chunk = 16 * 1024;
    let mut rig = Rig::up(config);
    rig.run("subscribe a\n> SUB a 1");
    // One message of each chunk is kept: without the bound each would pin 16 KiB.
    let kept: Vec<_> = receive(&mut rig, 20_000, 100).into_iter().step_by(100).collect();
    // Neighbours in a chunk lie a frame apart; a message of its own lies anywhere.
    let frame = 100 + "MSG a 1 100\r\n\r\n".len();
    let mut shared = 0;
    for pair in kept.windows(2) {
        let distance = pair[1].payload().as_ptr() as usize;
        shared +=
            usize::from(distance.wrapping_sub(pair[0].payload().as_ptr() as usize) == 100 * frame);
    }
    assert!(shared < kept.len() / 2, "{shared} of {} share a chunk", kept.len());
}

#[test]
fn chunks_are_shared_again_once_the_kept_messages_are_gone() {
    let mut config = config("127.0.0.1");
    config.max_chunks = 2;
    config.read_chunk = 16 * 1024;
    let mut rig = Rig::up(config);
    rig.run("subscribe a\n> SUB a 1");
    let frame = 100 + "MSG a 1 100\r\n\r\n".len();
    let share = |messages: &[Message]| {
        let at = |message: &Message| message.payload().as_ptr() as usize;
        messages.windows(2).filter(|pair| at(&pair[1]).wrapping_sub(at(&pair[0])) == frame).count()
    };
    let kept = receive(&mut rig, 2000, 100);
    assert!(share(&kept[1000..]) < 500, "past the bound each message is a copy");
    drop(kept);
    for _ in 0..4 {
        receive(&mut rig, 100, 100);
    }
    let again = receive(&mut rig, 100, 100);
    assert!(share(&again) > 90, "{}", share(&again));
}

#[test]
fn a_long_info_is_moved_a_few_times_only() {
    let mut rig = Rig::up(config("127.0.0.1"));
    let info = format!("INFO {{\"cluster\":\"{}\"}}\r\n", "x".repeat(1_000_000));
    let (mut moves, mut start) = (0, 0);
    let mut fed = 0;
    while fed < info.len() {
        let room = rig.connection.read_buf();
        let base = (room.as_ptr() as usize).wrapping_sub(fed);
        moves += usize::from(base != start);
        start = base;
        let count = room.len().min(info.len() - fed);
        room[..count].copy_from_slice(&info.as_bytes()[fed..fed + count]);
        rig.connection.received(count);
        fed += count;
        rig.turn();
    }
    assert!(rig.connection.is_connected());
    assert!(moves < 10, "{moves}");
}

#[test]
fn a_read_buffer_that_comes_back_to_another_attempt_is_room_and_nothing_more() {
    let mut rig = Rig::up(config("127.0.0.1:1,127.0.0.1:2"));
    let mut buffer = rig.connection.take_read().unwrap();
    rig.run("eof\n! disconnected ...\n! connect 127.0.0.1:2\nconnected");
    assert!(rig.connection.take_read().is_none() && rig.connection.read_buf().is_empty());
    buffer[..7].copy_from_slice(b"garbage");
    rig.connection.filled(buffer, 7);
    rig.come_up_from_info();
    assert!(rig.connection.is_connected());
}
