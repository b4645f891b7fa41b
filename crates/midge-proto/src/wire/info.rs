//! The JSON of INFO: what a server says about itself, at the start and whenever it changes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::json::{self, Value};

/// The most URLs that [`ServerInfo::parse`] keeps of each list in an INFO.
pub const MAX_URLS: usize = 256;

/// Why an INFO cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InfoError {
    /// The text is not a JSON object, or a field that decides how to connect has a wrong type.
    #[error("the server's INFO cannot be read: {reason}; check that the address is a NATS server")]
    Json {
        /// What is wrong, and where.
        reason: String,
    },
}

/// The fields of an INFO that a client can use; unknown ones are ignored.
///
/// A text that the server did not send is empty, a number 0, a flag `false`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerInfo {
    /// Unique id of the server process.
    pub server_id: String,
    /// Configured name, else the id.
    pub server_name: String,
    /// Version such as `2.15.1`; may carry a pre-release suffix.
    pub version: String,
    /// Version of the Go compiler.
    pub go: String,
    /// Commit that the server was built from.
    pub git_commit: String,
    /// Protocol version of the server; 1 sends INFO at any time.
    pub proto: i32,
    /// Host that the server listens on. Not an address to reconnect to.
    pub host: String,
    /// Port that the server listens on. Not an address to reconnect to.
    pub port: u16,
    /// Whether headers, and with them "no responders", are allowed.
    pub headers: bool,
    /// Largest headers and payload together, in bytes, as sent: -1, also when absent, is
    /// unlimited. See [`payload_limit`](Self::payload_limit).
    pub max_payload: i64,
    /// The server's number of this connection.
    pub client_id: u64,
    /// This client's address as the server sees it.
    pub client_ip: String,
    /// Whether CONNECT must carry credentials.
    pub auth_required: bool,
    /// Whether TLS must be started before CONNECT.
    pub tls_required: bool,
    /// Whether the server asks for a client certificate.
    pub tls_verify: bool,
    /// Whether TLS may be started before CONNECT.
    pub tls_available: bool,
    /// What an nkey signs, byte for byte.
    pub nonce: Option<String>,
    /// Whether the server has JetStream.
    pub jetstream: bool,
    /// Address of the server, rarely sent.
    pub ip: String,
    /// Name of the cluster.
    pub cluster: String,
    /// Whether the cluster's name was made up by the server.
    pub cluster_dynamic: bool,
    /// JetStream domain.
    pub domain: String,
    /// All servers to connect to, `host:port`; as many as were asked for.
    pub connect_urls: Vec<String>,
    /// The same for WebSocket; as many as were asked for.
    pub ws_connect_urls: Vec<String>,
    /// `ldm`: the server is about to close its connections one by one (ADR-5).
    pub lame_duck: bool,
    /// Whether this INFO follows the first PONG, since 2.12.
    pub connect_info: bool,
    /// Account of this connection, in an INFO that follows the first PONG.
    pub remote_account: String,
    /// Whether that is the system account.
    pub acc_is_sys: bool,
    /// JetStream API level (ADR-44).
    pub api_lvl: u32,
    /// Public curve key of the server.
    pub xkey: String,
    /// URLs beyond that in the two lists, which were not kept.
    pub urls_dropped: usize,
}

impl ServerInfo {
    /// Reads the JSON of an INFO.
    ///
    /// A field that only informs and has a wrong type counts as absent, as does any `null`.
    ///
    /// # Errors
    ///
    /// [`InfoError::Json`] when it is not a JSON object, or when one of `headers`, `max_payload`,
    /// `auth_required`, `tls_required`, `tls_available`, `nonce`, `connect_urls`,
    /// `ws_connect_urls`, `ldm` has a wrong type.
    pub fn parse(json: &[u8]) -> Result<Self, InfoError> {
        Self::parse_within(json, MAX_URLS)
    }

