//! What happened in a cluster, in order, for a judge.

use bytes::Bytes;
use midge_proto::Instant;

use super::{ClientId, ServerId};

/// Everything that happened, append only.
#[derive(Debug, Default)]
pub struct Journal {
    pub(super) entries: Vec<Entry>,
    pub(super) publishes: Vec<Publish>,
    pub(super) handed_over: Vec<u64>,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Instant,
    /// What.
    pub event: Event,
}

/// What a server took from a client, whole, or JetStream published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Who sent it, or [`ClientId::JETSTREAM`]. That has no entry of its own.
    pub client: ClientId,
    /// Who took it.
    pub server: ServerId,
    /// Its subject.
    pub subject: Bytes,
    /// Its reply subject.
    pub reply: Option<Bytes>,
    /// Its header block; `None` when that is empty too.
    pub headers: Option<Bytes>,
    /// Its payload.
    pub payload: Bytes,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A server accepted a connection; it has not seen CONNECT.
    Accepted {
        /// The connection.
        client: ClientId,
        /// The server.
        server: ServerId,
    },
    /// A CONNECT was taken.
    Connected {
        /// The connection.
        client: ClientId,
        /// The user it named, when users are asked for.
        user: Option<String>,
    },
    /// The server gave the connection up: it reads nothing more, and closes once `pending` is
    /// written.
    Closed {
        /// The connection.
        client: ClientId,
        /// Why.
        why: Close,
    },
    /// The transport of the connection ended.
    Disconnected {
        /// The connection.
        client: ClientId,
    },
    /// A publish was taken; see [`Journal::publishes`].
    Published(usize),
    /// A message was queued for a client. The first of a client is its delivery 0, and so on; see
    /// [`Journal::handed_over`].
    Delivered {
        /// To whom.
        to: ClientId,
        /// To which of its subscriptions.
        sid: Bytes,
        /// The index of the publish.
        publish: usize,
    },
    /// "No responders" was queued for the client that published; it is no delivery.
    NoResponders {
        /// To whom.
        to: ClientId,
        /// To which of its subscriptions.
        sid: Bytes,
        /// The index of the publish.
        publish: usize,
    },
    /// A publish was on its way between two servers when their route was lost.
    LostOnRoute {
        /// The index of the publish.
        publish: usize,
        /// Who had sent it.
        from: ServerId,
        /// Who did not get it.
        to: ServerId,
    },
    /// A subscription began.
    Subscribed {
        /// Whose.
        client: ClientId,
        /// Its name.
        sid: Bytes,
        /// Its subject.
        subject: Bytes,
        /// Its queue group.
        queue: Option<Bytes>,
    },
    /// A subscription ended: by UNSUB, by its maximum, by a lost permission, or with its client;
    /// not told one by one when the server stopped.
    Unsubscribed {
        /// Whose.
        client: ClientId,
        /// Its name.
        sid: Bytes,
    },
    /// A PING of a client was taken; its PONG is queued.
    Pinged {
        /// Who sent it.
        client: ClientId,
    },
    /// A PONG of a client was taken.
    Ponged {
        /// Who sent it.
        client: ClientId,
    },
    /// A client was told `-ERR`, or closed without a word, for something it sent.
    Refused {
        /// Who.
        client: ClientId,
        /// What.
        what: Refusal,
    },
    /// A server began to run.
    Started(ServerId),
    /// A server stopped.
    Stopped(ServerId),
}

/// What a server does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A publish to a subject that is not permitted.
    PublishPermission(Bytes),
    /// A subscription that is not permitted.
    SubscribePermission(Bytes),
    /// A subscription to something that is no subject.
    InvalidSubject(Bytes),
    /// One subscription too many.
    MaxSubscriptions,
}

/// Why a server gave a connection up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Close {
    /// `-ERR` with this text, which is the last that is sent.
    Error(String),
    /// Bytes that a server answers by closing without a word.
    Protocol,
    /// A reload took away the user that it named; a server closes without a word then.
    UserGone,
    /// Too much waited for it, or it took nothing for too long. What waits is thrown away.
    SlowConsumer,
    /// The server is a lame duck, and it was this client's turn.
    LameDuck,
    /// The server stopped. What waits is thrown away.
    Stopped,
}

impl Journal {
    /// All entries, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All publishes, in the order in which they were taken.
    pub fn publishes(&self) -> &[Publish] {
        &self.publishes
    }

    /// How many of the [deliveries](Event::Delivered) to `client` have left the server whole, by
    /// [`Cluster::wrote`](super::Cluster::wrote): the first ones.
    pub fn handed_over(&self, client: ClientId) -> u64 {
        self.handed_over.get(client.0).copied().unwrap_or(0)
    }

    pub(super) fn push(&mut self, at: Instant, event: Event) {
        self.entries.push(Entry { at, event });
    }
}
