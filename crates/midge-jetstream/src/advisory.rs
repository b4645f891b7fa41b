//! What servers tell of JetStream: who did what, what went wrong, how long acknowledgements took.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::stream::{Replica, StreamState};
use crate::time::Time;
use crate::wire::{nanos, or_default, time, words};

/// Subjects that advisories and metrics come on, with wildcards for the names in them.
///
/// A stream and consumer in place of the wildcards narrow them: `….MAX_DELIVERIES.orders.billing`.
pub mod event_subjects {
    /// All advisories and metrics.
    pub const ALL: &str = "$JS.EVENT.>";
    /// All advisories, those of calls of the API included.
    pub const ADVISORIES: &str = "$JS.EVENT.ADVISORY.>";
    /// How long acknowledgements took: `<stream>.<consumer>`.
    pub const ACK_METRICS: &str = "$JS.EVENT.METRIC.CONSUMER.ACK.*.*";
    /// Calls of the API.
    pub const API: &str = "$JS.EVENT.ADVISORY.API";
    /// Streams that were created, updated or deleted: `<what>.<stream>`.
    pub const STREAM_ACTIONS: &str = "$JS.EVENT.ADVISORY.STREAM.*.*";
    /// Consumers that were created or deleted, paused, lost their pin, and so on:
    /// `<what>.<stream>.<consumer>`.
    pub const CONSUMER_ACTIONS: &str = "$JS.EVENT.ADVISORY.CONSUMER.*.*.*";
    /// Messages that were delivered as often as they may be: `<stream>.<consumer>`.
    pub const MAX_DELIVERIES: &str = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.*.*";
    /// Messages that were given back: `<stream>.<consumer>`.
    pub const NAKED: &str = "$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.*.*";
    /// Messages that were given up: `<stream>.<consumer>`.
    pub const TERMINATED: &str = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.*.*";
    /// Batches that were given up: `<stream>`.
    pub const BATCH_ABANDONED: &str = "$JS.EVENT.ADVISORY.STREAM.BATCH_ABANDONED.*";
}

words! {
    /// What was done to a stream or consumer.
    pub enum AdvisoryAction {
        /// It was created.
        #[default]
        Create = "create",
        /// It was deleted.
        Delete = "delete",
        /// It was changed.
        Modify = "modify",
    }
}

words! {
    /// Why an atomic batch was given up.
    pub enum AbandonReason {
        /// Nothing more came of it.
        #[default]
        Timeout = "timeout",
        /// It was too large.
        Large = "large",
        /// A message of it was missing.
        Incomplete = "incomplete",
        /// It had a header that batches cannot have.
        Unsupported = "unsupported",
    }
}

/// An advisory or metric.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Advisory {
    /// Its own id.
    pub id: String,
    /// When it happened.
    pub time: Option<Time>,
    /// What happened.
    pub event: AdvisoryEvent,
}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    id: String,
    #[serde(default, with = "time")]
    timestamp: Option<Time>,
}

