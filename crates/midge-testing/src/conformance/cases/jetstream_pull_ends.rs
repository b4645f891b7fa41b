//! How readers of one pull consumer end, and what they leave to each other.

use std::time::{Duration, Instant};

use midge::jetstream::{Consumer, JetMessage, JetStream, PullEnd, PullError, PullGroup};
use midge::{CloseReason, State};
use serde_json::json;

use super::jetstream_consume::number;
use crate::conformance::steps::{assert_took, connect, impatient, poll_once, soon};
use crate::conformance::streams_by_hand::Bench;
use crate::conformance::{Adapter, Outcome};
use crate::{Direction, Link};

const SHORT: Duration = Duration::from_millis(300);
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
    assert_took(began, Duration::ZERO);
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
        bench.until_delivered_has_come().await?;
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

// ---- what is left to the next call -------------------------------------------------------

pub async fn a_drain_waits_for_what_next_gave_until_it_is_settled_or_dropped<A: Adapter>() -> Outcome
{
    let bench = Bench::new::<A>().await?;
    let server = connect::<A>(bench.server.url()).await?;
    for round in 0..4 {
        let client = connect::<A>(bench.server.url()).await?;
        let consumer = JetStream::new(client.clone()).consumer("S", "c")?;
        if round == 0 {
            bench.consumer(json!({})).await?;
        }
        bench.publish_to_one(0..3).await?;
        let mut messages = Vec::new();
        while messages.len() < 3 {
            messages.extend(soon(consumer.next()).await?);
        }
        let draining = client.drain();
        for message in messages {
            // The handle of the consumer is kept, and nobody asks it for more.
            for _ in 0..20 {
                soon(server.rtt()).await?;
            }
            assert!(matches!(client.status().state, State::Draining));
            match round {
                0 => soon(message.ack()).await?,
                1 => soon(message.nak_after(Duration::from_secs(60))).await?,
                2 => message.term().try_send()?,
                _ => {
                    soon(message.in_progress()).await?;
                    drop(message);
                    continue;
                }
            }
            assert!(message.is_settled());
            drop(message.into_message());
        }
        let drained = soon(draining).await;
        assert!(matches!(drained.why, CloseReason::Drained), "{:?}", drained.why);
        drop(consumer);
    }
    bench.until_info("num_ack_pending", 6).await
}

pub async fn a_next_has_no_options_of_calls_before_it<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let mut fetch = consumer.fetch(1).no_wait().await?;
    assert!(soon(fetch.next()).await.is_none());
    let began = Instant::now();
    assert!(soon(consumer.next().expires(SHORT)).await?.is_none());
    assert!(began.elapsed() >= SHORT, "it did not wait");

    bench.publish_to_one(0..3).await?;
    let mut fetch = consumer.fetch(1).max_bytes(200).await?;
    assert_eq!(number(&soon(fetch.next()).await.expect("a message")?), 0);
    assert!(soon(fetch.next()).await.is_none());
    for wanted in 1..3 {
        assert_eq!(number(&soon(consumer.next()).await?.expect("a message")), wanted);
    }

    let groups = json!({"priority_groups": ["g"], "priority_policy": "overflow"});
    let consumer = bench.consumer(groups).await?;
    let group = |pending| PullGroup { min_pending: Some(pending), ..PullGroup::new("g") };
    let (later, now) = (consumer.clone().with_group(group(1000)), consumer.with_group(group(1)));
    let mut next = later.next().into_future();
    assert!(poll_once(&mut next).await.is_pending());
    drop(next);
    bench.publish_to_one(3..4).await?;
    assert!(soon(now.next().expires(Duration::from_secs(4))).await?.is_some());
    Ok(())
}

fn is_first(message: &JetMessage) -> bool {
    message.delivery().map(|it| it.delivered) == Some(1)
}

