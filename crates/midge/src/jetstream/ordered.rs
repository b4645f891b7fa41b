//! A stream in order and without gaps.

mod beginning;
mod builder;
mod creation;
mod stopping;

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;
use midge_jetstream::{
    Action, ApiError, ConsumerConfig, ConsumerInfo, CreateConsumerRequest, Created, DeliverPolicy,
    DeliveryNumbers, DeliveryReader, NameError, Notice, OrderedEnd, OrderedMachine, OrderedOutput,
    PullConfigError, PullRequest, ReplyError, StatusKind, StatusMessage, StreamInfo, StreamName,
    StreamNow, Verdict, read_reply,
};
use midge_proto::{Instant, Message, PublishError, RequestError, Subject, SubjectRef};

pub use self::builder::OrderedBuilder;
use self::creation::Creation;
use self::stopping::Stopping;
use super::JetStream;
use super::consumers::add_filter;
use super::message::JetMessage;
use super::push::FLOW;
use super::reader::{is_missing, pulled};
use crate::alarm::{Alarm, Changes};
use crate::{Client, EndReason, State, Subscription};

/// Consumers that wait to be deleted; the machine keeps no more in mind.
const DELETES: usize = 16;

type OnNotice = Box<dyn FnMut(Notice) + Send>;
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Numbered = (Message, DeliveryNumbers);

/// Why an ordered consumer could not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OrderedError {
    /// The stream, or its consumers, cannot have such a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The options contradict each other.
    #[error(transparent)]
    Config(#[from] PullConfigError),
    /// The server refused the consumer.
    #[error("the server refused the consumer: {0}")]
    Refused(ApiError),
    /// The server did not answer in time, or there was no connection.
    #[error("the server did not answer when the consumer was to be made: {0}")]
    Unanswered(RequestError),
    /// The answer was not understood.
    #[error("the answer when the consumer was to be made: {0}")]
    Malformed(ReplyError),
    /// It ended before it began.
    #[error(transparent)]
    Ended(OrderedEnd),
}

/// The messages of a stream in order, each once, whatever happens to connections, servers and
/// consumers.
///
/// Where its consumer is lost, it makes another one behind the last message that it gave, for as long
/// as it takes; [`on_notice`](OrderedBuilder::on_notice) hears of it. It ends when it is stopped,
/// when the connection closes, and when the stream does not exist any more, which is the last item,
/// as an error.
///
/// It progresses while it is polled: who does not read for longer than two heartbeats and what the
/// server has sent before finds its consumer lost, and goes on with another one. Dropping it
/// deletes its consumer.
pub struct Ordered {
    js: JetStream,
    stream: StreamName,
    prefix: String,
    config: ConsumerConfig,
    machine: OrderedMachine,
    pushes: bool,
    /// The messages that are asked for at a time.
    pulls: u64,
    inbox: Option<Subscription>,
    /// Where the present consumer is asked for messages.
    next: Option<Subject>,
    creating: Option<Boxed<Result<(Created, u64), NotMade>>>,
    deleting: Option<Boxed<(u64, bool)>>,
    deletes: VecDeque<u64>,
    /// Why the first consumer was not made.
    failure: Option<OrderedError>,
    begun: bool,
    creation: Option<Creation>,
    by_subject_again: bool,
    stopping: Stopping,
    changes: Changes,
    alarm: Alarm,
    armed: Option<(Instant, Waker)>,
    /// When the queue was last found empty.
    now: Instant,
    /// When the server last said something that is no message.
    heard: Instant,
    buffer: Vec<u8>,
    numbers: DeliveryReader,
    on_notice: Option<OnNotice>,
}

