//! Acks from another thread than the driver's: who writes them, and when.

use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use midge::Client;
use midge::driver::WriteNow;
use midge::jetstream::{Consume, JetStream};

use crate::direct::Pipe;
use crate::rig::{Rig, Task, options, ready};

/// The driver looks again after that.
const LOOK: Duration = Duration::from_millis(1);
/// So many messages a read.
const BATCH: usize = 3;

struct Reading {
    client: Client,
    rig: Rig,
    pipe: Arc<Pipe>,
    messages: Consume,
    sid: String,
    number: usize,
}

impl Reading {
    /// A consumer that has asked for messages.
    fn begin(room: usize) -> Self {
        let pipe = Pipe::new(room);
        let (client, mut rig) = Rig::connected(options());
        let stream: Arc<dyn WriteNow> = pipe.clone();
        rig.writes_now(Arc::downgrade(&stream));
        let consumer =
            JetStream::new(client.clone()).consumer("S", "c").expect("the names are valid");
        let mut messages = ready(consumer.consume()).expect("it can be");
        assert!(Task::new(messages.next()).poll().is_pending());
        rig.run();
        let sent = rig.take_sent();
        let subscribed = sent.lines().find(|line| line.starts_with("SUB ")).expect("it subscribes");
        let sid = subscribed.rsplit(' ').next().expect("a line has a last word").to_owned();
        Self { client, rig, pipe, messages, sid, number: 0 }
    }

    /// A read brings messages.
    fn receive(&mut self) {
        let message = |number| {
            let sid = &self.sid;
            format!("MSG s {sid} $JS.ACK.S.c.1.{number}.{number}.1795297176763474374.0 1\r\nx\r\n")
        };
        let batch: String = (1..=BATCH).map(|more| message(self.number + more)).collect();
        self.number += BATCH;
        self.rig.receive(&batch);
    }

    /// Acks so many messages on another thread, and waits for more if there are fewer.
    fn ack(&mut self, most: usize) -> usize {
        let messages = &mut self.messages;
        thread::scope(|scope| scope.spawn(|| ack(messages, most)).join().expect("it was acked"))
    }

    /// Reads and acks until the driver leaves acks to whoever reads.
    fn until_handed_over(&mut self) {
        let left = (0..64).any(|_| {
            self.receive();
            assert_eq!(self.ack(usize::MAX), BATCH);
            self.rig.run().until.is_some_and(|at| at <= self.rig.driver.now() + LOOK)
        });
        assert!(left, "the driver always writes by itself");
        self.rig.take_sent();
        self.rig.wakes.take();
        assert_eq!(self.pipe.take(), "");
    }
}

fn ack(messages: &mut Consume, most: usize) -> usize {
    for acked in 0..most {
        match Task::new(messages.next()).poll() {
            Poll::Ready(Some(Ok(message))) => message.ack().try_send().expect("there is room"),
            Poll::Ready(other) => panic!("{other:?}"),
            Poll::Pending => return acked,
        }
    }
    most
}

#[test]
fn who_reads_writes_its_acks_when_nothing_is_left_to_read_and_wakes_no_driver() {
    let mut reading = Reading::begin(usize::MAX);
    reading.until_handed_over();
    for _ in 0..20 {
        reading.receive();
        assert_eq!(reading.ack(BATCH), BATCH);
        assert_eq!(reading.pipe.take(), "", "there may be more to read, and to ack");
        assert_eq!(reading.ack(1), 0);
        assert_eq!(reading.pipe.take().matches("+ACK").count(), BATCH);
    }
    assert_eq!(reading.rig.wakes.take(), 0);
    reading.rig.run();
    assert_eq!(reading.rig.take_sent(), "", "nothing is written twice");
}

#[test]
fn the_acks_of_who_does_something_else_leave_when_the_driver_looks() {
    let mut reading = Reading::begin(usize::MAX);
    reading.until_handed_over();
    reading.receive();
    assert_eq!(reading.ack(BATCH - 1), BATCH - 1);
    assert_eq!(reading.pipe.take(), "");
    let wait = reading.rig.sleep(LOOK);
    assert_eq!(reading.rig.take_sent().matches("+ACK").count(), BATCH - 1);
    let sleeps = wait.until.is_none_or(|until| until > reading.rig.driver.now() + LOOK);
    assert!(sleeps, "nobody has written meanwhile");
    assert_eq!(reading.ack(1), 1);
    assert_eq!(reading.rig.wakes.take(), 1, "the next one leaves at once");
}

#[test]
fn a_reader_that_is_slow_is_hardly_ever_held_up() {
    let mut reading = Reading::begin(usize::MAX);
    let mut held_up = 0;
    for _ in 0..50 {
        reading.receive();
        for _ in 0..BATCH {
            assert_eq!(reading.ack(1), 1);
            reading.rig.run();
            if reading.rig.take_sent().is_empty() {
                held_up += 1;
                reading.rig.sleep(LOOK);
                assert_eq!(reading.rig.take_sent().matches("+ACK").count(), 1);
            }
        }
        assert_eq!(reading.ack(1), 0);
        reading.rig.run();
    }
    assert!((1..5).contains(&held_up), "{held_up}");
}

#[test]
fn what_the_transport_does_not_take_of_acks_the_driver_writes() {
    for room in [0, 1, 100] {
        let mut reading = Reading::begin(room);
        reading.until_handed_over();
        reading.receive();
        assert_eq!(reading.ack(usize::MAX), BATCH);
        assert_eq!(reading.rig.wakes.take(), 1);
        let first = reading.pipe.take();
        assert_eq!(first.len(), room);
        reading.rig.run();
        let sent = first + &reading.rig.take_sent();
        assert_eq!(sent.matches("+ACK\r\n").count(), BATCH);
    }
}

#[test]
fn acks_that_wait_leave_before_anything_ends() {
    type End = fn(&mut Reading);
    let ends: [(&str, End); 5] = [
        ("stop", |reading| reading.messages.stop()),
        ("flush", |reading| drop(Task::new(reading.client.flush()).poll())),
        ("drain", |reading| drop(Task::new(reading.client.drain()).poll())),
        ("close", |reading| drop(Task::new(reading.client.close()).poll())),
        ("farewell", |reading| reading.rig.farewell()),
    ];
    for (name, end) in ends {
        let mut reading = Reading::begin(usize::MAX);
        reading.until_handed_over();
        reading.receive();
        assert_eq!(reading.ack(BATCH - 1), BATCH - 1);
        end(&mut reading);
        reading.rig.run();
        let sent = reading.rig.take_sent();
        assert_eq!(sent.matches("+ACK").count(), BATCH - 1, "{name}");
    }
}

#[test]
fn acks_of_the_thread_of_the_driver_are_written_by_the_driver() {
    let mut reading = Reading::begin(usize::MAX);
    for _ in 0..64 {
        reading.receive();
        assert_eq!(ack(&mut reading.messages, usize::MAX), BATCH);
        reading.rig.run();
        assert_eq!(reading.rig.take_sent().matches("+ACK").count(), BATCH);
    }
    assert_eq!(reading.pipe.take(), "");
}
