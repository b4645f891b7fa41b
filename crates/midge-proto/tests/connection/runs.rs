//! Publishes that follow each other are one entry of the outbound queue: wherever a write, a
//! withdrawal or an end cuts it, each message has the fate that it has by itself.

use std::ops::Range;
use std::sync::Arc;

use midge_proto::{DisconnectCause, Event, Fate, HeaderMap, Output, Position, SubjectRef};
use proptest::prelude::*;

use crate::rig::{Rig, config};

/// What is published: a message of so many bytes, with or without headers and reply.
#[derive(Clone, Debug)]
struct Message {
    payload: usize,
    headers: bool,
    reply: bool,
    /// A question, which is an entry by itself.
    asks: bool,
}

fn message() -> impl Strategy<Value = Message> {
    (0..30usize, any::<bool>(), any::<bool>(), prop::bool::weighted(0.1)).prop_map(
        |(payload, headers, reply, asks)| Message { payload, headers, reply: reply || asks, asks },
    )
}

/// The same connection each time, and where each message lies in what it has to send.
fn published(messages: &[Message]) -> (Rig, Vec<Range<usize>>) {
    let mut rig = Rig::up(config("127.0.0.1"));
    rig.run("stall");
    let mut headers = HeaderMap::new();
    headers.append("name", "12").unwrap();
    let (subject, reply) = (SubjectRef::new("a.b").unwrap(), SubjectRef::new("r").unwrap());
    let mut end = 0;
    let mut places = Vec::new();
    for message in messages {
        let headers = message.headers.then_some(&headers);
        // Digits and line ends, so that where a frame ends cannot be guessed.
        let payload = &b"1\r\n22\r\nPUB a 3\r\n333\r\n4444 55\r\n"[..message.payload];
        let before = rig.connection.pending_bytes();
        let result = match message.asks {
            true => rig.connection.publish_request(subject, reply, headers, payload),
            false => {
                let reply = message.reply.then_some(reply);
                rig.connection.publish(subject, reply, headers, payload)
            }
        };
        assert_eq!(result, Ok(Position(places.len() as u64)));
        let len = rig.connection.pending_bytes() - before;
        places.push(end..end + len);
        end += len;
    }
    (rig, places)
}

/// Writes `count` bytes of a batch of up to `lent`, during which `recalled` is taken back.
fn write(rig: &mut Rig, lent: usize, count: usize, recalled: &[usize]) -> Vec<bool> {
    let batch = rig.connection.take_transmit(lent);
    let withdrawn = recalled.iter().map(|at| rig.connection.withdraw(Position(*at as u64)));
    let withdrawn = withdrawn.collect();
    if let Some(batch) = batch {
        let count = count.min(batch.as_slice().len());
        rig.connection.settle(batch, count);
    }
    withdrawn
}

fn lose(rig: &mut Rig) -> Arc<midge_proto::Disconnected> {
    rig.connection.closed(rig.attempt.unwrap(), DisconnectCause::Eof, rig.now);
    loop {
        match rig.connection.poll(rig.now) {
            Output::Event(Event::Disconnected(lost)) => return lost,
            Output::Idle(_) => panic!("the loss is told"),
            _ => {}
        }
    }
}

/// The fate of the messages that `has`, one by one.
fn fate(places: &[Range<usize>], has: impl Fn(usize) -> bool) -> (u64, u64, Vec<u64>) {
    let numbers: Vec<_> = (0..places.len()).filter(|at| has(*at)).collect();
    let bytes = numbers.iter().map(|at| places[*at].len() as u64).sum();
    (numbers.len() as u64, bytes, numbers.iter().map(|at| *at as u64).collect())
}

