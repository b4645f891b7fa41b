//! The workloads of JetStream, over a stream that the tool has made.

use std::time::Instant;

use bytes::Bytes;
use midge_tokio::midge::Client;
use midge_tokio::midge::jetstream::{ConsumerConfig, JetStream};
use peers_contestant::{CONSUMER, STREAM, STREAM_SUBJECT, Tally, Task, Workload, ready};

use crate::Failure;

/// Publishes to the stream, or receives what it holds.
pub(crate) async fn stream(task: &Task, client: &Client) -> Result<Tally, Failure> {
    let jetstream = JetStream::new(client.clone());
    let payload = Bytes::from(task.payload());
    let mut tally = Tally::default();
    match task.workload {
        Workload::JsPublish => {
            ready()?;
            for _ in 0..task.count {
                let start = Instant::now();
                jetstream.publish(STREAM_SUBJECT, &payload).await?;
                tally.received += 1;
                tally.took(start.elapsed());
            }
        }
        Workload::JsWindow => {
            ready()?;
            let mut publisher = jetstream.publisher().window(task.size, 64 << 20).await?;
            for _ in 0..task.count {
                publisher.publish(STREAM_SUBJECT, &payload).await?;
            }
            publisher.flush().await?;
            tally.received = task.count;
        }
        _ => {
            let acks = task.workload == Workload::JsConsume;
            if acks {
                let durable = ConsumerConfig::durable(CONSUMER);
                let config = ConsumerConfig { max_ack_pending: Some(-1), ..durable };
                jetstream.stream(STREAM)?.create_consumer(config).await?;
            }
            let consumer = jetstream.consumer(STREAM, CONSUMER)?;
            ready()?;
            let mut messages = consumer.consume().await?;
            while tally.received < task.count
                && let Some(message) = messages.next().await
            {
                let message = message?;
                if acks {
                    message.ack().await?;
                }
                tally.received += 1;
            }
            client.flush().await?;
        }
    }
    Ok(tally)
}
