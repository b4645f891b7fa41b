//! The connection, driven by hand on a virtual clock.

mod contract;
mod ending;
mod fates;
mod handshake;
mod inbound;
mod keep_alive;
mod requests;
mod rig;
mod servers;
mod subscriptions;
