//! Keys that are written together, on a real nats-server.

use std::collections::BTreeMap;
use std::time::Duration;

use midge::jetstream::{AtomicBatchError, ErrorCode, JetStream, Stream};
use midge::kv::{BucketConfig, KeyValue, Operation, WatchItem, WriteBatchError};

use super::jetstream_streams::jetstream;
use super::kv_buckets::{bucket, memory};
use crate::conformance::steps::{connect, impatient, soon};
use crate::conformance::tasks::spawn;
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};
use crate::{Direction, Link, NatsServer};

fn atomic() -> BucketConfig {
    BucketConfig { allow_atomic: true, history: 10, ..memory("b") }
}

/// The last revision of each key, markers too, and its value.
async fn all(kv: &KeyValue) -> Outcome<BTreeMap<String, (u64, String)>> {
    let mut all = BTreeMap::new();
    for entry in soon(soon(kv.history(">")).await?.all()).await? {
        let value = match entry.operation() {
            Operation::Put => String::from_utf8_lossy(entry.value()).into_owned(),
            operation => operation.as_str().to_owned(),
        };
        all.insert(entry.key().to_owned(), (entry.revision(), value));
    }
    Ok(all)
}

fn is(all: &BTreeMap<String, (u64, String)>, key: &str, revision: u64, value: &str) {
    assert_eq!(all.get(key), Some(&(revision, value.to_owned())), "{key}");
}

pub async fn keys_are_written_together_and_each_has_the_revision_that_is_told<A: Adapter>()
-> Outcome {
    let (_server, kv) = bucket::<A>(atomic()).await?;
    let first = soon(kv.put("updated", "1")).await?;
    soon(kv.put("deleted", "1")).await?;
    let last = soon(kv.put("at", "1")).await?;
    soon(kv.put("again", "1")).await?;
    soon(kv.delete("again")).await?;

    let batch = kv.batch().put("put", "2").update("updated", "2", first).create("new", "2");
    let batch = batch.delete("deleted").delete_at("at", last).create("again", "2");
    let revisions = soon(batch).await?;
    let all_of = all(&kv).await?;
    assert_eq!(revisions.len(), 6);
    for (key, value) in [
        ("put", "2"),
        ("updated", "2"),
        ("new", "2"),
        ("deleted", "DEL"),
        ("at", "DEL"),
        ("again", "2"),
    ] {
        is(&all_of, key, revisions[key], value);
    }

    // A purge takes the history, and what is behind it in the batch has its own place.
    let revisions = soon(kv.batch().purge("updated").put("put", "3")).await?;
    let left = soon(soon(kv.history("updated")).await?.all()).await?;
    assert_eq!(
        left.iter().map(|entry| entry.revision()).collect::<Vec<_>>(),
        [revisions["updated"]]
    );
    is(&all(&kv).await?, "put", revisions["put"], "3");

    // As many as there can be, one and one too many.
    let many = |count: usize| {
        (0..count).fold(kv.batch(), |batch, number| batch.create(format!("{count}.{number}"), "m"))
    };
    let revisions = soon(many(1_000)).await?;
    let all_of = all(&kv).await?;
    assert_eq!(revisions.len(), 1_000);
    revisions.iter().for_each(|(key, &revision)| is(&all_of, key, revision, "m"));
    let revisions = soon(many(1)).await?;
    is(&all(&kv).await?, "1.0", revisions["1.0"], "m");
    let large = soon(many(1_001)).await;
    assert!(matches!(large, Err(WriteBatchError::TooMany { entries: 1_001 })), "{large:?}");
    Ok(())
}

