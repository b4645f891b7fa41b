//! The workloads of key-value, over a bucket that the tool has made.

use std::time::Instant;

use bytes::Bytes;
use midge_tokio::midge::Client;
use midge_tokio::midge::jetstream::JetStream;
use midge_tokio::midge::kv::WatchItem;
use peers_contestant::{BUCKET, Tally, Task, Workload, ready, wire};

use crate::Failure;

/// Puts, gets, lists or watches.
pub(crate) async fn bucket(task: &Task, client: &Client) -> Result<Tally, Failure> {
    let bucket = JetStream::new(client.clone()).open_key_value(BUCKET).await?;
    let payload = Bytes::from(task.payload());
    let mut tally = Tally::default();
    match task.workload {
        Workload::KvPut => {
            ready()?;
            for number in 0..task.count {
                let start = Instant::now();
                bucket.put(&wire::key(number % task.keys()), &payload).await?;
                tally.received += 1;
                tally.took(start.elapsed());
            }
        }
        Workload::KvKeys => {
            ready()?;
            let mut keys = bucket.keys().await?;
            while let Some(key) = keys.next().await {
                key?;
                tally.received += 1;
            }
        }
        Workload::KvWatch => {
            ready()?;
            let mut watch = bucket.watch_all().await?;
            while let Some(item) = watch.next().await {
                match item? {
                    WatchItem::Entry(entry) => {
                        tally.received += u64::from(entry.value().len() == task.size);
                    }
                    WatchItem::InitialEnd => break,
                }
            }
        }
        Workload::KvGetMany => {
            let keys: Vec<String> = (0..task.count).map(wire::key).collect();
            ready()?;
            for entry in bucket.get_many(&keys).await?.into_iter().flatten() {
                tally.received += u64::from(entry.value().len() == task.size);
            }
        }
        _ => {
            ready()?;
            for number in 0..task.count {
                let start = Instant::now();
                let entry = bucket.get(&wire::key(number % task.keys())).await?;
                tally.reply(entry.ok_or("a key is missing")?.value(), task.size, start);
            }
        }
    }
    Ok(tally)
}
