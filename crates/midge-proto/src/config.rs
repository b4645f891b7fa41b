//! What a connection is told at its start: servers, identity, times and bounds.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::wire::MAX_URLS;
use crate::{ServerUrl, SubjectRef};

/// Places in a message are counted in 32 bits, and its control line is in it as well.
const MAX_BUFFER: usize = 1 << 31;

/// What the client shows to the server as proof of who it is.
///
/// Empty fields are not sent. A user or token in a server's URL goes before these for that
/// server, and for servers that it tells of. `Debug` shows which fields are set, never their values.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub user: Option<String>,
    /// Password, with a user name.
    pub password: Option<String>,
    /// Token.
    pub token: Option<String>,
    /// Public nkey.
    pub nkey: Option<String>,
    /// User JWT.
    pub jwt: Option<String>,
    /// Signature of the server's nonce, base64url without padding.
    pub signature: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("user", &self.user),
            ("password", &self.password),
            ("token", &self.token),
            ("nkey", &self.nkey),
            ("jwt", &self.jwt),
            ("signature", &self.signature),
        ];
        let set = fields.into_iter().filter(|(_, value)| value.is_some());
        f.debug_set().entries(set.map(|(name, _)| name)).finish()
    }
}

/// When a connection is upgraded to TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsMode {
    /// Never: a server that requires TLS is a failed attempt.
    Never,
    /// When the URL's scheme or the server's INFO requires it or, for `nats`, offers it.
    #[default]
    WhenOffered,
    /// Always, after INFO.
    Required,
    /// Always, before INFO (`handshake_first`, nats-server 2.10.4); the driver does the handshake
    /// before it reports `connected`.
    First,
}

