//! Buckets of the key-value store whose replicas are behind, and whose connections are cut: what is
//! read then, and what the judge of registers finds.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::time::Duration;

use midge::ConnectOptions;
use midge::jetstream::JetStream;
use midge::kv::{BucketConfig, Entry, GetError, KeyValue, UpdateError};
use midge_sim::server::ServerOptions;
use midge_sim::{Link, Rng, Sim, World};
use midge_testing::linear::{Answer, Call, Found, History, Operation, check};

/// A bucket on one server, and the way of further clients to it.
async fn bucket(world: &World) -> KeyValue {
    if world.servers().is_empty() {
        world.add_server(ServerOptions { jetstream: true, ..world.server_options() });
    }
    let options = ConnectOptions::new(&*world.urls()).max_attempts(None);
    let js = JetStream::new(world.connect(options).await.unwrap());
    let js = js.with_timeout(Duration::from_secs(2));
    js.create_key_value(BucketConfig { history: 64, ..BucketConfig::new("b") }).await.unwrap()
}

fn value(entry: Option<Entry>) -> Option<String> {
    Some(String::from_utf8_lossy(entry?.value()).into_owned())
}

async fn read(kv: &KeyValue, key: &str) -> Option<String> {
    value(kv.get(key).await.unwrap())
}

