//! Where requests of the API go: to the account itself, to a domain, or through an import.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

use midge_proto::{SubjectError, SubjectRef};

/// The subject below which the API is found, without a dot at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiPrefix(Arc<str>);

/// A prefix, or domain, below which no request can go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiPrefixError {
    /// It is no subject.
    #[error("{prefix:?} cannot be the prefix of JetStream's API: {error}")]
    Subject {
        /// What was given.
        prefix: String,
        /// What is wrong with it.
        error: SubjectError,
    },
    /// It has a wildcard.
    #[error("{prefix:?} cannot be the prefix of JetStream's API: it has a wildcard")]
    Wildcard {
        /// What was given.
        prefix: String,
    },
    /// A domain is one token of a subject.
    #[error("{domain:?} cannot be a domain of JetStream: it must be one token, without dots")]
    Domain {
        /// What was given.
        domain: String,
    },
}

impl Default for ApiPrefix {
    /// `$JS.API`: the API of the account, in the domain of the server.
    fn default() -> Self {
        Self("$JS.API".into())
    }
}

impl ApiPrefix {
    /// A prefix of one's own, under which an account imports the API of another. A dot at its end
    /// is left out.
    ///
    /// # Errors
    ///
    /// [`ApiPrefixError`] when no request could be sent below it.
    pub fn new(prefix: &str) -> Result<Self, ApiPrefixError> {
        let prefix = prefix.strip_suffix('.').unwrap_or(prefix);
        let subject = SubjectRef::new(prefix)
            .map_err(|error| ApiPrefixError::Subject { prefix: prefix.into(), error })?;
        if subject.has_wildcards() {
            return Err(ApiPrefixError::Wildcard { prefix: prefix.into() });
        }
        Ok(Self(prefix.into()))
    }

    /// The API of a domain: `$JS.<domain>.API`.
    ///
    /// # Errors
    ///
    /// [`ApiPrefixError`] unless the domain is one token of a subject.
    pub fn domain(domain: &str) -> Result<Self, ApiPrefixError> {
        if domain.contains('.') {
            return Err(ApiPrefixError::Domain { domain: domain.into() });
        }
        Self::new(&format!("$JS.{domain}.API"))
    }

    /// The prefix.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The subject of a call, such as `STREAM.INFO.orders`.
    #[must_use]
    pub fn subject(&self, call: &str) -> String {
        let mut subject = String::with_capacity(self.0.len() + 1 + call.len());
        subject.push_str(&self.0);
        subject.push('.');
        subject.push_str(call);
        subject
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_go_below_the_prefix() {
        assert_eq!(ApiPrefix::default().subject("INFO"), "$JS.API.INFO");
        assert_eq!(ApiPrefix::domain("hub").unwrap().subject("INFO"), "$JS.hub.API.INFO");
        assert_eq!(ApiPrefix::new("from.acme.").unwrap().subject("INFO"), "from.acme.INFO");
    }

    #[test]
    fn a_prefix_below_which_nothing_can_be_asked_is_refused() {
        for wrong in ["", ".", "a b", "a..b", "a.>", "*"] {
            assert!(ApiPrefix::new(wrong).is_err(), "{wrong:?}");
            assert!(ApiPrefix::domain(wrong).is_err(), "{wrong:?}");
        }
        assert!(ApiPrefix::domain("a.b").is_err());
    }
}
