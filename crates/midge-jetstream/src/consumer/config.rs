//! What a consumer is asked to be.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Time;
use crate::wire::{
    is_default, is_false, limit, many_nanos, nanos, no_text, or_default, text, time, words,
};

words! {
    /// How messages are acknowledged.
    pub enum AckPolicy {
        /// Each message on its own.
        #[default]
        Explicit = "explicit",
        /// A message acknowledges all before it.
        All = "all",
        /// Not at all: what was sent counts as acknowledged.
        None = "none",
        /// By the answers to flow control, for streams that copy others (ADR-60). API level 4.
        FlowControl = "flow_control",
    }
}

words! {
    /// How fast messages are delivered.
    pub enum ReplayPolicy {
        /// As fast as they can be.
        #[default]
        Instant = "instant",
        /// With the time between them with which they were stored.
        Original = "original",
    }
}

words! {
    /// Which of several readers of a pull consumer are served (ADR-42). API level 1.
    pub enum PriorityPolicy {
        /// All alike.
        #[default]
        None = "none",
        /// A reader may ask only for what is left over when much waits.
        Overflow = "overflow",
        /// One of them, as long as it reads.
        PinnedClient = "pinned_client",
        /// Those that ask with a lower number first. API level 2.
        Prioritized = "prioritized",
    }
}

/// Where a consumer begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliverPolicy {
    /// With the first message of the stream.
    #[default]
    All,
    /// With the last message.
    Last,
    /// With what is stored from now on.
    New,
    /// With the last message of each subject that matches its filters, of which it needs one.
    LastPerSubject,
    /// With the message of this sequence, or the next one that there is.
    ByStartSequence(u64),
    /// With the first message that is not older.
    ByStartTime(Time),
    /// As a newer server has it.
    Other(String),
}

/// What a consumer is asked to be, and is.
///
/// It is a pull consumer unless it has a `deliver_subject`. End a literal with what it does not
/// say, for new releases of the server bring new fields:
///
/// ```
/// use midge_jetstream::ConsumerConfig;
///
/// let config = ConsumerConfig {
///     filter_subjects: vec!["orders.eu.>".into(), "orders.us.>".into()],
///     max_ack_pending: Some(100),
///     ..ConsumerConfig::durable("billing")
/// };
/// ```
///
/// A field that is `None`, empty or false is not sent: the default of the server, or of the
/// stream, holds. The number at the end of a field's description is the API level that it needs,
/// if it needs one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConsumerConfig {
    /// Its name, if it stays when nobody reads it. The same as `name`.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub durable_name: Option<String>,
    /// Its name. `None`: the server makes one up.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub name: Option<String>,
    /// What it is for, in 4,096 bytes at most.
    #[serde(default, skip_serializing_if = "no_text", deserialize_with = "text")]
    pub description: Option<String>,
    /// Where it begins.
    #[serde(flatten, with = "start")]
    pub deliver_policy: DeliverPolicy,
    /// How messages are acknowledged.
    #[serde(default)]
    pub ack_policy: AckPolicy,
    /// After how long a message that is not acknowledged is delivered again. `None`: 30 s.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub ack_wait: Option<Duration>,
    /// How often a message is delivered at most. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_deliver: Option<u32>,
    /// As `ack_wait`, for the first, second and further deliveries.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "many_nanos")]
    pub backoff: Vec<Duration>,
    /// The subjects that it delivers, which may hold wildcards and must not overlap (ADR-34).
    /// Empty: all.
    #[serde(flatten, with = "filters")]
    pub filter_subjects: Vec<String>,
    /// How fast messages are delivered.
    #[serde(default)]
    pub replay_policy: ReplayPolicy,
    /// The most bits of a second, for push consumers. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub rate_limit_bps: Option<u64>,
    /// Of how many percent of the acknowledgements the server tells how long they took.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "percent")]
    pub sample_freq: Option<u32>,
    /// The most pulls that wait, for pull consumers. `None`: 512.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_waiting: Option<u32>,
    /// The most messages that are not acknowledged; -1 is without limit. `None`: 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "pending")]
    pub max_ack_pending: Option<i64>,
    /// The server waits for the reader, for push consumers. It needs `idle_heartbeat`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub flow_control: bool,
    /// Messages come without payload, of which the size is said.
    #[serde(default, skip_serializing_if = "is_false")]
    pub headers_only: bool,
    /// The most messages of one pull. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_batch: Option<u32>,
    /// The longest time of one pull, at least 1 ms. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub max_expires: Option<Duration>,
    /// The most bytes of one pull. `None`: without limit.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub max_bytes: Option<u64>,
    /// The subject that it delivers on: it then is a push consumer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub deliver_subject: Option<String>,
    /// The queue group that its readers are members of, for push consumers.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "text")]
    pub deliver_group: Option<String>,
    /// When there is nothing to deliver, the server says so this often: at least 100 ms, for push
    /// consumers.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub idle_heartbeat: Option<Duration>,
    /// For how long it stays when nobody reads it. `None`: 5 s, or for ever if it is durable.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub inactive_threshold: Option<Duration>,
    /// On how many servers it is. `None`: as its stream.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "limit")]
    pub num_replicas: Option<u32>,
    /// Its state is kept in memory, whatever the stream does.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mem_storage: bool,
    /// It is one of those that streams read others through.
    #[serde(default, skip_serializing_if = "is_false")]
    pub direct: bool,
    /// As `direct`, of streams that are sources. API level 4.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sourcing: bool,
    /// What the application notes, in 128 KiB at most (ADR-33). Keys that begin with `_nats.` are
    /// the server's: [`user_metadata`](Self::user_metadata) is without them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "or_default")]
    pub metadata: BTreeMap<String, String>,
    /// It delivers nothing until then. API level 1.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time")]
    pub pause_until: Option<Time>,
    /// The groups of readers, for pull consumers with a `priority_policy`: up to 16 letters,
    /// digits and `/-_=` each. API level 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "or_default")]
    pub priority_groups: Vec<String>,
    /// Which readers are served. API level 1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority_policy: PriorityPolicy,
    /// For how long a pinned reader stays so without a pull. `None`: 2 minutes. API level 1.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "nanos")]
    pub priority_timeout: Option<Duration>,
}

