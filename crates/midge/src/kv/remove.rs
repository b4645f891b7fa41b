//! Deleting and purging keys.

use std::future::IntoFuture;
use std::time::Duration;

use midge_jetstream::kv::{KeyError, Operation, check_key};
use midge_jetstream::{ApiError, Rollup};

use super::put::{TTL, wrong_revision};
use super::{Boxed, KeyValue};
use crate::jetstream::{FeatureError, JetPublishError, Publish};

/// Why a key is not known to be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// It cannot be a key. Nothing was sent.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The last revision of the key is another one. Nothing was done.
    #[error("the last revision of {key:?} is not {expected}: get it, and decide anew")]
    WrongRevision {
        /// The key.
        key: String,
        /// What was expected.
        expected: u64,
        /// The server's words.
        error: ApiError,
    },
    /// The server is too old for a TTL, or did not say. Nothing was sent.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// It was not done, or that is not known.
    #[error(transparent)]
    Publish(#[from] JetPublishError),
}

impl DeleteError {
    /// Whether the key may be deleted nevertheless.
    #[must_use]
    pub fn may_be_deleted(&self) -> bool {
        matches!(self, Self::Publish(error) if error.may_be_stored())
    }
}

impl KeyValue {
    /// Deletes a key: a marker follows its revisions, which stay in the history. `.await` gives
    /// `Result<u64, DeleteError>`: the revision of the marker. A key that has no value gets a marker
    /// too.
    pub fn delete<'a>(&'a self, key: &'a str) -> Delete<'a> {
        Delete { kv: self, key, expected: None, timeout: None }
    }

    /// Deletes a key and its history: a marker alone is left. `.await` gives
    /// `Result<u64, DeleteError>`: the revision of the marker.
    pub fn purge<'a>(&'a self, key: &'a str) -> Purge<'a> {
        Purge { kv: self, key, expected: None, ttl: None, timeout: None }
    }

    fn mark(
        &self,
        key: &str,
        operation: Operation,
    ) -> Result<Publish<'static, String, &'static [u8]>, DeleteError> {
        check_key(key)?;
        let publish = self.js().publish(self.bucket.subjects.written(key), &[][..]);
        Ok(publish.header("KV-Operation", operation.as_str()))
    }
}

async fn send(
    mut publish: Publish<'static, String, &'static [u8]>,
    key: &str,
    expected: Option<u64>,
    timeout: Option<Duration>,
) -> Result<u64, DeleteError> {
    if let Some(revision) = expected {
        publish = publish.expect_last_subject_sequence(revision);
    }
    if let Some(timeout) = timeout {
        publish = publish.timeout(timeout);
    }
    match publish.await {
        Ok(ack) => Ok(ack.seq),
        Err(error) => Err(match (wrong_revision(&error), expected) {
            (Some(error), Some(expected)) => {
                DeleteError::WrongRevision { key: key.to_owned(), expected, error }
            }
            _ => error.into(),
        }),
    }
}

/// A key that is about to be deleted. Made by [`KeyValue::delete`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is deleted until `.await`"]
pub struct Delete<'a> {
    kv: &'a KeyValue,
    key: &'a str,
    expected: Option<u64>,
    timeout: Option<Duration>,
}

impl Delete<'_> {
    /// Only if this is its last revision.
    pub fn expect_revision(mut self, revision: u64) -> Self {
        self.expected = Some(revision);
        self
    }

    /// How long to wait for the server. Default: that of the
    /// [`JetStream`](crate::jetstream::JetStream).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl<'a> IntoFuture for Delete<'a> {
    type Output = Result<u64, DeleteError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { kv, key, expected, timeout } = self;
        Box::pin(async move {
            let publish = kv.mark(key, Operation::Delete)?;
            send(publish, key, expected, timeout).await
        })
    }
}

/// A key that is about to be purged. Made by [`KeyValue::purge`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is purged until `.await`"]
pub struct Purge<'a> {
    kv: &'a KeyValue,
    key: &'a str,
    expected: Option<u64>,
    ttl: Option<Duration>,
    timeout: Option<Duration>,
}

impl Purge<'_> {
    /// Only if this is its last revision.
    pub fn expect_revision(mut self, revision: u64) -> Self {
        self.expected = Some(revision);
        self
    }

    /// The marker goes after this time: whole seconds, at least one. The bucket must have a
    /// `limit_marker_ttl`; if it keeps a history, servers make a shorter time as long as that. API
    /// level 1.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// How long to wait for the server. Default: that of the
    /// [`JetStream`](crate::jetstream::JetStream).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

impl<'a> IntoFuture for Purge<'a> {
    type Output = Result<u64, DeleteError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { kv, key, expected, ttl, timeout } = self;
        Box::pin(async move {
            let mut publish = kv.mark(key, Operation::Purge)?.rollup(Rollup::Subject);
            if let Some(ttl) = ttl {
                kv.js().call().require(Some(TTL)).await?;
                publish = publish.ttl(ttl);
            }
            send(publish, key, expected, timeout).await
        })
    }
}
