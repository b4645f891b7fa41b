//! Lists and watches of a bucket that is seen through codecs.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use midge_jetstream::OrderedEnd;
use midge_jetstream::kv::{KeyCodec, ValueCodec};

use super::watch::{Watch, WatchBuilder, WatchError, WatchItem};
use super::{CodingError, View, ViewEntry, ViewError};
use crate::jetstream::Stopper;

type Item<V> = Result<ViewWatchItem<<V as ValueCodec>::Value>, ViewError<OrderedEnd>>;

/// What a watch of a [`View`] gives.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewWatchItem<T> {
    /// A revision.
    Entry(ViewEntry<T>),
    /// All that was there when the watch began has been given, as [`WatchItem::InitialEnd`].
    InitialEnd,
}

impl<K: KeyCodec, V: ValueCodec> View<K, V> {
    /// Watches keys that match a filter, as [`KeyValue::watch`](super::KeyValue::watch).
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn watch(&self, filter: &str) -> Result<ViewWatch<K, V>, ViewError<WatchError>> {
        self.watch_as([filter], |watch| watch).await
    }

    /// Watches keys that match any of the filters, with options of [`WatchBuilder`]:
    /// `|watch| watch.include_history()`.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn watch_as<F: AsRef<str>>(
        &self,
        filters: impl IntoIterator<Item = F>,
        options: impl FnOnce(WatchBuilder) -> WatchBuilder,
    ) -> Result<ViewWatch<K, V>, ViewError<WatchError>> {
        let watch = options(self.kv.watch_many(self.encode_filters(filters)?));
        let values = !watch.is_meta_only();
        let watch = watch.await.map_err(ViewError::Bucket)?;
        Ok(ViewWatch { view: self.clone(), watch, values })
    }

    /// Every key that has a value, as [`KeyValue::keys`](super::KeyValue::keys).
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn keys(&self) -> Result<ViewKeys<K, V>, ViewError<WatchError>> {
        self.keys_of([">"]).await
    }

    /// Every key that has a value and matches one of the filters.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn keys_of<F: AsRef<str>>(
        &self,
        filters: impl IntoIterator<Item = F>,
    ) -> Result<ViewKeys<K, V>, ViewError<WatchError>> {
        let watch = self.watch_as(filters, |watch| watch.ignore_deletes().meta_only()).await?;
        Ok(ViewKeys { watch: Some(watch) })
    }

    /// Every revision that is kept of a key, or of all that match one with wildcards, as
    /// [`KeyValue::history`](super::KeyValue::history). One that cannot be decoded is an error in
    /// its place.
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn history(
        &self,
        filter: &str,
    ) -> Result<Vec<Result<ViewEntry<V::Value>, CodingError>>, ViewError<HistoryError>> {
        self.history_of([filter]).await
    }

    /// The same of keys that match any of the filters, as
    /// [`KeyValue::history_of`](super::KeyValue::history_of).
    ///
    /// # Errors
    ///
    /// [`ViewError`].
    pub async fn history_of<F: AsRef<str>>(
        &self,
        filters: impl IntoIterator<Item = F>,
    ) -> Result<Vec<Result<ViewEntry<V::Value>, CodingError>>, ViewError<HistoryError>> {
        let history = self.kv.history_of(self.encode_filters(filters)?).await;
        let history = history.map_err(|error| ViewError::Bucket(error.into()))?;
        let all = history.all().await.map_err(|end| ViewError::Bucket(end.into()))?;
        Ok(all.into_iter().map(|entry| self.decode(entry)).collect())
    }
}

/// Why a history was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// It could not begin.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// It ended before its time.
    #[error(transparent)]
    Ended(#[from] OrderedEnd),
}

/// A [`Watch`] of a [`View`]. It is a stream too.
///
/// What cannot be decoded is an item that is an error, and the watch goes on. Behind an error of the
/// bucket comes the end.
pub struct ViewWatch<K, V> {
    view: View<K, V>,
    watch: Watch,
    /// It was not asked to leave them out.
    values: bool,
}

impl<K: KeyCodec, V: ValueCodec> ViewWatch<K, V> {
    /// The next item; `None` after the last one. Dropping the future loses none.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<Item<V>>> {
        poll_fn(|context| self.poll_item(context))
    }

    /// Ends it, and deletes its consumer.
    pub fn stop(&mut self) {
        self.watch.stop();
    }

    /// Stops it from elsewhere, and waits for its end, as [`Watch::stopper`].
    pub fn stopper(&mut self) -> Stopper {
        self.watch.stopper()
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Option<Item<V>>> {
        let item = match ready!(self.watch.poll_item(context)) {
            None => return Poll::Ready(None),
            Some(Err(end)) => return Poll::Ready(Some(Err(ViewError::Bucket(end)))),
            Some(Ok(WatchItem::InitialEnd)) => Ok(ViewWatchItem::InitialEnd),
            Some(Ok(WatchItem::Entry(entry))) => match self.values {
                true => self.view.decode(entry).map(ViewWatchItem::Entry),
                false => self.view.decode_key(&entry).map(|key| {
                    let entry = ViewEntry { key, value: None, entry };
                    ViewWatchItem::Entry(entry)
                }),
            },
        };
        Poll::Ready(Some(item.map_err(ViewError::from)))
    }
}

/// Nothing here is pinned by being polled.
impl<K, V> Unpin for ViewWatch<K, V> {}

impl<K: KeyCodec, V: ValueCodec> Stream for ViewWatch<K, V> {
    type Item = Item<V>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(context)
    }
}

impl<K, V> fmt::Debug for ViewWatch<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewWatch").field("watch", &self.watch).finish_non_exhaustive()
    }
}

/// Keys that have a value. Made by [`View::keys`]. It is a stream too.
///
/// One that cannot be decoded is an item that is an error, and the list goes on.
#[derive(Debug)]
pub struct ViewKeys<K, V> {
    /// `None` after the end.
    watch: Option<ViewWatch<K, V>>,
}

impl<K: KeyCodec, V: ValueCodec> ViewKeys<K, V> {
    /// The next one; `None` after the last one. Dropping the future loses none.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> impl Future<Output = Option<Result<String, ViewError<OrderedEnd>>>> {
        poll_fn(|context| self.poll_key(context))
    }

    /// All of them.
    ///
    /// # Errors
    ///
    /// [`ViewError`], of the first one that cannot be decoded, or when they ended before their time.
    pub async fn all(mut self) -> Result<Vec<String>, ViewError<OrderedEnd>> {
        let mut all = Vec::new();
        while let Some(key) = self.next().await {
            all.push(key?);
        }
        Ok(all)
    }

    fn poll_key(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<String, ViewError<OrderedEnd>>>> {
        let Some(watch) = &mut self.watch else { return Poll::Ready(None) };
        let end = match ready!(watch.poll_item(context)) {
            Some(Ok(ViewWatchItem::Entry(entry))) => return Poll::Ready(Some(Ok(entry.key))),
            Some(Err(ViewError::Coding(error))) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(ViewWatchItem::InitialEnd)) => None,
            Some(Err(end)) => Some(Err(end)),
            // A connection that closes ends a watch without a word.
            None => Some(Err(ViewError::Bucket(OrderedEnd::Closed))),
        };
        self.watch = None;
        Poll::Ready(end)
    }
}

impl<K: KeyCodec, V: ValueCodec> Stream for ViewKeys<K, V> {
    type Item = Result<String, ViewError<OrderedEnd>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_key(context)
    }
}
