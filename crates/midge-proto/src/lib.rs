//! The NATS client protocol without I/O.
//!
//! [`Connection`] is the protocol state of one client across any number of transports: it
//! parses and emits frames and decides everything about connecting, subscriptions, requests,
//! keep-alive and reconnecting. It opens no socket, reads no clock, starts no thread. A driver
//! dials, moves bytes and sleeps; see [`Connection`] for the loop it turns.
//!
//! | to find | look in |
//! |---|---|
//! | decisions, and the loop of a driver | [`Connection`] |
//! | what a connection can be told at its start | [`Config`] |
//! | bytes: both directions of every operation | [`wire`] |
//! | checked values | [`Subject`], [`QueueGroup`], [`HeaderMap`] |
//! | what arrives | [`Message`], [`Headers`] |
//!
//! The crate is `no_std` with `alloc`. The same inputs give the same bytes out: time is an
//! argument, and randomness is 32 bytes in the [`Config`].
#![no_std]

extern crate alloc;

mod config;
mod connection;
mod header;
mod message;
mod rng;
mod server;
mod subject;
mod time;
pub mod wire;

pub use config::*;
pub use connection::*;
pub use header::{HeaderError, HeaderMap, Headers, Status};
pub use message::Message;
pub use server::*;
pub use subject::{
    AsSubject, QueueGroup, QueueGroupError, Subject, SubjectError, SubjectRef, SubjectText,
};
pub use time::Instant;
