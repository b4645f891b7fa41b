//! Keys of the key-value store, as a real nats-server has them.

use std::collections::BTreeMap;
use std::time::Duration;

use midge::jetstream::{ApiError, JetStream, StreamConfig};
use midge::kv::{
    BucketConfig, ChangeError, CreateError, DeleteError, Entry, GetError, GetManyError, KeyError,
    KeyValue, Operation, PutError, UpdateError, WatchItem,
};

use super::jetstream_streams::jetstream;
use super::kv_buckets::{bucket, memory};
use crate::Peer;
use crate::conformance::steps::{connect, impatient, soon};
use crate::conformance::tasks::spawn;
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// A time to live that is over soon, and not before what is there has been looked at.
const BRIEF: Duration = Duration::from_secs(4);

pub(super) fn marked(name: &str) -> BucketConfig {
    BucketConfig { limit_marker_ttl: Some(Duration::from_secs(60)), ..memory(name) }
}

pub(super) async fn value(kv: &KeyValue, key: &str) -> Outcome<Option<Vec<u8>>> {
    Ok(soon(kv.get(key)).await?.map(|entry| entry.value().to_vec()))
}

/// Waits for the marker that says that the key has no value any more.
pub(super) async fn until_gone(kv: &KeyValue, key: &str) -> Outcome {
    let mut watch = soon(kv.watch(key)).await?;
    loop {
        match soon(watch.next()).await.ok_or("it goes on")?? {
            WatchItem::Entry(entry) if !entry.is_put() => return Ok(()),
            _ => {}
        }
    }
}

pub async fn a_key_is_put_got_updated_and_deleted<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 10, ..memory("b") }).await?;
    assert!(soon(kv.get("a")).await?.is_none());
    let payload: Vec<u8> = (0..=255).collect();
    assert_eq!(soon(kv.put("a", &payload)).await?, 1);
    assert_eq!(soon(kv.put("a/b=c.d_E-9", "")).await?, 2);
    let entry = soon(kv.get("a")).await?.expect("it was put");
    assert_eq!((entry.key(), entry.value(), entry.revision()), ("a", &*payload, 1));
    assert_eq!((entry.bucket().as_str(), entry.operation()), ("b", Operation::Put));
    let odd = soon(kv.get("a/b=c.d_E-9")).await?.expect("it has a value, which is empty");
    assert!(odd.value().is_empty());

    assert_eq!(soon(kv.update("a", "second", 1)).await?, 3);
    let error = soon(kv.update("a", "third", 1)).await.expect_err("it is revision 3");
    let UpdateError::WrongRevision { key, expected, error: ApiError { code, .. } } = &error else {
        panic!("{error}")
    };
    assert_eq!((key.as_str(), *expected, *code), ("a", 1, 400));
    assert!(!error.may_be_stored());
    assert_eq!(value(&kv, "a").await?.as_deref(), Some(&b"second"[..]));

    let first = soon(kv.get("a").at(1)).await?.expect("the history has it");
    assert_eq!(first.value(), payload);
    assert!(soon(kv.get("a").at(2)).await?.is_none(), "that is another key's");
    assert!(soon(kv.get("a").at(99)).await?.is_none());
    assert!(soon(kv.get("a").at(0)).await?.is_none());
    let leader = soon(kv.get("a").from_leader()).await?.expect("it has it too");
    assert_eq!((leader.key(), leader.value(), leader.revision()), ("a", &b"second"[..], 3));
    assert!(soon(kv.get("a").at(2).from_leader()).await?.is_none());
    assert!(soon(kv.get("none").from_leader()).await?.is_none());

    let wrong = soon(kv.delete("a").expect_revision(1)).await;
    assert!(matches!(wrong, Err(DeleteError::WrongRevision { expected: 1, .. })), "{wrong:?}");
    assert_eq!(soon(kv.delete("a").expect_revision(3)).await?, 4);
    assert!(soon(kv.get("a")).await?.is_none());
    assert!(soon(kv.get("a").from_leader()).await?.is_none());
    let marker = soon(kv.get("a").with_markers()).await?.expect("a marker is left");
    assert_eq!((marker.operation(), marker.revision()), (Operation::Delete, 4));
    assert!(soon(kv.get("a").at(3)).await?.is_some(), "the history stays");
    Ok(())
}

