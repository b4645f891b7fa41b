//! Copies of buckets in memory, on a real nats-server.

use std::time::Duration;

use midge::jetstream::{JetStream, OrderedEnd};
use midge::kv::{BucketConfig, Cache, CacheWaitError};
use serde_json::Value;

use super::kv_buckets::{bucket, memory};
use super::kv_watch::{consumers, until_consumers};
use crate::conformance::steps::{HOUR, connect, impatient, poll_once, soon, until};
use crate::conformance::streams_by_hand::api;
use crate::conformance::{Adapter, Outcome};
use crate::{Direction, Link};

fn values(cache: &Cache) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let entries = cache.entries();
    entries.iter().map(|entry| (entry.key().to_owned(), text(entry.value()))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Nobody polls it: the driver keeps it current.
pub async fn a_cache_has_what_is_there_and_is_kept_current<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 5, ..memory("b") }).await?;
    for (key, value) in [("a.x", "1"), ("a.y", "2"), ("a.x", "3"), ("b", "4"), ("c", "5")] {
        soon(kv.put(key, value)).await?;
    }
    soon(kv.delete("a.y")).await?;
    let all = soon(kv.cache()).await?;
    let some = soon(kv.cache_of(["a.*", "c"])).await?;
    let none = soon(kv.cache_of(["nothing.>"])).await?;
    for cache in [&all, &some, &none] {
        soon(cache.completed()).await?;
        assert!(cache.status().is_current(HOUR), "{:?}", cache.status());
    }
    assert_eq!(values(&all), pairs(&[("a.x", "3"), ("b", "4"), ("c", "5")]));
    assert_eq!(values(&some), pairs(&[("a.x", "3"), ("c", "5")]));
    assert!(values(&none).is_empty() && none.get("a.x").is_none());
    assert_eq!(all.get("a.x").map(|entry| entry.revision()), Some(3));
    assert!(all.get("a.y").is_none() && all.get("no such key").is_none());

    for number in 0..1_000 {
        soon(kv.put(&format!("a.{}", number % 10), number.to_string())).await?;
    }
    soon(kv.purge("b")).await?;
    let last = soon(kv.delete("c")).await?;
    for cache in [&all, &some] {
        soon(cache.wait_for(last)).await?;
        let kept: Vec<_> = cache.keys();
        let wanted: Vec<_> = (0..10).map(|number| format!("a.{number}")).collect();
        assert_eq!(kept, [&wanted[..], &["a.x".to_owned()]].concat());
        assert_eq!(cache.get("a.7").map(|entry| entry.value().to_vec()), Some(b"997".to_vec()));
        assert_eq!(cache.status().revision, last);
    }
    let refused = kv.cache_of(["*.x", "a.*"]).await;
    assert!(refused.is_err(), "servers take no such filters together");
    let clone = all.clone();
    drop((all, some, none));
    until_consumers(&kv, 1).await?;
    assert_eq!(clone.keys().len(), 11);
    drop(clone);
    until_consumers(&kv, 0).await
}

pub async fn a_cache_waits_for_a_revision_and_says_why_it_does_not_come<A: Adapter>() -> Outcome {
    let (server, kv) = bucket::<A>(memory("b")).await?;
    let cache = soon(kv.cache()).await?;
    soon(cache.completed()).await?;
    assert!(cache.keys().is_empty(), "a bucket of nothing is complete");
    let waiting = cache.wait_for(1);
    let mut waiting = std::pin::pin!(IntoFuture::into_future(waiting));
    assert!(poll_once(&mut waiting).await.is_pending());
    soon(kv.put("a", "x")).await?;
    soon(waiting).await?;
    assert!(cache.get("a").is_some());
    let never = soon(cache.wait_for(2).timeout(Duration::from_millis(50))).await;
    assert_eq!(never, Err(CacheWaitError::TimedOut { reached: 1, complete: true }));

    let stopped = soon(kv.cache()).await?;
    let waiting = stopped.wait_for(9).timeout(HOUR);
    let mut waiting = std::pin::pin!(IntoFuture::into_future(waiting));
    assert!(poll_once(&mut waiting).await.is_pending());
    stopped.stop();
    assert_eq!(soon(waiting).await, Err(CacheWaitError::Ended(OrderedEnd::Stopped)));
    assert!(!stopped.status().is_current(HOUR));

    let other = connect::<A>(server.url()).await?;
    let js = JetStream::new(other.clone());
    let closed = soon(soon(js.open_key_value("b")).await?.cache()).await?;
    soon(closed.completed()).await?;
    let waiting = closed.wait_for(9).timeout(HOUR);
    soon(other.close()).await;
    assert_eq!(soon(waiting).await, Err(CacheWaitError::Ended(OrderedEnd::Closed)));
    assert_eq!(closed.status().end, Some(OrderedEnd::Closed));
    assert!(closed.get("a").is_some(), "what it holds stays");

    soon(kv.stream().context().delete_key_value("b")).await?;
    let gone = soon(cache.wait_for(9).timeout(HOUR)).await;
    assert!(matches!(gone, Err(CacheWaitError::Ended(OrderedEnd::StreamGone(_)))), "{gone:?}");
    assert!(soon(kv.cache()).await.is_err());
    Ok(())
}

