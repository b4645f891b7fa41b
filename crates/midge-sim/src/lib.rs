//! A simulator with virtual time for programs over the [Midge](midge) NATS client.

pub mod herd;
mod rng;
pub mod server;

pub use rng::Rng;