pub async fn what_cannot_be_a_key_or_value_is_refused_before_it_is_sent<A: Adapter>() -> Outcome {
    let (_server, kv) =
        bucket::<A>(BucketConfig { max_value_size: Some(100), ..memory("b") }).await?;
    let before = kv.stream().context().client().statistics().out_messages;
    for wrong in ["", ".a", "a.", "a..b", "a b", "a*", "a.>", "ü", "a\r\nb"] {
        assert!(matches!(soon(kv.put(wrong, "v")).await, Err(PutError::Key(_))), "{wrong:?}");
        assert!(matches!(soon(kv.get(wrong)).await, Err(GetError::Key(_))), "{wrong:?}");
        assert!(soon(kv.create(wrong, "v")).await.is_err(), "{wrong:?}");
        assert!(soon(kv.update(wrong, "v", 1)).await.is_err(), "{wrong:?}");
        assert!(matches!(soon(kv.delete(wrong)).await, Err(DeleteError::Key(_))), "{wrong:?}");
        assert!(matches!(soon(kv.purge(wrong)).await, Err(DeleteError::Key(_))), "{wrong:?}");
        let many = soon(kv.get_many(["a", wrong])).await;
        assert!(matches!(many, Err(GetManyError::Key(_))), "{wrong:?}");
        let change = soon(kv.change(wrong, |_| Some("v"))).await;
        assert!(matches!(change, Err(ChangeError::Key(_))), "{wrong:?}");
    }
    let dots = soon(kv.put("a..b", "v")).await.expect_err("two dots");
    assert!(matches!(&dots, PutError::Key(KeyError::EmptyToken { .. })), "{dots}");
    let error = soon(kv.put("a", "x".repeat(101))).await.expect_err("it is too large");
    let PutError::TooLarge(error) = error else { panic!("{error}") };
    assert_eq!((error.size, error.headers, error.limit), (101, 0, 100));
    assert_eq!(kv.stream().context().client().statistics().out_messages, before);
    soon(kv.put("a", "x".repeat(100))).await?;
    Ok(())
}

/// D8: what creates a key that was deleted keeps its TTL.
pub async fn create_takes_the_place_of_a_marker_and_keeps_its_ttl<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(marked("b")).await?;
    assert_eq!(soon(kv.create("k", "1")).await?, 1);
    let error = soon(kv.create("k", "2")).await.expect_err("it exists");
    assert!(matches!(error, CreateError::Exists { revision: 1, .. }), "{error}");
    assert_eq!(value(&kv, "k").await?.as_deref(), Some(&b"1"[..]));
    soon(kv.delete("k")).await?;
    assert_eq!(soon(kv.create("k", "3").ttl(BRIEF)).await?, 3);
    assert_eq!(value(&kv, "k").await?.as_deref(), Some(&b"3"[..]));
    until_gone(&kv, "k").await?;
    let marker = soon(kv.get("k").with_markers()).await?.expect("the server left a marker");
    assert_eq!(marker.operation(), Operation::Purge);
    soon(kv.create("k", "4")).await?;
    soon(kv.purge("k")).await?;
    let last = soon(kv.create("k", "5")).await?;
    let entry = soon(kv.get("k")).await?.expect("it was created again");
    assert_eq!((entry.revision(), entry.value()), (last, &b"5"[..]));
    let half = Duration::from_millis(1500);
    assert!(soon(kv.create("other", "x").ttl(half)).await.is_err(), "whole seconds only");
    assert!(soon(kv.get("other")).await?.is_none());
    Ok(())
}

