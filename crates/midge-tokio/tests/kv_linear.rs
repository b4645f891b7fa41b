//! A bucket with three replicas, whose servers are killed and restarted, is one register for each
//! key: nothing that was acknowledged is lost, nothing is written twice, no leader reads what is old.
//!
//! Where servers stand still, or do not hear each other, that is not so: one that led keeps answering
//! for some seconds. What it says then is reported, with what passed over the wire.
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
use midge_testing::linear::{
    Answer, Call, Found, History, MAX_OPERATIONS, Operation, Report, Violation, check,
};
use midge_testing::{Cluster, Link, Random, Recording};
use tokio::time::{sleep, timeout};

use steps::{CLUSTER_PATIENCE, Outcome, connect, granted, position, whole};

const CLIENTS: usize = 5;
/// Keys that are used at the same time. Each is left for another one in time.
const LANES: u32 = 4;
/// A key that is put and read once, before anything goes wrong.
const PROBE: u32 = 1_000_000;
/// A client stops waiting for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A bucket, over connections to these servers, the first one first.
async fn bucket(urls: Vec<String>) -> Outcome<KeyValue> {
    let options = ConnectOptions::new(urls)
        .ignore_discovered(true)
        .retain_order(true)
        .reconnect_wait(Duration::from_millis(20), Duration::from_millis(200))
        .retry_first_connect(true);
    let js = JetStream::new(connect(options).await?).with_timeout(TIMEOUT);
    let config = BucketConfig { history: 8, replicas: 3, ..BucketConfig::new("b") };
    let (kv, _) = granted(|| js.create_or_open_key_value(config.clone()).into_future()).await;
    Ok(kv)
}

/// A client whose connections are recorded.
struct Recorded {
    kv: KeyValue,
    recording: Recording,
    /// A way to each server.
    _links: Vec<Link>,
}

impl Recorded {
    /// Connects to the server `home`: were all of them on one that is parted, nothing would go on.
    async fn new(cluster: &Cluster, home: usize) -> Outcome<Self> {
        let recording = Recording::new();
        let mut urls = cluster.urls();
        urls.rotate_left(home);
        let links = urls.iter().map(|url| Link::to(url).record(&recording).start());
        let links = links.collect::<Result<Vec<_>, _>>()?;
        let kv = bucket(links.iter().map(Link::url).collect()).await?;
        Ok(Self { kv, recording, _links: links })
    }
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

/// Asks for one thing, and says so.
async fn told(client: &Recorded, history: &History, key: u32, call: Call) -> Answer {
    let calling = history.call_over(key, call, &client.recording);
    let answer = ask(&client.kv, key, call).await;
    calling.answer(answer);
    answer
}

/// One client, which asks for one thing after another until it is over.
async fn work(client: Recorded, history: History, mut random: Random, over: Arc<AtomicBool>) {
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
        let answer = told(&client, &history, key, call).await;
        if let Answer::Written(revision)
        | Answer::Exists(revision)
        | Answer::Found(Some(Found { revision, .. })) = answer
        {
            known.insert(key, revision);
        }
        sleep(Duration::from_millis(random.draw(5..=40))).await;
    }
}

/// Who leads the bucket, once each replica has everything.
async fn leader(cluster: &Cluster) -> Outcome<usize> {
    let name = whole(bucket(cluster.urls()).await?.stream()).await;
    Ok(position(cluster, &name).ok_or("the leader is one of them")?)
}

/// Waits until the others have a leader that is not `server`.
async fn led_by_another(cluster: &Cluster, server: usize) -> Outcome {
    let mut urls = cluster.urls();
    urls.remove(server);
    let kv = bucket(urls).await?;
    let of_them = format!("n{server}");
    granted(async || {
        let cluster = kv.status().await?.stream.cluster.ok_or("it is in no cluster")?;
        match cluster.leader {
            Some(leader) if leader != of_them => Outcome::Ok(()),
            leader => Err(format!("{leader:?} leads").into()),
        }
    })
    .await;
    Ok(())
}

/// Waits until clients were told of so many more writes.
async fn goes_on(history: &History, writes: usize) -> Outcome {
    let written = || count(&history.operations(), |it| matches!(it.answer, Answer::Written(_)));
    let enough = written() + writes;
    let wait = async {
        while written() < enough {
            sleep(Duration::from_millis(20)).await;
        }
    };
    Ok(timeout(CLUSTER_PATIENCE, wait).await?)
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
    /// Nothing passes between it and the others, while its clients reach it.
    Part,
}

impl Fault {
    fn strike(self, cluster: &mut Cluster, server: usize) -> Outcome {
        match self {
            Self::Kill => cluster[server].kill()?,
            Self::Pause => cluster[server].pause()?,
            Self::Part => cluster.part(server),
        }
        Ok(())
    }

