//! What a stream is asked to be.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::source::StreamSource;
use crate::wire::{is_default, is_false, limit, nanos, no_text, or_default, text, words};

words! {
    /// How long a stream keeps messages.
    pub enum Retention {
        /// Until a limit is reached.
        #[default]
        Limits = "limits",
        /// Until each consumer there is has acknowledged them.
        Interest = "interest",
        /// Until one consumer has acknowledged them.
        WorkQueue = "workqueue",
    }
}

words! {
    /// What a stream does with messages when a limit is reached.
    pub enum Discard {
        /// The oldest go.
        #[default]
        Old = "old",
        /// New ones are refused.
        New = "new",
    }
}

words! {
    /// Where a stream keeps messages.
    pub enum Storage {
        /// In files.
        #[default]
        File = "file",
        /// In memory. They are gone when all servers of the stream have stopped.
        Memory = "memory",
    }
}

words! {
    /// How messages in files are compressed (ADR-35).
    pub enum Compression {
        /// Not at all.
        #[default]
        None = "none",
        /// By S2.
        S2 = "s2",
    }
}

words! {
    /// When a message in files is safe (ADR-56). API level 2.
    pub enum PersistMode {
        /// Written when it is acknowledged.
        #[default]
        Default = "default",
        /// Written some time later: faster, and what was acknowledged may be lost when the server
        /// stops. One replica, in files.
        Async = "async",
    }
}

/// What a stream is asked to be, and is.
///
/// End a literal with what it does not say, for new releases of the server bring new fields:
///
/// ```
/// use midge_jetstream::{StreamConfig, Storage};
///
/// let config = StreamConfig {
///     subjects: vec!["orders.>".into()],
///     storage: Storage::Memory,
///     max_msgs: Some(100_000),
///     ..StreamConfig::new("orders")
/// };
/// ```
///
/// A field that is `None`, empty or false is not sent: the server's default holds. The number at
/// the end of a field's description is the API level that it needs, if it needs one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamConfig {
    /// Its name.
    pub name: String,
    /// What it is for, in 4,096 bytes at most.
    #[serde(default, skip_serializing_if = "no_text", deserialize_with = "text")]
    pub description: Option<String>,
    /// The subjects that it stores, which may hold wildcards. Default: its name, unless it has a
    /// mirror or sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub subjects: Vec<String>,
    /// How long it keeps messages.
    #[serde(default)]
    pub retention: Retention,
    /// The most consumers. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_consumers: Option<u32>,
    /// The most messages. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_msgs: Option<u64>,
    /// The most bytes, with headers and what storage adds. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_bytes: Option<u64>,
    /// The greatest age of a message, at least 100 ms. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub max_age: Option<Duration>,
    /// The most messages of each subject. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_msgs_per_subject: Option<u64>,
    /// The greatest size of a message in bytes, with headers. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_msg_size: Option<u32>,
    /// What happens when a limit is reached.
    #[serde(default)]
    pub discard: Discard,
    /// Where messages are kept.
    #[serde(default)]
    pub storage: Storage,
    /// On how many servers they are kept: 1 to 5.
    #[serde(default = "one", skip_serializing_if = "is_none_of")]
    pub num_replicas: u32,
    /// Messages are not acknowledged to who published them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_ack: bool,
    /// For how long an id of a message is remembered, so that a second one is not stored: at least
    /// 100 ms, at most `max_age`. `None`: 2 minutes, or `max_age` if that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub duplicate_window: Option<Duration>,
    /// On which servers it may be.
    #[serde(default, skip_serializing_if = "is_anywhere", deserialize_with = "or_default")]
    pub placement: Placement,
    /// The stream that it copies. It then has no subjects of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<StreamSource>,
    /// The streams that it stores messages of.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub sources: Vec<StreamSource>,
    /// How messages in files are compressed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub compression: Compression,
    /// The sequence of its first message. Default: 1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_seq: u64,
    /// How subjects are changed before a message is stored (ADR-36).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_transform: Option<SubjectTransform>,
    /// Where messages are sent once they are stored (ADR-28).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub republish: Option<Republish>,
    /// Each server of the stream answers direct gets (ADR-31).
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_direct: bool,
    /// A mirror answers direct gets of its origin. The server sets it as the origin's
    /// `allow_direct`, if it sees that.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mirror_direct: bool,
    /// `max_msgs_per_subject` refuses new messages too; it needs `Discard::New`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub discard_new_per_subject: bool,
    /// No message comes or goes any more. It cannot be undone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sealed: bool,
    /// Messages cannot be deleted one by one. It cannot be undone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deny_delete: bool,
    /// It cannot be purged. It cannot be undone.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deny_purge: bool,
    /// A message may delete all before it, by the header `Nats-Rollup`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_rollup_hdrs: bool,
    /// What its consumers are when they do not say otherwise, and may be at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub consumer_limits: ConsumerLimits,
    /// A message may have a time to live (ADR-43). It cannot be undone. API level 1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_msg_ttl: bool,
    /// When the last message of a subject goes by its age, a marker stays so long: at least 1 s.
    /// It brings `allow_msg_ttl` and `allow_rollup_hdrs` with it. API level 1.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub subject_delete_marker_ttl: Option<Duration>,
    /// Its subjects are counters (ADR-49). API level 2.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_msg_counter: bool,
    /// Messages may be published in atomic batches (ADR-50). API level 2.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_atomic: bool,
    /// A message may be a schedule (ADR-51). It brings `allow_rollup_hdrs` with it. API level 2.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_msg_schedules: bool,
    /// When a message in files is safe. API level 2.
    #[serde(default, skip_serializing_if = "is_default")]
    pub persist_mode: PersistMode,
    /// Messages may be published in fast batches (ADR-50). API level 4.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_batched: bool,
    /// What the application notes, in 128 KiB at most (ADR-33). Keys that begin with `_nats.` are
    /// the server's: [`user_metadata`](Self::user_metadata) is without them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub metadata: BTreeMap<String, String>,
}

