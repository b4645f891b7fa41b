//! One suite for every adapter: its driver against scripted servers, and the client against a real
//! one. The bodies stand here, once, and know no runtime.

mod adapter;
#[doc(hidden)]
pub mod cases;
#[doc(hidden)]
pub mod clusters;
mod macros;
mod notices;
mod run;
mod steps;
mod streams_by_hand;
mod tasks;
mod timer;

pub use adapter::{Adapter, Ending, Serving};
#[doc(hidden)]
pub use run::{Outcome, alone, in_a_cluster, together};
