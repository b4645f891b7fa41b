//! Servers for the tests of NATS clients.
//!
//! | to test against | use |
//! |---|---|
//! | a real `nats-server`, found on this machine or fetched | [`NatsServer`] |
//! | several of them as one cluster | [`Cluster`] |
//! | servers and clients with certificates | [`Authority`] |
//! | a server that says exactly what the test says, byte by byte | [`ScriptedServer`] |
//! | either of them over a wire that is long, stalls, or is cut | [`Link`] |
//! | the same, disturbed at random places that a seed decides | [`Link::unleash`] and [`Chaos`] |
//! | what passes over such wires, byte by byte | [`Recording`] |
//! | a key-value bucket, by what its clients were told | [`linear`] |
//! | an adapter of Midge as every other is | `conformance!` (feature `conformance`) |
//!
//! Everything blocks, and nothing here needs an async runtime. It runs on Linux and macOS.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut server = midge_testing::NatsServer::builder().jetstream(true).start()?;
//! // … a client connects to server.url() …
//! server.kill()?;
//! server.restart()?; // the same port and the same store
//! # Ok(())
//! # }
//! ```
//!
//! No server is a failure, never a reason to skip a test: [`FindError`] says what to do.

mod certificates;
mod chaos;
mod closed_port;
#[cfg(feature = "conformance")]
#[doc(hidden)]
pub mod conformance;
pub mod linear;
mod link;
mod peer;
mod random;
mod recording;
mod scripted;
mod server;

pub use certificates::{Authority, Identity};
pub use chaos::{Chaos, Faults};
pub use closed_port::ClosedPort;
#[cfg(feature = "conformance")]
pub use conformance::{Adapter, Ending, Serving};
pub use link::{Direction, Link, LinkBuilder};
pub use peer::{Peer, ScriptError};
pub use random::Random;
pub use recording::{Passed, Recording};
pub use scripted::{Listener, ScriptedServer};
pub use server::{
    Binary, Cluster, ClusterBuilder, FindError, LogError, NatsServer, NatsServerBuilder,
    ReloadError, Search, StartError, Version, unused_port,
};
