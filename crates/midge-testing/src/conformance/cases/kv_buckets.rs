//! Buckets of the key-value store, as a real nats-server has them.

use std::time::Duration;

use midge::jetstream::{
    ApiLevel, ApiPrefix, CallError, Compression, ErrorCode, External, JetStream, Listed, Placement,
    Republish, Storage, StreamConfig, StreamSource,
};
use midge::kv::{
    BucketConfig, BucketError, CreateError, DeleteError, KeyValue, OpenError, PutError,
    UpdateError, WatchItem, WriteBatchError,
};

use super::jetstream_streams::{hub_and_leaf, in_memory, jetstream};
use crate::conformance::steps::{connect, impatient, soon};
use crate::conformance::tasks::spawn;
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};
use crate::{NatsServer, Version};

/// A bucket in memory.
pub(crate) fn memory(bucket: &str) -> BucketConfig {
    BucketConfig { storage: Storage::Memory, ..BucketConfig::new(bucket) }
}

/// A server, and a bucket on it.
pub(crate) async fn bucket<A: Adapter>(config: BucketConfig) -> Outcome<(NatsServer, KeyValue)> {
    let (server, js) = jetstream::<A>().await?;
    let kv = soon(js.create_key_value(config)).await?;
    Ok((server, kv))
}

/// The value of a key, once it has one.
async fn comes(kv: &KeyValue, key: &str) -> Outcome<Vec<u8>> {
    soon(async {
        loop {
            if let Some(entry) = kv.get(key).await? {
                return Ok(entry.value().to_vec());
            }
        }
    })
    .await
}

async fn names(js: &JetStream) -> Outcome<Vec<String>> {
    let mut names = js.key_value_names();
    let mut all = Vec::new();
    while let Some(name) = soon(names.next()).await {
        all.push(name?.to_string());
    }
    Ok(all)
}

pub async fn a_bucket_is_created_opened_updated_and_deleted<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let missing = soon(js.open_key_value("b")).await;
    assert!(matches!(missing, Err(OpenError::NotFound { .. })), "{missing:?}");
    let kv = soon(js.create_key_value(memory("b"))).await?;
    assert_eq!(kv.name().as_str(), "b");
    assert_eq!(soon(kv.put("k", "v")).await?, 1);
    // One that is there with the same configuration is as good.
    soon(js.create_key_value(memory("b"))).await?;

    let longer = BucketConfig { history: 5, ..memory("b") };
    let error = soon(js.create_key_value(longer.clone())).await.expect_err("it is another one");
    let BucketError::Exists { differences, info, .. } = &error else { panic!("{error}") };
    let fields: Vec<&str> = differences.iter().map(|one| one.field.as_str()).collect();
    assert_eq!(fields, ["max_msgs_per_subject"]);
    assert_eq!(info.config.max_msgs_per_subject, Some(1));
    assert!(error.to_string().contains("max_msgs_per_subject was to be 5 and is 1"), "{error}");
    let (bound, differences) = soon(js.create_or_open_key_value(longer.clone())).await?;
    assert_eq!(differences.iter().count(), 1);
    assert_eq!(soon(bound.get("k")).await?.expect("it is the same").value(), b"v");
    let (_, differences) = soon(js.create_or_open_key_value(memory("b"))).await?;
    assert!(differences.is_empty());

    soon(js.update_key_value(longer)).await?;
    let status = soon(kv.status()).await?;
    assert_eq!((status.config.history, status.values), (5, 1));
    assert!(status.bytes > 0 && !status.is_compressed());
    let error = soon(js.update_key_value(memory("c"))).await.expect_err("it is not there");
    assert_eq!(error.code(), Some(ErrorCode::STREAM_NOT_FOUND));
    soon(js.create_or_update_key_value(memory("c"))).await?;
    soon(js.create_or_update_key_value(BucketConfig { history: 2, ..memory("c") })).await?;
    let c = soon(js.open_key_value("c")).await?;
    assert_eq!(soon(c.status()).await?.config.history, 2);

    assert_eq!(names(&js).await?, ["b", "c"]);
    soon(js.delete_key_value("b")).await?;
    assert_eq!(names(&js).await?, ["c"]);
    let gone = soon(js.delete_key_value("b")).await;
    assert!(matches!(gone, Err(OpenError::NotFound { .. })), "{gone:?}");
    let gone = soon(kv.status()).await;
    assert!(matches!(gone, Err(OpenError::NotFound { .. })), "{gone:?}");
    Ok(())
}