pub async fn keys_are_purged_and_given_a_ttl_together<A: Adapter>() -> Outcome {
    let second = Duration::from_secs(1);
    let config =
        BucketConfig { limit_marker_ttl: Some(Duration::from_secs(60)), history: 1, ..atomic() };
    let (_server, kv) = bucket::<A>(config).await?;
    let last = soon(kv.put("at", "1")).await?;
    soon(kv.put("brief", "1")).await?;
    soon(kv.put("purged", "1")).await?;
    soon(kv.put("kept", "1")).await?;
    let mut watch = soon(kv.watch_all().updates_only()).await?;
    assert_eq!(soon(watch.next()).await.transpose()?, Some(WatchItem::InitialEnd));

    let batch = kv.batch().purge("purged").purge_at("at", last).create("session", "2").ttl(second);
    let revisions = soon(batch.purge("brief").ttl(2 * second).put("kept", "2")).await?;
    let all_of = all(&kv).await?;
    for (key, value) in
        [("purged", "PURGE"), ("at", "PURGE"), ("session", "2"), ("brief", "PURGE"), ("kept", "2")]
    {
        is(&all_of, key, revisions[key], value);
    }
    // The server says when the session is over; of a marker it says nothing.
    let over = async {
        while let Some(item) = watch.next().await {
            if let WatchItem::Entry(entry) = item?
                && entry.key() == "session"
                && !entry.is_put()
            {
                assert_eq!(entry.operation(), Operation::Purge);
                break;
            }
        }
        Outcome::Ok(())
    };
    soon(over).await?;
    soon(async {
        while kv.get("brief").with_markers().await?.is_some() {
            sleep(Duration::from_millis(20)).await;
        }
        Outcome::Ok(())
    })
    .await?;
    assert!(soon(kv.get("at").with_markers()).await?.is_some(), "it has no TTL");

    // A purge that expects another revision undoes all.
    let wrong = soon(kv.batch().put("kept", "3").purge_at("kept.too", 7)).await;
    let Err(WriteBatchError::WrongRevision { differing, .. }) = wrong else { panic!("{wrong:?}") };
    assert_eq!((&*differing[0].key, differing[0].expected), ("kept.too", 7));
    is(&all(&kv).await?, "kept", revisions["kept"], "2");
    Ok(())
}

pub async fn a_ttl_that_a_key_of_a_batch_cannot_have_is_refused<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(atomic()).await?;
    soon(kv.put("k", "1")).await?;
    let second = Duration::from_secs(1);
    let before = kv.stream().context().client().statistics().out_messages;
    for batch in [
        kv.batch().put("a", "1").put("k", "2").ttl(second),
        kv.batch().update("k", "2", 1).ttl(second),
        kv.batch().delete("k").ttl(second),
    ] {
        let refused = soon(batch).await;
        assert!(matches!(&refused, Err(WriteBatchError::Ttl { key }) if key == "k"), "{refused:?}");
    }
    let refused = soon(kv.batch().create("n", "1").ttl(Duration::from_millis(1_500))).await;
    assert!(matches!(&refused, Err(WriteBatchError::Headers { key, .. }) if key == "n"));
    assert_eq!(kv.stream().context().client().statistics().out_messages, before);
    // A bucket without limit markers takes none.
    let refused = soon(kv.batch().put("k", "2").create("n", "1").ttl(second)).await;
    let Err(WriteBatchError::Batch(AtomicBatchError::Refused(error))) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.err_code, ErrorCode::MESSAGE_TTL_DISABLED);
    is(&all(&kv).await?, "k", 1, "1");
    Ok(())
}

pub async fn a_batch_with_another_revision_writes_nothing_and_names_the_key<A: Adapter>() -> Outcome
{
    let (_server, kv) = bucket::<A>(atomic()).await?;
    for key in ["a", "b", "c"] {
        soon(kv.put(key, "before")).await?;
    }
    soon(kv.delete("c")).await?;
    let before = all(&kv).await?;

    let batch = kv.batch().put("x", "y").update("a", "after", 1).update("b", "after", 1);
    let error = soon(batch.create("c", "after")).await.expect_err("b is revision 2");
    assert!(!error.may_be_stored());
    assert_eq!(error.to_string(), "nothing is stored: the last revision of \"b\" is 2 and not 1");
    let WriteBatchError::WrongRevision { differing, error } = error else { panic!("{error}") };
    assert!(error.err_code.is_wrong_last_sequence());
    let [b] = &*differing else { panic!("{differing:?}") };
    assert_eq!((&*b.key, b.expected, b.revision), ("b", 1, 2));

    let batch = kv.batch().create("a", "after").delete_at("none", 7).delete_at("b", 2);
    let Err(WriteBatchError::WrongRevision { differing, .. }) = soon(batch).await else {
        panic!("a has a value, and none has none")
    };
    let differing: Vec<_> =
        differing.iter().map(|it| (&*it.key, it.expected, it.revision)).collect();
    assert_eq!(differing, [("a", 0, 1), ("none", 7, 0)]);
    assert_eq!(all(&kv).await?, before);
    Ok(())
}

