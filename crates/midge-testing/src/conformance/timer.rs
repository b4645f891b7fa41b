//! Time for tests that know no runtime: a thread wakes whoever sleeps.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Ready after `time`.
pub(crate) fn sleep(time: Duration) -> Sleep {
    Sleep { until: Instant::now() + time }
}

/// The output of `future`, if it is ready within `time`.
pub(crate) async fn within<F: IntoFuture>(time: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future.into_future());
    let mut end = sleep(time);
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Pin::new(&mut end).poll(context).map(|()| None),
    })
    .await
}

#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub(crate) struct Sleep {
    until: Instant,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        CLOCK.wake_at(self.until, context.waker());
        Poll::Pending
    }
}

static CLOCK: Clock = Clock { sleepers: Mutex::new(BTreeMap::new()), earlier: Condvar::new() };

struct Clock {
    /// Who sleeps until when. A waker that is there twice is woken once too often.
    sleepers: Mutex<BTreeMap<Instant, Vec<Waker>>>,
    earlier: Condvar,
}

impl Clock {
    fn wake_at(&'static self, at: Instant, waker: &Waker) {
        static THREAD: OnceLock<()> = OnceLock::new();
        THREAD.get_or_init(|| drop(std::thread::spawn(|| self.tick())));
        let mut sleepers = self.lock();
        let there = sleepers.entry(at).or_default();
        if !there.iter().any(|other| other.will_wake(waker)) {
            there.push(waker.clone());
        }
        drop(sleepers);
        self.earlier.notify_one();
    }

    fn tick(&self) {
        let mut sleepers = self.lock();
        loop {
            let now = Instant::now();
            let later = sleepers.split_off(&now);
            let due = std::mem::replace(&mut *sleepers, later);
            if !due.is_empty() {
                drop(sleepers);
                due.into_values().flatten().for_each(Waker::wake);
                sleepers = self.lock();
                continue;
            }
            let next = sleepers.keys().next().map(|next| next.saturating_duration_since(now));
            let next = next.unwrap_or(Duration::from_secs(3600));
            let waited = self.earlier.wait_timeout(sleepers, next);
            sleepers = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Instant, Vec<Waker>>> {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
