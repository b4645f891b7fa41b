//! What a bucket is asked to be, as a stream, and what a stream is as a bucket.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::names::{BucketName, BucketNameError, stream_of};
use crate::check::{ConfigError, range};
use crate::stream::{
    Compression, Discard, Placement, Republish, Storage, StreamConfig, StreamInfo, StreamSource,
    SubjectTransform,
};

/// The most revisions of a key that are kept.
const MAX_HISTORY: u64 = 64;
/// The duplicate window of a stream, unless its messages live shorter.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What a bucket is asked to be, and is.
///
/// ```
/// use midge_jetstream::kv::BucketConfig;
///
/// let config = BucketConfig { history: 5, ..BucketConfig::new("profiles") };
/// assert_eq!(config.to_stream().unwrap().name, "KV_profiles");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct BucketConfig {
    /// Its name.
    pub bucket: String,
    /// What it is for, in 4,096 bytes at most.
    pub description: Option<String>,
    /// How many revisions of each key are kept, the newest included: 1 to 64. Default: 1.
    pub history: u64,
    /// How long a revision is kept: at least 100 ms. `None`: for ever.
    pub ttl: Option<Duration>,
    /// When a key goes by its age, a marker is left for this time: at least 1 s (ADR-48). It is
    /// what lets single keys have a TTL too. It can be set later, and not be taken away. API
    /// level 1.
    pub limit_marker_ttl: Option<Duration>,
    /// The most bytes of all it holds, with what storage adds; more is refused, and so are deletes and
    /// purges, which are written too. `None`: without limit.
    pub max_bytes: Option<u64>,
    /// The greatest size of a value in bytes, with its headers: 55 to 100 bytes for what is created,
    /// updated or changed, about 100 more in a batch. What is put has none. Markers are no smaller: a
    /// delete has 31 bytes, a purge 51, and more where a revision is expected. `None`: without limit.
    pub max_value_size: Option<u32>,
    /// Where it is kept.
    pub storage: Storage,
    /// On how many servers it is kept: 1 to 5.
    pub replicas: u32,
    /// How it is compressed in files.
    pub compression: Compression,
    /// On which servers it may be.
    pub placement: Placement,
    /// Where revisions are sent once they are stored.
    pub republish: Option<Republish>,
    /// What the application notes.
    pub metadata: BTreeMap<String, String>,
    /// The bucket that it copies; reading is from here, writing to there. Its name may be that of
    /// the bucket or of its stream.
    pub mirror: Option<StreamSource>,
    /// Buckets that it gathers the keys of, named as `mirror` is. Keys keep their names, by a
    /// transform that is added where there is none and no filter.
    pub sources: Vec<StreamSource>,
    /// Several keys may be written in one atomic batch. API level 2.
    pub allow_atomic: bool,
}

/// A bucket that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BucketConfigError {
    /// Its name.
    #[error(transparent)]
    Name(#[from] BucketNameError),
    /// Another field, named as the API names that of the stream where they are the same.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl BucketConfig {
    /// A bucket that keeps one revision of each key, for ever, in files.
    #[must_use]
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            description: None,
            history: 1,
            ttl: None,
            limit_marker_ttl: None,
            max_bytes: None,
            max_value_size: None,
            storage: Storage::default(),
            replicas: 1,
            compression: Compression::default(),
            placement: Placement::default(),
            republish: None,
            metadata: BTreeMap::new(),
            mirror: None,
            sources: Vec::new(),
            allow_atomic: false,
        }
    }

    /// The stream that it is.
    ///
    /// # Errors
    ///
    /// [`BucketConfigError`] when no server would take it.
    pub fn to_stream(&self) -> Result<StreamConfig, BucketConfigError> {
        let name = BucketName::new(&self.bucket)?;
        range("history", (1..=MAX_HISTORY).contains(&self.history), "from 1 to 64")?;
        let subjects = match self.mirror {
            Some(_) => Vec::new(),
            None => vec![format!("$KV.{name}.>")],
        };
        let config = StreamConfig {
            description: self.description.clone(),
            subjects,
            max_msgs_per_subject: Some(self.history),
            max_age: self.ttl,
            max_bytes: self.max_bytes,
            max_msg_size: self.max_value_size,
            duplicate_window: self.ttl.map(|ttl| ttl.min(DUPLICATE_WINDOW)),
            discard: Discard::New,
            storage: self.storage.clone(),
            num_replicas: self.replicas,
            compression: self.compression.clone(),
            placement: self.placement.clone(),
            republish: self.republish.clone(),
            metadata: self.metadata.clone(),
            mirror: self.mirror.as_ref().map(of_bucket),
            mirror_direct: self.mirror.is_some(),
            sources: self.sources.iter().map(|source| gathered(source, &name)).collect(),
            allow_direct: true,
            allow_rollup_hdrs: true,
            deny_delete: true,
            allow_msg_ttl: self.limit_marker_ttl.is_some(),
            subject_delete_marker_ttl: self.limit_marker_ttl,
            allow_atomic: self.allow_atomic,
            ..StreamConfig::new(name.stream().as_str())
        };
        config.check()?;
        Ok(config)
    }

    /// The bucket that a stream is.
    ///
    /// # Errors
    ///
    /// [`NotABucket`] when it is none.
    pub fn of_stream(config: &StreamConfig) -> Result<Self, NotABucket> {
        let name = bucket_of(config)?;
        Ok(Self {
            bucket: name.as_str().to_owned(),
            description: config.description.clone(),
            history: config.max_msgs_per_subject.unwrap_or(1),
            ttl: config.max_age,
            limit_marker_ttl: config.subject_delete_marker_ttl,
            max_bytes: config.max_bytes,
            max_value_size: config.max_msg_size,
            storage: config.storage.clone(),
            replicas: config.num_replicas,
            compression: config.compression.clone(),
            placement: config.placement.clone(),
            republish: config.republish.clone(),
            metadata: owned(config.user_metadata()),
            mirror: config.mirror.clone(),
            sources: config.sources.clone(),
            allow_atomic: config.allow_atomic,
        })
    }
}