pub async fn what_cannot_be_written_together_is_refused_before_it_is_sent<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let config = BucketConfig { max_value_size: Some(500), ..memory("b") };
    let kv = soon(js.create_key_value(config.clone())).await?;
    let refused = soon(kv.batch().put("a", "1").put("b", "1")).await;
    assert!(matches!(refused, Err(WriteBatchError::NotAllowed { ref bucket }) if bucket == "b"));
    soon(js.update_key_value(BucketConfig { allow_atomic: true, ..config })).await?;
    let refused = soon(kv.batch()).await;
    assert!(matches!(refused, Err(WriteBatchError::Empty)), "{refused:?}");
    let refused = soon(kv.batch().put("a", "1").delete("a")).await;
    assert!(matches!(refused, Err(WriteBatchError::Twice { ref key }) if key == "a"));
    let refused = soon(kv.batch().put("a", "1").put("b.", "1")).await;
    assert!(matches!(refused, Err(WriteBatchError::Key(_))), "{refused:?}");
    let refused = soon(kv.batch().put("a", "1").put("b", "x".repeat(501))).await;
    let Err(WriteBatchError::TooLarge { key, error }) = refused else { panic!("{refused:?}") };
    assert_eq!((&*key, error.size, error.limit), ("b", 501, 500));
    assert!(all(&kv).await?.is_empty());
    let wide =
        soon(js.create_key_value(BucketConfig { bucket: "wide".into(), ..atomic() })).await?;
    let most = js.client().max_payload().ok_or("the server has a limit")?;
    let refused = soon(wide.batch().put("a", "1").put("b", vec![0; most])).await;
    assert!(
        matches!(refused, Err(WriteBatchError::TooLarge { ref key, error }) if key == "b" && error.limit == most),
        "{refused:?}"
    );
    // The handle is older than the permission.
    assert_eq!(soon(kv.batch().put("a", "1").put("b", "1")).await?["b"], 2);
    Ok(())
}

pub async fn a_batch_waits_for_a_place_among_the_open_ones<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(atomic()).await?;
    let js: JetStream = kv.stream().context().clone();
    let mut open = Vec::new();
    // The server has 50 places for each stream.
    let full = loop {
        let mut batch = soon(js.batch()).await?;
        match soon(batch.add("$KV.b.open", "")).await {
            Ok(()) => open.push(batch),
            Err(AtomicBatchError::Refused(error)) => break error,
            Err(error) => return Err(error.into()),
        }
        assert!(open.len() < 1_000, "there are places for ever");
    };
    assert_eq!(full.err_code.0, 10_210);
    let mut asks = soon(js.client().subscribe("$KV.b.a")).await?;
    soon(js.client().flush()).await?;
    let writer = kv.clone();
    let writing = spawn::<A, _>(async move { writer.batch().put("a", "1").put("b", "1").await });
    // It has asked once, and waits.
    assert!(soon(asks.next()).await.is_some());
    soon(open.pop().ok_or("there are some")?.commit("$KV.b.open", "")).await?;
    let revisions = soon(writing).await?;
    assert_eq!(revisions.len(), 2);
    is(&all(&kv).await?, "b", revisions["b"], "1");
    assert!(soon(asks.next()).await.is_some(), "it has asked again");
    Ok(())
}

/// The server, a link to it, and a bucket behind the link, where a batch was written.
async fn linked<A: Adapter>() -> Outcome<(NatsServer, Link, KeyValue)> {
    let server = NatsServer::builder().jetstream(true).start()?;
    let link = Link::to(&server.url()).start()?;
    let js = JetStream::new(connect::<A>(impatient(&link.url())).await?);
    let kv = soon(js.create_key_value(atomic())).await?;
    soon(kv.batch().put("first", "1").put("second", "1")).await?;
    Ok((server, link, kv))
}

pub async fn a_batch_whose_commit_has_no_answer_is_not_sent_again<A: Adapter>() -> Outcome {
    let (server, link, kv) = linked::<A>().await?;
    let direct = JetStream::new(connect::<A>(impatient(&server.url())).await?);
    let direct = soon(direct.open_key_value("b")).await?;
    let stored: &Stream = direct.stream();
    for (written, cut) in [(3, false), (4, true)] {
        link.stall(Direction::ToClient);
        let writer = kv.clone();
        // Long enough to be sent meanwhile: otherwise nothing is stored.
        let timeout = Duration::from_millis(if cut { 60_000 } else { 1_500 });
        let writing =
            spawn::<A, _>(async move { writer.batch().put("lost", "1").timeout(timeout).await });
        soon(async {
            while stored.info().await?.state.messages < written {}
            Outcome::Ok(())
        })
        .await?;
        if cut {
            link.cut();
        }
        let error = soon(writing).await.expect_err("no answer comes");
        assert!(error.may_be_stored(), "{error}");
        link.resume(Direction::ToClient);
        // What is behind it shows that nothing was sent again.
        soon(kv.get("first")).await?;
        assert_eq!(soon(stored.info()).await?.state.messages, written);
    }
    Ok(())
}
