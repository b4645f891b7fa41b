//! Histories of runs under faults: publishers, subscribers and requesters under load while a real
//! nats-server is killed, stopped, or rolled, or the wire to it is disturbed.
//!
//! Messages have numbers. What was published, what the client was told of it, and what arrived is
//! judged by [`checker`]: nothing twice, nothing out of order, and every missing message has a
//! cause that core NATS has.

mod chaos;
mod checker;
mod kill;
mod load;
mod roles;
mod roll;
mod scene;
#[path = "../steps/mod.rs"]
mod steps;
mod stop;
