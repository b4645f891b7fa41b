//! Planned ends: drain, close, and the move to another server.

use core::time::Duration;

use super::Connection;
use super::errors::{DisconnectCause, EndReason};
use super::handshake::Phase;
use super::ids::FlushId;
use super::output::{CloseReason, Event};
use super::timers::Timer;

/// How far a planned end has come.
#[derive(Debug, Default)]
pub(super) struct Ending {
    drain: Drain,
    closing: Option<Closing>,
    moving: Option<Move>,
}

/// How far a move to another server has come.
#[derive(Debug, Clone, Copy)]
enum Move {
    /// The subscriptions end at this server: for the PONG behind the UNSUBs.
    Leaving(u64),
    /// For requests that wait for a reply.
    Requests,
    /// Nothing more goes out: for the PONG of this flush.
    Flushing(FlushId),
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Drain {
    #[default]
    No,
    /// Subscriptions are ending.
    Subscriptions,
    /// The caller reads out what was delivered.
    Queues,
    /// Requests run to their reply or deadline.
    Requests,
    /// The inbox of requests is ending; then the connection closes.
    Inbox,
}

#[derive(Debug)]
struct Closing {
    why: CloseReason,
    /// The PONG to wait for, once the PING is queued.
    flush: Option<FlushId>,
    confirmed: bool,
}

impl Ending {
    /// Any of the ends is under way.
    pub(super) fn has_begun(&self) -> bool {
        self.is_draining() || self.is_closing() || self.moving.is_some()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain != Drain::No
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    pub(super) fn refuses_publishes(&self) -> bool {
        self.closing.is_some()
    }

    /// Why the connection will have closed.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        self.closing.as_ref().map(|closing| closing.why.clone())
    }
}

impl Connection {
    /// Winds the connection down without losing anything, within `drain_timeout`.
    ///
    /// At once, new subscriptions and requests are refused. Every subscription is drained;
    /// `Event::SubscriptionsDrained` says when the last has ended. The caller reads out what it
    /// was given and calls [`queues_drained`](Self::queues_drained). Then pending requests run to
    /// their reply or deadline and subscriptions for replies to their end, publishes are refused, what was published is confirmed, and the
    /// connection closes.
    pub fn drain(&mut self) {
        if self.ending.is_draining()
            || self.ending.is_closing()
            || matches!(self.phase, Phase::Closed)
        {
            return;
        }
        self.ending.drain = Drain::Subscriptions;
        self.timers.hasten(Timer::Drain, self.config.drain_timeout);
        for sid in self.subscriptions.drainable() {
            self.drain_subscription(sid);
        }
    }

    /// The caller has read out all messages that were delivered, see [`drain`](Self::drain).
    pub fn queues_drained(&mut self) {
        if self.ending.drain == Drain::Queues {
            self.ending.drain = Drain::Requests;
        }
    }

    /// Closes the connection. While it is up, what was published is sent and confirmed first, for
    /// at most `linger`; else it closes at once, and what was kept is dropped and reported.
    pub fn close(&mut self, linger: Duration) {
        self.begin_close(CloseReason::Requested, linger);
    }

    fn begin_close(&mut self, why: CloseReason, linger: Duration) {
        if matches!(self.phase, Phase::Closed) {
            return;
        }
        // A close during a close can only shorten it.
        self.timers.hasten(Timer::Close, linger);
        if let Some(closing) = &mut self.ending.closing {
            closing.confirmed |= linger.is_zero();
            return;
        }
        self.ending.closing = Some(Closing { why, flush: None, confirmed: linger.is_zero() });
        if self.ending.moving.take().is_some() {
            // There is no next connection: what was held for it goes out on this one.
            self.timers.stop(Timer::Move);
            self.outbound.release();
        }
    }

    /// The server is about to shut down: better to go than to be sent away, if there is another.
    pub(super) fn leave_lame_duck(&mut self) {
        if self.is_connected() && !self.ending.is_closing() && self.servers.has_another() {
            self.begin_move();
        }
    }

    /// Leaves this server once nothing more can come from it or is on its way to it.
    pub(super) fn begin_move(&mut self) {
        if self.ending.moving.is_none() {
            self.timers.hasten(Timer::Move, self.config.move_timeout);
            self.leave();
        }
    }