/// Whatever is in the way, the TTL is what the server is given.
pub async fn create_keeps_its_ttl_over_every_kind_of_marker<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(marked("b")).await?;
    for key in ["deleted", "purged"] {
        soon(kv.put(key, "x")).await?;
    }
    soon(kv.delete("deleted")).await?;
    soon(kv.purge("purged")).await?;
    soon(kv.create("expired", "x").ttl(SECOND)).await?;
    until_gone(&kv, "expired").await?;
    for key in ["new", "deleted", "purged", "expired"] {
        let before = soon(kv.get(key).with_markers()).await?;
        assert_eq!(before.is_some_and(|before| !before.is_put()), key != "new", "{key}");
        let revision = soon(kv.create(key, key).ttl(100 * SECOND)).await?;
        let message = soon(kv.stream().last_message(&format!("$KV.b.{key}"))).await?;
        assert_eq!((message.sequence, &*message.payload), (revision, key.as_bytes()));
        assert_eq!(message.headers.get("Nats-TTL"), Some("100"), "{key}");
        // One that has a value again is in the way again.
        let exists = soon(kv.create(key, "y").ttl(100 * SECOND)).await;
        let Err(CreateError::Exists { revision: is, .. }) = exists else { panic!("{exists:?}") };
        assert_eq!(is, revision);
    }
    Ok(())
}

/// ADR-48: what a server leaves of a key says why it went. nats-server 2.15.1 leaves a marker of what
/// went by its age, and none of what was purged or deleted in the stream: the test writes those.
pub async fn markers_of_the_server_are_operations<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let config = StreamConfig { deny_delete: false, ..marked("b").to_stream()? };
    let stream = soon(js.create_stream(config)).await?;
    let kv = soon(js.open_key_value("b")).await?;
    soon(kv.create("aged", "x").ttl(SECOND)).await?;
    until_gone(&kv, "aged").await?;
    soon(kv.put("cleared", "x")).await?;
    soon(stream.purge().filter("$KV.b.cleared")).await?;
    let removed = soon(kv.put("removed", "x")).await?;
    soon(stream.delete_message(removed)).await?;
    for (key, reason) in [("cleared", "Purge"), ("removed", "Remove")] {
        assert!(soon(kv.get(key).with_markers()).await?.is_none(), "{key}");
        let marker = js.publish(format!("$KV.b.{key}"), "").header("Nats-Marker-Reason", reason);
        soon(marker).await?;
    }
    let mut watched = BTreeMap::new();
    for entry in soon(soon(kv.history(">")).await?.all()).await? {
        watched.insert(entry.key().to_owned(), entry.operation());
    }
    for (key, reason, operation) in [
        ("aged", "MaxAge", Operation::Purge),
        ("cleared", "Purge", Operation::Purge),
        ("removed", "Remove", Operation::Delete),
    ] {
        let message = soon(stream.last_message(&format!("$KV.b.{key}"))).await?;
        assert_eq!(message.headers.get("Nats-Marker-Reason"), Some(reason), "{key}");
        assert!(soon(kv.get(key)).await?.is_none(), "{key}");
        for marker in [
            soon(kv.get(key).with_markers()).await?,
            soon(kv.get(key).with_markers().at(message.sequence)).await?,
            soon(kv.get(key).with_markers().from_leader()).await?,
        ] {
            assert_eq!(marker.map(|marker| marker.operation()), Some(operation), "{key}");
        }
        assert_eq!(watched.get(key), Some(&operation), "{key}");
    }
    assert!(soon(soon(kv.keys()).await?.all()).await?.is_empty());
    Ok(())
}

pub async fn a_revision_is_the_same_however_it_is_read<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 2, ..memory("b") }).await?;
    soon(kv.put("other", "x")).await?;
    let revision = soon(kv.put("a.b", "value")).await?;
    let message = soon(kv.stream().message(revision)).await?;
    let mut watch = soon(kv.watch("a.*")).await?;
    let Some(Ok(WatchItem::Entry(watched))) = soon(watch.next()).await else {
        return Err("a value is there".into());
    };
    for entry in [
        soon(kv.get("a.b")).await?.ok_or("it was put")?,
        soon(kv.get("a.b").at(revision)).await?.ok_or("it was put")?,
        soon(kv.get("a.b").from_leader()).await?.ok_or("it was put")?,
        soon(kv.get("a.b").at(revision).from_leader()).await?.ok_or("it was put")?,
        soon(kv.get_many(["a.b"])).await?.remove(0).ok_or("it was put")?,
        soon(soon(kv.history("a.b")).await?.all()).await?.remove(0),
        watched,
    ] {
        assert_eq!(
            (entry.bucket().as_str(), entry.key(), entry.revision()),
            ("b", "a.b", revision)
        );
        assert_eq!((entry.created(), entry.delta()), (message.time, 0));
        assert_eq!((entry.operation(), entry.size()), (Operation::Put, 5));
        assert_eq!(entry.into_value(), "value");
    }
    Ok(())
}

