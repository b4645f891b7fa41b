//! Stored messages: getting, deleting and purging them.

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;
use midge_proto::{HeaderMap, Headers};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::check::{ConfigError, conflict, optional_subject, subject};
use crate::time::Time;
use crate::wire::{is_default, is_false};

/// A stored message.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StoredMessage {
    /// Its subject.
    pub subject: String,
    /// Its place in the stream.
    pub sequence: u64,
    /// When it was stored.
    pub time: Time,
    /// Its headers, without those that the server adds to its answer.
    pub headers: HeaderMap,
    /// Its payload.
    pub payload: Bytes,
}

/// Which message to get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// The first one whose fields are there is read.
#[serde(untagged)]
#[non_exhaustive]
pub enum GetRequest {
    /// The first one of a subject, which may hold wildcards, from a sequence on.
    Next {
        /// The first sequence that will do. Zero is as one.
        #[serde(default, skip_serializing_if = "is_default")]
        seq: u64,
        /// The subject.
        next_by_subj: String,
    },
    /// The last one of a subject, which may hold wildcards.
    Last {
        /// The subject.
        last_by_subj: String,
    },
    /// That of a sequence.
    Sequence {
        /// Which.
        seq: u64,
    },
}

impl GetRequest {
    /// Checks it for what no server would take.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when its subject is none.
    pub fn check(&self) -> Result<(), ConfigError> {
        match self {
            Self::Next { next_by_subj, .. } => subject("next_by_subj", next_by_subj),
            Self::Last { last_by_subj } => subject("last_by_subj", last_by_subj),
            Self::Sequence { .. } => Ok(()),
        }
    }
}

/// The answer to a request for a message that the leader of the stream gives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetReply {
    message: Raw,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Raw {
    subject: String,
    seq: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "base64")]
    hdrs: Vec<u8>,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "base64")]
    data: Vec<u8>,
    time: Time,
}

impl GetReply {
    /// The message.
    #[must_use]
    pub fn into_message(self) -> StoredMessage {
        let Raw { subject, seq, hdrs, data, time } = self.message;
        StoredMessage {
            subject,
            sequence: seq,
            time,
            headers: Headers::from_block(&hdrs).to_map(),
            payload: data.into(),
        }
    }
}

/// A request to delete a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteMessageRequest {
    /// Its sequence.
    pub seq: u64,
    /// What it holds is not overwritten in storage.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_erase: bool,
}

/// A request to purge a stream (ADR-10).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeRequest {
    /// Only what is before this sequence goes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seq: u64,
    /// Only messages of this subject, which may hold wildcards, go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// So many of the last ones stay. Not together with `seq`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep: u64,
}

impl PurgeRequest {
    /// Checks it for what no server would take, and for an empty filter: servers take that for
    /// none, and delete everything.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the field.
    pub fn check(&self) -> Result<(), ConfigError> {
        optional_subject("filter", self.filter.as_deref())?;
        conflict("keep", self.keep > 0, "seq", self.seq > 0)
    }
}

/// The answer to a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Purged {
    /// Messages that went.
    pub purged: u64,
}

/// The answer to a request that has none but its success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Done {
    /// It was done.
    #[serde(default)]
    pub success: bool,
}

/// Bytes as text.
mod base64 {
    use alloc::borrow::Cow;

    use super::{Deserialize, Deserializer, Serializer, Vec};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&data_encoding::BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = Option::<Cow<'de, str>>::deserialize(from)?;
        let Some(text) = text else { return Ok(Vec::new()) };
        data_encoding::BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}
