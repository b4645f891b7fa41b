//! A storm: clients that do everything at once, in a cluster to which everything happens, and the
//! account of every message.
//!
//! | what must hold | who looks at it |
//! |---|---|
//! | the contract of `poll`, lines 1 to 7 and 9, after each poll | [`CoreClient`](crate::CoreClient) |
//! | line 8: each read is cut at random, and what comes is what the server wrote | `Ledger::received`, `judge` |
//! | line 10: who wakes only when `Wait` says so meets each deadline, end and recovery | `bare`, `full` |
//! | nothing reaches a server that was not accepted so, twice, out of order, although it was reported as not sent, or anew after it was reported as unknown | `Ledger::look`, after each step |
//! | what comes is what was published | `Ledger::received` |
//! | each id ends once, requests by their deadline; positions count what was accepted | `bare`, as it happens |
//! | a response is the answer to its request | `bare`, `full`, `asking` |
//! | so it is where replies are read beside the driver, and no request outlives its deadline | `asking` |
//! | confirmed, unknown, kept and dropped are disjoint, and are all that was accepted | `Ledger::ended`, at the end of each client |
//! | what is confirmed reached a server; what is kept or dropped did not | `Ledger::ended`, `look`, `judge` |
//! | what was flushed on the connection that brought it is confirmed, not unknown | `Ledger::flushed` |
//! | of each connection, a subscription receives the beginning of what the server sent on it, in order: all that the client has read, and all there is when it was drained, alone or with its connection | `Ledger::judge`, at the end |
//! | a maximum is reached exactly, over all connections | `Ledger::judge` |
//! | every client is connected and answered within [`recovery`] of the last fault | `bare`, `full` |
//! | a close and a drain end in time, also in the midst of faults | `bare` |

mod asking;
mod bare;
mod full;
mod ledger;
mod plan;
mod weather;

use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

pub use ledger::Tally;

use crate::{Failure, Outcome, Sim, World};
use ledger::Ledger;
use plan::Plan;

/// A big storm through a straw takes millions.
const MAX_STEPS: u64 = 50_000_000;

/// How long after the last fault every client has to be connected and to have been answered.
///
/// A path that has gone silent is found by pings that are not answered; then an attempt may still
/// be under way to a server that was silent, and the next one waits for its time.
fn recovery(plan: &Plan) -> Duration {
    let silence = plan.ping_interval * (plan.max_pings_out + 1);
    let attempt = plan.connect_timeout;
    let wait = plan.reconnect_wait_max + plan.reconnect_jitter;
    // A lame duck that is left is given time, and so is what it still has to confirm.
    weather::LONGEST_STALL
        + silence
        + (attempt + wait) * 2
        + plan.move_timeout
        + Duration::from_secs(2)
}

/// One storm, all of which `seed` decides, with as many of its last lines of
/// [trace](Sim::trace).
///
/// # Errors
///
/// [`Failure`] when the contract of the core is broken, a client says of a message what the servers
/// did not see, a message comes twice, out of order or not at all where it should, or a client is
/// not connected again in time.
pub fn storm(seed: u64, trace: usize) -> Result<Outcome<Tally>, Failure> {
    let plan = Plan::new(seed);
    let ledger = Ledger::default();
    let look = ledger.clone();
    Sim::new(seed)
        .link(plan.link.clone())
        .trace(trace)
        .limit(Duration::from_secs(3600))
        .max_steps(MAX_STEPS)
        .check(move |world| world.cluster(|cluster, _| look.look(cluster)))
        .run(|world| run(world, plan, ledger))
}

/// The output of a future that is ready at once.
fn ready<F: Future + Unpin>(mut future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match Pin::new(&mut future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is not ready"),
    }
}

async fn run(world: World, plan: Plan, ledger: Ledger) -> Tally {
    plan.add_servers(&world);
    let mut clients = Vec::new();
    for index in 0..plan.full {
        let client = full::Full::new(&world, &plan, &ledger, index);
        clients.push(world.spawn(client.run()));
    }
    for _ in 0..plan.asking {
        let client = asking::Asking::new(&world, &plan, &ledger);
        clients.push(world.spawn(client.run(world.rng())));
    }
    for _ in 0..plan.bare {
        let client = bare::Bare::new(&world, &plan, &ledger);
        clients.push(world.spawn(client.run()));
    }
    weather::rage(&world, &plan, &ledger).await;
    // From here on nothing goes wrong. Clients come to rest by themselves.
    for client in clients {
        client.await;
    }
    ledger.judge(&world).unwrap_or_else(|what| panic!("{what}"))
}