pub async fn a_purge_leaves_one_marker<A: Adapter>() -> Outcome {
    let limit_marker_ttl = Some(SECOND);
    let config = BucketConfig { history: 10, limit_marker_ttl, ..memory("b") };
    let (_server, kv) = bucket::<A>(config).await?;
    for number in 1..=5 {
        soon(kv.put("k", number.to_string())).await?;
    }
    soon(kv.put("other", "x")).await?;
    let wrong = soon(kv.purge("k").expect_revision(4)).await;
    assert!(matches!(wrong, Err(DeleteError::WrongRevision { .. })), "{wrong:?}");
    let revision = soon(kv.purge("k").expect_revision(5).ttl(BRIEF)).await?;
    let history = soon(soon(kv.history("k")).await?.all()).await?;
    let all: Vec<_> = history.iter().map(|one| (one.revision(), one.operation())).collect();
    assert_eq!(all, [(revision, Operation::Purge)]);
    soon(async {
        while kv.get("k").with_markers().await?.is_some_and(|it| it.revision() == revision) {
            sleep(Duration::from_millis(20)).await;
        }
        Ok::<_, GetError>(())
    })
    .await?;
    assert_eq!(value(&kv, "other").await?.as_deref(), Some(&b"x"[..]));
    Ok(())
}

/// Servers since 2.11 say so by themselves: a marker must not go before the value that it deletes.
pub async fn with_a_history_a_key_lives_as_long_as_a_marker<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 2, ..marked("b") }).await?;
    soon(kv.create("k", "x").ttl(SECOND)).await?;
    let message = soon(kv.stream().last_message("$KV.b.k")).await?;
    assert_eq!(message.headers.get("Nats-TTL"), Some("60"));
    Ok(())
}

pub async fn histories_and_keys_are_listed<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 3, ..memory("b") }).await?;
    assert!(soon(soon(kv.keys()).await?.all()).await?.is_empty());
    assert!(soon(soon(kv.history("a.b")).await?.all()).await?.is_empty());
    for number in 1..=5 {
        soon(kv.put("a.b", number.to_string())).await?;
    }
    soon(kv.delete("a.b")).await?;
    soon(kv.put("a.c", "x")).await?;
    soon(kv.put("d", "y")).await?;
    let history = soon(soon(kv.history("a.b")).await?.all()).await?;
    let all: Vec<_> = history.iter().map(|one| (one.value(), one.operation())).collect();
    let put = Operation::Put;
    assert_eq!(all, [(&b"4"[..], put), (b"5", put), (b"", Operation::Delete)]);
    assert_eq!(history.iter().map(Entry::delta).collect::<Vec<_>>(), [2, 1, 0]);
    assert_eq!(soon(soon(kv.keys()).await?.all()).await?, ["a.c", "d"]);
    assert_eq!(soon(soon(kv.keys_of(["a.*"])).await?.all()).await?, ["a.c"]);
    assert_eq!(soon(soon(kv.keys_of(["a.>", "d", "a.c"])).await?.all()).await?, ["a.c", "d"]);
    let some = soon(soon(kv.history_of(["d", "a.b", "*.b"])).await?.all()).await?;
    assert_eq!(some.iter().map(Entry::revision).collect::<Vec<_>>(), [4, 5, 6, 8]);
    assert!(soon(kv.history_of(["*.c", "a.*"])).await.is_err(), "servers take no such filters");
    assert!(soon(kv.keys_of(["a..b"])).await.is_err());
    assert!(soon(kv.keys_of(["*.c", "a.*"])).await.is_err(), "servers take no such filters");
    assert!(soon(kv.keys_of(Vec::<String>::new())).await.is_err());
    Ok(())
}

