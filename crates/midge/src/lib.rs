//! A NATS client that belongs to no async runtime.
//!
//! Every future here is polled by plain [`Waker`](std::task::Waker)s, so any executor can run it.
//! What talks to the network is an adapter such as `midge-tokio`: it makes a [`Client`] and turns
//! the [`driver`] behind it. A library takes a [`Client`]; the application picks the adapter.
//!
//! | to | use |
//! |---|---|
//! | set up a connection | [`ConnectOptions`], then the `connect` of an adapter |
//! | prove who you are | [`auth`] |
//! | publish, request, subscribe | [`Client`] |
//! | receive | [`Subscription`], or a function: [`Subscribe::handler`] |
//! | ask many | [`Client::request_many`] |
//! | store messages in streams, and read them by consumers | `jetstream`, with the feature of that name |
//! | keep values under keys | `kv`, with the same feature |
//! | send and receive typed values | `json`, with the feature `serde` |
//! | wait without an executor | [`blocking`] |
//! | see what happens to the connection | [`Client::status`], [`Client::events`] |
//! | write an adapter | [`driver`] |
//!
//! A connection lives as long as a [`Client`], a [`Subscription`] or a pending future of it. When
//! the last one is dropped it writes what is queued, for at most `linger`, and closes. What must
//! have arrived before the process ends goes through [`Client::flush`], [`Client::drain`] or
//! [`Client::close`].
//!
//! | feature | what it adds | default |
//! |---|---|---|
//! | `jetstream` | `jetstream` and `kv`: streams, consumers, acknowledged publishing, buckets | on |
//! | `tls` | TLS by rustls, for `tls` servers and those that offer it | on |
//! | `ring`, `aws-lc-rs` | cryptography for it, unless the process has a default provider | `ring` |
//! | `websocket` | `ws` servers, and with `tls` also `wss`, with compression | on |
//! | `serde` | typed payloads: `json` | off |
//! | `tracing` | a `tracing` event for each change of the connection | off |
// On docs.rs each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "jetstream")]
mod alarm;
mod ask;
pub mod auth;
#[cfg(feature = "jetstream")]
mod background;
pub mod blocking;
mod choice;
mod client;
mod closing;
mod confirm;
mod dispatch;
pub mod driver;
mod end;
mod events;
mod flush;
mod handler;
#[cfg(feature = "jetstream")]
mod in_hand;
mod into_servers;
#[cfg(feature = "jetstream")]
pub mod jetstream;
#[cfg(feature = "serde")]
pub mod json;
#[cfg(feature = "jetstream")]
pub mod kv;
mod layers;
mod options;
mod publish;
mod queue;
mod request;
mod request_many;
mod room;
mod router;
mod shared;
mod status;
mod subscribe;
mod subscription;
mod table;
mod timers;
mod waiters;

pub use bytes::Bytes;
pub use client::{Client, InboxError};
pub use closing::{Closed, Closing, ConnectError, Connecting, WhenClosed};
pub use confirm::{ConfirmError, Confirming, SubscribeConfirmed, SubscribingConfirmed};
pub use end::EndReason;
pub use events::{Event, Events, NextEvent};
pub use flush::{Flush, FlushError, Flushing, Rtt};
pub use handler::{HandlerSubscription, SubscribeHandler, SubscribingHandler};
pub use into_servers::IntoServers;
#[cfg(feature = "serde")]
pub use json::Json;
pub use layers::TlsSession;
#[cfg(feature = "tls")]
pub use layers::{Pem, Tls, rustls};
#[cfg(feature = "tls")]
pub use midge_proto::TlsMode;
pub use midge_proto::wire::{ServerError, ServerInfo};
pub use midge_proto::{
    AsSubject, Candidate, CertificateFault, CloseReason, ConfigError, Connected, DisconnectCause,
    Disconnected, Fate, Fates, HeaderError, HeaderMap, Headers, Instant, Message, NextServer,
    NotSent, Position, Positions, PublishError, QueueGroup, QueueGroupError, RequestError, Scheme,
    ServerUrl, ServerUrlError, Sid, Statistics, Status as MessageStatus, Subject, SubjectError,
    SubjectRef, SubjectText, SubscribeError,
};
pub use options::{ConnectOptions, OptionsError};
pub use publish::{Publish, Publishing, Respond, RespondError, Responding};
pub use request::{Request, Requesting};
pub use request_many::{NextReply, Replies, RepliesError, RequestMany, RequestingMany};
pub use status::{LastError, State, Status};
pub use subscribe::{Subscribe, Subscribing, WhenFull};
pub use subscription::{DrainSubscription, Messages, Next, NextBatch, Subscription};
