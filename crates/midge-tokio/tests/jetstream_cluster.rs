//! Consumers of a stream with three replicas while servers die and come back.

mod steps;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::jetstream::{JetStream, Notice};
use midge::{Client, ConnectOptions};
use midge_testing::Cluster;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use steps::{CLUSTER_PATIENCE, Outcome, connect, granted, position, whole};

struct Bench {
    cluster: Cluster,
    client: Client,
    js: JetStream,
    /// Messages that the stream has acknowledged.
    published: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

fn options(cluster: &Cluster) -> ConnectOptions {
    ConnectOptions::new(cluster.urls())
        .reconnect_wait(Duration::from_millis(20), Duration::from_millis(200))
        .retry_first_connect(true)
}

/// A request of the API, again and again until it is granted.
async fn api(client: &Client, call: &str, request: Value) -> Value {
    let request = if request.is_null() { String::new() } else { request.to_string() };
    granted(async || {
        let asked = client.request(format!("$JS.API.{call}"), &request);
        let reply = asked.timeout(Duration::from_secs(2)).await?;
        let answer = serde_json::from_slice::<Value>(reply.payload())?;
        match answer.get("error") {
            None => Outcome::Ok(answer),
            Some(error) => Err(format!("{call}: {error}").into()),
        }
    })
    .await
}

impl Bench {
    async fn new() -> Outcome<Self> {
        let cluster = Cluster::builder().jetstream(true).start(3)?;
        let client = connect(options(&cluster)).await?;
        let stream = json!({"name": "S", "subjects": ["s"], "num_replicas": 3, "storage": "file"});
        api(&client, "STREAM.CREATE.S", stream).await;
        let config = json!({"name": "c", "durable_name": "c", "ack_policy": "explicit",
            "ack_wait": 3_000_000_000_u64, "max_ack_pending": 5000});
        api(&client, "CONSUMER.CREATE.S.c", json!({"stream_name": "S", "config": config})).await;
        let (published, over) = (Arc::default(), Arc::default());
        let js = JetStream::new(client.clone());
        Ok(Self { cluster, client, js, published, over })
    }

    /// Publishes 1, 2, 3, … each until the stream has it.
    fn publish(&self) -> tokio::task::JoinHandle<()> {
        let (client, published, over) =
            (self.client.clone(), self.published.clone(), self.over.clone());
        tokio::spawn(async move {
            let mut number = 1_u64;
            while !over.load(Ordering::Relaxed) {
                let text = number.to_string();
                let request = client.request("s", &text).header("Nats-Msg-Id", &text);
                let reply = request.timeout(Duration::from_millis(1000)).await;
                if reply
                    .is_ok_and(|it| !String::from_utf8_lossy(it.payload()).contains("\"error\""))
                {
                    published.store(number, Ordering::Relaxed);
                    number += 1;
                }
                sleep(Duration::from_millis(2)).await;
            }
        })
    }

    async fn leader(&self) -> Outcome<usize> {
        // While one is elected, there is none.
        let leads = granted(async || {
            let info = api(&self.client, "CONSUMER.INFO.S.c", Value::Null).await;
            let leader = info["cluster"]["leader"].as_str().unwrap_or_default();
            let found = position(&self.cluster, leader);
            Outcome::Ok(found.ok_or_else(|| format!("{leader:?} is no server of the cluster"))?)
        });
        Ok(leads.await)
    }
}

type Seen = Arc<Mutex<BTreeSet<u64>>>;

fn number(payload: &[u8]) -> u64 {
    String::from_utf8_lossy(payload).parse().expect("a number")
}

fn count(seen: &Seen) -> usize {
    seen.lock().expect("nobody panics here").len()
}

/// Consumes and acks, and keeps what came.
async fn consume(bench: &Bench) -> Outcome<(Seen, Arc<Mutex<Vec<Notice>>>)> {
    let (seen, noticed) = (Seen::default(), Arc::<Mutex<Vec<Notice>>>::default());
    let (keep, tell) = (seen.clone(), noticed.clone());
    let consumer = bench.js.consumer("S", "c")?;
    let note = move |notice| tell.lock().expect("nobody panics here").push(notice);
    let mut messages = consumer.consume().max_messages(50).on_notice(note).await?;
    tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            let message = message.expect("it ends with the client only");
            keep.lock().expect("nobody panics here").insert(number(message.payload()));
            drop(message.ack().await);
        }
    });
    Ok((seen, noticed))
}

