//! Adding to a batch: the messages, and the last one.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use midge_jetstream::{PubAck, PublishHeaders};
use midge_proto::AsSubject;

use super::super::headers::header_options;
use super::{FastBatch, FastBatchError, What};

/// A message that is about to be added to a batch. Made by [`FastBatch::add`].
#[derive(Debug)]
#[must_use = "nothing is added until `.await`"]
pub struct AddFast<'a, S, P> {
    batch: &'a mut FastBatch,
    headers: PublishHeaders,
    subject: S,
    payload: P,
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> AddFast<'a, S, P> {
    pub(super) fn new(batch: &'a mut FastBatch, subject: S, payload: P) -> Self {
        Self { batch, headers: PublishHeaders::new(), subject, payload }
    }

    header_options!();
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for AddFast<'a, S, P> {
    type Output = Result<u64, FastBatchError>;
    type IntoFuture = AddingFast<'a, S, P>;

    fn into_future(self) -> Self::IntoFuture {
        AddingFast { add: self }
    }
}

/// The future of an [`AddFast`]. Dropped before it is ready, the message was not added.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct AddingFast<'a, S, P> {
    add: AddFast<'a, S, P>,
}

/// Nothing here is pinned by being polled.
impl<S, P> Unpin for AddingFast<'_, S, P> {}

impl<S: AsSubject, P: AsRef<[u8]>> Future for AddingFast<'_, S, P> {
    type Output = Result<u64, FastBatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let AddFast { batch, headers, subject, payload } = &mut self.add;
        batch.poll_add((What::Append, subject, headers, payload.as_ref()), context)
    }
}

/// A message that is about to end a batch. Made by [`FastBatch::commit`].
#[derive(Debug)]
#[must_use = "nothing is committed until `.await`"]
pub struct CommitFast<'a, S, P> {
    batch: &'a mut FastBatch,
    headers: PublishHeaders,
    subject: S,
    payload: P,
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> CommitFast<'a, S, P> {
    pub(super) fn new(batch: &'a mut FastBatch, subject: S, payload: P) -> Self {
        Self { batch, headers: PublishHeaders::new(), subject, payload }
    }

    header_options!();
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for CommitFast<'a, S, P> {
    type Output = Result<PubAck, FastBatchError>;
    type IntoFuture = CommittingFast<'a, S, P>;

    fn into_future(self) -> Self::IntoFuture {
        CommittingFast { commit: self, sent: false }
    }
}

/// The future of a [`CommitFast`]. Dropped before it is ready, the batch may have ended.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct CommittingFast<'a, S, P> {
    commit: CommitFast<'a, S, P>,
    sent: bool,
}

/// Nothing here is pinned by being polled.
impl<S, P> Unpin for CommittingFast<'_, S, P> {}

impl<S: AsSubject, P: AsRef<[u8]>> Future for CommittingFast<'_, S, P> {
    type Output = Result<PubAck, FastBatchError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { commit, sent } = self.get_mut();
        let CommitFast { batch, headers, subject, payload } = commit;
        if !*sent {
            let last = (What::Commit, &*subject, &*headers, payload.as_ref());
            ready!(batch.poll_add(last, context))?;
            *sent = true;
        }
        batch.poll_ended(true, context)
    }
}