/// What a [`Connection`](crate::Connection) is told at its start.
///
/// Every field has a default; make one with [`Config::new`] and set what differs. Sizes are in
/// bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Servers to connect to, at least one.
    pub servers: Vec<ServerUrl>,
    /// Where all randomness comes from: inbox names, jitter, the order of servers. Use fresh
    /// bytes from the system, and equal ones to repeat a run.
    pub seed: [u8; 32],
    /// The name shown in the server's monitoring. Default: none.
    pub name: Option<String>,
    /// The language that CONNECT states. Default: `rust`.
    pub lang: String,
    /// The version that CONNECT states. Default: that of this crate.
    pub version: String,
    /// Ask the server to acknowledge every operation with `+OK`. Default: false.
    pub verbose: bool,
    /// Ask the server for stricter checks. Default: false.
    pub pedantic: bool,
    /// Receive one's own messages. Default: true.
    pub echo: bool,
    /// Credentials that never change. Default: none.
    pub credentials: Credentials,
    /// Emit `Action::Authorize` at every connect instead of using `credentials`. Default: false.
    pub authorize: bool,
    /// When to upgrade to TLS. A driver that has none says [`TlsMode::Never`]: it would be asked to
    /// [start it](crate::Action::StartTls) by every server that offers it. Default:
    /// [`TlsMode::WhenOffered`].
    pub tls: TlsMode,
    /// The first tokens of inboxes, without wildcards. Default: `_INBOX`.
    pub inbox_prefix: String,

    /// The time that one attempt has for everything, from the name to the first PONG. Of several
    /// addresses of a name, each has an equal share of what is left to be opened and to bring an
    /// INFO.
    /// Default: 5 s.
    pub connect_timeout: Duration,
    /// How often a PING is sent to see whether the server lives. Default: 2 min.
    pub ping_interval: Duration,
    /// The longest time that bytes wait to be written without the transport taking any; then the
    /// connection is lost, as `DisconnectCause::WriteTimedOut`. `None`: unanswered PINGs alone tell
    /// that a server is stuck. Default: `None`.
    pub write_deadline: Option<Duration>,
    /// PINGs without an answer after which the connection is stale. Default: 2.
    pub max_pings_out: u32,
    /// Connect again when a connection is lost. Default: true.
    pub reconnect: bool,
    /// Failed attempts in a row after which a server is given up; `None`: never. Default: `None`.
    pub max_attempts: Option<u32>,
    /// Go on after a server has refused the client twice in a row with the same error, instead of
    /// closing for good (ADR-40). Default: false.
    pub ignore_auth_error_abort: bool,
    /// Treat the first connect like a reconnect, instead of giving up after one pass through the
    /// servers. Default: false.
    pub retry_first_connect: bool,
    /// The wait before the second attempt after a loss; doubles with each further one, and its
    /// upper half is random. The first attempt comes at once, but not again where a connection was
    /// lost sooner than this wait would be over: then it is waited as after a failed attempt, until
    /// a connection lasts longer. Default: 100 ms.
    pub reconnect_wait: Duration,
    /// The longest wait between two attempts, without the jitter. Default: 5 s.
    pub reconnect_wait_max: Duration,
    /// Each wait grows by a random time of up to this, so that clients that lost one server do not
    /// come back in step. Default: 1 s.
    pub reconnect_jitter: Duration,
    /// The same where TLS is used, which costs a server more. Default: 1 s.
    pub reconnect_jitter_tls: Duration,
    /// Emit `Action::NextServer` before each attempt, and let the caller say where it goes to and
    /// when. Default: false.
    pub choose_server: bool,
    /// Try servers in the order given instead of a random one. Default: false.
    pub retain_order: bool,
    /// When a connection is lost, let requests wait on for their reply or deadline: those that were
    /// sent may still be answered through the next connection, the others are sent on it. Otherwise
    /// they end at once, as `Unknown` and as `NotSent`. Default: false.
    pub keep_requests: bool,
    /// Ask for the addresses of a host by `Action::Resolve`. Otherwise `Action::Connect` brings no
    /// address for a name, which is then the driver's to find, or a proxy's. Default: true.
    pub resolve: bool,
    /// Do not learn servers from INFO. Default: false.
    pub ignore_discovered: bool,
    /// Servers learnt from INFO at a time, and URLs that are kept of each of its lists; the rest is
    /// ignored, and counted in `Event::ServersChanged`. Default: 256.
    pub max_servers: usize,
    /// The longest time that a drain takes. Default: 30 s.
    pub drain_timeout: Duration,
    /// Leave a server that says it is about to shut down (lame duck mode, ADR-5) for another one,
    /// when another is known, after a random time of up to this: choose it inside the server's
    /// `lame_duck_grace_period`, 10 s by default. `None`: stay until the server closes the
    /// connection. Default: `None`.
    pub leave_lame_duck: Option<Duration>,
    /// The longest time that a planned move waits for replies to requests and for the PONG of what
    /// was sent; while reading is paused it does not end. Default: 5 s, the time-out of a request.
    pub move_timeout: Duration,
    /// While messages are unconfirmed, a PING is added after so much time. Default: 100 ms.
    pub confirm_interval: Duration,
    /// While messages are unconfirmed, a PING is added after so many bytes. Default: 1 MiB.
    pub confirm_bytes: usize,

    /// Unwritten bytes of messages while connected, past which a publish is refused. A single
    /// larger message passes when nothing else waits. Default: 8 MiB.
    pub max_pending: usize,
    /// The same while not connected; 0 refuses every publish. Default: 8 MiB.
    pub reconnect_buffer: usize,
    /// The longest time that a message waits for a connection, from the loss of the last one or
    /// from when it was published, whichever is later; then it is dropped and reported. A 32nd of it
    /// may be missing. `None`: without limit. Default: `None`.
    pub max_kept_age: Option<Duration>,
    /// Unwritten bytes of SUB and PING, past which a subscribe is refused. Default: 1 MiB.
    pub control_reserve: usize,
    /// The longest control line, without its operation, that the server takes: subjects that need
    /// more are refused. The server does not tell; this must not exceed its `max_control_line`.
    /// Default: 4096, the server's own default.
    pub server_control_line: usize,
    /// The longest control line from the server. Default: 64 KiB.
    pub max_control_line: usize,
    /// The longest INFO. Default: 1 MiB.
    pub max_info: usize,
    /// The largest message, headers and payload, that is received; a larger one is skipped as it
    /// streams by and reported. At most 2 GiB. Default: 64 MiB, the server's own limit.
    pub max_message: usize,
    /// The largest size of a read buffer; larger messages get others. It begins at 2 KiB, grows while
    /// reads fill it or messages keep it, and is small again when less than this has come from one
    /// keep-alive PING to the next. Default: 64 KiB.
    pub read_chunk: usize,
    /// Read buffers that unread messages may keep alive; past it, messages are copied out.
    /// Default: 32.
    pub max_chunks: usize,
    /// Subscriptions at a time. Default: 1,048,576.
    pub max_subscriptions: usize,
    /// Requests at a time. Default: 1,048,576.
    pub max_requests: usize,
    /// Flushes at a time. Default: 65,536.
    pub max_flushes: usize,
    /// Ranges of positions that reports over the whole life of the connection keep of each fate, and
    /// that are kept of the messages that the server has not confirmed yet; past it the oldest are
    /// forgotten, counts and bytes stay exact. Messages of one range follow each other without one
    /// between them that was withdrawn. Default: 1,024.
    pub max_ranges: usize,
}

impl Config {
    /// Defaults for `servers`, with randomness from `seed`.
    pub fn new(servers: Vec<ServerUrl>, seed: [u8; 32]) -> Self {
        Self {
            servers,
            seed,
            name: None,
            lang: "rust".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            verbose: false,
            pedantic: false,
            echo: true,
            credentials: Credentials::default(),
            authorize: false,
            tls: TlsMode::default(),
            inbox_prefix: "_INBOX".into(),
            connect_timeout: Duration::from_secs(5),
            ping_interval: Duration::from_secs(120),
            write_deadline: None,
            max_pings_out: 2,
            reconnect: true,
            max_attempts: None,
            ignore_auth_error_abort: false,
            retry_first_connect: false,
            reconnect_wait: Duration::from_millis(100),
            reconnect_wait_max: Duration::from_secs(5),
            reconnect_jitter: Duration::from_secs(1),
            reconnect_jitter_tls: Duration::from_secs(1),
            choose_server: false,
            retain_order: false,
            keep_requests: false,
            resolve: true,
            ignore_discovered: false,
            max_servers: MAX_URLS,
            drain_timeout: Duration::from_secs(30),
            leave_lame_duck: None,
            move_timeout: Duration::from_secs(5),
            confirm_interval: Duration::from_millis(100),
            confirm_bytes: 1024 * 1024,
            max_pending: 8 << 20,
            reconnect_buffer: 8 << 20,
            max_kept_age: None,
            control_reserve: 1 << 20,
            server_control_line: 4096,
            max_control_line: 64 * 1024,
            max_info: 1 << 20,
            max_message: 64 << 20,
            read_chunk: 64 * 1024,
            max_chunks: 32,
            max_subscriptions: 1 << 20,
            max_requests: 1 << 20,
            max_flushes: 1 << 16,
            max_ranges: 1024,
        }
    }

