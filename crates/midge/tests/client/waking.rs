//! Who wakes the driver, and when.

use std::time::Duration;

use midge::driver::Turn;
use midge::{FlushError, PublishError, SubscribeError};

use crate::rig::{Rig, Task, options};

#[test]
fn a_publish_wakes_an_idle_driver_once() {
    let (client, mut rig) = Rig::connected(options());
    rig.run();
    rig.wakes.take();
    for _ in 0..10 {
        client.try_publish("s", "x").unwrap();
    }
    assert_eq!(rig.wakes.take(), 1);
    rig.run();
    assert_eq!(rig.take_sent(), "PUB s 1\r\nx\r\n".repeat(10));
    client.try_publish("s", "x").unwrap();
    assert_eq!(rig.wakes.take(), 1);
}

#[test]
fn a_driver_that_is_at_work_is_not_woken() {
    let (client, mut rig) = Rig::connected(options());
    client.try_publish("s", "1").unwrap();
    rig.writable = false;
    assert!(rig.run().write);
    rig.wakes.take();
    let bytes = rig.driver.take_transmit(usize::MAX).unwrap();
    client.try_publish("s", "2").unwrap();
    assert_eq!(rig.wakes.take(), 0, "it turns again after it has settled");
    let written = bytes.len();
    rig.driver.settle(bytes, Ok(written));
    assert!(rig.run().write);
}

/// Takes all that waits, and what `meanwhile` publishes is added while it is written.
fn write(rig: &mut Rig, meanwhile: impl FnOnce()) {
    let bytes = rig.driver.take_transmit(usize::MAX).expect("there is something to write");
    meanwhile();
    let written = bytes.len();
    rig.driver.settle(bytes, Ok(written));
}

#[test]
fn what_comes_to_an_idle_driver_is_written_at_once() {
    let (client, mut rig) = Rig::connected(options());
    for _ in 0..3 {
        rig.run();
        client.try_publish("s", "x").unwrap();
        assert!(matches!(rig.turn(), Turn::Idle(wait) if wait.write));
    }
}

#[test]
fn a_driver_that_has_written_gives_way_while_more_comes() {
    let (client, mut rig) = Rig::connected(options());
    let publish = || client.try_publish("s", "x").map(drop).unwrap();
    rig.run();
    publish();
    assert!(matches!(rig.turn(), Turn::Idle(wait) if wait.write));
    write(&mut rig, publish);
    for _ in 0..5 {
        assert!(matches!(rig.turn(), Turn::Yield), "there is more than before");
        publish();
    }
    assert!(matches!(rig.turn(), Turn::Yield));
    assert!(matches!(rig.turn(), Turn::Idle(wait) if wait.write), "no more has come");
    assert_eq!(rig.wakes.take(), 1, "for the first");
}

#[test]
fn a_driver_does_not_give_way_without_end() {
    let (client, mut rig) = Rig::connected(options());
    let publish = || client.try_publish("s", "x").map(drop).unwrap();
    rig.run();
    publish();
    assert!(matches!(rig.turn(), Turn::Idle(wait) if wait.write));
    write(&mut rig, publish);
    let turns = (0..1000).take_while(|_| {
        publish();
        matches!(rig.turn(), Turn::Yield)
    });
    assert!(turns.count() < 100);
    write(&mut rig, || client.try_publish("s", [b'x'; 64 * 1024]).map(drop).unwrap());
    assert!(matches!(rig.turn(), Turn::Idle(wait) if wait.write), "that is worth a write");
}

#[test]
fn a_publish_waits_for_room_and_goes_on_when_half_is_free() {
    let (client, mut rig) = Rig::connected(options().max_pending(100));
    rig.writable = false;
    client.try_publish("s", [b'x'; 80]).unwrap();
    assert_eq!(client.try_publish("s", [b'x'; 80]), Err(PublishError::Full));
    let mut waits = Task::new(client.publish("s", [b'y'; 80]));
    assert!(waits.poll().is_pending());
    rig.run();
    assert_eq!(waits.wakes.take(), 0);
    rig.writable = true;
    rig.run();
    assert_eq!(waits.wakes.take(), 1);
    assert!(waits.ready().is_ok());
    rig.run();
    assert_eq!(rig.take_sent().matches('y').count(), 80);
}

#[test]
fn a_publish_that_waits_for_room_too_long_is_refused() {
    let (client, mut rig) = Rig::connected(options().max_pending(100));
    rig.writable = false;
    client.try_publish("s", [b'x'; 80]).unwrap();
    let timeout = Duration::from_secs(3);
    let mut waits = Task::new(client.publish("s", [b'y'; 80]).timeout(timeout));
    assert!(waits.poll().is_pending());
    rig.sleep(timeout - Duration::from_millis(1));
    assert_eq!(waits.wakes.take(), 0);
    rig.sleep(Duration::from_millis(1));
    assert_eq!(waits.wakes.take(), 1);
    assert_eq!(waits.ready(), Err(PublishError::Full));
}

