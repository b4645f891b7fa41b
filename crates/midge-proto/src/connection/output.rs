//! What a connection tells its driver: actions, events, and what to wait for.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::errors::{DisconnectCause, EndReason, FlushError, RequestError};
use super::fates::{Fate, Fates, Position};
use super::ids::{Attempt, FlushId, RequestId, Sid};
use super::timers::Timer;
use crate::wire::{ServerError, ServerInfo};
use crate::{Instant, Message, ServerUrl};

/// What [`Connection::poll`](crate::Connection::poll) found.
#[derive(Debug)]
#[must_use = "an action that is not carried out stalls the connection until its timer fires"]
pub enum Output {
    /// Something that only the driver can do.
    Action(Action),
    /// Something that happened.
    Event(Event),
    /// The budget is spent and there may be more: call again, after others had their turn.
    Yield,
    /// Nothing to do until one of these happens.
    Idle(Wait),
}

/// All that may wake a driver. Commands may come at any time besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// Poll again at this time. Always later than the `now` of the poll.
    pub until: Option<Instant>,
    /// What the time is for.
    pub reason: Option<Timer>,
    /// Bytes from the transport are welcome.
    pub read: bool,
    /// There are bytes for the transport.
    pub write: bool,
}

/// Something that only the driver can do. It answers through a method that carries `attempt`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Say which server to try next and when, by `next_server`. Only with
    /// [`Config::choose_server`](crate::Config::choose_server).
    NextServer {
        /// Names this question.
        attempt: Attempt,
        /// What there is to choose from.
        next: Arc<NextServer>,
    },
    /// Find the IP addresses of `host`, then call `resolved`, or `closed` when there are none.
    Resolve {
        /// Names this try.
        attempt: Attempt,
        /// The name to look up.
        host: String,
    },
    /// Open a transport, then call `connected` or `closed`. Any transport opened before is gone.
    Connect {
        /// Names the transport.
        attempt: Attempt,
        /// Where to. `None`: the host of `server` is a name that is not to be resolved
        /// ([`Config::resolve`](crate::Config::resolve)); how to reach it is the driver's to know.
        address: Option<SocketAddr>,
        /// The server that this address belongs to: scheme, host name, port, path.
        server: Arc<ServerUrl>,
    },
    /// Start TLS on the transport, verify `server_name`, then call `tls_ready` or `closed`.
    StartTls {
        /// Names the transport.
        attempt: Attempt,
        /// The name that the certificate must bear.
        server_name: String,
    },
    /// Find credentials and sign the nonce, then call `authorize` or `closed`.
    Authorize {
        /// Names the transport.
        attempt: Attempt,
        /// The server's challenge; `None` when it sent none.
        nonce: Option<String>,
    },
    /// Close the transport, or give up opening it. No answer is needed; what is still to be
    /// written of a batch is not.
    Close {
        /// Names the transport.
        attempt: Attempt,
    },
}

/// The next attempt, before it is decided where it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NextServer {
    /// The pool, in the order in which it would be tried.
    pub servers: Vec<Candidate>,
    /// Attempts that failed in a row, since a connection was lost or since the beginning.
    pub failed: u32,
    /// Why the last attempt failed, or why the connection was lost. `None` before the first attempt.
    pub cause: Option<DisconnectCause>,
    /// The wait until the attempt, unless another one is answered.
    pub wait: Duration,
}

/// A server that can be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The server.
    pub server: Arc<ServerUrl>,
    /// Learnt from another server.
    pub discovered: bool,
    /// It was connected to at some time.
    pub connected: bool,
    /// Its failed attempts in a row.
    pub failed: u32,
}

