//! What the contestants in Rust have in common: their command line, the signals that they exchange
//! with the tool, and what they count.
//!
//! A contestant is called as `program <workload> <host:port or URL> <count> <size>`. It connects, prepares
//! what the workload needs, prints `ready`, and waits for a line. Then it does the work, prints
//! `done` with what it counted, and waits for the end of its input. The tool measures what the
//! process spends between the two lines.

pub mod wire;

use std::io::{self, BufRead, Read, Write};
use std::time::{Duration, Instant};

/// The first byte of the payload of the last message.
pub const LAST: u8 = b'L';
/// The first byte of the payload of a message behind the last one, which is not counted: whoever
/// lost messages ends with it.
pub const END: u8 = b'E';
/// Requests at the same time in [`Workload::Requests`].
pub const IN_FLIGHT: u64 = 256;

/// The stream of the workloads of JetStream, which the tool has made, in memory.
pub const STREAM: &str = "PEERS";
/// The subject of [`STREAM`].
pub const STREAM_SUBJECT: &str = "stream.orders.created";

/// The consumer of [`STREAM`] that is made in [`Workload::JsConsume`].
pub const CONSUMER: &str = "worker";

/// The bucket of the workloads of key-value, which the tool has made, in memory, with
/// [keys](wire::key) from 0 on, all written once.
pub const BUCKET: &str = "PEERS";
/// The keys that are written and read by turns.
pub const KEYS: u64 = 1000;

/// Bytes of a payload in workloads whose size is another number.
pub const SHARED: usize = 128;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Publish, and flush at the end.
    Publish,
    /// The same with [`wire::HEADERS`].
    PublishHeaders,
    /// Publish from as many tasks as the size says, over one connection, and flush at the end.
    Publishers,
    /// Publish to [`STREAM`], and wait for each ack.
    JsPublish,
    /// Publish to [`STREAM`] with as many acks outstanding as the size says.
    JsWindow,
    /// Receive what [`STREAM`] holds by a durable pull [`CONSUMER`], and ack each message.
    JsConsume,
    /// The same by a [`CONSUMER`] that is there and wants no acks.
    JsRead,
    /// Put one of [`KEYS`] keys of [`BUCKET`] after the other.
    KvPut,
    /// Get one of [`KEYS`] keys of [`BUCKET`] after the other.
    KvGet,
    /// List all keys of [`BUCKET`].
    KvKeys,
    /// Watch [`BUCKET`] until all that it holds has come.
    KvWatch,
    /// Get each of so many keys, one after the other.
    KvGetEach,
    /// Get so many keys in one call.
    KvGetMany,
    /// Count the messages of a subscription.
    Receive,
    /// The same, and add up the lengths of all values of all headers.
    ReadHeaders,
    /// Requests, one at a time.
    Request,
    /// Requests, [`IN_FLIGHT`] at a time.
    Requests,
    /// [`Workload::Receive`] at the default limits of the client.
    Burst,
    /// Count the messages of as many subscriptions as the size says to [`wire::numbered`] subjects, which
    /// come in turn.
    FanOut,
    /// Subscribe to [`wire::numbered`] subjects, flush, and keep them.
    Subscriptions,
    /// The same before the work begins, which is to be connected again, with all of them, and to
    /// flush, after the server has cut the connection.
    Resubscribe,
    /// Connect, flush, and keep the connections.
    Idle,
    /// Connect, publish, flush and close, one after the other.
    Connect,
}

/// The command line.
#[derive(Clone, Debug)]
pub struct Task {
    /// What to do.
    pub workload: Workload,
    /// Host and port of the server, or its URL if it is one of TLS or WebSocket.
    pub server: String,
    /// How many messages or requests.
    pub count: u64,
    /// Bytes of a payload.
    pub size: usize,
}

