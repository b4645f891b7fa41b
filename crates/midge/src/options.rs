//! What a connection is set up with.

mod error;

use std::time::Duration;

use midge_proto::Config;

use crate::auth::Methods;
use crate::choice::Choice;
use crate::into_servers::IntoServers;
use crate::layers;
use crate::queue::Limits;

pub use error::OptionsError;

/// A seed that nobody has given.
const FRESH: [u8; 32] = [0; 32];

/// How to connect, and what the connection may use.
///
/// Every setting has a default. Mistakes are reported when connecting, as [`OptionsError`], before
/// anything is dialled.
///
/// Sizes are in bytes. [`Duration::MAX`] is as good as no limit in time. Zero is refused where
/// nothing could work with it: for `connect_timeout`, `ping_interval`, `max_pings_out`,
/// `max_attempts`, the first `reconnect_wait`, `request_timeout`, `flush_timeout`, `write_deadline`,
/// `max_kept_age`, `max_message`, `read_chunk`, `server_control_line`, `subscription_capacity` and
/// `event_capacity`.
///
/// ```
/// use std::time::Duration;
///
/// let options = midge::ConnectOptions::new("nats://one.example, nats://two.example")
///     .name("orders")
///     .token("s3cret")
///     .request_timeout(Duration::from_secs(2));
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until they are used to connect"]
pub struct ConnectOptions {
    config: Config,
    settings: Settings,
    error: Option<OptionsError>,
}

/// What the client decides itself, besides the core.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) auth: Methods,
    pub(crate) choice: Choice,
    /// Requests outlive a loss, also those with an inbox of their own.
    pub(crate) keep_requests: bool,
    pub(crate) request_timeout: Duration,
    pub(crate) flush_timeout: Duration,
    pub(crate) linger: Duration,
    pub(crate) slow_hold: Duration,
    pub(crate) limits: Limits,
    pub(crate) event_capacity: usize,
    pub(crate) layers: layers::Settings,
}

impl ConnectOptions {
    /// Defaults for these servers. A server without a scheme is `nats`, without a port 4222.
    pub fn new(servers: impl IntoServers) -> Self {
        let (servers, error) = match servers.into_servers() {
            Ok(servers) => (servers, None),
            Err(error) => (Vec::new(), Some(error.into())),
        };
        let config = Config::new(servers, FRESH);
        let settings = Settings {
            auth: Methods::default(),
            choice: Choice::default(),
            keep_requests: false,
            request_timeout: Duration::from_secs(5),
            flush_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(2),
            slow_hold: Duration::from_secs(1),
            limits: Limits { messages: 65_536, bytes: 8 << 20 },
            event_capacity: 128,
            layers: layers::Settings::default(),
        };
        Self { config, settings, error }
    }

    // ---- identity ------------------------------------------------------------------------

    /// The name that the server's monitoring shows. Any text; CONNECT bears it, and a CONNECT that
    /// is longer than the server's `max_control_line`, 4096 bytes by default, is refused with
    /// [`ServerError::MaxControlLine`](crate::ServerError::MaxControlLine). Default: none.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// User name and password, of any length that the server's `max_control_line` leaves. Those in
    /// a server's URL go before these for that server, and for servers that it tells of. Default:
    /// none.
    pub fn user_and_password(
        mut self,
        user: impl Into<String>,
        password: impl Into<String>,
    ) -> Self {
        self.config.credentials.user = Some(user.into());
        self.config.credentials.password = Some(password.into());
        self
    }

