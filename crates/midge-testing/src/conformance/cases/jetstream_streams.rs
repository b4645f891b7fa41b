//! Streams and the account, as a real nats-server has them.

use std::time::{Duration, Instant};

use midge::jetstream::{
    AckPolicy, ApiPrefix, CallError, Compression, ConfigError, ConsumerConfig, ConsumerLimits,
    DirectError, Discard, ErrorCode, External, GetMessageError, JetStream, List, Listed,
    PersistMode, Placement, PurgeError, Republish, Retention, SourceConsumer, Storage, Stream,
    StreamConfig, StreamError, StreamInfo, StreamSource, SubjectTransform,
};
use midge::{Client, NotSent, RequestError};

use crate::NatsServer;
use crate::conformance::steps::{PATIENCE, assert_took, connect, fill, impatient, poll_once, soon};
use crate::conformance::{Adapter, Outcome};

/// A server with JetStream, and a context of it.
pub(crate) async fn jetstream<A: Adapter>() -> Outcome<(NatsServer, JetStream)> {
    let server = NatsServer::builder().jetstream(true).start()?;
    let client = connect::<A>(impatient(&server.url())).await?;
    Ok((server, JetStream::new(client)))
}

/// A server whose JetStream is the domain `hub`, and a leaf of it whose own is the domain `leaf`.
pub(crate) fn hub_and_leaf() -> Outcome<(NatsServer, NatsServer)> {
    let start = |config: String| NatsServer::builder().jetstream(true).config(config).start();
    let hub = "server_name: hub\njetstream { domain: hub }\nleafnodes { listen: \"127.0.0.1:-1\" }";
    let hub = start(hub.into())?;
    // The port is the system's choice: one that was looked for before may be somebody else's by then.
    let listens = hub.wait_for_log("Listening for leafnode connections", PATIENCE)?;
    let port = listens.rsplit(':').next().unwrap_or_default();
    let leaf = start(format!(
        "server_name: leaf\njetstream {{ domain: leaf }}\nleafnodes {{ remotes: [{{ url: \"nats-leaf://127.0.0.1:{port}\" }}] }}"
    ))?;
    Ok((hub, leaf))
}

/// A stream in memory with subjects below its name.
pub(crate) fn in_memory(name: &str) -> StreamConfig {
    StreamConfig {
        subjects: vec![format!("{name}.>")],
        storage: Storage::Memory,
        ..StreamConfig::new(name)
    }
}

/// Publishes, and waits until the stream has it.
pub(crate) async fn store(client: &Client, subject: &str, payload: impl AsRef<[u8]>) -> Outcome {
    let ack = soon(client.request(subject, payload)).await?;
    assert!(ack.payload().starts_with(b"{\"stream\":"), "{:?}", str::from_utf8(ack.payload()));
    Ok(())
}

async fn all<T: midge::jetstream::Entry>(mut list: List<T>) -> Outcome<Vec<T::Item>> {
    let mut entries = Vec::new();
    while let Some(entry) = soon(list.next()).await {
        entries.push(entry?);
    }
    Ok(entries)
}

fn found(listed: Listed<StreamInfo>) -> StreamInfo {
    listed.found().expect("every stream is in use")
}

