//! Buckets with replicas in a cluster: where they are, and while servers die and come back.

use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use midge::jetstream::{ErrorCode, JetStream, Placement};
use midge::kv::{BucketConfig, KeyValue, UpdateError, WatchItem};

use crate::Cluster;
use crate::conformance::clusters::{client, granted, until, whole};
use crate::conformance::tasks::spawn;
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};

const KEYS: u64 = 10;

async fn bucket<A: Adapter>(cluster: &Cluster) -> Outcome<KeyValue> {
    let js = JetStream::new(client::<A>(cluster).await?);
    let config = BucketConfig { history: 64, replicas: 3, ..BucketConfig::new("b") };
    let (kv, _) = granted(|| js.create_or_open_key_value(config.clone()).into_future()).await;
    Ok(kv)
}

/// Puts to ten keys in turn until it is over, and rests while the last revision is `most`: what is put
/// less often than 64 times is kept.
async fn put(kv: KeyValue, over: Arc<AtomicBool>, last: Arc<AtomicU64>, most: Arc<AtomicU64>) {
    for number in 0..KEYS * 60 {
        while !over.load(Ordering::Relaxed)
            && last.load(Ordering::Relaxed) >= most.load(Ordering::Relaxed)
        {
            sleep(Duration::from_millis(10)).await;
        }
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

pub async fn a_watch_sees_every_revision_once_across_a_rolling_restart<A: Adapter>() -> Outcome {
    let mut cluster = Cluster::builder().jetstream(true).start(3)?;
    let kv = bucket::<A>(&cluster).await?;
    let first = granted(|| kv.put("k.0", "before").into_future()).await;
    let reader = bucket::<A>(&cluster).await?;
    let mut watch = granted(|| reader.watch_all().include_history().into_future()).await;
    let seen = Arc::<AtomicU64>::default();
    let over = Arc::<AtomicBool>::default();
    let (last, most) = (Arc::new(AtomicU64::new(first)), Arc::<AtomicU64>::default());
    let writing = spawn::<A, _>(put(kv.clone(), over.clone(), last.clone(), most.clone()));
    let (keep, end) = (seen.clone(), Arc::<AtomicU64>::default());
    let until_end = end.clone();
    let reading = spawn::<A, _>(async move {
        let mut ends = 0;
        while until_end.load(Ordering::Relaxed) == 0
            || keep.load(Ordering::Relaxed) < until_end.load(Ordering::Relaxed)
        {
            match watch.next().await.expect("it goes on").expect("it goes on") {
                WatchItem::Entry(entry) => {
                    let before = keep.swap(entry.revision(), Ordering::Relaxed);
                    assert_eq!(entry.revision(), before + 1, "a gap, or twice");
                }
                WatchItem::InitialEnd => ends += 1,
            }
            assert!(ends <= 1, "the end of what was there comes once");
        }
        ends
    });
    for server in 0..3 {
        most.store(last.load(Ordering::Relaxed) + 120, Ordering::Relaxed);
        cluster[server].kill()?;
        sleep(Duration::from_millis(500)).await;
        cluster[server].restart()?;
        cluster.wait_until_joined()?;
        whole(kv.stream()).await;
        let enough = last.load(Ordering::Relaxed) + 20;
        most.store(enough, Ordering::Relaxed);
        let goes_on =
            || last.load(Ordering::Relaxed) >= enough && seen.load(Ordering::Relaxed) >= enough;
        until("more is written and seen", goes_on).await?;
    }
    over.store(true, Ordering::Relaxed);
    writing.await;
    // One more, behind which the watch may end: whatever was written before was seen.
    let closing = granted(|| kv.put("k.0", "over").into_future()).await;
    end.store(closing, Ordering::Relaxed);
    granted(|| kv.put("k.1", "over").into_future()).await;
    assert_eq!(reading.await, 1);

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

pub async fn a_bucket_is_where_its_placement_says<A: Adapter>() -> Outcome {
    let mut cluster = Cluster::builder().jetstream(true).start(3)?;
    for (server, tags) in ["fast, east", "fast, west", "slow, west"].into_iter().enumerate() {
        cluster[server].reload(format!("server_tags: [{tags}]"))?;
    }
    let js = JetStream::new(client::<A>(&cluster).await?);
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