impl Ordered {
    /// The next message; `None` after the last one. Dropping the future loses no message.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<JetMessage, OrderedEnd>>> + Send {
        poll_fn(|context| self.poll_message(context))
    }

    /// Why it has ended, once it has.
    #[must_use]
    pub fn end(&self) -> Option<&OrderedEnd> {
        self.machine.end()
    }

    /// The sequence in the stream of the last message that was given, or of the one before the
    /// first; `None` while that is not known.
    #[must_use]
    pub fn last_sequence(&self) -> Option<u64> {
        self.machine.cursor()
    }

    fn poll_message(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<JetMessage, OrderedEnd>>> {
        let next = ready!(self.poll_numbered(context));
        Poll::Ready(next.map(|next| {
            next.map(|(message, _)| JetMessage::new(message, self.js.client().clone()))
        }))
    }

    /// The next message, with the numbers that it was put in order by.
    pub(crate) fn poll_numbered(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Numbered, OrderedEnd>>> {
        loop {
            self.heed();
            if let Some(end) = self.machine.end() {
                let told = std::mem::replace(&mut self.begun, false);
                let error = (told && !matches!(end, OrderedEnd::Stopped)).then(|| end.clone());
                self.inbox = None;
                self.finish(OrderedEnd::Stopped);
                return Poll::Ready(error.map(Err));
            }
            if let Some(message) = self.poll_inbox(context) {
                if self.machine.has_work() && !self.stopping.draining {
                    self.decide();
                }
                return Poll::Ready(Some(Ok(message)));
            }
            if self.machine.end().is_some() {
                continue;
            }
            // What is drained has only its inbox to wait for.
            let waits = self.stopping.draining || !self.work(context);
            if waits && self.stopping.wait(context) {
                return Poll::Pending;
            }
        }
    }

    // ---- what comes ----------------------------------------------------------------------

    #[inline]
    fn poll_inbox(&mut self, context: &Context<'_>) -> Option<Numbered> {
        if self.creating.is_some() {
            // The server pushes before it answers.
            return None;
        }
        loop {
            let inbox = self.inbox.as_mut()?;
            let message = match inbox.poll_message(context) {
                Poll::Pending => return None,
                Poll::Ready(Some(message)) => message,
                Poll::Ready(None) => {
                    let end = inbox.end();
                    self.inbox = None;
                    match end {
                        _ if self.stopping.draining => self.stop(),
                        Some(EndReason::Drained | EndReason::Unsubscribed) => self.stop(),
                        Some(EndReason::Closed) => self.finish(OrderedEnd::Closed),
                        _ => self.machine.inbox_lost(self.now),
                    }
                    return None;
                }
            };
            let Some(numbers) = self.numbers.read(&message) else {
                self.said(&message);
                continue;
            };
            let (consumer, stream) = (numbers.consumer_sequence, numbers.stream_sequence);
            let (stored, size) = (numbers.timestamp, message.size());
            if self.machine.message(consumer, stream, stored, size, self.now) == Verdict::Deliver {
                return Some((message, numbers));
            }
            if self.machine.has_work() && !self.stopping.draining {
                return None;
            }
        }
    }

    fn said(&mut self, message: &Message) {
        let Some(status) = StatusMessage::of(message) else { return };
        self.now = self.alarm.now();
        self.heard = self.now;
        match (status.kind, message.reply_bytes()) {
            (StatusKind::FlowControl, Some(reply)) => {
                answer_flow_control(self.js.client(), reply);
            }
            (StatusKind::IdleHeartbeat, _) => {
                if let Some(reply) = status.stalled() {
                    answer_flow_control(self.js.client(), reply.as_bytes());
                }
            }
            _ => {}
        }
        self.machine.status(&status, self.now);
    }

    fn changed(&mut self, state: &State) {
        match state {
            State::Connected { .. } => self.machine.connected(self.now),
            State::Connecting | State::Reconnecting { .. } => self.machine.disconnected(),
            // The inbox ends by itself, once it is read out.
            State::Draining | State::Closed { .. } if self.inbox.is_some() => {}
            State::Draining | State::Closed { .. } => self.machine.stop(OrderedEnd::Closed),
        }
    }

    // ---- what to do ----------------------------------------------------------------------

    /// Does what can be done with nothing to read; false when it waits.
    fn work(&mut self, context: &mut Context<'_>) -> bool {
        self.now = self.alarm.now();
        while let Poll::Ready(state) = self.changes.poll(context) {
            self.changed(&state);
        }
        let mut acted = self.poll_calls(context);
        let (decided, wait) = self.decide();
        acted |= decided;
        acted |= self.deleting.is_none() && !self.deletes.is_empty();
        if acted {
            return true;
        }
        wait.is_some_and(|at| self.poll_alarm(at, context).is_ready())
    }

    fn poll_calls(&mut self, context: &mut Context<'_>) -> bool {
        let mut acted = false;
        if let Some(creating) = &mut self.creating
            && let Poll::Ready(result) = creating.as_mut().poll(context)
        {
            self.creating = None;
            acted = true;
            match result {
                Ok((created, pending)) => {
                    let again = std::mem::replace(&mut self.begun, true);
                    let serial = self.machine.serial();
                    self.heard = self.now;
                    self.machine.created(created, self.now);
                    if again && let Some(function) = &mut self.on_notice {
                        function(Notice::Recreated(format!("{}_{serial}", self.prefix)));
                    }
                    if self.machine.serial() == serial {
                        if pending == 0 {
                            self.machine.all_is_new();
                        }
                        let last = created.stream.map_or(u64::MAX, |stream| stream.last);
                        self.creation = Some(Creation { serial, pending, last });
                    }
                }
                Err(NotMade { error, may_exist }) => {
                    match &error {
                        OrderedError::Refused(error) if !may_exist => {
                            self.machine.not_created(Some(error.clone()), self.now);
                        }
                        OrderedError::Unanswered(RequestError::NoResponders) if !may_exist => {
                            self.machine.nobody_heard(self.now);
                        }
                        _ => self.machine.not_created(None, self.now),
                    }
                    self.failure = (!self.begun).then_some(error);
                }
            }
        }
        if self.deleting.is_none()
            && let Some(serial) = self.deletes.pop_front()
        {
            let request = self.js.client().request(self.subject("DELETE", serial), "");
            let request = request.timeout(self.js.timeout()).into_future();
            self.deleting = Some(Box::pin(async move { (serial, is_gone(request.await)) }));
        }
        if let Some(deleting) = &mut self.deleting
            && let Poll::Ready((serial, gone)) = deleting.as_mut().poll(context)
        {
            self.deleting = None;
            self.machine.deleted(serial, gone, self.now);
            acted = true;
        }
        acted
    }

    /// What the machine wants, until it waits: whether there was something, and the wait.
    fn decide(&mut self) -> (bool, Option<Instant>) {
        self.now = self.alarm.now();
        let mut acted = false;
        loop {
            match self.machine.poll(self.now) {
                OrderedOutput::Wait(until) => return (acted, until),
                OrderedOutput::End(_) => return (true, None),
                OrderedOutput::Create { serial, from } => self.create(serial, from),
                OrderedOutput::Delete { serial } => self.delete(serial),
                OrderedOutput::Pull(request) => {
                    if !self.ask(&request) {
                        self.machine.not_sent(self.now);
                    }
                }
                OrderedOutput::Notice(notice) => {
                    if let Some(function) = &mut self.on_notice {
                        function(notice);
                    }
                }
            }
            acted = true;
        }
    }

    /// Asks for it behind others; of too many, the oldest has to wait.
    fn delete(&mut self, serial: u64) {
        self.deletes.push_back(serial);
        if self.deletes.len() > DELETES
            && let Some(oldest) = self.deletes.pop_front()
        {
            self.machine.deleted(oldest, false, self.now);
        }
    }

    fn name(&self, serial: u64) -> String {
        format!("{}_{serial}", self.prefix)
    }

    fn subject(&self, call: &str, serial: u64) -> String {
        let name = self.name(serial);
        self.js.api_prefix().subject(&format!("CONSUMER.{call}.{}.{name}", self.stream))
    }

    fn create(&mut self, serial: u64, from: Option<u64>) {
        // What comes for the one before is not wanted.
        self.inbox = None;
        let client = self.js.client();
        let inbox = match self.pushes {
            true => client.subscribe(client.new_inbox()).capacity(FLOW.messages, FLOW.bytes),
            false => pulled(client, self.pulls),
        };
        let inbox = inbox.try_subscribe();
        let next = Subject::new(&self.subject("MSG.NEXT", serial));
        let (Ok(inbox), Ok(next)) = (inbox, next) else {
            self.machine.not_created(None, self.now);
            return;
        };
        let mut config = self.config.clone();
        config.name = Some(self.name(serial));
        if let Some(from) = from.filter(|_| !self.by_subject_again) {
            config.deliver_policy = DeliverPolicy::ByStartSequence(from);
        }
        if self.pushes {
            config.deliver_subject = Some(inbox.subject().as_str().to_owned());
        }
        self.inbox = Some(inbox);
        self.next = Some(next);
        let mut create = self.subject("CREATE", serial);
        add_filter(&mut create, &config);
        let info = self.js.api_prefix().subject(&format!("STREAM.INFO.{}", self.stream));
        let (js, stream) = (self.js.clone(), self.stream.to_string());
        self.creating = Some(Box::pin(make(js, create, info, stream, config)));
    }

    /// Sends a request; false when that cannot be.
    fn ask(&mut self, request: &PullRequest) -> bool {
        let (Some(inbox), Some(next)) = (&self.inbox, &self.next) else { return false };
        self.buffer.clear();
        self.machine.write_request(request, &mut self.buffer);
        let (subject, reply) = (next.borrowed(), inbox.subject().borrowed());
        let payload = &self.buffer;
        self.js.client().shared().command(|inner| {
            let connection = &mut inner.connection;
            connection.is_connected()
                && connection.publish_request(subject, reply, None, payload).is_ok()
        })
    }

    fn poll_alarm(&mut self, at: Instant, context: &Context<'_>) -> Poll<()> {
        let set = match &self.armed {
            Some((set, waker)) if *set > self.now && *set <= at => {
                if waker.will_wake(context.waker()) {
                    return Poll::Pending;
                }
                *set
            }
            _ => at,
        };
        let poll = self.alarm.poll(set, context);
        self.armed = poll.is_pending().then(|| (set, context.waker().clone()));
        poll
    }

    /// Ends it, and has its consumers deleted by requests that nobody waits for.
    fn finish(&mut self, end: OrderedEnd) {
        self.machine.stop(end);
        self.stopping.ended();
        self.inbox = None;
        self.creating = None;
        while let OrderedOutput::Delete { serial } | OrderedOutput::Create { serial, .. } =
            self.machine.poll(self.now)
        {
            self.deletes.push_back(serial);
        }
        let client = self.js.client();
        while let Some(serial) = self.deletes.pop_front() {
            let (subject, inbox) = (self.subject("DELETE", serial), client.new_inbox());
            // The server removes by itself what this does not reach.
            let _: Result<_, PublishError> =
                client.publish(subject, "").reply(inbox.as_str()).try_send();
        }
    }
}

impl Drop for Ordered {
    fn drop(&mut self) {
        self.finish(OrderedEnd::Stopped);
    }
}

impl Stream for Ordered {
    type Item = Result<JetMessage, OrderedEnd>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_message(context)
    }
}

