//! Publishing allocates nothing in the steady state, the confirmations by the server included.

use midge::{Client, HeaderMap, Position, PublishError, Subject};
use midge_allocations::{Cost, Meter, run};

const SUBJECT: &str = "orders.eu.created";
const PAYLOAD: [u8; 128] = [b'x'; 128];
/// Messages that are queued before the driver gets its turn, and then flushed.
const BURST: u64 = 100;
const BURSTS: u64 = 200;

type Published = Result<Position, PublishError>;

/// Publishes [`BURSTS`] after as many others, and checks that they cost nothing.
async fn check(client: &Client, mut publish: impl AsyncFnMut() -> Published) {
    bursts(client, &mut publish).await;
    let meter = Meter::start();
    bursts(client, &mut publish).await;
    Cost { operations: BURST * BURSTS, counted: meter.stop() }.at_most(0);
}

/// The server has a burst before the next begins, so that none finds more under way than another.
async fn bursts(client: &Client, publish: &mut impl AsyncFnMut() -> Published) {
    for _ in 0..BURSTS {
        for _ in 0..BURST {
            publish().await.expect("the connection is up");
        }
        client.flush().await.expect("the connection is up");
    }
}

#[test]
fn to_a_subject_that_is_text() {
    run(async |client| {
        check(client, async || client.publish(SUBJECT, PAYLOAD).await).await;
    });
}

#[test]
fn to_a_checked_subject() {
    let subject = Subject::new(SUBJECT).unwrap();
    run(async |client| {
        check(client, async || client.publish(&subject, &PAYLOAD).await).await;
    });
}

#[test]
fn with_a_reply() {
    run(async |client| {
        let publish = async || client.publish(SUBJECT, PAYLOAD).reply("replies.orders").await;
        check(client, publish).await;
    });
}

#[test]
fn with_three_headers_in_a_map_that_is_used_again() {
    run(async |client| {
        let mut headers = HeaderMap::new();
        let publish = async || {
            headers.clear();
            headers.append("Nats-Msg-Id", "8a2f41")?;
            headers.append("Content-Type", "text/plain")?;
            headers.append("Trace", "00-4bf92f35")?;
            client.publish(SUBJECT, PAYLOAD).headers(&headers).await
        };
        check(client, publish).await;
    });
}

#[test]
fn without_waiting() {
    run(async |client| {
        check(client, async || client.try_publish(SUBJECT, PAYLOAD)).await;
    });
}

/// A queue that runs full gives memory back after each round of writing, and grows again.
#[test]
fn as_fast_as_there_is_room_costs_less_than_one_in_a_thousand() {
    const MESSAGES: u64 = 200_000;
    run(async |client| {
        for _ in 0..MESSAGES {
            client.publish(SUBJECT, PAYLOAD).await.unwrap();
        }
        let meter = Meter::start();
        for _ in 0..MESSAGES {
            client.publish(SUBJECT, PAYLOAD).await.unwrap();
        }
        Cost { operations: MESSAGES, counted: meter.stop() }.at_most(MESSAGES / 1000);
    });
}
