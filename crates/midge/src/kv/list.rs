//! Keys, histories, and clearing markers away.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use midge_jetstream::OrderedEnd;
use midge_jetstream::kv::Entry;

use super::KeyValue;
use super::watch::{Watch, WatchError, WatchItem};
use crate::jetstream::{CallError, PurgeError};

impl KeyValue {
    /// Every key that has a value.
    ///
    /// Of a bucket with replicas, as one of them has it: what was written a moment before may be
    /// missing, see [`WatchItem::InitialEnd`].
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub async fn keys(&self) -> Result<Keys, WatchError> {
        self.keys_of([">"]).await
    }

    /// Every key that has a value and matches one of the filters, which may have wildcards.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub async fn keys_of(
        &self,
        filters: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Keys, WatchError> {
        let watch = self.watch_many(filters).ignore_deletes().meta_only().await?;
        Ok(Keys { entries: Entries { watch: Some(watch) } })
    }

    /// Every revision that is kept of a key, or of all that match one with wildcards; markers too.
    ///
    /// Of a bucket with replicas, as one of them has it: what was written a moment before may be
    /// missing, see [`WatchItem::InitialEnd`].
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub async fn history(&self, keys: impl Into<String>) -> Result<Entries, WatchError> {
        self.history_of([keys]).await
    }

    /// Every revision that is kept of keys that match any of several filters; markers too. Needs
    /// nats-server 2.10.
    ///
    /// # Errors
    ///
    /// [`WatchError`].
    pub async fn history_of(
        &self,
        filters: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Entries, WatchError> {
        let watch = self.watch_many(filters).include_history().await?;
        Ok(Entries { watch: Some(watch) })
    }

    /// Deletes what is left of keys that were deleted: the revisions before, and markers that are
    /// older than `age`. Younger markers stay, for those who watch and were away; 30 minutes is
    /// usual. Gives how many messages it deleted. What is written meanwhile stays, and so do markers of
    /// others whose keys have `*` or `>` as a part. While markers are looked for, it waits for a
    /// connection that was lost, as long as that takes.
    ///
    /// # Errors
    ///
    /// [`PurgeDeletesError`]; what was deleted before is gone.
    pub async fn purge_deletes(&self, age: Duration) -> Result<u64, PurgeDeletesError> {
        let bucket = &self.bucket;
        // By the clock of the server, which dates the markers.
        let now = bucket.origin.info().await?.timestamp;
        let mut watch = self.watch_all().meta_only().await?;
        let mut markers = Vec::new();
        while let Some(item) = watch.next().await {
            match item? {
                WatchItem::InitialEnd => break,
                // With a marker of what is named `*`, every key would go.
                WatchItem::Entry(entry) => {
                    if !entry.is_put() && bucket.origin_subjects.is_literal(entry.key()) {
                        markers.push(entry);
                    }
                }
            }
        }
        drop(watch);
        let mut purged = 0;
        for marker in markers {
            let age_of = |now: midge_jetstream::Time| {
                now.unix_nanos().saturating_sub(marker.created().unix_nanos())
            };
            let old = now.is_some_and(|now| age_of(now) >= age.as_nanos() as i128);
            let subject = bucket.origin_subjects.stored(marker.key());
            let before = marker.revision().saturating_add(old.into());
            purged += bucket.origin.purge().filter(&subject).before(before).await?;
        }
        Ok(purged)
    }
}

/// Why not all that was left of deleted keys was deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeDeletesError {
    /// The markers could not be looked for.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The search for markers ended before its time.
    #[error(transparent)]
    Ended(#[from] OrderedEnd),
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// A purge failed.
    #[error(transparent)]
    Purge(#[from] PurgeError),
}

/// Revisions that were there, in their order. Made by [`KeyValue::history`]. It is a stream too.
///
/// While there is no connection it waits. A revision that comes meanwhile is not among them.
#[derive(Debug)]
pub struct Entries {
    /// `None` after the end.
    watch: Option<Watch>,
}

impl Entries {
    /// The next one; `None` after the last one. Dropping the future loses none.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<Entry, OrderedEnd>>> + Send {
        poll_fn(|context| self.poll_entry(context))
    }

    /// All of them.
    ///
    /// # Errors
    ///
    /// [`OrderedEnd`] when they ended before their time.
    pub async fn all(mut self) -> Result<Vec<Entry>, OrderedEnd> {
        let mut all = Vec::new();
        while let Some(entry) = self.next().await {
            all.push(entry?);
        }
        Ok(all)
    }

    fn poll_entry(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Entry, OrderedEnd>>> {
        let Some(watch) = &mut self.watch else { return Poll::Ready(None) };
        let item = ready!(watch.poll_item(context));
        if let Some(Ok(WatchItem::Entry(entry))) = item {
            return Poll::Ready(Some(Ok(entry)));
        }
        self.watch = None;
        match item {
            Some(Err(end)) => Poll::Ready(Some(Err(end))),
            // A connection that closes ends a watch without a word.
            None => Poll::Ready(Some(Err(OrderedEnd::Closed))),
            _ => Poll::Ready(None),
        }
    }
}

impl Stream for Entries {
    type Item = Result<Entry, OrderedEnd>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_entry(context)
    }
}

/// Keys that have a value, in the order of their last revisions. Made by [`KeyValue::keys`]. It is a
/// stream too.
///
/// While there is no connection it waits. A key that is written while they are read may be missing,
/// or be there twice.
#[derive(Debug)]
pub struct Keys {
    entries: Entries,
}

impl Keys {
    /// The next one; `None` after the last one. Dropping the future loses none.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<String, OrderedEnd>>> + Send {
        poll_fn(|context| self.poll_key(context))
    }

    /// All of them.
    ///
    /// # Errors
    ///
    /// [`OrderedEnd`] when they ended before their time.
    pub async fn all(mut self) -> Result<Vec<String>, OrderedEnd> {
        let mut all = Vec::new();
        while let Some(key) = self.next().await {
            all.push(key?);
        }
        Ok(all)
    }

    fn poll_key(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<String, OrderedEnd>>> {
        let entry = ready!(self.entries.poll_entry(context));
        Poll::Ready(entry.map(|entry| entry.map(|entry| entry.key().to_owned())))
    }
}

impl Stream for Keys {
    type Item = Result<String, OrderedEnd>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_key(context)
    }
}