/// Something that happened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A message for a subscription.
    Message(Sid, Message),
    /// A request ended.
    Response(RequestId, Result<Message, RequestError>),
    /// A flush ended: the server has processed all that was published before it, or not.
    ///
    /// `Ok` brings what became of messages over the life of the connection, up to now.
    Flushed(FlushId, Result<Arc<Fates>, FlushError>),
    /// A subscription ended; its id is free. Messages that came before were delivered before.
    SubscriptionEnded(Sid, EndReason),
    /// A message for the subscription was larger than `max_message` and was skipped.
    Oversized {
        /// The subscription.
        sid: Sid,
        /// Headers and payload in bytes.
        length: usize,
    },
    /// A publish was refused as `Full`; now there is room for half of the bound.
    Writable,
    /// A server answered the first PING: the connection is up.
    Connected(Connected),
    /// An established connection ended. What follows is `Connected` or `Closed`.
    Disconnected(Arc<Disconnected>),
    /// A server could not be connected to. What follows is another attempt or `Closed`.
    AttemptFailed {
        /// The server.
        server: Arc<ServerUrl>,
        /// Why.
        cause: DisconnectCause,
    },
    /// INFO changed the list of servers.
    ServersChanged {
        /// New servers.
        added: Vec<Arc<ServerUrl>>,
        /// Servers that are no longer told of.
        removed: Vec<Arc<ServerUrl>>,
        /// URLs past [`Config::max_servers`](crate::Config::max_servers), which were ignored.
        ignored: usize,
    },
    /// The server lowered what it takes (INFO): messages that waited and do not fit any more were
    /// not sent. Those that were begun are, and the server may close the connection for them.
    Dropped(Fate),
    /// The server is about to shut down (lame duck mode) and will close the connection.
    LameDuck,
    /// The server reported an error that concerns no single subscription or request, or that
    /// does and of which the application should know besides (ADR-40).
    ServerError(ServerError),
    /// A drain: the subscriptions have ended. Read out what was delivered, then call
    /// [`Connection::queues_drained`](crate::Connection::queues_drained).
    SubscriptionsDrained,
    /// The connection is over; nothing follows.
    Closed(Arc<Closed>),
}

/// Facts of a new connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connected {
    /// To whom.
    pub server: Arc<ServerUrl>,
    /// What the server said of itself.
    pub info: Arc<ServerInfo>,
    /// True for a reconnect.
    pub again: bool,
    /// Kept messages that were not sent: older than `max_kept_age`, or larger than the new server
    /// takes, or with headers that it does not support.
    pub dropped: Fate,
}

/// Facts of a connection's end, and what became of what was published through it and had not
/// been confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnected {
    /// The server it was to.
    pub server: Arc<ServerUrl>,
    /// Why it ended.
    pub cause: DisconnectCause,
    /// Messages that may or may not have arrived. They are not sent again.
    pub unknown: Fate,
    /// Messages that wait for the next connection.
    pub kept: Fate,
    /// Messages that found no room in `reconnect_buffer`, and unsent requests.
    pub dropped: Fate,
    /// Messages from this number on were accepted after the loss.
    pub end: Position,
}

/// The end.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed {
    /// Why.
    pub why: CloseReason,
    /// What became of every message that was accepted, over the whole life of the connection.
    pub fates: Fates,
}

/// Why a connection closed for good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The caller closed it.
    #[error("closed by the caller")]
    Requested,
    /// The caller drained it.
    #[error("drained by the caller")]
    Drained,
    /// No server could be reached within the attempts allowed, or reconnecting is off.
    #[error("no server left to try; the last one, {server}: {cause}")]
    NoServers {
        /// The server that was tried last, or lost.
        server: Arc<ServerUrl>,
        /// Why it failed, or was lost.
        cause: DisconnectCause,
    },
    /// A fault that trying again does not mend.
    #[error("not worth trying again: {0}")]
    Fatal(DisconnectCause),
}

/// Where [`Connection::poll_into`](crate::Connection::poll_into) hands over what arrives.
///
/// The calls come in the order of arrival. They must not block, and cannot reach the connection.
pub trait Sink {
    /// A message for a subscription.
    fn message(&mut self, sid: Sid, message: Message);
    /// Messages that follow each other, for one subscription; `size` is what [`Message::size`] gives
    /// for all of them together. The same as each by itself, which is what this does unless it is
    /// overridden.
    fn messages(
        &mut self,
        sid: Sid,
        size: usize,
        messages: impl ExactSizeIterator<Item = Message>,
    ) {
        let _ = size;
        for message in messages {
            self.message(sid, message);
        }
    }
    /// A request ended.
    fn response(&mut self, id: RequestId, result: Result<Message, RequestError>);
}

/// Counters over the whole life of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Bytes that transports delivered, of every kind.
    pub in_bytes: u64,
    /// Bytes that transports took, of every kind.
    pub out_bytes: u64,
    /// Messages received, also those for subscriptions that had ended.
    pub in_messages: u64,
    /// Publishes and requests accepted.
    pub out_messages: u64,
    /// Connections that came up.
    pub connects: u64,
    /// Messages that the server confirmed.
    pub confirmed: u64,
    /// Messages whose fate is unknown, of connections that ended.
    pub unknown: u64,
    /// Messages accepted and then not sent: no room, too old, a lower limit, a request taken back;
    /// after the end also those that waited for a connection.
    pub dropped: u64,
}
