//! One message on its way into a publisher's window.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use midge_jetstream::{PublishHeaders, PublishHeadersError};
use midge_proto::{AsSubject, HeaderMap, Instant, PublishError};

use super::{Publisher, PublisherError};
use crate::jetstream::headers::header_options;
use crate::jetstream::level::Gate;

impl Publisher {
    /// Publishes a message, once there is room for it in the window.
    ///
    /// `.await` gives `Result<u64, PublisherError>`: the number of the message, from 1 on, by which
    /// reports name it. The message is not stored yet then. Dropped before it is ready, the message
    /// was not taken.
    pub fn publish<S: AsSubject, P: AsRef<[u8]>>(
        &mut self,
        subject: S,
        payload: P,
    ) -> PublishWindowed<'_, S, P> {
        PublishWindowed { publisher: self, headers: PublishHeaders::new(), subject, payload }
    }
}

/// A message that is about to be published through a window. Made by [`Publisher::publish`].
#[derive(Debug)]
#[must_use = "nothing is published until `.await` or `try_send`"]
pub struct PublishWindowed<'a, S, P> {
    publisher: &'a mut Publisher,
    headers: PublishHeaders,
    subject: S,
    payload: P,
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> PublishWindowed<'a, S, P> {
    header_options!();

    /// Publishes it now, or not at all.
    ///
    /// # Errors
    ///
    /// [`PublisherError`]; the message was not taken then. [`PublisherError::Full`] when the window
    /// is.
    pub fn try_send(self) -> Result<u64, PublisherError> {
        let mut publishing = self.into_future();
        let mut context = Context::from_waker(Waker::noop());
        match Pin::new(&mut publishing).poll(&mut context) {
            Poll::Ready(result) => result,
            Poll::Pending if publishing.gate.is_some() => Err(PublisherError::LevelUnknown),
            Poll::Pending => {
                Err(PublisherError::Full { pending: publishing.publisher.window.pending() })
            }
        }
    }
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for PublishWindowed<'a, S, P> {
    type Output = Result<u64, PublisherError>;
    type IntoFuture = PublishingWindowed<'a, S, P>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { publisher, headers, subject, payload } = self;
        let gate = headers.need().map(|need| (Gate::new(Some(need)), None));
        let (headers, error) = match headers.into_map() {
            Ok(headers) => (headers, None),
            Err(error) => (None, Some(error)),
        };
        PublishingWindowed { publisher, headers, error, gate, subject, payload }
    }
}

/// The future of a [`PublishWindowed`]. Dropped before it is ready, the message was not taken.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct PublishingWindowed<'a, S, P> {
    publisher: &'a mut Publisher,
    headers: Option<HeaderMap>,
    error: Option<PublishHeadersError>,
    /// What it needs is to be asked for, until then.
    gate: Option<(Gate, Option<Instant>)>,
    subject: S,
    payload: P,
}

/// Nothing here is pinned by being polled.
impl<S, P> Unpin for PublishingWindowed<'_, S, P> {}

impl<S: AsSubject, P: AsRef<[u8]>> Future for PublishingWindowed<'_, S, P> {
    type Output = Result<u64, PublisherError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(error) = this.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        let subject = this.subject.as_subject().map_err(PublishError::Subject);
        let subject = subject.map_err(PublisherError::Publish)?;
        if subject.has_wildcards() {
            return Poll::Ready(Err(PublisherError::Publish(PublishError::Wildcard)));
        }
        if let Some(headers) = &this.headers {
            this.publisher.window.check_headers(headers)?;
        }
        if let Some((gate, deadline)) = &mut this.gate {
            let js = &this.publisher.js;
            let deadline = deadline.get_or_insert_with(|| js.client().shared().after(js.timeout()));
            ready!(gate.poll(js, *deadline, context))?;
            this.gate = None;
        }
        let payload = this.payload.as_ref();
        this.publisher.poll_take(subject, &mut this.headers, payload, context)
    }
}