impl fmt::Debug for Ordered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ordered")
            .field("stream", &self.stream)
            .field("machine", &self.machine)
            .finish_non_exhaustive()
    }
}

/// Why a consumer cannot be read.
struct NotMade {
    error: OrderedError,
    /// The server has said that it is there.
    may_exist: bool,
}

/// Makes a consumer, and asks what its stream is now: also how many messages wait for it.
async fn make(
    js: JetStream,
    create: String,
    info: String,
    stream: String,
    config: ConsumerConfig,
) -> Result<(Created, u64), NotMade> {
    let failed = |may_exist| move |error| NotMade { error, may_exist };
    let action = Action::CreateOrUpdate;
    let request = CreateConsumerRequest { stream_name: stream, config, action, pedantic: false };
    let request =
        serde_json::to_vec(&request).map_err(|error| OrderedError::Malformed(error.into()));
    let request = request.map_err(failed(false))?;
    let made: ConsumerInfo = call(&js, &create, request).await.map_err(failed(false))?;
    let stream = match call::<StreamInfo>(&js, &info, Vec::new()).await {
        Ok(stream) => Some(now_of(&stream)),
        Err(OrderedError::Unanswered(RequestError::Permission(_))) => None,
        Err(error) => return Err(failed(true)(error)),
    };
    Ok((Created { before: made.delivered.stream, stream }, made.num_pending))
}

