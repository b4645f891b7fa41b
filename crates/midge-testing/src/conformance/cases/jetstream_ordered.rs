//! Ordered and push consumers of a real nats-server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::RequestError;
use midge::jetstream::{
    DeliverPolicy, JetStream, Notice, Ordered, OrderedBuilder, OrderedEnd, OrderedError, PushEnd,
    PushError, ResetCause,
};
use serde_json::{Value, json};

use crate::conformance::notices::noticing;
use crate::conformance::steps::{connect, impatient, soon, until};
use crate::conformance::streams_by_hand::{Bench, api};
use crate::conformance::tasks::spawn;
use crate::conformance::{Adapter, Outcome};

impl Bench {
    async fn publish_by_turns(&self, numbers: std::ops::Range<u64>) -> Outcome {
        self.store_numbers(numbers, |number| format!("s.{}", number % 3)).await
    }

    /// Publishes to one subject, each until the stream has it.
    async fn store(&self, numbers: std::ops::Range<u64>) -> Outcome {
        for number in numbers {
            soon(self.client.request("s.n", number.to_string())).await?;
        }
        Ok(())
    }

    async fn consumers(&self) -> Outcome<Vec<String>> {
        let names = api(&self.client, "CONSUMER.NAMES.S", json!({})).await?;
        let names = names["consumers"].as_array().cloned().unwrap_or_default();
        Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    async fn until_consumers(&self, count: usize) -> Outcome {
        soon(async {
            while self.consumers().await?.len() != count {
                crate::conformance::timer::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        })
        .await
    }

    /// Waits until the only consumer has sent so many messages.
    async fn until_sent(&self, count: u64) -> Outcome {
        let name = self.consumers().await?.remove(0);
        soon(async {
            loop {
                let info =
                    api(&self.client, &format!("CONSUMER.INFO.S.{name}"), Value::Null).await?;
                if info["delivered"]["consumer_seq"] == count {
                    return Ok(());
                }
                crate::conformance::timer::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    fn both(&self) -> [OrderedBuilder; 2] {
        [self.js.ordered("S"), self.js.ordered("S").push()]
    }
}

fn number(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).ok().and_then(|it| it.parse().ok()).expect("a number")
}

async fn take(ordered: &mut Ordered) -> u64 {
    let message = soon(ordered.next()).await.expect("the stream goes on").expect("a message");
    number(message.payload())
}

pub async fn an_ordered_consumer_gives_a_stream_in_order_and_leaves_nothing<A: Adapter>() -> Outcome
{
    let bench = Bench::new::<A>().await?;
    bench.publish_by_turns(1..5001).await?;
    for builder in bench.both() {
        let mut ordered = builder.await?;
        for wanted in 1..=5000 {
            assert_eq!(take(&mut ordered).await, wanted);
        }
        assert_eq!(ordered.last_sequence(), Some(5000));
        assert_eq!(bench.consumers().await?.len(), 1);
        drop(ordered);
        bench.until_consumers(0).await?;
    }
    let mut filtered = bench.js.ordered("S").filter("s.1").from_sequence(4990).await?;
    assert_eq!([take(&mut filtered).await, take(&mut filtered).await], [4990, 4993]);
    let mut last =
        bench.js.ordered("S").filter("s.>").deliver(DeliverPolicy::LastPerSubject).await?;
    let all = [take(&mut last).await, take(&mut last).await, take(&mut last).await];
    assert_eq!(all, [4998, 4999, 5000]);
    last.stop();
    assert!(soon(last.next()).await.is_none());
    Ok(())
}

/// As what a process that was killed has left behind.
pub async fn an_ordered_consumer_takes_over_none_of_the_same_prefix<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.publish_by_turns(1..101).await?;
    for push in [false, true] {
        let begin = || {
            let builder = bench.js.ordered("S").name_prefix("p");
            if push { builder.push() } else { builder }
        };
        let (mut one, mut other) = (begin().await?, begin().await?);
        for wanted in 1..=50 {
            assert_eq!(take(&mut one).await, wanted);
        }
        let mut another = begin().await?;
        for wanted in 1..=100 {
            assert_eq!([take(&mut other).await, take(&mut another).await], [wanted; 2]);
        }
        for wanted in 51..=100 {
            assert_eq!(take(&mut one).await, wanted);
        }
        assert!(bench.consumers().await?.iter().all(|name| name.starts_with("p_")));
        drop((one, other, another));
        bench.until_consumers(0).await?;
    }
    Ok(())
}

pub async fn an_ordered_consumer_that_cannot_begin_says_so_in_time<A: Adapter>() -> Outcome {
    let mut bench = Bench::new::<A>().await?;
    let before = bench.client.status().transition;
    bench.server.kill()?;
    until(|| bench.client.status().transition > before).await;
    let js = bench.js.with_timeout(Duration::from_millis(200));
    for builder in [js.ordered("S"), js.ordered("S").push()] {
        let error = soon(builder).await.expect_err("there is no server");
        assert!(matches!(error, OrderedError::Unanswered(RequestError::TimedOut)), "{error}");
    }
    soon(bench.client.close()).await;
    let error = soon(js.ordered("S")).await.expect_err("it is closed");
    assert!(matches!(error, OrderedError::Ended(OrderedEnd::Closed)), "{error}");
    Ok(())
}

pub async fn an_ordered_consumer_is_drained_and_stopped_from_elsewhere<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.publish_by_turns(1..101).await?;
    for (builder, sent) in bench.both().into_iter().zip([50, 100]) {
        let mut ordered = builder.max_messages(50).await?;
        let mut got = vec![take(&mut ordered).await];
        bench.until_sent(sent).await?;
        bench.until_delivered_has_come().await?;
        let stopper = ordered.stopper();
        stopper.drain();
        while let Some(message) = soon(ordered.next()).await {
            got.push(number(message?.payload()));
        }
        assert_eq!(got, Vec::from_iter(1..=sent), "what was sent is not lost");
        assert_eq!(ordered.end(), Some(&OrderedEnd::Stopped));
        soon(stopper.closed()).await;
        bench.until_consumers(0).await?;
    }
    for builder in bench.both() {
        let mut ordered = builder.from_sequence(101).await?;
        let stopper = ordered.stopper();
        let reading = spawn::<A, _>(async move { ordered.next().await.is_none() });
        stopper.stop();
        soon(stopper.closed()).await;
        assert!(soon(reading).await);
        bench.until_consumers(0).await?;
    }
    let mut ordered = bench.js.ordered("S").await?;
    let (stopper, dropped) = (ordered.stopper(), ordered.stopper());
    drop(ordered);
    soon(stopper.closed()).await;
    dropped.drain();
    Ok(())
}

pub async fn an_ordered_consumer_that_is_deleted_is_made_again_and_misses_nothing<A: Adapter>()
-> Outcome {
    let bench = Bench::new::<A>().await?;
    for (index, builder) in bench.both().into_iter().enumerate() {
        let (noticed, function) = noticing();
        let policy = DeliverPolicy::New;
        let mut ordered = builder.deliver(policy).on_notice(function).await?;
        // Nothing was given yet, and nothing published from here on may be missed.
        let name = bench.consumers().await?.remove(0);
        let from = index as u64 * 100 + 1;
        api(&bench.client, &format!("CONSUMER.DELETE.S.{name}"), Value::Null).await?;
        bench.publish_by_turns(from..from + 50).await?;
        for wanted in from..from + 50 {
            assert_eq!(take(&mut ordered).await, wanted);
        }
        let name = bench.consumers().await?.remove(0);
        api(&bench.client, &format!("CONSUMER.DELETE.S.{name}"), Value::Null).await?;
        bench.publish_by_turns(from + 50..from + 100).await?;
        for wanted in from + 50..from + 100 {
            assert_eq!(take(&mut ordered).await, wanted);
        }
        let causes = [ResetCause::ConsumerDeleted, ResetCause::HeartbeatsMissed];
        assert!(causes.iter().any(|cause| noticed.has(&Notice::Reset(*cause))), "{noticed:?}");
        let name = bench.consumers().await?.remove(0);
        assert!(noticed.has(&Notice::Recreated(name)), "{noticed:?}");
        drop(ordered);
        bench.until_consumers(0).await?;
    }
    Ok(())
}

pub async fn an_ordered_consumer_outlives_killed_servers<A: Adapter>() -> Outcome {
    // A server that is killed forgets what it has not written.
    let mut bench = Bench::with::<A>("jetstream { sync_interval: always }").await?;
    let mut wanted = 1;
    let builders = bench.both();
    for builder in builders {
        let mut ordered = builder.from_sequence(wanted).await?;
        for _ in 0..2 {
            bench.store(wanted..wanted + 100).await?;
            for _ in 0..50 {
                assert_eq!(take(&mut ordered).await, wanted);
                wanted += 1;
            }
            let before = bench.client.status().transition;
            bench.server.kill()?;
            until(|| bench.client.status().transition > before).await;
            let reading = spawn::<A, _>(async move {
                for _ in 0..60 {
                    assert_eq!(take(&mut ordered).await, wanted);
                    wanted += 1;
                }
                (ordered, wanted)
            });
            bench.server.restart()?;
            until(|| bench.client.status().transition >= before + 2).await;
            bench.store(wanted + 50..wanted + 60).await?;
            (ordered, wanted) = soon(reading).await;
            bench.until_consumers(1).await?;
        }
        drop(ordered);
        bench.until_consumers(0).await?;
    }
    Ok(())
}

pub async fn a_stream_that_was_replaced_is_read_from_its_beginning<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    bench.publish_by_turns(1..11).await?;
    let (noticed, function) = noticing();
    let mut ordered = bench.js.ordered("S").on_notice(function).await?;
    for wanted in 1..11 {
        assert_eq!(take(&mut ordered).await, wanted);
    }
    api(&bench.client, "STREAM.DELETE.S", Value::Null).await?;
    bench.make_stream().await?;
    bench.publish_by_turns(1..4).await?;
    for wanted in 1..4 {
        assert_eq!(take(&mut ordered).await, wanted);
    }
    assert!(noticed.has(&Notice::StreamReplaced));
    api(&bench.client, "STREAM.DELETE.S", Value::Null).await?;
    let end = soon(ordered.next()).await.expect("the reason");
    assert!(matches!(end, Err(OrderedEnd::StreamGone(_))), "{end:?}");
    assert!(soon(ordered.next()).await.is_none());
    let refused = soon(bench.js.ordered("S")).await.err();
    assert!(matches!(refused, Some(OrderedError::Refused(_))), "{refused:?}");
    Ok(())
}

pub async fn a_slow_reader_of_a_pushed_stream_is_not_flooded<A: Adapter>() -> Outcome {
    let bench = Bench::new::<A>().await?;
    let payload = vec![b'x'; 10_000];
    for _ in 0..2000 {
        bench.client.publish("s.big", &payload).await?;
    }
    soon(bench.client.flush()).await?;
    let mut ordered = bench.js.ordered("S").push().await?;
    assert!(soon(ordered.next()).await.is_some());
    soon(bench.client.rtt()).await?;
    let before = bench.client.statistics().in_bytes;
    for _ in 0..20 {
        soon(bench.client.rtt()).await?;
    }
    assert!(bench.client.statistics().in_bytes - before < 5_000_000, "the server waits");
    for _ in 1..2000 {
        assert!(matches!(soon(ordered.next()).await, Some(Ok(_))));
    }
    Ok(())
}

pub async fn a_push_consumer_is_read_by_a_queue_group_and_outlives_its_server<A: Adapter>()
-> Outcome {
    let mut bench = Bench::new::<A>().await?;
    let config = json!({
        "name": "p", "durable_name": "p", "ack_policy": "explicit", "deliver_subject": "to.p",
        "deliver_group": "g", "idle_heartbeat": 500_000_000_u64, "flow_control": false,
    });
    let request = json!({"stream_name": "S", "config": config});
    api(&bench.client, "CONSUMER.CREATE.S.p", request).await?;
    let other = connect::<A>(impatient(&bench.server.url())).await?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    for js in [bench.js.clone(), JetStream::new(other)] {
        let (seen, mut push) = (seen.clone(), js.push_consumer("S", "p").await?);
        let _reading = spawn::<A, _>(async move {
            while let Some(Ok(message)) = push.next().await {
                message.ack().await.expect("there is room");
                seen.lock().expect("nobody panics here").push(number(message.payload()));
            }
        });
    }
    let all = |count: u64| {
        let mut seen = seen.lock().expect("nobody panics here").clone();
        seen.sort_unstable();
        seen.dedup();
        seen == Vec::from_iter(1..=count)
    };
    bench.publish_by_turns(1..101).await?;
    until(|| all(100)).await;
    let before = bench.client.status().transition;
    bench.server.kill()?;
    bench.server.restart()?;
    until(|| bench.client.status().transition >= before + 2).await;
    bench.publish_by_turns(101..201).await?;
    until(|| all(200)).await;

    let missing = bench.js.push_consumer("S", "none").await.err();
    assert!(matches!(missing, Some(PushError::Refused(_))), "{missing:?}");
    Ok(())
}

pub async fn a_push_consumer_that_is_deleted_ends_and_a_drained_one_loses_nothing<A: Adapter>()
-> Outcome {
    let bench = Bench::new::<A>().await?;
    let request = json!({"stream_name": "S", "config": {
        "name": "p", "ack_policy": "explicit", "deliver_subject": "to.p",
        "idle_heartbeat": 500_000_000_u64, "flow_control": true,
    }});
    api(&bench.client, "CONSUMER.CREATE.S.p", request).await?;
    let (noticed, function) = noticing();
    let mut push = bench.js.push_consumer("S", "p").on_notice(function).await?;
    bench.publish_by_turns(1..1001).await?;
    for wanted in 1..1001 {
        let message = soon(push.next()).await.expect("it goes on")?;
        assert_eq!(number(message.payload()), wanted);
        message.ack().await?;
    }
    api(&bench.client, "CONSUMER.DELETE.S.p", Value::Null).await?;
    assert_eq!(soon(push.next()).await.map(|it| it.err()), Some(Some(PushEnd::Gone)));
    assert!(noticed.has(&Notice::HeartbeatsMissed));
    assert!(soon(push.next()).await.is_none());
    Ok(())
}
