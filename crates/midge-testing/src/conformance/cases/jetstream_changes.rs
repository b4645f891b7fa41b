//! Consumers and streams that somebody changes, empties or makes anew while they are read.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use midge::jetstream::{
    DeliverPolicy, ErrorCode, JetStream, Notice, OrderedBuilder, OrderedError, PullEnd, PullError,
    PullGroup, Push, PushEnd,
};
use serde_json::{Value, json};

use super::jetstream_consume::{longest_stall, number, take};
use crate::conformance::notices::{Noticed, noticing};
use crate::conformance::steps::{connect, impatient, poll_once, soon, until};
use crate::conformance::streams_by_hand::{Bench, api};
use crate::conformance::tasks::spawn;
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};

const HEARTBEAT: Duration = Duration::from_millis(500);

impl Bench {
    /// Makes or changes the consumer `p`, which pushes unless it is told otherwise.
    async fn pusher(&self, more: Value) -> Outcome {
        let mut config = json!({
            "name": "p", "durable_name": "p", "ack_policy": "explicit", "deliver_subject": "to.p",
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
        });
        for (field, value) in more.as_object().into_iter().flatten() {
            config[field] = value.clone();
        }
        config.as_object_mut().expect("it is one").retain(|_, value| !value.is_null());
        let request = json!({"stream_name": "S", "config": config});
        api(&self.client, "CONSUMER.CREATE.S.p", request).await?;
        Ok(())
    }

    async fn other(&self, bytes: usize) -> Outcome {
        soon(self.client.request("s.n", vec![b'1'; bytes])).await?;
        Ok(())
    }
}

async fn pushed(push: &mut Push) -> Outcome<usize> {
    let message = soon(push.next()).await.expect("it goes on")?;
    soon(message.double_ack()).await?;
    Ok(number(&message))
}

// ---- consumers that push -----------------------------------------------------------------

pub async fn a_push_consumer_that_pushes_elsewhere_is_followed<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.pusher(json!({})).await?;
    let (noticed, function) = noticing();
    let mut push = soon(bench.js.push_consumer("S", "p").on_notice(function)).await?;
    bench.publish_to_one(0..1).await?;
    assert_eq!(pushed(&mut push).await?, 0);
    // While somebody listens, the server changes no subject: it is made anew, then for a group too.
    let places = [
        json!({"deliver_subject": "to.q"}),
        json!({"deliver_subject": "to.r", "deliver_group": "g"}),
    ];
    for (place, wanted) in places.into_iter().zip(1..) {
        api(&bench.client, "CONSUMER.DELETE.S.p", Value::Null).await?;
        let mut place = place;
        place["deliver_policy"] = "new".into();
        bench.pusher(place).await?;
        bench.publish_to_one(wanted..wanted + 1).await?;
        assert_eq!(pushed(&mut push).await?, wanted);
    }
    assert!(noticed.told().contains(&Notice::Redirected("to.q".into())));
    assert!(noticed.told().contains(&Notice::Redirected("to.r".into())));
    assert_eq!(push.end(), None);
    Ok(())
}

pub async fn a_push_consumer_that_became_a_pull_consumer_ends_as_such<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.pusher(json!({})).await?;
    let mut push = soon(bench.js.push_consumer("S", "p")).await?;
    api(&bench.client, "CONSUMER.DELETE.S.p", Value::Null).await?;
    bench.pusher(json!({"deliver_subject": null, "idle_heartbeat": null})).await?;
    let end = soon(push.next()).await.map(Result::err);
    assert_eq!(end, Some(Some(PushEnd::Pull)));
    assert!(soon(push.next()).await.is_none());
    Ok(())
}

pub async fn who_hears_no_heartbeat_of_a_queue_group_misses_none<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.pusher(json!({"deliver_group": "g"})).await?;
    let (noticed, function) = noticing();
    let function = Arc::new(Mutex::new(function));
    for _ in 0..4 {
        let function = function.clone();
        let note = move |notice| function.lock().expect("nobody panics here")(notice);
        let mut push = soon(bench.js.push_consumer("S", "p").on_notice(note)).await?;
        drop(spawn::<A, _>(async move { push.next().await.is_none() }));
    }
    sleep(HEARTBEAT * 12).await;
    // Each has missed some, and knows that the consumer is there.
    assert_eq!(noticed.told(), []);
    Ok(())
}

