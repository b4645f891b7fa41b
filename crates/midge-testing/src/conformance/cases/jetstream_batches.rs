//! Batches that are stored whole or not at all, and counters, on a real nats-server.

use std::time::Duration;

use midge::jetstream::{
    AddError, AtomicBatchError, BatchError, CountError, DirectError, ErrorCode, FastBatchError,
    FastNotice, FeatureError, Gaps, Integer, JetStream,
};
use serde_json::json;

use crate::conformance::steps::{
    connect, impatient, is_connected, is_disconnected, soon, wait_for,
};
use crate::conformance::streams_by_hand::{count, create, payloads};
use crate::conformance::{Adapter, Outcome};
use crate::{NatsServer, Version};

async fn jetstream<A: Adapter>() -> Outcome<(NatsServer, JetStream)> {
    let server = NatsServer::builder().jetstream(true).start()?;
    let client = connect::<A>(impatient(&server.url())).await?;
    Ok((server, JetStream::new(client)))
}

pub async fn a_batch_is_stored_whole_by_its_commit<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s.>", json!({ "allow_atomic": true })).await?;
    let mut batch = soon(js.batch()).await?.ack_every(10);
    for number in 1..=250 {
        let message = batch.add(format!("s.{number}"), number.to_string());
        soon(message.expect_last_subject_sequence(0)).await?;
    }
    assert_eq!(count(js.client(), "S").await?, 0);
    let ack = soon(batch.commit("s.251", "251").header("A", "b")).await?;
    assert_eq!((ack.seq, ack.count, ack.batch.as_deref()), (251, Some(251), Some(batch.id())));
    let numbers = (1..=251).map(|number| number.to_string());
    assert!(payloads(js.client(), "S").await?.into_iter().eq(numbers));

    let mut batch = soon(js.batch()).await?;
    soon(batch.add("s.x", "x")).await?;
    soon(batch.add("s.y", "y")).await?;
    let ack = soon(batch.commit_end()).await?;
    assert_eq!((ack.seq, ack.count), (253, Some(2)));
    let again = soon(batch.add("s.z", "z")).await;
    assert!(matches!(again, Err(AtomicBatchError::Batch(BatchError::Over))), "{again:?}");

    let ack = soon(soon(js.batch()).await?.commit("s.w", "alone")).await?;
    assert_eq!((ack.seq, ack.count), (254, Some(1)));
    Ok(())
}

pub async fn a_batch_that_is_refused_stores_nothing<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({ "allow_atomic": true })).await?;
    create(js.client(), "T", "t", json!({})).await?;
    soon(js.publish("s", "before")).await?;

    let mut batch = soon(js.batch()).await?;
    soon(batch.add("s", "1").expect_last_sequence(7)).await?;
    let refused = soon(batch.commit("s", "2")).await;
    let Err(AtomicBatchError::Refused(error)) = refused else { panic!("{refused:?}") };
    assert!(error.err_code.is_wrong_last_sequence());

    let disabled = soon(soon(js.batch()).await?.add("t", "1")).await;
    let Err(AtomicBatchError::Refused(error)) = disabled else { panic!("{disabled:?}") };
    assert_eq!(error.err_code, ErrorCode::ATOMIC_PUBLISH_DISABLED);

    let nobody = soon(soon(js.batch()).await?.add("nobody", "1")).await;
    assert!(matches!(nobody, Err(AtomicBatchError::NoStream)), "{nobody:?}");

    let mut batch = soon(js.batch()).await?;
    let id = batch.add("s", "").expect_last_message_id("1");
    assert!(matches!(soon(id).await, Err(AtomicBatchError::Batch(BatchError::Header { .. }))));
    let empty = soon(batch.commit_end()).await;
    assert!(matches!(empty, Err(AtomicBatchError::Batch(BatchError::Empty))), "{empty:?}");
    for _ in 0..1000 {
        soon(batch.add("s", "")).await?;
    }
    let large = soon(batch.add("s", "")).await;
    let large = matches!(large, Err(AtomicBatchError::Batch(BatchError::TooLarge { max: 1000 })));
    assert!(large);
    drop(batch);
    assert_eq!(payloads(js.client(), "S").await?, ["before"]);
    Ok(())
}

