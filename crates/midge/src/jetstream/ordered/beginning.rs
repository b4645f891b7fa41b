//! Waiting for the first consumer, not for longer than a call may take.

use std::future::{IntoFuture, poll_fn};
use std::task::{Context, Poll};

use midge_jetstream::OrderedEnd;
use midge_proto::RequestError;

use super::{Boxed, Ordered, OrderedBuilder, OrderedError};
use crate::alarm::Alarm;

impl IntoFuture for OrderedBuilder {
    type Output = Result<Ordered, OrderedError>;
    type IntoFuture = Boxed<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let js = self.js.clone();
            let mut alarm = Alarm::new(js.client().handle().shared.clone());
            let deadline = js.client().shared().after(js.timeout());
            let mut ordered = self.build()?;
            poll_fn(|context| {
                if let Poll::Ready(result) = ordered.poll_begun(context) {
                    return Poll::Ready(result);
                }
                if alarm.poll(deadline, context).is_pending() {
                    return Poll::Pending;
                }
                Poll::Ready(Err(match alarm.now() < deadline {
                    // Nobody waits for a time any more.
                    true => OrderedError::Ended(OrderedEnd::Closed),
                    false => OrderedError::Unanswered(RequestError::TimedOut),
                }))
            })
            .await?;
            Ok(ordered)
        })
    }
}

impl Ordered {
    fn poll_begun(&mut self, context: &mut Context<'_>) -> Poll<Result<(), OrderedError>> {
        loop {
            if self.begun {
                return Poll::Ready(Ok(()));
            }
            if let Some(failure) = self.failure.take() {
                return Poll::Ready(Err(failure));
            }
            if let Some(end) = self.machine.end() {
                return Poll::Ready(Err(OrderedError::Ended(end.clone())));
            }
            if !self.work(context) {
                return Poll::Pending;
            }
        }
    }
}
