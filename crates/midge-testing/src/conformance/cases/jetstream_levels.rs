//! Servers that know less, and how that is noticed.

use std::time::Duration;

use midge::Event;
use midge::jetstream::{
    AckPolicy, ApiLevel, ApiPrefix, AtomicBatchError, CallError, Compression, ConsumerConfig,
    ConsumerError, ConsumerLimits, DeliverPolicy, Differences, DirectError, Discard, ErrorCode,
    FeatureError, JetPublishError, JetStream, LevelError, Listed, PersistMode, PriorityPolicy,
    PubAck, PublisherError, ReplayPolicy, Republish, Retention, Schedule, StreamConfig,
    StreamError, StreamSource, SubjectTransform, Time,
};

use super::jetstream_streams::{in_memory, jetstream, store};
use crate::conformance::steps::{connect, impatient, is_connected, next, soon, wait_for};
use crate::conformance::{Adapter, Outcome};
use crate::{NatsServer, Version};

async fn of_version<A: Adapter>(version: Version) -> Outcome<(NatsServer, JetStream)> {
    let server = NatsServer::builder().version(version).jetstream(true).start()?;
    let client = connect::<A>(impatient(&server.url())).await?;
    Ok((server, JetStream::new(client)))
}

fn lacks(error: Option<StreamError>, what: &str, needed: ApiLevel) {
    let Some(StreamError::Level(error)) = error else { panic!("too old, not {error:?}") };
    assert_eq!((error.what, error.needed), (what, needed), "{error}");
}

fn lacks_call<T>(result: Result<T, FeatureError>) -> LevelError {
    match result {
        Err(FeatureError::Level(error)) => error,
        _ => panic!("the server knows it not"),
    }
}

pub async fn a_server_of_2_10_does_what_it_can_and_the_rest_is_named<A: Adapter>() -> Outcome {
    let (_server, js) = of_version::<A>(Version::V2_10).await?;
    assert_eq!(soon(js.api_level()).await?, ApiLevel::V2_10);
    let config = StreamConfig {
        allow_direct: true,
        metadata: [("team".into(), "a".into())].into(),
        max_age: Some(Duration::from_secs(60)),
        ..in_memory("s")
    };
    let stream = soon(js.create_stream(config)).await?;
    store(js.client(), "s.a", "x").await?;
    let two = vec!["s.a".into(), "s.b.>".into()];
    let consumer = ConsumerConfig { filter_subjects: two, ..ConsumerConfig::durable("c") };
    let info = soon(stream.create_consumer(consumer)).await?;
    assert_eq!(info.num_pending, 1);
    assert_eq!(soon(stream.message(1)).await?.payload, "x");
    assert_eq!(soon(stream.direct_get(1)).await?.payload, "x");
    assert_eq!(soon(stream.direct_last("s.a")).await?.sequence, 1);
    assert_eq!(soon(stream.purge().keep(1)).await?, 0);
    assert_eq!(
        soon(js.streams().next()).await.expect("one")?.found().map(|i| i.config.name),
        Some("s".into())
    );

    let ttl = StreamConfig { allow_msg_ttl: true, ..in_memory("t") };
    lacks(soon(js.create_stream(ttl.clone())).await.err(), "allow_msg_ttl", ApiLevel::V2_11);
    lacks(soon(js.update_stream(ttl)).await.err(), "allow_msg_ttl", ApiLevel::V2_11);
    let pedantic = soon(js.pedantic().create_stream(in_memory("t"))).await;
    lacks(pedantic.err(), "to be pedantic", ApiLevel::V2_11);
    let counter = StreamConfig { allow_msg_counter: true, ..in_memory("t") };
    lacks(soon(js.create_stream(counter)).await.err(), "allow_msg_counter", ApiLevel::V2_12);
    let paused =
        ConsumerConfig { pause_until: Some(Time::UNIX_EPOCH), ..ConsumerConfig::durable("d") };
    let Err(ConsumerError::Level(error)) = soon(stream.create_consumer(paused)).await else {
        panic!("2.10 pauses nothing")
    };
    assert_eq!(error.what, "pause_until");
    lacks_call(soon(stream.pause_consumer("c", Time::UNIX_EPOCH)).await);
    lacks_call(soon(stream.resume_consumer("c")).await);
    lacks_call(soon(stream.unpin_consumer("c", "g")).await);
    let error = lacks_call(soon(stream.reset_consumer("c", None)).await);
    assert_eq!((error.needed, error.level), (ApiLevel::V2_14, ApiLevel::V2_10));
    let several = soon(stream.direct_batch().messages().next()).await;
    assert!(matches!(several, Some(Err(DirectError::Level(_)))), "{several:?}");
    Ok(())
}

