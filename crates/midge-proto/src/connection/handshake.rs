//! From a server's name to its first PONG, and what happens when a transport is lost.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use core::mem;
use core::net::{IpAddr, SocketAddr};

use super::errors::{DisconnectCause, FlushError, NotSent, RequestError};
use super::fates::{Fate, Fates, Position};
use super::frames;
use super::ids::Attempt;
use super::outbound::Split;
use super::output::{Action, CloseReason, Closed, Connected, Disconnected, Event};
use super::timers::Timer;
use super::{Connection, EndReason};
use crate::config::{Credentials, TlsMode};
use crate::wire::{ConnectInfo, ServerInfo, encode};
use crate::{Instant, Scheme, ServerUrl};

/// SUBs are written in pieces of about this size, as the transport takes them.
pub(super) const ANNOUNCE: usize = 64 * 1024;

/// How a line begins with which a server that is full turns a client away.
const ERROR: &[u8] = b"-ERR";

/// Where the connection stands between two servers, or with one.
#[derive(Debug)]
pub(super) enum Phase {
    /// For the next attempt; without a `Reconnect` timer it is due now.
    Waiting,
    /// For `next_server`.
    Choosing,
    /// For `resolved`.
    Resolving,
    /// For `connected`.
    Dialing,
    /// For the server's INFO.
    Info,
    /// For `tls_ready`.
    Tls,
    /// For `authorize`; the server may lose patience meanwhile.
    Authorizing,
    /// CONNECT is on its way; for the PONG behind it.
    Greeting,
    Up,
    /// The transport is gone; for the batch that is still out.
    Lost(DisconnectCause),
    Closed,
}

/// One attempt and the transport that came of it.
#[derive(Debug, Default)]
pub(super) struct Session {
    pub(super) attempt: Attempt,
    /// A transport, or the try to get one, belongs to `attempt`.
    pub(super) alive: bool,
    pub(super) server: Option<Arc<ServerUrl>>,
    /// The transport has ended, and what it delivered is still being read out.
    ended: Option<DisconnectCause>,
    /// The name that the server's certificate must bear.
    tls_name: String,
    /// When the attempt has lasted too long, whatever it does then.
    ends: Instant,
    /// Still to be tried. `None`: wherever the driver finds the server.
    addresses: VecDeque<Option<SocketAddr>>,
    pub(super) secure: bool,
    /// It must become secure: what comes in clear is not to be trusted.
    tls_due: bool,
    /// INFO came, and was not the end of what came.
    greeted: bool,
    /// The PING that ends the handshake is queued.
    pub(super) pinged: bool,
    /// Subscriptions that were too many for the server, of those that the handshake announced.
    pub(super) refused: usize,
    was_up: bool,
    lame_duck: bool,
    /// INFO lowered a limit, and what waits has not been checked against it.
    pub(super) lowered: bool,
    /// Attempts that failed since the beginning, or since the last connection.
    pub(super) failed: u32,
    /// When the present connection came up, or the last one did.
    up_since: Instant,
    /// Connections in a row that were lost as soon as they were up.
    pub(super) brief: u32,
    /// Why the last attempt failed, or the last connection was lost.
    pub(super) cause: Option<DisconnectCause>,
    /// The caller has said which server is next.
    pub(super) chosen: bool,
    /// Some server was connected to.
    pub(super) ever_up: bool,
    /// Some session used TLS: a later one without it is a downgrade.
    pub(super) ever_secure: bool,
}

impl Session {
    pub(super) fn tls_name(&self) -> &str {
        &self.tls_name
    }

    /// The transport has ended, and what it delivered is still being read out.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }
}

impl Connection {
    // ---- results of actions --------------------------------------------------------------

    /// The addresses of the host, for `Action::Resolve`. All are tried, in random order unless
    /// `retain_order`; each has its share of the time that is left to open a transport and to bring
    /// an INFO.
    pub fn resolved(&mut self, attempt: Attempt, addresses: &[IpAddr], now: Instant) {
        if !self.is_current(attempt, now) || !matches!(self.phase, Phase::Resolving) {
            return;
        }
        let Some(port) = self.session.server.as_ref().map(|server| server.port()) else {
            return;
        };
        let mut addresses: VecDeque<_> =
            addresses.iter().map(|ip| Some(SocketAddr::new(*ip, port))).collect();
        if !self.config.retain_order {
            self.rng.shuffle(addresses.make_contiguous());
        }
        self.session.addresses = addresses;
        if !self.dial() {
            self.lost(DisconnectCause::Resolve("the name has no addresses".into()));
        }
    }

