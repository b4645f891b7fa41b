//! Slow readers against a server that is faster than them.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use midge::{ConnectOptions, Event, Events, Subscription};

use crate::conformance::steps::{PATIENCE, connect, give_way, soon};
use crate::conformance::tasks::blocking;
use crate::conformance::tasks::spawn;
use crate::conformance::{Adapter, Outcome};

/// A page of memory, as `/proc/self/statm` counts.
const PAGE: usize = 4096;
/// Frames of one write.
const AT_ONCE: usize = 2000;
const PONG: &[u8] = b"PONG\r\n";

/// Bytes of memory that the process has.
fn memory() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = statm.split(' ').nth(1).expect("the second number is the resident set");
    pages.parse::<usize>().expect("it is a number") * PAGE
}

/// What a [`Blaster`] is to write.
enum Order {
    /// The sids to send to, in turn, and how many messages to each.
    Blast(Vec<u64>, usize),
    Pong,
}

/// A server that sends messages of 128 bytes as fast as the socket takes them.
struct Blaster {
    url: String,
    go: mpsc::Sender<Order>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Blaster {
    fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("nats://{}", listener.local_addr()?);
        let (go, orders) = mpsc::channel();
        let pings = go.clone();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.write_all(b"INFO {\"max_payload\":1048576,\"headers\":true} \r\n")?;
            let mut answers = stream.try_clone()?;
            let reader = std::thread::spawn(move || hear_pings(&mut answers, &pings));
            while let Ok(order) = orders.recv() {
                match order {
                    Order::Pong => stream.write_all(PONG)?,
                    Order::Blast(sids, count) => blast(&mut stream, &orders, &sids, count)?,
                }
            }
            reader.join().expect("the reader does not panic")
        });
        Ok(Self { url, go, thread })
    }

    fn blast(&self, to: &[&Subscription], count: usize) {
        let sids = to.iter().map(|subscription| subscription.sid().number()).collect();
        self.go.send(Order::Blast(sids, count)).expect("the server runs");
    }

    /// Waits until the client has closed the connection.
    fn finish(self) -> Outcome {
        let Self { go, thread, .. } = self;
        drop(go);
        thread.join().expect("the server does not panic")?;
        Ok(())
    }
}

/// Whatever was asked meanwhile is answered between two writes of whole messages.
fn blast(
    stream: &mut TcpStream,
    orders: &mpsc::Receiver<Order>,
    sids: &[u64],
    count: usize,
) -> std::io::Result<()> {
    let frame = |sid: &u64| format!("MSG s {sid} 128\r\n{}\r\n", "x".repeat(128));
    let frames: String = sids.iter().map(frame).collect();
    let many = frames.repeat(AT_ONCE);
    let mut left = count;
    while left > 0 {
        let now = left.min(AT_ONCE);
        stream.write_all(&many.as_bytes()[..now * frames.len()])?;
        left -= now;
        for order in orders.try_iter() {
            assert!(matches!(order, Order::Pong), "one blast at a time");
            stream.write_all(PONG)?;
        }
    }
    Ok(())
}

/// Asks for a PONG behind each PING, until the client has closed the connection.
fn hear_pings(stream: &mut TcpStream, pings: &mpsc::Sender<Order>) -> std::io::Result<()> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        text.extend_from_slice(&chunk[..count]);
        while let Some(end) = text.windows(2).position(|end| end == b"\r\n") {
            if text[..end] == *b"PING" {
                // Nobody takes it once the writer has failed, which tells why.
                let _ = pings.send(Order::Pong);
            }
            text.drain(..end + 2);
        }
    }
}

fn slow_consumers(events: &mut Events, of: &Subscription) -> usize {
    std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event, Event::SlowConsumer { sid, .. } if *sid == of.sid()))
        .count()
}