fn told(fate: &Fate) -> (u64, u64, Vec<u64>) {
    (fate.messages, fate.bytes, fate.positions.ranges().flatten().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_loss_at_every_byte_gives_each_message_its_own_fate(
        messages in prop::collection::vec(message(), 1..12),
        early in prop::collection::vec(0..12usize, 0..3),
        recalled in prop::collection::vec(0..12usize, 0..3),
        window in 1..300usize,
    ) {
        let total = published(&messages).1.last().unwrap().end;
        for cut in 0..=total {
            let (mut rig, mut places) = published(&messages);
            let count = places.len();
            let early: Vec<_> = early.iter().copied().filter(|at| *at < count).collect();
            let recalled: Vec<_> = recalled.iter().copied().filter(|at| *at < count).collect();
            let mut dead = vec![false; count];
            for at in &early {
                assert_eq!(rig.connection.withdraw(Position(*at as u64)), !dead[*at]);
                dead[*at] = true;
            }
            // What is withdrawn leaves no byte.
            let mut end = 0;
            for (place, dead) in places.iter_mut().zip(&dead) {
                let len = place.len();
                *place = if *dead { 0..len } else { end..end + len };
                end += if *dead { 0 } else { len };
            }
            let cut = cut.min(end);
            let lent = window.max(cut);
            let withdrawn = write(&mut rig, lent, cut, &recalled);
            let begun = |at: usize, dead: &[bool]| !dead[at] && places[at].start < cut;
            for (at, withdrawn) in recalled.iter().zip(withdrawn) {
                // A message is never withdrawn that was begun, and never sent that was not.
                assert!(!withdrawn || !begun(*at, &dead), "{at} was begun");
                let now = !begun(*at, &dead);
                dead[*at] |= now;
            }
            let waits = |at: usize| !dead[at] && places[at].start >= cut;
            let waiting: usize = (0..count).filter(|at| !dead[*at] && places[*at].end > cut)
                .map(|at| places[at].len()).sum();
            assert_eq!(rig.connection.pending_bytes(), waiting);
            let before = told(&rig.connection.fates().dropped);
            assert_eq!(before, fate(&places, |at| dead[at]));
            let lost = lose(&mut rig);
            assert_eq!(told(&lost.unknown), fate(&places, |at| begun(at, &dead)));
            assert_eq!(told(&lost.kept), fate(&places, |at| waits(at) && !messages[at].asks));
            assert_eq!(told(&lost.dropped), fate(&places, |at| waits(at) && messages[at].asks));
        }
    }

    #[test]
    fn writes_of_any_size_confirm_each_message_once(
        messages in prop::collection::vec(message(), 1..60),
        cuts in prop::collection::vec((1..200usize, 0..200usize), 1..60),
    ) {
        let (mut rig, places) = published(&messages);
        let mut written = 0;
        for (lent, taken) in cuts {
            let before = rig.connection.statistics().out_bytes;
            write(&mut rig, lent, taken, &[]);
            written += (rig.connection.statistics().out_bytes - before) as usize;
            let left: usize = places.iter().filter(|place| place.end > written)
                .map(ExactSizeIterator::len).sum();
            assert_eq!(rig.connection.pending_bytes(), left);
        }
        rig.connection.flush().unwrap();
        while rig.connection.pending_bytes() > 0 {
            write(&mut rig, 100, 77, &[]);
        }
        write(&mut rig, 100, 100, &[]);
        rig.run("unstall");
        rig.feed(b"PONG\r\n");
        assert_eq!(told(&rig.connection.fates().confirmed), fate(&places, |_| true));
    }
}

#[test]
fn what_a_bound_or_an_age_cuts_off_a_run_is_dropped_message_by_message() {
    let mut config = config("127.0.0.1");
    config.reconnect_buffer = 40;
    let mut rig = Rig::up(config);
    rig.run("stall");
    for payload in ["1", "22222222222222222222", "3", "4"] {
        rig.command(&format!("publish a {payload}"));
    }
    let lost = lose(&mut rig);
    assert_eq!(told(&lost.kept).2, [0, 2, 3], "the second does not fit, those behind it do");
    assert_eq!(told(&lost.dropped).2, [1]);
}
