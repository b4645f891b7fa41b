//! The futures that wait for the beginning and the end of a connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use midge_proto::{CloseReason, Fates};

use crate::shared::{Handle, Shared, lock};
use crate::waiters::WaiterKey;
use crate::{Client, OptionsError, State};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The options are not valid.
    #[error("cannot connect with these options: {0}")]
    Options(OptionsError),
    /// No server could be connected to, or the connection was given up.
    #[error("could not connect: {0}")]
    Closed(CloseReason),
    /// The system gives no thread to serve the connection, where the adapter needs one.
    #[error("no thread for the connection: {0}")]
    NoThread(String),
}

impl From<OptionsError> for ConnectError {
    fn from(error: OptionsError) -> Self {
        Self::Options(error)
    }
}

/// Waits for the first connection, then gives its [`Client`].
///
/// With `retry_first_connect` it is ready at once. Dropping it gives the connection up.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Connecting {
    client: Client,
    at_once: bool,
    waiter: Option<WaiterKey>,
}

impl Connecting {
    pub(crate) fn new(client: Client, at_once: bool) -> Self {
        Self { client, at_once, waiter: None }
    }
}

impl Future for Connecting {
    type Output = Result<Client, ConnectError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut board = lock(&this.client.shared().board);
        let result = match board.state() {
            State::Closed { why } => Err(ConnectError::Closed(why.clone())),
            State::Connecting if !this.at_once => {
                let old = board.wait(&mut this.waiter, context.waker());
                drop(board);
                drop(old);
                return Poll::Pending;
            }
            _ => Ok(()),
        };
        drop(board);
        Poll::Ready(result.map(|()| this.client.clone()))
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        let old = lock(&self.client.shared().board).leave(&mut self.waiter);
        drop(old);
    }
}

/// The end of a connection, and its report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Closed {
    /// Why it ended.
    pub why: CloseReason,
    /// What became of every message that was published.
    pub fates: Fates,
    /// Messages that the readers and handlers of subscriptions got until then.
    pub delivered: u64,
    /// Messages that were received and not read until then. They can still be read, from
    /// subscriptions that are kept.
    pub unread: u64,
}

/// Waits until a connection has closed, then gives the report: why, and what became of messages.
///
/// Dropping it does not stop the drain or the close.
#[derive(Debug)]
pub struct Closing {
    handle: Arc<Handle>,
    waiter: Option<WaiterKey>,
}

impl Closing {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self { handle, waiter: None }
    }
}

impl Future for Closing {
    type Output = Arc<Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        poll_closed(&this.handle.shared, &mut this.waiter, context)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let old = lock(&self.handle.shared.board).leave(&mut self.waiter);
        drop(old);
    }
}

/// Waits until a connection has closed, for whatever reason, then gives the report as
/// [`Closing`] does. Made by [`Client::closed`].
///
/// It closes nothing, and does not keep the connection alive.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct WhenClosed {
    shared: Arc<Shared>,
    waiter: Option<WaiterKey>,
}

impl WhenClosed {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, waiter: None }
    }
}

impl Future for WhenClosed {
    type Output = Arc<Closed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        poll_closed(&this.shared, &mut this.waiter, context)
    }
}

impl Drop for WhenClosed {
    fn drop(&mut self) {
        let old = lock(&self.shared.board).leave(&mut self.waiter);
        drop(old);
    }
}

fn poll_closed(
    shared: &Shared,
    waiter: &mut Option<WaiterKey>,
    context: &Context<'_>,
) -> Poll<Arc<Closed>> {
    let mut board = lock(&shared.board);
    if let Some(closed) = board.closed() {
        return Poll::Ready(closed.clone());
    }
    let old = board.wait(waiter, context.waker());
    drop(board);
    drop(old);
    Poll::Pending
}
