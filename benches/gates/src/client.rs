//! A whole client on a runtime of one thread, and a peer that is another process.

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use midge::jetstream::JetStream;
use midge::{Client, HeaderMap, Message, RequestError};
use midge_benches::SUBJECT;
use tokio::task::JoinSet;

use crate::{Failure, PAYLOAD, peer};

/// As long as [`SUBJECT`].
const OTHER_SUBJECT: &str = "events.orders.new";

/// Publishes as fast as there is room, and flushes once.
pub(crate) fn publish(messages: usize, headers: Option<&HeaderMap>) -> Result<(), Failure> {
    with_client(async |client| {
        let payload = [b'x'; PAYLOAD];
        for _ in 0..messages {
            let publish = client.publish(SUBJECT, &payload);
            match headers {
                Some(headers) => publish.headers(headers).await?,
                None => publish.await?,
            };
        }
        client.flush().await?;
        Ok(())
    })
}

/// The same to two subjects that take turns.
pub(crate) fn publish_by_turns(messages: usize) -> Result<(), Failure> {
    with_client(async |client| {
        let payload = [b'x'; PAYLOAD];
        for number in 0..messages {
            let subject = if number % 2 == 0 { SUBJECT } else { OTHER_SUBJECT };
            client.publish(subject, &payload).await?;
        }
        client.flush().await?;
        Ok(())
    })
}

/// Receives what the peer sends at once, one by one, and looks at each payload.
pub(crate) fn deliver(
    messages: usize,
    blast: &str,
    read: impl Fn(&Message) -> usize,
) -> Result<(), Failure> {
    with_client(async |client| {
        let mut subscription = client.subscribe(SUBJECT).await?;
        client.publish(blast, messages.to_string()).await?;
        for _ in 0..messages {
            let message = subscription.next().await.ok_or("the subscription ended")?;
            black_box(message.payload().len() + read(&message));
        }
        Ok(())
    })
}

/// Receives by so many subscriptions in turn, one message each.
pub(crate) fn fan_out(messages: usize, subscriptions: usize) -> Result<(), Failure> {
    with_client(async |client| {
        let mut readers = Vec::new();
        for _ in 0..subscriptions {
            readers.push(client.subscribe(SUBJECT).await?);
        }
        client.publish(peer::BLAST, messages.to_string()).await?;
        for number in 0..messages {
            let reader = &mut readers[number % subscriptions];
            let message = reader.next().await.ok_or("the subscription ended")?;
            black_box(message.payload().len());
        }
        Ok(())
    })
}

/// Reads the name and value of each header.
pub(crate) fn read_headers(message: &Message) -> usize {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    headers.map(|(name, value)| name.len() + value.len()).sum()
}

/// Requests, one at a time, by the future that the runtime blocks on.
pub(crate) fn request(requests: usize) -> Result<(), Failure> {
    with_client(async |client| Ok(ask(client, requests).await?))
}

/// The same by a task, which the runtime polls without asking its sockets first.
pub(crate) fn request_in_task(requests: usize) -> Result<(), Failure> {
    with_client(async |client| {
        let client = client.clone();
        Ok(tokio::spawn(async move { ask(&client, requests).await }).await??)
    })
}

/// Requests by so many tasks at once, each of which makes one at a time.
pub(crate) fn requests(requests: usize, tasks: usize) -> Result<(), Failure> {
    with_client(async |client| {
        let mut asking = JoinSet::new();
        for _ in 0..tasks {
            let client = client.clone();
            asking.spawn(async move { ask(&client, requests / tasks).await });
        }
        while let Some(asked) = asking.join_next().await {
            asked??;
        }
        Ok(())
    })
}

async fn ask(client: &Client, requests: usize) -> Result<(), RequestError> {
    let payload = [b'x'; PAYLOAD];
    for _ in 0..requests {
        let reply = client.request(SUBJECT, &payload).await?;
        black_box(reply.payload().len());
    }
    Ok(())
}

/// Publishes to a stream, with so many acks outstanding.
pub(crate) fn window(messages: usize, window: usize) -> Result<(), Failure> {
    with_client(async |client| {
        let payload = [b'x'; PAYLOAD];
        let jetstream = JetStream::new(client.clone());
        let mut publisher = jetstream.publisher().window(window, 64 << 20).await?;
        for _ in 0..messages {
            publisher.publish(peer::STREAM_SUBJECT, &payload).await?;
        }
        Ok(publisher.flush().await?)
    })
}

/// Receives from a stream and acks each message; so many come at a time.
pub(crate) fn consume(messages: usize, run: usize) -> Result<(), Failure> {
    with_client(async |client| {
        let jetstream = JetStream::new(client.clone());
        let consumer = jetstream.consumer(peer::STREAM, &format!("{run}-{messages}"))?;
        let mut stream = consumer.consume().await?;
        for _ in 0..messages {
            let message = stream.next().await.ok_or("the consumer ended")??;
            black_box(message.payload().len());
            message.ack().await?;
        }
        client.flush().await?;
        Ok(())
    })
}

/// Runs `work` with a client that is connected to a peer of its own.
fn with_client(work: impl AsyncFnOnce(&Client) -> Result<(), Failure>) -> Result<(), Failure> {
    let (mut peer, url) = start_peer()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = midge_tokio::connect(url.as_str()).await?;
        let outcome = work(&client).await;
        client.close().await;
        outcome
    })?;
    let status = peer.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the peer ended with {status}").into()) }
}

/// This program again, as the server; what counts instructions does not follow it.
fn start_peer() -> Result<(Child, String), Failure> {
    let mut peer =
        Command::new(std::env::current_exe()?).arg("peer").stdout(Stdio::piped()).spawn()?;
    let mut url = String::new();
    let said = peer.stdout.take().ok_or("a piped output is there")?;
    BufReader::new(said).read_line(&mut url)?;
    Ok((peer, url.trim().to_owned()))
}