    /// The transport is open, for `Action::Connect`; `secure` when TLS is up already (TLS first,
    /// `wss`).
    pub fn connected(&mut self, attempt: Attempt, secure: bool, now: Instant) {
        if self.is_current(attempt, now) && matches!(self.phase, Phase::Dialing) {
            self.session.secure = secure;
            self.phase = Phase::Info;
        }
    }

    /// TLS is up and the certificate is verified, for `Action::StartTls`.
    pub fn tls_ready(&mut self, attempt: Attempt, now: Instant) {
        if self.is_current(attempt, now) && matches!(self.phase, Phase::Tls) {
            self.session.secure = true;
            self.authorize_or_greet();
        }
    }

    /// What to show to the server, for `Action::Authorize`.
    pub fn authorize(&mut self, attempt: Attempt, credentials: Credentials, now: Instant) {
        if self.is_current(attempt, now) && matches!(self.phase, Phase::Authorizing) {
            self.greet(credentials);
        }
    }

    /// The action failed, or the transport ended. What was received before is still read out: a
    /// `-ERR` in it is the better cause.
    pub fn closed(&mut self, attempt: Attempt, cause: DisconnectCause, now: Instant) {
        if !self.is_current(attempt, now) {
        } else if matches!(self.phase, Phase::Authorizing | Phase::Greeting | Phase::Up) {
            self.forget_asked();
            let _ = self.session.ended.get_or_insert(cause);
        } else {
            self.lost(cause);
        }
    }

    fn is_current(&mut self, attempt: Attempt, now: Instant) -> bool {
        self.now = self.now.max(now);
        self.session.alive && self.session.attempt == attempt
    }

    // ---- the way up ----------------------------------------------------------------------

    pub(super) fn begin_attempt(&mut self) -> bool {
        let Some((server, tls_name)) = self.servers.begin() else {
            return false;
        };
        self.session.chosen = false;
        self.session.tls_name = tls_name;
        self.session.server = Some(Arc::clone(&server));
        self.session.alive = true;
        self.session.addresses.clear();
        self.session.ends = self.now + self.config.connect_timeout;
        self.timers.set(Timer::Attempt, self.session.ends);
        if server.scheme() == Scheme::Ws && self.must_be_secure(Scheme::Ws) {
            // Its handshake has headers of the caller's, which may be secrets.
            self.lost(DisconnectCause::TlsNotOffered);
            return true;
        }
        let address = server.ip().map(|ip| SocketAddr::new(ip, server.port()));
        if address.is_some() || !self.config.resolve {
            self.session.addresses.push_back(address);
            self.dial();
        } else {
            self.session.attempt.0 += 1;
            self.phase = Phase::Resolving;
            let attempt = self.session.attempt;
            self.actions.push_back(Action::Resolve { attempt, host: server.host().to_string() });
        }
        true
    }

    /// Asks for a transport to the next address. False when there is none left.
    fn dial(&mut self) -> bool {
        let Some(server) = self.session.server.clone() else {
            return false;
        };
        let Some(address) = self.session.addresses.pop_front() else {
            return false;
        };
        // A place that says nothing leaves time for the others.
        let shares = u32::try_from(self.session.addresses.len() + 1).unwrap_or(u32::MAX);
        let share = self.session.ends.saturating_since(self.now) / shares;
        self.timers.set(Timer::Attempt, self.now + share);
        self.session.attempt.0 += 1;
        self.session.alive = true;
        self.session.secure = false;
        self.session.tls_due = self.must_be_secure(self.scheme());
        self.session.greeted = false;
        self.session.pinged = false;
        self.session.refused = 0;
        self.session.lame_duck = false;
        self.timers.stop(Timer::LameDuck);
        self.inbound.reset();
        self.phase = Phase::Dialing;
        let attempt = self.session.attempt;
        self.actions.push_back(Action::Connect { attempt, address, server });
        true
    }

