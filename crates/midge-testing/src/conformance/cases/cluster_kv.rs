//! Watches of a replicated bucket, and batches, whose leaders step down while no server dies.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use midge::jetstream::{JetStream, Storage};
use midge::kv::{BucketConfig, KeyValue, Operation, Watch, WatchItem};
use serde_json::{Value, json};

use crate::Cluster;
use crate::conformance::clusters::{CLUSTER_PATIENCE, client, granted, position, until, whole};
use crate::conformance::tasks::{Task, spawn};
use crate::conformance::timer::{sleep, within};
use crate::conformance::{Adapter, Outcome};

/// The key that is put last, behind which nothing is read.
const LAST: &str = "last";
const KEYS: u64 = 40;

/// Three servers, and on each a replica of a bucket.
async fn bucket<A: Adapter>(history: u64) -> Outcome<(Cluster, KeyValue)> {
    let cluster = Cluster::builder().jetstream(true).start(3)?;
    let js = JetStream::new(client::<A>(&cluster).await?);
    let allow_atomic = true;
    let config = BucketConfig { history, replicas: 3, allow_atomic, ..BucketConfig::new("b") };
    let (kv, _) = granted(|| js.create_or_open_key_value(config.clone()).into_future()).await;
    Ok((cluster, kv))
}

/// The same bucket, over a connection of its own.
async fn another<A: Adapter>(cluster: &Cluster) -> Outcome<KeyValue> {
    let js = JetStream::new(client::<A>(cluster).await?);
    Ok(granted(|| js.open_key_value("b")).await)
}

/// A raw request of the API, until it is granted.
async fn api(kv: &KeyValue, call: &str, request: Value) -> Value {
    let payload = if request.is_null() { String::new() } else { request.to_string() };
    granted(async || {
        let request = kv.stream().context().client().request(format!("$JS.API.{call}"), &payload);
        let reply = request.timeout(Duration::from_secs(2)).await?;
        let reply: Value = serde_json::from_slice(reply.payload())?;
        if reply.get("error").is_some() {
            Err(reply.to_string().into())
        } else {
            Outcome::Ok(reply)
        }
    })
    .await
}

