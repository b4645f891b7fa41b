//! What is compared: the ways to lose a cluster, and the ways to come back.

use std::time::Duration;

use midge_proto::{Config, ServerUrl};

use super::{Absence, Fate, Full, Scenario, Setting};
use crate::Rng;

const fn back(seconds: u64, meanwhile: Absence) -> Fate {
    Fate::Lost { back: Some(Duration::from_secs(seconds)), meanwhile }
}

const GONE: Fate = Fate::Lost { back: None, meanwhile: Absence::Refuses };
const RESTART: &[Fate] =
    &[back(5, Absence::Refuses), back(6, Absence::Refuses), back(7, Absence::Refuses)];
const BASE: Scenario =
    Scenario { name: "", title: "", servers: RESTART, greedy: false, full: Full::Silent };

/// How a large herd loses its servers.
pub const STORMS: &[Scenario] = &[
    Scenario {
        name: "restart",
        title: "All three servers restart. They refuse until they are back, after 5, 6 and 7 s",
        ..BASE
    },
    Scenario {
        name: "cut",
        title: "All connections are cut, and the servers are there",
        servers: &[back(0, Absence::Refuses); 3],
        ..BASE
    },
    Scenario {
        name: "one",
        title: "One of three servers is gone for good, and refuses",
        servers: &[GONE, Fate::Stays, Fate::Stays],
        ..BASE
    },
    Scenario {
        name: "dark",
        title: "All three machines are gone and answer nothing until they are back, after 30, 31 and 32 s",
        servers: &[back(30, Absence::Silent), back(31, Absence::Silent), back(32, Absence::Silent)],
        ..BASE
    },
    Scenario {
        name: "greedy",
        title: "All three servers restart, and accept more clients than they can serve in time",
        greedy: true,
        ..BASE
    },
];

/// What is no storm: how long clients are away that are few.
pub const SMALL: &[Scenario] = &[
    Scenario {
        name: "failover",
        title: "One of three servers is gone for good, and refuses",
        servers: &[GONE, Fate::Stays, Fate::Stays],
        ..BASE
    },
    Scenario {
        name: "alone",
        title: "The only server restarts. It refuses until it is back, after 1 s",
        servers: &[back(1, Absence::Refuses)],
        ..BASE
    },
    Scenario {
        name: "rolling",
        title: "All three servers restart. They refuse until they are back, after 5, 6 and 7 s",
        ..BASE
    },
];

/// How clients come back: first the defaults of the core, as they are, then what else there is.
pub fn settings() -> Vec<Setting> {
    let default = default();
    let jitter =
        |name, millis| Setting { name, jitter: Duration::from_millis(millis), ..default.clone() };
    let own = |name, own| Setting { name, own: Some(own), ..default.clone() };
    vec![
        Setting { name: "the default", ..default.clone() },
        jitter("jitter of 100 ms", 100),
        jitter("jitter of 5 s", 5000),
        own("first attempt within 1 s", first),
        Setting {
            name: "longest wait of 30 s",
            longest: Duration::from_secs(30),
            ..default.clone()
        },
        own("full jitter", full),
        own("no jitter", none),
        own("as nats.go and nats.js", passes),
    ]
}

fn default() -> Setting {
    let server = ServerUrl::parse("127.0.0.1").expect("an IP address is a URL");
    let config = Config::new(vec![server], [0; 32]);
    Setting {
        name: "",
        wait: config.reconnect_wait,
        longest: config.reconnect_wait_max,
        jitter: config.reconnect_jitter,
        own: None,
    }
}

/// 100 ms, doubled with each failure up to 5 s; the first attempt comes at once.
fn none(failed: u32, _: Duration, _: &mut Rng) -> Duration {
    if failed == 0 {
        return Duration::ZERO;
    }
    let doubled = Duration::from_millis(100) * (1 << (failed - 1).min(10));
    doubled.min(Duration::from_secs(5))
}

/// Anything up to that.
fn full(failed: u32, proposed: Duration, chance: &mut Rng) -> Duration {
    let longest = none(failed, proposed, chance);
    chance.between(Duration::ZERO, longest)
}

fn first(failed: u32, proposed: Duration, chance: &mut Rng) -> Duration {
    if failed == 0 { chance.between(Duration::ZERO, Duration::from_secs(1)) } else { proposed }
}

/// As nats.go and nats.js do with three servers.
fn passes(failed: u32, _: Duration, chance: &mut Rng) -> Duration {
    if failed > 0 && failed.is_multiple_of(3) {
        chance.between(Duration::from_millis(2000), Duration::from_millis(2100))
    } else {
        Duration::ZERO
    }
}
