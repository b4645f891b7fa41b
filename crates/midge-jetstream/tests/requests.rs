//! Requests of the API, whole: they have only fields that servers know, and are read as they were
//! written; so are replies.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use midge_jetstream::{
    AckPolicy, Action, Compression, ConsumerConfig, ConsumerLimits, CreateConsumerRequest,
    DeleteMessageRequest, DeliverPolicy, DirectBatch, DirectBatchOf, DirectBatchRequest, Discard,
    Done, External, GetReply, GetRequest, ListRequest, PauseRequest, PersistMode, Placement,
    PriorityPolicy, PubAck, PullConfig, PullGroup, PullMachine, PullOutput, PurgeRequest, Purged,
    ReplayPolicy, Republish, ResetRequest, Retention, SourceConsumer, Storage, StreamConfig,
    StreamInfoRequest, StreamRequest, StreamSource, SubjectTransform, SubjectsPage, Time,
    UnpinRequest, read_reply,
};
use midge_proto::Instant;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The fields that nats-server 2.15 takes, by the object that they are in. What an array holds is
/// the object of its name.
const KNOWN: [(&str, &str); 21] = [
    ("", "pedantic"),
    (
        "",
        "name description subjects retention max_consumers max_msgs max_bytes max_age \
         max_msgs_per_subject max_msg_size discard storage num_replicas no_ack duplicate_window \
         placement mirror sources compression first_seq subject_transform republish allow_direct \
         mirror_direct discard_new_per_subject sealed deny_delete deny_purge allow_rollup_hdrs \
         consumer_limits allow_msg_ttl subject_delete_marker_ttl allow_msg_counter allow_atomic \
         allow_msg_schedules persist_mode allow_batched metadata",
    ),
    (
        "mirror",
        "name opt_start_seq opt_start_time filter_subject subject_transforms external consumer",
    ),
    (
        "sources",
        "name opt_start_seq opt_start_time filter_subject subject_transforms external consumer",
    ),
    ("external", "api deliver"),
    ("consumer", "name deliver_subject"),
    ("subject_transform", "src dest"),
    ("subject_transforms", "src dest"),
    ("republish", "src dest headers_only"),
    ("consumer_limits", "inactive_threshold max_ack_pending"),
    ("placement", "cluster tags preferred"),
    ("", "stream_name config action pedantic"),
    (
        "config",
        "durable_name name description deliver_policy opt_start_seq opt_start_time ack_policy \
         ack_wait max_deliver backoff filter_subject filter_subjects replay_policy rate_limit_bps \
         sample_freq max_waiting max_ack_pending flow_control headers_only max_batch max_expires \
         max_bytes deliver_subject deliver_group idle_heartbeat inactive_threshold num_replicas \
         mem_storage direct sourcing metadata pause_until priority_groups priority_policy \
         priority_timeout",
    ),
    ("", "offset subject"),
    ("", "offset deleted_details subjects_filter"),
    ("", "seq filter keep no_erase pause_until group"),
    (
        "",
        "seq last_by_subj next_by_subj batch max_bytes start_time multi_last up_to_seq up_to_time",
    ),
    ("", "expires batch max_bytes no_wait idle_heartbeat"),
    ("", "group min_pending min_ack_pending id priority"),
    // The caller's own.
    ("metadata", "team"),
    ("", "no_hdr"),
];

/// The fields of an object and of those within it that no server knows.
fn unknown(object: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is = |(of, names): &(&str, &str)| {
                    *of == object && names.split_whitespace().any(|it| it == name)
                };
                if !KNOWN.iter().any(is) {
                    found.push(format!("{object}.{name}"));
                }
                unknown(name, value, found);
            }
        }
        Value::Array(all) => all.iter().for_each(|value| unknown(object, value, found)),
        _ => {}
    }
}

fn only_known(text: &str) {
    let mut found = Vec::new();
    unknown("", &serde_json::from_str(text).unwrap(), &mut found);
    assert!(found.is_empty(), "no server knows {found:?}");
}

/// What is written is read as what it was, and has only what servers know.
fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(request: &T) {
    let text = serde_json::to_string(request).unwrap();
    assert_eq!(&serde_json::from_str::<T>(&text).unwrap(), request, "{text}");
    only_known(&text);
}

fn time(nanos: i64) -> Time {
    Time::from_unix_nanos(nanos.into())
}

fn source() -> StreamSource {
    let transform = SubjectTransform { src: "a.*".into(), dest: "b.{{wildcard(1)}}".into() };
    StreamSource {
        opt_start_seq: u64::MAX,
        opt_start_time: Some(time(1)),
        filter_subject: Some("a.>".into()),
        subject_transforms: vec![transform],
        external: Some(External { api: "$JS.a.API".into(), deliver: "d".into() }),
        consumer: Some(SourceConsumer { name: "c".into(), deliver_subject: "d".into() }),
        ..StreamSource::new("origin")
    }
}