macro_rules! events {
    ($($(#[$doc:meta])* $variant:ident($of:ident) = $kind:literal,)*) => {
        /// What an advisory or metric is about.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum AdvisoryEvent {
            $($(#[$doc])* $variant($of),)*
            /// Something that this version of Midge has no type for.
            Other {
                /// Its type (ADR-2).
                kind: String,
                /// All of it.
                fields: Value,
            },
        }

        impl AdvisoryEvent {
            fn read(kind: String, payload: &[u8]) -> Result<Self, serde_json::Error> {
                Ok(match kind.as_str() {
                    $($kind => Self::$variant(serde_json::from_slice(payload)?),)*
                    _ => Self::Other { kind, fields: serde_json::from_slice(payload)? },
                })
            }
        }
    };
}

events! {
    /// A call of the API.
    Api(ApiAudit) = "io.nats.jetstream.advisory.v1.api_audit",
    /// Calls of the API were dropped, for there were too many.
    ApiLimitReached(ApiLimit) = "io.nats.jetstream.advisory.v1.api_limit_reached",
    /// A stream was created, updated or deleted.
    StreamAction(StreamAction) = "io.nats.jetstream.advisory.v1.stream_action",
    /// A stream has another leader.
    StreamLeaderElected(StreamLeader) = "io.nats.jetstream.advisory.v1.stream_leader_elected",
    /// A stream has too few servers to go on.
    StreamQuorumLost(StreamLeader) = "io.nats.jetstream.advisory.v1.stream_quorum_lost",
    /// An atomic batch was given up.
    BatchAbandoned(BatchAbandoned) = "io.nats.jetstream.advisory.v1.stream_batch_abandoned",
    /// A backup of a stream has begun.
    SnapshotCreate(Backup) = "io.nats.jetstream.advisory.v1.snapshot_create",
    /// A backup of a stream is complete, or has failed.
    SnapshotComplete(Backup) = "io.nats.jetstream.advisory.v1.snapshot_complete",
    /// A stream is being restored.
    RestoreCreate(Backup) = "io.nats.jetstream.advisory.v1.restore_create",
    /// A stream was restored.
    RestoreComplete(Backup) = "io.nats.jetstream.advisory.v1.restore_complete",
    /// A consumer was created or deleted.
    ConsumerAction(ConsumerAction) = "io.nats.jetstream.advisory.v1.consumer_action",
    /// A consumer was paused, or goes on.
    ConsumerPause(ConsumerPause) = "io.nats.jetstream.advisory.v1.consumer_pause",
    /// A consumer has another leader.
    ConsumerLeaderElected(ConsumerLeader) = "io.nats.jetstream.advisory.v1.consumer_leader_elected",
    /// A consumer has too few servers to go on.
    ConsumerQuorumLost(ConsumerLeader) = "io.nats.jetstream.advisory.v1.consumer_quorum_lost",
    /// A reader of a group was pinned.
    Pinned(GroupPin) = "io.nats.jetstream.advisory.v1.consumer_group_pinned",
    /// A reader of a group has lost its pin.
    Unpinned(GroupPin) = "io.nats.jetstream.advisory.v1.consumer_group_unpinned",
    /// A message was delivered as often as it may be, and was not acknowledged.
    MaxDeliveries(MessageEvent) = "io.nats.jetstream.advisory.v1.max_deliver",
    /// A reader gave a message back.
    Naked(MessageEvent) = "io.nats.jetstream.advisory.v1.nak",
    /// A reader gave a message up.
    Terminated(MessageEvent) = "io.nats.jetstream.advisory.v1.terminated",
    /// How long an acknowledgement took.
    Acked(MessageEvent) = "io.nats.jetstream.metric.v1.consumer_ack",
    /// A domain has another leader.
    DomainLeaderElected(ServerEvent) = "io.nats.jetstream.advisory.v1.domain_leader_elected",
    /// A server has no storage left.
    OutOfStorage(ServerEvent) = "io.nats.jetstream.advisory.v1.server_out_of_space",
    /// A server was removed.
    ServerRemoved(ServerEvent) = "io.nats.jetstream.advisory.v1.server_removed",
    /// A server goes on with a smaller quorum, since somebody wanted that.
    MetaRescue(MetaRescue) = "io.nats.jetstream.advisory.v1.meta_rescue",
}

impl Advisory {
    /// Reads an advisory or metric.
    ///
    /// # Errors
    ///
    /// When it is none, or not of the form that its type has.
    pub fn read(payload: &[u8]) -> Result<Self, serde_json::Error> {
        let Head { kind, id, timestamp } = serde_json::from_slice(payload)?;
        Ok(Self { id, time: timestamp, event: AdvisoryEvent::read(kind, payload)? })
    }
}

/// A call of the API.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ApiAudit {
    /// The server that answered.
    pub server: String,
    /// Who called, as the server describes clients.
    pub client: Value,
    /// The subject of the call.
    pub subject: String,
    /// The request.
    pub request: String,
    /// The answer.
    pub response: String,
    /// The domain.
    pub domain: Option<String>,
}

/// Calls of the API that were dropped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ApiLimit {
    /// The server.
    pub server: String,
    /// The domain.
    pub domain: Option<String>,
    /// How many.
    pub dropped: u64,
}

/// A stream that was created, updated or deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StreamAction {
    /// The stream.
    pub stream: String,
    /// What was done.
    pub action: AdvisoryAction,
    /// The domain.
    pub domain: Option<String>,
}

