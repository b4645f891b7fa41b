//! A simulator with virtual time for programs over the [Midge](midge) NATS client.

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
pub use world::{Elapsed, Sleep, Spawned, Timeout, World};