    fn scheme(&self) -> Scheme {
        self.session.server.as_ref().map_or(Scheme::Nats, |server| server.scheme())
    }

    /// The first INFO: upgrade to TLS, or go on.
    pub(super) fn greeted_by(&mut self, info: ServerInfo) {
        self.timers.set(Timer::Attempt, self.session.ends);
        let scheme = self.scheme();
        // TLS begins below a WebSocket or not at all, whatever its INFO says.
        let upgradable = !matches!(scheme, Scheme::Ws | Scheme::Wss);
        let offered = upgradable && (info.tls_required || info.tls_available);
        let required = self.session.tls_due;
        let never = self.config.tls == TlsMode::Never;
        let required_by_server = upgradable && info.tls_required;
        self.take_info(info);
        if self.session.secure {
            self.authorize_or_greet();
        } else if never && (required || required_by_server) {
            self.fail(DisconnectCause::TlsUnavailable);
        } else if required && !offered {
            self.fail(DisconnectCause::TlsNotOffered);
        } else if offered && !never {
            self.session.tls_due = true;
            let behind = self.inbound.undecoded();
            if !behind.is_empty() {
                // A server that is full says so in place of a handshake: that is read out.
                if behind.iter().zip(ERROR).any(|(byte, expected)| byte != expected) {
                    self.fail(DisconnectCause::TlsInjection);
                }
                self.session.greeted = true;
                return;
            }
            self.phase = Phase::Tls;
            let (attempt, server_name) = (self.session.attempt, self.session.tls_name.clone());
            self.actions.push_back(Action::StartTls { attempt, server_name });
        } else {
            self.authorize_or_greet();
        }
    }

    /// A session without TLS would be a downgrade, or not what was asked for.
    pub(super) fn must_be_secure(&self, scheme: Scheme) -> bool {
        self.session.ever_secure
            || matches!(self.config.tls, TlsMode::Required | TlsMode::First)
            || matches!(scheme, Scheme::Tls | Scheme::Wss)
    }

    /// INFO came, and plaintext behind it where TLS was due.
    pub(super) fn expects_tls(&self) -> bool {
        matches!(self.phase, Phase::Info) && self.session.greeted
    }

    fn authorize_or_greet(&mut self) {
        if self.config.authorize {
            self.phase = Phase::Authorizing;
            let nonce = self.info.as_ref().and_then(|info| info.nonce.clone());
            self.actions.push_back(Action::Authorize { attempt: self.session.attempt, nonce });
        } else {
            self.greet(self.config.credentials.clone());
        }
    }

    fn greet(&mut self, mut credentials: Credentials) {
        let url = self.session.server.as_deref();
        if let Some(user) = url.and_then(ServerUrl::user) {
            let password = url.and_then(ServerUrl::password).map(ToString::to_string);
            let user = Some(user.to_string());
            credentials = match password {
                Some(_) => Credentials { user, password, ..Credentials::default() },
                None => Credentials { token: user, ..Credentials::default() },
            };
        }
        let headers = self.info.as_ref().is_some_and(|info| info.headers);
        let connect = ConnectInfo {
            verbose: self.config.verbose,
            pedantic: self.config.pedantic,
            echo: self.config.echo,
            tls_required: self.session.secure,
            headers,
            no_responders: headers,
            protocol: 1,
            name: self.config.name.clone(),
            lang: self.config.lang.clone(),
            version: self.config.version.clone(),
            user: credentials.user,
            pass: credentials.password,
            auth_token: credentials.token,
            nkey: credentials.nkey,
            sig: credentials.signature,
            jwt: credentials.jwt,
        };
        let out = self.outbound.handshake();
        let mut json = alloc::vec::Vec::new();
        connect.write_json(&mut json);
        encode::connect(out, &json);
        self.phase = Phase::Greeting;
    }

