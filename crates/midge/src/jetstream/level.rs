//! The API level: asked for once a connection, and again before something is refused for what was told
//! some time ago; checked before what a server may be too old for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge_jetstream::{AccountInfo, ApiLevel, ErrorCode, Need};
use midge_proto::{Instant, RequestError};

use super::request::{Call, CallError, FeatureError};
use super::{JetStream, Known};
use crate::shared::lock;

/// How long a level is believed that is too low for what is wanted. One that is enough is believed
/// as long as the connection lasts.
const BELIEVED: Duration = Duration::from_secs(5);

const PEDANTIC: Need = Need::new("to be pedantic", ApiLevel::V2_11);

impl JetStream {
    /// What the servers of this prefix or domain can do (ADR-44). Asked for once a connection, and
    /// again before something is refused, once in 5 s at most: servers that nobody is connected with
    /// are replaced too.
    ///
    /// # Errors
    ///
    /// [`CallError`] when it had to be asked for and was not told.
    pub async fn api_level(&self) -> Result<ApiLevel, CallError> {
        self.call().api_level().await
    }

    /// A number that is another after each change of the connection.
    pub(super) fn connection(&self) -> u64 {
        lock(&self.client().shared().board).transition()
    }

    /// What is known on this connection; `None`: it was not asked for.
    fn known(&self) -> Option<Known> {
        let known = *lock(&self.context.level);
        (known.connection == Some(self.connection())).then_some(known)
    }

    fn known_level(&self) -> Option<Option<ApiLevel>> {
        self.known().map(|known| known.level)
    }

    /// Keeps what was said on a connection.
    pub(super) fn learn_level(&self, connection: u64, level: Option<ApiLevel>) {
        let told = self.client().shared().clock.now();
        *lock(&self.context.level) = Known { connection: Some(connection), level, told };
    }

    /// The level that is known, unless it is to be asked for again for this need.
    fn believed_level(&self, need: Need) -> Option<ApiLevel> {
        let Known { level, told, .. } = self.known()?;
        let level = level?;
        let fresh = || self.client().shared().clock.now().saturating_since(told) < BELIEVED;
        (level >= need.level || fresh()).then_some(level)
    }

    pub(super) fn is_pedantic(&self) -> bool {
        self.context.pedantic
    }

    /// What a configuration needs in this context.
    pub(super) fn need_of(&self, config: Option<Need>) -> Option<Need> {
        // No other need is lower.
        config.or(self.context.pedantic.then_some(PEDANTIC))
    }

    /// Whether nothing is to be asked before something is sent.
    fn is_known_to_do(&self, need: Need) -> bool {
        // Who is not told leaves it to the server.
        self.known_level().is_some_and(|level| level.is_none_or(|level| level >= need.level))
    }

    /// Checks a need against what is known.
    pub(super) fn check_known(&self, need: Option<Need>) -> Result<(), FeatureError> {
        match (need, self.known_level()) {
            (Some(need), Some(Some(level))) => Ok(level.check(need)?),
            _ => Ok(()),
        }
    }
}

impl Call<'_> {
    /// Asks for a level: of what is known, and of the server in each request that follows.
    pub(crate) async fn require(&mut self, need: Option<Need>) -> Result<(), FeatureError> {
        let Some(need) = need else { return Ok(()) };
        // Who is not told relies on the header.
        if self.context.known_level() != Some(None) {
            let connection = self.context.connection();
            match self.enough(need).await {
                Ok(level) => level.check(need)?,
                Err(CallError::Request { error: RequestError::Permission(_), .. }) => {
                    self.context.learn_level(connection, None);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.level = Some(need.level);
        Ok(())
    }

    /// The level, from the server unless it is known on this connection.
    async fn api_level(&self) -> Result<ApiLevel, CallError> {
        match self.context.known_level() {
            Some(Some(level)) => Ok(level),
            _ => self.ask_level().await,
        }
    }

    /// The level that is known, if it is enough or new, else from the server.
    async fn enough(&self, need: Need) -> Result<ApiLevel, CallError> {
        match self.context.believed_level(need) {
            Some(level) => Ok(level),
            None => self.ask_level().await,
        }
    }

    async fn ask_level(&self) -> Result<ApiLevel, CallError> {
        let connection = self.context.connection();
        let info: AccountInfo = self.ask("INFO", None::<&()>).await?;
        let level = ApiLevel(info.api.level);
        self.context.learn_level(connection, Some(level));
        Ok(level)
    }
}

/// What a message to a stream needs, until it is known whether the server has it.
///
/// Servers that are too old store such a message as if the header were not there, and say nothing.
#[derive(Default)]
pub(super) struct Gate {
    need: Option<Need>,
    asking: Option<Asking>,
}

type Asking = Pin<Box<dyn Future<Output = Result<(), FeatureError>> + Send>>;

impl Gate {
    pub(super) fn new(need: Option<Need>) -> Self {
        Self { need, asking: None }
    }

    /// Ready once, with the server's word. Asks only when what is known on this connection is not enough
    /// and not new.
    #[inline]
    pub(super) fn poll(
        &mut self,
        js: &JetStream,
        deadline: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), FeatureError>> {
        match self.need {
            None => Poll::Ready(Ok(())),
            Some(need) => self.poll_need(need, js, deadline, context),
        }
    }

    fn poll_need(
        &mut self,
        need: Need,
        js: &JetStream,
        deadline: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), FeatureError>> {
        let asking = match &mut self.asking {
            Some(asking) => asking,
            None if js.is_known_to_do(need) => return Poll::Ready(Ok(())),
            None => self.asking.insert(Box::pin(ask(js.clone(), deadline, need))),
        };
        let result = ready!(asking.as_mut().poll(context));
        *self = Self::default();
        Poll::Ready(result)
    }
}

async fn ask(js: JetStream, deadline: Instant, need: Need) -> Result<(), FeatureError> {
    js.require_to_publish(deadline, need).await
}

impl JetStream {
    /// Asks for a level that messages need. Who has no API is not told, and leaves it to the server: an
    /// account may have the subjects of another one's streams alone.
    async fn require_to_publish(&self, deadline: Instant, need: Need) -> Result<(), FeatureError> {
        let connection = self.connection();
        match self.call_until(deadline).require(Some(need)).await {
            Err(FeatureError::Call(error)) if self.known_level().is_none() && is_absent(&error) => {
                self.learn_level(connection, None);
                Ok(())
            }
            other => other,
        }
    }

    /// As [`require_to_publish`](Self::require_to_publish), within the time for a call.
    pub(super) async fn require_of_messages(&self, need: Need) -> Result<(), FeatureError> {
        let deadline = self.client().shared().after(self.timeout());
        self.require_to_publish(deadline, need).await
    }
}

/// Whether there is no API to be asked.
fn is_absent(error: &CallError) -> bool {
    matches!(error, CallError::NoResponders { .. })
        || error.code().is_some_and(ErrorCode::is_not_enabled)
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate").field("need", &self.need).finish_non_exhaustive()
    }
}
