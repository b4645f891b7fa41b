//! What happens to a connection, told to any number of listeners.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use midge_proto::wire::ServerError;
use midge_proto::{Connected, DisconnectCause, Disconnected, Fate, ServerUrl, Sid, Subject};

use crate::Closed;
use crate::shared::{Shared, lock};
use crate::waiters::{Wakes, set_waker};

/// Something that happened to a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The connection is up.
    Connected(Arc<Connected>),
    /// An established connection was lost; the fates of messages are in it.
    Disconnected(Arc<Disconnected>),
    /// A server could not be connected to.
    AttemptFailed {
        /// The server.
        server: Arc<ServerUrl>,
        /// Why.
        cause: DisconnectCause,
    },
    /// The list of servers has changed.
    ServersChanged {
        /// New servers.
        added: Vec<Arc<ServerUrl>>,
        /// Servers that are no longer told of.
        removed: Vec<Arc<ServerUrl>>,
        /// URLs past the bound of 256, which were ignored.
        ignored: usize,
    },
    /// The server lowered what it takes: messages that waited and do not fit any more were not
    /// sent. One that had been begun is, and the server may close the connection for it.
    Dropped(Arc<Fate>),
    /// The server is about to shut down (lame duck mode) and will close the connection.
    LameDuck,
    /// The server reported an error.
    ServerError(ServerError),
    /// A subscription has reached its limits. Told once; again after it was read down to half.
    SlowConsumer {
        /// The subscription.
        sid: Sid,
        /// Its subject.
        subject: Subject,
        /// Its unread messages.
        pending: usize,
    },
    /// A message was larger than `max_message` and was skipped.
    Oversized {
        /// The subscription that it was for.
        sid: Sid,
        /// Headers and payload in bytes.
        length: usize,
    },
    /// The connection is over; nothing follows.
    Closed(Arc<Closed>),
    /// This listener fell behind, and so many events are missing here.
    Lagged(u64),
}

/// Events that one listener has not seen yet.
#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Event>,
    capacity: usize,
    lagged: u64,
    waker: Option<Waker>,
}

impl Ring {
    fn new(capacity: usize) -> Self {
        Self { events: VecDeque::new(), capacity, lagged: 0, waker: None }
    }

    pub(crate) fn push(&mut self, event: &Event, wakes: &mut Wakes) {
        if self.events.len() >= self.capacity {
            self.events.pop_front();
            self.lagged += 1;
        }
        self.events.push_back(event.clone());
        wakes.add(self.waker.take());
    }

    fn pop(&mut self) -> Option<Event> {
        match std::mem::take(&mut self.lagged) {
            0 => self.events.pop_front(),
            lagged => Some(Event::Lagged(lagged)),
        }
    }
}

/// A listener to the events of a connection, from the moment when it was made.
///
/// It holds the latest `event_capacity` events. When more come before they are read, the oldest
/// are lost and [`Event::Lagged`] says how many. It ends after [`Event::Closed`]. It does not
/// keep the connection alive.
pub struct Events {
    shared: Arc<Shared>,
    place: usize,
}

impl Events {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let ring = Some(Ring::new(shared.settings.event_capacity));
        let mut board = lock(&shared.board);
        let free = board.listeners.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            board.listeners.push(None);
            board.listeners.len() - 1
        });
        board.listeners[place] = ring;
        drop(board);
        Self { shared, place }
    }

    /// The next event, `None` after the last one.
    #[expect(clippy::should_implement_trait, reason = "the name that streams have for it")]
    pub fn next(&mut self) -> NextEvent<'_> {
        NextEvent { events: self }
    }

    /// The next event if there is one.
    pub fn try_next(&mut self) -> Option<Event> {
        lock(&self.shared.board).listeners[self.place].as_mut().and_then(Ring::pop)
    }

    fn poll_event(&mut self, context: &Context<'_>) -> Poll<Option<Event>> {
        let mut board = lock(&self.shared.board);
        let over = board.closed().is_some();
        let Some(ring) = board.listeners[self.place].as_mut() else { return Poll::Ready(None) };
        match ring.pop() {
            None if over => Poll::Ready(None),
            None => {
                let old = set_waker(&mut ring.waker, context.waker());
                drop(board);
                drop(old);
                Poll::Pending
            }
            event => Poll::Ready(event),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let ring = lock(&self.shared.board).listeners[self.place].take();
        drop(ring);
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll_event(context)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// The future of [`Events::next`]. Dropping it loses no event.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct NextEvent<'a> {
    events: &'a mut Events,
}

impl Future for NextEvent<'_> {
    type Output = Option<Event>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.events.poll_event(context)
    }
}