pub async fn a_stream_is_created_updated_and_deleted<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let config = StreamConfig { max_msgs: Some(5), ..in_memory("s") };
    let stream = soon(js.create_stream(config.clone())).await?;
    assert_eq!(stream.cached_info().map(|info| info.config.max_msgs), Some(Some(5)));
    // One that is there with the same configuration is as good.
    soon(js.create_stream(config.clone())).await?;
    let other = StreamConfig { max_msgs: Some(6), ..config.clone() };
    let error = soon(js.create_stream(other.clone())).await.expect_err("it is another one");
    assert_eq!(error.code(), Some(ErrorCode::STREAM_NAME_EXIST));

    let updated = soon(js.update_stream(other)).await?;
    assert_eq!(soon(updated.info()).await?.config.max_msgs, Some(6));
    let stale = stream.cached_info().expect("it was told").config.max_msgs;
    assert_eq!(stale, Some(5), "what was told then is what was so then");
    let error = soon(js.update_stream(in_memory("t"))).await.expect_err("it is not there");
    assert_eq!(error.code(), Some(ErrorCode::STREAM_NOT_FOUND));

    soon(js.create_or_update_stream(in_memory("t"))).await?;
    let changed = StreamConfig { max_age: Some(Duration::from_secs(9)), ..in_memory("t") };
    soon(js.create_or_update_stream(changed)).await?;
    let stream = soon(js.get_stream("t")).await?;
    let age = stream.cached_info().expect("it was asked for").config.max_age;
    assert_eq!(age, Some(Duration::from_secs(9)));

    soon(stream.delete()).await?;
    for error in [soon(stream.delete()).await.err(), soon(js.get_stream("t")).await.err()] {
        let error = error.expect("it is gone");
        assert_eq!(error.code(), Some(ErrorCode::STREAM_NOT_FOUND), "{error}");
    }
    Ok(())
}

pub async fn every_field_of_a_stream_reaches_the_server<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    soon(js.create_stream(in_memory("origin"))).await?;
    // What comes back is compared with what was asked for, field by field.
    let config = StreamConfig {
        description: Some("a test".into()),
        subjects: vec!["a.*".into(), "b.>".into()],
        retention: Retention::Interest,
        max_consumers: Some(7),
        max_msgs: Some(1_000_000),
        max_bytes: Some(1 << 24),
        max_age: Some(Duration::from_nanos(100_000_000_001)),
        max_msgs_per_subject: Some(3),
        max_msg_size: Some(4_096),
        discard: Discard::New,
        discard_new_per_subject: true,
        duplicate_window: Some(Duration::from_millis(100)),
        compression: Compression::S2,
        first_seq: u64::MAX / 2,
        sources: vec![StreamSource {
            opt_start_seq: 5,
            subject_transforms: vec![SubjectTransform {
                src: "origin.*".into(),
                dest: "a.{{wildcard(1)}}".into(),
            }],
            ..StreamSource::new("origin")
        }],
        subject_transform: Some(SubjectTransform { src: "b.>".into(), dest: "c.>".into() }),
        republish: Some(Republish { src: "c.>".into(), dest: "copy.>".into(), headers_only: true }),
        allow_direct: true,
        deny_delete: true,
        allow_rollup_hdrs: true,
        consumer_limits: ConsumerLimits {
            inactive_threshold: Some(Duration::from_secs(60)),
            max_ack_pending: Some(50),
        },
        allow_msg_ttl: true,
        subject_delete_marker_ttl: Some(Duration::from_secs(5)),
        allow_atomic: true,
        allow_batched: true,
        metadata: [("team".into(), "a".into())].into(),
        ..StreamConfig::new("everything")
    };
    let stream = soon(js.create_stream(config)).await?;
    let info = stream.cached_info().expect("it was told");
    assert_eq!(info.state.last_seq, u64::MAX / 2 - 1);
    assert_eq!(info.config.user_metadata().collect::<Vec<_>>(), [("team", "a")]);
    assert!(info.config.metadata.len() > 1, "the server notes something of its own");
    // As it came it goes back.
    soon(js.update_stream(info.config.clone())).await?;

    let counter = StreamConfig {
        allow_msg_counter: true,
        deny_purge: true,
        no_ack: true,
        ..in_memory("counter")
    };
    let counter = soon(js.create_stream(counter)).await?;
    soon(js.update_stream(soon(counter.info()).await?.config)).await?;
    let schedules = StreamConfig { allow_msg_schedules: true, ..in_memory("schedules") };
    let schedules = soon(js.create_stream(schedules)).await?;
    soon(js.update_stream(soon(schedules.info()).await?.config)).await?;
    let mirror = StreamConfig {
        mirror: Some(StreamSource {
            opt_start_time: Some("2026-01-01T00:00:00.000000001+02:00".parse()?),
            filter_subject: Some("origin.x".into()),
            ..StreamSource::new("origin")
        }),
        ..StreamConfig::new("mirror")
    };
    let mirror = soon(js.create_stream(mirror)).await?;
    let progress = soon(mirror.info()).await?.mirror.expect("it is a mirror");
    assert_eq!(progress.name, "origin");
    soon(js.update_stream(soon(mirror.info()).await?.config)).await?;
    let rest = StreamConfig {
        placement: Placement { tags: vec!["ssd".into()], ..Placement::default() },
        ..in_memory("elsewhere")
    };
    let error = soon(js.create_stream(rest)).await.err().and_then(|error| error.code());
    assert_eq!(error, None, "a single server takes a placement as it is");
    Ok(())
}

