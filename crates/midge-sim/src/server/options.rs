//! What a server of the model is configured with.

use std::time::Duration;

/// The configuration of one server. [`Default`] is what nats-server has without a configuration
/// file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerOptions {
    /// Name in INFO.
    pub name: String,
    /// Host in INFO and in `connect_urls`; with the port its address.
    pub host: String,
    /// Port in INFO and in `connect_urls`.
    pub port: u16,
    /// Most bytes of headers and payload of one publish.
    pub max_payload: usize,
    /// Most bytes of the arguments of one operation.
    pub max_control_line: usize,
    /// Most clients at a time.
    pub max_connections: usize,
    /// Most subscriptions of one client; `None` is without limit.
    pub max_subscriptions: Option<usize>,
    /// Whether clients may use headers.
    pub headers: bool,
    /// Whether it has JetStream. The servers of a cluster that have it share it.
    pub jetstream: bool,
    /// Who may connect.
    pub auth: Auth,
    /// Time between two PINGs to a client; the first comes 2 s to 2.4 s after CONNECT when that is
    /// sooner.
    pub ping_interval: Duration,
    /// PINGs without an answer after which a client is stale.
    pub ping_max: u32,
    /// Most bytes waiting for one client; one more makes it a slow consumer, and it is closed.
    pub max_pending: usize,
    /// How long a client may take nothing of what waits for it before it is a slow consumer.
    pub write_deadline: Duration,
    /// How long a client may take to send CONNECT, where credentials are asked for.
    pub auth_timeout: Duration,
    /// Time over which a lame duck closes its clients, the grace included.
    pub lame_duck_duration: Duration,
    /// Time before a lame duck closes its first client.
    pub lame_duck_grace: Duration,
    /// Whether clients are told the addresses of the cluster in `connect_urls`.
    pub advertise: bool,
    /// Address in `connect_urls` in place of host and port, `host:port`.
    pub client_advertise: Option<String>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            name: "sim".into(),
            host: "127.0.0.1".into(),
            port: 4222,
            max_payload: 1 << 20,
            max_control_line: 4096,
            max_connections: 65_536,
            max_subscriptions: None,
            headers: true,
            jetstream: false,
            auth: Auth::None,
            ping_interval: Duration::from_secs(120),
            ping_max: 2,
            max_pending: 64 << 20,
            write_deadline: Duration::from_secs(10),
            auth_timeout: Duration::from_secs(2),
            lame_duck_duration: Duration::from_secs(120),
            lame_duck_grace: Duration::from_secs(10),
            advertise: true,
            client_advertise: None,
        }
    }
}

impl ServerOptions {
    /// The defaults for a server of this name at this address.
    pub fn at(name: &str, host: &str, port: u16) -> Self {
        Self { name: name.into(), host: host.into(), port, ..Self::default() }
    }

    /// `host:port` as clients are told it.
    pub(super) fn url(&self) -> String {
        let own = || match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        };
        self.client_advertise.clone().unwrap_or_else(own)
    }
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Auth {
    /// Everybody, also without CONNECT.
    #[default]
    None,
    /// Who knows this token.
    Token(String),
    /// These users.
    Users(Vec<User>),
}

/// Somebody who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Password, in clear.
    pub password: String,
    /// Subjects to publish to.
    pub publish: Permission,
    /// Subjects to subscribe to. A subject with a queue group behind a blank is about that group.
    pub subscribe: Permission,
}

impl User {
    /// A user who may do everything.
    pub fn new(name: &str, password: &str) -> Self {
        Self { name: name.into(), password: password.into(), ..Self::default() }
    }
}

/// Which subjects are permitted: patterns with wildcards. [`Default`] permits all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permission {
    /// Only these; `None` is all.
    pub allow: Option<Vec<String>>,
    /// And none of these.
    pub deny: Vec<String>,
}

impl Permission {
    /// Only what matches one of `patterns`.
    pub fn allow(patterns: &[&str]) -> Self {
        Self { allow: Some(patterns.iter().map(ToString::to_string).collect()), deny: Vec::new() }
    }

    /// All but what matches one of `patterns`.
    pub fn deny(patterns: &[&str]) -> Self {
        Self { allow: None, deny: patterns.iter().map(ToString::to_string).collect() }
    }
}
