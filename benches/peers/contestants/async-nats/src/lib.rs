//! async-nats with its defaults, but for the capacity of the subscription that is measured.

mod buckets;
mod streams;

use std::sync::Arc;
use std::time::Instant;

use async_nats::{Client, ConnectOptions, Event, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt;
use peers_contestant::{IN_FLIGHT, Tally, Task, Workload, done, ready, wire};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

/// An error of any kind.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs the task of the command line.
///
/// # Errors
///
/// Those of connecting and of the work.
pub fn run(runtime: &Runtime) -> Result<(), Failure> {
    let task = Task::from_args()?;
    let tally = runtime.block_on(work(&task))?;
    done(&tally)?;
    Ok(())
}

async fn work(task: &Task) -> Result<Tally, Failure> {
    // With the default a subscription drops what comes faster than it is read.
    let capacity = usize::try_from(task.count)?.saturating_add(65_536);
    let receives = matches!(
        task.workload,
        Workload::Receive
            | Workload::ReadHeaders
            | Workload::FanOut
            | Workload::KvKeys
            | Workload::KvWatch
    );
    let options = ConnectOptions::new();
    let options = if receives { options.subscription_capacity(capacity) } else { options };
    let client = options.connect(task.url()).await?;
    let payload = Bytes::from(task.payload());
    let mut tally = Tally::default();
    match task.workload {
        Workload::Publish => {
            client.flush().await?;
            ready()?;
            for _ in 0..task.count {
                client.publish(wire::SUBJECT, payload.clone()).await?;
            }
            client.flush().await?;
        }
        Workload::PublishHeaders => {
            let mut headers = HeaderMap::new();
            for (name, value) in wire::HEADERS {
                headers.append(name, value);
            }
            client.flush().await?;
            ready()?;
            for _ in 0..task.count {
                let headers = headers.clone();
                client.publish_with_headers(wire::SUBJECT, headers, payload.clone()).await?;
            }
            client.flush().await?;
        }
        Workload::Publishers => {
            client.flush().await?;
            ready()?;
            let each: Vec<_> = (0..task.size)
                .map(|_| {
                    let (client, payload, share) = (client.clone(), payload.clone(), task.share());
                    tokio::spawn(async move {
                        for _ in 0..share {
                            client.publish(wire::SUBJECT, payload.clone()).await?;
                        }
                        Ok::<_, Failure>(())
                    })
                })
                .collect();
            for one in each {
                one.await??;
            }
            client.flush().await?;
        }
        Workload::FanOut => {
            let mut each = Vec::new();
            for number in 0..task.size as u64 {
                each.push(client.subscribe(wire::numbered(number)).await?);
            }
            client.flush().await?;
            ready()?;
            let share = task.count / task.size as u64;
            let each: Vec<_> = each
                .into_iter()
                .map(|mut subscriber| {
                    tokio::spawn(async move {
                        let mut tally = Tally::default();
                        while let Some(message) = subscriber.next().await {
                            if tally.message(&message.payload, share) {
                                break;
                            }
                        }
                        tally
                    })
                })
                .collect();
            for one in each {
                tally.add(&one.await?);
            }
        }
        Workload::Subscriptions => {
            let mut kept = Vec::with_capacity(usize::try_from(task.count)?);
            client.flush().await?;
            ready()?;
            for number in 0..task.count {
                kept.push(client.subscribe(wire::numbered(number)).await?);
            }
            client.flush().await?;
            done(&Tally::of(kept.len() as u64))?;
            std::process::exit(0);
        }
        Workload::JsPublish | Workload::JsWindow | Workload::JsConsume | Workload::JsRead => {
            tally = streams::stream(task, client).await?;
        }
        Workload::KvPut
        | Workload::KvGet
        | Workload::KvKeys
        | Workload::KvWatch
        | Workload::KvGetEach
        | Workload::KvGetMany => tally = buckets::bucket(task, client).await?,
        Workload::Resubscribe => {
            let back = Arc::new(Notify::new());
            let notify = back.clone();
            let options = ConnectOptions::new().event_callback(move |event| {
                let notify = notify.clone();
                async move {
                    if event == Event::Connected {
                        notify.notify_one();
                    }
                }
            });
            let client = options.connect(task.url()).await?;
            let mut kept = Vec::with_capacity(usize::try_from(task.count)?);
            for number in 0..task.count {
                kept.push(client.subscribe(wire::numbered(number)).await?);
            }
            client.flush().await?;
            back.notified().await;
            ready()?;
            back.notified().await;
            client.flush().await?;
            done(&Tally::of(kept.len() as u64))?;
            std::process::exit(0);
        }
        Workload::Idle => {
            let mut kept = Vec::with_capacity(usize::try_from(task.count)?);
            ready()?;
            for _ in 0..task.count {
                let client = async_nats::connect(task.url()).await?;
                client.flush().await?;
                kept.push(client);
            }
            done(&Tally::of(kept.len() as u64))?;
            std::process::exit(0);
        }
        Workload::Connect => {
            ready()?;
            for _ in 0..task.count {
                let client = async_nats::connect(task.url()).await?;
                client.publish(wire::SUBJECT, payload.clone()).await?;
                client.flush().await?;
            }
            tally = Tally::of(task.count);
        }
        Workload::Receive | Workload::ReadHeaders | Workload::Burst => {
            let mut subscriber = client.subscribe(wire::SUBJECT).await?;
            client.flush().await?;
            ready()?;
            while let Some(message) = subscriber.next().await {
                if task.workload == Workload::ReadHeaders
                    && let Some(headers) = &message.headers
                {
                    let values = headers.iter().flat_map(|(_, values)| values);
                    tally.headers += values.map(|value| value.as_str().len() as u64).sum::<u64>();
                }
                if tally.message(&message.payload, task.count) {
                    break;
                }
            }
        }
        Workload::Request => {
            client.flush().await?;
            ready()?;
            tally = requests(client, task.count, payload).await?;
        }
        Workload::Requests => {
            client.flush().await?;
            ready()?;
            let share = task.count / IN_FLIGHT;
            let each: Vec<_> = (0..IN_FLIGHT)
                .map(|_| tokio::spawn(requests(client.clone(), share, payload.clone())))
                .collect();
            for one in each {
                tally.add(&one.await??);
            }
        }
    }
    Ok(tally)
}

/// One request after the other.
async fn requests(client: Client, count: u64, payload: Bytes) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    for _ in 0..count {
        let start = Instant::now();
        let reply = client.request(wire::SUBJECT, payload.clone()).await?;
        tally.reply(&reply.payload, payload.len(), start);
    }
    Ok(tally)
}
