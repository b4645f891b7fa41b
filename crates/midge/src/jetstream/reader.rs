//! Pulling: an inbox, what a [`PullMachine`] decides, and its waits.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use midge_jetstream::{
    ApiError, ErrorCode, Notice, PullEnd, PullMachine, PullOutput, PullRequest, ReplyError,
    StatusKind, StatusMessage, read_reply,
};
use midge_proto::{CloseReason, Instant, Message, Position, Subject};
use serde::de::IgnoredAny;

use super::message::JetMessage;
use crate::alarm::{Alarm, Changes};
use crate::{Client, EndReason, State, Subscribe, Subscription};

/// Messages that are asked for and not read, at most, while they are small.
pub(super) const SMALL_MESSAGES: u64 = 4_096;

/// The subjects of one pull consumer.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) client: Client,
    /// Where messages are asked for.
    pub(crate) next: Subject,
    /// Where the consumer is asked about.
    pub(crate) info: String,
    pub(crate) timeout: std::time::Duration,
}

/// What comes of reading.
#[derive(Debug)]
pub(crate) enum Item {
    Message(JetMessage),
    Notice(Notice),
    End(PullEnd),
}

/// One reader of a pull consumer. It progresses when it is polled.
pub(crate) struct Reader {
    target: Arc<Target>,
    machine: PullMachine,
    inbox: Option<Subscription>,
    /// The messages at a time that it is made for.
    room: u64,
    /// Inboxes of requests that are not the machine's any more, whose last messages come.
    given_up: Vec<GivenUp>,
    changes: Changes,
    alarm: Alarm,
    armed: Option<(Instant, Waker)>,
    notices: VecDeque<Notice>,
    /// The JSON of a request.
    buffer: Vec<u8>,
    /// The last request.
    asked: Option<Position>,
    check: Option<Pin<Box<dyn Future<Output = Option<bool>> + Send>>>,
    /// Nothing more is asked for; what has been sent is read, and then it ends so, for ever.
    last: Option<PullEnd>,
}

impl Reader {
    pub(crate) fn new(target: Arc<Target>, machine: PullMachine) -> Self {
        let shared = &target.client.handle().shared;
        let (changes, state) = Changes::new(shared.clone());
        let alarm = Alarm::new(shared.clone());
        let mut reader = Self {
            target,
            machine,
            inbox: None,
            room: 0,
            given_up: Vec::new(),
            changes,
            alarm,
            armed: None,
            notices: VecDeque::new(),
            buffer: Vec::new(),
            asked: None,
            check: None,
            last: None,
        };
        reader.changed(&state);
        reader
    }

    /// Reads anew, on the same inbox. It must be clean.
    pub(crate) fn restart(&mut self, machine: PullMachine) {
        if machine.config().most_messages() > self.room {
            self.inbox = None;
        }
        self.machine = machine;
        self.machine.connected();
    }

    /// Whether nothing is outstanding, so that it may be used again.
    pub(crate) fn is_clean(&self) -> bool {
        self.last.is_none()
            && self.machine.pending() == 0
            && self.given_up.is_empty()
            && self.notices.is_empty()
            && self.check.is_none()
            && self.inbox.as_ref().is_some_and(|inbox| inbox.end().is_none())
            && self.is_connected()
    }

    /// Whether messages may come that were asked for.
    pub(crate) fn is_outstanding(&self) -> bool {
        !self.given_up.is_empty()
            || (self.inbox.is_some() && (self.machine.pending() > 0 || self.last.is_some()))
    }

    /// Reads what comes of what another reader has asked for, one message, beside its own.
    pub(crate) fn take_over(&mut self, mut other: Self) {
        let is_asked = !other.withdraw() && other.machine.pending() > 0 && other.last.is_none();
        if let Some(inbox) = other.inbox.take() {
            let until = other.machine.asked_until().filter(|_| is_asked);
            self.given_up.push(GivenUp::new(inbox, until));
        }
        self.given_up.append(&mut other.given_up);
        let mut excess = self.held().count().saturating_sub(MOST_HELD);
        for old in &mut self.given_up {
            if excess > 0 && old.until.is_some() {
                old.let_go();
                excess -= 1;
            }
        }
    }

