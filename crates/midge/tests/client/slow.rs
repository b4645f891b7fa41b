//! A subscription that is not read as fast as it is written to.

use std::time::Duration;

use midge::{Client, EndReason, Event, Events, Subscription, WhenFull};

use crate::rig::{Rig, Task, message, options, ready};

const HOLD: Duration = Duration::from_secs(1);

fn slow_consumers(events: &mut Events) -> usize {
    let mut count = 0;
    while let Some(event) = events.try_next() {
        count += usize::from(matches!(event, Event::SlowConsumer { .. }));
    }
    count
}

fn limited(messages: usize) -> (Client, Rig, Subscription) {
    let (client, mut rig) = Rig::connected(options().slow_hold(HOLD));
    let subscription =
        ready(client.subscribe("s").capacity(messages, 1 << 20)).expect("there is room");
    rig.run();
    (client, rig, subscription)
}

fn receive(rig: &mut Rig, subscription: &Subscription, count: usize) -> bool {
    rig.receive(&message(subscription.sid(), "x").repeat(count)).read
}

#[test]
fn reading_stops_until_half_is_read() {
    let (client, mut rig, mut subscription) = limited(4);
    let mut events = client.events();
    assert!(receive(&mut rig, &subscription, 4));
    assert_eq!(slow_consumers(&mut events), 0);
    assert!(!receive(&mut rig, &subscription, 1));
    assert_eq!(slow_consumers(&mut events), 1);
    rig.wakes.take();
    for _ in 0..2 {
        ready(subscription.next()).unwrap();
        assert!(!rig.run().read);
    }
    assert_eq!(rig.wakes.take(), 0);
    ready(subscription.next()).unwrap();
    assert_eq!(rig.wakes.take(), 1, "half is left");
    assert!(rig.run().read);
    assert_eq!((subscription.dropped(), subscription.pending()), (0, 2));
    assert!(!receive(&mut rig, &subscription, 3));
    assert_eq!(slow_consumers(&mut events), 1, "a new burst");
}

#[test]
fn after_the_hold_the_newest_are_dropped_and_counted() {
    let (client, mut rig, mut subscription) = limited(4);
    let mut events = client.events();
    assert!(!receive(&mut rig, &subscription, 5));
    assert!(!rig.sleep(HOLD - Duration::from_nanos(1)).read);
    assert!(rig.sleep(Duration::from_nanos(1)).read);
    assert!(receive(&mut rig, &subscription, 10));
    assert_eq!((subscription.dropped(), subscription.pending()), (10, 5));
    assert_eq!(slow_consumers(&mut events), 1);
    // Above half it goes on as before, without another hold.
    ready(subscription.next()).unwrap();
    ready(subscription.next()).unwrap();
    assert!(receive(&mut rig, &subscription, 2));
    assert_eq!((subscription.dropped(), subscription.pending()), (11, 4));
    assert_eq!(slow_consumers(&mut events), 0);
    // At half the burst is over.
    while subscription.pending() > 2 {
        ready(subscription.next()).unwrap();
    }
    assert!(!receive(&mut rig, &subscription, 3));
    assert_eq!(slow_consumers(&mut events), 1);
}

#[test]
fn each_burst_has_a_hold_of_its_own() {
    let (_client, mut rig, mut subscription) = limited(4);
    assert!(!receive(&mut rig, &subscription, 5));
    rig.sleep(HOLD / 2);
    while subscription.try_next().is_some() {}
    assert!(rig.run().read);
    assert!(!receive(&mut rig, &subscription, 5));
    assert!(!rig.sleep(HOLD / 2).read, "the first hold would have ended here");
    assert!(rig.sleep(HOLD / 2).read);
}

#[test]
fn bytes_count_like_messages() {
    let (client, mut rig) = Rig::connected(options().slow_hold(Duration::ZERO));
    let mut subscription = ready(client.subscribe("s").capacity(1000, 25)).unwrap();
    rig.run();
    let big = "x".repeat(100);
    rig.receive(&message(subscription.sid(), &big));
    assert_eq!((subscription.pending(), subscription.dropped()), (1, 0), "one always fits");
    ready(subscription.next()).unwrap();
    for _ in 0..3 {
        rig.receive(&message(subscription.sid(), "123456789"));
    }
    assert_eq!((subscription.pending(), subscription.dropped()), (2, 1));
}

#[test]
fn what_was_swapped_out_and_not_read_counts() {
    let (_client, mut rig, mut subscription) = limited(4);
    assert!(receive(&mut rig, &subscription, 4));
    assert!(ready(subscription.next()).is_some());
    assert!(receive(&mut rig, &subscription, 1));
    assert!(!receive(&mut rig, &subscription, 1));
    assert_eq!(subscription.pending(), 5);
}

#[test]
fn a_slow_subscription_that_goes_away_holds_up_nobody() {
    let (client, mut rig, subscription) = limited(4);
    let mut other = ready(client.subscribe("s")).unwrap();
    assert!(!receive(&mut rig, &subscription, 5));
    drop(subscription);
    assert!(rig.run().read);
    assert!(receive(&mut rig, &other, 1));
    assert!(ready(other.next()).is_some());
}

#[test]
fn a_hold_lasts_as_long_as_the_slowest_of_two() {
    let (client, mut rig, mut one) = limited(4);
    let mut two = ready(client.subscribe("s").capacity(4, 1 << 20)).unwrap();
    rig.run();
    let both = message(one.sid(), "x").repeat(5) + &message(two.sid(), "x").repeat(5);
    assert!(!rig.receive(&both).read);
    while one.try_next().is_some() {}
    assert!(!rig.run().read);
    while two.try_next().is_some() {}
    assert!(rig.run().read);
}

