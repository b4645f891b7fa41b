//! Tasks: each runs beside the others, in an order that the seed decides, and ends with the run.

use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use midge_sim::{Sim, World};

use crate::{ms, run};

async fn hello(world: World) -> u64 {
    world.add_servers(1);
    let client = world.connect(world.urls()).await.unwrap();
    let mut greetings = client.subscribe("greet.*").await.unwrap();
    for number in 0..100 {
        client.publish(&format!("greet.{number}"), "hello").await.unwrap();
    }
    client.flush().await.unwrap();
    for number in 0..100 {
        let message = greetings.next().await.unwrap();
        assert_eq!(message.subject(), format!("greet.{number}"));
    }
    world.sleep(Duration::from_secs(60)).await;
    client.close().await.fates.confirmed.messages
}

#[test]
fn a_client_lives_in_the_world() {
    let outcome = Sim::new(1).trace(100).run(hello).unwrap();
    assert_eq!(outcome.value, 100);
    assert!(outcome.at.as_nanos() >= 60_000_000_000);
    assert!(outcome.at.as_nanos() < 61_000_000_000, "{:?}", outcome.at);
}

/// Counts what is dropped.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn tasks_are_joined_in_their_order() {
    let values = run(1, ms(1), async |world| {
        let tasks = [30, 10, 20].map(|time| {
            let own = world.clone();
            world.spawn(async move {
                own.sleep(ms(time)).await;
                (time, own.now().as_nanos())
            })
        });
        world.join(tasks.into()).await
    });
    assert_eq!(values.value, [(30, 30_000_000), (10, 10_000_000), (20, 20_000_000)]);
}

#[test]
fn the_seed_decides_who_is_next() {
    let order = |seed| {
        let outcome = run(seed, ms(1), async |world| {
            let order = Arc::new(Mutex::new(Vec::new()));
            let tasks = (0..10).map(|number| {
                let order = Arc::clone(&order);
                world.spawn(async move { order.lock().unwrap().push(number) })
            });
            let tasks = tasks.collect();
            world.join(tasks).await;
            order.lock().unwrap().clone()
        });
        outcome.value
    };
    let orders: std::collections::BTreeSet<_> = (0..20).map(order).collect();
    assert!(orders.len() > 15, "{orders:?}");
    assert_eq!(order(3), order(3));
}

#[test]
fn a_task_that_is_aborted_is_dropped_and_not_polled_again() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let held = Held(Arc::clone(&dropped));
    let seen = Arc::clone(&dropped);
    run(1, ms(1), async move |world| {
        let own = world.clone();
        let task = world.spawn(async move {
            let _held = held;
            own.sleep(ms(10)).await;
            panic!("it is polled again");
        });
        let never = world.spawn(async { panic!("it is polled") });
        never.abort();
        world.sleep(ms(5)).await;
        assert_eq!(seen.load(Ordering::Relaxed), 0);
        task.abort();
        world.sleep(ms(1)).await;
        assert_eq!(seen.load(Ordering::Relaxed), 1);
        world.sleep(ms(100)).await;
    });
}

#[test]
fn a_process_that_dies_is_seen_by_the_server() {
    run(1, ms(1), async |world| {
        world.add_servers(1);
        let (connecting, driver) = world.connect_with(world.urls()).unwrap();
        let driver = world.spawn(driver);
        let client = connecting.await.unwrap();
        client.flush().await.unwrap();
        driver.abort();
        assert!(client.flush().await.is_err(), "nobody serves it any more");
        world.sleep(ms(10)).await;
        assert_eq!(world.connections(), []);
    });
}

#[test]
fn all_tasks_end_with_the_run_wherever_they_stand() {
    for seed in 0..20 {
        let dropped = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&dropped);
        run(seed, ms(1), async move |world| {
            world.add_servers(1);
            let client = world.connect(world.urls()).await.unwrap();
            let waits = client.clone();
            let held = Held(Arc::clone(&seen));
            drop(world.spawn(async move {
                let _held = held;
                waits.closed().await;
            }));
            world.sleep(ms(1)).await;
            // One that may never be polled, and whose end wakes others.
            let mut subscription = client.subscribe("a").await.unwrap();
            let held = Held(seen);
            drop(world.spawn(async move {
                let _held = held;
                subscription.next().await;
            }));
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 2, "seed {seed}");
    }
}

/// Wakes when it is dropped, as what a client holds does.
struct Wakes(Waker);

impl Drop for Wakes {
    fn drop(&mut self) {
        self.0.wake_by_ref();
    }
}

#[test]
fn a_task_that_was_never_polled_may_wake_others_with_its_end() {
    run(1, ms(1), async |world| {
        let own = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
        let wakes = Wakes(own);
        world.spawn(async move { drop(wakes) });
    });
}
