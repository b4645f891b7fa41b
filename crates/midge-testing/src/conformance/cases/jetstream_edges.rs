//! Readers at the limits of what a consumer, a permission or a number allows.

use std::time::{Duration, Instant};

use midge::jetstream::{
    DeliverPolicy, JetStream, OrderedBuilder, OrderedError, PullEnd, PullError, PullGroup,
};
use serde_json::{Value, json};

use super::jetstream_consume::{number, take};
use crate::NatsServer;
use crate::conformance::steps::{connect, soon};
use crate::conformance::streams_by_hand::{Bench, api};
use crate::conformance::{Adapter, Outcome};

const SECOND: Duration = Duration::from_secs(1);

fn pinned() -> Value {
    json!({
        "priority_groups": ["jobs"], "priority_policy": "pinned_client",
        "priority_timeout": 120_000_000_000_u64,
    })
}

/// Behind `max_ack_pending`, the server says nothing to a request that does not wait.
pub async fn a_fetch_that_does_not_wait_ends_where_nobody_says_that_there_is_no_more<A: Adapter>()
-> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({"max_ack_pending": 3})).await?;
    bench.publish_to_one(0..10).await?;
    let began = Instant::now();
    let mut fetch = consumer.fetch(5).no_wait().await?;
    let mut held = Vec::new();
    while let Some(message) = soon(fetch.next()).await {
        held.push(message?);
    }
    assert_eq!((held.len(), fetch.end()), (3, Some(&PullEnd::Expired)));
    assert!(began.elapsed() < 15 * SECOND, "{:?}", began.elapsed());
    for message in held {
        soon(message.double_ack()).await?;
    }
    let mut fetch = consumer.fetch(3).no_wait().await?;
    assert_eq!(number(&soon(fetch.next()).await.expect("a message")?), 3);
    Ok(())
}

pub async fn a_fetch_goes_on_when_its_requests_are_limited<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({"max_batch": 10})).await?;
    bench.publish_to_one(0..60).await?;
    for bytes in [1_000_000, u64::MAX] {
        let mut fetch = consumer.fetch(30).max_bytes(bytes).await?;
        let mut count = 0;
        while let Some(message) = soon(fetch.next()).await {
            message?;
            count += 1;
        }
        assert_eq!((count, fetch.end()), (30, Some(&PullEnd::Done)));
    }
    Ok(())
}

pub async fn so_much_is_all_that_there_is<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    bench.publish_to_one(0..5).await?;
    let mut fetch = consumer.fetch(u64::MAX).no_wait().await?;
    for wanted in 0..5 {
        assert_eq!(number(&soon(fetch.next()).await.expect("a message")?), wanted);
    }
    assert!(soon(fetch.next()).await.is_none());
    assert_eq!(fetch.end(), Some(&PullEnd::NoMessages));
    bench.publish_to_one(5..6).await?;
    let consuming = consumer.consume().max_bytes(u64::MAX).max_messages(u64::MAX);
    assert_eq!(number(&take(&mut consuming.await?).await), 5);
    Ok(())
}

pub async fn a_consumer_that_lets_wait_for_less_than_a_second_is_read<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({"max_expires": 300_000_000_u64})).await?;
    bench.publish_to_one(0..2).await?;
    let mut messages = consumer.consume().max_messages(1).await?;
    for wanted in 0..2 {
        assert_eq!(number(&take(&mut messages).await), wanted);
    }
    messages.stop();
    bench.publish_to_one(2..3).await?;
    assert_eq!(soon(consumer.next()).await?.map(|message| number(&message)), Some(2));
    Ok(())
}

// ---- pins --------------------------------------------------------------------------------

/// The server does not count the header by which it tells the pin.
pub async fn a_member_that_is_pinned_holds_no_more_bytes_than_it_may<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let member = bench.consumer(pinned()).await?.with_group(PullGroup::new("jobs"));
    for headers in [false, true] {
        for _ in 0..600 {
            let publish = bench.client.publish("s.n", "1");
            let publish = if headers { publish.header("Of", "one") } else { publish };
            publish.await?;
        }
        bench.publish_to_one(1..2).await?;
        let mut messages = member.consume().max_bytes(1000).await?;
        for _ in 0..500 {
            soon(take(&mut messages).await.double_ack()).await?;
        }
        bench.until_delivered_has_come().await?;
        // A message is more than 45 bytes with its subject and reply.
        let held = bench.info().await?["num_ack_pending"].as_u64().expect("a number");
        assert!(held <= 1000 / 45, "{held} messages");
        messages.drain();
        while let Some(message) = soon(messages.next()).await {
            soon(message?.double_ack()).await?;
        }
        let mut rest = member.fetch(1000).no_wait().await?;
        while let Some(message) = soon(rest.next()).await {
            soon(message?.double_ack()).await?;
        }
    }
    Ok(())
}

