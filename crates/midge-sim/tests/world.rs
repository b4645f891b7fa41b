//! The world itself: time, chance, and a client in it.

use std::time::Duration;

use midge_sim::{Sim, World};

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
