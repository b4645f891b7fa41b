//! A process that stands still, while everything around it goes on.

use std::future::IntoFuture;
use std::time::Duration;

use midge::jetstream::{ConsumerConfig, JetStream, PullEnd, StreamConfig};
use midge_proto::Instant;
use midge_sim::World;
use midge_sim::server::ServerOptions;

use super::{ms, run};

#[test]
fn who_stands_still_finds_what_came_meanwhile_and_no_more() {
    let outcome = run(1, ms(10), |world| async move {
        world.add_servers(1);
        let client = world.connect(world.urls()).await.unwrap();
        let mut subscription = client.subscribe("s").await.unwrap();
        client.flush().await.unwrap();
        let began = world.now();
        client.publish("s", "there").await.unwrap();
        world.sleep(ms(1)).await;
        world.stand_still(ms(500));
        assert_eq!(world.now() - began, ms(501));
        // It has come, and the driver reads it once it is polled.
        let message = subscription.next().await.unwrap();
        assert_eq!((message.payload(), world.now() - began), (&b"there"[..], ms(501)));
        world.stand_still(Duration::ZERO);
        assert_eq!(world.now() - began, ms(501));
    });
    assert!(outcome.at > Instant::ZERO + ms(500));
}

async fn with_messages(world: &World, count: u64) -> JetStream {
    let options = world.server_options();
    world.add_server(ServerOptions { jetstream: true, ..options });
    let js = JetStream::new(world.connect(world.urls()).await.unwrap());
    let config = StreamConfig { subjects: vec!["s".into()], ..StreamConfig::new("S") };
    let stream = js.create_stream(config).await.unwrap();
    // What nobody reads would come again in an hour.
    let ack_wait = Some(Duration::from_secs(3600));
    let config = ConsumerConfig { ack_wait, ..ConsumerConfig::durable("c") };
    stream.create_consumer(config).await.unwrap();
    for number in 0..count {
        js.publish("s", number.to_string()).await.unwrap();
    }
    js
}

/// Polls every 100 ms, whoever wakes it.
async fn often<F: Future>(world: &World, future: F) -> F::Output {
    let mut future = Box::pin(future);
    loop {
        if let Ok(output) = world.timeout(ms(100), future.as_mut()).await {
            return output;
        }
    }
}

/// The server counts the messages as delivered: they would wait for the consumer's `ack_wait`.
#[test]
fn a_fetch_whose_whole_time_passes_meanwhile_gives_what_was_delivered() {
    for seed in 0..40 {
        run(seed, ms(10), move |world| async move {
            let js = with_messages(&world, 7).await;
            let consumer = js.consumer("S", "c").unwrap();
            let mut fetch = consumer.fetch(10).expires(ms(500)).await.unwrap();
            let beside = world.clone();
            drop(world.spawn(async move {
                // The request has left, and nothing has come back.
                beside.sleep(ms(5)).await;
                beside.stand_still(Duration::from_secs(60));
            }));
            let mut came = 0;
            // Who also looks at something else may look before the driver has read.
            while let Some(message) = often(&world, fetch.next()).await {
                message.unwrap().ack().await.unwrap();
                came += 1;
            }
            assert_eq!((came, fetch.end()), (7, Some(&PullEnd::Expired)));
        });
    }
}

#[test]
fn a_next_whose_whole_time_passes_meanwhile_gives_what_was_delivered() {
    for seed in 0..40 {
        run(seed, ms(10), move |world| async move {
            let js = with_messages(&world, 1).await;
            let consumer = js.consumer("S", "c").unwrap();
            let beside = world.clone();
            drop(world.spawn(async move {
                beside.sleep(ms(5)).await;
                beside.stand_still(Duration::from_secs(60));
            }));
            let next = consumer.next().expires(ms(500));
            let message = often(&world, next.into_future()).await.unwrap();
            assert_eq!(message.unwrap().payload(), b"0");
        });
    }
}