pub async fn a_cache_of_some_keys_waits_for_their_revisions_alone<A: Adapter>() -> Outcome {
    let brief = Duration::from_millis(50);
    let (_server, kv) = bucket::<A>(BucketConfig { history: 5, ..memory("b") }).await?;
    soon(kv.put("a.x", "1")).await?;
    let cache = soon(kv.cache_of(["a.*"])).await?;
    soon(cache.completed()).await?;
    // Of another key: nothing says here that it is there.
    let other = soon(kv.put("b", "1")).await?;
    let never = soon(cache.wait_for(other).timeout(brief)).await;
    assert_eq!(never, Err(CacheWaitError::TimedOut { reached: 1, complete: true }));
    // A later one of theirs shows all before it.
    let waiting = cache.wait_for(other).timeout(HOUR);
    let mut waiting = std::pin::pin!(IntoFuture::into_future(waiting));
    assert!(poll_once(&mut waiting).await.is_pending());
    soon(kv.put("a.y", "1")).await?;
    soon(waiting).await?;
    assert_eq!(cache.keys(), ["a.x", "a.y"]);
    // A marker is a revision like others, and what was before it need not be there any more.
    let put = soon(kv.put("a.x", "2")).await?;
    let purged = soon(kv.purge("a.x")).await?;
    for revision in [put, purged] {
        soon(cache.wait_for(revision)).await?;
    }
    assert!(cache.get("a.x").is_none());
    // It begins behind both of them, and has them nevertheless.
    let late = soon(kv.cache()).await?;
    soon(late.wait_for(put)).await?;
    soon(late.wait_for(purged)).await?;
    assert_eq!(late.keys(), ["a.y", "b"]);
    Ok(())
}

pub async fn a_cache_says_how_long_it_has_heard_nothing_and_waits_on<A: Adapter>() -> Outcome {
    let (server, kv) = bucket::<A>(memory("b")).await?;
    soon(kv.put("a", "1")).await?;
    let link = Link::to(&server.url()).start()?;
    let behind = JetStream::new(connect::<A>(impatient(&link.url())).await?);
    let cache = soon(soon(behind.open_key_value("b")).await?.cache()).await?;
    soon(cache.completed()).await?;
    // The server says something every 2 s, and the copy is no older than that, and than a busy
    // machine.
    let within = Duration::from_secs(6);
    until(|| cache.status().is_current(within)).await;
    link.stall(Direction::ToClient);
    let revision = soon(kv.put("a", "2")).await?;
    let waiting = cache.wait_for(revision).timeout(HOUR);
    let mut waiting = std::pin::pin!(IntoFuture::into_future(waiting));
    assert!(poll_once(&mut waiting).await.is_pending());
    until(|| !cache.status().is_current(within)).await;
    let status = cache.status();
    assert!(status.heard > within && status.complete && status.end.is_none(), "{status:?}");
    assert_eq!(cache.get("a").map(|entry| entry.revision()), Some(1), "it is read on");
    // It is found again over another connection, and so is what was waited for.
    link.cut();
    until(|| !cache.status().connected).await;
    assert!(!cache.status().is_current(HOUR));
    link.resume(Direction::ToClient);
    soon(waiting).await?;
    assert_eq!(cache.get("a").map(|entry| entry.value().to_vec()), Some(b"2".to_vec()));
    until(|| cache.status().is_current(within)).await;
    Ok(())
}

