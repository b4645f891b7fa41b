//! The errors of a connection, one type per operation.

use alloc::string::String;
use alloc::sync::Arc;

use super::output::Disconnected;
use crate::wire::{DecodeError, InfoError, ServerError};
use crate::{HeaderError, QueueGroupError, SubjectError};

/// A publish that was refused. Nothing was queued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The subject is not valid.
    #[error("invalid subject: {0}")]
    Subject(SubjectError),
    /// The reply subject is not valid.
    #[error("invalid reply subject: {0}")]
    Reply(SubjectError),
    /// A subject or reply subject has wildcards.
    #[error("`*` and `>` as tokens are for subscriptions: publish to a subject without them")]
    Wildcard,
    /// Subject and reply subject are longer than the server takes in a control line. It would
    /// close the connection, with all that is on its way.
    #[error(
        "subject and reply subject need {length} bytes, the server takes {max}: shorten them, or raise server_control_line here and max_control_line on the server"
    )]
    LineTooLong {
        /// Bytes of the control line behind its operation.
        length: usize,
        /// `server_control_line`.
        max: usize,
    },
    /// A header is not valid.
    #[error("invalid header: {0}")]
    Header(HeaderError),
    /// The server does not take headers.
    #[error("the server does not support headers: send the message without them")]
    HeadersUnsupported,
    /// Headers and payload are larger than the server takes.
    #[error(
        "headers and payload have {size} bytes, the server takes {max}: send less, or raise its max_payload"
    )]
    TooLarge {
        /// Bytes of headers and payload.
        size: usize,
        /// What the server takes.
        max: usize,
    },
    /// As many bytes wait as the configuration allows. `Event::Writable` of the connection says
    /// when there is room; the futures of a client wait for it.
    #[error("the outbound buffer is full: wait for room, or raise max_pending or reconnect_buffer")]
    Full,
    /// The connection is closed or closing.
    #[error("the connection is closed")]
    Closed,
}

impl From<SubjectError> for PublishError {
    fn from(error: SubjectError) -> Self {
        Self::Subject(error)
    }
}

impl From<HeaderError> for PublishError {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

/// A subscribe that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The subject is not valid.
    #[error("invalid subject: {0}")]
    Subject(SubjectError),
    /// The queue group is not valid.
    #[error("invalid queue group: {0}")]
    QueueGroup(QueueGroupError),
    /// Subject and queue group are longer than the server takes in a control line. It would close
    /// the connection, and the next one again.
    #[error(
        "subject and queue group need {length} bytes, the server takes {max}: shorten them, or raise server_control_line here and max_control_line on the server"
    )]
    LineTooLong {
        /// Bytes of the control line behind its operation.
        length: usize,
        /// `server_control_line`.
        max: usize,
    },
    /// There are `max_subscriptions` already, or more have ended and their events were not polled.
    #[error("there are as many subscriptions as max_subscriptions allows")]
    TooMany,
    /// `control_reserve` bytes of control operations wait to be written. Flush, then try again.
    #[error("too many control operations wait to be written: flush, then try again")]
    Full,
    /// A drain has begun.
    #[error("the connection is draining")]
    Draining,
    /// The connection is closed or closing.
    #[error("the connection is closed")]
    Closed,
}

impl From<SubjectError> for SubscribeError {
    fn from(error: SubjectError) -> Self {
        Self::Subject(error)
    }
}

impl From<QueueGroupError> for SubscribeError {
    fn from(error: QueueGroupError) -> Self {
        Self::QueueGroup(error)
    }
}

/// A request that was refused, or that ended without a reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It could not be queued.
    #[error("the request was not sent: {0}")]
    Publish(PublishError),
    /// The subscription for replies could not be made.
    #[error("the request was not sent, its inbox could not be subscribed: {0}")]
    Inbox(SubscribeError),
    /// There are `max_requests` already.
    #[error("there are as many requests as max_requests allows")]
    TooMany,
    /// Nobody subscribes to the subject (status 503).
    #[error("no responders: nobody subscribes to the subject")]
    NoResponders,
    /// The deadline passed. The request was sent and may have been executed.
    #[error("no reply came in time; the request was sent and may have been carried out")]
    TimedOut,
    /// It ended before a byte of it was sent, and it never will be.
    #[error("the request was not sent: {0}")]
    NotSent(NotSent),
    /// The connection was lost after the request was sent; it may have been executed.
    #[error("the connection was lost; the request may or may not have been carried out")]
    Unknown,
    /// The server denies the subject of the request, or the inbox.
    #[error("not permitted: {0}")]
    Permission(ServerError),
}

impl From<PublishError> for RequestError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

impl From<SubscribeError> for RequestError {
    fn from(error: SubscribeError) -> Self {
        Self::Inbox(error)
    }
}

/// Why a request never left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotSent {
    /// Its deadline passed while it waited for a connection or for room.
    #[error("its deadline passed while it waited to be written")]
    TimedOut,
    /// The connection was lost.
    #[error("the connection was lost")]
    Disconnected,
    /// The server that was connected to next does not take it: too large, or no headers.
    #[error("the server does not take a message of this size or with headers")]
    NotAllowed,
    /// A drain has begun.
    #[error("the connection is draining")]
    Draining,
    /// The connection closed.
    #[error("the connection closed")]
    Closed,
}

