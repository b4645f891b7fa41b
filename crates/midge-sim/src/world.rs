//! The face of a run for the code in it: time, tasks, clients, servers.

use std::fmt;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use midge::driver::Clock;
use midge::{Client, ConnectError, ConnectOptions, Connecting, OptionsError};
use midge_proto::{Config, ConfigError, Instant};

use crate::Rng;
use crate::client;
use crate::core_client::CoreClient;
use crate::executor::Ready;
use crate::net::{Dial, Socket};
use crate::schedule::{Entry, Happening};
use crate::state::State;

/// What surrounds the code of a run. Cheap to clone; everything that waits, waits in virtual time.
#[derive(Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    ready: Arc<Ready>,
}

impl World {
    pub(crate) fn new(state: State, ready: Arc<Ready>) -> Self {
        Self { state: Arc::new(Mutex::new(state)), ready }
    }

    /// Runs on the state; whom that wakes is woken after it.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = run(&mut state);
        let woken = std::mem::take(&mut state.woken);
        drop(state);
        for waker in woken {
            waker.wake();
        }
        result
    }

    // ---- time and chance ---------------------------------------------------------------------

    /// The virtual time since the beginning.
    pub fn now(&self) -> Instant {
        self.with(|state| state.now)
    }

    /// Ready `duration` of virtual time from now, exactly.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_until(self.now() + duration)
    }

    /// Ready at `until`, exactly, or at once when that has passed.
    pub fn sleep_until(&self, until: Instant) -> Sleep {
        Sleep { world: self.clone(), until, entry: None }
    }

    /// Fails when `future` is not ready within `duration` of virtual time.
    ///
    /// # Errors
    ///
    /// [`Elapsed`] then; the future is dropped.
    pub fn timeout<F: Future>(&self, duration: Duration, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: self.sleep(duration) }
    }

    /// A generator of its own for the caller, decided by the seed of the run and by how often this
    /// was called before.
    pub fn rng(&self) -> Rng {
        self.with(|state| state.rng.split())
    }

    /// Runs `task` beside the others, also when nobody waits for what it gives. It ends with the
    /// run. Which of the tasks that can go on is polled next is decided by the seed.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Spawned<T> {
        let spawned = Spawned(Arc::default());
        let slot = Spawned(Arc::clone(&spawned.0));
        let mut task = Box::pin(task);
        self.ready.spawn(poll_fn(move |context| {
            let mut state = slot.lock();
            if state.aborted {
                return Poll::Ready(());
            }
            state.task = Some(context.waker().clone());
            drop(state);
            let Poll::Ready(value) = task.as_mut().poll(context) else { return Poll::Pending };
            let mut state = slot.lock();
            state.value = Some(value);
            let waker = state.waker.take();
            drop(state);
            if let Some(waker) = waker {
                waker.wake();
            }
            Poll::Ready(())
        }));
        spawned
    }

    /// What all of `tasks` give, in their order, once the last of them has ended.
    pub async fn join<T>(&self, tasks: Vec<Spawned<T>>) -> Vec<T> {
        let mut values = Vec::with_capacity(tasks.len());
        for task in tasks {
            values.push(task.await);
        }
        values
    }

    // ---- clients -----------------------------------------------------------------------------

    /// Connects a client, as an adapter does. Its randomness is that of the run: a
    /// [`seed`](ConnectOptions::seed) of the options is replaced.
    ///
    /// A [`name`](ConnectOptions::name) is what [`connections_of`](Self::connections_of) finds its
    /// connections by.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], as from an adapter. Options that need TLS or a WebSocket fail: the servers
    /// here have neither.
    pub async fn connect(
        &self,
        options: impl Into<ConnectOptions>,
    ) -> Result<Client, ConnectError> {
        let (connecting, driver) = self.connect_with(options)?;
        drop(self.spawn(driver));
        connecting.await
    }

    /// As [`connect`](Self::connect), and hands over what serves the connection: it must be
    /// polled ([`spawn`](Self::spawn) it), and may be dropped at any time
    /// ([`abort`](Spawned::abort) the task), as when a process dies.
    ///
    /// # Errors
    ///
    /// [`OptionsError`] when the options are refused.
    pub fn connect_with(
        &self,
        options: impl Into<ConnectOptions>,
    ) -> Result<(Connecting, client::Driver), OptionsError> {
        let options = options.into().seed(self.rng().seed());
        let (connecting, driver) =
            midge::driver::connect(options, Arc::new(WorldClock(self.clone())))?;
        Ok((connecting, client::Driver::new(driver, self.clone())))
    }

    /// A connection of the core, without a client around it. Its seed is that of the run.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when the configuration is refused.
    pub fn core_client(&self, mut config: Config) -> Result<CoreClient, ConfigError> {
        config.seed = self.rng().seed();
        CoreClient::new(config, self)
    }

    /// Opens a connection to a server, for code that drives it by hand.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` when no server is there, or its door refuses. Behind a
    /// [silent](crate::Door::Silent) door it waits for ever: give it a
    /// [`timeout`](Self::timeout).
    pub fn dial(
        &self,
        address: SocketAddr,
    ) -> impl Future<Output = std::io::Result<Socket>> + Send + use<> {
        let owner = self.with(|state| state.net.number());
        Dial::new(self.clone(), owner, address)
    }

    /// What a look-up of `name` finds from now on. Nothing: it fails.
    pub fn set_name(&self, name: &str, addresses: &[IpAddr]) {
        self.with(|state| match addresses {
            [] => drop(state.net.names.remove(name)),
            _ => drop(state.net.names.insert(name.to_owned(), addresses.to_vec())),
        });
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

/// A task that was spawned: a future of what it gives. Dropping this leaves the task running.
pub struct Spawned<T>(Arc<Mutex<Slot<T>>>);

struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    aborted: bool,
    /// Wakes the task itself.
    task: Option<Waker>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { value: None, waker: None, aborted: false, task: None }
    }
}

