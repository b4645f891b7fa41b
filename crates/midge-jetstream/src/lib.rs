//! JetStream without I/O.
//!
//! Types of the API, checks of what a caller asks for, and the decisions of consumers and
//! publishers as small machines: they take messages, statuses, the state of the connection and the
//! time, and say what to send, deliver, tell or give up. The handles over a connection are in
//! `midge::jetstream`.
//!
//! | to find | look in |
//! |---|---|
//! | where requests of the API go | [`ApiPrefix`] |
//! | why the server refused | [`ApiError`], [`ErrorCode`] |
//! | what a message to a stream asks for, and the answer | [`PublishHeaders`], [`Schedule`], [`PubAck`] |
//! | many messages on their way to a stream | [`PublishWindow`] |
//! | messages that are stored together, or fast | [`Batch`], [`FastIngest`] |
//! | counters of any size | [`Integer`] |
//! | what streams and consumers can be, and are | [`StreamConfig`], [`StreamInfo`], [`ConsumerConfig`], [`ConsumerInfo`] |
//! | what contradicts itself | [`StreamConfig::check`], [`ConsumerConfig::check`] |
//! | what a server is too old for, or did not do | [`ApiLevel`], [`Differences`] |
//! | stored messages | [`StoredMessage`], [`DirectBatch`] |
//! | lists | [`Pages`] |
//! | what servers tell on their own | [`Advisory`], [`Republished`] |
//! | what a delivered message says of itself, and answers to it | [`Delivery`], [`Ack`] |
//! | the server's own messages to a consumer | [`StatusMessage`] |
//! | reading a pull consumer | [`PullMachine`] |
//! | watching over a push consumer | [`PushMachine`] |
//! | reading a stream in order and without gaps | [`OrderedMachine`] |
//! | key-value buckets: names, subjects, entries, watches | [`kv`] |
//!
//! The crate is `no_std` with `alloc`.
#![no_std]

extern crate alloc;

mod account;
mod ack;
mod advisory;
mod backoff;
mod batch;
mod check;
mod codes;
mod consumer;
mod delivery;
mod differences;
mod direct;
mod error;
mod fast;
mod integer;
pub mod kv;
mod levels;
mod names;
mod notice;
mod ordered;
mod pace;
mod paging;
mod prefix;
mod publish;
mod pull;
mod pull_config;
mod push;
mod republish;
mod schedule;
mod silence;
mod status;
mod stored;
mod stream;
mod time;
mod window;
mod wire;

pub use account::{AccountInfo, AccountLimits, AccountTier, ApiStatistics};
pub use ack::Ack;
pub use advisory::{
    AbandonReason, Advisory, AdvisoryAction, AdvisoryEvent, ApiAudit, ApiLimit, Backup,
    BatchAbandoned, ConsumerAction, ConsumerLeader, ConsumerPause, GroupPin, MessageEvent,
    MetaRescue, ServerEvent, StreamAction, StreamLeader, event_subjects,
};
pub use batch::{Ask, Batch, BatchError, Commit, CommitError};
pub use check::ConfigError;
pub use codes::ErrorCode;
pub use consumer::{
    AckPolicy, Action, ConsumerConfig, ConsumerInfo, CreateConsumerRequest, DeliverPolicy,
    PauseRequest, PauseState, PriorityGroup, PriorityPolicy, ReplayPolicy, ResetReply,
    ResetRequest, SequencePair, UnpinRequest,
};
pub use delivery::{Delivery, DeliveryNumbers, DeliveryReader, ack_subject, is_delivered};
pub use differences::{Difference, Differences};
pub use direct::{
    DirectBatch, DirectBatchOf, DirectBatchRequest, DirectBatchStep, DirectGetError,
    DirectGetRequest,
};
pub use error::{ApiError, Envelope, ReplyError, read_reply};
pub use fast::{FastAnswerError, FastEvent, FastIngest, Gaps};
pub use integer::{Integer, IntegerError};
pub use levels::{ApiLevel, LevelError, Need};
pub use names::{ConsumerName, MAX_NAME, NameError, StreamName};
pub use notice::{Limit, Notice, PullEnd, ResetCause};
pub use ordered::{Created, OrderedEnd, OrderedMachine, OrderedOutput, StreamNow, Verdict};
pub use paging::{ListRequest, Listed, Pages};
pub use prefix::{ApiPrefix, ApiPrefixError};
pub use publish::{PubAck, PublishHeaders, PublishHeadersError, Rollup, Unpublished};
pub use pull::{PullMachine, PullOutput};
pub use pull_config::{PullConfig, PullConfigError, PullGroup, PullRequest};
pub use push::{PushMachine, PushOutput};
pub use republish::Republished;
pub use schedule::{Schedule, ScheduleError};
pub use status::{StatusKind, StatusMessage};
pub use stored::{
    DeleteMessageRequest, Done, GetReply, GetRequest, PurgeRequest, Purged, StoredMessage,
};
pub use stream::{
    ClusterInfo, Compression, ConsumerLimits, DesiredCluster, Discard, External, LostData,
    PersistMode, Placement, Replica, Republish, Retention, SourceConsumer, SourceInfo, Storage,
    StreamAlternate, StreamConfig, StreamInfo, StreamInfoRequest, StreamRequest, StreamSource,
    StreamState, SubjectTransform, SubjectsPage,
};
pub use time::{Time, TimeError};
pub use window::{
    Answer, Outgoing, PublishFailure, PublishOrder, PublishWindow, Report, WindowConfig,
    WindowOutput,
};
