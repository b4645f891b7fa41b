//! The handle to a connection.

use std::fmt;
use std::sync::Arc;

use midge_proto::wire::ServerInfo;
use midge_proto::{
    AsSubject, Message, Position, PublishError, ServerUrl, ServerUrlError, Statistics, SubjectError,
};

use crate::shared::{Handle, Shared, lock};
use crate::waiters::Wakes;
use crate::{
    Closing, Events, Flush, IntoServers, LastError, Publish, Request, RequestMany, Respond, Rtt,
    Status, Subscribe, TlsSession, WhenClosed,
};

/// Why a subject cannot begin the names of inboxes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// The prefix is not a subject.
    #[error("invalid prefix of inboxes: {0}")]
    Subject(SubjectError),
    /// The prefix holds a wildcard, so others could guess it.
    #[error("the prefix of inboxes must not hold wildcards")]
    Wildcard,
}

impl From<SubjectError> for InboxError {
    fn from(error: SubjectError) -> Self {
        Self::Subject(error)
    }
}

/// A handle to a connection. A clone costs one reference count.
///
/// All methods may be called from any thread, in any runtime or in none, and none of them
/// blocks. The connection closes when the last handle, subscription and pending future is
/// dropped: it then writes what is queued, for at most `linger`.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    pub(crate) fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    pub(crate) fn into_handle(self) -> Arc<Handle> {
        self.handle
    }

    // ---- messages ------------------------------------------------------------------------

    /// Publishes a message.
    ///
    /// It is queued in the order of the calls and written by the driver. `.await` is ready once
    /// it is queued; while connected, it waits for room. While not connected, messages are kept
    /// up to `reconnect_buffer`, and then refused at once. What became of it is seen by its
    /// [`Position`] in the reports of [`Event::Disconnected`](crate::Event::Disconnected) and
    /// [`close`](Self::close), or by a [`flush`](Self::flush).
    ///
    /// `.await` gives `Result<Position, PublishError>`. To hand the call to something that takes
    /// a future, use [`into_future`](std::future::IntoFuture::into_future).
    ///
    /// ```no_run
    /// # async fn example(client: &midge::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// client.publish("orders.new", "one coffee").header("Trace-Id", "4711").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn publish<S: AsSubject, P: AsRef<[u8]>>(
        &self,
        subject: S,
        payload: P,
    ) -> Publish<'_, S, P> {
        Publish::new(self, subject, payload)
    }

    /// Publishes a message now, or not at all: short for `publish(..).try_send()`.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; nothing was queued then.
    #[inline]
    pub fn try_publish(
        &self,
        subject: impl AsSubject,
        payload: impl AsRef<[u8]>,
    ) -> Result<Position, PublishError> {
        self.publish(subject, payload).try_send()
    }

    /// Publishes an answer to `message`, to its reply subject.
    pub fn respond<'a, P: AsRef<[u8]>>(
        &'a self,
        message: &'a Message,
        payload: P,
    ) -> Respond<'a, P> {
        Respond::new(self, message, payload)
    }

    /// Publishes a request and waits for the first reply to it.
    ///
    /// A request that was written when the connection is lost ends at once, and may or may not
    /// have been carried out; one that was not written is not sent later.
    ///
    /// `.await` gives `Result<Message, RequestError>`; nobody there is
    /// [`RequestError::NoResponders`](crate::RequestError::NoResponders), at once.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # async fn example(client: &midge::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let reply = client.request("double", "21").timeout(Duration::from_secs(2)).await?;
    /// assert_eq!(reply.payload(), b"42");
    /// # Ok(())
    /// # }
    /// ```
    pub fn request<'a, S: AsSubject, P: AsRef<[u8]>>(
        &self,
        subject: S,
        payload: P,
    ) -> Request<'a, S, P> {
        Request::new(self.clone(), subject, payload)
    }

    /// Publishes a request and gives all replies to it, as they come, until they end (ADR-47).
    ///
    /// ```no_run
    /// # async fn example(client: midge::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let request = client.request_many("sensors.read", "").stall(Duration::from_millis(300));
    /// let mut replies = request.await?;
    /// while let Some(reply) = replies.next().await {
    ///     println!("{:?}", reply?.payload());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn request_many<'a, S: AsSubject, P: AsRef<[u8]>>(
        &self,
        subject: S,
        payload: P,
    ) -> RequestMany<'a, S, P> {
        RequestMany::new(self.clone(), subject, payload)
    }

    /// Subscribes to a subject, which may hold wildcards.
    ///
    /// `.await` gives `Result<Subscription, SubscribeError>` without asking the server;
    /// [`Subscribe::confirmed`] asks it.
    ///
    /// ```no_run
    /// # async fn example(client: &midge::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut questions = client.subscribe("double").queue("workers").await?;
    /// while let Some(question) = questions.next().await {
    ///     let number: u64 = str::from_utf8(question.payload())?.parse()?;
    ///     client.respond(&question, (number * 2).to_string()).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscribe<S: AsSubject>(&self, subject: S) -> Subscribe<S> {
        Subscribe::new(self.clone(), subject)
    }

    /// Subscribes as a member of a queue group, of which one member gets each message.
    pub fn queue_subscribe<S: AsSubject>(&self, subject: S, group: &str) -> Subscribe<S> {
        self.subscribe(subject).queue(group)
    }

    /// A subject that nobody else uses, to receive answers on. It begins with `inbox_prefix` of
    /// the options.
    pub fn new_inbox(&self) -> String {
        lock(&self.shared().inner).connection.new_inbox()
    }

    /// As [`new_inbox`](Self::new_inbox), with another prefix: one or more tokens.
    ///
    /// # Errors
    ///
    /// [`InboxError`] when `prefix` is not a subject, or holds wildcards.
    pub fn new_inbox_with(&self, prefix: impl AsSubject) -> Result<String, InboxError> {
        let prefix = prefix.as_subject()?;
        if prefix.has_wildcards() {
            return Err(InboxError::Wildcard);
        }
        let inbox = self.new_inbox();
        let token = inbox.rsplit('.').next().unwrap_or_default();
        Ok(format!("{prefix}.{token}"))
    }

    // ---- the connection ------------------------------------------------------------------

    /// Waits until the server has processed everything that was published before: a PING and its
    /// PONG. `.await` gives `Result<Arc<Fates>, FlushError>`: what became of every message so far. A publish that the server denied was
    /// processed too: it is told by [`Event::ServerError`](crate::Event::ServerError).
    pub fn flush(&self) -> Flush {
        Flush::new(self.handle.clone())
    }

    /// The time that the server takes to answer a PING, behind what waits to be written.
    pub fn rtt(&self) -> Rtt {
        Rtt::new(self.handle.clone())
    }

    /// Begins to end the connection without loss, at once: subscriptions drain, and when they are
    /// read out what was published is flushed and the connection closes. New subscriptions and
    /// requests are refused, messages can be published until the last subscription is read out.
    /// Bounded by `drain_timeout`. A subscription is read out when its reader asks for a message and
    /// gets `None`, or is dropped: so the work on the last message, and the answer to it, is waited
    /// for too; a message of JetStream that `Consumer::next` gave is worked on until it is settled or
    /// dropped. The future waits for the end; it need not be awaited.
    pub fn drain(&self) -> Closing {
        let mut wakes = Wakes::default();
        self.shared().command(|inner| {
            inner.connection.drain();
            lock(&self.shared().board).drain(&mut wakes);
        });
        wakes.wake();
        Closing::new(self.handle.clone())
    }

    /// Begins to close the connection, at once: nothing more can be sent, and nothing more is
    /// delivered. While connected, what is queued is written and confirmed for at most `linger`;
    /// while not connected, it is dropped at once and reported. The future waits for the end and
    /// gives the report; it need not be awaited.
    pub fn close(&self) -> Closing {
        self.shared().close();
        Closing::new(self.handle.clone())
    }

    /// Waits until the connection has closed, by anyone and for whatever reason, and gives the
    /// report. It closes nothing itself and does not keep the connection alive.
    pub fn closed(&self) -> WhenClosed {
        WhenClosed::new(self.handle.shared.clone())
    }

    /// Leaves the server, and connects to the next one. Nothing is lost: the server is told to send
    /// no more, what it sent arrives, pending requests run to their reply or deadline, what was
    /// published is confirmed, and what is published from then on is kept for the next connection.
    /// After `move_timeout` it is left as it is. Messages that others publish while there is no
    /// connection are missed, but for those to a queue group with other members. With
    /// [`ConnectOptions::reconnect`](crate::ConnectOptions::reconnect) off it is the end of the
    /// connection.
    pub fn reconnect(&self) {
        self.shared().command(|inner| inner.connection.reconnect());
    }

    /// Puts these servers in the place of all known ones, for the next connect. The present
    /// connection stays; [`reconnect`](Self::reconnect) leaves it. An empty list changes nothing.
    ///
    /// # Errors
    ///
    /// [`ServerUrlError`] of the first address that is none; nothing has changed then.
    pub fn set_servers(&self, servers: impl IntoServers) -> Result<(), ServerUrlError> {
        let servers = servers.into_servers()?;
        self.shared().command(|inner| inner.connection.set_servers(servers));
        Ok(())
    }

    // ---- looking at it -------------------------------------------------------------------

    /// The state now.
    pub fn status(&self) -> Status {
        let shared = self.shared();
        let now = shared.clock.now();
        let inner = lock(&shared.inner);
        lock(&shared.board).status(&inner.connection, now)
    }

    /// A listener to what happens from now on.
    pub fn events(&self) -> Events {
        Events::new(self.handle.shared.clone())
    }

    /// Counters over the life of the connection.
    pub fn statistics(&self) -> Statistics {
        lock(&self.shared().inner).connection.statistics()
    }

    /// What the server last said of itself; `None` before the first connection.
    pub fn server_info(&self) -> Option<Arc<ServerInfo>> {
        lock(&self.shared().inner).connection.server_info().cloned()
    }

    /// The server connected to, or tried.
    pub fn server(&self) -> Option<Arc<ServerUrl>> {
        lock(&self.shared().inner).connection.server()
    }

    /// What TLS has agreed on with that server, and the name that its certificate was checked
    /// for; `None` while there is no TLS, and when the adapter brought its own.
    pub fn tls_session(&self) -> Option<TlsSession> {
        lock(&self.shared().inner).tls.clone()
    }

    /// What last went wrong: an error that the server reported, a connection that was lost, or one
    /// that could not be made. A later success does not clear it.
    pub fn last_error(&self) -> Option<LastError> {
        lock(&self.shared().board).last_error().cloned()
    }

    /// The server's number for this client, on the present or last connection.
    pub fn client_id(&self) -> Option<u64> {
        self.server_info().map(|info| info.client_id)
    }

    /// This client's address as the server sees it; `None` before the first connection, and when
    /// the server does not tell.
    pub fn client_ip(&self) -> Option<String> {
        self.server_info().map(|info| info.client_ip.clone()).filter(|ip| !ip.is_empty())
    }

    /// Bytes of messages that are queued and not written.
    pub fn pending_bytes(&self) -> usize {
        lock(&self.shared().inner).connection.pending_bytes()
    }

    /// Subscriptions that have not ended. Once a request was sent, the inbox that requests share
    /// is one of them.
    pub fn subscriptions(&self) -> usize {
        lock(&self.shared().inner).connection.subscriptions()
    }

    /// The largest message, headers and payload in bytes, that the server takes; `None` before
    /// the first connection, and when the server has no limit.
    pub fn max_payload(&self) -> Option<usize> {
        self.server_info()?.payload_limit()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("status", &self.status()).finish_non_exhaustive()
    }
}
