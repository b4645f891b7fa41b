//! What stands between socket and core: TLS and WebSocket, as layers that do no I/O.
//!
//! | concern | file |
//! |---|---|
//! | the law of a layer, and which a server needs | `mod.rs` |
//! | several of them, as one thing that a driver feeds and empties | `stack.rs` |
//! | bytes on their way | `buffer.rs` |
//! | TLS | `tls.rs`, alone with rustls |
//! | certificates and keys | `pem.rs` |
//! | WebSocket | `websocket/` |
//!
//! A connection that needs no layer has no stack, and its driver moves bytes between the socket and
//! the core's own buffers.

mod buffer;
#[cfg(feature = "tls")]
mod pem;
mod stack;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "websocket")]
pub(crate) mod websocket;

use midge_proto::{DisconnectCause, Scheme, ServerUrl, TlsMode};

use crate::OptionsError;

pub(crate) use buffer::Buffer;
#[cfg(feature = "tls")]
pub use pem::Pem;
pub(crate) use stack::{Lent, Opening, Stack};
#[cfg(feature = "tls")]
pub use tls::{Tls, rustls};

/// How far the layers run ahead of the socket: bytes of the core that are handed out and not
/// written, and bytes of the socket that are read and not decoded.
pub(crate) const WINDOW: usize = 64 * 1024;

/// What TLS has agreed on with a server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsSession {
    /// The name that the server's certificate was checked for.
    pub server_name: String,
    /// The version of the protocol, such as `TLSv1_3`.
    pub version: String,
    /// The cipher suite, such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher_suite: String,
}

/// A stage between bytes of the socket and bytes of the core.
///
/// Laws:
///
/// - It does no I/O, knows no time and never waits.
/// - It keeps no queue that grows with what passes: what `read` cannot give stays in `input`, but
///   for one record, and what `write` takes is in `out` when it returns.
/// - After an error, what the peer should still hear of it is in `out`.
pub(crate) trait Layer: Send {
    /// Begins: what is to be said first goes into `out`.
    fn open(&mut self, out: &mut Buffer);

    /// Its handshake is over: it carries bytes.
    fn is_open(&self) -> bool;

    /// Decodes `input` into `room`, and gives the count. Less than `room` means that it needs more
    /// input, or has [`ended`](Self::ended). Until it is open it gives nothing.
    fn read(
        &mut self,
        input: &mut Buffer,
        room: &mut [u8],
        out: &mut Buffer,
    ) -> Result<usize, DisconnectCause>;

    /// Encodes `bytes`, all of them. Only once it is open.
    fn write(
        &mut self,
        bytes: &[u8],
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<(), DisconnectCause>;

    /// It has an answer to the peer that [`answer`](Self::answer) encodes.
    fn has_answer(&self) -> bool {
        false
    }

    /// Encodes the answer that is due.
    fn answer(&mut self, _out: &mut Buffer) {}

    /// The peer has ended it, and all that came before was given.
    fn ended(&self) -> Option<DisconnectCause>;

    /// Says goodbye.
    fn close(&mut self, input: &mut Buffer, out: &mut Buffer);

    /// What TLS has agreed on.
    fn tls_session(&self) -> Option<TlsSession> {
        None
    }
}

/// What every stack has. Without TLS and WebSocket there is none, so there is no stack, and the
/// compiler leaves out what would handle one.
#[cfg(any(feature = "tls", feature = "websocket"))]
pub(crate) type Exists = ();
#[cfg(not(any(feature = "tls", feature = "websocket")))]
pub(crate) type Exists = std::convert::Infallible;

/// A stack where it is kept. Behind a pointer the compiler does not see that there is none.
#[cfg(any(feature = "tls", feature = "websocket"))]
pub(crate) type Kept = Box<Stack>;
#[cfg(not(any(feature = "tls", feature = "websocket")))]
pub(crate) type Kept = Stack;

pub(crate) fn kept(stack: Stack) -> Kept {
    #[cfg(any(feature = "tls", feature = "websocket"))]
    let stack = Box::new(stack);
    stack
}

/// The layers that a stack is made of, the one next to the socket first. There is at least one.
pub(crate) struct Layers {
    layers: Vec<Box<dyn Layer>>,
    exists: Exists,
}

impl Layers {
    #[cfg(any(feature = "tls", feature = "websocket"))]
    fn of(layers: Vec<Box<dyn Layer>>) -> Option<Self> {
        (!layers.is_empty()).then_some(Self { layers, exists: () })
    }

