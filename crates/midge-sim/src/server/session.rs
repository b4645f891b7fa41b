//! What a server does with the bytes of a client.

use bytes::Bytes;
use midge_proto::Instant;
use midge_proto::wire::{
    ClientOp, ConnectInfo, DecodeError, Limits, ServerError, ServerInfo, decode_client, encode,
};

use super::cluster::{ClientId, Cluster, ServerId};
use super::delivery::Message;
use super::interest::{Key, Subscription, is_literal, is_valid};
use super::journal::{Close, Event, Publish, Refusal};
use super::look::{Look, Operation, look};
use super::timers::ClientTimer;

/// The most that a server takes for a maximum of UNSUB: nine digits.
const LARGEST_MAX: u64 = 999_999_999;

impl Cluster {
    /// Bytes of a client, cut in any way. Nothing is taken from a client that
    /// [is closing](Self::is_closing).
    pub fn received(&mut self, id: ClientId, bytes: &[u8], now: Instant) {
        let now = self.advance(now);
        let Some(client) = self.client_mut(id).filter(|client| client.closing.is_none()) else {
            return;
        };
        let mut input = std::mem::take(&mut client.input);
        input.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(len) = self.operation(id, &input[at..], now) {
            at += len;
        }
        input.drain(..at);
        if let Some(client) = self.client_mut(id).filter(|client| client.closing.is_none()) {
            client.input = input;
        }
        self.run_routes(now);
    }

    /// Does what the operation at the start of `input` asks for; its length, when it is there and
    /// the client may go on.
    fn operation(&mut self, id: ClientId, input: &[u8], now: Instant) -> Option<usize> {
        let client = self.client(id).filter(|client| client.closing.is_none())?;
        let options = &self.nodes[client.server].options;
        let first = *input.first()?;
        if client.awaits_connect() && !first.eq_ignore_ascii_case(&b'C') {
            self.fail(id, &ServerError::AuthorizationViolation.to_text(), now);
            return None;
        }
        let (operation, arguments, len) = match look(input, options.max_control_line) {
            Look::Line { operation, arguments, len } => (operation, arguments, len),
            Look::More => return None,
            Look::Unknown => {
                self.fail(id, &ServerError::UnknownOperation.to_text(), now);
                return None;
            }
            Look::TooLong => {
                self.fail(id, &ServerError::MaxControlLine.to_text(), now);
                return None;
            }
        };
        match operation {
            Operation::Connect => self.connect(id, arguments, now),
            Operation::Ping => self.pinged(id, now),
            Operation::Pong => self.ponged(id, now),
            Operation::Ok => {}
            Operation::Info if ServerInfo::parse(arguments).is_ok() => {}
            Operation::Info | Operation::Err => self.give_up(id, Close::Protocol, now),
            Operation::Hpub if !client.headers => self.give_up(id, Close::Protocol, now),
            Operation::Pub | Operation::Hpub | Operation::Sub | Operation::Unsub => {
                let limits =
                    Limits { control_line: len, info: len, frame: len + options.max_payload + 2 };
                let behind = body_len(operation, arguments).and_then(|body| input.get(len + body));
                let decoded = match decode_client(input, &limits) {
                    // A server does not wait for the second byte of a line end.
                    Ok(None) if behind.is_some_and(|&byte| byte != b'\r') => {
                        Err(DecodeError::MissingCrlf)
                    }
                    decoded => decoded,
                };
                match decoded {
                    Ok(decoded) => {
                        let (op, len) = decoded?;
                        self.decoded(id, op, now);
                        return Some(len);
                    }
                    Err(error) => self.misread(id, error, now),
                }
            }
        }
        Some(len)
    }

    fn misread(&mut self, id: ClientId, error: DecodeError, now: Instant) {
        let error = match error {
            DecodeError::FrameTooLarge => ServerError::MaxPayload,
            DecodeError::UnknownOperation | DecodeError::MissingCrlf => {
                ServerError::UnknownOperation
            }
            _ => return self.give_up(id, Close::Protocol, now),
        };
        self.fail(id, &error.to_text(), now);
    }