/// A message that the user may not publish is dropped by the server, and missing in the batch.
pub async fn a_batch_with_a_gap_stores_nothing<A: Adapter>() -> Outcome {
    let config = "authorization { users: [{ user: u, password: p, permissions: { publish: { deny: \"s.denied\" } } }] }";
    let server = NatsServer::builder().jetstream(true).config(config).start()?;
    let options = impatient(&server.url()).user_and_password("u", "p");
    let js = JetStream::new(connect::<A>(options).await?);
    create(js.client(), "S", "s.>", json!({ "allow_atomic": true })).await?;
    for end in [false, true] {
        let mut batch = soon(js.batch()).await?;
        for subject in ["s.1", "s.2", "s.denied", "s.4"] {
            soon(batch.add(subject, subject)).await?;
        }
        let refused = match end {
            false => soon(batch.commit("s.5", "s.5")).await,
            true => soon(batch.commit_end()).await,
        };
        let Err(AtomicBatchError::Refused(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.err_code, ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH);
        assert_eq!(count(js.client(), "S").await?, 0);
    }
    // Where acks are asked for on the way, the gap is found by then.
    let mut batch = soon(js.batch()).await?.ack_every(3);
    soon(batch.add("s.1", "")).await?;
    soon(batch.add("s.denied", "")).await?;
    let refused = soon(batch.add("s.3", "")).await;
    let Err(AtomicBatchError::Refused(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.err_code, ErrorCode::ATOMIC_PUBLISH_INCOMPLETE_BATCH);
    assert_eq!(count(js.client(), "S").await?, 0);
    Ok(())
}

pub async fn a_lost_connection_ends_a_batch<A: Adapter>() -> Outcome {
    let (mut server, js) = jetstream::<A>().await?;
    let file = json!({ "allow_atomic": true, "storage": "file" });
    create(js.client(), "S", "s", file).await?;
    let mut events = js.client().events();
    let mut batch = soon(js.batch()).await?;
    soon(batch.add("s", "1")).await?;
    soon(batch.add("s", "2")).await?;
    server.kill()?;
    wait_for(&mut events, is_disconnected).await;
    let lost = soon(batch.add("s", "3")).await;
    assert!(matches!(lost, Err(AtomicBatchError::Lost)), "{lost:?}");
    server.restart()?;
    wait_for(&mut events, is_connected).await;
    let over = soon(batch.commit("s", "4")).await;
    assert!(over.is_err(), "{over:?}");

    let mut batch = soon(js.batch()).await?;
    soon(batch.add("s", "1")).await?;
    js.client().reconnect();
    wait_for(&mut events, is_connected).await;
    let lost = soon(batch.commit("s", "2")).await;
    assert!(matches!(lost, Err(AtomicBatchError::Lost)), "{lost:?}");
    assert_eq!(count(js.client(), "S").await?, 0);
    Ok(())
}

pub async fn counters_are_added_to_and_read<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let more = json!({ "allow_msg_counter": true });
    create(js.client(), "COUNTS", "counts.>", more).await?;
    let counters = js.counters("COUNTS")?;
    assert_eq!(soon(counters.get("counts.hits")).await?, None);
    assert_eq!(soon(counters.add("counts.hits", 5)).await?, 5.into());
    assert_eq!(soon(counters.add("counts.hits", -7)).await?, (-2).into());
    let much: Integer = "340282366920938463463374607431768211456".parse()?;
    assert_eq!(soon(counters.add("counts.hits", much.clone())).await?, &much - &2.into());
    let count = soon(counters.get("counts.hits")).await?.ok_or("it was counted")?;
    assert_eq!((&*count.subject, count.seq), ("counts.hits", 3));
    assert_eq!((&count.value, count.last_increment), (&(&much - &2.into()), Some(much)));
    Ok(())
}

pub async fn many_counters_are_read_at_once<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let more = json!({ "allow_msg_counter": true });
    create(js.client(), "COUNTS", "counts.>", more).await?;
    let counters = js.counters("COUNTS")?;
    for number in 0..50_u32 {
        soon(counters.add(format!("counts.{}.{number}", number % 2), number)).await?;
    }
    let all = soon(counters.get_many(["counts.>"])).await?;
    assert_eq!(all.len(), 50);
    let sum: Integer = all.into_iter().map(|count| count.value).sum();
    assert_eq!(sum, 1225.into());
    let some = soon(counters.get_many(["counts.1.*", "counts.0.2", "counts.none"])).await?;
    assert_eq!(some.len(), 26);
    assert!(soon(counters.get_many(["counts.none"])).await?.is_empty());
    let none: [&str; 0] = [];
    assert!(soon(counters.get_many(none)).await?.is_empty());
    let nobody = js.counters("NOBODY")?;
    let missing = soon(nobody.get("counts.1")).await;
    let not_there =
        |error: &CountError| matches!(error, CountError::Get(DirectError::NotAllowed { .. }));
    assert!(missing.as_ref().is_err_and(not_there), "{missing:?}");
    let missing = soon(nobody.get_many(["counts.1"])).await;
    assert!(missing.as_ref().is_err_and(not_there), "{missing:?}");
    Ok(())
}