    /// Adds the next SUBs, and the PING once all are written.
    pub(super) fn fill_handshake(&mut self) {
        let out = self.outbound.handshake();
        // One at a time, so that a server that sends PINGs and reads nothing fills no memory.
        if self.pong_due && out.is_empty() {
            self.pong_due = false;
            encode::pong(out);
        }
        if !self.session.pinged
            && out.len() < ANNOUNCE
            && self.subscriptions.announce(out, ANNOUNCE)
        {
            self.outbound.end_handshake();
            self.session.pinged = true;
        }
    }

    /// The PONG behind CONNECT: the server has accepted us.
    pub(super) fn came_up(&mut self) {
        self.phase = Phase::Up;
        self.timers.stop(Timer::Attempt);
        self.timers.set(Timer::Ping, self.now + self.config.ping_interval);
        self.pings_out = 0;
        self.servers.succeeded();
        self.statistics.connects += 1;
        let session = &mut self.session;
        session.failed = 0;
        session.up_since = self.now;
        session.cause = None;
        session.was_up = true;
        session.ever_secure |= session.secure;
        let again = mem::replace(&mut session.ever_up, true);
        let (Some(server), Some(info)) = (session.server.clone(), self.info.clone()) else {
            return;
        };
        self.session.lowered = false;
        let (max, headers) = (info.payload_limit(), info.headers);
        let fits = |frame: &[u8]| frames::fits(frame, max, headers);
        let mut dropped = self.outbound.open(self.config.confirm_bytes, fits);
        self.end_requests_in(&dropped, NotSent::NotAllowed);
        if let Some(last) = self.flushes.back() {
            self.outbound.ping(Some(*last), 0);
        }
        self.ages.clear();
        self.timers.stop(Timer::Kept);
        dropped.merge(&mem::take(&mut self.expired));
        let known = Arc::clone(&info);
        self.events.push_back(Event::Connected(Connected { server, info, again, dropped }));
        self.note_info(&known);
        if self.session.refused > 0 {
            self.recover_inbox();
        }
    }

    /// INFO, at any time.
    pub(super) fn take_info(&mut self, info: ServerInfo) {
        let new = Arc::new(info);
        let old = self.info.replace(Arc::clone(&new));
        // What it says of other servers counts once the server has shown who it is.
        if self.is_connected() {
            self.note_info(&new);
            let limit = |info: &ServerInfo| info.payload_limit().unwrap_or(usize::MAX);
            self.session.lowered |=
                old.is_some_and(|old| limit(&new) < limit(&old) || old.headers && !new.headers);
        }
    }

    /// The other servers that INFO tells of, and whether this one is about to go.
    fn note_info(&mut self, info: &ServerInfo) {
        let mut another = false;
        if !self.config.ignore_discovered
            && let Some(current) = &self.session.server
        {
            let changes = self.servers.learn(info, current, &self.session.tls_name, &mut self.rng);
            another = !changes.added.is_empty();
            if another || !changes.removed.is_empty() || changes.ignored > 0 {
                let super::servers::Changes { added, removed, ignored } = changes;
                self.events.push_back(Event::ServersChanged { added, removed, ignored });
            }
        }
        let told = info.lame_duck && !mem::replace(&mut self.session.lame_duck, true);
        if told {
            self.events.push_back(Event::LameDuck);
        }
        // When the time came before and there was nowhere to go, it comes once more.
        let stayed = another && self.session.lame_duck && !self.timers.is_set(Timer::LameDuck);
        if (told || stayed)
            && let Some(longest) = self.config.leave_lame_duck
        {
            let wait = self.rng.duration(longest);
            self.timers.set(Timer::LameDuck, self.now + wait);
        }
    }

    /// After INFO lowered a limit: drops what waits and does not fit any more, once no batch is
    /// out. False when nothing was dropped.
    pub(super) fn drop_unfit(&mut self) -> bool {
        if !self.session.lowered || !self.is_connected() || self.outbound.is_lent() {
            return false;
        }
        self.session.lowered = false;
        let Some(info) = self.info.clone() else {
            return false;
        };
        let (max, headers) = (info.payload_limit(), info.headers);
        let dropped = self.outbound.drop_unfit(|frame| frames::fits(frame, max, headers));
        if dropped.is_empty() {
            return false;
        }
        self.end_requests_in(&dropped, NotSent::NotAllowed);
        self.events.push_back(Event::Dropped(dropped));
        true
    }

