//! Times of the API: RFC 3339, exact to the nanosecond.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const DAY: i64 = 86_400;
/// Seconds from 0001-01-01 to 1970-01-01.
const ZERO: i64 = -62_135_596_800;
/// The first and the last second that four digits of a year can say.
const FIRST: i64 = ZERO - 366 * DAY;
const LAST: i64 = 253_402_300_799;

/// A moment of the calendar, in UTC, with nanoseconds, from the year 0 to 9999.
///
/// It prints, and is sent, as RFC 3339. What the server writes with an offset is the same moment.
/// Where the server writes the year 1 for "never", Midge has an `Option`.
///
/// ```
/// use midge_jetstream::Time;
///
/// let time: Time = "2026-04-01T12:30:00.000000001+02:00".parse()?;
/// assert_eq!(time.to_string(), "2026-04-01T10:30:00.000000001Z");
/// assert_eq!(time.unix_nanos(), 1_775_039_400_000_000_001);
/// # Ok::<(), midge_jetstream::TimeError>(())
/// ```
///
/// With the feature `std` it converts from and to `std::time::SystemTime`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    seconds: i64,
    nanos: u32,
}

/// A text that is no time of RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no time such as 2026-04-01T12:30:00.5Z")]
pub struct TimeError;

impl Time {
    /// The beginning of 1970.
    pub const UNIX_EPOCH: Self = Self { seconds: 0, nanos: 0 };

    /// The moment so many nanoseconds after the beginning of 1970, or before it. The first or last
    /// moment that can be said in place of one beyond.
    #[must_use]
    pub fn from_unix_nanos(nanos: i128) -> Self {
        let seconds = nanos.div_euclid(1_000_000_000);
        let rest = nanos.rem_euclid(1_000_000_000) as u32;
        match i64::try_from(seconds) {
            Ok(seconds @ FIRST..=LAST) => Self { seconds, nanos: rest },
            _ if nanos < 0 => Self { seconds: FIRST, nanos: 0 },
            _ => Self { seconds: LAST, nanos: 999_999_999 },
        }
    }

    /// Nanoseconds since the beginning of 1970; negative before.
    #[must_use]
    pub const fn unix_nanos(self) -> i128 {
        self.seconds as i128 * 1_000_000_000 + self.nanos as i128
    }

    /// The time since the beginning of 1970; zero before.
    #[must_use]
    pub fn since_unix_epoch(self) -> Duration {
        match u64::try_from(self.seconds) {
            Ok(seconds) => Duration::new(seconds, self.nanos),
            Err(_) => Duration::ZERO,
        }
    }

    /// What the server writes for "never": the first moment of the year 1.
    pub(crate) const NEVER: Self = Self { seconds: ZERO, nanos: 0 };
}

impl FromStr for Time {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse(text.as_bytes()).ok_or(TimeError)
    }
}

const TENS: [u32; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// A number of exactly so many digits, and what follows.
fn digits<const COUNT: usize>(text: &[u8]) -> Option<(i64, &[u8])> {
    let (head, rest) = text.split_first_chunk::<COUNT>()?;
    let (mut number, mut wrong) = (0, false);
    for byte in head {
        let digit = byte.wrapping_sub(b'0');
        wrong |= digit > 9;
        number = number * 10 + i64::from(digit);
    }
    (!wrong).then_some((number, rest))
}

pub(crate) fn parse(text: &[u8]) -> Option<Time> {
    let (year, text) = digits::<4>(text)?;
    let (month, text) = digits::<2>(text.strip_prefix(b"-")?)?;
    let (day, text) = digits::<2>(text.strip_prefix(b"-")?)?;
    let text = text.strip_prefix(b"T").or_else(|| text.strip_prefix(b"t"))?;
    let (hour, text) = digits::<2>(text)?;
    let (minute, text) = digits::<2>(text.strip_prefix(b":")?)?;
    let (second, mut text) = digits::<2>(text.strip_prefix(b":")?)?;
    let in_range = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let mut nanos = 0;
    if let Some(fraction) = text.strip_prefix(b".") {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return None;
        }
        let most = length.min(9);
        for digit in &fraction[..most] {
            nanos = nanos * 10 + u32::from(digit - b'0');
        }
        nanos *= TENS[9 - most];
        text = &fraction[length..];
    }
    let offset = match *text {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), ref rest @ ..] => {
            let (hours, rest) = digits::<2>(rest)?;
            let (minutes, rest) = digits::<2>(rest.strip_prefix(b":")?)?;
            if !rest.is_empty() || hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == b'+' { 60 } else { -60 }
        }
        _ => return None,
    };
    let seconds = days_before(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
    // An offset may lead out of the years that there are.
    Some(if (FIRST..=LAST).contains(&seconds) {
        Time { seconds, nanos }
    } else {
        Time::from_unix_nanos(i128::from(seconds) * 1_000_000_000 + i128::from(nanos))
    })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days of the Gregorian calendar from 1970-01-01 to a date. Years are taken to begin in March, so
/// that the day that only some have is their last.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let of_months = (153 * month + 2) / 5;
    year * 365 + leaps + of_months + day - 719_469
}