// ---- fast ingest -------------------------------------------------------------------------

pub async fn fast_ingest_stores_everything_in_order<A: Adapter>() -> Outcome {
    const MESSAGES: u64 = 5000;
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({ "allow_batched": true })).await?;
    let mut batch = soon(js.fast_batch().flow(100, 3)).await?;
    for number in 1..=MESSAGES {
        assert_eq!(soon(batch.add("s", number.to_string())).await?, number);
        assert!(batch.messages() - batch.acknowledged() <= 300);
    }
    let ack = soon(batch.end()).await?;
    assert_eq!((ack.seq, ack.count), (MESSAGES, Some(MESSAGES)));
    let numbers = (1..=MESSAGES).map(|number| number.to_string());
    assert!(payloads(js.client(), "S").await?.into_iter().eq(numbers));

    let mut batch = soon(js.fast_batch()).await?;
    soon(batch.add("s", "x").header("A", "b")).await?;
    let last = batch.commit("s", "y").message_id("last").expect_last_subject_sequence(MESSAGES + 1);
    let ack = soon(last).await?;
    assert_eq!((ack.seq, ack.count), (MESSAGES + 2, Some(2)));
    let last = soon(js.stream("S")?.direct_last("s")).await?;
    assert_eq!((&*last.payload, last.headers.get("Nats-Msg-Id")), (&b"y"[..], Some("last")));
    let over = soon(batch.add("s", "z")).await;
    assert!(matches!(over, Err(FastBatchError::Batch(BatchError::Over))), "{over:?}");
    Ok(())
}

pub async fn fast_ingest_ends_at_a_message_that_is_refused<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({ "allow_batched": true })).await?;
    create(js.client(), "T", "t", json!({})).await?;
    let mut batch = soon(js.fast_batch()).await?;
    soon(batch.add("s", "1")).await?;
    soon(batch.add("s", "2").expect_last_sequence(7)).await?;
    let ended = soon(batch.commit("s", "3")).await;
    let Err(FastBatchError::Ended { stored: 1, cause: Some(cause) }) = ended else {
        panic!("{ended:?}")
    };
    assert!(matches!(cause, FastNotice::Refused { sequence: 2, .. }), "{cause:?}");

    let mut batch = soon(js.fast_batch().gaps(Gaps::Allow)).await?;
    soon(batch.add("s", "1")).await?;
    soon(batch.add("s", "2").expect_last_sequence(7)).await?;
    let ack = soon(batch.commit("s", "3")).await?;
    assert_eq!(ack.count, Some(3));
    let notice = batch.try_next_notice();
    assert!(matches!(notice, Some(FastNotice::Refused { sequence: 2, .. })), "{notice:?}");
    assert_eq!(payloads(js.client(), "S").await?, ["1", "1", "3"]);

    let mut batch = soon(js.fast_batch()).await?;
    let disabled = soon(async {
        batch.add("t", "1").await?;
        batch.add("t", "2").await
    });
    let Err(FastBatchError::Refused(error)) = disabled.await else { panic!("it is disabled") };
    assert_eq!(error.err_code, ErrorCode::BATCH_PUBLISH_DISABLED);

    let mut batch = soon(js.fast_batch()).await?;
    soon(batch.add("nobody", "1")).await?;
    let nobody = soon(batch.add("nobody", "2")).await;
    assert!(matches!(nobody, Err(FastBatchError::NoStream)), "{nobody:?}");
    Ok(())
}