    /// The same, and keeps at most `max_urls` of each list.
    ///
    /// # Errors
    ///
    /// As for [`parse`](Self::parse).
    pub fn parse_within(json: &[u8], max_urls: usize) -> Result<Self, InfoError> {
        let mut info = Self::default();
        let mut set = |name: &str, value| {
            let is_right = Field::of(&mut info, name).is_none_or(|field| field.set(value));
            if !is_right && DECIDE.contains(&name) {
                return Err(format!("`{name}` has a wrong type"));
            }
            Ok(())
        };
        match json::read_object(json, max_urls, &mut set) {
            Ok(()) => Ok(info),
            Err(fault) => {
                let reason = format!("{} at byte {}", fault.what, fault.at);
                Err(InfoError::Json { reason })
            }
        }
    }

    /// The JSON of an INFO, on one line.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut json = json::Object::new(&mut out);
        json.text("server_id", &self.server_id);
        json.text("server_name", &self.server_name);
        json.text("version", &self.version);
        json.number("proto", self.proto);
        json.text("host", &self.host);
        json.number("port", self.port);
        json.flag("headers", self.headers);
        json.number("max_payload", self.max_payload);
        let texts = [
            ("go", &self.go),
            ("git_commit", &self.git_commit),
            ("client_ip", &self.client_ip),
            ("ip", &self.ip),
            ("cluster", &self.cluster),
            ("domain", &self.domain),
            ("remote_account", &self.remote_account),
            ("xkey", &self.xkey),
        ];
        for (name, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            json.text(name, text);
        }
        if let Some(nonce) = &self.nonce {
            json.text("nonce", nonce);
        }
        let flags = [
            ("auth_required", self.auth_required),
            ("tls_required", self.tls_required),
            ("tls_verify", self.tls_verify),
            ("tls_available", self.tls_available),
            ("jetstream", self.jetstream),
            ("cluster_dynamic", self.cluster_dynamic),
            ("ldm", self.lame_duck),
            ("connect_info", self.connect_info),
            ("acc_is_sys", self.acc_is_sys),
        ];
        for (name, flag) in flags.into_iter().filter(|(_, flag)| *flag) {
            json.flag(name, flag);
        }
        let numbers = [("client_id", self.client_id), ("api_lvl", self.api_lvl.into())];
        for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
            json.number(name, number);
        }
        let lists =
            [("connect_urls", &self.connect_urls), ("ws_connect_urls", &self.ws_connect_urls)];
        for (name, urls) in lists.into_iter().filter(|(_, urls)| !urls.is_empty()) {
            json.list(name, urls);
        }
        json.end();
        out
    }

    /// Largest headers and payload together, in bytes; `None` when unlimited.
    #[must_use]
    pub fn payload_limit(&self) -> Option<usize> {
        u64::try_from(self.max_payload).ok().map(|limit| limit.try_into().unwrap_or(usize::MAX))
    }

    /// Whether headers and payload of so many bytes are within the limit.
    #[inline]
    pub(crate) fn takes_payload(&self, size: usize) -> bool {
        // What is negative, and is no limit, is above all sizes.
        size as u64 <= self.max_payload as u64
    }
}

/// A server that said nothing: no flag set, payloads unlimited.
impl Default for ServerInfo {
    fn default() -> Self {
        Self {
            server_id: String::new(),
            server_name: String::new(),
            version: String::new(),
            go: String::new(),
            git_commit: String::new(),
            proto: 0,
            host: String::new(),
            port: 0,
            headers: false,
            max_payload: -1,
            client_id: 0,
            client_ip: String::new(),
            auth_required: false,
            tls_required: false,
            tls_verify: false,
            tls_available: false,
            nonce: None,
            jetstream: false,
            ip: String::new(),
            cluster: String::new(),
            cluster_dynamic: false,
            domain: String::new(),
            connect_urls: Vec::new(),
            ws_connect_urls: Vec::new(),
            lame_duck: false,
            connect_info: false,
            remote_account: String::new(),
            acc_is_sys: false,
            api_lvl: 0,
            xkey: String::new(),
            urls_dropped: 0,
        }
    }
}

