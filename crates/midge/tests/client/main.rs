//! What clients see while a driver is turned by hand: no sockets, no runtime, no time.

mod delivery;
mod lifetime;
mod requests;
mod rig;
mod slow;
mod waking;
