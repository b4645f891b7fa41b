//! What is measured: the work, the sizes, and how much of it makes a run.

use peers_contestant::{SHARED, wire};
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
    /// To a real nats-server.
    PublishReal,
    /// From a real nats-server.
    ReceiveReal,
    /// To a real nats-server, over TLS.
    PublishTls,
    ReceiveTls,
    /// To a real nats-server, over WebSocket.
    PublishWs,
    ReceiveWs,
    /// To and from a real nats-server with three headers, which are not read.
    PublishHeadersReal,
    ReceiveHeadersReal,
    PublishHeadersTls,
    ReceiveHeadersTls,
    PublishHeadersWs,
    ReceiveHeadersWs,
    /// To the sink, from so many tasks as the size says.
    Publishers,
    /// To a stream of a real nats-server, one ack after the other.
    JsPublish,
    /// With as many acks outstanding as the size says.
    JsWindow,
    /// From such a stream, each message acked.
    JsConsume,
    /// The same by a consumer that wants no acks.
    JsRead,
    /// Put into a bucket of a real nats-server, one after the other.
    KvPut,
    /// Get from such a bucket, one after the other.
    KvGet,
    /// List all keys of such a bucket.
    KvKeys,
    /// Watch such a bucket until all that it holds has come.
    KvWatch,
    /// Get 1,000 keys one after the other, over a link of 1 ms.
    KvGetEach,
    /// The same in one call.
    KvGetMany,
    /// Receive over as many subscriptions as the size says, in turn.
    FanOut,
    /// Messages at default limits.
    Burst,
    /// Subscribe, and keep the subscriptions.
    Subscriptions,
    /// The server cuts the connection, and the client comes back with all subscriptions.
    Resubscribe,
    /// Connect, and keep the connections.
    Idle,
    /// Connect, publish, flush and close, again and again.
    Connect,
}

/// What lies between a client and its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    None,
    Tls,
    WebSocket,
}

/// A workload: the work, and bytes of a payload, or the number of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    pub(crate) size: usize,
}

