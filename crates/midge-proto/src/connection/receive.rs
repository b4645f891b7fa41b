//! What arrives, and whom it concerns.

use alloc::sync::Arc;
use core::mem;

use super::errors::{DisconnectCause, EndReason, RequestError};
use super::handshake::Phase;
use super::inbound::{Messages, Received};
use super::output::{Event, Sink};
use super::pings::Answer;
use super::subscriptions::Delivery;
use super::{Connection, RequestId, Sid};
use crate::Message;
use crate::wire::{ServerError, ServerInfo};

impl Connection {
    /// Takes one frame in. Returns what it costs of the budget.
    pub(super) fn receive(&mut self, received: Received, sink: &mut impl Sink) -> usize {
        if matches!(self.phase, Phase::Info) {
            self.receive_first(received);
            return 1;
        }
        match received {
            Received::Messages(messages) => return self.receive_messages(messages, sink),
            Received::Oversized { sid, length } => {
                self.statistics.in_messages += 1;
                match sid.map_or(Delivery::Unknown, |sid| self.subscriptions.deliver(sid)) {
                    Delivery::DeliverLast(sid) if self.ending.is_closing() => {
                        self.subscription_ended(sid, EndReason::Closed);
                    }
                    _ if self.ending.is_closing() => {}
                    Delivery::Deliver(sid) => {
                        self.events.push_back(Event::Oversized { sid, length })
                    }
                    Delivery::DeliverLast(sid) => {
                        self.events.push_back(Event::Oversized { sid, length });
                        self.subscription_ended(sid, EndReason::MaxReached);
                    }
                    // The reply's request ends at its deadline.
                    Delivery::Internal | Delivery::Unknown => {}
                }
            }
            Received::Ping => self.pong_due = true,
            Received::Pong if matches!(self.phase, Phase::Authorizing | Phase::Greeting) => {
                // A PONG that comes before our PING has left answers nothing.
                if self.session.pinged && self.outbound.has_greeted() {
                    self.came_up();
                }
            }
            Received::Pong => {
                self.pings_out = 0;
                self.outbound.pong();
            }
            Received::Info(json) => {
                match ServerInfo::parse_within(&json, self.config.max_servers) {
                    Ok(info) => self.take_info(info),
                    Err(error) => self.fail(DisconnectCause::Info(error)),
                }
            }
            Received::Error(text) => self.receive_error(ServerError::parse(&text)),
            Received::Ok => {}
        }
        1
    }

    fn receive_messages(&mut self, mut messages: Messages, sink: &mut impl Sink) -> usize {
        let size = messages.size();
        self.statistics.in_messages += messages.len() as u64;
        let closing = self.ending.is_closing();
        // What comes during a close is handed over to nobody.
        let last = match closing {
            true => messages.hand_over(&mut Nobody),
            false => messages.hand_over(sink),
        };
        match (messages.last, last) {
            (Delivery::Internal, Some(message)) => self.receive_reply(message, sink),
            (Delivery::DeliverLast(sid), _) if closing => {
                self.subscription_ended(sid, EndReason::Closed);
            }
            (Delivery::Deliver(sid), Some(message)) if !closing => sink.message(sid, message),
            (Delivery::DeliverLast(sid), Some(message)) => {
                sink.message(sid, message);
                self.subscription_ended(sid, EndReason::MaxReached);
            }
            _ => {}
        }
        self.inbound.handed_over(messages);
        size
    }

    fn receive_first(&mut self, received: Received) {
        match received {
            Received::Error(text) if self.expects_tls() => {
                let error = ServerError::parse(&text);
                let full = error.is_full();
                let full = full.then_some(DisconnectCause::Server(error));
                self.fail(full.unwrap_or(DisconnectCause::TlsInjection));
            }
            _ if self.expects_tls() => self.fail(DisconnectCause::TlsInjection),
            Received::Info(json) => {
                match ServerInfo::parse_within(&json, self.config.max_servers) {
                    Ok(info) => self.greeted_by(info),
                    Err(error) => self.fail(DisconnectCause::Info(error)),
                }
            }
            Received::Error(text) => {
                self.fail(DisconnectCause::Server(ServerError::parse(&text)));
            }
            _ => self.fail(DisconnectCause::NoInfo),
        }
    }

    fn receive_reply(&mut self, message: Message, sink: &mut impl Sink) {
        let Some(id) = self.requests.find(message.subject_bytes()) else {
            return;
        };
        self.requests.end(id);
        let nobody = message.payload().is_empty()
            && message.status().is_some_and(|status| status.code == 503);
        sink.response(id, if nobody { Err(RequestError::NoResponders) } else { Ok(message) });
    }