    fn heal(self, cluster: &mut Cluster, server: usize) -> Outcome {
        match self {
            Self::Kill => {
                cluster[server].restart()?;
                cluster.wait_until_joined()?;
            }
            Self::Pause => cluster[server].resume()?,
            Self::Part => cluster.join(),
        }
        Ok(())
    }
}

/// What clients were told while each of so many servers in turn had a fault, the leader each second
/// time, from the first.
async fn run(seed: u64, fault: Fault, rounds: usize) -> Outcome<History> {
    let mut random = Random::new(seed);
    let mut cluster = Cluster::builder().jetstream(true).partable(fault == Fault::Part).start(3)?;
    drop(bucket(cluster.urls()).await?);
    let (history, over) = (History::new(), Arc::<AtomicBool>::default());
    let mut clients = Vec::new();
    let first = Recorded::new(&cluster, 0).await?;
    let put = told(&first, &history, PROBE, Call::Put { value: u64::MAX }).await;
    let read = told(&first, &history, PROBE, Call::Read).await;
    assert!(
        matches!((put, read), (Answer::Written(_), Answer::Found(Some(_)))),
        "{put:?} {read:?}"
    );
    for client in 0..CLIENTS {
        let random = Random::new(random.next());
        let client = Recorded::new(&cluster, client % 3).await?;
        clients.push(tokio::spawn(work(client, history.clone(), random, over.clone())));
    }
    for round in 0..rounds {
        let leader = leader(&cluster).await?;
        goes_on(&history, 10).await?;
        let victim = if round % 2 == 0 { leader } else { random.draw(0..=2) as usize };
        fault.strike(&mut cluster, victim)?;
        if victim == leader && fault != Fault::Kill {
            led_by_another(&cluster, victim).await?;
        }
        sleep(Duration::from_millis(random.draw(0..=1_500))).await;
        if fault != Fault::Kill {
            goes_on(&history, 10).await?;
        }
        fault.heal(&mut cluster, victim)?;
    }
    leader(&cluster).await?;
    goes_on(&history, 10).await?;
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
    assert!(written > 40 && refused > 0, "there was something to judge");
    Ok(history)
}

/// The judge's word, with what passed over the wire where it finds a fault.
fn judged(history: &History, operations: &[Operation]) -> Option<Report> {
    check(operations).err().map(|violation| history.report(operations, violation))
}

/// Says what is wrong, if anything is. What is wrong has to be witnessed by the wire.
fn tell(history: &History) {
    match judged(history, &history.operations()) {
        None => note("every key was one register"),
        Some(report) => {
            note(&report.to_string());
            let undecided = matches!(report.violation, Violation::Undecided { .. });
            assert!(undecided || report.is_witnessed(), "there are bytes for each answer");
        }
    }
}

/// Of an answer that was never given, the judge shows what was answered instead.
fn assert_what_is_wrong_is_witnessed(history: &History) {
    let of_probe = history.operations().into_iter().filter(|it| it.key == PROBE);
    let mut operations: Vec<_> = of_probe.collect();
    let [put, read] = &mut operations[..] else { panic!("it is put and read: {operations:?}") };
    assert!(check(&[put.clone(), read.clone()]).is_ok());
    // Somebody is told that nothing was ever there.
    read.answer = Answer::Found(None);
    let (put, read) = (put.called, read.called);
    let report = judged(history, &operations).expect("that cannot be");
    let told = report.to_string();
    assert!(report.is_witnessed(), "{told}");
    let wires: Vec<_> = report.contradiction.iter().map(|it| it.operation.called).collect();
    assert_eq!(wires, [put, read], "{told}");
    for bytes in ["$KV.b.k.1000000", "$JS.API.STREAM.MSG.GET.KV_b"] {
        assert!(told.contains(bytes), "{told}");
    }
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
    let history = run(seed()?, Fault::Kill, 4).await?;
    assert_what_is_wrong_is_witnessed(&history);
    let report = judged(&history, &history.operations());
    assert!(report.is_none(), "{}", report.map(|report| report.to_string()).unwrap_or_default());
    Ok(())
}

/// Told and not asserted: a server that stood still answers before it knows that another one leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_the_registers_while_servers_stand_still_is_told() -> Outcome {
    let history = run(seed()?, Fault::Pause, 2).await?;
    assert_what_is_wrong_is_witnessed(&history);
    tell(&history);
    Ok(())
}

/// Told and not asserted, likewise: whom nobody follows any more does not know that at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_becomes_of_the_registers_while_servers_are_parted_is_told() -> Outcome {
    let history = run(seed()?, Fault::Part, 2).await?;
    assert_what_is_wrong_is_witnessed(&history);
    tell(&history);
    Ok(())
}
