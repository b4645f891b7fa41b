//! Buckets with three replicas while servers die and come back.

mod steps;

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use midge::ConnectOptions;
use midge::jetstream::{ErrorCode, JetStream, Placement};
use midge::kv::{BucketConfig, KeyValue, UpdateError, WatchItem};
use midge_testing::Cluster;
use tokio::time::{sleep, timeout};

use steps::{CLUSTER_PATIENCE, Outcome, connect, granted, whole};

const KEYS: u64 = 10;

fn options(cluster: &Cluster) -> ConnectOptions {
    ConnectOptions::new(cluster.urls())
        .reconnect_wait(Duration::from_millis(20), Duration::from_millis(200))
        .retry_first_connect(true)
}

async fn bucket(cluster: &Cluster) -> Outcome<KeyValue> {
    let js = JetStream::new(connect(options(cluster)).await?);
    let config = BucketConfig { history: 64, replicas: 3, ..BucketConfig::new("b") };
    let (kv, _) = granted(|| js.create_or_open_key_value(config.clone()).into_future()).await;
    Ok(kv)
}

/// Puts to ten keys in turn, a little less often than 64 times each, until it is over.
async fn put(kv: KeyValue, over: Arc<AtomicBool>, last: Arc<AtomicU64>) {
    for number in 0..KEYS * 60 {
        if over.load(Ordering::Relaxed) {
            return;
        }
        let key = format!("k.{}", number % KEYS);
        let put = kv.put(&key, number.to_string()).timeout(Duration::from_secs(1));
        if let Ok(revision) = put.await {
            last.store(revision, Ordering::Relaxed);
        }
        sleep(Duration::from_millis(40)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_sees_every_revision_once_across_a_rolling_restart() -> Outcome {
    let mut cluster = Cluster::builder().jetstream(true).start(3)?;
    let kv = bucket(&cluster).await?;
    let first = granted(|| kv.put("k.0", "before").into_future()).await;
    let reader = bucket(&cluster).await?;
    let mut watch = granted(|| reader.watch_all().include_history().into_future()).await;
    let seen = Arc::<AtomicU64>::default();
    let keep = seen.clone();
    let reading = tokio::spawn(async move {
        let mut ends = 0;
        while let Some(item) = watch.next().await {
            match item.expect("it ends with the test only") {
                WatchItem::Entry(entry) => {
                    let before = keep.swap(entry.revision(), Ordering::Relaxed);
                    assert_eq!(entry.revision(), before + 1, "a gap, or twice");
                }
                WatchItem::InitialEnd => ends += 1,
            }
            assert!(ends <= 1, "the end of what was there comes once");
        }
    });
    let (over, last) = (Arc::<AtomicBool>::default(), Arc::new(AtomicU64::new(first)));
    let writing = tokio::spawn(put(kv.clone(), over.clone(), last.clone()));
    for server in 0..3 {
        let before = last.load(Ordering::Relaxed);
        cluster[server].kill()?;
        sleep(Duration::from_millis(500)).await;
        cluster[server].restart()?;
        cluster.wait_until_joined()?;
        whole(kv.stream()).await;
        let goes_on = async {
            while last.load(Ordering::Relaxed) < before + 20 {
                assert!(!writing.is_finished() && !reading.is_finished());
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(CLUSTER_PATIENCE, goes_on).await?;
    }
    over.store(true, Ordering::Relaxed);
    writing.await?;
    let all = async {
        while seen.load(Ordering::Relaxed) < last.load(Ordering::Relaxed) {
            assert!(!reading.is_finished());
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(CLUSTER_PATIENCE, all).await?;
    reading.abort();

    // The leader knows what was written; whoever comes too late is told. There may be elections yet:
    // what may have been written is looked at before it is tried again.
    let leader = || kv.get("k.0").from_leader().into_future();
    let revision = granted(async || {
        let entry = leader().await?.ok_or("it was put")?;
        match entry.value() {
            b"after" => Ok(entry.revision()),
            _ => Outcome::Ok(kv.update("k.0", "after", entry.revision()).await?),
        }
    })
    .await;
    granted(async || match kv.update("k.0", "late", revision - 1).await {
        Err(UpdateError::WrongRevision { .. }) => Ok(()),
        late => Err(format!("{late:?}")),
    })
    .await;
    let entry = granted(leader).await.ok_or("it was put")?;
    assert_eq!((entry.revision(), entry.value()), (revision, &b"after"[..]));
    Ok(())
}

/// On which servers a bucket is, in their order.
async fn places(kv: &KeyValue) -> Vec<String> {
    granted(async || {
        let cluster = kv.status().await?.stream.cluster.ok_or("it is in no cluster")?;
        let mut places = vec![cluster.leader.ok_or("nobody leads it")?];
        places.extend(cluster.replicas.into_iter().map(|replica| replica.name));
        places.sort();
        Outcome::Ok(places)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_where_its_placement_says() -> Outcome {
    let mut cluster = Cluster::builder().jetstream(true).start(3)?;
    for (server, tags) in ["fast, east", "fast, west", "slow, west"].into_iter().enumerate() {
        cluster[server].reload(format!("server_tags: [{tags}]"))?;
    }
    let js = JetStream::new(connect(options(&cluster)).await?);
    let placed = |name: &str, replicas, tags: &[&str]| {
        let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let placement = Placement { tags, cluster: Some("midge".into()), ..Placement::default() };
        BucketConfig { replicas, placement, ..BucketConfig::new(name) }
    };
    for (name, replicas, tags, wanted) in [
        ("slow", 1, &["slow"][..], &["n2"][..]),
        ("both", 1, &["fast", "west"], &["n1"]),
        ("fast", 2, &["fast"], &["n0", "n1"]),
        ("all", 3, &[], &["n0", "n1", "n2"]),
    ] {
        let config = placed(name, replicas, tags);
        // Who leads the cluster hears of tags a little later.
        let kv = granted(|| js.create_key_value(config.clone())).await;
        assert_eq!(places(&kv).await, wanted, "{name}");
        assert_eq!(kv.status().await?.config, config);
    }
    // All tags are known by now: these are refused for what they ask.
    for config in [
        placed("nowhere", 1, &["east", "slow"]),
        placed("few", 3, &["fast"]),
        BucketConfig {
            placement: Placement { cluster: Some("other".into()), ..Placement::default() },
            ..BucketConfig::new("away")
        },
    ] {
        let name = config.bucket.clone();
        let refused = js.create_key_value(config).await.expect_err("there is no such place");
        assert_eq!(refused.code(), Some(ErrorCode::CLUSTER_NO_PEERS), "{name}: {refused}");
    }
    // What is placed anew moves.
    let kv = granted(|| js.update_key_value(placed("slow", 1, &["east"]))).await;
    granted(async || match &places(&kv).await[..] {
        [place] if place == "n0" => Ok(()),
        places => Err(format!("it is at {places:?}")),
    })
    .await;
    Ok(())
}