impl StreamConfig {
    /// A stream with every default of the server.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            description: None,
            subjects: Vec::new(),
            retention: Retention::default(),
            max_consumers: None,
            max_msgs: None,
            max_bytes: None,
            max_age: None,
            max_msgs_per_subject: None,
            max_msg_size: None,
            discard: Discard::default(),
            storage: Storage::default(),
            num_replicas: 1,
            no_ack: false,
            duplicate_window: None,
            placement: Placement::default(),
            mirror: None,
            sources: Vec::new(),
            compression: Compression::default(),
            first_seq: 0,
            subject_transform: None,
            republish: None,
            allow_direct: false,
            mirror_direct: false,
            discard_new_per_subject: false,
            sealed: false,
            deny_delete: false,
            deny_purge: false,
            allow_rollup_hdrs: false,
            consumer_limits: ConsumerLimits::default(),
            allow_msg_ttl: false,
            subject_delete_marker_ttl: None,
            allow_msg_counter: false,
            allow_atomic: false,
            allow_msg_schedules: false,
            persist_mode: PersistMode::default(),
            allow_batched: false,
            metadata: BTreeMap::new(),
        }
    }

    /// The metadata without the keys that belong to the server.
    pub fn user_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        user_metadata(&self.metadata)
    }
}

/// The metadata without the keys that belong to the server.
pub(crate) fn user_metadata(
    metadata: &BTreeMap<String, String>,
) -> impl Iterator<Item = (&str, &str)> {
    metadata
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .filter(|(key, _)| !crate::differences::is_of_server(key))
}

fn one() -> u32 {
    1
}

fn is_none_of(replicas: &u32) -> bool {
    *replicas == 0
}

fn is_anywhere(placement: &Placement) -> bool {
    let Placement { cluster, tags, preferred } = placement;
    no_text(cluster) && tags.is_empty() && no_text(preferred)
}

/// On which servers a stream may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The cluster.
    #[serde(default, skip_serializing_if = "no_text", deserialize_with = "text")]
    pub cluster: Option<String>,
    /// Tags that each server must have.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub tags: Vec<String>,
    /// The server to lead. Servers refuse it in the configuration of a stream so far.
    #[serde(default, skip_serializing_if = "no_text", deserialize_with = "text")]
    pub preferred: Option<String>,
}

/// How subjects are changed (ADR-36).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectTransform {
    /// The subjects that are changed; all of them when it is empty.
    #[serde(default)]
    pub src: String,
    /// What they become, such as `other.{{wildcard(1)}}`.
    #[serde(default)]
    pub dest: String,
}

/// Where stored messages are sent (ADR-28).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Republish {
    /// The subjects that are sent; all of them when it is empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub src: String,
    /// Where to.
    pub dest: String,
    /// Without the payload, of which the size is said.
    #[serde(default, skip_serializing_if = "is_false")]
    pub headers_only: bool,
}

/// What consumers of a stream are when they do not say otherwise, and may be at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerLimits {
    /// How long a consumer without a reader stays.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub inactive_threshold: Option<Duration>,
    /// The most messages that are not acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_ack_pending: Option<u64>,
}