/// What excludes other fields, or needs other streams.
pub async fn what_a_stream_has_of_others_reaches_the_server<A: Adapter>() -> Outcome {
    let (hub, leaf) = hub_and_leaf()?;
    let near = JetStream::new(connect::<A>(impatient(&leaf.url())).await?);
    let far = JetStream::new(connect::<A>(impatient(&hub.url())).await?);
    let across = near.with_prefix(ApiPrefix::domain("hub")?);
    soon(async {
        while let Err(CallError::NoResponders { .. }) = across.api_level().await {
            crate::conformance::timer::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let origin = StreamConfig { allow_direct: true, ..in_memory("origin") };
    soon(far.create_stream(origin)).await?;
    store(far.client(), "origin.a", "x").await?;

    let later = StreamConfig { persist_mode: PersistMode::Async, ..StreamConfig::new("later") };
    let later = soon(far.create_stream(later)).await?;
    soon(far.update_stream(soon(later.info()).await?.config)).await?;

    let mirror = StreamConfig {
        mirror: Some(StreamSource::new("origin")),
        mirror_direct: true,
        ..StreamConfig::new("mirror")
    };
    let mirror = soon(far.create_stream(mirror)).await?;
    assert!(soon(mirror.info()).await?.config.mirror_direct);

    // From another domain, and what was stored there comes.
    let external = External { api: "$JS.hub.API".into(), deliver: String::new() };
    let source = StreamSource { external: Some(external.clone()), ..StreamSource::new("origin") };
    let copy = StreamConfig { sources: vec![source], ..StreamConfig::new("copy") };
    let copy = soon(near.create_stream(copy)).await?;
    let comes = async |stream: &Stream| {
        while soon(stream.info()).await?.state.messages == 0 {}
        Outcome::Ok(soon(stream.message(1)).await?)
    };
    let message = comes(&copy).await?;
    assert_eq!((&*message.subject, &*message.payload), ("origin.a", &b"x"[..]));
    assert_eq!(soon(copy.info()).await?.sources[0].external, Some(external));

    // Through a durable consumer (ADR-60).
    let durable = ConsumerConfig {
        ack_policy: AckPolicy::FlowControl,
        flow_control: true,
        idle_heartbeat: Some(Duration::from_secs(1)),
        max_ack_pending: Some(100),
        deliver_subject: Some("deliver.origin".into()),
        ..ConsumerConfig::durable("durable")
    };
    soon(far.stream("origin")?.create_consumer(durable)).await?;
    let consumer =
        SourceConsumer { name: "durable".into(), deliver_subject: "deliver.origin".into() };
    let source = StreamSource { consumer: Some(consumer), ..StreamSource::new("origin") };
    let through = StreamConfig { sources: vec![source], ..in_memory("through") };
    let through = soon(far.create_stream(through)).await?;
    soon(far.update_stream(soon(through.info()).await?.config)).await?;
    assert_eq!(comes(&through).await?.subject, "origin.a");
    Ok(())
}

pub async fn what_a_server_changes_is_named<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    soon(js.create_stream(in_memory("origin"))).await?;
    let mirror = StreamConfig {
        mirror: Some(StreamSource::new("origin")),
        mirror_direct: true,
        ..StreamConfig::new("mirror")
    };
    let Err(StreamError::Differs { differences, info }) = soon(js.create_stream(mirror)).await
    else {
        panic!("an origin without direct gets has no mirror with them")
    };
    let fields: Vec<_> = differences.iter().map(|difference| &*difference.field).collect();
    assert_eq!(fields, ["mirror_direct"]);
    assert!(!info.config.mirror_direct);
    soon(js.get_stream("mirror")).await?;
    Ok(())
}

/// Servers do not tell an empty text from none.
pub async fn a_text_that_is_empty_is_none<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let placement = Placement { cluster: Some(String::new()), ..Placement::default() };
    let config = StreamConfig { description: Some(String::new()), placement, ..in_memory("s") };
    let stream = soon(js.create_stream(config.clone())).await?;
    assert_eq!(stream.cached_info().and_then(|info| info.config.description.clone()), None);
    soon(js.update_stream(config)).await?;
    let config =
        ConsumerConfig { description: Some(String::new()), ..ConsumerConfig::durable("c") };
    soon(stream.create_consumer(config.clone())).await?;
    soon(stream.update_consumer(config)).await?;
    Ok(())
}

pub async fn a_stream_that_contradicts_itself_is_refused_before_it_is_asked_for<A: Adapter>()
-> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let before = soon(js.account_info()).await?.api;
    let wrong = StreamConfig { deny_purge: true, allow_rollup_hdrs: true, ..in_memory("s") };
    for error in [
        soon(js.create_stream(wrong.clone())).await.err(),
        soon(js.update_stream(wrong.clone())).await.err(),
        soon(js.create_or_update_stream(wrong)).await.err(),
    ] {
        let Some(StreamError::Config(error)) = error else { panic!("refused, not {error:?}") };
        assert_eq!(error.field(), "deny_purge");
    }
    for name in ["", "a.b", "a b", "a*", "$JS.API.STREAM.DELETE.s\r\n"] {
        js.stream(name).expect_err(name);
        assert!(matches!(soon(js.get_stream(name)).await, Err(CallError::Name(_))), "{name:?}");
        assert!(matches!(soon(js.delete_stream(name)).await, Err(CallError::Name(_))), "{name:?}");
    }
    let purge = soon(js.stream("s")?.purge().before(3).keep(2)).await;
    assert!(matches!(purge, Err(PurgeError::Config(ConfigError::Conflict { .. }))), "{purge:?}");
    let after = soon(js.account_info()).await?.api;
    assert_eq!((after.total, after.errors), (before.total + 1, before.errors));
    Ok(())
}

