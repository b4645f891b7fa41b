//! Consumers as a real nats-server has them: made, changed, paused, listed.

use std::time::{Duration, SystemTime};

use midge::jetstream::{
    AckPolicy, BindError, CallError, ConsumerConfig, ConsumerError, ConsumerLimits, DeliverPolicy,
    ErrorCode, FeatureError, JetStream, Listed, PriorityPolicy, ReplayPolicy, StreamConfig,
    StreamError,
};

use super::jetstream_streams::{in_memory, jetstream, store};
use crate::conformance::steps::{connect, impatient, next, soon};
use crate::conformance::{Adapter, Outcome};
use crate::{NatsServer, Version};

pub async fn a_consumer_is_created_updated_and_deleted<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    store(js.client(), "s.a", "x").await?;
    let config = ConsumerConfig::durable("c");
    let info = soon(stream.create_consumer(config.clone())).await?;
    assert_eq!((&*info.stream_name, &*info.name, info.num_pending), ("s", "c", 1));
    // A durable one that is there with the same configuration is as good.
    soon(stream.create_consumer(config.clone())).await?;
    let other = ConsumerConfig { max_deliver: Some(3), ..config.clone() };
    let error = soon(stream.create_consumer(other.clone())).await.expect_err("it is another one");
    assert_eq!(error.code(), Some(ErrorCode::CONSUMER_ALREADY_EXISTS));
    soon(stream.update_consumer(other)).await?;
    assert_eq!(soon(stream.consumer_info("c")).await?.config.max_deliver, Some(3));
    let error = soon(stream.update_consumer(ConsumerConfig::durable("d"))).await;
    assert_eq!(error.err().and_then(|e| e.code()), Some(ErrorCode::CONSUMER_DOES_NOT_EXIST));
    soon(stream.create_or_update_consumer(ConsumerConfig::durable("d"))).await?;
    soon(stream.create_or_update_consumer(ConsumerConfig {
        description: Some("changed".into()),
        ..ConsumerConfig::durable("d")
    }))
    .await?;

    let ephemeral = soon(stream.create_consumer(ConsumerConfig::ephemeral())).await?;
    assert!(!ephemeral.name.is_empty() && ephemeral.config.durable_name.is_none());
    let named = soon(stream.create_consumer(ConsumerConfig::named("e"))).await?;
    assert_eq!((&*named.name, named.config.durable_name), ("e", None));

    soon(stream.delete_consumer("c")).await?;
    for error in
        [soon(stream.delete_consumer("c")).await.err(), soon(stream.consumer_info("c")).await.err()]
    {
        let error = error.expect("it is gone");
        assert_eq!(error.code(), Some(ErrorCode::CONSUMER_NOT_FOUND), "{error}");
    }
    Ok(())
}

pub async fn a_consumer_that_is_there_is_bound_and_read<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    let missing = soon(stream.consumer("c")).await.expect_err("it is not there");
    assert_eq!(missing.code(), Some(ErrorCode::CONSUMER_NOT_FOUND));
    soon(stream.create_consumer(ConsumerConfig::durable("c"))).await?;
    let consumer = soon(stream.consumer("c")).await?;
    let told = consumer.cached_info().expect("it was asked").config.durable_name.as_deref();
    assert_eq!(told, Some("c"));
    store(js.client(), "s.a", "x").await?;
    assert_eq!(soon(consumer.next()).await?.expect("a message").payload(), b"x");
    assert!(js.consumer("s", "c")?.cached_info().is_none(), "nobody was asked");
    let push = ConsumerConfig { deliver_subject: Some("to".into()), ..ConsumerConfig::named("p") };
    soon(stream.create_consumer(push)).await?;
    let error = soon(stream.consumer("p")).await.expect_err("it is not pulled");
    assert!(matches!(&error, BindError::Push { name } if name == "p"), "{error:?}");
    Ok(())
}

pub async fn what_a_server_would_change_is_refused_when_it_is_asked_to_be_pedantic<A: Adapter>()
-> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let limits = ConsumerLimits { max_ack_pending: Some(7), inactive_threshold: None };
    let limited = StreamConfig { consumer_limits: limits, ..in_memory("s") };
    let stream = soon(js.pedantic().create_stream(limited)).await?;
    let refused = soon(stream.create_consumer(ConsumerConfig::durable("c"))).await;
    assert_eq!(refused.err().and_then(|error| error.code()), Some(ErrorCode::PEDANTIC));
    soon(js.stream("s")?.create_consumer(ConsumerConfig::durable("c"))).await?;
    let brief = StreamConfig { max_age: Some(Duration::from_secs(1)), ..in_memory("t") };
    soon(js.create_stream(brief.clone())).await?;
    let brief = StreamConfig { name: "u".into(), subjects: vec!["u".into()], ..brief };
    let refused = soon(js.pedantic().create_stream(brief)).await;
    assert_eq!(refused.err().and_then(|error| error.code()), Some(ErrorCode::PEDANTIC));

    let older = NatsServer::builder().version(Version::V2_10).jetstream(true).start()?;
    let js = JetStream::new(connect::<A>(impatient(&older.url())).await?).pedantic();
    let error = soon(js.create_stream(in_memory("s"))).await.expect_err("2.10 cannot be that");
    assert!(matches!(error, StreamError::Level(_)), "{error:?}");
    Ok(())
}

