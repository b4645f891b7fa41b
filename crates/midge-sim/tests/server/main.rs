//! The model of nats-server: its rules one by one, and byte for byte against a real one.

mod client;
mod delivery;
