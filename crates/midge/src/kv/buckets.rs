//! Making, finding and listing buckets.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream as _;
use midge_jetstream::kv::{
    BucketConfig, BucketConfigError, BucketName, BucketNameError, BucketStatus, NotABucket,
};
use midge_jetstream::{Differences, ErrorCode, LevelError, Listed, StreamInfo};

use super::KeyValue;
use crate::jetstream::{CallError, ConfigureError, JetStream, List, Stream, StreamError};

/// Why there is no such bucket to use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No bucket can have the name. Nothing was sent.
    #[error(transparent)]
    Name(#[from] BucketNameError),
    /// It is not there.
    #[error("there is no bucket {bucket}: create it first")]
    NotFound {
        /// Its name.
        bucket: BucketName,
    },
    /// There is a stream of the name, and it is none.
    #[error(transparent)]
    NotABucket(#[from] NotABucket),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl OpenError {
    pub(super) fn of(bucket: &BucketName, error: CallError) -> Self {
        match error.code() {
            Some(ErrorCode::STREAM_NOT_FOUND) => Self::NotFound { bucket: bucket.clone() },
            _ => Self::Call(error),
        }
    }
}

/// Why a bucket was not created or updated as it was asked to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BucketError {
    /// No bucket can have the name, or the configuration contradicts itself. Nothing was sent.
    #[error(transparent)]
    Config(#[from] BucketConfigError),
    /// The server, or domain, is too old for a part of it. Nothing was changed.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// It is there with another configuration, as it stays.
    #[error(
        "bucket {bucket} is there with another configuration: {differences}. Open it, or update it"
    )]
    Exists {
        /// Its name.
        bucket: BucketName,
        /// What is not as it was asked for, by the fields of the stream; also what is there and was
        /// not asked for. Empty: only the duplicate window is another, or what Midge does not know.
        differences: Differences,
        /// What is.
        info: Box<StreamInfo>,
    },
    /// The server did it, and left out or changed a part: most often it is too old for that part.
    #[error("the server did not take all of it: {differences}. It is there as the server took it")]
    Differs {
        /// What is not as it was asked for.
        differences: Differences,
        /// What is.
        info: Box<StreamInfo>,
    },
    /// The stream of the name is no bucket.
    #[error(transparent)]
    NotABucket(#[from] NotABucket),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl BucketError {
    /// What JetStream refused it for, if it did.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Call(error) => error.code(),
            _ => None,
        }
    }
}

impl From<StreamError> for BucketError {
    fn from(error: StreamError) -> Self {
        match error {
            ConfigureError::Config(error) => Self::Config(error.into()),
            ConfigureError::Level(error) => Self::Level(error),
            ConfigureError::Differs { differences, info } => Self::Differs { differences, info },
            ConfigureError::Call(error) => Self::Call(error),
        }
    }
}

