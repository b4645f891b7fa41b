//! The model of nats-server: its rules one by one, and byte for byte against a real one.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod cases;
mod chaos;
mod client;
mod closing;
mod cuts;
mod delivery;
mod differential;
mod jetstream;
mod nonsense;
mod operated;
mod topology;
mod transcript;
