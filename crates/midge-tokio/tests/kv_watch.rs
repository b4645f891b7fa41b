//! Watches of buckets whose servers are killed: while 100,000 updates are made, and before all that was
//! there has been given.

mod steps;

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use midge::ConnectOptions;
use midge::jetstream::{JetStream, Notice};
use midge::kv::{BucketConfig, KeyValue, WatchItem};
use midge_testing::{Cluster, NatsServer};
use tokio::sync::oneshot;
use tokio::sync::watch::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use steps::{CLUSTER_PATIENCE, Outcome, connect, granted, impatient, soon, whole};

const WRITERS: u64 = 50;
/// Of each writer.
const KEYS: u64 = 20;
const ROUNDS: u64 = 100;
const UPDATES: u64 = WRITERS * KEYS * ROUNDS;

/// A bucket in files that keeps one revision of each key.
async fn bucket(server: &NatsServer) -> Outcome<KeyValue> {
    let js = JetStream::new(connect(impatient(&server.url())).await?);
    Ok(js.create_key_value(BucketConfig::new("b")).await?)
}

/// Updates keys in turn, and gives the revisions that each had.
async fn update(kv: KeyValue, writer: u64, count: Sender<u64>) -> BTreeMap<String, Vec<u64>> {
    let mut written = BTreeMap::<String, Vec<u64>>::new();
    for round in 0..ROUNDS {
        for number in 0..KEYS {
            let key = format!("k.{writer}.{number}");
            let revision = loop {
                // Where it fails, once more is as good: the last one counts.
                let put = kv.put(&key, round.to_string()).timeout(Duration::from_secs(2));
                if let Ok(revision) = put.await {
                    break revision;
                }
            };
            written.entry(key).or_default().push(revision);
            count.send_modify(|count| *count += 1);
        }
    }
    written
}

/// Revisions of each key until the last one of all, once that is told.
async fn seen(
    kv: KeyValue,
    mut last: oneshot::Receiver<u64>,
) -> Outcome<BTreeMap<String, Vec<u64>>> {
    let mut watch = granted(|| kv.watch_all().updates_only().into_future()).await;
    let mut seen = BTreeMap::<String, Vec<u64>>::new();
    let (mut before, mut wanted) = (0, u64::MAX);
    while before < wanted {
        let next = tokio::select! {
            next = watch.next() => next,
            last = &mut last, if wanted == u64::MAX => {
                wanted = last?;
                continue;
            }
        };
        match next {
            Some(Ok(WatchItem::Entry(entry))) => {
                assert!(entry.revision() > before, "revisions increase");
                before = entry.revision();
                seen.entry(entry.key().to_owned()).or_default().push(before);
            }
            Some(Ok(WatchItem::InitialEnd)) => assert_eq!(before, 0, "it comes first, and once"),
            end => panic!("it ends with the test only: {end:?}"),
        }
    }
    Ok(seen)
}

/// Writers and a watch of one bucket.
struct Updates {
    writers: Vec<JoinHandle<BTreeMap<String, Vec<u64>>>>,
    reading: JoinHandle<Outcome<BTreeMap<String, Vec<u64>>>>,
    count: Receiver<u64>,
    tell: oneshot::Sender<u64>,
}

impl Updates {
    fn begin(writer: &KeyValue, reader: KeyValue) -> Self {
        let (tell, told) = oneshot::channel();
        let reading = tokio::spawn(seen(reader, told));
        let (counts, count) = channel(0);
        let update = |number| tokio::spawn(update(writer.clone(), number, counts.clone()));
        let writers = (0..WRITERS).map(update).collect();
        Self { writers, reading, count, tell }
    }

    /// So many updates have been made.
    async fn reach(&mut self, updates: u64) -> Outcome {
        tokio::select! {
            reached = self.count.wait_for(|count| *count >= updates) => drop(reached?),
            end = &mut self.reading => panic!("it goes on: {end:?}"),
        }
        Ok(())
    }

