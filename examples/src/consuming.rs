//! Reading streams: a work queue, of which each job is done once, and a log of events, which is
//! read again from any place.

use std::io::{Write, stdout};

use midge::Client;
use midge::jetstream::{ConsumerConfig, JetStream, Retention, Storage, StreamConfig};

use crate::Failure;

/// Runs the two examples. The server needs JetStream.
///
/// # Errors
///
/// The first call that fails.
pub async fn consuming(client: &Client) -> Result<(), Failure> {
    let js = JetStream::new(client.clone());
    work_queue(&js).await?;
    event_log(&js).await
}

/// Jobs wait in a stream until a worker has done them. One that fails comes again.
///
/// # Errors
///
/// The first call that fails.
pub async fn work_queue(js: &JetStream) -> Result<(), Failure> {
    let config = StreamConfig {
        subjects: vec!["jobs.>".into()],
        retention: Retention::WorkQueue,
        storage: Storage::Memory,
        ..StreamConfig::new("JOBS")
    };
    let jobs = js.create_or_update_stream(config).await?;
    jobs.create_or_update_consumer(ConsumerConfig::durable("workers")).await?;
    for job in ["resize cat.jpg", "resize dog.jpg", "resize cow.jpg"] {
        // Ready when the stream has it.
        js.publish("jobs.resize", job).await?;
    }

    let workers = js.consumer("JOBS", "workers")?;
    let mut messages = workers.consume().stop_after(4).await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let job = String::from_utf8_lossy(message.payload());
        let attempt = message.delivery().map_or(0, |delivery| delivery.delivered);
        if job.contains("dog") && attempt == 1 {
            writeln!(stdout(), "a work queue       {job} fails")?;
            message.nak().await?;
        } else {
            writeln!(stdout(), "a work queue       {job}, attempt {attempt}")?;
            message.double_ack().await?;
        }
    }
    let left = jobs.info().await?.state.messages;
    writeln!(stdout(), "                   jobs left: {left}")?;
    jobs.delete().await?;
    Ok(())
}

/// What has happened to an account, from which its balance follows at any time.
///
/// # Errors
///
/// The first call that fails.
pub async fn event_log(js: &JetStream) -> Result<(), Failure> {
    let config = StreamConfig {
        subjects: vec!["account.>".into()],
        storage: Storage::Memory,
        ..StreamConfig::new("EVENTS")
    };
    let events = js.create_or_update_stream(config).await?;
    for amount in ["100", "-30", "250", "-20"] {
        js.publish("account.7", amount).await?;
    }
    // An ordered consumer gives each message once, whatever happens to servers and connections.
    let mut replay = js.ordered("EVENTS").filter("account.7").await?;
    let mut balance = 0;
    while let Some(event) = replay.next().await {
        let event = event?;
        balance += str::from_utf8(event.payload())?.parse::<i64>()?;
        let Some(delivery) = event.delivery() else { break };
        writeln!(stdout(), "an event log       {}: {balance}", delivery.stream_sequence)?;
        if delivery.pending == 0 {
            break;
        }
    }
    let mut later = js.ordered("EVENTS").from_sequence(3).await?;
    if let Some(event) = later.next().await {
        let text = String::from_utf8_lossy(event?.payload()).into_owned();
        writeln!(stdout(), "                   from the third on: {text}, ...")?;
    }
    events.delete().await?;
    Ok(())
}
