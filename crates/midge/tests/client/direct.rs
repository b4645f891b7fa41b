//! Requests that are written past the driver.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::driver::WriteNow;

use crate::requests::{reply, reply_subject};
use crate::rig::{Rig, Task, options};

/// The transport as it is written beside the driver: it takes what there is room for.
struct Pipe(Mutex<(usize, Vec<u8>)>);

impl Pipe {
    fn new(room: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new((room, Vec::new()))))
    }

    fn take(&self) -> String {
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
