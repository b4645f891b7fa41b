//! Publishing to streams of a real nats-server, one message at a time or many.

use std::future::IntoFuture;
use std::time::{Duration, Instant};

use midge::RequestError;
use midge::jetstream::{
    ErrorCode, Integer, JetPublishError, JetStream, PublishFailure, PublishHeadersError,
    PublishOrder, PublisherError, Report, Rollup,
};
use serde_json::json;

use crate::NatsServer;
use crate::conformance::steps::{
    assert_took, connect, impatient, is_connected, poll_once, soon, until, wait_for,
};
use crate::conformance::streams_by_hand::{count, create, payloads, until_count, update};
use crate::conformance::tasks::spawn;
use crate::conformance::timer::{sleep, within};
use crate::conformance::{Adapter, Outcome};

pub(super) async fn jetstream<A: Adapter>() -> Outcome<(NatsServer, JetStream)> {
    let server = NatsServer::builder().jetstream(true).start()?;
    let client = connect::<A>(impatient(&server.url())).await?;
    Ok((server, JetStream::new(client)))
}

pub(super) fn refusal(
    result: Result<midge::jetstream::PubAck, JetPublishError>,
) -> Outcome<ErrorCode> {
    match result {
        Err(JetPublishError::Refused(error)) => Ok(error.err_code),
        other => Err(format!("a refusal was wanted: {other:?}").into()),
    }
}

// ---- one message -------------------------------------------------------------------------

pub async fn a_publish_is_acknowledged_by_its_stream<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "ORDERS", "orders.>", json!({})).await?;
    let ack = soon(js.publish("orders.1", "coffee").message_id("1").header("A", "b")).await?;
    assert_eq!((&*ack.stream, ack.seq, ack.duplicate), ("ORDERS", 1, false));
    let ack = soon(js.publish("orders.1", "coffee").message_id("1")).await?;
    assert_eq!((ack.seq, ack.duplicate), (1, true));
    assert_eq!(payloads(js.client(), "ORDERS").await?, ["coffee"]);
    let domain = ack.domain;
    assert_eq!(domain, None);
    Ok(())
}

pub async fn expectations_are_checked_by_the_stream<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s.>", json!({ "allow_rollup_hdrs": true })).await?;
    soon(js.publish("s.a", "1").message_id("one").expect_last_sequence(0).expect_stream("S"))
        .await?;
    let wrong = refusal(soon(js.publish("s.a", "").expect_last_sequence(7)).await)?;
    assert!(wrong.is_wrong_last_sequence());
    let wrong = refusal(soon(js.publish("s.a", "").expect_last_message_id("two")).await)?;
    assert_eq!(wrong, ErrorCode::STREAM_WRONG_LAST_MSG_ID);
    let wrong = refusal(soon(js.publish("s.a", "").expect_stream("T")).await)?;
    assert_eq!(wrong, ErrorCode::STREAM_NOT_MATCH);
    let wrong = refusal(soon(js.publish("s.a", "").expect_last_subject_sequence(0)).await)?;
    assert!(wrong.is_wrong_last_sequence());
    soon(js.publish("s.a", "2").expect_last_message_id("one")).await?;
    soon(js.publish("s.b", "3").expect_last_subject_sequence(0)).await?;
    let wrong = refusal(soon(js.publish("s.c", "").expect_last_sequence_of("s.*", 2)).await)?;
    assert!(wrong.is_wrong_last_sequence());
    soon(js.publish("s.c", "4").expect_last_sequence_of("s.*", 3)).await?;
    assert_eq!(payloads(js.client(), "S").await?, ["1", "2", "3", "4"]);
    soon(js.publish("s.c", "5").rollup(Rollup::Stream)).await?;
    assert_eq!(payloads(js.client(), "S").await?, ["5"]);
    Ok(())
}