/// A reader that lets others run after each message gets a million, and memory stays small.
pub async fn a_million_messages_pass_a_slower_reader<A: Adapter>() -> Outcome {
    const MESSAGES: usize = 1_000_000;
    let server = Blaster::start()?;
    // On a machine that is busy otherwise, the reader may be slower than the default allows.
    let options = ConnectOptions::new(server.url.as_str()).slow_hold(Duration::from_secs(15));
    let client = connect::<A>(options).await?;
    let mut events = client.events();
    let mut subscription = client.subscribe("s").capacity(256, 1 << 20).await?;
    soon(client.flush()).await?;
    let before = memory();
    let mut most = 0;
    server.blast(&[&subscription], MESSAGES);
    for number in 0..MESSAGES {
        let message = soon(subscription.next()).await.expect("the subscription goes on");
        assert_eq!(message.payload().len(), 128);
        if number % 1024 == 0 {
            most = memory().max(most);
        }
        give_way().await;
    }
    assert_eq!((subscription.dropped(), subscription.pending()), (0, 0));
    assert!(
        slow_consumers(&mut events, &subscription) > 0,
        "the reader was never behind, this shows nothing"
    );
    let growth = most.saturating_sub(before);
    assert!(growth < 32 << 20, "memory grew by {growth} bytes");
    soon(client.close()).await;
    soon(blocking(|| server.finish())).await
}

/// What is written, and its answer, do not wait for the end of what is read.
pub async fn a_flood_that_is_read_holds_up_no_flush<A: Adapter>() -> Outcome {
    const MESSAGES: usize = 1_000_000;
    /// Each lets pass what is in the sockets between, which is far less than half of the flood.
    const FLUSHES: usize = 5;
    let server = Blaster::start()?;
    // On a machine that is busy otherwise, the reader may be slower than the default allows.
    let options = ConnectOptions::new(server.url.as_str()).slow_hold(Duration::from_secs(15));
    let client = connect::<A>(options).await?;
    let mut subscription = client.subscribe("s").await?;
    soon(client.flush()).await?;
    server.blast(&[&subscription], MESSAGES);
    let reading = spawn::<A, _>(async move {
        let mut left = MESSAGES;
        while left > 0 {
            left -= soon(subscription.next_batch(1024)).await.expect("it goes on").count();
        }
    });
    let mut flushes = 0;
    while client.statistics().in_messages < MESSAGES as u64 / 2 {
        soon(client.flush()).await?;
        flushes += 1;
    }
    // Counted, not timed: on a machine that stands still a flush takes as long as that.
    assert!(flushes >= FLUSHES, "half of the flood had passed behind {flushes} flushes");
    soon(reading).await;
    soon(client.close()).await;
    soon(blocking(|| server.finish())).await
}

/// A reader that stops for good costs its neighbour one hold, then loses its own newest.
pub async fn a_reader_that_stops_costs_its_neighbour_one_hold<A: Adapter>() -> Outcome {
    const MESSAGES: usize = 300_000;
    const HOLD: Duration = Duration::from_secs(2);
    let server = Blaster::start()?;
    let options = ConnectOptions::new(server.url.as_str()).slow_hold(HOLD);
    let client = connect::<A>(options).await?;
    let mut events = client.events();
    let mut stopped = client.subscribe("s").await?;
    let mut neighbour = client.subscribe("s").await?;
    soon(client.flush()).await?;
    server.blast(&[&stopped, &neighbour], MESSAGES);
    let mut longest = Duration::ZERO;
    let mut waits = 0;
    for _ in 0..MESSAGES {
        let began = Instant::now();
        assert!(soon(neighbour.next()).await.is_some());
        let waited = began.elapsed();
        longest = longest.max(waited);
        waits += usize::from(waited > HOLD / 4);
    }
    // A machine that stands still makes it wait too. Were each batch held up, there would be hundreds.
    assert!((1..=4).contains(&waits), "{waits} waits, the longest was {longest:?}");
    assert!(longest < HOLD + PATIENCE / 8, "the longest wait was {longest:?}");
    assert_eq!((neighbour.dropped(), slow_consumers(&mut events, &stopped)), (0, 1));
    let (messages, _) = stopped.capacity();
    let kept = stopped.pending();
    assert_eq!(stopped.dropped() as usize + kept, MESSAGES);
    assert!(stopped.dropped() > 0 && kept < messages * 2, "{kept} are unread");
    let mut read = 0;
    while stopped.try_next().is_some() {
        read += 1;
    }
    assert_eq!(read, kept);
    soon(client.close()).await;
    soon(blocking(|| server.finish())).await
}
