//! A run: one seed, one future, and all that it spawns.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use midge_proto::Instant;

use crate::executor::{Executor, Ready};
use crate::net::{Link, Net};
use crate::schedule::Schedule;
use crate::state::State;
use crate::trace::Trace;
use crate::{Rng, Spawned, World};

/// Steps after which a run is taken for one that does not end, unless told otherwise.
const MAX_STEPS: u64 = 3_000_000;

/// Lines of trace that a failure of [`search`] has.
const LINES: usize = 200;

/// What is looked at after every step. An error ends the run.
type Check = Box<dyn FnMut(&World) -> Result<(), String> + Send>;

/// A run that is being prepared.
#[must_use = "nothing runs before `run`"]
pub struct Sim {
    seed: u64,
    link: Link,
    trace: usize,
    limit: Option<Duration>,
    max_steps: u64,
    checks: Vec<Check>,
}

/// A run has failed. Another run with the same seed fails in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// The virtual time of the failure.
    pub at: Instant,
    /// What failed: the text of a panic, or of a check.
    pub what: String,
    /// The last things that happened, if [`Sim::trace`] was asked for.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let at = self.at.as_nanos() as f64 / 1e9;
        write!(f, "seed {} after {at:.6} s: {}", self.seed, self.what)
    }
}

impl std::error::Error for Failure {}

/// A run that came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome<T> {
    /// What the future of the run gave.
    pub value: T,
    /// The virtual time at the end.
    pub at: Instant,
    /// Over everything that happened, with its time and its bytes. Equal runs have equal ones.
    pub fingerprint: u64,
    /// How much happened.
    pub steps: u64,
    /// The last things that happened, if [`Sim::trace`] was asked for.
    pub trace: Vec<String>,
}

