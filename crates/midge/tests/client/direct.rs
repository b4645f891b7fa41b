//! Requests that are written past the driver.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::driver::WriteNow;

use crate::requests::{reply, reply_subject};
use crate::rig::{Rig, Task, options};

/// The transport as it is written beside the driver: it takes what there is room for.
pub(crate) struct Pipe(Mutex<(usize, Vec<u8>)>);

impl Pipe {
    pub(crate) fn new(room: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new((room, Vec::new()))))
    }

    pub(crate) fn take(&self) -> String {
        let taken = std::mem::take(&mut self.0.lock().expect("nothing panics in it").1);
        String::from_utf8(taken).expect("these tests send text")
    }
}

impl WriteNow for Pipe {
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let (room, taken) = &mut *self.0.lock().expect("nothing panics in it");
        let count = bytes.len().min(*room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        *room -= count;
        taken.extend_from_slice(&bytes[..count]);
        Ok(count)
    }
}

/// A client that has made a request, through its driver, and can write `pipe`.
fn connected(pipe: &Arc<Pipe>) -> (midge::Client, Rig) {
    let (client, mut rig) = Rig::connected(options());
    let stream: Arc<dyn WriteNow> = pipe.clone();
    rig.writes_now(Arc::downgrade(&stream));
    let mut first = Task::new(client.request("q", "0"));
    assert!(first.poll().is_pending());
    assert_eq!(pipe.take(), "", "the driver sleeps past the deadline, and has to know it");
    rig.run();
    let to = reply_subject(&rig.take_sent());
    rig.receive(&reply(&to, ""));
    first.ready().expect("the reply has come");
    rig.wakes.take();
    (client, rig)
}

#[test]
fn a_request_that_is_alone_leaves_at_once_and_wakes_no_driver() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = connected(&pipe);
    for round in ["1", "2", "3"] {
        let mut request = Task::new(client.request("q", round));
        assert!(request.poll().is_pending());
        let sent = pipe.take();
        assert!(sent.ends_with(&format!(" 1\r\n{round}\r\n")), "{sent}");
        assert_eq!(rig.wakes.take(), 0);
        rig.receive(&reply(&reply_subject(&sent), round));
        assert_eq!(request.ready().unwrap().payload(), round.as_bytes());
        assert_eq!(rig.take_sent(), "", "nothing is written twice");
    }
}

#[test]
fn requests_beside_others_leave_together_through_the_driver() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = connected(&pipe);
    let mut requests: Vec<_> = (0..3).map(|_| Task::new(client.request("q", "x"))).collect();
    assert!(requests.iter_mut().all(|request| request.poll().is_pending()));
    assert_eq!(pipe.take().matches("PUB").count(), 1);
    assert_eq!(rig.wakes.take(), 1);
    rig.run();
    assert_eq!(rig.take_sent().matches("PUB").count(), 2);
}

#[test]
fn a_request_behind_a_message_that_waits_leaves_through_the_driver() {
    let pipe = Pipe::new(usize::MAX);
    let (client, rig) = connected(&pipe);
    client.try_publish("s", "x").unwrap();
    assert!(Task::new(client.request("q", "x")).poll().is_pending());
    assert_eq!((pipe.take(), rig.wakes.take()), (String::new(), 1));
}

#[test]
fn what_the_transport_does_not_take_at_once_the_driver_writes() {
    for room in [0, 1, 20] {
        let pipe = Pipe::new(room);
        let (client, mut rig) = connected(&pipe);
        let mut request = Task::new(client.request("q", "x"));
        assert!(request.poll().is_pending());
        assert_eq!(rig.wakes.take(), 1);
        rig.run();
        let sent = pipe.take() + &rig.take_sent();
        assert!(sent.starts_with("PUB q ") && sent.ends_with(" 1\r\nx\r\n"), "{sent}");
        rig.receive(&reply(&reply_subject(&sent), "y"));
        assert_eq!(request.ready().unwrap().payload(), b"y");
    }
}

#[test]
fn a_deadline_that_the_driver_sleeps_past_wakes_it() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = connected(&pipe);
    let mut request = Task::new(client.request("q", "x").timeout(Duration::from_millis(1)));
    assert!(request.poll().is_pending());
    assert_eq!((pipe.take(), rig.wakes.take()), (String::new(), 1));
    let until = rig.run().until.unwrap();
    assert_eq!(until, rig.driver.now() + Duration::from_millis(1));
    rig.sleep(Duration::from_millis(1));
    assert_eq!(request.ready(), Err(midge::RequestError::TimedOut));
}

#[test]
fn a_request_that_left_past_the_driver_times_out() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = connected(&pipe);
    let mut request = Task::new(client.request("q", "x").timeout(Duration::from_secs(60)));
    assert!(request.poll().is_pending());
    assert!(pipe.take().contains("PUB"));
    // As an adapter does that wakes when it was told to, and not before.
    let end = rig.driver.now() + Duration::from_secs(60);
    while rig.driver.now() < end {
        assert!(request.poll().is_pending());
        let until = rig.run().until.unwrap();
        assert!(until <= end);
        rig.sleep(until - rig.driver.now());
    }
    assert_eq!(request.ready(), Err(midge::RequestError::TimedOut));
}

#[test]
fn a_transport_that_is_gone_is_not_written() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = connected(&pipe);
    rig.cut();
    rig.greet();
    rig.run();
    rig.wakes.take();
    assert!(Task::new(client.request("q", "x")).poll().is_pending());
    assert_eq!((pipe.take(), rig.wakes.take()), (String::new(), 1));

    let pipe = Pipe::new(usize::MAX);
    let (client, rig) = connected(&pipe);
    drop(pipe);
    assert!(Task::new(client.request("q", "x")).poll().is_pending());
    assert_eq!(rig.wakes.take(), 1);
}

