//! What the results of reads and writes mean for a connection.

use std::io::{self, ErrorKind};
use std::time::Duration;

use midge::driver::{Transmit, Turn};
use midge::{Client, DisconnectCause, Event, Events, WhenFull};

use crate::rig::{Rig, message, options, ready};

const SECOND: Duration = Duration::from_secs(1);

/// A client with something to write, which the driver has handed out.
fn writing() -> (Client, Rig, Events, Transmit) {
    let (client, mut rig) = Rig::connected(options());
    let events = client.events();
    let transmit = publish(&client, &mut rig);
    (client, rig, events, transmit)
}

fn publish(client: &Client, rig: &mut Rig) -> Transmit {
    client.try_publish("s", "x").expect("there is room");
    rig.writable = false;
    assert!(rig.run().write);
    rig.driver.take_transmit(usize::MAX).expect("there is something to write")
}

fn broken() -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, "broken")
}

fn lost(events: &mut Events) -> DisconnectCause {
    match events.try_next() {
        Some(Event::Disconnected(lost)) => lost.cause.clone(),
        other => panic!("not lost: {other:?}"),
    }
}

#[test]
fn after_a_failed_write_the_last_words_of_the_server_are_heard() {
    let (client, mut rig, mut events, transmit) = writing();
    rig.driver.settle(transmit, Err(broken()));
    let wait = rig.run();
    assert!(wait.read && !wait.write);
    assert!(rig.driver.take_transmit(usize::MAX).is_none());
    rig.receive("-ERR 'Maximum Payload Violation'\r\n");
    assert!(matches!(events.try_next(), Some(Event::ServerError(_))));
    rig.cut();
    let cause = lost(&mut events);
    assert!(matches!(cause, DisconnectCause::Server(_)), "{cause}");
    rig.writable = true;
    rig.sleep(10 * SECOND);
    rig.greet();
    assert_eq!(rig.take_sent(), "PUB s 1\r\nx\r\n", "nothing of it had left");
    drop(client);
}

#[test]
fn a_server_that_says_nothing_more_is_listened_to_for_a_second() {
    let (_client, mut rig, mut events, transmit) = writing();
    let end = rig.driver.now() + SECOND;
    rig.driver.settle(transmit, Err(broken()));
    assert!(rig.run().until.is_some_and(|until| until <= end));
    rig.unreachable();
    rig.sleep(SECOND - Duration::from_nanos(1));
    assert!(rig.is_open() && events.try_next().is_none());
    rig.sleep(Duration::from_nanos(1));
    assert!(!rig.is_open());
    assert_eq!(lost(&mut events), DisconnectCause::Io("broken".into()));
}

#[test]
fn the_cause_is_what_failed_first() {
    let (client, mut rig, mut events, transmit) = writing();
    rig.driver.settle(transmit, Err(broken()));
    let buffer = rig.driver.take_read().unwrap();
    rig.driver.filled(buffer, Ok(0));
    rig.run();
    assert_eq!(lost(&mut events), DisconnectCause::Io("broken".into()));
    rig.writable = true;
    rig.greet();
    let transmit = publish(&client, &mut rig);
    rig.driver.settle(transmit, Ok(0));
    rig.cut();
    let mut left = std::iter::from_fn(|| events.try_next());
    let Some(Event::Disconnected(lost)) = left.find(|e| matches!(e, Event::Disconnected(_))) else {
        panic!("not lost again");
    };
    assert_eq!(lost.cause, DisconnectCause::Io(io::Error::from(ErrorKind::WriteZero).to_string()));
}

#[test]
fn a_flush_that_fails_is_a_write_that_fails() {
    let (_client, mut rig, mut events, transmit) = writing();
    let attempt = transmit.attempt().unwrap();
    rig.driver.settle(transmit, Ok(3));
    rig.driver.write_failed(attempt, &broken());
    let wait = rig.run();
    assert!(wait.read && !wait.write);
    rig.unreachable();
    rig.sleep(SECOND);
    assert_eq!(lost(&mut events), DisconnectCause::Io("broken".into()));
}

