//! How an ordered consumer is to be, and its begin.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use midge_jetstream::{
    AckPolicy, ConsumerConfig, ConsumerName, DeliverPolicy, DeliveryReader, NameError, Notice,
    OrderedMachine, PullConfig, ReplayPolicy, StreamName, Time,
};
use midge_proto::Instant;

use super::stopping::Stopping;
use super::{OnNotice, Ordered, OrderedError};
use crate::alarm::{Alarm, Changes};
use crate::jetstream::JetStream;
use crate::jetstream::pull::seed;
use crate::jetstream::reader::SMALL_MESSAGES;

impl JetStream {
    /// Reads a stream in order, each message once, without acks and without leaving a durable
    /// consumer behind (ADR-17).
    ///
    /// Who may not ask for the stream's info does not notice that the stream was replaced.
    pub fn ordered(&self, stream: &str) -> OrderedBuilder {
        OrderedBuilder {
            js: self.clone(),
            stream: StreamName::new(stream),
            config: ConsumerConfig::ephemeral(),
            pull: PullConfig { small_messages: Some(SMALL_MESSAGES), ..PullConfig::consume() },
            push: None,
            prefix: None,
            by_subject_again: false,
            on_notice: None,
        }
    }
}

/// An ordered consumer that is about to begin. Made by [`JetStream::ordered`]; `.await` makes its
/// first consumer, within the time that the [`JetStream`] gives a call.
#[must_use = "nothing is asked for until `.await`"]
pub struct OrderedBuilder {
    pub(super) js: JetStream,
    stream: Result<StreamName, NameError>,
    config: ConsumerConfig,
    pull: PullConfig,
    push: Option<Duration>,
    prefix: Option<String>,
    by_subject_again: bool,
    on_notice: Option<OnNotice>,
}

impl OrderedBuilder {
    /// With [`DeliverPolicy::LastPerSubject`], a consumer that is lost is followed by one that begins
    /// in the same way, of which what was given before is left out, until
    /// [`Ordered::by_sequence_from_now_on`].
    pub(crate) fn by_subject_again(mut self) -> Self {
        self.by_subject_again = self.config.deliver_policy == DeliverPolicy::LastPerSubject;
        self
    }

    /// Where to begin. Default: with the first message of the stream. With
    /// [`DeliverPolicy::LastPerSubject`], a consumer that is lost midway is followed by one that
    /// begins behind the last message and gives what is stored there, also what a later message of
    /// its subject has replaced.
    pub fn deliver(mut self, policy: DeliverPolicy) -> Self {
        self.config.deliver_policy = policy;
        self
    }

    /// Begins with this message of the stream, or the next one that there is.
    pub fn from_sequence(self, sequence: u64) -> Self {
        self.deliver(DeliverPolicy::ByStartSequence(sequence))
    }

    /// Begins with the first message that is not older.
    pub fn from_time(self, time: Time) -> Self {
        self.deliver(DeliverPolicy::ByStartTime(time))
    }

    /// Only messages whose subject matches this one, or another one given so.
    pub fn filter(mut self, subject: impl Into<String>) -> Self {
        self.config.filter_subjects.push(subject.into());
        self
    }

    /// Messages without payload; their size is in the header `Nats-Msg-Size`.
    pub fn headers_only(mut self) -> Self {
        self.config.headers_only = true;
        self
    }

    /// As fast as they came, or as fast as can be. Default: as fast as can be.
    ///
    /// While the server waits for the time of a message it sends no heartbeats: where two messages
    /// came further apart than two heartbeats, the consumer counts as lost, and its follower gives the
    /// second one at once.
    pub fn replay(mut self, policy: ReplayPolicy) -> Self {
        self.config.replay_policy = policy;
        self
    }

    /// After this time without a reader, the server removes a consumer that was left behind.
    /// Default: 5 minutes.
    pub fn inactive_threshold(mut self, time: Duration) -> Self {
        self.config.inactive_threshold = Some(time);
        self
    }