/// What differs between the bucket that is there and the one that is asked for.
async fn told(js: &JetStream, there: &BucketConfig, asked: &BucketConfig) -> Outcome<String> {
    let made = soon(js.create_key_value(there.clone())).await?;
    soon(made.put("k", "v")).await?;
    let error = soon(js.create_key_value(asked.clone())).await.expect_err("it is another one");
    let BucketError::Exists { differences, .. } = &error else { panic!("{error}") };
    assert!(error.to_string().contains(&differences.to_string()), "{error}");
    let (opened, bound) = soon(js.create_or_open_key_value(asked.clone())).await?;
    assert_eq!(bound, *differences);
    assert!(soon(opened.get("k")).await?.is_some(), "it is the one that was there");
    assert_eq!(soon(opened.status()).await?.config, soon(made.status()).await?.config);
    soon(js.delete_key_value("b")).await?;
    let fields: Vec<&str> = differences.iter().map(|one| one.field.as_str()).collect();
    Ok(fields.join(" "))
}

/// As much is told of what was not asked for, such as a TTL, as of what is missing.
pub async fn what_differs_in_a_bucket_is_named<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let plain = || memory("b");
    let second = Some(Duration::from_secs(1));
    let republish = Republish { dest: "copy.>".into(), ..Republish::default() };
    let several = BucketConfig {
        description: Some("d".into()),
        history: 3,
        storage: Storage::File,
        ..plain()
    };
    // First what is named when it is there, then when it is asked for.
    for (other, is_there, is_asked) in [
        (BucketConfig { description: Some("d".into()), ..plain() }, "description", "description"),
        (BucketConfig { history: 2, ..plain() }, "max_msgs_per_subject", "max_msgs_per_subject"),
        (BucketConfig { ttl: second, ..plain() }, "max_age", "duplicate_window max_age"),
        (
            BucketConfig { limit_marker_ttl: second, ..plain() },
            "allow_msg_ttl subject_delete_marker_ttl",
            "allow_msg_ttl subject_delete_marker_ttl",
        ),
        (BucketConfig { max_bytes: Some(9_999), ..plain() }, "max_bytes", "max_bytes"),
        (BucketConfig { max_value_size: Some(99), ..plain() }, "max_msg_size", "max_msg_size"),
        (BucketConfig::new("b"), "storage", "storage"),
        (BucketConfig { compression: Compression::S2, ..plain() }, "compression", "compression"),
        (BucketConfig { republish: Some(republish), ..plain() }, "republish", "republish"),
        (
            BucketConfig { metadata: [("team".into(), "a".into())].into(), ..plain() },
            "metadata",
            "metadata.team",
        ),
        (BucketConfig { allow_atomic: true, ..plain() }, "allow_atomic", "allow_atomic"),
        (BucketConfig { sources: vec![StreamSource::new("o")], ..plain() }, "sources", "sources"),
        (
            several,
            "max_msgs_per_subject storage description",
            "description max_msgs_per_subject storage",
        ),
    ] {
        assert_eq!(told(&js, &other, &plain()).await?, is_there, "{other:?}");
        assert_eq!(told(&js, &plain(), &other).await?, is_asked, "{other:?}");
    }
    Ok(())
}