/// The date so many days after 1970-01-01: the inverse of [`days_before`].
fn date(days: i64) -> (i64, i64, i64) {
    // In 400 years there are 146,097 days, whichever they are.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day = days.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos != 0 {
            let (mut fraction, mut width) = (self.nanos, 9);
            while fraction.is_multiple_of(10) {
                fraction /= 10;
                width -= 1;
            }
            write!(f, ".{fraction:0width$}")?;
        }
        f.write_str("Z")
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time of RFC 3339")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Time, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text).map_err(D::Error::custom)
    }
}

#[cfg(feature = "std")]
#[allow(clippy::disallowed_types, reason = "a conversion; no clock is read")]
mod system {
    extern crate std;

    use std::time::SystemTime;

    use super::Time;

    impl From<SystemTime> for Time {
        fn from(time: SystemTime) -> Self {
            match time.duration_since(SystemTime::UNIX_EPOCH) {
                Ok(since) => {
                    Self::from_unix_nanos(since.as_nanos().try_into().unwrap_or(i128::MAX))
                }
                Err(before) => {
                    let nanos = i128::try_from(before.duration().as_nanos());
                    Self::from_unix_nanos(nanos.map_or(i128::MIN, |nanos| -nanos))
                }
            }
        }
    }

    impl From<Time> for SystemTime {
        /// The beginning of 1970 for what is before it.
        fn from(time: Time) -> Self {
            Self::UNIX_EPOCH + time.since_unix_epoch()
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_of_the_server_are_read_and_written_exactly() {
        for text in [
            "2026-11-21T21:36:25.733722895Z",
            "2026-11-21T21:36:25.735938Z",
            "2026-02-28T00:00:00Z",
            "2024-02-29T23:59:59.9Z",
            "2000-02-29T00:00:00.000000001Z",
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999999Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            assert_eq!(text.parse::<Time>().unwrap().to_string(), text);
        }
        assert_eq!("0001-01-01T00:00:00Z".parse(), Ok(Time::NEVER));
        assert_eq!("1970-01-01T00:00:01.5Z".parse::<Time>().unwrap().unix_nanos(), 1_500_000_000);
    }

    #[test]
    fn an_offset_is_the_same_moment_in_utc() {
        let here: Time = "2026-01-01T00:00:00.123456789+02:00".parse().unwrap();
        assert_eq!(here.to_string(), "2025-12-31T22:00:00.123456789Z");
        let there: Time = "2026-01-01T00:00:00-11:30".parse().unwrap();
        assert_eq!(there.to_string(), "2026-01-01T11:30:00Z");
    }

    #[test]
    fn what_is_finer_than_nanoseconds_is_cut_off() {
        let time: Time = "2026-01-01T00:00:00.1234567899999Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-01-01T00:00:00.123456789Z");
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "2026",
            "2026-01-01",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00ZZ",
            "2026-01-01T00:00:00+1:00",
            "2026-01-01T00:00:00+24:00",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "+026-01-01T00:00:00Z",
            "2026-01-01T00:00:00.1é",
        ] {
            assert_eq!(wrong.parse::<Time>(), Err(TimeError), "{wrong:?}");
        }
    }

    #[test]
    fn moments_that_cannot_be_said_become_the_nearest() {
        assert_eq!(Time::from_unix_nanos(i128::MAX).to_string(), "9999-12-31T23:59:59.999999999Z");
        assert_eq!(Time::from_unix_nanos(i128::MIN).to_string(), "0000-01-01T00:00:00Z");
        let early: Time = "0000-01-01T00:00:00+23:59".parse().unwrap();
        assert_eq!(early.to_string(), "0000-01-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn every_moment_is_read_as_it_was_written(nanos in -62_167_219_200_000_000_000_i128..253_402_300_800_000_000_000) {
            let time = Time::from_unix_nanos(nanos);
            prop_assert_eq!(time.unix_nanos(), nanos);
            prop_assert_eq!(time.to_string().parse(), Ok(time));
        }

        #[test]
        fn no_text_panics(text in "[0-9TZtz:+.\\-é]{0,40}") {
            let _ = text.parse::<Time>();
        }
    }
}
