//! What a server made of a configuration: fields that are not as they were asked for.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;
use serde_json::Value;

/// Whether a key of the metadata belongs to the server (ADR-44).
pub(crate) fn is_of_server(key: &str) -> bool {
    key.starts_with("_nats.")
}

/// What users have set of a field; `None` when that is nothing.
fn of_users(field: &str, mut value: Value) -> Option<Value> {
    if field == "metadata"
        && let Value::Object(pairs) = &mut value
    {
        pairs.retain(|key, _| !is_of_server(key));
        return (!pairs.is_empty()).then_some(value);
    }
    Some(value)
}

/// A field that is not as it was asked for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// The field, as the API names it, such as `republish.dest`.
    pub field: String,
    /// What was asked for. `Null`: nothing.
    pub asked: Value,
    /// What is. `None`: nothing, as from a server that does not know the field.
    pub found: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.asked {
            Value::Null => write!(f, "{} was not asked for and is ", self.field)?,
            asked => write!(f, "{} was to be {asked} and is ", self.field)?,
        }
        match &self.found {
            Some(found) => write!(f, "{found}"),
            None => f.write_str("left out"),
        }
    }
}

/// The fields that are not as they were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Differences(Vec<Difference>);

impl Differences {
    /// Compares what was asked for with what is. Fields that were not asked for may be anything,
    /// and so may metadata that belong to the server.
    ///
    /// ```
    /// use midge_jetstream::{Differences, StreamConfig};
    ///
    /// let asked = StreamConfig { allow_atomic: true, ..StreamConfig::new("orders") };
    /// let found = StreamConfig { max_msgs: Some(5), ..StreamConfig::new("orders") };
    /// let differences = Differences::between(&asked, &found);
    /// assert_eq!(differences.to_string(), "allow_atomic was to be true and is left out");
    /// ```
    #[must_use]
    pub fn between<T: Serialize>(asked: &T, found: &T) -> Self {
        let mut differences = Self::default();
        // A configuration has no keys that are not text, so it can always be written.
        if let (Ok(asked), Ok(found)) = (serde_json::to_value(asked), serde_json::to_value(found)) {
            differences.compare("", &asked, Some(&found));
        }
        differences
    }

    /// The same, with the fields that were not asked for and are not the default: as another
    /// [`Difference`], behind the others.
    ///
    /// ```
    /// use midge_jetstream::{Differences, StreamConfig};
    ///
    /// let asked = StreamConfig::new("orders");
    /// let found = StreamConfig { max_msgs: Some(5), ..StreamConfig::new("orders") };
    /// let differences = Differences::both_ways(&asked, &found);
    /// assert_eq!(differences.to_string(), "max_msgs was not asked for and is 5");
    /// ```
    #[must_use]
    pub fn both_ways<T: Serialize>(asked: &T, found: &T) -> Self {
        let mut differences = Self::between(asked, found);
        let added = Self::between(found, asked).0.into_iter();
        // Here, what is found was asked for, and nothing is what it was to be.
        let added = added.filter(|one| one.found.is_none());
        differences.0.extend(added.filter_map(|Difference { field, asked: found, .. }| {
            let found = Some(of_users(&field, found)?);
            Some(Difference { field, asked: Value::Null, found })
        }));
        differences
    }

    fn compare(&mut self, field: &str, asked: &Value, found: Option<&Value>) {
        match (asked, found) {
            (Value::Object(asked), Some(Value::Object(found))) => {
                for (key, value) in asked {
                    if field == "metadata" && is_of_server(key) {
                        continue;
                    }
                    let name =
                        if field.is_empty() { key.clone() } else { format!("{field}.{key}") };
                    self.compare(&name, value, found.get(key));
                }
            }
            (Value::Array(asked), Some(Value::Array(found))) if asked.len() == found.len() => {
                for (index, (asked, found)) in asked.iter().zip(found).enumerate() {
                    self.compare(&format!("{field}[{index}]"), asked, Some(found));
                }
            }
            (asked, found) => {
                if found != Some(asked) {
                    self.0.push(Difference {
                        field: field.to_owned(),
                        asked: asked.clone(),
                        found: found.cloned(),
                    });
                }
            }
        }
    }

    /// Whether all is as it was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The fields.
    pub fn iter(&self) -> impl Iterator<Item = &Difference> {
        self.0.iter()
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, difference) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            difference.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use core::time::Duration;

    use super::*;
    use crate::{ConsumerConfig, DeliverPolicy, Republish, StreamConfig, StreamSource};

    fn fields(differences: &Differences) -> Vec<&str> {
        differences.iter().map(|difference| difference.field.as_str()).collect()
    }

