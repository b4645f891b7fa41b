//! JetStream: streams, consumers and publishing that the server acknowledges.
//!
//! Snapshots and restores, moves of peers and leaders, and what else is for who runs the servers
//! are not here: the `nats` tool has them.

mod advisories;
mod batch;
mod consume;
mod consumers;
mod counter;
mod direct;
mod fast;
mod fetch;
mod headers;
mod level;
pub(crate) mod list;
mod message;
pub(crate) mod ordered;
mod publish;
mod publisher;
mod pull;
mod push;
mod reader;
pub(crate) mod request;
pub(crate) mod stop;
pub(crate) mod stream;
mod streams;

use std::sync::{Arc, Mutex};
use std::time::Duration;

pub use midge_jetstream::{
    AbandonReason, Advisory, AdvisoryAction, AdvisoryEvent, ApiAudit, ApiLimit, Backup,
    BatchAbandoned, ConsumerAction, ConsumerLeader, ConsumerPause, GroupPin, MessageEvent,
    MetaRescue, Republished, ServerEvent, StreamAction, StreamLeader, event_subjects,
};
pub use midge_jetstream::{
    AccountInfo, AccountLimits, AccountTier, AckPolicy, ApiError, ApiLevel, ApiPrefix,
    ApiPrefixError, ApiStatistics, ClusterInfo, Compression, ConfigError, ConsumerConfig,
    ConsumerInfo, ConsumerLimits, ConsumerName, DeliverPolicy, DesiredCluster, Difference,
    Differences, DirectGetError, Discard, ErrorCode, External, LevelError, Listed, LostData,
    NameError, Need, PauseState, PersistMode, Placement, PriorityGroup, PriorityPolicy,
    ReplayPolicy, Replica, Republish, ResetReply, Retention, SequencePair, SourceConsumer,
    SourceInfo, Storage, StoredMessage, StreamAlternate, StreamConfig, StreamInfo, StreamName,
    StreamSource, StreamState, SubjectTransform, Time, TimeError,
};

pub use advisories::{Advisories, AdvisoryError, NextAdvisory};
pub use consumers::BindError;
pub use direct::{DirectBatch, DirectError, DirectLast, DirectMessages, NextDirect};
pub use list::{Entry, List, NextEntry};
pub use request::{CallError, ConfigureError, ConsumerError, FeatureError, StreamError};
pub use stream::{GetMessageError, Info, Purge, PurgeError, Stream};

pub use midge_jetstream::{
    Ack, Delivery, Limit, Notice, OrderedEnd, PullConfigError, PullEnd, PullGroup, ResetCause,
};

pub use self::consume::{Consume, ConsumeBuilder};
pub use self::fetch::{Fetch, FetchBuilder};
pub use self::message::{
    AckError, Answer, Answering, ConfirmedAnswer, ConfirmingAnswer, JetMessage,
};
pub use self::ordered::{Ordered, OrderedBuilder, OrderedError};
pub use self::pull::{Consumer, NextMessage, NextingMessage, PullError};
pub use self::push::{Push, PushBuilder, PushEnd, PushError};
pub use self::stop::{Closed, Stopper};

pub use batch::{Add, Adding, AtomicBatch, AtomicBatchError, CommitBatch, Committing};
pub use counter::{AddError, Count, CountError, Counters};
pub use fast::{
    AddFast, AddingFast, BeginningFastBatch, CommitFast, CommittingFast, FastBatch,
    FastBatchBuilder, FastBatchError, FastNotice,
};
pub use midge_jetstream::{
    BatchError, CommitError, Gaps, Integer, IntegerError, PubAck, PublishFailure, PublishHeaders,
    PublishHeadersError, PublishOrder, Report, Rollup, Schedule, ScheduleError, Unpublished,
};
pub use publish::{JetPublishError, Publish, Publishing};
pub use publisher::{
    MakingPublisher, PublishWindowed, Publisher, PublisherBuilder, PublisherError,
    PublishingWindowed,
};

use midge_proto::Instant;

use crate::Client;

/// The default time for an answer of JetStream's API.
const TIMEOUT: Duration = Duration::from_secs(5);

/// JetStream as a client sees it: one prefix, or domain, and how long answers may take.
///
/// A clone is cheap, and is the same context. It keeps the connection alive as a [`Client`] does.
#[derive(Clone, Debug)]
pub struct JetStream {
    context: Arc<Context>,
}

#[derive(Clone, Debug)]
struct Context {
    client: Client,
    api: ApiPrefix,
    timeout: Duration,
    pedantic: bool,
    level: Arc<Mutex<Known>>,
}

/// What is known of the API level.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// The connection on which it was asked for.
    connection: Option<u64>,
    /// `None`: whoever asks is not told.
    level: Option<ApiLevel>,
    /// When that was.
    told: Instant,
}

impl JetStream {
    /// JetStream of the account that `client` is connected with, below `$JS.API`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let (api, level) = (ApiPrefix::default(), Arc::default());
        Self::with(Context { client, api, timeout: TIMEOUT, pedantic: false, level })
    }

    fn with(context: Context) -> Self {
        Self { context: Arc::new(context) }
    }

    /// The same, below another prefix: of a domain, or of an import.
    #[must_use]
    pub fn with_prefix(&self, api: ApiPrefix) -> Self {
        Self::with(Context { api, level: Arc::default(), ..Context::clone(&self.context) })
    }

    /// The same, with another time for a call, from its begin to the last answer; waiting for a
    /// connection and for room counts. Default: 5 s.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self::with(Context { timeout, ..Context::clone(&self.context) })
    }

    /// The same, but streams and consumers that the server would have to change to create or update
    /// them are refused: [`ErrorCode::PEDANTIC`]. API level 1.
    #[must_use]
    pub fn pedantic(&self) -> Self {
        Self::with(Context { pedantic: true, ..Context::clone(&self.context) })
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.context.client
    }

    /// Where requests of the API go.
    #[must_use]
    pub fn api_prefix(&self) -> &ApiPrefix {
        &self.context.api
    }

    /// How long a call may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.context.timeout
    }
}
