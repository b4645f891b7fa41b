//! A minute without JetStream: how much readers ask for meanwhile, and how soon they read again.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use midge::ConnectOptions;
use midge::jetstream::{ConsumerConfig, JetStream, StreamConfig};
use midge_proto::Instant;
use midge_sim::server::{Event, ServerOptions};
use midge_sim::{End, Sim, World};

const OUTAGE: u64 = 60;

type Reading = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Reads for ever, and counts.
type Read = fn(JetStream, Arc<AtomicU64>) -> Reading;

fn consume(js: JetStream, count: Arc<AtomicU64>) -> Reading {
    Box::pin(async move {
        let consumer = js.consumer("S", "c").unwrap();
        let mut consume = consumer.consume().await.unwrap();
        while let Some(message) = consume.next().await {
            message.unwrap().ack().await.unwrap();
            count.fetch_add(1, Ordering::Relaxed);
        }
        panic!("it ends: {:?}", consume.end());
    })
}

fn ordered(js: JetStream, count: Arc<AtomicU64>) -> Reading {
    Box::pin(read_in_order(js, false, count))
}

fn ordered_push(js: JetStream, count: Arc<AtomicU64>) -> Reading {
    Box::pin(read_in_order(js, true, count))
}

fn push(js: JetStream, count: Arc<AtomicU64>) -> Reading {
    Box::pin(async move {
        let mut push = js.push_consumer("S", "p").await.unwrap();
        while let Some(message) = push.next().await {
            drop(message.unwrap().ack().await);
            count.fetch_add(1, Ordering::Relaxed);
        }
        panic!("it ends: {:?}", push.end());
    })
}

async fn read_in_order(js: JetStream, push: bool, count: Arc<AtomicU64>) {
    let builder = js.ordered("S");
    let mut ordered = if push { builder.push() } else { builder }.await.unwrap();
    while let Some(message) = ordered.next().await {
        assert_eq!(message.unwrap().delivery().unwrap().stream_sequence, {
            count.fetch_add(1, Ordering::Relaxed) + 1
        });
    }
    panic!("it ends: {:?}", ordered.end());
}

/// What comes of one outage.
struct Seen {
    /// Calls of the API in each second of it.
    calls: Vec<usize>,
    /// Those in the second after it.
    after: usize,
    /// How long it then takes until something is read.
    wait: Duration,
}

/// Stops so many of three servers for a minute, and starts them again.
fn outage(seed: u64, stopped: usize, read: Read) -> Seen {
    let run = Sim::new(seed).limit(Duration::from_secs(300)).run(move |world| async move {
        for _ in 0..3 {
            let options = world.server_options();
            world.add_server(ServerOptions { jetstream: true, ..options });
        }
        let servers = world.servers();
        // On the server that stays, if one does.
        let url = format!("nats://{}", world.address(servers[2]));
        let js = connect(&world, &url).await;
        let config = StreamConfig { subjects: vec!["s".into()], ..StreamConfig::new("S") };
        let stream = js.create_stream(config).await.unwrap();
        stream.create_consumer(ConsumerConfig::durable("c")).await.unwrap();
        let pushes = ConsumerConfig {
            deliver_subject: Some("to.p".into()),
            idle_heartbeat: Some(Duration::from_secs(1)),
            ..ConsumerConfig::durable("p")
        };
        stream.create_consumer(pushes).await.unwrap();
        let count = Arc::new(AtomicU64::new(0));
        drop(world.spawn(read(connect(&world, &url).await, Arc::clone(&count))));
        js.publish("s", "before").await.unwrap();
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(count.load(Ordering::Relaxed), 1);

        let begin = world.now();
        for &server in &servers[..stopped] {
            world.kill(server, End::Reset);
        }
        world.sleep(Duration::from_secs(OUTAGE)).await;
        let end = world.now();
        for &server in &servers {
            world.start(server);
        }
        while world.cluster(|cluster, _| cluster.jetstream_leader()).is_none() {
            world.sleep(Duration::from_millis(10)).await;
        }
        let led = world.now();
        while count.load(Ordering::Relaxed) == 1 {
            let _ = js.publish("s", "after").await;
            world.sleep(Duration::from_millis(20)).await;
        }
        let wait = world.now() - led;
        world.sleep(Duration::from_secs(1)).await;
        let calls = (0..OUTAGE).map(|second| {
            let from = begin + Duration::from_secs(second);
            calls_between(&world, from, from + Duration::from_secs(1))
        });
        let after = calls_between(&world, end, end + Duration::from_secs(1));
        Seen { calls: calls.collect(), after, wait }
    });
    run.unwrap_or_else(|failure| panic!("{failure}")).value
}

async fn connect(world: &World, url: &str) -> JetStream {
    let options = ConnectOptions::new(url).max_attempts(None);
    JetStream::new(world.connect(options).await.unwrap())
}

fn calls_between(world: &World, from: Instant, to: Instant) -> usize {
    world.cluster(|cluster, _| {
        let journal = cluster.journal();
        let is_call = |event: &Event| match event {
            Event::Published(index) => journal.publishes()[*index].subject.starts_with(b"$JS.API."),
            _ => false,
        };
        let entries = journal.entries().iter().filter(|entry| from <= entry.at && entry.at < to);
        entries.filter(|entry| is_call(&entry.event)).count()
    })
}

/// Enough for a cluster without a leader to be deaf, mute, and unavailable.
const SEEDS: u64 = 12;

/// Each with the time after which it reads again at the latest: the longest wait between two
/// attempts, and the way there and back. That the last request or call was not heard shows within
/// it: after two heartbeats, or the time for a call.
const READERS: [(&str, Read, Duration); 4] = [
    ("consume", consume, Duration::from_secs(5)),
    ("ordered", ordered, Duration::from_secs(5)),
    ("ordered push", ordered_push, Duration::from_secs(5)),
    ("push", push, Duration::from_secs(5)),
];

#[test]
fn without_a_leader_readers_ask_seldom_and_read_again_soon() {
    for (name, read, soon) in READERS {
        for seed in 0..SEEDS {
            let Seen { calls, after, wait } = outage(seed, 2, read);
            let all: usize = calls.iter().sum();
            let most = calls.iter().max().copied().unwrap_or(0);
            // They do ask, within the first seconds more often than later.
            assert!((5..=80).contains(&all), "{name}, seed {seed}: {calls:?}");
            assert!(most <= 10, "{name}, seed {seed}: {calls:?}");
            assert!(calls[10..].iter().all(|&count| count <= 4), "{name}, seed {seed}: {calls:?}");
            assert!(after <= 10, "{name}, seed {seed}: {after} calls in the second after it");
            assert!(wait <= soon, "{name}, seed {seed}: reads again after {wait:?}");
        }
    }
}

#[test]
fn without_servers_nothing_is_asked_for_and_little_afterwards() {
    for (name, read, soon) in READERS {
        for seed in 0..SEEDS {
            let Seen { calls, after, wait } = outage(seed, 3, read);
            assert!(calls.iter().all(|&count| count == 0), "{name}, seed {seed}: {calls:?}");
            assert!(after <= 10, "{name}, seed {seed}: {after} calls in the second after it");
            assert!(wait <= soon, "{name}, seed {seed}: reads again after {wait:?}");
        }
    }
}
