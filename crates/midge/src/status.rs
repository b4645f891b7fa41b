//! What state the connection is in, and who wants to know.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use midge_proto::wire::ServerError;
use midge_proto::{CloseReason, Connection, DisconnectCause, Instant, ServerUrl};

use crate::Closed;
use crate::events::{Event, Ring};
use crate::waiters::{WaiterKey, Waiters, Wakes};

/// The state of a connection at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The state.
    pub state: State,
    /// How often the state has changed. Two equal numbers mean that it has not changed between.
    pub transition: u64,
    /// Attempts to connect that failed in a row, since a connection was lost or since the
    /// beginning; 0 while connected.
    pub failed_attempts: u32,
    /// How long it is until the next attempt. `None` while one is under way, while connected, and
    /// after the end.
    pub next_attempt: Option<Duration>,
}

/// Where a connection is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// No server has been reached yet.
    Connecting,
    /// The connection is up.
    Connected {
        /// To whom.
        server: Arc<ServerUrl>,
    },
    /// The connection was lost, and another one is sought.
    Reconnecting {
        /// Why it was lost.
        cause: DisconnectCause,
    },
    /// A drain has begun.
    Draining,
    /// The connection is over.
    Closed {
        /// Why.
        why: CloseReason,
    },
}

/// What last went wrong with a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LastError {
    /// The server reported an error.
    #[error("the server reported: {0}")]
    Server(ServerError),
    /// An established connection was lost.
    #[error("the connection was lost: {0}")]
    Lost(DisconnectCause),
    /// A server could not be connected to.
    #[error("could not connect to {server}: {cause}")]
    Attempt {
        /// The server.
        server: Arc<ServerUrl>,
        /// Why.
        cause: DisconnectCause,
    },
}

/// Subscriptions that servers refused without naming them.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    count: u64,
    last: Option<ServerError>,
}

impl Refusals {
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The last one, if there were more than `before`.
    pub(crate) fn since(&self, before: u64) -> Option<ServerError> {
        self.last.clone().filter(|_| self.count != before)
    }
}

/// The latest state, the listeners, and the futures that wait for a change.
#[derive(Debug)]
pub(crate) struct Board {
    state: State,
    transition: u64,
    closed: Option<Arc<Closed>>,
    last_error: Option<LastError>,
    refusals: Refusals,
    waiters: Waiters,
    pub(crate) listeners: Vec<Option<Ring>>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            state: State::Connecting,
            transition: 0,
            closed: None,
            last_error: None,
            refusals: Refusals::default(),
            waiters: Waiters::default(),
            listeners: Vec::new(),
        }
    }

    /// How often the state has changed.
    #[cfg(feature = "jetstream")]
    pub(crate) fn transition(&self) -> u64 {
        self.transition
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// The state, with what the connection knows of its attempts.
    pub(crate) fn status(&self, connection: &Connection, now: Instant) -> Status {
        Status {
            state: self.state.clone(),
            transition: self.transition,
            failed_attempts: connection.failed_attempts(),
            next_attempt: connection.next_attempt().map(|at| at.saturating_since(now)),
        }
    }

    /// The report, once the connection is closed.
    pub(crate) fn closed(&self) -> Option<&Arc<Closed>> {
        self.closed.as_ref()
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    pub(crate) fn last_error(&self) -> Option<&LastError> {
        self.last_error.as_ref()
    }

    /// Notes an event and the state that follows from it, and tells the listeners.
    pub(crate) fn note(&mut self, event: &Event, wakes: &mut Wakes) {
        wakes.trace(event);
        match event {
            Event::Connected(connected) => {
                self.enter(State::Connected { server: connected.server.clone() }, wakes);
            }
            Event::Disconnected(disconnected) => {
                self.last_error = Some(LastError::Lost(disconnected.cause.clone()));
                self.enter(State::Reconnecting { cause: disconnected.cause.clone() }, wakes);
            }
            Event::Closed(closed) => {
                self.closed = Some(closed.clone());
                self.enter(State::Closed { why: closed.why.clone() }, wakes);
            }
            Event::AttemptFailed { server, cause } => {
                let (server, cause) = (server.clone(), cause.clone());
                self.last_error = Some(LastError::Attempt { server, cause });
            }
            Event::ServerError(error) => {
                self.last_error = Some(LastError::Server(error.clone()));
                if matches!(error, ServerError::MaxSubscriptions | ServerError::InvalidSubject) {
                    self.refusals.count += 1;
                    self.refusals.last = Some(error.clone());
                }
            }
            _ => {}
        }
        for ring in self.listeners.iter_mut().flatten() {
            ring.push(event, wakes);
        }
    }

    /// A drain was asked for.
    pub(crate) fn drain(&mut self, wakes: &mut Wakes) {
        self.enter(State::Draining, wakes);
    }

    /// A drain or a close is not left again but for the end.
    fn enter(&mut self, state: State, wakes: &mut Wakes) {
        match (&self.state, &state) {
            (State::Closed { .. }, _) => return,
            (State::Draining, State::Closed { .. }) => {}
            (State::Draining, _) => return,
            _ => {}
        }
        self.state = state;
        self.transition += 1;
        self.waiters.wake_all(wakes);
    }

    /// Waits for the next change of the state. Drop what is returned without a lock.
    pub(crate) fn wait(&mut self, key: &mut Option<WaiterKey>, waker: &Waker) -> Option<Waker> {
        self.waiters.wait(key, waker)
    }

    /// Ends a wait. Drop what is returned without a lock.
    pub(crate) fn leave(&mut self, key: &mut Option<WaiterKey>) -> Option<Waker> {
        self.waiters.leave(key)
    }
}

#[cfg(test)]
impl Board {
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.waiting()
    }
}
