//! A bucket whose keys and values have another form for the caller (ADR-54).

mod batch;
mod cache;
mod reading;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use midge_jetstream::kv::{BucketName, CodecError, Entry, KeyCodec, ValueCodec};

use super::change::{self, ChangeError};
use super::get::{Get, GetError};
use super::many::GetManyError;
use super::put::{Create, CreateError, Put, PutError, Update, UpdateError};
use super::remove::{Delete, DeleteError, Purge};
use super::{KeyValue, watch};

pub use batch::ViewBatch;
pub use cache::ViewCache;
pub use reading::{HistoryError, ViewKeys, ViewWatch, ViewWatchItem};

/// A key or value that has no other form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodingError {
    /// The key, or filter of keys, has no form in the bucket. Nothing was sent.
    #[error("{key:?} has no form in the bucket: {error}")]
    EncodeKey {
        /// The key or filter.
        key: String,
        /// Why.
        error: CodecError,
    },
    /// The value has no form in the bucket. Nothing was stored.
    #[error("the value for {key:?} has no form in the bucket: {error}")]
    EncodeValue {
        /// The key.
        key: String,
        /// Why.
        error: CodecError,
    },
    /// The bucket has a key that no key is encoded to, as by somebody without the codec.
    #[error("bucket {bucket} has the key {stored:?}, which cannot be decoded: {error}")]
    DecodeKey {
        /// The bucket.
        bucket: BucketName,
        /// The key as it is in the bucket.
        stored: String,
        /// Its revision.
        revision: u64,
        /// Why.
        error: CodecError,
    },
    /// The bucket has a value that cannot be decoded.
    #[error("revision {revision} of {key:?} cannot be decoded: {error}")]
    DecodeValue {
        /// The key.
        key: String,
        /// Its revision.
        revision: u64,
        /// Why.
        error: CodecError,
    },
}

/// Why a call of a [`View`] failed. Where an error of the bucket names a key, it is the key of the
/// caller, but in a [`KeyError`](super::KeyError): that one says what the codec has made of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ViewError<E: std::error::Error> {
    /// By its codecs.
    #[error(transparent)]
    Coding(#[from] CodingError),
    /// By the bucket.
    #[error(transparent)]
    Bucket(E),
}

impl<E: std::error::Error> ViewError<E> {
    /// What the bucket failed by, if it did.
    pub fn bucket(&self) -> Option<&E> {
        match self {
            Self::Bucket(error) => Some(error),
            Self::Coding(_) => None,
        }
    }
}

/// A revision of a key, decoded.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ViewEntry<T> {
    /// The key.
    pub key: String,
    /// The value; `None` when the revision deletes its key, and in a watch of metadata alone.
    pub value: Option<T>,
    /// As it is in the bucket.
    pub entry: Entry,
}

/// A bucket, seen through a codec of keys and one of values. Made by [`KeyValue::view`].
///
/// Keys and filters go in as the caller has them, and come out so. What somebody has written without
/// the codecs is an error where it is met, and does not end a list or watch.
///
/// A clone is cheap, and is the same view. What only the bucket itself has, such as
/// [`delete_matching`](KeyValue::delete_matching), is had with [`encode_key`](Self::encode_key),
/// [`encode_filter`](Self::encode_filter) and [`decode`](Self::decode).
pub struct View<K, V> {
    kv: KeyValue,
    codecs: Arc<(K, V)>,
}

impl<K, V> Clone for View<K, V> {
    fn clone(&self) -> Self {
        Self { kv: self.kv.clone(), codecs: self.codecs.clone() }
    }
}

impl<K, V> fmt::Debug for View<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("bucket", self.kv.name()).finish_non_exhaustive()
    }
}

impl KeyValue {
    /// The bucket, seen through codecs.
    ///
    /// ```no_run
    /// use midge::kv::{Base64Keys, PlainValues};
    ///
    /// # async fn example(kv: midge::kv::KeyValue) -> Result<(), Box<dyn std::error::Error>> {
    /// let people = kv.view(Base64Keys, PlainValues);
    /// people.put("Zoë Müller.mail", b"zoe@example.com").await?;
    /// if let Some(entry) = people.get("Zoë Müller.mail").await? {
    ///     println!("{}: {:?}", entry.key, entry.value);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn view<K: KeyCodec, V: ValueCodec>(&self, keys: K, values: V) -> View<K, V> {
        View { kv: self.clone(), codecs: Arc::new((keys, values)) }
    }
}

impl<K: KeyCodec, V: ValueCodec> View<K, V> {
    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &KeyValue {
        &self.kv
    }

    /// A key as it is in the bucket.
    ///
    /// # Errors
    ///
    /// [`CodingError::EncodeKey`].
    pub fn encode_key(&self, key: &str) -> Result<String, CodingError> {
        let encoded = self.codecs.0.encode(key);
        encoded.map_err(|error| CodingError::EncodeKey { key: key.to_owned(), error })
    }