    /// Defaults for a device with little memory. The example `embedded` runs with them in 40 KiB of
    /// heap.
    ///
    /// | field | value |
    /// |---|---|
    /// | `read_chunk`, `max_chunks` | 1 KiB, 2 |
    /// | `max_message` | 4 KiB: larger ones are skipped, and reported |
    /// | `max_pending`, `reconnect_buffer` | 4 KiB, 2 KiB |
    /// | `control_reserve`, `confirm_bytes` | 1 KiB, 2 KiB |
    /// | `max_info` | 16 KiB: what the INFO of a server needs that tells of 500 others |
    /// | `max_servers` | 4 |
    /// | `max_control_line` | 1 KiB |
    /// | `server_control_line` | 512 bytes: subjects that need more are refused |
    /// | `max_subscriptions`, `max_requests`, `max_flushes` | 16, 8, 4 |
    /// | `max_ranges` | 16 |
    ///
    /// The rest is as from [`new`](Self::new). A server with more others needs a larger `max_info`:
    /// past it, the attempt fails.
    pub fn small(servers: Vec<ServerUrl>, seed: [u8; 32]) -> Self {
        Self {
            read_chunk: 1024,
            max_chunks: 2,
            max_message: 4 * 1024,
            max_pending: 4 * 1024,
            reconnect_buffer: 2 * 1024,
            control_reserve: 1024,
            confirm_bytes: 2 * 1024,
            max_info: 16 * 1024,
            max_servers: 4,
            max_control_line: 1024,
            server_control_line: 512,
            max_subscriptions: 16,
            max_requests: 8,
            max_flushes: 4,
            max_ranges: 16,
            ..Self::new(servers, seed)
        }
    }

    /// What cannot be is refused before there is a connection.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.servers.is_empty() {
            return Err(ConfigError::NoServers);
        }
        if !SubjectRef::new(&self.inbox_prefix).is_ok_and(|prefix| !prefix.has_wildcards()) {
            return Err(ConfigError::InboxPrefix(self.inbox_prefix.clone()));
        }
        let zero = [
            ("connect_timeout", self.connect_timeout.is_zero()),
            ("ping_interval", self.ping_interval.is_zero()),
            ("max_pings_out", self.max_pings_out == 0),
            ("confirm_interval", self.confirm_interval.is_zero()),
            ("confirm_bytes", self.confirm_bytes == 0),
            ("max_control_line", self.max_control_line == 0),
            ("read_chunk", self.read_chunk == 0),
            ("write_deadline", self.write_deadline.is_some_and(|deadline| deadline.is_zero())),
            ("max_message", self.max_message == 0),
            ("server_control_line", self.server_control_line == 0),
            ("max_attempts", self.max_attempts == Some(0)),
            ("reconnect_wait", self.reconnect_wait.is_zero()),
            ("max_kept_age", self.max_kept_age.is_some_and(|age| age.is_zero())),
        ];
        if let Some((field, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(ConfigError::Zero(field));
        }
        let large = [("max_message", self.max_message), ("read_chunk", self.read_chunk)];
        if let Some((field, _)) = large.into_iter().find(|(_, bytes)| *bytes > MAX_BUFFER) {
            return Err(ConfigError::TooLarge(field));
        }
        if self.reconnect_wait > self.reconnect_wait_max {
            return Err(ConfigError::Contradiction {
                field: "reconnect_wait",
                other: "reconnect_wait_max",
                why: "the first wait is longer than the longest",
            });
        }
        Ok(())
    }
}

/// Why a [`Config`] makes no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// `servers` is empty.
    #[error("servers: name at least one")]
    NoServers,
    /// `inbox_prefix` is no subject, or holds a wildcard.
    #[error("inbox_prefix: `{0}` must be a subject without wildcards")]
    InboxPrefix(String),
    /// A time or bound that must not be zero is.
    #[error("`{0}` must be more than zero")]
    Zero(&'static str),
    /// A bound that is larger than this crate can count.
    #[error("`{0}` is too large")]
    TooLarge(&'static str),
    /// Two fields that cannot both be meant.
    #[error("`{field}` and `{other}` contradict each other: {why}")]
    Contradiction {
        /// A field.
        field: &'static str,
        /// The field that goes against it.
        other: &'static str,
        /// What is between them.
        why: &'static str,
    },
}