pub async fn a_pin_is_kept_when_a_reader_without_one_ends<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let member = bench.consumer(pinned()).await?.with_group(PullGroup::new("jobs"));
    bench.publish_to_one(0..3).await?;
    let idle = member.consume().await?;
    let next = soon(member.next()).await?.expect("a message");
    assert_eq!(number(&next), 0);
    drop(idle);
    let next = soon(member.next().expires(3 * SECOND)).await?.expect("it is still pinned");
    assert_eq!(number(&next), 1);
    Ok(())
}

// ---- ordered consumers -------------------------------------------------------------------

async fn refused(ordered: OrderedBuilder) -> OrderedError {
    soon(ordered).await.expect_err("it is refused")
}

pub async fn an_ordered_consumer_with_a_prefix_that_is_no_name_is_refused_at_once<A: Adapter>()
-> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.publish_to_one(0..1).await?;
    let long = "a".repeat(250);
    for prefix in ["a.b", "a b", "*", "a/b", &long] {
        let error = refused(bench.js.ordered("S").name_prefix(prefix)).await;
        assert!(matches!(error, OrderedError::Name(_)), "{prefix:?}: {error}");
    }
    for prefix in ["", "ordered"] {
        let mut ordered = soon(bench.js.ordered("S").name_prefix(prefix)).await?;
        assert_eq!(number(&soon(ordered.next()).await.expect("a message")?), 0);
    }
    Ok(())
}

pub async fn an_ordered_consumer_of_the_last_messages_needs_no_filter<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.store_numbers(0..6, |number| format!("s.{}", number % 2)).await?;
    for pushes in [false, true] {
        let ordered = bench.js.ordered("S").deliver(DeliverPolicy::LastPerSubject);
        let mut ordered = soon(if pushes { ordered.push() } else { ordered }).await?;
        for wanted in 4..6 {
            assert_eq!(number(&soon(ordered.next()).await.expect("a message")?), wanted);
        }
    }
    Ok(())
}

/// As is usual for who may read one subject of a stream, and nothing else of it.
pub async fn an_ordered_consumer_of_one_subject_needs_no_other_permission<A: Adapter>() -> Outcome {
    let config = r#"authorization { users: [
        { user: a, password: p },
        { user: u, password: p, permissions: { publish: [
            "$JS.API.CONSUMER.CREATE.S.*.s.n", "$JS.API.CONSUMER.DELETE.S.*",
            "$JS.API.CONSUMER.MSG.NEXT.S.*",
        ] } },
    ] }"#;
    let server = NatsServer::builder().jetstream(true).config(config).start()?;
    let url = |user| server.url().replace("nats://", &format!("nats://{user}:p@"));
    let admin = connect::<A>(url("a").as_str()).await?;
    api(&admin, "STREAM.CREATE.S", json!({"name": "S", "subjects": ["s.>"]})).await?;
    soon(admin.request("s.n", "0")).await?;
    let js = JetStream::new(connect::<A>(url("u").as_str()).await?);
    for pushes in [false, true] {
        let ordered = js.ordered("S").filter("s.n");
        let mut ordered = soon(if pushes { ordered.push() } else { ordered }).await?;
        assert_eq!(number(&soon(ordered.next()).await.expect("a message")?), 0);
    }
    let error = refused(js.ordered("S").filter("s.m")).await;
    assert!(error.to_string().contains("may not publish"), "{error}");
    Ok(())
}

pub async fn who_may_not_pull_is_told_at_once<A: Adapter>() -> Outcome {
    let config = r#"authorization { users: [
        { user: a, password: p },
        { user: u, password: p, permissions: { publish: ["$JS.API.INFO"] } },
    ] }"#;
    let server = NatsServer::builder().jetstream(true).config(config).start()?;
    let url = |user| server.url().replace("nats://", &format!("nats://{user}:p@"));
    let admin = connect::<A>(url("a").as_str()).await?;
    api(&admin, "STREAM.CREATE.S", json!({"name": "S", "subjects": ["s.>"]})).await?;
    let durable = json!({"durable_name": "c", "ack_policy": "explicit"});
    let request = json!({"stream_name": "S", "config": durable});
    api(&admin, "CONSUMER.DURABLE.CREATE.S.c", request).await?;
    let js = JetStream::new(connect::<A>(url("u").as_str()).await?);
    let consumer = js.consumer("S", "c")?;
    let is_told = |error: Option<PullError>| match error {
        Some(PullError::End(PullEnd::Denied(text))) => {
            assert!(
                text.contains("may not publish to \"$JS.API.CONSUMER.MSG.NEXT.S.c\""),
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    };
    for _ in 0..2 {
        is_told(soon(consumer.next()).await.err());
        let mut fetch = consumer.fetch(5).await?;
        is_told(soon(fetch.next()).await.and_then(Result::err));
        assert!(soon(fetch.next()).await.is_none());
        let mut messages = consumer.consume().await?;
        is_told(soon(messages.next()).await.and_then(Result::err));
        assert!(soon(messages.next()).await.is_none());
    }
    Ok(())
}
