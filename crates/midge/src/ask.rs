//! Requests with an inbox of their own: subscribing to it, and publishing behind that.

use std::task::{Context, Poll, ready};

use midge_proto::{
    AsSubject, HeaderMap, Instant, Message, NotSent, PublishError, RequestError, Sid, Subject,
    SubjectRef, SubscribeError,
};

use crate::room::{Room, RoomWait};
use crate::router::Asked;
use crate::shared::{Inner, lock};
use crate::subscribe::Plan;
use crate::timers::Owner;
use crate::{Client, Subscription};

/// The sending of one request.
#[derive(Debug)]
pub(crate) struct Asking {
    client: Client,
    /// The reply subject; a fresh inbox when none is given.
    reply: Option<Subject>,
    /// Replies after which the inbox ends.
    max: Option<u64>,
    deadline: Instant,
    plan: Option<Plan>,
    inbox: Option<Subscription>,
    control: RoomWait,
    messages: RoomWait,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) subject: SubjectRef<'a>,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) payload: &'a [u8],
}

/// A reply subject that a caller gives.
pub(crate) fn checked_reply(reply: &(impl AsSubject + ?Sized)) -> Result<Subject, PublishError> {
    let reply = reply.as_subject().map_err(PublishError::Reply)?;
    if reply.has_wildcards() { Err(PublishError::Wildcard) } else { Ok(reply.to_subject()) }
}

impl Asking {
    pub(crate) fn new(
        client: Client,
        reply: Option<Subject>,
        max: Option<u64>,
        deadline: Instant,
    ) -> Self {
        let control = RoomWait::until(Room::Control, deadline);
        let messages = RoomWait::until(Room::Messages, deadline);
        Self { client, reply, max, deadline, plan: None, inbox: None, control, messages }
    }

    /// Ready with the inbox once the request is queued.
    pub(crate) fn poll(
        &mut self,
        question: Question<'_>,
        context: &Context<'_>,
    ) -> Poll<Result<Subscription, RequestError>> {
        if question.subject.has_wildcards() {
            return Poll::Ready(Err(PublishError::Wildcard.into()));
        }
        if self.inbox.is_none() {
            self.inbox = Some(ready!(self.poll_subscribe(context))?);
        }
        ready!(self.poll_publish(question, context))?;
        Poll::Ready(self.inbox.take().ok_or(RequestError::Unknown))
    }

    fn poll_subscribe(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Result<Subscription, RequestError>> {
        let shared = self.client.shared();
        let (max, reply) = (self.max, &mut self.reply);
        let plan = self.plan.get_or_insert_with(|| {
            let inbox = reply.take().unwrap_or_else(|| {
                let inbox = lock(&shared.inner).connection.new_inbox();
                Subject::try_from(inbox).expect("an inbox is a checked prefix and a token")
            });
            Plan::inbox(inbox, shared.settings.limits, max)
        });
        let made = shared.poll_with_room(
            &mut self.control,
            context,
            |error| *error == SubscribeError::Full,
            |inner| plan.make(shared, inner),
        );
        Poll::Ready(match ready!(made) {
            Ok(sid) => Ok(Subscription::new(plan.made(self.client.handle().clone(), sid))),
            Err(SubscribeError::Draining) => Err(RequestError::NotSent(NotSent::Draining)),
            Err(error) => Err(error.into()),
        })
    }

    fn poll_publish(
        &mut self,
        question: Question<'_>,
        context: &Context<'_>,
    ) -> Poll<Result<(), RequestError>> {
        let Some(inbox) = &self.inbox else { return Poll::Pending };
        let (sid, reply, deadline) = (inbox.sid(), inbox.subject().borrowed(), self.deadline);
        let waits = |error: &RequestError| *error == RequestError::Publish(PublishError::Full);
        self.client.shared().poll_with_room(&mut self.messages, context, waits, |inner| {
            inner.ask(sid, reply, question, deadline)
        })
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let shared = self.client.shared();
        self.control.abandon(shared);
        self.messages.abandon(shared);
    }
}

impl Inner {
    fn ask(
        &mut self,
        sid: Sid,
        reply: SubjectRef<'_>,
        question: Question<'_>,
        deadline: Instant,
    ) -> Result<(), RequestError> {
        let Question { subject, headers, payload } = question;
        if self.connection.is_draining() {
            return Err(RequestError::NotSent(NotSent::Draining));
        }
        if self.connection.is_closed() {
            return Err(RequestError::NotSent(NotSent::Closed));
        }
        let Some(slot) = self.router.slots.get_mut(sid) else {
            return Err(RequestError::Unknown);
        };
        let position = self.connection.publish_request(subject, reply, headers, payload)?;
        slot.extra().asked = Some(Asked { subject: subject.to_subject(), position });
        slot.extra().deadline = Some(self.timers.start(Owner::Deadline(sid), deadline));
        self.inboxes.insert(sid.number(), sid);
        Ok(())
    }

    /// Requests to `subject` will name this inbox, which ends when the server denies one.
    #[cfg(feature = "jetstream")]
    pub(crate) fn pulls(&mut self, sid: Sid, subject: &Subject) {
        if let Some(slot) = self.router.slots.get_mut(sid) {
            slot.extra().pulled = Some(subject.clone());
            self.inboxes.insert(sid.number(), sid);
        }
    }
}

/// Whether a message on an inbox is the server's word that nobody subscribes to the subject.
pub(crate) fn is_no_responders(message: &Message) -> bool {
    message.payload().is_empty() && message.status().is_some_and(|status| status.code == 503)
}
