//! Messages whose lines repeat those of the ones before, in whole or in part: each is read as if it
//! had come alone.

use midge_proto::wire::{Decoder, Frame, Limits, Step, encode};
use midge_proto::{Message, Output, RequestError, RequestId, Sid, Sink};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::rig::{Rig, config};

/// What a message is to its reader: the number of its subscription, subject, reply, headers, payload.
type Seen = (u64, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>);

/// One message, or several at once.
#[derive(Debug, Default)]
struct Collect {
    seen: Vec<Seen>,
    size: usize,
}

impl Collect {
    fn add(&mut self, sid: Sid, message: &Message) {
        let headers = message.headers().map(|headers| headers.as_bytes().to_vec());
        let reply = message.reply_bytes().map(<[u8]>::to_vec);
        let (subject, payload) = (message.subject_bytes().to_vec(), message.payload().to_vec());
        self.seen.push((sid.number(), subject, reply, headers, payload));
    }
}

impl Sink for Collect {
    fn message(&mut self, sid: Sid, message: Message) {
        self.size += message.size();
        self.add(sid, &message);
    }

    fn messages(
        &mut self,
        sid: Sid,
        size: usize,
        messages: impl ExactSizeIterator<Item = Message>,
    ) {
        self.size += size;
        let (before, count) = (self.seen.len(), messages.len());
        messages.for_each(|message| self.add(sid, &message));
        assert_eq!(self.seen.len() - before, count);
    }

    fn response(&mut self, _: RequestId, _: Result<Message, RequestError>) {}
}

/// What a decoder makes of the frame by itself.
fn alone(frame: &[u8]) -> Seen {
    let step = Decoder::new(Limits::default()).decode(frame);
    let Ok(Step::Frame { frame: Frame::Message(layout), len }) = step else {
        panic!("{step:?} is no message")
    };
    assert_eq!(len, frame.len());
    let part = |span: midge_proto::wire::Span| frame[span.range()].to_vec();
    let sid = layout.sid.expect("a number");
    let (reply, headers) = (layout.reply.map(part), layout.headers.map(part));
    (sid, part(layout.subject), reply, headers, part(layout.payload))
}

/// Subjects, numbers, replies and sizes of which neighbours often have the same, or the same but for
/// a few bytes.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let long = "subject.that.is.longer.than.most.and.whose.line.does.not.end.in.its.first.bytes";
    let subject = select(vec!["a", "b", "orders.eu.created", "orders.eu.updated", long]);
    let sid = select(vec!["1", "2", "11", "12"]);
    let reply = option::weighted(0.3, select(vec!["r", "_INBOX.x.1", "_INBOX.x.2", "1x"]));
    let headers =
        option::weighted(0.2, select(vec!["", "NATS/1.0\r\n\r\n", "NATS/1.0\r\nA: b\r\n\r\n"]));
    let payload = select(vec![0, 1, 2, 9, 10, 99, 100, 128, 1000]);
    (subject, sid, reply, headers, payload, 0..20).prop_map(
        |(subject, sid, reply, headers, payload, spelling)| {
            let mut frame = Vec::new();
            let (reply, headers) = (reply.map(str::as_bytes), headers.map(str::as_bytes));
            let payload = vec![b'1'; payload];
            encode::message(
                &mut frame,
                subject.as_bytes(),
                sid.as_bytes(),
                reply,
                headers,
                &payload,
            );
            if spelling == 0 {
                frame[0] = frame[0].to_ascii_lowercase();
            }
            frame
        },
    )
}

/// A frame, and how often it comes in a row.
fn frames() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec((frame(), 1..5_usize), 1..40)
        .prop_map(|runs| runs.into_iter().flat_map(|(frame, times)| vec![frame; times]).collect())
}

/// A connection with subscriptions of the numbers 1 to 12.
fn rig() -> Rig {
    let mut rig = Rig::up(config("127.0.0.1"));
    for sid in 1..=12 {
        rig.run(&format!("subscribe a\n> SUB a {sid}"));
    }
    rig
}

/// Hands over what comes. True when the connection goes on.
fn receive(rig: &mut Rig, mut bytes: &[u8], piece: usize, collect: &mut Collect) -> bool {
    while !bytes.is_empty() {
        let room = rig.connection.read_buf();
        let count = room.len().min(bytes.len()).min(piece);
        room[..count].copy_from_slice(&bytes[..count]);
        rig.connection.received(count);
        bytes = &bytes[count..];
        loop {
            match rig.connection.poll_into(rig.now, usize::MAX, collect) {
                Output::Idle(_) => break,
                Output::Yield => {}
                _ => return false,
            }
        }
    }
    true
}

proptest! {
    #[test]
    fn each_message_of_a_stream_is_what_it_is_alone(frames in frames(), piece in 1..20_000_usize) {
        let (mut rig, mut collect) = (rig(), Collect::default());
        prop_assert!(receive(&mut rig, &frames.concat(), piece, &mut collect));
        let expected: Vec<Seen> = frames.iter().map(|frame| alone(frame)).collect();
        let optional = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        let size = |(_, subject, reply, headers, payload): &Seen| {
            subject.len() + optional(reply) + optional(headers) + payload.len()
        };
        prop_assert_eq!(collect.size, expected.iter().map(size).sum::<usize>());
        prop_assert_eq!(collect.seen, expected);
    }
}

#[test]
fn a_line_that_repeats_excuses_no_missing_line_end() {
    let frame = b"MSG a 1 2\r\nhi\r\n";
    for end in ["\r\r", "\n\n", "x\r", "MS"] {
        let (mut rig, mut collect) = (rig(), Collect::default());
        let stream = [frame, frame, &b"MSG a 1 2\r\nhi"[..], end.as_bytes(), frame].concat();
        assert!(!receive(&mut rig, &stream, stream.len(), &mut collect), "{end:?}");
        assert_eq!(collect.seen.len(), 2);
    }
}

#[test]
fn a_repeated_line_above_the_clients_cap_is_skipped_each_time() {
    let mut config = config("127.0.0.1");
    config.max_message = 10;
    let mut rig = Rig::up(config);
    rig.run("subscribe a\n> SUB a 1");
    let (small, large) = ("MSG a 1 10\r\n0123456789\r\n", "MSG a 1 11\r\n0123456789x\r\n");
    rig.feed([small, small, large, large, small].concat().as_bytes());
    rig.run(
        "! message 1 a 0123456789
        ! message 1 a 0123456789
        ! oversized 1 11
        ! oversized 1 11
        ! message 1 a 0123456789",
    );
}
