//! The world itself, through its public face: time, paths, faults, and what a run promises.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod failures;
mod faults;
mod paths;
mod seeds;
mod standstill;
mod tasks;
mod time;

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use midge::{Client, ConnectOptions, Event, Events, FlushError};
use midge_sim::{Link, Outcome, Sim, Socket, World};

/// A path without chance.
fn exact(latency: Duration) -> Link {
    let mut link = Link::default();
    (link.latency, link.jitter) = (latency, Duration::ZERO);
    link
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A run that succeeds, over a path of exactly `latency`.
fn run<F, T>(seed: u64, latency: Duration, main: impl FnOnce(World) -> F) -> Outcome<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let sim = Sim::new(seed).link(exact(latency)).limit(Duration::from_secs(100_000)).trace(60);
    sim.run(main).unwrap_or_else(|failure| panic!("{failure}"))
}

async fn read(socket: &mut Socket, buffer: &mut [u8]) -> io::Result<usize> {
    poll_fn(|context| socket.poll_read(buffer, context)).await
}

async fn write(socket: &mut Socket, bytes: &[u8]) -> io::Result<usize> {
    poll_fn(|context| socket.poll_write(bytes, context)).await
}

async fn write_all(socket: &mut Socket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = write(socket, bytes).await?;
        bytes = &bytes[count..];
    }
    Ok(())
}

/// Reads until `end` has come.
async fn read_until(socket: &mut Socket, end: &[u8]) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
    while !all.ends_with(end) {
        let count = read(socket, &mut buffer).await.unwrap();
        assert!(count > 0, "the end came before");
        all.extend_from_slice(&buffer[..count]);
    }
    all
}

/// A connection by hand that may use everything.
async fn shake_hands(world: &World, server: midge_sim::server::ServerId) -> Socket {
    let mut socket = world.dial(world.address(server)).await.unwrap();
    let connect = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n";
    write_all(&mut socket, connect).await.unwrap();
    read_until(&mut socket, b"PONG\r\n").await;
    socket
}

/// Options of a client that does not give up, and is quick to find out.
fn patient(world: &World) -> ConnectOptions {
    ConnectOptions::new(world.urls())
        .retry_first_connect(true)
        .ping_interval(ms(500))
        .max_pings_out(1)
        .connect_timeout(ms(1000))
        .reconnect_wait(ms(10), ms(50))
        .reconnect_jitter(Duration::ZERO, Duration::ZERO)
}

/// A client with these options, once it is connected.
async fn up(world: &World, options: ConnectOptions) -> Client {
    let client = world.connect(options).await.unwrap();
    flushed(&client).await;
    client
}

/// A server has answered, however often the connection was lost before.
async fn flushed(client: &Client) {
    while let Err(error) = client.flush().timeout(Duration::from_secs(60)).await {
        assert!(matches!(error, FlushError::Disconnected(_)), "{error}");
    }
}

async fn next(events: &mut Events, wanted: impl Fn(&Event) -> bool) -> Event {
    loop {
        let event = events.next().await.expect("the client lives");
        if wanted(&event) {
            return event;
        }
    }
}
