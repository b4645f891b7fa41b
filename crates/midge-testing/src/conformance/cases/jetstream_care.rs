//! What happens to streams and consumers beside those who read them, and what readers must not do.

use std::time::{Duration, SystemTime};

use midge::jetstream::{Delivery, JetStream};
use serde_json::json;

use super::jetstream_consume::number;
use crate::conformance::notices::noticing;
use crate::conformance::steps::{connect, impatient, poll_once, soon, until};
use crate::conformance::streams_by_hand::{Bench, api, create};
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};
use crate::{NatsServer, Version};

const SHORT: Duration = Duration::from_millis(300);

pub async fn a_consumer_that_is_paused_gives_nothing_until_it_goes_on<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let stream = bench.js.stream("S")?;
    soon(stream.pause_consumer("c", SystemTime::now() + Duration::from_secs(3600))).await?;
    bench.publish_to_one(0..10).await?;
    assert!(soon(consumer.next().expires(SHORT)).await?.is_none());
    let mut messages = consumer.consume().await?;
    assert!(poll_once(&mut Box::pin(messages.next())).await.is_pending());
    bench.until_info("num_waiting", 1).await?;
    assert_eq!(bench.info().await?["delivered"]["consumer_seq"], 0);
    soon(stream.resume_consumer("c")).await?;
    for wanted in 0..10 {
        let message = soon(messages.next()).await.expect("it goes on")?;
        assert_eq!(number(&message), wanted);
        soon(message.double_ack()).await?;
    }
    // What is paused for a moment goes on by itself.
    soon(stream.pause_consumer("c", SystemTime::now() + SHORT)).await?;
    bench.publish_to_one(10..11).await?;
    assert_eq!(number(&soon(messages.next()).await.expect("it goes on")?), 10);
    Ok(())
}

/// The second form, with a domain and an account, this server has behind a flag.
pub async fn ack_subjects_of_both_forms_are_read_and_answered<A: Adapter>() -> Outcome {
    const MESSAGES: u64 = 4000;
    let flag = "feature_flags { js_ack_fc_v2: true }";
    for (config, domain, named) in [
        ("", None, false),
        ("jetstream { domain: hub }", Some("hub"), false),
        (flag, None, true),
        (&format!("{flag}\njetstream {{ domain: hub }}"), Some("hub"), true),
    ] {
        let bench = Bench::with::<A>(config).await?;
        let consumer = bench.consumer(json!({"ack_wait": 60_000_000_000_u64})).await?;
        bench.publish_to_one(0..4).await?;
        for number in 0..4 {
            let message = soon(consumer.next()).await?.expect("a message");
            let delivery = message.delivery().expect("a consumer has delivered it");
            let Delivery { stream, consumer: by, timestamp, .. } = delivery;
            assert_eq!((stream, by, delivery.pending), ("S", "c", 3 - number), "{config}");
            assert_eq!((delivery.delivered, delivery.stream_sequence), (1, number + 1), "{config}");
            assert!(timestamp > 1_700_000_000_000_000_000, "{config}: {timestamp}");
            assert_eq!(delivery.domain, domain.filter(|_| named), "{config}");
            assert_eq!(delivery.account_hash.is_some(), named, "{config}");
            match number {
                0 => message.ack().await?,
                1 => soon(message.double_ack()).await?,
                2 => soon(message.term_because("why").confirmed()).await?,
                _ => {
                    soon(message.in_progress().confirmed()).await?;
                    message.nak().await?;
                    let again = soon(consumer.next()).await?.expect("it comes again");
                    let again_for = again.delivery().map(|it| (it.delivered, it.stream_sequence));
                    assert_eq!(again_for, Some((2, 4)), "{config}");
                    soon(again.double_ack()).await?;
                }
            }
        }
        bench.until_info("num_ack_pending", 0).await?;

        // More than goes out without a confirmation, which has two forms as well.
        let payload = vec![b'x'; 2000];
        for _ in 0..MESSAGES {
            bench.client.publish("s.n", &payload).await?;
        }
        let mut ordered = soon(bench.js.ordered("S").push()).await?;
        for wanted in 1..=4 + MESSAGES {
            let message = soon(ordered.next()).await.expect("it goes on")?;
            let sequence = message.delivery().map(|it| it.stream_sequence);
            assert_eq!(sequence, Some(wanted), "{config}");
        }
        let mut messages = consumer.consume().await?;
        for wanted in 5..=4 + MESSAGES {
            let message = soon(messages.next()).await.expect("it goes on")?;
            let sequence = message.delivery().map(|it| it.stream_sequence);
            assert_eq!(sequence, Some(wanted), "{config}");
            message.ack().await?;
        }
        bench.until_info("num_ack_pending", 0).await?;
    }
    Ok(())
}