impl Sim {
    /// A run whose chance is decided by `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            link: Link::default(),
            trace: 0,
            limit: None,
            max_steps: MAX_STEPS,
            checks: Vec::new(),
        }
    }

    /// What the paths between clients and servers are like. [`World::set_link`] changes it on the
    /// way.
    pub fn link(mut self, link: Link) -> Self {
        self.link = link;
        self
    }

    /// Keeps so many of the last things that happened as lines of text. Default: none, as they take
    /// time.
    pub fn trace(mut self, lines: usize) -> Self {
        self.trace = lines;
        self
    }

    /// The run fails when it has not ended after so much virtual time. Default: no limit. Without
    /// one, a program that waits for ever beside a connected client, whose PINGs go on, ends only
    /// by [`max_steps`](Self::max_steps).
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The run fails when it has not ended after so many steps: polls of a task and jumps of time.
    /// It finds tasks that wake themselves for ever; one that never returns from a poll hangs the
    /// run. Default: 3,000,000.
    pub fn max_steps(mut self, steps: u64) -> Self {
        self.max_steps = steps;
        self
    }

    /// Looks at the world after every step. An error ends the run, as its failure.
    pub fn check(
        mut self,
        check: impl FnMut(&World) -> Result<(), String> + Send + 'static,
    ) -> Self {
        self.checks.push(Box::new(check));
        self
    }

    /// Runs until the future is ready that `main` gives; what it has spawned ends with it, without
    /// being polled again.
    ///
    /// # Errors
    ///
    /// [`Failure`] when a task panics, a check fails, nothing can happen any more before the end,
    /// or a limit of time or steps is reached.
    pub fn run<F, T>(self, main: impl FnOnce(World) -> F) -> Result<Outcome<T>, Failure>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let seed = self.seed;
        let mut rng = Rng::new(seed);
        let ready = Ready::new();
        let mut executor = Executor::new(Arc::clone(&ready), rng.split());
        let net = Net::new(self.link.clone(), rng.split());
        let state = State {
            now: Instant::ZERO,
            rng,
            net,
            schedule: Schedule::default(),
            trace: Trace::new(self.trace),
            woken: Vec::new(),
        };
        let world = World::new(state, ready);
        let value = caught(&world, || {
            let main = world.spawn(main(world.clone()));
            self.steps(&mut executor, &world, &main)
        });
        let cleared = caught(&world, || {
            executor.clear();
            Ok(())
        });
        let value = value.and_then(|value| cleared.map(|()| value));
        let (at, fingerprint, steps, trace) = world.with(|state| {
            let trace = &mut state.trace;
            (state.now, trace.hash(), trace.steps(), trace.take_lines())
        });
        // What is planned holds the world, which holds it.
        drop(world.with(|state| std::mem::take(&mut state.schedule)));
        match value {
            Ok(value) => Ok(Outcome { value, at, fingerprint, steps, trace }),
            Err((at, what)) => Err(Failure { seed, at, what, trace }),
        }
    }

    fn steps<T>(
        mut self,
        executor: &mut Executor,
        world: &World,
        main: &Spawned<T>,
    ) -> Result<T, (Instant, String)> {
        let end = self.limit.map(|limit| Instant::ZERO + limit);
        for _ in 0..self.max_steps {
            let polled = executor.step();
            if let Some(value) = main.take() {
                return Ok(value);
            }
            match polled {
                Some(task) => world.with(|state| state.note("task", task as u64, 0, &[])),
                None if world.with(|state| state.advance(end)) => {}
                None => {
                    let why = match end.filter(|_| world.with(|state| state.next().is_some())) {
                        Some(end) => format!("it has not ended by {:?}", end - Instant::ZERO),
                        None => "nothing can happen any more, and it has not ended".to_owned(),
                    };
                    return Err((world.now(), why));
                }
            }
            for check in &mut self.checks {
                check(world).map_err(|what| (world.now(), what))?;
            }
        }
        Err((world.now(), format!("it has not ended after {} steps", self.max_steps)))
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// Runs `main` with one seed after the other, until a run fails. `main` gets a [`Sim`] for the
/// seed, sets what it wants, and runs it:
///
/// ```
/// use std::time::Duration;
/// use midge_sim::search;
///
/// let tried = search(0..20, |sim| {
///     sim.limit(Duration::from_secs(60)).run(async |world| {
///         world.add_servers(1);
///         let client = world.connect(world.urls()).await.expect("the server runs");
///         client.flush().await.expect("nothing goes wrong here");
///     })
/// });
/// assert_eq!(tried.expect("no run fails"), 20);
/// ```
///
/// A seed that fails is run again with a [trace](Sim::trace) of 200 lines. When the second run does
/// not fail in the same way, the failure says that too: something in `main` is not decided by the
/// seed.
///
/// # Errors
///
/// The first [`Failure`]. Otherwise, how many seeds were tried.
pub fn search<T>(
    seeds: impl IntoIterator<Item = u64>,
    mut main: impl FnMut(Sim) -> Result<Outcome<T>, Failure>,
) -> Result<u64, Failure> {
    let mut tried = 0;
    for seed in seeds {
        tried += 1;
        let Err(mut first) = main(Sim::new(seed)) else { continue };
        let again = main(Sim::new(seed).trace(LINES));
        let same = |again: &Failure| (again.at, &again.what) == (first.at, &first.what);
        match again {
            Err(again) if same(&again) => return Err(again),
            Err(again) => {
                first.what += &format!("; run again, it failed otherwise: {again}");
            }
            Ok(_) => first.what += "; run again, it did not fail",
        }
        return Err(first);
    }
    Ok(tried)
}

/// A panic is the failure of a run.
fn caught<T>(
    world: &World,
    run: impl FnOnce() -> Result<T, (Instant, String)>,
) -> Result<T, (Instant, String)> {
    let result = catch_unwind(AssertUnwindSafe(run));
    result.unwrap_or_else(|panic| Err((world.now(), text(&*panic))))
}

/// The text of a panic.
fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a task panicked").to_owned()
}
