//! Watches of the key-value store, on a real nats-server.

use std::collections::BTreeMap;
use std::time::Duration;

use midge::jetstream::OrderedEnd;
use midge::kv::{BucketConfig, Entry, KeyValue, Operation, Watch, WatchItem};
use serde_json::{Value, json};

use super::kv_buckets::{bucket, memory};
use crate::conformance::steps::{poll_once, soon, until};
use crate::conformance::streams_by_hand::api;
use crate::conformance::tasks::spawn;
use crate::conformance::{Adapter, Outcome};

async fn item(watch: &mut Watch) -> WatchItem {
    soon(watch.next()).await.expect("the watch goes on").expect("an item")
}

async fn entry(watch: &mut Watch) -> Entry {
    item(watch).await.entry().expect("a revision")
}

async fn initial_end(watch: &mut Watch) {
    let item = item(watch).await;
    assert_eq!(item, WatchItem::InitialEnd);
}

async fn rests(watch: &mut Watch) {
    let next = std::pin::pin!(watch.next());
    let mut next = next;
    assert!(poll_once(&mut next).await.is_pending());
}

pub(super) async fn consumers(kv: &KeyValue) -> Outcome<Vec<String>> {
    let names = api(kv.stream().context().client(), "CONSUMER.NAMES.KV_b", json!({})).await?;
    let names = names["consumers"].as_array().cloned().unwrap_or_default();
    Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

pub(super) async fn until_consumers(kv: &KeyValue, count: usize) -> Outcome {
    soon(async {
        while consumers(kv).await?.len() != count {}
        Ok(())
    })
    .await
}

/// D20: what was there has an end also when nothing was.
pub async fn a_watch_of_an_empty_bucket_has_an_end_of_what_was_there<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    for builder in [
        kv.watch_all(),
        kv.watch_all().include_history(),
        kv.watch_all().updates_only(),
        kv.watch_all().from_revision(1),
        kv.watch_many(["a", "b.*"]),
        kv.watch_all().ignore_deletes().meta_only(),
    ] {
        let mut watch = builder.await?;
        initial_end(&mut watch).await;
        rests(&mut watch).await;
        let revision = soon(kv.put("a", "x")).await?;
        assert_eq!(entry(&mut watch).await.revision(), revision, "and it goes on");
        soon(kv.stream().purge()).await?;
    }
    Ok(())
}

pub async fn a_watch_gives_what_is_there_and_then_what_comes<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 5, ..memory("b") }).await?;
    for (key, value) in [("a.x", "1"), ("a.y", "2"), ("a.x", "3"), ("c", "4")] {
        soon(kv.put(key, value)).await?;
    }
    soon(kv.delete("a.y")).await?;
    let seen = |entry: &Entry| (entry.key().to_owned(), entry.revision(), entry.operation());
    let (put, delete) = (Operation::Put, Operation::Delete);

    let mut latest = kv.watch_all().await?;
    let mut history = kv.watch("a.*").include_history().await?;
    let mut updates = kv.watch("a.>").updates_only().await?;
    let mut values = kv.watch_many(["a.*", "c"]).ignore_deletes().meta_only().await?;
    let mut resumed = kv.watch_all().from_revision(4).await?;

    for (key, revision, operation) in [("a.x", 3, put), ("c", 4, put), ("a.y", 5, delete)] {
        assert_eq!(seen(&entry(&mut latest).await), (key.into(), revision, operation));
    }
    initial_end(&mut latest).await;
    for (key, revision, operation) in
        [("a.x", 1, put), ("a.y", 2, put), ("a.x", 3, put), ("a.y", 5, delete)]
    {
        assert_eq!(seen(&entry(&mut history).await), (key.into(), revision, operation));
    }
    initial_end(&mut history).await;
    initial_end(&mut updates).await;
    rests(&mut updates).await;
    for (key, revision) in [("a.x", 3), ("c", 4)] {
        let entry = entry(&mut values).await;
        assert_eq!(seen(&entry), (key.into(), revision, put));
        assert_eq!((entry.value(), entry.size()), (&b""[..], 1), "its size alone is told");
    }
    initial_end(&mut values).await;
    for revision in [4, 5] {
        assert_eq!(entry(&mut resumed).await.revision(), revision);
    }
    initial_end(&mut resumed).await;
    assert_eq!(resumed.last_revision(), Some(5));

    soon(kv.purge("a.x")).await?;
    soon(kv.put("c", "5")).await?;
    soon(kv.put("a.z", "6")).await?;
    assert_eq!(seen(&entry(&mut updates).await), ("a.x".into(), 6, Operation::Purge));
    assert_eq!(seen(&entry(&mut updates).await), ("a.z".into(), 8, put));
    assert_eq!(entry(&mut values).await.revision(), 7, "a purge deletes too");
    assert_eq!(entry(&mut values).await.revision(), 8);
    for revision in [6, 7, 8] {
        assert_eq!(entry(&mut latest).await.revision(), revision);
    }
    assert!(kv.watch("a..b").await.is_err());
    assert!(kv.watch_many(["*.x", "a.*"]).await.is_err());
    Ok(())
}

