//! The JSON of INFO: what a server says about itself, at the start and whenever it changes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerInfo {
    /// Unique id of the server process.
    pub server_id: String,
    /// Configured name, else the id.
    pub server_name: String,
    /// Version such as `2.15.1`; may carry a pre-release suffix.
    pub version: String,
    /// Version of the Go compiler.
    #[serde(skip_serializing_if = "is_default")]
    pub go: String,
    /// Commit that the server was built from.
    #[serde(skip_serializing_if = "is_default")]
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
    #[serde(skip_serializing_if = "is_default")]
    pub client_id: u64,
    /// This client's address as the server sees it.
    #[serde(skip_serializing_if = "is_default")]
    pub client_ip: String,
    /// Whether CONNECT must carry credentials.
    #[serde(skip_serializing_if = "is_default")]
    pub auth_required: bool,
    /// Whether TLS must be started before CONNECT.
    #[serde(skip_serializing_if = "is_default")]
    pub tls_required: bool,
    /// Whether the server asks for a client certificate.
    #[serde(skip_serializing_if = "is_default")]
    pub tls_verify: bool,
    /// Whether TLS may be started before CONNECT.
    #[serde(skip_serializing_if = "is_default")]
    pub tls_available: bool,
    /// What an nkey signs, byte for byte.
    #[serde(skip_serializing_if = "is_default")]
    pub nonce: Option<String>,
    /// Whether the server has JetStream.
    #[serde(skip_serializing_if = "is_default")]
    pub jetstream: bool,
    /// Address of the server, rarely sent.
    #[serde(skip_serializing_if = "is_default")]
    pub ip: String,
    /// Name of the cluster.
    #[serde(skip_serializing_if = "is_default")]
    pub cluster: String,
    /// Whether the cluster's name was made up by the server.
    #[serde(skip_serializing_if = "is_default")]
    pub cluster_dynamic: bool,
    /// JetStream domain.
    #[serde(skip_serializing_if = "is_default")]
    pub domain: String,
    /// All servers to connect to, `host:port`; as many as were asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub connect_urls: Vec<String>,
    /// The same for WebSocket; as many as were asked for.
    #[serde(skip_serializing_if = "is_default")]
    pub ws_connect_urls: Vec<String>,
    /// `ldm`: the server is about to close its connections one by one (ADR-5).
    #[serde(rename = "ldm", skip_serializing_if = "is_default")]
    pub lame_duck: bool,
    /// Whether this INFO follows the first PONG, since 2.12.
    #[serde(skip_serializing_if = "is_default")]
    pub connect_info: bool,
    /// Account of this connection, in an INFO that follows the first PONG.
    #[serde(skip_serializing_if = "is_default")]
    pub remote_account: String,
    /// Whether that is the system account.
    #[serde(skip_serializing_if = "is_default")]
    pub acc_is_sys: bool,
    /// JetStream API level (ADR-44).
    #[serde(skip_serializing_if = "is_default")]
    pub api_lvl: u32,
    /// Public curve key of the server.
    #[serde(skip_serializing_if = "is_default")]
    pub xkey: String,
    /// URLs beyond that in the two lists, which were not kept.
    #[serde(skip)]
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
        let mut reader = serde_json::Deserializer::from_slice(json);
        let parsed = reader.deserialize_map(InfoVisitor { max_urls });
        let parsed = parsed.and_then(|info| reader.end().map(|()| info));
        parsed.map_err(|error| InfoError::Json { reason: error.to_string() })
    }

    /// The JSON of an INFO, on one line.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("texts, numbers, flags and lists of texts are JSON")
    }

    /// Largest headers and payload together, in bytes; `None` when unlimited.
    #[must_use]
    pub fn payload_limit(&self) -> Option<usize> {
        u64::try_from(self.max_payload).ok().map(|limit| limit.try_into().unwrap_or(usize::MAX))
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

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Written by hand because a derived reader can neither bound a list nor forgive a field.
struct InfoVisitor {
    max_urls: usize,
}

impl<'de> Visitor<'de> for InfoVisitor {
    type Value = ServerInfo;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ServerInfo, A::Error> {
        let mut info = ServerInfo::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "headers" => info.headers = required(&mut map)?.unwrap_or_default(),
                "max_payload" => info.max_payload = required(&mut map)?.unwrap_or(-1),
                "auth_required" => info.auth_required = required(&mut map)?.unwrap_or_default(),
                "tls_required" => info.tls_required = required(&mut map)?.unwrap_or_default(),
                "tls_available" => info.tls_available = required(&mut map)?.unwrap_or_default(),
                "nonce" => info.nonce = required(&mut map)?,
                "ldm" => info.lame_duck = required(&mut map)?.unwrap_or_default(),
                "connect_urls" => {
                    let Urls { kept, dropped } = map.next_value_seed(UrlsWithin(self.max_urls))?;
                    info.connect_urls = kept;
                    info.urls_dropped += dropped;
                }
                "ws_connect_urls" => {
                    let Urls { kept, dropped } = map.next_value_seed(UrlsWithin(self.max_urls))?;
                    info.ws_connect_urls = kept;
                    info.urls_dropped += dropped;
                }
                "server_id" => info.server_id = forgiven(&mut map)?,
                "server_name" => info.server_name = forgiven(&mut map)?,
                "version" => info.version = forgiven(&mut map)?,
                "go" => info.go = forgiven(&mut map)?,
                "git_commit" => info.git_commit = forgiven(&mut map)?,
                "proto" => info.proto = forgiven(&mut map)?,
                "host" => info.host = forgiven(&mut map)?,
                "port" => info.port = forgiven(&mut map)?,
                "client_id" => info.client_id = forgiven(&mut map)?,
                "client_ip" => info.client_ip = forgiven(&mut map)?,
                "tls_verify" => info.tls_verify = forgiven(&mut map)?,
                "jetstream" => info.jetstream = forgiven(&mut map)?,
                "ip" => info.ip = forgiven(&mut map)?,
                "cluster" => info.cluster = forgiven(&mut map)?,
                "cluster_dynamic" => info.cluster_dynamic = forgiven(&mut map)?,
                "domain" => info.domain = forgiven(&mut map)?,
                "connect_info" => info.connect_info = forgiven(&mut map)?,
                "remote_account" => info.remote_account = forgiven(&mut map)?,
                "acc_is_sys" => info.acc_is_sys = forgiven(&mut map)?,
                "api_lvl" => info.api_lvl = forgiven(&mut map)?,
                "xkey" => info.xkey = forgiven(&mut map)?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(info)
    }
}

/// A field that decides how to connect: a wrong type is an error.
fn required<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
) -> Result<Option<T>, A::Error> {
    map.next_value()
}

/// A field that informs: a wrong type counts as absent.
fn forgiven<'de, A: MapAccess<'de>, T: Default + DeserializeOwned>(
    map: &mut A,
) -> Result<T, A::Error> {
    let value: Value = map.next_value()?;
    Ok(T::deserialize(value).unwrap_or_default())
}

#[derive(Default)]
struct Urls {
    kept: Vec<String>,
    dropped: usize,
}

/// Reads a list up to a number of URLs.
struct UrlsWithin(usize);

impl<'de> DeserializeSeed<'de> for UrlsWithin {
    type Value = Urls;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Urls, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UrlsWithin {
    type Value = Urls;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of URLs")
    }

    fn visit_unit<E>(self) -> Result<Urls, E> {
        Ok(Urls::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Urls, A::Error> {
        let mut urls = Urls::default();
        while urls.kept.len() < self.0 {
            match list.next_element::<Value>()? {
                Some(Value::String(url)) => urls.kept.push(url),
                Some(_) => {}
                None => return Ok(urls),
            }
        }
        while list.next_element::<IgnoredAny>()?.is_some() {
            urls.dropped += 1;
        }
        Ok(urls)
    }
}
