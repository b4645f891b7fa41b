//! Streams that a stream copies.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::config::SubjectTransform;
use crate::time::Time;
use crate::wire::{is_default, or_default, text, time};

/// A stream that is mirrored, or is a source (ADR-59).
///
/// End a literal with `..StreamSource::new("origin")`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSource {
    /// Its name.
    pub name: String,
    /// The first sequence that is copied. Zero: the first there is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub opt_start_seq: u64,
    /// What is copied is not older.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub opt_start_time: Option<Time>,
    /// Only messages of these subjects are copied.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub filter_subject: Option<String>,
    /// How subjects are changed; what no one names is not copied. Not together with
    /// `filter_subject`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub subject_transforms: Vec<SubjectTransform>,
    /// Where it is, if it is in another account or domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// The durable consumer that it is read through, which must exist (ADR-60). API level 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<SourceConsumer>,
}

impl StreamSource {
    /// All of a stream of the same account.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// Where a stream of another account or domain is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct External {
    /// The prefix of its API, such as `$JS.hub.API`.
    #[serde(default)]
    pub api: String,
    /// The prefix of subjects that messages are delivered on.
    #[serde(default)]
    pub deliver: String,
}

/// The durable consumer that a source is read through (ADR-60).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceConsumer {
    /// Its name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The subject that it delivers on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub deliver_subject: String,
}