#[test]
fn a_handle_that_reads_what_it_has_written_is_not_misled_by_a_stale_replica() {
    let run = Sim::new(1).run(|world| async move {
        let kv = bucket(&world).await;
        let own = kv.read_your_writes();
        own.put("a", "old").await.unwrap();
        for number in 0..3 {
            kv.put("others", number.to_string()).await.unwrap();
        }
        world.cluster(|cluster, _| cluster.set_replica_behind(3));
        assert_eq!(read(&kv, "a").await.as_deref(), Some("old"));
        assert_eq!(read(&kv, "others").await, None);

        let revision = own.put("a", "new").await.unwrap();
        assert_eq!(read(&kv, "a").await.as_deref(), Some("old"));
        assert_eq!(read(&own, "a").await.as_deref(), Some("new"));
        assert!(kv.get("a").at(revision).await.unwrap().is_none());
        let at = own.get("a").at(revision).await.unwrap();
        assert_eq!(value(at).as_deref(), Some("new"));
        // What it has not written can be old.
        assert_eq!(read(&own, "others").await.as_deref(), Some("0"));

        own.create("created", "1").await.unwrap();
        assert_eq!(read(&kv, "created").await, None);
        assert_eq!(read(&own.clone(), "created").await.as_deref(), Some("1"));
        assert_eq!(read(&own.read_your_writes(), "created").await, None, "it begins anew");
        own.update("a", "newer", revision).await.unwrap();
        assert_eq!(read(&own, "a").await.as_deref(), Some("newer"));
        own.change("a", |entry| entry.map(|_| "newest")).await.unwrap();
        assert_eq!(read(&own, "a").await.as_deref(), Some("newest"));

        let keys = ["a", "created", "none"];
        let many = own.get_many(keys).await.unwrap();
        let many: Vec<_> = many.into_iter().map(value).collect();
        assert_eq!(many, [Some("newest".to_owned()), Some("1".to_owned()), None]);
        own.delete("a").await.unwrap();
        assert_eq!(read(&own, "a").await, None);
        assert!(read(&kv, "a").await.is_some());
        assert_eq!(own.get_many(["a"]).await.unwrap(), [None]);
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

/// What the clients of a run do that they must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    None,
    /// They write again what may have been written.
    SendAgain,
    /// They read from any replica.
    ReadDirect,
}

const CLIENTS: u64 = 4;
const CALLS: u64 = 25;

async fn write(kv: &KeyValue, call: Call, key: &str) -> Answer {
    match call {
        Call::Put { value } => match kv.put(key, value.to_string()).await {
            Ok(revision) => Answer::Written(revision),
            Err(error) if error.may_be_stored() => Answer::Unknown,
            Err(_) => Answer::NotWritten,
        },
        Call::Update { value, expected } => {
            match kv.update(key, value.to_string(), expected).await {
                Ok(revision) => Answer::Written(revision),
                Err(UpdateError::WrongRevision { .. }) => Answer::WrongRevision,
                Err(error) if error.may_be_stored() => Answer::Unknown,
                Err(_) => Answer::NotWritten,
            }
        }
        _ => panic!("no client asks for it"),
    }
}

fn found(entry: Result<Option<Entry>, GetError>) -> Answer {
    let value = |entry: &Entry| std::str::from_utf8(entry.value()).unwrap().parse().ok();
    match entry {
        Ok(None) => Answer::Found(None),
        Ok(Some(entry)) => {
            Answer::Found(Some(Found { revision: entry.revision(), value: value(&entry) }))
        }
        Err(_) => Answer::Unknown,
    }
}

async fn work(world: World, kv: KeyValue, history: History, mut rng: Rng, habit: Habit) {
    let mut known = [0; 3];
    for _ in 0..CALLS {
        let key = rng.index(known.len());
        let (name, value) = (format!("k.{key}"), rng.next_u64());
        let call = match rng.below(5) {
            0 => Call::Put { value },
            1 | 2 => Call::Update { value, expected: known[key] },
            _ => Call::Read,
        };
        let calling = history.call(key as u32, call);
        let mut answer = match call {
            Call::Read if habit == Habit::ReadDirect => found(kv.get(&name).await),
            Call::Read => found(kv.get(&name).from_leader().await),
            call => write(&kv, call, &name).await,
        };
        while habit == Habit::SendAgain && call != Call::Read && answer == Answer::Unknown {
            world.sleep(Duration::from_millis(200)).await;
            answer = write(&kv, call, &name).await;
        }
        calling.answer(answer);
        if let Answer::Written(revision) | Answer::Found(Some(Found { revision, .. })) = answer {
            known[key] = revision;
        }
        world.sleep(rng.between(Duration::ZERO, Duration::from_millis(60))).await;
    }
}

fn run(seed: u64, habit: Habit) -> Vec<Operation> {
    // On its way for as long as it takes to be cut.
    let mut link = Link::default();
    (link.latency, link.jitter) = (Duration::from_millis(20), Duration::from_millis(20));
    let sim = Sim::new(seed).link(link).limit(Duration::from_secs(600));
    let run = sim.run(move |world| async move {
        let (history, mut rng) = (History::new(), world.rng());
        drop(bucket(&world).await);
        world.cluster(|cluster, _| cluster.set_replica_behind(2));
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let kv = bucket(&world).await;
            let work = work(world.clone(), kv, history.clone(), rng.split(), habit);
            clients.push(world.spawn(work));
        }
        let weather = world.spawn({
            let world = world.clone();
            async move {
                loop {
                    world.sleep(rng.between(Duration::ZERO, Duration::from_millis(300))).await;
                    let connections = world.connections();
                    if !connections.is_empty() {
                        world.cut(connections[rng.index(connections.len())]);
                    }
                }
            }
        });
        world.join(clients).await;
        weather.abort();
        history.operations()
    });
    run.unwrap_or_else(|failure| panic!("{failure}")).value
}

const SEEDS: u64 = 40;

#[test]
fn a_bucket_whose_connections_are_cut_is_one_register_for_each_key() {
    let (mut written, mut unknown) = (0, 0);
    for seed in 0..SEEDS {
        let operations = run(seed, Habit::None);
        check(&operations).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        let writes = operations.iter().filter(|operation| operation.call != Call::Read);
        for operation in writes {
            written += u64::from(matches!(operation.answer, Answer::Written(_)));
            unknown += u64::from(operation.answer == Answer::Unknown);
        }
    }
    assert!(written > 20 * SEEDS && unknown > SEEDS, "{written} written, {unknown} unknown");
}

#[test]
fn clients_that_write_again_what_may_be_written_are_found() {
    let found = (0..SEEDS).filter(|&seed| check(&run(seed, Habit::SendAgain)).is_err()).count();
    assert!(found > 10, "{found} of {SEEDS}");
}

#[test]
fn clients_that_read_from_stale_replicas_are_found() {
    let found = (0..SEEDS).filter(|&seed| check(&run(seed, Habit::ReadDirect)).is_err()).count();
    assert_eq!(found as u64, SEEDS);
}