pub async fn every_field_of_a_consumer_reaches_the_server<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    // What comes back is compared with what was asked for, field by field.
    let seconds = Duration::from_secs;
    let pull = ConsumerConfig {
        description: Some("a test".into()),
        deliver_policy: DeliverPolicy::ByStartTime("2026-01-01T00:00:00.000000001+01:30".parse()?),
        ack_wait: Some(seconds(1)),
        max_deliver: Some(5),
        backoff: vec![seconds(1), Duration::from_nanos(1_500_000_001)],
        filter_subjects: vec!["s.a.*".into(), "s.b.>".into()],
        replay_policy: ReplayPolicy::Original,
        sample_freq: Some(30),
        max_waiting: Some(3),
        max_ack_pending: Some(-1),
        headers_only: true,
        max_batch: Some(10),
        max_expires: Some(seconds(60)),
        max_bytes: Some(1 << 20),
        inactive_threshold: Some(seconds(600)),
        num_replicas: Some(1),
        mem_storage: true,
        metadata: [("team".into(), "a".into())].into(),
        pause_until: Some("2100-01-01T00:00:00.5Z".parse()?),
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec!["jobs".into()],
        priority_timeout: Some(seconds(60)),
        ..ConsumerConfig::durable("pull")
    };
    let info = soon(stream.create_consumer(pull)).await?;
    assert!(info.paused && info.pause_remaining.is_some());
    assert_eq!(info.priority_groups[0].group, "jobs");
    // As it came it goes back.
    soon(stream.update_consumer(info.config)).await?;
    let push = ConsumerConfig {
        deliver_policy: DeliverPolicy::ByStartSequence(u64::MAX / 2),
        ack_policy: AckPolicy::None,
        filter_subjects: vec!["s.c".into()],
        rate_limit_bps: Some(1 << 20),
        flow_control: true,
        deliver_subject: Some("deliver.here".into()),
        deliver_group: Some("workers".into()),
        idle_heartbeat: Some(Duration::from_millis(1_500)),
        ..ConsumerConfig::named("push")
    };
    let info = soon(stream.create_consumer(push)).await?;
    assert!(!info.push_bound && info.config.is_push());
    soon(stream.update_consumer(info.config)).await?;
    let copy = ConsumerConfig {
        ack_policy: AckPolicy::FlowControl,
        flow_control: true,
        idle_heartbeat: Some(seconds(1)),
        max_ack_pending: Some(100),
        deliver_subject: Some("copy".into()),
        ..ConsumerConfig::durable("copy")
    };
    let info = soon(stream.create_consumer(copy)).await?;
    soon(stream.update_consumer(info.config)).await?;
    for policy in [DeliverPolicy::Last, DeliverPolicy::New, DeliverPolicy::LastPerSubject] {
        let config = ConsumerConfig {
            deliver_policy: policy,
            ack_policy: AckPolicy::All,
            filter_subjects: vec![">".into()],
            ..ConsumerConfig::ephemeral()
        };
        soon(stream.create_consumer(config)).await?;
    }
    Ok(())
}

