//! JetStream without I/O.
//!
//! Types of the API, checks of what a caller asks for, and the decisions of consumers and
//! publishers as small machines: they take messages, statuses, the state of the connection and the
//! time, and say what to send, deliver, tell or give up. The handles over a connection are in
//! `midge::jetstream`.
//!
//! | to find | look in |
//! |---|---|
//! | where requests of the API go | [`ApiPrefix`] |
//! | why the server refused | [`ApiError`], [`ErrorCode`] |
//! | what a delivered message says of itself, and answers to it | [`Delivery`], [`Ack`] |
//! | the server's own messages to a consumer | [`StatusMessage`] |
//! | reading a pull consumer | [`PullMachine`] |
//!
//! The crate is `no_std` with `alloc`.
#![no_std]

extern crate alloc;

mod ack;
mod backoff;
mod codes;
mod delivery;
mod error;
mod notice;
mod prefix;
mod pull;
mod pull_config;
mod status;

pub use ack::Ack;
pub use codes::ErrorCode;
pub use delivery::{Delivery, ack_subject, is_delivered};
pub use error::{ApiError, Envelope, ReplyError, read_reply};
pub use notice::{Limit, Notice, PullEnd, ResetCause};
pub use prefix::{ApiPrefix, ApiPrefixError};
pub use pull::{PullMachine, PullOutput};
pub use pull_config::{PriorityGroup, PullConfig, PullConfigError, PullRequest};
pub use status::{StatusKind, StatusMessage};