pub async fn a_push_consumer_that_is_paused_is_waited_for<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.pusher(json!({})).await?;
    let (noticed, function) = noticing();
    let mut push = soon(bench.js.push_consumer("S", "p").on_notice(function)).await?;
    bench.publish_to_one(0..1).await?;
    assert_eq!(pushed(&mut push).await?, 0);
    let stream = bench.js.stream("S")?;
    soon(stream.pause_consumer("p", SystemTime::now() + Duration::from_secs(3600))).await?;
    bench.publish_to_one(1..2).await?;
    let waiting = spawn::<A, _>(async move { pushed(&mut push).await.expect("it goes on") });
    let stood_still = longest_stall(HEARTBEAT * 6).await;
    let told = noticed.told();
    assert!(told.is_empty() || stood_still > HEARTBEAT / 8, "{told:?}, {stood_still:?}");
    soon(stream.resume_consumer("p")).await?;
    assert_eq!(soon(waiting).await, 1);
    Ok(())
}

// ---- consumers that are pulled -----------------------------------------------------------

pub async fn a_consumer_that_became_one_that_pushes_ends_who_pulls<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let mut messages = bench.js.consumer("S", "p")?.consume().await?;
    assert!(poll_once(&mut Box::pin(messages.next())).await.is_pending());
    bench.pusher(json!({})).await?;
    let end = soon(messages.next()).await.map(Result::err);
    assert_eq!(end, Some(Some(PullError::End(PullEnd::PushBased))));
    assert!(soon(messages.next()).await.is_none());
    Ok(())
}

/// A restart takes a memory stream with it, and its consumers.
pub async fn a_stream_that_a_restart_has_lost_is_read_again_when_it_is_there<A: Adapter>() -> Outcome
{
    let mut bench = Bench::new::<A>().await?;
    let make = async |client: &midge::Client| {
        let config = json!({"name": "M", "subjects": ["m"], "storage": "memory"});
        api(client, "STREAM.CREATE.M", config).await?;
        let config = json!({"name": "c", "durable_name": "c", "ack_policy": "explicit"});
        let request = json!({"stream_name": "M", "config": config});
        api(client, "CONSUMER.CREATE.M.c", request).await
    };
    let store = async |client: &midge::Client, numbers: std::ops::Range<u64>| {
        for number in numbers {
            soon(client.request("m", number.to_string())).await?;
        }
        Outcome::Ok(())
    };
    make(&bench.client).await?;
    store(&bench.client, 0..5).await?;
    let js = bench.js.with_timeout(Duration::from_secs(5));
    let mut messages = js.consumer("M", "c")?.consume().heartbeat(HEARTBEAT).await?;
    let mut pulled = js.ordered("M").heartbeat(HEARTBEAT).await?;
    let mut pushing = js.ordered("M").heartbeat(HEARTBEAT).push().await?;
    for wanted in 0..5 {
        let message = soon(messages.next()).await.expect("it goes on")?;
        assert_eq!(number(&message), wanted);
        soon(message.double_ack()).await?;
        assert_eq!(number(&soon(pulled.next()).await.expect("it goes on")?), wanted);
        assert_eq!(number(&soon(pushing.next()).await.expect("it goes on")?), wanted);
    }
    let before = bench.client.status().transition;
    bench.server.kill()?;
    until(|| bench.client.status().transition > before).await;
    bench.server.restart()?;
    // Before the readers look.
    let other = connect::<A>(impatient(&bench.server.url())).await?;
    make(&other).await?;
    store(&other, 10..13).await?;
    for wanted in 10..13 {
        let message = soon(messages.next()).await.expect("it goes on")?;
        assert_eq!(number(&message), wanted);
        soon(message.double_ack()).await?;
        assert_eq!(number(&soon(pulled.next()).await.expect("it goes on")?), wanted);
        assert_eq!(number(&soon(pushing.next()).await.expect("it goes on")?), wanted);
    }
    Ok(())
}

