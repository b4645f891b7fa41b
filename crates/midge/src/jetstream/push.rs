//! Messages that a consumer pushes.

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use midge_jetstream::{
    AckPolicy, ApiError, ConsumerInfo, ConsumerName, NameError, Notice, PushMachine, PushOutput,
    ReplyError, StatusKind, StatusMessage, StreamName, read_reply,
};
use midge_proto::{RequestError, SubscribeError};

use super::JetStream;
use super::message::JetMessage;
use super::ordered::answer_flow_control;
use super::pull::seed;
use super::reader::{Target, is_missing};
use crate::alarm::{Alarm, Changes};
use crate::queue::Limits;
use crate::{Client, EndReason, State, Subscribe, Subscription};

type OnNotice = Box<dyn FnMut(Notice) + Send>;

/// Messages and bytes, more than a server sends ahead of the answers to its flow control: at most 32 MiB
/// of subjects, headers and payloads.
pub(super) const FLOW: Limits = Limits { messages: 8 << 20, bytes: 512 << 20 };
/// What may be unread beside messages that wait for their acks.
const WORDS: usize = 4_096;

/// Why a push consumer cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// The stream or the consumer cannot have such a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The server did not say where the consumer pushes to.
    #[error("the server did not say where the consumer pushes to: {0}")]
    Unanswered(RequestError),
    /// The server refused to say where the consumer pushes to.
    #[error("the server did not say where the consumer pushes to: {0}")]
    Refused(ApiError),
    /// The answer was not understood.
    #[error("what the server said of the consumer: {0}")]
    Malformed(ReplyError),
    /// It is a pull consumer.
    #[error("the consumer does not push: read it with `JetStream::consumer`")]
    Pull,
    /// Its subject could not be subscribed to.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
}

/// Why a push consumer gives nothing more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushEnd {
    /// It was stopped or drained.
    #[error("consuming was stopped")]
    Stopped,
    /// The consumer, or its stream, does not exist any more.
    #[error("the consumer does not exist any more")]
    Gone,
    /// The consumer of this name is one that is pulled now.
    #[error("the consumer does not push any more: read it with `JetStream::consumer`")]
    Pull,
    /// The server denies its subject, or the queue group.
    #[error("the server denies the consumer's subject: {0}")]
    Denied(String),
    /// The connection was closed.
    #[error("the connection was closed")]
    Closed,
}

impl JetStream {
    /// Reads a consumer that pushes, by its name. `.await` asks the server where it pushes to, and
    /// subscribes there, as a member of its queue group if it has one.
    pub fn push_consumer(&self, stream: &str, name: &str) -> PushBuilder {
        let names = StreamName::new(stream).and_then(|it| Ok((it, ConsumerName::new(name)?)));
        PushBuilder { js: self.clone(), names, on_notice: None }
    }
}

/// A push consumer that is about to be read. Made by [`JetStream::push_consumer`].
#[must_use = "nothing is read until `.await`"]
pub struct PushBuilder {
    js: JetStream,
    names: Result<(StreamName, ConsumerName), NameError>,
    on_notice: Option<OnNotice>,
}

impl PushBuilder {
    /// Calls `function` with what was noticed, while the stream is polled.
    pub fn on_notice(mut self, function: impl FnMut(Notice) + Send + 'static) -> Self {
        self.on_notice = Some(Box::new(function));
        self
    }

    async fn begin(self) -> Result<Push, PushError> {
        let (stream, name) = self.names?;
        let target = Arc::new(self.js.target(&stream, &name));
        let client = &target.client;
        let request = client.request(&target.info, "").timeout(target.timeout);
        let reply = request.await.map_err(PushError::Unanswered)?;
        let info = read_reply::<ConsumerInfo>(reply.payload()).map_err(|error| match error {
            ReplyError::Api(error) => PushError::Refused(error),
            error => PushError::Malformed(error),
        })?;
        let bound = Bound::of(info).ok_or(PushError::Pull)?;
        let inbox = bound.subscribe(client).await?;
        let shared = client.handle().shared.clone();
        let (changes, state) = Changes::new(shared.clone());
        let mut push = Push {
            machine: PushMachine::new(bound.heartbeat, seed(client)).of_group(bound.is_shared()),
            target,
            bound,
            inbox: Some(inbox),
            dropped: 0,
            changes,
            alarm: Alarm::new(shared),
            check: None,
            found: None,
            draining: false,
            on_notice: self.on_notice,
            end: None,
        };
        push.changed(&state);
        Ok(push)
    }
}

