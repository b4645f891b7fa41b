//! Giving keys values.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge_jetstream::ApiError;
use midge_jetstream::kv::{KeyError, check_key};

use super::get::GetError;
use super::own::OwnWrites;
use super::write::{Options, TooLarge, Unwritten, may_be_stored, timeout_option, ttl_option};
use super::{Boxed, KeyValue};
use crate::jetstream::{FeatureError, JetPublishError, Publish, Publishing};

/// How often a key that is deleted is tried to be created.
const ATTEMPTS: u32 = 10;

/// Why a value is not known to be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// It cannot be a key. Nothing was sent.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The value is larger than the bucket takes. Nothing was stored.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// It was not stored, or that is not known.
    #[error(transparent)]
    Publish(#[from] JetPublishError),
}

/// Why a value is not known to have taken the place of a revision.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The last revision of the key is another one. Nothing was stored.
    #[error("the last revision of {key:?} is not {expected}: get it, and decide anew")]
    WrongRevision {
        /// The key.
        key: String,
        /// What was expected.
        expected: u64,
        /// The server's words.
        error: ApiError,
    },
    /// It was not stored, or that is not known.
    #[error(transparent)]
    Put(#[from] PutError),
}

/// Why a key is not known to have been created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// It has a value. Nothing was stored.
    #[error("{key:?} exists with revision {revision}")]
    Exists {
        /// The key.
        key: String,
        /// Its last revision.
        revision: u64,
    },
    /// Others created and deleted it each time it was to be. Nothing was stored.
    #[error("{key:?} was created and deleted by others {ATTEMPTS} times in a row: try again later")]
    Contended {
        /// The key.
        key: String,
    },
    /// What is there could not be read. Nothing was stored.
    #[error("there is a revision that could not be read: {0}")]
    Get(#[from] GetError),
    /// The server is too old for a TTL, or did not say. Nothing was sent.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// It was not stored, or that is not known.
    #[error(transparent)]
    Put(#[from] PutError),
}

may_be_stored!(PutError::Publish, UpdateError::Put, CreateError::Put);

impl KeyValue {
    /// Gives a key a value, whatever it had. `.await` gives `Result<u64, PutError>`: the revision.
    ///
    /// It never expires by itself but by the TTL of the bucket: a TTL that the key was
    /// [created](Self::create) with ends here.
    pub fn put<'a, P: AsRef<[u8]>>(&self, key: &str, value: P) -> Put<'a, P> {
        let own = self.own.clone().map(|own| (own, key.to_owned()));
        let fits = TooLarge::check(value.as_ref().len(), None, self.limit());
        let publish = self.write(key, value);
        Put { publish: publish.and_then(|publish| Ok(fits.map(|()| publish)?)), own }
    }

    /// Gives a key a value if it has none: if it was never written, is deleted or has expired.
    /// `.await` gives `Result<u64, CreateError>`: the revision.
    pub fn create<'a, P: AsRef<[u8]> + Send + 'a>(
        &'a self,
        key: &'a str,
        value: P,
    ) -> Create<'a, P> {
        Create { kv: self, key, value, options: Options::default() }
    }

    /// Gives a key a value if this is its last revision. `.await` gives `Result<u64, UpdateError>`:
    /// the new revision.
    ///
    /// After a lost connection or a timeout it may have been stored: what the key has then
    /// tells. A TTL that the key had ends here, as with [`put`](Self::put).
    pub fn update<'a, P: AsRef<[u8]> + Send + 'a>(
        &'a self,
        key: &'a str,
        value: P,
        revision: u64,
    ) -> Update<'a, P> {
        let options = Options { expected: Some(revision), ..Options::default() };
        Update { kv: self, key, value, options }
    }

    /// A message to a key, which is not sent yet.
    pub(super) fn write<'a, P: AsRef<[u8]>>(
        &self,
        key: &str,
        value: P,
    ) -> Result<Publish<'a, String, P>, PutError> {
        check_key(key)?;
        Ok(self.js().publish(self.bucket.subjects.written(key), value))
    }

    /// Stores a value if the last revision of the key is the expected one.
    pub(super) async fn write_expecting(
        &self,
        key: &str,
        value: &[u8],
        options: Options,
    ) -> Result<u64, UpdateError> {
        let publish = self.write(key, value)?;
        self.send(key, value.len(), publish, options).await.map_err(|error| match error {
            Unwritten::TooLarge(error) => PutError::from(error).into(),
            Unwritten::WrongRevision(expected, error) => {
                UpdateError::WrongRevision { key: key.to_owned(), expected, error }
            }
            Unwritten::Publish(error) => PutError::from(error).into(),
        })
    }
}

