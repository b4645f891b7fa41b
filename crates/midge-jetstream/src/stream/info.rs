//! What a stream is at a moment.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::{StreamConfig, SubjectTransform};
use super::source::External;
use crate::check::{ConfigError, optional_subject};
use crate::error::ApiError;
use crate::time::Time;
use crate::wire::{is_default, is_false, nanos, or_default, text, time};

/// What a stream is at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamInfo {
    /// What it was asked to be, with the server's defaults.
    pub config: StreamConfig,
    /// When it was created.
    #[serde(default, with = "time")]
    pub created: Option<Time>,
    /// What it holds.
    pub state: StreamState,
    /// The domain that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub domain: Option<String>,
    /// Where its replicas are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterInfo>,
    /// How far its mirror is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<SourceInfo>,
    /// How far its sources are.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub sources: Vec<SourceInfo>,
    /// Other streams with the same messages, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub alternates: Vec<StreamAlternate>,
    /// When this was so.
    #[serde(default, rename = "ts", with = "time")]
    pub timestamp: Option<Time>,
    /// Of the answer to a request to create it: it was not there before. Since 2.15.
    #[serde(default, skip_serializing_if = "is_false")]
    pub did_create: bool,
}

/// What a stream holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamState {
    /// Messages.
    pub messages: u64,
    /// Bytes of them in storage.
    pub bytes: u64,
    /// The sequence of the first message.
    pub first_seq: u64,
    /// When the first message was stored.
    #[serde(default, rename = "first_ts", with = "time")]
    pub first_time: Option<Time>,
    /// The sequence of the last message, also of one that is gone.
    pub last_seq: u64,
    /// When the last message was stored.
    #[serde(default, rename = "last_ts", with = "time")]
    pub last_time: Option<Time>,
    /// Subjects that have messages.
    #[serde(default, skip_serializing_if = "is_default")]
    pub num_subjects: u64,
    /// Messages of each subject, if they were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub subjects: BTreeMap<String, u64>,
    /// Messages that were deleted from between others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub num_deleted: u64,
    /// The sequences of them, if they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub deleted: Vec<u64>,
    /// What storage has lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostData>,
    /// Consumers.
    #[serde(default)]
    pub consumer_count: u64,
}

/// What storage has lost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LostData {
    /// The sequences of messages.
    #[serde(default, deserialize_with = "or_default")]
    pub msgs: Vec<u64>,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
}

/// Where the replicas of a stream or consumer are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClusterInfo {
    /// The cluster.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub name: Option<String>,
    /// The group of replicas.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub raft_group: Option<String>,
    /// The server that leads. `None`: none does at present.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub leader: Option<String>,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub leader_since: Option<Time>,
    /// The replicas speak through the system account.
    #[serde(default, skip_serializing_if = "is_false")]
    pub system_account: bool,
    /// The account that the replicas speak through.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub traffic_account: Option<String>,
    /// The servers that follow.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub replicas: Vec<Replica>,
    /// Where they are to be. Since 2.15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<DesiredCluster>,
}

/// A server that follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Replica {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// It has everything.
    #[serde(default)]
    pub current: bool,
    /// It is not there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub offline: bool,
    /// How long ago it was heard.
    #[serde(default, with = "nanos")]
    pub active: Option<Duration>,
    /// Operations that it lacks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lag: u64,
    /// Its id.
    #[serde(default)]
    pub peer: String,
    /// It is to be one, and is not yet. Since 2.15.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pending: bool,
}

/// Where replicas are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DesiredCluster {
    /// The cluster.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub name: Option<String>,
    /// The servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub replicas: Vec<Replica>,
}

/// How far a mirror or source is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SourceInfo {
    /// The stream that is copied.
    pub name: String,
    /// Where that is, if it is in another account or domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// Messages that are not copied yet.
    #[serde(default)]
    pub lag: u64,
    /// How long ago it was heard. `None`: never.
    #[serde(default, with = "nanos")]
    pub active: Option<Duration>,
    /// Why it does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// What is copied.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub filter_subject: Option<String>,
    /// How subjects are changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub subject_transforms: Vec<SubjectTransform>,
}

/// Another stream with the same messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamAlternate {
    /// Its name.
    pub name: String,
    /// Its domain.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub domain: Option<String>,
    /// Its cluster.
    #[serde(default)]
    pub cluster: String,
}

/// A request to create or update a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamRequest<C = StreamConfig> {
    /// What it is to be.
    #[serde(flatten)]
    pub config: C,
    /// The server refuses what it would have to change. API level 1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pedantic: bool,
}

/// What to tell of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamInfoRequest {
    /// The sequences of deleted messages.
    #[serde(default, skip_serializing_if = "is_false")]
    pub deleted_details: bool,
    /// The subjects that match, and how many messages each has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subjects_filter: Option<String>,
    /// The subjects to leave out, because another answer had them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offset: u64,
}

impl StreamInfoRequest {
    /// Checks it for what no server would take, and for an empty filter: servers take that for
    /// none, and tell no subjects.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when its filter is no subject.
    pub fn check(&self) -> Result<(), ConfigError> {
        optional_subject("subjects_filter", self.subjects_filter.as_deref())
    }
}

/// Which of the subjects of a stream an info has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectsPage {
    /// Subjects that match.
    #[serde(default)]
    pub total: u64,
    /// Those that were left out.
    #[serde(default)]
    pub offset: u64,
    /// The most that one info has.
    #[serde(default)]
    pub limit: u64,
}