impl JetStream {
    /// Creates a bucket. One that is there with the same configuration is given as it is.
    ///
    /// # Errors
    ///
    /// [`BucketError`]; [`BucketError::Exists`] when it is there with another configuration.
    pub async fn create_key_value(&self, config: BucketConfig) -> Result<KeyValue, BucketError> {
        let mut asked = config.to_stream()?;
        match self.create_stream(asked.clone()).await {
            Ok(stream) => self.made(&stream).await,
            Err(error) if error.code() == Some(ErrorCode::STREAM_NAME_EXIST) => {
                let bucket = BucketName::new(&config.bucket).map_err(BucketConfigError::from)?;
                let info = Stream::new(self.clone(), bucket.stream(), None).info().await?;
                BucketConfig::of_stream(&info.config)?;
                // Servers fill it in.
                asked.duplicate_window = asked.duplicate_window.or(info.config.duplicate_window);
                let differences = Differences::both_ways(&asked, &info.config);
                Err(BucketError::Exists { bucket, differences, info: Box::new(info) })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a bucket, or gives the one that is there, whatever its configuration: with what is not
    /// as it was asked for, or was not asked for and is not the default.
    ///
    /// # Errors
    ///
    /// [`BucketError`].
    pub async fn create_or_open_key_value(
        &self,
        config: BucketConfig,
    ) -> Result<(KeyValue, Differences), BucketError> {
        match self.create_key_value(config).await {
            Ok(bucket) => Ok((bucket, Differences::default())),
            Err(BucketError::Exists { differences, info, .. }) => {
                Ok((KeyValue::of(self, &info.config)?, differences))
            }
            Err(error) => Err(error),
        }
    }

    /// A bucket that is there.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn open_key_value(&self, name: &str) -> Result<KeyValue, OpenError> {
        let name = BucketName::new(name)?;
        let info = Stream::new(self.clone(), name.stream(), None).info().await;
        let info = info.map_err(|error| OpenError::of(&name, error))?;
        Ok(KeyValue::of(self, &info.config)?)
    }

    /// Changes the configuration of a bucket into `config`, whole: what that leaves out becomes the
    /// default. A stream of the name that is no bucket stays as it is.
    ///
    /// # Errors
    ///
    /// [`BucketError`], with [`ErrorCode::STREAM_NOT_FOUND`] when it is not there.
    pub async fn update_key_value(&self, config: BucketConfig) -> Result<KeyValue, BucketError> {
        let stream = config.to_stream()?;
        self.check_bucket(&config).await?;
        let stream = self.update_stream(stream).await?;
        self.made(&stream).await
    }

    /// Fails when the stream of a bucket is none, or not there.
    async fn check_bucket(&self, config: &BucketConfig) -> Result<(), BucketError> {
        let bucket = BucketName::new(&config.bucket).map_err(BucketConfigError::from)?;
        let info = Stream::new(self.clone(), bucket.stream(), None).info().await?;
        BucketConfig::of_stream(&info.config)?;
        Ok(())
    }

    /// [Updates](Self::update_key_value) a bucket, or [creates](Self::create_key_value) it when it is
    /// not there.
    ///
    /// # Errors
    ///
    /// [`BucketError`].
    pub async fn create_or_update_key_value(
        &self,
        config: BucketConfig,
    ) -> Result<KeyValue, BucketError> {
        let stream = config.to_stream()?;
        match self.check_bucket(&config).await {
            Err(error) if error.code() != Some(ErrorCode::STREAM_NOT_FOUND) => return Err(error),
            _ => {}
        }
        let stream = self.create_or_update_stream(stream).await?;
        self.made(&stream).await
    }

    async fn made(&self, stream: &Stream) -> Result<KeyValue, BucketError> {
        match stream.cached_info() {
            Some(info) => Ok(KeyValue::of(self, &info.config)?),
            None => Ok(KeyValue::of(self, &stream.info().await?.config)?),
        }
    }

    /// Deletes a bucket with all it holds. A stream of the name that is none stays.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub async fn delete_key_value(&self, name: &str) -> Result<(), OpenError> {
        let bucket = self.open_key_value(name).await?;
        let deleted = self.delete_stream(bucket.name().stream()).await;
        deleted.map_err(|error| OpenError::of(bucket.name(), error))
    }

    /// The names of every bucket, in their order; mirrors among them. It goes by the names of the
    /// streams: one of a bucket's name that is none is there too.
    pub fn key_value_names(&self) -> KeyValueNames {
        KeyValueNames { names: self.stream_names() }
    }

    /// Every bucket, in the order of the names, with what it is.
    pub fn key_values(&self) -> KeyValues {
        KeyValues { streams: self.streams() }
    }
}

/// The names of every bucket. Made by [`JetStream::key_value_names`]. It is a stream too.
///
/// They come page by page, and are no picture of one moment. After an error it is over.
#[derive(Debug)]
#[must_use = "nothing is asked for until it is read"]
pub struct KeyValueNames {
    names: List<String>,
}

impl KeyValueNames {
    /// The next one; `None` after the last one. Dropping the future loses nothing.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(
        &mut self,
    ) -> impl Future<Output = Option<Result<BucketName, CallError>>> + Send + '_ {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context))
    }
}

impl futures_core::Stream for KeyValueNames {
    type Item = Result<BucketName, CallError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let names = &mut self.get_mut().names;
        loop {
            let Some(name) = ready!(Pin::new(&mut *names).poll_next(context)) else {
                return Poll::Ready(None);
            };
            if let Some(name) = name.map(|name| BucketName::of_stream(&name)).transpose() {
                return Poll::Ready(Some(name));
            }
        }
    }
}

/// Every bucket, with what it is. Made by [`JetStream::key_values`]. It is a stream too.
///
/// They come page by page, and are no picture of one moment. After an error it is over.
#[derive(Debug)]
#[must_use = "nothing is asked for until it is read"]
pub struct KeyValues {
    streams: List<StreamInfo>,
}

impl KeyValues {
    /// The next one; `None` after the last one. Dropping the future loses nothing.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(
        &mut self,
    ) -> impl Future<Output = Option<Result<Listed<BucketStatus>, CallError>>> + Send + '_ {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context))
    }
}

impl futures_core::Stream for KeyValues {
    type Item = Result<Listed<BucketStatus>, CallError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let streams = &mut self.get_mut().streams;
        loop {
            let Some(listed) = ready!(Pin::new(&mut *streams).poll_next(context)) else {
                return Poll::Ready(None);
            };
            if let Some(listed) = listed.map(bucket).transpose() {
                return Poll::Ready(Some(listed));
            }
        }
    }
}

/// What is listed of a stream, if it is a bucket.
fn bucket(listed: Listed<StreamInfo>) -> Option<Listed<BucketStatus>> {
    let is_bucket = |stream: &str| BucketName::of_stream(stream).is_some();
    match listed {
        Listed::Found(info) => BucketStatus::of_stream(info).ok().map(Listed::Found),
        Listed::Offline { name, reason } => {
            is_bucket(&name).then_some(Listed::Offline { name, reason })
        }
        Listed::Missing { name } => is_bucket(&name).then_some(Listed::Missing { name }),
        Listed::Unreadable { entry, error } => {
            let is_one = entry["config"]["name"].as_str().is_some_and(is_bucket);
            is_one.then_some(Listed::Unreadable { entry, error })
        }
        _ => None,
    }
}