impl IntoFuture for PushBuilder {
    type Output = Result<Push, PushError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.begin())
    }
}

impl fmt::Debug for PushBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushBuilder").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Where a consumer pushes to, and what is heard there.
#[derive(Debug, PartialEq, Eq)]
struct Bound {
    subject: String,
    group: Option<String>,
    heartbeat: Option<Duration>,
    /// What may be unread, if the consumer says what the server sends ahead.
    room: Option<Limits>,
}

impl Bound {
    /// `None` when the consumer is pulled.
    fn of(info: ConsumerInfo) -> Option<Self> {
        let config = info.config;
        let (group, heartbeat) = (config.deliver_group, config.idle_heartbeat);
        let unacked = config.max_ack_pending.filter(|_| config.ack_policy != AckPolicy::None);
        let room = match unacked {
            _ if config.flow_control => Some(FLOW),
            Some(most @ 1..) => {
                let most = usize::try_from(most).unwrap_or(usize::MAX);
                Some(Limits { messages: most.saturating_add(WORDS), bytes: usize::MAX })
            }
            _ => None,
        };
        config.deliver_subject.map(|subject| Self { subject, group, heartbeat, room })
    }

    fn is_shared(&self) -> bool {
        self.group.is_some()
    }

    fn subscribe(&self, client: &Client) -> Subscribe<String> {
        let subscribe = client.subscribe(self.subject.clone());
        let subscribe = match self.room {
            Some(room) => subscribe.capacity(room.messages, room.bytes),
            None => subscribe,
        };
        match &self.group {
            Some(group) => subscribe.queue(group),
            None => subscribe,
        }
    }
}

/// What the server says of a consumer that is not heard.
enum Found {
    /// Nobody says it.
    Unknown,
    Missing,
    /// `None`: it is pulled.
    There(Option<Bound>),
}

async fn look(target: Arc<Target>) -> Found {
    let request = target.client.request(&target.info, "").timeout(target.timeout);
    let Ok(reply) = request.await else { return Found::Unknown };
    match read_reply::<ConsumerInfo>(reply.payload()) {
        Ok(info) => Found::There(Bound::of(info)),
        Err(ReplyError::Api(error)) if is_missing(&error) => Found::Missing,
        Err(_) => Found::Unknown,
    }
}

/// The messages of a consumer that pushes.
///
/// Give the consumer flow control, which is answered when the reader gets there, or a limit of messages
/// that are not acked: then there is room for all that the server sends ahead. Without either a slow
/// reader has the room of a subscription, see
/// [`subscription_capacity`](crate::ConnectOptions::subscription_capacity). What goes beyond, such as
/// what is delivered again while nobody reads, is treated as [`WhenFull::Hold`](crate::WhenFull::Hold)
/// says, and [counted](Self::dropped).
///
/// It survives the loss of the connection. It ends when it is stopped or drained, and when the connection
/// closes; what nobody asked for is the last item, as an error. It progresses while it is polled.
///
/// If the consumer has heartbeats, it is looked for when they are missed: one that pushes to another
/// subject by then is read there, and one that does not exist any more, or is pulled, ends it.
pub struct Push {
    machine: PushMachine,
    target: Arc<Target>,
    bound: Bound,
    inbox: Option<Subscription>,
    /// By the inboxes before.
    dropped: u64,
    changes: Changes,
    alarm: Alarm,
    check: Option<Pin<Box<dyn Future<Output = Found> + Send>>>,
    /// The answer, until what came before it is read.
    found: Option<Found>,
    draining: bool,
    on_notice: Option<OnNotice>,
    end: Option<PushEnd>,
}