    #[test]
    fn what_the_server_adds_is_no_difference() {
        let asked = StreamConfig {
            metadata: [("team".into(), "a".into()), ("_nats.level".into(), "1".into())].into(),
            ..StreamConfig::new("s")
        };
        let mut found = asked.clone();
        found.subjects = alloc::vec!["s".into()];
        found.duplicate_window = Some(Duration::from_secs(120));
        found.metadata.insert("_nats.level".into(), "5".into());
        found.metadata.insert("_nats.ver".into(), "2.15.1".into());
        assert!(Differences::between(&asked, &found).is_empty());
    }

    #[test]
    fn fields_that_are_dropped_or_changed_are_named() {
        let asked = StreamConfig {
            deny_purge: true,
            num_replicas: 3,
            max_age: Some(Duration::from_secs(1)),
            republish: Some(Republish {
                dest: "b.>".into(),
                headers_only: true,
                ..Default::default()
            }),
            sources: alloc::vec![StreamSource { opt_start_seq: 5, ..StreamSource::new("o") }],
            metadata: [("team".into(), "a".into())].into(),
            ..StreamConfig::new("s")
        };
        let found = StreamConfig {
            num_replicas: 1,
            max_age: Some(Duration::from_secs(2)),
            republish: Some(Republish { dest: "c.>".into(), ..Default::default() }),
            sources: alloc::vec![StreamSource::new("o")],
            ..StreamConfig::new("s")
        };
        let differences = Differences::between(&asked, &found);
        assert_eq!(
            fields(&differences),
            [
                "deny_purge",
                "max_age",
                "metadata",
                "num_replicas",
                "republish.dest",
                "republish.headers_only",
                "sources[0].opt_start_seq"
            ]
        );
        assert_eq!(
            differences.iter().nth(1).unwrap().to_string(),
            "max_age was to be 1000000000 and is 2000000000"
        );
    }

    #[test]
    fn fields_that_nobody_asked_for_are_named_too() {
        let asked = StreamConfig {
            num_replicas: 3,
            metadata: [("team".into(), "a".into())].into(),
            republish: Some(Republish { dest: "b.>".into(), ..Default::default() }),
            ..StreamConfig::new("s")
        };
        let mut found = StreamConfig {
            max_age: Some(Duration::from_secs(2)),
            metadata: [("team".into(), "a".into()), ("_nats.ver".into(), "2.15.1".into())].into(),
            republish: Some(Republish {
                dest: "b.>".into(),
                headers_only: true,
                ..Default::default()
            }),
            ..asked.clone()
        };
        found.num_replicas = 1;
        found.metadata.insert("more".into(), "b".into());
        let differences = Differences::both_ways(&asked, &found);
        let named = ["num_replicas", "max_age", "metadata.more", "republish.headers_only"];
        assert_eq!(fields(&differences), named);
        let none = StreamConfig { metadata: Default::default(), ..asked.clone() };
        found = none.clone();
        found.metadata.insert("_nats.ver".into(), "2.15.1".into());
        assert!(Differences::both_ways(&none, &found).is_empty());
        found.metadata.insert("team".into(), "a".into());
        assert_eq!(
            Differences::both_ways(&none, &found).to_string(),
            r#"metadata was not asked for and is {"team":"a"}"#
        );
    }

    #[test]
    fn one_filter_is_the_same_in_either_field() {
        let asked =
            ConsumerConfig { filter_subjects: alloc::vec!["a".into()], ..Default::default() };
        let found = serde_json::from_str(r#"{"filter_subjects":["a"]}"#).unwrap();
        assert!(Differences::between(&asked, &found).is_empty());
        let none = ConsumerConfig::ephemeral();
        assert_eq!(fields(&Differences::between(&asked, &none)), ["filter_subject"]);
    }

    #[test]
    fn a_list_that_is_shorter_or_longer_is_another() {
        let subjects = |subjects: &[&str]| StreamConfig {
            subjects: subjects.iter().map(|&subject| subject.into()).collect(),
            ..StreamConfig::new("s")
        };
        for (asked, found) in [(&["a", "b"][..], &["a"][..]), (&["a"], &["a", "b"])] {
            let differences = Differences::between(&subjects(asked), &subjects(found));
            assert_eq!(fields(&differences), ["subjects"]);
        }
    }

    #[test]
    fn a_moment_is_the_same_with_any_offset() {
        let at = |text: &str| ConsumerConfig {
            deliver_policy: DeliverPolicy::ByStartTime(text.parse().unwrap()),
            ..ConsumerConfig::ephemeral()
        };
        let (asked, found) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T02:00:00+02:00"));
        assert!(Differences::between(&asked, &found).is_empty());
        let later = at("2026-01-01T00:00:00.000000001Z");
        assert_eq!(fields(&Differences::between(&asked, &later)), ["opt_start_time"]);
    }
}