pub async fn a_server_of_2_11_does_what_it_can_and_the_rest_is_named<A: Adapter>() -> Outcome {
    let (_server, js) = of_version::<A>(Version::V2_11).await?;
    assert_eq!(soon(js.api_level()).await?, ApiLevel::V2_11);
    let config = StreamConfig {
        subject_delete_marker_ttl: Some(Duration::from_secs(1)),
        allow_direct: true,
        ..in_memory("s")
    };
    let stream = soon(js.create_stream(config)).await?;
    for _ in 0..3 {
        store(js.client(), "s.a", "x").await?;
    }
    let group = |policy| ConsumerConfig {
        priority_policy: policy,
        priority_groups: vec!["g".into()],
        ..ConsumerConfig::durable("c")
    };
    soon(stream.create_consumer(group(PriorityPolicy::PinnedClient))).await?;
    soon(stream.unpin_consumer("c", "g")).await?;
    let until: Time = "2100-01-01T00:00:00Z".parse()?;
    assert!(soon(stream.pause_consumer("c", until)).await?.paused);
    let mut messages = stream.direct_batch().messages();
    for sequence in 1..=3 {
        let message = soon(messages.next()).await.expect("there are three")?;
        assert_eq!(message.sequence, sequence);
    }
    assert!(soon(messages.next()).await.is_none());

    let atomic = StreamConfig { allow_atomic: true, ..in_memory("t") };
    lacks(soon(js.create_stream(atomic)).await.err(), "allow_atomic", ApiLevel::V2_12);
    let later = StreamConfig { persist_mode: PersistMode::Async, ..StreamConfig::new("t") };
    lacks(soon(js.create_stream(later)).await.err(), "persist_mode", ApiLevel::V2_12);
    let fast = StreamConfig { allow_batched: true, ..in_memory("t") };
    lacks(soon(js.create_stream(fast)).await.err(), "allow_batched", ApiLevel::V2_14);
    let prioritized = group(PriorityPolicy::Prioritized);
    let Err(ConsumerError::Level(error)) = soon(stream.create_consumer(prioritized)).await else {
        panic!("2.11 has no priorities")
    };
    assert_eq!(error.what, "priority_policy");
    lacks_call(soon(stream.reset_consumer("c", None)).await);
    Ok(())
}

pub async fn the_level_is_asked_for_once_a_connection<A: Adapter>() -> Outcome {
    let (mut server, js) = jetstream::<A>().await?;
    let observer = connect::<A>(impatient(&server.url())).await?;
    let mut asked = observer.subscribe("$JS.API.>").confirmed().await?;
    let ttl = || StreamConfig { allow_msg_ttl: true, ..in_memory("s") };
    soon(js.create_stream(ttl())).await?;
    soon(js.create_stream(ttl())).await?;
    soon(js.create_stream(in_memory("t"))).await?;
    let (first, second) = (next(&mut asked).await, next(&mut asked).await);
    assert_eq!((first.subject(), second.subject()), ("$JS.API.INFO", "$JS.API.STREAM.CREATE.s"));
    let level = second.headers().and_then(|headers| headers.get("Nats-Required-Api-Level"));
    assert_eq!(level, Some("1"), "the server is asked to look too");
    assert_eq!(next(&mut asked).await.subject(), "$JS.API.STREAM.CREATE.s");
    let without = next(&mut asked).await;
    assert_eq!(without.subject(), "$JS.API.STREAM.CREATE.t");
    assert!(without.headers().is_none());

    let mut events = js.client().events();
    server.kill()?;
    server.restart()?;
    wait_for(&mut events, is_connected).await;
    let observer = connect::<A>(impatient(&server.url())).await?;
    let mut asked = observer.subscribe("$JS.API.>").confirmed().await?;
    soon(js.create_stream(ttl())).await?;
    assert_eq!(next(&mut asked).await.subject(), "$JS.API.INFO", "it may be another server now");
    Ok(())
}

