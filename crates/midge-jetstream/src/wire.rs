//! How single values of the API are written: limits, durations, times, words.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::Time;

/// The longest duration that the API can say: about 292 years.
pub(crate) const MAX_DURATION: Duration = Duration::from_nanos(i64::MAX as u64);

pub(crate) fn nanos_of(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// What is not above zero means that there is none.
pub(crate) fn positive(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos).ok().filter(|&nanos| nanos > 0).map(Duration::from_nanos)
}

pub(crate) fn is_false(value: &bool) -> bool {
    !value
}

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// `None` for what is not above zero, such as the -1 of "without limit".
pub(crate) mod limit {
    use super::*;

    pub(crate) fn serialize<T: Serialize, S: Serializer>(
        limit: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match limit {
            Some(limit) => limit.serialize(serializer),
            None => serializer.serialize_i64(-1),
        }
    }

    /// Most limits are an i64 of the server, and some are a u64.
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a whole number of 64 bits")]
    enum Number {
        Positive(u64),
        Negative(#[expect(dead_code, reason = "below zero all are the same")] i64),
    }

    pub(crate) fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<T>, D::Error> {
        let number = match Option::<Number>::deserialize(deserializer)? {
            Some(Number::Positive(number)) if number > 0 => number,
            Some(Number::Positive(_) | Number::Negative(_)) | None => return Ok(None),
        };
        let wide = |_| serde::de::Error::custom("a limit that is out of range");
        T::try_from(number).map(Some).map_err(wide)
    }
}

/// Nanoseconds; `None` for what is not above zero.
pub(crate) mod nanos {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(duration.map_or(0, nanos_of))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.and_then(positive))
    }
}

/// Nanoseconds each.
pub(crate) mod many_nanos {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        durations: &[Duration],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(durations.iter().map(|duration| nanos_of(*duration)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Duration>, D::Error> {
        let numbers = Option::<Vec<i64>>::deserialize(deserializer)?.unwrap_or_default();
        Ok(numbers.into_iter().map(|nanos| positive(nanos).unwrap_or_default()).collect())
    }
}

/// A time; `None` for the year 1.
pub(crate) mod time {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Time>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        time.unwrap_or(Time::NEVER).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Time>, D::Error> {
        Ok(Option::<Time>::deserialize(deserializer)?.filter(|&time| time != Time::NEVER))
    }
}

/// What may be absent, or `null`, which means the same as nothing.
pub(crate) fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Text; `None` when it is empty.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// Whether there is no text, as a server takes it.
pub(crate) fn no_text(text: &Option<String>) -> bool {
    text.as_ref().is_none_or(String::is_empty)
}

/// An enum of words of the API, which keeps those that it does not know.
macro_rules! words {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// Another word, of a server that is newer than Midge. It can be sent as well.
            Other(alloc::string::String),
        }

        impl $name {
            /// The word that the API has for it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word,
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl From<alloc::string::String> for $name {
            fn from(word: alloc::string::String) -> Self {
                match word.as_str() {
                    $($word => Self::$variant,)*
                    _ => Self::Other(word),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <alloc::string::String as serde::Deserialize>::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

pub(crate) use words;