    // ---- the way down --------------------------------------------------------------------

    /// Gives the transport up: the driver is told, and what it says of it later is ignored.
    #[cold]
    pub(super) fn fail(&mut self, cause: DisconnectCause) {
        if self.session.alive {
            if self.session.ended.is_none() {
                self.actions.push_back(Action::Close { attempt: self.session.attempt });
            }
            self.lost(cause);
        }
    }

    /// All that an ended transport delivered is read out. False when none has ended.
    pub(super) fn read_out(&mut self) -> bool {
        let ended = self.session.ended.take();
        ended.map(|cause| self.lost(cause)).is_some()
    }

    /// The transport is gone.
    #[cold]
    fn lost(&mut self, mut cause: DisconnectCause) {
        use DisconnectCause::{Eof, Io, NoInfo, Protocol, TlsInjection};

        if self.expects_tls() && matches!(cause, Eof | Io(_) | NoInfo | Protocol(_)) {
            cause = TlsInjection;
        }
        self.session.alive = false;
        self.session.ended = None;
        self.pong_due = false;
        self.forget_asked();
        self.phase = Phase::Lost(cause);
    }

    /// What was asked of an attempt that is over is not asked any more.
    pub(super) fn forget_asked(&mut self) {
        self.actions.retain(|action| matches!(action, Action::Close { .. }));
    }

    /// No batch is out any more: accounts for what was sent, and decides what comes next.
    pub(super) fn finish_loss(&mut self) -> bool {
        let Phase::Lost(cause) = mem::replace(&mut self.phase, Phase::Waiting) else {
            return false;
        };
        self.subscriptions.forget_connection();
        self.requests.mux_ping = None;
        if !mem::take(&mut self.session.was_up) {
            self.outbound.reset_handshake();
            self.end_drained();
            self.attempt_failed(cause);
            return true;
        }
        // PONGs that came while the batch with their PINGs was out.
        while let Some(answer) = self.outbound.next_answer() {
            self.answered(answer);
        }
        for timer in [Timer::Ping, Timer::Write, Timer::Confirm, Timer::Move, Timer::LameDuck] {
            self.timers.stop(timer);
        }
        let goes_on = self.config.reconnect && !self.ending.is_closing();
        let keep = if goes_on { self.config.reconnect_buffer } else { usize::MAX };
        let keep_requests = goes_on && self.config.keep_requests;
        let split = self.outbound.lose(keep, keep_requests);
        if !goes_on {
            let why = self.ending.reason().unwrap_or_else(|| self.no_servers(cause));
            self.finish(why, &split);
            return true;
        }
        if keep_requests {
            self.end_requests_in(&split.dropped, NotSent::Disconnected);
        } else {
            self.end_requests(split.first_unsent, NotSent::Disconnected);
        }
        if cause != DisconnectCause::Requested {
            self.note_loss();
        }
        if let Some(server) = self.session.server.clone() {
            self.session.cause = Some(cause.clone());
            let Split { unknown, kept, dropped, .. } = split;
            let end = Position(self.outbound.next_position());
            let facts = Arc::new(Disconnected { server, cause, unknown, kept, dropped, end });
            for flush in mem::take(&mut self.flushes) {
                let error = FlushError::Disconnected(Arc::clone(&facts));
                self.events.push_back(Event::Flushed(flush, Err(error)));
            }
            self.end_drained();
            self.events.push_back(Event::Disconnected(facts));
        }
        // The server that was lost is tried last.
        self.servers.move_on();
        true
    }

    /// The first attempt after a loss comes at once, but not again and again: where connections are
    /// lost as soon as they are up, it waits like one that follows a failed attempt.
    fn note_loss(&mut self) {
        let lived = self.now.saturating_since(self.session.up_since);
        if lived >= self.wait_after(self.session.brief.saturating_add(1)) {
            self.session.brief = 0;
            return;
        }
        self.session.brief = self.session.brief.saturating_add(1);
        if self.session.brief > 1 {
            let wait = self.backoff();
            self.timers.set(Timer::Reconnect, self.now + wait);
        }
    }