pub async fn what_is_left_of_deleted_keys_is_purged<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 5, ..memory("b") }).await?;
    for key in ["a", "b", "c"] {
        soon(kv.put(key, "1")).await?;
        soon(kv.put(key, "2")).await?;
    }
    soon(kv.delete("a")).await?;
    soon(kv.delete("b")).await?;
    soon(kv.put("b", "3")).await?;
    let hour = Duration::from_secs(3600);
    assert_eq!(soon(kv.purge_deletes(hour)).await?, 2, "the marker is young");
    let history = soon(soon(kv.history("a")).await?.all()).await?;
    assert_eq!(history.iter().map(Entry::operation).collect::<Vec<_>>(), [Operation::Delete]);
    assert_eq!(soon(kv.purge_deletes(Duration::ZERO)).await?, 1);
    assert!(soon(kv.get("a").with_markers()).await?.is_none());
    assert_eq!(soon(soon(kv.history("b")).await?.all()).await?.len(), 4, "b has a value");
    assert_eq!(soon(kv.purge_deletes(Duration::ZERO)).await?, 0);
    Ok(())
}

pub async fn markers_that_are_younger_than_an_age_stay<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 5, ..memory("b") }).await?;
    soon(kv.put("old", "1")).await?;
    soon(kv.delete("old")).await?;
    soon(kv.put("old.purged", "1")).await?;
    let old = soon(kv.purge("old.purged")).await?;
    let old = soon(kv.stream().message(old)).await?.time.unix_nanos();
    // Ages are by the clock of the server, and nothing tells of its passing.
    sleep(3 * SECOND).await;
    soon(kv.put("young", "1")).await?;
    let young = soon(kv.delete("young")).await?;
    // As old as the second one is by now: both are older when they are looked at, and the last one
    // has some seconds left.
    let now = soon(kv.stream().info()).await?.timestamp.ok_or("servers say so")?.unix_nanos();
    let age = Duration::from_nanos(u64::try_from(now - old)?);
    assert_eq!(soon(kv.purge_deletes(age)).await?, 4, "two, one, and the value before the third");
    let left = soon(soon(kv.history(">")).await?.all()).await?;
    assert_eq!(left.iter().map(Entry::revision).collect::<Vec<_>>(), [young]);
    Ok(())
}

pub async fn changes_of_many_tasks_are_all_made<A: Adapter>() -> Outcome {
    let (server, kv) = bucket::<A>(memory("b")).await?;
    soon(kv.put("count", "0")).await?;
    soon(kv.delete("count")).await?;
    let number = |entry: Option<&Entry>| {
        let text = entry.map(|entry| String::from_utf8_lossy(entry.value()).into_owned());
        text.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0)
    };
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let client = connect::<A>(impatient(&server.url())).await?;
        let kv = soon(JetStream::new(client).open_key_value("b")).await?;
        tasks.push(spawn::<A, _>(async move {
            for _ in 0..25 {
                let add = |entry: Option<&Entry>| Some((number(entry) + 1).to_string());
                kv.change("count", add).attempts(1_000).await.expect("it is made");
            }
        }));
    }
    for task in tasks {
        soon(task).await;
    }
    assert_eq!(value(&kv, "count").await?.as_deref(), Some(&b"100"[..]));
    assert_eq!(soon(kv.change("count", |_| None::<&str>)).await?, None);
    let never = soon(kv.change("count", |_| Some("x")).attempts(0)).await;
    assert!(matches!(never, Err(ChangeError::Contended { attempts: 0, .. })), "{never:?}");
    Ok(())
}

pub async fn headers_of_a_value_do_not_pass_for_those_of_the_server<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 2, ..memory("b") }).await?;
    soon(kv.put("forged", "other")).await?;
    let js = kv.stream().context();
    let forged = js
        .publish("$KV.b.k", "mine")
        .header("Nats-Subject", "$KV.b.forged")
        .header("Nats-Sequence", "1")
        .header("Nats-Stream", "KV_other")
        .header("Nats-Time-Stamp", "1999-01-01T00:00:00Z");
    let seq = soon(forged).await?.seq;
    for entry in [
        soon(kv.get("k")).await?,
        soon(kv.get("k").at(seq)).await?,
        soon(kv.get("k").from_leader()).await?,
        soon(kv.get_many(["k"])).await?.remove(0),
    ] {
        let entry = entry.expect("it is there");
        assert_eq!((entry.key(), entry.revision(), entry.value()), ("k", seq, &b"mine"[..]));
        assert!(entry.created().unix_nanos() > 1_700_000_000_000_000_000);
    }
    Ok(())
}

