//! Messages that a stream publishes by a schedule (ADR-51).

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use midge_proto::{HeaderError, HeaderMap, SubjectError, SubjectRef};

use crate::Time;
use crate::levels::{ApiLevel, Need};
use crate::publish::whole_seconds;

pub(crate) const SCHEDULE: &str = "Nats-Schedule";
const TARGET: &str = "Nats-Schedule-Target";
const SOURCE: &str = "Nats-Schedule-Source";
const TTL: &str = "Nats-Schedule-TTL";
const ROLLUP: &str = "Nats-Schedule-Rollup";
const TIME_ZONE: &str = "Nats-Schedule-Time-Zone";

/// A schedule by which a stream publishes a message.
///
/// The message that carries it is published to a subject of its own, which holds the schedule: one
/// that comes to the same subject takes its place. When it is due, the stream publishes its payload
/// to the target, which must be another subject of the stream. The stream must allow schedules.
///
/// | schedule | needs |
/// |---|---|
/// | [`at`](Self::at) | nats-server 2.12 |
/// | [`every`](Self::every), [`cron`](Self::cron), [`source`](Self::source), [`rollup`](Self::rollup), [`time_zone`](Self::time_zone) | nats-server 2.14 |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    when: When,
    target: String,
    source: Option<String>,
    ttl: Option<Ttl>,
    rollup: bool,
    time_zone: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum When {
    At(Time),
    Every(Duration),
    Cron(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl {
    After(Duration),
    Never,
}

/// A schedule that no server would take. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The interval is too short.
    #[error("a schedule cannot repeat every {every:?}: at least a second has to lie between")]
    TooOften {
        /// The interval.
        every: Duration,
    },
    /// The pattern is not valid.
    #[error(
        "{pattern:?} is no schedule: give @hourly, @daily, @weekly, @monthly or @yearly, or seconds, minutes, hours, day of month, month and day of week; {field} cannot be {value:?}"
    )]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The field that is wrong.
        field: &'static str,
        /// What stands there.
        value: String,
    },
    /// Target or source is no subject.
    #[error("{header} is no subject: {error}")]
    Subject {
        /// The header.
        header: &'static str,
        /// What is wrong.
        error: SubjectError,
    },
    /// Target and source are single subjects.
    #[error("{header} must be one subject, without wildcards")]
    Wildcard {
        /// The header.
        header: &'static str,
    },
    /// The source is the target.
    #[error("a schedule that publishes the last message of {subject} needs another target")]
    SourceIsTarget {
        /// The subject.
        subject: String,
    },
    /// Streams keep a message for whole seconds.
    #[error("a message cannot expire after {ttl:?}: give whole seconds, at least one")]
    Ttl {
        /// What was given.
        ttl: Duration,
    },
    /// Only a pattern has a time zone.
    #[error("a time zone is for patterns: a moment and an interval are the same everywhere")]
    TimeZoneWithoutPattern,
    /// The name of a time zone is not valid.
    #[error("{name:?} is no time zone: give a name such as Europe/Berlin")]
    TimeZone {
        /// The name.
        name: String,
    },
    /// The header cannot be sent.
    #[error("invalid header: {0}")]
    Header(HeaderError),
}

impl From<HeaderError> for ScheduleError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl Schedule {
    fn new(when: When, target: &str) -> Self {
        let target = target.into();
        Self { when, target, source: None, ttl: None, rollup: false, time_zone: None }
    }

    /// Once, at a moment. One that has passed is due at once.
    #[must_use]
    pub fn at(time: impl Into<Time>, target: &str) -> Self {
        Self::new(When::At(time.into()), target)
    }

    /// Again and again, with so much time between: a second or more.
    #[must_use]
    pub fn every(every: Duration, target: &str) -> Self {
        Self::new(When::Every(every), target)
    }

    /// By a pattern: `@hourly`, `@daily` (`@midnight`), `@weekly`, `@monthly`, `@yearly`
    /// (`@annually`), or six fields as in `0 30 5 * * mon-fri`: seconds, minutes, hours, day of
    /// month, month, day of week (0 is Sunday).
    #[must_use]
    pub fn cron(pattern: &str, target: &str) -> Self {
        Self::new(When::Cron(pattern.into()), target)
    }

    /// Publishes the last message of this subject of the stream, and not the payload.
    #[must_use]
    pub fn source(mut self, subject: &str) -> Self {
        self.source = Some(subject.into());
        self
    }

