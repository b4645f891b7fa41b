//! Deleting and purging keys.

use std::future::IntoFuture;

use midge_jetstream::kv::{KeyError, Operation, check_key};
use midge_jetstream::{ApiError, Rollup};

use super::write::{Options, TooLarge, Unwritten, expect_option, timeout_option, ttl_option};
use super::{Boxed, KeyValue};
use crate::jetstream::{FeatureError, JetPublishError};

/// Why a key is not known to be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteError {
    /// It cannot be a key. Nothing was sent.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The bucket takes less than a marker has. Nothing was sent.
    #[error(
        "the marker of a deleted key does not fit: {0}. Give the bucket a larger max_value_size"
    )]
    TooLarge(#[from] TooLarge),
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
        Delete { kv: self, key, options: Options::default() }
    }

    /// Deletes a key and its history: a marker alone is left. `.await` gives
    /// `Result<u64, DeleteError>`: the revision of the marker.
    pub fn purge<'a>(&'a self, key: &'a str) -> Purge<'a> {
        Purge { kv: self, key, options: Options::default() }
    }

    /// Deletes or purges what is a key by the rules, or by what others have written.
    pub(super) async fn remove(
        &self,
        key: &str,
        operation: Operation,
        options: Options,
    ) -> Result<u64, DeleteError> {
        let publish = self.js().publish(self.bucket.subjects.written(key), &[][..]);
        let publish = publish.header("KV-Operation", operation.as_str());
        let publish = match operation {
            Operation::Purge => publish.rollup(Rollup::Subject),
            _ => publish,
        };
        self.check_ttl(options).await?;
        self.send(key, 0, publish, options).await.map_err(|error| match error {
            Unwritten::TooLarge(error) => error.into(),
            Unwritten::WrongRevision(expected, error) => {
                DeleteError::WrongRevision { key: key.to_owned(), expected, error }
            }
            Unwritten::Publish(error) => error.into(),
        })
    }
}

/// A key that is about to be deleted. Made by [`KeyValue::delete`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is deleted until `.await`"]
pub struct Delete<'a> {
    kv: &'a KeyValue,
    key: &'a str,
    options: Options,
}

impl Delete<'_> {
    expect_option!();
    timeout_option!();
}

impl<'a> IntoFuture for Delete<'a> {
    type Output = Result<u64, DeleteError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { kv, key, options } = self;
        Box::pin(async move {
            check_key(key)?;
            kv.remove(key, Operation::Delete, options).await
        })
    }
}

/// A key that is about to be purged. Made by [`KeyValue::purge`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is purged until `.await`"]
pub struct Purge<'a> {
    kv: &'a KeyValue,
    key: &'a str,
    options: Options,
}

impl Purge<'_> {
    expect_option!();
    ttl_option!("The marker goes");
    timeout_option!();
}

impl<'a> IntoFuture for Purge<'a> {
    type Output = Result<u64, DeleteError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { kv, key, options } = self;
        Box::pin(async move {
            check_key(key)?;
            kv.remove(key, Operation::Purge, options).await
        })
    }
}
