//! A device that is driven by one loop: the core, a network that never waits, and what the device
//! does. It needs `alloc`, and runs on a microcontroller as it runs here.
//!
//! | to see | look in |
//! |---|---|
//! | how a connection is driven by hand | [`Driver`] |
//! | what the device has to bring | [`Network`] |
//! | what it does with the connection | [`Device`] |
#![no_std]

extern crate alloc;

mod device;
mod driver;

pub use device::{Device, Memory};
pub use driver::{Driver, Network};
