//! What a caller asks for.

use alloc::vec::Vec;
use core::hint;

use super::Connection;
use super::errors::{EndReason, FlushError, NotSent, PublishError, RequestError, SubscribeError};
use super::fates::Position;
use super::frames::Kind;
use super::handshake::{ANNOUNCE, Phase};
use super::ids::{FlushId, RequestId, Sid};
use super::output::Event;
use super::subscriptions::Role;
use super::timers::Timer;
use crate::wire::encode;
use crate::{HeaderMap, Instant, QueueGroup, ServerUrl, SubjectRef, SubjectText};

/// What a PUB or HPUB has at most besides names, headers and payload.
const MOST_BESIDES: usize = "HPUB ".len() + 3 + 2 * 9 + 4;

impl Connection {
    // ---- publishing ----------------------------------------------------------------------

    /// Queues a message and returns its number.
    ///
    /// While the connection is not up, the message waits for it. What became of it stands in
    /// `Disconnected` and `Closed`; a flush confirms it.
    ///
    /// # Errors
    ///
    /// [`PublishError`]; nothing is queued then. After `Full`, `Event::Writable` says when half
    /// of the bound is free and the smallest message that was refused has room.
    pub fn publish(
        &mut self,
        subject: SubjectRef<'_>,
        reply: Option<SubjectRef<'_>>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<Position, PublishError> {
        if reply.is_none()
            && self.outbound.keeps_line_to(subject.as_bytes().len())
            && let Some(position) = self.publish_plain(&subject.into(), headers, payload)
        {
            return Ok(position);
        }
        self.publish_as(Kind::Publish, subject, reply, headers, payload)
    }

    /// Queues a message in the usual case, which costs least, and less when subject and sizes are those
    /// of the message before: there is a connection and room, and the subject is valid and short.
    ///
    /// None when it is not as usual. Nothing is queued then: [`publish`](Self::publish) it.
    #[inline]
    pub fn publish_plain(
        &mut self,
        subject: &SubjectText<'_>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Option<Position> {
        let headers = headers.map_or(&[][..], HeaderMap::as_bytes);
        if !self.takes_plain(subject, headers, payload) {
            hint::cold_path();
            return None;
        }
        let position = self.outbound.publish_plain(headers, payload);
        self.confirm_when_due();
        Some(position)
    }

    #[inline(always)]
    fn takes_plain(&mut self, subject: &SubjectText<'_>, headers: &[u8], payload: &[u8]) -> bool {
        let size = headers.len() + payload.len();
        !self.ending.refuses_publishes()
            && self.is_connected()
            && self.info.as_deref().is_some_and(|info| {
                info.takes_payload(size) && (headers.is_empty() || info.headers)
            })
            && self
                .outbound
                .plain_len(subject, headers.len(), payload.len())
                .is_some_and(|len| self.outbound.user_bytes() + len <= self.config.max_pending)
    }

    /// As [`publish`](Self::publish), for a message that nobody must act on much later: a question
    /// whose asker will have gone. It is not kept when the connection is lost before a byte of it
    /// was handed out, but dropped; [`withdraw`](Self::withdraw) takes it back at any time.
    ///
    /// Its replies come to a subscription of the caller, see
    /// [`subscribe_replies`](Self::subscribe_replies); [`request`](Self::request) needs none.
    ///
    /// # Errors
    ///
    /// As for `publish`.
    pub fn publish_request(
        &mut self,
        subject: SubjectRef<'_>,
        reply: SubjectRef<'_>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<Position, PublishError> {
        self.publish_as(Kind::Request, subject, Some(reply), headers, payload)
    }

    #[inline(always)]
    fn publish_as(
        &mut self,
        kind: Kind,
        subject: SubjectRef<'_>,
        reply: Option<SubjectRef<'_>>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<Position, PublishError> {
        if reply.is_some_and(SubjectRef::has_wildcards) {
            return Err(PublishError::Wildcard);
        }
        let reply = reply.map(SubjectRef::as_bytes);
        self.check_publish(subject, reply, headers, payload)?;
        Ok(self.enqueue(kind, subject, reply, headers, payload))
    }

    /// Takes back a message that was published, if no byte of it was handed out: true when it is
    /// certain that it will never be sent. It counts as dropped.
    ///
    /// False when it was sent, or is in a [`Batch`](crate::Batch) that is out; in that case it is
    /// still not sent if the transport takes no byte of it.
    pub fn withdraw(&mut self, position: Position) -> bool {
        self.outbound.withdraw(position)
    }

