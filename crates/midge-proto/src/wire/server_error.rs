//! The texts of `-ERR`: every one that nats-server 2.15 sends, and some of older servers.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::Write;

use super::grammar::{number, quoted, trimmed};

/// What a server complains about in a `-ERR`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The subject of a SUB is not valid. The text does not say which.
    #[error("the server refused the subject of a subscription")]
    InvalidSubject,
    /// The subject of a PUB is not valid; only told to pedantic clients.
    #[error("the server refused the subject of a publish")]
    InvalidPublishSubject,
    /// The user may not publish to this subject.
    #[error("the user may not publish to {subject:?}; ask for the permission")]
    PublishPermission {
        /// The subject.
        subject: String,
    },
    /// The user may not publish with this reply subject.
    #[error("the user may not publish with the reply subject {reply:?}; ask for the permission")]
    PublishReplyPermission {
        /// The reply subject.
        reply: String,
    },
    /// The user may not have this subscription; it is dead (ADR-40).
    #[error("the user may not subscribe to {subject:?}{}; ask for the permission", in_group(queue))]
    SubscribePermission {
        /// The subject.
        subject: String,
        /// The queue group, when the subscription had one.
        queue: Option<String>,
        /// The subscription, when permissions changed while it was there.
        sid: Option<u64>,
        /// Whether the reason is the number of tokens in the subject.
        too_many_tokens: bool,
    },
    /// One subscription too many. The text does not say which one is dead.
    #[error("the server allows no further subscription on this connection")]
    MaxSubscriptions,
    /// The server could not read what was sent.
    #[error("the server did not understand an operation; the connection is lost")]
    UnknownOperation,
    /// Wrong credentials, or an operation before CONNECT.
    #[error("the server refused the credentials; check user, password, token or credentials file")]
    AuthorizationViolation,
    /// CONNECT came too late.
    #[error("the server did not get credentials in time; the connection is retried")]
    AuthenticationTimeout,
    /// The user's JWT expired: ask for new credentials and connect again.
    #[error("the user's credentials have expired; renew them")]
    UserAuthenticationExpired,
    /// The user's JWT was revoked.
    #[error("the user's credentials were revoked; ask for new ones")]
    UserAuthenticationRevoked,
    /// The account's JWT expired.
    #[error("the account has expired on the server; its operator must renew it")]
    AccountAuthenticationExpired,
    /// The server is full.
    #[error("the server has no room for another connection; another server is tried")]
    MaxConnections,
    /// The account is full.
    #[error("the account has no room for another connection; close one or raise its limit")]
    MaxAccountConnections,
    /// Headers and payload of a publish are larger than the server takes.
    #[error("a message was larger than the server's max_payload; the connection is lost")]
    MaxPayload,
    /// A line is longer than the server takes. CONNECT counts too.
    #[error(
        "a line was longer than the server takes; after CONNECT, the JWT or the name is too long: shorten it, or raise max_control_line on the server"
    )]
    MaxControlLine,
    /// The server does not know the protocol version of CONNECT.
    #[error("the server does not support the protocol version that CONNECT asks for")]
    InvalidClientProtocol,
    /// CONNECT asks for `no_responders` and not for `headers`.
    #[error("the server needs headers to tell that there are no responders; enable both or none")]
    NoRespondersRequiresHeaders,
    /// The server's PINGs were not answered.
    #[error("the server got no answer to its PINGs; the connection is retried")]
    StaleConnection,
    /// CONNECT came in clear where TLS is due.
    #[error("the server requires TLS; use a tls:// address or enable TLS")]
    TlsRequired,
    /// Too many connections are being made at once.
    #[error("the server has too many handshakes under way; the connection is retried later")]
    Throttled,
    /// The server could not register the connection with its account.
    #[error("the server could not register the connection with its account; it is retried")]
    FailedAccountRegistration,
    /// The port is not for clients.
    #[error("the address is the {0} of a server; use its client port")]
    WrongPort(String),
    /// The client did not read fast enough. Documented; servers close without a word.
    #[error("the server gave up on a client that reads too slowly; the connection is retried")]
    SlowConsumer,
    /// Older form of [`UnknownOperation`](Self::UnknownOperation).
    #[error("the server could not parse an operation; the connection is lost")]
    ParserError,
    /// A text that is not known, as it is.
    #[error("the server reported an error: {0}")]
    Other(String),
}