    /// A token, of any length that the server's `max_control_line` leaves. One in a server's URL
    /// goes before this for that server, and for servers that it tells of. Default: none.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.config.credentials.token = Some(token.into());
        self
    }

    /// Whether the server is to acknowledge every operation with `+OK`, for debugging: the
    /// acknowledgements are read and passed over. Default: false.
    pub fn verbose(mut self, verbose: bool) -> Self {
        self.config.verbose = verbose;
        self
    }

    /// Whether the server is to check subjects more strictly, and to answer what it finds with an
    /// error. Midge refuses such subjects itself. Default: false.
    pub fn pedantic(mut self, pedantic: bool) -> Self {
        self.config.pedantic = pedantic;
        self
    }

    /// Whether one's own messages are received. Default: true.
    pub fn echo(mut self, echo: bool) -> Self {
        self.config.echo = echo;
        self
    }

    /// The first tokens of inboxes: a subject without wildcards, which is not empty; anything else
    /// is refused. An inbox is it and one or two tokens more, and must fit into
    /// [`server_control_line`](Self::server_control_line) like every subject. Default: `_INBOX`.
    pub fn inbox_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.config.inbox_prefix = prefix.into();
        self
    }

    // ---- connecting ----------------------------------------------------------------------

    /// The time of one attempt, from the look-up of the name to the first PONG; zero is refused.
    /// Default: 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How often a PING asks whether the server lives; zero is refused. Default: 2 min.
    pub fn ping_interval(mut self, interval: Duration) -> Self {
        self.config.ping_interval = interval;
        self
    }

    /// PINGs without an answer after which the connection counts as lost; zero is refused.
    /// Default: 2.
    pub fn max_pings_out(mut self, pings: u32) -> Self {
        self.config.max_pings_out = pings;
        self
    }

    /// Whether a lost connection is made again. Default: true.
    pub fn reconnect(mut self, reconnect: bool) -> Self {
        self.config.reconnect = reconnect;
        self
    }

    /// Failed attempts in a row after which a server is given up; zero is refused. Before the first
    /// connection they count with [`retry_first_connect`](Self::retry_first_connect) alone: without
    /// it, each server is tried once. Default: `None`, never.
    pub fn max_attempts(mut self, attempts: impl Into<Option<u32>>) -> Self {
        self.config.max_attempts = attempts.into();
        self
    }

    /// The wait before the second attempt after a loss, which doubles with each further one, and
    /// its upper bound, which must not be shorter; of each wait the upper half is random, and there is
    /// [`reconnect_jitter`](Self::reconnect_jitter) besides. The first attempt comes at once. Where one
    /// connection after the other is lost before such a wait would be over, the next attempts wait as
    /// if they followed failed ones, until a connection lasts longer. Zero is refused. Default: 100 ms
    /// and 5 s.
    pub fn reconnect_wait(mut self, first: Duration, longest: Duration) -> Self {
        self.config.reconnect_wait = first;
        self.config.reconnect_wait_max = longest;
        self
    }

    /// How much longer each wait is at most, by a random time, and the same where TLS is used, which
    /// costs a server more. It keeps clients that lost one server from coming back in step. Zero
    /// adds nothing; there is no upper bound, nor does that of
    /// [`reconnect_wait`](Self::reconnect_wait) hold here. Default: 1 s each.
    pub fn reconnect_jitter(mut self, plain: Duration, tls: Duration) -> Self {
        self.config.reconnect_jitter = plain;
        self.config.reconnect_jitter_tls = tls;
        self
    }

    /// Whether requests outlive a lost connection and wait on for their reply, within their time.
    /// One that was sent may still be answered through the next connection, one that was not is
    /// sent on it. Otherwise they end at once, with an error that says whether they were sent.
    /// Default: false.
    pub fn keep_requests(mut self, keep: bool) -> Self {
        self.config.keep_requests = keep;
        self.settings.keep_requests = keep;
        self
    }

    /// Whether attempts go on after a server has refused the client twice in a row with the same
    /// error, as when credentials have run out and are renewed later. Otherwise that closes the
    /// connection for good, as [`CloseReason::Fatal`](crate::CloseReason::Fatal). That a user has
    /// expired while connected does not count (ADR-40). Default: false.
    pub fn ignore_auth_error_abort(mut self, ignore: bool) -> Self {
        self.config.ignore_auth_error_abort = ignore;
        self
    }

    /// Whether a first connect that fails is tried again like a later one (ADR-40). The client
    /// is then there at once, and connects in the background;
    /// [`max_attempts`](Self::max_attempts) counts these attempts too, and the connection closes when
    /// every server is given up. Default: false, connecting fails after one pass through the servers.
    pub fn retry_first_connect(mut self, retry: bool) -> Self {
        self.config.retry_first_connect = retry;
        self
    }

    /// Whether servers, and the addresses of a name, are tried in the order given, not in a random one.
    /// Default: false.
    pub fn retain_order(mut self, retain: bool) -> Self {
        self.config.retain_order = retain;
        self
    }

    /// Whether the names of servers are looked up before they are dialled, and each address that
    /// is found is tried. Otherwise a name is left to what dials: to a proxy that resolves it, to a
    /// dialler of the application, or to the system's own way to open a connection. A name that is
    /// not found is then a failed dial ([`DisconnectCause::Dial`](crate::DisconnectCause::Dial)).
    /// TLS verifies the name in either case. Default: true.
    pub fn resolve(mut self, resolve: bool) -> Self {
        self.config.resolve = resolve;
        self
    }

    /// Whether servers that the server tells of are ignored. Default: false.
    pub fn ignore_discovered(mut self, ignore: bool) -> Self {
        self.config.ignore_discovered = ignore;
        self
    }

    // ---- layers --------------------------------------------------------------------------

    /// Uses TLS, always, unless [`tls_mode`](Self::tls_mode) says otherwise, with these
    /// certificates. Default: TLS is used where the URL or the server asks for it or offers it,
    /// with the platform's root certificates.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::Tls) -> Self {
        self.settings.layers.tls = tls;
        self.settings.layers.tls_given = true;
        self
    }

    /// When TLS begins. Default: [`WhenOffered`](crate::TlsMode::WhenOffered), and
    /// [`Required`](crate::TlsMode::Required) with [`tls`](Self::tls), with which
    /// [`Never`](crate::TlsMode::Never) is refused. `wss` is TLS in any case, so that `ws` is
    /// refused where TLS is required; once a connection has used TLS, every later one must.
    #[cfg(feature = "tls")]
    pub fn tls_mode(mut self, mode: crate::TlsMode) -> Self {
        self.settings.layers.mode = Some(mode);
        self
    }

    /// Adds a header to the HTTP request that begins a WebSocket, such as `Cookie` or
    /// `Authorization`; with `Host`, in place of that of the URL. Those of the handshake itself
    /// are refused, and any where no server has a `ws` or `wss` URL, and so are names that are no
    /// token of HTTP and values with other than printable ASCII characters, blanks and tabs. `Debug`
    /// does not show the value. Default: none.
    #[cfg(feature = "websocket")]
    pub fn websocket_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.layers.websocket.headers.push((name.into(), value.into()));
        self
    }

    /// Asks for headers at each attempt to connect by a WebSocket, for what expires, such as the
    /// token of a proxy. They take the place of those of the same name that
    /// [`websocket_header`](Self::websocket_header) has set; what that refuses is refused here,
    /// and fails the attempt, as an error does, with
    /// [`DisconnectCause::Credentials`](crate::DisconnectCause::Credentials).
    ///
    /// It is called within the driver, and holds up the connection until it returns. The last one
    /// that was set counts. Default: none.
    ///
    /// ```
    /// # fn token_of(host: &str) -> Result<String, std::io::Error> { Ok(host.into()) }
    /// let options = midge::ConnectOptions::new("wss://nats.example").websocket_header_provider(
    ///     |server: &midge::ServerUrl| {
    ///         let token = token_of(server.host())?;
    ///         Ok::<_, std::io::Error>(vec![("Authorization".into(), format!("Bearer {token}"))])
    ///     },
    /// );
    /// ```
    #[cfg(feature = "websocket")]
    pub fn websocket_header_provider<F, E>(mut self, provider: F) -> Self
    where
        F: Fn(&crate::ServerUrl) -> Result<Vec<(String, String)>, E> + Send + Sync + 'static,
        E: Into<crate::auth::Failure>,
    {
        let provider = move |server: &crate::ServerUrl| provider(server).map_err(Into::into);
        self.settings.layers.websocket.header_provider = Some(std::sync::Arc::new(provider));
        self
    }

    /// The path, and query if any, that WebSockets are asked for at servers whose URL has none:
    /// that under which a proxy knows the servers. A slash in front may be missing; an empty path
    /// and characters other than printable ASCII ones are refused. Default: `/`.
    #[cfg(feature = "websocket")]
    pub fn websocket_path(mut self, path: impl Into<String>) -> Self {
        self.settings.layers.websocket.path = Some(path.into());
        self
    }

    /// Whether messages over a WebSocket may be compressed (`permessage-deflate`), which they are
    /// when the server has compression on as well. Default: true.
    #[cfg(feature = "websocket")]
    pub fn websocket_compression(mut self, compression: bool) -> Self {
        self.settings.layers.websocket.compression = compression;
        self
    }

    // ---- times ---------------------------------------------------------------------------

    /// How long a request waits for its reply, from the moment when it is made; zero is refused.
    /// Default: 5 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// How long a flush waits for its PONG; zero is refused. Default: 10 s.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.settings.flush_timeout = timeout;
        self
    }

    /// The longest time that bytes wait to be written while the socket takes none; then the
    /// connection is lost, as [`DisconnectCause::WriteTimedOut`](crate::DisconnectCause). Of TLS and
    /// WebSocket, up to 64 KiB that their layers hold count as written. Zero is refused. Default:
    /// `None`, unanswered PINGs alone tell that a server is stuck.
    pub fn write_deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.config.write_deadline = deadline.into();
        self
    }

    /// How long a close, or the drop of the last handle, waits until the server has what is
    /// queued; zero closes at once, and what was not written is reported as such. Default: 2 s.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.settings.linger = linger;
        self
    }

    /// The longest time that a drain takes; then the connection closes all the same, and reports
    /// what is left. Zero does so at once. Default: 30 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.config.drain_timeout = timeout;
        self
    }

    // ---- bounds --------------------------------------------------------------------------

    /// Bytes of messages, with their control lines and headers, that wait to be written while
    /// connected. Past it a publish waits, or fails with
    /// [`PublishError::Full`](crate::PublishError::Full) where it does not wait. A message that is
    /// larger passes alone, so that 0 lets through one at a time; there is no upper bound. Default:
    /// 8 MiB.
    ///
    /// A publish that is awaited waits earlier: once 256 KiB are there for the driver to write, about as
    /// much as it writes at once. It fills more of the bound only while a write is under way,
    /// with a message that is large, or when its own [`timeout`](crate::Publish::timeout) has passed.
    pub fn max_pending(mut self, bytes: usize) -> Self {
        self.config.max_pending = bytes;
        self
    }

    /// The same while not connected: past it, a publish fails with
    /// [`PublishError::Full`](crate::PublishError::Full), and what waits when a connection is lost
    /// is kept from the oldest on as it fits; the rest is dropped and reported. 0 refuses every
    /// publish then; a message that is larger never passes; there is no upper bound. Default: 8 MiB.
    pub fn reconnect_buffer(mut self, bytes: usize) -> Self {
        self.config.reconnect_buffer = bytes;
        self
    }

    /// Leave a server that says it is about to shut down (lame duck mode, ADR-5) for another one,
    /// when another is known by then, after a random time of up to `longest`: choose it inside the
    /// server's `lame_duck_grace_period`, 10 s by default; zero leaves at once. Nothing is lost in
    /// the move, see [`Client::reconnect`](crate::Client::reconnect). It is refused without
    /// [`reconnect`](Self::reconnect). Default: stay until the server closes the connection.
    pub fn leave_lame_duck(mut self, longest: Duration) -> Self {
        self.config.leave_lame_duck = Some(longest);
        self
    }

    /// The longest time that a planned move to another server waits for replies to requests and for
    /// the server's confirmation of what was published, before it breaks off; then what is left of
    /// them is as after a loss. While reading is paused for a slow subscription it does not break
    /// off. See [`Client::reconnect`](crate::Client::reconnect) and
    /// [`leave_lame_duck`](Self::leave_lame_duck). Zero moves at once. Default: 5 s, the time of a
    /// request.
    pub fn move_timeout(mut self, timeout: Duration) -> Self {
        self.config.move_timeout = timeout;
        self
    }

    /// The longest time that a message waits for a connection, from the loss of the last one or
    /// from when it was published, whichever is later. Then it is dropped, and reported by
    /// [`Event::Connected`](crate::Event::Connected); up to a 32nd of the time may be missing. Zero
    /// is refused. Default: without limit.
    pub fn max_kept_age(mut self, age: Duration) -> Self {
        self.config.max_kept_age = Some(age);
        self
    }

    /// The largest message, headers and payload in bytes, that is received. A larger one is
    /// skipped and reported as [`Event::Oversized`](crate::Event::Oversized). Zero and more than
    /// 2 GiB are refused. Default: 64 MiB.
    pub fn max_message(mut self, bytes: usize) -> Self {
        self.config.max_message = bytes;
        self
    }

    /// The largest size in bytes of the buffers that messages are received into, which unread messages
    /// share: up to 32 of them are kept alive, past that messages are copied out. They begin at 2 KiB,
    /// grow while reads fill them or messages keep them, and are small again when less than this has come
    /// from one keep-alive PING to the next. Larger messages get buffers of their own. Zero and more than 2 GiB are refused. Default: 64 KiB.
    pub fn read_chunk(mut self, bytes: usize) -> Self {
        self.config.read_chunk = bytes;
        self
    }

    /// Subscriptions at a time, past which a subscribe fails with
    /// [`SubscribeError::TooMany`](crate::SubscribeError::TooMany). Requests have one among them,
    /// which they share: 0 refuses both. More than 16,777,215 count as 16,777,215. Default:
    /// 1,048,576.
    pub fn max_subscriptions(mut self, subscriptions: usize) -> Self {
        self.config.max_subscriptions = subscriptions;
        self
    }

    /// Requests at a time, past which a request fails with
    /// [`RequestError::TooMany`](crate::RequestError::TooMany); 0 refuses every one. More than
    /// 16,777,215 count as 16,777,215. Default: 1,048,576.
    pub fn max_requests(mut self, requests: usize) -> Self {
        self.config.max_requests = requests;
        self
    }

    /// Flushes at a time, past which a flush fails with
    /// [`FlushError::TooMany`](crate::FlushError::TooMany); 0 refuses every one, and there is no upper
    /// bound. Default: 65,536.
    pub fn max_flushes(mut self, flushes: usize) -> Self {
        self.config.max_flushes = flushes;
        self
    }

    /// The longest control line in bytes, without its operation, that the server takes: subjects
    /// that need more are refused, since the server would close the connection. It does not tell
    /// its own limit, `max_control_line`, which this must not exceed. Zero is refused. Default: 4096,
    /// as there.
    pub fn server_control_line(mut self, bytes: usize) -> Self {
        self.config.server_control_line = bytes;
        self
    }

    /// How much of a subscription may be unread, in messages and in bytes of subject, reply,
    /// headers and payload. Default: 65,536 messages and 8 MiB, which together take about 21 MiB
    /// of memory when the messages have 128 bytes. One message always fits, however large. Zero is
    /// refused; `usize::MAX` is no limit. One subscription can differ, see
    /// [`Subscribe::capacity`](crate::Subscribe::capacity).
    pub fn subscription_capacity(mut self, messages: usize, bytes: usize) -> Self {
        self.settings.limits = Limits { messages, bytes };
        self
    }

    /// How long reading from the server stops when a subscription reaches its limits, before its
    /// newest messages are dropped; all subscriptions wait that long. Once a burst: the next
    /// begins after half was read. Zero drops at once. Default: 1 s.
    pub fn slow_hold(mut self, hold: Duration) -> Self {
        self.settings.slow_hold = hold;
        self
    }

    /// Events that each listener holds; when more come before it reads, the oldest go, and
    /// [`Event::Lagged`](crate::Event::Lagged) says how many. Zero is refused, and there is no upper
    /// bound: memory is taken as events come. Default: 128.
    pub fn event_capacity(mut self, events: usize) -> Self {
        self.settings.event_capacity = events;
        self
    }

    /// Where randomness comes from: jitter, the order of servers, the names of inboxes. For
    /// simulations and tests, which are to be repeated: with one seed twice, two connections have
    /// the same inboxes. All zeros mean the default: fresh randomness of the system. The masks and
    /// keys of WebSocket come from the system in any case.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.config.seed = seed;
        self
    }

    /// Checked settings, with fresh randomness unless a seed is given.
    pub(crate) fn build(self) -> Result<(Config, Settings), OptionsError> {
        let Self { mut config, settings, error } = self;
        if let Some(error) = error {
            return Err(error);
        }
        let zero = [
            ("request_timeout", settings.request_timeout.is_zero()),
            ("flush_timeout", settings.flush_timeout.is_zero()),
            ("subscription_capacity", settings.limits.messages == 0 || settings.limits.bytes == 0),
            ("event_capacity", settings.event_capacity == 0),
        ];
        if let Some((name, _)) = zero.into_iter().find(|(_, zero)| *zero) {
            return Err(OptionsError::Zero(name));
        }
        if config.leave_lame_duck.is_some() && !config.reconnect {
            return Err(OptionsError::Contradiction {
                option: "leave_lame_duck",
                other: "reconnect",
                why: "who does not connect again cannot move to another server",
            });
        }
        settings.auth.check().map_err(|(option, error)| OptionsError::Auth { option, error })?;
        config.authorize = !settings.auth.is_empty();
        config.choose_server = !settings.choice.is_empty();
        config.tls = settings.layers.check(&config.servers)?;
        if config.seed == FRESH {
            getrandom::fill(&mut config.seed)
                .map_err(|error| OptionsError::Random(error.to_string()))?;
        }
        Ok((config, settings))
    }

    pub(crate) fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// Notes a mistake, of which the first is reported.
    pub(crate) fn refuse(&mut self, error: OptionsError) {
        self.error.get_or_insert(error);
    }

    pub(crate) fn connects_in_background(&self) -> bool {
        self.config.retry_first_connect
    }
}

