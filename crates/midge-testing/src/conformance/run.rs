//! How a case is run: bounded in time, and alone where it measures the process.

use std::error::Error;
use std::future::Future;
use std::panic::resume_unwind;
use std::sync::{PoisonError, RwLock, mpsc};
use std::time::Duration;

use super::Adapter;

/// How a case ends.
pub type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What takes longer hangs, and blocks its thread: a future that hangs fails long before.
const LONGEST: Duration = Duration::from_secs(150);

/// The same of a cluster whose servers die and come back.
const LONGEST_IN_A_CLUSTER: Duration = Duration::from_secs(400);

/// Held by each case, and alone by those that measure the process.
static PROCESS: RwLock<()> = RwLock::new(());

/// Runs a case beside others. It fails when it takes too long, even if it blocks its thread; that
/// thread is left behind then.
///
/// # Errors
///
/// Those of the case.
///
/// # Panics
///
/// As the case does.
pub fn together<A: Adapter, F: Future<Output = Outcome>>(
    case: impl FnOnce() -> F + Send + 'static,
) -> Outcome {
    let _together = PROCESS.read().unwrap_or_else(PoisonError::into_inner);
    run::<A, F>(case, LONGEST)
}

/// The same for a case that measures the process.
///
/// # Errors
///
/// Those of the case.
///
/// # Panics
///
/// As the case does.
pub fn alone<A: Adapter, F: Future<Output = Outcome>>(
    case: impl FnOnce() -> F + Send + 'static,
) -> Outcome {
    let _alone = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    run::<A, F>(case, LONGEST)
}

/// The same for a case with a cluster, which takes all that the machine has.
///
/// # Errors
///
/// Those of the case.
///
/// # Panics
///
/// As the case does.
pub fn in_a_cluster<A: Adapter, F: Future<Output = Outcome>>(
    case: impl FnOnce() -> F + Send + 'static,
) -> Outcome {
    let _alone = PROCESS.write().unwrap_or_else(PoisonError::into_inner);
    run::<A, F>(case, LONGEST_IN_A_CLUSTER)
}

fn run<A: Adapter, F: Future<Output = Outcome>>(
    case: impl FnOnce() -> F + Send + 'static,
    longest: Duration,
) -> Outcome {
    let (over, ended) = mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name("case".into()).spawn(move || {
        // Dropped by a panic too.
        let _over = over;
        A::block_on(case())
    })?;
    if let Err(mpsc::RecvTimeoutError::Timeout) = ended.recv_timeout(longest) {
        return Err(format!("it blocks its thread, or takes longer than {longest:?}").into());
    }
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}
