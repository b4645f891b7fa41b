//! What clients see while a driver is turned by hand: no sockets, no runtime, no time.

#[cfg(feature = "jetstream")]
mod abandoned;
#[cfg(feature = "jetstream")]
mod acks;
#[cfg(feature = "jetstream")]
mod api;
mod auth;
mod backlog;
mod context;
mod delivery;
mod direct;
#[cfg(feature = "jetstream")]
mod flooded;
mod getters;
mod handlers;
#[cfg(feature = "serde")]
mod json;
#[cfg(feature = "jetstream")]
mod levels;
mod lifetime;
mod many;
mod options;
#[cfg(feature = "jetstream")]
mod ordered;
mod own_inbox;
#[cfg(feature = "jetstream")]
mod publisher;
mod reading;
mod reconnecting;
mod requests;
mod rig;
mod slow;
mod subscribing;
mod task;
mod trace;
mod transport;
mod wakers;
mod waking;
#[cfg(not(feature = "tls"))]
mod without_tls;
