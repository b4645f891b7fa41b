//! What an account may use of JetStream, and does.

use alloc::collections::BTreeMap;
use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::wire::{limit, or_default, text};

/// What an account uses of JetStream, and may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccountInfo {
    /// In all, with the limits of an account without tiers.
    #[serde(flatten)]
    pub total: AccountTier,
    /// The domain that answered.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub domain: Option<String>,
    /// The API.
    #[serde(default)]
    pub api: ApiStatistics,
    /// By tier, such as `R3`, for accounts that have limits by the number of replicas.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub tiers: BTreeMap<String, AccountTier>,
}

/// What is used, and may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccountTier {
    /// Bytes in memory.
    #[serde(default)]
    pub memory: u64,
    /// Bytes in files.
    #[serde(default)]
    pub storage: u64,
    /// Bytes in memory that streams have reserved by `max_bytes`. Since 2.10.
    #[serde(default)]
    pub reserved_memory: u64,
    /// Bytes in files that streams have reserved by `max_bytes`. Since 2.10.
    #[serde(default)]
    pub reserved_storage: u64,
    /// Streams.
    #[serde(default)]
    pub streams: u64,
    /// Consumers.
    #[serde(default)]
    pub consumers: u64,
    /// What may be used.
    #[serde(default)]
    pub limits: AccountLimits,
}

/// What may be used of JetStream. `None`: without limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AccountLimits {
    /// Bytes in memory.
    #[serde(default, with = "limit")]
    pub max_memory: Option<u64>,
    /// Bytes in files.
    #[serde(default, with = "limit")]
    pub max_storage: Option<u64>,
    /// Streams.
    #[serde(default, with = "limit")]
    pub max_streams: Option<u64>,
    /// Consumers.
    #[serde(default, with = "limit")]
    pub max_consumers: Option<u64>,
    /// Messages of one consumer that are not acknowledged.
    #[serde(default, with = "limit")]
    pub max_ack_pending: Option<u64>,
    /// Bytes of one stream in memory.
    #[serde(default, with = "limit")]
    pub memory_max_stream_bytes: Option<u64>,
    /// Bytes of one stream in files.
    #[serde(default, with = "limit")]
    pub storage_max_stream_bytes: Option<u64>,
    /// Each stream must have `max_bytes`.
    #[serde(default)]
    pub max_bytes_required: bool,
}

/// What the API is, and was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApiStatistics {
    /// What it can do (ADR-44): 0 is 2.10 or older, 1 is 2.11, 2 is 2.12, 4 is 2.14, 5 is 2.15.
    #[serde(default)]
    pub level: u32,
    /// Requests of the account.
    #[serde(default)]
    pub total: u64,
    /// Those that were refused.
    #[serde(default)]
    pub errors: u64,
    /// Those that are being answered.
    #[serde(default, skip_serializing_if = "crate::wire::is_default")]
    pub inflight: u64,
}
