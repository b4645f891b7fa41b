//! Reading pull consumers of a real nats-server.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use midge::RequestError;
use midge::jetstream::{
    AckError, ApiPrefix, Consume, JetMessage, Limit, Notice, PullEnd, PullError,
};
use serde_json::{Value, json};

use crate::conformance::notices::noticing;
use crate::conformance::steps::{PATIENCE, connect, poll_once, soon, until};
use crate::conformance::streams_by_hand::{Bench, api};
use crate::conformance::tasks::spawn;
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};

const SHORT: Duration = Duration::from_millis(300);

impl Bench {
    /// Makes the consumer `c`, with explicit acks.
    pub(super) async fn consumer(&self, config: Value) -> Outcome<midge::jetstream::Consumer> {
        let mut wanted = json!({"name": "c", "durable_name": "c", "ack_policy": "explicit"});
        for (key, value) in config.as_object().into_iter().flatten() {
            wanted[key] = value.clone();
        }
        let request = json!({"stream_name": "S", "config": wanted});
        api(&self.client, "CONSUMER.CREATE.S.c", request).await?;
        Ok(self.js.consumer("S", "c")?)
    }

    pub(super) async fn info(&self) -> Outcome<Value> {
        api(&self.client, "CONSUMER.INFO.S.c", Value::Null).await
    }

    pub(super) async fn publish_to_one(&self, numbers: std::ops::Range<usize>) -> Outcome {
        self.store_numbers(numbers.start as u64..numbers.end as u64, |_| "s.n".into()).await
    }

    /// Waits until a number of the consumer's info is this.
    pub(super) async fn until_info(&self, field: &str, wanted: u64) -> Outcome {
        let began = Instant::now();
        loop {
            let info = self.info().await?;
            if info[field] == wanted {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("{field} is {} and not {wanted}", info[field]).into());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(super) fn number(message: &JetMessage) -> usize {
    std::str::from_utf8(message.payload()).ok().and_then(|it| it.parse().ok()).expect("a number")
}

pub(super) async fn take(messages: &mut Consume) -> JetMessage {
    soon(messages.next()).await.expect("the stream goes on").expect("a message")
}

async fn acked(messages: &mut Consume) -> Outcome<JetMessage> {
    let message = take(messages).await;
    soon(message.double_ack()).await?;
    Ok(message)
}

// ---- next, and answers -------------------------------------------------------------------

pub async fn next_gives_messages_one_by_one_and_acks_settle_them<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    bench.publish_to_one(0..20).await?;
    for wanted in 0..20 {
        let message = soon(consumer.next()).await?.expect("a message");
        assert_eq!((message.subject(), number(&message)), ("s.n", wanted));
        let delivery = message.delivery().expect("a consumer has delivered it");
        assert_eq!((delivery.stream, delivery.consumer), ("S", "c"));
        assert_eq!(delivery.stream_sequence, wanted as u64 + 1);
        assert_eq!(delivery.delivered, 1);
        match wanted % 2 {
            0 => message.ack().await?,
            _ => soon(message.double_ack()).await?,
        }
        assert!(message.is_settled());
        assert_eq!(message.ack().await, Err(AckError::Settled));
    }
    let began = Instant::now();
    assert!(soon(consumer.next().expires(SHORT)).await?.is_none());
    assert!(began.elapsed() >= SHORT);
    bench.until_info("num_ack_pending", 0).await?;
    // The server's own clock ends the request there.
    bench.until_info("num_waiting", 0).await
}

pub async fn a_nak_brings_a_message_back_and_a_term_does_not<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({"ack_wait": 2_000_000_000_u64})).await?;
    bench.publish_to_one(0..1).await?;
    let mut reasons =
        bench.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.>").await?;
    let first = soon(consumer.next()).await?.expect("a message");
    first.nak().await?;
    let second = soon(consumer.next()).await?.expect("it comes again");
    assert_eq!(second.delivery().map(|it| it.delivered), Some(2));
    let began = Instant::now();
    second.nak_after(SHORT).await?;
    let third = soon(consumer.next()).await?.expect("it comes again");
    assert!(began.elapsed() >= SHORT);
    for _ in 0..5 {
        sleep(Duration::from_millis(700)).await;
        soon(third.in_progress().confirmed()).await?;
    }
    assert!(!third.is_settled());
    soon(third.term_because("no such user").confirmed()).await?;
    let advisory = soon(reasons.next()).await.expect("an advisory");
    assert!(String::from_utf8_lossy(advisory.payload()).contains("no such user"));
    assert_eq!(bench.info().await?["num_ack_pending"], 0);
    assert!(soon(consumer.next().expires(SHORT)).await?.is_none());
    Ok(())
}

