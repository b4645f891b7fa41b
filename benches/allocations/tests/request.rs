//! A request and its reply allocate nothing in the steady state.

use midge_allocations::{Cost, Meter, run};

const REQUESTS: u64 = 10_000;

#[test]
fn one_at_a_time() {
    run(async |client| {
        let request = async || {
            let reply = client.request("orders.eu.count", "how many?").await.unwrap();
            assert_eq!(reply.payload(), b"how many?");
        };
        for _ in 0..REQUESTS {
            request().await;
        }
        let meter = Meter::start();
        for _ in 0..REQUESTS {
            request().await;
        }
        Cost { operations: REQUESTS, counted: meter.stop() }.at_most(0);
    });
}