pub async fn buckets_are_listed_beyond_a_page<A: Adapter>() -> Outcome {
    // Servers list 1,024 names and 256 streams at a time: the last buckets are on the second page
    // of names, and on the fifth one of streams.
    const STREAMS: usize = 1_100;
    let (_server, js) = jetstream::<A>().await?;
    let is_bucket = |number: usize| number < 3 || number.is_multiple_of(100) || number > 1_090;
    let name = |number: usize| format!("n{number:04}");
    for number in 0..STREAMS {
        let config = match is_bucket(number) {
            true => memory(&name(number)).to_stream()?,
            // In the order of the names they are among the buckets.
            false => in_memory(&format!("KV_n{number:04};")),
        };
        let subject = format!("$JS.API.STREAM.CREATE.{}", config.name);
        let config = serde_json::to_vec(&config)?;
        soon(js.client().publish(subject, config)).await?;
    }
    soon(async {
        while js.account_info().await?.total.streams < STREAMS.try_into()? {
            sleep(Duration::from_millis(10)).await;
        }
        Outcome::Ok(())
    })
    .await?;
    let buckets: Vec<String> = (0..STREAMS).filter(|&number| is_bucket(number)).map(name).collect();
    assert_eq!(names(&js).await?, buckets);
    let kv = soon(js.open_key_value(&name(1_000))).await?;
    for key in ["a", "b", "a"] {
        soon(kv.put(key, "x")).await?;
    }
    let mut listed = Vec::new();
    let mut statuses = js.key_values();
    while let Some(status) = soon(statuses.next()).await {
        let Listed::Found(status) = status? else { panic!("every bucket is in use") };
        if status.config.bucket == name(1_000) {
            let alone = soon(kv.status()).await?;
            assert_eq!(status.config, alone.config);
            assert_eq!((status.values, status.bytes), (2, alone.bytes));
            assert_eq!(status.stream.state.last_seq, 3);
        }
        listed.push(status.config.bucket);
    }
    assert_eq!(listed, buckets);
    Ok(())
}

pub async fn every_option_of_a_bucket_reaches_the_server<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let config = BucketConfig {
        description: Some("all of them".into()),
        history: 64,
        ttl: Some(Duration::from_secs(30)),
        limit_marker_ttl: Some(Duration::from_secs(5)),
        max_bytes: Some(1 << 20),
        max_value_size: Some(1_000),
        storage: Storage::File,
        compression: Compression::S2,
        republish: Some(Republish { src: ">".into(), dest: "copy.>".into(), headers_only: true }),
        metadata: [("team".into(), "a".into())].into(),
        allow_atomic: true,
        ..BucketConfig::new("full")
    };
    let kv = soon(js.create_key_value(config.clone())).await?;
    let status = soon(kv.status()).await?;
    assert_eq!(status.config, config);
    assert!(status.is_compressed());
    let stream = &status.stream.config;
    assert_eq!(stream.duplicate_window, Some(Duration::from_secs(30)));
    assert!(stream.deny_delete && stream.allow_rollup_hdrs && stream.allow_direct);
    let mut copies = soon(js.client().subscribe("copy.>")).await?;
    soon(kv.put("k", "v")).await?;
    let copy = soon(copies.next()).await.expect("it goes on");
    assert_eq!(copy.subject(), "copy.$KV.full.k");
    Ok(())
}

