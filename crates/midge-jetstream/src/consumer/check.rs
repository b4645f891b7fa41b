//! Consumers that no server would make.

use super::config::{AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy};
use crate::check::{
    ConfigError, at_least, conflict, covers, duration, limit, literal, name, needs,
    optional_subject, range, subjects, texts,
};
use crate::names::ConsumerName;

impl ConsumerConfig {
    /// Checks it for what no server would take, or would change without a word.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the field. What the server alone can know, such as limits of
    /// the stream, is left to it.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(durable) = &self.durable_name {
            name("durable_name", ConsumerName::new(durable))?;
            let other = self.name.as_ref().is_some_and(|name| name != durable);
            conflict("durable_name", true, "another name", other)?;
        }
        if let Some(given) = &self.name {
            name("name", ConsumerName::new(given))?;
        }
        texts(self.description.as_deref(), &self.metadata)?;
        let alike = |first: &str, second: &str| covers(first, second) || covers(second, first);
        subjects("filter_subjects", &self.filter_subjects, alike)?;
        self.check_start()?;
        self.check_limits()?;
        self.check_acks()?;
        if self.is_push() {
            self.check_push()?
        } else {
            self.check_pull()?
        }
        self.check_groups()
    }

    fn check_start(&self) -> Result<(), ConfigError> {
        match self.deliver_policy {
            DeliverPolicy::ByStartSequence(sequence) => {
                range("opt_start_seq", sequence > 0, "above zero")
            }
            DeliverPolicy::LastPerSubject => {
                let filtered = !self.filter_subjects.is_empty();
                needs("deliver_policy", true, "filter_subjects to be last_per_subject", filtered)
            }
            _ => Ok(()),
        }
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        for (field, given) in [
            ("max_deliver", self.max_deliver.map(u64::from)),
            ("max_waiting", self.max_waiting.map(u64::from)),
            ("max_batch", self.max_batch.map(u64::from)),
            ("num_replicas", self.num_replicas.map(u64::from)),
            ("max_bytes", self.max_bytes),
            ("rate_limit_bps", self.rate_limit_bps),
        ] {
            limit(field, given)?;
        }
        range("num_replicas", self.num_replicas.unwrap_or(1) <= 5, "from 1 to 5")?;
        let pending = self.max_ack_pending.is_none_or(|pending| pending >= -1);
        range("max_ack_pending", pending, "above zero, or -1 for no limit")?;
        for (field, given) in [
            ("ack_wait", self.ack_wait),
            ("inactive_threshold", self.inactive_threshold),
            ("priority_timeout", self.priority_timeout),
            ("backoff", self.backoff.iter().max().copied()),
        ] {
            duration(field, given)?;
        }
        at_least("max_expires", self.max_expires, 1, "1 ms or more; None is without limit")
    }

    fn check_acks(&self) -> Result<(), ConfigError> {
        let steps = self.backoff.len();
        let short = self.max_deliver.is_some_and(|most| (most as usize) < steps);
        range("backoff", !short, "at most as many steps as max_deliver")?;
        let other = self.ack_wait.is_some_and(|wait| Some(&wait) != self.backoff.first());
        conflict("ack_wait", steps > 0, "a backoff that begins with another time", other)?;
        if self.ack_policy != AckPolicy::FlowControl {
            return Ok(());
        }
        for (needed, there) in [
            ("deliver_subject", self.is_push()),
            ("flow_control", self.flow_control),
            ("max_ack_pending above zero", self.max_ack_pending.is_some_and(|most| most > 0)),
        ] {
            needs("ack_policy", true, needed, there)?;
        }
        let waits = self.ack_wait.is_some() || steps > 0;
        conflict("ack_policy", true, "ack_wait and backoff by flow control", waits)?;
        conflict("ack_policy", true, "max_deliver by flow control", self.max_deliver.is_some())
    }

    fn check_push(&self) -> Result<(), ConfigError> {
        let Some(deliver) = &self.deliver_subject else { return Ok(()) };
        literal("deliver_subject", deliver)?;
        // The server takes more, and a subscriber could not say it.
        optional_subject("deliver_group", self.deliver_group.as_deref())?;
        for (field, set) in [
            ("max_waiting", self.max_waiting.is_some()),
            ("max_batch", self.max_batch.is_some()),
            ("max_expires", self.max_expires.is_some()),
            ("max_bytes", self.max_bytes.is_some()),
            ("priority_policy", self.priority_policy != PriorityPolicy::None),
        ] {
            conflict(field, set, "deliver_subject", true)?;
        }
        let pending = self.max_ack_pending.is_some_and(|most| most > 0);
        let none = self.ack_policy == AckPolicy::None;
        conflict("max_ack_pending", pending, "ack_policy none", none)?;
        at_least("idle_heartbeat", self.idle_heartbeat, 100, "100 ms or more; None is without")?;
        let beats = self.idle_heartbeat.is_some();
        needs("flow_control", self.flow_control, "idle_heartbeat", beats)?;
        conflict("direct", self.direct, "durable_name", self.durable_name.is_some())
    }

    fn check_pull(&self) -> Result<(), ConfigError> {
        for (field, set) in [
            ("deliver_group", self.deliver_group.is_some()),
            ("rate_limit_bps", self.rate_limit_bps.is_some()),
            ("idle_heartbeat", self.idle_heartbeat.is_some()),
            ("flow_control", self.flow_control),
            ("direct", self.direct),
        ] {
            needs(field, set, "deliver_subject", false)?;
        }
        Ok(())
    }

    fn check_groups(&self) -> Result<(), ConfigError> {
        let groups = !self.priority_groups.is_empty();
        let policy = self.priority_policy != PriorityPolicy::None;
        needs("priority_groups", groups, "priority_policy", policy)?;
        needs("priority_policy", policy, "priority_groups", groups)?;
        let pinned = self.priority_policy == PriorityPolicy::PinnedClient;
        let timeout = self.priority_timeout.is_some();
        needs("priority_timeout", timeout, "priority_policy pinned_client", pinned)?;
        let fits = |group: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_=".contains(&byte);
            (1..=16).contains(&group.len()) && group.bytes().all(fits)
        };
        let fit = self.priority_groups.iter().all(|group| fits(group));
        range("priority_groups", fit, "up to 16 letters, digits and /-_= each")
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec;
    use core::time::Duration;

    use super::*;

    fn pull() -> ConsumerConfig {
        ConsumerConfig::durable("c")
    }

    fn push() -> ConsumerConfig {
        ConsumerConfig { deliver_subject: Some("d".into()), ..pull() }
    }

    #[test]
    fn a_consumer_without_contradictions_passes() {
        ConsumerConfig::ephemeral().check().unwrap();
        let seconds = Duration::from_secs;
        let config = ConsumerConfig {
            backoff: vec![seconds(1), seconds(5)],
            ack_wait: Some(seconds(1)),
            max_deliver: Some(2),
            filter_subjects: vec!["a.*".into(), "b.>".into(), "*.c.d".into()],
            max_ack_pending: Some(-1),
            priority_policy: PriorityPolicy::PinnedClient,
            priority_groups: vec!["jobs".into()],
            priority_timeout: Some(seconds(60)),
            ..pull()
        };
        config.check().unwrap();
        let config = ConsumerConfig {
            deliver_group: Some("workers".into()),
            flow_control: true,
            idle_heartbeat: Some(seconds(1)),
            ack_policy: AckPolicy::FlowControl,
            max_ack_pending: Some(100),
            ..push()
        };
        config.check().unwrap();
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let ms = |millis| Some(Duration::from_millis(millis));
        let subjects = |subjects: &[&str]| subjects.iter().map(|&one| String::from(one)).collect();
        let pinned = PriorityPolicy::PinnedClient;
        for (field, config) in [
            ("name", ConsumerConfig::named("a b")),
            ("durable_name", ConsumerConfig::durable("a.b")),
            ("durable_name", ConsumerConfig { name: Some("other".into()), ..pull() }),
            ("filter_subjects", ConsumerConfig { filter_subjects: subjects(&[""]), ..pull() }),
            (
                "filter_subjects",
                ConsumerConfig { filter_subjects: subjects(&["a.>", "a.b"]), ..pull() },
            ),
            (
                "filter_subjects",
                ConsumerConfig { filter_subjects: subjects(&["a", "a"]), ..pull() },
            ),
            (
                "deliver_policy",
                ConsumerConfig { deliver_policy: DeliverPolicy::LastPerSubject, ..pull() },
            ),
            (
                "opt_start_seq",
                ConsumerConfig { deliver_policy: DeliverPolicy::ByStartSequence(0), ..pull() },
            ),
            ("max_deliver", ConsumerConfig { max_deliver: Some(0), ..pull() }),
            ("max_ack_pending", ConsumerConfig { max_ack_pending: Some(-2), ..pull() }),
            ("num_replicas", ConsumerConfig { num_replicas: Some(6), ..pull() }),
            (
                "max_expires",
                ConsumerConfig { max_expires: Some(Duration::from_micros(1)), ..pull() },
            ),
            ("ack_wait", ConsumerConfig { ack_wait: Some(Duration::MAX), ..pull() }),
            (
                "ack_wait",
                ConsumerConfig { ack_wait: ms(5), backoff: vec![Duration::from_secs(1)], ..pull() },
            ),
            (
                "backoff",
                ConsumerConfig {
                    max_deliver: Some(1),
                    backoff: vec![Duration::from_secs(1); 2],
                    ..pull()
                },
            ),
            ("ack_policy", ConsumerConfig { ack_policy: AckPolicy::FlowControl, ..pull() }),
            ("deliver_subject", ConsumerConfig { deliver_subject: Some("a.*".into()), ..pull() }),
            ("max_waiting", ConsumerConfig { max_waiting: Some(5), ..push() }),
            ("priority_policy", ConsumerConfig { priority_policy: pinned.clone(), ..push() }),
            (
                "max_ack_pending",
                ConsumerConfig { max_ack_pending: Some(5), ack_policy: AckPolicy::None, ..push() },
            ),
            ("idle_heartbeat", ConsumerConfig { idle_heartbeat: ms(99), ..push() }),
            ("flow_control", ConsumerConfig { flow_control: true, ..push() }),
            ("direct", ConsumerConfig { direct: true, ..push() }),
            ("flow_control", ConsumerConfig { flow_control: true, idle_heartbeat: None, ..pull() }),
            ("idle_heartbeat", ConsumerConfig { idle_heartbeat: ms(1_000), ..pull() }),
            ("rate_limit_bps", ConsumerConfig { rate_limit_bps: Some(1), ..pull() }),
            ("deliver_group", ConsumerConfig { deliver_group: Some("g".into()), ..pull() }),
            ("priority_groups", ConsumerConfig { priority_groups: subjects(&["g"]), ..pull() }),
            ("priority_policy", ConsumerConfig { priority_policy: pinned.clone(), ..pull() }),
            ("priority_timeout", ConsumerConfig { priority_timeout: ms(5), ..pull() }),
            (
                "priority_groups",
                ConsumerConfig {
                    priority_policy: pinned.clone(),
                    priority_groups: subjects(&["a.b"]),
                    ..pull()
                },
            ),
            (
                "priority_groups",
                ConsumerConfig {
                    priority_policy: pinned,
                    priority_groups: vec!["g".repeat(17)],
                    ..pull()
                },
            ),
        ] {
            let error = config.check().expect_err(field);
            assert_eq!(error.field(), field, "{error}");
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
