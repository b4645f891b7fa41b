//! What a cache promises, against a real server. Mostly over `midge-std`, which a test needs no
//! runtime for; the last test runs over every adapter.

use std::convert::Infallible;
use std::future::ready;
use std::thread;
use std::time::Duration;

use midge_std::midge::{Client, Event};
use midge_std::{Items, Wait};
use midge_testing::{Direction, Link, NatsServer};
use near_cache::{Cache, Limits};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

const SUBJECT: &str = "prices.changed";
/// A test that takes longer has failed.
const LONGEST: Duration = Duration::from_secs(20);

fn cache(client: &Client) -> Cache<u32> {
    Cache::new(client, SUBJECT, Limits::default()).wait().expect("the server lets it subscribe")
}

/// What a caller sees when the source says `price`.
fn look(cache: &Cache<u32>, key: &str, price: u32) -> u32 {
    let Ok(seen) = cache.get_or_load(key, ready(Ok::<_, Infallible>(price))).wait();
    seen
}

/// Waits until an invalidation, which the server has, has come: what comes before the answer to a
/// flush is handed to the handler soon.
fn wait_until_forgotten(cache: &Cache<u32>, client: &Client, key: &str) {
    let forgotten = async {
        while cache.get(key).is_some() {
            client.flush().await.expect("the server answers");
        }
    };
    forgotten.wait_timeout(LONGEST).expect("the invalidation came");
}

#[test]
fn a_value_is_loaded_once() -> Outcome {
    let server = NatsServer::start()?;
    let client = midge_std::connect(server.url())?;
    let prices = cache(&client);
    assert_eq!(prices.get("tea"), None);
    assert_eq!(look(&prices, "tea", 3), 3);
    assert_eq!(look(&prices, "tea", 4), 3, "from memory");
    assert_eq!(prices.get("tea"), Some(3));
    assert_eq!(prices.get("milk"), None);
    Ok(())
}

#[test]
fn a_failed_load_is_the_callers_and_nothing_is_kept() -> Outcome {
    let server = NatsServer::start()?;
    let client = midge_std::connect(server.url())?;
    let prices = cache(&client);
    assert_eq!(prices.get_or_load("tea", ready(Err("no database"))).wait(), Err("no database"));
    assert_eq!(look(&prices, "tea", 3), 3);
    Ok(())
}

#[test]
fn an_invalidation_is_seen_here_at_once_and_elsewhere_soon() -> Outcome {
    let server = NatsServer::start()?;
    let (here, there) = (midge_std::connect(server.url())?, midge_std::connect(server.url())?);
    let (near, far) = (cache(&here), cache(&there));
    for key in ["tea", "milk"] {
        assert_eq!((look(&near, key, 3), look(&far, key, 3)), (3, 3));
    }

    near.invalidate("tea").wait()?;

    assert_eq!(near.get("tea"), None);
    wait_until_forgotten(&far, &there, "tea");
    assert_eq!((near.get("milk"), far.get("milk")), (Some(3), Some(3)));
    Ok(())
}

#[test]
fn an_invalidation_of_its_own_does_not_come_back() -> Outcome {
    let server = NatsServer::start()?;
    let client = midge_std::connect(server.url())?;
    let prices = cache(&client);
    // It would come back at any of several moments, so there are many of them.
    for _ in 0..100 {
        prices.invalidate("tea").wait()?;
        assert_eq!(look(&prices, "tea", 3), 3);
        client.flush().wait()?;
        assert_eq!(prices.get("tea"), Some(3));
    }
    client.publish(SUBJECT, "tea").wait()?;
    wait_until_forgotten(&prices, &client, "tea");
    Ok(())
}

#[test]
fn what_was_invalidated_while_it_was_loaded_is_not_kept() -> Outcome {
    let server = NatsServer::start()?;
    let client = midge_std::connect(server.url())?;
    let prices = cache(&client);
    let load = async {
        // Read before the change, and handed over after it.
        prices.invalidate("tea").await.map(|()| 3)
    };
    assert_eq!(prices.get_or_load("tea", load).wait()?, 3);
    assert_eq!(prices.get("tea"), None);
    Ok(())
}