pub async fn the_status_of_a_bucket_is_all_that_it_was_asked_to_be<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().jetstream(true).config("server_tags: [near]").start()?;
    let js = JetStream::new(connect::<A>(impatient(&server.url())).await?);
    let placement = Placement { tags: vec!["near".into()], ..Placement::default() };
    let config = BucketConfig { placement, ..memory("origin") };
    let origin = soon(js.create_key_value(config.clone())).await?;
    for key in ["a", "b", "a"] {
        soon(origin.put(key, "x")).await?;
    }
    let status = soon(origin.status()).await?;
    assert_eq!(status.config, config);
    assert_eq!((status.values, status.backing_store()), (2, "JetStream"));
    assert_eq!(status.bytes, status.stream.state.bytes);

    // What was left to be filled in is there, and comes back so that it can be given again.
    let mirror = Some(StreamSource::new("origin"));
    let mirror = BucketConfig { mirror, ..memory("mirror") };
    let status = soon(soon(js.create_key_value(mirror.clone())).await?.status()).await?;
    let of = status.config.mirror.as_ref().map(|source| &*source.name);
    assert_eq!(of, Some("KV_origin"));
    assert!(status.stream.config.mirror_direct && status.stream.config.allow_direct);
    soon(js.create_key_value(status.config)).await?;
    let sources = vec![StreamSource::new("origin")];
    let sources = BucketConfig { sources, ..memory("sources") };
    let status = soon(soon(js.create_key_value(sources.clone())).await?.status()).await?;
    let [source] = &*status.config.sources else { panic!("{:?}", status.config) };
    let [transform] = &*source.subject_transforms else { panic!("{source:?}") };
    assert_eq!((&*source.name, &*transform.src), ("KV_origin", "$KV.origin.>"));
    assert_eq!(transform.dest, "$KV.sources.>");
    soon(js.create_key_value(status.config)).await?;
    Ok(())
}

pub async fn limit_markers_are_switched_on_later_and_not_off<A: Adapter>() -> Outcome {
    let (_server, kv) = bucket::<A>(memory("b")).await?;
    let js = kv.stream().context().clone();
    let second = Duration::from_secs(1);
    let refused = soon(kv.create("k", "1").ttl(second)).await.expect_err("it has no markers");
    let CreateError::Put(PutError::Publish(refused)) = &refused else { panic!("{refused}") };
    let code = refused.refusal().map(|refusal| refusal.err_code);
    assert_eq!(code, Some(ErrorCode::MESSAGE_TTL_DISABLED));
    let marked = BucketConfig { limit_marker_ttl: Some(second), ..memory("b") };
    soon(js.update_key_value(marked)).await?;
    soon(kv.create("k", "1").ttl(second)).await?;
    assert_eq!(soon(kv.status()).await?.config.limit_marker_ttl, Some(second));
    assert!(soon(js.update_key_value(memory("b"))).await.is_err(), "servers do not take them away");
    Ok(())
}

/// Servers tell a wrong revision by two codes, and by which it is depends on what they are at.
pub async fn a_wrong_revision_is_told_alike_by_either_code<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    soon(js.create_key_value(memory("origin"))).await?;
    let mirror = Some(StreamSource::new("origin"));
    let kv = soon(js.create_key_value(BucketConfig { mirror, ..memory("copy") })).await?;
    // The test answers in place of the bucket that is written to.
    soon(js.delete_key_value("origin")).await?;
    let client = js.client().clone();
    let mut writes = soon(client.subscribe("$KV.origin.>")).await?;
    soon(client.flush()).await?;
    let answering = spawn::<A, _>(async move {
        for code in [10_071, 10_164, 10_071, 10_164] {
            let Some(write) = writes.next().await else { return };
            let error =
                format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"no"}}}}"#);
            client.respond(&write, error).await.expect("it waits for an answer");
        }
    });
    for code in [10_071, 10_164] {
        let wrong = soon(kv.update("k", "x", 7)).await.expect_err("it is another one");
        let UpdateError::WrongRevision { expected: 7, error, .. } = &wrong else {
            panic!("{wrong}")
        };
        assert_eq!(error.err_code.0, code);
    }
    for _ in 0..2 {
        let wrong = soon(kv.purge("k").expect_revision(7)).await;
        assert!(matches!(wrong, Err(DeleteError::WrongRevision { expected: 7, .. })), "{wrong:?}");
    }
    soon(answering).await;
    Ok(())
}