pub async fn keys_that_match_are_deleted_and_purged<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(BucketConfig { history: 5, ..memory("b") }).await?;
    for round in 0..2 {
        for number in 0..250 {
            soon(kv.put(&format!("a.{number}"), format!("{round}"))).await?;
        }
    }
    soon(kv.put("b.1", "x")).await?;
    soon(kv.delete("a.7")).await?;
    assert_eq!(soon(kv.delete_matching("a.*")).await?, 249);
    assert_eq!(soon(kv.keys()).await?.all().await?, ["b.1"]);
    assert_eq!(soon(kv.history("a.3")).await?.all().await?.len(), 3, "the history stays");
    assert_eq!(soon(kv.delete_matching("a.*")).await?, 0, "none has a value");
    assert_eq!(soon(kv.purge_matching("a.>")).await?, 250);
    assert_eq!(soon(kv.history("a.3")).await?.all().await?.len(), 1, "a marker");
    assert_eq!(soon(kv.status()).await?.values, 251);
    assert_eq!(value(&kv, "b.1").await?.as_deref(), Some(&b"x"[..]));
    assert!(soon(kv.delete_matching("a..b")).await.is_err());

    // Others write what is no key by the rules: it is listed, and goes like all else.
    let js = kv.stream().context();
    for odd in ["odd.ü", "odd.$", "odd.a:b"] {
        soon(js.publish(format!("$KV.b.{odd}"), "x")).await?;
    }
    assert_eq!(soon(kv.delete_matching("odd.>")).await?, 3);
    assert_eq!(soon(kv.keys()).await?.all().await?, ["b.1"]);
    assert_eq!(soon(kv.purge_matching("odd.*")).await?, 3);
    Ok(())
}

/// Servers store what is published to a subject with wildcards, as if it were a word like others. As a
/// filter it means every key.
pub async fn what_is_named_by_a_wildcard_costs_no_key_its_value<A: Adapter>() -> Outcome {
    let (server, kv) = bucket::<A>(BucketConfig { history: 5, ..memory("b") }).await?;
    let mut raw = Peer::connect(&server.url())?;
    raw.expect("INFO ")?;
    raw.send("CONNECT {\"verbose\":false,\"headers\":true}\r\n")?;
    for key in ["a", "a.b", "gone", "a.gone"] {
        soon(kv.put(key, "1")).await?;
    }
    let marker = "NATS/1.0\r\nKV-Operation: DEL\r\n\r\n";
    for wildcard in ["*", ">", "a.*"] {
        let sizes = format!("{} {}", marker.len(), marker.len());
        raw.send(format!("HPUB $KV.b.{wildcard} {sizes}\r\n{marker}\r\n"))?;
    }
    raw.send("PUB $KV.b.*.c 1\r\nx\r\nPING\r\n")?;
    raw.read_until(|bytes| bytes.ends_with(b"PONG\r\n"))?;
    for key in ["gone", "a.gone"] {
        soon(kv.delete(key)).await?;
    }
    assert_eq!(soon(kv.purge_deletes(Duration::ZERO)).await?, 4, "two keys, each with a marker");
    let keys = soon(kv.keys()).await?;
    assert_eq!(soon(keys.all()).await?, ["a", "a.b", "*.c"]);
    assert_eq!(soon(kv.delete_matching("a.*")).await?, 1);
    assert_eq!(soon(kv.purge_matching(">")).await?, 2, "what has a subject to be written to");
    assert_eq!(soon(soon(kv.keys()).await?.all()).await?, ["*.c"]);
    assert_eq!(soon(kv.status()).await?.values, 6);
    Ok(())
}