#[test]
fn a_lost_connection_forgets_everything() -> Outcome {
    let mut server = NatsServer::start()?;
    let client = midge_std::connect(server.url())?;
    let prices = cache(&client);
    assert_eq!(look(&prices, "tea", 3), 3);
    let mut events = client.events();

    server.kill()?;
    let lost = events.iter_timeout(LONGEST).find(|event| matches!(event, Event::Disconnected(_)));
    assert!(lost.is_some());
    assert_eq!(prices.get("tea"), None);
    assert_eq!((look(&prices, "tea", 4), look(&prices, "tea", 5)), (4, 5), "nothing is kept");

    server.restart()?;
    let back = events.iter_timeout(LONGEST).find(|event| matches!(event, Event::Connected(_)));
    assert!(back.is_some());
    assert_eq!(prices.get("tea"), None);
    assert_eq!((look(&prices, "tea", 6), look(&prices, "tea", 7)), (6, 6), "it keeps again");
    Ok(())
}

#[test]
fn an_invalidation_waits_for_a_server() -> Outcome {
    let mut server = NatsServer::start()?;
    let client = midge_std::connect(server.url())?;
    let prices = cache(&client);
    let mut events = client.events();
    server.kill()?;
    let lost = events.iter_timeout(LONGEST).find(|event| matches!(event, Event::Disconnected(_)));
    assert!(lost.is_some());
    thread::scope(|scope| {
        let invalidating = scope.spawn(|| prices.invalidate("tea").wait_timeout(LONGEST));
        server.restart()?;
        invalidating.join().unwrap()??;
        Ok(())
    })
}

#[test]
fn an_invalidation_of_unknown_fate_is_sent_again() -> Outcome {
    let server = NatsServer::start()?;
    let link = Link::to(&server.url()).start()?;
    let (here, there) = (midge_std::connect(link.url())?, midge_std::connect(server.url())?);
    let prices = cache(&here);
    let mut heard = there.subscribe(SUBJECT).wait()?;
    heard.confirmed().wait()?;
    // The server hears the client, and not the other way round.
    link.stall(Direction::ToClient);
    thread::scope(|scope| {
        let invalidating = scope.spawn(|| prices.invalidate("tea").wait_timeout(LONGEST));
        let mut heard = heard.iter_timeout(LONGEST);
        assert_eq!(heard.next().unwrap().payload(), b"tea");
        link.cut();
        link.resume(Direction::ToClient);
        assert_eq!(heard.next().expect("a second one").payload(), b"tea");
        invalidating.join().unwrap()??;
        Ok(())
    })
}

#[test]
fn limits_hold() -> Outcome {
    let server = NatsServer::start()?;
    let client = midge_std::connect(server.url())?;
    let two = Limits { entries: 2, ..Limits::default() };
    let prices = Cache::new(&client, SUBJECT, two).wait()?;
    for key in ["tea", "milk", "salt"] {
        look(&prices, key, 3);
    }
    assert_eq!(["tea", "milk", "salt"].map(|key| prices.get(key)), [None, None, Some(3)]);

    let fresh = Limits { age: Duration::ZERO, ..Limits::default() };
    let prices = Cache::new(&client, SUBJECT, fresh).wait()?;
    assert_eq!((look(&prices, "tea", 3), look(&prices, "tea", 4)), (3, 4), "always too old");
    Ok(())
}

#[test]
fn every_adapter_serves_it() -> Outcome {
    let server = NatsServer::start()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let clients = [
        runtime.block_on(midge_tokio::connect(server.url()))?,
        smol::block_on(midge_smol::connect(server.url()))?,
        midge_std::connect(server.url())?,
    ];
    let caches = clients.each_ref().map(cache);
    for changed in &caches {
        for cache in &caches {
            assert_eq!(look(cache, "tea", 3), 3);
        }
        changed.invalidate("tea").wait()?;
        for (cache, client) in caches.iter().zip(&clients) {
            wait_until_forgotten(cache, client, "tea");
        }
    }
    Ok(())
}
