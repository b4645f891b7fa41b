//! Lists of streams and consumers, page by page.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use midge_jetstream::{ConsumerInfo, ListRequest, Listed, Pages, StreamInfo};
use midge_proto::Message;
use serde::de::DeserializeOwned;

use super::JetStream;
use super::request::CallError;

type Page = Pin<Box<dyn Future<Output = Result<(String, Message), CallError>> + Send>>;

/// What a list has entries of. Midge's own.
pub trait Entry: DeserializeOwned + Unpin + sealed::Sealed {
    /// An entry as it is handed over.
    type Item;

    #[doc(hidden)]
    fn item(listed: Listed<Self>) -> Option<Self::Item>;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::StreamInfo {}
    impl Sealed for super::ConsumerInfo {}
    impl Sealed for String {}
}

impl Entry for StreamInfo {
    type Item = Listed<Self>;

    fn item(listed: Listed<Self>) -> Option<Listed<Self>> {
        Some(listed)
    }
}

impl Entry for ConsumerInfo {
    type Item = Listed<Self>;

    fn item(listed: Listed<Self>) -> Option<Listed<Self>> {
        Some(listed)
    }
}

/// A name.
impl Entry for String {
    type Item = Self;

    fn item(listed: Listed<Self>) -> Option<Self> {
        listed.found()
    }
}

/// A list, of which a page is asked for when the one before was read. It is a stream too.
///
/// It is no picture of one moment: what is created or deleted while it is read may be missing, or
/// be there twice. Each page may take as long as a call. After an error it is over.
#[must_use = "nothing is asked for until it is read"]
pub struct List<T> {
    context: JetStream,
    call: String,
    pages: Pages<T>,
    page: Option<Page>,
    over: bool,
    of: PhantomData<T>,
}

impl<T: Entry> List<T> {
    pub(super) fn new(context: JetStream, call: String, subject: Option<String>) -> Self {
        let pages = Pages::new(subject);
        Self { context, call, pages, page: None, over: false, of: PhantomData }
    }

    /// The next entry; `None` after the last one.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> NextEntry<'_, T> {
        NextEntry { list: self }
    }

    fn poll_entry(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<T::Item, CallError>>> {
        loop {
            while let Some(listed) = self.pages.pop() {
                if let Some(item) = T::item(listed) {
                    return Poll::Ready(Some(Ok(item)));
                }
            }
            if self.over {
                return Poll::Ready(None);
            }
            if self.page.is_none() {
                let Some(request) = self.pages.request().cloned() else {
                    self.over = true;
                    return Poll::Ready(None);
                };
                self.page = Some(ask(self.context.clone(), self.call.clone(), request));
            }
            let Some(page) = &mut self.page else { continue };
            let reply = ready!(page.as_mut().poll(context));
            self.page = None;
            let received = reply.and_then(|(subject, message)| {
                let received = self.pages.receive(message.payload());
                received.map_err(|error| CallError::reply(&subject, error))
            });
            if let Err(error) = received {
                self.over = true;
                return Poll::Ready(Some(Err(error)));
            }
        }
    }
}

fn ask(jetstream: JetStream, call: String, request: ListRequest) -> Page {
    Box::pin(async move {
        request.check()?;
        jetstream.call().request(&call, Some(&request)).await
    })
}

impl<T: Entry> futures_core::Stream for List<T> {
    type Item = Result<T::Item, CallError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_entry(context)
    }
}

impl<T> fmt::Debug for List<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List").field("call", &self.call).finish_non_exhaustive()
    }
}

/// The future of [`List::next`]. Dropping it loses nothing.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextEntry<'a, T> {
    list: &'a mut List<T>,
}

impl<T: Entry> Future for NextEntry<'_, T> {
    type Output = Option<Result<T::Item, CallError>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.list.poll_entry(context)
    }
}