pub async fn a_message_that_is_too_large_is_told_once_and_holds_up_nobody_for_ever<A: Adapter>()
-> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    bench.publish_to_one(0..1).await?;
    bench.other(2000).await?;
    bench.publish_to_one(2..3).await?;
    let (noticed, function) = noticing();
    let mut messages = consumer.consume().max_bytes(1000).on_notice(function).await?;
    let (of_ordered, function) = noticing();
    let builder: OrderedBuilder = bench.js.ordered("S").max_bytes(1000).on_notice(function);
    let mut ordered = builder.await?;
    let message = soon(messages.next()).await.expect("it goes on")?;
    assert_eq!(number(&message), 0);
    soon(message.double_ack()).await?;
    assert_eq!(number(&soon(ordered.next()).await.expect("it goes on")?), 0);
    let consuming = spawn::<A, _>(async move {
        let message = messages.next().await.expect("it goes on").expect("a message");
        message.double_ack().await.expect("an ack");
        number(&message)
    });
    let ordering = spawn::<A, _>(async move {
        number(&ordered.next().await.expect("it goes on").expect("a message"))
    });
    let too_large = |noticed: &Noticed| noticed.told().contains(&Notice::MessageTooLarge);
    until(|| too_large(&noticed) && too_large(&of_ordered)).await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(noticed.told(), [Notice::MessageTooLarge]);
    assert_eq!(of_ordered.told(), [Notice::MessageTooLarge]);
    api(&bench.client, "STREAM.MSG.DELETE.S", json!({"seq": 2})).await?;
    assert_eq!((soon(consuming).await, soon(ordering).await), (2, 2));
    Ok(())
}

pub async fn a_stream_that_is_emptied_meanwhile_is_read_on<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    bench.publish_to_one(0..100).await?;
    let (noticed, function) = noticing();
    let function = Arc::new(Mutex::new(function));
    let note = || {
        let function = function.clone();
        move |notice| function.lock().expect("nobody panics here")(notice)
    };
    let mut messages = consumer.consume().max_messages(10).on_notice(note()).await?;
    let mut pulled = bench.js.ordered("S").max_messages(10).on_notice(note()).await?;
    let mut pushing = bench.js.ordered("S").push().on_notice(note()).await?;
    assert_eq!(number(&soon(messages.next()).await.expect("it goes on")?), 0);
    assert_eq!(number(&soon(pulled.next()).await.expect("it goes on")?), 0);
    assert_eq!(number(&soon(pushing.next()).await.expect("it goes on")?), 0);
    api(&bench.client, "STREAM.PURGE.S", Value::Null).await?;
    bench.publish_to_one(100..103).await?;
    let mut last = 0;
    while last < 102 {
        let message = soon(messages.next()).await.expect("it goes on")?;
        last = number(&message);
        assert!(!(30..100).contains(&last), "{last} was removed");
        soon(message.ack()).await?;
    }
    for ordered in [&mut pulled, &mut pushing] {
        let mut last = 0;
        while last < 102 {
            let now = number(&soon(ordered.next()).await.expect("it goes on")?);
            assert!(now == last + 1 || now == 100, "{now} behind {last}");
            last = now;
        }
    }
    assert_eq!(noticed.told(), []);
    Ok(())
}

pub async fn one_message_at_a_time_that_is_acked_too_late_comes_again_and_nothing_stalls<
    A: Adapter,
>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let tight = json!({"max_ack_pending": 1, "ack_wait": 50_000_000_u64});
    let consumer = bench.consumer(tight).await?;
    bench.publish_to_one(0..20).await?;
    let acked = Arc::new(Mutex::new(Vec::new()));
    for reader in 0..3 {
        let (acked, consumer) = (acked.clone(), consumer.clone());
        drop(spawn::<A, _>(async move {
            let consuming = consumer.consume().heartbeat(HEARTBEAT).expires(HEARTBEAT * 2);
            let mut messages = consuming.await.expect("the options are good");
            let mut count = reader;
            while let Some(message) = messages.next().await {
                let message = message.expect("a message");
                count += 1;
                if count % 3 == 0 {
                    sleep(Duration::from_millis(80)).await;
                }
                if message.double_ack().await.is_ok() {
                    acked.lock().expect("nobody panics here").push(number(&message));
                }
            }
        }));
    }
    bench.until_info("num_pending", 0).await?;
    bench.until_info("num_ack_pending", 0).await?;
    let mut acked = acked.lock().expect("nobody panics here").clone();
    acked.sort_unstable();
    acked.dedup();
    assert_eq!(acked, Vec::from_iter(0..20));
    Ok(())
}