pub async fn a_publish_that_no_stream_takes_is_sent_again_twice<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let began = Instant::now();
    let error = soon(js.publish("orders", "")).await.expect_err("nobody listens");
    assert!(matches!(error, JetPublishError::NoStream { attempts: 3 }), "{error:?}");
    assert!(!error.may_be_stored());
    assert_took(began, Duration::from_millis(500));

    let short = Duration::from_millis(10);
    let error = soon(js.publish("orders", "").retries(0, short)).await.expect_err("nobody listens");
    assert!(matches!(error, JetPublishError::NoStream { attempts: 1 }), "{error:?}");

    let publisher = js.clone();
    let publishing = spawn::<A, _>(async move {
        publisher.publish("orders", "x").message_id("1").retries(1000, short).await
    });
    sleep(5 * short).await;
    create(js.client(), "ORDERS", "orders", json!({})).await?;
    let ack = soon(publishing).await?;
    assert_eq!((ack.seq, ack.duplicate), (1, false));
    let ack = soon(js.publish("orders", "x").message_id("1")).await?;
    assert_eq!((ack.seq, ack.duplicate), (1, true), "each attempt has the id");
    Ok(())
}

pub async fn a_publish_is_not_sent_again_after_a_lost_connection<A: Adapter>() -> Outcome {
    let (mut server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({ "storage": "file" })).await?;
    server.pause()?;
    let mut events = js.client().events();
    let mut publishing = js.publish("s", "x").message_id("1").into_future();
    assert!(poll_once(&mut publishing).await.is_pending());
    // It is written, and lost with the server.
    until(|| js.client().pending_bytes() == 0).await;
    server.kill()?;
    server.restart()?;
    let error = soon(publishing).await.expect_err("nobody answers");
    assert!(matches!(error, JetPublishError::Request(RequestError::Unknown)), "{error:?}");
    assert!(error.may_be_stored());
    wait_for(&mut events, is_connected).await;
    soon(js.client().flush()).await?;
    assert_eq!(count(js.client(), "S").await?, 0, "it is left to who published it");
    let ack = soon(js.publish("s", "x").message_id("1")).await?;
    assert_eq!((ack.seq, ack.duplicate), (1, false));
    Ok(())
}

pub async fn a_publish_is_not_sent_again_after_a_timeout<A: Adapter>() -> Outcome {
    let (server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    server.pause()?;
    let began = Instant::now();
    // Long enough to be sent meanwhile: otherwise it ends as not sent.
    let timeout = Duration::from_secs(1);
    let error = soon(js.publish("s", "").timeout(timeout)).await.expect_err("nobody answers");
    assert!(matches!(error, JetPublishError::Request(RequestError::TimedOut)), "{error:?}");
    assert!(error.may_be_stored());
    assert_took(began, timeout);
    server.resume()?;
    soon(js.client().flush()).await?;
    soon(js.publish("s", "")).await?;
    assert_eq!(count(js.client(), "S").await?, 2);
    Ok(())
}

pub async fn a_publish_that_contradicts_itself_is_not_sent<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    let half = Duration::from_millis(1500);
    let error = soon(js.publish("s", "").ttl(half)).await.expect_err("half a second");
    let JetPublishError::Headers(PublishHeadersError::Ttl { ttl }) = error else {
        return Err(error.into());
    };
    assert_eq!(ttl, half);
    let counted = js.publish("s", "").increment(1).expect_last_sequence(0);
    let error = soon(counted).await.expect_err("a counter has no sequence");
    assert!(matches!(error, JetPublishError::Headers(_)), "{error:?}");
    assert_eq!(count(js.client(), "S").await?, 0);
    Ok(())
}

pub async fn a_message_expires_and_one_that_never_does_stays<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({ "allow_msg_ttl": true })).await?;
    soon(js.publish("s", "short").ttl(Duration::from_secs(1))).await?;
    soon(js.publish("s", "long").never_expires()).await?;
    soon(async {
        while count(js.client(), "S").await? > 1 {
            sleep(Duration::from_millis(50)).await;
        }
        Outcome::Ok(())
    })
    .await?;
    assert_eq!(payloads(js.client(), "S").await?, ["long"]);
    Ok(())
}