fn wrong<T>(result: Result<T, CallError>) -> &'static str {
    match result {
        Err(CallError::Config(error)) => error.field(),
        Err(error) => panic!("refused, not {error}"),
        Ok(_) => panic!("it was taken"),
    }
}

/// Servers take an empty subject, and a sequence of zero, as if they were not there.
pub async fn what_is_no_subject_is_refused_before_it_is_asked_for<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    store(js.client(), "s.a", "x").await?;
    let before = soon(js.account_info()).await?.api.total;
    for none in ["", "s. a", "s..a", ".s"] {
        let purge = soon(stream.purge().filter(none)).await;
        let Err(PurgeError::Config(error)) = purge else { panic!("{none:?}: {purge:?}") };
        assert_eq!(error.field(), "filter");
        assert_eq!(wrong(soon(stream.info().subjects(none)).await), "subjects_filter");
        assert_eq!(wrong(soon(js.stream_by_subject(none)).await), "subject");
        let (mut names, mut streams) = (js.stream_names_of(none), js.streams_of(none));
        assert_eq!(wrong(soon(names.next()).await.expect("an error")), "subject");
        assert_eq!(wrong(soon(streams.next()).await.expect("an error")), "subject");
        assert!(soon(names.next()).await.is_none() && soon(streams.next()).await.is_none());
        for (field, result) in [
            ("last_by_subj", soon(stream.last_message(none)).await),
            ("next_by_subj", soon(stream.next_message(none, 1)).await),
        ] {
            let Err(GetMessageError::Call(error)) = result else { panic!("{result:?}") };
            assert_eq!(wrong::<()>(Err(error)), field);
        }
        let mut batch = stream.direct_batch().subject(none).messages();
        let mut last = stream.direct_last_of(["s.>", none]).messages();
        for (field, result) in [
            ("last_by_subj", soon(stream.direct_last(none)).await),
            ("next_by_subj", soon(stream.direct_next(none, 1)).await),
            ("next_by_subj", soon(batch.next()).await.expect("an error")),
            ("multi_last", soon(last.next()).await.expect("an error")),
        ] {
            let Err(DirectError::Call(error)) = result else { panic!("{result:?}") };
            assert_eq!(wrong::<()>(Err(error)), field);
        }
        assert!(soon(batch.next()).await.is_none() && soon(last.next()).await.is_none());
    }
    let nothing = soon(stream.direct_last_of(Vec::<String>::new()).messages().next()).await;
    let Some(Err(DirectError::Call(error))) = nothing else { panic!("{nothing:?}") };
    assert_eq!(wrong::<()>(Err(error)), "multi_last");
    let both = soon(stream.purge().before(0).keep(2)).await;
    assert!(matches!(both, Err(PurgeError::Config(ConfigError::Conflict { .. }))), "{both:?}");
    let after = soon(js.account_info()).await?.api.total;
    assert_eq!(after, before + 1, "nothing was asked");
    assert_eq!(soon(stream.info()).await?.state.messages, 1);
    Ok(())
}

