//! The connection, driven by hand on a virtual clock.
#![allow(clippy::unwrap_used, reason = "what must be there and is not fails the test")]

mod choosing;
mod confirmed;
mod contract;
mod ending;
mod fates;
mod handshake;
mod hostile;
mod inbound;
mod keep_alive;
mod limits;
mod model;
mod moves;
mod plain;
mod refused;
mod repeats;
mod requests;
mod rig;
mod runs;
mod servers;
mod steps;
mod subscriptions;
mod tls;
mod trickle;
mod walk;