    /// A filter of keys as it is for the bucket.
    ///
    /// # Errors
    ///
    /// [`CodingError::EncodeKey`].
    pub fn encode_filter(&self, filter: &str) -> Result<String, CodingError> {
        let encoded = self.codecs.0.encode_filter(filter);
        encoded.map_err(|error| CodingError::EncodeKey { key: filter.to_owned(), error })
    }

    fn encode_filters<F: AsRef<str>>(
        &self,
        filters: impl IntoIterator<Item = F>,
    ) -> Result<Vec<String>, CodingError> {
        filters.into_iter().map(|filter| self.encode_filter(filter.as_ref())).collect()
    }

    /// The bytes of a value in the bucket.
    ///
    /// # Errors
    ///
    /// [`CodingError::EncodeValue`], which names the key.
    pub fn encode_value(&self, key: &str, value: &V::Input) -> Result<Bytes, CodingError> {
        let encoded = self.codecs.1.encode(value);
        encoded.map_err(|error| CodingError::EncodeValue { key: key.to_owned(), error })
    }

    /// A revision of the bucket, decoded.
    ///
    /// # Errors
    ///
    /// [`CodingError::DecodeKey`] and [`CodingError::DecodeValue`].
    pub fn decode(&self, entry: Entry) -> Result<ViewEntry<V::Value>, CodingError> {
        let key = self.decode_key(&entry)?;
        if !entry.is_put() {
            return Ok(ViewEntry { key, value: None, entry });
        }
        match self.codecs.1.decode(entry.clone().into_value()) {
            Ok(value) => Ok(ViewEntry { key, value: Some(value), entry }),
            Err(error) => Err(CodingError::DecodeValue { key, revision: entry.revision(), error }),
        }
    }

    fn decode_key(&self, entry: &Entry) -> Result<String, CodingError> {
        self.codecs.0.decode(entry.key()).map_err(|error| CodingError::DecodeKey {
            bucket: entry.bucket().clone(),
            stored: entry.key().to_owned(),
            revision: entry.revision(),
            error,
        })
    }

    // ---- reading -------------------------------------------------------------------------

    /// Gets the last revision of a key, as [`KeyValue::get`].
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn get(&self, key: &str) -> Result<Option<ViewEntry<V::Value>>, ViewError<GetError>> {
        self.get_as(key, |get| get).await
    }

