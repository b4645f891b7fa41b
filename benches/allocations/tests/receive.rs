//! Receiving allocates nothing for a message, and twice for a read buffer that ends in the middle
//! of one.

use midge::{Client, Subscription};
use midge_allocations::{BLAST, Cost, Meter, run};

const SUBJECT: &str = "orders.eu.created";
const MESSAGES: u64 = 300_000;
/// Bytes of a read buffer, by default.
const READ_BUFFER: u64 = 64 * 1024;
/// A buffer and its reference count.
const PER_BUFFER: u64 = 2;
/// For queues that grow to the largest batch there ever was.
const GROWTH: u64 = 16;

/// Receives [`MESSAGES`] after as many others, `read` by `read`, and checks what it cost.
async fn check(client: &Client, mut read: impl AsyncFnMut(&mut Subscription) -> u64) {
    let mut subscription = client.subscribe(SUBJECT).await.expect("the connection is up");
    let messages = MESSAGES.to_string();
    receive(client, &mut subscription, &messages, &mut read).await;
    let before = client.statistics().in_bytes;
    let meter = Meter::start();
    receive(client, &mut subscription, &messages, &mut read).await;
    let counted = meter.stop();
    let buffers = (client.statistics().in_bytes - before).div_ceil(READ_BUFFER);
    assert_eq!(subscription.dropped(), 0);
    Cost { operations: MESSAGES, counted }.at_most(PER_BUFFER * buffers + GROWTH);
}

async fn receive(
    client: &Client,
    subscription: &mut Subscription,
    messages: &str,
    read: &mut impl AsyncFnMut(&mut Subscription) -> u64,
) {
    client.publish(BLAST, messages).await.expect("the connection is up");
    let mut received = 0;
    while received < MESSAGES {
        received += read(subscription).await;
    }
    assert_eq!(received, MESSAGES);
}

#[test]
fn one_by_one() {
    run(async |client| {
        let read = async |subscription: &mut Subscription| {
            let message = subscription.next().await.unwrap();
            assert_eq!(message.payload().len(), 128);
            1
        };
        check(client, read).await;
    });
}

#[test]
fn in_batches() {
    run(async |client| {
        let read = async |subscription: &mut Subscription| {
            let batch = subscription.next_batch(256).await.unwrap();
            batch.map(|message| u64::from(message.payload().len() == 128)).sum()
        };
        check(client, read).await;
    });
}

/// Reads end where messages end, so that one buffer is used again and again.
#[test]
fn one_at_a_time_allocates_nothing() {
    const MESSAGES: u64 = 10_000;
    run(async |client| {
        let mut subscription = client.subscribe(SUBJECT).await.unwrap();
        let mut receive = async || {
            client.publish(BLAST, "1").await.unwrap();
            let message = subscription.next().await.unwrap();
            assert_eq!(message.payload().len(), 128);
        };
        for _ in 0..MESSAGES {
            receive().await;
        }
        let meter = Meter::start();
        for _ in 0..MESSAGES {
            receive().await;
        }
        Cost { operations: MESSAGES, counted: meter.stop() }.at_most(0);
    });
}

/// Messages that wait keep so many read buffers alive that the later ones are copied out of
/// theirs; once they are read, none is any more.
#[test]
fn a_reader_that_was_slow_costs_nothing_later() {
    const WAITING: u64 = 40_000;
    const MESSAGES: u64 = 5_000;
    run(async |client| {
        let mut subscription = client.subscribe(SUBJECT).await.unwrap();
        let before = client.statistics().in_messages;
        client.publish(BLAST, WAITING.to_string()).await.unwrap();
        while client.statistics().in_messages < before + WAITING {
            tokio::task::yield_now().await;
        }
        for _ in 0..WAITING {
            subscription.next().await.unwrap();
        }
        let mut receive = async || {
            client.publish(BLAST, "1").await.unwrap();
            subscription.next().await.unwrap();
        };
        for _ in 0..MESSAGES {
            receive().await;
        }
        let meter = Meter::start();
        for _ in 0..MESSAGES {
            receive().await;
        }
        Cost { operations: MESSAGES, counted: meter.stop() }.at_most(0);
    });
}
