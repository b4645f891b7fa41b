//! How keys and values of a caller become those that a bucket holds, and back (ADR-54).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;

/// Why something has no other form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct CodecError(String);

impl CodecError {
    /// A reason, in words.
    #[must_use]
    pub fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Gives keys another form in the bucket.
///
/// Laws: what is encoded is a key by [`check_key`](super::check_key); what was encoded decodes to
/// what it was; and two keys are never encoded alike.
pub trait KeyCodec {
    /// The form of a key in the bucket.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it has none.
    fn encode(&self, key: &str) -> Result<String, CodecError>;

    /// The form of a filter in the bucket: it matches the encoded form of exactly the keys that
    /// the filter matches. A codec that does not know better has none for wildcards but `>` alone.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it has none.
    fn encode_filter(&self, filter: &str) -> Result<String, CodecError> {
        if filter == ">" {
            return Ok(filter.into());
        }
        if filter.contains(['*', '>']) {
            return Err(CodecError::new("the codec of the keys has no wildcards but \">\" alone"));
        }
        self.encode(filter)
    }

    /// The key of which this is the form in the bucket.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it is that of none.
    fn decode(&self, stored: &str) -> Result<String, CodecError>;
}

/// Gives values another form in the bucket.
///
/// Law: what was encoded decodes to what it was.
pub trait ValueCodec {
    /// What is encoded.
    type Input: ?Sized;
    /// What is decoded.
    type Value;

    /// The bytes that the bucket is to hold.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when it has no such form.
    fn encode(&self, value: &Self::Input) -> Result<Bytes, CodecError>;

    /// The value of these bytes.
    ///
    /// # Errors
    ///
    /// [`CodecError`] when they are those of none.
    fn decode(&self, stored: Bytes) -> Result<Self::Value, CodecError>;
}

/// Keys as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainKeys;

impl KeyCodec for PlainKeys {
    fn encode(&self, key: &str) -> Result<String, CodecError> {
        Ok(key.into())
    }

    fn encode_filter(&self, filter: &str) -> Result<String, CodecError> {
        Ok(filter.into())
    }

    fn decode(&self, stored: &str) -> Result<String, CodecError> {
        Ok(stored.into())
    }
}

/// Keys of any characters: each part between dots as base64, of the alphabet for URLs and without
/// padding. `Acme Inc.contact` is `QWNtZSBJbmM.Y29udGFjdA`. In filters, parts that are `*` and a last
/// one that is `>` stay.
///
/// Parts with padding are decoded too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base64Keys;

impl Base64Keys {
    fn part(part: &str) -> Result<String, CodecError> {
        match part {
            "" => Err(CodecError::new("a part of it is empty: one dot stands between two parts")),
            part => Ok(BASE64URL_NOPAD.encode(part.as_bytes())),
        }
    }
}

impl KeyCodec for Base64Keys {
    fn encode(&self, key: &str) -> Result<String, CodecError> {
        Ok(key.split('.').map(Self::part).collect::<Result<Vec<_>, _>>()?.join("."))
    }

    fn encode_filter(&self, filter: &str) -> Result<String, CodecError> {
        let mut parts = filter.split('.').peekable();
        let mut encoded = Vec::new();
        while let Some(part) = parts.next() {
            encoded.push(match part {
                "*" => part.into(),
                ">" if parts.peek().is_none() => part.into(),
                part => Self::part(part)?,
            });
        }
        Ok(encoded.join("."))
    }

