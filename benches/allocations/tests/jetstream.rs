//! What an acknowledged publish allocates. The server of these tests answers with the payload of a
//! request, so the payloads are acks.

use midge::jetstream::{JetStream, PublishOrder};
use midge_allocations::{Cost, Meter, run};

const MESSAGES: u64 = 10_000;
const SUBJECT: &str = "orders.eu.created";
const ACK: &str = r#"{"stream":"ORDERS","seq":4711}"#;

/// The name of the stream, once.
#[test]
fn one_at_a_time() {
    run(async |client| {
        let js = JetStream::new(client.clone());
        let publish = async || {
            let ack = js.publish(SUBJECT, ACK).await.unwrap();
            assert_eq!((&*ack.stream, ack.seq), ("ORDERS", 4711));
        };
        for _ in 0..MESSAGES {
            publish().await;
        }
        let meter = Meter::start();
        for _ in 0..MESSAGES {
            publish().await;
        }
        Cost { operations: MESSAGES, counted: meter.stop() }.at_most(MESSAGES);
    });
}

/// The name of the stream, and the headers, which grow twice.
#[test]
fn one_at_a_time_with_an_id_and_expectations() {
    run(async |client| {
        let js = JetStream::new(client.clone());
        let publish = async || {
            let publish = js.publish(SUBJECT, ACK).message_id("order-4711");
            publish.expect_stream("ORDERS").expect_last_subject_sequence(4710).await.unwrap();
        };
        for _ in 0..MESSAGES {
            publish().await;
        }
        let meter = Meter::start();
        for _ in 0..MESSAGES {
            publish().await;
        }
        Cost { operations: MESSAGES, counted: meter.stop() }.at_most(5 * MESSAGES);
    });
}

#[test]
fn many_at_a_time() {
    for order in [PublishOrder::Sent, PublishOrder::Chained] {
        run(async |client| {
            let js = JetStream::new(client.clone());
            let mut publisher = js.publisher().window(256, 1 << 20).order(order).await.unwrap();
            let mut publish = async || {
                for _ in 0..MESSAGES {
                    publisher.publish(SUBJECT, ACK).await.unwrap();
                }
                publisher.flush().await.unwrap();
            };
            publish().await;
            let meter = Meter::start();
            publish().await;
            // Queues of messages grow with what one read brings.
            Cost { operations: MESSAGES, counted: meter.stop() }.at_most(MESSAGES / 100);
        });
    }
}
