//! A copy of a bucket in memory that is seen through codecs.

use std::fmt;

use midge_jetstream::kv::{KeyCodec, ValueCodec};

use super::super::cache::{Cache, CacheError, CacheStatus, CacheWait};
use super::{CodingError, View, ViewEntry, ViewError};

impl<K: KeyCodec, V: ValueCodec> View<K, V> {
    /// A copy of the whole bucket in memory, which is kept current, as
    /// [`KeyValue::cache`](super::KeyValue::cache).
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn cache(&self) -> Result<ViewCache<K, V>, ViewError<CacheError>> {
        self.cache_of([">"]).await
    }

    /// A copy of the keys that match any of the filters, as
    /// [`KeyValue::cache_of`](super::KeyValue::cache_of).
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn cache_of<F: AsRef<str>>(
        &self,
        filters: impl IntoIterator<Item = F>,
    ) -> Result<ViewCache<K, V>, ViewError<CacheError>> {
        let filters = self.encode_filters(filters)?;
        let cache = self.kv.cache_of(filters).await.map_err(ViewError::Bucket)?;
        Ok(ViewCache { view: self.clone(), cache })
    }
}

/// A [`Cache`] of a [`View`]: bytes are kept, and decoded each time that they are read.
///
/// A clone is cheap, and is the same copy.
pub struct ViewCache<K, V> {
    view: View<K, V>,
    cache: Cache,
}

impl<K, V> Clone for ViewCache<K, V> {
    fn clone(&self) -> Self {
        Self { view: self.view.clone(), cache: self.cache.clone() }
    }
}

impl<K, V> ViewCache<K, V> {
    /// The copy, as it is in the bucket.
    #[must_use]
    pub fn stored(&self) -> &Cache {
        &self.cache
    }

    /// How good it is at the moment.
    #[must_use]
    pub fn status(&self) -> CacheStatus {
        self.cache.status()
    }

    /// Waits until all has come that was there when it began, as [`Cache::completed`].
    pub fn completed(&self) -> CacheWait {
        self.cache.completed()
    }

    /// Waits until it has come to a revision, as [`Cache::wait_for`].
    pub fn wait_for(&self, revision: u64) -> CacheWait {
        self.cache.wait_for(revision)
    }

    /// Ends it, as [`Cache::stop`].
    pub fn stop(&self) {
        self.cache.stop();
    }
}

impl<K: KeyCodec, V: ValueCodec> ViewCache<K, V> {
    /// The last revision of a key, as [`Cache::get`].
    ///
    /// # Errors
    ///
    /// [`CodingError`].
    pub fn get(&self, key: &str) -> Result<Option<ViewEntry<V::Value>>, CodingError> {
        let entry = self.cache.get(&self.view.encode_key(key)?);
        entry.map(|entry| self.view.decode(entry)).transpose()
    }

    /// The last revision of each key that has a value, in the order that the keys have in the bucket,
    /// at one moment. What cannot be decoded is an error in its place.
    #[must_use]
    pub fn entries(&self) -> Vec<Result<ViewEntry<V::Value>, CodingError>> {
        let entries = self.cache.entries().into_iter();
        entries.map(|entry| self.view.decode(entry)).collect()
    }

    /// Every key that has a value, likewise.
    #[must_use]
    pub fn keys(&self) -> Vec<Result<String, CodingError>> {
        self.cache.entries().iter().map(|entry| self.view.decode_key(entry)).collect()
    }
}

impl<K, V> fmt::Debug for ViewCache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewCache").field("cache", &self.cache).finish_non_exhaustive()
    }
}