pub async fn what_is_no_bucket_is_told_and_not_listed<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    soon(js.create_stream(in_memory("orders"))).await?;
    soon(js.create_stream(StreamConfig { subjects: vec!["x".into()], ..in_memory("KV_x") }))
        .await?;
    soon(js.create_key_value(memory("b"))).await?;
    let error = soon(js.open_key_value("x")).await.expect_err("it is none");
    assert!(matches!(error, OpenError::NotABucket(_)), "{error}");
    assert!(error.to_string().contains("KV_x"), "{error}");
    let error = soon(js.create_or_open_key_value(memory("x"))).await.expect_err("it is none");
    assert!(matches!(error, BucketError::NotABucket(_)), "{error}");
    let error = soon(js.delete_key_value("x")).await.expect_err("it is none");
    assert!(matches!(error, OpenError::NotABucket(_)), "{error}");
    // Nor is it made one.
    for made in [
        soon(js.create_key_value(memory("x"))).await,
        soon(js.update_key_value(memory("x"))).await,
        soon(js.create_or_update_key_value(memory("x"))).await,
    ] {
        assert!(matches!(made, Err(BucketError::NotABucket(_))), "{made:?}");
    }
    assert_eq!(soon(js.stream("KV_x")?.info()).await?.config.subjects, ["x"]);
    assert_eq!(names(&js).await?, ["b", "x"], "names alone do not tell");
    for wrong in ["", "a.b", "a b", "*", "x>"] {
        let error = soon(js.open_key_value(wrong)).await.expect_err(wrong);
        assert!(matches!(error, OpenError::Name(_)), "{error}");
        let error = soon(js.create_key_value(memory(wrong))).await.expect_err(wrong);
        assert!(matches!(error, BucketError::Config(_)), "{error}");
    }
    let mut listed = Vec::new();
    let mut statuses = js.key_values();
    while let Some(status) = soon(statuses.next()).await {
        let Listed::Found(status) = status? else { panic!("every bucket is in use") };
        listed.push(status.config.bucket);
    }
    assert_eq!(listed, ["b"]);
    Ok(())
}

pub async fn a_mirror_is_read_here_and_written_there<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let origin = soon(js.create_key_value(memory("origin"))).await?;
    soon(origin.put("a.b", "1")).await?;
    let mirror = Some(StreamSource::new("origin"));
    let mirror = soon(js.create_key_value(BucketConfig { mirror, ..memory("copy") })).await?;
    assert_eq!(comes(&mirror, "a.b").await?, b"1");
    let revision = soon(mirror.put("new", "2")).await?;
    // Not from the mirror, which answers direct gets for its origin and may be behind it.
    let there = soon(origin.get("new").from_leader()).await?.expect("it is written there");
    assert_eq!(there.revision(), revision);
    assert_eq!(comes(&mirror, "new").await?, b"2");
    let leader = soon(mirror.get("new").from_leader()).await?.expect("its origin has it");
    assert_eq!((leader.bucket().as_str(), leader.value()), ("copy", &b"2"[..]));
    let mut keys = soon(soon(mirror.keys()).await?.all()).await?;
    keys.sort();
    assert_eq!(keys, ["a.b", "new"]);
    soon(mirror.delete("new")).await?;
    soon(mirror.create("new", "3")).await?;
    let there = soon(origin.get("new").from_leader()).await?.expect("it is there");
    assert_eq!(there.value(), b"3");
    assert_eq!(names(&js).await?, ["copy", "origin"], "mirrors are listed too");
    // It is opened as it was created.
    let opened = soon(js.open_key_value("copy")).await?;
    assert_eq!(comes(&opened, "a.b").await?, b"1");
    Ok(())
}

/// The origin may be far, or gone.
pub async fn a_mirror_without_direct_gets_is_read_here_too<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let origin = soon(js.create_key_value(memory("origin"))).await?;
    let revision = soon(origin.put("k", "1")).await?;
    let mirror = Some(StreamSource::new("origin"));
    let mut config = BucketConfig { mirror, ..memory("copy") }.to_stream()?;
    (config.allow_direct, config.mirror_direct) = (false, false);
    soon(js.create_stream(config)).await?;
    let copy = soon(js.open_key_value("copy")).await?;
    assert_eq!(comes(&copy, "k").await?, b"1");
    soon(js.delete_key_value("origin")).await?;
    let got = soon(copy.get("k")).await?.expect("it is here");
    assert_eq!((got.bucket().as_str(), got.value()), ("copy", &b"1"[..]));
    assert!(soon(copy.get("k").at(revision)).await?.is_some());
    assert_eq!(soon(copy.get_many(["k", "none"])).await?, [Some(got), None]);
    assert!(soon(copy.get("k").from_leader()).await.is_err(), "that of its origin");
    Ok(())
}

