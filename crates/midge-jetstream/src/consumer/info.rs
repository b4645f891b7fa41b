//! What a consumer is at a moment, and requests about one.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::ConsumerConfig;
use crate::stream::ClusterInfo;
use crate::time::Time;
use crate::wire::{is_default, is_false, nanos, or_default, text, time};

/// What a consumer is at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// Its stream.
    pub stream_name: String,
    /// Its name.
    pub name: String,
    /// When it was created.
    #[serde(default, with = "time")]
    pub created: Option<Time>,
    /// What it was asked to be, with the server's defaults.
    #[serde(default, deserialize_with = "or_default")]
    pub config: ConsumerConfig,
    /// The last message that was delivered.
    #[serde(default)]
    pub delivered: SequencePair,
    /// The last message up to which all are acknowledged.
    #[serde(default)]
    pub ack_floor: SequencePair,
    /// Messages that were delivered and are not acknowledged.
    #[serde(default)]
    pub num_ack_pending: u64,
    /// Messages that were delivered more than once and are not acknowledged.
    #[serde(default)]
    pub num_redelivered: u64,
    /// Pulls that wait.
    #[serde(default)]
    pub num_waiting: u64,
    /// Messages that match and were not delivered.
    #[serde(default)]
    pub num_pending: u64,
    /// Where its replicas are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
    /// Somebody subscribes to its `deliver_subject`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub push_bound: bool,
    /// It is paused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// For how much longer.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub pause_remaining: Option<Duration>,
    /// When this was so.
    #[serde(default, rename = "ts", with = "time")]
    pub timestamp: Option<Time>,
    /// What its groups of readers are at.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub priority_groups: Vec<PriorityGroup>,
}

/// A place in a stream, as the consumer and the stream count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SequencePair {
    /// Deliveries of the consumer.
    #[serde(rename = "consumer_seq")]
    pub consumer: u64,
    /// The sequence in the stream.
    #[serde(rename = "stream_seq")]
    pub stream: u64,
    /// When it last went on.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub last_active: Option<Time>,
}

/// What a group of readers is at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PriorityGroup {
    /// Its name.
    pub group: String,
    /// The reader that is served, if one is pinned.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub pinned_client_id: Option<String>,
    /// Since when.
    #[serde(default, rename = "pinned_ts", skip_serializing_if = "Option::is_none", with = "time")]
    pub pinned_since: Option<Time>,
}

/// What a request to create a consumer may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Create it, or update the one that is there.
    #[default]
    #[serde(rename = "")]
    CreateOrUpdate,
    /// Create it. One that is there must be the same.
    #[serde(rename = "create")]
    Create,
    /// Update the one that is there.
    #[serde(rename = "update")]
    Update,
}

/// A request to create or update a consumer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CreateConsumerRequest<C = ConsumerConfig> {
    /// The stream.
    pub stream_name: String,
    /// What it is to be.
    pub config: C,
    /// What may be done. Servers before 2.10 do not know it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub action: Action,
    /// The server refuses what it would have to change. API level 1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pedantic: bool,
}

/// A request to pause a consumer, or to let it go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseRequest {
    /// Until then. `None`, or what has passed: it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub pause_until: Option<Time>,
}

/// Whether a consumer is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PauseState {
    /// It is paused.
    pub paused: bool,
    /// Until then.
    #[serde(default, with = "time")]
    pub pause_until: Option<Time>,
    /// For how much longer.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub pause_remaining: Option<Duration>,
}

/// A request to unpin the reader of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpinRequest {
    /// The group.
    pub group: String,
}

/// A request to set a consumer back, or forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetRequest {
    /// The sequence of the message that it goes on with. Zero: the one after its `ack_floor`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seq: u64,
}

/// What a consumer is after it was set back, or forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResetReply {
    /// The consumer.
    #[serde(flatten)]
    pub info: ConsumerInfo,
    /// The sequence that it goes on with.
    pub reset_seq: u64,
}
