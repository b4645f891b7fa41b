//! When a publisher to streams that waits for room is woken, and goes on.

use midge::jetstream::{JetStream, Publisher};

use crate::rig::{Rig, Task, options, ready};

/// What the server answers to each message that was published, in order.
fn acks(rig: &mut Rig) -> Vec<String> {
    let sent = rig.take_sent();
    let subscribed = sent.lines().find(|line| line.starts_with("SUB ")).unwrap_or("SUB _ 1");
    let sid = subscribed.rsplit(' ').next().expect("a line has a last word").to_owned();
    let replies = sent.lines().filter(|line| line.starts_with("HPUB "));
    let replies = replies.map(|line| line.split(' ').nth(2).expect("it has a reply"));
    let ack = |(at, reply)| {
        let ack = format!("{{\"stream\":\"S\",\"seq\":{}}}", at + 1);
        format!("MSG {reply} {sid} {}\r\n{ack}\r\n", ack.len())
    };
    replies.enumerate().map(ack).collect()
}

/// A publisher whose window of eight messages is full, and the ack of each.
fn full() -> (Rig, Publisher, Vec<String>) {
    let (client, mut rig) = Rig::connected(options());
    let publisher = ready(JetStream::new(client).publisher().window(8, 1 << 20));
    let mut publisher = publisher.expect("it has a connection");
    for _ in 0..8 {
        ready(publisher.publish("s", "x")).expect("there is room");
    }
    rig.run();
    let acks = acks(&mut rig);
    (rig, publisher, acks)
}

#[test]
fn a_full_window_is_waited_for_until_a_quarter_of_it_is_free() {
    let (mut rig, mut publisher, acks) = full();
    let mut ninth = Task::new(publisher.publish("s", "x"));
    assert!(ninth.poll().is_pending());
    rig.receive(&acks[0]);
    assert_eq!(ninth.wakes.take(), 0, "one of eight is not enough");
    rig.receive(&acks[1]);
    assert_eq!(ninth.wakes.take(), 1);
    assert_eq!(ninth.ready().unwrap(), 9);
    drop(ninth);
    ready(publisher.publish("s", "x")).unwrap();
    let mut next = Task::new(publisher.publish("s", "x"));
    assert!(next.poll().is_pending(), "it is full again");
    rig.receive(&acks[2]);
    assert!(next.poll().is_pending(), "polled, it takes the ack and goes on waiting");
    rig.receive(&acks[3..5].concat());
    assert_eq!(next.wakes.take(), 1);
    assert_eq!(next.ready().unwrap(), 11);
}

#[test]
fn who_flushes_hears_of_each_ack_and_who_waits_of_the_end() {
    let (mut rig, mut publisher, acks) = full();
    let mut ninth = Task::new(publisher.publish("s", "x"));
    assert!(ninth.poll().is_pending());
    drop(ninth);
    let mut flush = Task::new(publisher.flush());
    assert!(flush.poll().is_pending());
    rig.receive(&acks[0]);
    assert_eq!(flush.wakes.take(), 1);
    drop(flush);
    let mut ninth = Task::new(publisher.publish("s", "x"));
    assert!(ninth.poll().is_pending());
    drop(rig);
    assert!(ninth.wakes.take() > 0);
    assert!(ninth.ready().is_err());
}