/// Who leads a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct StreamLeader {
    /// The account.
    pub account: Option<String>,
    /// The stream.
    pub stream: String,
    /// The server that leads. `None`: none does.
    pub leader: Option<String>,
    /// The others.
    #[serde(deserialize_with = "or_default")]
    pub replicas: Vec<Replica>,
    /// The domain.
    pub domain: Option<String>,
}

/// An atomic batch that was given up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BatchAbandoned {
    /// The account.
    pub account: Option<String>,
    /// The stream.
    pub stream: String,
    /// The id of the batch.
    pub batch: String,
    /// Why.
    pub reason: AbandonReason,
    /// The domain.
    pub domain: Option<String>,
}

/// A backup of a stream, or its return.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Backup {
    /// The stream.
    pub stream: String,
    /// What it held when it began.
    pub state: Option<StreamState>,
    /// When it began.
    #[serde(with = "time")]
    pub start: Option<Time>,
    /// When it ended.
    #[serde(with = "time")]
    pub end: Option<Time>,
    /// Bytes that were restored.
    pub bytes: u64,
    /// Who asked for it, as the server describes clients.
    pub client: Value,
    /// Why it failed.
    pub error: Option<String>,
    /// The domain.
    pub domain: Option<String>,
}

/// A consumer that was created or deleted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConsumerAction {
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// What was done.
    pub action: AdvisoryAction,
    /// The domain.
    pub domain: Option<String>,
}

/// A consumer that was paused, or goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConsumerPause {
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// It is paused.
    pub paused: bool,
    /// Until then.
    #[serde(with = "time")]
    pub pause_until: Option<Time>,
    /// The domain.
    pub domain: Option<String>,
}

/// Who leads a consumer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ConsumerLeader {
    /// The account.
    pub account: Option<String>,
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// The server that leads. `None`: none does.
    pub leader: Option<String>,
    /// The others.
    #[serde(deserialize_with = "or_default")]
    pub replicas: Vec<Replica>,
    /// The domain.
    pub domain: Option<String>,
}

/// A reader of a group that was pinned, or has lost its pin.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct GroupPin {
    /// The account.
    pub account: Option<String>,
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// The group.
    pub group: String,
    /// The reader that was pinned.
    pub pinned_id: Option<String>,
    /// Why it has lost its pin: `admin` or `timeout`.
    pub reason: Option<String>,
    /// The domain.
    pub domain: Option<String>,
}

/// Something that happened to a message of a consumer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct MessageEvent {
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// Its sequence in the stream.
    pub stream_seq: u64,
    /// The delivery, as the consumer counts; not told of `MaxDeliveries`.
    pub consumer_seq: u64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// The time from its delivery to its acknowledgement, for `Acked`.
    #[serde(with = "nanos")]
    pub ack_time: Option<Duration>,
    /// What the reader said, for `Terminated`.
    pub reason: Option<String>,
    /// The domain.
    pub domain: Option<String>,
}

/// Something that happened to a server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ServerEvent {
    /// The server, or the one that leads now.
    #[serde(alias = "leader")]
    pub server: String,
    /// Its id.
    pub server_id: Option<String>,
    /// The stream that there was no storage for.
    pub stream: Option<String>,
    /// The others that may lead.
    #[serde(deserialize_with = "or_default")]
    pub replicas: Vec<Replica>,
    /// The cluster.
    pub cluster: Option<String>,
    /// The domain.
    pub domain: Option<String>,
}