impl Push {
    /// The next message; `None` after the last one. Dropping the future loses no message.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<JetMessage, PushEnd>>> + Send {
        poll_fn(|context| self.poll_message(context))
    }

    /// Ends it at once. What came and was not read is delivered again after `ack_wait`.
    pub fn stop(&mut self) {
        self.leave();
        self.end.get_or_insert(PushEnd::Stopped);
    }

    /// Lets the server send nothing more: what it has sent comes, and then `None`.
    pub fn drain(&mut self) {
        self.draining = true;
        if let Some(inbox) = &mut self.inbox {
            inbox.drain();
        }
    }

    /// Why it has ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<&PushEnd> {
        self.end.as_ref()
    }

    /// Messages that were dropped because too many were unread.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped + self.inbox.as_ref().map_or(0, Subscription::dropped)
    }

    fn leave(&mut self) {
        self.dropped = self.dropped();
        self.inbox = None;
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<JetMessage, PushEnd>>> {
        loop {
            let Some(inbox) = &mut self.inbox else { return Poll::Ready(None) };
            match inbox.poll_message(context) {
                Poll::Ready(Some(message)) => {
                    self.machine.heard();
                    let Some(status) = StatusMessage::of(&message) else {
                        let client = self.target.client.clone();
                        return Poll::Ready(Some(Ok(JetMessage::new(message, client))));
                    };
                    let reply = match status.kind {
                        StatusKind::FlowControl => message.reply_bytes(),
                        _ => status.stalled().map(str::as_bytes),
                    };
                    if let Some(reply) = reply {
                        answer_flow_control(&self.target.client, reply);
                    }
                    continue;
                }
                Poll::Ready(None) => {
                    let end = match inbox.end() {
                        Some(EndReason::Denied(error)) => PushEnd::Denied(error.to_string()),
                        Some(EndReason::Closed) => PushEnd::Closed,
                        _ => PushEnd::Stopped,
                    };
                    return Poll::Ready(self.finish(end));
                }
                Poll::Pending => {}
            }
            while let Poll::Ready(state) = self.changes.poll(context) {
                self.changed(&state);
            }
            if let Some(found) = self.found.take() {
                if matches!(found, Found::There(None)) && !self.draining {
                    return Poll::Ready(self.finish(PushEnd::Pull));
                }
                self.looked(found);
                continue;
            }
            if let Some(check) = &mut self.check
                && let Poll::Ready(found) = check.as_mut().poll(context)
            {
                self.check = None;
                self.found = Some(found);
                continue;
            }
            match self.machine.poll(self.alarm.now()) {
                PushOutput::Check => self.check = Some(Box::pin(look(self.target.clone()))),
                PushOutput::Gone => return Poll::Ready(self.finish(PushEnd::Gone)),
                PushOutput::Notice(notice) => {
                    if let Some(function) = &mut self.on_notice {
                        function(notice);
                    }
                }
                PushOutput::Wait(None) => return Poll::Pending,
                PushOutput::Wait(Some(at)) => {
                    if self.alarm.poll(at, context).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// The server has said what there is, and all that came before is read.
    fn looked(&mut self, found: Found) {
        let exists = match &found {
            Found::Unknown => None,
            Found::Missing => Some(false),
            Found::There(_) => Some(true),
        };
        self.machine.checked(exists, self.alarm.now());
        let Found::There(Some(bound)) = found else { return };
        if bound == self.bound || self.draining {
            return;
        }
        if (&bound.subject, &bound.group) != (&self.bound.subject, &self.bound.group) {
            let Ok(inbox) = bound.subscribe(&self.target.client).try_subscribe() else { return };
            self.leave();
            self.inbox = Some(inbox);
            if let Some(function) = &mut self.on_notice {
                function(Notice::Redirected(bound.subject.clone()));
            }
        }
        self.machine.changed(bound.heartbeat, bound.is_shared());
        self.bound = bound;
    }

    fn finish(&mut self, end: PushEnd) -> Option<Result<JetMessage, PushEnd>> {
        self.leave();
        let error = (end != PushEnd::Stopped).then(|| end.clone());
        self.end.get_or_insert(end);
        error.map(Err)
    }

    fn changed(&mut self, state: &State) {
        match state {
            State::Connected { .. } => self.machine.connected(),
            // The inbox ends by itself in the end.
            _ => self.machine.disconnected(),
        }
    }
}

impl Stream for Push {
    type Item = Result<JetMessage, PushEnd>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(context)
    }
}

impl fmt::Debug for Push {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Push").field("end", &self.end).finish_non_exhaustive()
    }
}