pub async fn an_increment_tells_what_the_counter_came_to<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "COUNTS", "counts.>", json!({ "allow_msg_counter": true })).await?;
    let much: Integer = "123456789012345678901234567890".parse()?;
    let ack = soon(js.publish("counts.a", "").increment(much.clone())).await?;
    assert_eq!(ack.value, Some(much.clone()));
    let ack = soon(js.publish("counts.a", "").increment(-1 - 2 * i64::from(i32::MAX))).await?;
    assert_eq!(ack.value, Some(much.clone() - Integer::from(4_294_967_295_u32)));
    let ack = soon(js.publish("counts.b", "").increment(-much.clone())).await?;
    assert_eq!(ack.value, Some(-much));
    Ok(())
}

// ---- many --------------------------------------------------------------------------------

pub async fn a_publisher_stores_everything_once_and_in_order<A: Adapter>() -> Outcome {
    const MESSAGES: u64 = 5000;
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    let mut publisher = soon(js.publisher().window(100, 1 << 20)).await?;
    for number in 1..=MESSAGES {
        let given = soon(publisher.publish("s", number.to_string())).await?;
        assert_eq!(given, number);
        assert!(publisher.pending() <= 100);
    }
    soon(publisher.flush()).await?;
    assert_eq!(publisher.pending(), 0);
    assert!(soon(publisher.next_report()).await.is_none());
    let numbers = (1..=MESSAGES).map(|number| number.to_string());
    assert!(payloads(js.client(), "S").await?.into_iter().eq(numbers));
    Ok(())
}

pub async fn a_publisher_tells_of_each_message_if_it_shall<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    let mut publisher = soon(js.publisher().report_stored()).await?;
    soon(publisher.publish("s", "1").message_id("one")).await?;
    soon(publisher.publish("s", "1").message_id("one")).await?;
    let mut acks = Vec::new();
    while let Some(report) = soon(publisher.next_report()).await {
        let Report::Stored { number, ack } = report else { return Err("both are there".into()) };
        acks.push((number, ack.seq, ack.duplicate));
    }
    assert_eq!(acks, [(1, 1, false), (2, 1, true)]);
    Ok(())
}

pub async fn a_message_that_fails_is_reported_with_its_content<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({ "max_msg_size": 500 })).await?;
    for order in [PublishOrder::Sent, PublishOrder::Chained, PublishOrder::OneByOne] {
        let mut publisher = soon(js.publisher().order(order)).await?;
        soon(publisher.publish("s", "before")).await?;
        soon(publisher.publish("s", [b'x'; 1000]).header("A", "b")).await?;
        soon(publisher.publish("s", "behind")).await?;
        let failed = soon(publisher.flush()).await;
        assert!(matches!(failed, Err(PublisherError::Failed { failed: 1 })), "{failed:?}");
        let Some(Report::Failed { number: 2, failure, message }) =
            soon(publisher.next_report()).await
        else {
            return Err("the second one has failed".into());
        };
        let PublishFailure::Refused(error) = failure else { return Err(failure.into()) };
        assert_eq!(error.err_code, ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM);
        assert_eq!((&*message.subject, &*message.payload), ("s", &[b'x'; 1000][..]));
        assert_eq!(message.headers.get("A"), Some("b"));
        soon(publisher.flush()).await?;
    }
    let stored = ["before", "behind"].repeat(3);
    assert_eq!(payloads(js.client(), "S").await?, stored);
    Ok(())
}

