//! Key-value buckets: a bucket is a view of a stream (ADR-8).

mod cache;
mod config;
mod entry;
mod names;
mod subjects;
mod watch;

pub use cache::{CacheMachine, Suspect};
pub use config::{BucketConfig, BucketConfigError, BucketStatus, NotABucket};
pub use entry::{Entry, EntryError, Operation};
pub use names::{BucketName, BucketNameError, KeyError, check_key, check_key_filter};
pub use subjects::BucketSubjects;
pub use watch::{Include, InitialEnd, WatchFilterError, WatchMachine, WatchStep, watch_filters};
