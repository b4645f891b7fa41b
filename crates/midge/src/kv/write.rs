//! What all writes of one key have: options, how they are sent, what is said of them.

use std::time::Duration;

use midge_jetstream::{ApiError, ApiLevel, Need};
use midge_proto::HeaderMap;

use super::KeyValue;
use crate::jetstream::{FeatureError, JetPublishError, Publish};

const TTL: Need = Need::new("a TTL of a key", ApiLevel::V2_11);

/// The options of a write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub(super) expected: Option<u64>,
    pub(super) ttl: Option<Duration>,
    pub(super) timeout: Option<Duration>,
}

/// A value, or the marker of a key that is deleted, that is larger than what is taken, with the headers
/// that it is sent with: servers count them as they are on the wire, with the version line and the
/// empty line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[error(
    "a value of {size} bytes with headers of {headers} is too large: {limit} are taken at most, together"
)]
pub struct TooLarge {
    /// The size of the value in bytes; 0 for a marker.
    pub size: usize,
    /// The size of the headers in bytes; 0 where there are none, as for what is put.
    pub headers: usize,
    /// The most bytes of both: the `max_value_size` of the bucket. For several keys that are written
    /// together, the `max_payload` of the server if that is less.
    pub limit: usize,
}

impl TooLarge {
    pub(super) fn check(
        size: usize,
        headers: Option<&HeaderMap>,
        limit: Option<usize>,
    ) -> Result<(), Self> {
        let Some(limit) = limit else { return Ok(()) };
        let headers = headers.map_or(0, |headers| headers.as_bytes().len());
        if size.saturating_add(headers) <= limit {
            return Ok(());
        }
        Err(Self { size, headers, limit })
    }
}

/// Why a write is not known to be made.
pub(super) enum Unwritten {
    /// Nothing was sent.
    TooLarge(TooLarge),
    /// The last revision is another one than this, as the server says.
    WrongRevision(u64, ApiError),
    Publish(JetPublishError),
}

impl KeyValue {
    /// The most bytes that a message may have, headers and all.
    pub(super) fn limit(&self) -> Option<usize> {
        self.bucket.max_value_size.map(|limit| limit as usize)
    }

    /// Sends a write of a key, and gives its revision. The value has `size` bytes.
    pub(super) async fn send<P: AsRef<[u8]>>(
        &self,
        key: &str,
        size: usize,
        mut publish: Publish<'_, String, P>,
        options: Options,
    ) -> Result<u64, Unwritten> {
        if let Some(revision) = options.expected {
            publish = publish.expect_last_subject_sequence(revision);
        }
        if let Some(ttl) = options.ttl {
            publish = publish.ttl(ttl);
        }
        if let Some(timeout) = options.timeout {
            publish = publish.timeout(timeout);
        }
        // Headers that contradict themselves fail by themselves.
        if let Ok(headers) = publish.headers_so_far() {
            TooLarge::check(size, headers, self.limit()).map_err(Unwritten::TooLarge)?;
        }
        let error = match publish.await {
            Ok(ack) => {
                self.note_written(key, ack.seq);
                return Ok(ack.seq);
            }
            Err(error) => error,
        };
        let wrong = error.refusal().filter(|refusal| refusal.err_code.is_wrong_last_sequence());
        Err(match (wrong, options.expected) {
            (Some(refusal), Some(expected)) => Unwritten::WrongRevision(expected, refusal.clone()),
            _ => Unwritten::Publish(error),
        })
    }

    /// A TTL needs a server that knows it: others would keep the key.
    pub(super) async fn check_ttl(&self, options: Options) -> Result<(), FeatureError> {
        match options.ttl {
            Some(_) => self.js().call().require(Some(TTL)).await,
            None => Ok(()),
        }
    }
}

/// A method of a builder with `options`.
macro_rules! timeout_option {
    () => {
        /// How long to wait for the server, each time it is asked. Default: that of the
        /// [`JetStream`](crate::jetstream::JetStream).
        pub fn timeout(mut self, timeout: std::time::Duration) -> Self {
            self.options.timeout = Some(timeout);
            self
        }
    };
}

/// A method of a builder with `options`; says what goes after the time.
macro_rules! ttl_option {
    ($what:literal) => {
        #[doc = $what]
        /// after this time: whole seconds, at least one. The bucket must have a `limit_marker_ttl`;
        /// if it keeps a history, servers make a shorter time as long as that. API level 1.
        pub fn ttl(mut self, ttl: std::time::Duration) -> Self {
            self.options.ttl = Some(ttl);
            self
        }
    };
}

/// A method of a builder with `options`.
macro_rules! expect_option {
    () => {
        /// Only if this is its last revision.
        pub fn expect_revision(mut self, revision: u64) -> Self {
            self.options.expected = Some(revision);
            self
        }
    };
}

/// A method of errors, one of whose variants holds the error of a publish.
macro_rules! may_be_stored {
    ($($error:ident::$variant:ident),*) => {$(
        impl $error {
            /// Whether it may have been stored nevertheless.
            #[must_use]
            pub fn may_be_stored(&self) -> bool {
                matches!(self, Self::$variant(error) if error.may_be_stored())
            }
        }
    )*};
}

pub(super) use {expect_option, may_be_stored, timeout_option, ttl_option};