/// A message that the user may not publish is dropped by the server, and missing in the batch.
pub async fn fast_ingest_tells_of_a_gap_or_ends_before_it<A: Adapter>() -> Outcome {
    let config = "authorization { users: [{ user: u, password: p, permissions: { publish: { deny: \"s.denied\" } } }] }";
    let server = NatsServer::builder().jetstream(true).config(config).start()?;
    let options = impatient(&server.url()).user_and_password("u", "p");
    let js = JetStream::new(connect::<A>(options).await?);
    create(js.client(), "S", "s.>", json!({ "allow_batched": true })).await?;
    let subjects = ["s.1", "s.2", "s.denied", "s.denied", "s.5"];

    let mut batch = soon(js.fast_batch().gaps(Gaps::Allow)).await?;
    for subject in subjects {
        soon(batch.add(subject, subject)).await?;
    }
    let ack = soon(batch.commit("s.6", "s.6")).await?;
    assert_eq!(ack.count, Some(6));
    let notice = batch.try_next_notice();
    assert_eq!(notice, Some(FastNotice::Gap { first: 3, next: 5 }));
    assert_eq!(batch.try_next_notice(), None);
    assert_eq!(payloads(js.client(), "S").await?, ["s.1", "s.2", "s.5", "s.6"]);

    let mut batch = soon(js.fast_batch()).await?;
    for subject in subjects {
        soon(batch.add(subject, subject)).await?;
    }
    let ended = soon(batch.commit("s.6", "s.6")).await;
    let Err(FastBatchError::Ended { stored: 2, cause }) = ended else { panic!("{ended:?}") };
    assert_eq!(cause, Some(FastNotice::Gap { first: 3, next: 5 }));
    assert_eq!(payloads(js.client(), "S").await?, ["s.1", "s.2", "s.5", "s.6", "s.1", "s.2"]);
    Ok(())
}

pub async fn a_lost_connection_ends_fast_ingest<A: Adapter>() -> Outcome {
    let (server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({ "allow_batched": true })).await?;
    let mut batch = soon(js.fast_batch()).await?;
    soon(batch.add("s", "1")).await?;
    soon(batch.add("s", "2")).await?;
    let mut events = js.client().events();
    js.client().reconnect();
    wait_for(&mut events, is_connected).await;
    let lost = soon(batch.end()).await;
    assert!(matches!(lost, Err(FastBatchError::Lost { .. })), "{lost:?}");

    // Long enough for the first ack.
    let mut batch = soon(js.fast_batch().timeout(Duration::from_secs(2))).await?;
    soon(batch.add("s", "1")).await?;
    soon(batch.add("s", "2")).await?;
    server.pause()?;
    let silent = soon(batch.end()).await;
    assert!(matches!(silent, Err(FastBatchError::TimedOut { .. })), "{silent:?}");
    server.resume()?;
    Ok(())
}

pub async fn fast_ingest_whose_stream_goes_midway_ends_in_time<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    // The stream has answered, with no message, or with some.
    for before in [1, 30] {
        create(js.client(), "S", "s", json!({ "allow_batched": true })).await?;
        let timeout = Duration::from_millis(1500);
        let mut batch = soon(js.fast_batch().flow(10, 1).timeout(timeout)).await?;
        soon(batch.add("s", "first")).await?;
        for _ in 0..before {
            soon(batch.add("s", "more")).await?;
        }
        assert_eq!(batch.acknowledged() == 0, before == 1);
        soon(js.delete_stream("S")).await?;
        let ended = soon(async {
            loop {
                if let Err(error) = batch.add("s", "too late").await {
                    return error;
                }
            }
        });
        let ended = ended.await;
        // A stream that is about to go may still answer, and has forgotten the batch by then.
        let in_time = match &ended {
            FastBatchError::TimedOut { .. } => true,
            FastBatchError::Refused(error) => {
                error.err_code == ErrorCode::BATCH_PUBLISH_UNKNOWN_BATCH_ID
            }
            _ => false,
        };
        assert!(in_time, "{ended:?}");
    }
    Ok(())
}

pub async fn an_old_server_is_told_before_anything_is_sent<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().version(Version::V2_11).jetstream(true).start()?;
    let js = JetStream::new(connect::<A>(server.url()).await?);
    create(js.client(), "S", "s", json!({})).await?;
    let batch = soon(js.batch()).await;
    assert!(matches!(batch, Err(FeatureError::Level(_))), "{batch:?}");
    let fast = soon(js.fast_batch()).await;
    assert!(matches!(fast, Err(FastBatchError::Feature(FeatureError::Level(_)))), "{fast:?}");
    let added = soon(js.counters("S")?.add("s", 1)).await;
    assert!(matches!(added, Err(AddError::Feature(FeatureError::Level(_)))), "{added:?}");
    assert_eq!(count(js.client(), "S").await?, 0);
    Ok(())
}
