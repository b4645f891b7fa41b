//! What a reply of the API is: what was asked for, or an error.

use alloc::string::String;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::codes::ErrorCode;

/// JetStream's refusal (ADR-7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{description} (JetStream error {err_code}, code {code})")]
pub struct ApiError {
    /// The kind of error, after HTTP: 404 is what is not there, 503 what is not there for now.
    pub code: u16,
    /// What exactly it is. Decide by this.
    #[serde(default)]
    pub err_code: ErrorCode,
    /// The server's words for people. They change between releases.
    #[serde(default)]
    pub description: String,
}

/// A reply that is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The server refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The reply is not of the form expected. Whoever answered is no JetStream, or one that Midge
    /// does not understand; what was asked for may have been done.
    #[error("the reply is none of JetStream's API that is understood here: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// What every reply of the API has beside its own fields (ADR-1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Envelope {
    /// What the reply is, such as `io.nats.jetstream.api.v1.stream_info_response` (ADR-2).
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// Why there is nothing else.
    #[serde(default)]
    pub error: Option<ApiError>,
}

/// Reads a reply of the API.
///
/// # Errors
///
/// [`ReplyError::Api`] when the server refused, [`ReplyError::Malformed`] when the reply is not a `T`.
pub fn read_reply<T: DeserializeOwned>(payload: &[u8]) -> Result<T, ReplyError> {
    if let Some(error) = serde_json::from_slice::<Envelope>(payload)?.error {
        return Err(error.into());
    }
    Ok(serde_json::from_slice(payload)?)
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Deleted {
        success: bool,
    }

    #[test]
    fn a_refusal_is_an_error_with_its_code() {
        let reply = br#"{"type":"io.nats.jetstream.api.v1.stream_info_response","error":{"code":404,"err_code":10059,"description":"stream not found"}}"#;
        let Err(ReplyError::Api(error)) = read_reply::<Deleted>(reply) else { panic!("refused") };
        assert_eq!((error.code, error.err_code), (404, ErrorCode::STREAM_NOT_FOUND));
        assert_eq!(error.to_string(), "stream not found (JetStream error 10059, code 404)");
    }

    #[test]
    fn a_refusal_without_its_own_code_is_one() {
        let Err(ReplyError::Api(error)) = read_reply::<Deleted>(br#"{"error":{"code":503}}"#)
        else {
            panic!("refused")
        };
        assert_eq!((error.code, error.err_code), (503, ErrorCode(0)));
    }

    #[test]
    fn fields_that_are_not_known_are_passed_over() {
        let reply = br#"{"type":"x","success":true,"since":{"3.0":[1,2]}}"#;
        assert!(read_reply::<Deleted>(reply).unwrap().success);
    }

    #[test]
    fn what_is_no_reply_is_malformed() {
        for wrong in [&b""[..], b"{}", b"[]", b"-ERR", br#"{"success":1}"#, br#"{"error":1}"#] {
            let error = read_reply::<Deleted>(wrong).unwrap_err();
            assert!(matches!(error, ReplyError::Malformed(_)), "{error}");
        }
    }
}
