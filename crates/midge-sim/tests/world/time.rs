//! Time jumps to what comes next, exactly.

use std::time::Duration;

use midge_proto::{Config, Event, Instant, ServerUrl};
use midge_sim::server;

use crate::{ms, run};

#[test]
fn a_sleep_ends_at_its_nanosecond() {
    let outcome = run(1, ms(1), async |world| {
        let mut times = Vec::new();
        for nanos in [1, 999, 1_000_000_007, 3_600_000_000_001] {
            world.sleep(Duration::from_nanos(nanos)).await;
            times.push(world.now().as_nanos());
        }
        world.sleep(Duration::ZERO).await;
        world.sleep_until(Instant::ZERO).await;
        times
    });
    let end = 3_601_000_001_008;
    assert_eq!(outcome.value, [1, 1000, 1_000_001_007, end]);
    assert_eq!(outcome.at.as_nanos(), end);
}

#[test]
fn a_sleep_that_is_dropped_holds_nobody_up() {
    let outcome = run(1, ms(1), async |world| {
        let mut long = std::pin::pin!(world.sleep(Duration::from_secs(1000)));
        let short = world.timeout(ms(5), &mut long).await;
        assert_eq!(short, Err(midge_sim::Elapsed));
        assert_eq!(world.now(), Instant::ZERO + ms(5));
    });
    assert_eq!(outcome.at, Instant::ZERO + ms(5));
}

#[test]
fn a_timeout_gives_what_was_ready_in_time() {
    run(1, ms(1), async |world| {
        assert_eq!(world.timeout(ms(10), world.sleep(ms(10))).await, Ok(()), "just in time");
        assert_eq!(world.now(), Instant::ZERO + ms(10));
        let late = world.sleep(ms(10) + Duration::from_nanos(1));
        assert!(world.timeout(ms(10), late).await.is_err());
        assert_eq!(world.now(), Instant::ZERO + ms(20));
    });
}

#[test]
fn a_client_wakes_when_its_wait_says_so() {
    for seed in 0..20 {
        let latency = Duration::from_nanos(1_234_567);
        let interval = Duration::from_nanos(3_000_000_019);
        let outcome = run(seed, latency, async move |world| {
            world.add_servers(1);
            let mut config = Config::new(ServerUrl::parse_list(&world.urls()).unwrap(), [0; 32]);
            config.ping_interval = interval;
            let client = world.core_client(config).unwrap();
            while !matches!(client.event().await, Event::Connected(_)) {}
            let up = world.now();
            world.sleep(interval * 3 + ms(100)).await;
            let pings = world.cluster(|cluster, _| {
                let entries = cluster.journal().entries().iter();
                let pings = entries.filter(|e| matches!(e.event, server::Event::Pinged { .. }));
                pings.map(|entry| entry.at).collect::<Vec<_>>()
            });
            (up, pings)
        });
        let (up, pings) = outcome.value;
        // The first one ends the handshake.
        let expected = [1, 2, 3].map(|times| up + interval * times + latency);
        assert_eq!(pings[1..], expected, "seed {seed}");
        let written = up + interval;
        let time = written.as_nanos();
        let line = format!("{}.{:09} client writes", time / 1_000_000_000, time % 1_000_000_000);
        let ping = outcome.trace.iter().find(|text| text.trim_start().starts_with(&line));
        assert!(ping.is_some_and(|text| text.ends_with("PING\\r\\n")), "{:#?}", outcome.trace);
    }
}
