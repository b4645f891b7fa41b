//! Midge as the other contestants use their clients: with its defaults, through its usual calls.

pub mod adapters;
pub mod hand;

use std::time::Instant;

use bytes::Bytes;
use midge_tokio::midge::{Client, HeaderMap, Subscription};
use peers_contestant::{Tally, Task, Workload, ready, wire};

/// An error of any kind.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

fn headers() -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in wire::HEADERS {
        headers.append(name, value)?;
    }
    Ok(headers)
}

/// Everything but requests, which want tasks.
async fn stream(task: &Task, client: &Client) -> Result<Tally, Failure> {
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
        Workload::Receive => {
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
        Workload::Request | Workload::Requests => Err("requests are made by tasks".into()),
    }
}

async fn subscribe(client: &Client) -> Result<Subscription, Failure> {
    Ok(client.subscribe(wire::SUBJECT).confirmed().await?)
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