fn with_policy(when_full: WhenFull) -> (Client, Rig, Subscription) {
    let (client, mut rig) = Rig::connected(options().slow_hold(HOLD));
    let subscribe = client.subscribe("s").capacity(4, 1 << 20).when_full(when_full);
    let subscription = ready(subscribe).expect("there is room");
    rig.run();
    (client, rig, subscription)
}

/// Messages with the payloads `from` to `to`, in one read.
fn receive_numbers(rig: &mut Rig, to: &Subscription, from: u32, until: u32) -> bool {
    let messages: String = (from..=until).map(|n| message(to.sid(), &n.to_string())).collect();
    rig.receive(&messages).read
}

fn read_numbers(subscription: &mut Subscription) -> Vec<u32> {
    std::iter::from_fn(|| subscription.try_next())
        .map(|message| String::from_utf8_lossy(message.payload()).parse().expect("a number"))
        .collect()
}

#[test]
fn the_newest_are_dropped_at_once_where_that_is_asked_for() {
    let (client, mut rig, mut subscription) = with_policy(WhenFull::DropNewest);
    let mut events = client.events();
    assert!(receive_numbers(&mut rig, &subscription, 1, 10));
    assert!(receive_numbers(&mut rig, &subscription, 11, 12));
    assert_eq!((slow_consumers(&mut events), subscription.dropped()), (1, 8));
    assert_eq!(read_numbers(&mut subscription), [1, 2, 3, 4]);
    assert!(receive_numbers(&mut rig, &subscription, 13, 20));
    assert_eq!((slow_consumers(&mut events), subscription.dropped()), (1, 12));
    assert_eq!(read_numbers(&mut subscription), [13, 14, 15, 16]);
}

#[test]
fn the_oldest_make_room_where_that_is_asked_for() {
    let (client, mut rig, mut subscription) = with_policy(WhenFull::DropOldest);
    let mut events = client.events();
    assert!(receive_numbers(&mut rig, &subscription, 1, 10));
    assert!(receive_numbers(&mut rig, &subscription, 11, 12));
    assert_eq!((slow_consumers(&mut events), subscription.dropped()), (1, 8));
    assert_eq!(subscription.pending(), 4);
    // What is read next is not an old one that was taken out before.
    assert_eq!(ready(subscription.next()).unwrap().payload(), b"9");
    assert!(receive_numbers(&mut rig, &subscription, 13, 14));
    assert_eq!(read_numbers(&mut subscription), [11, 12, 13, 14]);
    assert_eq!((subscription.dropped(), subscription.delivered()), (9, 5));
    assert!(receive_numbers(&mut rig, &subscription, 15, 15));
    assert_eq!((read_numbers(&mut subscription), slow_consumers(&mut events)), (vec![15], 0));
    assert!(receive_numbers(&mut rig, &subscription, 16, 20));
    assert_eq!(slow_consumers(&mut events), 1, "a new burst");
}

#[test]
fn the_newest_message_stays_when_it_alone_is_too_large() {
    let (client, mut rig) = Rig::connected(options());
    let subscribe = client.subscribe("s").capacity(10, 20).when_full(WhenFull::DropOldest);
    let mut subscription = ready(subscribe).unwrap();
    rig.run();
    let big = "x".repeat(100);
    rig.receive(&(message(subscription.sid(), "small") + &message(subscription.sid(), &big)));
    assert_eq!((subscription.pending(), subscription.dropped()), (1, 1));
    assert_eq!(ready(subscription.next()).unwrap().payload().len(), 100);
}

#[test]
fn a_batch_that_was_taken_out_is_not_dropped() {
    let (_client, mut rig, mut subscription) = with_policy(WhenFull::DropOldest);
    receive_numbers(&mut rig, &subscription, 1, 4);
    assert_eq!(ready(subscription.next_batch(3)).unwrap().next().unwrap().payload(), b"1");
    receive_numbers(&mut rig, &subscription, 5, 8);
    assert_eq!(read_numbers(&mut subscription), [2, 3, 7, 8]);
}

#[test]
fn a_pause_lasts_until_half_is_read() {
    let (client, mut rig, mut subscription) = with_policy(WhenFull::Pause);
    let mut events = client.events();
    assert!(!receive_numbers(&mut rig, &subscription, 1, 9));
    assert!(!rig.sleep(HOLD * 3600).read);
    assert_eq!((slow_consumers(&mut events), subscription.dropped()), (1, 0));
    assert_eq!(read_numbers(&mut subscription), (1..=9).collect::<Vec<_>>());
    assert!(rig.run().read);
}

#[test]
fn what_is_dropped_counts_towards_the_maximum() {
    for when_full in [WhenFull::DropNewest, WhenFull::DropOldest] {
        let (_client, mut rig, mut subscription) = with_policy(when_full);
        subscription.unsubscribe_after(10);
        receive_numbers(&mut rig, &subscription, 1, 10);
        assert_eq!(read_numbers(&mut subscription).len(), 4);
        assert_eq!(subscription.end(), Some(EndReason::MaxReached));
    }
}

#[test]
fn what_was_dropped_does_not_keep_a_drain_waiting() {
    let (client, mut rig, mut subscription) = with_policy(WhenFull::DropOldest);
    receive_numbers(&mut rig, &subscription, 1, 10);
    let mut drained = Task::new(client.drain());
    rig.run();
    rig.receive("PONG\r\n");
    assert_eq!(read_numbers(&mut subscription).len(), 4);
    rig.run();
    rig.receive("PONG\r\n");
    assert!(rig.done && drained.poll().is_ready());
}