/// A server that goes on with a smaller quorum of the servers that lead JetStream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct MetaRescue {
    /// The server.
    pub server: String,
    /// Its id.
    pub server_id: String,
    /// Servers that had to agree before.
    pub prev_quorum: u32,
    /// Servers that have to agree now.
    pub new_quorum: u32,
    /// The cluster.
    pub cluster: Option<String>,
    /// The domain.
    pub domain: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nats-server 2.15 has types for.
    #[test]
    fn every_type_of_the_server_is_known() {
        for kind in [
            "advisory.v1.api_audit",
            "advisory.v1.api_limit_reached",
            "advisory.v1.stream_action",
            "advisory.v1.stream_leader_elected",
            "advisory.v1.stream_quorum_lost",
            "advisory.v1.stream_batch_abandoned",
            "advisory.v1.snapshot_create",
            "advisory.v1.snapshot_complete",
            "advisory.v1.restore_create",
            "advisory.v1.restore_complete",
            "advisory.v1.consumer_action",
            "advisory.v1.consumer_pause",
            "advisory.v1.consumer_leader_elected",
            "advisory.v1.consumer_quorum_lost",
            "advisory.v1.consumer_group_pinned",
            "advisory.v1.consumer_group_unpinned",
            "advisory.v1.max_deliver",
            "advisory.v1.nak",
            "advisory.v1.terminated",
            "advisory.v1.domain_leader_elected",
            "advisory.v1.server_out_of_space",
            "advisory.v1.server_removed",
            "advisory.v1.meta_rescue",
            "metric.v1.consumer_ack",
        ] {
            let text = alloc::format!(r#"{{"type":"io.nats.jetstream.{kind}"}}"#);
            let event = Advisory::read(text.as_bytes()).unwrap().event;
            assert!(!matches!(event, AdvisoryEvent::Other { .. }), "{kind}");
        }
        let text = br#"{"type":"io.nats.jetstream.advisory.v1.meta_rescue","server":"n1","server_id":"N","prev_quorum":3,"new_quorum":1,"cluster":"c"}"#;
        let AdvisoryEvent::MetaRescue(event) = Advisory::read(text).unwrap().event else {
            panic!("a rescue")
        };
        assert_eq!((&*event.server, event.prev_quorum, event.new_quorum), ("n1", 3, 1));
    }

    #[test]
    fn an_advisory_is_of_the_type_that_it_says() {
        let text = br#"{"type":"io.nats.jetstream.advisory.v1.max_deliver","id":"x","timestamp":"2026-11-21T21:36:25.5Z","stream":"s","consumer":"c","stream_seq":18446744073709551615,"deliveries":3,"new":1}"#;
        let advisory = Advisory::read(text).unwrap();
        assert_eq!(advisory.id, "x");
        assert_eq!(advisory.time, Some("2026-11-21T21:36:25.5Z".parse().unwrap()));
        let AdvisoryEvent::MaxDeliveries(event) = advisory.event else {
            panic!("{:?}", advisory.event)
        };
        assert_eq!((event.stream_seq, event.deliveries), (u64::MAX, 3));
    }

    #[test]
    fn an_ack_metric_has_its_time() {
        let text = br#"{"type":"io.nats.jetstream.metric.v1.consumer_ack","id":"x","timestamp":"2026-11-21T21:36:25Z","stream":"s","consumer":"c","consumer_seq":1,"stream_seq":2,"ack_time":1500,"deliveries":1}"#;
        let AdvisoryEvent::Acked(event) = Advisory::read(text).unwrap().event else {
            panic!("acked")
        };
        assert_eq!(event.ack_time, Some(Duration::from_nanos(1_500)));
    }

    #[test]
    fn an_advisory_of_another_type_is_kept_whole() {
        let text = br#"{"type":"io.nats.jetstream.advisory.v9.moon","phase":"full"}"#;
        let AdvisoryEvent::Other { kind, fields } = Advisory::read(text).unwrap().event else {
            panic!("it has no type of its own")
        };
        assert_eq!(kind, "io.nats.jetstream.advisory.v9.moon");
        assert_eq!(fields["phase"], "full");
    }

    #[test]
    fn what_is_no_advisory_is_refused() {
        for wrong in [&b""[..], b"{}", b"[]", br#"{"type":7}"#] {
            Advisory::read(wrong).unwrap_err();
        }
        let wrong = br#"{"type":"io.nats.jetstream.advisory.v1.nak","stream_seq":-1}"#;
        Advisory::read(wrong).unwrap_err();
    }

    #[test]
    fn what_leads_a_domain_is_the_server() {
        let text = br#"{"type":"io.nats.jetstream.advisory.v1.domain_leader_elected","leader":"n1","replicas":null,"cluster":"c"}"#;
        let AdvisoryEvent::DomainLeaderElected(event) = Advisory::read(text).unwrap().event else {
            panic!("a leader")
        };
        assert_eq!((event.server.as_str(), event.cluster.as_deref()), ("n1", Some("c")));
    }
}