pub async fn so_many_messages_and_bytes_are_not_exceeded<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    for _ in 0..60 {
        bench.client.publish("s.n", [b'1'; 10]).await?;
    }
    bench.other(10).await?;
    bench.until_info("num_pending", 61).await?;
    let consuming = consumer.consume().max_bytes(1000).max_messages(5).stop_after(42);
    let mut messages = consuming.await?;
    let first = soon(messages.next()).await.expect("it goes on")?;
    bench.until_info("num_ack_pending", 5).await?;
    soon(first.double_ack()).await?;
    for _ in 1..42 {
        soon(soon(messages.next()).await.expect("it goes on")?.double_ack()).await?;
    }
    assert!(soon(messages.next()).await.is_none());
    assert_eq!(messages.end(), Some(&PullEnd::Done));
    assert_eq!(bench.info().await?["delivered"]["consumer_seq"], 42);
    let mut large = consumer.consume().max_bytes(130).max_messages(5).await?;
    assert!(soon(large.next()).await.is_some());
    bench.until_delivered_has_come().await?;
    // A message is 55 bytes with its subject and reply.
    bench.until_info("num_ack_pending", 2).await
}

pub async fn who_finds_no_room_at_a_consumer_reads_when_there_is<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({"max_waiting": 1})).await?;
    let mut first = consumer.consume().max_messages(5).await?;
    assert!(poll_once(&mut Box::pin(first.next())).await.is_pending());
    bench.until_info("num_waiting", 1).await?;
    let (noticed, function) = noticing();
    let other = bench.js.consumer("S", "c")?;
    let mut second = other.consume().heartbeat(HEARTBEAT).on_notice(function).await?;
    let waiting = spawn::<A, _>(async move { number(&take(&mut second).await) });
    until(|| !noticed.told().is_empty()).await;
    let refused = soon(bench.js.consumer("S", "c")?.next().expires(HEARTBEAT * 4)).await.err();
    assert!(matches!(refused, Some(PullError::End(PullEnd::Refused(409, _)))), "{refused:?}");
    // With heartbeats, the server does not say why it does not listen.
    assert_eq!(noticed.told(), [Notice::HeartbeatsMissed]);
    first.stop();
    bench.publish_to_one(3..4).await?;
    assert_eq!(soon(waiting).await, 3);
    Ok(())
}

pub async fn a_server_that_stops_says_so<A: Adapter>() -> Outcome {
    let mut bench = Bench::new::<A>().await?;
    let consumer = bench.consumer(json!({})).await?;
    let (noticed, function) = noticing();
    let mut messages = consumer.consume().on_notice(function).await?;
    assert!(poll_once(&mut Box::pin(messages.next())).await.is_pending());
    bench.until_info("num_waiting", 1).await?;
    let before = bench.client.status().transition;
    bench.server.stop()?;
    until(|| bench.client.status().transition > before).await;
    assert!(poll_once(&mut Box::pin(messages.next())).await.is_pending());
    assert_eq!(noticed.told(), [Notice::ServerShutdown]);
    Ok(())
}

// ---- ordered consumers -------------------------------------------------------------------

