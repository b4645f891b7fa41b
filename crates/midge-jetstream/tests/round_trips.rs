//! Objects of the API as nats-server 2.15.1 writes them: read, written, and read again.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use midge_jetstream::{
    AccountInfo, AckPolicy, Action, Advisory, ConsumerConfig, ConsumerInfo, CreateConsumerRequest,
    DeleteMessageRequest, DeliverPolicy, ErrorCode, GetReply, GetRequest, Pages, PauseRequest,
    PauseState, PriorityPolicy, PurgeRequest, ReplyError, ResetReply, ResetRequest, Retention,
    Storage, StreamConfig, StreamInfo, StreamInfoRequest, StreamSource, SubjectsPage, Time,
    read_reply,
};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn round_trip<T>(text: &str) -> T
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let value: T = read_reply(text.as_bytes()).unwrap();
    let written = serde_json::to_string(&value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&written).unwrap(), value, "{written}");
    value
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap()
}

fn time(text: &str) -> Option<Time> {
    Some(text.parse().unwrap())
}

#[test]
fn a_stream_info_is_read_whole() {
    let info: StreamInfo = round_trip(
        r#"{"type":"io.nats.jetstream.api.v1.stream_info_response","total":2,"offset":0,"limit":100000,"config":{"name":"o","subjects":["o.\u003e"],"retention":"limits","max_consumers":-1,"max_msgs":-1,"max_bytes":9007199254740993,"max_age":0,"max_msgs_per_subject":-1,"max_msg_size":-1,"discard":"old","storage":"file","num_replicas":1,"duplicate_window":120000000000,"placement":{},"compression":"s2","republish":{"src":"o.\u003e","dest":"re.\u003e"},"allow_direct":true,"mirror_direct":false,"sealed":false,"deny_delete":false,"deny_purge":false,"allow_rollup_hdrs":true,"consumer_limits":{},"allow_msg_ttl":true,"subject_delete_marker_ttl":1000000000,"allow_atomic":true,"allow_msg_schedules":true,"persist_mode":"default","allow_batched":true,"metadata":{"_nats.level":"5","_nats.req.level":"4","_nats.ver":"2.15.1","a":"b"}},"created":"2026-11-21T21:36:25.733722895Z","state":{"messages":3,"bytes":168,"first_seq":18446744073709551613,"first_ts":"2026-11-21T21:36:25.735489387Z","last_seq":18446744073709551615,"last_ts":"0001-01-01T00:00:00Z","num_subjects":2,"subjects":{"o.0":2,"o.1":1},"num_deleted":1,"deleted":[2],"lost":{"msgs":[1],"bytes":7},"consumer_count":0},"domain":"hub","cluster":{"name":"c","raft_group":"S-R3","leader":"n1","leader_since":"2026-11-21T21:36:25Z","replicas":[{"name":"n2","current":false,"offline":true,"active":1234567,"lag":5,"peer":"abc","pending":true}]},"sources":[{"name":"x","lag":7,"active":-1,"error":{"code":404,"err_code":10059,"description":"stream not found"},"external":{"api":"$JS.a.API","deliver":"d"}}],"alternates":[{"name":"o","cluster":"c"}],"ts":"2026-11-21T21:36:25.737559376Z","new_in_3_0":{"x":[1]}}"#,
    );
    assert_eq!(info.config.subjects, ["o.>"]);
    assert_eq!(info.config.max_msgs, None);
    assert_eq!(info.config.max_bytes, Some(9_007_199_254_740_993));
    assert_eq!(info.config.max_age, None);
    assert_eq!(info.config.duplicate_window, Some(Duration::from_secs(120)));
    assert_eq!(info.config.user_metadata().collect::<Vec<_>>(), [("a", "b")]);
    assert_eq!(info.state.last_seq, u64::MAX);
    assert_eq!(info.state.first_time, time("2026-11-21T21:36:25.735489387Z"));
    assert_eq!(info.state.last_time, None);
    assert_eq!(info.state.subjects["o.0"], 2);
    assert_eq!(info.state.deleted, [2]);
    assert_eq!(info.cluster.unwrap().replicas[0].active, Some(Duration::from_nanos(1_234_567)));
    assert_eq!(info.sources[0].active, None);
    assert_eq!(info.sources[0].error.as_ref().unwrap().err_code, ErrorCode::STREAM_NOT_FOUND);
    let page: SubjectsPage = read_reply(br#"{"total":2,"offset":0,"limit":100000}"#).unwrap();
    assert_eq!((page.total, page.limit), (2, 100_000));
}

#[test]
fn a_consumer_info_is_read_whole() {
    let info: ConsumerInfo = round_trip(
        r#"{"type":"io.nats.jetstream.api.v1.consumer_create_response","stream_name":"o","name":"g","created":"2026-11-21T21:36:25.740934866Z","config":{"name":"g","deliver_policy":"by_start_time","opt_start_time":"2026-01-01T00:00:00.123456789+02:00","ack_policy":"explicit","ack_wait":1000000000,"max_deliver":5,"backoff":[1000000000,2000000000],"replay_policy":"instant","sample_freq":"50%","max_waiting":512,"max_ack_pending":-1,"inactive_threshold":5000000000,"num_replicas":0,"metadata":{"_nats.level":"5"},"pause_until":"2027-01-01T00:00:00Z","priority_groups":["a"],"priority_policy":"pinned_client","priority_timeout":120000000000},"delivered":{"consumer_seq":1,"stream_seq":18446744073709551615,"last_active":"2026-11-21T21:36:25.741442842Z"},"ack_floor":{"consumer_seq":0,"stream_seq":0},"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":3,"paused":true,"pause_remaining":3464614258556586,"ts":"2026-11-21T21:36:25.741442842Z","priority_groups":[{"group":"a","pinned_client_id":"x","pinned_ts":"0001-01-01T00:00:00Z"}]}"#,
    );
    let start = time("2025-12-31T22:00:00.123456789Z").unwrap();
    assert_eq!(info.config.deliver_policy, DeliverPolicy::ByStartTime(start));
    assert_eq!(info.config.backoff, [Duration::from_secs(1), Duration::from_secs(2)]);
    assert_eq!(info.config.max_ack_pending, Some(-1));
    assert_eq!(info.config.num_replicas, None);
    assert_eq!(info.config.sample_freq, Some(50));
    assert_eq!(info.config.priority_policy, PriorityPolicy::PinnedClient);
    assert_eq!(info.delivered.stream, u64::MAX);
    assert_eq!(info.pause_remaining, Some(Duration::from_nanos(3_464_614_258_556_586)));
    assert_eq!(info.priority_groups[0].pinned_client_id.as_deref(), Some("x"));
    assert_eq!(info.priority_groups[0].pinned_since, None);
}

#[test]
fn a_consumer_that_is_reset_says_where_it_goes_on() {
    let reply: ResetReply = round_trip(
        r#"{"stream_name":"o","name":"c","created":"2026-11-21T21:36:25.739615093Z","config":{"durable_name":"c","name":"c","deliver_policy":"by_start_sequence","opt_start_seq":18446744073709551615,"ack_policy":"explicit","filter_subjects":["a","b"],"replay_policy":"instant","num_replicas":3},"delivered":{"consumer_seq":0,"stream_seq":2},"ack_floor":{"consumer_seq":0,"stream_seq":2},"num_ack_pending":0,"num_redelivered":0,"num_waiting":0,"num_pending":2,"ts":"2026-11-21T21:36:25.745559371Z","reset_seq":3}"#,
    );
    assert_eq!(reply.reset_seq, 3);
    assert_eq!(reply.info.config.deliver_policy, DeliverPolicy::ByStartSequence(u64::MAX));
    assert_eq!(reply.info.config.filter_subjects, ["a", "b"]);
    assert_eq!(reply.info.config.num_replicas, Some(3));
}

#[test]
fn an_account_info_is_read_whole() {
    let info: AccountInfo = round_trip(
        r#"{"type":"io.nats.jetstream.api.v1.account_info_response","memory":1,"storage":2,"reserved_memory":3,"reserved_storage":4,"streams":5,"consumers":6,"limits":{"max_memory":-1,"max_storage":1024,"max_streams":-1,"max_consumers":-1,"max_ack_pending":-1,"memory_max_stream_bytes":-1,"storage_max_stream_bytes":-1,"max_bytes_required":true},"domain":"hub","api":{"level":5,"total":21,"errors":2,"inflight":1},"tiers":{"R3":{"memory":0,"storage":7,"reserved_memory":0,"reserved_storage":0,"streams":1,"consumers":0,"limits":{"max_memory":-1,"max_storage":-1,"max_streams":-1,"max_consumers":-1,"max_ack_pending":-1,"memory_max_stream_bytes":-1,"storage_max_stream_bytes":-1,"max_bytes_required":false}}}}"#,
    );
    assert_eq!((info.total.memory, info.total.storage, info.total.streams), (1, 2, 5));
    assert_eq!(info.total.limits.max_storage, Some(1024));
    assert_eq!(info.total.limits.max_memory, None);
    assert!(info.total.limits.max_bytes_required);
    assert_eq!((info.api.level, info.api.errors, info.api.inflight), (5, 2, 1));
    assert_eq!(info.tiers["R3"].storage, 7);
}

#[test]
fn an_account_info_of_2_10_has_no_level() {
    let text = br#"{"type":"io.nats.jetstream.api.v1.account_info_response","memory":0,"storage":0,"streams":0,"consumers":0,"limits":{"max_memory":-1},"api":{"total":1,"errors":0}}"#;
    assert_eq!(read_reply::<AccountInfo>(text).unwrap().api.level, 0);
}

#[test]
fn a_message_that_the_leader_gives_is_read_whole() {
    let reply: GetReply = read_reply(
        br#"{"type":"io.nats.jetstream.api.v1.stream_msg_get_response","message":{"subject":"o.0","seq":18446744073709551615,"hdrs":"TkFUUy8xLjANCks6IHYNCg0K","data":"AP8=","time":"2026-11-21T21:36:25.735489387Z"}}"#,
    )
    .unwrap();
    let message = reply.into_message();
    assert_eq!((message.subject.as_str(), message.sequence), ("o.0", u64::MAX));
    assert_eq!(message.headers.get("K"), Some("v"));
    assert_eq!(&message.payload[..], [0, 255]);
    assert_eq!(Some(message.time), time("2026-11-21T21:36:25.735489387Z"));
    let bare = br#"{"message":{"subject":"o","seq":1,"time":"2026-11-21T21:36:25Z"}}"#;
    let bare = read_reply::<GetReply>(bare).unwrap().into_message();
    assert!(bare.payload.is_empty() && bare.headers.is_empty());
    let broken = br#"{"message":{"subject":"o","seq":1,"data":"?","time":"2026-11-21T21:36:25Z"}}"#;
    assert!(matches!(read_reply::<GetReply>(broken), Err(ReplyError::Malformed(_))));
}

#[test]
fn words_and_fields_of_a_newer_server_are_kept_or_passed_over() {
    let config: StreamConfig = round_trip(
        r#"{"name":"s","retention":"forever","storage":"tape","discard":"old","mirror":{"name":"o","speed":9}}"#,
    );
    assert_eq!(config.retention, Retention::Other("forever".into()));
    assert_eq!(config.storage, Storage::Other("tape".into()));
    assert_eq!(config.mirror, Some(StreamSource::new("o")));
    let config: ConsumerConfig = round_trip(
        r#"{"deliver_policy":"by_moon","ack_policy":"twice","replay_policy":"instant"}"#,
    );
    assert_eq!(config.deliver_policy, DeliverPolicy::Other("by_moon".into()));
    assert_eq!(config.ack_policy, AckPolicy::Other("twice".into()));
}

#[test]
fn filters_are_read_from_either_field() {
    for (text, filters) in [
        (r#"{"filter_subject":"a"}"#, &["a"][..]),
        (r#"{"filter_subjects":["a","b"]}"#, &["a", "b"]),
        (r#"{"filter_subject":"","filter_subjects":null}"#, &[]),
    ] {
        let config: ConsumerConfig = round_trip(text);
        assert_eq!(config.filter_subjects, filters);
    }
}

#[test]
fn a_request_has_only_the_fields_that_were_set() {
    assert_eq!(
        json(&StreamConfig::new("s")),
        r#"{"name":"s","retention":"limits","discard":"old","storage":"file","num_replicas":1}"#
    );
    assert_eq!(
        json(&ConsumerConfig::durable("c")),
        r#"{"durable_name":"c","name":"c","deliver_policy":"all","ack_policy":"explicit","replay_policy":"instant"}"#
    );
    let one = ConsumerConfig { filter_subjects: vec!["a".into()], ..ConsumerConfig::ephemeral() };
    assert!(json(&one).contains(r#""filter_subject":"a""#));
    let two = ConsumerConfig {
        filter_subjects: vec!["a".into(), "b".into()],
        deliver_policy: DeliverPolicy::ByStartSequence(u64::MAX),
        ..ConsumerConfig::ephemeral()
    };
    assert!(json(&two).contains(r#""filter_subjects":["a","b"]"#));
    assert!(json(&two).contains(r#""opt_start_seq":18446744073709551615"#));
    let create = CreateConsumerRequest {
        stream_name: "s".into(),
        config: (),
        action: Action::CreateOrUpdate,
        pedantic: false,
    };
    assert_eq!(json(&create), r#"{"stream_name":"s","config":null}"#);
    let create = CreateConsumerRequest { action: Action::Create, pedantic: true, ..create };
    assert_eq!(
        json(&create),
        r#"{"stream_name":"s","config":null,"action":"create","pedantic":true}"#
    );
    assert_eq!(json(&StreamInfoRequest::default()), "{}");
    assert_eq!(json(&PurgeRequest::default()), "{}");
    assert_eq!(json(&PauseRequest::default()), "{}");
    assert_eq!(json(&ResetRequest::default()), "{}");
    assert_eq!(json(&DeleteMessageRequest { seq: 5, no_erase: false }), r#"{"seq":5}"#);
    assert_eq!(json(&GetRequest::Sequence { seq: 5 }), r#"{"seq":5}"#);
    let next = GetRequest::Next { seq: 0, next_by_subj: "a".into() };
    assert_eq!(json(&next), r#"{"next_by_subj":"a"}"#);
}

#[test]
fn a_pause_that_is_over_has_no_time() {
    let state: PauseState = round_trip(r#"{"paused":false,"pause_until":"0001-01-01T00:00:00Z"}"#);
    assert_eq!((state.paused, state.pause_until), (false, None));
}

proptest! {
    /// An answer with anything else at any place is read, or refused.
    #[test]
    fn no_answer_panics(
        place in 0..SAMPLES.concat().len(),
        bytes in proptest::collection::vec(any::<u8>(), 0..4),
        cut in 0..4_usize,
    ) {
        let mut text = SAMPLES.concat().into_bytes();
        let end = text.len().min(place + cut);
        text.splice(place..end, bytes);
        for text in text.split(|&byte| byte == b'\n') {
            let _ = read_reply::<StreamInfo>(text);
            let _ = read_reply::<ResetReply>(text);
            let _ = read_reply::<AccountInfo>(text);
            let _ = read_reply::<GetReply>(text).map(GetReply::into_message);
            let _ = Advisory::read(text);
            let mut pages = Pages::<ConsumerInfo>::new(None);
            let _ = pages.receive(text);
        }
    }
}

const SAMPLES: [&str; 5] = [
    r#"{"config":{"name":"o","max_bytes":-1,"max_age":1,"sources":[{"name":"x","opt_start_time":"2026-01-01T00:00:00Z"}],"metadata":{"a":"b"}},"created":"2026-11-21T21:36:25.733722895Z","state":{"messages":3,"bytes":168,"first_seq":1,"first_ts":"0001-01-01T00:00:00Z","last_seq":4,"subjects":{"o.0":2},"deleted":[2]}}
"#,
    r#"{"stream_name":"o","name":"g","config":{"deliver_policy":"by_start_sequence","opt_start_seq":5,"backoff":[1],"filter_subjects":["a"],"sample_freq":"5%","pause_until":"2027-01-01T00:00:00+02:00"},"pause_remaining":5,"reset_seq":3}
"#,
    r#"{"memory":1,"limits":{"max_memory":-1},"api":{"level":5},"tiers":{"R3":{"memory":0}}}
"#,
    r#"{"message":{"subject":"o.0","seq":1,"hdrs":"TkFUUy8xLjANCks6IHYNCg0K","data":"AP8=","time":"2026-11-21T21:36:25.735489387Z"}}
"#,
    r#"{"type":"io.nats.jetstream.advisory.v1.max_deliver","id":"x","timestamp":"2026-11-21T21:36:25.5Z","stream_seq":1,"total":2,"consumers":[{"name":"c"}],"missing":["d"],"offline":{"d":"x"}}
"#,
];
