//! A bucket with three replicas, whose servers are killed and restarted, is one register for each
//! key: nothing that was acknowledged is lost, nothing is written twice, no leader reads what is old.
//!
//! `MIDGE_SEEDS` is the seed of a run, a number; otherwise each run has its own, which it prints.

mod steps;

use std::collections::BTreeMap;
use std::env;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use midge::ConnectOptions;
use midge::jetstream::{JetPublishError, JetStream};
use midge::kv::{BucketConfig, CreateError, DeleteError, Entry, KeyValue, PutError, UpdateError};
use midge_testing::linear::{Answer, Call, Found, History, MAX_OPERATIONS, Operation, check};
use midge_testing::{Cluster, Random};
use tokio::time::sleep;

use steps::{Outcome, connect, granted, position, whole};

const CLIENTS: u64 = 5;
/// Keys that are used at the same time. Each is left for another one in time.
const LANES: u32 = 4;
/// A client stops waiting for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

async fn bucket(cluster: &Cluster) -> Outcome<KeyValue> {
    let options = ConnectOptions::new(cluster.urls())
        .reconnect_wait(Duration::from_millis(20), Duration::from_millis(200))
        .retry_first_connect(true);
    let js = JetStream::new(connect(options).await?).with_timeout(TIMEOUT);
    let config = BucketConfig { history: 8, replicas: 3, ..BucketConfig::new("b") };
    let (kv, _) = granted(|| js.create_or_open_key_value(config.clone()).into_future()).await;
    Ok(kv)
}

/// What a failed write tells. Where no stream took it, or one was not able to, that is not held
/// against those who believe that it was stored.
fn failed(error: &JetPublishError) -> Answer {
    match error {
        JetPublishError::NoStream { .. } => Answer::Unknown,
        JetPublishError::Refused(error) if error.code >= 500 => Answer::Unknown,
        error if error.may_be_stored() => Answer::Unknown,
        _ => Answer::NotWritten,
    }
}

fn not_put(error: &PutError) -> Answer {
    match error {
        PutError::Publish(error) => failed(error),
        _ => Answer::NotWritten,
    }
}

fn found(entry: Option<&Entry>) -> Option<Found> {
    let value = |entry: &Entry| std::str::from_utf8(entry.value()).ok()?.parse().ok();
    entry.map(|entry| Found {
        revision: entry.revision(),
        value: entry.is_put().then(|| value(entry).expect("only numbers are written")),
    })
}

async fn ask(kv: &KeyValue, key: u32, call: Call) -> Answer {
    let key = &*format!("k.{key}");
    match call {
        Call::Put { value } => match kv.put(key, value.to_string()).await {
            Ok(revision) => Answer::Written(revision),
            Err(error) => not_put(&error),
        },
        Call::Create { value } => match kv.create(key, value.to_string()).await {
            Ok(revision) => Answer::Written(revision),
            Err(CreateError::Exists { revision, .. }) => Answer::Exists(revision),
            Err(CreateError::Put(error)) => not_put(&error),
            Err(_) => Answer::NotWritten,
        },
        Call::Update { value, expected } => {
            match kv.update(key, value.to_string(), expected).await {
                Ok(revision) => Answer::Written(revision),
                Err(UpdateError::WrongRevision { .. }) => Answer::WrongRevision,
                Err(UpdateError::Put(error)) => not_put(&error),
                Err(_) => Answer::Unknown,
            }
        }
        Call::Delete { expected } => {
            let delete = kv.delete(key);
            let delete = match expected {
                Some(expected) => delete.expect_revision(expected),
                None => delete,
            };
            match delete.await {
                Ok(revision) => Answer::Written(revision),
                Err(DeleteError::WrongRevision { .. }) => Answer::WrongRevision,
                Err(DeleteError::Publish(error)) => failed(&error),
                Err(_) => Answer::Unknown,
            }
        }
        Call::Read => match kv.get(key).from_leader().with_markers().await {
            Ok(entry) => Answer::Found(found(entry.as_ref())),
            Err(_) => Answer::Unknown,
        },
    }
}

