//! What no server would take, refused before it is asked: the parts that streams and consumers
//! share.

use alloc::collections::BTreeMap;
use alloc::string::String;
use core::time::Duration;

use midge_proto::{SubjectError, SubjectRef};

use crate::names::NameError;
use crate::wire::MAX_DURATION;

/// The most bytes of a description.
const MAX_DESCRIPTION: usize = 4 * 1024;
/// The most bytes of keys and values of metadata.
const MAX_METADATA: usize = 128 * 1024;

/// A configuration that contradicts itself, or that no server would take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A name that cannot be one.
    #[error("{field}: {error}")]
    Name {
        /// The field, as the API names it.
        field: &'static str,
        /// What is wrong.
        error: NameError,
    },
    /// A subject that is none.
    #[error("{field}: {subject:?} is no subject: {error}")]
    Subject {
        /// The field, as the API names it.
        field: &'static str,
        /// What stands there.
        subject: String,
        /// What is wrong.
        error: SubjectError,
    },
    /// A subject with wildcards where none may be.
    #[error("{field}: {subject:?} must not have wildcards")]
    Wildcard {
        /// The field, as the API names it.
        field: &'static str,
        /// What stands there.
        subject: String,
    },
    /// Two subjects that match the same.
    #[error("{field}: {first:?} and {second:?} overlap")]
    Overlap {
        /// The field, as the API names it.
        field: &'static str,
        /// The first.
        first: String,
        /// The second.
        second: String,
    },
    /// A value beyond what may be.
    #[error("{field} must be {allowed}")]
    Range {
        /// The field, as the API names it.
        field: &'static str,
        /// What may be.
        allowed: &'static str,
    },
    /// Two fields that exclude each other.
    #[error("{field} cannot be together with {other}: leave one of them out")]
    Conflict {
        /// The field, as the API names it.
        field: &'static str,
        /// The other, or what it is.
        other: &'static str,
    },
    /// A field that is of no use without another.
    #[error("{field} needs {needed}")]
    Needs {
        /// The field, as the API names it.
        field: &'static str,
        /// The other, or what it must be.
        needed: &'static str,
    },
}

impl ConfigError {
    /// The field that is wrong, as the API names it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::Name { field, .. }
            | Self::Subject { field, .. }
            | Self::Wildcard { field, .. }
            | Self::Overlap { field, .. }
            | Self::Range { field, .. }
            | Self::Conflict { field, .. }
            | Self::Needs { field, .. } => field,
        }
    }
}

type Checked = Result<(), ConfigError>;

pub(crate) fn name(field: &'static str, checked: Result<impl Sized, NameError>) -> Checked {
    checked.map(|_| ()).map_err(|error| ConfigError::Name { field, error })
}

pub(crate) fn subject(field: &'static str, text: &str) -> Checked {
    parsed(field, text).map(|_| ())
}

/// Nothing, or a subject, which an empty text is not.
pub(crate) fn optional_subject(field: &'static str, text: Option<&str>) -> Checked {
    text.map_or(Ok(()), |text| subject(field, text))
}

pub(crate) fn literal(field: &'static str, text: &str) -> Checked {
    if parsed(field, text)?.has_wildcards() {
        return Err(ConfigError::Wildcard { field, subject: text.into() });
    }
    Ok(())
}

fn parsed<'a>(field: &'static str, text: &'a str) -> Result<SubjectRef<'a>, ConfigError> {
    SubjectRef::new(text).map_err(|error| ConfigError::Subject {
        field,
        subject: text.into(),
        error,
    })
}

/// Each is a subject, and no two of them are `alike`.
pub(crate) fn subjects(
    field: &'static str,
    subjects: &[String],
    alike: impl Fn(&str, &str) -> bool,
) -> Checked {
    for (index, first) in subjects.iter().enumerate() {
        subject(field, first)?;
        if let Some(second) = subjects[..index].iter().find(|second| alike(first, second)) {
            let (first, second) = (second.clone(), first.clone());
            return Err(ConfigError::Overlap { field, first, second });
        }
    }
    Ok(())
}

pub(crate) fn range(field: &'static str, holds: bool, allowed: &'static str) -> Checked {
    if holds { Ok(()) } else { Err(ConfigError::Range { field, allowed }) }
}

pub(crate) fn conflict(field: &'static str, set: bool, other: &'static str, too: bool) -> Checked {
    if set && too { Err(ConfigError::Conflict { field, other }) } else { Ok(()) }
}

pub(crate) fn needs(field: &'static str, set: bool, needed: &'static str, there: bool) -> Checked {
    if set && !there { Err(ConfigError::Needs { field, needed }) } else { Ok(()) }
}

/// Nothing, or at least so many milliseconds.
pub(crate) fn at_least(
    field: &'static str,
    duration: Option<Duration>,
    millis: u64,
    allowed: &'static str,
) -> Checked {
    let least = Duration::from_millis(millis);
    range(
        field,
        duration.is_none_or(|duration| (least..=MAX_DURATION).contains(&duration)),
        allowed,
    )
}

pub(crate) fn duration(field: &'static str, duration: Option<Duration>) -> Checked {
    let holds = duration.is_none_or(|duration| duration <= MAX_DURATION);
    range(field, holds, "at most 292 years")
}

/// A limit that is there is one, and one that the API can say.
pub(crate) fn limit(field: &'static str, limit: Option<u64>) -> Checked {
    let holds = limit.is_none_or(|limit| (1..=i64::MAX as u64).contains(&limit));
    range(field, holds, "above zero; None is without limit")
}

pub(crate) fn texts(description: Option<&str>, metadata: &BTreeMap<String, String>) -> Checked {
    let length = description.map_or(0, str::len);
    range("description", length <= MAX_DESCRIPTION, "4,096 bytes at most")?;
    let length: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    range("metadata", length <= MAX_METADATA, "128 KiB at most")
}

/// Whether some subject matches both.
pub(crate) fn collide(first: &str, second: &str) -> bool {
    let (mut first, mut second) = (first.split('.'), second.split('.'));
    loop {
        match (first.next(), second.next()) {
            (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
            (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
            _ => return false,
        }
    }
}

/// Whether every subject that matches `inner` matches `outer`.
pub(crate) fn covers(outer: &str, inner: &str) -> bool {
    let (mut outer, mut inner) = (outer.split('.'), inner.split('.'));
    loop {
        match (outer.next(), inner.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_collide_when_one_subject_matches_both() {
        for (first, second) in
            [("a", "a"), ("a.*", "*.b"), (">", "a.b"), ("a.>", "a.b.c"), ("*.>", "a.b")]
        {
            assert!(collide(first, second) && collide(second, first), "{first} {second}");
        }
        for (first, second) in
            [("a", "b"), ("a", "a.b"), ("a.>", "a"), ("*", "a.b"), ("a.*.c", "a.b.d")]
        {
            assert!(!collide(first, second) && !collide(second, first), "{first} {second}");
        }
    }

    #[test]
    fn a_subject_covers_what_it_matches_all_of() {
        for (outer, inner) in
            [("a", "a"), (">", "a.*"), ("a.>", "a.*.>"), ("*.b", "a.b"), ("*", "*"), (">", ">")]
        {
            assert!(covers(outer, inner), "{outer} {inner}");
        }
        for (outer, inner) in [("a.*", "a.>"), ("*", ">"), ("a.*", "*.b"), ("a", "*"), ("a.>", "a")]
        {
            assert!(!covers(outer, inner), "{outer} {inner}");
        }
    }
}
