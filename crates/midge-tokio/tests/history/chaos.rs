//! A wire between clients and server that is cut, stalls, trickles and half-closes at random
//! places.
//!
//! `MIDGE_SEEDS` runs others than the fixed seeds: a number, or a range such as `100..200`.

use std::collections::BTreeSet;
use std::time::Duration;

use midge::ConnectOptions;
use midge_testing::{Chaos, Faults, Link, NatsServer};

use crate::load::{Judged, Plan, Subscriber, note};
use crate::steps::{Outcome, impatient};

/// Connections of each client that a seed ends.
const ENDS: u64 = 3;

fn seeds() -> Outcome<Vec<u64>> {
    let Ok(given) = std::env::var("MIDGE_SEEDS") else { return Ok((1..=3).collect()) };
    Ok(match given.split_once("..") {
        None => vec![given.parse()?],
        Some((first, end)) => (first.parse()?..end.parse()?).collect(),
    })
}

/// Stale within a stall, or not: that depends on the stall.
fn options(link: &Link) -> ConnectOptions {
    impatient(&link.url()).ping_interval(Duration::from_millis(100)).max_pings_out(2)
}

async fn run(server: &NatsServer, seed: u64) -> Outcome<(Judged, Faults)> {
    // What passes more has more undisturbed bytes between two faults.
    let spacing = [60_000, 60_000, 60_000, 100_000, 100_000, 30_000, 10_000, 10_000];
    let links: Vec<_> =
        spacing.iter().map(|_| Link::to(&server.url()).start()).collect::<Result<_, _>>()?;
    let plan = Plan {
        publishers: links[..3].iter().map(options).collect(),
        subscribers: vec![
            Subscriber::to_all(options(&links[3])),
            Subscriber::to_all(options(&links[4])),
            Subscriber::to_one(0, options(&links[5])),
        ],
        requesters: vec![options(&links[6])],
        responders: vec![options(&links[7])],
    };
    let mut load = plan.start().await?;
    for (index, (link, spacing)) in links.iter().zip(spacing).enumerate() {
        let chaos = Chaos::new(seed.wrapping_mul(100).wrapping_add(index as u64));
        link.unleash(chaos.spacing(spacing).longest_stall(Duration::from_millis(400)));
    }
    let ends = |link: &Link| link.faults().cuts + link.faults().half_closes;
    if !load.scene.wait(|| links.iter().all(|link| ends(link) >= ENDS)).await {
        return Err(
            format!("too few faults: {:?}", links.iter().map(ends).collect::<Vec<_>>()).into()
        );
    }
    links.iter().for_each(Link::calm);
    load.settle().await?;
    let mut all = Faults::default();
    for faults in links.iter().map(Link::faults) {
        all.cuts += faults.cuts;
        all.half_closes += faults.half_closes;
        all.stalls += faults.stalls;
        all.trickles += faults.trickles;
    }
    Ok((load.finish(BTreeSet::new()).await?, all))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_that_is_disturbed_anywhere_loses_only_what_the_reports_and_gaps_say() -> Outcome {
    let server = NatsServer::start()?;
    let mut all = Faults::default();
    for seed in seeds()? {
        note(&format!("MIDGE_SEEDS={seed}"));
        let (judged, faults) = run(&server, seed).await?;
        note(&format!("{faults:?}"));
        assert!(judged.published.confirmed > 0 && judged.published.dropped == 0, "{judged:?}");
        all.stalls += faults.stalls;
        all.trickles += faults.trickles;
    }
    assert!(all.stalls > 0 && all.trickles > 0, "{all:?}");
    Ok(())
}
