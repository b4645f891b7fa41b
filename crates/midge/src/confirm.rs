//! Waiting until the server has a subscription, or says that it is not permitted.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use midge_proto::wire::ServerError;
use midge_proto::{AsSubject, Instant, SubscribeError};

use crate::Subscription;
use crate::end::EndReason;
use crate::flush::{Flush, FlushError, Flushing};
use crate::queue::Queue;
use crate::shared::{Handle, lock};
use crate::subscribe::{Subscribe, Subscribing};

/// A subscription that the server does not have, or of which that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmError {
    /// It could not be made.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The server denies the subject or the queue group. The subscription has ended.
    #[error("{0}")]
    Denied(ServerError),
    /// The server has refused a subscription of this connection meanwhile, and does not say which:
    /// there are too many. It may be this one. One that was there before does not end by this, but
    /// may never get a message.
    #[error("the server has refused this subscription, or another one: {0}")]
    Refused(ServerError),
    /// The server did not answer within `flush_timeout`, or the connection closed. Unless it
    /// closed, a subscription that was there before goes on.
    #[error("the server has not confirmed the subscription: {0}")]
    Unconfirmed(FlushError),
}

/// The future of [`Subscription::confirmed`]. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Confirming {
    handle: Arc<Handle>,
    queue: Arc<Queue>,
    flushing: Flushing,
    deadline: Option<Instant>,
    /// How many subscriptions servers had refused before this one was made.
    refusals: u64,
}

impl Confirming {
    pub(crate) fn new(handle: Arc<Handle>, queue: Arc<Queue>) -> Self {
        let flushing = Flush::new(handle.clone()).into_future();
        let refusals = lock(&handle.shared.board).refusals().count();
        Self { handle, queue, flushing, deadline: None, refusals }
    }

    fn denied(&self) -> Option<ConfirmError> {
        match self.queue.end_reason()? {
            EndReason::Denied(error) => Some(ConfirmError::Denied(error)),
            _ => None,
        }
    }
}

impl Future for Confirming {
    type Output = Result<(), ConfirmError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let shared = &this.handle.shared;
        let deadline =
            *this.deadline.get_or_insert_with(|| shared.after(shared.settings.flush_timeout));
        loop {
            let flushed = ready!(Pin::new(&mut this.flushing).poll(context));
            if let Some(denied) = this.denied() {
                return Poll::Ready(Err(denied));
            }
            match flushed {
                Ok(_) => {
                    let refused = lock(&shared.board).refusals().since(this.refusals);
                    return Poll::Ready(refused.map_or(Ok(()), |e| Err(ConfirmError::Refused(e))));
                }
                // It is announced to the next server before this PING.
                Err(FlushError::Disconnected(_)) => {
                    let left = deadline.saturating_since(this.handle.shared.clock.now());
                    this.flushing = Flush::new(this.handle.clone()).timeout(left).into_future();
                }
                Err(error) => return Poll::Ready(Err(ConfirmError::Unconfirmed(error))),
            }
        }
    }
}

/// A subscription that is about to be made, and confirmed by the server. Made by
/// [`Subscribe::confirmed`].
#[derive(Debug)]
#[must_use = "nothing is subscribed to until `.await`"]
pub struct SubscribeConfirmed<S> {
    subscribe: Subscribe<S>,
}

impl<S: AsSubject> SubscribeConfirmed<S> {
    pub(crate) fn new(subscribe: Subscribe<S>) -> Self {
        Self { subscribe }
    }
}

impl<S: AsSubject> IntoFuture for SubscribeConfirmed<S> {
    type Output = Result<Subscription, ConfirmError>;
    type IntoFuture = SubscribingConfirmed<S>;

    fn into_future(self) -> Self::IntoFuture {
        let refusals = lock(&self.subscribe.client().shared().board).refusals().count();
        SubscribingConfirmed { subscribing: self.subscribe.into_future(), refusals, made: None }
    }
}

/// The future of a [`SubscribeConfirmed`]. Dropped before it is ready, or when it fails, the
/// subscription is ended.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct SubscribingConfirmed<S> {
    subscribing: Subscribing<S>,
    /// How many subscriptions servers had refused before it is made.
    refusals: u64,
    made: Option<(Subscription, Confirming)>,
}

impl<S: AsSubject> Future for SubscribingConfirmed<S> {
    type Output = Result<Subscription, ConfirmError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.made.is_none() {
            let subscription = ready!(Pin::new(&mut this.subscribing).poll(context))?;
            let mut confirming = subscription.confirmed();
            confirming.refusals = this.refusals;
            this.made = Some((subscription, confirming));
        }
        let (_, confirming) = this.made.as_mut().expect("it was made above");
        let confirmed = ready!(Pin::new(confirming).poll(context));
        let (subscription, _) = this.made.take().expect("it was made above");
        Poll::Ready(confirmed.map(|()| subscription))
    }
}
