//! The bodies of the suite.

pub mod dials;
pub mod ends;
pub mod rests;
pub mod streams;
pub mod wakes;
