//! A wire between clients and server that is cut, stalls, trickles and half-closes at random
//! places, with layers and without.
//!
//! `MIDGE_SEEDS` runs others than the fixed seeds: a number, or a range such as `100..200`.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use midge::ConnectOptions;
use midge_testing::{Chaos, Faults, Link, NatsServer};

use crate::load::{Plan, Subscriber, note};
use crate::steps::{Outcome, impatient};

/// Connections of each client that a seed ends.
const ENDS: u64 = 3;

/// Runs `fixed` seeds, or those that were asked for: with links to `server`, whose clients have
/// the options that `connect` makes of the address of a link.
async fn run_seeds(
    fixed: Range<u64>,
    server: &str,
    connect: impl Fn(&str) -> ConnectOptions,
) -> Outcome {
    let given = std::env::var("MIDGE_SEEDS");
    let is_fixed = given.is_err();
    let seeds = match given {
        Err(_) => fixed,
        Ok(given) => match given.split_once("..") {
            Some((first, end)) => first.parse()?..end.parse()?,
            None => given.parse()?..given.parse::<u64>()? + 1,
        },
    };
    let mut faults = Vec::new();
    for seed in seeds {
        note(&format!("MIDGE_SEEDS={seed}"));
        faults.extend(run(seed, server, &connect).await?);
    }
    // Each kind there is, of which a single seed may miss one.
    let kinds: [fn(&Faults) -> u64; 4] = [
        |faults| faults.cuts,
        |faults| faults.half_closes,
        |faults| faults.stalls,
        |faults| faults.trickles,
    ];
    let sums = kinds.map(|count| faults.iter().map(count).sum::<u64>());
    note(&format!("cuts, half-closes, stalls, trickles: {sums:?}"));
    assert!(!is_fixed || sums.iter().all(|&sum| sum > 0), "{sums:?}");
    Ok(())
}

/// What the links did.
async fn run(
    seed: u64,
    server: &str,
    connect: impl Fn(&str) -> ConnectOptions,
) -> Outcome<Vec<Faults>> {
    // What passes more has more undisturbed bytes between two faults.
    let spacing = [60_000, 60_000, 60_000, 100_000, 100_000, 30_000, 10_000, 10_000];
    let links = spacing.iter().map(|_| Link::to(server).start());
    let links = links.collect::<Result<Vec<_>, _>>()?;
    // Within a stall a connection is stale, or not: that depends on the stall.
    let options = |link: &Link| {
        let options = connect(&format!("127.0.0.1:{}", link.port()));
        options.ping_interval(Duration::from_millis(100)).max_pings_out(2)
    };
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
    let disturbed = load.scene.wait(|| links.iter().all(|link| ends(link) >= ENDS)).await;
    assert!(disturbed, "too few faults: {:?}", links.iter().map(ends).collect::<Vec<_>>());
    links.iter().for_each(Link::calm);
    load.settle().await?;
    let judged = load.finish(BTreeSet::new()).await?;
    assert!(judged.published.confirmed > 0 && judged.published.dropped == 0, "{judged:?}");
    Ok(links.iter().map(Link::faults).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_that_is_disturbed_anywhere_loses_only_what_the_reports_and_gaps_say() -> Outcome {
    let server = NatsServer::start()?;
    run_seeds(1..4, &server.url(), impatient).await
}

#[cfg(feature = "websocket")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_below_a_compressed_websocket() -> Outcome {
    let block = "websocket { host: \"127.0.0.1\", port: -1, no_tls: true, compression: true }";
    let server = NatsServer::builder().config(block).start()?;
    let url = server.ws_url().ok_or("the server listens for WebSockets")?;
    run_seeds(11..13, &url, |address| impatient(&format!("ws://{address}"))).await
}

#[cfg(feature = "ring")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_does_one_below_tls() -> Outcome {
    let authority = midge_testing::Authority::new()?;
    let block = authority.issue(&["127.0.0.1"])?.tls_block("");
    let server = NatsServer::builder().config(block).start()?;
    let tls = midge::Tls::new().root_certificates(midge::Pem::text(authority.pem()));
    let options = |address: &str| impatient(&format!("tls://{address}")).tls(tls.clone());
    run_seeds(21..23, &server.url(), options).await
}