pub async fn all_that_a_bucket_does_goes_through_a_mirror<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let origin = BucketConfig {
        history: 5,
        allow_atomic: true,
        limit_marker_ttl: Some(Duration::from_secs(60)),
        ..memory("origin")
    };
    let origin = soon(js.create_key_value(origin)).await?;
    let mirror = Some(StreamSource::new("origin"));
    // It keeps the revisions that its own history has room for.
    let config = BucketConfig { mirror, history: 5, ..memory("copy") };
    let copy = soon(js.create_key_value(config)).await?;
    let first = soon(copy.create("k", "1").ttl(Duration::from_secs(60))).await?;
    let second = soon(copy.update("k", "2", first)).await?;
    let wrong = soon(copy.update("k", "3", first)).await;
    assert!(matches!(wrong, Err(UpdateError::WrongRevision { .. })), "{wrong:?}");
    let exists = soon(copy.create("k", "3")).await;
    assert!(matches!(exists, Err(CreateError::Exists { .. })), "{exists:?}");
    let changed = soon(copy.change("n", |entry| entry.is_none().then_some("1"))).await?;
    let batch = soon(copy.batch().put("l", "1").update("k", "4", second).create("m", "1")).await?;
    assert_eq!(batch["m"], changed.ok_or("it is changed")? + 3);
    let stale = soon(copy.batch().update("k", "5", second)).await;
    let Err(WriteBatchError::WrongRevision { differing, .. }) = stale else { panic!("{stale:?}") };
    assert_eq!(differing[0].revision, batch["k"]);
    let wrong = soon(copy.delete("l").expect_revision(first)).await;
    assert!(matches!(wrong, Err(DeleteError::WrongRevision { .. })), "{wrong:?}");
    let deleted = soon(copy.delete("l").expect_revision(batch["l"])).await?;
    let last = soon(copy.purge("m").expect_revision(batch["m"])).await?;
    assert_eq!(soon(origin.status()).await?.stream.state.last_seq, last, "all is written there");

    // Revisions have the same numbers here.
    let mut watch = soon(copy.watch_all().include_history()).await?;
    while let Some(item) = soon(watch.next()).await {
        if matches!(item?, WatchItem::Entry(entry) if entry.revision() == last) {
            break;
        }
    }
    let many = soon(copy.get_many(["k", "l", "m", "n", "none"])).await?;
    let many: Vec<_> = many.iter().map(|entry| entry.as_ref().map(|it| it.revision())).collect();
    assert_eq!(many, [Some(batch["k"]), None, None, changed, None]);
    assert_eq!(soon(copy.get("k").at(second)).await?.expect("it is kept").value(), b"2");
    assert!(soon(copy.get("l").at(second)).await?.is_none(), "that is another key's");
    let history = soon(soon(copy.history("k")).await?.all()).await?;
    assert_eq!(history.iter().map(|it| it.value()).collect::<Vec<_>>(), [b"1", b"2", b"4"]);
    let marker = soon(copy.get("l").with_markers()).await?.expect("a marker is left");
    assert_eq!((marker.revision(), marker.key()), (deleted, "l"));
    // What is purged there stays here, as servers do it.
    assert!(soon(copy.purge_deletes(Duration::ZERO)).await? >= 3);
    assert!(soon(origin.get("l").with_markers().from_leader()).await?.is_none());
    Ok(())
}

