//! The beginning and the end of a connection, and what listeners are told.

use std::time::Duration;

use midge::{
    CloseReason, ConnectError, DisconnectCause, EndReason, Event, FlushError, PublishError,
    RequestError, State, WhenFull,
};

use crate::rig::{Rig, Task, message, options, ready};

#[test]
fn the_last_handle_writes_what_is_queued_and_closes() {
    let (client, mut rig) = Rig::connected(options());
    let clone = client.clone();
    client.try_publish("s", "x").unwrap();
    drop(client);
    rig.run();
    assert_eq!(rig.take_sent(), "PUB s 1\r\nx\r\n", "another handle is there");
    rig.wakes.take();
    drop(clone);
    assert_eq!(rig.wakes.take(), 1);
    rig.run();
    assert_eq!(rig.take_sent(), "PING\r\n");
    assert!(!rig.done);
    rig.receive("PONG\r\n");
    assert!(rig.done);
}

#[test]
fn a_close_waits_no_longer_than_linger() {
    let (client, mut rig) = Rig::connected(options().linger(Duration::from_millis(10)));
    client.try_publish("s", "x").unwrap();
    let mut closing = Task::new(client.close());
    assert!(closing.poll().is_pending());
    rig.run();
    assert_eq!(client.try_publish("s", "y"), Err(PublishError::Closed));
    rig.sleep(Duration::from_millis(10));
    assert!(rig.done);
    let report = closing.ready();
    assert_eq!((report.fates.unknown.messages, report.fates.confirmed.messages), (1, 0));
    assert_eq!(client.status().state, State::Closed { why: CloseReason::Requested });
}

#[test]
fn the_report_counts_what_was_read_and_what_was_not() {
    let (client, mut rig) = Rig::connected(options());
    let mut kept =
        ready(client.subscribe("s").when_full(WhenFull::DropOldest).capacity(2, 1 << 20)).unwrap();
    let mut dropped = ready(client.subscribe("s")).unwrap();
    rig.run();
    for subscription in [&kept, &dropped] {
        rig.receive(&message(subscription.sid(), "x").repeat(5));
    }
    assert!(ready(kept.next()).is_some() && ready(dropped.next()).is_some());
    drop(dropped);
    drop(client.close());
    rig.run();
    rig.receive("PONG\r\n");
    let report = ready(client.closed());
    assert_eq!((report.delivered, report.unread), (2, 1), "3 made room, 4 were thrown away");
    assert!(kept.try_next().is_some());
}

#[test]
fn a_flush_brings_the_fates_of_all_messages() {
    let (client, mut rig) = Rig::connected(options());
    client.try_publish("s", "lost").unwrap();
    rig.run();
    let mut broken = Task::new(client.flush());
    assert!(broken.poll().is_pending());
    rig.cut();
    let Err(FlushError::Disconnected(lost)) = broken.ready() else {
        panic!("the connection is lost")
    };
    assert_eq!(lost.unknown.messages, 1);
    client.try_publish("s", "kept").unwrap();
    rig.greet();
    rig.run();
    let mut flush = Task::new(client.flush());
    assert!(flush.poll().is_pending());
    rig.run();
    rig.receive("PONG\r\n");
    let fates = flush.ready().unwrap();
    assert!(fates.unknown.positions.ranges().eq(std::iter::once(0..1)));
    assert!(fates.confirmed.positions.ranges().eq(std::iter::once(1..2)));
}

#[test]
fn messages_that_waited_too_long_for_a_connection_are_dropped() {
    let (client, mut rig) = Rig::connected(options().max_kept_age(Duration::from_secs(1)));
    let mut events = client.events();
    rig.cut();
    client.try_publish("s", "old").unwrap();
    rig.run();
    rig.sleep(Duration::from_secs(1));
    client.try_publish("s", "new").unwrap();
    rig.greet();
    rig.run();
    assert_eq!(rig.take_sent(), "PUB s 3\r\nnew\r\n");
    let dropped = std::iter::from_fn(|| events.try_next()).find_map(|event| match event {
        Event::Connected(connected) => Some(connected.dropped.positions.clone()),
        _ => None,
    });
    assert!(dropped.unwrap().ranges().eq(std::iter::once(0..1)));
}

#[test]
fn subscriptions_and_pending_requests_keep_the_connection() {
    let (client, mut rig) = Rig::connected(options());
    let subscription = ready(client.subscribe("s")).unwrap();
    let mut request = Task::new(client.request("q", ""));
    assert!(request.poll().is_pending());
    drop(client);
    rig.run();
    drop(subscription);
    rig.run();
    assert!(!rig.take_sent().contains("PING"));
    drop(request);
    rig.run();
    assert!(rig.take_sent().ends_with("PING\r\n"));
}

#[test]
fn the_last_handle_ends_the_search_for_a_server() {
    let (connecting, mut rig) = Rig::new(options());
    rig.run();
    drop(connecting);
    rig.run();
    assert!(rig.done);
}

