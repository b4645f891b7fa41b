//! Reads and writes of a socket for each thousand messages, counted in a socket that takes and has
//! all that there is at once.

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};

use midge::driver::{Clock, Opening, Runtime, Stream, SystemClock, Task, WriteNow, connect};
use midge::{Client, ConnectOptions, Instant};
use midge_benches::SUBJECT;
use tokio::time::Sleep;

use crate::PAYLOAD;
use crate::peer::{BLAST, Session};

/// A peer without a socket. Every read and write of it is a call of the operating system; whether
/// it is ready is known without one, as by an event that came before.
#[derive(Debug)]
struct Peer {
    session: Session,
    /// What it has sent, and how much of that is read.
    sent: Vec<u8>,
    read: usize,
    reader: Option<Waker>,
    calls: usize,
}

/// A socket to it, which is written by its driver or beside that.
#[derive(Debug)]
struct Socket(Arc<Shared>);

#[derive(Debug)]
struct Shared(Mutex<Peer>);

impl Shared {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut peer = self.0.lock().unwrap();
        let peer = &mut *peer;
        peer.calls += 1;
        let received = peer.session.receive(bytes, &mut peer.sent);
        received.map_err(|why| io::Error::other(why.to_string()))?;
        peer.sent.append(&mut peer.session.answers);
        if peer.read < peer.sent.len()
            && let Some(reader) = peer.reader.take()
        {
            reader.wake();
        }
        Ok(bytes.len())
    }
}

impl WriteNow for Shared {
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }
}

impl Stream for Socket {
    fn poll_read_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut peer = self.0.0.lock().unwrap();
        if peer.read < peer.sent.len() {
            return Poll::Ready(());
        }
        peer.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn poll_write(&mut self, bytes: &[u8], _: &mut Context<'_>) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(bytes))
    }

    fn poll_read(
        &mut self,
        buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.poll_read_ready(context).is_pending() {
            return Poll::Pending;
        }
        let mut peer = self.0.0.lock().unwrap();
        peer.calls += 1;
        let left = &peer.sent[peer.read..];
        let count = buffer.len().min(left.len());
        buffer[..count].copy_from_slice(&left[..count]);
        peer.read += count;
        if peer.read == peer.sent.len() {
            peer.sent.clear();
            peer.read = 0;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn write_now(&self) -> Option<Weak<dyn WriteNow>> {
        let shared: Arc<dyn WriteNow> = self.0.clone();
        Some(Arc::downgrade(&shared))
    }

    fn write_last(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(bytes))
    }
}

/// Tokio, without its sockets.
struct Timers {
    clock: Arc<SystemClock>,
    sleep: Pin<Box<Sleep>>,
}

impl Runtime for Timers {
    type Stream = Socket;

    fn resolve(&mut self, host: String) -> Opening<Vec<IpAddr>> {
        Box::pin(async { Err(io::Error::other(host)) })
    }

    fn poll_until(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().reset(self.clock.at(until).into());
        self.sleep.as_mut().poll(context)
    }

    fn wake_later(&mut self, context: &mut Context<'_>) {
        context.waker().wake_by_ref();
    }
}

/// Runs `work`, which is given a count of the calls so far, with a client on one thread.
fn run(work: impl AsyncFnOnce(&Client, &dyn Fn() -> usize)) {
    let mut session = Session::new();
    let sent = std::mem::take(&mut session.answers);
    let peer = Peer { session, sent, read: 0, reader: None, calls: 0 };
    let peer = Arc::new(Shared(Mutex::new(peer)));
    let socket = Arc::clone(&peer);
    let dial = move |_| {
        let socket = Socket(Arc::clone(&socket));
        async move { Ok(socket) }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        let sleep = Box::pin(tokio::time::sleep_until(clock.at(clock.now()).into()));
        let options = ConnectOptions::new("127.0.0.1");
        let (connecting, driver) = connect(options, clock.clone()).unwrap();
        tokio::spawn(Task::new(driver, Timers { clock, sleep }, dial));
        let client = connecting.await.unwrap();
        work(&client, &|| peer.0.lock().unwrap().calls).await;
    });
}

#[test]
fn publishing_makes_at_most_two_for_a_thousand_messages() {
    const MESSAGES: usize = 300_000;
    run(async |client, calls| {
        let publish = async || {
            for _ in 0..MESSAGES {
                client.publish(SUBJECT, [b'x'; PAYLOAD]).await.unwrap();
            }
            client.flush().await.unwrap();
        };
        publish().await;
        let before = calls();
        publish().await;
        let made = calls() - before;
        assert!(made <= 2 * MESSAGES / 1000, "{made} calls for {MESSAGES} messages");
    });
}

#[test]
fn receiving_makes_at_most_three_for_a_thousand_messages() {
    const MESSAGES: usize = 300_000;
    run(async |client, calls| {
        let mut subscription = client.subscribe(SUBJECT).await.unwrap();
        let mut receive = async || {
            client.publish(BLAST, MESSAGES.to_string()).await.unwrap();
            for _ in 0..MESSAGES {
                subscription.next().await.unwrap();
            }
        };
        receive().await;
        let before = calls();
        receive().await;
        let made = calls() - before;
        assert!(made <= 3 * MESSAGES / 1000, "{made} calls for {MESSAGES} messages");
    });
}

#[test]
fn a_request_is_one_write_and_one_read() {
    const REQUESTS: usize = 10_000;
    run(async |client, calls| {
        let request = async || {
            for _ in 0..REQUESTS {
                client.request(SUBJECT, [b'x'; PAYLOAD]).await.unwrap();
            }
        };
        request().await;
        let before = calls();
        request().await;
        let made = calls() - before;
        // A PING confirms what was sent, each 100 ms or 256 KiB.
        assert!(made <= 2 * REQUESTS + REQUESTS / 50, "{made} calls for {REQUESTS} requests");
    });
}
