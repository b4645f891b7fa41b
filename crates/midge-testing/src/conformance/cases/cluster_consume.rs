//! Consumers of a replicated stream while servers die and come back.

use std::collections::BTreeSet;
use std::future::IntoFuture;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::jetstream::{Consumer, ConsumerConfig, JetStream, Notice, Stream};

use crate::Cluster;
use crate::conformance::clusters::{client, granted, position, replicated, until, whole};
use crate::conformance::notices::{Noticed, noticing};
use crate::conformance::tasks::{Task, spawn};
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};

struct Bench {
    cluster: Cluster,
    js: JetStream,
    stream: Stream,
    consumer: Consumer,
    /// Messages that the stream has acknowledged.
    published: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Bench {
    async fn new<A: Adapter>() -> Outcome<Self> {
        let (cluster, js, stream) = replicated::<A>().await?;
        let config = ConsumerConfig {
            ack_wait: Some(Duration::from_secs(3)),
            max_ack_pending: Some(5000),
            ..ConsumerConfig::durable("c")
        };
        granted(|| stream.create_or_update_consumer(config.clone())).await;
        let consumer = js.consumer("S", "c")?;
        let (published, over) = (Arc::default(), Arc::default());
        Ok(Self { cluster, js, stream, consumer, published, over })
    }

    /// Publishes 1, 2, 3, … each until the stream has it.
    fn publish<A: Adapter>(&self) -> Task<()> {
        let (js, published, over) = (self.js.clone(), self.published.clone(), self.over.clone());
        spawn::<A, _>(async move {
            let mut number = 1_u64;
            while !over.load(Ordering::Relaxed) {
                let text = number.to_string();
                let publish = js.publish("s", text.clone()).message_id(text);
                if publish.timeout(Duration::from_secs(1)).await.is_ok() {
                    published.store(number, Ordering::Relaxed);
                    number += 1;
                }
                sleep(Duration::from_millis(2)).await;
            }
        })
    }

    fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    async fn publishes_on(&self) -> Outcome {
        let wanted = self.published() + 50;
        until("publishing", || self.published() >= wanted).await
    }

    /// The server that leads the consumer.
    async fn leader(&self) -> usize {
        // While one is elected, there is none.
        granted(async || {
            let leader =
                self.stream.consumer_info("c").await?.cluster.and_then(|cluster| cluster.leader);
            let found = leader.and_then(|name| position(&self.cluster, &name));
            Outcome::Ok(found.ok_or("the consumer has no leader")?)
        })
        .await
    }

    /// Publishing ends; everything has to have come, and each number is in the stream once.
    async fn ends(&self, publishing: Task<()>, seen: &Seen, ordered: &[Arc<AtomicU64>]) -> Outcome {
        self.over.store(true, Ordering::Relaxed);
        publishing.await;
        let all = self.published();
        until("consuming everything", || count(seen) >= all).await?;
        let state = granted(|| self.stream.info().into_future()).await.state;
        assert_eq!((state.messages, state.last_seq), (all, all), "stored twice, or not");
        for (index, ordered) in ordered.iter().enumerate() {
            let last = || ordered.load(Ordering::Relaxed);
            let read = until("reading in order", || last() >= all).await;
            read.map_err(|error| format!("{index}: {error}: {} of {all}", last()))?;
        }
        Ok(())
    }
}

type Seen = Arc<Mutex<BTreeSet<u64>>>;

fn number(payload: &[u8]) -> u64 {
    String::from_utf8_lossy(payload).parse().expect("a number")
}

fn count(seen: &Seen) -> u64 {
    seen.lock().expect("nobody panics here").len() as u64
}

/// Consumes and acks, and keeps what came.
async fn consume<A: Adapter>(bench: &Bench) -> Outcome<(Seen, Noticed)> {
    let (seen, (noticed, function)) = (Seen::default(), noticing());
    let keep = seen.clone();
    let mut messages = bench.consumer.consume().max_messages(50).on_notice(function).await?;
    drop(spawn::<A, _>(async move {
        while let Some(message) = messages.next().await {
            let message = message.expect("it ends with the client only");
            keep.lock().expect("nobody panics here").insert(number(message.payload()));
            drop(message.ack().await);
        }
    }));
    Ok((seen, noticed))
}

/// Reads in order; what comes out of order panics, which its reader sees as silence.
async fn in_order<A: Adapter>(bench: &Bench, push: bool) -> Outcome<Arc<AtomicU64>> {
    let last = Arc::<AtomicU64>::default();
    let keep = last.clone();
    let builder = JetStream::new(client::<A>(&bench.cluster).await?).ordered("S");
    let mut ordered = if push { builder.push() } else { builder }.await?;
    drop(spawn::<A, _>(async move {
        while let Some(message) = ordered.next().await {
            let message = message.expect("it ends with the client only");
            let sequence = message.delivery().expect("it was delivered").stream_sequence;
            let before = keep.load(Ordering::Relaxed);
            let came = (sequence, number(message.payload()));
            assert_eq!(came, (before + 1, before + 1), "a gap, or twice");
            keep.store(sequence, Ordering::Relaxed);
        }
    }));
    Ok(last)
}

pub async fn consume_and_ordered_outlive_a_rolling_restart_and_miss_nothing<A: Adapter>() -> Outcome
{
    let mut bench = Bench::new::<A>().await?;
    let publishing = bench.publish::<A>();
    let (seen, _) = consume::<A>(&bench).await?;
    let ordered = [in_order::<A>(&bench, false).await?, in_order::<A>(&bench, true).await?];
    for index in 0..3 {
        bench.publishes_on().await?;
        bench.cluster[index].stop()?;
        bench.cluster[index].restart()?;
        bench.cluster.wait_until_joined()?;
        // The next one goes only once the stream has three replicas again.
        whole(&bench.stream).await;
    }
    bench.publishes_on().await?;
    bench.ends(publishing, &seen, &ordered).await
}

pub async fn a_killed_leader_holds_messages_up_for_seconds_and_a_change_of_leader_for_less<
    A: Adapter,
>() -> Outcome {
    let mut bench = Bench::new::<A>().await?;
    let publishing = bench.publish::<A>();
    let (seen, noticed) = consume::<A>(&bench).await?;
    let ordered = [in_order::<A>(&bench, false).await?, in_order::<A>(&bench, true).await?];
    let consumes_on = async || {
        let wanted = count(&seen) + 50;
        until("consuming", || count(&seen) >= wanted).await
    };
    consumes_on().await?;

    // The leader steps down: the server says so, and the request goes to the next one at once.
    granted(async || {
        let down = bench.js.client().request("$JS.API.CONSUMER.LEADER.STEPDOWN.S.c", "");
        let reply = down.timeout(Duration::from_secs(2)).await?;
        let text = String::from_utf8_lossy(reply.payload()).into_owned();
        if text.contains("\"error\"") { Err(text.into()) } else { Outcome::Ok(()) }
    })
    .await;
    let told = || noticed.has(&Notice::LeadershipChanged);
    until("a change of leaders", told).await?;
    consumes_on().await?;

    for _ in 0..2 {
        let leader = bench.leader().await;
        bench.cluster[leader].kill()?;
        consumes_on().await?;
        bench.cluster[leader].restart()?;
        bench.cluster.wait_until_joined()?;
        whole(&bench.stream).await;
    }
    bench.ends(publishing, &seen, &ordered).await?;
    // The consumers that died with their server are deleted when it is back.
    granted(async || {
        let mut names = bench.stream.consumer_names();
        let mut there = Vec::new();
        while let Some(name) = names.next().await {
            there.push(name?);
        }
        if there.len() == 3 { Outcome::Ok(()) } else { Err(format!("{there:?}").into()) }
    })
    .await;
    Ok(())
}