/// The next messages, none of which comes again.
async fn firsts(consumer: &Consumer, count: usize) -> Outcome<Vec<usize>> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        let message = soon(consumer.next()).await?.expect("a message");
        assert!(is_first(&message), "delivered again");
        numbers.push(number(&message));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub async fn a_next_that_is_dropped_beside_other_calls_loses_no_message<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let mut next = consumer.next().into_future();
    assert!(poll_once(&mut next).await.is_pending());
    bench.until_info("num_waiting", 1).await?;
    drop(next);
    let mut fetch = consumer.fetch(1).await?;
    assert!(poll_once(&mut Box::pin(fetch.next())).await.is_pending());
    bench.until_info("num_waiting", 2).await?;
    bench.publish_to_one(0..2).await?;
    assert_eq!(number(&soon(fetch.next()).await.expect("a message")?), 1);
    assert!(soon(fetch.next()).await.is_none());
    let message = soon(consumer.next()).await?.expect("a message");
    assert!(number(&message) == 0 && is_first(&message));

    // Two that are dropped, before and after something came for them.
    for (from, early) in [(2, true), (4, false)] {
        let mut nexts = [consumer.next().into_future(), consumer.next().into_future()];
        for (next, waiting) in nexts.iter_mut().zip(1..) {
            assert!(poll_once(next).await.is_pending());
            bench.until_info("num_waiting", waiting).await?;
        }
        if early {
            bench.publish_to_one(from..from + 2).await?;
            bench.until_info("num_ack_pending", from as u64 + 2).await?;
            bench.until_delivered_has_come().await?;
            drop(nexts);
        } else {
            drop(nexts);
            bench.publish_to_one(from..from + 2).await?;
        }
        assert_eq!(firsts(&consumer, 2).await?, [from, from + 1]);
    }
    Ok(())
}

/// A message that the server counts as delivered is lost until `ack_wait` if nobody wants it when it
/// is sent, a moment later: so each request that is out keeps its inbox.
pub async fn what_dropped_nexts_have_asked_for_stays_asked_for<A: Adapter>() -> Outcome {
    for (dropped, kept) in [(2, 2), (9, 9), (20, 9)] {
        let bench = Bench::new::<A>().await?;
        let consumer = bench.consumer(json!({})).await?;
        let mut nexts = Vec::new();
        for waiting in 1..=dropped {
            nexts.push(consumer.next().into_future());
            assert!(poll_once(nexts.last_mut().expect("one")).await.is_pending());
            bench.until_info("num_waiting", waiting).await?;
        }
        drop(nexts);
        let dropped = usize::try_from(dropped)?;
        bench.publish_to_one(0..dropped).await?;
        bench.until_info("num_ack_pending", kept).await?;
        assert_eq!(firsts(&consumer, dropped).await?, Vec::from_iter(0..dropped));
        assert!(soon(consumer.next().expires(SHORT)).await?.is_none());
        bench.until_info("num_waiting", 0).await?;
    }
    Ok(())
}

pub async fn what_is_on_its_way_to_dropped_nexts_comes_to_the_next_ones<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.consumer(json!({})).await?;
    let link = Link::to(&bench.server.url()).start()?;
    let client = connect::<A>(impatient(&link.url())).await?;
    let consumer = JetStream::new(client).consumer("S", "c")?;
    for round in 0..3 {
        let mut nexts = [consumer.next().into_future(), consumer.next().into_future()];
        for (next, waiting) in nexts.iter_mut().zip(1..) {
            assert!(poll_once(next).await.is_pending());
            bench.until_info("num_waiting", waiting).await?;
        }
        link.stall(Direction::ToClient);
        bench.publish_to_one(round * 2..round * 2 + 2).await?;
        bench.until_info("num_ack_pending", round as u64 * 2 + 2).await?;
        drop(nexts);
        let mut nexts = [consumer.next().into_future(), consumer.next().into_future()];
        assert!(poll_once(&mut nexts[0]).await.is_pending());
        link.resume(Direction::ToClient);
        let [first, second] = nexts;
        let mut numbers = Vec::new();
        for next in [first, second] {
            let message = soon(next).await?.expect("a message");
            assert!(is_first(&message), "delivered again");
            numbers.push(number(&message));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, [round * 2, round * 2 + 1]);
    }
    Ok(())
}