impl Kind {
    pub(crate) const ALL: [Self; 36] = [
        Self::Publish,
        Self::PublishHeaders,
        Self::Receive,
        Self::ReceiveHeaders,
        Self::ReadHeaders,
        Self::Request,
        Self::Requests,
        Self::PublishReal,
        Self::ReceiveReal,
        Self::PublishTls,
        Self::ReceiveTls,
        Self::PublishWs,
        Self::ReceiveWs,
        Self::PublishHeadersReal,
        Self::ReceiveHeadersReal,
        Self::PublishHeadersTls,
        Self::ReceiveHeadersTls,
        Self::PublishHeadersWs,
        Self::ReceiveHeadersWs,
        Self::Publishers,
        Self::JsPublish,
        Self::JsWindow,
        Self::JsConsume,
        Self::JsRead,
        Self::KvPut,
        Self::KvGet,
        Self::KvKeys,
        Self::KvWatch,
        Self::KvGetEach,
        Self::KvGetMany,
        Self::FanOut,
        Self::Burst,
        Self::Subscriptions,
        Self::Resubscribe,
        Self::Idle,
        Self::Connect,
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
            Self::PublishReal => "publish-real",
            Self::ReceiveReal => "receive-real",
            Self::PublishTls => "publish-tls",
            Self::ReceiveTls => "receive-tls",
            Self::PublishWs => "publish-ws",
            Self::ReceiveWs => "receive-ws",
            Self::PublishHeadersReal => "publish-headers-real",
            Self::ReceiveHeadersReal => "receive-headers-real",
            Self::PublishHeadersTls => "publish-headers-tls",
            Self::ReceiveHeadersTls => "receive-headers-tls",
            Self::PublishHeadersWs => "publish-headers-ws",
            Self::ReceiveHeadersWs => "receive-headers-ws",
            Self::Publishers => "publishers",
            Self::JsPublish => "js-publish",
            Self::JsWindow => "js-window",
            Self::JsConsume => "js-consume",
            Self::JsRead => "js-read",
            Self::KvPut => "kv-put",
            Self::KvGet => "kv-get",
            Self::KvKeys => "kv-keys",
            Self::KvWatch => "kv-watch",
            Self::KvGetEach => "kv-get-each",
            Self::KvGetMany => "kv-get-many",
            Self::FanOut => "fan-out",
            Self::Burst => "burst",
            Self::Subscriptions => "subscriptions",
            Self::Resubscribe => "resubscribe",
            Self::Idle => "idle",
            Self::Connect => "connect",
        }
    }

    /// What a contestant is told.
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::PublishReal | Self::PublishTls | Self::PublishWs => Self::Publish.name(),
            Self::ReceiveReal | Self::ReceiveTls | Self::ReceiveWs => Self::Receive.name(),
            Self::PublishHeadersReal | Self::PublishHeadersTls | Self::PublishHeadersWs => {
                Self::PublishHeaders.name()
            }
            Self::ReceiveHeadersReal | Self::ReceiveHeadersTls | Self::ReceiveHeadersWs => {
                Self::ReceiveHeaders.name()
            }
            _ => self.name(),
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
            Self::PublishReal => "publish to nats-server",
            Self::ReceiveReal => "receive from nats-server",
            Self::PublishTls => "publish to nats-server over TLS",
            Self::ReceiveTls => "receive from nats-server over TLS",
            Self::PublishWs => "publish to nats-server over WebSocket",
            Self::ReceiveWs => "receive from nats-server over WebSocket",
            Self::PublishHeadersReal => "publish with three headers to nats-server",
            Self::ReceiveHeadersReal => "receive with three headers, not read, from nats-server",
            Self::PublishHeadersTls => "publish with three headers to nats-server over TLS",
            Self::ReceiveHeadersTls => {
                "receive with three headers, not read, from nats-server over TLS"
            }
            Self::PublishHeadersWs => "publish with three headers to nats-server over WebSocket",
            Self::ReceiveHeadersWs => {
                "receive with three headers, not read, from nats-server over WebSocket"
            }
            Self::Publishers => "publish 128 B from several tasks",
            Self::JsPublish => "publish to a stream, one ack after the other",
            Self::JsWindow => "publish 128 B to a stream, with so many acks outstanding",
            Self::JsConsume => "receive from a stream, and ack each message",
            Self::JsRead => "receive from a stream, without acks",
            Self::KvPut => "put into a bucket, one after the other",
            Self::KvGet => "get from a bucket, one after the other",
            Self::KvKeys => "list the keys of a bucket",
            Self::KvWatch => "watch a bucket until all has come",
            Self::KvGetEach => "get 1,000 keys one after the other, over a link of 1 ms",
            Self::KvGetMany => "get 1,000 keys in one call, over a link of 1 ms",
            Self::FanOut => "receive 128 B over several subscriptions in turn",
            Self::Burst => "a burst at default limits",
            Self::Subscriptions => "subscriptions, 100,000 in one connection",
            Self::Resubscribe => "subscribe again, 100,000 after a cut",
            Self::Idle => "idle connections, 1,000 in one process",
            Self::Connect => "connect, publish, flush, close",
        }
    }

    /// What is counted.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Request | Self::Requests => "request",
            Self::Subscriptions | Self::Resubscribe => "subscription",
            Self::Idle | Self::Connect => "connection",
            Self::KvPut | Self::KvGet | Self::KvGetEach | Self::KvGetMany => "key",
            Self::KvKeys | Self::KvWatch => "entry",
            _ => "message",
        }
    }

    /// Whether memory is what it is about, for each of what is counted.
    pub(crate) fn is_memory(self) -> bool {
        matches!(self, Self::Subscriptions | Self::Idle)
    }

    /// How a real nats-server is spoken to, if one is.
    pub(crate) fn real(self) -> Option<Layer> {
        match self {
            Self::PublishReal
            | Self::ReceiveReal
            | Self::PublishHeadersReal
            | Self::ReceiveHeadersReal
            | Self::JsPublish
            | Self::JsWindow
            | Self::JsConsume
            | Self::JsRead => Some(Layer::None),
            kind if kind.is_bucket() => Some(Layer::None),
            Self::PublishTls
            | Self::ReceiveTls
            | Self::PublishHeadersTls
            | Self::ReceiveHeadersTls => Some(Layer::Tls),
            Self::PublishWs | Self::ReceiveWs | Self::PublishHeadersWs | Self::ReceiveHeadersWs => {
                Some(Layer::WebSocket)
            }
            _ => None,
        }
    }

    /// Whether a real nats-server sends what is received.
    pub(crate) fn is_fed(self) -> bool {
        let receives = matches!(self.command(), "receive" | "receive-headers");
        receives && self.real().is_some()
    }

    /// Whether it is about a stream or a bucket.
    pub(crate) fn is_stored(self) -> bool {
        let streams = [Self::JsPublish, Self::JsWindow, Self::JsConsume, Self::JsRead];
        streams.contains(&self) || self.is_bucket()
    }

    /// Whether it is about a bucket.
    pub(crate) fn is_bucket(self) -> bool {
        matches!(
            self,
            Self::KvPut
                | Self::KvGet
                | Self::KvKeys
                | Self::KvWatch
                | Self::KvGetEach
                | Self::KvGetMany
        )
    }

    /// Whether the server is a millisecond away, there and back.
    pub(crate) fn is_far(self) -> bool {
        matches!(self, Self::KvGetEach | Self::KvGetMany)
    }

    /// Whether it is told how long each took.
    pub(crate) fn has_latency(self) -> bool {
        matches!(self, Self::Request | Self::Requests | Self::JsPublish | Self::KvPut | Self::KvGet)
    }

    /// What the size of a workload counts.
    pub(crate) fn dimension(self) -> &'static str {
        match self {
            Self::Publishers => "tasks",
            Self::JsWindow => "acks",
            Self::FanOut => "subscriptions",
            _ => "B",
        }
    }

    fn has_headers(self) -> bool {
        matches!(self.command(), "publish-headers" | "receive-headers" | "read-headers")
    }
}

