//! Names of buckets and keys, checked (ADR-8, ADR-6).

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::ops::Deref;
use core::str::FromStr;

use crate::names::{MAX_NAME, StreamName};

/// What the name of the stream of a bucket begins with.
const PREFIX: &str = "KV_";

/// A name that no bucket can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BucketNameError {
    /// There is none.
    #[error("the name of a bucket must not be empty")]
    Empty,
    /// The name of its stream would be longer than 255 bytes.
    #[error("the name of a bucket has at most {} bytes, not {length}", MAX_NAME - PREFIX.len())]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It holds what no name of a bucket may.
    #[error(
        "{name:?} cannot be the name of a bucket because of {character:?}: letters, digits, '_' and '-' only"
    )]
    Character {
        /// The name.
        name: String,
        /// The first character that it cannot have.
        character: char,
    },
}

/// The name of a bucket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Arc<str>);

impl BucketName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// [`BucketNameError`] unless it is made of ASCII letters, digits, `_` and `-`, 252 at most.
    pub fn new(name: &str) -> Result<Self, BucketNameError> {
        if name.is_empty() {
            return Err(BucketNameError::Empty);
        }
        if name.len() > MAX_NAME - PREFIX.len() {
            return Err(BucketNameError::TooLong { length: name.len() });
        }
        let wrong = |one: &char| !(one.is_ascii_alphanumeric() || matches!(one, '_' | '-'));
        match name.chars().find(wrong) {
            Some(character) => Err(BucketNameError::Character { name: name.into(), character }),
            None => Ok(Self(name.into())),
        }
    }

    /// The bucket that a stream of this name would be; `None` when it would be none.
    #[must_use]
    pub fn of_stream(stream: &str) -> Option<Self> {
        Self::new(stream.strip_prefix(PREFIX)?).ok()
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its stream.
    #[must_use]
    pub fn stream(&self) -> StreamName {
        StreamName::new(&format!("{PREFIX}{}", self.0))
            .expect("a short name of letters, digits, '_' and '-' names a stream")
    }
}

impl Deref for BucketName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for BucketName {
    type Err = BucketNameError;

    fn from_str(name: &str) -> Result<Self, BucketNameError> {
        Self::new(name)
    }
}

/// The name of the stream that is meant by the name of a bucket or of its stream.
pub(super) fn stream_of(name: &str) -> String {
    if name.starts_with(PREFIX) { name.into() } else { format!("{PREFIX}{name}") }
}

/// What cannot be a key, or a filter of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is none.
    #[error("a key must not be empty")]
    Empty,
    /// It holds what no key may.
    #[error(
        "{key:?} cannot be a key because of {character:?}: letters, digits, '-', '/', '_', '=' and '.' only"
    )]
    Character {
        /// The key.
        key: String,
        /// The first character that it cannot have.
        character: char,
    },
    /// A dot is where only one between two parts may be.
    #[error("{key:?} cannot be a key: it begins or ends with '.', or has two of them in a row")]
    EmptyToken {
        /// The key.
        key: String,
    },
    /// A wildcard that stands for no whole part, or a `>` that is not the last.
    #[error(
        "{filter:?} cannot be a filter of keys: '*' must be a whole part between dots, and '>' the whole last part"
    )]
    Wildcard {
        /// The filter.
        filter: String,
    },
}

/// The bytes that a part of a key may have.
const IN_KEYS: [bool; 256] = {
    let mut is_in = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let other = matches!(byte, b'-' | b'/' | b'_' | b'=');
        is_in[byte as usize] = byte.is_ascii_alphanumeric() || other;
        byte += 1;
    }
    is_in
};

/// Checks a key.
///
/// # Errors
///
/// [`KeyError`] unless it is made of ASCII letters, digits and `-/_=`, in parts with one dot between
/// them. What begins with `_kv` is left to clients by ADR-8, and passes, as it does elsewhere.
pub fn check_key(key: &str) -> Result<(), KeyError> {
    let mut before = b'.';
    let is_plain = key.bytes().all(|byte| {
        let between = core::mem::replace(&mut before, byte) != b'.' && byte == b'.';
        IN_KEYS[byte as usize] || between
    });
    if is_plain && before != b'.' { Ok(()) } else { check_each(key) }
}