    /// What the names of its consumers begin with. What is random follows, so that nobody takes over
    /// what another one has left, and a number. Default: nothing.
    pub fn name_prefix(mut self, prefix: &str) -> Self {
        self.prefix = Some(prefix.to_owned());
        self
    }

    /// Messages that are asked for and not read, at most. Default: 500, or up to 4,096 while they are
    /// small: as many as 1 MiB holds, by the mean of those that came last.
    pub fn max_messages(mut self, messages: u64) -> Self {
        (self.pull.messages, self.pull.small_messages) = (messages, None);
        self
    }

    /// Bytes that are asked for and not read, at most. Not for the last message of each subject, see
    /// [`PullConfig::bytes`].
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.pull = self.pull.by_bytes(bytes);
        self
    }

    /// How often the server says that it is there; two that are missed mean that the consumer is
    /// lost. Default: 2 s.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Self {
        self.pull.heartbeat = Some(heartbeat);
        self.push = self.push.map(|_| heartbeat);
        self
    }

    /// The server pushes, with flow control that is answered when the reader gets there, instead of
    /// being asked. [`max_messages`](Self::max_messages) has no meaning then.
    pub fn push(mut self) -> Self {
        self.push = Some(self.pull.heartbeat.unwrap_or(Duration::from_secs(2)));
        self
    }

    /// Calls `function` with what was noticed, while the stream is polled.
    pub fn on_notice(mut self, function: impl FnMut(Notice) + Send + 'static) -> Self {
        self.on_notice = Some(Box::new(function));
        self
    }

    pub(super) fn build(mut self) -> Result<Ordered, OrderedError> {
        let stream = self.stream?;
        self.pull.check(true)?;
        let client = self.js.client().clone();
        let random = client.new_inbox();
        let token = random.rsplit('.').next().unwrap_or_default();
        let prefix = match self.prefix.filter(|prefix| !prefix.is_empty()) {
            Some(prefix) => format!("{prefix}_{token}"),
            None => token.to_owned(),
        };
        ConsumerName::new(&prefix)?;
        let seed = seed(&client);
        let by_subject = self.config.deliver_policy == DeliverPolicy::LastPerSubject;
        if by_subject && self.config.filter_subjects.is_empty() {
            // The server asks for one.
            self.config.filter_subjects.push(">".to_owned());
        }
        let pulls = self.pull.most_messages();
        let machine = match self.push {
            Some(heartbeat) => OrderedMachine::push(heartbeat, by_subject, seed),
            None => OrderedMachine::pull(self.pull, by_subject, seed),
        };
        let config = ConsumerConfig {
            ack_policy: AckPolicy::None,
            max_deliver: Some(1),
            mem_storage: true,
            num_replicas: Some(1),
            inactive_threshold: self.config.inactive_threshold.or(Some(Duration::from_secs(300))),
            flow_control: self.push.is_some(),
            idle_heartbeat: self.push,
            ..self.config
        };
        let shared = &client.handle().shared;
        let (changes, state) = Changes::new(shared.clone());
        let alarm = Alarm::new(shared.clone());
        let now = alarm.now();
        let mut ordered = Ordered {
            js: self.js,
            stream,
            prefix,
            config,
            machine,
            pushes: self.push.is_some(),
            pulls,
            inbox: None,
            next: None,
            creating: None,
            deleting: None,
            deletes: VecDeque::new(),
            failure: None,
            begun: false,
            creation: None,
            by_subject_again: self.by_subject_again,
            stopping: Stopping::default(),
            changes,
            alarm,
            armed: None,
            now,
            heard: Instant::ZERO,
            buffer: Vec::new(),
            numbers: DeliveryReader::default(),
            on_notice: self.on_notice,
        };
        ordered.changed(&state);
        Ok(ordered)
    }
}

impl fmt::Debug for OrderedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderedBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
