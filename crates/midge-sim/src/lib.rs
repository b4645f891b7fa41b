//! A simulator with virtual time for programs over the [Midge](midge) NATS client.
//!
//! Your program runs as it is: with real [`Client`](midge::Client)s, whose protocol core, buffers and
//! futures are those of production. What is simulated is around them: time, the executor, the network,
//! and [a model of nats-server](server). Servers are killed, paths stall, connections are cut in the
//! middle of a frame; hours pass in seconds; and one seed decides all of it, so that what failed once
//! fails again.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use std::time::Duration;
//!
//! use midge::{Client, ConnectOptions};
//! use midge_sim::{Sim, World, search};
//!
//! // The program: it knows nothing of the simulator.
//! async fn sell(client: Client, sold: Arc<AtomicU64>) {
//!     let mut orders = client.subscribe("orders").await.expect("a fresh client subscribes");
//!     while let Some(order) = orders.next().await {
//!         sold.fetch_add(1, Ordering::Relaxed);
//!         let _ = client.respond(&order, "sold").await;
//!     }
//! }
//!
//! async fn order(client: &Client) {
//!     while client.request("orders", "one").await.is_err() {} // Is that good?
//! }
//!
//! // What surrounds it, and what must hold.
//! async fn shop(world: World) {
//!     world.add_servers(3);
//!     let options = |name: &str| ConnectOptions::new(world.urls()).name(name);
//!     let sold = Arc::new(AtomicU64::new(0));
//!     let seller = world.connect(options("seller")).await.expect("all servers run");
//!     world.spawn(sell(seller, Arc::clone(&sold)));
//!     let buyer = world.connect(options("buyer")).await.expect("all servers run");
//!
//!     let (outside, mut rng) = (world.clone(), world.rng());
//!     world.spawn(async move {
//!         loop {
//!             outside.sleep(rng.between(Duration::ZERO, Duration::from_millis(10))).await;
//!             for connection in outside.connections_of("buyer") {
//!                 outside.cut(connection);
//!             }
//!         }
//!     });
//!     for _ in 0..20 {
//!         order(&buyer).await;
//!         world.sleep(Duration::from_millis(5)).await;
//!     }
//!     assert_eq!(sold.load(Ordering::Relaxed), 20, "as many are sold as were ordered");
//! }
//!
//! let run = |sim: Sim| sim.limit(Duration::from_secs(600)).run(shop);
//! let failure = search(0..1000, run).expect_err("an order whose answer is lost is made twice");
//! // The last lines of the trace, the seed, the virtual time, and the panic:
//! println!("{failure}");
//!
//! // The same again, for as long as it takes to understand it:
//! let again = run(Sim::new(failure.seed).trace(1000)).expect_err("it is the same run");
//! assert_eq!((again.at, &again.what), (failure.at, &failure.what));
//! ```
//!
//! | to find | look in |
//! |---|---|
//! | a run: its seed, its end, checks after every step | [`Sim`], [`search`] |
//! | time, chance, tasks, clients | [`World`] |
//! | servers, connections, and what may go wrong with them | [`World`] too |
//! | what a path is like | [`Link`] |
//! | the model of the servers, and the journal of what they saw | [`World::cluster`], [`server`] |
//! | a connection of the core without a client, held to its contract | [`World::core_client`] |
//! | bytes by hand | [`World::dial`] |
//! | the storms that Midge itself is held to | [`storm()`], [`stream_storm()`] |
//! | very many clients that lose their cluster at once | [`herd`] |
//!
//! # What happens in a run
//!
//! One thread polls one task at a time; which of those that can go on is next is decided by the seed.
//! When none can, time jumps to the next thing that is planned: bytes that arrive, a timer of a server,
//! a [`sleep`](World::sleep), or the moment that a client has said it waits for. Nothing else makes time
//! pass: a task that computes takes none.
//!
//! Each connection has a path with latency, jitter, bandwidth and a window ([`Link`]). Its bytes arrive
//! in their order; those of two connections overtake each other. A write into a full window waits, as
//! with TCP, and a connection that is cut loses some of what was under way.
//!
//! A run ends when its future is ready; other tasks are dropped where they stand. It fails when a task
//! or a check panics, a check gives an error, nothing can happen any more, or a
//! [limit](Sim::limit) is reached.
//!
//! # What the program must leave alone
//!
//! What the seed does not decide makes runs differ. [`search`] notices when a failure does not come
//! again; equal [fingerprints](Outcome::fingerprint) of two runs say that nothing did. So, in a run:
//!
//! - **time** is [`World::now`] and [`World::sleep`], or comes with what Midge gives. `std::time` stands
//!   still beside it, and timers of tokio or smol do not run;
//! - **chance** is [`World::rng`]; `getrandom`, `rand` with its defaults, and random ids are not
//!   repeated;
//! - **tasks** are [`World::spawn`]ed. A thread, or a blocking wait for something in the run, is not part
//!   of it, and may hang it;
//! - **the order of a `HashMap`** differs from one process to the next: iterate a `BTreeMap`, or sort;
//! - **files, sockets, addresses of memory** and what else the machine decides.
//!
//! A library that takes a [`Client`](midge::Client) and leaves time to its caller runs as it is.
//!
//! # Limits
//!
//! There is no TLS and no WebSocket, and the servers know no accounts, no nkeys and no
//! JWT, and as much of JetStream as [`server`] says, where [`ServerOptions::jetstream`](server::ServerOptions::jetstream) asks for it. The [journal](server::Journal) keeps every
//! message that servers took, so the memory of a run grows with its traffic. A poll that never returns
//! hangs the run. Runs of different versions of Midge differ, also with the same seed.

mod client;
mod core_client;
mod executor;
mod faults;
pub mod herd;
mod meter;
mod net;
mod rng;
mod schedule;
pub mod server;
mod sim;
mod state;
mod storm;
mod stream_storm;
mod trace;
mod world;

pub use client::Driver;
pub use core_client::CoreClient;
pub use meter::{Metered, meter};
pub use midge_proto::Instant;
pub use net::{Connection, Direction, Door, End, Link, Socket};
pub use rng::Rng;
pub use sim::{Failure, Outcome, Sim, search};
pub use storm::{Tally, storm};
pub use stream_storm::{StreamTally, stream_storm};
pub use world::{Elapsed, Sleep, Spawned, Timeout, World};
