//! watermelon with its defaults. It asks the server to confirm each operation, so that its runs
//! also read so many `+OK`.

use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use peers_contestant::{IN_FLIGHT, Tally, Task, Workload, done, ready, wire};
use tokio::runtime::Runtime;
use watermelon::core::Client;
use watermelon::core::publish::Publish;
use watermelon::core::request::Request;
use watermelon::proto::Subject;
use watermelon::proto::headers::{HeaderMap, HeaderName, HeaderValue};

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
    let client = Client::builder().connect(task.url().parse()?).await?;
    let subject = Subject::from_static(wire::SUBJECT);
    let payload = Bytes::from(task.payload());
    let mut tally = Tally::default();
    match task.workload {
        Workload::Publish | Workload::PublishHeaders => {
            let mut headers = HeaderMap::new();
            if task.workload == Workload::PublishHeaders {
                for (name, value) in wire::HEADERS {
                    headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
                }
            }
            ready()?;
            for _ in 0..task.count {
                let publish = Publish::builder(subject.clone()).headers(headers.clone());
                publish.payload(payload.clone()).client(&client).await?;
            }
            // It has no flush.
            client.close().await;
        }
        Workload::FanOut => {
            let mut each = Vec::new();
            for number in 0..task.size as u64 {
                let subject = wire::numbered(number).try_into()?;
                each.push(client.subscribe(subject, None).await?);
            }
            ready()?;
            let share = task.count / task.size as u64;
            let each = each.into_iter().map(|mut subscription| {
                tokio::spawn(async move {
                    let mut tally = Tally::default();
                    while let Some(Ok(message)) = subscription.next().await {
                        if tally.message(&message.base.payload, share) {
                            break;
                        }
                    }
                    tally
                })
            });
            for one in try_join_all(each).await? {
                tally.add(&one);
            }
        }
        Workload::Subscriptions => {
            let mut kept = Vec::with_capacity(usize::try_from(task.count)?);
            ready()?;
            for number in 0..task.count {
                let subject = wire::numbered(number).try_into()?;
                kept.push(client.subscribe(subject, None).await?);
            }
            done(&Tally::of(kept.len() as u64))?;
            std::process::exit(0);
        }
        Workload::Idle => {
            let mut kept = Vec::with_capacity(usize::try_from(task.count)?);
            ready()?;
            for _ in 0..task.count {
                kept.push(Client::builder().connect(task.url().parse()?).await?);
            }
            done(&Tally::of(kept.len() as u64))?;
            std::process::exit(0);
        }
        Workload::Connect => {
            ready()?;
            for _ in 0..task.count {
                let client = Client::builder().connect(task.url().parse()?).await?;
                let publish = Publish::builder(subject.clone()).payload(payload.clone());
                publish.client(&client).await?;
                client.close().await;
            }
            tally = Tally::of(task.count);
        }
        Workload::Receive | Workload::ReadHeaders | Workload::Burst => {
            let names = wire::HEADERS.map(|(name, _)| HeaderName::from_static(name));
            let mut subscription = client.subscribe(subject, None).await?;
            ready()?;
            while let Some(message) = subscription.next().await {
                let message = message?.base;
                if task.workload == Workload::ReadHeaders {
                    let values = names.iter().filter_map(|name| message.headers.get(name));
                    tally.headers += values.map(|value| value.as_bytes().len() as u64).sum::<u64>();
                }
                if tally.message(&message.payload, task.count) {
                    break;
                }
            }
        }
        Workload::Request => {
            ready()?;
            tally = requests(client, task.count, payload).await?;
        }
        Workload::Requests => {
            ready()?;
            let share = task.count / IN_FLIGHT;
            let each = (0..IN_FLIGHT)
                .map(|_| tokio::spawn(requests(client.clone(), share, payload.clone())));
            for one in try_join_all(each).await? {
                tally.add(&one?);
            }
        }
        _ => return Err("not written".into()),
    }
    Ok(tally)
}

/// One request after the other.
async fn requests(client: Client, count: u64, payload: Bytes) -> Result<Tally, Failure> {
    let subject = Subject::from_static(wire::SUBJECT);
    let mut tally = Tally::default();
    for _ in 0..count {
        let start = Instant::now();
        let request = Request::builder(subject.clone()).payload(payload.clone());
        let reply = request.client(&client).await?.await?;
        tally.reply(&reply.base.payload, payload.len(), start);
    }
    Ok(tally)
}