    /// Subscriptions first: messages that are for a queue group then go to its other members.
    fn leave(&mut self) {
        let fence = self.subscriptions.leave();
        self.ending.moving = Some(fence.map_or(Move::Requests, Move::Leaving));
    }

    /// The next step of a move. False when there is none now.
    fn step_move(&mut self) -> bool {
        let idle = self.requests.len() == 0 && !self.subscriptions.awaits_replies();
        if !idle || !matches!(self.ending.moving, Some(Move::Requests)) {
            return false;
        }
        // What was subscribed to meanwhile is still to be left.
        self.leave();
        if matches!(self.ending.moving, Some(Move::Requests)) {
            let flush = self.next_flush_id();
            self.outbound.ping(Some(flush), 0);
            self.outbound.hold();
            self.ending.moving = Some(Move::Flushing(flush));
        }
        true
    }

    /// The server has done what stood before the PING with this number.
    pub(super) fn ending_fenced(&mut self, number: u64) {
        if matches!(self.ending.moving, Some(Move::Leaving(fence)) if fence <= number) {
            self.ending.moving = Some(Move::Requests);
        }
    }

    /// The server has processed all before `flush`.
    pub(super) fn ending_answered(&mut self, flush: FlushId) {
        if let Some(closing) = &mut self.ending.closing
            && closing.flush.is_some_and(|own| own <= flush)
        {
            closing.confirmed = true;
        }
        if matches!(self.ending.moving, Some(Move::Flushing(own)) if own <= flush) {
            self.ending.moving = None;
            self.fail(DisconnectCause::Requested);
        }
    }

    /// Takes the next step of a planned end. False when there is none now.
    pub(super) fn step_ending(&mut self) -> bool {
        if !self.is_connected() {
            self.ending.moving = None;
        }
        if let Some(closing) = &self.ending.closing {
            let (confirmed, asked) = (closing.confirmed, closing.flush.is_some());
            if confirmed {
                self.shut();
                return true;
            }
            if !asked {
                let flush = self.next_flush_id();
                self.outbound.ping(Some(flush), 0);
                if let Some(closing) = &mut self.ending.closing {
                    closing.flush = Some(flush);
                }
            }
            return !asked;
        }
        if self.step_move() {
            return true;
        }
        match self.ending.drain {
            Drain::Subscriptions if self.subscriptions.is_empty_but_for_replies() => {
                self.ending.drain = Drain::Queues;
                self.events.push_back(Event::SubscriptionsDrained);
                true
            }
            Drain::Requests if self.requests.len() == 0 && !self.subscriptions.awaits_replies() => {
                self.ending.drain = Drain::Inbox;
                if let Some(mux) = self.requests.mux {
                    self.drain_subscription(mux);
                }
                true
            }
            Drain::Inbox if self.requests.mux.is_none() && self.may_finish_drain() => {
                let end = self.timers.take(Timer::Drain);
                let left = end.map_or(Duration::ZERO, |at| at.saturating_since(self.now));
                self.begin_close(CloseReason::Drained, left);
                true
            }
            _ => false,
        }
    }

    /// While disconnected, a drain goes on only for the sake of what was kept.
    fn may_finish_drain(&self) -> bool {
        self.is_connected() || !self.outbound.has_user_data()
    }

    pub(super) fn drain_timed_out(&mut self) {
        for sid in self.subscriptions.all() {
            if self.subscriptions.end(sid) {
                self.subscription_ended(sid, EndReason::Closed);
            }
        }
        self.begin_close(CloseReason::Drained, Duration::ZERO);
    }

    /// Ends the connection now.
    pub(super) fn shut(&mut self) {
        let closing = self.ending.closing.get_or_insert(Closing {
            why: CloseReason::Requested,
            flush: None,
            confirmed: true,
        });
        closing.confirmed = true;
        if matches!(self.phase, Phase::Lost(_)) {
            return;
        }
        if self.session.alive {
            return self.fail(DisconnectCause::Closed);
        }
        let why = closing.why.clone();
        self.finish_unconnected(why);
    }
}
