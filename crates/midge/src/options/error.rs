//! Why options make no connection.

use midge_proto::{ConfigError, ServerUrlError};

use crate::auth::AuthError;

/// Why options make no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// An address of a server is not valid.
    #[error("servers: {0}")]
    Server(ServerUrlError),
    /// A setting of the protocol is not valid; the message names it.
    #[error("{0}")]
    Config(ConfigError),
    /// A time or bound that must not be zero is.
    #[error("`{0}` must be more than zero")]
    Zero(&'static str),
    /// What says who the client is cannot be used.
    #[error("`{option}`: {error}")]
    Auth {
        /// The option.
        option: &'static str,
        /// Why.
        error: AuthError,
    },
    /// Two options sign the server's challenge, and there is room for one signature.
    #[error("`{other}` and `{option}` both sign the server's challenge: use one of them")]
    TwoSignatures {
        /// The option that was set second.
        option: &'static str,
        /// The option that was set first.
        other: &'static str,
    },
    /// A field of a [`Context`](crate::auth::Context) that this client cannot carry out. To
    /// connect without it would be something else than what the context says.
    #[error("the context has `{0}`, which this client does not support: make a context without it")]
    Context(&'static str),
    /// A setting of TLS is not valid; the message names it.
    #[error("{0}")]
    Tls(String),
    /// A server needs TLS, and the mode is `TlsMode::Never`.
    #[error("tls_mode: it is Never, and `{0}` needs TLS")]
    TlsNever(String),
    /// TLS is required, and the URL asks for a WebSocket without it.
    #[error("servers: TLS is required, and `{0}` is a WebSocket without it: write wss")]
    PlainWebSocket(String),
    /// Two options cannot both be meant.
    #[error("`{option}` and `{other}` contradict each other: {why}")]
    Contradiction {
        /// An option.
        option: &'static str,
        /// The option that goes against it.
        other: &'static str,
        /// What is between them.
        why: &'static str,
    },
    /// An option for WebSockets, and no server is one.
    #[error("`{0}` is set, and no server has a ws or wss URL: remove it, or write ws or wss")]
    NoWebSocket(&'static str),
    /// The path for WebSockets is empty, or holds a blank, a control or a non-ASCII character.
    #[error("websocket_path: {0:?} must be printable ASCII: percent-encode the rest")]
    WebSocketPath(String),
    /// A header of the WebSocket handshake is not valid, or Midge sets it itself.
    #[error("websocket_header: {0}")]
    WebSocketHeader(String),
    /// A server needs what this program was built without.
    #[error("servers: `{url}` needs Midge to be built with the feature `{feature}`")]
    NotBuilt {
        /// The server.
        url: String,
        /// The feature.
        feature: &'static str,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

impl From<ServerUrlError> for OptionsError {
    fn from(error: ServerUrlError) -> Self {
        Self::Server(error)
    }
}

impl From<ConfigError> for OptionsError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