/// Leaf and hub are of different versions, and so are the streams that they can have.
pub async fn the_level_is_that_of_the_domain_in_use<A: Adapter>() -> Outcome {
    let port = crate::unused_port()?;
    let hub = format!(
        "server_name: hub\njetstream {{ domain: hub }}\nleafnodes {{ listen: \"127.0.0.1:{port}\" }}"
    );
    let hub = NatsServer::builder().version(Version::V2_11).jetstream(true).config(hub);
    let _hub = hub.start()?;
    let leaf = format!(
        "server_name: leaf\njetstream {{ domain: leaf }}\nleafnodes {{ remotes: [{{ url: \"nats-leaf://127.0.0.1:{port}\" }}] }}"
    );
    let leaf = NatsServer::builder().jetstream(true).config(leaf).start()?;
    let near = JetStream::new(connect::<A>(impatient(&leaf.url())).await?);
    let far = near.with_prefix(ApiPrefix::domain("hub")?);
    soon(async {
        while let Err(CallError::NoResponders { .. }) = far.api_level().await {
            crate::conformance::timer::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let counter = |name: &str| StreamConfig { allow_msg_counter: true, ..in_memory(name) };
    for _ in 0..2 {
        lacks(
            soon(far.create_stream(counter("far"))).await.err(),
            "allow_msg_counter",
            ApiLevel::V2_12,
        );
        soon(near.create_stream(counter("near"))).await?;
    }
    assert_eq!(soon(far.api_level()).await?, ApiLevel::V2_11);
    assert!(soon(near.api_level()).await? >= ApiLevel::V2_14);
    let ttl = StreamConfig { allow_msg_ttl: true, ..in_memory("ttl") };
    let stream = soon(far.create_stream(ttl)).await?;
    assert_eq!(soon(stream.info()).await?.domain.as_deref(), Some("hub"));
    Ok(())
}

fn lacks_header(result: Result<PubAck, JetPublishError>) -> LevelError {
    match result {
        Err(JetPublishError::Feature(FeatureError::Level(error))) => error,
        other => panic!("too old, not {other:?}"),
    }
}

pub async fn a_message_with_a_header_that_the_server_is_too_old_for_is_not_sent<A: Adapter>()
-> Outcome {
    let (_server, js) = of_version::<A>(Version::V2_10).await?;
    soon(js.create_stream(in_memory("s"))).await?;
    let second = Duration::from_secs(1);
    let error = lacks_header(soon(js.publish("s.a", "").ttl(second)).await);
    assert_eq!((error.what, error.needed), ("Nats-TTL", ApiLevel::V2_11));
    let error = lacks_header(soon(js.publish("s.a", "").increment(1)).await);
    assert_eq!((error.what, error.needed), ("Nats-Incr", ApiLevel::V2_12));
    lacks_header(soon(js.publish("s.a", "").expect_last_sequence_of("s.>", 0)).await);
    let once = Schedule::at(Time::UNIX_EPOCH, "s.b");
    let error = lacks_header(soon(js.publish("s.a", "").schedule(&once)).await);
    assert_eq!(error.needed, ApiLevel::V2_12);
    lacks_header(soon(js.publish("s.a", "").cancel_schedule("s.b")).await);
    let mut publisher = soon(js.publisher()).await?;
    let error = soon(publisher.publish("s.a", "").ttl(second)).await;
    assert!(matches!(error, Err(PublisherError::Feature(FeatureError::Level(_)))), "{error:?}");
    soon(publisher.publish("s.a", "").message_id("1")).await?;
    soon(publisher.flush()).await?;
    let ack = soon(js.publish("s.a", "").expect_last_sequence(1)).await?;
    assert_eq!(ack.seq, 2, "nothing else is stored");

    let (_server, js) = of_version::<A>(Version::V2_12).await?;
    let config = StreamConfig {
        allow_atomic: true,
        allow_msg_schedules: true,
        allow_msg_ttl: true,
        ..in_memory("s")
    };
    soon(js.create_stream(config)).await?;
    soon(js.publish("s.a", "").schedule(&once)).await?;
    let every = Schedule::every(second, "s.b");
    let error = lacks_header(soon(js.publish("s.c", "").schedule(&every)).await);
    assert_eq!((error.what, error.needed), ("Nats-Schedule", ApiLevel::V2_14));
    let mut batch = soon(js.batch()).await?;
    let error = soon(batch.add("s.c", "").schedule(&every)).await;
    assert!(matches!(error, Err(AtomicBatchError::Feature(_))), "{error:?}");
    soon(batch.add("s.d", "").ttl(second)).await?;
    let error = soon(batch.commit("s.c", "").cancel_schedule("s.d")).await;
    assert!(matches!(error, Err(AtomicBatchError::Feature(_))), "{error:?}");
    assert_eq!(soon(batch.commit("s.d", "")).await?.count, Some(2));
    Ok(())
}

pub async fn publishes_ask_for_the_level_once_a_connection<A: Adapter>() -> Outcome {
    let (server, js) = jetstream::<A>().await?;
    soon(js.create_stream(StreamConfig { allow_msg_ttl: true, ..in_memory("s") })).await?;
    let mut events = js.client().events();
    js.client().reconnect();
    wait_for(&mut events, is_connected).await;
    let observer = connect::<A>(impatient(&server.url())).await?;
    let mut asked = observer.subscribe("$JS.API.>").confirmed().await?;
    for _ in 0..3 {
        soon(js.publish("s.a", "").ttl(Duration::from_secs(9))).await?;
    }
    soon(js.with_timeout(Duration::from_secs(9)).publish("s.a", "").never_expires()).await?;
    soon(js.publish("s.a", "").message_id("1")).await?;
    soon(js.stream("s")?.info()).await?;
    assert_eq!(next(&mut asked).await.subject(), "$JS.API.INFO");
    assert_eq!(next(&mut asked).await.subject(), "$JS.API.STREAM.INFO.s");
    Ok(())
}

pub async fn who_has_no_api_publishes_what_the_server_takes<A: Adapter>() -> Outcome {
    let config = r#"authorization { users: [
        { user: a, password: p },
        { user: u, password: p, permissions: { publish: ["s.>"] } },
    ] }"#;
    let server = NatsServer::builder().jetstream(true).config(config).start()?;
    let user = |name| impatient(&server.url()).user_and_password(name, "p");
    let js = JetStream::new(connect::<A>(user("a")).await?);
    soon(js.create_stream(StreamConfig { allow_msg_ttl: true, ..in_memory("s") })).await?;
    let client = connect::<A>(user("u")).await?;
    let mut denied = client.events();
    let (js, second) = (JetStream::new(client), Duration::from_secs(1));
    for seq in 1..=3 {
        assert_eq!(soon(js.publish("s.a", "").ttl(second)).await?.seq, seq);
    }
    let mut denials = 0;
    soon(js.client().close()).await;
    while let Some(event) = soon(denied.next()).await {
        denials += usize::from(matches!(event, Event::ServerError(_)));
    }
    assert_eq!(denials, 1, "it asks once");
    Ok(())
}

/// An account without JetStream has the subjects of another one's streams.
pub async fn who_has_the_subjects_of_another_account_publishes_what_the_server_takes<A: Adapter>()
-> Outcome {
    let config = r#"accounts {
        A: { jetstream: enabled, users: [{ user: a, password: p }], exports: [{ service: ">" }] }
        B: { users: [{ user: b, password: p }], imports: [
            { service: { account: A, subject: "s.>" } }, { service: { account: A, subject: "c.>" } },
        ] }
    }"#;
    let server = NatsServer::builder().jetstream(true).config(config).start()?;
    let user = |name| impatient(&server.url()).user_and_password(name, "p");
    let js = JetStream::new(connect::<A>(user("a")).await?);
    let all = StreamConfig { allow_msg_ttl: true, allow_atomic: true, ..in_memory("s") };
    let stream = soon(js.create_stream(all)).await?;
    soon(js.create_stream(StreamConfig { allow_msg_counter: true, ..in_memory("c") })).await?;

    let (js, second) = (JetStream::new(connect::<A>(user("b")).await?), Duration::from_secs(60));
    let error = soon(js.api_level()).await.expect_err("it has no JetStream");
    assert_eq!(error.code(), Some(ErrorCode::NOT_ENABLED_FOR_ACCOUNT));
    assert_eq!(soon(js.publish("s.a", "").ttl(second)).await?.seq, 1);
    let mut publisher = soon(js.publisher()).await?;
    soon(publisher.publish("s.a", "").ttl(second)).await?;
    soon(publisher.flush()).await?;
    let mut batch = soon(js.batch()).await?;
    soon(batch.add("s.a", "").ttl(second)).await?;
    assert_eq!(soon(batch.commit("s.a", "")).await?.count, Some(2));
    assert_eq!(soon(js.counters("c")?.add("c.a", 7)).await?.to_string(), "7");
    let stored = soon(stream.message(2)).await?;
    assert_eq!(stored.headers.get("Nats-TTL"), Some("60"));
    Ok(())
}