    #[inline(always)]
    fn check_publish(
        &mut self,
        subject: SubjectRef<'_>,
        reply: Option<&[u8]>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<(), PublishError> {
        if self.ending.refuses_publishes() || matches!(self.phase, Phase::Closed) {
            return Err(PublishError::Closed);
        }
        if subject.has_wildcards() {
            return Err(PublishError::Wildcard);
        }
        let block = headers.map_or(0, |headers| headers.as_bytes().len());
        let size = block + payload.len();
        let mut max = encode::MOST;
        if let Some(info) = &self.info {
            if headers.is_some() && !info.headers {
                return Err(PublishError::HeadersUnsupported);
            }
            // The next server may take more, or less: then `Connected` reports what it dropped.
            if let Some(limit) = info.payload_limit().filter(|_| self.is_connected()) {
                max = max.min(limit);
            }
        }
        if size > max {
            return Err(PublishError::TooLarge { size, max });
        }
        let names = subject.as_bytes().len() + reply.map_or(0, <[u8]>::len);
        let most = names + MOST_BESIDES;
        if most <= self.config.server_control_line && self.fits_beside(most + size) {
            return Ok(());
        }
        self.check_room(subject, reply, headers.map(|_| block), payload)
    }

    /// Whether the message fits the line and the room, to the byte.
    #[cold]
    fn check_room(
        &mut self,
        subject: SubjectRef<'_>,
        reply: Option<&[u8]>,
        headers: Option<usize>,
        payload: &[u8],
    ) -> Result<(), PublishError> {
        let length = encode::publish_len(
            subject.as_bytes().len(),
            reply.map(<[u8]>::len),
            headers,
            payload.len(),
        );
        let size = headers.unwrap_or(0) + payload.len();
        let line = length - size - if headers.is_some() { 9 } else { 8 };
        if line > self.config.server_control_line {
            let max = self.config.server_control_line;
            return Err(PublishError::LineTooLong { length: line, max });
        }
        if !self.has_room(length) {
            self.wants_room = Some(self.wants_room.map_or(length, |least| least.min(length)));
            return Err(PublishError::Full);
        }
        Ok(())
    }

    /// A message of so many bytes may wait too. While connected, one that is alone always may.
    pub(super) fn has_room(&self, length: usize) -> bool {
        self.fits_beside(length) || self.outbound.user_bytes() == 0 && self.is_connected()
    }

    #[inline]
    fn fits_beside(&self, length: usize) -> bool {
        self.outbound.user_bytes() + length <= self.user_bound()
    }

    #[inline(always)]
    fn enqueue(
        &mut self,
        kind: Kind,
        subject: SubjectRef<'_>,
        reply: Option<&[u8]>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Position {
        let headers = headers.map(HeaderMap::as_bytes);
        let position = self.outbound.publish(kind, subject.as_bytes(), reply, headers, payload);
        self.confirm_when_due();
        position
    }

    /// Asks for a confirmation behind so many bytes.
    #[inline(always)]
    fn confirm_when_due(&mut self) {
        let due = self.outbound.since_ping() >= self.config.confirm_bytes;
        if due && self.is_connected() && !self.has_much_control() {
            self.outbound.confirm();
        }
    }

    /// No more control operations may wait.
    pub(super) fn has_much_control(&self) -> bool {
        self.outbound.control_bytes() > self.config.control_reserve
    }

    /// The bytes of messages that may wait.
    pub(super) fn user_bound(&self) -> usize {
        if self.is_connected() { self.config.max_pending } else { self.config.reconnect_buffer }
    }

    // ---- requests ------------------------------------------------------------------------

    /// Sends a request; `Event::Response` ends it, at `deadline` at the latest.
    ///
    /// # Errors
    ///
    /// [`RequestError`]; nothing is queued then.
    pub fn request(
        &mut self,
        subject: SubjectRef<'_>,
        headers: Option<&HeaderMap>,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<RequestId, RequestError> {
        if self.ending.is_draining() {
            return Err(RequestError::NotSent(NotSent::Draining));
        }
        if self.requests.is_full(self.config.max_requests) {
            return Err(RequestError::TooMany);
        }
        let (id, reply) = self.requests.reserve();
        let result = self.start_request(id, subject, &reply, headers, payload, deadline);
        self.requests.put_reply(reply);
        result.map(|()| id)
    }

    fn start_request(
        &mut self,
        id: RequestId,
        subject: SubjectRef<'_>,
        reply: &[u8],
        headers: Option<&HeaderMap>,
        payload: &[u8],
        deadline: Instant,
    ) -> Result<(), RequestError> {
        self.check_publish(subject, Some(reply), headers, payload)?;
        if self.requests.mux.is_none() {
            self.subscribe_inbox()?;
        }
        let position = self.enqueue(Kind::Request, subject, Some(reply), headers, payload);
        self.requests.start(id, position, subject.as_bytes(), deadline);
        Ok(())
    }

    /// The inbox that requests share.
    pub(super) fn subscribe_inbox(&mut self) -> Result<(), SubscribeError> {
        let inbox = self.requests.inbox_subject();
        let mux = self.add_subscription(inbox.borrowed(), None, Role::Mux)?;
        self.requests.mux = Some(mux);
        let told = self.is_announced(mux);
        self.requests.mux_ping = told.then(|| self.outbound.pings().next_number());
        Ok(())
    }

    /// Forgets a request. It is not sent if no byte of it was yet. No event follows.
    pub fn cancel(&mut self, id: RequestId) {
        if let Some(position) = self.requests.position(id) {
            self.requests.end(id);
            self.withdraw(position);
        } else {
            // It has ended, and its event may not have been polled yet.
            self.events.retain(|event| !matches!(event, Event::Response(ended, _) if *ended == id));
        }
    }

    pub(super) fn request_timed_out(&mut self, id: RequestId) {
        let Some(position) = self.requests.position(id) else {
            return;
        };
        self.requests.end(id);
        let error = if self.withdraw(position) {
            RequestError::NotSent(NotSent::TimedOut)
        } else {
            RequestError::TimedOut
        };
        self.events.push_back(Event::Response(id, Err(error)));
    }

    // ---- subscriptions -------------------------------------------------------------------

    /// Subscribes, now and on every later connection.
    ///
    /// The server does not confirm it; a flush behind it does. `Event::SubscriptionEnded` ends it.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]; the table is unchanged then.
    pub fn subscribe(
        &mut self,
        subject: SubjectRef<'_>,
        queue: Option<&QueueGroup>,
    ) -> Result<Sid, SubscribeError> {
        if self.ending.is_draining() {
            return Err(SubscribeError::Draining);
        }
        self.add_subscription(subject, queue, Role::Caller)
    }

    /// As [`subscribe`](Self::subscribe), for the replies to requests: a drain of the connection
    /// waits until the caller has ended it.
    ///
    /// # Errors
    ///
    /// As for `subscribe`.
    pub fn subscribe_replies(&mut self, subject: SubjectRef<'_>) -> Result<Sid, SubscribeError> {
        if self.ending.is_draining() {
            return Err(SubscribeError::Draining);
        }
        self.add_subscription(subject, None, Role::Replies)
    }

    fn add_subscription(
        &mut self,
        subject: SubjectRef<'_>,
        queue: Option<&QueueGroup>,
        role: Role,
    ) -> Result<Sid, SubscribeError> {
        if self.ending.refuses_publishes() || matches!(self.phase, Phase::Closed) {
            return Err(SubscribeError::Closed);
        }
        // Ends that were not polled yet cost memory too.
        if self.events.len() > self.config.max_subscriptions {
            return Err(SubscribeError::TooMany);
        }
        // Blanks and the longest sid, so that no later number makes it too long.
        let line = subject.as_bytes().len() + queue.map_or(0, |q| q.as_bytes().len() + 1) + 21;
        if line > self.config.server_control_line && role != Role::Mux {
            let max = self.config.server_control_line;
            return Err(SubscribeError::LineTooLong { length: line, max });
        }
        if matches!(self.phase, Phase::Up | Phase::Greeting) && self.has_crowd_of_control() {
            return Err(SubscribeError::Full);
        }
        let sid = self.subscriptions.add(subject, queue, role, self.config.max_subscriptions)?;
        if self.is_connected() {
            let subscriptions = &self.subscriptions;
            self.outbound.control(|out| subscriptions.write_sub(sid, out));
        } else if self.is_announced(sid) {
            self.subscriptions.write_sub(sid, self.outbound.handshake());
        }
        Ok(sid)
    }

    /// The server of this connection was told of the subscription, or will be by what is queued.
    fn is_announced(&self, sid: Sid) -> bool {
        self.is_connected()
            || (matches!(self.phase, Phase::Greeting) && self.subscriptions.is_behind_cursor(sid))
    }

    /// Ends a subscription: now, or once `max` messages have come since its start. A maximum can be
    /// lowered later, not raised: the server may have ended the subscription by then.
    ///
    /// `Event::SubscriptionEnded` follows. Messages that the server sends meanwhile are dropped.
    /// An unknown `sid` changes nothing.
    pub fn unsubscribe(&mut self, sid: Sid, max: Option<u64>) {
        let announced = self.is_announced(sid);
        let ended = self.subscriptions.unsubscribe(sid, max, announced);
        self.write_unsubs();
        if let Some(reason) = ended {
            self.subscription_ended(sid, reason);
        }
    }

    /// Writes the UNSUBs that wait, as far as there is room: what the caller does next is to stand
    /// behind them.
    pub(super) fn write_unsubs(&mut self) {
        while self.subscriptions.has_unsubs() && !self.has_crowd_of_control() {
            let Some((sid, max)) = self.subscriptions.next_unsub() else { return };
            let number = sid.number();
            match self.phase {
                Phase::Up => self.outbound.control(|out| encode::unsubscribe(out, number, max)),
                _ => encode::unsubscribe(self.outbound.handshake(), number, max),
            }
        }
    }

    /// Neither a SUB nor an UNSUB has room, or there is nobody to be told.
    fn has_crowd_of_control(&self) -> bool {
        match self.phase {
            Phase::Up => self.has_much_control(),
            Phase::Greeting => {
                self.outbound.handshake_bytes() > ANNOUNCE + self.config.control_reserve
            }
            _ => true,
        }
    }

    /// Ends a subscription once all that the server has sent for it is delivered: UNSUB, and
    /// `SubscriptionEnded` with the PONG behind it. An unknown `sid` changes nothing.
    pub fn drain_subscription(&mut self, sid: Sid) {
        if self.is_announced(sid) {
            self.subscriptions.drain(sid, true);
            self.write_unsubs();
        } else if self.subscriptions.end(sid) {
            // No connection: nothing more can come.
            self.subscription_ended(sid, EndReason::Drained);
        }
    }

    // ---- flush and the rest --------------------------------------------------------------

    /// Asks for the server's word that it has processed all that was published so far.
    ///
    /// `Event::Flushed` brings it. While the connection is not up, the flush waits for it; it
    /// fails when a connection is lost before its PONG.
    ///
    /// # Errors
    ///
    /// [`FlushError`]; no event follows then.
    pub fn flush(&mut self) -> Result<FlushId, FlushError> {
        if self.ending.refuses_publishes() || matches!(self.phase, Phase::Closed) {
            return Err(FlushError::Closed);
        }
        let most = self.config.max_flushes;
        let room = self.flushes.len() < most && self.outbound.may_flush(most);
        if !room || self.has_much_control() {
            return Err(FlushError::TooMany);
        }
        let id = self.next_flush_id();
        self.flushes.push_back(id);
        if self.is_connected() {
            self.outbound.ping(Some(id), 0);
        }
        Ok(id)
    }

    pub(super) fn next_flush_id(&mut self) -> FlushId {
        self.next_flush += 1;
        FlushId(self.next_flush)
    }

    /// Forgets a flush. No event follows.
    pub fn cancel_flush(&mut self, id: FlushId) {
        if let Ok(index) = self.flushes.binary_search(&id) {
            self.flushes.remove(index);
        } else {
            self.events.retain(|event| !matches!(event, Event::Flushed(ended, _) if *ended == id));
        }
    }

    /// Puts `servers` in the place of all servers, learnt ones included. The present connection
    /// is not touched. An empty list changes nothing.
    pub fn set_servers(&mut self, servers: Vec<ServerUrl>) {
        if !servers.is_empty() {
            self.servers.replace(servers, &mut self.rng);
            self.end_choice(false);
        }
    }

    /// Stops (or lets go on) the delivery of messages, and with it reading: the server sees a
    /// slow consumer. While paused, no PONG can be seen either, so keep-alive stands still. A
    /// handshake goes on, and what comes for announced subscriptions before its PONG is delivered.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        if !paused {
            self.pings_out = 0;
        }
    }

    /// Connects to another server without losing anything, at most `move_timeout` later: this one
    /// is told to send no more, what it sent arrives, pending requests run to their reply or
    /// deadline, what was published is confirmed, and what is published from then on is kept for
    /// the next. When a reconnect is being waited for, it happens at once.
    pub fn reconnect(&mut self) {
        match self.phase {
            Phase::Up if !self.ending.is_closing() => self.begin_move(),
            Phase::Waiting => self.timers.stop(Timer::Reconnect),
            _ => {}
        }
    }
}