/// Whoever answers, and however: the server hears of one answer to a delivery.
pub async fn only_the_first_answer_that_settles_a_message_is_sent<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let other = connect::<A>(bench.server.url()).await?;
    let mut answers = soon(other.subscribe("$JS.ACK.S.c.>")).await?;
    soon(other.flush()).await?;
    bench.publish_to_one(0..5).await?;
    for (number, word) in ["+ACK", "-NAK", "+TERM", "+TERM why", "+ACK"].into_iter().enumerate() {
        let message = soon(consumer.next()).await?.expect("a message");
        match number {
            0 => message.ack().await?,
            1 => message.nak().await?,
            2 => message.term().await?,
            3 => message.term_because("why").await?,
            _ => soon(message.double_ack()).await?,
        }
        let settled = Err(AckError::Settled);
        assert_eq!(message.ack().await, settled, "{word}");
        assert_eq!(message.nak().await, settled, "{word}");
        assert_eq!(message.nak_after(SHORT).await, settled, "{word}");
        assert_eq!(message.term().await, settled, "{word}");
        assert_eq!(message.term_because("x").await, settled, "{word}");
        assert_eq!(soon(message.double_ack()).await, settled, "{word}");
        assert_eq!(message.nak().try_send(), settled, "{word}");
        soon(bench.client.flush()).await?;
        soon(other.flush()).await?;
        let heard = answers.try_next().map(|it| it.payload().to_vec());
        assert_eq!(heard.as_deref(), Some(word.as_bytes()));
        assert!(answers.try_next().is_none(), "a second answer behind {word}");
        if number == 1 {
            // It comes again, as a message of its own, to be answered once more.
            let again = soon(consumer.next()).await?.expect("it comes again");
            again.ack().await?;
            soon(bench.client.flush()).await?;
            soon(other.flush()).await?;
            assert_eq!(answers.try_next().map(|it| it.payload().to_vec()), Some(b"+ACK".to_vec()));
        }
    }

    // At the same time, by many who share it.
    bench.publish_to_one(5..6).await?;
    let message = Arc::new(soon(consumer.next()).await?.expect("a message"));
    let tasks: Vec<_> = (0..8)
        .map(|number| {
            let message = Arc::clone(&message);
            spawn::<A, _>(async move {
                match number % 3 {
                    0 => message.ack().await,
                    1 => message.nak_after(SHORT).await,
                    _ => message.term().await,
                }
            })
        })
        .collect();
    let mut given = 0;
    for task in tasks {
        match soon(task).await {
            Ok(()) => given += 1,
            Err(error) => assert_eq!(error, AckError::Settled),
        }
    }
    soon(bench.client.flush()).await?;
    soon(other.flush()).await?;
    assert_eq!(
        (given, answers.try_next().is_some(), answers.try_next().is_none()),
        (1, true, true)
    );
    Ok(())
}

pub async fn a_next_that_is_dropped_loses_no_message<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    for wanted in 0..30 {
        for _ in 0..3 {
            let mut next = consumer.next().into_future();
            assert!(poll_once(&mut next).await.is_pending());
        }
        bench.publish_to_one(wanted..wanted + 1).await?;
        if wanted % 3 == 0 {
            bench.until_info("num_ack_pending", 1).await?;
        }
        let message = soon(consumer.next()).await?.expect("a message");
        assert_eq!(
            (number(&message), message.delivery().map(|it| it.delivered)),
            (wanted, Some(1))
        );
        soon(message.double_ack()).await?;
    }
    assert_eq!(bench.info().await?["num_waiting"], 0);
    Ok(())
}

