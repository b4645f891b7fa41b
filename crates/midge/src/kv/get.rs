//! Getting one key.

use std::future::IntoFuture;

use midge_jetstream::kv::{BucketName, BucketSubjects, Entry, EntryError, KeyError, check_key};
use midge_jetstream::{DirectGetError, GetRequest};

use super::{Boxed, KeyValue};
use crate::jetstream::{CallError, DirectError, GetMessageError, Stream};

/// Why a key was not got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// It cannot be a key. Nothing was sent.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Nobody answers: the bucket is not there, or has no leader and no replica for now, or its stream
    /// allows no direct gets any more.
    #[error("nobody answers for bucket {bucket}: is it there, with allow_direct? Open it again")]
    NoResponders {
        /// The bucket.
        bucket: String,
    },
    /// The server refused, or its answer is not understood.
    #[error(transparent)]
    Direct(#[from] DirectGetError),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl KeyValue {
    /// Gets the last revision of a key.
    ///
    /// `.await` gives `Result<Option<Entry>, GetError>`: `None` when the key was never written, is
    /// deleted or has expired. Any server that has the bucket answers, so that a revision that was
    /// just written may be missing: [`from_leader`](Get::from_leader) does not miss it, and
    /// [`read_your_writes`](Self::read_your_writes) does not miss what was written by the same handle.
    /// Of a bucket without direct gets, its leader answers: of a mirror, that of the mirror.
    pub fn get<'a>(&'a self, key: &'a str) -> Get<'a> {
        Get { kv: self, key, revision: None, leader: false, markers: false }
    }

    /// The last revision of a key, or the given one, as its leader has it; markers too.
    pub(super) async fn read_leader(
        &self,
        key: &str,
        revision: Option<u64>,
    ) -> Result<Option<Entry>, GetError> {
        let bucket = &self.bucket;
        self.read_stored(&bucket.origin, &bucket.origin_subjects, key, revision).await
    }

    /// The same, as the leader of this stream has it.
    async fn read_stored(
        &self,
        stream: &Stream,
        subjects: &BucketSubjects,
        key: &str,
        revision: Option<u64>,
    ) -> Result<Option<Entry>, GetError> {
        let message = match revision {
            Some(revision) => stream.message(revision).await,
            None => stream.last_message(&subjects.stored(key)).await,
        };
        let message = match message {
            Ok(message) => message,
            Err(GetMessageError::NotFound) => return Ok(None),
            Err(GetMessageError::Call(error)) => return Err(error.into()),
        };
        self.entry(key, Entry::stored(&self.bucket.name, subjects, message))
    }

    async fn read_direct(
        &self,
        key: &str,
        revision: Option<u64>,
    ) -> Result<Option<Entry>, GetError> {
        let bucket = &self.bucket;
        let call = self.js().call();
        let answer = match revision {
            Some(seq) => {
                let get = format!("DIRECT.GET.{}", bucket.stream.name());
                call.request(&get, Some(&GetRequest::Sequence { seq })).await
            }
            None => {
                // With the subject in that of the request, permissions can be given by it.
                call.request_on([&*bucket.get_last, key].concat(), None::<&()>).await
            }
        };
        match answer {
            Ok((_, message)) => {
                self.entry(key, Entry::direct(&bucket.name, &bucket.subjects, message))
            }
            Err(CallError::NoResponders { .. }) => {
                Err(GetError::NoResponders { bucket: bucket.name.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn entry(
        &self,
        key: &str,
        entry: Result<Entry, EntryError>,
    ) -> Result<Option<Entry>, GetError> {
        match entry {
            // A revision can be that of another key.
            Ok(entry) => Ok((entry.key() == key).then_some(entry)),
            Err(EntryError::Direct(DirectGetError::NotFound) | EntryError::Subject { .. }) => {
                Ok(None)
            }
            Err(EntryError::Direct(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }
}

/// A key that is about to be got. Made by [`KeyValue::get`].
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is asked for until `.await`"]
pub struct Get<'a> {
    kv: &'a KeyValue,
    key: &'a str,
    revision: Option<u64>,
    leader: bool,
    markers: bool,
}

impl Get<'_> {
    /// This revision instead of the last one; `None` where it is not kept any more, or is one of
    /// another key.
    pub fn at(mut self, revision: u64) -> Self {
        self.revision = Some(revision);
        self
    }

    /// From the leader of the bucket, which has all that was written; of a mirror, from that of its
    /// origin. It needs the permission to request `$JS.API.STREAM.MSG.GET.KV_<bucket>`.
    ///
    /// A leader that the other servers do not reach, or that stood still, takes itself for the leader
    /// for some seconds more: a client of that server can read what is old meanwhile. Nothing is stored
    /// by it then: an [update](KeyValue::update) of what was read so fails.
    pub fn from_leader(mut self) -> Self {
        self.leader = true;
        self
    }

    /// Also a revision that deletes the key.
    pub fn with_markers(mut self) -> Self {
        self.markers = true;
        self
    }

    async fn ask(self) -> Result<Option<Entry>, GetError> {
        let Self { kv, key, revision, leader, markers } = self;
        check_key(key)?;
        if revision == Some(0) {
            return Ok(None);
        }
        let bucket = &kv.bucket;
        let mut entry = match (leader, bucket.direct) {
            (true, _) => kv.read_leader(key, revision).await?,
            (false, true) => kv.read_direct(key, revision).await?,
            (false, false) => {
                kv.read_stored(&bucket.stream, &bucket.subjects, key, revision).await?
            }
        };
        if !leader
            && let Some(own) = &kv.own
            && own.is_missing(key, revision, entry.as_ref())
        {
            entry = kv.read_leader(key, revision).await?;
        }
        Ok(entry.filter(|entry| markers || entry.is_put()))
    }
}

impl<'a> IntoFuture for Get<'a> {
    type Output = Result<Option<Entry>, GetError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}

impl GetError {
    pub(super) fn of(bucket: &BucketName, error: DirectError) -> Self {
        match error {
            DirectError::Get(error) => Self::Direct(error),
            DirectError::Level(_) => Self::Direct(DirectGetError::Unsupported),
            DirectError::NotAllowed { .. } => Self::NoResponders { bucket: bucket.to_string() },
            DirectError::Call(error) => Self::Call(error),
        }
    }
}