impl Task {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// It is none, or names a workload that this crate does not know.
    pub fn from_args() -> Result<Self, String> {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let [workload, server, count, size] = &args[..] else {
            return Err("<workload> <host:port> <count> <size>".into());
        };
        let workload = match &**workload {
            "publish" => Workload::Publish,
            "publish-headers" => Workload::PublishHeaders,
            "publishers" => Workload::Publishers,
            "js-publish" => Workload::JsPublish,
            "js-window" => Workload::JsWindow,
            "js-consume" => Workload::JsConsume,
            "js-read" => Workload::JsRead,
            "kv-put" => Workload::KvPut,
            "kv-get" => Workload::KvGet,
            "kv-keys" => Workload::KvKeys,
            "kv-watch" => Workload::KvWatch,
            "kv-get-each" => Workload::KvGetEach,
            "kv-get-many" => Workload::KvGetMany,
            "receive" | "receive-headers" => Workload::Receive,
            "read-headers" => Workload::ReadHeaders,
            "request" => Workload::Request,
            "requests" => Workload::Requests,
            "fan-out" => Workload::FanOut,
            "burst" => Workload::Burst,
            "subscriptions" => Workload::Subscriptions,
            "resubscribe" => Workload::Resubscribe,
            "idle" => Workload::Idle,
            "connect" => Workload::Connect,
            other => return Err(format!("there is no workload `{other}`")),
        };
        let count = count.parse().map_err(|_| format!("`{count}` is no count"))?;
        let size = size.parse().map_err(|_| format!("`{size}` is no size"))?;
        Ok(Self { workload, server: server.clone(), count, size })
    }

    /// The server as most clients want it.
    #[must_use]
    pub fn url(&self) -> String {
        if self.server.contains("://") {
            return self.server.clone();
        }
        format!("nats://{}", self.server)
    }

    /// What is published.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let counts = [Workload::Publishers, Workload::JsWindow, Workload::FanOut];
        let is_count = counts.contains(&self.workload);
        vec![b'x'; if is_count { SHARED } else { self.size }]
    }

    /// How many keys are used by turns.
    #[must_use]
    pub fn keys(&self) -> u64 {
        if self.workload == Workload::KvGetEach { self.count } else { KEYS }
    }

    /// What each of the tasks of [`Workload::Publishers`] publishes.
    #[must_use]
    pub fn share(&self) -> u64 {
        self.count / self.size as u64
    }
}

/// Says that the work can begin, and waits until it may.
///
/// # Errors
///
/// The tool has gone.
pub fn ready() -> io::Result<()> {
    say("ready")?;
    let mut line = String::new();
    if io::stdin().lock().read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Says that the work is done and what was counted, and waits until the tool has looked.
///
/// # Errors
///
/// The tool has gone.
pub fn done(tally: &Tally) -> io::Result<()> {
    let mut line = format!("done received={}", tally.received);
    line.push_str(&format!(" last={} headers={}", u8::from(tally.last), tally.headers));
    if let Some([median, p99, p999]) = tally.latencies() {
        line.push_str(&format!(" p50={median} p99={p99} p999={p999}"));
    }
    say(&line)?;
    io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What arrived.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Messages or replies.
    pub received: u64,
    /// Whether the last one was the last that was sent.
    pub last: bool,
    /// Bytes of the values of all headers.
    pub headers: u64,
    /// Nanoseconds of each request.
    pub nanoseconds: Vec<u32>,
}

impl Tally {
    /// Counts a message. True when there are `count`, or when no more will come.
    #[inline]
    pub fn message(&mut self, payload: &[u8], count: u64) -> bool {
        let first = payload.first();
        if first == Some(&END) {
            return true;
        }
        self.received += 1;
        self.last = first == Some(&LAST);
        self.received == count
    }

    /// Counts a reply of the right `size`, asked for at `start`.
    #[inline]
    pub fn reply(&mut self, payload: &[u8], size: usize, start: Instant) {
        self.received += u64::from(payload.len() == size);
        self.took(start.elapsed());
    }

    /// So many things have come about.
    #[must_use]
    pub fn of(received: u64) -> Self {
        Self { received, ..Self::default() }
    }

    /// Notes the time of a request.
    pub fn took(&mut self, time: Duration) {
        self.nanoseconds.push(u32::try_from(time.as_nanos()).unwrap_or(u32::MAX));
    }

    /// Adds what another one counted.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.last = other.last;
        self.headers += other.headers;
        self.nanoseconds.extend(&other.nanoseconds);
    }

    /// Nanoseconds within which a half, 99 % and 99.9 % of the requests were answered.
    fn latencies(&self) -> Option<[u32; 3]> {
        let mut all = self.nanoseconds.clone();
        all.sort_unstable();
        let at = |share: f64| all.get((all.len() as f64 * share) as usize).or(all.last()).copied();
        Some([at(0.5)?, at(0.99)?, at(0.999)?])
    }
}