// ---- fetch -------------------------------------------------------------------------------

pub(super) async fn fetched(
    fetch: midge::jetstream::FetchBuilder<'_>,
) -> Result<Vec<usize>, PullError> {
    let mut fetch = fetch.await?;
    let mut numbers = Vec::new();
    while let Some(message) = soon(fetch.next()).await {
        let message = message?;
        numbers.push(number(&message));
        message.ack().await.expect("the connection is up");
    }
    Ok(numbers)
}

pub async fn a_fetch_gives_what_it_asked_for_and_ends<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    assert_eq!(fetched(consumer.fetch(10).no_wait()).await?, Vec::<usize>::new());
    bench.publish_to_one(0..25).await?;
    // A stream acknowledges a message before its consumers hear of it.
    bench.until_info("num_pending", 25).await?;
    assert_eq!(fetched(consumer.fetch(10)).await?, Vec::from_iter(0..10));
    assert_eq!(fetched(consumer.fetch(10).no_wait()).await?, Vec::from_iter(10..20));
    assert_eq!(fetched(consumer.fetch(10).no_wait()).await?, Vec::from_iter(20..25));
    let began = Instant::now();
    bench.publish_to_one(25..27).await?;
    let expires = Duration::from_secs(2);
    assert_eq!(fetched(consumer.fetch(10).expires(expires)).await?, [25, 26]);
    assert!(began.elapsed() >= expires && began.elapsed() < PATIENCE / 4);
    assert!(matches!(consumer.fetch(0).await.err(), Some(PullError::Config(_))));
    Ok(())
}

pub async fn a_fetch_by_bytes_gives_what_fits<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    for _ in 0..5 {
        bench.client.publish("s.n", [b'1'; 100]).await?;
    }
    soon(bench.client.flush()).await?;
    let mut fetch = consumer.fetch_bytes(400).await?;
    let mut got = 0;
    while let Some(message) = soon(fetch.next()).await {
        soon(message?.double_ack()).await?;
        got += 1;
    }
    assert!((1..5).contains(&got), "{got}");
    assert_eq!(fetch.end(), Some(&PullEnd::Done));
    let error = fetched(consumer.fetch_bytes(50)).await;
    assert_eq!(error, Err(PullError::End(PullEnd::MessageTooLarge)));
    Ok(())
}

/// D6 of async-nats: a heartbeat that came first hid the message behind it.
pub async fn a_message_behind_heartbeats_comes_at_once_to_a_fetch<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let expires = Duration::from_secs(20);
    let client = bench.client.clone();
    let before = client.statistics().in_messages;
    // Missed after twice that time, on a machine that stands still for a while too.
    let fetch = consumer.fetch(1).heartbeat(Duration::from_secs(2)).expires(expires);
    let mut fetch = fetch.await?;
    let published = spawn::<A, _>(async move {
        until(|| client.statistics().in_messages >= before + 2).await;
        client.publish("s.n", "7").await.map(|_| Instant::now())
    });
    let message = soon(fetch.next()).await.expect("a message")?;
    // Not only when the fetch expires.
    assert!(soon(published).await?.elapsed() < PATIENCE / 8);
    assert_eq!(number(&message), 7);
    assert!(soon(fetch.next()).await.is_none());
    Ok(())
}

pub async fn a_fetch_from_nobody_says_so_soon<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let nobody = bench.js.consumer("S", "nobody")?;
    let began = Instant::now();
    let error = soon(nobody.next()).await.err();
    assert_eq!(error, Some(PullError::End(PullEnd::NoResponders)));
    assert!(began.elapsed() < Duration::from_secs(8));
    assert!(bench.js.consumer("S", "a.b").is_err());
    let push = json!({"stream_name": "S", "config": {"name": "p", "deliver_subject": "d"}});
    api(&bench.client, "CONSUMER.CREATE.S.p", push).await?;
    let error = soon(bench.js.consumer("S", "p")?.next()).await.err();
    assert_eq!(error, Some(PullError::End(PullEnd::PushBased)));
    Ok(())
}

