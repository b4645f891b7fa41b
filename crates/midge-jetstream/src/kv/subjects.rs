//! Where the keys of a bucket are read and written (ADR-8, ADR-19).

use alloc::format;
use alloc::string::String;

use midge_proto::SubjectRef;

use super::config::{NotABucket, bucket_of};
use super::names::BucketName;
use crate::prefix::ApiPrefix;
use crate::stream::StreamConfig;

/// What stands before a key in the subjects of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketSubjects {
    bucket: BucketName,
    origin_bucket: BucketName,
    stored: String,
    written: String,
    /// What stands before a key in the bucket that is written to.
    origin: String,
}

impl BucketSubjects {
    /// The subjects of the bucket that a stream is, when it is reached by `api`.
    ///
    /// What is read has the subject that it is stored under. What is written goes through the
    /// prefix of the API, unless that is the default; into a mirror it goes to its origin, through
    /// the prefix of the origin if that is elsewhere.
    ///
    /// # Errors
    ///
    /// [`NotABucket`] when the stream is none.
    pub fn new(config: &StreamConfig, api: &ApiPrefix) -> Result<Self, NotABucket> {
        let bucket = bucket_of(config)?;
        let own = format!("$KV.{bucket}.");
        let through = |prefix: &str, subject: &str| match prefix {
            "$JS.API" | "" => String::from(subject),
            prefix => format!("{}.{subject}", prefix.strip_suffix('.').unwrap_or(prefix)),
        };
        let Some(mirror) = &config.mirror else {
            let written = through(api.as_str(), &own);
            return Ok(Self {
                origin_bucket: bucket.clone(),
                bucket,
                written,
                origin: own.clone(),
                stored: own,
            });
        };
        let origin_bucket = BucketName::of_stream(&mirror.name).ok_or_else(|| NotABucket {
            stream: config.name.clone(),
            why: "it mirrors a stream whose name is not KV_ and the name of a bucket",
        })?;
        let origin = format!("$KV.{origin_bucket}.");
        let prefix = mirror.external.as_ref().map_or(api.as_str(), |external| &external.api);
        let written = through(prefix, &origin);
        let renamed = mirror.subject_transforms.iter().any(|one| one.dest.starts_with(&own));
        let stored = if renamed { own } else { origin.clone() };
        Ok(Self { bucket, origin_bucket, stored, written, origin })
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// The subjects of the bucket that is written to, for one who reads there: of a mirror, its
    /// origin.
    #[must_use]
    pub fn origin(&self) -> Self {
        let bucket = self.origin_bucket.clone();
        Self { bucket, stored: self.origin.clone(), ..self.clone() }
    }

    /// The subject that a key, or a filter of keys, is stored under.
    #[must_use]
    pub fn stored(&self, key: &str) -> String {
        [&*self.stored, key].concat()
    }

    /// The subject that a key is written to.
    #[must_use]
    pub fn written(&self, key: &str) -> String {
        [&*self.written, key].concat()
    }

    /// The key that is stored under a subject; `None` when it is of no key of this bucket.
    #[must_use]
    pub fn key<'a>(&self, subject: &'a str) -> Option<&'a str> {
        if self.have(subject.as_bytes()) { subject.get(self.prefix_len()..) } else { None }
    }

    /// Whether it is the subject of a key of this bucket, as it arrived.
    pub(super) fn have(&self, subject: &[u8]) -> bool {
        let key = subject.strip_prefix(self.stored.as_bytes()).filter(|key| !key.is_empty());
        key.is_some_and(|key| key.is_ascii() || str::from_utf8(key).is_ok())
    }

    /// Whether what is stored as this key is meant by its subject, and nothing else is. Servers store
    /// what is published to `$KV.b.*` too, which as a filter means many keys.
    #[must_use]
    pub fn is_literal(&self, key: &str) -> bool {
        SubjectRef::new(&self.stored(key)).is_ok_and(|subject| !subject.has_wildcards())
    }

    /// The length of what stands before a key that is stored.
    #[must_use]
    pub fn prefix_len(&self) -> usize {
        self.stored.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::BucketConfig;
    use crate::stream::{External, StreamSource, SubjectTransform};

    fn of(config: &BucketConfig, api: &ApiPrefix) -> (String, String) {
        let subjects = BucketSubjects::new(&config.to_stream().unwrap(), api).unwrap();
        (subjects.stored("k.*"), subjects.written("k"))
    }

    #[test]
    fn keys_are_written_through_the_prefix_and_read_as_they_are_stored() {
        let bucket = BucketConfig::new("b");
        let pair = |stored: &str, written: &str| (stored.into(), written.into());
        assert_eq!(of(&bucket, &ApiPrefix::default()), pair("$KV.b.k.*", "$KV.b.k"));
        let hub = ApiPrefix::domain("hub").unwrap();
        assert_eq!(of(&bucket, &hub), pair("$KV.b.k.*", "$JS.hub.API.$KV.b.k"));
        let import = ApiPrefix::new("from.acme").unwrap();
        assert_eq!(of(&bucket, &import), pair("$KV.b.k.*", "from.acme.$KV.b.k"));
    }

    #[test]
    fn a_mirror_is_read_here_and_written_there() {
        let mirror = |source| BucketConfig { mirror: Some(source), ..BucketConfig::new("b") };
        let pair = |stored: &str, written: &str| (stored.into(), written.into());
        let default = ApiPrefix::default();
        let near = mirror(StreamSource::new("o"));
        assert_eq!(of(&near, &default), pair("$KV.o.k.*", "$KV.o.k"));
        let external = Some(External { api: "$JS.hub.API".into(), deliver: String::new() });
        let far = mirror(StreamSource { external, ..StreamSource::new("o") });
        assert_eq!(of(&far, &default), pair("$KV.o.k.*", "$JS.hub.API.$KV.o.k"));
        let leaf = ApiPrefix::domain("leaf").unwrap();
        assert_eq!(of(&far, &leaf), pair("$KV.o.k.*", "$JS.hub.API.$KV.o.k"));
        assert_eq!(of(&near, &leaf), pair("$KV.o.k.*", "$JS.leaf.API.$KV.o.k"));
        let renames = SubjectTransform { src: "$KV.o.>".into(), dest: "$KV.b.>".into() };
        let subject_transforms = alloc::vec![renames];
        let renamed = mirror(StreamSource { subject_transforms, ..StreamSource::new("o") });
        assert_eq!(of(&renamed, &default), pair("$KV.b.k.*", "$KV.o.k"));
        let stream = renamed.to_stream().unwrap();
        let origin = BucketSubjects::new(&stream, &default).unwrap().origin();
        assert_eq!((&*origin.stored("k"), &*origin.written("k")), ("$KV.o.k", "$KV.o.k"));
    }

    #[test]
    fn a_key_is_what_stands_behind_the_prefix() {
        let stream = BucketConfig::new("b").to_stream().unwrap();
        let subjects = BucketSubjects::new(&stream, &ApiPrefix::default()).unwrap();
        assert_eq!(subjects.key("$KV.b.hello.world"), Some("hello.world"));
        for other in ["$KV.b.", "$KV.c.k", "$KV.bb.k", ""] {
            assert_eq!(subjects.key(other), None, "{other}");
        }
        for (key, literal) in
            [("a.b", true), ("a*.>b", true), ("*", false), ("a.*.b", false), ("a.>", false)]
        {
            assert_eq!(subjects.is_literal(key), literal, "{key}");
        }
        assert!(!subjects.is_literal("a..b"));
    }
}
