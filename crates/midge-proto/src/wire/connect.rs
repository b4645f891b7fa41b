//! The JSON of CONNECT: who the client is and how it wants to be served.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::json::{self, Value};

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
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectInfo {
    /// Whether the server answers each operation with `+OK`.
    pub verbose: bool,
    /// Whether the server checks subjects strictly.
    pub pedantic: bool,
    /// Whether subscriptions get the connection's own messages.
    pub echo: bool,
    /// Whether the client wants TLS; only informs.
    pub tls_required: bool,
    /// Whether the client reads and writes headers.
    pub headers: bool,
    /// Whether a request without responders is answered with 503; needs `headers`.
    pub no_responders: bool,
    /// 1 to get INFO at any time.
    pub protocol: u8,
    /// Name of the connection, shown in monitoring.
    pub name: Option<String>,
    /// Language of the client.
    pub lang: String,
    /// Version of the client.
    pub version: String,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub pass: Option<String>,
    /// Token.
    pub auth_token: Option<String>,
    /// Public nkey.
    pub nkey: Option<String>,
    /// Signature of the nonce, base64url without padding.
    pub sig: Option<String>,
    /// User JWT.
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
        let mut info = Self {
            verbose: true,
            pedantic: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            lang: String::new(),
            version: String::new(),
            ..Self::default()
        };
        let mut set = |name: &str, value| {
            info.set(name, value).ok_or_else(|| "a field has a wrong type".into())
        };
        match json::read_object(json, 0, &mut set) {
            Ok(()) => Ok(info),
            Err(fault) => Err(ConnectInfoError::Json { column: fault.at + 1 }),
        }
    }

    /// `None`: the type is wrong.
    fn set(&mut self, name: &str, value: Value) -> Option<()> {
        let text = match name {
            "verbose" => return put(&mut self.verbose, value.flag()),
            "pedantic" => return put(&mut self.pedantic, value.flag()),
            "echo" => return put(&mut self.echo, value.flag()),
            "tls_required" => return put(&mut self.tls_required, value.flag()),
            "headers" => return put(&mut self.headers, value.flag()),
            "no_responders" => return put(&mut self.no_responders, value.flag()),
            "protocol" => return put(&mut self.protocol, value.integer()),
            "lang" => return put(&mut self.lang, value.text()),
            "version" => return put(&mut self.version, value.text()),
            "name" => &mut self.name,
            "user" => &mut self.user,
            "pass" => &mut self.pass,
            "auth_token" => &mut self.auth_token,
            "nkey" => &mut self.nkey,
            "sig" => &mut self.sig,
            "jwt" => &mut self.jwt,
            _ => return Some(()),
        };
        let is_null = matches!(value, Value::Null);
        *text = value.text();
        (is_null || text.is_some()).then_some(())
    }

    /// Appends the JSON, on one line.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let mut json = json::Object::new(out);
        json.flag("verbose", self.verbose);
        json.flag("pedantic", self.pedantic);
        json.flag("echo", self.echo);
        json.flag("tls_required", self.tls_required);
        json.flag("headers", self.headers);
        json.flag("no_responders", self.no_responders);
        json.number("protocol", self.protocol);
        if let Some(name) = &self.name {
            json.text("name", name);
        }
        json.text("lang", &self.lang);
        json.text("version", &self.version);
        let texts = [
            ("user", &self.user),
            ("pass", &self.pass),
            ("auth_token", &self.auth_token),
            ("nkey", &self.nkey),
            ("sig", &self.sig),
            ("jwt", &self.jwt),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                json.text(name, text);
            }
        }
        json.end();
    }
}

fn put<T>(field: &mut T, value: Option<T>) -> Option<()> {
    *field = value?;
    Some(())
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
