//! The JSON of INFO: what a server says about itself, at the start and whenever it changes.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};

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
        let mut object = Object { info: Self::default(), wrong: None };
        let whole = AnyValue { max_urls, object: Some(&mut object) };
        let read = whole.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
        let reason = match (read, object.wrong) {
            (Ok(Value::Object), None) => return Ok(object.info),
            (Ok(Value::Object), Some(field)) => format!("`{field}` has a wrong type"),
            (Ok(_), _) => "it is not a JSON object".into(),
            (Err(error), _) => error.to_string(),
        };
        Err(InfoError::Json { reason })
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

/// What is read of an INFO.
struct Object {
    info: ServerInfo,
    /// The first field that decides how to connect and has a wrong type.
    wrong: Option<&'static str>,
}

impl Object {
    fn set(&mut self, field: Field, value: Value) {
        if !(field.set)(&mut self.info, value) {
            self.wrong.get_or_insert(field.name);
        }
    }
}

/// A field that is known, and what sets it: false when it decides how to connect and has a wrong
/// type.
struct Field {
    name: &'static str,
    set: fn(&mut ServerInfo, Value) -> bool,
}

impl Field {
    fn by_name(name: &str) -> Option<Self> {
        macro_rules! one_of {
            ($($name:literal => $set:expr,)*) => {
                match name {
                    $($name => Some(Self { name: $name, set: $set }),)*
                    _ => None,
                }
            };
        }
        one_of! {
            "headers" => |info, value| value.decides(&mut info.headers),
            "max_payload" => |info, value| {
                info.max_payload = -1;
                matches!(value, Value::Null) || value.decides(&mut info.max_payload)
            },
            "auth_required" => |info, value| value.decides(&mut info.auth_required),
            "tls_required" => |info, value| value.decides(&mut info.tls_required),
            "tls_available" => |info, value| value.decides(&mut info.tls_available),
            "nonce" => |info, value| value.decides(&mut info.nonce),
            "ldm" => |info, value| value.decides(&mut info.lame_duck),
            "connect_urls" => |info, value| {
                value.lists(&mut info.connect_urls, &mut info.urls_dropped)
            },
            "ws_connect_urls" => |info, value| {
                value.lists(&mut info.ws_connect_urls, &mut info.urls_dropped)
            },
            "server_id" => |info, value| value.informs(&mut info.server_id),
            "server_name" => |info, value| value.informs(&mut info.server_name),
            "version" => |info, value| value.informs(&mut info.version),
            "go" => |info, value| value.informs(&mut info.go),
            "git_commit" => |info, value| value.informs(&mut info.git_commit),
            "proto" => |info, value| value.informs(&mut info.proto),
            "host" => |info, value| value.informs(&mut info.host),
            "port" => |info, value| value.informs(&mut info.port),
            "client_id" => |info, value| value.informs(&mut info.client_id),
            "client_ip" => |info, value| value.informs(&mut info.client_ip),
            "tls_verify" => |info, value| value.informs(&mut info.tls_verify),
            "jetstream" => |info, value| value.informs(&mut info.jetstream),
            "ip" => |info, value| value.informs(&mut info.ip),
            "cluster" => |info, value| value.informs(&mut info.cluster),
            "cluster_dynamic" => |info, value| value.informs(&mut info.cluster_dynamic),
            "domain" => |info, value| value.informs(&mut info.domain),
            "connect_info" => |info, value| value.informs(&mut info.connect_info),
            "remote_account" => |info, value| value.informs(&mut info.remote_account),
            "acc_is_sys" => |info, value| value.informs(&mut info.acc_is_sys),
            "api_lvl" => |info, value| value.informs(&mut info.api_lvl),
            "xkey" => |info, value| value.informs(&mut info.xkey),
        }
    }
}

/// A value of any type.
///
/// Every type that serde is asked for is code of its own, with errors that can show any number: a
/// hundred kilobytes of a program. So there is one type, and what is wrong with it is told here.
enum Value {
    Null,
    Flag(bool),
    Integer(i128),
    Text(String),
    /// The texts of a list, and how many values there are beyond the bound.
    List(Vec<String>, usize),
    Object,
    Fraction,
}

impl Value {
    /// A field that decides how to connect: a wrong type is an error.
    fn decides<T: FromValue>(self, field: &mut T) -> bool {
        let read = T::from_value(self);
        let is_right = read.is_some();
        *field = read.unwrap_or_default();
        is_right
    }

    /// A field that informs: a wrong type counts as absent.
    fn informs<T: FromValue>(self, field: &mut T) -> bool {
        *field = T::from_value(self).unwrap_or_default();
        true
    }

    /// A list of URLs.
    fn lists(self, kept: &mut Vec<String>, dropped: &mut usize) -> bool {
        let (urls, beyond) = match self {
            Self::Null => (Vec::new(), 0),
            Self::List(urls, beyond) => (urls, beyond),
            _ => return false,
        };
        *kept = urls;
        *dropped += beyond;
        true
    }
}

/// The type of a field. `None` is a wrong value; null counts as absent.
trait FromValue: Default {
    fn from_value(value: Value) -> Option<Self>;
}

impl FromValue for bool {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Null => Some(false),
            Value::Flag(flag) => Some(flag),
            _ => None,
        }
    }
}

impl FromValue for Option<String> {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            Value::Text(text) => Some(Some(text)),
            _ => None,
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Option<Self> {
        Option::from_value(value).map(Option::unwrap_or_default)
    }
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl FromValue for $integer {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::Null => Some(0),
                    Value::Integer(integer) => integer.try_into().ok(),
                    _ => None,
                }
            }
        }
    )*};
}

integers!(i32 u16 i64 u64 u32);

/// Reads a value: of a list as many texts as are asked for, of an object only the one that is asked
/// for.
struct AnyValue<'a> {
    max_urls: usize,
    object: Option<&'a mut Object>,
}

impl<'de> DeserializeSeed<'de> for AnyValue<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Value, E> {
        Ok(Value::Integer(integer.into()))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Value, E> {
        Ok(Value::Integer(integer.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Fraction)
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut texts = Vec::new();
        while texts.len() < self.max_urls {
            match list.next_element_seed(AnyValue { max_urls: 0, object: None })? {
                Some(Value::Text(text)) => texts.push(text),
                Some(_) => {}
                None => return Ok(Value::List(texts, 0)),
            }
        }
        let mut beyond = 0;
        while list.next_element::<IgnoredAny>()?.is_some() {
            beyond += 1;
        }
        Ok(Value::List(texts, beyond))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match (&mut self.object, Field::by_name(&key)) {
                (Some(object), Some(field)) => {
                    let value = AnyValue { max_urls: self.max_urls, object: None };
                    object.set(field, map.next_value_seed(value)?);
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object)
    }
}
