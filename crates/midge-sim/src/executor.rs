//! The tasks of a run, polled one at a time in an order that the seed decides.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Wake, Waker};

use crate::Rng;

type Body = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What polls futures. Nothing here knows of time.
pub(crate) struct Executor {
    tasks: Vec<Option<Body>>,
    ready: Arc<Ready>,
    rng: Rng,
}

/// The tasks that were woken, and those that were spawned since the last step.
pub(crate) struct Ready(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    woken: Vec<usize>,
    /// A task is in `woken` at most once.
    is_woken: Vec<bool>,
    spawned: Vec<Body>,
}

impl Ready {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::default()))
    }

    /// Adds a task, which is polled for the first time in a later step.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.lock().spawned.push(Box::pin(task));
    }

    fn wake(&self, task: usize) {
        let mut waiting = self.lock();
        if let Some(woken) = waiting.is_woken.get_mut(task)
            && !std::mem::replace(woken, true)
        {
            waiting.woken.push(task);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct TaskWaker {
    task: usize,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.wake(self.task);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.wake(self.task);
    }
}

impl Executor {
    pub(crate) fn new(ready: Arc<Ready>, rng: Rng) -> Self {
        Self { tasks: Vec::new(), ready, rng }
    }

    /// Polls one of the tasks that were woken, and names it. `None` when there is none.
    pub(crate) fn step(&mut self) -> Option<usize> {
        let task = self.next()?;
        let waker = Waker::from(Arc::new(TaskWaker { task, ready: Arc::clone(&self.ready) }));
        if let Some(body) = self.tasks[task].as_mut()
            && body.as_mut().poll(&mut Context::from_waker(&waker)).is_ready()
        {
            self.tasks[task] = None;
        }
        Some(task)
    }

    fn next(&mut self) -> Option<usize> {
        let mut waiting = self.ready.lock();
        for body in std::mem::take(&mut waiting.spawned) {
            let task = self.tasks.len();
            self.tasks.push(Some(body));
            waiting.is_woken.push(true);
            waiting.woken.push(task);
        }
        if waiting.woken.is_empty() {
            return None;
        }
        let place = self.rng.index(waiting.woken.len());
        let task = waiting.woken.swap_remove(place);
        waiting.is_woken[task] = false;
        Some(task)
    }

    /// Drops all tasks, the last one first.
    pub(crate) fn clear(&mut self) {
        while let Some(task) = self.tasks.pop() {
            drop(task);
        }
        // What is dropped may wake others, which takes the lock.
        let waiting = std::mem::take(&mut *self.ready.lock());
        drop(waiting);
    }
}