// ---- consume -----------------------------------------------------------------------------

pub async fn consume_gives_everything_in_order<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({"max_ack_pending": 5000})).await?;
    bench.publish_to_one(0..10_000).await?;
    let mut messages = consumer.consume().stop_after(9_999).await?;
    for wanted in 0..9_999 {
        let message = take(&mut messages).await;
        assert_eq!(number(&message), wanted);
        message.ack().await?;
    }
    assert!(soon(messages.next()).await.is_none());
    assert_eq!(messages.end(), Some(&PullEnd::Done));
    bench.until_info("num_ack_pending", 0).await?;
    assert_eq!(bench.info().await?["num_pending"], 1);
    Ok(())
}

pub async fn consume_holds_no_more_than_it_may<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    bench.publish_to_one(0..500).await?;
    let mut messages = consumer.consume().max_messages(20).await?;
    for wanted in 0..50 {
        assert_eq!(number(&take(&mut messages).await), wanted);
    }
    soon(bench.client.rtt()).await?;
    let info = bench.info().await?;
    assert!(info["delivered"]["consumer_seq"].as_u64() <= Some(70), "{info}");
    messages.stop();
    assert!(soon(messages.next()).await.is_none());

    let mut one = consumer.consume().max_messages(1).await?;
    for _ in 0..20 {
        soon(take(&mut one).await.double_ack()).await?;
    }
    drop(one);
    let mut bytes = consumer.consume().max_bytes(1000).await?;
    for _ in 0..100 {
        soon(take(&mut bytes).await.double_ack()).await?;
    }
    Ok(())
}

pub async fn consume_is_drained_and_stopped_from_elsewhere<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    bench.publish_to_one(0..100).await?;
    let mut messages = consumer.consume().max_messages(50).await?;
    let first = take(&mut messages).await;
    bench.until_info("num_ack_pending", 50).await?;
    bench.until_delivered_has_come().await?;
    let stopper = messages.stopper();
    stopper.drain();
    let mut got = vec![number(&first)];
    while let Some(message) = soon(messages.next()).await {
        got.push(number(&message?));
    }
    assert_eq!(got, Vec::from_iter(0..50), "what was sent is not lost");
    soon(stopper.closed()).await;

    let mut messages = consumer.consume().await?;
    let stopper = messages.stopper();
    let reading = spawn::<A, _>(async move { while messages.next().await.is_some() {} });
    sleep(Duration::from_millis(50)).await;
    stopper.stop();
    soon(stopper.closed()).await;
    soon(reading).await;

    let mut messages = consumer.consume().await?;
    take(&mut messages).await;
    let closing = bench.client.drain();
    while soon(messages.next()).await.is_some() {}
    assert_eq!(messages.end(), Some(&PullEnd::Stopped));
    soon(closing).await;
    Ok(())
}

/// nats.go issue 2103: what was asked for cannot be taken back, and somebody else's message goes
/// nowhere.
pub async fn what_was_asked_for_ends_with_who_asked<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({"ack_wait": 60_000_000_000_u64})).await?;
    let mut stopped = consumer.consume().await?;
    assert!(poll_once(&mut Box::pin(stopped.next())).await.is_pending());
    bench.until_info("num_waiting", 1).await?;
    stopped.stop();
    let mut dropped = consumer.fetch(5).await?;
    assert!(poll_once(&mut Box::pin(dropped.next())).await.is_pending());
    bench.until_info("num_waiting", 1).await?;
    drop(dropped);
    bench.until_info("num_waiting", 0).await?;
    bench.publish_to_one(0..3).await?;
    for wanted in 0..3 {
        let message = soon(consumer.next()).await?.expect("nobody else gets it");
        assert_eq!(number(&message), wanted);
        assert_eq!(message.delivery().map(|it| it.delivered), Some(1));
        soon(message.double_ack()).await?;
    }
    Ok(())
}

