//! Consumers as the API describes them.

mod check;
mod config;
mod info;

pub use config::{AckPolicy, ConsumerConfig, DeliverPolicy, PriorityPolicy, ReplayPolicy};
pub use info::{
    Action, ConsumerInfo, CreateConsumerRequest, PauseRequest, PauseState, PriorityGroup,
    ResetReply, ResetRequest, SequencePair, UnpinRequest,
};
