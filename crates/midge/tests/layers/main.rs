//! TLS and WebSocket while a driver is turned by hand, with the other side in memory.

#![allow(clippy::unwrap_used, reason = "what must be there and is not fails the test")]

#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod certificates;
#[cfg(any(feature = "ring", feature = "aws-lc-rs", feature = "websocket"))]
mod rig;
#[cfg(any(feature = "ring", feature = "aws-lc-rs"))]
mod tls;
#[cfg(feature = "websocket")]
mod websocket;
