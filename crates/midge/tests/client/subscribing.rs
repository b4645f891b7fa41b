//! What a subscription can be made with.

use std::time::Duration;

use midge::{ConfirmError, EndReason, SubscribeError};

use crate::rig::{Rig, Task, message, options, ready};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_maximum_is_told_right_behind_the_subscription() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscription = ready(client.subscribe("s").max_messages(2)).unwrap();
    let sid = subscription.sid();
    rig.run();
    let number = sid.number();
    assert_eq!(rig.take_sent(), format!("SUB s {number}\r\nUNSUB {number} 2\r\n"));
    rig.receive(&message(sid, "x").repeat(3));
    assert_eq!(subscription.pending(), 2);
    while subscription.try_next().is_some() {}
    assert_eq!(
        (ready(subscription.next()), subscription.end()),
        (None, Some(EndReason::MaxReached))
    );
    let mut none = ready(client.subscribe("s").max_messages(0)).unwrap();
    rig.run();
    assert_eq!((ready(none.next()), none.end()), (None, Some(EndReason::MaxReached)));
}

#[test]
fn without_a_first_message_in_time_it_ends_and_says_so() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscription = ready(client.subscribe("s").first_within(SECOND)).unwrap();
    let sid = subscription.sid();
    rig.run();
    rig.take_sent();
    let mut next = Task::new(subscription.next());
    assert!(next.poll().is_pending());
    rig.sleep(SECOND - Duration::from_nanos(1));
    assert!(next.poll().is_pending());
    rig.sleep(Duration::from_nanos(1));
    assert_eq!(next.wakes.take(), 1);
    assert_eq!(next.ready(), None);
    drop(next);
    assert_eq!(subscription.end(), Some(EndReason::NoFirstMessage));
    assert!(rig.take_sent().ends_with(&format!("UNSUB {}\r\n", sid.number())));
}

#[test]
fn the_time_is_for_the_first_message_only() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscription = ready(client.subscribe("s").first_within(SECOND)).unwrap();
    rig.run();
    rig.receive(&message(subscription.sid(), "x"));
    assert!(ready(subscription.next()).is_some());
    rig.sleep(10 * SECOND);
    assert_eq!(subscription.end(), None);
    let dropped = ready(client.subscribe("s").first_within(SECOND)).unwrap();
    rig.run();
    drop(dropped);
    let until = rig.run().until.expect("the keep-alive is due some time");
    assert!(until.as_nanos() > 60_000_000_000, "no deadline is left behind");
}

#[test]
fn a_confirmed_subscription_waits_for_the_server() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscribe = Task::new(client.subscribe("s").confirmed());
    assert!(subscribe.poll().is_pending());
    assert!(subscribe.poll().is_pending());
    rig.run();
    assert!(rig.take_sent().ends_with("PING\r\n"));
    assert!(subscribe.poll().is_pending());
    rig.receive("PONG\r\n");
    assert_eq!(subscribe.wakes.take(), 1);
    assert_eq!(subscribe.ready().unwrap().end(), None);
}

#[test]
fn a_denied_subscription_is_not_confirmed() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscribe = Task::new(client.subscribe("s").confirmed());
    assert!(subscribe.poll().is_pending());
    rig.run();
    rig.receive("-ERR 'Permissions Violation for Subscription to \"s\"'\r\nPONG\r\n");
    assert!(matches!(subscribe.ready(), Err(ConfirmError::Denied(_))));
    assert_eq!(client.subscriptions(), 0);
}

#[test]
fn a_confirmation_goes_on_with_the_next_server() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscribe = Task::new(client.subscribe("s").confirmed());
    assert!(subscribe.poll().is_pending());
    rig.run();
    rig.cut();
    assert!(subscribe.poll().is_pending());
    rig.greet();
    rig.receive("PONG\r\n");
    assert!(subscribe.ready().is_ok());
}

#[test]
fn a_confirmation_that_does_not_come_leaves_the_subscription() {
    let (client, mut rig) = Rig::connected(options().flush_timeout(SECOND));
    let subscription = ready(client.subscribe("s")).unwrap();
    let mut confirmed = Task::new(subscription.confirmed());
    assert!(confirmed.poll().is_pending());
    rig.sleep(SECOND);
    assert!(matches!(confirmed.ready(), Err(ConfirmError::Unconfirmed(_))));
    assert_eq!(subscription.end(), None);
    let refused = Task::new(client.subscribe("a b").confirmed()).ready().map(|_| ());
    assert!(matches!(refused, Err(ConfirmError::Subscribe(SubscribeError::Subject(_)))));
}
