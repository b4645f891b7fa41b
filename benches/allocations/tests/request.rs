//! A request and its reply allocate nothing in the steady state.

use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use midge::RequestError;
use midge_allocations::{Cost, Meter, SILENT, run};

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

/// What one of them left behind would have to be allocated at some time.
#[test]
fn a_hundred_thousand_that_time_out_leave_nothing_behind() {
    const AT_ONCE: u64 = 1000;
    const TIMEOUT: Duration = Duration::from_millis(1);
    run(async |client| {
        let mut waiting = Vec::with_capacity(AT_ONCE as usize);
        let mut time_out = async || {
            for _ in 0..AT_ONCE {
                waiting.push(client.request(SILENT, "").timeout(TIMEOUT).into_future());
            }
            poll_fn(|context| {
                waiting.retain_mut(|request| match Pin::new(request).poll(context) {
                    Poll::Pending => true,
                    Poll::Ready(Err(RequestError::TimedOut | RequestError::NotSent(_))) => false,
                    Poll::Ready(other) => panic!("nobody answers, and yet: {other:?}"),
                });
                if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        };
        for _ in 0..20 {
            time_out().await;
        }
        let meter = Meter::start();
        for _ in 0..100 {
            time_out().await;
        }
        // The report of fates keeps 1,024 ranges of positions for each fate: until there are so
        // many, its lists grow a few times more.
        Cost { operations: 100 * AT_ONCE, counted: meter.stop() }.at_most(16);
    });
}