/// One client, which asks for one thing after another until it is over.
async fn work(kv: KeyValue, history: History, mut random: Random, over: Arc<AtomicBool>) {
    let mut known = BTreeMap::<u32, u64>::new();
    while !over.load(Ordering::Relaxed) {
        let operations = history.operations();
        // A key is left before it has more operations than can be judged.
        let lane = random.draw(0..=u64::from(LANES) - 1) as u32;
        let of_lane = operations.iter().filter(|operation| operation.key % LANES == lane).count();
        let key = lane + LANES * (of_lane / (MAX_OPERATIONS - 8)) as u32;
        // Its place in the history is unique, and so is its value.
        let value = random.next();
        let expected = known.get(&key).copied().unwrap_or(0);
        let call = match random.draw(0..=9) {
            0 | 1 => Call::Create { value },
            2..=4 => Call::Update { value, expected },
            5 => Call::Put { value },
            6 if random.draw(0..=1) == 0 => Call::Delete { expected: Some(expected) },
            6 => Call::Delete { expected: None },
            _ => Call::Read,
        };
        let calling = history.call(key, call);
        let answer = ask(&kv, key, call).await;
        calling.answer(answer);
        if let Answer::Written(revision)
        | Answer::Exists(revision)
        | Answer::Found(Some(Found { revision, .. })) = answer
        {
            known.insert(key, revision);
        }
        sleep(Duration::from_millis(random.draw(5..=40))).await;
    }
}

fn count(operations: &[Operation], which: impl Fn(&Operation) -> bool) -> usize {
    operations.iter().filter(|operation| which(operation)).count()
}

/// Says something that is shown when the test fails.
#[expect(clippy::print_stdout, reason = "tests say it so")]
fn note(text: &str) {
    println!("{text}");
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// kill -9, and a restart.
    Kill,
    /// SIGSTOP, and SIGCONT.
    Pause,
}

/// What clients were told while each of four servers in turn had a fault, the leader each second
/// time.
async fn run(seed: u64, fault: Fault) -> Outcome<Vec<Operation>> {
    let mut random = Random::new(seed);
    let mut cluster = Cluster::builder().jetstream(true).start(3)?;
    let kv = bucket(&cluster).await?;
    let (history, over) = (History::new(), Arc::<AtomicBool>::default());
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let random = Random::new(random.next());
        let kv = bucket(&cluster).await?;
        clients.push(tokio::spawn(work(kv, history.clone(), random, over.clone())));
    }
    for round in 0..4 {
        let leader = whole(kv.stream()).await;
        let leader = position(&cluster, &leader).ok_or("the leader is one of them")?;
        let victim = if round % 2 == 0 { leader } else { random.draw(0..=2) as usize };
        sleep(Duration::from_millis(random.draw(0..=400))).await;
        match fault {
            Fault::Kill => {
                cluster[victim].kill()?;
                sleep(Duration::from_millis(random.draw(0..=1_500))).await;
                cluster[victim].restart()?;
                cluster.wait_until_joined()?;
            }
            Fault::Pause => {
                cluster[victim].pause()?;
                sleep(Duration::from_millis(random.draw(1_000..=12_000))).await;
                cluster[victim].resume()?;
            }
        }
    }
    whole(kv.stream()).await;
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?;
    }
    let operations = history.operations();
    let written = count(&operations, |it| matches!(it.answer, Answer::Written(_)));
    let refused = count(&operations, |it| it.answer == Answer::WrongRevision);
    let unknown = count(&operations, |it| it.call != Call::Read && it.answer == Answer::Unknown);
    let all = operations.len();
    note(&format!("{all} operations: {written} written, {refused} refused, {unknown} unknown"));
    assert!(written > 50 && refused > 0, "there was something to judge");
    Ok(operations)
}

/// The seed that was asked for, or another one each time.
fn seed() -> Outcome<u64> {
    let seed = match env::var("MIDGE_SEEDS") {
        Ok(seed) => seed.parse()?,
        Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64,
    };
    note(&format!("MIDGE_SEEDS={seed}"));
    Ok(seed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_is_one_register_while_servers_are_killed_and_restarted() -> Outcome {
    let operations = run(seed()?, Fault::Kill).await?;
    Ok(check(&operations)?)
}

/// Told and not asserted: what a server answers that stood still is its own affair.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it reports what nats-server does when it stood still, in a minute"]
async fn what_becomes_of_the_registers_while_servers_stand_still_is_told() -> Outcome {
    match check(&run(seed()?, Fault::Pause).await?) {
        Ok(()) => note("every key was one register"),
        Err(violation) => note(&violation.to_string()),
    }
    Ok(())
}