fn owned<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn of_bucket(source: &StreamSource) -> StreamSource {
    StreamSource { name: stream_of(&source.name), ..source.clone() }
}

/// A source whose keys come under the subjects of this bucket.
fn gathered(source: &StreamSource, bucket: &BucketName) -> StreamSource {
    let mut source = of_bucket(source);
    if source.subject_transforms.is_empty()
        && source.filter_subject.is_none()
        && let Some(origin) = BucketName::of_stream(&source.name)
    {
        let (src, dest) = (format!("$KV.{origin}.>"), format!("$KV.{bucket}.>"));
        source.subject_transforms = vec![SubjectTransform { src, dest }];
    }
    source
}

/// A stream that is no bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stream {stream} is no key-value bucket: {why}")]
#[non_exhaustive]
pub struct NotABucket {
    /// The stream.
    pub stream: String,
    /// What it lacks.
    pub why: &'static str,
}

/// The name of the bucket that a stream is.
pub(super) fn bucket_of(config: &StreamConfig) -> Result<BucketName, NotABucket> {
    let no = |why| NotABucket { stream: config.name.clone(), why };
    let bucket = BucketName::of_stream(&config.name)
        .ok_or_else(|| no("its name is not KV_ and the name of a bucket"))?;
    if config.max_msgs_per_subject.is_none() {
        return Err(no("it has no max_msgs_per_subject"));
    }
    let own = format!("$KV.{bucket}.>");
    if config.mirror.is_none() && !config.subjects.contains(&own) {
        return Err(no("$KV.<bucket>.> is not among its subjects, and it is no mirror"));
    }
    Ok(bucket)
}

/// What a bucket is at a moment.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct BucketStatus {
    /// What it was asked to be, with the server's defaults.
    pub config: BucketConfig,
    /// Revisions that it holds, of all keys, with markers of deleted ones.
    pub values: u64,
    /// Bytes of them in storage.
    pub bytes: u64,
    /// Its stream: replicas, how far a mirror is, and all else.
    pub stream: StreamInfo,
}

impl BucketStatus {
    /// The bucket that a stream is.
    ///
    /// # Errors
    ///
    /// [`NotABucket`] when it is none.
    pub fn of_stream(stream: StreamInfo) -> Result<Self, NotABucket> {
        let config = BucketConfig::of_stream(&stream.config)?;
        let (values, bytes) = (stream.state.messages, stream.state.bytes);
        Ok(Self { config, values, bytes, stream })
    }

