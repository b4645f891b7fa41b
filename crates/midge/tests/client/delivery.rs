//! How messages get to their readers.

use midge::EndReason;
use midge::driver::Turn;

use crate::rig::{Rig, Task, message, options, ready};

#[test]
fn a_read_wakes_each_reader_once() {
    let (client, mut rig) = Rig::connected(options());
    let mut one = ready(client.subscribe("s")).unwrap();
    let mut two = ready(client.subscribe("s")).unwrap();
    rig.run();
    let (sid_one, sid_two) = (one.sid(), two.sid());
    let mut next_one = Task::new(one.next());
    let mut next_two = Task::new(two.next());
    assert!(next_one.poll().is_pending() && next_two.poll().is_pending());
    rig.receive(&(message(sid_one, "a") + &message(sid_two, "b") + &message(sid_one, "c")));
    assert_eq!((next_one.wakes.take(), next_two.wakes.take()), (1, 1));
    assert_eq!(next_one.ready().unwrap().payload(), b"a");
    assert_eq!(next_two.ready().unwrap().payload(), b"b");
    drop(next_one);
    assert_eq!(ready(one.next()).unwrap().payload(), b"c");
}

#[test]
fn a_dropped_next_loses_nothing() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscription = ready(client.subscribe("s")).unwrap();
    let sid = subscription.sid();
    rig.run();
    let mut next = Task::new(subscription.next());
    assert!(next.poll().is_pending());
    rig.receive(&message(sid, "a"));
    drop(next);
    assert_eq!(ready(subscription.next()).unwrap().payload(), b"a");
}

#[test]
fn what_is_left_of_a_batch_stays() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscription = ready(client.subscribe("s")).unwrap();
    let sid = subscription.sid();
    rig.run();
    rig.receive(&["a", "b", "c", "d"].map(|payload| message(sid, payload)).concat());
    assert_eq!(subscription.pending(), 4);
    {
        let mut batch = ready(subscription.next_batch(3)).unwrap();
        assert_eq!(batch.len(), 3);
        assert_eq!(batch.next().unwrap().payload(), b"a");
    }
    let rest: Vec<_> = ready(subscription.next_batch(9)).unwrap().collect();
    assert_eq!(
        rest.iter().map(|message| message.payload()).collect::<Vec<_>>(),
        [b"b", b"c", b"d"]
    );
    assert_eq!((subscription.pending(), subscription.delivered()), (0, 4));
}

#[test]
fn a_subscription_that_ends_as_its_place_is_taken_still_ends() {
    let (client, mut rig) = Rig::connected(options());
    let filler = ready(client.subscribe("s")).unwrap();
    let mut old = ready(client.subscribe("s")).unwrap();
    old.unsubscribe_after(1);
    rig.run();
    // The budget of the turn is spent between the last message and the end.
    let big = "x".repeat(40_000);
    rig.feed(&message(filler.sid(), &big));
    rig.feed(&(message(filler.sid(), &big[..25_500]) + &message(old.sid(), "last")));
    assert!(matches!(rig.turn(), Turn::Yield));
    let mut new = ready(client.subscribe("t")).unwrap();
    assert_eq!(new.sid().index(), old.sid().index());
    rig.run();
    assert_eq!(ready(old.next()).unwrap().payload(), b"last");
    assert_eq!(ready(old.next()), None);
    assert_eq!(old.end(), Some(EndReason::MaxReached));
    drop(old);
    rig.receive(&message(new.sid(), "new"));
    assert_eq!(ready(new.next()).unwrap().payload(), b"new");
}

#[test]
fn a_dropped_subscription_unsubscribes() {
    let (client, mut rig) = Rig::connected(options());
    let subscription = ready(client.subscribe("s")).unwrap();
    let sid = subscription.sid();
    rig.run();
    rig.take_sent();
    rig.receive(&message(sid, "unread"));
    drop(subscription);
    rig.run();
    assert_eq!(rig.take_sent(), format!("UNSUB {}\r\n", sid.number()));
    // What still comes for it goes nowhere.
    rig.receive(&message(sid, "late"));
}

#[test]
fn a_drained_client_waits_until_all_queues_are_read_out() {
    let (client, mut rig) = Rig::connected(options());
    let mut read = ready(client.subscribe("s")).unwrap();
    let dropped = ready(client.subscribe("s")).unwrap();
    let mut empty = ready(client.subscribe("s")).unwrap();
    rig.run();
    rig.receive(&[&read, &read, &dropped].map(|to| message(to.sid(), "x")).concat());
    rig.take_sent();

    let mut drained = Task::new(client.drain());
    assert!(drained.poll().is_pending());
    rig.run();
    let sent = rig.take_sent();
    assert_eq!((sent.matches("UNSUB").count(), sent.matches("PING").count()), (3, 1));
    // It was on its way before the server knew.
    rig.receive(&(message(read.sid(), "y") + "PONG\r\n"));
    assert_eq!(ready(empty.next()), None);

    for _ in 0..3 {
        rig.run();
        assert_eq!(rig.take_sent(), "", "a queue is not read out");
        assert!(ready(read.next()).is_some());
        client.try_publish("out", "").expect("publishing goes on until then");
        rig.run();
        assert_eq!(rig.take_sent(), "PUB out 0\r\n\r\n");
    }
    drop(dropped);
    rig.run();
    assert_eq!(rig.take_sent(), "", "its reader may be at work on the last message");
    assert_eq!(ready(read.next()), None);
    rig.run();
    assert_eq!(rig.take_sent(), "PING\r\n");
    assert!(drained.poll().is_pending());
    rig.receive("PONG\r\n");
    assert!(rig.done);
    assert_eq!(drained.ready().why, midge::CloseReason::Drained);
    assert_eq!(ready(read.next()), None);
}