    fn decode(&self, stored: &str) -> Result<String, CodecError> {
        let part = |part: &str| {
            let bytes = BASE64URL_NOPAD.decode(part.trim_end_matches('=').as_bytes());
            let bytes = bytes.map_err(|error| CodecError(format!("it is not base64: {error}")))?;
            let text = String::from_utf8(bytes)
                .map_err(|_| CodecError::new("it is base64 of what is not UTF-8"))?;
            match text.is_empty() || text.contains('.') {
                true => Err(CodecError::new("a part of it is base64 of what is no part of a key")),
                false => Ok(text),
            }
        };
        Ok(stored.split('.').map(part).collect::<Result<Vec<_>, _>>()?.join("."))
    }
}

/// The part that stands for a slash at the beginning.
const ROOT: &str = "_root_";

/// Keys that are paths: `config/db/host` is `config.db.host`. A slash at the beginning becomes
/// the part `_root_`; those at the end are left out, and do not come back.
///
/// Wildcards of filters are `*` for a part, and `>` for the rest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathKeys;

impl KeyCodec for PathKeys {
    fn encode(&self, key: &str) -> Result<String, CodecError> {
        if key.contains('.') {
            return Err(CodecError::new("a path with a dot in it would come back with a slash"));
        }
        let path = key.trim_end_matches('/');
        let absolute = key.starts_with('/');
        let path = if absolute { path.strip_prefix('/').unwrap_or(path) } else { path };
        if path.is_empty() && absolute {
            return Ok(ROOT.into());
        }
        if path.split('/').any(str::is_empty) {
            return Err(CodecError::new(
                "a part of it is empty: one slash stands between two parts",
            ));
        }
        let path = path.replace('/', ".");
        if absolute {
            return Ok(format!("{ROOT}.{path}"));
        }
        if path.split('.').next() == Some(ROOT) {
            return Err(CodecError::new(
                "a path that begins with _root_ would come back with a slash",
            ));
        }
        Ok(path)
    }

    fn encode_filter(&self, filter: &str) -> Result<String, CodecError> {
        self.encode(filter)
    }

    fn decode(&self, stored: &str) -> Result<String, CodecError> {
        if stored.contains('/') {
            return Err(CodecError::new("it has a slash in it, which no path becomes"));
        }
        let path = stored.replace('.', "/");
        Ok(match path.strip_prefix(ROOT) {
            Some("") => "/".to_string(),
            Some(rest) if rest.starts_with('/') => rest.into(),
            _ => path,
        })
    }
}

/// One codec behind the other: the first is nearer to the caller.
impl<A: KeyCodec, B: KeyCodec> KeyCodec for (A, B) {
    fn encode(&self, key: &str) -> Result<String, CodecError> {
        self.1.encode(&self.0.encode(key)?)
    }

    fn encode_filter(&self, filter: &str) -> Result<String, CodecError> {
        self.1.encode_filter(&self.0.encode_filter(filter)?)
    }

    fn decode(&self, stored: &str) -> Result<String, CodecError> {
        self.0.decode(&self.1.decode(stored)?)
    }
}

/// Values as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainValues;

impl ValueCodec for PlainValues {
    type Input = [u8];
    type Value = Bytes;

    fn encode(&self, value: &[u8]) -> Result<Bytes, CodecError> {
        Ok(Bytes::copy_from_slice(value))
    }

    fn decode(&self, stored: Bytes) -> Result<Bytes, CodecError> {
        Ok(stored)
    }
}

/// Values as base64, of the alphabet for URLs and without padding. What has padding is decoded too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Base64Values;

impl ValueCodec for Base64Values {
    type Input = [u8];
    type Value = Bytes;

    fn encode(&self, value: &[u8]) -> Result<Bytes, CodecError> {
        Ok(BASE64URL_NOPAD.encode(value).into())
    }

    fn decode(&self, stored: Bytes) -> Result<Bytes, CodecError> {
        let padding = stored.iter().rev().take_while(|byte| **byte == b'=').count();
        let value = BASE64URL_NOPAD.decode(&stored[..stored.len() - padding]);
        value.map(Bytes::from).map_err(|error| CodecError(format!("it is not base64: {error}")))
    }
}

/// One codec behind the other: the first is nearer to the caller.
impl<A: ValueCodec, B: ValueCodec<Input = [u8], Value = Bytes>> ValueCodec for (A, B) {
    type Input = A::Input;
    type Value = A::Value;

    fn encode(&self, value: &A::Input) -> Result<Bytes, CodecError> {
        self.1.encode(&self.0.encode(value)?)
    }