    /// Nothing more can come for the subscriptions that were draining, and something may be lost.
    fn end_drained(&mut self) {
        for sid in self.subscriptions.drained_by_loss() {
            self.subscription_ended(sid, EndReason::Disconnected);
        }
    }

    #[cold]
    fn attempt_failed(&mut self, cause: DisconnectCause) {
        if let Some(why) = self.ending.reason().filter(|_| self.ending.is_closing()) {
            return self.finish_unconnected(why);
        }
        let fatal = match &cause {
            // Anyone on the way could have said it.
            _ if self.session.tls_due && !self.session.secure => false,
            DisconnectCause::Server(error) if error.is_fatal() => true,
            DisconnectCause::Server(error) if error.is_auth() && !error.is_expired() => {
                self.servers.same_auth_error(error) && !self.config.ignore_auth_error_abort
            }
            _ => {
                self.servers.other_error();
                false
            }
        };
        let of_address = !matches!(
            cause,
            DisconnectCause::Server(_)
                | DisconnectCause::Credentials(_)
                | DisconnectCause::TlsSettings(_)
        );
        let retry_address = of_address && self.now < self.session.ends;
        if retry_address && self.dial() {
            return;
        }
        self.timers.stop(Timer::Attempt);
        self.session.failed = self.session.failed.saturating_add(1);
        self.session.cause = Some(cause.clone());
        if let Some(server) = self.session.server.clone() {
            let cause = cause.clone();
            self.events.push_back(Event::AttemptFailed { server, cause });
        }
        let first = !self.session.ever_up && !self.config.retry_first_connect;
        let passed = first && self.session.failed as usize >= self.servers.len();
        self.servers.failed(self.config.max_attempts.filter(|_| !first));
        if fatal || passed || self.servers.len() == 0 {
            let why = if fatal { CloseReason::Fatal(cause) } else { self.no_servers(cause) };
            return self.finish_unconnected(why);
        }
        if !first {
            let wait = self.backoff();
            self.timers.set(Timer::Reconnect, self.now + wait);
        }
    }

    fn no_servers(&self, cause: DisconnectCause) -> CloseReason {
        match self.session.server.clone() {
            Some(server) => CloseReason::NoServers { server, cause },
            None => CloseReason::Fatal(cause),
        }
    }

    /// Fails the requests whose messages are among `dropped`.
    fn end_requests_in(&mut self, dropped: &Fate, why: NotSent) {
        if dropped.messages == 0 {
            return;
        }
        for (id, position) in self.requests.all() {
            if dropped.positions.contains(position) && self.requests.end(id) {
                self.events.push_back(Event::Response(id, Err(RequestError::NotSent(why))));
            }
        }
    }

    /// Fails every request: those that never left are `NotSent`.
    pub(super) fn end_requests(&mut self, first_unsent: u64, why: NotSent) {
        for (id, position) in self.requests.all() {
            if self.requests.end(id) {
                let error = if position.0 < first_unsent {
                    RequestError::Unknown
                } else {
                    RequestError::NotSent(why)
                };
                self.events.push_back(Event::Response(id, Err(error)));
            }
        }
    }

    /// The end, without a connection to lose.
    pub(super) fn finish_unconnected(&mut self, why: CloseReason) {
        let split = self.outbound.lose(usize::MAX, false);
        self.finish(why, &split);
    }

    /// The end: every id gets its final event, then comes `Closed`.
    #[cold]
    fn finish(&mut self, why: CloseReason, split: &Split) {
        self.end_requests(split.first_unsent, NotSent::Closed);
        for flush in mem::take(&mut self.flushes) {
            self.events.push_back(Event::Flushed(flush, Err(FlushError::Closed)));
        }
        self.end_drained();
        for sid in self.subscriptions.all() {
            if self.subscriptions.end(sid) {
                self.subscription_ended(sid, EndReason::Closed);
            }
        }
        self.outbound.abandon();
        if self.wants_room.take().is_some() {
            self.events.push_back(Event::Writable);
        }
        self.timers.stop_all();
        self.phase = Phase::Closed;
        let fates = Fates::clone(self.outbound.fates());
        self.events.push_back(Event::Closed(Arc::new(Closed { why, fates })));
    }
}
