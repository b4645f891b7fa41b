//! What Midge promises of itself: what a full run is held against.

use crate::contestant::LIMIT;
use crate::run::Cost;
use crate::weight::{ASYNC_NATS, ASYNC_NATS_LEAST, WITH_EVERYTHING, WITHOUT_TLS};
use crate::workload::{Kind, Workload};

/// A promise: one costs at most so much in terms of the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bar {
    pub(crate) workload: Workload,
    pub(crate) one: &'static str,
    pub(crate) other: &'static str,
    pub(crate) measure: Measure,
    pub(crate) most: f64,
}

/// What is compared, for each message or request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Processor time.
    Cpu,
    /// Time that passed, in terms of another workload.
    WallOf(Kind),
    /// The time within which a half was answered.
    Median,
    /// And 99.9 %.
    P999,
}

impl Measure {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Cpu => "processor time".to_owned(),
            Self::WallOf(kind) => format!("time, the other in {}", kind.name()),
            Self::Median => "median latency".to_owned(),
            Self::P999 => "99.9 % latency".to_owned(),
        }
    }

    /// Of one run.
    pub(crate) fn of(self, cost: &Cost) -> Option<f64> {
        match self {
            Self::Cpu => Some(cost.cpu * 1e9 / cost.count as f64),
            Self::WallOf(_) => Some(cost.wall * 1e9 / cost.count as f64),
            Self::Median => Some(cost.latency?[0]),
            Self::P999 => Some(cost.latency?[2]),
        }
    }
}

impl Bar {
    /// What `missed.md` calls it.
    pub(crate) fn name(&self) -> String {
        let Self { workload, one, other, measure, .. } = self;
        let (kind, size) = (workload.kind.name(), workload.size);
        format!("{kind} {size}: {one} to {other}, {}", measure.name())
    }
}

/// Whichever client of others did best in a repetition, of those that run on one thread,
pub(crate) const FASTEST_ON_ONE: &str = "the fastest peer on one thread";
/// and of those that run on several.
pub(crate) const FASTEST_ON_SEVERAL: &str = "the fastest peer on several threads";
/// Who these are.
pub(crate) const ON_ONE: &[&str] = &["async-nats-ct", "nats.js", "nats.py"];
pub(crate) const ON_SEVERAL: &[&str] = &["async-nats-mt", "watermelon", "nats.c", "nats.go"];

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
    (Kind::KvPut, 128, CT, 1.0 / 2.0),
    (Kind::KvPut, 128, MT, 1.0 / 2.0),
    (Kind::KvGet, 128, CT, 1.0 / 2.0),
    (Kind::KvGet, 128, MT, 1.0 / 2.0),
    (Kind::KvKeys, 128, CT, 1.0 / 3.0),
    (Kind::KvKeys, 128, MT, 1.0 / 3.0),
    (Kind::KvWatch, 128, CT, 1.0 / 3.0),
    (Kind::KvWatch, 128, MT, 1.0 / 3.0),
    (Kind::FanOut, 1000, CT, 1.0 / 2.0),
    (Kind::FanOut, 1000, MT, 1.0),
];

/// Latencies, at or below those of the fastest peer of the same flavour.
const LATENCIES: &[(Kind, Measure)] = &[
    (Kind::Request, Measure::Median),
    (Kind::Request, Measure::P999),
    (Kind::JsPublish, Measure::Median),
    (Kind::KvPut, Measure::Median),
    (Kind::KvGet, Measure::Median),
];
const ADAPTERS: [&str; 4] = ["midge-tokio-ct", "midge-tokio-mt", "midge-smol", "midge-std"];
/// Whom they are held against: smol's executor is one thread, and so is the caller's there; in midge-std a
/// thread reads for the caller.
const FLAVOURS: [(&str, &str); 4] = [
    ("midge-tokio-ct", FASTEST_ON_ONE),
    ("midge-smol", FASTEST_ON_ONE),
    ("midge-tokio-mt", FASTEST_ON_SEVERAL),
    ("midge-std", FASTEST_ON_SEVERAL),
];
/// A thousand keys in one call, in terms of a thousand calls.
const MANY: f64 = 1.0 / 20.0;

/// Processor nanoseconds, at most, of each subscription.
pub(crate) const SUBSCRIBING: &[(&str, f64)] = &[(CT.0, 1_000.0), (STD_LIMIT.0, 1_000.0)];
/// Who loses nothing of a burst at default limits, and has so many bytes of memory at most.
pub(crate) const BURST: (&[&str], f64) = (&ADAPTERS, 32e6);

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

pub(crate) fn all() -> Vec<Bar> {
    let mut all = Vec::new();
    for &(kind, size, (one, other), most) in BARS {
        let workload = Workload { kind, size };
        all.push(Bar { workload, one, other, measure: Measure::Cpu, most });
    }
    for &(kind, measure) in LATENCIES {
        let workload = Workload { kind, size: 128 };
        let bar = |(one, other)| Bar { workload, one, other, measure, most: 1.0 };
        all.extend(FLAVOURS.map(bar));
    }
    for (one, other) in [CT, MT, (CT.0, CT.0), (MT.0, MT.0)] {
        let workload = Workload { kind: Kind::KvGetMany, size: 128 };
        let measure = Measure::WallOf(Kind::KvGetEach);
        all.push(Bar { workload, one, other, measure, most: MANY });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contestant::ALL;

    #[test]
    fn every_client_of_others_has_a_flavour() {
        let peers = ALL.iter().filter(|it| !it.is_midge() && it.name != LIMIT).map(|it| it.name);
        let mut known = [ON_ONE, ON_SEVERAL].concat();
        known.sort_unstable();
        let mut peers: Vec<&str> = peers.collect();
        peers.sort_unstable();
        assert_eq!(peers, known);
    }
}
