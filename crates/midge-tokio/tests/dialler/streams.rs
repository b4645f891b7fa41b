//! Streams with habits of their own: they take little, hold bytes back, fail.

use std::error::Error;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use midge::{Client, DisconnectCause, Event};
use midge_testing::NatsServer;
use midge_tokio::{connect_through, connect_with};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter, DuplexStream, ReadBuf, duplex,
};
use tokio::net::TcpStream;

use crate::steps::{Outcome, soon, until, wait_for};
use crate::{Peer, echo, echo_of, forward, named, once, others_run};

#[tokio::test]
async fn a_stream_may_take_and_give_one_byte_at_a_time() -> Outcome {
    let server = NatsServer::start()?;
    let port = server.port();
    let dialler = move |_| {
        let (ours, theirs) = duplex(1);
        tokio::spawn(forward(theirs, port));
        std::future::ready(Ok(ours))
    };
    let client = soon(connect_through(named("nats"), dialler)).await?;
    echo_of(&client, (0..50).chain([3000])).await?;
    let report = soon(client.close()).await;
    assert_eq!(report.fates.confirmed.messages, 51);
    Ok(())
}

// ---- bytes that are held back --------------------------------------------------------------

#[tokio::test]
async fn what_a_buffered_writer_holds_is_flushed() -> Outcome {
    let server = NatsServer::start()?;
    let port = server.port();
    let dialler = move |_| async move {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        Ok(BufWriter::with_capacity(100_000, stream))
    };
    let client = soon(connect_through(named("nats"), dialler)).await?;
    echo(&client).await?;
    // One by one, so that each needs a flush of its own.
    let mut subscription = client.subscribe("one").await?;
    for number in 0..100 {
        client.publish("one", number.to_string()).await?;
        let message = soon(subscription.next()).await.ok_or("the subscription goes on")?;
        assert_eq!(message.payload(), number.to_string().as_bytes());
    }
    Ok(())
}

/// What was asked of a stream.
#[derive(Default)]
struct Asked {
    flushes: AtomicUsize,
    shutdowns: AtomicUsize,
    /// The most bytes that were held back at a time.
    held: AtomicUsize,
    /// Bytes that were given away.
    flushed: AtomicUsize,
    /// Whether it may flush, and who waits for that.
    leave: Mutex<Leave>,
}

#[derive(Default)]
struct Leave {
    given: bool,
    waker: Option<Waker>,
}

impl Asked {
    fn give_leave(&self, given: bool) {
        let mut leave = self.leave.lock().expect("no test panics with it");
        leave.given = given;
        if let Some(waker) = leave.waker.take() {
            waker.wake();
        }
    }
}

/// Takes everything at once and gives nothing away until it is flushed, which needs leave.
struct Miser {
    inner: DuplexStream,
    held: Vec<u8>,
    asked: Arc<Asked>,
}

impl Miser {
    fn new(inner: DuplexStream, asked: &Arc<Asked>) -> Self {
        Self { inner, held: Vec::new(), asked: asked.clone() }
    }

    fn poll_give(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written =
                std::task::ready!(Pin::new(&mut self.inner).poll_write(context, &self.held))?;
            self.held.drain(..written);
            self.asked.flushed.fetch_add(written, Ordering::Relaxed);
        }
        Pin::new(&mut self.inner).poll_flush(context)
    }
}

impl AsyncRead for Miser {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, room)
    }
}

