//! Waiting for futures and streams on the thread at hand, without an executor.
//!
//! It works with a [`Client`](crate::Client) of any adapter, on any thread but those that serve the
//! connection: in a handler of a subscription, which runs on one of these, nothing may wait, since it
//! would wait for ever. The same goes for a task of an async runtime whose driver has no other
//! thread to run on.
//!
//! Over blocking streams, as those of `midge-std`, a thread may read the reply to its request by itself. What
//! else the same wait is for, in a future that waits for several things, it sees 10 ms later then at most.

use std::cell::Cell;
use std::future::{Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use futures_core::Stream;

use crate::driver::Lead;

/// Blocks the thread until a future is ready: every call of a [`Client`](crate::Client), a
/// [`Subscription`](crate::Subscription) or a request is one. The thread sleeps meanwhile.
///
/// ```no_run
/// use std::time::Duration;
/// use midge::blocking::Wait;
///
/// # fn example(client: midge::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let mut greetings = client.subscribe("greet.*").wait()?;
/// client.publish("greet.joe", "hello").wait()?;
/// if let Ok(Some(message)) = greetings.next().wait_timeout(Duration::from_secs(1)) {
///     println!("{}", message.subject());
/// }
/// # Ok(())
/// # }
/// ```
pub trait Wait: IntoFuture + Sized {
    /// Waits until it is ready.
    fn wait(self) -> Self::Output {
        let mut future = pin!(self.into_future());
        poll_until(None, |context| future.as_mut().poll(context)).expect("no deadline passes")
    }

    /// Waits for at most `timeout`, then drops the future. Of those of Midge, that loses nothing and
    /// leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] when it was not ready in time.
    fn wait_timeout(self, timeout: Duration) -> Result<Self::Output, Elapsed> {
        let deadline = Instant::now().checked_add(timeout);
        let mut future = pin!(self.into_future());
        poll_until(deadline, |context| future.as_mut().poll(context))
    }

    /// Waits until `deadline` at most; one that has passed still looks once.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] when it was not ready in time.
    fn wait_deadline(self, deadline: Instant) -> Result<Self::Output, Elapsed> {
        let mut future = pin!(self.into_future());
        poll_until(Some(deadline), |context| future.as_mut().poll(context))
    }
}

impl<F: IntoFuture> Wait for F {}

/// The time was over before what was waited for was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was not ready in time")]
pub struct Elapsed;

/// Blocks the thread for each item of a stream: [`Subscription`](crate::Subscription),
/// [`Replies`](crate::Replies), [`Events`](crate::Events).
pub trait Items: Stream + Unpin + Sized {
    /// The items, each as soon as it is there, until the stream ends.
    fn iter(&mut self) -> Iter<'_, Self> {
        Iter { stream: self, timeout: None }
    }

    /// The same, ended by a wait of more than `timeout` for one item. The stream has not ended
    /// then, and can be read on.
    fn iter_timeout(&mut self, timeout: Duration) -> Iter<'_, Self> {
        Iter { stream: self, timeout: Some(timeout) }
    }
}

impl<S: Stream + Unpin> Items for S {}

/// The iterator of [`Items::iter`].
#[derive(Debug)]
pub struct Iter<'a, S> {
    stream: &'a mut S,
    timeout: Option<Duration>,
}

impl<S: Stream + Unpin> Iterator for Iter<'_, S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        let deadline = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut stream = Pin::new(&mut *self.stream);
        poll_until(deadline, |context| stream.as_mut().poll_next(context)).ok().flatten()
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    /// Made once a thread, since every wait needs it.
    static WAKER: Waker = waker();
    /// What the thread reads before it sleeps.
    static LEAD: Cell<Option<Lead>> = const { Cell::new(None) };
}

/// The waker is the one of this thread's waits, which poll again once something was
/// [read first](read_first).
pub(crate) fn parks(waker: &Waker) -> bool {
    WAKER.try_with(|own| own.will_wake(waker)).unwrap_or(false)
}

/// A future that the thread waits for leaves it a reply to read, see `driver/leading.rs`.
pub(crate) fn read_first(lead: Lead) {
    let mut lead = Some(lead);
    // Behind the end of the thread's locals it is dropped, and the driver reads.
    let before = LEAD.try_with(|place| place.replace(lead.take()));
    drop((before, lead));
}

/// A waker that unparks this thread, and that none of its waits has.
pub(crate) fn waker() -> Waker {
    Arc::new(Unpark(thread::current())).into()
}

fn poll_until<T>(
    deadline: Option<Instant>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, Elapsed> {
    // What waits in the drop of a thread's local may come when these are gone.
    let waker = WAKER.try_with(Waker::clone).unwrap_or_else(|_| waker());
    let mut context = Context::from_waker(&waker);
    loop {
        let polled = poll(&mut context);
        let lead = LEAD.try_with(Cell::take).ok().flatten();
        if let Poll::Ready(output) = polled {
            return Ok(output);
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(Elapsed);
        }
        match (lead, left) {
            (Some(lead), left) => lead.read(left),
            (None, None) => thread::park(),
            (None, Some(left)) => thread::park_timeout(left),
        }
    }
}