    fn decode(&self, stored: Bytes) -> Result<A::Value, CodecError> {
        self.0.decode(self.1.decode(stored)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kv::{check_key, check_key_filter};

    #[test]
    fn parts_of_keys_become_base64() {
        let codec = Base64Keys;
        assert_eq!(codec.encode("Acme Inc.contact").unwrap(), "QWNtZSBJbmM.Y29udGFjdA");
        assert_eq!(codec.decode("QWNtZSBJbmM=.Y29udGFjdA==").unwrap(), "Acme Inc.contact");
        assert_eq!(codec.encode_filter("Acme Inc.*.>").unwrap(), "QWNtZSBJbmM.*.>");
        assert_eq!(codec.encode_filter(">").unwrap(), ">");
        assert_eq!(codec.encode("*").unwrap(), "Kg", "no wildcard, but a key");
        for wrong in ["", "a..b", ".a"] {
            assert!(codec.encode(wrong).is_err(), "{wrong}");
        }
        // Not base64, a whole key in one part, not UTF-8, bits that nothing has written.
        for wrong in ["a.b", "a/b", "YS5i", "_w", "Kh", ""] {
            assert!(codec.decode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn slashes_of_paths_become_dots() {
        let codec = PathKeys;
        for (path, stored) in
            [("a", "a"), ("a/b/c", "a.b.c"), ("/a/b", "_root_.a.b"), ("/", "_root_")]
        {
            assert_eq!(codec.encode(path).unwrap(), stored);
            assert_eq!(codec.decode(stored).unwrap(), path);
        }
        assert_eq!(codec.encode("a/b/").unwrap(), "a.b");
        assert_eq!(codec.encode("/a//").unwrap(), "_root_.a");
        assert_eq!(codec.encode_filter("/a/*/>").unwrap(), "_root_.a.*.>");
        assert_eq!(codec.encode_filter(">").unwrap(), ">");
        assert_eq!(codec.decode("_root_x.a").unwrap(), "_root_x/a");
        for wrong in ["", "a//b", "//a", "a.b", "_root_", "_root_/a"] {
            assert!(codec.encode(wrong).is_err(), "{wrong}");
        }
        assert!(codec.decode("a/b").is_err());
    }

    #[test]
    fn codecs_stand_behind_each_other() {
        let keys = (PathKeys, Base64Keys);
        assert_eq!(keys.encode("/a b/c").unwrap(), "X3Jvb3Rf.YSBi.Yw");
        assert_eq!(keys.encode_filter("a b/*").unwrap(), "YSBi.*");
        assert_eq!(keys.decode("X3Jvb3Rf.YSBi.Yw").unwrap(), "/a b/c");
        let values = (Base64Values, Base64Values);
        assert_eq!(&values.encode(b"a").unwrap()[..], b"WVE");
        assert_eq!(&values.decode(Bytes::from_static(b"WVE=")).unwrap()[..], b"a");
        assert!(Base64Values.decode(Bytes::from_static(b"a b")).is_err());
    }

    #[test]
    fn a_codec_without_wildcards_refuses_them() {
        struct Upper;
        impl KeyCodec for Upper {
            fn encode(&self, key: &str) -> Result<String, CodecError> {
                Ok(key.to_uppercase())
            }
            fn decode(&self, stored: &str) -> Result<String, CodecError> {
                Ok(stored.to_lowercase())
            }
        }
        assert_eq!(Upper.encode_filter(">").unwrap(), ">");
        assert_eq!(Upper.encode_filter("a.b").unwrap(), "A.B");
        assert!(Upper.encode_filter("a.*").is_err() && Upper.encode_filter("a.>").is_err());
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_what_it_was(key in "[^.]{1,8}(\\.[^.]{1,8}){0,3}", value: Vec<u8>) {
            let stored = Base64Keys.encode(&key).unwrap();
            check_key(&stored).unwrap();
            prop_assert_eq!(Base64Keys.decode(&stored).unwrap(), key.clone());
            check_key_filter(&Base64Keys.encode_filter(&key).unwrap()).unwrap();
            let stored = Base64Values.encode(&value).unwrap();
            prop_assert_eq!(&Base64Values.decode(stored).unwrap()[..], &value[..]);
        }

        #[test]
        fn what_is_no_path_is_refused_and_the_others_come_back(key in "[a_rot/.]{0,12}") {
            if let Ok(stored) = PathKeys.encode(&key) {
                let back = PathKeys.decode(&stored).unwrap();
                let trimmed = key.trim_end_matches('/');
                prop_assert_eq!(back, if trimmed.is_empty() { "/" } else { trimmed });
                check_key(&stored).unwrap();
            }
        }

        #[test]
        fn no_stored_text_panics(stored in ".{0,24}", bytes: Vec<u8>) {
            let _: Result<_, _> = Base64Keys.decode(&stored);
            let _: Result<_, _> = PathKeys.decode(&stored);
            let _: Result<_, _> = Base64Values.decode(bytes.into());
        }
    }
}
