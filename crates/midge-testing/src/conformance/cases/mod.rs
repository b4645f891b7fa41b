//! The bodies of the suite.

pub mod behaviour;
pub mod dials;
pub mod drain;
pub mod ends;
pub mod jetstream_batches;
pub mod jetstream_consume;
pub mod jetstream_consumers;
pub mod jetstream_direct;
pub mod jetstream_events;
pub mod jetstream_foreign;
pub mod jetstream_levels;
pub mod jetstream_ordered;
pub mod jetstream_publish;
pub mod jetstream_streams;
pub mod kept;
pub mod kv_batch;
pub mod kv_buckets;
pub mod kv_entries;
pub mod kv_watch;
pub mod moves;
pub mod rests;
pub mod slow_readers;
pub mod streams;
pub mod surface;
pub mod wakes;
