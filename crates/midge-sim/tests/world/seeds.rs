//! One seed decides everything.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Duration;

use midge_sim::{Outcome, Sim, World, storm};

/// A storm takes half a second without optimisation.
const STORMS: std::ops::Range<u64> = 0..if cfg!(debug_assertions) { 16 } else { 50 };

/// When this is set, the fingerprints of the storms are written to the file that it names, and
/// nothing is compared.
const CHILD: &str = "MIDGE_SIM_FINGERPRINTS";

async fn talk(world: World, payload: u8) -> Vec<u64> {
    let servers = world.add_servers(2);
    let client = world.connect(world.urls()).await.unwrap();
    let mut subscription = client.subscribe("a").await.unwrap();
    let mut rng = world.rng();
    for number in 0..20 {
        client.publish("a", [number, payload]).await.unwrap();
        world.sleep(rng.between(Duration::ZERO, Duration::from_millis(20))).await;
    }
    world.kill(servers[0], midge_sim::End::Reset);
    for _ in 0..20 {
        let _ = world.timeout(Duration::from_millis(10), subscription.next()).await;
    }
    vec![rng.next_u64(), world.rng().next_u64()]
}

fn talk_of(seed: u64, payload: u8) -> Outcome<Vec<u64>> {
    Sim::new(seed).trace(10_000).run(move |world| talk(world, payload)).unwrap()
}

#[test]
fn equal_runs_are_equal_and_others_are_not() {
    for seed in 0..20 {
        let (first, again) = (talk_of(seed, 7), talk_of(seed, 7));
        assert_eq!(first, again);
        assert!(first.trace.len() > 100, "{}", first.trace.len());
        let other = talk_of(seed + 1000, 7);
        assert_ne!(first.fingerprint, other.fingerprint);
        assert_ne!(first.trace, other.trace);
    }
}

#[test]
fn a_byte_that_is_another_one_changes_the_fingerprint() {
    for seed in 0..20 {
        let (first, other) = (talk_of(seed, 7), talk_of(seed, 8));
        assert_eq!((first.at, first.steps), (other.at, other.steps), "all else is the same");
        assert_ne!(first.fingerprint, other.fingerprint);
    }
}

#[test]
fn a_trace_changes_nothing_but_itself() {
    for seed in 0..10 {
        let without = Sim::new(seed).run(move |world| talk(world, 7)).unwrap();
        let mut with = talk_of(seed, 7);
        assert!(without.trace.is_empty());
        with.trace.clear();
        assert_eq!(without, with);
    }
}

/// What remains of all that a storm is.
fn fingerprint(seed: u64) -> String {
    match storm(seed, 0) {
        Ok(outcome) => {
            format!("{seed} {:x} {} {:?}", outcome.fingerprint, outcome.steps, outcome.value)
        }
        Err(failure) => failure.to_string().replace('\n', " "),
    }
}

#[test]
fn storms_are_the_same_in_one_process_and_in_the_next() {
    if let Some(told) = std::env::var_os(CHILD) {
        let all: Vec<String> = STORMS.map(fingerprint).collect();
        return std::fs::write(told, all.join("\n")).unwrap();
    }
    // Other addresses of memory, another environment, another order, other threads beside.
    let again = std::thread::spawn(|| {
        let held: Vec<Vec<u8>> = (0..1000).map(|size| vec![1; size * 7]).collect();
        let mut again: Vec<String> = STORMS.rev().map(fingerprint).collect();
        again.reverse();
        (held.len(), again)
    });
    let told = std::env::temp_dir().join(format!("midge-sim-storms-{}", std::process::id()));
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "seeds::storms_are_the_same_in_one_process_and_in_the_next"])
        .env_clear()
        .env(CHILD, &told)
        .env("A_LONG_ONE", "x".repeat(10_000))
        .env("TZ", "Asia/Kathmandu")
        .current_dir(std::env::temp_dir())
        .stdout(Stdio::null())
        .spawn();
    let first: Vec<String> = STORMS.map(fingerprint).collect();
    let (held, again) = again.join().unwrap();
    assert_eq!((held, &again), (1000, &first));
    assert!(child.unwrap().wait().unwrap().success());
    let other = std::fs::read_to_string(&told).unwrap();
    std::fs::remove_file(&told).unwrap();
    assert_eq!(other, first.join("\n"));
    let different: BTreeSet<_> = first.iter().collect();
    assert_eq!(different.len(), first.len());
}
