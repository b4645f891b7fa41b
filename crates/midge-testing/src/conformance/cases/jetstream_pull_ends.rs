//! How readers of one pull consumer end, and what they leave to each other.

use std::time::{Duration, Instant};

use midge::jetstream::{PullEnd, PullError};
use serde_json::json;

use super::jetstream_consume::number;
use crate::conformance::steps::{poll_once, soon};
use crate::conformance::streams_by_hand::Bench;
use crate::conformance::{Adapter, Outcome};

const CLOSED: PullError = PullError::End(PullEnd::Closed);

// ---- the end of the client ---------------------------------------------------------------

pub async fn a_closed_client_ends_each_next<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let (used, waiting) = (bench.consumer(json!({})).await?, bench.js.consumer("S", "c")?);
    let fresh = bench.js.consumer("S", "c")?;
    bench.publish_to_one(0..1).await?;
    assert_eq!(number(&soon(used.next()).await?.expect("a message")), 0);
    let mut next = waiting.next().into_future();
    assert!(poll_once(&mut next).await.is_pending());
    soon(bench.client.close()).await;
    let began = Instant::now();
    assert_eq!(soon(next).await.err(), Some(CLOSED));
    for consumer in [&fresh, &used, &waiting] {
        for _ in 0..4 {
            assert_eq!(soon(consumer.next()).await.err(), Some(CLOSED));
        }
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    Ok(())
}

pub async fn what_reads_when_its_client_closes_or_drains_says_which<A: Adapter>() -> Outcome {
    for drains in [false, true] {
        let bench = Bench::new::<A>().await?;
        let consumer = bench.consumer(json!({})).await?;
        bench.publish_to_one(0..2).await?;
        let mut messages = consumer.consume().await?;
        assert_eq!(number(&soon(messages.next()).await.expect("it goes on")?), 0);
        let mut fetch = consumer.fetch(10).await?;
        assert!(poll_once(&mut Box::pin(fetch.next())).await.is_pending());
        bench.until_info("num_ack_pending", 2).await?;
        // A drain waits until all is read, and begins at once.
        let mut draining = None;
        let end = if drains {
            draining = Some(bench.client.drain());
            PullEnd::Stopped
        } else {
            soon(bench.client.close()).await;
            PullEnd::Closed
        };
        assert_eq!(number(&soon(messages.next()).await.expect("what came is read out")?), 1);
        let last = soon(messages.next()).await.map(Result::err);
        assert_eq!(last, (!drains).then_some(Some(CLOSED)));
        assert_eq!(messages.end(), Some(&end));
        let last = soon(fetch.next()).await.map(Result::err);
        assert_eq!(last, Some(Some(PullError::End(end))));
        assert!(soon(fetch.next()).await.is_none());

        // What begins afterwards ends at once.
        if let Some(draining) = draining {
            drop((messages, fetch));
            soon(draining).await;
        }
        let mut messages = consumer.consume().await?;
        assert_eq!(soon(messages.next()).await.map(Result::err), Some(Some(CLOSED)));
        assert_eq!(messages.end(), Some(&PullEnd::Closed));
        let mut fetch = consumer.fetch(10).await?;
        assert_eq!(soon(fetch.next()).await.map(Result::err), Some(Some(CLOSED)));
        assert_eq!(fetch.end(), Some(&PullEnd::Closed));
    }
    Ok(())
}
