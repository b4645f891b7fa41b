//! Making, finding and listing consumers of a stream.

use midge_jetstream::{
    Action, ApiLevel, ConsumerConfig, ConsumerInfo, ConsumerName, CreateConsumerRequest,
    Differences, Done, ErrorCode, NameError, Need, PauseRequest, PauseState, ResetReply,
    ResetRequest, Time, UnpinRequest,
};

#[cfg(doc)]
use super::JetStream;
use super::list::List;
use super::pull::Consumer;
use super::request::{CallError, ConsumerError, FeatureError};
use super::stream::Stream;

const PAUSE: Need = Need::new("to pause a consumer", ApiLevel::V2_11);
const UNPIN: Need = Need::new("to unpin a reader", ApiLevel::V2_11);
const RESET: Need = Need::new("to reset a consumer", ApiLevel::V2_14);

/// Why a consumer cannot be read by pulling.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// It was not told what it is.
    #[error(transparent)]
    Call(#[from] CallError),
    /// It is pushed.
    #[error("{name} is a push consumer: read it with push_consumer")]
    Push {
        /// Its name.
        name: String,
    },
}

impl BindError {
    /// What JetStream refused it for, if it did.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Call(error) => error.code(),
            Self::Push { .. } => None,
        }
    }
}

impl From<NameError> for BindError {
    fn from(error: NameError) -> Self {
        Self::Call(error.into())
    }
}