    /// What keeps it: `JetStream`.
    #[must_use]
    pub fn backing_store(&self) -> &'static str {
        "JetStream"
    }

    /// Whether it is compressed in files.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.config.compression != Compression::None
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::stream::External;

    fn full() -> BucketConfig {
        BucketConfig {
            description: Some("d".into()),
            history: 64,
            ttl: Some(Duration::from_secs(60)),
            limit_marker_ttl: Some(Duration::from_secs(5)),
            max_bytes: Some(1 << 20),
            max_value_size: Some(1024),
            storage: Storage::Memory,
            replicas: 3,
            compression: Compression::S2,
            placement: Placement { cluster: Some("c".into()), ..Placement::default() },
            republish: Some(Republish { dest: "r.>".into(), ..Republish::default() }),
            metadata: [("team".into(), "a".into())].into(),
            allow_atomic: true,
            ..BucketConfig::new("b")
        }
    }

    #[test]
    fn a_bucket_is_a_stream_with_the_fields_of_adr_8() {
        let stream = BucketConfig::new("b").to_stream().unwrap();
        let json = serde_json::to_value(&stream).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "name": "KV_b", "subjects": ["$KV.b.>"], "retention": "limits",
                "max_msgs_per_subject": 1, "discard": "new", "storage": "file", "num_replicas": 1,
                "allow_direct": true, "deny_delete": true, "allow_rollup_hdrs": true,
            })
        );
    }

    #[test]
    fn every_option_comes_back_from_the_stream() {
        let config = full();
        let mut stream = config.to_stream().unwrap();
        assert!(stream.allow_msg_ttl);
        stream.metadata.insert("_nats.ver".into(), "2.15.1".into());
        assert_eq!(BucketConfig::of_stream(&stream).unwrap(), config);
    }

    #[test]
    fn the_duplicate_window_is_no_longer_than_the_ttl() {
        let window = |secs| {
            let ttl = Some(Duration::from_secs(secs));
            BucketConfig { ttl, ..BucketConfig::new("b") }.to_stream().unwrap().duplicate_window
        };
        assert_eq!(window(30), Some(Duration::from_secs(30)));
        assert_eq!(window(3600), Some(Duration::from_secs(120)));
        assert_eq!(BucketConfig::new("b").to_stream().unwrap().duplicate_window, None);
    }

    #[test]
    fn mirrors_and_sources_are_named_as_buckets() {
        let mirror = BucketConfig {
            mirror: Some(StreamSource {
                external: Some(External { api: "$JS.hub.API".into(), ..External::default() }),
                ..StreamSource::new("o")
            }),
            ..BucketConfig::new("b")
        };
        let stream = mirror.to_stream().unwrap();
        assert!(stream.subjects.is_empty() && stream.mirror_direct && stream.allow_direct);
        assert_eq!(stream.mirror.as_ref().unwrap().name, "KV_o");
        assert!(BucketConfig::of_stream(&stream).is_ok());

        let own = vec![SubjectTransform { src: "$KV.y.a".into(), dest: "$KV.b.z".into() }];
        let sources = BucketConfig {
            sources: vec![
                StreamSource::new("x"),
                StreamSource { subject_transforms: own.clone(), ..StreamSource::new("KV_y") },
            ],
            ..BucketConfig::new("b")
        };
        let stream = sources.to_stream().unwrap();
        assert_eq!(stream.subjects, ["$KV.b.>"]);
        assert_eq!(stream.sources[0].name, "KV_x");
        let added = SubjectTransform { src: "$KV.x.>".into(), dest: "$KV.b.>".into() };
        assert_eq!(stream.sources[0].subject_transforms, [added]);
        assert_eq!(
            (&*stream.sources[1].name, &stream.sources[1].subject_transforms),
            ("KV_y", &own)
        );
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_field() {
        for history in [0, 65] {
            let error = BucketConfig { history, ..BucketConfig::new("b") }.to_stream().unwrap_err();
            assert_eq!(error.to_string(), "history must be from 1 to 64");
        }
        let dotted = BucketConfig::new("a.b").to_stream();
        assert!(matches!(dotted, Err(BucketConfigError::Name(_))));
        let ms = Some(Duration::from_millis(500));
        let marker = BucketConfig { limit_marker_ttl: ms, ..BucketConfig::new("b") };
        let Err(BucketConfigError::Config(error)) = marker.to_stream() else { panic!("too short") };
        assert_eq!(error.field(), "subject_delete_marker_ttl");
    }

    #[test]
    fn a_stream_that_is_no_bucket_says_why() {
        let bucket = BucketConfig::new("b").to_stream().unwrap();
        for (why, stream) in [
            ("its name", StreamConfig { name: "orders".into(), ..bucket.clone() }),
            ("max_msgs_per_subject", StreamConfig { max_msgs_per_subject: None, ..bucket.clone() }),
            ("subjects", StreamConfig { subjects: vec!["$KV.c.>".into()], ..bucket.clone() }),
        ] {
            let error = BucketConfig::of_stream(&stream).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