pub async fn who_may_not_ask_for_the_level_leaves_it_to_the_server<A: Adapter>() -> Outcome {
    let config = "authorization { users: [{ user: u, password: p, permissions: { publish: { deny: \"$JS.API.INFO\" } } }] }";
    let server = NatsServer::builder().jetstream(true).config(config).start()?;
    let options = impatient(&server.url()).user_and_password("u", "p");
    let js = JetStream::new(connect::<A>(options).await?);
    soon(js.create_stream(StreamConfig { allow_atomic: true, ..in_memory("s") })).await?;
    soon(js.api_level()).await.expect_err("it is denied");
    Ok(())
}

/// Who is not told the level sends everything. Servers before 2.12 drop what they do not know; later
/// ones refuse it by the level that is asked for in the request.
pub async fn what_an_old_server_drops_is_named_and_what_it_refuses_is_told<A: Adapter>() -> Outcome
{
    let config = "authorization { users: [{ user: u, password: p, permissions: { publish: { deny: \"$JS.API.INFO\" } } }] }";
    let dropped = StreamConfig { allow_atomic: true, ..in_memory("s") };
    let paused = ConsumerConfig {
        pause_until: Some("2100-01-01T00:00:00Z".parse()?),
        ..ConsumerConfig::durable("c")
    };
    let prioritized = ConsumerConfig {
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec!["g".into()],
        ..ConsumerConfig::durable("p")
    };
    for version in Version::ALL {
        let server = NatsServer::builder().version(version).jetstream(true).config(config);
        let server = server.start()?;
        let options = impatient(&server.url()).user_and_password("u", "p");
        let js = JetStream::new(connect::<A>(options).await?);
        let created = soon(js.create_stream(dropped.clone())).await;
        if !matches!(version, Version::V2_10 | Version::V2_11) {
            created?;
            let fast = StreamConfig { allow_batched: true, ..in_memory("fast") };
            let created = soon(js.create_stream(fast)).await.map(|_| ());
            if version == Version::V2_12 {
                let code = created.err().and_then(|error| error.code());
                assert_eq!(code, Some(ErrorCode::REQUIRED_API_LEVEL), "{version:?}");
            } else {
                created?;
            }
            continue;
        }
        let Err(StreamError::Differs { differences, info }) = created else {
            panic!("{version:?} has no batches: {created:?}")
        };
        let fields = |differences: &Differences| {
            differences.iter().map(|difference| difference.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(fields(&differences), ["allow_atomic"], "{version:?}");
        assert_eq!(info.config.subjects, ["s.>"]);
        let stream = js.stream("s")?;
        let pause = soon(stream.create_consumer(paused.clone())).await;
        let group = soon(stream.create_consumer(prioritized.clone())).await;
        if version == Version::V2_11 {
            pause?;
            group?;
            continue;
        }
        let Err(ConsumerError::Differs { differences, .. }) = pause else { panic!("{pause:?}") };
        assert_eq!(fields(&differences), ["pause_until"]);
        let Err(ConsumerError::Differs { differences, .. }) = group else { panic!("{group:?}") };
        assert_eq!(fields(&differences), ["priority_groups", "priority_policy"]);
    }
    Ok(())
}

pub async fn a_stream_that_the_server_is_too_old_for_is_listed<A: Adapter>() -> Outcome {
    let (mut newer, js) = jetstream::<A>().await?;
    let fast = StreamConfig { allow_batched: true, ..StreamConfig::new("fast") };
    soon(js.create_stream(fast)).await?;
    soon(js.create_stream(StreamConfig::new("plain"))).await?;
    soon(js.client().close()).await;
    newer.stop()?;
    let older = NatsServer::builder()
        .version(Version::V2_12)
        .jetstream(true)
        .arg("-sd")
        .arg(newer.files().join("store"))
        .start()?;
    let js = JetStream::new(connect::<A>(impatient(&older.url())).await?);
    let (mut offline, mut found) = (Vec::new(), Vec::new());
    let mut streams = js.streams();
    while let Some(listed) = soon(streams.next()).await {
        match listed? {
            Listed::Found(info) => found.push(info.config.name),
            Listed::Offline { name, reason } => offline.push((name, reason)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found, ["plain"]);
    let [(name, reason)] = offline.as_slice() else { panic!("one is offline: {offline:?}") };
    assert_eq!(name, "fast");
    assert!(reason.contains("allow_batched"), "{reason}");
    Ok(())
}

/// Streams that copy others, and a consumer that pushes, as every version knows them.
async fn takes_copies_and_pushes(js: &JetStream) -> Outcome {
    let origin =
        soon(js.create_stream(StreamConfig { allow_direct: true, ..in_memory("o") })).await?;
    soon(js.create_stream(in_memory("p"))).await?;
    let start: Time = "2026-01-01T00:00:00.000000001+02:00".parse()?;
    let mirror = StreamSource {
        opt_start_time: Some(start),
        filter_subject: Some("o.x".into()),
        ..StreamSource::new("o")
    };
    let mirror =
        StreamConfig { mirror: Some(mirror), mirror_direct: true, ..StreamConfig::new("mirror") };
    let transforms =
        vec![SubjectTransform { src: "o.*".into(), dest: "copy.{{wildcard(1)}}".into() }];
    let sources = vec![
        StreamSource { opt_start_seq: 5, subject_transforms: transforms, ..StreamSource::new("o") },
        StreamSource { filter_subject: Some("p.>".into()), ..StreamSource::new("p") },
    ];
    let copy = StreamConfig { sources, ..StreamConfig::new("copy") };
    for config in [mirror, copy] {
        let stream = soon(js.create_stream(config)).await?;
        // As it came it goes back.
        soon(js.update_stream(soon(stream.info()).await?.config)).await?;
    }
    let push = ConsumerConfig {
        deliver_policy: DeliverPolicy::ByStartTime(start),
        ack_policy: AckPolicy::All,
        ack_wait: Some(Duration::from_nanos(1_500_000_001)),
        filter_subjects: vec!["o.x".into()],
        replay_policy: ReplayPolicy::Original,
        rate_limit_bps: Some(1 << 40),
        headers_only: true,
        deliver_subject: Some("there".into()),
        deliver_group: Some("group".into()),
        idle_heartbeat: Some(Duration::from_secs(5)),
        flow_control: true,
        ..ConsumerConfig::durable("push")
    };
    let info = soon(origin.create_consumer(push)).await?;
    soon(origin.update_consumer(info.config)).await?;
    Ok(())
}

pub async fn every_version_takes_what_all_know<A: Adapter>() -> Outcome {
    for version in Version::ALL {
        let (_server, js) = of_version::<A>(version).await?;
        let seconds = Duration::from_secs;
        // What comes back is compared with what was asked for, field by field.
        let config = StreamConfig {
            description: Some("a test".into()),
            subjects: vec!["a.*".into(), "b.>".into()],
            retention: Retention::WorkQueue,
            max_consumers: Some(7),
            max_msgs: Some(1_000),
            max_bytes: Some(1 << 20),
            max_age: Some(seconds(60)),
            max_msgs_per_subject: Some(3),
            max_msg_size: Some(4_096),
            discard: Discard::New,
            discard_new_per_subject: true,
            duplicate_window: Some(seconds(1)),
            compression: Compression::S2,
            first_seq: 1_000,
            subject_transform: Some(SubjectTransform { src: "b.>".into(), dest: "c.>".into() }),
            republish: Some(Republish { dest: "copy.>".into(), ..Republish::default() }),
            allow_direct: true,
            deny_delete: true,
            allow_rollup_hdrs: true,
            consumer_limits: ConsumerLimits {
                inactive_threshold: Some(seconds(60)),
                max_ack_pending: Some(50),
            },
            metadata: [("team".into(), "a".into())].into(),
            ..StreamConfig::new("s")
        };
        let stream = soon(js.create_stream(config.clone())).await?;
        soon(js.update_stream(StreamConfig { max_msgs: Some(2_000), ..config })).await?;
        let consumer = ConsumerConfig {
            description: Some("a test".into()),
            backoff: vec![seconds(1), seconds(2)],
            max_deliver: Some(3),
            filter_subjects: vec!["a.b".into(), "c.>".into()],
            sample_freq: Some(50),
            max_waiting: Some(3),
            max_ack_pending: Some(5),
            max_batch: Some(10),
            max_expires: Some(seconds(60)),
            max_bytes: Some(1 << 20),
            inactive_threshold: Some(seconds(30)),
            num_replicas: Some(1),
            mem_storage: true,
            metadata: [("team".into(), "a".into())].into(),
            ..ConsumerConfig::durable("c")
        };
        soon(stream.create_consumer(consumer.clone())).await?;
        soon(stream.create_or_update_consumer(consumer)).await?;
        let info = soon(stream.info()).await?;
        assert_eq!((info.state.consumer_count, info.config.max_msgs), (1, Some(2_000)));
        assert_eq!(soon(stream.consumers().next()).await.map(|c| c.is_ok()), Some(true));
        takes_copies_and_pushes(&js).await?;
    }
    Ok(())
}