/// Its own numbers begin again, and nothing is lost.
pub async fn a_consumer_that_is_set_back_has_no_gap_for_who_reads_it<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let (noticed, function) = noticing();
    let mut messages = consumer.consume().on_notice(function).await?;
    bench.publish_to_one(0..10).await?;
    for round in 0..3 {
        for wanted in 0..10 {
            let message = soon(messages.next()).await.expect("it goes on")?;
            assert_eq!(number(&message), wanted);
            let of_consumer = message.delivery().map(|it| it.consumer_sequence);
            assert_eq!(of_consumer, Some(wanted as u64 + 1), "round {round}");
            soon(message.double_ack()).await?;
        }
        if round < 2 {
            soon(bench.js.stream("S")?.reset_consumer("c", Some(1))).await?;
        }
    }
    bench.publish_to_one(10..11).await?;
    assert_eq!(number(&soon(messages.next()).await.expect("it goes on")?), 10);
    assert_eq!(noticed.told(), []);
    Ok(())
}

pub async fn small_queues_of_a_client_drop_nothing_of_streams<A: Adapter>() -> Outcome {
    const MESSAGES: usize = 500;
    let server = NatsServer::builder().jetstream(true).start()?;
    let options = impatient(&server.url()).subscription_capacity(1, 1).slow_hold(Duration::ZERO);
    let js = JetStream::new(connect::<A>(options).await?);
    create(js.client(), "S", "s", json!({})).await?;
    let mut publisher = soon(js.publisher().window(MESSAGES, 1 << 20)).await?;
    for number in 0..MESSAGES {
        soon(publisher.publish("s", number.to_string())).await?;
    }
    soon(publisher.flush()).await?;
    assert_eq!(publisher.unread_reports(), 0);
    let config = json!({"name": "c", "durable_name": "c", "ack_policy": "none"});
    let request = json!({"stream_name": "S", "config": config});
    api(js.client(), "CONSUMER.CREATE.S.c", request).await?;

    let count = MESSAGES as u64;
    let consumer = js.consumer("S", "c")?;
    let mut consumed = consumer.consume().max_messages(count).stop_after(count / 2).await?;
    let mut pulled = js.ordered("S").max_messages(count).await?;
    let mut pushed = js.ordered("S").push().await?;
    let mut batch = js.stream("S")?.direct_batch().messages();
    // Who has one message has asked for all, and they come while nobody reads.
    for wanted in 0..MESSAGES {
        if wanted < MESSAGES / 2 {
            assert_eq!(number(&soon(consumed.next()).await.expect("it goes on")?), wanted);
        }
        assert_eq!(number(&soon(pulled.next()).await.expect("it goes on")?), wanted);
        assert_eq!(number(&soon(pushed.next()).await.expect("it goes on")?), wanted);
        let message = soon(batch.next()).await.expect("it goes on")?;
        assert_eq!(*message.payload, *wanted.to_string().as_bytes());
        if wanted == 0 {
            sleep(SHORT).await;
        }
    }
    let mut fetch = consumer.fetch(count / 2).await?;
    for wanted in MESSAGES / 2..MESSAGES {
        assert_eq!(number(&soon(fetch.next()).await.expect("it goes on")?), wanted);
        if wanted == MESSAGES / 2 {
            sleep(SHORT).await;
        }
    }
    Ok(())
}

/// The confirmations of a push consumer are of their connection, and so are requests for messages.
pub async fn what_a_reader_would_say_without_a_connection_is_not_said_later<A: Adapter>() -> Outcome
{
    let builder = NatsServer::builder().version(Version::V2_15).jetstream(true).arg("-DV");
    let mut server = builder.config("max_traced_msg_len: 64").start()?;
    let client = connect::<A>(impatient(&server.url())).await?;
    let js = JetStream::new(client.clone());
    create(&client, "S", "s", json!({"storage": "file"})).await?;
    let config = json!({
        "name": "p", "durable_name": "p", "ack_policy": "none", "deliver_subject": "to.p",
        "flow_control": true, "idle_heartbeat": 500_000_000_u64,
    });
    let request = json!({"stream_name": "S", "config": config});
    api(&client, "CONSUMER.CREATE.S.p", request).await?;
    // Half of what a server sends without a confirmation is 1 MiB.
    let size = 400_000;
    for _ in 0..4 {
        soon(client.request("s", vec![b'x'; size])).await?;
    }
    let mut push = soon(js.push_consumer("S", "p")).await?;
    until(|| client.statistics().in_bytes > 4 * size as u64).await;
    soon(client.rtt()).await?;
    let before = client.status().transition;
    server.kill()?;
    until(|| client.status().transition > before).await;
    for _ in 0..4 {
        assert_eq!(soon(push.next()).await.expect("it came")?.payload().len(), size);
    }
    assert!(poll_once(&mut Box::pin(push.next())).await.is_pending());
    let pulled = js.consumer("S", "q")?;
    assert!(soon(pulled.next().expires(SHORT)).await.is_err(), "there is no connection");
    assert_eq!(client.pending_bytes(), 0);
    let log = server.log()?;
    assert!(log.contains("FlowControl Request") || log.contains("$JS.FC.S.p"), "it was asked for");
    server.restart()?;
    until(|| client.status().transition >= before + 2).await;
    soon(client.flush()).await?;
    let log = server.log()?;
    assert!(!log.contains("[PUB $JS.FC."), "an old confirmation");
    assert!(!log.contains("MSG.NEXT.S.q"), "an old request");
    Ok(())
}
