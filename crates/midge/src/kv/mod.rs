//! The key-value store: buckets of keys, of which streams keep the revisions (ADR-8).
//!
//! ```no_run
//! use midge::jetstream::JetStream;
//! use midge::kv::BucketConfig;
//!
//! # async fn example(client: midge::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let js = JetStream::new(client);
//! let profiles =
//!     js.create_key_value(BucketConfig { history: 5, ..BucketConfig::new("profiles") }).await?;
//! let revision = profiles.put("sue.color", "blue").await?;
//! profiles.update("sue.color", "green", revision).await?;
//! if let Some(entry) = profiles.get("sue.color").await? {
//!     println!("{} is {:?}", entry.key(), entry.value());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Reads are answered by any server that has the bucket, and may miss what was just written. Who
//! must see it asks [the leader](Get::from_leader), which is slower and needs the permission to
//! request `$JS.API.STREAM.MSG.GET.KV_<bucket>`; a handle that
//! [reads what it has written](KeyValue::read_your_writes) does so where it has to. Writes are decided
//! by the leader alone.

mod batch;
mod buckets;
mod cache;
mod change;
mod get;
mod list;
mod many;
mod matching;
mod own;
mod put;
mod remove;
#[cfg(feature = "serde")]
mod typed;
mod view;
mod watch;
mod write;

use std::fmt;
use std::sync::Arc;

use midge_jetstream::kv::BucketSubjects;
use midge_jetstream::{ApiPrefix, StreamConfig};

pub use midge_jetstream::kv::{
    Base64Keys, Base64Values, BucketConfig, BucketConfigError, BucketName, BucketNameError,
    BucketStatus, CodecError, Entry, EntryError, KeyCodec, KeyError, NotABucket, Operation,
    PathKeys, PlainKeys, PlainValues, ValueCodec, WatchFilterError,
};

pub use batch::{Differing, WriteBatch, WriteBatchError};
pub use buckets::{BucketError, KeyValueNames, KeyValues, OpenError};
pub use cache::{Cache, CacheBuilder, CacheError, CacheStatus, CacheWait, CacheWaitError};
pub use change::{Change, ChangeError};
pub use get::{Get, GetError};
pub use list::{Entries, Keys, PurgeDeletesError};
pub use many::GetManyError;
pub use matching::DeleteMatchingError;
pub use put::{Create, CreateError, Put, PutError, Putting, Update, UpdateError};
pub use remove::{Delete, DeleteError, Purge};
#[cfg(feature = "serde")]
pub use typed::{JsonValues, ValueError};
pub use view::{
    CodingError, HistoryError, View, ViewBatch, ViewCache, ViewEntry, ViewError, ViewKeys,
    ViewWatch, ViewWatchItem,
};
pub use watch::{Watch, WatchBuilder, WatchError, WatchItem};
pub use write::TooLarge;

use self::own::OwnWrites;
use crate::jetstream::{CallError, JetStream, Stream};

/// A bucket. Made by [`JetStream::create_key_value`] and [`JetStream::open_key_value`], among
/// others.
///
/// A clone is cheap, and is the same bucket. What it knows of the configuration is what that was when it
/// was made: `max_value_size`, by which values are refused here, direct gets, and where a mirror is
/// written to. Where that has been changed since, open it again.
#[derive(Clone)]
pub struct KeyValue {
    bucket: Arc<Bucket>,
    /// What it has written, if it is to read that.
    own: Option<Arc<OwnWrites>>,
}

struct Bucket {
    name: BucketName,
    stream: Stream,
    subjects: BucketSubjects,
    /// What stands before a key in the subject of a direct get of its last revision.
    get_last: String,
    /// Where writes are decided: of a mirror, its origin.
    origin: Stream,
    origin_subjects: BucketSubjects,
    direct: bool,
    max_value_size: Option<u32>,
    /// Several keys can be written together; of a mirror, nothing is known.
    atomic: bool,
}

impl KeyValue {
    /// The bucket that a stream is.
    fn of(js: &JetStream, config: &StreamConfig) -> Result<Self, NotABucket> {
        let subjects = BucketSubjects::new(config, js.api_prefix())?;
        let name = subjects.bucket().clone();
        let stream = Stream::new(js.clone(), name.stream(), None);
        let origin_subjects = subjects.origin();
        let far = config.mirror.as_ref().and_then(|mirror| mirror.external.as_ref());
        let js = match far.map(|external| ApiPrefix::new(&external.api)) {
            Some(Ok(api)) => js.with_prefix(api),
            _ => js.clone(),
        };
        let origin = Stream::new(js, origin_subjects.bucket().stream(), None);
        let (direct, max_value_size) = (config.allow_direct, config.max_msg_size);
        let atomic = config.allow_atomic;
        let get_last = format!("DIRECT.GET.{}.{}", stream.name(), subjects.stored(""));
        let get_last = stream.context().api_prefix().subject(&get_last);
        let bucket = Bucket {
            get_last,
            name,
            stream,
            subjects,
            origin,
            origin_subjects,
            direct,
            max_value_size,
            atomic,
        };
        Ok(Self { bucket: Arc::new(bucket), own: None })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &BucketName {
        &self.bucket.name
    }

    /// The same bucket, by a handle whose [`get`](Self::get) and [`get_many`](Self::get_many) give what
    /// was written through it and its clones, or what is newer: where a server gives less or nothing,
    /// the leader is asked, which needs the permission that [`from_leader`](Get::from_leader) needs.
    ///
    /// It remembers the highest revision of each of the 4,096 keys that it wrote last, by writes that
    /// were acknowledged; each call of this method begins with none. A key that has expired since is
    /// asked of the leader each time.
    #[must_use]
    pub fn read_your_writes(&self) -> Self {
        Self { bucket: self.bucket.clone(), own: Some(Arc::default()) }
    }

    fn note_written(&self, key: &str, revision: u64) {
        if let Some(own) = &self.own {
            own.note(key, revision);
        }
    }

    /// Its stream.
    #[must_use]
    pub fn stream(&self) -> &Stream {
        &self.bucket.stream
    }

    fn js(&self) -> &JetStream {
        self.bucket.stream.context()
    }

    /// Whether several keys can be written together. Where that was not so when it was opened, the
    /// stream is asked.
    async fn takes_batches(&self) -> Result<bool, CallError> {
        Ok(self.bucket.atomic || self.bucket.origin.info().await?.config.allow_atomic)
    }

    /// What it is at the moment.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; [`OpenError::NotFound`] when it has gone.
    pub async fn status(&self) -> Result<BucketStatus, OpenError> {
        let info = self.bucket.stream.info().await;
        let info = info.map_err(|error| OpenError::of(self.name(), error))?;
        Ok(BucketStatus::of_stream(info)?)
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue").field("bucket", self.name()).finish_non_exhaustive()
    }
}

/// A future whose type is not worth a name.
type Boxed<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
