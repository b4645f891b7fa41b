//! Publishing to streams: a job that the server runs later, a counter, and messages that are stored
//! together or not at all.

use std::io::{Write, stdout};
use std::time::{Duration, SystemTime};

use midge::Client;
use midge::jetstream::{Integer, JetStream, Schedule, Storage, StreamConfig};

use crate::Failure;

/// Runs the three examples. The server needs JetStream, and the schedule nats-server 2.12.
///
/// # Errors
///
/// The first call that fails, or an answer that is not as expected.
pub async fn publishing(client: &Client) -> Result<(), Failure> {
    let js = JetStream::new(client.clone());
    scheduled_job(&js).await?;
    counter(&js).await?;
    batch(&js).await
}

/// A reminder that is published when it is due, by the stream that holds it.
///
/// # Errors
///
/// The first call that fails.
pub async fn scheduled_job(js: &JetStream) -> Result<(), Failure> {
    let config = StreamConfig {
        subjects: vec!["reminders.>".into()],
        storage: Storage::Memory,
        allow_msg_schedules: true,
        allow_msg_ttl: true,
        allow_direct: true,
        ..StreamConfig::new("REMINDERS")
    };
    let reminders = js.create_or_update_stream(config).await?;
    let soon = SystemTime::now() + Duration::from_secs(1);
    let schedule = Schedule::at(soon, "reminders.due").ttl(Duration::from_secs(3600));
    js.publish("reminders.at.4711", "water the plants").schedule(&schedule).await?;
    let due = loop {
        match reminders.direct_last("reminders.due").await {
            Ok(message) => break message,
            // It is not due yet. A consumer would wait for it without asking.
            Err(_) if SystemTime::now() < soon + Duration::from_secs(10) => {
                js.client().flush().await?;
            }
            Err(error) => return Err(error.into()),
        }
    };
    let text = String::from_utf8_lossy(&due.payload);
    writeln!(stdout(), "a scheduled job    {text}")?;
    reminders.delete().await?;
    Ok(())
}

/// Counters of any size, one for each subject.
///
/// # Errors
///
/// The first call that fails.
pub async fn counter(js: &JetStream) -> Result<(), Failure> {
    let config = StreamConfig {
        subjects: vec!["hits.>".into()],
        storage: Storage::Memory,
        allow_msg_counter: true,
        allow_direct: true,
        ..StreamConfig::new("HITS")
    };
    let stream = js.create_or_update_stream(config).await?;
    let hits = js.counters("HITS")?;
    hits.add("hits.home", 2).await?;
    hits.add("hits.home", -1).await?;
    hits.add("hits.about", u64::MAX).await?;
    hits.add("hits.about", 1).await?;
    let counts = hits.get_many(["hits.*"]).await?;
    for count in &counts {
        writeln!(stdout(), "a counter          {}: {}", count.subject, count.value)?;
    }
    let sum: Integer = counts.into_iter().map(|count| count.value).sum();
    writeln!(stdout(), "                   all: {sum}")?;
    stream.delete().await?;
    Ok(())
}

/// An address that is stored whole, or not at all.
///
/// # Errors
///
/// The first call that fails.
pub async fn batch(js: &JetStream) -> Result<(), Failure> {
    let config = StreamConfig {
        subjects: vec!["users.>".into()],
        storage: Storage::Memory,
        allow_atomic: true,
        ..StreamConfig::new("USERS")
    };
    let stream = js.create_or_update_stream(config).await?;
    let mut address = js.batch().await?;
    address.add("users.7.street", "Elm Street 1").await?;
    address.add("users.7.city", "Springwood").await?;
    let ack = address.commit("users.7.zip", "45501").await?;
    writeln!(stdout(), "a batch            {} messages", ack.count.unwrap_or_default())?;

    let mut late = js.batch().await?;
    late.add("users.7.street", "Oak Lane 2").expect_last_subject_sequence(0).await?;
    let refused = late.commit("users.7.city", "Shelbyville").await;
    let stored = stream.info().await?.state.messages;
    writeln!(stdout(), "                   refused: {}, messages: {stored}", refused.is_err())?;
    stream.delete().await?;
    Ok(())
}
