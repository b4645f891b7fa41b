//! Names of streams and consumers, checked (ADR-6).

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most bytes that the name of a stream or consumer may have.
pub const MAX_NAME: usize = 255;

/// A name that no stream or consumer can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is none.
    #[error("the name of a {kind} must not be empty")]
    Empty {
        /// What was to be named.
        kind: &'static str,
    },
    /// It is longer than [`MAX_NAME`].
    #[error("the name of a {kind} has at most {MAX_NAME} bytes, not {length}")]
    TooLong {
        /// What was to be named.
        kind: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// It holds what would make it another subject, or a file elsewhere.
    #[error(
        "{name:?} cannot be the name of a {kind} because of {character:?}: no blanks, control characters, '.', '*', '>', '/' or '\\'"
    )]
    Character {
        /// What was to be named.
        kind: &'static str,
        /// The name.
        name: String,
        /// The first character that it cannot have.
        character: char,
    },
}

fn check(kind: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { kind });
    }
    if name.len() > MAX_NAME {
        return Err(NameError::TooLong { kind, length: name.len() });
    }
    let wrong = |character: &char| {
        character.is_whitespace()
            || character.is_control()
            || matches!(character, '.' | '*' | '>' | '/' | '\\')
    };
    match name.chars().find(wrong) {
        Some(character) => Err(NameError::Character { kind, name: name.into(), character }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks a name.
            ///
            /// # Errors
            ///
            /// [`NameError`] unless it is one token of a subject, of at most 255 bytes, that can
            /// also be the name of a directory.
            pub fn new(name: &str) -> Result<Self, NameError> {
                check($kind, name)?;
                Ok(Self(name.into()))
            }

            /// The name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $type {
            type Target = str;

            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = NameError;

            fn from_str(name: &str) -> Result<Self, NameError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = NameError;

            fn try_from(name: String) -> Result<Self, NameError> {
                Self::new(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                Self::from(&*name.0)
            }
        }
    };
}

name! {
    /// The name of a stream.
    StreamName "stream"
}

name! {
    /// The name of a consumer.
    ConsumerName "consumer"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_token_without_slashes() {
        for name in
            ["orders", "ORDERS_1", "KV_a-b", "bestellungen-für-heute", "$x", &"a".repeat(255)]
        {
            assert_eq!(&*StreamName::new(name).unwrap(), name);
            assert_eq!(name.parse::<ConsumerName>().unwrap().as_str(), name);
        }
        for name in
            ["a.b", "*", "a>", "a/b", "a\\b", "a b", "a\tb", "a\r\n", "\0", "a\u{a0}b", "\u{2028}"]
        {
            let error = StreamName::new(name).unwrap_err();
            assert!(matches!(error, NameError::Character { .. }), "{name:?}: {error}");
        }
        assert_eq!(ConsumerName::new(""), Err(NameError::Empty { kind: "consumer" }));
        let length = StreamName::new(&"a".repeat(256)).unwrap_err();
        assert_eq!(length, NameError::TooLong { kind: "stream", length: 256 });
    }
}