    fn decoded(&mut self, id: ClientId, op: ClientOp<'_>, now: Instant) {
        if let Some(client) = self.client_mut(id) {
            client.last_in = Some(now);
        }
        match op {
            ClientOp::Publish { subject, reply, headers, payload } => {
                let headers = headers.filter(|headers| !headers.is_empty());
                self.published(id, subject, reply, headers, payload, now);
            }
            ClientOp::Subscribe { subject, queue, sid } => {
                self.subscribe(id, subject, queue, sid, now);
            }
            ClientOp::Unsubscribe { sid, max } => self.unsubscribe(id, sid, max, now),
            // Taken before.
            _ => {}
        }
    }

    fn connect(&mut self, id: ClientId, json: &[u8], now: Instant) {
        let Some(client) = self.clients.get_mut(id.0).and_then(Option::as_mut) else { return };
        let options = &self.nodes[client.server].options;
        let Ok(connect) = ConnectInfo::parse(json) else {
            return self.give_up(id, Close::Protocol, now);
        };
        let again = std::mem::replace(&mut client.connected, true);
        client.headers = options.headers && connect.headers;
        client.connect = connect;
        let user = options.auth.check(&client.connect);
        self.set_timer(id, ClientTimer::Auth, None);
        self.set_first_ping(id, now);
        if again {
            self.end_subscriptions(id, now);
        }
        let Some(user) = user else {
            return self.fail(id, &ServerError::AuthorizationViolation.to_text(), now);
        };
        let Some(client) = self.client_mut(id) else { return };
        let name = user.as_ref().map(|user| user.name.clone());
        client.user = user;
        if client.connect.protocol > 1 {
            return self.fail(id, &ServerError::InvalidClientProtocol.to_text(), now);
        }
        if client.connect.no_responders && !client.headers {
            return self.fail(id, &ServerError::NoRespondersRequiresHeaders.to_text(), now);
        }
        self.journal.push(now, Event::Connected { client: id, user: name });
        self.ok(id, now);
    }

    fn pinged(&mut self, id: ClientId, now: Instant) {
        self.journal.push(now, Event::Pinged { client: id });
        self.say(id, encode::pong, now);
        let Some(client) = self.client_mut(id) else { return };
        client.last_in = Some(now);
        let first = client.connected && !std::mem::replace(&mut client.greeted, client.connected);
        let (server, informed) = (client.server, first && client.connect.protocol >= 1);
        if informed && let Some(mut info) = self.info(server, id) {
            info.connect_info = true;
            info.remote_account = "$G".into();
            self.say(id, |out| encode::info(out, &info.to_json()), now);
        }
    }

    fn ponged(&mut self, id: ClientId, now: Instant) {
        if let Some(client) = self.client_mut(id) {
            client.pings_out = 0;
            self.journal.push(now, Event::Ponged { client: id });
        }
    }

    fn published(
        &mut self,
        id: ClientId,
        subject: &[u8],
        reply: Option<&[u8]>,
        headers: Option<&[u8]>,
        payload: &[u8],
        now: Instant,
    ) {
        let Some(client) = self.client(id) else { return };
        let server = client.server;
        let permitted = client.user.as_ref().is_none_or(|u| u.publish.permits_publish(subject));
        if client.connect.pedantic && !is_literal(subject) {
            self.err(id, &ServerError::InvalidPublishSubject.to_text(), now);
        }
        if !permitted {
            let name = String::from_utf8_lossy(subject).into_owned();
            let text = ServerError::PublishPermission { subject: name }.to_text();
            return self.refuse(id, Refusal::PublishPermission(copy(subject)), &text, now);
        }
        self.ok(id, now);
        let message = Message {
            publish: self.journal.publishes.len(),
            from: id,
            subject: copy(subject),
            shown: None,
            reply: reply.map(copy),
            headers: headers.map(copy),
            payload: copy(payload),
        };
        self.journal.publishes.push(Publish {
            client: id,
            server: ServerId(server),
            subject: message.subject.clone(),
            reply: message.reply.clone(),
            headers: message.headers.clone(),
            payload: message.payload.clone(),
        });
        self.journal.push(now, Event::Published(message.publish));
        if !self.publish(server, &message, now) {
            self.no_responders(id, &message, now);
        }
    }