/// A stream with every field, whether they go together or not.
fn stream() -> StreamConfig {
    StreamConfig {
        name: "s".into(),
        description: Some("a test".into()),
        subjects: vec!["s.>".into()],
        retention: Retention::WorkQueue,
        max_consumers: Some(1),
        max_msgs: Some(i64::MAX as u64),
        max_bytes: Some(9_007_199_254_740_993),
        max_age: Some(Duration::from_nanos(1)),
        max_msgs_per_subject: Some(2),
        max_msg_size: Some(3),
        discard: Discard::New,
        storage: Storage::Memory,
        num_replicas: 3,
        no_ack: true,
        duplicate_window: Some(Duration::from_nanos(i64::MAX as u64)),
        placement: Placement {
            cluster: Some("c".into()),
            tags: vec!["ssd".into()],
            preferred: Some("n".into()),
        },
        mirror: Some(source()),
        sources: vec![source()],
        compression: Compression::S2,
        first_seq: u64::MAX,
        subject_transform: Some(SubjectTransform { src: "a".into(), dest: "b".into() }),
        republish: Some(Republish { src: "a".into(), dest: "b".into(), headers_only: true }),
        allow_direct: true,
        mirror_direct: true,
        discard_new_per_subject: true,
        sealed: true,
        deny_delete: true,
        deny_purge: true,
        allow_rollup_hdrs: true,
        consumer_limits: ConsumerLimits {
            inactive_threshold: Some(Duration::from_nanos(7)),
            max_ack_pending: Some(8),
        },
        allow_msg_ttl: true,
        subject_delete_marker_ttl: Some(Duration::from_secs(1)),
        allow_msg_counter: true,
        allow_atomic: true,
        allow_msg_schedules: true,
        persist_mode: PersistMode::Async,
        allow_batched: true,
        metadata: BTreeMap::from([("team".into(), "a".into())]),
    }
}

/// The same of a consumer.
fn consumer(deliver_policy: DeliverPolicy, filter_subjects: Vec<String>) -> ConsumerConfig {
    ConsumerConfig {
        durable_name: Some("c".into()),
        name: Some("c".into()),
        description: Some("a test".into()),
        deliver_policy,
        ack_policy: AckPolicy::All,
        ack_wait: Some(Duration::from_nanos(1)),
        max_deliver: Some(2),
        backoff: vec![Duration::from_nanos(3)],
        filter_subjects,
        replay_policy: ReplayPolicy::Original,
        rate_limit_bps: Some(u64::MAX),
        sample_freq: Some(50),
        max_waiting: Some(4),
        max_ack_pending: Some(-1),
        flow_control: true,
        headers_only: true,
        max_batch: Some(5),
        max_expires: Some(Duration::from_nanos(6)),
        max_bytes: Some(7),
        deliver_subject: Some("d".into()),
        deliver_group: Some("g".into()),
        idle_heartbeat: Some(Duration::from_nanos(8)),
        inactive_threshold: Some(Duration::from_nanos(9)),
        num_replicas: Some(5),
        mem_storage: true,
        direct: true,
        sourcing: true,
        metadata: BTreeMap::from([("team".into(), "a".into())]),
        pause_until: Some(time(-1)),
        priority_groups: vec!["jobs".into()],
        priority_policy: PriorityPolicy::PinnedClient,
        priority_timeout: Some(Duration::from_nanos(10)),
    }
}

#[test]
fn every_request_comes_back_and_has_only_fields_that_servers_know() {
    comes_back(&StreamRequest { config: stream(), pedantic: true });
    for (policy, filters) in [
        (DeliverPolicy::ByStartSequence(u64::MAX), vec!["a.b".into()]),
        (DeliverPolicy::ByStartTime(time(1)), vec!["a".into(), "b".into()]),
        (DeliverPolicy::LastPerSubject, Vec::new()),
    ] {
        for action in [Action::CreateOrUpdate, Action::Create, Action::Update] {
            let config = consumer(policy.clone(), filters.clone());
            let stream_name = "s".into();
            comes_back(&CreateConsumerRequest { stream_name, config, action, pedantic: true });
        }
    }
    comes_back(&ListRequest { offset: u64::MAX, subject: Some("a.>".into()) });
    let subjects_filter = Some(">".into());
    comes_back(&StreamInfoRequest { deleted_details: true, subjects_filter, offset: u64::MAX });
    comes_back(&PurgeRequest { seq: u64::MAX, filter: Some("a".into()), keep: u64::MAX });
    comes_back(&DeleteMessageRequest { seq: u64::MAX, no_erase: true });
    comes_back(&PauseRequest { pause_until: Some(time(1_000_000_000_123_456_789)) });
    comes_back(&UnpinRequest { group: "g".into() });
    comes_back(&ResetRequest { seq: u64::MAX });
    comes_back(&GetRequest::Sequence { seq: u64::MAX });
    comes_back(&GetRequest::Last { last_by_subj: "a".into() });
    for seq in [0, u64::MAX] {
        comes_back(&GetRequest::Next { seq, next_by_subj: "a".into() });
    }
}