impl Workload {
    /// All of them, in the order of the report.
    pub(crate) fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for kind in Kind::ALL {
            let sizes: &[usize] = match kind {
                Kind::Request | Kind::Requests | Kind::Burst => &[128],
                Kind::Subscriptions | Kind::Resubscribe | Kind::Idle | Kind::Connect => &[16],
                Kind::Publishers => &[1, 4, 16, 64],
                Kind::FanOut => &[1, 1000, 10_000],
                Kind::JsPublish | Kind::JsConsume | Kind::JsRead => &[128],
                kind if kind.is_bucket() => &[128],
                Kind::JsWindow => &[256, 4096],
                _ => &[16, 128, 1024, 8192, 65_536],
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
            Kind::Publishers => self.size == 16,
            Kind::FanOut => self.size == 1000,
            kind if kind.is_stored() => true,
            kind if kind.real().is_some() => self.size == 128,
            _ => true,
        }
    }

    /// Messages or requests of a run of a contestant that takes a microsecond for each of the
    /// small ones: up to a second of work.
    pub(crate) fn count(self) -> u64 {
        match (self.kind, self.size) {
            (Kind::Request, _) => 10_000,
            (Kind::Requests, _) => 256_000,
            (Kind::FanOut, _) => 500_000,
            (Kind::Burst, _) => 1_000_000,
            (Kind::Subscriptions | Kind::Resubscribe, _) => 100_000,
            (Kind::Idle, _) => 1_000,
            (Kind::Connect, _) => 300,
            (Kind::Publishers, _) => 1_000_000,
            (Kind::JsPublish, _) => 10_000,
            (Kind::KvPut | Kind::KvGet, _) => 10_000,
            (Kind::KvGetEach | Kind::KvGetMany, _) => 1_000,
            (Kind::JsWindow | Kind::JsConsume | Kind::JsRead, _) => 100_000,
            (Kind::KvKeys | Kind::KvWatch, _) => 100_000,
            (kind, 129..=1024) if kind.real().is_some() => 200_000,
            (kind, 0..=128) if kind.real().is_some() && kind.has_headers() => 250_000,
            (kind, 0..=128) if kind.real().is_some() => 500_000,
            (kind, 1025..=8192) if kind.real().is_some() => 50_000,
            (kind, _) if kind.real().is_some() => 10_000,
            (Kind::ReceiveHeaders | Kind::ReadHeaders, 0..=128) => 500_000,
            (_, 0..=128) => 2_000_000,
            (_, 129..=1024) => 400_000,
            (_, 1025..=8192) => 80_000,
            _ => 20_000,
        }
    }

