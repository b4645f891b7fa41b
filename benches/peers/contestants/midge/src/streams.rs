//! The workloads of JetStream.

use std::time::Instant;

use bytes::Bytes;
use midge_tokio::midge::Client;
use midge_tokio::midge::jetstream::{
    ConsumerConfig, ErrorCode, JetStream, Storage, Stream, StreamConfig,
};
use peers_contestant::{STREAM, STREAM_SUBJECT, Tally, Task, Workload, ready};

use crate::Failure;

const CONSUMER: &str = "worker";

/// Publishes to a stream, or receives what one holds.
pub(crate) async fn stream(task: &Task, client: &Client) -> Result<Tally, Failure> {
    let jetstream = JetStream::new(client.clone());
    let stream = make(&jetstream).await?;
    let payload = Bytes::from(task.payload());
    match task.workload {
        Workload::JsPublish => {
            let mut tally = Tally::default();
            ready()?;
            for _ in 0..task.count {
                let start = Instant::now();
                jetstream.publish(STREAM_SUBJECT, &payload).await?;
                tally.received += 1;
                tally.took(start.elapsed());
            }
            Ok(tally)
        }
        Workload::JsWindow => {
            ready()?;
            publish(&jetstream, task.count, task.size, &payload).await?;
            Ok(Tally::of(stream.info().await?.state.messages))
        }
        _ => {
            publish(&jetstream, task.count, 256, &payload).await?;
            let config =
                ConsumerConfig { max_ack_pending: Some(-1), ..ConsumerConfig::durable(CONSUMER) };
            stream.create_consumer(config).await?;
            let consumer = jetstream.consumer(STREAM, CONSUMER)?;
            let mut tally = Tally::default();
            ready()?;
            let mut messages = consumer.consume().await?;
            while tally.received < task.count
                && let Some(message) = messages.next().await
            {
                message?.ack().await?;
                tally.received += 1;
            }
            client.flush().await?;
            Ok(tally)
        }
    }
}

async fn make(jetstream: &JetStream) -> Result<Stream, Failure> {
    match jetstream.delete_stream(STREAM).await {
        Err(error) if error.code() != Some(ErrorCode::STREAM_NOT_FOUND) => return Err(error.into()),
        _ => {}
    }
    let config = StreamConfig {
        subjects: vec![STREAM_SUBJECT.into()],
        storage: Storage::Memory,
        ..StreamConfig::new(STREAM)
    };
    Ok(jetstream.create_stream(config).await?)
}

async fn publish(
    jetstream: &JetStream,
    count: u64,
    window: usize,
    payload: &Bytes,
) -> Result<(), Failure> {
    let mut publisher = jetstream.publisher().window(window, 64 << 20).await?;
    for _ in 0..count {
        publisher.publish(STREAM_SUBJECT, payload).await?;
    }
    publisher.flush().await?;
    Ok(())
}