impl<T> Spawned<T> {
    /// Ends the task where it stands: its future is dropped in a later step, at the present time,
    /// and not polled again.
    pub fn abort(self) {
        let mut slot = self.lock();
        slot.aborted = true;
        let task = slot.task.take();
        drop(slot);
        if let Some(task) = task {
            task.wake();
        }
    }

    /// What it has given, if it has and nobody has taken it.
    pub(crate) fn take(&self) -> Option<T> {
        self.lock().value.take()
    }

    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Future for Spawned<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut slot = self.lock();
        match slot.value.take() {
            Some(value) => Poll::Ready(value),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> fmt::Debug for Spawned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawned").finish_non_exhaustive()
    }
}

struct WorldClock(World);

impl Clock for WorldClock {
    fn now(&self) -> Instant {
        self.0.now()
    }
}

/// The future of [`World::sleep`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are polled"]
pub struct Sleep {
    world: World,
    until: Instant,
    entry: Option<Entry>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.world.with(|state| {
            if state.now >= this.until {
                return Poll::Ready(());
            }
            let timer = Happening::Timer(context.waker().clone());
            match this.entry.and_then(|entry| state.schedule.get_mut(entry)) {
                Some(entry) => *entry = timer,
                None => this.entry = Some(state.schedule.add(this.until, timer)),
            }
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.world.with(|state| state.schedule.remove(entry));
        }
    }
}

/// The one timer of a driver: what was asked for last counts.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Sleep>);

impl Alarm {
    /// Ready at `until`, and pending for ever without one.
    pub(crate) fn poll(
        &mut self,
        world: &World,
        until: Option<Instant>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        if self.0.as_ref().map(|sleep| sleep.until) != until {
            self.0 = until.map(|until| world.sleep_until(until));
        }
        let Some(sleep) = &mut self.0 else { return Poll::Pending };
        ready!(Pin::new(sleep).poll(context));
        self.0 = None;
        Poll::Ready(())
    }
}

/// The time was over before the future was ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it was not ready in time")]
pub struct Elapsed;

/// The future of [`World::timeout`].
#[must_use = "futures do nothing unless they are polled"]
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut self.sleep).poll(context).map(|()| Err(Elapsed))
    }
}

impl<F> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout").field("until", &self.sleep.until).finish_non_exhaustive()
    }
}
