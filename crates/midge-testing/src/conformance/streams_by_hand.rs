//! Streams for tests that are about something else: made and looked at by raw requests.

use std::ops::Range;
use std::time::Duration;

use midge::Client;
use midge::jetstream::JetStream;
use serde_json::{Value, json};

use super::steps::{connect, impatient, soon};
use super::timer::sleep;
use super::{Adapter, Outcome};
use crate::NatsServer;

/// A server with the stream `S` on `s.>`, in a file, and a client of it.
pub(crate) struct Bench {
    pub(crate) server: NatsServer,
    pub(crate) client: Client,
    pub(crate) js: JetStream,
}

impl Bench {
    pub(crate) async fn new<A: Adapter>() -> Outcome<Self> {
        Self::with::<A>("").await
    }

    pub(crate) async fn with<A: Adapter>(config: &str) -> Outcome<Self> {
        let server = NatsServer::builder().jetstream(true).config(config).start()?;
        let client = connect::<A>(impatient(&server.url())).await?;
        let js = JetStream::new(client.clone());
        let bench = Self { server, client, js };
        bench.make_stream().await?;
        Ok(bench)
    }

    /// Publishes each number to its subject, and returns when the stream has them all.
    pub(crate) async fn store_numbers(
        &self,
        numbers: Range<u64>,
        subject: impl Fn(u64) -> String,
    ) -> Outcome {
        let Some(last) = numbers.clone().last() else { return Ok(()) };
        for number in numbers.start..last {
            self.client.publish(subject(number), number.to_string()).await?;
        }
        // A flush says that the server has read them. That the last one is stored, its ack says of all.
        let ack = soon(self.client.request(subject(last), last.to_string())).await?;
        match ack.payload().starts_with(b"{\"stream\":") {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(ack.payload()).into_owned().into()),
        }
    }

    /// Waits until all has come that a consumer counts as delivered: it is counted before it is sent, and
    /// an answer of the stream leaves behind it.
    pub(crate) async fn until_delivered_has_come(&self) -> Outcome {
        let refused = self.client.request("s.n", "").header("Nats-Expected-Stream", "another");
        let refused = soon(refused).await?;
        assert!(String::from_utf8_lossy(refused.payload()).contains("\"error\""), "{refused:?}");
        Ok(())
    }

    /// Makes the stream, which may have been deleted.
    pub(crate) async fn make_stream(&self) -> Outcome {
        let stream = json!({"name": "S", "subjects": ["s.>"], "storage": "file"});
        api(&self.client, "STREAM.CREATE.S", stream).await?;
        Ok(())
    }
}

/// Asks JetStream's API. Its refusal fails the test.
pub(crate) async fn api(client: &Client, call: &str, request: Value) -> Outcome<Value> {
    let payload = if request.is_null() { String::new() } else { request.to_string() };
    let reply = soon(client.request(format!("$JS.API.{call}"), payload)).await?;
    let reply: Value = serde_json::from_slice(reply.payload())?;
    match reply.get("error") {
        Some(error) => Err(format!("{call}: {error}").into()),
        None => Ok(reply),
    }
}

/// Makes a stream: `more` is put over a memory stream that allows direct gets.
pub(crate) async fn create(client: &Client, name: &str, subject: &str, more: Value) -> Outcome {
    write(client, "CREATE", name, subject, more).await
}

pub(crate) async fn update(client: &Client, name: &str, subject: &str, more: Value) -> Outcome {
    write(client, "UPDATE", name, subject, more).await
}

async fn write(client: &Client, call: &str, name: &str, subject: &str, more: Value) -> Outcome {
    let mut config = json!({
        "name": name, "subjects": [subject], "storage": "memory", "allow_direct": true,
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        config[field] = value.clone();
    }
    api(client, &format!("STREAM.{call}.{name}"), config).await?;
    Ok(())
}

/// How many messages a stream has.
pub(crate) async fn count(client: &Client, name: &str) -> Outcome<u64> {
    let info = api(client, &format!("STREAM.INFO.{name}"), Value::Null).await?;
    info["state"]["messages"].as_u64().ok_or_else(|| "a stream has a state".into())
}

/// Waits until a stream has `wanted` messages; more fail. An ack says when one is stored; nothing says it of
/// what was sent without.
pub(crate) async fn until_count(client: &Client, name: &str, wanted: u64) -> Outcome {
    soon(async {
        loop {
            let stored = count(client, name).await?;
            if stored >= wanted {
                assert_eq!(stored, wanted, "messages of {name}");
                return Ok(());
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

/// The payloads of a stream from its first message on, in order.
pub(crate) async fn payloads(client: &Client, name: &str) -> Outcome<Vec<String>> {
    let info = api(client, &format!("STREAM.INFO.{name}"), Value::Null).await?;
    let last = info["state"]["last_seq"].as_u64().unwrap_or_default();
    let mut payloads = Vec::new();
    for seq in 1..=last {
        let subject = format!("$JS.API.DIRECT.GET.{name}");
        let message = soon(client.request(subject, json!({ "seq": seq }).to_string())).await?;
        if message.status().is_none() {
            payloads.push(String::from_utf8_lossy(message.payload()).into_owned());
        }
    }
    Ok(payloads)
}