/// Texts without a variable part. The first one of an error is what a server sends today; a text
/// that begins with any of them is read.
const TEXTS: &[(&str, ServerError)] = &[
    ("Invalid Subject", ServerError::InvalidSubject),
    ("Invalid Publish Subject", ServerError::InvalidPublishSubject),
    ("maximum subscriptions exceeded", ServerError::MaxSubscriptions),
    ("Unknown Protocol Operation", ServerError::UnknownOperation),
    ("Authorization Violation", ServerError::AuthorizationViolation),
    ("Authentication Timeout", ServerError::AuthenticationTimeout),
    ("Authorization Timeout", ServerError::AuthenticationTimeout),
    ("User Authentication Expired", ServerError::UserAuthenticationExpired),
    ("User Authentication Revoked", ServerError::UserAuthenticationRevoked),
    ("Account Authentication Expired", ServerError::AccountAuthenticationExpired),
    ("maximum connections exceeded", ServerError::MaxConnections),
    ("maximum account active connections exceeded", ServerError::MaxAccountConnections),
    ("Maximum Payload Violation", ServerError::MaxPayload),
    ("maximum control line exceeded", ServerError::MaxControlLine),
    ("invalid client protocol", ServerError::InvalidClientProtocol),
    ("no responders requires headers support", ServerError::NoRespondersRequiresHeaders),
    ("Stale Connection", ServerError::StaleConnection),
    ("Secure Connection - TLS Required", ServerError::TlsRequired),
    ("Connection throttling is active. Please try again later.", ServerError::Throttled),
    ("Connection throttling is active", ServerError::Throttled),
    ("Failed Account Registration", ServerError::FailedAccountRegistration),
    ("Slow Consumer", ServerError::SlowConsumer),
    ("Parser Error", ServerError::ParserError),
];

const PUBLISH: &str = "Permissions Violation for Publish to ";
const PUBLISH_REPLY: &str = "Permissions Violation for Publish with Reply of ";
const SUBSCRIBE: &str = "Permissions Violation for Subscription to ";
const QUEUE: &str = " using queue ";
const SID: &str = " (sid ";
const TOO_MANY_TOKENS: &str = ", too many tokens";
const WRONG_PORT: &str = "attempted to connect to ";

fn in_group(queue: &Option<String>) -> String {
    queue.as_ref().map_or_else(String::new, |queue| format!(" as queue group {queue:?}"))
}

impl ServerError {
    /// Reads the text of a `-ERR`, without its quotes. Case does not matter, nor what follows a
    /// known text.
    #[must_use]
    pub fn parse(text: &[u8]) -> Self {
        let text = trimmed(text);
        let known = TEXTS.iter().find(|(known, _)| after(text, known).is_some());
        if let Some((_, error)) = known {
            return error.clone();
        }
        variable(text).unwrap_or_else(|| Self::Other(String::from_utf8_lossy(text).into_owned()))
    }

    /// Whether the server closes the connection behind it. An [`Other`](Self::Other) is not known
    /// to: the end of the stream will tell.
    #[must_use]
    pub const fn closes_connection(&self) -> bool {
        !matches!(
            self,
            Self::InvalidSubject
                | Self::InvalidPublishSubject
                | Self::PublishPermission { .. }
                | Self::PublishReplyPermission { .. }
                | Self::SubscribePermission { .. }
                | Self::MaxSubscriptions
                | Self::Other(_)
        )
    }

    /// Whether it is about who the client is, so that the same answer twice in a row from one
    /// server ends the attempts there (ADR-40). A user that merely expired is not counted here:
    /// see [`is_expired`](Self::is_expired). Nor is a server that lost its patience or cannot look
    /// the account up: that passes.
    #[must_use]
    pub const fn is_auth(&self) -> bool {
        matches!(
            self,
            Self::AuthorizationViolation
                | Self::UserAuthenticationRevoked
                | Self::AccountAuthenticationExpired
        )
    }