pub async fn lists_are_complete_beyond_a_page<A: Adapter>() -> Outcome {
    const STREAMS: usize = 300;
    let (_server, js) = jetstream::<A>().await?;
    assert!(all(js.streams()).await?.is_empty());
    for number in 0..STREAMS {
        soon(js.create_stream(in_memory(&format!("s{number:03}")))).await?;
    }
    let names: Vec<_> = (0..STREAMS).map(|number| format!("s{number:03}")).collect();
    assert_eq!(all(js.stream_names()).await?, names);
    let listed = all(js.streams()).await?.into_iter().map(|listed| found(listed).config.name);
    assert_eq!(listed.collect::<Vec<_>>(), names);

    assert_eq!(all(js.stream_names_of("s007.x")).await?, ["s007"]);
    let listed = all(js.streams_of("s008.>")).await?.into_iter().map(found);
    assert_eq!(listed.map(|info| info.config.name).collect::<Vec<_>>(), ["s008"]);
    assert!(all(js.stream_names_of("nowhere")).await?.is_empty());
    let found = soon(js.stream_by_subject("s009.a.b")).await?.expect("it is there");
    assert_eq!(found.name().as_str(), "s009");
    assert!(soon(js.stream_by_subject("nowhere")).await?.is_none());
    Ok(())
}

pub async fn an_info_tells_subjects_and_deleted_messages<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    for subject in ["s.a", "s.b", "s.a", "s.c.d"] {
        store(js.client(), subject, "x").await?;
    }
    soon(stream.delete_message(2)).await?;
    let info = soon(stream.info()).await?;
    assert_eq!((info.state.messages, info.state.num_subjects), (3, 2));
    assert!(info.state.subjects.is_empty() && info.state.deleted.is_empty());
    let info = soon(stream.info().subjects(">").deleted()).await?;
    let subjects: Vec<_> = info.state.subjects.iter().map(|(s, n)| (&**s, *n)).collect();
    assert_eq!(subjects, [("s.a", 2), ("s.c.d", 1)]);
    assert_eq!(info.state.deleted, [2]);
    let info = soon(stream.info().subjects("s.*")).await?;
    assert_eq!(info.state.subjects.len(), 1);
    assert!(info.timestamp >= info.state.last_time && info.created <= info.state.first_time);
    Ok(())
}

