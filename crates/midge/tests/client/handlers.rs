//! Subscriptions whose messages go to a function.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, mpsc};

use midge::{Client, EndReason, HandlerSubscription, Message};

use crate::rig::{Count, Rig, Task, message, options, ready};

fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.payload()).into_owned()
}

/// A handler that sends what it gets to a channel.
fn collecting(client: &Client, rig: &mut Rig) -> (HandlerSubscription, mpsc::Receiver<String>) {
    let (to, from) = mpsc::channel();
    let function = move |message: Message| drop(to.send(text(&message)));
    let subscription = ready(client.subscribe("s").handler(function)).expect("there is room");
    rig.run();
    rig.take_sent();
    (subscription, from)
}

#[test]
fn a_handler_is_called_in_the_turn_in_order() {
    let (client, mut rig) = Rig::connected(options());
    let (subscription, got) = collecting(&client, &mut rig);
    rig.receive(&["a", "b", "c"].map(|text| message(subscription.sid(), text)).concat());
    assert_eq!(got.try_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(subscription.delivered(), 3);
}

#[test]
fn a_handler_may_publish_and_the_driver_need_not_be_woken() {
    let (client, mut rig) = Rig::connected(options());
    let answers = client.clone();
    let function = move |message: Message| {
        answers.try_publish("answer", message.payload()).expect("there is room");
    };
    let subscription = ready(client.subscribe("s").handler(function)).unwrap();
    rig.run();
    rig.take_sent();
    rig.wakes.take();
    rig.receive(&message(subscription.sid(), "a").repeat(2));
    assert_eq!(rig.take_sent(), "PUB answer 1\r\na\r\n".repeat(2));
    assert_eq!(rig.wakes.take(), 0);
}

#[test]
fn a_handler_has_seen_what_came_before_a_flush_when_that_wakes() {
    let (client, mut rig) = Rig::connected(options());
    let flush: Arc<Mutex<Option<Arc<Count>>>> = Arc::default();
    let woken = flush.clone();
    let (to, from) = mpsc::channel();
    let function = move |_: Message| {
        let woken = woken.lock().unwrap();
        to.send(woken.as_ref().map(|wakes| wakes.take())).unwrap();
    };
    let subscription = ready(client.subscribe("s").handler(function)).unwrap();
    let mut flushed = Task::new(client.flush());
    assert!(flushed.poll().is_pending());
    *flush.lock().unwrap() = Some(flushed.wakes.clone());
    rig.run();
    rig.receive(&(message(subscription.sid(), "x") + "PONG\r\n"));
    assert_eq!(from.try_recv(), Ok(Some(0)), "the flush was woken before the handler");
    assert_eq!(flushed.wakes.take(), 1);
    assert!(flushed.ready().is_ok());
}

#[test]
fn who_was_to_be_woken_is_woken_though_a_handler_panics() {
    let (client, mut rig) = Rig::connected(options());
    let function = |_: Message| panic!("on purpose");
    let subscription = ready(client.subscribe("s").handler(function)).unwrap();
    let mut flushed = Task::new(client.flush());
    assert!(flushed.poll().is_pending());
    rig.run();
    let bytes = message(subscription.sid(), "x") + "PONG\r\n";
    assert!(catch_unwind(AssertUnwindSafe(|| rig.receive(&bytes))).is_err());
    drop(rig);
    assert_eq!(flushed.wakes.take(), 1);
    assert!(flushed.ready().is_ok());
}

#[test]
fn after_the_drop_no_call_begins_and_the_function_is_gone() {
    let (client, mut rig) = Rig::connected(options());
    let (subscription, got) = collecting(&client, &mut rig);
    let sid = subscription.sid();
    drop(subscription);
    assert!(matches!(got.try_recv(), Err(mpsc::TryRecvError::Disconnected)));
    rig.receive(&message(sid, "late"));
    assert_eq!(rig.take_sent(), format!("UNSUB {}\r\n", sid.number()));
}

#[test]
fn a_handler_may_end_its_own_subscription() {
    let (client, mut rig) = Rig::connected(options());
    let own: Arc<Mutex<Option<HandlerSubscription>>> = Arc::default();
    let (to, got) = mpsc::channel();
    let inner = own.clone();
    let function = move |message: Message| {
        to.send(text(&message)).expect("the test listens");
        let ended = inner.lock().unwrap().take();
        drop(ended);
    };
    let subscription = ready(client.subscribe("s").handler(function)).unwrap();
    let sid = subscription.sid();
    *own.lock().unwrap() = Some(subscription);
    rig.run();
    rig.receive(&["a", "b"].map(|text| message(sid, text)).concat());
    assert_eq!(got.try_iter().collect::<Vec<_>>(), ["a"]);
    assert!(rig.take_sent().ends_with(&format!("UNSUB {}\r\n", sid.number())));
    assert!(matches!(got.try_recv(), Err(mpsc::TryRecvError::Disconnected)));
}

#[test]
fn a_drain_waits_for_the_last_call() {
    let (client, mut rig) = Rig::connected(options());
    let (mut subscription, got) = collecting(&client, &mut rig);
    let sid = subscription.sid();
    let mut drained = Task::new(subscription.drain());
    assert!(drained.poll().is_pending());
    rig.run();
    assert_eq!(rig.take_sent(), format!("UNSUB {}\r\nPING\r\n", sid.number()));
    assert!(drained.poll().is_pending());
    rig.receive(&(message(sid, "last") + "PONG\r\n"));
    assert!(drained.poll().is_ready() && drained.wakes.take() > 0);
    drop(drained);
    assert_eq!(got.try_iter().collect::<Vec<_>>(), ["last"]);
    assert_eq!(subscription.end(), Some(EndReason::Drained));
    assert!(matches!(got.try_recv(), Err(mpsc::TryRecvError::Disconnected)));
}

#[test]
fn a_drain_is_not_over_while_the_last_call_runs() {
    let (client, mut rig) = Rig::connected(options());
    let own: Arc<Mutex<Option<HandlerSubscription>>> = Arc::default();
    let (to, got) = mpsc::channel();
    let inner = own.clone();
    let function = move |_| {
        let mut own = inner.lock().unwrap();
        let subscription = own.as_mut().expect("it was put there");
        let over = Task::new(subscription.drain()).poll().is_ready();
        to.send((subscription.end(), over)).expect("the test listens");
    };
    let mut subscription = ready(client.subscribe("s").handler(function)).unwrap();
    let sid = subscription.sid();
    assert!(Task::new(subscription.drain()).poll().is_pending());
    *own.lock().unwrap() = Some(subscription);
    rig.run();
    rig.receive(&(message(sid, "last") + "PONG\r\n"));
    assert_eq!(got.try_iter().collect::<Vec<_>>(), [(Some(EndReason::Drained), false)]);
    let mut own = own.lock().unwrap();
    assert!(Task::new(own.as_mut().unwrap().drain()).poll().is_ready());
}

#[test]
fn a_drained_client_closes_after_the_last_call() {
    let (client, mut rig) = Rig::connected(options());
    let (subscription, got) = collecting(&client, &mut rig);
    let mut drained = Task::new(client.drain());
    rig.run();
    rig.take_sent();
    rig.receive(&(message(subscription.sid(), "last") + "PONG\r\n"));
    assert_eq!(got.try_iter().collect::<Vec<_>>(), ["last"]);
    assert_eq!(rig.take_sent(), "PING\r\n");
    rig.receive("PONG\r\n");
    assert!(drained.poll().is_ready());
}

#[test]
fn more_than_a_turn_hands_over_comes_in_order() {
    let (client, mut rig) = Rig::connected(options());
    let (mut subscription, got) = collecting(&client, &mut rig);
    subscription.unsubscribe_after(20_000);
    rig.run();
    let messages: String =
        (0..20_000).map(|n| message(subscription.sid(), &n.to_string())).collect();
    rig.receive(&messages);
    assert!(got.try_iter().eq((0..20_000).map(|n: u32| n.to_string())));
    assert_eq!(subscription.end(), Some(EndReason::MaxReached));
    assert_eq!(subscription.delivered(), 20_000);
}

#[test]
fn a_panic_in_a_handler_ends_the_connection_and_leaves_nobody_waiting() {
    let (client, mut rig) = Rig::connected(options());
    let function = |_: Message| panic!("on purpose");
    let mut bad = ready(client.subscribe("s").handler(function)).unwrap();
    let (mut good, _got) = collecting(&client, &mut rig);
    let sids = [bad.sid(), good.sid()];
    let receive = || rig.receive(&sids.map(|sid| message(sid, "x")).concat());
    assert!(catch_unwind(AssertUnwindSafe(receive)).is_err());
    drop(rig);
    assert!(Task::new(bad.drain()).poll().is_ready());
    assert!(Task::new(good.drain()).poll().is_ready());
    assert_eq!(good.end(), Some(EndReason::Closed));
}