    fn held(&self) -> impl Iterator<Item = &GivenUp> {
        self.given_up.iter().filter(|old| old.until.is_some())
    }

    pub(crate) fn machine(&self) -> &PullMachine {
        &self.machine
    }

    pub(crate) fn machine_mut(&mut self) -> &mut PullMachine {
        &mut self.machine
    }

    /// Asks for nothing more, and lets come what was sent.
    pub(crate) fn drain(&mut self) {
        self.last.get_or_insert(PullEnd::Stopped);
        self.withdraw();
        if let Some(inbox) = &mut self.inbox {
            inbox.drain();
        }
        self.let_go();
    }

    /// Whoever has got its last message says by that when it is done.
    pub(crate) fn come_back(&self) {
        let inboxes = self.given_up.iter().map(|old| &old.inbox);
        inboxes.chain(&self.inbox).for_each(Subscription::come_back);
    }

    fn let_go(&mut self) {
        self.given_up.iter_mut().for_each(GivenUp::let_go);
    }

    /// What was noticed, but for errors.
    #[inline]
    pub(crate) fn take_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front_if(|notice| !matches!(notice, Notice::BadRequest(_)))
    }

    /// A message that is here already, if it is plain and nothing else is to be told: the short way of
    /// [`poll_item`](Self::poll_item).
    #[inline]
    pub(crate) fn take_ready(&mut self) -> Option<JetMessage> {
        let others = self.notices.is_empty() && self.given_up.is_empty();
        if !others || self.machine.end().is_some() {
            return None;
        }
        let message = self.inbox.as_mut()?.take_plain()?;
        self.machine.message(message.size(), None);
        if self.machine.has_work() && self.last.is_none() {
            self.decide();
        }
        Some(JetMessage::new(message, self.target.client.clone()))
    }

    /// What comes next. Who waits for it has published all that it will.
    #[inline]
    pub(crate) fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Item> {
        let item = self.poll_next(context);
        if item.is_pending() {
            self.target.client.handle().shared.write_before_waiting();
        }
        item
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Item> {
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Poll::Ready(Item::Notice(notice));
            }
            if self.last.is_none()
                && let Some(end) = self.machine.end()
            {
                return Poll::Ready(Item::End(end.clone()));
            }
            if let Some(item) = self.poll_inboxes(context) {
                return Poll::Ready(item);
            }
            if let Some(last) = &self.last {
                // The end of the last inbox comes by itself.
                if self.inbox.is_some() || !self.given_up.is_empty() {
                    return Poll::Pending;
                }
                let end = self.machine.end().filter(|end| **end == PullEnd::Done);
                return Poll::Ready(Item::End(end.unwrap_or(last).clone()));
            }
            while let Poll::Ready(state) = self.changes.poll(context) {
                self.changed(&state);
            }
            if self.last.is_some() {
                continue;
            }
            self.poll_check(context);
            match self.decide() {
                Decision::Again => {}
                Decision::End(end) => return Poll::Ready(Item::End(end)),
                Decision::Wait(None) => return Poll::Pending,
                Decision::Wait(Some(at)) => {
                    if self.poll_alarm(at, context).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    // ---- what comes ----------------------------------------------------------------------

    #[inline]
    fn poll_inboxes(&mut self, context: &Context<'_>) -> Option<Item> {
        let mut at = 0;
        while let Some(old) = self.given_up.get_mut(at) {
            match old.inbox.poll_message(context) {
                Poll::Ready(Some(message)) => match StatusMessage::of(&message) {
                    Some(status) if status.kind == StatusKind::IdleHeartbeat => {}
                    Some(_) => old.let_go(),
                    None => {
                        old.let_go();
                        self.machine.late_message(message.size());
                        return Some(self.deliver(message));
                    }
                },
                Poll::Ready(None) => drop(self.given_up.remove(at)),
                Poll::Pending => {
                    if old.until.is_some_and(|until| self.alarm.now() >= until) {
                        old.let_go();
                    }
                    at += 1;
                }
            }
        }
        loop {
            let inbox = self.inbox.as_mut()?;
            match inbox.poll_message(context) {
                Poll::Pending => return None,
                Poll::Ready(None) => {
                    let end = match inbox.end() {
                        Some(EndReason::Denied(error)) => PullEnd::Denied(error.to_string()),
                        Some(EndReason::Drained | EndReason::Unsubscribed) => PullEnd::Stopped,
                        _ => PullEnd::Closed,
                    };
                    self.inbox = None;
                    self.last.get_or_insert(end);
                    return None;
                }
                Poll::Ready(Some(message)) => {
                    if message.headers().is_some() {
                        if let Some(status) = StatusMessage::of(&message) {
                            self.machine.status(&status, self.alarm.now());
                            continue;
                        }
                        let pin = match self.machine.has_group() {
                            true => message.headers().and_then(|it| it.get("Nats-Pin-Id")),
                            false => None,
                        };
                        let added = pin.map_or(0, |pin| pin_header(&message, pin));
                        self.machine.message(message.size() - added, pin);
                    } else {
                        self.machine.message(message.size(), None);
                    }
                    return Some(self.deliver(message));
                }
            }
        }
    }

    #[inline]
    fn deliver(&mut self, message: Message) -> Item {
        if self.machine.has_work() && self.last.is_none() {
            // More is asked for before this one is worked on.
            self.decide();
        }
        Item::Message(JetMessage::new(message, self.target.client.clone()))
    }

    fn changed(&mut self, state: &State) {
        match state {
            State::Connected { .. } => {
                self.machine.connected();
                self.let_go();
            }
            State::Connecting | State::Reconnecting { .. } => self.machine.disconnected(),
            State::Draining => self.drain(),
            State::Closed { why } => {
                // Of a drain of the client, its end alone may be seen.
                let drained = *why == CloseReason::Drained && self.inbox.is_some();
                let end = if drained { PullEnd::Stopped } else { PullEnd::Closed };
                self.last.get_or_insert(end);
            }
        }
    }

    fn is_connected(&self) -> bool {
        let shared = self.target.client.shared();
        matches!(crate::shared::lock(&shared.board).state(), State::Connected { .. })
    }

    // ---- what to do ----------------------------------------------------------------------

    fn decide(&mut self) -> Decision {
        let now = self.alarm.now();
        let mut acted = false;
        loop {
            match self.machine.poll(now) {
                PullOutput::Pull(request) => {
                    if !self.ask(&request) {
                        self.machine.not_sent(now);
                    }
                    acted = true;
                }
                PullOutput::Check => {
                    self.check = Some(Box::pin(exists(self.target.clone())));
                    acted = true;
                }
                PullOutput::Notice(notice) => {
                    self.notices.push_back(notice);
                    acted = true;
                }
                PullOutput::End(_) | PullOutput::Wait(_) if acted => return Decision::Again,
                PullOutput::End(end) => return Decision::End(end),
                PullOutput::Wait(until) => return Decision::Wait(until),
            }
        }
    }

    /// Sends a request; false when that cannot be.
    fn ask(&mut self, request: &PullRequest) -> bool {
        if request.fresh
            && let Some(inbox) = self.inbox.take()
        {
            self.withdraw();
            self.given_up.push(GivenUp::new(inbox, None));
        }
        if self.inbox.is_none() {
            let room = self.machine.config().most_messages();
            let Ok(inbox) = pulled(&self.target.client, room).try_subscribe() else { return false };
            let (shared, next) = (self.target.client.shared(), &self.target.next);
            shared.command(|inner| inner.pulls(inbox.sid(), next));
            (self.inbox, self.room) = (Some(inbox), room);
        }
        let Some(inbox) = &self.inbox else { return false };
        self.buffer.clear();
        self.machine.write_request(request, &mut self.buffer);
        let (subject, reply) = (self.target.next.borrowed(), inbox.subject().borrowed());
        let payload = &self.buffer;
        self.asked = self.target.client.shared().command(|inner| {
            // Without a connection it would be sent on the next one, beside another.
            let connection = &mut inner.connection;
            let connected = connection.is_connected();
            connected.then(|| connection.publish_request(subject, reply, None, payload).ok())?
        });
        self.asked.is_some()
    }

    /// What was asked last is not sent any more: true when it certainly was not.
    fn withdraw(&mut self) -> bool {
        let Some(asked) = self.asked.take() else { return false };
        self.target.client.shared().command(|inner| inner.connection.withdraw(asked))
    }

    fn poll_check(&mut self, context: &mut Context<'_>) {
        if let Some(check) = &mut self.check
            && let Poll::Ready(exists) = check.as_mut().poll(context)
        {
            self.check = None;
            self.machine.checked(exists, self.alarm.now());
        }
    }

    /// Waits until then at most; an alarm that is set for earlier will do.
    fn poll_alarm(&mut self, at: Instant, context: &Context<'_>) -> Poll<()> {
        let now = self.alarm.now();
        let set = match &self.armed {
            Some((set, waker)) if *set > now && *set <= at => {
                if waker.will_wake(context.waker()) {
                    return Poll::Pending;
                }
                *set
            }
            _ => at,
        };
        let poll = self.alarm.poll(set, context);
        self.armed = poll.is_pending().then(|| (set, context.waker().clone()));
        if poll.is_ready() && self.alarm.now() < set {
            // Before its time: nobody turns the driver any more.
            self.last.get_or_insert(PullEnd::Closed);
        }
        poll
    }
}

/// Heartbeats and other words of the server that may be unread beside messages.
const WORDS: u64 = 4_096;

/// An inbox for so many messages that are asked for at a time. Of two requests, where the server has
/// taken one for given up, both may be there.
pub(super) fn pulled(client: &Client, messages: u64) -> Subscribe<String> {
    let room = messages.saturating_mul(2).saturating_add(WORDS);
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    client.subscribe(client.new_inbox()).capacity(room, usize::MAX)
}

/// The inbox of a request that is not the machine's any more.
struct GivenUp {
    inbox: Subscription,
    /// The server keeps it until the request ends, by then at the latest: what it counts as delivered
    /// it may still have to send. `None`: it is drained.
    until: Option<Instant>,
}

/// Inboxes that a reader keeps beside its own. Each is one message that may come with nobody to read it.
const MOST_HELD: usize = 8;

impl GivenUp {
    fn new(mut inbox: Subscription, until: Option<Instant>) -> Self {
        if until.is_none() {
            inbox.drain();
        }
        Self { inbox, until }
    }

    /// The request has ended, or is given up: what was sent comes.
    fn let_go(&mut self) {
        if self.until.take().is_some() {
            self.inbox.drain();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.withdraw();
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("machine", &self.machine).finish_non_exhaustive()
    }
}

enum Decision {
    /// Something was done, so all is to be looked at once more.
    Again,
    End(PullEnd),
    Wait(Option<Instant>),
}

/// Bytes of the header `Nats-Pin-Id` of a message, which the server adds behind its count: with the
/// lines around it, if there is no other.
fn pin_header(message: &Message, pin: &str) -> usize {
    let line = "Nats-Pin-Id: \r\n".len() + pin.len();
    let alone = message.headers().is_some_and(|headers| headers.iter().count() == 1);
    let added = if alone { line + "NATS/1.0\r\n\r\n".len() } else { line };
    added.min(message.size())
}

/// Whether a consumer exists; `None` when that is not said.
async fn exists(target: Arc<Target>) -> Option<bool> {
    let reply = target.client.request(&target.info, "").timeout(target.timeout).await.ok()?;
    match read_reply::<IgnoredAny>(reply.payload()) {
        Ok(_) => Some(true),
        Err(ReplyError::Api(error)) if is_missing(&error) => Some(false),
        Err(_) => None,
    }
}

/// Whether an error says that there is no such consumer, or no such stream.
pub(crate) fn is_missing(error: &ApiError) -> bool {
    matches!(error.err_code, ErrorCode::CONSUMER_NOT_FOUND | ErrorCode::STREAM_NOT_FOUND)
}
