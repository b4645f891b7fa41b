//! What a connection says of itself at any time.

use alloc::sync::Arc;

use super::handshake::Phase;
use super::{Connection, Fates, Statistics};
use crate::ServerUrl;
use crate::wire::ServerInfo;

impl Connection {
    /// True from the first PONG of a server until its transport is lost.
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Up)
    }

    /// True once the connection is over. Events may still be waiting to be polled.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// True from `drain` on.
    pub fn is_draining(&self) -> bool {
        self.ending.is_draining()
    }

    /// What the server last said of itself; that of the last connection while there is none.
    pub fn server_info(&self) -> Option<&Arc<ServerInfo>> {
        self.info.as_ref()
    }

    /// The server that is connected, or being tried.
    pub fn server(&self) -> Option<Arc<ServerUrl>> {
        self.session.server.clone()
    }

    /// Counters over the whole life of the connection.
    pub fn statistics(&self) -> Statistics {
        let fates = self.outbound.fates();
        Statistics {
            in_bytes: self.inbound.in_bytes(),
            out_bytes: self.outbound.out_bytes(),
            out_messages: self.outbound.next_position(),
            confirmed: fates.confirmed.messages,
            unknown: fates.unknown.messages,
            dropped: fates.dropped.messages + fates.kept.messages,
            ..self.statistics
        }
    }

    /// What became of messages so far, over the whole life of the connection.
    pub fn fates(&self) -> &Fates {
        self.outbound.fates()
    }

    /// The name that the certificate of that server must bear: the host that the caller named,
    /// also when the server was learnt from another one.
    pub fn server_name(&self) -> &str {
        self.session.tls_name()
    }

    /// Bytes of messages that wait to be written or are lent.
    pub fn pending_bytes(&self) -> usize {
        self.outbound.user_bytes()
    }

    /// Bytes of every kind that wait to be taken; those of a [`Batch`](crate::Batch) that is out
    /// do not count. When there are many, whoever publishes does well to let the driver write
    /// first. 0 when that would not help: without a connection, while it is left for another one,
    /// and while it closes.
    #[inline]
    pub fn backlog(&self) -> usize {
        let leaves = self.outbound.is_holding() || self.ending.refuses_publishes();
        if self.is_connected() && !leaves { self.outbound.backlog() } else { 0 }
    }

    /// As [`backlog`](Self::backlog), and also when to write first would not help.
    #[inline]
    pub fn unwritten(&self) -> usize {
        self.outbound.backlog()
    }

    /// A [`Batch`](crate::Batch) is out.
    pub fn is_writing(&self) -> bool {
        self.outbound.is_lent()
    }

    /// A PING of the keep-alive has not been answered yet.
    pub fn expects_pong(&self) -> bool {
        self.pings_out > 0
    }

    /// Subscriptions that have not ended, the inbox of requests included.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    /// Requests that wait for a reply.
    pub fn requests(&self) -> usize {
        self.requests.len()
    }
}