    /// The stream forgets what is published after this time: whole seconds, at least one.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(Ttl::After(ttl));
        self
    }

    /// The stream keeps what is published past its `max_age`.
    #[must_use]
    pub fn never_expires(mut self) -> Self {
        self.ttl = Some(Ttl::Never);
        self
    }

    /// What is published displaces all earlier messages of the target.
    #[must_use]
    pub fn rollup(mut self) -> Self {
        self.rollup = true;
        self
    }

    /// The time zone of a pattern, such as `Europe/Berlin`. Default: UTC.
    #[must_use]
    pub fn time_zone(mut self, name: &str) -> Self {
        self.time_zone = Some(name.into());
        self
    }

    /// The level that it needs.
    #[must_use]
    pub fn need(&self) -> Need {
        let what = match self {
            Self { source: Some(_), .. } => SOURCE,
            Self { rollup: true, .. } => ROLLUP,
            Self { when: When::At(_), .. } => return Need::new(SCHEDULE, ApiLevel::V2_12),
            _ => SCHEDULE,
        };
        Need::new(what, ApiLevel::V2_14)
    }

    /// Writes the headers of the schedule.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`]; some headers may have been written.
    pub fn write(&self, headers: &mut HeaderMap) -> Result<(), ScheduleError> {
        headers.insert(SCHEDULE, self.when.written()?)?;
        headers.insert(TARGET, one_subject(TARGET, &self.target)?)?;
        if let Some(source) = &self.source {
            let source = one_subject(SOURCE, source)?;
            if source == self.target.as_bytes() {
                return Err(ScheduleError::SourceIsTarget { subject: self.target.clone() });
            }
            headers.insert(SOURCE, source)?;
        }
        match self.ttl {
            None => {}
            Some(Ttl::Never) => drop(headers.insert(TTL, "never")?),
            Some(Ttl::After(ttl)) => {
                let seconds = whole_seconds(ttl).map_err(|_| ScheduleError::Ttl { ttl })?;
                headers.insert(TTL, itoa::Buffer::new().format(seconds))?;
            }
        }
        if self.rollup {
            headers.insert(ROLLUP, "sub")?;
        }
        if let Some(name) = &self.time_zone {
            if !matches!(self.when, When::Cron(_)) {
                return Err(ScheduleError::TimeZoneWithoutPattern);
            }
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-+".contains(&byte);
            if !name.starts_with(|first: char| first.is_ascii_alphabetic())
                || !name.bytes().all(letters)
            {
                return Err(ScheduleError::TimeZone { name: name.clone() });
            }
            headers.insert(TIME_ZONE, name)?;
        }
        Ok(())
    }
}

/// The level that a header of a schedule needs.
pub(crate) fn need_of(name: &str, value: &[u8]) -> Option<Need> {
    let (what, level) = match name {
        SCHEDULE if value.starts_with(b"@at ") => (SCHEDULE, ApiLevel::V2_12),
        SCHEDULE => (SCHEDULE, ApiLevel::V2_14),
        SOURCE => (SOURCE, ApiLevel::V2_14),
        ROLLUP => (ROLLUP, ApiLevel::V2_14),
        TIME_ZONE => (TIME_ZONE, ApiLevel::V2_14),
        _ => return None,
    };
    Some(Need::new(what, level))
}

fn one_subject<'a>(header: &'static str, subject: &'a str) -> Result<&'a [u8], ScheduleError> {
    let checked =
        SubjectRef::new(subject).map_err(|error| ScheduleError::Subject { header, error })?;
    if checked.has_wildcards() {
        return Err(ScheduleError::Wildcard { header });
    }
    Ok(subject.as_bytes())
}

impl When {
    fn written(&self) -> Result<String, ScheduleError> {
        match self {
            Self::At(time) => Ok(format!("@at {time}")),
            Self::Every(every) if *every < Duration::from_secs(1) => {
                Err(ScheduleError::TooOften { every: *every })
            }
            // Whole units, so that no digit is lost in a fraction.
            Self::Every(every) if every.subsec_nanos() == 0 => {
                Ok(format!("@every {}s", every.as_secs()))
            }
            Self::Every(every) => {
                Ok(format!("@every {}s{}ns", every.as_secs(), every.subsec_nanos()))
            }
            Self::Cron(pattern) => {
                check_pattern(pattern)?;
                Ok(pattern.clone())
            }
        }
    }
}

struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const fn field(name: &'static str, first: u32, last: u32, names: &'static [&'static str]) -> Field {
    Field { name, first, last, names }
}

const FIELDS: [Field; 6] = [
    field("seconds", 0, 59, &[]),
    field("minutes", 0, 59, &[]),
    field("hours", 0, 23, &[]),
    field("day of month", 1, 31, &[]),
    field("month", 1, 12, &MONTHS),
    field("day of week", 0, 6, &DAYS),
];

fn check_pattern(pattern: &str) -> Result<(), ScheduleError> {
    let wrong = |field: &'static str, value: &str| ScheduleError::Pattern {
        pattern: pattern.into(),
        field,
        value: value.into(),
    };
    if pattern.starts_with('@') {
        return match pattern {
            "@yearly" | "@annually" | "@monthly" | "@weekly" | "@daily" | "@midnight"
            | "@hourly" => Ok(()),
            _ => Err(wrong("the name", pattern)),
        };
    }
    let mut values = pattern.split_whitespace();
    for field in &FIELDS {
        let value = values.next().unwrap_or_default();
        // As the server reads them, parts may be empty, but not all of them.
        let mut parts = value.split(',').filter(|part| !part.is_empty()).peekable();
        if parts.peek().is_none() || !parts.all(|part| field.takes(part)) {
            return Err(wrong(field.name, value));
        }
    }
    match values.next() {
        Some(value) => Err(wrong("a seventh field", value)),
        None => Ok(()),
    }
}