/// Where nothing is chained, a message may expect what it likes.
pub async fn a_chain_refuses_headers_that_it_would_overwrite<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    create(js.client(), "N", "n", json!({ "allow_msg_counter": true })).await?;
    let counted = js.client().request("n", "").header("Nats-Incr", "+1");
    let counted = soon(counted.header("Nats-Expected-Last-Sequence", "0")).await?;
    let counted = String::from_utf8_lossy(counted.payload());
    assert!(counted.contains("error"), "a counter takes no expectation: {counted}");

    let mut publisher = soon(js.publisher().order(PublishOrder::Chained)).await?;
    let expecting = soon(publisher.publish("s", "").expect_last_sequence(7)).await;
    let counting = soon(publisher.publish("n", "").increment(1)).await;
    for (refused, wanted) in [(expecting, "Nats-Expected-Last-Sequence"), (counting, "Nats-Incr")] {
        let Err(PublisherError::Headers(PublishHeadersError::Chained { header })) = refused else {
            return Err(format!("{wanted}: {refused:?}").into());
        };
        assert_eq!(header, wanted);
    }
    assert_eq!(publisher.pending(), 0);
    let given = soon(publisher.publish("s", "1").message_id("one").expect_stream("S"));
    given.await?;
    soon(publisher.flush()).await?;

    let mut publisher = soon(js.publisher().report_stored()).await?;
    soon(publisher.publish("s", "").expect_last_sequence(7)).await?;
    soon(publisher.publish("s", "2").expect_last_sequence(1)).await?;
    soon(publisher.publish("n", "").increment(5)).await?;
    let mut outcomes = Vec::new();
    while let Some(report) = soon(publisher.next_report()).await {
        outcomes.push(match report {
            Report::Failed { number, failure: PublishFailure::Refused(error), .. } => {
                assert!(error.err_code.is_wrong_last_sequence(), "{error}");
                (number, None)
            }
            Report::Stored { number, ack } => (number, Some((ack.seq, ack.value))),
            other => return Err(format!("{other:?}").into()),
        });
    }
    outcomes.sort_by_key(|(number, _)| *number);
    let five = Some(Integer::from(5));
    assert_eq!(outcomes, [(1, None), (2, Some((2, None))), (3, Some((1, five)))]);
    assert_eq!(payloads(js.client(), "S").await?, ["1", "2"]);
    Ok(())
}

/// Ten messages, of which the fourth finds a stream only when all others were sent.
async fn with_one_503<A: Adapter>(order: PublishOrder) -> Outcome<(Vec<String>, Vec<u64>)> {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    let retries = (1000, Duration::from_millis(100));
    let builder = js.publisher().order(order).retries(retries.0, retries.1);
    let mut publisher = soon(builder).await?;
    for number in 1..=10 {
        let subject = if number == 4 { "later" } else { "s" };
        soon(publisher.publish(subject, number.to_string())).await?;
    }
    let client = js.client().clone();
    let opening = spawn::<A, _>(async move {
        let others = if order == PublishOrder::Sent { 9 } else { 3 };
        until_count(&client, "S", others).await?;
        update(&client, "S", "s", json!({ "subjects": ["s", "later"] })).await
    });
    soon(publisher.flush()).await?;
    soon(opening).await?;
    let mut moved = Vec::new();
    while let Some(report) = publisher.try_next_report() {
        let Report::Moved { number, seq } = report else { return Err("it has moved".into()) };
        assert_eq!(seq, 10);
        moved.push(number);
    }
    Ok((payloads(js.client(), "S").await?, moved))
}

pub async fn behind_a_503_messages_are_stored_in_between_and_that_is_told<A: Adapter>() -> Outcome {
    let (stored, moved) = with_one_503::<A>(PublishOrder::Sent).await?;
    assert_eq!(stored, ["1", "2", "3", "5", "6", "7", "8", "9", "10", "4"]);
    assert_eq!(moved, [4]);
    Ok(())
}

