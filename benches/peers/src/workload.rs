//! What is measured: the work, the sizes, and how much of it makes a run.

use peers_contestant::wire;
use serde::{Deserialize, Serialize};

use crate::servers::{Blast, Role, Seen};

/// The work of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Publish,
    PublishHeaders,
    Receive,
    ReceiveHeaders,
    ReadHeaders,
    Request,
    Requests,
}

/// A workload: the work, and bytes of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    pub(crate) size: usize,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Publish,
        Self::PublishHeaders,
        Self::Receive,
        Self::ReceiveHeaders,
        Self::ReadHeaders,
        Self::Request,
        Self::Requests,
    ];

    /// Its name on command lines.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::PublishHeaders => "publish-headers",
            Self::Receive => "receive",
            Self::ReceiveHeaders => "receive-headers",
            Self::ReadHeaders => "read-headers",
            Self::Request => "request",
            Self::Requests => "requests",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::PublishHeaders => "publish with three headers",
            Self::Receive => "receive",
            Self::ReceiveHeaders => "receive with three headers, not read",
            Self::ReadHeaders => "receive with three headers, all read",
            Self::Request => "requests, one at a time",
            Self::Requests => "requests, 256 in flight",
        }
    }

    pub(crate) fn is_request(self) -> bool {
        matches!(self, Self::Request | Self::Requests)
    }

    fn has_headers(self) -> bool {
        matches!(self, Self::PublishHeaders | Self::ReceiveHeaders | Self::ReadHeaders)
    }
}

impl Workload {
    /// All of them, in the order of the report.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let sizes: &[usize] = match kind {
                Kind::Publish | Kind::Receive => &[16, 128, 1024, 8192, 65_536],
                Kind::Request | Kind::Requests => &[128],
                _ => &[16, 128, 1024],
            };
            all.extend(sizes.iter().map(|&size| Self { kind, size }));
        }
        all
    }

    /// The few of a quick look.
    pub(crate) fn is_quick(self) -> bool {
        match self.kind {
            Kind::Publish | Kind::Receive => self.size <= 128,
            Kind::PublishHeaders | Kind::ReceiveHeaders | Kind::ReadHeaders => self.size == 128,
            Kind::Request | Kind::Requests => true,
        }
    }

    /// Messages or requests of a run of a contestant that takes a microsecond for each of the
    /// small ones: up to a second of work.
    pub(crate) fn count(self) -> u64 {
        match (self.kind, self.size) {
            (Kind::Request, _) => 20_000,
            (Kind::Requests, _) => 256_000,
            (_, 0..=128) => 2_000_000,
            (_, 129..=1024) => 500_000,
            (_, 1025..=8192) => 100_000,
            _ => 20_000,
        }
    }

    pub(crate) fn role(self, count: u64) -> Role {
        match self.kind {
            Kind::Publish | Kind::PublishHeaders => Role::Sink,
            Kind::Request | Kind::Requests => Role::Echo,
            _ => Role::Blaster(Blast { count, size: self.size, headers: self.kind.has_headers() }),
        }
    }

    /// Whether the contestant did all of the work, by what it said and by what the server saw.
    pub(crate) fn verify(self, count: u64, said: &Said, seen: Seen) -> Result<(), String> {
        match self.kind {
            Kind::Publish | Kind::PublishHeaders => {
                let headers = self.kind.has_headers();
                let frame = wire::publish(wire::SUBJECT, None, headers, &vec![b'x'; self.size]);
                // Some write headers without the blanks, and some two blanks between words.
                let least = count * (frame.len() as u64 - if headers { 6 } else { 0 });
                let most = count * (frame.len() as u64 + 8) + 65_536;
                if seen.bytes < least || seen.bytes > most {
                    return Err(format!(
                        "the server got {} bytes, where {count} messages have {least} to {most}",
                        seen.bytes
                    ));
                }
            }
            Kind::Request | Kind::Requests => {
                if said.received != count {
                    return Err(format!("{} of {count} requests were answered", said.received));
                }
            }
            Kind::Receive | Kind::ReceiveHeaders | Kind::ReadHeaders => {
                if said.received != count || !said.last {
                    return Err(format!(
                        "{} of {count} messages arrived, the last one {}",
                        said.received,
                        if said.last { "in its place" } else { "not" }
                    ));
                }
                let values = count * wire::header_values();
                if self.kind == Kind::ReadHeaders && said.headers != values {
                    return Err(format!(
                        "the values of headers have {values} bytes, and {} were read",
                        said.headers
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What a contestant says of its run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    pub(crate) received: u64,
    pub(crate) last: bool,
    pub(crate) headers: u64,
    /// Nanoseconds within which 50, 99 and 99.9 % of the requests were answered.
    pub(crate) latency: Option<[f64; 3]>,
}

impl Said {
    /// Reads the words behind `done`.
    pub(crate) fn parse(words: &str) -> Self {
        let value = |name: &str| {
            let pairs = words.split_whitespace().filter_map(|word| word.split_once('='));
            let mut hits = pairs.filter(|(key, _)| *key == name);
            hits.next().and_then(|(_, value)| value.parse::<f64>().ok())
        };
        let latency = match (value("p50"), value("p99"), value("p999")) {
            (Some(median), Some(p99), Some(p999)) => Some([median, p99, p999]),
            _ => None,
        };
        Self {
            received: value("received").unwrap_or_default() as u64,
            last: value("last") == Some(1.0),
            headers: value("headers").unwrap_or_default() as u64,
            latency,
        }
    }
}
