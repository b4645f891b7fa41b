//! Midge as the other contestants use their clients: with its defaults, through its usual calls.

pub mod adapters;
mod buckets;
pub mod hand;
mod streams;

use std::time::Instant;

use bytes::Bytes;
use midge_tokio::midge::{Client, ConnectError, Event, HeaderMap, Subscription};
use peers_contestant::{Tally, Task, Workload, done, ready, wire};

/// An error of any kind.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

fn headers() -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in wire::HEADERS {
        headers.append(name, value)?;
    }
    Ok(headers)
}

/// Everything that one task does.
async fn stream(
    task: &Task,
    client: &Client,
    connect: impl AsyncFn(String) -> Result<Client, ConnectError>,
) -> Result<Tally, Failure> {
    match task.workload {
        Workload::Publish => {
            let payload = Bytes::from(task.payload());
            ready()?;
            for _ in 0..task.count {
                client.publish(wire::SUBJECT, &payload).await?;
            }
            client.flush().await?;
            Ok(Tally::default())
        }
        Workload::PublishHeaders => {
            let (payload, headers) = (Bytes::from(task.payload()), headers()?);
            ready()?;
            for _ in 0..task.count {
                client.publish(wire::SUBJECT, &payload).headers(&headers).await?;
            }
            client.flush().await?;
            Ok(Tally::default())
        }
        Workload::Receive | Workload::Burst => {
            let mut subscription = subscribe(client).await?;
            let mut tally = Tally::default();
            ready()?;
            while let Some(message) = subscription.next().await {
                if tally.message(message.payload(), task.count) {
                    break;
                }
            }
            Ok(tally)
        }
        Workload::ReadHeaders => {
            let mut subscription = subscribe(client).await?;
            let mut tally = Tally::default();
            ready()?;
            while let Some(message) = subscription.next().await {
                if let Some(headers) = message.headers() {
                    tally.headers +=
                        headers.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
                }
                if tally.message(message.payload(), task.count) {
                    break;
                }
            }
            Ok(tally)
        }
        Workload::Subscriptions => {
            let mut kept = Vec::with_capacity(usize::try_from(task.count)?);
            ready()?;
            for number in 0..task.count {
                kept.push(client.subscribe(wire::numbered(number)).await?);
            }
            client.flush().await?;
            finish(kept)
        }
        Workload::Resubscribe => {
            let mut kept = Vec::with_capacity(usize::try_from(task.count)?);
            for number in 0..task.count {
                kept.push(client.subscribe(wire::numbered(number)).await?);
            }
            client.flush().await?;
            let mut events = client.events();
            ready()?;
            while let Some(event) = events.next().await {
                if let Event::Connected(_) = event {
                    break;
                }
            }
            client.flush().await?;
            finish(kept)
        }
        Workload::Idle => {
            let mut kept = Vec::with_capacity(usize::try_from(task.count)?);
            ready()?;
            for _ in 0..task.count {
                let client = connect(task.url()).await?;
                client.flush().await?;
                kept.push(client);
            }
            finish(kept)
        }
        Workload::Connect => {
            let payload = task.payload();
            ready()?;
            for _ in 0..task.count {
                let client = connect(task.url()).await?;
                client.publish(wire::SUBJECT, &payload).await?;
                client.flush().await?;
                client.close().await;
            }
            Ok(Tally::of(task.count))
        }
        Workload::JsPublish | Workload::JsWindow | Workload::JsConsume | Workload::JsRead => {
            streams::stream(task, client).await
        }
        Workload::KvPut
        | Workload::KvGet
        | Workload::KvKeys
        | Workload::KvWatch
        | Workload::KvGetEach
        | Workload::KvGetMany => buckets::bucket(task, client).await,
        Workload::Request | Workload::Requests | Workload::FanOut | Workload::Publishers => {
            Err("this is done by tasks".into())
        }
    }
}

/// Ends the run while all of these are there, and the process with it.
fn finish<T>(kept: Vec<T>) -> ! {
    let ended = done(&Tally::of(kept.len() as u64));
    std::process::exit(i32::from(ended.is_err()))
}

async fn subscribe(client: &Client) -> Result<Subscription, Failure> {
    Ok(client.subscribe(wire::SUBJECT).confirmed().await?)
}

/// Subscriptions, each for a task of its own.
async fn fan_out(client: &Client, count: usize) -> Result<Vec<Subscription>, Failure> {
    let mut all = Vec::new();
    for number in 0..count as u64 {
        all.push(client.subscribe(wire::numbered(number)).await?);
    }
    client.flush().await?;
    Ok(all)
}

/// The share of one of them.
async fn share(mut subscription: Subscription, count: u64) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    while let Some(message) = subscription.next().await {
        if tally.message(message.payload(), count) {
            break;
        }
    }
    Ok(tally)
}

/// The share of one task of several that publish.
async fn publish(client: Client, count: u64, payload: Bytes) -> Result<Tally, Failure> {
    for _ in 0..count {
        client.publish(wire::SUBJECT, &payload).await?;
    }
    Ok(Tally::default())
}

/// One request after the other.
async fn requests(client: Client, count: u64, size: usize) -> Result<Tally, Failure> {
    let payload = Bytes::from(vec![b'x'; size]);
    let mut tally = Tally::default();
    for _ in 0..count {
        let start = Instant::now();
        let reply = client.request(wire::SUBJECT, &payload).await?;
        tally.reply(reply.payload(), size, start);
    }
    Ok(tally)
}

/// How many tasks share the requests.
fn tasks(task: &Task) -> Option<u64> {
    match task.workload {
        Workload::Request => Some(1),
        Workload::Requests => Some(peers_contestant::IN_FLIGHT),
        _ => None,
    }
}