pub async fn a_purge_takes_what_it_is_told<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    for number in 0..10 {
        store(js.client(), if number % 2 == 0 { "s.even" } else { "s.odd" }, "x").await?;
    }
    for nothing in [0, 1] {
        assert_eq!(soon(stream.purge().before(nothing)).await?, 0);
        assert_eq!(soon(stream.purge().filter("s.odd").before(nothing)).await?, 0);
    }
    assert_eq!(soon(stream.info()).await?.state.messages, 10);
    assert_eq!(soon(stream.purge().before(3)).await?, 2);
    assert_eq!(soon(stream.purge().filter("s.odd").keep(1)).await?, 3);
    assert_eq!(soon(stream.purge().filter("s.even").before(6)).await?, 2);
    let info = soon(stream.info().subjects(">")).await?;
    let left: Vec<_> = info.state.subjects.into_iter().collect();
    assert_eq!(left, [("s.even".into(), 2), ("s.odd".into(), 1)]);
    assert_eq!(soon(stream.purge()).await?, 3);
    assert_eq!(soon(stream.info()).await?.state.first_seq, 11);
    Ok(())
}

pub async fn messages_are_got_and_deleted<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    let client = js.client();
    let payload: Vec<u8> = (0..=255).collect();
    let request = client.request("s.a", &payload).header("Color", "red").header("Color", "blue");
    soon(request).await?;
    for subject in ["s.b", "s.a", "s.b"] {
        store(client, subject, subject).await?;
    }
    let first = soon(stream.message(1)).await?;
    assert_eq!((first.subject.as_str(), first.sequence), ("s.a", 1));
    assert_eq!(first.payload, payload);
    let colors: Vec<_> = first.headers.get_all("Color").collect();
    assert_eq!(colors, [&b"red"[..], b"blue"]);
    assert_eq!(Some(first.time), soon(stream.info()).await?.state.first_time);
    assert_eq!(soon(stream.last_message("s.b")).await?.sequence, 4);
    assert_eq!(soon(stream.last_message("s.*")).await?.sequence, 4);
    assert_eq!(soon(stream.next_message("s.b", 0)).await?.sequence, 2);
    assert_eq!(soon(stream.next_message("s.>", 3)).await?.sequence, 3);

    soon(stream.delete_message(2)).await?;
    soon(stream.secure_delete_message(4)).await?;
    for gone in [
        soon(stream.message(2)).await,
        soon(stream.message(4)).await,
        soon(stream.message(99)).await,
        soon(stream.last_message("s.b")).await,
        soon(stream.next_message("s.a", 4)).await,
    ] {
        assert!(matches!(gone, Err(GetMessageError::NotFound)), "{gone:?}");
    }
    let error = soon(stream.delete_message(99)).await.expect_err("it is not there");
    let codes = [ErrorCode::SEQUENCE_NOT_FOUND, ErrorCode::STREAM_MSG_DELETE_FAILED];
    assert!(error.code().is_some_and(|code| codes.contains(&code)), "{error}");
    let Err(GetMessageError::Call(error)) = soon(js.stream("nope")?.message(1)).await else {
        panic!("there is no such stream")
    };
    assert_eq!(error.code(), Some(ErrorCode::STREAM_NOT_FOUND));
    Ok(())
}