#[test]
fn a_loss_ends_the_wait_for_room() {
    let (client, mut rig) = Rig::connected(options().max_pending(100).reconnect_buffer(100));
    rig.writable = false;
    client.try_publish("s", [b'x'; 80]).unwrap();
    let mut waits = Task::new(client.publish("s", [b'y'; 80]));
    assert!(waits.poll().is_pending());
    rig.cut();
    assert_eq!(waits.wakes.take(), 1);
    assert_eq!(waits.ready(), Err(PublishError::Full));
}

#[test]
fn a_publish_that_was_dropped_while_it_waited_is_not_sent() {
    let (client, mut rig) = Rig::connected(options().max_pending(100));
    rig.writable = false;
    client.try_publish("s", [b'x'; 80]).unwrap();
    let mut waits = Task::new(client.publish("s", [b'y'; 80]).timeout(Duration::from_millis(9)));
    assert!(waits.poll().is_pending());
    let wakes = waits.wakes.clone();
    drop(waits);
    let until = rig.run().until.expect("what was sent is to be confirmed");
    assert!(until.as_nanos() > 9_000_000, "the deadline went with the publish");
    rig.writable = true;
    rig.run();
    assert_eq!(wakes.take(), 0);
    assert!(!rig.take_sent().contains('y'));
}

#[test]
fn a_flush_is_ready_with_its_pong() {
    let (client, mut rig) = Rig::connected(options());
    client.try_publish("s", "").unwrap();
    let mut flush = Task::new(client.flush());
    assert!(flush.poll().is_pending());
    rig.run();
    assert_eq!(rig.take_sent(), "PUB s 0\r\n\r\nPING\r\n");
    assert!(flush.poll().is_pending());
    rig.receive("PONG\r\n");
    assert_eq!(flush.wakes.take(), 1);
    assert!(flush.ready().is_ok());
}

#[test]
fn the_round_trip_is_measured_by_the_clock_of_the_adapter() {
    let (client, mut rig) = Rig::connected(options());
    let mut rtt = Task::new(client.rtt());
    assert!(rtt.poll().is_pending());
    rig.run();
    rig.sleep(Duration::from_millis(7));
    rig.receive("PONG\r\n");
    rig.sleep(Duration::from_secs(1));
    assert_eq!(rtt.ready(), Ok(Duration::from_millis(7)));
}

#[test]
fn a_flush_without_a_pong_ends_in_time() {
    let (client, mut rig) = Rig::connected(options());
    let mut flush = Task::new(client.flush().timeout(Duration::from_secs(3)));
    assert!(flush.poll().is_pending());
    let wait = rig.run();
    assert_eq!(wait.until.map(|until| until.as_nanos()), Some(3_000_000_000));
    rig.sleep(Duration::from_secs(3));
    assert_eq!(flush.wakes.take(), 1);
    assert_eq!(flush.ready(), Err(FlushError::TimedOut));
}

#[test]
fn flushes_that_were_dropped_do_not_count() {
    let (client, mut rig) = Rig::connected(options());
    for _ in 0..100_000 {
        let mut flush = Task::new(client.flush());
        assert!(flush.poll().is_pending());
    }
    let mut flush = Task::new(client.flush());
    assert!(flush.poll().is_pending());
    rig.run();
    assert_eq!(rig.take_sent(), "PING\r\n");
    rig.receive("PONG\r\n");
    assert!(flush.ready().is_ok());
}

#[test]
fn a_subscribe_that_finds_no_room_waits_until_control_operations_are_written() {
    let (client, mut rig) = Rig::connected(options());
    rig.writable = false;
    let subject = "s".repeat(4000);
    let subscribe = || client.subscribe(&subject).try_subscribe();
    let _first: Vec<_> = std::iter::from_fn(|| subscribe().ok()).collect();
    assert_eq!(subscribe().map(|_| ()), Err(SubscribeError::Full));
    let mut second = Task::new(client.subscribe("second"));
    assert!(second.poll().is_pending());
    assert!(client.subscribe("x").try_subscribe().is_err());
    rig.run();
    assert_eq!(second.wakes.take(), 0);
    rig.writable = true;
    rig.run();
    assert_eq!(second.wakes.take(), 1);
    let _second = second.ready().unwrap();
    rig.run();
    assert!(rig.take_sent().contains("SUB second "));
}
