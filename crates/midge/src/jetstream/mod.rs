//! JetStream: streams, consumers and publishing that the server acknowledges.
//!
//! [`JetStream::new`] takes the [`Client`], and everything begins with a [`JetStream`]. A stream is
//! made, and a consumer of it; then messages are stored by one and read by the other:
//!
//! ```no_run
//! use midge::jetstream::{ConsumerConfig, JetStream, Retention, StreamConfig};
//!
//! # async fn example(client: midge::Client) -> Result<(), Box<dyn std::error::Error>> {
//! let js = JetStream::new(client.clone());
//! let config = StreamConfig {
//!     subjects: vec!["jobs.>".into()],
//!     retention: Retention::WorkQueue,
//!     ..StreamConfig::new("JOBS")
//! };
//! let jobs = js.create_or_update_stream(config).await?;
//! jobs.create_or_update_consumer(ConsumerConfig::durable("workers")).await?;
//!
//! let ack = js.publish("jobs.resize", "cat.jpg").await?;
//! println!("stored as number {}", ack.seq);
//!
//! let mut messages = jobs.consumer("workers").await?.consume().await?;
//! while let Some(message) = messages.next().await {
//!     let message = message?;
//!     println!("{}: {:?}", message.subject(), message.payload());
//!     message.ack().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | make, change, find, list and delete streams | [`JetStream::create_stream`], [`get_stream`](JetStream::get_stream), [`streams`](JetStream::streams) |
//! | purge a stream, get messages of it | [`Stream::purge`], [`Stream::direct_get`], [`Stream::direct_batch`] |
//! | store messages | [`JetStream::publish`]; many at a time: [`publisher`](JetStream::publisher) |
//! | store several together, or very many | [`JetStream::batch`], [`fast_batch`](JetStream::fast_batch) |
//! | make, change, pause and delete consumers | [`Stream::create_consumer`], [`pause_consumer`](Stream::pause_consumer) |
//! | share work among readers | [`Consumer::consume`], [`fetch`](Consumer::fetch), [`next`](Consumer::next) |
//! | answer a message | [`JetMessage::ack`], [`nak`](JetMessage::nak), [`term`](JetMessage::term) |
//! | read a stream in its order | [`JetStream::ordered`] |
//! | read what is pushed | [`JetStream::push_consumer`] |
//! | count | [`JetStream::counters`] |
//! | hear what servers tell on their own | [`JetStream::advisories`] |
//! | another domain, prefix or time limit | [`JetStream::with_prefix`], [`with_timeout`](JetStream::with_timeout) |
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
