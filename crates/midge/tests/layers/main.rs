//! TLS and WebSocket while a driver is turned by hand, with the other side in memory.

#![allow(clippy::unwrap_used, reason = "what must be there and is not fails the test")]

#[cfg(feature = "ring")]
mod certificates;
#[cfg(any(feature = "ring", feature = "websocket"))]
mod rig;
#[cfg(feature = "ring")]
mod tls;
#[cfg(feature = "websocket")]
mod websocket;