/// Reads in order; what comes out of order panics, which its reader sees as silence.
async fn in_order(bench: &Bench, push: bool) -> Outcome<Arc<AtomicU64>> {
    let last = Arc::<AtomicU64>::default();
    let keep = last.clone();
    let client = connect(options(&bench.cluster)).await?;
    let builder = JetStream::new(client).ordered("S");
    let mut ordered = if push { builder.push() } else { builder }.await?;
    tokio::spawn(async move {
        while let Some(message) = ordered.next().await {
            let message = message.expect("it ends with the client only");
            let sequence = message.delivery().expect("it was delivered").stream_sequence;
            assert_eq!(sequence, keep.load(Ordering::Relaxed) + 1, "a gap, or twice");
            keep.store(sequence, Ordering::Relaxed);
        }
    });
    Ok(last)
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) -> Outcome {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    Ok(timeout(CLUSTER_PATIENCE, waiting).await.map_err(|_| format!("{what} does not happen"))?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consume_and_ordered_outlive_a_rolling_restart_and_miss_nothing() -> Outcome {
    let mut bench = Bench::new().await?;
    let publishing = bench.publish();
    let (seen, _) = consume(&bench).await?;
    let ordered = [in_order(&bench, false).await?, in_order(&bench, true).await?];
    for index in 0..3 {
        let before = bench.published.load(Ordering::Relaxed) + 50;
        let published = bench.published.clone();
        until("publishing", || published.load(Ordering::Relaxed) >= before).await?;
        bench.cluster[index].stop()?;
        bench.cluster[index].restart()?;
        bench.cluster.wait_until_joined()?;
        // The next one goes only once the stream has three replicas again.
        whole(&bench.js.stream("S")?).await;
    }
    let wanted = bench.published.load(Ordering::Relaxed) + 50;
    until("publishing", || bench.published.load(Ordering::Relaxed) >= wanted).await?;
    bench.over.store(true, Ordering::Relaxed);
    publishing.await?;
    let all = bench.published.load(Ordering::Relaxed);
    let info = api(&bench.client, "STREAM.INFO.S", Value::Null).await;
    let last = info["state"]["last_seq"].as_u64().unwrap_or_default();
    until("consuming everything", || count(&seen) as u64 >= all).await?;
    for (index, ordered) in ordered.iter().enumerate() {
        until("reading in order", || ordered.load(Ordering::Relaxed) >= last).await.map_err(
            |error| format!("{index}: {error}: {} of {last}", ordered.load(Ordering::Relaxed)),
        )?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_holds_messages_up_for_seconds_and_a_change_of_leader_for_less() -> Outcome
{
    let mut bench = Bench::new().await?;
    let publishing = bench.publish();
    let (seen, noticed) = consume(&bench).await?;
    let ordered = [in_order(&bench, false).await?, in_order(&bench, true).await?];
    until("consuming", || count(&seen) > 50).await?;

    // The leader steps down: the server says so, and the request goes to the next one at once.
    let before = count(&seen);
    api(&bench.client, "CONSUMER.LEADER.STEPDOWN.S.c", Value::Null).await;
    let told = || noticed.lock().expect("nobody panics here").contains(&Notice::LeadershipChanged);
    until("a change of leaders", told).await?;
    until("consuming", || count(&seen) > before + 50).await?;

    for _ in 0..2 {
        let leader = bench.leader().await?;
        bench.cluster[leader].kill()?;
        let before = count(&seen);
        until("consuming behind a killed leader", || count(&seen) > before + 50).await?;
        bench.cluster[leader].restart()?;
        bench.cluster.wait_until_joined()?;
        sleep(Duration::from_secs(2)).await;
    }
    bench.over.store(true, Ordering::Relaxed);
    publishing.await?;
    let all = bench.published.load(Ordering::Relaxed);
    until("consuming everything", || count(&seen) as u64 >= all).await?;
    let info = api(&bench.client, "STREAM.INFO.S", Value::Null).await;
    let last = info["state"]["last_seq"].as_u64().unwrap_or_default();
    for ordered in &ordered {
        until("reading in order", || ordered.load(Ordering::Relaxed) >= last).await?;
    }
    // The consumers that died with their server are deleted when it is back.
    granted(async || {
        let names = api(&bench.client, "CONSUMER.NAMES.S", json!({})).await;
        match names["consumers"].as_array().map(Vec::len) {
            Some(3) => Ok(()),
            _ => Err(names),
        }
    })
    .await;
    Ok(())
}
