//! What an adapter tells the suite about itself.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use midge::{ConnectOptions, Connecting, OptionsError};

/// An adapter of [`midge`], and the runtime that its tests run on.
pub trait Adapter: 'static {
    /// Runs a test to its end on the thread at hand. [`serve`](Self::serve) and
    /// [`spawn`](Self::spawn) are called within it.
    fn block_on<F: Future>(test: F) -> F::Output;

    /// Makes a connection and serves it beside the test.
    ///
    /// # Errors
    ///
    /// Those of [`midge::driver::connect`].
    fn serve(options: ConnectOptions) -> Result<(Connecting, Serving), OptionsError>;

    /// Runs `task` beside the test.
    fn spawn(task: Pin<Box<dyn Future<Output = ()> + Send>>);
}

/// A driver that somebody serves: when it has ended, and how to end it from outside. Dropping this
/// changes nothing.
pub struct Serving {
    end: Arc<Mutex<End>>,
    cancel: Box<dyn Fn() + Send>,
}

/// Lives as long as the driver. Its drop says that the driver has ended, and whether by a panic.
#[derive(Debug)]
#[must_use = "dropping it says that the driver has ended"]
pub struct Ending {
    end: Arc<Mutex<End>>,
    /// It is being polled: a drop comes of a panic, which the runtime may have caught.
    polled: bool,
}

#[derive(Debug, Default)]
struct End {
    /// Whether it panicked, once it has ended.
    panicked: Option<bool>,
    waker: Option<Waker>,
}

impl Serving {
    /// A driver that is no future. `cancel` makes it end as soon as it can, as little in good order
    /// as the adapter's users can bring about; it is called once at most.
    pub fn new(cancel: impl Fn() + Send + 'static) -> (Serving, Ending) {
        let end = Arc::new(Mutex::new(End::default()));
        let ending = Ending { end: Arc::clone(&end), polled: false };
        (Serving { end, cancel: Box::new(cancel) }, ending)
    }

    /// A driver that is a future, and what to spawn in its place. To cancel it is to drop it.
    pub fn of<D>(driver: D) -> (Serving, impl Future<Output = ()> + Send)
    where
        D: Future<Output = ()> + Send + Unpin + 'static,
    {
        let cancelled = Arc::new(Mutex::new((false, None::<Waker>)));
        let (serving, ending) = Serving::new({
            let cancelled = Arc::clone(&cancelled);
            move || {
                let mut cancelled = lock(&cancelled);
                cancelled.0 = true;
                if let Some(waker) = cancelled.1.take() {
                    waker.wake();
                }
            }
        });
        let mut running = Some((driver, ending));
        let task = poll_fn(move |context| {
            {
                let mut cancelled = lock(&cancelled);
                cancelled.1 = Some(context.waker().clone());
                if cancelled.0 {
                    running = None;
                }
            }
            let Some((driver, ending)) = &mut running else { return Poll::Ready(()) };
            ending.polled = true;
            let polled = Pin::new(driver).poll(context);
            ending.polled = false;
            if polled.is_ready() {
                running = None;
            }
            polled
        });
        (serving, task)
    }

    /// Cancels the driver.
    pub(super) fn cancel(&self) {
        (self.cancel)();
    }

    /// Waits until the driver has ended. Returns whether it panicked.
    pub(super) async fn ended(&self) -> bool {
        poll_fn(|context| self.poll_ended(context)).await
    }

    fn poll_ended(&self, context: &Context<'_>) -> Poll<bool> {
        let mut end = lock(&self.end);
        match end.panicked {
            Some(panicked) => Poll::Ready(panicked),
            None => {
                end.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("end", &self.end).finish_non_exhaustive()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut end = lock(&self.end);
        end.panicked = Some(self.polled || std::thread::panicking());
        let waker = end.waker.take();
        drop(end);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