/// nats.rs issue 1477: nobody hears of an ack that failed.
pub async fn an_ack_that_fails_says_so<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    bench.publish_to_one(0..2).await?;
    let (first, second) = (soon(consumer.next()).await?, soon(consumer.next()).await?);
    let (first, second) = (first.expect("a message"), second.expect("a message"));
    bench.server.pause()?;
    // Long enough to be sent meanwhile: otherwise it ends as not sent.
    let unconfirmed = soon(first.double_ack().timeout(Duration::from_secs(1))).await;
    assert_eq!(unconfirmed, Err(AckError::Unconfirmed(RequestError::TimedOut)));
    assert!(!first.is_settled(), "it can be given again");
    bench.server.resume()?;
    soon(first.double_ack()).await?;
    soon(bench.client.close()).await;
    let error = soon(second.ack()).await;
    assert!(matches!(error, Err(AckError::Publish(_))), "{error:?}");
    assert!(!second.is_settled());
    Ok(())
}

/// nats.go issues 1621, 1622, 1726: an error again and again, for as long as the server is silent.
pub async fn missed_heartbeats_are_told_once_and_reading_goes_on<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let (noticed, function) = noticing();
    let heartbeat = Duration::from_secs(1);
    let consuming = consumer.consume().heartbeat(heartbeat).on_notice(function);
    let mut messages = consuming.await?;
    let waiting = spawn::<A, _>(async move { number(&take(&mut messages).await) });
    bench.until_info("num_waiting", 1).await?;
    bench.server.pause()?;
    until(|| noticed.has(&Notice::HeartbeatsMissed)).await;
    sleep(heartbeat * 4).await;
    let told = noticed.told();
    assert_eq!(told, [Notice::HeartbeatsMissed], "{told:?}");
    bench.server.resume()?;
    bench.publish_to_one(4..5).await?;
    assert_eq!(soon(waiting).await, 4);
    Ok(())
}

/// Lets time pass, and tells how much of it at most passed beside the test.
pub(super) async fn longest_stall(time: Duration) -> Duration {
    const STEP: Duration = Duration::from_millis(20);
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < time {
        let before = Instant::now();
        sleep(STEP).await;
        longest = longest.max(before.elapsed().saturating_sub(STEP));
    }
    longest
}

pub async fn consume_outlives_a_killed_server_with_one_request_out<A: Adapter>() -> Outcome {
    let mut bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let mut messages = consumer.consume().await?;
    let mut next = 0;
    for round in 0..3 {
        bench.publish_to_one(next..next + 10).await?;
        next += 10;
        while number(&acked(&mut messages).await?) != next - 1 {}
        let before = bench.client.status().transition;
        bench.server.kill()?;
        // The server may have forgotten acks with its death, so some come again.
        let waiting = spawn::<A, _>(async move {
            while number(&acked(&mut messages).await.expect("a message")) != next {}
            messages
        });
        bench.server.restart()?;
        until(|| bench.client.status().transition >= before + 2).await;
        bench.until_info("num_waiting", 1).await?;
        bench.publish_to_one(next..next + 1).await?;
        messages = soon(waiting).await;
        next += 1;
        assert_eq!(messages.end(), None, "round {round}");
    }
    Ok(())
}

pub async fn after_a_reconnect_the_requests_before_are_forgotten<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let mut messages = consumer.consume().max_messages(10).await?;
    let seen = Arc::new(Mutex::new(0));
    let told = seen.clone();
    let _reading = spawn::<A, _>(async move {
        for wanted in 0..100 {
            let message = take(&mut messages).await;
            assert_eq!(number(&message), wanted);
            soon(message.ack()).await.expect("an ack");
            *told.lock().expect("nobody panics here") = wanted + 1;
        }
        messages
    });
    for round in 0..5 {
        bench.until_info("num_waiting", 1).await?;
        bench.publish_to_one(round * 20..round * 20 + 20).await?;
        until(|| *seen.lock().expect("nobody panics here") == round * 20 + 20).await;
        // Now several requests wait, for ten messages in all.
        let before = bench.client.status().transition;
        bench.client.reconnect();
        until(|| bench.client.status().transition >= before + 2).await;
    }
    Ok(())
}

