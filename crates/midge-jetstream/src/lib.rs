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
//! | what a message to a stream asks for, and the answer | [`PublishHeaders`], [`Schedule`], [`PubAck`] |
//! | many messages on their way to a stream | [`PublishWindow`] |
//! | counters of any size | [`Integer`] |
//!
//! The crate is `no_std` with `alloc`.
#![no_std]

extern crate alloc;

mod codes;
mod error;
mod integer;
mod prefix;
mod publish;
mod schedule;
mod window;

pub use codes::ErrorCode;
pub use error::{ApiError, Envelope, ReplyError, read_reply};
pub use integer::{Integer, IntegerError};
pub use prefix::{ApiPrefix, ApiPrefixError};
pub use publish::{PubAck, PublishHeaders, PublishHeadersError, Rollup, Unpublished};
pub use schedule::{Schedule, ScheduleError};
pub use window::{
    Answer, Outgoing, PublishFailure, PublishOrder, PublishWindow, Report, WindowConfig,
    WindowOutput,
};
