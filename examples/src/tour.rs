//! The main calls, one after the other, against a running server.

use std::io::{Write, stdout};
use std::time::Duration;

use midge::{Client, HeaderMap, RequestError, Subscription};

use crate::Failure;

/// Walks through the calls, and says what it does.
///
/// # Errors
///
/// The first call that fails, or an answer that is not as expected.
pub async fn tour(client: &Client) -> Result<(), Failure> {
    let info = client.server_info().ok_or("a connected client knows its server")?;
    writeln!(stdout(), "connected to nats-server {}", info.version)?;

    publish_and_subscribe(client).await?;
    headers(client).await?;
    request_and_respond(client).await?;
    queue_group(client).await?;
    no_responders(client).await
}

/// The next message, or an error when the subscription has ended.
async fn next(subscription: &mut Subscription) -> Result<midge::Message, Failure> {
    Ok(subscription.next().await.ok_or("the subscription ended early")?)
}

async fn publish_and_subscribe(client: &Client) -> Result<(), Failure> {
    let mut greetings = client.subscribe("greet.*").await?;
    client.publish("greet.joe", "hello").await?;
    client.publish("greet.sue.twice", "not for a `*`, which is one token").await?;
    client.publish("greet.pam", "hi").await?;
    for _ in 0..2 {
        let message = next(&mut greetings).await?;
        let text = String::from_utf8_lossy(message.payload());
        writeln!(stdout(), "  wildcard       {} on greet.*: {text}", message.subject())?;
    }
    // Dropping a subscription unsubscribes; a drain waits until all that was sent is here.
    greetings.drain().await;
    Ok(())
}

async fn headers(client: &Client) -> Result<(), Failure> {
    let mut orders = client.subscribe("orders").await?;
    let mut headers = HeaderMap::new();
    headers.append("Trace-Id", "4711")?.append("Tag", "new")?.append("Tag", "paid")?;
    client.publish("orders", "one coffee").headers(&headers).await?;
    let order = next(&mut orders).await?;
    let received = order.headers().ok_or("the headers are missing")?;
    let tags: Vec<_> = received.get_all("Tag").map(String::from_utf8_lossy).collect();
    writeln!(stdout(), "  headers        Trace-Id {:?}, Tag {tags:?}", received.get("Trace-Id"))?;
    if tags != ["new", "paid"] {
        return Err("a header was lost".into());
    }
    Ok(())
}

async fn request_and_respond(client: &Client) -> Result<(), Failure> {
    let mut questions = client.subscribe("double").await?;
    let responder = client.clone();
    let service = tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let number: u64 = String::from_utf8_lossy(question.payload()).parse()?;
            responder.respond(&question, (number * 2).to_string()).await?;
        }
        Ok::<_, Failure>(())
    });
    let reply = client.request("double", "21").timeout(Duration::from_secs(2)).await?;
    writeln!(
        stdout(),
        "  request/reply  21 doubled is {}",
        String::from_utf8_lossy(reply.payload())
    )?;
    service.abort();
    if reply.payload() != b"42" { Err("a wrong reply".into()) } else { Ok(()) }
}

async fn queue_group(client: &Client) -> Result<(), Failure> {
    let mut first = client.queue_subscribe("jobs", "workers").await?;
    let mut second = client.queue_subscribe("jobs", "workers").await?;
    for job in 0..100 {
        client.publish("jobs", job.to_string()).await?;
    }
    // Behind the PONG, everything that the server had for us is here.
    client.flush().await?;
    let count = |worker: &mut Subscription| std::iter::from_fn(|| worker.try_next()).count();
    let (one, two) = (count(&mut first), count(&mut second));
    writeln!(stdout(), "  queue group    100 jobs, one worker did {one}, the other {two}")?;
    if one + two != 100 { Err("a job was lost or done twice".into()) } else { Ok(()) }
}

async fn no_responders(client: &Client) -> Result<(), Failure> {
    match client.request("nobody.home", "hello?").await {
        Err(RequestError::NoResponders) => {
            writeln!(
                stdout(),
                "  no responders  nobody.home answers at once that nobody is there"
            )?;
            Ok(())
        }
        other => Err(format!("expected no responders, got {other:?}").into()),
    }
}