pub async fn consume_ends_when_its_consumer_is_deleted<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let mut messages = consumer.consume().await?;
    let waiting = spawn::<A, _>(async move { (messages.next().await, messages.next().await) });
    bench.until_info("num_waiting", 1).await?;
    api(&bench.client, "CONSUMER.DELETE.S.c", Value::Null).await?;
    let (error, end) = soon(waiting).await;
    let error = error.expect("the reason").err();
    assert_eq!(error, Some(PullError::End(PullEnd::ConsumerDeleted)));
    assert!(end.is_none());

    let mut messages = consumer.consume().abort_when_missing().await?;
    let error = soon(messages.next()).await.expect("the reason").err();
    assert_eq!(error, Some(PullError::End(PullEnd::Missing)));
    Ok(())
}

pub async fn consume_waits_for_a_consumer_that_does_not_exist_yet<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let (noticed, function) = noticing();
    let consumer = bench.js.consumer("S", "c")?;
    let mut messages = consumer.consume().on_notice(function).await?;
    let waiting = spawn::<A, _>(async move { number(&take(&mut messages).await) });
    until(|| noticed.has(&Notice::NoResponders)).await;
    bench.publish_to_one(3..4).await?;
    bench.consumer(json!({})).await?;
    assert_eq!(soon(waiting).await, 3);
    Ok(())
}

pub async fn consume_keeps_to_the_limits_of_its_consumer<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let limits = json!({"max_batch": 5, "max_expires": 2_000_000_000_u64, "max_bytes": 400});
    let consumer = bench.consumer(limits).await?;
    bench.publish_to_one(0..50).await?;
    let (noticed, function) = noticing();
    let mut messages = consumer.consume().max_bytes(4000).on_notice(function).await?;
    for wanted in 0..50 {
        let message = take(&mut messages).await;
        assert_eq!(number(&message), wanted);
        message.ack().await?;
    }
    assert!(noticed.has(&Notice::LimitLowered(Limit::Messages(5))));
    assert!(noticed.has(&Notice::LimitLowered(Limit::Bytes(400))));
    drop(messages);
    assert_eq!(fetched(consumer.fetch(12).expires(SHORT)).await?, Vec::<usize>::new());
    bench.publish_to_one(50..62).await?;
    assert_eq!(fetched(consumer.fetch(12)).await?, Vec::from_iter(50..62));
    Ok(())
}

pub async fn consume_goes_on_behind_an_abyss_of_heartbeats<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let expires = Duration::from_secs(2);
    let (noticed, function) = noticing();
    let consuming = consumer.consume().expires(expires).heartbeat(expires / 2).on_notice(function);
    let mut messages = consuming.await?;
    let waiting = spawn::<A, _>(async move { number(&take(&mut messages).await) });
    let stood_still = longest_stall(2 * expires + expires / 4).await;
    bench.publish_to_one(9..10).await?;
    assert_eq!(soon(waiting).await, 9);
    // Where the machine stands still, heartbeats do so too, and that is told.
    let mut noticed = noticed.told();
    noticed.retain(|notice| *notice != Notice::HeartbeatsMissed || stood_still < expires / 8);
    assert!(noticed.is_empty(), "{noticed:?}, and it stood still for {stood_still:?}");
    Ok(())
}

pub async fn a_consumer_in_a_domain_is_read<A: Adapter>() -> Outcome {
    let bench = Bench::with::<A>("jetstream { domain: hub }").await?;
    bench.consumer(json!({})).await?;
    bench.publish_to_one(0..3).await?;
    let js = bench.js.with_prefix(ApiPrefix::domain("hub")?);
    assert_eq!(fetched(js.consumer("S", "c")?.fetch(3)).await?, [0, 1, 2]);
    bench.until_info("num_ack_pending", 0).await?;
    let js = bench.js.with_prefix(ApiPrefix::domain("elsewhere")?);
    let error = soon(js.consumer("S", "c")?.next()).await.err();
    assert_eq!(error, Some(PullError::End(PullEnd::NoResponders)));
    Ok(())
}
