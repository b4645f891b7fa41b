//! Calls of the API: a request, its deadline, and what can become of it.

use std::time::Duration;

use midge_jetstream::{
    AccountInfo, ApiError, ApiLevel, ConfigError, ConsumerInfo, Differences, Done, ErrorCode,
    LevelError, NameError, ReplyError, StreamInfo, read_reply,
};
use midge_proto::{Instant, Message, RequestError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::JetStream;

/// The level that a request needs, which servers check since 2.12.
const LEVEL: &str = "Nats-Required-Api-Level";

/// A call of the API that did not bring what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// A name that no stream or consumer can have. Nothing was sent.
    #[error(transparent)]
    Name(#[from] NameError),
    /// An argument that no server would take. Nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Nobody answers. JetStream is off for the account or on the server, the prefix or domain is
    /// not the right one or is cut off, or the server does not know the call.
    #[error("nobody answers on {subject}: is JetStream on, and this the right domain or prefix?")]
    NoResponders {
        /// The subject of the call.
        subject: String,
    },
    /// The request was not sent, or no reply came. The error says whether the call may have been
    /// carried out.
    #[error("the call on {subject} failed: {error}")]
    Request {
        /// The subject of the call.
        subject: String,
        /// Why.
        error: RequestError,
    },
    /// JetStream refused.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The reply is none that is understood. The call may have been carried out.
    #[error("the reply to the call on {subject} is not understood: {error}")]
    Malformed {
        /// The subject of the call.
        subject: String,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

impl CallError {
    /// JetStream's refusal, if it is one.
    pub fn api(&self) -> Option<&ApiError> {
        match self {
            Self::Api(error) => Some(error),
            _ => None,
        }
    }

    /// What JetStream refused it for, if it did.
    pub fn code(&self) -> Option<ErrorCode> {
        self.api().map(|error| error.err_code)
    }

    pub(super) fn reply(subject: &str, error: ReplyError) -> Self {
        match error {
            ReplyError::Api(error) => Self::Api(error),
            ReplyError::Malformed(error) => Self::Malformed { subject: subject.to_owned(), error },
            error => Self::Malformed {
                subject: subject.to_owned(),
                error: serde::de::Error::custom(error),
            },
        }
    }
}

/// A stream or consumer that was not created or updated as it was asked to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError<I> {
    /// The configuration contradicts itself. Nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server, or domain, is too old for a part of it. Nothing was changed.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The server did it, and left out or changed a part: most often it is too old for that part.
    #[error("the server did not take all of it: {differences}. It is there as the server took it")]
    Differs {
        /// What is not as it was asked for.
        differences: Differences,
        /// What is.
        info: Box<I>,
    },
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Why a stream was not created or updated as it was asked to be.
pub type StreamError = ConfigureError<StreamInfo>;

/// Why a consumer was not created or updated as it was asked to be.
pub type ConsumerError = ConfigureError<ConsumerInfo>;

impl<I> ConfigureError<I> {
    /// What JetStream refused it for, if it did.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Call(error) => error.code(),
            _ => None,
        }
    }
}

impl<I> From<NameError> for ConfigureError<I> {
    fn from(error: NameError) -> Self {
        Self::Call(error.into())
    }
}

impl<I> From<FeatureError> for ConfigureError<I> {
    fn from(error: FeatureError) -> Self {
        match error {
            FeatureError::Level(error) => Self::Level(error),
            FeatureError::Call(error) => Self::Call(error),
        }
    }
}

/// A call that not every server knows did not bring what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeatureError {
    /// The server, or domain, is too old for it. Nothing was sent.
    #[error(transparent)]
    Level(#[from] LevelError),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl FeatureError {
    /// What JetStream refused it for, if it did.
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Call(error) => error.code(),
            Self::Level(_) => None,
        }
    }
}

impl From<NameError> for FeatureError {
    fn from(error: NameError) -> Self {
        Self::Call(error.into())
    }
}

/// One operation, which may be several requests, and when it must be over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(super) context: &'a JetStream,
    deadline: Instant,
    /// What the server is to check in each request.
    pub(super) level: Option<ApiLevel>,
}

impl JetStream {
    /// An operation that begins now.
    pub(crate) fn call(&self) -> Call<'_> {
        self.call_until(self.client().shared().after(self.timeout()))
    }

    /// An operation that is part of another, with its deadline.
    pub(super) fn call_until(&self, deadline: Instant) -> Call<'_> {
        Call { context: self, deadline, level: None }
    }
}

impl Call<'_> {
    /// What is left of its time.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_since(self.context.client().shared().clock.now())
    }

    /// Asks for what JetStream answers with a `T`. A request without fields has no payload.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        call: &str,
        request: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<T, CallError> {
        let (subject, message) = self.request(call, request).await?;
        read_reply(message.payload()).map_err(|error| CallError::reply(&subject, error))
    }

    /// Asks for what JetStream answers with its success alone.
    pub(super) async fn ask_done(
        &self,
        call: &str,
        request: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(), CallError> {
        let done: Done = self.ask(call, request).await?;
        if done.success {
            return Ok(());
        }
        let subject = self.context.api_prefix().subject(call);
        let error = serde::de::Error::custom("it does not say that it was done");
        Err(CallError::Malformed { subject, error })
    }

    /// The subject of a call and the reply to it.
    pub(crate) async fn request(
        &self,
        call: &str,
        request: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(String, Message), CallError> {
        self.request_on(self.context.api_prefix().subject(call), request).await
    }

    /// As [`request`](Self::request), with the whole subject of the call.
    pub(crate) async fn request_on(
        &self,
        subject: String,
        request: Option<&(impl Serialize + ?Sized)>,
    ) -> Result<(String, Message), CallError> {
        let payload = match request.map(serde_json::to_vec).transpose() {
            Ok(payload) => payload.unwrap_or_default(),
            Err(error) => return Err(CallError::Malformed { subject, error }),
        };
        let mut request = self.context.client().request(&*subject, payload).deadline(self.deadline);
        if let Some(level) = self.level {
            request = request.header(LEVEL, level.0.to_string());
        }
        match request.await {
            Ok(message) => Ok((subject, message)),
            Err(RequestError::NoResponders) => Err(CallError::NoResponders { subject }),
            Err(error) => Err(CallError::Request { subject, error }),
        }
    }
}

impl JetStream {
    /// What the account uses of JetStream, and may use.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`CallError::NoResponders`] when JetStream is not there.
    pub async fn account_info(&self) -> Result<AccountInfo, CallError> {
        let connection = self.connection();
        let info: AccountInfo = self.call().ask("INFO", None::<&()>).await?;
        self.learn_level(connection, Some(ApiLevel(info.api.level)));
        Ok(info)
    }
}