pub async fn an_ordered_consumer_that_finds_no_room_tries_until_there_is<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let config = json!({"name": "M", "subjects": ["m"], "storage": "memory", "max_consumers": 1});
    api(&bench.client, "STREAM.CREATE.M", config).await?;
    let js = &bench.js;
    for (before, builder) in [js.ordered("M"), js.ordered("M").push()].into_iter().enumerate() {
        let (noticed, function) = noticing();
        let policy = DeliverPolicy::New;
        let builder = builder.deliver(policy).heartbeat(HEARTBEAT).on_notice(function);
        let mut ordered = builder.await?;
        let refused = soon(js.ordered("M")).await.err();
        assert!(matches!(refused, Some(OrderedError::Refused(_))), "{refused:?}");
        // It does nothing while nobody reads.
        let names = api(&bench.client, "CONSUMER.NAMES.M", json!({})).await?;
        let name = names["consumers"][0].as_str().expect("there is one").to_owned();
        api(&bench.client, &format!("CONSUMER.DELETE.M.{name}"), Value::Null).await?;
        let config = json!({"name": "x", "durable_name": "x"});
        let request = json!({"stream_name": "M", "config": config});
        api(&bench.client, "CONSUMER.CREATE.M.x", request).await?;
        soon(bench.client.request("m", before.to_string())).await?;
        let reading = spawn::<A, _>(async move {
            number(&ordered.next().await.expect("it goes on").expect("a message"))
        });
        let code = ErrorCode::MAXIMUM_CONSUMERS_LIMIT;
        let is_full = |notice: &Notice| matches!(notice, Notice::CreateFailed(Some(error)) if error.err_code == code);
        until(|| noticed.told().iter().filter(|it| is_full(it)).count() >= 6).await;
        api(&bench.client, "CONSUMER.DELETE.M.x", Value::Null).await?;
        assert_eq!(soon(reading).await, before);
        until_none_is_left(&bench).await?;
    }
    Ok(())
}

async fn until_none_is_left(bench: &Bench) -> Outcome {
    soon(async {
        loop {
            let names = api(&bench.client, "CONSUMER.NAMES.M", json!({})).await?;
            if names["consumers"].as_array().is_none_or(Vec::is_empty) {
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

// ---- groups ------------------------------------------------------------------------------

pub async fn who_has_lost_its_pin_asks_without_it_and_is_pinned_again<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let group = json!({
        "priority_groups": ["jobs"], "priority_policy": "pinned_client",
        "priority_timeout": 120_000_000_000_u64,
    });
    bench.consumer(group).await?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut noticed = Vec::new();
    for reader in 0..2 {
        let client = connect::<A>(bench.server.url()).await?;
        let consumer =
            JetStream::new(client).consumer("S", "c")?.with_group(PullGroup::new("jobs"));
        let (of_reader, function) = noticing();
        noticed.push(of_reader);
        let mut messages = consumer.consume().on_notice(function).await?;
        let seen = seen.clone();
        drop(spawn::<A, _>(async move {
            while let Some(Ok(message)) = messages.next().await {
                message.double_ack().await.expect("an ack");
                seen.lock().expect("nobody panics here").push((reader, number(&message)));
            }
        }));
        bench.until_info("num_waiting", reader + 1).await?;
    }
    let came = |wanted| seen.lock().expect("nobody panics here").iter().any(|it| it.1 == wanted);
    // Whom the server pins is its choice.
    let begin = [Notice::Pinned, Notice::Unpinned, Notice::Pinned];
    let mut count = 0;
    while !noticed.iter().all(|of_reader| of_reader.told().starts_with(&begin)) {
        assert!(count < 50, "{noticed:?}");
        bench.publish_to_one(count..count + 1).await?;
        until(|| came(count)).await;
        api(&bench.client, "CONSUMER.UNPIN.S.c", json!({"group": "jobs"})).await?;
        count += 1;
    }
    let mut seen = seen.lock().expect("nobody panics here").clone();
    seen.sort_unstable_by_key(|(_, number)| *number);
    assert!(seen.iter().map(|(_, number)| *number).eq(0..count), "{seen:?}");
    Ok(())
}

pub async fn a_standby_helps_when_so_many_acks_are_missing<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let group = json!({"priority_groups": ["jobs"], "priority_policy": "overflow"});
    let consumer = bench.consumer(group).await?;
    let standby = PullGroup { min_ack_pending: Some(3), ..PullGroup::new("jobs") };
    let standby = consumer.clone().with_group(standby);
    let member = consumer.with_group(PullGroup::new("jobs"));
    bench.publish_to_one(0..10).await?;
    bench.until_info("num_pending", 10).await?;
    assert!(soon(standby.next().expires(HEARTBEAT)).await?.is_none());
    for wanted in 0..3 {
        assert_eq!(number(&soon(member.next()).await?.expect("a message")), wanted);
    }
    assert_eq!(number(&soon(standby.next()).await?.expect("a message")), 3);
    Ok(())
}