pub async fn a_bucket_gathers_the_keys_of_others<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    for (name, key) in [("east", "e"), ("west", "w")] {
        let kv = soon(js.create_key_value(memory(name))).await?;
        soon(kv.put(key, name)).await?;
    }
    let sources = vec![StreamSource::new("east"), StreamSource::new("KV_west")];
    let all = soon(js.create_key_value(BucketConfig { sources, ..memory("all") })).await?;
    assert_eq!(comes(&all, "e").await?, b"east");
    assert_eq!(comes(&all, "w").await?, b"west");
    soon(all.put("own", "x")).await?;
    let mut keys = soon(soon(all.keys()).await?.all()).await?;
    keys.sort();
    assert_eq!(keys, ["e", "own", "w"]);
    Ok(())
}

pub async fn a_bucket_in_a_domain_behind_a_leaf_is_used<A: Adapter>() -> Outcome {
    let (hub, leaf) = hub_and_leaf()?;
    let near = JetStream::new(connect::<A>(impatient(&leaf.url())).await?);
    let far = near.with_prefix(ApiPrefix::domain("hub")?);
    soon(async {
        while let Err(CallError::NoResponders { .. }) = far.api_level().await {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let at_hub = JetStream::new(connect::<A>(impatient(&hub.url())).await?);
    let there = soon(far.create_key_value(memory("b"))).await?;
    let revision = soon(there.create("k", "1")).await?;
    soon(there.update("k", "2", revision)).await?;
    let seen = soon(soon(at_hub.open_key_value("b")).await?.get("k")).await?;
    assert_eq!(seen.expect("it went into the hub").value(), b"2");
    assert_eq!(soon(there.get("k")).await?.expect("it is there").value(), b"2");
    assert_eq!(soon(soon(there.keys()).await?.all()).await?, ["k"]);

    // A mirror at the leaf, of the bucket at the hub.
    let external = Some(External { api: "$JS.hub.API".into(), ..External::default() });
    let mirror = Some(StreamSource { external, ..StreamSource::new("b") });
    let copy = soon(near.create_key_value(BucketConfig { mirror, ..memory("copy") })).await?;
    assert_eq!(comes(&copy, "k").await?, b"2");
    soon(copy.put("l", "3")).await?;
    assert_eq!(soon(there.get("l").from_leader()).await?.expect("it went there").value(), b"3");
    let leader = soon(copy.get("l").from_leader()).await?.expect("the hub has it");
    assert_eq!(leader.value(), b"3");
    assert_eq!(comes(&copy, "l").await?, b"3");
    let deleted = soon(there.delete("l")).await?;
    soon(copy.create("l", "4")).await?;
    let again = soon(there.get("l").from_leader()).await?.expect("it is created there");
    assert!(again.revision() > deleted);
    Ok(())
}

/// ADR-19: where the API of another account has another name here, its subjects have it before them.
pub async fn a_bucket_of_another_account_is_used_by_its_prefix<A: Adapter>() -> Outcome {
    let accounts = r#"accounts {
        acme {
            jetstream: enabled, users: [{user: acme, password: p}]
            exports: [
                {service: "$JS.API.>", response_type: stream}
                {service: "$KV.b.>", response_type: stream}
            ]
        }
        guest {
            users: [{user: guest, password: p}]
            imports: [
                {service: {account: acme, subject: "$JS.API.>"}, to: "from.acme.>"}
                {service: {account: acme, subject: "$KV.b.>"}, to: "from.acme.$KV.b.>"}
            ]
        }
    }"#;
    let server = NatsServer::builder().jetstream(true).config(accounts).start()?;
    let of = |user| impatient(&server.url()).user_and_password(user, "p");
    let acme = JetStream::new(connect::<A>(of("acme")).await?);
    let guest = JetStream::new(connect::<A>(of("guest")).await?);
    let guest = guest.with_prefix(ApiPrefix::new("from.acme")?);
    let config = BucketConfig {
        history: 5,
        allow_atomic: true,
        limit_marker_ttl: Some(Duration::from_secs(60)),
        ..memory("b")
    };
    let there = soon(acme.create_key_value(config)).await?;
    let kv = soon(guest.open_key_value("b")).await?;
    assert_eq!(names(&guest).await?, ["b"]);
    let revision = soon(kv.create("k", "1").ttl(Duration::from_secs(60))).await?;
    let revision = soon(kv.update("k", "2", revision)).await?;
    let wrong = soon(kv.update("k", "3", 1)).await;
    assert!(matches!(wrong, Err(UpdateError::WrongRevision { .. })), "{wrong:?}");
    assert_eq!(soon(there.get("k")).await?.expect("it is theirs").value(), b"2");
    assert_eq!(soon(kv.get("k")).await?.expect("it is there").value(), b"2");
    assert_eq!(soon(kv.get("k").at(1)).await?.expect("it is kept").value(), b"1");
    assert_eq!(soon(kv.get("k").from_leader()).await?.expect("it leads").revision(), revision);
    soon(kv.put("l", "3")).await?;
    soon(kv.delete("l")).await?;
    let many = soon(kv.get_many(["k", "l"])).await?;
    assert_eq!(many.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false]);
    let together = soon(kv.batch().put("m", "5").put("n", "6")).await?;
    assert_eq!(together["n"], 6);
    let mut keys = soon(soon(kv.keys()).await?.all()).await?;
    keys.sort();
    assert_eq!(keys, ["k", "m", "n"]);
    assert_eq!(soon(soon(kv.history("l")).await?.all()).await?.len(), 2);
    let cache = soon(kv.cache()).await?;
    soon(cache.completed()).await?;
    assert_eq!(cache.keys().len(), 3);
    let purged = soon(there.purge("k")).await?;
    soon(cache.wait_for(purged)).await?;
    assert!(cache.get("k").is_none());
    assert_eq!(soon(kv.status()).await?.config.history, 5);
    Ok(())
}

pub async fn an_old_server_is_told_what_it_lacks<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().version(Version::V2_10).jetstream(true).start()?;
    let js = JetStream::new(connect::<A>(impatient(&server.url())).await?);
    let marked = BucketConfig { limit_marker_ttl: Some(Duration::from_secs(1)), ..memory("b") };
    let error = soon(js.create_key_value(marked)).await.expect_err("2.10 has no markers");
    let BucketError::Level(error) = error else { panic!("{error}") };
    assert_eq!(error.needed, ApiLevel::V2_11);
    let together = BucketConfig { allow_atomic: true, ..memory("b") };
    let error = soon(js.create_key_value(together)).await.expect_err("2.10 has no batches");
    let BucketError::Level(error) = error else { panic!("{error}") };
    assert_eq!(error.needed, ApiLevel::V2_12);
    let kv = soon(js.create_key_value(memory("b"))).await?;
    let refused = soon(kv.batch().put("k", "v")).await.expect_err("nor has the bucket");
    assert!(matches!(refused, WriteBatchError::NotAllowed { .. }), "{refused}");
    let hour = Duration::from_secs(3600);
    assert!(soon(kv.create("k", "v").ttl(hour)).await.is_err(), "it would drop the TTL");
    assert!(soon(kv.get("k")).await?.is_none(), "nothing was sent");
    assert!(soon(kv.purge("k").ttl(hour)).await.is_err());
    for number in 0..200 {
        soon(kv.put(&format!("k.{number}"), number.to_string())).await?;
    }
    soon(kv.delete("k.7")).await?;
    let asked = (0..201).map(|number| format!("k.{number}"));
    let got = soon(kv.get_many(asked)).await?;
    for (number, entry) in got.iter().enumerate() {
        let value = entry.as_ref().map(|entry| entry.value().to_vec());
        let wanted = (number != 7 && number < 200).then(|| number.to_string().into_bytes());
        assert_eq!(value, wanted, "{number}");
    }
    let two = soon(soon(kv.keys_of(["k.1", "k.2"])).await?.all()).await?;
    assert_eq!(two, ["k.1", "k.2"]);
    Ok(())
}
