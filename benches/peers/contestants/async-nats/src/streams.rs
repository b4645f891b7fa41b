//! The workloads of JetStream, over a stream that the tool has made.

use std::collections::VecDeque;
use std::time::Instant;

use async_nats::Client;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::{Context, new};
use bytes::Bytes;
use futures_util::StreamExt;
use peers_contestant::{CONSUMER, STREAM, STREAM_SUBJECT, Tally, Task, Workload, ready};

use crate::Failure;

/// Publishes to the stream, or receives what it holds.
pub(crate) async fn stream(task: &Task, client: Client) -> Result<Tally, Failure> {
    let jetstream = new(client.clone());
    let payload = Bytes::from(task.payload());
    let mut tally = Tally::default();
    match task.workload {
        Workload::JsPublish => {
            ready()?;
            for _ in 0..task.count {
                let start = Instant::now();
                jetstream.publish(STREAM_SUBJECT, payload.clone()).await?.await?;
                tally.received += 1;
                tally.took(start.elapsed());
            }
        }
        Workload::JsWindow => {
            let context = windowed(&client, task.size);
            ready()?;
            publish(&context, task.count, task.size, &payload).await?;
            tally.received = task.count;
        }
        _ => {
            let stream = jetstream.get_stream(STREAM).await?;
            let acks = task.workload == Workload::JsConsume;
            let consumer = if acks {
                let config = pull::Config {
                    durable_name: Some(CONSUMER.into()),
                    max_ack_pending: -1,
                    ..pull::Config::default()
                };
                stream.create_consumer(config).await?
            } else {
                stream.get_consumer(CONSUMER).await?
            };
            ready()?;
            let mut messages = consumer.messages().await?;
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

/// One more than is used, so that it is the loop below which waits.
fn windowed(client: &Client, window: usize) -> Context {
    ContextBuilder::new().max_ack_inflight(window + 1).build(client.clone())
}

async fn publish(
    jetstream: &Context,
    count: u64,
    window: usize,
    payload: &Bytes,
) -> Result<(), Failure> {
    let mut acks = VecDeque::with_capacity(window);
    for _ in 0..count {
        if acks.len() == window
            && let Some(ack) = acks.pop_front()
        {
            IntoFuture::into_future(ack).await?;
        }
        acks.push_back(jetstream.publish(STREAM_SUBJECT, payload.clone()).await?);
    }
    for ack in acks {
        ack.await?;
    }
    Ok(())
}