pub async fn a_filter_stands_in_the_subject_of_the_request<A: Adapter>() -> Outcome {
    let (server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    let observer = connect::<A>(impatient(&server.url())).await?;
    let mut asked = observer.subscribe("$JS.API.CONSUMER.>").confirmed().await?;
    for (filters, subject) in [
        (vec![], "$JS.API.CONSUMER.CREATE.s.c"),
        (vec!["s.a.b"], "$JS.API.CONSUMER.CREATE.s.c.s.a.b"),
        (vec!["s.*"], "$JS.API.CONSUMER.CREATE.s.c"),
        (vec!["s.a", "s.b"], "$JS.API.CONSUMER.CREATE.s.c"),
    ] {
        let filter_subjects = filters.into_iter().map(String::from).collect();
        let config = ConsumerConfig { filter_subjects, ..ConsumerConfig::durable("c") };
        soon(stream.create_or_update_consumer(config)).await?;
        assert_eq!(next(&mut asked).await.subject(), subject);
    }
    Ok(())
}

pub async fn consumers_are_listed_beyond_a_page<A: Adapter>() -> Outcome {
    const CONSUMERS: usize = 300;
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    let names: Vec<_> = (0..CONSUMERS).map(|number| format!("c{number:03}")).collect();
    for name in &names {
        soon(stream.create_consumer(ConsumerConfig::durable(name))).await?;
    }
    let (mut listed, mut told) = (Vec::new(), Vec::new());
    let mut consumers = stream.consumers();
    while let Some(consumer) = soon(consumers.next()).await {
        listed.extend(Listed::found(consumer?).map(|info| info.name));
    }
    let mut consumers = stream.consumer_names();
    while let Some(name) = soon(consumers.next()).await {
        told.push(name?);
    }
    assert_eq!((&listed, &told), (&names, &names));
    let mut nothing = js.stream("nope")?.consumers();
    let Some(Err(error)) = soon(nothing.next()).await else { panic!("there is no such stream") };
    assert_eq!(error.code(), Some(ErrorCode::STREAM_NOT_FOUND));
    assert!(soon(nothing.next()).await.is_none());
    Ok(())
}

pub async fn a_consumer_is_paused_and_goes_on<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    soon(stream.create_consumer(ConsumerConfig::durable("c"))).await?;
    let until = SystemTime::now() + Duration::from_secs(3_600);
    let state = soon(stream.pause_consumer("c", until)).await?;
    assert_eq!((state.paused, state.pause_until), (true, Some(until.into())));
    let info = soon(stream.consumer_info("c")).await?;
    assert!(info.paused && info.pause_remaining.is_some_and(|left| left.as_secs() <= 3_600));
    assert!(!soon(stream.resume_consumer("c")).await?.paused);
    assert!(!soon(stream.consumer_info("c")).await?.paused);
    let error = soon(stream.pause_consumer("nope", until)).await.expect_err("it is not there");
    assert_eq!(error.code(), Some(ErrorCode::CONSUMER_NOT_FOUND));
    Ok(())
}

pub async fn a_pin_is_taken_away<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    let config = ConsumerConfig {
        priority_policy: PriorityPolicy::PinnedClient,
        priority_groups: vec!["jobs".into()],
        ..ConsumerConfig::durable("c")
    };
    soon(stream.create_consumer(config)).await?;
    store(js.client(), "s.a", "x").await?;
    let pull = r#"{"batch":1,"group":"jobs","expires":5000000000}"#;
    let message =
        soon(js.client().request("$JS.API.CONSUMER.MSG.NEXT.s.c", pull).own_inbox()).await?;
    let pin = message.headers().and_then(|headers| headers.get("Nats-Pin-Id"));
    let state = soon(stream.consumer_info("c")).await?.priority_groups;
    assert_eq!(state[0].pinned_client_id.as_deref(), pin);
    assert!(state[0].pinned_since.is_some());
    soon(stream.unpin_consumer("c", "jobs")).await?;
    let state = soon(stream.consumer_info("c")).await?.priority_groups;
    assert_eq!(state[0].pinned_client_id, None);
    let error = soon(stream.unpin_consumer("c", "other")).await.expect_err("there is no such");
    assert_eq!(error.code(), Some(ErrorCode::CONSUMER_INVALID_PRIORITY_GROUP));
    Ok(())
}

pub async fn a_consumer_is_set_back<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    for _ in 0..5 {
        store(js.client(), "s.a", "x").await?;
    }
    let config = ConsumerConfig { ack_policy: AckPolicy::None, ..ConsumerConfig::durable("c") };
    soon(stream.create_consumer(config)).await?;
    for _ in 0..3 {
        soon(js.client().request("$JS.API.CONSUMER.MSG.NEXT.s.c", "").own_inbox()).await?;
    }
    let reply = soon(stream.reset_consumer("c", Some(2))).await?;
    assert_eq!((reply.reset_seq, reply.info.num_pending), (2, 4));
    assert_eq!(reply.info.delivered.consumer, 0);
    let reply = soon(stream.reset_consumer("c", None)).await?;
    assert_eq!((reply.reset_seq, reply.info.num_pending), (2, 4));
    let error = soon(stream.reset_consumer("nope", None)).await.expect_err("it is not there");
    let FeatureError::Call(error) = error else { panic!("{error}") };
    assert_eq!(error.code(), Some(ErrorCode::CONSUMER_NOT_FOUND));
    Ok(())
}

pub async fn a_consumer_that_contradicts_itself_is_refused_before_it_is_asked_for<A: Adapter>()
-> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = js.stream("s")?;
    let before = soon(js.account_info()).await?.api.total;
    let wrong = ConsumerConfig { flow_control: true, ..ConsumerConfig::durable("c") };
    let error = soon(stream.create_consumer(wrong)).await.expect_err("it is no push consumer");
    let ConsumerError::Config(error) = error else { panic!("{error}") };
    assert_eq!(error.field(), "flow_control");
    for name in ["", "a.b", "a >", "*"] {
        let error = soon(stream.consumer_info(name)).await;
        assert!(matches!(error, Err(CallError::Name(_))), "{name:?}");
        let error = soon(stream.resume_consumer(name)).await;
        assert!(matches!(error, Err(FeatureError::Call(CallError::Name(_)))), "{name:?}");
    }
    assert_eq!(soon(js.account_info()).await?.api.total, before + 1);
    Ok(())
}