    /// The last revision of each key was seen, and those that were skipped are superseded.
    async fn end(self) -> Outcome {
        let mut written = BTreeMap::new();
        for writer in self.writers {
            written.append(&mut writer.await?);
        }
        assert_eq!(written.len() as u64, WRITERS * KEYS);
        let revisions = written.values().map(Vec::len).sum::<usize>();
        assert_eq!(revisions as u64, UPDATES);
        let last: BTreeMap<_, _> = written
            .iter()
            .map(|(key, revisions)| (key.clone(), revisions[revisions.len() - 1]))
            .collect();
        let of_all = *last.values().max().ok_or("there are keys")?;
        self.tell.send(of_all).map_err(|_| "the watch goes on")?;
        let seen = timeout(CLUSTER_PATIENCE, self.reading).await???;
        for (key, &last) in &last {
            let seen = seen.get(key).ok_or_else(|| format!("nothing of {key}"))?;
            assert_eq!(seen.last(), Some(&last), "the last one of {key}");
            let skipped = written[key].iter().filter(|revision| !seen.contains(revision));
            for revision in skipped {
                assert!(*revision < last, "what was skipped of {key} is superseded");
            }
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_a_hundred_thousand_updates_of_each_key_is_seen_though_the_server_is_killed()
-> Outcome {
    let mut server = NatsServer::builder().jetstream(true).start()?;
    let kv = bucket(&server).await?;
    let mut updates = Updates::begin(&kv, bucket(&server).await?);
    for quarter in 1..4 {
        updates.reach(UPDATES / 4 * quarter).await?;
        server.kill()?;
        server.restart()?;
    }
    updates.end().await
}

/// The same bucket on three servers.
async fn replicated(cluster: &Cluster) -> Outcome<KeyValue> {
    let options = ConnectOptions::new(cluster.urls())
        .reconnect_wait(Duration::from_millis(20), Duration::from_millis(200))
        .retry_first_connect(true);
    let js = JetStream::new(connect(options).await?);
    let config = BucketConfig { replicas: 3, ..BucketConfig::new("b") };
    let (kv, _) = granted(|| js.create_or_open_key_value(config.clone()).into_future()).await;
    Ok(kv)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_of_a_hundred_thousand_updates_of_each_key_is_seen_across_a_rolling_restart()
-> Outcome {
    let mut cluster = Cluster::builder().jetstream(true).start(3)?;
    let kv = replicated(&cluster).await?;
    let mut updates = Updates::begin(&kv, replicated(&cluster).await?);
    for server in 0..3 {
        updates.reach(UPDATES / 4 * (server as u64 + 1)).await?;
        cluster[server].kill()?;
        cluster[server].restart()?;
        cluster.wait_until_joined()?;
        // The next one goes only once the stream has three replicas again.
        whole(kv.stream()).await;
    }
    updates.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_midway_leaves_one_end_behind_all_that_was_there() -> Outcome {
    const ALL: usize = 1_500;
    let mut server = NatsServer::builder().jetstream(true).start()?;
    let kv = bucket(&server).await?;
    for number in 0..ALL {
        kv.put(&format!("k.{number}"), vec![0; 1_000]).await?;
    }
    let recreated = Arc::<AtomicU64>::default();
    let count = recreated.clone();
    let noticed = move |notice| {
        count.fetch_add(u64::from(matches!(notice, Notice::Recreated(_))), Ordering::Relaxed);
    };
    let mut watch = kv.watch_all().on_notice(noticed).await?;
    let (mut given, mut before) = (BTreeMap::new(), 0);
    let mut ends = 0;
    let written = ALL as u64 + 2;
    while before < written {
        let item = soon(watch.next()).await.ok_or("it goes on")??;
        let WatchItem::Entry(entry) = item else {
            assert!(given.len() == ALL, "{} keys before the end of what was there", given.len());
            assert!(recreated.load(Ordering::Relaxed) > 0, "the consumer was lost before");
            ends += 1;
            continue;
        };
        assert!(entry.revision() > before, "revisions increase");
        before = entry.revision();
        given.insert(entry.key().to_owned(), before);
        if given.len() == 100 && before == 100 {
            server.kill()?;
            server.restart()?;
            // One that was given already, and one that was not.
            for key in ["k.7", "k.1400"] {
                while soon(kv.put(key, "again")).await.is_err() {}
            }
        }
    }
    // What is written behind it follows, and no other end.
    let last = kv.put("last", "1").await?;
    while before < last {
        match soon(watch.next()).await.ok_or("it goes on")?? {
            WatchItem::Entry(entry) => before = entry.revision(),
            WatchItem::InitialEnd => ends += 1,
        }
    }
    assert_eq!(ends, 1);
    Ok(())
}
