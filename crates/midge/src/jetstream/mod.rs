//! JetStream: streams, consumers and publishing that the server acknowledges.

mod batch;
mod counter;
mod headers;
mod publish;
mod publisher;

use std::sync::Arc;
use std::time::Duration;

pub use midge_jetstream::{ApiError, ApiPrefix, ApiPrefixError, ErrorCode, Time, TimeError};

pub use batch::{Add, Adding, AtomicBatch, AtomicBatchError, CommitBatch, Committing};
pub use counter::{AddError, Count, CountError, Counters};
pub use midge_jetstream::{
    BatchError, CommitError, Integer, IntegerError, PubAck, PublishFailure, PublishHeaders,
    PublishHeadersError, PublishOrder, Report, Rollup, Schedule, ScheduleError, StreamName,
    Unpublished,
};
pub use publish::{JetPublishError, Publish, Publishing};
pub use publisher::{
    MakingPublisher, PublishWindowed, Publisher, PublisherBuilder, PublisherError,
    PublishingWindowed,
};

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
}

impl JetStream {
    /// JetStream of the account that `client` is connected with, below `$JS.API`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let context = Context { client, api: ApiPrefix::default(), timeout: TIMEOUT };
        Self { context: Arc::new(context) }
    }

    /// The same, below another prefix: of a domain, or of an import.
    #[must_use]
    pub fn with_prefix(&self, api: ApiPrefix) -> Self {
        Self { context: Arc::new(Context { api, ..(*self.context).clone() }) }
    }

    /// The same, with another time for an answer, which includes the wait for a place in the
    /// queue. Default: 5 s.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self { context: Arc::new(Context { timeout, ..(*self.context).clone() }) }
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

    /// How long an answer may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.context.timeout
    }
}