impl Stream {
    /// Creates a consumer. A durable one that is there with the same configuration is given as it
    /// is. To read it, take [`consumer`](Self::consumer) by its name, or
    /// [`JetStream::push_consumer`] if it pushes.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`]; [`ErrorCode::CONSUMER_ALREADY_EXISTS`](super::ErrorCode::CONSUMER_ALREADY_EXISTS)
    /// when one of the name is there, and is not durable or has another configuration.
    ///
    /// ```no_run
    /// use midge::jetstream::{ConsumerConfig, Stream};
    ///
    /// # async fn example(orders: Stream) -> Result<(), Box<dyn std::error::Error>> {
    /// let info = orders.create_consumer(ConsumerConfig::durable("billing")).await?;
    /// println!("{} messages wait", info.num_pending);
    /// let mut messages = orders.consumer(info.name).await?.consume().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_consumer(
        &self,
        config: ConsumerConfig,
    ) -> Result<ConsumerInfo, ConsumerError> {
        self.configure_consumer(config, Action::Create).await
    }

    /// Changes the configuration of a consumer into `config`, whole: what that leaves out becomes
    /// the default.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`]; [`ErrorCode::CONSUMER_DOES_NOT_EXIST`](super::ErrorCode::CONSUMER_DOES_NOT_EXIST)
    /// when it is not there.
    pub async fn update_consumer(
        &self,
        config: ConsumerConfig,
    ) -> Result<ConsumerInfo, ConsumerError> {
        self.configure_consumer(config, Action::Update).await
    }

    /// [Updates](Self::update_consumer) a consumer, or [creates](Self::create_consumer) it when it
    /// is not there.
    ///
    /// # Errors
    ///
    /// [`ConsumerError`].
    pub async fn create_or_update_consumer(
        &self,
        config: ConsumerConfig,
    ) -> Result<ConsumerInfo, ConsumerError> {
        self.configure_consumer(config, Action::CreateOrUpdate).await
    }

    async fn configure_consumer(
        &self,
        config: ConsumerConfig,
        action: Action,
    ) -> Result<ConsumerInfo, ConsumerError> {
        config.check()?;
        let mut subject = format!("CONSUMER.CREATE.{}", self.name());
        if let Some(name) = config.given_name() {
            subject.push('.');
            subject.push_str(name);
            add_filter(&mut subject, &config);
        }
        let mut call = self.context().call();
        call.require(self.context().need_of(config.need())).await?;
        let stream_name = self.name().to_string();
        let pedantic = self.context().is_pedantic();
        let request = CreateConsumerRequest { stream_name, config: &config, action, pedantic };
        let info: ConsumerInfo = call.ask(&subject, Some(&request)).await?;
        let differences = Differences::between(&config, &info.config);
        if !differences.is_empty() {
            return Err(ConsumerError::Differs { differences, info: Box::new(info) });
        }
        Ok(info)
    }

    /// A pull consumer that is there, with what it is at the moment. [`JetStream::consumer`] does not
    /// ask.
    ///
    /// # Errors
    ///
    /// [`BindError`]; its code is [`ErrorCode::CONSUMER_NOT_FOUND`](super::ErrorCode::CONSUMER_NOT_FOUND)
    /// when it is not there.
    pub async fn consumer(&self, name: impl AsRef<str>) -> Result<Consumer, BindError> {
        let info = self.consumer_info(name).await?;
        if info.config.deliver_subject.is_some() {
            return Err(BindError::Push { name: info.name });
        }
        let (stream, name) = (self.name().clone(), ConsumerName::new(&info.name)?);
        Ok(Consumer::new(self.context(), stream, name, Some(info)))
    }

    /// What a consumer is now.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`ErrorCode::CONSUMER_NOT_FOUND`](super::ErrorCode::CONSUMER_NOT_FOUND) when
    /// it is not there.
    pub async fn consumer_info(&self, name: impl AsRef<str>) -> Result<ConsumerInfo, CallError> {
        let call = self.consumer_call("INFO", name.as_ref())?;
        self.context().call().ask(&call, None::<&()>).await
    }

    /// Deletes a consumer.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`ErrorCode::CONSUMER_NOT_FOUND`](super::ErrorCode::CONSUMER_NOT_FOUND) when
    /// it is not there.
    pub async fn delete_consumer(&self, name: impl AsRef<str>) -> Result<(), CallError> {
        let call = self.consumer_call("DELETE", name.as_ref())?;
        self.context().call().ask_done(&call, None::<&()>).await
    }

    /// Every consumer, in the order of the names.
    pub fn consumers(&self) -> List<ConsumerInfo> {
        List::new(self.context().clone(), format!("CONSUMER.LIST.{}", self.name()), None)
    }

    /// The names of every consumer, in their order.
    pub fn consumer_names(&self) -> List<String> {
        List::new(self.context().clone(), format!("CONSUMER.NAMES.{}", self.name()), None)
    }

    /// Makes that a consumer delivers nothing until a time. One that has passed lets it go on.
    /// API level 1.
    ///
    /// # Errors
    ///
    /// [`FeatureError`].
    pub async fn pause_consumer(
        &self,
        name: impl AsRef<str>,
        until: impl Into<Time>,
    ) -> Result<PauseState, FeatureError> {
        self.pause(name.as_ref(), PauseRequest { pause_until: Some(until.into()) }).await
    }

    /// Lets a consumer go on that was [paused](Self::pause_consumer). API level 1.
    ///
    /// # Errors
    ///
    /// [`FeatureError`].
    pub async fn resume_consumer(&self, name: impl AsRef<str>) -> Result<PauseState, FeatureError> {
        self.pause(name.as_ref(), PauseRequest::default()).await
    }

    async fn pause(&self, name: &str, request: PauseRequest) -> Result<PauseState, FeatureError> {
        let subject = self.consumer_call("PAUSE", name)?;
        let mut call = self.context().call();
        call.require(Some(PAUSE)).await?;
        Ok(call.ask(&subject, Some(&request)).await?)
    }

    /// Takes the pin from the reader of a group that has it, for another to get it (ADR-42). API
    /// level 1.
    ///
    /// # Errors
    ///
    /// [`FeatureError`]; [`ErrorCode::CONSUMER_INVALID_PRIORITY_GROUP`](super::ErrorCode::CONSUMER_INVALID_PRIORITY_GROUP)
    /// when the consumer has no such group.
    pub async fn unpin_consumer(
        &self,
        name: impl AsRef<str>,
        group: &str,
    ) -> Result<(), FeatureError> {
        let subject = self.consumer_call("UNPIN", name.as_ref())?;
        let mut call = self.context().call();
        call.require(Some(UNPIN)).await?;
        let _: Done = call.ask(&subject, Some(&UnpinRequest { group: group.into() })).await?;
        Ok(())
    }

    /// Makes that a consumer goes on with the message of a sequence, or with the one behind its
    /// `ack_floor`, as if it had delivered nothing behind it (ADR-60). Its own count of deliveries
    /// begins anew. API level 4.
    ///
    /// # Errors
    ///
    /// [`FeatureError`]; [`ErrorCode::CONSUMER_NOT_FOUND`](super::ErrorCode::CONSUMER_NOT_FOUND)
    /// when it is not there,
    /// [`ErrorCode::CONSUMER_INVALID_RESET`](super::ErrorCode::CONSUMER_INVALID_RESET)
    /// when it may not go there.
    pub async fn reset_consumer(
        &self,
        name: impl AsRef<str>,
        sequence: Option<u64>,
    ) -> Result<ResetReply, FeatureError> {
        let subject = self.consumer_call("RESET", name.as_ref())?;
        let mut call = self.context().call();
        call.require(Some(RESET)).await?;
        // Nobody answers a reset of a consumer that is not there.
        let info = self.consumer_call("INFO", name.as_ref())?;
        let _: ConsumerInfo = call.ask(&info, None::<&()>).await?;
        let request = sequence.map(|seq| ResetRequest { seq });
        Ok(call.ask(&subject, request.as_ref()).await?)
    }

    fn consumer_call(&self, verb: &str, name: &str) -> Result<String, NameError> {
        let name = ConsumerName::new(name)?;
        Ok(format!("CONSUMER.{verb}.{}.{name}", self.name()))
    }
}

/// Adds its only filter to the subject of a request for a consumer, so that permissions can be given by
/// it. Nothing is published to wildcards.
pub(super) fn add_filter(subject: &mut String, config: &ConsumerConfig) {
    if let [filter] = config.filter_subjects.as_slice()
        && !filter.split('.').any(|token| matches!(token, "*" | ">"))
    {
        subject.push('.');
        subject.push_str(filter);
    }
}