    #[cfg(not(any(feature = "tls", feature = "websocket")))]
    fn of(_: Vec<Box<dyn Layer>>) -> Option<Self> {
        None
    }
}

/// What the layers are set up with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// When TLS begins; without a choice, `tls_given` and the servers decide.
    #[cfg(feature = "tls")]
    pub(crate) mode: Option<TlsMode>,
    #[cfg(feature = "tls")]
    pub(crate) tls: Tls,
    /// The application has asked for TLS.
    #[cfg(feature = "tls")]
    pub(crate) tls_given: bool,
    #[cfg(feature = "websocket")]
    pub(crate) websocket: websocket::Settings,
}

impl Settings {
    /// Checks what can be checked before there is a server, and says when TLS starts.
    pub(crate) fn check(&self, servers: &[ServerUrl]) -> Result<TlsMode, OptionsError> {
        #[cfg(feature = "websocket")]
        {
            self.websocket.check()?;
            let web = |server: &ServerUrl| matches!(server.scheme(), Scheme::Ws | Scheme::Wss);
            if let Some(option) = self.websocket.set().filter(|_| !servers.iter().any(web)) {
                return Err(OptionsError::NoWebSocket(option));
            }
        }
        #[cfg(feature = "tls")]
        let mode = match self.tls_given {
            true if self.mode == Some(TlsMode::Never) => {
                let (option, other) = ("tls", "tls_mode");
                let why = "the mode is Never";
                return Err(OptionsError::Contradiction { option, other, why });
            }
            true => {
                self.tls.check()?;
                self.mode.unwrap_or(TlsMode::Required)
            }
            false => self.mode.unwrap_or_default(),
        };
        #[cfg(not(feature = "tls"))]
        let mode = TlsMode::Never;
        for server in servers {
            let (scheme, url) = (server.scheme(), server.to_string());
            match scheme {
                Scheme::Tls | Scheme::Wss if cfg!(not(feature = "tls")) => {
                    return Err(OptionsError::NotBuilt { url, feature: "tls" });
                }
                Scheme::Ws | Scheme::Wss if cfg!(not(feature = "websocket")) => {
                    return Err(OptionsError::NotBuilt { url, feature: "websocket" });
                }
                Scheme::Tls | Scheme::Wss if mode == TlsMode::Never => {
                    return Err(OptionsError::TlsNever(url));
                }
                Scheme::Ws if matches!(mode, TlsMode::Required | TlsMode::First) => {
                    return Err(OptionsError::PlainWebSocket(url));
                }
                _ => {}
            }
        }
        Ok(mode)
    }
}

/// The layers that a fresh transport to a server begins with, if any, and whether they make it
/// secure. `secure` when the transport is so by itself.
pub(crate) fn at_connect(
    settings: &Settings,
    mode: TlsMode,
    server: &ServerUrl,
    server_name: &str,
    secure: bool,
) -> Result<Option<(Layers, bool)>, DisconnectCause> {
    let (first, websocket) = match server.scheme() {
        Scheme::Nats | Scheme::Tls => (mode == TlsMode::First, false),
        Scheme::Ws => (false, true),
        Scheme::Wss => (true, true),
    };
    let mut layers: Vec<Box<dyn Layer>> = Vec::new();
    if first && !secure {
        layers.push(tls(settings, server_name)?);
    }
    if websocket {
        #[cfg(feature = "websocket")]
        layers.push(websocket::start(&settings.websocket, server)?);
        #[cfg(not(feature = "websocket"))]
        return Err(DisconnectCause::WebSocket("this program was built without it".into()));
    }
    Ok(Layers::of(layers).map(|layers| (layers, first || secure)))
}

/// The layers of a transport that is upgraded.
pub(crate) fn start_tls(settings: &Settings, server_name: &str) -> Result<Layers, DisconnectCause> {
    Layers::of(vec![tls(settings, server_name)?]).ok_or(DisconnectCause::TlsUnavailable)
}

#[cfg(feature = "tls")]
fn tls(settings: &Settings, server_name: &str) -> Result<Box<dyn Layer>, DisconnectCause> {
    settings.tls.start(server_name)
}

#[cfg(not(feature = "tls"))]
fn tls(_: &Settings, _: &str) -> Result<Box<dyn Layer>, DisconnectCause> {
    Err(DisconnectCause::TlsUnavailable)
}
