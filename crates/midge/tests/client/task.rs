//! The loop of adapters, over a stream that is scripted.

use std::collections::VecDeque;
use std::future::ready;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use midge::driver::{self, Opening, Runtime, Stream, SystemClock};
use midge::{Client, Instant};

use crate::rig::{Task, options};

const INFO: &[u8] =
    b"INFO {\"server_id\":\"S\",\"max_payload\":1048576,\"headers\":true,\"proto\":1} \r\n";

/// The other end: what it says, and what it takes.
#[derive(Default)]
struct Other {
    says: VecDeque<u8>,
    sent: Vec<u8>,
    room: usize,
    /// Publishes one message during each write, at first.
    beside: Option<Client>,
}

#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Other>>);

impl Wire {
    fn other(&self) -> MutexGuard<'_, Other> {
        self.0.lock().expect("nothing panics in it")
    }

    fn write(&self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let beside = {
            let other = self.other();
            other.beside.clone().filter(|_| other.sent.len() < 100_000)
        };
        if let Some(client) = beside {
            client.try_publish("s", "x").expect("there is room");
        }
        let mut other = self.other();
        let count = bytes.len().min(other.room);
        other.room -= count;
        other.sent.extend_from_slice(&bytes[..count]);
        if count > 0 { Poll::Ready(Ok(count)) } else { Poll::Pending }
    }
}

impl Stream for Wire {
    fn poll_write(&mut self, bytes: &[u8], _context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.write(bytes)
    }

    fn poll_read(
        &mut self,
        buffer: &mut [u8],
        _context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut other = self.other();
        let count = buffer.len().min(other.says.len());
        for (place, byte) in buffer.iter_mut().zip(other.says.drain(..count)) {
            *place = byte;
        }
        if count > 0 { Poll::Ready(Ok(count)) } else { Poll::Pending }
    }

    fn poll_flush(&mut self, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn write_last(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(bytes)
    }
}

/// No timer fires.
struct Timeless;

impl Runtime for Timeless {
    type Stream = Wire;

    fn resolve(&mut self, _host: String) -> Opening<Vec<IpAddr>> {
        Box::pin(ready(Ok(Vec::new())))
    }

    fn poll_until(&mut self, _until: Instant, _context: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn wake_later(&mut self, context: &mut Context<'_>) {
        context.waker().wake_by_ref();
    }
}

/// The task of a driver.
struct Driven {
    task: Task<driver::Task<Timeless>>,
}

impl Driven {
    /// A client that is connected, by its task, over a wire that takes everything.
    fn connected() -> (Client, Self, Wire) {
        let wire = Wire::default();
        wire.other().room = usize::MAX;
        wire.other().says.extend(INFO);
        let (connecting, driver) = driver::connect(options(), Arc::new(SystemClock::new()))
            .expect("the options are valid");
        let dialled = wire.clone();
        let task = driver::Task::new(driver, Timeless, move |_| ready(Ok(dialled.clone())));
        let mut driven = Self { task: Task::new(task) };
        let mut connecting = Task::new(connecting);
        assert!(connecting.poll().is_pending());
        driven.rest();
        wire.other().says.extend(b"PONG\r\n");
        driven.rest();
        let client = connecting.ready().expect("the server has greeted");
        wire.other().sent.clear();
        (client, driven, wire)
    }

    /// Polls until nobody wakes it any more.
    fn rest(&mut self) {
        let mut polls = 0;
        loop {
            assert!(self.task.poll().is_pending());
            if self.task.wakes.take() == 0 {
                return;
            }
            polls += 1;
            assert!(polls < 1000, "it does not come to rest");
        }
    }
}

#[test]
fn a_full_stream_and_a_publisher_that_waits_leave_each_other_alone() {
    let (client, mut driven, wire) = Driven::connected();
    let mut publisher = Task::new(async move {
        loop {
            client.publish("s", [b'x'; 1000]).await.expect("it waits for room");
        }
    });
    wire.other().room = 0;
    assert!(publisher.poll().is_pending());
    wire.other().room = 50_000;
    let mut rounds = 0;
    while driven.task.wakes.take() > 0 {
        driven.rest();
        if publisher.wakes.take() > 0 {
            assert!(publisher.poll().is_pending());
        }
        rounds += 1;
        assert!(rounds < 100, "they wake each other while nothing is taken");
    }
    assert_eq!(wire.other().sent.len(), 50_000);
    wire.other().room = usize::MAX;
    driven.rest();
    assert!(publisher.wakes.take() > 0, "it goes on when there is room");
}

#[test]
fn what_came_is_read_though_there_is_always_more_to_write() {
    let (client, mut driven, wire) = Driven::connected();
    let mut subscription = {
        let mut subscribing = pin!(client.subscribe("a").into_future());
        match subscribing.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(subscription) => subscription.expect("it is connected"),
            Poll::Pending => panic!("there is room"),
        }
    };
    driven.rest();
    wire.other().beside = Some(client.clone());
    client.try_publish("s", "x").expect("there is room");
    assert!(driven.task.poll().is_pending());
    wire.other().says.extend(b"MSG a 1 1\r\nx\r\n");
    for _ in 0..100 {
        assert!(driven.task.poll().is_pending());
        if subscription.try_next().is_some() {
            wire.other().beside = None;
            return driven.rest();
        }
    }
    panic!("nothing was read in a hundred polls");
}