/// A flush that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlushError {
    /// There are `max_flushes` already, with those that were given up and whose PING the server has
    /// not answered, or `control_reserve` bytes of control operations wait to be written.
    #[error("too many flushes wait for the server: wait for one of them, then try again")]
    TooMany,
    /// The connection was lost before the PONG. What became of messages is in it.
    #[error(
        "the connection to {server} was lost before it answered ({cause}); of what was published, {unknown} may be lost, {kept} will be sent to the next server, {dropped} will not be sent",
        server = .0.server,
        cause = .0.cause,
        unknown = .0.unknown.messages,
        kept = .0.kept.messages,
        dropped = .0.dropped.messages,
    )]
    Disconnected(Arc<Disconnected>),
    /// The connection closed; its [`Closed`](crate::Closed) says what became of messages.
    #[error("the connection is closed")]
    Closed,
}

/// Why a subscription ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndReason {
    /// The caller unsubscribed.
    #[error("unsubscribed")]
    Unsubscribed,
    /// All messages that the caller asked for came.
    #[error("the maximum number of messages came")]
    MaxReached,
    /// Its drain is complete: the server sends nothing more, and all it sent was delivered.
    #[error("drained")]
    Drained,
    /// The connection was lost before its drain was complete. Of what the server had sent, the last
    /// may be missing.
    #[error("the connection was lost before the drain was complete")]
    Disconnected,
    /// The server denies the subject or the queue group.
    #[error("{0}")]
    Denied(ServerError),
    /// The connection closed.
    #[error("the connection closed")]
    Closed,
}

/// What is wrong with a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CertificateFault {
    /// It is for other host names than the one that was asked for.
    WrongName,
    /// None of the trusted root certificates has issued it, or its chain is not whole.
    UnknownIssuer,
    /// It, or a certificate of its chain, is not valid any more.
    Expired,
    /// It, or a certificate of its chain, is not valid yet: one of the clocks may be wrong.
    NotYetValid,
    /// Its issuer has revoked it.
    Revoked,
    /// Anything else, such as a certificate that is malformed or meant for clients.
    Other,
}

/// Why a transport ended, or could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisconnectCause {
    /// The name of the host could not be resolved.
    #[error("the name could not be resolved: {0}")]
    Resolve(String),
    /// The address could not be connected to.
    #[error("could not connect: {0}")]
    Dial(String),
    /// Reading or writing failed.
    #[error("reading or writing failed: {0}")]
    Io(String),
    /// The server closed the connection, without a word or after an error told before.
    #[error("the server closed the connection")]
    Eof,
    /// TLS failed.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The server's certificate was not accepted.
    #[error("the server's certificate is not accepted: {text}")]
    Certificate {
        /// What is wrong with it.
        fault: CertificateFault,
        /// The same in words, with the names and times concerned.
        text: String,
    },
    /// The server asks for a client certificate, and was shown none.
    #[error("the server asks for a client certificate, and got none: set client_certificate")]
    ClientCertificateRequired,
    /// The server does not accept the client's certificate.
    #[error("the server does not accept the client's certificate: {0}")]
    ClientCertificate(String),
    /// Certificates or keys of the client cannot be used, such as files that were replaced after
    /// they had been checked. No server was asked.
    #[error("TLS cannot begin: {0}")]
    TlsSettings(String),
    /// TLS is needed and this client cannot give it.
    #[error(
        "the server needs TLS, which this client does not use: allow it, or connect where TLS is not required"
    )]
    TlsUnavailable,
    /// TLS was asked for and the server does not offer it.
    #[error("TLS is required, and the server does not offer it")]
    TlsNotOffered,
    /// The server sent bytes behind INFO before TLS began: they may be injected.
    #[error("plaintext behind INFO where TLS was due: it may be injected")]
    TlsInjection,
    /// The server, or a proxy before it, answered the request for a WebSocket with another status
    /// of HTTP than 101.
    #[error("the server answered {code} {reason} to the request for a WebSocket")]
    WebSocketRefused {
        /// The status: 401 and 403 for headers that are missing or wrong, 404 for a wrong path, 503
        /// while there is no server behind a proxy.
        code: u16,
        /// What stands behind it; may be empty.
        reason: String,
    },
    /// The WebSocket handshake failed, or the server broke the WebSocket protocol.
    #[error("WebSocket: {0}")]
    WebSocket(String),
    /// The server closed the WebSocket. Over this transport, the reason is the only sign of a slow
    /// consumer.
    #[error("the server closed the WebSocket with code {code}: {reason}")]
    WebSocketClosed {
        /// The code of RFC 6455, section 7.4: 1008 for what the server does not allow, 1001 when
        /// it goes away; 1005 when there was none.
        code: u16,
        /// What the server says; may be empty.
        reason: String,
    },
    /// Credentials could not be had.
    #[error("no credentials: {0}")]
    Credentials(String),
    /// The attempt took longer than `connect_timeout`.
    #[error("the attempt took longer than the connect timeout")]
    TimedOut,
    /// The transport took no byte for `write_deadline`.
    #[error("nothing could be written for longer than the write deadline")]
    WriteTimedOut,
    /// The server answered no PING for too long.
    #[error("the connection is stale: the server answers no PING")]
    Stale,
    /// The server reported an error that ends the connection.
    #[error("the server says: {0}")]
    Server(ServerError),
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Protocol(DecodeError),
    /// The server's INFO is not what it must be.
    #[error("the server's INFO is unusable: {0}")]
    Info(InfoError),
    /// Something other than INFO came first, or INFO did not come within `connect_timeout`.
    #[error(
        "the connection was accepted, but no INFO came first: is this the client port of a NATS server?"
    )]
    NoInfo,
    /// The caller asked for a reconnect.
    #[error("the caller asked for another connection")]
    Requested,
    /// The caller closed or drained the connection.
    #[error("the caller closed the connection")]
    Closed,
}