    pub(crate) fn role(self, count: u64) -> Role {
        match self.kind {
            Kind::Publish
            | Kind::PublishHeaders
            | Kind::Publishers
            | Kind::Idle
            | Kind::Connect => Role::Sink,
            Kind::Request | Kind::Requests | Kind::Subscriptions => Role::Echo,
            Kind::Resubscribe => Role::Cutter,
            _ => Role::Blaster(self.blast(count)),
        }
    }

    /// What a client receives.
    pub(crate) fn blast(self, count: u64) -> Blast {
        let (size, subscriptions) = match self.kind {
            Kind::FanOut => (SHARED, self.size as u64),
            _ => (self.size, 1),
        };
        Blast { count, size, headers: self.kind.has_headers(), subscriptions }
    }

    /// Whether the contestant did all of the work, by what it said and by what the server saw.
    pub(crate) fn verify(self, count: u64, said: &Said, seen: Seen) -> Result<(), String> {
        match self.kind {
            Kind::Publish | Kind::PublishHeaders | Kind::Publishers => {
                let headers = self.kind.has_headers();
                let size = if self.kind == Kind::Publishers { SHARED } else { self.size };
                let frame = wire::publish(wire::SUBJECT, None, headers, &vec![b'x'; size]);
                // Some write headers without the blanks, and some two blanks between words.
                let least = count * (frame.len() as u64 - if headers { 6 } else { 0 });
                let most = count * (frame.len() as u64 + 8) + 65_536;
                let bytes = seen.bytes.unwrap_or_default();
                if bytes < least || bytes > most {
                    return Err(format!(
                        "the server got {bytes} bytes, where {count} messages have {least} to {most}"
                    ));
                }
            }
            Kind::Request | Kind::Requests => {
                if said.received != count {
                    return Err(format!("{} of {count} requests were answered", said.received));
                }
            }
            Kind::PublishReal
            | Kind::PublishTls
            | Kind::PublishWs
            | Kind::PublishHeadersReal
            | Kind::PublishHeadersTls
            | Kind::PublishHeadersWs
            | Kind::JsPublish
            | Kind::JsWindow
            | Kind::JsConsume
            | Kind::JsRead
            | Kind::KvPut => {
                if self.kind.is_stored() && said.received != count {
                    return Err(format!("{} of {count} came about", said.received));
                }
                if seen.messages != Some(count) {
                    return Err(format!("the server has {:?} of {count} messages", seen.messages));
                }
            }
            // What is lost is told.
            Kind::Burst => {}
            Kind::Resubscribe => {
                if seen.messages != Some(count) {
                    return Err(format!("{:?} of {count} subscriptions came back", seen.messages));
                }
            }
            Kind::Subscriptions
            | Kind::Idle
            | Kind::Connect
            | Kind::KvGet
            | Kind::KvKeys
            | Kind::KvWatch
            | Kind::KvGetEach
            | Kind::KvGetMany => {
                if said.received != count {
                    return Err(format!("{} of {count} came about", said.received));
                }
            }
            Kind::Receive
            | Kind::ReceiveHeaders
            | Kind::ReadHeaders
            | Kind::ReceiveReal
            | Kind::ReceiveTls
            | Kind::ReceiveWs
            | Kind::ReceiveHeadersReal
            | Kind::ReceiveHeadersTls
            | Kind::ReceiveHeadersWs
            | Kind::FanOut => {
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