fn now_of(stream: &StreamInfo) -> StreamNow {
    let state = &stream.state;
    StreamNow {
        first: state.first_seq,
        first_time: state.first_time.filter(|_| state.messages > 0),
        last: state.last_seq,
        last_time: state.last_time,
        created: stream.created,
        now: stream.timestamp,
    }
}

/// Whether a consumer is not there, by the answer to a request to delete it.
fn is_gone(answer: Result<Message, RequestError>) -> bool {
    match answer.map(|reply| read_reply::<serde::de::IgnoredAny>(reply.payload())) {
        Ok(Ok(_)) => true,
        Ok(Err(ReplyError::Api(error))) => is_missing(&error),
        _ => false,
    }
}

async fn call<T: serde::de::DeserializeOwned>(
    js: &JetStream,
    subject: &str,
    request: Vec<u8>,
) -> Result<T, OrderedError> {
    let request = js.client().request(subject, request).timeout(js.timeout());
    let reply = request.await.map_err(OrderedError::Unanswered)?;
    read_reply(reply.payload()).map_err(|error| match error {
        ReplyError::Api(error) => OrderedError::Refused(error),
        error => OrderedError::Malformed(error),
    })
}

/// Lets a push consumer go on. An answer that waits for another connection would be of no use, so it
/// goes as a request does.
pub(crate) fn answer_flow_control(client: &Client, reply: &[u8]) {
    let Ok(subject) = SubjectRef::from_bytes(reply) else { return };
    client.shared().command(|inner| {
        let connection = &mut inner.connection;
        if connection.is_connected() {
            // Whoever gets it does not look at the reply.
            drop(connection.publish_request(subject, subject, None, b""));
        }
    });
}
