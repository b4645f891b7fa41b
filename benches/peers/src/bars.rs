//! What Midge promises of itself: what a full run is held against.

use crate::contestant::LIMIT;
use crate::weight::{ASYNC_NATS, ASYNC_NATS_LEAST, WITH_EVERYTHING, WITHOUT_TLS};
use crate::workload::{Kind, Workload};

/// A promise: one costs at most so much in terms of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub(crate) workload: Workload,
    pub(crate) one: &'static str,
    pub(crate) other: &'static str,
    pub(crate) most: f64,
}

const CT: (&str, &str) = ("midge-tokio-ct", "async-nats-ct");
const MT: (&str, &str) = ("midge-tokio-mt", "async-nats-mt");
const MT_C: (&str, &str) = ("midge-tokio-mt", "nats.c");
const MT_GO: (&str, &str) = ("midge-tokio-mt", "nats.go");
const CT_LIMIT: (&str, &str) = ("midge-tokio-ct", LIMIT);
const HAND_LIMIT: (&str, &str) = ("midge-hand", LIMIT);
const STD_LIMIT: (&str, &str) = ("midge-std", LIMIT);

const BARS: &[(Kind, usize, (&str, &str), f64)] = &[
    (Kind::Publish, 16, CT, 1.0 / 6.0),
    (Kind::Publish, 16, MT, 1.0 / 4.0),
    (Kind::Publish, 16, MT_C, 1.0),
    (Kind::Publish, 16, MT_GO, 1.0),
    (Kind::Publish, 128, CT, 1.0 / 4.0),
    (Kind::Publish, 128, MT, 1.0 / 4.0),
    (Kind::Publish, 128, MT_C, 1.0),
    (Kind::Publish, 128, MT_GO, 1.0),
    (Kind::Publish, 128, CT_LIMIT, 2.5),
    (Kind::Publish, 128, HAND_LIMIT, 2.5),
    (Kind::Publish, 1024, CT, 1.0 / 2.0),
    (Kind::Publish, 1024, MT, 2.0 / 3.0),
    (Kind::Publish, 1024, MT_C, 1.0),
    (Kind::Publish, 1024, MT_GO, 1.0),
    (Kind::Publish, 1024, CT_LIMIT, 1.6),
    (Kind::Publish, 1024, HAND_LIMIT, 1.6),
    (Kind::PublishHeaders, 128, CT, 1.0 / 3.0),
    (Kind::PublishHeaders, 128, MT, 1.0 / 3.0),
    (Kind::PublishHeaders, 128, MT_C, 1.0),
    (Kind::PublishHeaders, 128, MT_GO, 1.0),
    (Kind::Receive, 16, CT, 1.0 / 6.0),
    (Kind::Receive, 16, MT, 1.0 / 4.0),
    (Kind::Receive, 16, MT_C, 1.0 / 4.0),
    (Kind::Receive, 128, CT, 1.0 / 6.0),
    (Kind::Receive, 128, MT, 1.0 / 4.0),
    (Kind::Receive, 128, MT_C, 1.0 / 4.0),
    (Kind::Receive, 128, CT_LIMIT, 3.0),
    (Kind::Receive, 1024, CT, 1.0 / 2.0),
    (Kind::Receive, 1024, MT, 2.0 / 3.0),
    (Kind::Receive, 1024, CT_LIMIT, 1.6),
    (Kind::Receive, 65_536, CT, 1.0 / 2.0),
    (Kind::Receive, 65_536, MT, 2.0 / 3.0),
    (Kind::ReceiveHeaders, 128, CT, 1.0 / 8.0),
    (Kind::ReceiveHeaders, 128, MT, 1.0 / 8.0),
    (Kind::ReadHeaders, 128, CT, 1.0 / 6.0),
    (Kind::ReadHeaders, 128, MT, 1.0 / 6.0),
    (Kind::Request, 128, CT_LIMIT, 1.15),
    (Kind::Request, 128, STD_LIMIT, 1.15),
    (Kind::Request, 128, HAND_LIMIT, 1.15),
    (Kind::Requests, 128, CT, 1.0 / 2.0),
    (Kind::Requests, 128, MT, 2.0 / 3.0),
    (Kind::PublishTls, 128, CT, 1.0 / 2.0),
    (Kind::PublishTls, 128, MT, 1.0 / 2.0),
    (Kind::ReceiveTls, 128, CT, 1.0 / 2.0),
    (Kind::ReceiveTls, 128, MT, 1.0 / 2.0),
    (Kind::PublishWs, 128, CT, 1.0 / 2.0),
    (Kind::PublishWs, 128, MT, 1.0 / 2.0),
    (Kind::ReceiveWs, 128, CT, 1.0 / 2.0),
    (Kind::ReceiveWs, 128, MT, 1.0 / 2.0),
    (Kind::JsWindow, 256, CT, 1.0 / 3.0),
    (Kind::JsWindow, 256, MT, 1.0 / 3.0),
    (Kind::JsWindow, 4096, CT, 1.0 / 3.0),
    (Kind::JsWindow, 4096, MT, 1.0 / 3.0),
    (Kind::JsConsume, 128, CT, 1.0 / 3.0),
    (Kind::JsConsume, 128, MT, 1.0 / 3.0),
    (Kind::FanOut, 128, CT, 1.0 / 2.0),
    (Kind::FanOut, 128, MT, 1.0),
];

/// Bytes of memory, at most, of each subscription or idle connection.
pub(crate) const MEMORY: &[(Kind, &str, f64)] = &[
    (Kind::Subscriptions, CT.0, 400.0),
    (Kind::Subscriptions, STD_LIMIT.0, 400.0),
    (Kind::Idle, CT.0, 12_000.0),
    (Kind::Idle, STD_LIMIT.0, 12_000.0),
    (Kind::Idle, HAND_LIMIT.0, 12_000.0),
];

/// Of programs: the crates at most, and bytes.
pub(crate) const WEIGHT: &[(&str, u64, Option<u64>)] =
    &[(WITHOUT_TLS, 35, Some(1_000_000)), (WITH_EVERYTHING, 75, None)];
/// A cold build of one takes at most half of the processor time of the other.
pub(crate) const BUILDS: &[(&str, &str)] =
    &[(WITHOUT_TLS, ASYNC_NATS_LEAST), (WITH_EVERYTHING, ASYNC_NATS)];

pub(crate) fn all() -> impl Iterator<Item = Bar> {
    BARS.iter().map(|&(kind, size, (one, other), most)| Bar {
        workload: Workload { kind, size },
        one,
        other,
        most,
    })
}