async fn consumers(kv: &KeyValue) -> Vec<String> {
    let names = api(kv, "CONSUMER.NAMES.KV_b", json!({})).await;
    let names = names["consumers"].as_array().cloned().unwrap_or_default();
    names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

async fn until_consumers(kv: &KeyValue, count: usize) {
    granted(async || match consumers(kv).await {
        there if there.len() == count => Ok(()),
        there => Err(format!("{there:?} are there, and not {count}")),
    })
    .await;
}

/// The leader of the bucket steps down, until another server leads; so do those of its consumers.
/// Gives how many of these were told to.
async fn led_by_another(kv: &KeyValue) -> usize {
    let before = whole(kv.stream()).await;
    granted(async || {
        let reply = api(kv, "STREAM.LEADER.STEPDOWN.KV_b", Value::Null).await;
        assert_eq!(reply["success"], true, "{reply}");
        match whole(kv.stream()).await {
            leader if leader == before => Err(format!("{leader} leads still")),
            _ => Ok(()),
        }
    })
    .await;
    let mut told = 0;
    for name in consumers(kv).await {
        let call = format!("$JS.API.CONSUMER.LEADER.STEPDOWN.KV_b.{name}");
        let request = kv.stream().context().client().request(call, "");
        // One that has a successor by now is not there any more.
        let Ok(reply) = request.timeout(Duration::from_secs(2)).await else { continue };
        told += usize::from(String::from_utf8_lossy(reply.payload()).contains("\"success\":true"));
    }
    told
}

/// Puts to all keys in turn, less often than 64 times each, until it is over.
fn put<A: Adapter>(kv: KeyValue, over: Arc<AtomicBool>, count: Arc<AtomicU64>) -> Task<()> {
    spawn::<A, _>(async move {
        for number in 0..KEYS * 60 {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let key = format!("k.{}", number % KEYS);
            let put = kv.put(&key, number.to_string()).timeout(Duration::from_secs(1));
            if put.await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
            sleep(Duration::from_millis(10)).await;
        }
    })
}

/// What a watch gave until the last key: revisions before the end of what was there, those behind
/// it, and the watch.
struct Seen {
    initial: Vec<u64>,
    behind: Vec<u64>,
    _watch: Watch,
}

fn read<A: Adapter>(mut watch: Watch) -> Task<Seen> {
    spawn::<A, _>(async move {
        let (mut initial, mut behind, mut ended) = (Vec::new(), Vec::new(), false);
        loop {
            match watch.next().await.expect("it goes on").expect("an item") {
                WatchItem::Entry(entry) => {
                    if ended { &mut behind } else { &mut initial }.push(entry.revision());
                    if entry.key() == LAST {
                        return Seen { initial, behind, _watch: watch };
                    }
                }
                WatchItem::InitialEnd => {
                    assert!(!ended, "the end of what was there comes once");
                    ended = true;
                }
            }
        }
    })
}

pub async fn watches_miss_nothing_and_leave_nothing_while_leaders_step_down<A: Adapter>() -> Outcome
{
    let (cluster, kv) = bucket::<A>(64).await?;
    for key in ["k.0", "k.1"] {
        granted(|| kv.put(key, "before").into_future()).await;
    }
    whole(kv.stream()).await;
    let reader = another::<A>(&cluster).await?;
    let (over, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let writing = put::<A>(kv.clone(), over.clone(), count.clone());
    let reading = [
        read::<A>(granted(|| reader.watch_all().include_history().into_future()).await),
        read::<A>(granted(|| reader.watch_all().into_future()).await),
        read::<A>(granted(|| reader.watch_many(["k.*", LAST]).updates_only().into_future()).await),
        read::<A>(granted(|| reader.watch_all().from_revision(2).meta_only().into_future()).await),
    ];
    let cache = granted(|| reader.cache().into_future()).await;
    let all_consumers = reading.len() + 1;
    until_consumers(&kv, all_consumers).await;
    let mut told = 0;
    for _ in 0..5 {
        let before = count.load(Ordering::Relaxed);
        told += led_by_another(&kv).await;
        until("writing", || count.load(Ordering::Relaxed) >= before + 20).await?;
        until_consumers(&kv, all_consumers).await;
    }
    assert!(told > 0, "no leader of a consumer was told to step down");
    over.store(true, Ordering::Relaxed);
    writing.await;
    let last = granted(|| kv.put(LAST, "1").into_future()).await;
    assert!(last > 100, "there was something to see: {last}");

    let mut seen = Vec::new();
    for reading in reading {
        let read = within(CLUSTER_PATIENCE, reading).await;
        seen.push(read.ok_or("a watch does not come to the last key")?);
    }
    let all = |seen: &Seen| [&seen.initial[..], &seen.behind].concat();
    let [history, latest, updates, resumed] = &seen[..] else { panic!("there are four") };
    assert_eq!(all(history), Vec::from_iter(1..=history.behind[history.behind.len() - 1]));
    assert_eq!(all(resumed), all(history)[1..], "from 2 on");
    assert!(updates.initial.is_empty(), "nothing of what was there: {:?}", updates.initial);
    // Every revision that the bucket has got since, whatever was there.
    for seen in [latest, updates] {
        let (first, last) = (seen.behind[0], seen.behind[seen.behind.len() - 1]);
        assert_eq!(seen.behind, Vec::from_iter(first..=last));
    }
    assert!(latest.initial.is_sorted_by(|one, next| one < next), "{:?}", latest.initial);
    assert_eq!(latest.initial[latest.initial.len() - 1] + 1, latest.behind[0]);
    cache.wait_for(last).timeout(CLUSTER_PATIENCE).await?;
    let copied = cache.entries();
    assert_eq!(copied.len() as u64, KEYS + 1);
    for copy in copied {
        let entry = granted(|| kv.get(copy.key()).from_leader().into_future()).await;
        assert_eq!(Some(copy.revision()), entry.map(|entry| entry.revision()), "{copy:?}");
    }
    until_consumers(&kv, all_consumers).await;
    drop((seen, cache));
    until_consumers(&kv, 0).await;
    Ok(())
}

pub async fn a_leader_that_steps_down_midway_leaves_one_end_behind_all_that_was_there<
    A: Adapter,
>() -> Outcome {
    const ALL: usize = 1_500;
    let (_cluster, kv) = bucket::<A>(1).await?;
    for number in 0..ALL {
        granted(|| kv.put(&format!("k.{number}"), vec![0; 1_000]).into_future()).await;
    }
    for round in 0..2 {
        // The consumer may be made by any replica, and finds what that has.
        whole(kv.stream()).await;
        let mut watch = granted(|| kv.watch_all().into_future()).await;
        let (mut given, mut before, mut ends) = (BTreeMap::new(), 0, 0);
        let mut last = u64::MAX;
        while before < last {
            let item = within(CLUSTER_PATIENCE, watch.next()).await.ok_or("nothing comes")?;
            let WatchItem::Entry(entry) = item.ok_or("it goes on")?? else {
                assert_eq!(given.len(), ALL, "keys before the end of what was there");
                assert!(watch.has_all());
                ends += 1;
                last = granted(|| kv.put(&format!("k.{round}"), "last").into_future()).await;
                continue;
            };
            assert!(entry.revision() > before, "revisions increase");
            before = entry.revision();
            given.insert(entry.key().to_owned(), (before, entry.operation()));
            if ends == 0 && [10, 200, 700].contains(&given.len()) {
                led_by_another(&kv).await;
                // Of these, one was given already, and the others were not.
                granted(|| kv.put("k.7", "again").into_future()).await;
                granted(|| kv.put("k.1400", "again").into_future()).await;
                granted(|| kv.delete("k.1450").into_future()).await;
            }
        }
        assert_eq!(ends, 1);
        assert_eq!(given["k.1450"].1, Operation::Delete);
        for key in ["k.7", "k.1400", "k.1450"] {
            let is = granted(|| kv.get(key).from_leader().with_markers().into_future()).await;
            assert_eq!(Some(given[key].0), is.map(|entry| entry.revision()), "{key}");
        }
        until_consumers(&kv, 1).await;
        drop(watch);
        until_consumers(&kv, 0).await;
    }
    Ok(())
}

/// What was said of a batch.
#[derive(Debug)]
enum Told {
    Written(BTreeMap<String, u64>),
    NotStored(String),
    Unknown,
}

/// Keys of one batch.
const TOGETHER: usize = 10;

/// Writes batches of new keys, until it is over.
fn write_together<A: Adapter>(
    kv: KeyValue,
    over: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
) -> Task<Vec<Told>> {
    spawn::<A, _>(async move {
        let mut told = Vec::new();
        while !over.load(Ordering::Relaxed) {
            let number = told.len();
            let mut batch = kv.batch();
            for key in 0..TOGETHER {
                let name = format!("{number}.{key}");
                batch = if key % 2 == 0 { batch.put(name, "x") } else { batch.create(name, "x") };
            }
            told.push(match batch.timeout(Duration::from_secs(1)).await {
                Ok(revisions) => {
                    count.fetch_add(1, Ordering::Relaxed);
                    Told::Written(revisions)
                }
                Err(error) if error.may_be_stored() => Told::Unknown,
                Err(error) => Told::NotStored(error.to_string()),
            });
            sleep(Duration::from_millis(5)).await;
        }
        told
    })
}

pub async fn batches_are_stored_whole_or_not_at_all_while_leaders_step_down<A: Adapter>() -> Outcome
{
    let (_cluster, kv) = bucket::<A>(1).await?;
    let (over, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
    let writing = write_together::<A>(kv.clone(), over.clone(), count.clone());
    for _ in 0..5 {
        let before = count.load(Ordering::Relaxed);
        led_by_another(&kv).await;
        until("writing", || count.load(Ordering::Relaxed) >= before + 20).await?;
    }
    over.store(true, Ordering::Relaxed);
    let told = writing.await;
    whole(kv.stream()).await;
    let stored = granted(async || Outcome::Ok(kv.history(">").await?.all().await?)).await;
    let mut batches = BTreeMap::<usize, BTreeMap<String, u64>>::new();
    for entry in stored {
        let number = entry.key().split('.').next().unwrap_or_default().parse()?;
        batches.entry(number).or_default().insert(entry.key().to_owned(), entry.revision());
    }
    for (number, told) in told.iter().enumerate() {
        let stored = batches.get(&number);
        assert!(stored.is_none_or(|keys| keys.len() == TOGETHER), "a part of {number}: {stored:?}");
        match told {
            Told::Written(revisions) => assert_eq!(Some(revisions), stored, "{number}"),
            Told::NotStored(why) => assert_eq!(stored, None, "{number}: {why}"),
            Told::Unknown => {}
        }
    }
    Ok(())
}

/// A bucket in the memory of one server that is restarted: all it held is gone, its stream is the same,
/// and the numbers begin anew.
pub async fn what_comes_behind_the_loss_of_all_that_a_bucket_held_is_seen<A: Adapter>() -> Outcome {
    let mut cluster = Cluster::builder().jetstream(true).start(3)?;
    let js = JetStream::new(client::<A>(&cluster).await?);
    let config = BucketConfig { storage: Storage::Memory, ..BucketConfig::new("b") };
    let (kv, _) = granted(|| js.create_or_open_key_value(config.clone()).into_future()).await;
    for number in 0..20 {
        granted(|| kv.put("old", number.to_string()).into_future()).await;
    }
    let cache = granted(|| kv.cache().into_future()).await;
    within(CLUSTER_PATIENCE, cache.completed().into_future()).await.ok_or("it is complete")??;
    let mut watch = granted(|| kv.watch_all().into_future()).await;
    let mut updates = granted(|| kv.watch_all().updates_only().into_future()).await;
    for watch in [&mut watch, &mut updates] {
        while watch.next().await.ok_or("it goes on")?? != WatchItem::InitialEnd {}
    }
    let leader = granted(async || {
        let cluster = kv.stream().info().await?.cluster.ok_or("it is in a cluster")?;
        Outcome::Ok(cluster.leader.ok_or("somebody leads")?)
    });
    let server = position(&cluster, &leader.await).ok_or("it is one of them")?;
    cluster[server].kill()?;
    cluster[server].restart()?;
    let revision = granted(|| kv.create("new", "1").into_future()).await;
    assert!(revision < 20, "it begins anew: {revision}");
    let next = granted(|| kv.put("next", "1").into_future()).await;
    for mut watch in [watch, updates] {
        let reading = spawn::<A, _>(async move {
            let mut seen = Vec::new();
            while !seen.contains(&next) {
                let item = watch.next().await.expect("it goes on").expect("an item");
                seen.push(item.entry().expect("the end was told").revision());
            }
            seen
        });
        let seen = within(CLUSTER_PATIENCE, reading).await.ok_or("what is new does not come")?;
        assert!(seen.is_sorted() && seen.contains(&revision), "{seen:?}");
    }
    until("the copy", || cache.keys() == ["new", "next"]).await
}