pub async fn a_cache_outlives_a_killed_server<A: Adapter>() -> Outcome {
    let (mut server, kv) = bucket::<A>(BucketConfig::new("b")).await?;
    soon(kv.put("old", "1")).await?;
    let client = kv.stream().context().client().clone();
    let cache = soon(kv.cache()).await?;
    soon(cache.completed()).await?;
    for round in 0..3 {
        let before = client.status().transition;
        server.kill()?;
        until(|| client.status().transition > before).await;
        assert!(!cache.status().connected && !cache.status().is_current(HOUR));
        assert!(cache.get("old").is_some(), "it is read on");
        server.restart()?;
        let mut revision = None;
        soon(async {
            while revision.is_none() {
                revision = kv.put("new", round.to_string()).await.ok();
            }
        })
        .await;
        soon(cache.wait_for(revision.expect("it was put")).timeout(HOUR)).await?;
        let entry = cache.get("new").expect("it has come");
        assert_eq!(entry.value(), round.to_string().as_bytes());
        until(|| cache.status().is_current(Duration::from_secs(10))).await;
    }
    assert_eq!(cache.keys(), ["new", "old"]);
    Ok(())
}

/// A purge of the stream leaves no marker. That it is compared after a loss is what finds it.
pub async fn what_went_without_a_marker_is_found_when_the_consumer_was_lost<A: Adapter>() -> Outcome
{
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    for key in ["a", "b", "c", "d"] {
        soon(kv.put(key, "x")).await?;
    }
    let cache = soon(kv.cache()).await?;
    soon(cache.completed()).await?;
    for key in ["b", "d"] {
        soon(kv.stream().purge().filter(&format!("$KV.b.{key}"))).await?;
    }
    let client = kv.stream().context().client().clone();
    for name in consumers(&kv).await? {
        api(&client, &format!("CONSUMER.DELETE.KV_b.{name}"), Value::Null).await?;
    }
    // The one of them that was the newest is asked for at the leader.
    until(|| cache.keys() == ["a", "c"] && !cache.status().checking).await;
    let revision = soon(kv.put("d", "y")).await?;
    soon(cache.wait_for(revision)).await?;
    assert_eq!(cache.keys(), ["a", "c", "d"]);
    until_consumers(&kv, 1).await
}

pub async fn a_cache_does_not_give_what_is_older_than_the_ttl_of_its_bucket<A: Adapter>() -> Outcome
{
    let ttl = Some(Duration::from_secs(1));
    let (_server, kv) = bucket::<A>(BucketConfig { ttl, ..memory("b") }).await?;
    let revision = soon(kv.put("a", "x")).await?;
    let cache = soon(kv.cache()).await?;
    let seen = soon(cache.wait_for(revision)).await;
    assert!(seen.is_ok() || cache.keys().is_empty(), "{seen:?}");
    until(|| cache.get("a").is_none() && cache.keys().is_empty()).await;
    soon(async {
        loop {
            // It may be too old before the server gives it to anybody.
            let revision = kv.put("b", "y").await?;
            if cache.wait_for(revision).timeout(Duration::from_secs(2)).await.is_ok() {
                return Outcome::Ok(());
            }
        }
    })
    .await?;
    let entry = cache.entries();
    assert!(entry.iter().all(|entry| entry.key() == "b"));
    Ok(())
}

pub async fn a_cache_of_a_bucket_that_was_replaced_has_the_keys_of_the_new_one<A: Adapter>()
-> Outcome {
    let (server, kv) = bucket::<A>(memory("b")).await?;
    for key in ["a", "b", "c"] {
        soon(kv.put(key, "old")).await?;
    }
    let link = Link::to(&server.url()).start()?;
    let behind = JetStream::new(connect::<A>(impatient(&link.url())).await?);
    let cache = soon(soon(behind.open_key_value("b")).await?.cache()).await?;
    soon(cache.completed()).await?;
    // It hears nothing until the bucket is there again, and does not find it missing between.
    link.stall(Direction::ToClient);
    soon(kv.stream().context().delete_key_value("b")).await?;
    let kv = soon(kv.stream().context().create_key_value(memory("b"))).await?;
    assert_eq!(soon(kv.put("c", "new")).await?, 1);
    link.resume(Direction::ToClient);
    until(|| cache.get("c").is_some_and(|entry| entry.value() == b"new")).await;
    soon(cache.completed()).await?;
    assert_eq!(cache.keys(), ["c"]);
    assert_eq!(cache.status().revision, 1);
    Ok(())
}
