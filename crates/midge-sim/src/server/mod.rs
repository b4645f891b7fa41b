//! A model of nats-server: one server, or a cluster of several that share interest.
//!
//! It does no I/O and reads no clock. A network hands it bytes and time and takes bytes back; the
//! same seed and the same calls give the same bytes.
//!
//! | to find | look in |
//! |---|---|
//! | servers, their clients, and what a test may make them do | [`Cluster`] |
//! | limits, users and permissions | [`ServerOptions`] |
//! | what happened, for a judge | [`Journal`] |
//! | what is in a stream, and its consumers | [`Cluster::stored`], [`Cluster::consumers`] |
//! | whether a subscription matches a subject | [`matches()`] |
//!
//! It behaves as nats-server 2.15.1 does, and a test holds it to the bytes of a real one. What it
//! leaves out: accounts, TLS, nkeys and JWT, gateways and leaf nodes, the system account, message
//! tracing. It writes the size of a message without leading zeros, where a real
//! one repeats the digits of the publisher; and a second CONNECT starts from the defaults, where a
//! real one keeps what is not said again.
//!
//! Where [`ServerOptions::jetstream`] says so there is JetStream, as much of it as publishers and
//! consumers need under faults: streams without limits that keep everything, publishing with message ids and an
//! expected last sequence, pull and push consumers with their statuses, acks, redelivery, heartbeats and flow
//! control, and one server that leads all of it. A stream or consumer is what its configuration
//! says, as far as that; the rest of a configuration is kept and has no effect.
//!
//! ```
//! use midge_proto::Instant;
//! use midge_sim::server::{Cluster, ServerOptions};
//!
//! let now = Instant::ZERO;
//! let mut cluster = Cluster::new(7);
//! let server = cluster.add(ServerOptions::default());
//! let client = cluster.accept(server, now).expect("it is running");
//! cluster.received(client, b"CONNECT {\"verbose\":false}\r\nPING\r\n", now);
//! assert!(cluster.pending(client).ends_with(b"PONG\r\n"));
//! ```

mod auth;
mod client;
mod cluster;
mod delivery;
mod info;
mod interest;
mod jetstream;
mod journal;
mod lame_duck;
mod look;
mod node;
mod options;
mod routes;
mod session;
mod timers;

pub use cluster::{ClientId, Cluster, ServerId};
pub use interest::matches;
pub use jetstream::Stored;
pub use journal::{Close, Entry, Event, Journal, Publish, Refusal};
pub use options::{Auth, Permission, ServerOptions, User};
