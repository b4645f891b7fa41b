//! What fails fails with its seed, its time and its cause, and in the same way again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use midge_proto::Instant;
use midge_sim::{Failure, Sim, World, search};

use crate::{exact, ms};

fn failure<F: Future<Output = ()> + Send + 'static>(
    sim: impl Fn() -> Sim,
    main: impl Fn(World) -> F,
) -> Failure {
    let first = sim().run(&main).unwrap_err();
    assert_eq!(sim().run(&main).unwrap_err(), first, "it fails in the same way again");
    let text = first.to_string();
    assert!(text.contains(&first.seed.to_string()) && text.ends_with(&first.what), "{text}");
    first
}

#[test]
fn a_panic_of_any_task_fails_the_run() {
    let failure = failure(
        || Sim::new(77),
        async |world| {
            let own = world.clone();
            drop(world.spawn(async move {
                own.sleep(ms(1500)).await;
                panic!("{} eggs are broken", 3);
            }));
            world.sleep(Duration::from_secs(10)).await;
        },
    );
    assert_eq!((failure.seed, failure.at), (77, Instant::ZERO + ms(1500)));
    assert_eq!(failure.what, "3 eggs are broken");
    assert_eq!(failure.to_string(), "seed 77 after 1.500000 s: 3 eggs are broken");
}

#[test]
fn a_panic_before_the_first_await_or_behind_the_last_fails_the_run() {
    let run = Sim::new(1).run(|_| -> std::future::Ready<()> { panic!("before") });
    assert_eq!(run.unwrap_err().what, "before");

    struct Fragile;
    impl Drop for Fragile {
        fn drop(&mut self) {
            panic!("behind");
        }
    }
    let run = Sim::new(1).run(async |world: World| {
        drop(world.spawn(async {
            let _fragile = Fragile;
            std::future::pending::<()>().await;
        }));
        world.sleep(ms(1)).await;
    });
    assert_eq!(run.unwrap_err().what, "behind");
}

#[test]
fn a_task_that_waits_for_what_never_comes_fails_the_run() {
    let forever = async |world: World| {
        world.sleep(ms(7)).await;
        std::future::pending::<()>().await;
    };
    let failure = failure(|| Sim::new(5), forever);
    assert_eq!((failure.seed, failure.at), (5, Instant::ZERO + ms(7)));
    assert_eq!(failure.what, "nothing can happen any more, and it has not ended");
    let limited = Sim::new(5).limit(Duration::from_secs(60)).run(forever).unwrap_err();
    assert_eq!(limited, failure, "a limit makes no difference");
}

#[test]
fn waiting_beside_a_client_ends_at_the_limit() {
    let failure = failure(
        || Sim::new(6).limit(Duration::from_secs(600)),
        async |world| {
            world.add_servers(1);
            let client = world.connect(world.urls()).await.unwrap();
            client.closed().await;
        },
    );
    assert_eq!(failure.what, "it has not ended by 600s");
    assert!(failure.at <= Instant::ZERO + Duration::from_secs(600));
}

#[test]
fn a_task_that_wakes_itself_for_ever_fails_the_run() {
    let failure = failure(
        || Sim::new(7).max_steps(1000),
        async |_| {
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                std::task::Poll::<()>::Pending
            })
            .await;
        },
    );
    assert_eq!((failure.seed, failure.at), (7, Instant::ZERO));
    assert_eq!(failure.what, "it has not ended after 1000 steps");
}

#[test]
fn a_check_that_fails_ends_the_run_at_that_step() {
    let late = |world: &World| match world.now() > Instant::ZERO + ms(20) {
        true => Err("too late".to_owned()),
        false => Ok(()),
    };
    let failure = failure(
        || Sim::new(8).check(late).trace(3),
        async |world| {
            for _ in 0..10 {
                world.sleep(ms(3)).await;
            }
        },
    );
    assert_eq!((failure.seed, failure.at), (8, Instant::ZERO + ms(21)));
    assert_eq!(failure.what, "too late");
    assert_eq!(failure.trace.len(), 3);

    let run = Sim::new(8).check(|_| panic!("a check")).run(async |world: World| {
        world.sleep(ms(1)).await;
    });
    assert_eq!(run.unwrap_err().what, "a check");
}

/// Fails with one seed in ten, when a cut comes between a publish and its flush.
async fn careless(world: World) {
    world.add_servers(1);
    let client = world.connect(world.urls()).await.unwrap();
    let (own, mut rng) = (world.clone(), world.rng());
    drop(world.spawn(async move {
        own.sleep(rng.between(Duration::ZERO, ms(100))).await;
        for connection in own.connections() {
            own.cut(connection);
        }
    }));
    for _ in 0..10 {
        client.publish("a", "b").await.unwrap();
        client.flush().await.expect("nothing happens");
        world.sleep(ms(9)).await;
    }
}

#[test]
fn a_search_gives_the_first_seed_that_fails_with_its_trace() {
    let mut tried = Vec::new();
    let run = |sim: Sim| sim.link(exact(ms(1))).run(careless);
    let failure = search(0..1000, |sim| {
        let outcome = run(sim);
        tried.push(outcome.is_ok());
        outcome
    });
    let failure = failure.unwrap_err();
    // All seeds before it were good; it was run twice.
    assert_eq!(tried.len() as u64, failure.seed + 2);
    assert!(failure.what.starts_with("nothing happens"), "{}", failure.what);
    assert!(failure.trace.iter().any(|line| line.contains(" cut ")), "{failure}");
    let again = run(Sim::new(failure.seed)).unwrap_err();
    assert_eq!((again.at, again.what), (failure.at, failure.what));
    assert_eq!(search(0..failure.seed, run).unwrap(), failure.seed);
}

#[test]
fn a_search_tells_of_a_program_that_its_seed_does_not_decide() {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let failure = search(3..9, |sim| {
        sim.run(async |_| {
            let run = RUNS.fetch_add(1, Ordering::Relaxed);
            assert_ne!(run, 0, "the first one fails");
        })
    })
    .unwrap_err();
    assert_eq!(failure.seed, 3);
    assert!(failure.what.ends_with("; run again, it did not fail"), "{}", failure.what);

    let failure = search(3..9, |sim| {
        sim.run(async |_| panic!("run {}", RUNS.fetch_add(1, Ordering::Relaxed)))
    });
    let what = failure.map(|_: u64| ()).unwrap_err().what;
    assert!(what.contains("; run again, it failed otherwise: seed 3 after"), "{what}");
}
