//! Typed payloads as JSON, with the feature `serde`.
//!
//! ```
//! use midge::json::{Json, ReadJson};
//! use midge::Message;
//! # use midge::Subject;
//!
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let payload = Json::new(&("kettle", 98))?; // client.publish("temperature", payload)
//! # let subject = Subject::new("temperature")?;
//! # let message = Message::from_parts(subject.borrowed(), None, None, payload.as_ref());
//! let (place, degrees): (&str, u32) = message.json()?;
//! assert_eq!((place, degrees), ("kettle", 98));
//! # Ok(())
//! # }
//! # example().unwrap();
//! ```

use bytes::Bytes;
use midge_proto::Message;
use serde::{Deserialize, Serialize};

/// A value that has no JSON form.
#[derive(Debug, thiserror::Error)]
#[error("the value cannot be written as JSON: {0}")]
pub struct EncodeError(serde_json::Error);

/// A payload that is not JSON, or not of the type asked for.
#[derive(Debug, thiserror::Error)]
#[error("the payload of the message on {subject:?} is not the JSON expected: {error}")]
pub struct DecodeError {
    subject: String,
    error: serde_json::Error,
}

impl DecodeError {
    /// The subject of the message.
    pub fn subject(&self) -> &str {
        &self.subject
    }
}

/// A value, encoded as JSON: a payload for publishes, requests and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(Bytes);

impl Json {
    /// Encodes `value`.
    ///
    /// # Errors
    ///
    /// [`EncodeError`], for example for a map whose keys are not texts.
    pub fn new<T: Serialize + ?Sized>(value: &T) -> Result<Self, EncodeError> {
        serde_json::to_vec(value).map(|json| Self(json.into())).map_err(EncodeError)
    }

    /// The text.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl AsRef<[u8]> for Json {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Reading payloads that are JSON: of messages, and of entries of the key-value store.
pub trait ReadJson {
    /// Says what is wrong and where.
    type Error;

    /// The payload as a value, which may borrow from the message.
    ///
    /// # Errors
    ///
    /// When it is none; the message is as it was.
    fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Self::Error>;
}

impl ReadJson for Message {
    type Error = DecodeError;

    fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, DecodeError> {
        serde_json::from_slice(self.payload())
            .map_err(|error| DecodeError { subject: self.subject().to_owned(), error })
    }
}