impl AsyncWrite for Miser {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.held.extend_from_slice(bytes);
        self.asked.held.fetch_max(self.held.len(), Ordering::Relaxed);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.asked.flushes.fetch_add(1, Ordering::Relaxed);
        let mut leave = self.asked.leave.lock().expect("no test panics with it");
        if !leave.given {
            leave.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(leave);
        self.poll_give(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.asked.shutdowns.fetch_add(1, Ordering::Relaxed);
        std::task::ready!(self.poll_give(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// A client over a miser, the server's end of it, and what was read there behind the handshake.
async fn misers_client(
    asked: &Arc<Asked>,
) -> Result<(Client, DuplexStream), Box<dyn Error + Send + Sync>> {
    let (ours, mut theirs) = duplex(1 << 16);
    let (connecting, driver) = connect_with(named("nats"))?;
    tokio::spawn(driver.through(once(Miser::new(ours, asked))));
    theirs.write_all(b"INFO {\"headers\":true,\"max_payload\":1048576}\r\n").await?;
    until(|| asked.flushes.load(Ordering::Relaxed) > 0).await;
    assert_eq!(asked.flushed.load(Ordering::Relaxed), 0);
    asked.give_leave(true);
    read_until(&mut theirs, "PING\r\n").await?;
    theirs.write_all(b"PONG\r\n").await?;
    Ok((soon(connecting).await?, theirs))
}

async fn read_until(stream: &mut DuplexStream, end: &str) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let count = soon(stream.read_buf(&mut read)).await?;
        assert!(count > 0, "the end before {end:?}: {:?}", String::from_utf8_lossy(&read));
    }
    Ok(read)
}

#[tokio::test]
async fn a_flush_that_must_wait_is_asked_for_again_and_a_close_shuts_down() -> Outcome {
    let asked = Arc::<Asked>::default();
    let (client, mut theirs) = misers_client(&asked).await?;
    asked.give_leave(false);
    client.publish("a", "x").await?;
    let flushes = asked.flushes.load(Ordering::Relaxed);
    until(|| asked.flushes.load(Ordering::Relaxed) > flushes).await;
    asked.give_leave(true);
    read_until(&mut theirs, "PUB a 1\r\nx\r\n").await?;
    let closing = tokio::spawn(async move { client.close().await });
    read_until(&mut theirs, "PING\r\n").await?;
    assert_eq!(asked.shutdowns.load(Ordering::Relaxed), 0);
    theirs.write_all(b"PONG\r\n").await?;
    assert_eq!(soon(closing).await?.fates.confirmed.messages, 1);
    assert_eq!(soon(theirs.read(&mut [0])).await?, 0);
    assert_eq!(asked.shutdowns.load(Ordering::Relaxed), 1);
    Ok(())
}

#[tokio::test]
async fn what_is_held_back_is_bounded_and_reading_goes_on_meanwhile() -> Outcome {
    let asked = Arc::<Asked>::default();
    let (client, mut theirs) = misers_client(&asked).await?;
    let mut subscription = client.subscribe("s").await?;
    read_until(&mut theirs, "SUB s 1\r\n").await?;
    asked.give_leave(false);
    let before = asked.flushed.load(Ordering::Relaxed);
    let (count, payload) = (2048, [b'x'; 1024]);
    for _ in 0..count {
        client.try_publish("a", payload)?;
    }
    until(|| asked.held.load(Ordering::Relaxed) > 200_000).await;
    for number in 0..10 {
        theirs.write_all(format!("MSG s 1 1\r\n{number}\r\n").as_bytes()).await?;
        let message = soon(subscription.next()).await.ok_or("the subscription goes on")?;
        assert_eq!(message.payload(), number.to_string().as_bytes());
    }
    let held = asked.held.load(Ordering::Relaxed);
    assert!(held <= 512 * 1024, "{held} bytes were held back");
    asked.give_leave(true);
    let flush = tokio::spawn(async move { client.flush().await });
    let frame = "PUB a 1024\r\n".len() + payload.len() + 2;
    let mut read = 0;
    while read < count * frame {
        let mut bytes = vec![0; 1 << 16];
        let got = soon(theirs.read(&mut bytes)).await?;
        assert!(got > 0);
        let pings = bytes[..got].windows(4).filter(|bytes| bytes == b"PING").count();
        theirs.write_all("PONG\r\n".repeat(pings).as_bytes()).await?;
        read += got;
    }
    // A PING that was cut by a read has no answer, so the flush may not end.
    drop(flush);
    assert!(asked.flushed.load(Ordering::Relaxed) - before >= count * frame);
    Ok(())
}

// ---- streams that fail ---------------------------------------------------------------------

/// What a stream does once it is told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Write,
    WriteNothing,
    Flush,
    Read,
}

/// A stream that fails, and counts how often it is read and written.
struct Faulty {
    inner: DuplexStream,
    fault: Fault,
    told: Arc<AtomicBool>,
    polls: Arc<AtomicUsize>,
}

impl Faulty {
    fn fails(&self, fault: Fault) -> io::Result<()> {
        match self.fault == fault && self.told.load(Ordering::Relaxed) {
            true => Err(io::Error::other("pulled out")),
            false => Ok(()),
        }
    }
}

impl AsyncRead for Faulty {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.fails(Fault::Read)?;
        Pin::new(&mut self.inner).poll_read(context, room)
    }
}

impl AsyncWrite for Faulty {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.fails(Fault::Write)?;
        if self.fails(Fault::WriteNothing).is_err() {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fails(Fault::Flush)?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[tokio::test]
async fn an_error_of_a_stream_is_why_the_connection_is_lost() -> Outcome {
    for (fault, why) in [
        (Fault::Write, "pulled out"),
        (Fault::WriteNothing, "write zero"),
        (Fault::Flush, "pulled out"),
        (Fault::Read, "pulled out"),
    ] {
        let (ours, theirs) = duplex(1000);
        let told = Arc::<AtomicBool>::default();
        let stream = Faulty { inner: ours, fault, told: told.clone(), polls: Arc::default() };
        let (connecting, driver) = connect_with(named("nats"))?;
        tokio::spawn(driver.through(once(stream)));
        let _peer = Peer::greet(theirs, "").await?;
        let client = soon(connecting).await?;
        let mut events = client.events();
        told.store(true, Ordering::Relaxed);
        client.publish("a", "").await?;
        match wait_for(&mut events, |event| matches!(event, Event::Disconnected(_))).await {
            Event::Disconnected(facts) => {
                assert_eq!(facts.cause, DisconnectCause::Io(why.into()), "{fault:?}");
                let kept = matches!(fault, Fault::Write | Fault::WriteNothing);
                assert_eq!(
                    (facts.kept.messages, facts.unknown.messages),
                    match kept {
                        true => (1, 0),
                        false => (0, 1),
                    }
                );
            }
            other => panic!("{other:?}"),
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_stream_that_is_idle_or_full_is_not_polled() -> Outcome {
    let (ours, theirs) = duplex(1000);
    let polls = Arc::<AtomicUsize>::default();
    let stream =
        Faulty { inner: ours, fault: Fault::Read, told: Arc::default(), polls: polls.clone() };
    let (connecting, driver) = connect_with(named("nats"))?;
    tokio::spawn(driver.through(once(stream)));
    let _peer = Peer::greet(theirs, "").await?;
    let client = soon(connecting).await?;
    let others = || async {
        others_run().await;
        polls.load(Ordering::Relaxed)
    };
    assert_eq!(others().await, others().await, "idle");
    client.publish("a", [0; 5000]).await?;
    let (before, after) = (others().await, others().await);
    assert!(client.pending_bytes() > 0);
    assert_eq!(before, after, "full");
    Ok(())
}