impl Field {
    /// `*`, `?`, a value or a range, with a step or without.
    fn takes(&self, part: &str) -> bool {
        let (range, step) = part.split_once('/').unwrap_or((part, "1"));
        if !step.parse::<u32>().is_ok_and(|step| step > 0) {
            return false;
        }
        if range == "*" || range == "?" {
            return true;
        }
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        match (self.value(low), self.value(high)) {
            (Some(low), Some(high)) => low <= high,
            _ => false,
        }
    }

    fn value(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(index) = named {
            return Some(self.first + u32::try_from(index).ok()?);
        }
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().filter(|value| (self.first..=self.last).contains(value))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn written(schedule: &Schedule) -> Result<String, ScheduleError> {
        let mut headers = HeaderMap::new();
        schedule.write(&mut headers)?;
        let lines = headers.iter().map(|(name, value)| {
            format!("{} {}", &name["Nats-Schedule".len()..], core::str::from_utf8(value).unwrap())
        });
        Ok(lines.collect::<alloc::vec::Vec<_>>().join("|"))
    }

    #[test]
    fn a_moment_is_exact() {
        let time = Time::from_unix_nanos(951_827_696_000_000_001);
        let at = written(&Schedule::at(time, "t")).unwrap();
        assert_eq!(at, " @at 2000-02-29T12:34:56.000000001Z|-Target t");
    }

    #[test]
    fn all_of_a_schedule_is_written() {
        let all = Schedule::cron("0 0/15 8-17 ? jan-MAR,12 Mon-Fri", "out")
            .source("in.a")
            .ttl(Duration::from_secs(300))
            .rollup()
            .time_zone("America/Port-au-Prince");
        assert_eq!(
            written(&all).unwrap(),
            " 0 0/15 8-17 ? jan-MAR,12 Mon-Fri|-Target out|-Source in.a|-TTL 300|-Rollup sub|\
             -Time-Zone America/Port-au-Prince"
        );
        let every = Schedule::every(Duration::from_millis(1500), "t").never_expires();
        assert_eq!(written(&every).unwrap(), " @every 1s500000000ns|-Target t|-TTL never");
        let every = Schedule::every(Duration::from_secs(90), "t");
        assert_eq!(written(&every).unwrap(), " @every 90s|-Target t");
    }

    #[test]
    fn patterns_that_servers_refuse_are_refused() {
        for wrong in [
            "",
            "@reboot",
            "@every 5s",
            "0 5 * * *",
            "0 0 5 * * 7",
            "60 0 5 * * 6",
            "0 0 24 * * *",
            "0 0 0 0 * *",
            "0 0 0 1 13 *",
            "0 0 0 1 * * *",
            "0 0 0 1 * mon-sun",
            "0 0 0 1 * 5-1",
            "*/0 0 0 1 * *",
            ", 0 0 1 * *",
            "1,a 0 0 1 * *",
            "a 0 0 1 * *",
            "+1 0 0 1 * *",
            "-1 0 0 1 * *",
            "99999999999 0 0 1 * *",
        ] {
            let error = written(&Schedule::cron(wrong, "t")).unwrap_err();
            assert!(matches!(error, ScheduleError::Pattern { .. }), "{wrong:?}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let second = Duration::from_secs(1);
        let hourly = || Schedule::cron("@hourly", "t");
        let short = Schedule::every(Duration::from_millis(999), "t");
        assert!(matches!(written(&short), Err(ScheduleError::TooOften { .. })));
        let zone = Schedule::every(second, "t").time_zone("UTC");
        assert_eq!(written(&zone), Err(ScheduleError::TimeZoneWithoutPattern));
        for name in ["", "+02:00", "Europe/Berlin\r\nX: y", "a b"] {
            let zone = hourly().time_zone(name);
            assert!(matches!(written(&zone), Err(ScheduleError::TimeZone { .. })), "{name:?}");
        }
        assert!(matches!(
            written(&hourly().source("t")),
            Err(ScheduleError::SourceIsTarget { .. })
        ));
        assert!(matches!(written(&hourly().source("a.*")), Err(ScheduleError::Wildcard { .. })));
        let wild = Schedule::cron("@hourly", "a.>");
        assert!(matches!(written(&wild), Err(ScheduleError::Wildcard { .. })));
        let none = Schedule::cron("@hourly", "");
        assert!(matches!(written(&none), Err(ScheduleError::Subject { .. })));
        let ttl = hourly().ttl(Duration::from_millis(1500));
        assert!(matches!(written(&ttl), Err(ScheduleError::Ttl { .. })));
        assert!(written(&ttl).unwrap_err().to_string().contains("1.5s"));
    }
}