pub async fn whatever_deletes_a_key_is_ignored_where_that_is_asked_for<A: Adapter>() -> Outcome {
    let second = Duration::from_secs(1);
    let limit_marker_ttl = Some(60 * second);
    let (_server, kv) = bucket::<A>(BucketConfig { limit_marker_ttl, ..memory("b") }).await?;
    let mut all = soon(kv.watch_all().updates_only()).await?;
    let mut values = soon(kv.watch_all().ignore_deletes()).await?;
    initial_end(&mut all).await;
    initial_end(&mut values).await;
    for key in ["deleted", "purged", "kept"] {
        soon(kv.put(key, "x")).await?;
    }
    soon(kv.delete("deleted")).await?;
    soon(kv.purge("purged")).await?;
    soon(kv.create("brief", "x").ttl(second)).await?;
    let (put, delete, purge) = (Operation::Put, Operation::Delete, Operation::Purge);
    let wanted = [
        ("deleted", put),
        ("purged", put),
        ("kept", put),
        ("deleted", delete),
        ("purged", purge),
        ("brief", put),
        // By the server, of which no client has said anything.
        ("brief", purge),
    ];
    for (key, operation) in wanted {
        let entry = entry(&mut all).await;
        assert_eq!((entry.key(), entry.operation()), (key, operation));
    }
    let last = soon(kv.put("last", "x")).await?;
    for key in ["deleted", "purged", "kept", "brief", "last"] {
        let entry = entry(&mut values).await;
        assert_eq!((entry.key(), entry.operation()), (key, put));
    }
    rests(&mut values).await;

    // What is left of them is there for whoever comes now, and is ignored as well.
    let markers = ["deleted", "purged", "brief"];
    let mut latest = soon(kv.watch_all()).await?;
    let mut values = soon(kv.watch_all().ignore_deletes()).await?;
    let mut sizes = soon(kv.watch_all().ignore_deletes().meta_only()).await?;
    let mut gone = soon(kv.watch_many(markers).ignore_deletes()).await?;
    let mut kept = vec![];
    while let WatchItem::Entry(entry) = item(&mut latest).await {
        assert_eq!(entry.is_put(), !markers.contains(&entry.key()), "{entry:?}");
        kept.push(entry.key().to_owned());
    }
    assert_eq!(kept, ["kept", "deleted", "purged", "brief", "last"]);
    for watch in [&mut values, &mut sizes] {
        assert_eq!(entry(watch).await.key(), "kept");
        assert_eq!(entry(watch).await.revision(), last);
        initial_end(watch).await;
    }
    initial_end(&mut gone).await;
    Ok(())
}

pub async fn a_watch_from_a_revision_to_come_waits_for_it<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 10, ..memory("b") }).await?;
    let client = kv.stream().context().client().clone();
    for loses in [false, true] {
        let first = soon(kv.put("a", "x")).await?;
        let mut watch = soon(kv.watch_all().from_revision(first + 3)).await?;
        initial_end(&mut watch).await;
        assert_eq!(soon(kv.put("a", "x")).await?, first + 1);
        if loses {
            // Its successor waits for the same one.
            for name in consumers(&kv).await? {
                api(&client, &format!("CONSUMER.DELETE.KV_b.{name}"), Value::Null).await?;
            }
            assert_eq!(consumers(&kv).await?, [""; 0]);
            soon(async {
                while consumers(&kv).await?.is_empty() {
                    rests(&mut watch).await;
                }
                Outcome::Ok(())
            })
            .await?;
        }
        for revision in first + 2..=first + 4 {
            assert_eq!(soon(kv.put("a", "x")).await?, revision);
        }
        for revision in first + 3..=first + 4 {
            assert_eq!(entry(&mut watch).await.revision(), revision);
        }
        rests(&mut watch).await;
        drop(watch);
        until_consumers(&kv, 0).await?;
    }
    Ok(())
}