#[test]
fn while_nothing_is_read_a_failed_write_ends_the_connection_at_once() {
    let (client, mut rig) = Rig::connected(options());
    let subscribe = client.subscribe("s").capacity(1, 1 << 20).when_full(WhenFull::Pause);
    let subscription = ready(subscribe).unwrap();
    let mut events = client.events();
    let read = rig.receive(&message(subscription.sid(), "x").repeat(2)).read;
    assert!(!read, "the reader has fallen behind");
    let transmit = publish(&client, &mut rig);
    rig.unreachable();
    rig.driver.settle(transmit, Err(broken()));
    rig.run();
    assert!(!rig.is_open());
    let mut left = std::iter::from_fn(|| events.try_next());
    assert!(left.any(|event| matches!(event, Event::Disconnected(_))));
}

#[test]
fn what_would_block_or_is_interrupted_changes_nothing() {
    let (_client, mut rig, mut events, transmit) = writing();
    rig.driver.settle(transmit, Err(ErrorKind::WouldBlock.into()));
    let transmit = rig.driver.take_transmit(usize::MAX).unwrap();
    rig.driver.settle(transmit, Err(ErrorKind::Interrupted.into()));
    for kind in [ErrorKind::WouldBlock, ErrorKind::Interrupted] {
        let buffer = rig.driver.take_read().unwrap();
        rig.driver.filled(buffer, Err(kind.into()));
    }
    let wait = rig.run();
    assert!(wait.read && wait.write && rig.is_open());
    assert!(events.try_next().is_none());
}

#[test]
fn a_read_that_fails_closes_the_transport() {
    for (read, cause) in [
        (Ok(0), DisconnectCause::Eof),
        (Err(ErrorKind::TimedOut.into()), DisconnectCause::Io("timed out".into())),
    ] {
        let (_client, mut rig, mut events, transmit) = writing();
        rig.unreachable();
        rig.driver.settle(transmit, Ok(2));
        let buffer = rig.driver.take_read().unwrap();
        let attempt = buffer.attempt();
        rig.driver.filled(buffer, read);
        assert!(matches!(rig.turn(), Turn::Close { attempt: of } if of == attempt));
        assert!(rig.driver.farewell(attempt).is_none(), "nobody would read it");
        while !matches!(rig.turn(), Turn::Connect { .. }) {}
        assert_eq!(lost(&mut events), cause);
    }
}

#[test]
fn results_of_an_old_transport_change_nothing_for_the_next() {
    let (client, mut rig, _events, transmit) = writing();
    let old = transmit.attempt().unwrap();
    let buffer = rig.driver.take_read().unwrap();
    rig.unreachable();
    rig.driver.closed(old, DisconnectCause::Eof);
    rig.driver.settle(transmit, Err(broken()));
    while !matches!(rig.turn(), Turn::Connect { .. }) {}
    rig.driver.filled(buffer, Ok(0));
    rig.driver.write_failed(old, &broken());
    assert!(rig.driver.farewell(old).is_none());
    assert!(matches!(rig.turn(), Turn::Idle(_)));
    drop(client);
}

#[test]
fn a_farewell_ends_with_the_first_write_that_comes_short() {
    for written in [Ok(1), Err(ErrorKind::WouldBlock.into()), Err(broken())] {
        let (client, mut rig) = Rig::connected(options());
        let transmit = publish(&client, &mut rig);
        let attempt = transmit.attempt().unwrap();
        rig.driver.settle(transmit, Ok(2));
        let rest = rig.driver.farewell(attempt).unwrap();
        assert_eq!(&*rest, b"B s 1\r\nx\r\n");
        rig.driver.settle(rest, written);
        assert!(rig.driver.farewell(attempt).is_none());
        drop(client);
    }
    let (client, mut rig) = Rig::connected(options());
    let transmit = publish(&client, &mut rig);
    let (attempt, all) = (transmit.attempt().unwrap(), transmit.len());
    client.try_publish("s", "y").unwrap();
    rig.driver.settle(transmit, Ok(all));
    let rest = rig.driver.farewell(attempt).unwrap();
    assert_eq!(&*rest, b"PUB s 1\r\ny\r\n");
    let all = rest.len();
    rig.driver.settle(rest, Ok(all));
    assert!(rig.driver.farewell(attempt).is_none());
}

#[test]
fn a_transport_cannot_take_or_give_more_than_there_is() {
    let (_client, mut rig, mut events, transmit) = writing();
    rig.driver.settle(transmit, Ok(usize::MAX));
    assert!(!rig.run().write);
    let mut buffer = rig.driver.take_read().unwrap();
    buffer.fill(b'\n');
    rig.driver.filled(buffer, Ok(usize::MAX));
    rig.unreachable();
    rig.run();
    assert!(matches!(lost(&mut events), DisconnectCause::Protocol(_)));
}
