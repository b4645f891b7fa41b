//! Streams as the API describes them.

mod check;
mod config;
mod info;
mod source;

pub(crate) use config::user_metadata;
pub use config::{
    Compression, ConsumerLimits, Discard, PersistMode, Placement, Republish, Retention, Storage,
    StreamConfig, SubjectTransform,
};
pub use info::{
    ClusterInfo, DesiredCluster, LostData, Replica, SourceInfo, StreamAlternate, StreamInfo,
    StreamInfoRequest, StreamRequest, StreamState, SubjectsPage,
};
pub use source::{External, SourceConsumer, StreamSource};