/// A value that is about to be stored. Made by [`KeyValue::put`].
#[must_use = "nothing is stored until `.await`"]
pub struct Put<'a, P> {
    publish: Result<Publish<'a, String, P>, PutError>,
    /// Who wants to know of the revision of which key.
    own: Option<(Arc<OwnWrites>, String)>,
}

impl<P: AsRef<[u8]>> Put<'_, P> {
    /// How long to wait for the server. Default: that of the [`JetStream`](crate::jetstream::JetStream).
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { publish: self.publish.map(|publish| publish.timeout(timeout)), ..self }
    }
}

impl<P> fmt::Debug for Put<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put").finish_non_exhaustive()
    }
}

impl<'a, P: AsRef<[u8]>> IntoFuture for Put<'a, P> {
    type Output = Result<u64, PutError>;
    type IntoFuture = Putting<'a, P>;

    fn into_future(self) -> Putting<'a, P> {
        let Self { publish, own } = self;
        Putting { state: publish.map(IntoFuture::into_future).map_err(Some), own }
    }
}

/// The future of a [`Put`].
///
/// Dropped before it is ready, the value is given up: if no byte of it was written it is not sent,
/// else it may be stored.
#[must_use = "futures do nothing unless polled"]
pub struct Putting<'a, P> {
    state: Result<Publishing<'a, String, P>, Option<PutError>>,
    own: Option<(Arc<OwnWrites>, String)>,
}

/// Nothing here is pinned by being polled.
impl<P> Unpin for Putting<'_, P> {}

impl<P: AsRef<[u8]>> Future for Putting<'_, P> {
    type Output = Result<u64, PutError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match &mut this.state {
            Ok(publishing) => {
                let ack = ready!(Pin::new(publishing).poll(context))?;
                if let Some((own, key)) = &this.own {
                    own.note(key, ack.seq);
                }
                Poll::Ready(Ok(ack.seq))
            }
            Err(error) => {
                Poll::Ready(Err(error.take().expect("a put is polled until it is ready")))
            }
        }
    }
}

impl<P> fmt::Debug for Putting<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Putting").finish_non_exhaustive()
    }
}

/// A key that is about to be created. Made by [`KeyValue::create`].
#[derive(Clone, Debug)]
#[must_use = "nothing is stored until `.await`"]
pub struct Create<'a, P> {
    kv: &'a KeyValue,
    key: &'a str,
    value: P,
    options: Options,
}

impl<'a, P: AsRef<[u8]> + Send + 'a> Create<'a, P> {
    ttl_option!("It expires");
    timeout_option!();

    async fn create(self) -> Result<u64, CreateError> {
        let Self { kv, key, value, mut options } = self;
        let value = value.as_ref();
        check_key(key).map_err(PutError::from)?;
        kv.check_ttl(options).await?;
        let mut expected = 0;
        for _ in 0..ATTEMPTS {
            options.expected = Some(expected);
            match kv.write_expecting(key, value, options).await {
                Ok(revision) => return Ok(revision),
                Err(UpdateError::WrongRevision { .. }) => {}
                Err(UpdateError::Put(error)) => return Err(error.into()),
            }
            // Others may be behind: only the leader knows what is in the way.
            expected = match kv.read_leader(key, None).await? {
                Some(entry) if entry.is_put() => {
                    let (key, revision) = (key.to_owned(), entry.revision());
                    return Err(CreateError::Exists { key, revision });
                }
                Some(marker) => marker.revision(),
                None => 0,
            };
        }
        Err(CreateError::Contended { key: key.to_owned() })
    }
}

impl<'a, P: AsRef<[u8]> + Send + 'a> IntoFuture for Create<'a, P> {
    type Output = Result<u64, CreateError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.create())
    }
}

/// A value that is about to take the place of a revision. Made by [`KeyValue::update`].
#[derive(Clone, Debug)]
#[must_use = "nothing is stored until `.await`"]
pub struct Update<'a, P> {
    kv: &'a KeyValue,
    key: &'a str,
    value: P,
    options: Options,
}

impl<'a, P: AsRef<[u8]> + Send + 'a> Update<'a, P> {
    timeout_option!();
}

impl<'a, P: AsRef<[u8]> + Send + 'a> IntoFuture for Update<'a, P> {
    type Output = Result<u64, UpdateError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { kv, key, value, options } = self;
        Box::pin(async move { kv.write_expecting(key, value.as_ref(), options).await })
    }
}