/// The fields that decide how to connect: a wrong type is an error. In others it counts as absent.
const DECIDE: [&str; 9] = [
    "headers",
    "max_payload",
    "auth_required",
    "tls_required",
    "tls_available",
    "nonce",
    "connect_urls",
    "ws_connect_urls",
    "ldm",
];

/// Where the value of a field goes.
enum Field<'a> {
    Flag(&'a mut bool),
    Text(&'a mut String),
    Nonce(&'a mut Option<String>),
    Urls(&'a mut Vec<String>, &'a mut usize),
    /// -1 when it is absent.
    Limit(&'a mut i64),
    I32(&'a mut i32),
    U16(&'a mut u16),
    U32(&'a mut u32),
    U64(&'a mut u64),
}

impl<'a> Field<'a> {
    /// `None` when nothing is known of it.
    fn of(info: &'a mut ServerInfo, name: &str) -> Option<Self> {
        Some(match name {
            "server_id" => Self::Text(&mut info.server_id),
            "server_name" => Self::Text(&mut info.server_name),
            "version" => Self::Text(&mut info.version),
            "go" => Self::Text(&mut info.go),
            "git_commit" => Self::Text(&mut info.git_commit),
            "proto" => Self::I32(&mut info.proto),
            "host" => Self::Text(&mut info.host),
            "port" => Self::U16(&mut info.port),
            "headers" => Self::Flag(&mut info.headers),
            "max_payload" => Self::Limit(&mut info.max_payload),
            "client_id" => Self::U64(&mut info.client_id),
            "client_ip" => Self::Text(&mut info.client_ip),
            "auth_required" => Self::Flag(&mut info.auth_required),
            "tls_required" => Self::Flag(&mut info.tls_required),
            "tls_verify" => Self::Flag(&mut info.tls_verify),
            "tls_available" => Self::Flag(&mut info.tls_available),
            "nonce" => Self::Nonce(&mut info.nonce),
            "jetstream" => Self::Flag(&mut info.jetstream),
            "ip" => Self::Text(&mut info.ip),
            "cluster" => Self::Text(&mut info.cluster),
            "cluster_dynamic" => Self::Flag(&mut info.cluster_dynamic),
            "domain" => Self::Text(&mut info.domain),
            "connect_urls" => Self::Urls(&mut info.connect_urls, &mut info.urls_dropped),
            "ws_connect_urls" => Self::Urls(&mut info.ws_connect_urls, &mut info.urls_dropped),
            "ldm" => Self::Flag(&mut info.lame_duck),
            "connect_info" => Self::Flag(&mut info.connect_info),
            "remote_account" => Self::Text(&mut info.remote_account),
            "acc_is_sys" => Self::Flag(&mut info.acc_is_sys),
            "api_lvl" => Self::U32(&mut info.api_lvl),
            "xkey" => Self::Text(&mut info.xkey),
            _ => return None,
        })
    }

    /// Null, as a wrong type, is as if the field were absent. False: the type is wrong.
    fn set(self, value: Value) -> bool {
        let is_null = matches!(value, Value::Null);
        let is_right = match self {
            Self::Flag(flag) => put(flag, value.flag()),
            Self::Text(text) => put(text, value.text()),
            Self::Nonce(nonce) => put(nonce, value.text().map(Some)),
            Self::Urls(urls, dropped) => {
                let (kept, beyond) = value.list().unzip();
                *dropped += beyond.unwrap_or(0);
                put(urls, kept)
            }
            Self::Limit(limit) => put(limit, value.integer().or(is_null.then_some(-1))),
            Self::I32(integer) => put(integer, value.integer()),
            Self::U16(integer) => put(integer, value.integer()),
            Self::U32(integer) => put(integer, value.integer()),
            Self::U64(integer) => put(integer, value.integer()),
        };
        is_right || is_null
    }
}

fn put<T: Default>(field: &mut T, value: Option<T>) -> bool {
    let is_there = value.is_some();
    *field = value.unwrap_or_default();
    is_there
}
