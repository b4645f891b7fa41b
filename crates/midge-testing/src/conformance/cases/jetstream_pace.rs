//! How much a real nats-server is asked for at a time, and that all of it comes.

use std::collections::BTreeSet;

use midge::jetstream::DeliverPolicy;
use serde_json::{Value, json};

use super::jetstream_consume::take;
use crate::conformance::notices::noticing;
use crate::conformance::steps::soon;
use crate::conformance::streams_by_hand::Bench;
use crate::conformance::{Adapter, Outcome};

const SMALL: u64 = 5_000;
const LARGE: u64 = 20;
const ALL: u64 = 2 * SMALL + LARGE;

/// Small messages, large ones, and small ones again, each of another subject.
async fn small_and_large<A: Adapter>() -> Outcome<Bench> {
    let bench = Bench::new::<A>().await?;
    bench.store_numbers(0..SMALL, |number| format!("s.a{number}")).await?;
    for number in 0..LARGE {
        soon(bench.client.request(format!("s.b{number}"), vec![b'-'; 800_000])).await?;
    }
    bench.store_numbers(0..SMALL, |number| format!("s.c{number}")).await?;
    Ok(bench)
}

pub async fn consume_gets_all_of_small_and_large_messages_and_limits_no_bytes<A: Adapter>()
-> Outcome {
    let bench = small_and_large::<A>().await?;
    for policy in [json!("all"), json!("last_per_subject")] {
        let consumer =
            bench.consumer(json!({"deliver_policy": policy, "filter_subject": "s.>"})).await?;
        let mut seen = bench.client.subscribe("$JS.API.CONSUMER.MSG.NEXT.S.c").await?;
        soon(bench.client.flush()).await?;
        let (noticed, function) = noticing();
        let mut messages = consumer.consume().on_notice(function).await?;
        for wanted in 1..=ALL {
            let message = take(&mut messages).await;
            let numbers = message.delivery().map(|it| (it.stream_sequence, it.delivered));
            assert_eq!(numbers, Some((wanted, 1)));
            message.ack().await?;
        }
        bench.until_info("num_ack_pending", 0).await?;
        assert_eq!(noticed.told(), []);
        drop(messages);
        soon(seen.drain()).await;
        while let Some(request) = soon(seen.next()).await {
            let request: Value = serde_json::from_slice(request.payload())?;
            // A request that ends with bytes may cost a message, see `PullConfig::bytes`.
            assert!(request.get("max_bytes").is_none(), "{request}");
            assert!(request["batch"].as_u64() <= Some(4_096), "{request}");
        }
        bench.js.stream("S")?.delete_consumer("c").await?;
    }
    Ok(())
}

pub async fn an_ordered_consumer_gets_all_of_small_and_large_messages<A: Adapter>() -> Outcome {
    let bench = small_and_large::<A>().await?;
    for policy in [DeliverPolicy::All, DeliverPolicy::LastPerSubject] {
        let (noticed, function) = noticing();
        let mut messages = bench.js.ordered("S").deliver(policy).on_notice(function).await?;
        let mut missing = BTreeSet::from_iter(1..=ALL);
        for _ in 1..=ALL {
            let message = soon(messages.next()).await.expect("it goes on")?;
            missing
                .remove(&message.delivery().expect("a consumer has delivered it").stream_sequence);
        }
        assert!(missing.is_empty(), "{missing:?}");
        assert_eq!(noticed.told(), []);
    }
    Ok(())
}

pub async fn limits_are_told_to_who_asks_for_more_than_they_allow_and_not_to_others<A: Adapter>()
-> Outcome {
    for limits in [json!({"max_batch": 600}), json!({"max_bytes": 1_000})] {
        let bench = Bench::new::<A>().await?;
        let consumer = bench.consumer(limits).await?;
        bench.publish_to_one(0..SMALL as usize).await?;
        let (noticed, function) = noticing();
        let mut messages = consumer.consume().on_notice(function).await?;
        for wanted in 1..=SMALL {
            let message = take(&mut messages).await;
            assert_eq!(message.delivery().map(|it| it.stream_sequence), Some(wanted));
            message.ack().await?;
        }
        assert_eq!(noticed.told(), []);
        bench.until_info("num_ack_pending", 0).await?;
    }
    Ok(())
}