/// Publishes on another thread than the driver's, as many messages of 16 KiB as there are names.
fn publish_elsewhere(client: &midge::Client, names: &str) {
    let publish = |name: char| {
        client.try_publish("s", name.to_string().repeat(16 * 1024)).expect("there is room");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| names.chars().for_each(publish)).join().expect("it was published");
    });
}

/// The names of the messages of 16 KiB in there, whole or cut.
fn names(sent: &str) -> String {
    let mut names: Vec<char> =
        sent.chars().filter(|c| c.is_ascii_lowercase() && *c != 's').collect();
    names.dedup();
    names.into_iter().collect()
}

/// A client whose driver has just left writing to publishers.
fn handed_over(pipe: &Arc<Pipe>) -> (midge::Client, Rig) {
    let (client, mut rig) = Rig::connected(options());
    let stream: Arc<dyn WriteNow> = pipe.clone();
    rig.writes_now(Arc::downgrade(&stream));
    let looks = |rig: &mut Rig| rig.run().until.is_some_and(|at| at <= rig.driver.now() + LOOK);
    let streams = (0..64).any(|_| {
        publish_elsewhere(&client, "abcd");
        looks(&mut rig)
    });
    assert!(streams, "the driver always writes by itself");
    rig.take_sent();
    rig.wakes.take();
    pipe.take();
    (client, rig)
}

/// The driver looks again after that.
const LOOK: Duration = Duration::from_millis(1);

#[test]
fn a_stream_from_another_thread_is_written_by_its_publishers() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = handed_over(&pipe);
    publish_elsewhere(&client, "abcd");
    assert_eq!(pipe.take(), "", "that is no run");
    publish_elsewhere(&client, "efghijklm");
    assert_eq!(names(&pipe.take()), "abcdefghij");
    assert_eq!(rig.wakes.take(), 0);
    assert_eq!(rig.take_sent(), "", "nothing is written twice");
}

#[test]
fn the_end_of_a_stream_leaves_when_the_driver_looks() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = handed_over(&pipe);
    publish_elsewhere(&client, "abcdefgh");
    assert_eq!(names(&pipe.take()), "abcde");
    rig.sleep(LOOK);
    assert_eq!(rig.take_sent(), "", "publishers have written, and may again");
    let wait = rig.sleep(LOOK);
    assert_eq!(names(&rig.take_sent()), "fgh");
    assert!(wait.until.is_none_or(|until| until > rig.driver.now() + LOOK), "it sleeps");
    client.try_publish("s", "x").unwrap();
    assert_eq!(rig.wakes.take(), 1, "the next one leaves at once");
}

#[test]
fn a_flush_does_not_wait_until_the_driver_looks() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = handed_over(&pipe);
    publish_elsewhere(&client, "ab");
    let mut flush = Task::new(client.flush());
    assert!(flush.poll().is_pending());
    assert_eq!(rig.wakes.take(), 1);
    rig.run();
    let sent = rig.take_sent();
    assert!(names(&sent) == "ab" && sent.ends_with("PING\r\n"));
}

#[test]
fn what_a_full_transport_does_not_take_of_a_run_the_driver_writes() {
    for room in [0, 1, 20_000, 70_000] {
        let pipe = Pipe::new(room);
        let (client, mut rig) = handed_over(&pipe);
        publish_elsewhere(&client, "abcdefghijkl");
        assert_eq!(rig.wakes.take(), 1, "for the first that was not taken");
        let first = pipe.take();
        assert_eq!(first.len(), room);
        rig.run();
        let sent = first + &rig.take_sent();
        assert_eq!(names(&sent), "abcdefghijkl");
        assert_eq!(sent.matches("PUB").count(), 12);
    }
}

#[test]
fn a_publisher_keeps_writing_for_a_driver_that_is_late_only_so_long() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = handed_over(&pipe);
    rig.pass(20 * LOOK);
    publish_elsewhere(&client, "abcdef");
    assert_eq!((pipe.take(), rig.wakes.take()), (String::new(), 1));
    rig.run();
    assert_eq!(names(&rig.take_sent()), "abcdef");
}

#[test]
fn a_stream_of_the_thread_of_the_driver_is_written_by_the_driver() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = Rig::connected(options());
    let stream: Arc<dyn WriteNow> = pipe.clone();
    rig.writes_now(Arc::downgrade(&stream));
    for _ in 0..64 {
        for _ in 0..8 {
            client.try_publish("s", [b'x'; 16 * 1024]).unwrap();
        }
        rig.run();
    }
    assert_eq!((pipe.take(), rig.take_sent().matches("PUB").count()), (String::new(), 512));
}

#[test]
fn who_waits_for_answers_is_hardly_ever_held_up() {
    let pipe = Pipe::new(usize::MAX);
    let (client, mut rig) = Rig::connected(options());
    let stream: Arc<dyn WriteNow> = pipe.clone();
    rig.writes_now(Arc::downgrade(&stream));
    let mut held_up = 0;
    for _ in 0..1000 {
        publish_elsewhere(&client, "abcd");
        rig.run();
        if rig.take_sent().is_empty() {
            held_up += 1;
            rig.sleep(LOOK);
            assert_eq!(names(&rig.take_sent()), "abcd");
        }
    }
    assert!((1..10).contains(&held_up), "{held_up}");
    assert_eq!(pipe.take(), "");
}
