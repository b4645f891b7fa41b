//! Key-value buckets: a bucket is a view of a stream (ADR-8).

mod cache;
mod codec;
mod config;
mod entry;
mod names;
mod subjects;
mod watch;

pub use cache::{CacheMachine, Suspect};
pub use codec::{
    Base64Keys, Base64Values, CodecError, KeyCodec, PathKeys, PlainKeys, PlainValues, ValueCodec,
};
pub use config::{BucketConfig, BucketConfigError, BucketStatus, NotABucket};
pub use entry::{Entry, EntryError, Operation};
pub use names::{BucketName, BucketNameError, KeyError, check_key, check_key_filter};
pub use subjects::BucketSubjects;
pub use watch::{Include, InitialEnd, WatchFilterError, WatchMachine, WatchStep, watch_filters};
