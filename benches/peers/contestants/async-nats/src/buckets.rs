//! The workloads of key-value, over a bucket that the tool has made.

use std::time::Instant;

use async_nats::Client;
use async_nats::jetstream::new;
use bytes::Bytes;
use futures_util::StreamExt;
use peers_contestant::{BUCKET, Tally, Task, Workload, ready, wire};

use crate::Failure;

/// Puts, gets, lists or watches.
pub(crate) async fn bucket(task: &Task, client: Client) -> Result<Tally, Failure> {
    let bucket = new(client).get_key_value(BUCKET).await?;
    let payload = Bytes::from(task.payload());
    let mut tally = Tally::default();
    match task.workload {
        Workload::KvPut => {
            ready()?;
            for number in 0..task.count {
                let start = Instant::now();
                bucket.put(wire::key(number % task.keys()), payload.clone()).await?;
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
            let mut watch = bucket.watch_with_history(">").await?;
            while let Some(entry) = watch.next().await {
                let entry = entry?;
                tally.received += u64::from(entry.value.len() == task.size);
                if entry.seen_current {
                    break;
                }
            }
        }
        Workload::KvGet | Workload::KvGetEach => {
            ready()?;
            for number in 0..task.count {
                let start = Instant::now();
                let value = bucket.get(wire::key(number % task.keys())).await?;
                tally.reply(&value.ok_or("a key is missing")?, task.size, start);
            }
        }
        _ => return Err("it has no such call".into()),
    }
    Ok(tally)
}
