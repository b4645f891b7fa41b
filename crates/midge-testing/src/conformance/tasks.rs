//! What runs beside a test, on the runtime of the adapter.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::Adapter;

/// Runs `future` beside the test.
pub(crate) fn spawn<A, F>(future: F) -> Task<F::Output>
where
    A: Adapter,
    F: Future<Output: Send> + Send + 'static,
{
    let end = Arc::new(Mutex::new(End { output: None, over: false, waker: None }));
    let told = Told(Arc::clone(&end));
    A::spawn(Box::pin(async move {
        let output = future.await;
        lock(&told.0).output = Some(output);
    }));
    Task(end)
}

/// Runs what blocks on a thread of its own.
pub(crate) fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    let end = Arc::new(Mutex::new(End { output: None, over: false, waker: None }));
    let told = Told(Arc::clone(&end));
    std::thread::spawn(move || {
        let output = run();
        lock(&told.0).output = Some(output);
    });
    Task(end)
}

/// Ready with the output of what was spawned; it panics when that did. Dropping it stops nothing.
#[derive(Debug)]
#[must_use = "whether it panicked is told only to who waits for it"]
pub(crate) struct Task<T>(Arc<Mutex<End<T>>>);

#[derive(Debug)]
struct End<T> {
    output: Option<T>,
    over: bool,
    waker: Option<Waker>,
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut end = lock(&self.0);
        if end.over {
            return Poll::Ready(end.output.take().expect("a task that has ended did not panic"));
        }
        end.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Says that the task is over, whether it ends or panics.
struct Told<T>(Arc<Mutex<End<T>>>);

impl<T> Drop for Told<T> {
    fn drop(&mut self) {
        let mut end = lock(&self.0);
        end.over = true;
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