    fn subscribe(
        &mut self,
        id: ClientId,
        subject: &[u8],
        queue: Option<&[u8]>,
        sid: &[u8],
        now: Instant,
    ) {
        let Some(client) = self.client(id) else { return };
        let server = client.server;
        let permitted = |user: &super::User| user.subscribe.permits_subscription(subject, queue);
        if !client.user.as_ref().is_none_or(permitted) {
            let text = subscription_refused(subject, queue, None);
            return self.refuse(id, Refusal::SubscribePermission(copy(subject)), &text, now);
        }
        let max = self.nodes[server].options.max_subscriptions;
        if max.is_some_and(|max| client.subscriptions.len() >= max) {
            let text = ServerError::MaxSubscriptions.to_text();
            return self.refuse(id, Refusal::MaxSubscriptions, &text, now);
        }
        if client.subscriptions.contains_key(sid) {
            return self.ok(id, now);
        }
        if !is_valid(subject) {
            let text = ServerError::InvalidSubject.to_text();
            return self.refuse(id, Refusal::InvalidSubject(copy(subject)), &text, now);
        }
        let Some(client) = self.clients.get_mut(id.0).and_then(Option::as_mut) else { return };
        let Some(running) = self.nodes[server].running.as_mut() else { return };
        let key = Key { subject: copy(subject), queue: queue.map(copy) };
        let sid = copy(sid);
        let (sid_again, key_again) = (sid.clone(), key.clone());
        let subscription =
            Subscription { client: id, sid: sid_again, key: key_again, messages: 0, max: None };
        let number = running.subscriptions.insert(subscription);
        client.subscriptions.insert(sid.clone(), number);
        self.count_interest(server, &key, true, now);
        let Key { subject, queue } = key;
        self.journal.push(now, Event::Subscribed { client: id, sid, subject, queue });
        self.ok(id, now);
    }

    fn unsubscribe(&mut self, id: ClientId, sid: &[u8], max: Option<u64>, now: Instant) {
        let Some(client) = self.client(id) else { return };
        let (server, number) = (client.server, client.subscriptions.get(sid).copied());
        self.ok(id, now);
        let running = self.nodes[server].running.as_mut();
        if let Some(subscription) = running.and_then(|r| r.subscriptions.get_mut(number?)) {
            match max.filter(|&max| max > subscription.messages && max <= LARGEST_MAX) {
                Some(max) => subscription.max = Some(max),
                None => self.end_subscription(id, &copy(sid), now),
            }
        }
    }

    /// Ends a subscription, which the client is not told.
    pub(super) fn end_subscription(&mut self, id: ClientId, sid: &Bytes, now: Instant) {
        let Some(client) = self.client_mut(id) else { return };
        let server = client.server;
        let Some(number) = client.subscriptions.remove(sid) else { return };
        let Some(running) = self.nodes[server].running.as_mut() else { return };
        let Some(ended) = running.subscriptions.remove(number) else { return };
        self.count_interest(server, &ended.key, false, now);
        self.journal.push(now, Event::Unsubscribed { client: id, sid: ended.sid });
    }

    pub(super) fn end_subscriptions(&mut self, id: ClientId, now: Instant) {
        let sids: Vec<Bytes> =
            self.client(id).iter().flat_map(|c| c.subscriptions.keys().cloned()).collect();
        for sid in sids {
            self.end_subscription(id, &sid, now);
        }
    }

    fn ok(&mut self, id: ClientId, now: Instant) {
        if self.client(id).is_some_and(|client| client.connect.verbose) {
            self.say(id, encode::ok, now);
        }
    }

    fn refuse(&mut self, id: ClientId, what: Refusal, text: &str, now: Instant) {
        self.journal.push(now, Event::Refused { client: id, what });
        self.err(id, text, now);
    }
}

/// Bytes between the line and its line end, when the line says so.
fn body_len(operation: Operation, arguments: &[u8]) -> Option<usize> {
    let sizes = matches!(operation, Operation::Pub | Operation::Hpub).then_some(arguments)?;
    let last = sizes.split(|byte| matches!(byte, b' ' | b'\t')).rfind(|token| !token.is_empty())?;
    std::str::from_utf8(last).ok()?.parse().ok()
}

/// The text for a subscription that is not permitted, or with its name no longer permitted.
pub(super) fn subscription_refused(
    subject: &[u8],
    queue: Option<&[u8]>,
    sid: Option<&[u8]>,
) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let error = ServerError::SubscribePermission {
        subject: text(subject),
        queue: queue.map(text),
        sid: None,
        too_many_tokens: false,
    };
    match sid {
        None => error.to_text(),
        Some(sid) => format!("{} (sid \"{}\")", error.to_text(), text(sid)),
    }
}

fn copy(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
