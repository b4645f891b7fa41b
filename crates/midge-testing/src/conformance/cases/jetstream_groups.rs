//! Readers of one consumer in a priority group.

use std::collections::BTreeSet;
use std::time::Duration;

use midge::jetstream::{JetStream, Notice, PullEnd, PullError, PullGroup};
use serde_json::{Value, json};

use super::jetstream_consume::{fetched, number, take};
use crate::conformance::notices::noticing;
use crate::conformance::steps::{connect, soon, until};
use crate::conformance::streams_by_hand::{Bench, api};
use crate::conformance::tasks::spawn;
use crate::conformance::{Adapter, Outcome};

const SHORT: Duration = Duration::from_millis(300);

pub async fn one_member_of_a_group_is_pinned_and_unpinned<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let group = json!({
        "priority_groups": ["jobs"],
        "priority_policy": "pinned_client",
        "priority_timeout": 120_000_000_000_u64,
    });
    let consumer = bench.consumer(group).await?;
    let refused = soon(consumer.next()).await.err();
    assert!(matches!(refused, Some(PullError::End(PullEnd::Refused(400, _)))), "{refused:?}");
    let member = consumer.with_group(PullGroup::new("jobs"));
    let (first_noticed, function) = noticing();
    let mut first = member.consume().max_messages(10).on_notice(function).await?;
    let second_client = connect::<A>(bench.server.url()).await?;
    let other = JetStream::new(second_client.clone()).consumer("S", "c")?;
    let other = other.with_group(PullGroup::new("jobs"));
    let (second_noticed, function) = noticing();
    bench.publish_to_one(0..1).await?;
    soon(take(&mut first).await.double_ack()).await?;
    assert!(first_noticed.has(&Notice::Pinned));

    let mut second = other.consume().max_messages(10).on_notice(function).await?;
    let second = spawn::<A, _>(async move {
        let message = take(&mut second).await;
        soon(message.double_ack()).await.expect("an ack");
        number(&message)
    });
    // Its request waits at the server, so that it is the next one to be pinned.
    until(|| second_client.statistics().out_messages > 0).await;
    soon(second_client.flush()).await?;
    bench.publish_to_one(1..30).await?;
    let mut seen = BTreeSet::new();
    for _ in 1..30 {
        let message = take(&mut first).await;
        seen.insert(number(&message));
        soon(message.double_ack()).await?;
    }
    assert_eq!(seen.len(), 29, "all come to the member that is pinned");
    assert!(!second_noticed.has(&Notice::Pinned));

    let reading = spawn::<A, _>(async move { first.next().await.is_some() });
    api(&bench.client, "CONSUMER.UNPIN.S.c", json!({"group": "jobs"})).await?;
    bench.publish_to_one(30..60).await?;
    soon(second).await;
    until(|| first_noticed.has(&Notice::Unpinned)).await;
    assert!(second_noticed.has(&Notice::Pinned));
    drop(reading);
    Ok(())
}

pub async fn overflow_and_priority_decide_who_gets_a_message<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let group = json!({"priority_groups": ["jobs"], "priority_policy": "overflow"});
    let consumer = bench.consumer(group).await?;
    let standby = PullGroup { min_pending: Some(5), ..PullGroup::new("jobs") };
    let standby = consumer.clone().with_group(standby);
    bench.publish_to_one(0..3).await?;
    assert_eq!(fetched(standby.fetch(1).expires(SHORT)).await?, Vec::<usize>::new());
    bench.publish_to_one(3..8).await?;
    assert_eq!(fetched(standby.fetch(1)).await?, [0]);
    api(&bench.client, "CONSUMER.DELETE.S.c", Value::Null).await?;

    let group = json!({"priority_groups": ["jobs"], "priority_policy": "prioritized"});
    let consumer = bench.consumer(group).await?;
    api(&bench.client, "STREAM.PURGE.S", Value::Null).await?;
    let member = |priority| {
        let group = PullGroup { priority: Some(priority), ..PullGroup::new("jobs") };
        consumer.clone().with_group(group)
    };
    let (low, high) = (member(7), member(2));
    let low = spawn::<A, _>(async move { low.next().await.map(|it| it.map(|it| number(&it))) });
    bench.until_info("num_waiting", 1).await?;
    let high = spawn::<A, _>(async move { high.next().await.map(|it| it.map(|it| number(&it))) });
    bench.until_info("num_waiting", 2).await?;
    bench.publish_to_one(1..2).await?;
    assert_eq!(soon(high).await?, Some(1));
    bench.publish_to_one(2..3).await?;
    assert_eq!(soon(low).await?, Some(2));
    Ok(())
}