pub async fn behind_a_503_a_chain_waits_and_keeps_the_order<A: Adapter>() -> Outcome {
    let (stored, moved) = with_one_503::<A>(PublishOrder::Chained).await?;
    assert_eq!(stored, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
    assert!(moved.is_empty());
    Ok(())
}

pub async fn behind_a_503_one_by_one_keeps_the_order<A: Adapter>() -> Outcome {
    let (stored, moved) = with_one_503::<A>(PublishOrder::OneByOne).await?;
    assert_eq!(stored, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
    assert!(moved.is_empty());
    Ok(())
}

pub async fn a_chain_tells_what_others_have_moved<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    let mut publisher = soon(js.publisher().order(PublishOrder::Chained)).await?;
    for number in 1..=300_u64 {
        soon(publisher.publish("s", number.to_string())).await?;
        if number % 50 == 25 {
            soon(js.publish("s", "other")).await?;
        }
    }
    soon(publisher.flush()).await?;
    let mut moved = Vec::new();
    while let Some(report) = publisher.try_next_report() {
        let Report::Moved { number, .. } = report else { return Err("it has moved".into()) };
        moved.push(number);
    }
    let stored = payloads(js.client(), "S").await?;
    assert_eq!(stored.len(), 306);
    let mine = stored.into_iter().filter_map(|payload| payload.parse().ok());
    let unmoved: Vec<u64> = mine.filter(|number| !moved.contains(number)).collect();
    assert!(unmoved.is_sorted() && moved.len() + unmoved.len() == 300, "{moved:?} {unmoved:?}");
    Ok(())
}

pub async fn a_publisher_outlives_a_killed_server_and_stores_everything_once<A: Adapter>() -> Outcome
{
    const MESSAGES: u64 = 3000;
    for order in [PublishOrder::Sent, PublishOrder::Chained] {
        let (mut server, js) = jetstream::<A>().await?;
        create(js.client(), "S", "s", json!({ "storage": "file" })).await?;
        let mut publisher =
            soon(js.publisher().order(order).retries(1000, Duration::from_millis(50))).await?;
        for number in 0..MESSAGES {
            if number == MESSAGES / 2 {
                server.kill()?;
                server.restart()?;
            }
            soon(publisher.publish("s", number.to_string())).await?;
        }
        soon(publisher.flush()).await?;
        let stored = payloads(js.client(), "S").await?;
        let stored: Vec<u64> = stored.iter().filter_map(|payload| payload.parse().ok()).collect();
        let missing: Vec<u64> = (0..MESSAGES).filter(|number| !stored.contains(number)).collect();
        let steps = stored.windows(2).filter(|two| two[1] != two[0] + 1);
        let steps: Vec<&[u64]> = steps.collect();
        assert!(missing.is_empty() && steps.is_empty(), "{order:?}: {missing:?} {steps:?}");
        assert_eq!(publisher.unread_reports(), 0);
    }
    Ok(())
}

/// What becomes of a message that a server had not read when it was killed, if it is back only after
/// `away`.
async fn unread_by_a_killed_server<A: Adapter>(
    window: Duration,
    away: Duration,
) -> Outcome<(Report, u64)> {
    let (mut server, js) = jetstream::<A>().await?;
    let more = json!({ "storage": "file", "duplicate_window": window.as_nanos() as u64 });
    create(js.client(), "S", "s.*", more).await?;
    let mut publisher = soon(js.publisher().report_stored()).await?;
    server.pause()?;
    let sent = Instant::now();
    soon(publisher.publish("s.1", "1")).await?;
    while js.client().pending_bytes() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    server.kill()?;
    sleep(away.saturating_sub(sent.elapsed())).await;
    server.restart()?;
    let report = soon(publisher.next_report()).await.ok_or("it has an outcome")?;
    Ok((report, count(js.client(), "S").await?))
}

pub async fn a_publisher_asks_its_stream_for_how_long_ids_are_known<A: Adapter>() -> Outcome {
    let (second, short) = (Duration::from_secs(1), Duration::from_millis(50));
    let (report, stored) = unread_by_a_killed_server::<A>(second, second).await?;
    let failed = matches!(report, Report::Failed { failure: PublishFailure::Unknown, .. });
    assert!(failed && stored == 0, "the stream may not know it again: {report:?}");
    let (report, stored) = unread_by_a_killed_server::<A>(20 * second, short).await?;
    assert!(matches!(report, Report::Stored { number: 1, .. }), "{report:?}");
    assert_eq!(stored, 1);
    Ok(())
}

pub async fn a_publisher_that_may_not_ask_sends_again_within_two_minutes<A: Adapter>() -> Outcome {
    let config = r#"authorization { users: [
        { user: a, password: p },
        { user: u, password: p, permissions: { publish: ["s.>"] } },
    ] }"#;
    let mut server = NatsServer::builder().jetstream(true).config(config).start()?;
    let user = |name| impatient(&server.url()).user_and_password(name, "p");
    create(&connect::<A>(user("a")).await?, "S", "s.*", json!({ "storage": "file" })).await?;
    let js = JetStream::new(connect::<A>(user("u")).await?);
    let mut publisher = soon(js.publisher().report_stored()).await?;
    server.pause()?;
    soon(publisher.publish("s.1", "1")).await?;
    while js.client().pending_bytes() > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    server.kill()?;
    server.restart()?;
    let report = soon(publisher.next_report()).await;
    assert!(matches!(report, Some(Report::Stored { number: 1, .. })), "{report:?}");
    Ok(())
}

