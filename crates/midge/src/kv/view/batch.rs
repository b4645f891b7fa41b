//! Several keys of a view that are written all together or not at all.

use std::collections::BTreeMap;
use std::fmt;
use std::future::IntoFuture;
use std::time::Duration;

use bytes::Bytes;
use midge_jetstream::kv::{KeyCodec, ValueCodec};

use super::super::Boxed;
use super::super::batch::{WriteBatch, WriteBatchError};
use super::{CodingError, View, ViewError};

impl<K: KeyCodec, V: ValueCodec> View<K, V> {
    /// Writes several keys all together or not at all, as [`KeyValue::batch`](super::KeyValue::batch).
    /// `.await` gives `Result<BTreeMap<String, u64>, ViewError<WriteBatchError>>`: the new revision of
    /// each key. What has no form in the bucket is an error of the whole batch, of which nothing is
    /// sent then.
    pub fn batch(&self) -> ViewBatch<'_, K, V> {
        ViewBatch { view: self, batch: self.kv.batch(), keys: BTreeMap::new(), failure: None }
    }
}

/// Keys that are about to be written together. Made by [`View::batch`].
#[must_use = "nothing is stored until `.await`"]
pub struct ViewBatch<'a, K, V> {
    view: &'a View<K, V>,
    batch: WriteBatch<'a>,
    /// Keys of the caller, by those of the bucket.
    keys: BTreeMap<String, String>,
    /// What has no form in the bucket, first.
    failure: Option<CodingError>,
}

impl<'a, K: KeyCodec, V: ValueCodec> ViewBatch<'a, K, V> {
    fn add(
        mut self,
        key: &str,
        add: impl FnOnce(WriteBatch<'a>, String) -> WriteBatch<'a>,
    ) -> Self {
        match self.view.encode_key(key) {
            Ok(stored) => {
                self.batch = add(self.batch, stored.clone());
                self.keys.insert(stored, key.to_owned());
            }
            Err(error) => drop(self.failure.get_or_insert(error)),
        }
        self
    }

    fn add_value(
        mut self,
        key: &str,
        value: &V::Input,
        add: impl FnOnce(WriteBatch<'a>, String, Bytes) -> WriteBatch<'a>,
    ) -> Self {
        match self.view.encode_value(key, value) {
            Ok(value) => self.add(key, |batch, stored| add(batch, stored, value)),
            Err(error) => {
                self.failure.get_or_insert(error);
                self
            }
        }
    }

    /// Gives a key a value, whatever it has.
    pub fn put(self, key: &str, value: &V::Input) -> Self {
        self.add_value(key, value, WriteBatch::put)
    }

    /// Gives a key a value, if it has none, as [`WriteBatch::create`].
    pub fn create(self, key: &str, value: &V::Input) -> Self {
        self.add_value(key, value, WriteBatch::create)
    }

    /// Gives a key a value, if this is its last revision.
    pub fn update(self, key: &str, value: &V::Input, revision: u64) -> Self {
        self.add_value(key, value, |batch, key, value| batch.update(key, value, revision))
    }

    /// Deletes a key, whatever it has.
    pub fn delete(self, key: &str) -> Self {
        self.add(key, WriteBatch::delete)
    }

    /// Deletes a key, if this is its last revision.
    pub fn delete_at(self, key: &str, revision: u64) -> Self {
        self.add(key, |batch, key| batch.delete_at(key, revision))
    }

    /// Deletes a key and its history, whatever it has.
    pub fn purge(self, key: &str) -> Self {
        self.add(key, WriteBatch::purge)
    }

    /// Deletes a key and its history, if this is its last revision.
    pub fn purge_at(self, key: &str, revision: u64) -> Self {
        self.add(key, |batch, key| batch.purge_at(key, revision))
    }

    /// What was added last goes after this time, as [`WriteBatch::ttl`].
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { batch: self.batch.ttl(ttl), ..self }
    }

    /// The longest wait for each word of the server, as [`WriteBatch::timeout`].
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { batch: self.batch.timeout(timeout), ..self }
    }
}

/// Gives an error the keys of the caller.
fn named(keys: &BTreeMap<String, String>, mut error: WriteBatchError) -> WriteBatchError {
    let name = |key: &mut String| {
        if let Some(of_caller) = keys.get(key) {
            key.clone_from(of_caller);
        }
    };
    match &mut error {
        WriteBatchError::Twice { key }
        | WriteBatchError::TooLarge { key, .. }
        | WriteBatchError::Ttl { key }
        | WriteBatchError::Headers { key, .. } => name(key),
        WriteBatchError::WrongRevision { differing, .. } => {
            differing.iter_mut().for_each(|one| name(&mut one.key));
        }
        _ => {}
    }
    error
}

impl<'a, K, V> IntoFuture for ViewBatch<'a, K, V> {
    type Output = Result<BTreeMap<String, u64>, ViewError<WriteBatchError>>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { batch, mut keys, failure, .. } = self;
        Box::pin(async move {
            if let Some(error) = failure {
                return Err(error.into());
            }
            match batch.await {
                Ok(revisions) => {
                    let of_caller = |(key, revision)| (keys.remove(&key).unwrap_or(key), revision);
                    Ok(revisions.into_iter().map(of_caller).collect())
                }
                Err(error) => Err(ViewError::Bucket(named(&keys, error))),
            }
        })
    }
}

impl<K, V> fmt::Debug for ViewBatch<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewBatch").field("keys", &self.keys).finish_non_exhaustive()
    }
}