    /// Gets a revision of a key with options of [`Get`]: `|get| get.at(7)`.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn get_as(
        &self,
        key: &str,
        options: impl for<'a> FnOnce(Get<'a>) -> Get<'a>,
    ) -> Result<Option<ViewEntry<V::Value>>, ViewError<GetError>> {
        let stored = self.encode_key(key)?;
        let entry = options(self.kv.get(&stored)).await.map_err(ViewError::Bucket)?;
        Ok(entry.map(|entry| self.decode(entry)).transpose()?)
    }

    /// Gets the last revisions of many keys, as [`KeyValue::get_many`]. A value that cannot be decoded
    /// is an error in its place.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn get_many<Q: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = Q>,
    ) -> Result<Vec<Result<Option<ViewEntry<V::Value>>, CodingError>>, ViewError<GetManyError>>
    {
        let stored = keys.into_iter().map(|key| self.encode_key(key.as_ref()));
        let stored = stored.collect::<Result<Vec<_>, _>>()?;
        let entries = self.kv.get_many(stored).await.map_err(ViewError::Bucket)?;
        let decode = |entry: Option<Entry>| entry.map(|entry| self.decode(entry)).transpose();
        Ok(entries.into_iter().map(decode).collect())
    }

    // ---- writing -------------------------------------------------------------------------

    /// Gives a key a value, as [`KeyValue::put`].
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn put(&self, key: &str, value: &V::Input) -> Result<u64, ViewError<PutError>> {
        self.put_as(key, value, |put| put).await
    }

    /// The same with options of [`Put`]: `|put| put.timeout(second)`.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn put_as(
        &self,
        key: &str,
        value: &V::Input,
        options: impl for<'a> FnOnce(Put<'a, Bytes>) -> Put<'a, Bytes>,
    ) -> Result<u64, ViewError<PutError>> {
        let (stored, value) = (self.encode_key(key)?, self.encode_value(key, value)?);
        options(self.kv.put(&stored, value)).await.map_err(ViewError::Bucket)
    }

    /// Gives a key a value if it has none, as [`KeyValue::create`], for as long as `ttl` if there is
    /// one.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn create(
        &self,
        key: &str,
        value: &V::Input,
        ttl: Option<Duration>,
    ) -> Result<u64, ViewError<CreateError>> {
        let create = self.create_as(key, value, |create| match ttl {
            Some(ttl) => create.ttl(ttl),
            None => create,
        });
        create.await
    }

    /// The same with options of [`Create`]: `|create| create.ttl(minute).timeout(second)`.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn create_as(
        &self,
        key: &str,
        value: &V::Input,
        options: impl for<'a> FnOnce(Create<'a, Bytes>) -> Create<'a, Bytes>,
    ) -> Result<u64, ViewError<CreateError>> {
        let (stored, value) = (self.encode_key(key)?, self.encode_value(key, value)?);
        options(self.kv.create(&stored, value)).await.map_err(|mut error| {
            if let CreateError::Exists { key: named, .. } | CreateError::Contended { key: named } =
                &mut error
            {
                key.clone_into(named);
            }
            ViewError::Bucket(error)
        })
    }

    /// Gives a key a value if this is its last revision, as [`KeyValue::update`].
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn update(
        &self,
        key: &str,
        value: &V::Input,
        revision: u64,
    ) -> Result<u64, ViewError<UpdateError>> {
        self.update_as(key, value, revision, |update| update).await
    }

    /// The same with options of [`Update`].
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn update_as(
        &self,
        key: &str,
        value: &V::Input,
        revision: u64,
        options: impl for<'a> FnOnce(Update<'a, Bytes>) -> Update<'a, Bytes>,
    ) -> Result<u64, ViewError<UpdateError>> {
        let (stored, value) = (self.encode_key(key)?, self.encode_value(key, value)?);
        options(self.kv.update(&stored, value, revision)).await.map_err(|mut error| {
            if let UpdateError::WrongRevision { key: named, .. } = &mut error {
                key.clone_into(named);
            }
            ViewError::Bucket(error)
        })
    }

    /// Gives a key a value that depends on what it has, as [`KeyValue::change`]. A value that cannot be
    /// decoded, or encoded, changes nothing.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn change<T: std::borrow::Borrow<V::Input>>(
        &self,
        key: &str,
        function: impl FnMut(Option<ViewEntry<V::Value>>) -> Option<T> + Send,
    ) -> Result<Option<u64>, ViewError<ChangeError>>
    where
        K: Send + Sync,
        V: Send + Sync,
    {
        self.change_within(change::ATTEMPTS, key, function).await
    }

    /// The same, tried so often at most, as [`Change::attempts`](super::Change::attempts).
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn change_within<T: std::borrow::Borrow<V::Input>>(
        &self,
        attempts: u32,
        key: &str,
        mut function: impl FnMut(Option<ViewEntry<V::Value>>) -> Option<T> + Send,
    ) -> Result<Option<u64>, ViewError<ChangeError>>
    where
        K: Send + Sync,
        V: Send + Sync,
    {
        let stored = self.encode_key(key)?;
        let mut failure = None;
        let change = self.kv.change(&stored, |entry| {
            let changed = entry.map(|entry| self.decode(entry.clone())).transpose();
            let changed = changed.and_then(|entry| {
                let value = function(entry);
                value.map(|value| self.encode_value(key, value.borrow())).transpose()
            });
            changed.unwrap_or_else(|error| {
                failure = Some(error);
                None
            })
        });
        let changed = change.attempts(attempts).await;
        if let Some(error) = failure {
            return Err(error.into());
        }
        changed.map_err(|mut error| {
            if let ChangeError::Contended { key: named, .. } = &mut error {
                key.clone_into(named);
            }
            ViewError::Bucket(error)
        })
    }

    /// Deletes a key, as [`KeyValue::delete`]; with a revision, only if that is its last one.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn delete(
        &self,
        key: &str,
        expected: Option<u64>,
    ) -> Result<u64, ViewError<DeleteError>> {
        let delete = self.delete_as(key, |delete| match expected {
            Some(revision) => delete.expect_revision(revision),
            None => delete,
        });
        delete.await
    }

    /// The same with options of [`Delete`].
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn delete_as(
        &self,
        key: &str,
        options: impl for<'a> FnOnce(Delete<'a>) -> Delete<'a>,
    ) -> Result<u64, ViewError<DeleteError>> {
        let stored = self.encode_key(key)?;
        options(self.kv.delete(&stored)).await.map_err(|error| deleting(key, error))
    }

    /// Deletes a key and its history, as [`KeyValue::purge`]; with a revision, only if that is its last
    /// one.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn purge(
        &self,
        key: &str,
        expected: Option<u64>,
    ) -> Result<u64, ViewError<DeleteError>> {
        let purge = self.purge_as(key, |purge| match expected {
            Some(revision) => purge.expect_revision(revision),
            None => purge,
        });
        purge.await
    }

    /// The same with options of [`Purge`]: `|purge| purge.ttl(hour)`.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn purge_as(
        &self,
        key: &str,
        options: impl for<'a> FnOnce(Purge<'a>) -> Purge<'a>,
    ) -> Result<u64, ViewError<DeleteError>> {
        let stored = self.encode_key(key)?;
        options(self.kv.purge(&stored)).await.map_err(|error| deleting(key, error))
    }
}

fn deleting(key: &str, mut error: DeleteError) -> ViewError<DeleteError> {
    if let DeleteError::WrongRevision { key: named, .. } = &mut error {
        key.clone_into(named);
    }
    ViewError::Bucket(error)
}