#[test]
fn what_is_written_without_a_type_to_read_it_has_only_fields_that_servers_know() {
    let subjects = vec!["a".into(), "b".into()];
    let subject = Some("a".to_owned());
    for which in [
        DirectBatchOf::From { sequence: u64::MAX, subject: subject.clone() },
        DirectBatchOf::FromTime { time: time(1), subject },
        DirectBatchOf::Last {
            subjects: subjects.clone(),
            up_to_sequence: u64::MAX,
            up_to_time: None,
        },
        DirectBatchOf::Last { subjects, up_to_sequence: 0, up_to_time: Some(time(1)) },
    ] {
        let mut batch = DirectBatch::new(DirectBatchRequest { which, max_messages: Some(7) });
        only_known(&serde_json::to_string(&batch.request()).unwrap());
    }

    let group = PullGroup {
        min_pending: Some(1),
        min_ack_pending: Some(2),
        priority: Some(3),
        ..PullGroup::new("jobs")
    };
    let waits = PullConfig { bytes: Some(1000), group: Some(group), ..PullConfig::consume() };
    let does_not = PullConfig { no_wait: true, ..PullConfig::fetch(7) };
    for config in [waits, does_not] {
        let mut machine = PullMachine::fetch(config, 1, Instant::ZERO);
        machine.message(1, Some("a pin"));
        machine.connected();
        let request = loop {
            match machine.poll(Instant::ZERO) {
                PullOutput::Pull(request) => break request,
                PullOutput::Notice(_) => {}
                other => panic!("a request, not {other:?}"),
            }
        };
        let mut text = Vec::new();
        machine.write_request(&request, &mut text);
        only_known(std::str::from_utf8(&text).unwrap());
    }
}

fn is_read_again<T: Serialize + DeserializeOwned + PartialEq + Debug>(text: &Value) {
    let value: T = read_reply(text.to_string().as_bytes()).unwrap();
    let written = serde_json::to_string(&value).unwrap();
    assert_eq!(read_reply::<T>(written.as_bytes()).unwrap(), value, "{written}");
}

#[test]
fn small_replies_come_back_too() {
    is_read_again::<Purged>(&json!({"success": true, "purged": u64::MAX}));
    is_read_again::<Done>(&json!({"success": true}));
    is_read_again::<SubjectsPage>(&json!({"total": 5, "offset": u64::MAX, "limit": 7}));
    let message = json!({"subject": "s", "seq": u64::MAX, "hdrs": "TkFUUy8xLjANCks6IHYNCg0K",
        "data": "AP8=", "time": "2026-11-21T21:36:25.735489387Z"});
    is_read_again::<GetReply>(&json!({ "message": message }));
    is_read_again::<GetReply>(&json!({"message": {"subject": "s", "seq": 1, "time": time(0)}}));
    for text in [
        json!({"stream": "s", "seq": u64::MAX}),
        json!({"stream": "s", "seq": 1, "duplicate": true, "domain": "hub"}),
        json!({"stream": "s", "seq": 1, "val": "-340282366920938463463374607431768211456",
            "batch": "id", "count": u64::MAX}),
    ] {
        let ack = PubAck::read(text.to_string().as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(&ack).unwrap(), text);
    }
}

fn nanos() -> impl Strategy<Value = Option<Duration>> {
    prop::option::of((1..=i64::MAX as u64).prop_map(Duration::from_nanos))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Numbers, durations and times of any size are exact.
    #[test]
    fn configurations_are_read_as_they_were_written(
        limits in prop::array::uniform3(prop::option::of(1..=i64::MAX as u64)),
        (age, window, wait) in (nanos(), nanos(), nanos()),
        (first_seq, start) in any::<(u64, u64)>(),
        at in any::<i64>(),
        flags in any::<[bool; 4]>(),
        text in ".{1,20}",
    ) {
        let [max_msgs, max_bytes, max_msgs_per_subject] = limits;
        let config = StreamConfig {
            description: Some(text.clone()),
            max_msgs, max_bytes, max_msgs_per_subject, first_seq,
            max_age: age,
            duplicate_window: window,
            allow_direct: flags[0],
            deny_purge: flags[1],
            mirror: flags[2].then(|| StreamSource { opt_start_seq: start, ..source() }),
            ..StreamConfig::new("s")
        };
        comes_back(&StreamRequest { config, pedantic: flags[3] });
        let policy = if flags[0] {
            DeliverPolicy::ByStartSequence(start)
        } else {
            DeliverPolicy::ByStartTime(time(at))
        };
        let config = ConsumerConfig {
            ack_wait: wait,
            max_expires: age,
            backoff: window.into_iter().collect(),
            pause_until: flags[1].then(|| time(at)),
            rate_limit_bps: max_msgs,
            headers_only: flags[2],
            ..consumer(policy, vec![text; usize::from(flags[3])])
        };
        let stream_name = "s".into();
        let action = Action::Create;
        comes_back(&CreateConsumerRequest { stream_name, config, action, pedantic: flags[3] });
    }
}
