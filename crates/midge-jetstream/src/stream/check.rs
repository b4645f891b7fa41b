//! Streams that no server would make.

use super::config::{Discard, PersistMode, Retention, Storage, StreamConfig, SubjectTransform};
use super::source::StreamSource;
use crate::check::{
    ConfigError, at_least, collide, conflict, duration, limit, literal, name, needs, range,
    subject, subjects, texts,
};
use crate::names::{ConsumerName, StreamName};

impl StreamConfig {
    /// Checks it for what no server would take, or would change without a word.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which names the field. What the server alone can know, such as limits of
    /// the account, is left to it.
    pub fn check(&self) -> Result<(), ConfigError> {
        name("name", StreamName::new(&self.name))?;
        texts(self.description.as_deref(), &self.metadata)?;
        subjects("subjects", &self.subjects, collide)?;
        self.check_limits()?;
        self.check_features()?;
        self.check_mirror()?;
        for (index, source) in self.sources.iter().enumerate() {
            range("sources", !self.sources[..index].contains(source), "different from each other")?;
            check_source(
                source,
                [
                    "sources.name",
                    "sources.filter_subject",
                    "sources.subject_transforms",
                    "sources.external",
                    "sources.consumer",
                ],
            )?;
        }
        if let Some(transform) = &self.subject_transform {
            check_transform("subject_transform", transform)?;
        }
        if let Some(republish) = &self.republish {
            if !republish.src.is_empty() {
                subject("republish.src", &republish.src)?;
            }
            range("republish.dest", !republish.dest.is_empty(), "a subject")?;
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        limit("max_msgs", self.max_msgs)?;
        limit("max_bytes", self.max_bytes)?;
        limit("max_msgs_per_subject", self.max_msgs_per_subject)?;
        limit("max_consumers", self.max_consumers.map(u64::from))?;
        let size = self.max_msg_size.is_none_or(|size| (1..=i32::MAX as u32).contains(&size));
        range("max_msg_size", size, "from 1 to 2,147,483,647 bytes; None is without limit")?;
        range("num_replicas", (1..=5).contains(&self.num_replicas), "from 1 to 5")?;
        at_least("max_age", self.max_age, 100, "100 ms or more; None is without limit")?;
        let window = self.duplicate_window;
        at_least("duplicate_window", window, 100, "100 ms or more; None is the default")?;
        let longer = matches!((window, self.max_age), (Some(window), Some(age)) if window > age);
        range("duplicate_window", !longer, "at most max_age")?;
        let pending = self.consumer_limits.max_ack_pending;
        limit("consumer_limits.max_ack_pending", pending)?;
        duration("consumer_limits.inactive_threshold", self.consumer_limits.inactive_threshold)?;
        let marker = self.subject_delete_marker_ttl;
        at_least("subject_delete_marker_ttl", marker, 1_000, "1 s or more; None is without")
    }

    fn check_features(&self) -> Result<(), ConfigError> {
        let (purge, new) = (self.deny_purge, self.discard == Discard::New);
        conflict("deny_purge", purge, "allow_rollup_hdrs", self.allow_rollup_hdrs)?;
        let marker = self.subject_delete_marker_ttl.is_some();
        conflict("deny_purge", purge, "subject_delete_marker_ttl", marker)?;
        conflict("deny_purge", purge, "allow_msg_schedules", self.allow_msg_schedules)?;

        let per_subject = self.discard_new_per_subject;
        needs("discard_new_per_subject", per_subject, "discard to be new", new)?;
        let bounded = self.max_msgs_per_subject.is_some();
        needs("discard_new_per_subject", per_subject, "max_msgs_per_subject", bounded)?;

        let counter = self.allow_msg_counter;
        conflict("allow_msg_counter", counter, "discard new", new)?;
        conflict("allow_msg_counter", counter, "allow_msg_ttl", self.allow_msg_ttl || marker)?;
        conflict("allow_msg_counter", counter, "allow_msg_schedules", self.allow_msg_schedules)?;
        let limits = self.retention == Retention::Limits;
        needs("allow_msg_counter", counter, "retention by limits", limits)?;
        conflict("allow_msg_schedules", self.allow_msg_schedules, "discard new", new)?;
        let sourced = !self.sources.is_empty();
        conflict("allow_msg_schedules", self.allow_msg_schedules, "sources", sourced)?;

        let later = self.persist_mode == PersistMode::Async;
        needs("persist_mode", later, "storage in files", self.storage == Storage::File)?;
        needs("persist_mode", later, "one replica", self.num_replicas == 1)?;
        conflict("persist_mode", later, "allow_atomic", self.allow_atomic)?;
        let everything = self.subjects.iter().any(|subject| subject == ">");
        needs("subjects", everything, "no_ack to be true for all there are", self.no_ack)
    }

    fn check_mirror(&self) -> Result<(), ConfigError> {
        let Some(mirror) = &self.mirror else { return Ok(()) };
        let marker = self.subject_delete_marker_ttl.is_some();
        for (other, set) in [
            ("subjects", !self.subjects.is_empty()),
            ("sources", !self.sources.is_empty()),
            ("first_seq", self.first_seq > 0),
            ("allow_msg_counter", self.allow_msg_counter),
            ("allow_atomic", self.allow_atomic),
            ("allow_batched", self.allow_batched),
            ("allow_msg_schedules", self.allow_msg_schedules),
            ("subject_delete_marker_ttl", marker),
        ] {
            conflict("mirror", true, other, set)?;
        }
        let start = mirror.opt_start_seq > 0;
        conflict("mirror.opt_start_seq", start, "opt_start_time", mirror.opt_start_time.is_some())?;
        check_source(
            mirror,
            [
                "mirror.name",
                "mirror.filter_subject",
                "mirror.subject_transforms",
                "mirror.external",
                "mirror.consumer",
            ],
        )
    }
}

fn check_source(
    source: &StreamSource,
    [name_field, filter_field, transforms_field, external_field, consumer_field]: [&'static str; 5],
) -> Result<(), ConfigError> {
    name(name_field, StreamName::new(&source.name))?;
    let filtered = source.filter_subject.is_some();
    conflict(filter_field, filtered, "subject_transforms", !source.subject_transforms.is_empty())?;
    if let Some(filter) = &source.filter_subject {
        subject(filter_field, filter)?;
    }
    for transform in &source.subject_transforms {
        check_transform(transforms_field, transform)?;
    }
    if let Some(external) = &source.external {
        literal(external_field, &external.api)?;
        if !external.deliver.is_empty() {
            literal(external_field, &external.deliver)?;
        }
    }
    if let Some(consumer) = &source.consumer {
        name(consumer_field, ConsumerName::new(&consumer.name))?;
        literal(consumer_field, &consumer.deliver_subject)?;
        let starts = source.opt_start_seq > 0 || source.opt_start_time.is_some();
        conflict(consumer_field, true, "opt_start_seq and opt_start_time", starts)?;
        conflict(consumer_field, true, "filter_subject", filtered)?;
    }
    Ok(())
}

fn check_transform(field: &'static str, transform: &SubjectTransform) -> Result<(), ConfigError> {
    if !transform.src.is_empty() {
        subject(field, &transform.src)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
    use alloc::vec;
    use core::time::Duration;

    use super::*;
    use crate::stream::{External, Republish, SourceConsumer};

    fn stream() -> StreamConfig {
        StreamConfig::new("s")
    }

    #[test]
    fn a_stream_without_contradictions_passes() {
        stream().check().unwrap();
        let config = StreamConfig {
            subjects: vec!["a.*".into(), "b.>".into()],
            max_age: Some(Duration::from_secs(10)),
            duplicate_window: Some(Duration::from_secs(10)),
            subject_delete_marker_ttl: Some(Duration::from_secs(1)),
            republish: Some(Republish {
                src: "a.*".into(),
                dest: "c.{{wildcard(1)}}".into(),
                headers_only: true,
            }),
            sources: vec![StreamSource {
                filter_subject: Some("x.>".into()),
                ..StreamSource::new("o")
            }],
            num_replicas: 5,
            ..stream()
        };
        config.check().unwrap();
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let ms = |millis| Some(Duration::from_millis(millis));
        let origin = || Some(StreamSource::new("o"));
        let subjects = |subjects: &[&str]| subjects.iter().map(|&one| String::from(one)).collect();
        let durable = SourceConsumer { name: "c".into(), deliver_subject: "d".into() };
        for (field, config) in [
            ("name", StreamConfig::new("a.b")),
            ("name", StreamConfig::new("")),
            ("description", StreamConfig { description: Some("x".repeat(4_097)), ..stream() }),
            (
                "metadata",
                StreamConfig {
                    metadata: [("k".into(), "x".repeat(128 * 1024))].into(),
                    ..stream()
                },
            ),
            ("subjects", StreamConfig { subjects: subjects(&["a b"]), ..stream() }),
            ("subjects", StreamConfig { subjects: subjects(&["a.*", "b", "*.b"]), ..stream() }),
            ("subjects", StreamConfig { subjects: subjects(&[">"]), ..stream() }),
            ("max_msgs", StreamConfig { max_msgs: Some(0), ..stream() }),
            ("max_bytes", StreamConfig { max_bytes: Some(u64::MAX), ..stream() }),
            ("max_msg_size", StreamConfig { max_msg_size: Some(u32::MAX), ..stream() }),
            ("num_replicas", StreamConfig { num_replicas: 6, ..stream() }),
            ("num_replicas", StreamConfig { num_replicas: 0, ..stream() }),
            ("max_age", StreamConfig { max_age: ms(99), ..stream() }),
            ("max_age", StreamConfig { max_age: Some(Duration::MAX), ..stream() }),
            ("duplicate_window", StreamConfig { duplicate_window: ms(50), ..stream() }),
            (
                "duplicate_window",
                StreamConfig { duplicate_window: ms(2_000), max_age: ms(1_000), ..stream() },
            ),
            (
                "subject_delete_marker_ttl",
                StreamConfig { subject_delete_marker_ttl: ms(999), ..stream() },
            ),
            ("deny_purge", StreamConfig { deny_purge: true, allow_rollup_hdrs: true, ..stream() }),
            (
                "deny_purge",
                StreamConfig { deny_purge: true, subject_delete_marker_ttl: ms(1_000), ..stream() },
            ),
            ("discard_new_per_subject", StreamConfig { discard_new_per_subject: true, ..stream() }),
            (
                "discard_new_per_subject",
                StreamConfig { discard_new_per_subject: true, discard: Discard::New, ..stream() },
            ),
            (
                "allow_msg_counter",
                StreamConfig { allow_msg_counter: true, allow_msg_ttl: true, ..stream() },
            ),
            (
                "allow_msg_counter",
                StreamConfig {
                    allow_msg_counter: true,
                    retention: Retention::WorkQueue,
                    ..stream()
                },
            ),
            (
                "allow_msg_schedules",
                StreamConfig { allow_msg_schedules: true, discard: Discard::New, ..stream() },
            ),
            (
                "persist_mode",
                StreamConfig {
                    persist_mode: PersistMode::Async,
                    storage: Storage::Memory,
                    ..stream()
                },
            ),
            (
                "persist_mode",
                StreamConfig { persist_mode: PersistMode::Async, num_replicas: 3, ..stream() },
            ),
            (
                "persist_mode",
                StreamConfig { persist_mode: PersistMode::Async, allow_atomic: true, ..stream() },
            ),
            ("mirror", StreamConfig { mirror: origin(), subjects: subjects(&["a"]), ..stream() }),
            ("mirror", StreamConfig { mirror: origin(), allow_batched: true, ..stream() }),
            ("mirror.name", StreamConfig { mirror: Some(StreamSource::new("*")), ..stream() }),
            (
                "mirror.opt_start_seq",
                StreamConfig {
                    mirror: Some(StreamSource {
                        opt_start_seq: 1,
                        opt_start_time: Some(crate::Time::UNIX_EPOCH),
                        ..StreamSource::new("o")
                    }),
                    ..stream()
                },
            ),
            ("sources", StreamConfig { sources: vec![StreamSource::new("o"); 2], ..stream() }),
            (
                "sources.filter_subject",
                StreamConfig {
                    sources: vec![StreamSource {
                        filter_subject: Some("a".into()),
                        subject_transforms: vec![SubjectTransform::default()],
                        ..StreamSource::new("o")
                    }],
                    ..stream()
                },
            ),
            (
                "sources.subject_transforms",
                StreamConfig {
                    sources: vec![StreamSource {
                        subject_transforms: vec![SubjectTransform {
                            src: "a..b".into(),
                            dest: "c".into(),
                        }],
                        ..StreamSource::new("o")
                    }],
                    ..stream()
                },
            ),
            (
                "sources.external",
                StreamConfig {
                    sources: vec![StreamSource {
                        external: Some(External { api: "a.>".into(), deliver: String::new() }),
                        ..StreamSource::new("o")
                    }],
                    ..stream()
                },
            ),
            (
                "sources.consumer",
                StreamConfig {
                    sources: vec![StreamSource {
                        consumer: Some(durable),
                        opt_start_seq: 4,
                        ..StreamSource::new("o")
                    }],
                    ..stream()
                },
            ),
            (
                "subject_transform",
                StreamConfig {
                    subject_transform: Some(SubjectTransform { src: " ".into(), dest: "c".into() }),
                    ..stream()
                },
            ),
            ("republish.dest", StreamConfig { republish: Some(Republish::default()), ..stream() }),
        ] {
            let error = config.check().expect_err(field);
            assert_eq!(error.field(), field, "{error}");
            assert!(error.to_string().starts_with(field), "{error}");
        }
    }
}
