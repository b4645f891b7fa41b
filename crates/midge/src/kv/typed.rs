//! Values as JSON, with the feature `serde`.

use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use midge_jetstream::kv::{CodecError, Entry, PlainKeys, ValueCodec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::KeyValue;
use super::view::View;
use crate::json::{Json, ReadJson};

/// A value that is not JSON, or not of the type asked for.
#[derive(Debug, thiserror::Error)]
#[error("revision {revision} of {key:?} is not the JSON expected: {error}")]
pub struct ValueError {
    key: String,
    revision: u64,
    error: serde_json::Error,
}

impl ValueError {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The revision.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

impl ReadJson for Entry {
    type Error = ValueError;

    fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, ValueError> {
        let (key, revision) = (self.key(), self.revision());
        serde_json::from_slice(self.value()).map_err(|error| ValueError {
            key: key.to_owned(),
            revision,
            error,
        })
    }
}

/// Values of a type as JSON.
pub struct JsonValues<T>(PhantomData<fn(&T) -> T>);

impl<T> JsonValues<T> {
    /// The codec.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for JsonValues<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for JsonValues<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JsonValues")
    }
}

impl<T: Serialize + DeserializeOwned> ValueCodec for JsonValues<T> {
    type Input = T;
    type Value = T;

    fn encode(&self, value: &T) -> Result<Bytes, CodecError> {
        let json = Json::new(value).map_err(|error| CodecError::new(error.to_string()))?;
        Ok(json.into_bytes())
    }

    fn decode(&self, stored: Bytes) -> Result<T, CodecError> {
        let value = serde_json::from_slice(&stored);
        value.map_err(|error| CodecError::new(format!("it is not the JSON expected: {error}")))
    }
}

impl KeyValue {
    /// The bucket, of which the values are JSON of one type.
    ///
    /// Where types differ from key to key, give [`Json`] to [`put`](Self::put) and read with
    /// [`ReadJson`]; a value may borrow from its entry then.
    ///
    /// ```no_run
    /// # async fn example(kv: midge::kv::KeyValue) -> Result<(), Box<dyn std::error::Error>> {
    /// let visits = kv.typed::<u64>();
    /// visits.put("sue", &1).await?;
    /// visits.change("sue", |entry| Some(entry.and_then(|entry| entry.value).unwrap_or(0) + 1)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn typed<T: Serialize + DeserializeOwned>(&self) -> View<PlainKeys, JsonValues<T>> {
        self.view(PlainKeys, JsonValues::new())
    }
}