/// Defaults for these servers, as [`ConnectOptions::new`].
impl<S: IntoServers> From<S> for ConnectOptions {
    fn from(servers: S) -> Self {
        Self::new(servers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(options: impl Into<ConnectOptions>) -> Result<Vec<String>, OptionsError> {
        let (config, _) = options.into().build()?;
        Ok(config.servers.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn servers_are_given_in_many_shapes() {
        let both = ["nats://a:4222", "nats://b:1"].map(String::from);
        let url = crate::ServerUrl::parse("b:1").unwrap();
        assert_eq!(names("a, b:1").unwrap(), both);
        assert_eq!(names(String::from("a,b:1")).unwrap(), both);
        assert_eq!(names(["a", "b:1"]).unwrap(), both);
        assert_eq!(names(vec!["a".to_owned(), "b:1".to_owned()]).unwrap(), both);
        let borrowed: &[&str; 2] = &["a", "b:1"];
        assert_eq!(names(borrowed).unwrap(), both);
        assert_eq!(names(&["a", "b:1"][..]).unwrap(), both);
        assert_eq!(names(url).unwrap(), both[1..]);
    }

    #[test]
    fn a_mistake_names_its_setting() {
        let refused =
            |options: ConnectOptions| options.build().map(|_| ()).unwrap_err().to_string();
        assert!(refused(ConnectOptions::new("http://a")).starts_with("servers: "));
        let zero = ConnectOptions::new("a").event_capacity(0);
        assert_eq!(refused(zero), "`event_capacity` must be more than zero");
    }

    #[test]
    fn servers_that_need_what_was_not_built_in_are_refused() {
        for (url, built) in [
            ("tls://a", cfg!(feature = "tls")),
            ("ws://a", cfg!(feature = "websocket")),
            ("wss://a", cfg!(all(feature = "tls", feature = "websocket"))),
        ] {
            let refused = matches!(names(url), Err(OptionsError::NotBuilt { .. }));
            assert_eq!(refused, !built, "{url}");
        }
    }

    #[test]
    fn every_connection_has_randomness_of_its_own() {
        let options = ConnectOptions::new("a");
        let seed = || options.clone().build().unwrap().0.seed;
        assert_ne!(seed(), seed());
        assert_eq!(options.seed([7; 32]).build().unwrap().0.seed, [7; 32], "unless it is given");
    }
}
