//! The same client over each adapter, against one real nats-server: messages a second, and the
//! time of a request. The adapters take turns within one run, so that their ratios mean something.
//!
//! The caller is a blocking thread in each case; the driver runs on a thread of tokio, of smol, or
//! on those of midge-std.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use midge::Client;
use midge_std::{Items, Wait};
use midge_testing::NatsServer;

type Failure = Box<dyn Error + Send + Sync>;

const SIZE: usize = 128;
const MESSAGES: u32 = 200_000;
const REQUESTS: u32 = 10_000;
/// Rounds of which the fastest counts: whatever else the machine does only slows one down.
const ROUNDS: usize = 7;
/// Unread messages, so that no subscription drops any.
const CAPACITY: (usize, usize) = (1 << 20, 1 << 30);

/// The time until the server has the messages.
fn publish(client: &Client, messages: u32) -> Result<Duration, Failure> {
    let start = Instant::now();
    for _ in 0..messages {
        client.publish("publish", [b'x'; SIZE]).wait()?;
    }
    client.flush().wait()?;
    Ok(start.elapsed())
}

/// The time until this thread has the messages that another one publishes through the same client.
fn echo(client: &Client, messages: u32) -> Result<Duration, Failure> {
    let subscribe = client.subscribe("echo").capacity(CAPACITY.0, CAPACITY.1);
    let mut subscription = subscribe.confirmed().wait()?;
    let start = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            (0..messages).try_for_each(|_| client.publish("echo", [b'x'; SIZE]).wait().map(|_| ()))
        });
        subscription.iter().take(messages as usize).for_each(drop);
    });
    Ok(start.elapsed())
}

/// The time of requests, one after the other, which a handler of the same client answers.
fn request(client: &Client, requests: u32) -> Result<Duration, Failure> {
    let answering = client.clone();
    let answer = move |message| {
        let _ = answering.respond(&message, [b'x'; SIZE]).try_send();
    };
    let _handler = client.subscribe("ask").handler(answer).wait()?;
    let start = Instant::now();
    for _ in 0..requests {
        client.request("ask", [b'x'; SIZE]).wait()?;
    }
    Ok(start.elapsed())
}

fn main() -> Result<(), Failure> {
    // As a test it only shows that it runs.
    let measures = std::env::args().any(|arg| arg == "--bench");
    let (rounds, share) = if measures { (ROUNDS, 1) } else { (1, 1000) };
    let server = NatsServer::start()?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let clients = [
        ("tokio", runtime.block_on(midge_tokio::connect(server.url()))?),
        ("smol", midge_smol::connect(server.url()).wait()?),
        ("std", midge_std::connect(server.url())?),
    ];
    type Measure = fn(&Client, u32) -> Result<Duration, Failure>;
    let measures: [(&str, u32, Measure); 3] =
        [("pub", MESSAGES, publish), ("echo", MESSAGES, echo), ("request", REQUESTS, request)];
    println!("{:8} {:8} {:>12} {:>9}", "", "adapter", "a second", "of tokio");
    for (what, count, measure) in measures {
        let count = count / share;
        let mut times = [Duration::MAX; 3];
        for _ in 0..rounds {
            for ((_, client), time) in clients.iter().zip(&mut times) {
                *time = (*time).min(measure(client, count)?);
            }
        }
        let rates = times.map(|time| f64::from(count) / time.as_secs_f64());
        for ((name, _), rate) in clients.iter().zip(rates) {
            println!("{what:8} {name:8} {rate:>12.0} {:>9.2}", rate / rates[0]);
        }
    }
    Ok(())
}