/// D7: what was there is not given again, and what came meanwhile is.
pub async fn a_watch_of_updates_outlives_killed_servers<A: Adapter>() -> Outcome {
    let config = BucketConfig { history: 64, ..BucketConfig::new("b") };
    let (mut server, kv) = bucket::<A>(config).await?;
    for number in 1..=15 {
        soon(kv.put("old", number.to_string())).await?;
    }
    let client = kv.stream().context().client().clone();
    let mut watch = kv.watch_all().updates_only().await?;
    initial_end(&mut watch).await;
    let mut revision = 15;
    for _ in 0..3 {
        let before = client.status().transition;
        server.kill()?;
        until(|| client.status().transition > before).await;
        let reading = spawn::<A, _>(async move {
            let mut given = Vec::new();
            for _ in 0..20 {
                given.push(entry(&mut watch).await.revision());
            }
            (watch, given)
        });
        server.restart()?;
        until(|| client.status().transition >= before + 2).await;
        for number in 0..20 {
            // Each fails only after it has waited for an answer.
            soon(async { while kv.put(&format!("k.{}", number % 3), "x").await.is_err() {} }).await;
        }
        let given;
        (watch, given) = soon(reading).await;
        assert_eq!(given, Vec::from_iter(revision + 1..=revision + 20));
        revision += 20;
        until_consumers(&kv, 1).await?;
    }
    drop(watch);
    until_consumers(&kv, 0).await
}

pub async fn a_watch_that_began_on_nothing_gives_every_revision_behind_a_lost_consumer<
    A: Adapter,
>() -> Outcome {
    let config = BucketConfig { history: 5, ..memory("b") };
    let (_server, kv) = bucket::<A>(config).await?;
    soon(kv.put("other", "x")).await?;
    let mut watch = kv.watch("a.*").await?;
    initial_end(&mut watch).await;
    soon(kv.put("b.x", "x")).await?;
    let [name] = &consumers(&kv).await?[..] else { panic!("it has one consumer") };
    let client = kv.stream().context().client().clone();
    api(&client, &format!("CONSUMER.DELETE.KV_b.{name}"), Value::Null).await?;
    for revision in 3..=5 {
        assert_eq!(soon(kv.put("a.x", "x")).await?, revision);
    }
    for revision in 3..=5 {
        assert_eq!(entry(&mut watch).await.revision(), revision);
    }
    Ok(())
}

pub async fn a_watch_from_a_revision_goes_on_behind_what_it_gave<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 64, ..memory("b") }).await?;
    for number in 0..1_500 {
        soon(kv.put(&format!("k.{}", number % 30), "x")).await?;
    }
    let client = kv.stream().context().client().clone();
    let mut watch = kv.watch_all().from_revision(201).await?;
    for revision in 201..=1_500 {
        if revision == 250 {
            for name in consumers(&kv).await? {
                api(&client, &format!("CONSUMER.DELETE.KV_b.{name}"), Value::Null).await?;
            }
        }
        assert_eq!(entry(&mut watch).await.revision(), revision);
    }
    initial_end(&mut watch).await;
    let revision = soon(kv.put("new", "x")).await?;
    assert_eq!(entry(&mut watch).await.revision(), revision);
    Ok(())
}

pub async fn a_consumer_that_is_lost_midway_leaves_one_end_behind_all_keys<A: Adapter>() -> Outcome
{
    let config = BucketConfig { history: 5, ..memory("b") };
    let (_server, kv) = bucket::<A>(config).await?;
    for round in 0..2 {
        for number in 0..1_500 {
            soon(kv.put(&format!("k.{number}"), format!("{round}"))).await?;
        }
    }
    let client = kv.stream().context().client().clone();
    let mut watch = kv.watch_all().await?;
    let mut keys = kv.keys().await?;
    let mut given = BTreeMap::new();
    for _ in 0..100 {
        let entry = entry(&mut watch).await;
        given.insert(entry.key().to_owned(), entry.revision());
    }
    let mut listed = vec![soon(keys.next()).await.expect("there are keys")?];
    for name in consumers(&kv).await? {
        api(&client, &format!("CONSUMER.DELETE.KV_b.{name}"), Value::Null).await?;
    }
    // What is there is another now.
    soon(kv.put("k.1400", "2")).await?;
    soon(kv.delete("k.1450")).await?;
    let mut last = 1_600;
    while let WatchItem::Entry(entry) = item(&mut watch).await {
        assert!(entry.revision() > last, "revisions increase");
        last = entry.revision();
        given.insert(entry.key().to_owned(), last);
    }
    assert_eq!(given.len(), 1_500);
    rests_but_for(&mut watch, &["k.1400", "k.1450"]).await;
    while let Some(key) = soon(keys.next()).await {
        listed.push(key?);
    }
    listed.sort();
    listed.dedup();
    assert!(listed.len() >= 1_498 && listed.len() <= 1_500, "{}", listed.len());
    let revision = soon(kv.put("new", "x")).await?;
    loop {
        let entry = entry(&mut watch).await;
        if entry.revision() == revision {
            return Ok(());
        }
    }
}