impl ConsumerConfig {
    /// A consumer that goes when nobody reads it, of a name that the server makes up.
    #[must_use]
    pub fn ephemeral() -> Self {
        Self::default()
    }

    /// A consumer that stays when nobody reads it.
    #[must_use]
    pub fn durable(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { durable_name: Some(name.clone()), name: Some(name), ..Self::default() }
    }

    /// A consumer that goes when nobody reads it.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::default() }
    }

    /// Whether it delivers on a subject, instead of being asked.
    #[must_use]
    pub fn is_push(&self) -> bool {
        self.deliver_subject.is_some()
    }

    /// The name that it is asked to have.
    #[must_use]
    pub fn given_name(&self) -> Option<&str> {
        self.name.as_deref().or(self.durable_name.as_deref())
    }

    /// The metadata without the keys that belong to the server.
    pub fn user_metadata(&self) -> impl Iterator<Item = (&str, &str)> {
        crate::stream::user_metadata(&self.metadata)
    }
}

fn pending<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<i64>::deserialize(deserializer)?.filter(|&pending| pending != 0))
}

/// One field of Midge, three of the API.
mod start {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Start {
        #[serde(default)]
        deliver_policy: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opt_start_seq: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opt_start_time: Option<Time>,
    }

    pub(super) fn serialize<S: Serializer>(
        policy: &DeliverPolicy,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let (word, opt_start_seq, opt_start_time) = match policy {
            DeliverPolicy::All => ("all", None, None),
            DeliverPolicy::Last => ("last", None, None),
            DeliverPolicy::New => ("new", None, None),
            DeliverPolicy::LastPerSubject => ("last_per_subject", None, None),
            DeliverPolicy::ByStartSequence(sequence) => {
                ("by_start_sequence", Some(*sequence), None)
            }
            DeliverPolicy::ByStartTime(time) => ("by_start_time", None, Some(*time)),
            DeliverPolicy::Other(word) => (word.as_str(), None, None),
        };
        let deliver_policy = Some(String::from(word));
        Start { deliver_policy, opt_start_seq, opt_start_time }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<DeliverPolicy, D::Error> {
        let start = Start::deserialize(deserializer)?;
        let word = start.deliver_policy.unwrap_or_default();
        Ok(match word.as_str() {
            "" | "all" => DeliverPolicy::All,
            "last" => DeliverPolicy::Last,
            "new" => DeliverPolicy::New,
            "last_per_subject" => DeliverPolicy::LastPerSubject,
            "by_start_sequence" => {
                DeliverPolicy::ByStartSequence(start.opt_start_seq.unwrap_or_default())
            }
            "by_start_time" => {
                DeliverPolicy::ByStartTime(start.opt_start_time.unwrap_or(Time::NEVER))
            }
            _ => DeliverPolicy::Other(word),
        })
    }
}

/// One field of Midge, two of the API, of which servers before 2.10 know only the first.
mod filters {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Filters<'a> {
        #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
        filter_subject: Option<alloc::borrow::Cow<'a, str>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter_subjects: Option<Vec<String>>,
    }

    pub(super) fn serialize<S: Serializer>(
        filters: &[String],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let (filter_subject, filter_subjects) = match filters {
            [] => (None, None),
            [one] => (Some(one.as_str().into()), None),
            many => (None, Some(many.to_vec())),
        };
        Filters { filter_subject, filter_subjects }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<String>, D::Error> {
        let filters = Filters::deserialize(deserializer)?;
        let mut subjects = filters.filter_subjects.unwrap_or_default();
        if let Some(one) = filters.filter_subject.filter(|one| !one.is_empty()) {
            subjects.insert(0, one.into_owned());
        }
        Ok(subjects)
    }
}

/// A number with or without a percent sign, as text.
mod percent {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        percent: &Option<u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        percent.unwrap_or_default().to_string().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<u32>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
        Ok(text.trim_end_matches('%').parse().ok())
    }
}