pub async fn a_full_window_waits_and_a_server_that_stands_still_is_told<A: Adapter>() -> Outcome {
    let (server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    let stall = Duration::from_millis(300);
    let mut publisher = soon(js.publisher().window(10, 1 << 20).stall(stall)).await?;
    server.pause()?;
    for _ in 0..10 {
        publisher.publish("s", "").try_send()?;
    }
    let full = publisher.publish("s", "").try_send();
    assert!(matches!(full, Err(PublisherError::Full { pending: 10 })), "{full:?}");
    let began = Instant::now();
    let stalled = soon(publisher.publish("s", "")).await;
    assert!(matches!(stalled, Err(PublisherError::Stalled { pending: 10 })), "{stalled:?}");
    assert_took(began, stall);
    let stalled = soon(publisher.flush()).await;
    assert!(matches!(stalled, Err(PublisherError::Stalled { pending: 10 })), "{stalled:?}");
    server.resume()?;
    // It may take longer than a stall before the server goes on.
    soon(async {
        loop {
            match publisher.flush().await {
                Err(PublisherError::Stalled { .. }) => {}
                flushed => return flushed,
            }
        }
    })
    .await?;
    assert_eq!(count(js.client(), "S").await?, 10);
    Ok(())
}

pub async fn a_window_that_is_full_of_bytes_waits<A: Adapter>() -> Outcome {
    let (server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    let stall = Duration::from_millis(300);
    let mut publisher = soon(js.publisher().window(1000, 10_000).stall(stall)).await?;
    server.pause()?;
    let payload = [b'x'; 3000];
    for _ in 0..3 {
        publisher.publish("s", payload).try_send()?;
    }
    let full = publisher.publish("s", payload).try_send();
    assert!(matches!(full, Err(PublisherError::Full { pending: 3 })), "{full:?}");
    let stalled = soon(publisher.publish("s", payload)).await;
    assert!(matches!(stalled, Err(PublisherError::Stalled { pending: 3 })), "{stalled:?}");
    // Headers count, and what is small enough still has room.
    let full = publisher.publish("s", "").header("A", "x".repeat(3000)).try_send();
    assert!(matches!(full, Err(PublisherError::Full { pending: 3 })), "{full:?}");
    server.resume()?;
    // One message alone may be larger.
    let large = async {
        loop {
            match publisher.publish("s", [b'x'; 20_000]).await {
                Err(PublisherError::Stalled { .. }) => {}
                given => return given,
            }
        }
    };
    assert_eq!(soon(large).await?, 4);
    soon(publisher.flush()).await?;
    assert_eq!(count(js.client(), "S").await?, 4);
    Ok(())
}

pub async fn a_publisher_that_may_have_no_acks_says_so<A: Adapter>() -> Outcome {
    let config = r#"authorization { users: [
        { user: a, password: p },
        { user: u, password: p, permissions: { subscribe: { deny: "_INBOX.>" } } },
    ] }"#;
    let server = NatsServer::builder().jetstream(true).config(config).start()?;
    let user = |name| impatient(&server.url()).user_and_password(name, "p");
    let other = connect::<A>(user("a")).await?;
    create(&other, "S", "s", json!({})).await?;
    let js = JetStream::new(connect::<A>(user("u")).await?);
    // The denial comes only when all three are sent.
    server.pause()?;
    let mut publisher = soon(js.publisher()).await?;
    for _ in 0..3 {
        publisher.publish("s", "").try_send()?;
    }
    server.resume()?;
    let denied = soon(publisher.flush()).await;
    assert!(matches!(denied, Err(PublisherError::Denied(_))), "{denied:?}");
    let denied = soon(publisher.publish("s", "")).await;
    assert!(matches!(denied, Err(PublisherError::Denied(_))), "{denied:?}");
    for wanted in 1..=3 {
        let report = soon(publisher.next_report()).await;
        let Some(Report::Failed { number, failure, .. }) = report else { panic!("{report:?}") };
        assert!(matches!(failure, PublishFailure::Unknown), "{failure}");
        assert_eq!(number, wanted);
    }
    assert!(soon(publisher.next_report()).await.is_none());
    until_count(&other, "S", 3).await?;
    Ok(())
}