/// Nothing is left to read but these keys, and no second end.
async fn rests_but_for(watch: &mut Watch, keys: &[&str]) {
    loop {
        let next = std::pin::pin!(watch.next());
        let mut next = next;
        match poll_once(&mut next).await {
            std::task::Poll::Pending => return,
            std::task::Poll::Ready(item) => {
                let item = item.expect("the watch goes on").expect("an item");
                let entry = item.entry().expect("there is one end");
                assert!(keys.contains(&entry.key()), "{entry:?}");
            }
        }
    }
}

pub async fn what_goes_while_it_waits_does_not_put_off_the_end<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    for number in 0..2_000 {
        soon(kv.put(&format!("k.{number}"), "x")).await?;
    }
    let mut watch = kv.watch_all().await?;
    assert_eq!(entry(&mut watch).await.revision(), 1);
    soon(kv.stream().purge()).await?;
    let mut given = 1;
    while item(&mut watch).await != WatchItem::InitialEnd {
        given += 1;
    }
    assert!(given < 2_000, "some of it had gone: {given}");
    let revision = soon(kv.put("new", "x")).await?;
    assert_eq!(entry(&mut watch).await.revision(), revision);
    Ok(())
}

/// With two consumers at work, one of last revisions stands still once its stream is purged: nats-server
/// 2.15.1 says that something waits, that it is asked for, and sends nothing more.
pub async fn a_watch_whose_consumer_stands_still_is_given_another<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 3, ..memory("b") }).await?;
    let value = "x".repeat(500);
    for number in 0..3_000 {
        soon(kv.put(&format!("k.{number}"), &value)).await?;
    }
    soon(kv.put("last", "x")).await?;
    let mut history = soon(kv.watch_all().include_history()).await?;
    let mut latest = soon(kv.watch_all()).await?;
    for _ in 0..3 {
        entry(&mut history).await;
        entry(&mut latest).await;
    }
    soon(kv.stream().purge()).await?;
    let last = soon(kv.put("last", "y")).await?;
    for watch in [&mut history, &mut latest] {
        let (mut ends, mut revision) = (0, 0);
        while ends == 0 || revision < last {
            match item(watch).await {
                WatchItem::InitialEnd => ends += 1,
                WatchItem::Entry(entry) => {
                    assert!(entry.revision() > revision, "each comes once, in order");
                    revision = entry.revision();
                }
            }
        }
        assert_eq!((ends, revision), (1, last));
    }
    Ok(())
}

pub async fn a_watch_is_stopped_from_elsewhere_and_leaves_nothing<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    soon(kv.put("a", "x")).await?;
    let mut watch = kv.watch_all().await?;
    let stopper = watch.stopper();
    entry(&mut watch).await;
    initial_end(&mut watch).await;
    let reading = spawn::<A, _>(async move { soon(watch.next()).await.is_none() });
    stopper.stop();
    assert!(soon(reading).await);
    soon(stopper.closed()).await;
    until_consumers(&kv, 0).await?;

    let mut watch = kv.watch_all().await?;
    let stopper = watch.stopper();
    entry(&mut watch).await;
    stopper.drain();
    initial_end(&mut watch).await;
    assert!(soon(watch.next()).await.is_none());
    soon(stopper.closed()).await;
    until_consumers(&kv, 0).await?;

    let mut watch = kv.watch_all().await?;
    soon(kv.stream().delete()).await?;
    loop {
        match soon(watch.next()).await {
            Some(Ok(_)) => {}
            Some(Err(end)) => {
                assert!(matches!(end, OrderedEnd::StreamGone(_)), "{end}");
                break;
            }
            None => panic!("it says why"),
        }
    }
    assert!(soon(watch.next()).await.is_none());
    Ok(())
}