    fn receive_error(&mut self, error: ServerError) {
        if error.closes_connection() || matches!(self.phase, Phase::Greeting) && error.is_auth() {
            if matches!(self.phase, Phase::Up) {
                self.events.push_back(Event::ServerError(error.clone()));
            }
            return self.fail(DisconnectCause::Server(error));
        }
        match &error {
            ServerError::SubscribePermission { .. } => match self.subscriptions.denied(&error) {
                Some((sid, false)) => {
                    self.subscriptions.end(sid);
                    self.subscription_ended(sid, EndReason::Denied(error.clone()));
                }
                Some((sid, true)) => self.inbox_denied(sid, &error),
                None => {}
            },
            ServerError::MaxSubscriptions => self.one_too_many(&error),
            ServerError::PublishPermission { subject } => {
                if let Some(id) = self.requests.with_subject(subject.as_bytes()) {
                    self.request_denied(id, &error);
                }
            }
            ServerError::PublishReplyPermission { reply } => {
                if let Some(id) = self.requests.find(reply.as_bytes()) {
                    self.request_denied(id, &error);
                }
            }
            _ => {}
        }
        self.events.push_back(Event::ServerError(error));
    }

    /// It ends. What is not sent yet would come to nothing, and is not sent.
    fn request_denied(&mut self, id: RequestId, error: &ServerError) {
        if let Some(position) = self.requests.position(id) {
            self.withdraw(position);
        }
        self.requests.end(id);
        self.events.push_back(Event::Response(id, Err(RequestError::Permission(error.clone()))));
    }

    /// A subscription was refused, and the error does not say which. Requests must not wait on an
    /// inbox that is dead: it is taken for the one while the server has not answered behind it.
    fn one_too_many(&mut self, error: &ServerError) {
        if !self.is_connected() {
            self.session.refused += 1;
        } else if let (Some(mux), Some(ping)) = (self.requests.mux, self.requests.mux_ping)
            && !self.outbound.pings().is_answered(ping)
        {
            // Should it be another one, the server ends the inbox now.
            self.unsubscribe(mux, None);
            self.inbox_denied(mux, error);
        }
    }

    /// Of those that a handshake announced, as many as were refused are dead: the last ones. If the
    /// inbox of requests is among them, it is asked for once more while requests wait, and else by
    /// the next one.
    pub(super) fn recover_inbox(&mut self) {
        let refused = mem::take(&mut self.session.refused);
        if let Some(mux) = self.requests.mux
            && self.requests.mux_ping.is_none()
            && self.subscriptions.behind(mux) < refused
        {
            self.unsubscribe(mux, None);
            if self.requests.len() > 0 {
                // If there is no room for it now, the next request tries again.
                let _ = self.subscribe_inbox();
            }
        }
    }

    /// The inbox of requests is denied: all that wait end, and the next request asks anew.
    fn inbox_denied(&mut self, mux: Sid, error: &ServerError) {
        self.subscriptions.end(mux);
        self.requests.mux = None;
        for (id, _) in self.requests.all() {
            self.request_denied(id, error);
        }
    }

    /// A PING was written and answered.
    pub(super) fn answered(&mut self, answer: Answer) {
        if let Some(last) = answer.flush {
            while self.flushes.front().is_some_and(|flush| *flush <= last) {
                if let Some(flush) = self.flushes.pop_front() {
                    let fates = self.outbound.fates();
                    self.events.push_back(Event::Flushed(flush, Ok(Arc::clone(fates))));
                }
            }
            self.ending_answered(last);
        }
        self.ending_fenced(answer.drains);
        // What comes during a close is not delivered.
        let closing = self.ending.is_closing();
        while let Some(sid) = self.subscriptions.drained(answer.drains) {
            let reason = if closing { EndReason::Closed } else { EndReason::Drained };
            self.subscription_ended(sid, reason);
        }
    }

    /// The subscription left the table: its one final event.
    pub(super) fn subscription_ended(&mut self, sid: Sid, reason: EndReason) {
        if self.requests.mux == Some(sid) {
            self.requests.mux = None;
        } else {
            self.events.push_back(Event::SubscriptionEnded(sid, reason));
        }
    }
}

/// Drops what it gets.
struct Nobody;

impl Sink for Nobody {
    fn message(&mut self, _: Sid, _: Message) {}

    fn response(&mut self, _: RequestId, _: Result<Message, RequestError>) {}
}
