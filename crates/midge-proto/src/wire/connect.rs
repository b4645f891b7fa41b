//! The JSON of CONNECT: who the client is and how it wants to be served.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

/// Why a CONNECT cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectInfoError {
    /// The text is not a JSON object with fields of the right types. What it holds is not
    /// repeated, since that may be a secret.
    #[error("the client's CONNECT is not the JSON of the protocol at column {column}")]
    Json {
        /// Where, in bytes from 1.
        column: usize,
    },
}

/// The fields of a CONNECT. [`Default`] is what Midge sends, without a name or credentials.
///
/// The flags and `protocol` are always written: a server takes `verbose` and `pedantic` for true
/// when they are absent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectInfo {
    /// Whether the server answers each operation with `+OK`.
    #[serde(default = "yes")]
    pub verbose: bool,
    /// Whether the server checks subjects strictly.
    #[serde(default = "yes")]
    pub pedantic: bool,
    /// Whether subscriptions get the connection's own messages.
    #[serde(default = "yes")]
    pub echo: bool,
    /// Whether the client wants TLS; only informs.
    #[serde(default)]
    pub tls_required: bool,
    /// Whether the client reads and writes headers.
    #[serde(default)]
    pub headers: bool,
    /// Whether a request without responders is answered with 503; needs `headers`.
    #[serde(default)]
    pub no_responders: bool,
    /// 1 to get INFO at any time.
    #[serde(default)]
    pub protocol: u8,
    /// Name of the connection, shown in monitoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Language of the client.
    #[serde(default)]
    pub lang: String,
    /// Version of the client.
    #[serde(default)]
    pub version: String,
    /// User name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<String>,
    /// Token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<String>,
    /// Public nkey.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nkey: Option<String>,
    /// Signature of the nonce, base64url without padding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sig: Option<String>,
    /// User JWT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwt: Option<String>,
}

impl ConnectInfo {
    /// Reads the JSON of a CONNECT; what is absent is as servers take it. Unknown fields are
    /// ignored.
    ///
    /// # Errors
    ///
    /// [`ConnectInfoError::Json`]. A server closes the connection without a word then.
    pub fn parse(json: &[u8]) -> Result<Self, ConnectInfoError> {
        serde_json::from_slice(json)
            .map_err(|error| ConnectInfoError::Json { column: error.column() })
    }

    /// Appends the JSON, on one line.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let json = serde_json::to_vec(self).expect("texts, numbers and flags are JSON");
        out.extend_from_slice(&json);
    }
}

impl Default for ConnectInfo {
    fn default() -> Self {
        Self {
            verbose: false,
            pedantic: false,
            echo: true,
            tls_required: false,
            headers: true,
            no_responders: true,
            protocol: 1,
            name: None,
            lang: "rust".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            user: None,
            pass: None,
            auth_token: None,
            nkey: None,
            sig: None,
            jwt: None,
        }
    }
}

/// Shows whether there is a secret, never the secret.
impl fmt::Debug for ConnectInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: &Option<String>| secret.as_ref().map(|_| "<hidden>");
        f.debug_struct("ConnectInfo")
            .field("verbose", &self.verbose)
            .field("pedantic", &self.pedantic)
            .field("echo", &self.echo)
            .field("tls_required", &self.tls_required)
            .field("headers", &self.headers)
            .field("no_responders", &self.no_responders)
            .field("protocol", &self.protocol)
            .field("name", &self.name)
            .field("lang", &self.lang)
            .field("version", &self.version)
            .field("user", &self.user)
            .field("pass", &hidden(&self.pass))
            .field("auth_token", &hidden(&self.auth_token))
            .field("nkey", &self.nkey)
            .field("sig", &hidden(&self.sig))
            .field("jwt", &hidden(&self.jwt))
            .finish()
    }
}

const fn yes() -> bool {
    true
}