/// Whether a file of the server holds `text`.
fn is_stored(server: &NatsServer, text: &str) -> Outcome<bool> {
    let mut directories = vec![server.files().join("store")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                directories.push(path);
            } else if std::fs::read(path)?.windows(text.len()).any(|part| part == text.as_bytes()) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

pub async fn what_is_deleted_securely_is_in_no_file<A: Adapter>() -> Outcome {
    let (server, js) = jetstream::<A>().await?;
    let config = StreamConfig { storage: Storage::File, ..in_memory("s") };
    let stream = soon(js.create_stream(config)).await?;
    for text in ["the first secret", "the second secret", "the last word"] {
        store(js.client(), "s.a", text).await?;
        assert!(is_stored(&server, text)?, "{text}");
    }
    soon(stream.delete_message(1)).await?;
    soon(stream.secure_delete_message(2)).await?;
    assert!(is_stored(&server, "the first secret")?, "it is left where it was");
    assert!(!is_stored(&server, "the second secret")?, "it is overwritten");
    assert!(is_stored(&server, "the last word")?);
    Ok(())
}

pub async fn a_sealed_stream_stays_as_it_is<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let config = StreamConfig { description: Some("kept".into()), ..in_memory("s") };
    let stream = soon(js.create_stream(config)).await?;
    store(js.client(), "s.a", "x").await?;
    let info = soon(stream.seal()).await?;
    assert!(info.config.sealed);
    assert_eq!(info.config.description.as_deref(), Some("kept"));
    let ack = soon(js.client().request("s.a", "y")).await?;
    assert!(str::from_utf8(ack.payload())?.contains("10109"));
    let error = soon(stream.delete_message(1)).await.expect_err("it is sealed");
    assert_eq!(error.code(), Some(ErrorCode::STREAM_SEALED));
    Ok(())
}

pub async fn an_account_tells_what_it_uses<A: Adapter>() -> Outcome {
    let limits = "jetstream { max_file: 1G }
        accounts {
            a { jetstream: { max_file: 64M, max_streams: 2 }, users: [{user: a, password: a}] }
            b { users: [{user: b, password: b}] }
        }";
    let server = NatsServer::builder().jetstream(true).config(limits).start()?;
    let as_user = |name: &str| impatient(&server.url()).user_and_password(name, name);
    let js = JetStream::new(connect::<A>(as_user("a")).await?);
    soon(js.create_stream(StreamConfig { max_bytes: Some(1 << 20), ..StreamConfig::new("s") }))
        .await?;
    let info = soon(js.account_info()).await?;
    assert_eq!((info.total.streams, info.total.reserved_storage), (1, 1 << 20));
    assert_eq!(info.total.limits.max_storage, Some(64_000_000));
    assert_eq!((info.total.limits.max_streams, info.total.limits.max_consumers), (Some(2), None));
    assert!(info.api.level >= 5 && info.api.total >= 1);
    let without = JetStream::new(connect::<A>(as_user("b")).await?);
    let error = soon(without.account_info()).await.expect_err("it has no JetStream");
    let off = error.code().is_some_and(ErrorCode::is_not_enabled);
    assert!(off || matches!(error, CallError::NoResponders { .. }), "{error}");
    Ok(())
}

pub async fn a_domain_is_reached_by_its_prefix<A: Adapter>() -> Outcome {
    let hub = "jetstream { domain: hub }";
    let server = NatsServer::builder().jetstream(true).config(hub).start()?;
    let js = JetStream::new(connect::<A>(impatient(&server.url())).await?);
    let hub = js.with_prefix(ApiPrefix::domain("hub")?);
    soon(hub.create_stream(StreamConfig { allow_msg_ttl: true, ..in_memory("s") })).await?;
    assert_eq!(soon(hub.account_info()).await?.domain.as_deref(), Some("hub"));
    store(js.client(), "s.a", "x").await?;
    let info = soon(soon(hub.get_stream("s")).await?.info()).await?;
    assert_eq!((info.domain.as_deref(), info.state.messages), (Some("hub"), 1));
    let nowhere = js.with_prefix(ApiPrefix::domain("nowhere")?);
    let error = soon(nowhere.get_stream("s")).await.expect_err("there is no such domain");
    let CallError::NoResponders { subject } = error else { panic!("nobody answers, not {error}") };
    assert_eq!(subject, "$JS.nowhere.API.STREAM.INFO.s");
    Ok(())
}