#[test]
fn a_connect_that_fails_says_why() {
    let (connecting, mut rig) = Rig::new(options());
    let mut connecting = Task::new(connecting);
    assert!(connecting.poll().is_pending());
    rig.run();
    rig.receive("-ERR 'Authorization Violation'\r\n");
    assert!(rig.done);
    match connecting.ready().map(|_| ()) {
        Err(ConnectError::Closed(CloseReason::NoServers {
            cause: DisconnectCause::Server(_),
            ..
        })) => {}
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_first_connect_that_is_retried_gives_the_client_at_once() {
    let (connecting, _rig) = Rig::new(options().retry_first_connect(true));
    let client = ready(connecting).unwrap();
    assert_eq!(client.status().state, State::Connecting);
    client.try_publish("s", "kept").unwrap();
}

#[test]
fn without_a_driver_everything_pending_ends() {
    let (client, mut rig) = Rig::connected(options());
    let mut subscription = ready(client.subscribe("s")).unwrap();
    let mut request = Task::new(client.request("q", ""));
    let mut flush = Task::new(client.flush());
    let mut closing = Task::new(client.close());
    assert!(request.poll().is_ready(), "it was refused, since the client closes");
    assert!(flush.poll().is_ready());
    assert!(closing.poll().is_pending());
    rig.run();
    drop(rig);
    assert_eq!(closing.wakes.take(), 1);
    assert_eq!(closing.ready().why, CloseReason::Requested);
    assert_eq!(ready(subscription.next()), None);
    assert_eq!(subscription.end(), Some(EndReason::Closed));
}

#[test]
fn a_lost_driver_wakes_requests_flushes_and_publishes() {
    let (client, mut rig) = Rig::connected(options().max_pending(100));
    rig.writable = false;
    let mut request = Task::new(client.request("q", ""));
    let mut flush = Task::new(client.flush());
    assert!(request.poll().is_pending() && flush.poll().is_pending());
    let mut publish = Task::new(client.publish("s", [0; 80]));
    assert!(publish.poll().is_pending());
    rig.run();
    drop(rig);
    assert_eq!((request.wakes.take(), flush.wakes.take(), publish.wakes.take()), (1, 1, 1));
    assert!(matches!(request.ready(), Err(RequestError::NotSent(_))));
    assert!(matches!(flush.ready(), Err(FlushError::Closed)));
    assert_eq!(publish.ready(), Err(PublishError::Closed));
    assert!(matches!(client.status().state, State::Closed { .. }));
}

#[test]
fn bytes_that_were_not_settled_do_not_keep_the_end_away() {
    let (client, mut rig) = Rig::connected(options());
    client.try_publish("s", "x").unwrap();
    rig.writable = false;
    rig.run();
    let bytes = rig.driver.take_transmit(usize::MAX).unwrap();
    let mut closing = Task::new(client.close());
    assert!(closing.poll().is_pending());
    drop(rig);
    drop(bytes);
    assert_eq!(closing.ready().fates.unknown.messages, 1);
}

#[test]
fn a_listener_that_falls_behind_is_told_how_much_it_missed() {
    let (client, mut rig) = Rig::connected(options().event_capacity(3));
    let mut slow = client.events();
    let mut fast = client.events();
    let mut next = Task::new(fast.next());
    assert!(next.poll().is_pending());
    for number in 0..5 {
        rig.receive(&format!("-ERR 'Odd {number}'\r\n"));
        assert!(matches!(next.ready(), Some(Event::ServerError(_))));
        assert!(next.poll().is_pending());
    }
    assert_eq!(next.wakes.take(), 5);
    assert!(matches!(slow.try_next(), Some(Event::Lagged(2))));
    for number in 2..5 {
        let Some(Event::ServerError(error)) = slow.try_next() else { panic!("an error is due") };
        assert!(error.to_string().contains(&format!("Odd {number}")), "{error}");
    }
    assert!(slow.try_next().is_none());
}

#[test]
fn events_end_after_closed() {
    let (client, mut rig) = Rig::connected(options());
    let mut events = client.events();
    drop(client);
    rig.run();
    rig.receive("PONG\r\n");
    assert!(matches!(ready(events.next()), Some(Event::Closed(_))));
    assert!(ready(events.next()).is_none());
}

#[test]
fn the_state_is_counted_through_its_changes() {
    let (client, mut rig) = Rig::connected(options());
    let up = client.status();
    assert!(matches!(up.state, State::Connected { .. }));
    rig.cut();
    let lost = client.status();
    assert!(matches!(lost.state, State::Reconnecting { .. }));
    rig.greet();
    let again = client.status();
    assert_eq!((lost.transition, again.transition), (up.transition + 1, up.transition + 2));
    assert_eq!(up.state, again.state);
}

#[test]
fn a_drain_shows_until_the_end() {
    let (client, mut rig) = Rig::connected(options());
    let mut unread = ready(client.subscribe("s")).unwrap();
    rig.run();
    rig.receive(&message(unread.sid(), "x"));
    let before = client.status().transition;
    let mut drained = Task::new(client.drain());
    rig.run();
    rig.cut();
    rig.greet();
    let status = client.status();
    assert_eq!((status.state, status.transition), (State::Draining, before + 1));
    assert!(ready(unread.next()).is_some() && ready(unread.next()).is_none());
    rig.run();
    rig.receive("PONG\r\n");
    assert!(rig.done);
    assert_eq!(drained.ready().why, CloseReason::Drained);
}