/// What is wrong with a key.
#[cold]
fn check_each(key: &str) -> Result<(), KeyError> {
    if key.is_empty() {
        return Err(KeyError::Empty);
    }
    for token in key.split('.') {
        if token.is_empty() {
            return Err(KeyError::EmptyToken { key: key.into() });
        }
        check_token(key, token)?;
    }
    Ok(())
}

/// Checks a filter of keys: a key in which parts may be `*`, and the last one `>`.
///
/// # Errors
///
/// [`KeyError`] when it is none.
pub fn check_key_filter(filter: &str) -> Result<(), KeyError> {
    if filter.is_empty() {
        return Err(KeyError::Empty);
    }
    let mut tokens = filter.split('.').peekable();
    while let Some(token) = tokens.next() {
        match token {
            "" => return Err(KeyError::EmptyToken { key: filter.into() }),
            "*" => {}
            ">" if tokens.peek().is_none() => {}
            _ if token.contains(['*', '>']) => {
                return Err(KeyError::Wildcard { filter: filter.into() });
            }
            _ => check_token(filter, token)?,
        }
    }
    Ok(())
}

fn check_token(key: &str, token: &str) -> Result<(), KeyError> {
    let wrong = |one: &char| !u8::try_from(*one).is_ok_and(|byte| IN_KEYS[byte as usize]);
    match token.chars().find(wrong) {
        Some(character) => Err(KeyError::Character { key: key.into(), character }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn a_bucket_is_named_by_letters_digits_and_two_signs() {
        for name in ["a", "Orders_1", "x-y", "_", &"a".repeat(252)] {
            let bucket = BucketName::new(name).unwrap();
            assert_eq!(bucket.as_str(), name);
            assert_eq!(bucket.stream().as_str(), format!("KV_{name}"));
            assert_eq!(BucketName::of_stream(&bucket.stream()), Some(bucket));
        }
        for name in ["a.b", "a b", "a/b", "*", ">", "a=b", "für", "a\n"] {
            let error = BucketName::new(name).unwrap_err();
            assert!(matches!(error, BucketNameError::Character { .. }), "{error}");
        }
        assert_eq!(BucketName::new(""), Err(BucketNameError::Empty));
        let long = BucketName::new(&"a".repeat(253)).unwrap_err();
        assert_eq!(long.to_string(), "the name of a bucket has at most 252 bytes, not 253");
        for stream in ["orders", "KV_", "KV_a b", "OBJ_a", "kv_a"] {
            assert_eq!(BucketName::of_stream(stream), None, "{stream}");
        }
    }

    #[test]
    fn a_key_is_parts_with_one_dot_between_them() {
        for key in ["a", "hello.world", "a/b=c_d-e.F.9", "_kv", "="] {
            check_key(key).unwrap();
            check_key_filter(key).unwrap();
        }
        for key in [".a", "a.", "a..b", "."] {
            let wrong = KeyError::EmptyToken { key: key.into() };
            assert_eq!(check_key(key), Err(wrong.clone()));
            assert_eq!(check_key_filter(key), Err(wrong));
        }
        for key in ["a b", "a*", "*", ">", "a.>", "ü", "a\r\n", "\0", "$x", "a\\b", "a:b"] {
            assert!(matches!(check_key(key), Err(KeyError::Character { .. })), "{key:?}");
        }
        assert_eq!(check_key(""), Err(KeyError::Empty));
    }

    #[test]
    fn a_filter_has_whole_parts_that_are_wildcards() {
        for filter in [">", "*", "a.*", "*.b.>", "a.*.c", "a.>"] {
            check_key_filter(filter).unwrap();
        }
        for filter in ["a*", ">.a", "a.>b", "a.>.b", "**", "a.*b.c"] {
            let wrong = KeyError::Wildcard { filter: filter.into() };
            assert_eq!(check_key_filter(filter), Err(wrong));
        }
        assert!(matches!(check_key_filter("a b.*"), Err(KeyError::Character { .. })));
        assert_eq!(check_key_filter(""), Err(KeyError::Empty));
    }
}
