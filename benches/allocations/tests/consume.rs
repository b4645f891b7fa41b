//! A message of a consumer and its ack allocate next to nothing: 1.7 would be a third of what the
//! established client takes.

use midge::jetstream::JetStream;
use midge_allocations::{Cost, Meter, run};

const MESSAGES: u64 = 100_000;

#[test]
fn consumed_and_acked() {
    run(async |client| {
        let js = JetStream::new(client.clone());
        let mut messages = js.consumer("S", "c").unwrap().consume().await.unwrap();
        let mut take = async |count: u64| {
            for _ in 0..count {
                let message = messages.next().await.unwrap().unwrap();
                assert_eq!(message.payload().len(), 128);
                message.ack().await.unwrap();
            }
        };
        take(MESSAGES).await;
        let before = client.statistics().in_bytes;
        let meter = Meter::start();
        take(MESSAGES).await;
        let counted = meter.stop();
        // Two for each read buffer that ends in the middle of a message.
        let buffers = (client.statistics().in_bytes - before).div_ceil(64 * 1024);
        Cost { operations: MESSAGES, counted }.at_most(2 * buffers + 16);
    });
}

#[test]
fn pulled_one_by_one_and_acked() {
    run(async |client| {
        let consumer = JetStream::new(client.clone()).consumer("S", "c").unwrap();
        let take = async |count: u64| {
            for _ in 0..count {
                let message = consumer.next().await.unwrap().unwrap();
                message.ack().await.unwrap();
            }
        };
        take(1000).await;
        let meter = Meter::start();
        take(10_000).await;
        Cost { operations: 10_000, counted: meter.stop() }.at_most(16);
    });
}

#[test]
fn fetched_and_acked() {
    run(async |client| {
        let consumer = JetStream::new(client.clone()).consumer("S", "c").unwrap();
        let take = async |count: u64| {
            for _ in 0..count {
                let mut fetch = consumer.fetch(100).await.unwrap();
                while let Some(message) = fetch.next().await {
                    message.unwrap().ack().await.unwrap();
                }
            }
        };
        take(100).await;
        let before = client.statistics().in_bytes;
        let meter = Meter::start();
        take(1000).await;
        let counted = meter.stop();
        let buffers = (client.statistics().in_bytes - before).div_ceil(64 * 1024);
        Cost { operations: 100_000, counted }.at_most(2 * buffers + 16);
    });
}
