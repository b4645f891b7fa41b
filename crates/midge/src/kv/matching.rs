//! Deleting and purging all keys that match.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use midge_jetstream::OrderedEnd;
use midge_jetstream::kv::{Entry, Operation};

use super::remove::DeleteError;
use super::watch::{Watch, WatchError, WatchItem};
use super::write::Options;
use super::{Boxed, KeyValue};

/// Keys that are deleted at the same time.
const PIPELINE: usize = 100;

/// Why not all keys that match are known to be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteMatchingError {
    /// The keys could not be looked for. Nothing was deleted.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The search ended before its time.
    #[error("{deleted} keys were deleted, then the search for more ended: {end}")]
    Ended {
        /// How many were deleted.
        deleted: u64,
        /// Why it ended.
        end: OrderedEnd,
    },
    /// One was not deleted, or that is not known; those after it were not tried.
    #[error("{deleted} keys were deleted, then one was not: {error}")]
    Delete {
        /// How many were deleted.
        deleted: u64,
        /// Why.
        error: DeleteError,
    },
}

impl KeyValue {
    /// Deletes every key that has a value and matches a filter, 100 at a time. Gives how many it
    /// deleted. One that is written meanwhile keeps what was written. What others have written that is
    /// no key by the rules is deleted too, but what nothing can be published to: `*` as a part, say.
    ///
    /// # Errors
    ///
    /// [`DeleteMatchingError`]; what was deleted before stays deleted.
    pub async fn delete_matching(
        &self,
        filter: impl Into<String>,
    ) -> Result<u64, DeleteMatchingError> {
        self.remove_matching(filter.into(), Operation::Delete).await
    }

    /// Purges every key that matches a filter, of which something is there: those that are deleted
    /// too, with their histories. Otherwise as [`delete_matching`](Self::delete_matching).
    ///
    /// # Errors
    ///
    /// [`DeleteMatchingError`]; what was purged before stays purged.
    pub async fn purge_matching(
        &self,
        filter: impl Into<String>,
    ) -> Result<u64, DeleteMatchingError> {
        self.remove_matching(filter.into(), Operation::Purge).await
    }

    async fn remove_matching(
        &self,
        filter: String,
        operation: Operation,
    ) -> Result<u64, DeleteMatchingError> {
        let watch = self.watch(filter).meta_only();
        let watch = match operation {
            Operation::Purge => watch,
            _ => watch.ignore_deletes(),
        };
        let mut removing = Removing {
            kv: self,
            operation,
            watch: Some(watch.await?),
            running: VecDeque::new(),
            deleted: 0,
        };
        poll_fn(|context| removing.poll(context)).await
    }

    fn remove_entry(
        &self,
        entry: Entry,
        operation: Operation,
    ) -> Boxed<'static, Result<u64, DeleteError>> {
        let kv = self.clone();
        Box::pin(async move {
            let options = Options { expected: Some(entry.revision()), ..Options::default() };
            kv.remove(entry.key(), operation, options).await
        })
    }
}

struct Removing<'a> {
    kv: &'a KeyValue,
    operation: Operation,
    /// `None` once all keys that were there are known.
    watch: Option<Watch>,
    running: VecDeque<Boxed<'static, Result<u64, DeleteError>>>,
    deleted: u64,
}

impl Removing<'_> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, DeleteMatchingError>> {
        loop {
            while self.running.len() < PIPELINE
                && let Some(watch) = &mut self.watch
                && let Poll::Ready(item) = watch.poll_item(context)
            {
                let end = match item {
                    Some(Ok(WatchItem::Entry(entry))) => {
                        if !self.kv.bucket.subjects.is_literal(entry.key()) {
                            continue;
                        }
                        self.running.push_back(self.kv.remove_entry(entry, self.operation));
                        continue;
                    }
                    Some(Ok(WatchItem::InitialEnd)) => None,
                    Some(Err(end)) => Some(end),
                    // A connection that closes ends a watch without a word.
                    None => Some(OrderedEnd::Closed),
                };
                self.watch = None;
                if let Some(end) = end {
                    let deleted = self.deleted;
                    return Poll::Ready(Err(DeleteMatchingError::Ended { deleted, end }));
                }
            }
            let before = self.running.len();
            for _ in 0..before {
                let Some(mut one) = self.running.pop_front() else { break };
                match one.as_mut().poll(context) {
                    Poll::Ready(Ok(_)) => self.deleted += 1,
                    // It was written, or deleted, by somebody else since.
                    Poll::Ready(Err(DeleteError::WrongRevision { .. })) => {}
                    Poll::Ready(Err(error)) => {
                        let deleted = self.deleted;
                        return Poll::Ready(Err(DeleteMatchingError::Delete { deleted, error }));
                    }
                    Poll::Pending => self.running.push_back(one),
                }
            }
            if self.running.is_empty() && self.watch.is_none() {
                return Poll::Ready(Ok(self.deleted));
            }
            if self.running.len() == before {
                return Poll::Pending;
            }
        }
    }
}
