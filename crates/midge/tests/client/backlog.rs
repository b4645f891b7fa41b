//! Publishers that let the driver write first, once much waits.

use std::time::Duration;

use midge::driver::{Transmit, Turn};
use midge::{Client, PublishError};

use crate::rig::{Rig, Task, options, ready};

const KIB: [u8; 1024] = [b'x'; 1024];
const HIGH_WATER: usize = 256 * 1024;

/// Publishes until one waits. Returns how many did not.
fn fill(client: &Client) -> usize {
    (0..10_000)
        .find(|_| Task::new(client.publish("s", KIB)).poll().is_pending())
        .expect("a publish waits in the end")
}

/// A client whose driver has much to write, and knows it.
fn crowded() -> (Client, Rig) {
    let (client, mut rig) = Rig::connected(options());
    rig.writable = false;
    fill(&client);
    rig.run();
    rig.wakes.take();
    (client, rig)
}

fn publishers(client: &Client, count: usize) -> Vec<Task<midge::Publishing<'_, &str, String>>> {
    let publish = |number: usize| Task::new(client.publish("number", format!("[{number}]")));
    let mut tasks: Vec<_> = (0..count).map(publish).collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    tasks
}

/// Takes what is to be written.
fn take(rig: &mut Rig) -> Transmit {
    while let Turn::Yield = rig.turn() {}
    rig.driver.take_transmit(usize::MAX).expect("there is something to write")
}

#[test]
fn a_publish_waits_once_much_is_to_be_written_and_goes_on_when_it_is_taken() {
    let (client, mut rig) = Rig::connected(options());
    let accepted = fill(&client);
    assert_eq!(accepted, HIGH_WATER.div_ceil("PUB s 1024\r\n\r\n".len() + KIB.len()));
    let mut waits = Task::new(client.publish("s", "last"));
    assert!(waits.poll().is_pending());
    let bytes = take(&mut rig);
    assert_eq!(waits.wakes.take(), 1, "while the others are written");
    assert!(waits.ready().is_ok());
    let written = bytes.len();
    rig.driver.settle(bytes, Ok(written));
    rig.run();
    assert_eq!(rig.take_sent(), "PUB s 4\r\nlast\r\n");
}

#[test]
fn who_does_not_wait_may_fill_all_of_max_pending() {
    let (client, _rig) = crowded();
    let mut accepted = 0;
    while client.try_publish("s", KIB).is_ok() {
        accepted += 1;
    }
    assert!(accepted > 7 * 1024, "{accepted}");
    assert_eq!(client.publish("s", KIB).try_send(), Err(PublishError::Full));
}

#[test]
fn a_large_message_passes_when_little_waits() {
    let (client, mut rig) = Rig::connected(options());
    ready(client.publish("s", "before")).unwrap();
    ready(client.publish("s", vec![b'x'; 4 * HIGH_WATER - 100])).unwrap();
    assert!(Task::new(client.publish("s", "behind")).poll().is_pending());
    rig.run();
    ready(client.publish("s", "behind")).unwrap();
}

#[test]
fn a_transport_that_takes_little_wakes_who_waits_when_half_is_free() {
    let (client, mut rig) = crowded();
    let mut waits = publishers(&client, 1);
    for _ in 0..3 {
        let bytes = take(&mut rig);
        // They may publish while it is out; they are as many as before once it is back.
        fill(&client);
        waits[0].wakes.take();
        assert!(waits[0].poll().is_pending());
        rig.driver.settle(bytes, Ok(HIGH_WATER / 4));
        assert!(matches!(rig.turn(), Turn::Idle(wait) if wait.write));
        assert_eq!(waits[0].wakes.take(), 0, "much waits still");
    }
    rig.writable = true;
    rig.run();
    assert!(waits[0].ready().is_ok());
}

#[test]
fn a_few_are_woken_at_a_time_and_the_earliest_first() {
    let (client, mut rig) = crowded();
    let mut tasks = publishers(&client, 100);
    let bytes = take(&mut rig);
    let woken: Vec<_> = (0..100).filter(|at| tasks[*at].wakes.take() > 0).collect();
    assert!((1..=20).contains(&woken.len()), "{woken:?}");
    assert_eq!(woken, (0..woken.len()).collect::<Vec<_>>());
    for number in woken {
        assert!(tasks[number].ready().is_ok());
    }
    let written = bytes.len();
    rig.driver.settle(bytes, Ok(written));
    rig.writable = true;
    rig.run();
    let mut rounds = 0;
    while let Some(number) = (0..100).find(|at| tasks[*at].wakes.take() > 0) {
        assert!(tasks[number].ready().is_ok());
        rig.run();
        rounds += 1;
    }
    assert!(rounds > 50, "each went on: {rounds}");
    let sent = rig.take_sent();
    assert!((0..100).filter(|number| sent.contains(&format!("[{number}]"))).count() >= 80);
}