    /// Whether credentials were good and have run out: those of the user, which can be asked for
    /// again, or those of the account, which is an [authentication error](Self::is_auth) too.
    #[must_use]
    pub const fn is_expired(&self) -> bool {
        matches!(self, Self::UserAuthenticationExpired | Self::AccountAuthenticationExpired)
    }

    /// Whether the server, or the account, has no room for this connection now. Of all errors, a
    /// server says these in clear also where TLS is due, in place of a handshake.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::MaxConnections | Self::MaxAccountConnections | Self::Throttled)
    }

    /// Whether the configuration is wrong, so that no retry mends it.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::InvalidClientProtocol | Self::NoRespondersRequiresHeaders | Self::TlsRequired
        )
    }

    /// The text as a server sends it, without the quotes of the `-ERR`.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::PublishPermission { subject } => format!("{PUBLISH}{}", quote(subject)),
            Self::PublishReplyPermission { reply } => format!("{PUBLISH_REPLY}{}", quote(reply)),
            Self::SubscribePermission { subject, queue, sid, too_many_tokens } => {
                let mut text = format!("{SUBSCRIBE}{}", quote(subject));
                if let Some(queue) = queue {
                    text += QUEUE;
                    text += &quote(queue);
                }
                if let Some(sid) = sid {
                    text += SID;
                    text += &quote(&sid.to_string());
                    text.push(')');
                }
                if *too_many_tokens {
                    text += TOO_MANY_TOKENS;
                }
                text
            }
            Self::WrongPort(port) => format!("{WRONG_PORT}{port}"),
            Self::Other(text) => text.clone(),
            plain => {
                let known = TEXTS.iter().find(|(_, error)| error == plain);
                known.map_or("", |(text, _)| *text).into()
            }
        }
    }
}

/// The texts that name something.
fn variable(text: &[u8]) -> Option<ServerError> {
    if let Some(rest) = after(text, PUBLISH) {
        return Some(ServerError::PublishPermission { subject: name(rest)?.0 });
    }
    if let Some(rest) = after(text, PUBLISH_REPLY) {
        return Some(ServerError::PublishReplyPermission { reply: name(rest)?.0 });
    }
    if let Some(rest) = after(text, SUBSCRIBE) {
        let (subject, mut rest) = name(rest)?;
        let mut queue = None;
        if let Some((name, behind)) = after(rest, QUEUE).and_then(quoted) {
            (queue, rest) = (Some(name), behind);
        }
        let mut sid = None;
        if let Some((name, behind)) = after(rest, SID).and_then(sid_name) {
            (sid, rest) = (number(name), behind);
        }
        let too_many_tokens = after(rest, TOO_MANY_TOKENS).is_some();
        return Some(ServerError::SubscribePermission { subject, queue, sid, too_many_tokens });
    }
    let port = after(text, WRONG_PORT).filter(|port| !port.is_empty())?;
    Some(ServerError::WrongPort(String::from_utf8_lossy(port).into_owned()))
}

/// A name in quotes and what is behind it; all there is when the quotes are missing.
fn name(text: &[u8]) -> Option<(String, &[u8])> {
    match quoted(text) {
        Some(found) => Some(found),
        None if text.is_empty() => None,
        None => Some((String::from_utf8_lossy(text).into_owned(), b"")),
    }
}

/// The name of a subscription and what is behind the parenthesis that ends it. Older servers put
/// no quotes around it.
fn sid_name(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| byte == b')')?;
    let name = text[..end].strip_prefix(b"\"").unwrap_or(&text[..end]);
    Some((name.strip_suffix(b"\"").unwrap_or(name), &text[end + 1..]))
}

/// What is behind `prefix`, which may be in any case.
fn after<'a>(text: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix.as_bytes()).then_some(rest)
}

/// `name` in double quotes, escaped as Go's `%q` does.
fn quote(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for character in name.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\n' => quoted += "\\n",
            '\r' => quoted += "\\r",
            '\t' => quoted += "\\t",
            _ if character.is_ascii_control() => {
                let code = u32::from(character);
                write!(quoted, "\\x{code:02x}").expect("a String takes any text");
            }
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}
