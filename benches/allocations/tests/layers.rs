//! Through TLS and WebSocket, Midge allocates no more than without them; rustls allocates for each
//! record, which holds up to 16 KiB of messages.

use midge::Client;
use midge_allocations::{
    BLAST, Cost, Meter, run_compressed, run_secure_websocket, run_tls, run_websocket,
};

const PAYLOAD: [u8; 128] = [b'x'; 128];
const BURST: u64 = 100;
const BURSTS: u64 = 200;
const MESSAGES: u64 = 300_000;
/// Bytes of a read buffer of the core, which costs a buffer and its reference count.
const READ_BUFFER: u64 = 64 * 1024;
const PER_BUFFER: u64 = 2;
/// What one record of TLS holds, for which rustls allocates once.
const RECORD: u64 = 16 * 1024;
/// For queues that grow to the largest batch there ever was.
const GROWTH: u64 = 16;

async fn publish(client: &Client) -> Cost {
    let bursts = async || {
        for _ in 0..BURSTS {
            for _ in 0..BURST {
                client.publish("orders.eu.created", PAYLOAD).await.expect("the connection is up");
            }
            client.flush().await.expect("the connection is up");
        }
    };
    bursts().await;
    let meter = Meter::start();
    bursts().await;
    Cost { operations: BURST * BURSTS, counted: meter.stop() }
}

/// What it cost, and the bytes of the protocol that came.
async fn receive(client: &Client) -> (Cost, u64) {
    let mut subscription = client.subscribe("a").await.expect("the connection is up");
    let mut blast = async || {
        client.publish(BLAST, MESSAGES.to_string()).await.expect("the connection is up");
        for _ in 0..MESSAGES {
            assert!(subscription.next().await.is_some());
        }
    };
    blast().await;
    let before = client.statistics().in_bytes;
    let meter = Meter::start();
    blast().await;
    let counted = meter.stop();
    (Cost { operations: MESSAGES, counted }, client.statistics().in_bytes - before)
}

#[test]
fn publishing_through_a_websocket_allocates_nothing() {
    run_websocket(async |client| publish(client).await.at_most(0));
}

#[test]
fn publishing_through_tls_allocates_once_a_record() {
    run_tls(async |client| {
        // A burst with its PING is one record, and the PONG is another.
        publish(client).await.at_most(2 * BURSTS);
    });
}

#[test]
fn receiving_through_a_websocket_allocates_for_read_buffers_only() {
    run_websocket(async |client| {
        let (cost, bytes) = receive(client).await;
        cost.at_most(PER_BUFFER * bytes.div_ceil(READ_BUFFER) + GROWTH);
    });
}

#[test]
fn receiving_through_tls_allocates_once_a_record_besides() {
    run_tls(async |client| {
        let (cost, bytes) = receive(client).await;
        let records = bytes.div_ceil(RECORD);
        cost.at_most(PER_BUFFER * bytes.div_ceil(READ_BUFFER) + records + GROWTH);
    });
}

#[test]
fn publishing_through_tls_and_a_websocket_allocates_once_a_record() {
    run_secure_websocket(async |client| {
        publish(client).await.at_most(2 * BURSTS);
    });
}

#[test]
fn receiving_through_tls_and_a_websocket_allocates_once_a_record_besides() {
    run_secure_websocket(async |client| {
        let (cost, bytes) = receive(client).await;
        let records = bytes.div_ceil(RECORD);
        cost.at_most(PER_BUFFER * bytes.div_ceil(READ_BUFFER) + records + GROWTH);
    });
}

#[test]
fn publishing_with_compression_allocates_nothing() {
    run_compressed(async |client| publish(client).await.at_most(0));
}

#[test]
fn receiving_with_compression_allocates_for_read_buffers_only() {
    run_compressed(async |client| {
        let (cost, bytes) = receive(client).await;
        cost.at_most(PER_BUFFER * bytes.div_ceil(READ_BUFFER) + GROWTH);
    });
}