#[test]
fn all_go_on_when_those_who_were_woken_do_not_come() {
    let (client, mut rig) = crowded();
    let mut tasks = publishers(&client, 100);
    rig.writable = true;
    rig.run();
    assert!(tasks.iter().all(|task| task.wakes.take() == 1), "once each");
    assert!(tasks.iter_mut().rev().all(|task| task.ready().is_ok()));
}

#[test]
fn who_is_dropped_while_waiting_leaves_nothing_and_keeps_nobody_from_going_on() {
    let (client, mut rig) = crowded();
    let timeout = Duration::from_millis(9);
    let mut gone = Task::new(client.publish("s", "gone").timeout(timeout));
    assert!(gone.poll().is_pending());
    let mut stays = publishers(&client, 1);
    let bytes = take(&mut rig);
    assert_eq!(gone.wakes.take(), 1);
    drop(gone);
    let written = bytes.len();
    rig.driver.settle(bytes, Ok(written));
    rig.writable = true;
    let until = rig.run().until.expect("what was sent is to be confirmed");
    assert!(until.as_nanos() > 9_000_000, "the deadline went with the publish");
    assert_eq!(stays[0].wakes.take(), 1);
    assert!(stays[0].ready().is_ok());
    rig.run();
    assert!(!rig.take_sent().contains("gone"));
}

#[test]
fn a_publish_that_has_waited_long_enough_takes_the_room_there_is() {
    let (client, mut rig) = crowded();
    let timeout = Duration::from_secs(3);
    let mut waits = Task::new(client.publish("s", "late").timeout(timeout));
    assert!(waits.poll().is_pending());
    rig.sleep(timeout - Duration::from_millis(1));
    assert_eq!(waits.wakes.take(), 0);
    rig.sleep(Duration::from_millis(1));
    assert_eq!(waits.wakes.take(), 1);
    assert!(waits.ready().is_ok(), "max_pending is far");
    ready(client.publish("s", "at once").timeout(Duration::ZERO)).unwrap();
}

#[test]
fn a_wait_for_the_driver_becomes_one_for_room() {
    let (client, mut rig) = crowded();
    let mut waits = publishers(&client, 1);
    while client.try_publish("s", KIB).is_ok() {}
    while client.try_publish("s", "").is_ok() {}
    let bytes = take(&mut rig);
    assert_eq!(waits[0].wakes.take(), 1, "nothing but what is out waits");
    assert!(waits[0].poll().is_pending(), "which is all that may");
    let written = bytes.len();
    rig.driver.settle(bytes, Ok(written));
    rig.run();
    assert_eq!(waits[0].wakes.take(), 1);
    assert!(waits[0].ready().is_ok());
}

#[test]
fn a_loss_ends_the_wait_and_the_message_is_kept() {
    let (client, mut rig) = crowded();
    let mut waits = publishers(&client, 1);
    rig.cut();
    assert_eq!(waits[0].wakes.take(), 1);
    assert!(waits[0].ready().is_ok());
    for _ in 0..1000 {
        ready(client.publish("s", KIB)).expect("nobody waits without a connection");
    }
    rig.writable = true;
    rig.greet();
    rig.run();
    assert!(rig.take_sent().contains("PUB number 3\r\n[0]\r\n"));
}

#[test]
fn a_driver_that_waits_for_the_transport_is_not_woken_by_more_to_write() {
    let (client, mut rig) = Rig::connected(options());
    rig.writable = false;
    client.try_publish("s", "1").unwrap();
    assert!(rig.run().write);
    rig.wakes.take();
    client.try_publish("s", "2").unwrap();
    ready(client.publish("s", "3")).unwrap();
    assert_eq!(rig.wakes.take(), 0, "it writes as soon as it can");
    let mut flush = Task::new(client.flush());
    assert!(flush.poll().is_pending());
    assert_eq!(rig.wakes.take(), 1, "a flush has a deadline");
    rig.writable = true;
    rig.run();
    assert_eq!(rig.take_sent().matches("PUB").count(), 3);
}
