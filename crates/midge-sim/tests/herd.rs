//! Small herds: that a run repeats, that everybody comes back, and that chance keeps them apart.

use std::time::Duration;

use midge_sim::herd::{
    Herd, Outcome, SMALL, STORMS, Scenario, Setting, attempts_chart, connected_chart, settings,
    table,
};

/// 2,000 clients, and servers as much weaker as there are fewer clients than in a storm.
fn small(seed: u64) -> Herd {
    Herd { clients: 2_000, handshakes: 20, backlog: 8, ..Herd::new(seed) }
}

fn setting(name: &str) -> Setting {
    settings().into_iter().find(|setting| setting.name == name).expect("it is on the list")
}

fn scenario(name: &str) -> &'static Scenario {
    let mut all = [STORMS, SMALL].into_iter().flatten();
    all.find(|scenario| scenario.name == name).expect("it is on a list")
}

fn run(herd: &Herd, loss: &str, name: &str) -> Outcome {
    herd.run(scenario(loss), &setting(name), &mut |_| {})
}

#[test]
fn a_seed_gives_the_same_table_and_the_same_charts_again() {
    let pages = [7, 7, 8].map(|seed| {
        let herd = small(seed);
        let scenario = scenario("restart");
        let outcomes = ["the default", "full jitter"].map(|name| {
            let setting = setting(name);
            let outcome = herd.run(scenario, &setting, &mut |_| {});
            (setting, outcome)
        });
        let charts = [attempts_chart, connected_chart];
        (table(&outcomes), charts.map(|chart| chart(&herd, scenario, &outcomes)))
    });
    assert_eq!(pages[0], pages[1]);
    assert_ne!(pages[0], pages[2]);
}

#[test]
fn everybody_comes_back_and_no_sooner_than_the_servers_can() {
    let herd = small(1);
    for (loss, lost, servers) in
        [("restart", 2_000, 3), ("one", 667, 2), ("cut", 2_000, 3), ("dark", 2_000, 3)]
    {
        let outcome = run(&herd, loss, "the default");
        let back: u32 = outcome.samples.iter().map(|sample| sample.connected).sum();
        assert_eq!((outcome.lost, back), (lost, lost), "{loss}");
        let [half, most, all] = [outcome.half, outcome.most, outcome.all].map(Option::unwrap);
        assert!(half <= most && most <= all, "{loss}: {half:?}, {most:?}, {all:?}");
        let soonest = Duration::from_secs(u64::from(lost)) / (servers * herd.handshakes);
        assert!(all > soonest, "{loss}: {all:?}, which is sooner than {soonest:?}");
        assert!(all < soonest * 2 + Duration::from_secs(40), "{loss}: {all:?}");
    }
}

#[test]
fn an_attempt_succeeds_is_refused_or_is_waited_for_in_vain() {
    let outcome = run(&small(1), "restart", "the default");
    let ended: u32 = outcome
        .samples
        .iter()
        .map(|sample| sample.connected + sample.refused + sample.timed_out)
        .sum();
    assert_eq!(u64::from(ended), outcome.attempts());
    assert!(outcome.samples.iter().any(|sample| sample.timed_out > 0), "packets were dropped");
}

#[test]
fn without_jitter_clients_stay_in_step() {
    let second = Duration::from_secs(1);
    for (loss, times) in [("cut", 5), ("one", 5), ("restart", 2)] {
        let [default, less, none] =
            ["the default", "jitter of 100 ms", "no jitter"].map(|name| run(&small(1), loss, name));
        let peak = |outcome: &Outcome| outcome.peak_from(second);
        assert!(peak(&none) > times * peak(&default), "{} {}", peak(&none), peak(&default));
        assert!(peak(&less) > peak(&default), "{} {}", peak(&less), peak(&default));
        assert!(none.wasted() > 1.5 * default.wasted(), "{} {}", none.wasted(), default.wasted());
        assert!(none.mean_downtime() > default.mean_downtime());
    }
}

#[test]
fn a_few_clients_fail_over_at_once() {
    let few = Herd { clients: 300, ..Herd::new(1) };
    let outcome = run(&few, "failover", "the default");
    assert!(outcome.all.unwrap() < Duration::from_millis(200), "{:?}", outcome.all);
    assert_eq!(outcome.attempts(), 100, "of the third that lost its server, one each");
}

#[test]
fn a_server_that_accepts_more_than_it_can_serve_in_time_works_in_vain() {
    let outcome = run(&small(1), "greedy", "the default");
    assert!(outcome.all.is_none());
    let back: u32 = outcome.samples.iter().map(|sample| sample.connected).sum();
    assert!(outcome.in_vain > 5 * u64::from(back), "{} and {back}", outcome.in_vain);
}