pub async fn a_domain_behind_a_leaf_is_reached_by_its_prefix<A: Adapter>() -> Outcome {
    let (hub, leaf) = hub_and_leaf()?;
    let at_leaf = JetStream::new(connect::<A>(impatient(&leaf.url())).await?);
    let at_hub = JetStream::new(connect::<A>(impatient(&hub.url())).await?);
    // Through the leaf, into the hub.
    let far = at_leaf.with_prefix(ApiPrefix::domain("hub")?);
    soon(async {
        while let Err(CallError::NoResponders { .. }) = far.api_level().await {
            crate::conformance::timer::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    soon(far.create_stream(in_memory("far"))).await?;
    soon(at_leaf.create_stream(in_memory("near"))).await?;
    assert_eq!(all(far.stream_names()).await?, ["far"]);
    assert_eq!(all(at_leaf.stream_names()).await?, ["near"]);
    let info = soon(soon(at_hub.get_stream("far")).await?.info()).await?;
    assert_eq!(info.domain.as_deref(), Some("hub"));
    Ok(())
}

pub async fn a_call_ends_in_time_and_is_not_carried_out_later<A: Adapter>() -> Outcome {
    let (mut server, js) = jetstream::<A>().await?;
    // Long enough to be sent meanwhile: otherwise it ends as not sent.
    let timeout = Duration::from_secs(1);
    let short = js.with_timeout(timeout);
    server.pause()?;
    let began = Instant::now();
    let error = soon(short.account_info()).await.expect_err("nobody answers");
    let CallError::Request { error: RequestError::TimedOut, .. } = error else { panic!("{error}") };
    assert_took(began, timeout);
    server.kill()?;
    let error = soon(short.create_stream(in_memory("late"))).await.expect_err("nobody is there");
    let StreamError::Call(CallError::Request { error, .. }) = error else { panic!("{error}") };
    assert!(
        matches!(
            error,
            RequestError::NotSent(NotSent::TimedOut | NotSent::Disconnected)
                | RequestError::Unknown
        ),
        "{error}"
    );
    server.restart()?;
    assert!(all(js.stream_names()).await?.is_empty(), "nothing of it was kept");
    Ok(())
}

pub async fn a_call_that_finds_no_room_ends_in_time_and_is_not_carried_out_later<A: Adapter>()
-> Outcome {
    let (server, js) = jetstream::<A>().await?;
    server.pause()?;
    fill(js.client(), "noise").await;
    let timeout = Duration::from_secs(1);
    let config = StreamConfig { description: Some("x".repeat(4_096)), ..in_memory("late") };
    let short = js.with_timeout(timeout);
    let (mut all_of_them, began) = (Vec::new(), Instant::now());
    // What little room there is left goes with the first ones.
    for number in 0..64 {
        let config = StreamConfig { name: format!("late{number}"), ..config.clone() };
        let mut creating = Box::pin(short.create_stream(config));
        assert!(poll_once(&mut creating).await.is_pending(), "nobody answers");
        all_of_them.push(creating);
    }
    let last = all_of_them.pop().expect("there are some");
    let error = soon(last).await.expect_err("there is no room");
    let StreamError::Call(CallError::Request { error, .. }) = error else { panic!("{error}") };
    assert_eq!(error, RequestError::NotSent(NotSent::TimedOut));
    assert_took(began, timeout);
    server.resume()?;
    soon(js.client().flush()).await?;
    let names = all(js.stream_names()).await?;
    assert!(!names.contains(&"late63".to_owned()), "it was kept: {names:?}");
    Ok(())
}
