//! What servers tell of JetStream on their own.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use midge_jetstream::Advisory;
use midge_proto::{AsSubject, Message, SubscribeError};

use super::JetStream;
use crate::Subscription;

/// A message that is no advisory that can be read.
#[derive(Debug, thiserror::Error)]
#[error("the message on {} is no advisory that is understood: {error}", message.subject())]
#[non_exhaustive]
pub struct AdvisoryError {
    /// The message.
    pub message: Message,
    /// What is wrong with it.
    pub error: serde_json::Error,
}

/// Advisories and metrics as they come, until the connection closes. It is a stream too.
///
/// They are messages as any other: none is kept for who is not there, and when too many are
/// unread they are dropped as [`Subscribe`](crate::Subscribe) says.
#[derive(Debug)]
pub struct Advisories {
    subscription: Subscription,
}

impl JetStream {
    /// Subscribes to advisories or metrics: [`event_subjects`](super::event_subjects) has the
    /// subjects.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`].
    ///
    /// ```no_run
    /// use midge::jetstream::{AdvisoryEvent, JetStream, event_subjects};
    ///
    /// # async fn example(jetstream: JetStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut advisories = jetstream.advisories(event_subjects::MAX_DELIVERIES).await?;
    /// while let Some(advisory) = advisories.next().await {
    ///     if let AdvisoryEvent::MaxDeliveries(message) = advisory?.event {
    ///         println!("nobody could handle {} of {}", message.stream_seq, message.stream);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn advisories(&self, subject: impl AsSubject) -> Result<Advisories, SubscribeError> {
        let subscription = self.client().subscribe(subject).await?;
        Ok(Advisories { subscription })
    }
}

impl Advisories {
    /// The next one; `None` once the connection has closed.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> NextAdvisory<'_> {
        NextAdvisory { advisories: self }
    }

    /// The subscription, to look at it or to end it.
    pub fn subscription(&mut self) -> &mut Subscription {
        &mut self.subscription
    }
}

impl Stream for Advisories {
    type Item = Result<Advisory, AdvisoryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(message) = ready!(self.subscription.poll_message(context)) else {
            return Poll::Ready(None);
        };
        let advisory = Advisory::read(message.payload());
        Poll::Ready(Some(advisory.map_err(|error| AdvisoryError { message, error })))
    }
}

/// The future of [`Advisories::next`]. Dropping it loses nothing.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextAdvisory<'a> {
    advisories: &'a mut Advisories,
}

impl Future for NextAdvisory<'_> {
    type Output = Option<Result<Advisory, AdvisoryError>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut *self.advisories).poll_next(context)
    }
}
