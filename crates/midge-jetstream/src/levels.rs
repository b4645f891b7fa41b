//! Which API level a configuration needs (ADR-44).

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::consumer::{AckPolicy, ConsumerConfig, PriorityPolicy};
use crate::stream::{PersistMode, StreamConfig};

/// What a server can do, as it counts it: one more with each release that brings something.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ApiLevel(pub u32);

impl ApiLevel {
    /// nats-server 2.10 and older, which do not count.
    pub const V2_10: Self = Self(0);
    /// nats-server 2.11.
    pub const V2_11: Self = Self(1);
    /// nats-server 2.12.
    pub const V2_12: Self = Self(2);
    /// nats-server 2.14.
    pub const V2_14: Self = Self(4);
    /// nats-server 2.15.
    pub const V2_15: Self = Self(5);

    /// The release that has it first, as far as it is known.
    const fn release(self) -> Option<&'static str> {
        Some(match self.0 {
            0 => "2.10",
            1 => "2.11",
            2 => "2.12",
            3 | 4 => "2.14",
            5 => "2.15",
            _ => return None,
        })
    }
}

impl fmt::Display for ApiLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        match self.release() {
            Some(release) => write!(f, " (nats-server {release})"),
            None => Ok(()),
        }
    }
}

/// Something that a server, or domain, is too old for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} needs API level {needed}, and the server has {level}: leave it out, or use a newer server"
)]
#[non_exhaustive]
pub struct LevelError {
    /// What: the field of a configuration, as the API names it, or a call.
    pub what: &'static str,
    /// The level that it needs.
    pub needed: ApiLevel,
    /// The level that there is.
    pub level: ApiLevel,
}

impl ApiLevel {
    /// Whether this level is enough for something.
    ///
    /// # Errors
    ///
    /// [`LevelError`] when it is not.
    pub fn check(self, need: Need) -> Result<(), LevelError> {
        if self >= need.level {
            return Ok(());
        }
        Err(LevelError { what: need.what, needed: need.level, level: self })
    }
}

/// What needs which level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Need {
    /// What: the field of a configuration, as the API names it, or a call.
    pub what: &'static str,
    /// The level that it needs.
    pub level: ApiLevel,
}

impl Need {
    /// Something that needs a level.
    #[must_use]
    pub const fn new(what: &'static str, level: ApiLevel) -> Self {
        Self { what, level }
    }
}

/// The field that needs the highest level, the first one of these; `None` when 2.10 will do.
fn highest(needs: &[(bool, &'static str, ApiLevel)]) -> Option<Need> {
    let mut highest: Option<Need> = None;
    for &(used, what, level) in needs {
        if used && highest.is_none_or(|need| need.level < level) {
            highest = Some(Need { what, level });
        }
    }
    highest
}

impl StreamConfig {
    /// The field that needs the highest API level; `None` when every server will do.
    #[must_use]
    pub fn need(&self) -> Option<Need> {
        let durable_mirror = self.mirror.as_ref().is_some_and(|mirror| mirror.consumer.is_some());
        let durable_source = self.sources.iter().any(|source| source.consumer.is_some());
        highest(&[
            (self.allow_batched, "allow_batched", ApiLevel::V2_14),
            (durable_mirror, "mirror.consumer", ApiLevel::V2_14),
            (durable_source, "sources.consumer", ApiLevel::V2_14),
            (self.allow_msg_counter, "allow_msg_counter", ApiLevel::V2_12),
            (self.allow_atomic, "allow_atomic", ApiLevel::V2_12),
            (self.allow_msg_schedules, "allow_msg_schedules", ApiLevel::V2_12),
            (self.persist_mode != PersistMode::Default, "persist_mode", ApiLevel::V2_12),
            (self.allow_msg_ttl, "allow_msg_ttl", ApiLevel::V2_11),
            (
                self.subject_delete_marker_ttl.is_some(),
                "subject_delete_marker_ttl",
                ApiLevel::V2_11,
            ),
        ])
    }
}

impl ConsumerConfig {
    /// The field that needs the highest API level; `None` when every server will do.
    #[must_use]
    pub fn need(&self) -> Option<Need> {
        let flow_control = self.ack_policy == AckPolicy::FlowControl;
        let prioritized = self.priority_policy == PriorityPolicy::Prioritized;
        highest(&[
            (flow_control, "ack_policy", ApiLevel::V2_14),
            (self.sourcing, "sourcing", ApiLevel::V2_14),
            (prioritized, "priority_policy", ApiLevel::V2_12),
            (self.pause_until.is_some(), "pause_until", ApiLevel::V2_11),
            (self.priority_policy != PriorityPolicy::None, "priority_policy", ApiLevel::V2_11),
            (!self.priority_groups.is_empty(), "priority_groups", ApiLevel::V2_11),
            (self.priority_timeout.is_some(), "priority_timeout", ApiLevel::V2_11),
        ])
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn the_field_that_needs_most_is_named() {
        assert_eq!(StreamConfig::new("s").need(), None);
        let config =
            StreamConfig { allow_msg_ttl: true, allow_atomic: true, ..StreamConfig::new("s") };
        assert_eq!(config.need(), Some(Need::new("allow_atomic", ApiLevel::V2_12)));
        let error = ApiLevel::V2_11.check(config.need().unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "allow_atomic needs API level 2 (nats-server 2.12), and the server has 1 (nats-server 2.11): leave it out, or use a newer server"
        );
        let both =
            StreamConfig { allow_msg_counter: true, allow_atomic: true, ..StreamConfig::new("s") };
        assert_eq!(both.need().map(|need| need.what), Some("allow_msg_counter"), "the first one");
        ApiLevel(7).check(config.need().unwrap()).unwrap();
        let consumer = ConsumerConfig { sourcing: true, ..ConsumerConfig::ephemeral() };
        assert_eq!(consumer.need(), Some(Need::new("sourcing", ApiLevel::V2_14)));
        assert_eq!(ConsumerConfig::durable("c").need(), None);
    }
}