/// Waiting for room in the outbound queue is no reason to look again and again.
pub async fn a_publisher_rests_while_the_outbound_queue_is_full<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().jetstream(true).start()?;
    let options = impatient(&server.url()).max_pending(1 << 20);
    let js = JetStream::new(connect::<A>(options).await?);
    create(js.client(), "S", "s", json!({})).await?;
    let wait = Duration::from_millis(200);
    let builder = js.publisher().ack_wait(wait).duplicate_window(Duration::from_secs(120));
    let mut publisher = soon(builder.window(1000, 1 << 30)).await?;
    server.pause()?;
    let payload = vec![0; 1 << 17];
    let mut stuck = false;
    while !stuck {
        while js.client().pending_bytes() < 900_000 {
            publisher.publish("s", &payload).try_send()?;
        }
        sleep(Duration::from_millis(20)).await;
        stuck = js.client().pending_bytes() >= 900_000;
    }
    for _ in 0..10 {
        publisher.publish("s", &payload).try_send()?;
    }
    let mut polls = 0;
    {
        let mut flush = std::pin::pin!(publisher.flush());
        let counted = std::future::poll_fn(|context| {
            polls += 1;
            flush.as_mut().poll(context)
        });
        let flushed = within(Duration::from_secs(1), counted).await;
        assert!(flushed.is_none(), "the server stands still");
    }
    assert!(polls < 1000, "{polls}");
    server.resume()?;
    soon(publisher.flush()).await?;
    Ok(())
}

pub async fn a_publisher_ends_with_its_connection_and_hides_nothing<A: Adapter>() -> Outcome {
    let (server, js) = jetstream::<A>().await?;
    create(js.client(), "S", "s", json!({})).await?;
    let mut publisher = soon(js.publisher()).await?;
    server.pause()?;
    for _ in 0..3 {
        soon(publisher.publish("s", "")).await?;
    }
    let closing = js.client().close();
    server.resume()?;
    soon(closing).await;
    let mut outcomes = 0;
    while let Some(report) = soon(publisher.next_report()).await {
        assert!(matches!(report, Report::Failed { .. }), "{report:?}");
        outcomes += 1;
    }
    assert!(outcomes <= 3 && publisher.pending() == 0);
    let closed = soon(publisher.publish("s", "")).await;
    assert!(matches!(closed, Err(PublisherError::Closed)), "{closed:?}");
    Ok(())
}
