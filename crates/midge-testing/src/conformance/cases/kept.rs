//! What the next server gets of what waited for it, and what it never gets.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use midge::{Client, Event, Message, NotSent, RequestError};

use crate::NatsServer;
use crate::conformance::steps::{
    HOUR, connect, expect_numbers, fill, impatient, is_disconnected, poll_once, raw_subscriber,
    soon, wait_for,
};
use crate::conformance::{Adapter, Outcome};

/// The servers take 1 MiB and 64 KiB.
pub async fn a_server_with_a_lower_limit_gets_what_it_takes_and_closes_no_connection<A: Adapter>()
-> Outcome {
    const EACH: usize = 10;
    let mut large = NatsServer::start()?;
    let small = NatsServer::builder().config("max_payload: 65536").start()?;
    let mut raw = raw_subscriber(&small, "s")?;
    let client = connect::<A>(impatient(&large.url())).await?;
    let mut events = client.events();
    client.publish("s", "confirmed").await?;
    soon(client.flush()).await?;
    large.kill()?;
    wait_for(&mut events, is_disconnected).await;
    let mut too_large = Vec::new();
    for number in 0..EACH {
        client.publish("s", number.to_string()).await?;
        too_large.push(client.publish("s", [0; 100 * 1024]).await?);
    }

    client.set_servers(small.url())?;
    let connected = wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    let Event::Connected(connected) = connected else { return Err("it is that event".into()) };
    assert_eq!(connected.info.max_payload, 65536);
    let dropped = &connected.dropped;
    assert!(too_large.iter().all(|position| dropped.positions.contains(*position)));
    assert_eq!((dropped.messages, dropped.positions.len()), (EACH as u64, EACH as u64));
    soon(client.flush()).await?;
    expect_numbers(&mut raw, "s", EACH)?;

    let report = soon(client.close()).await;
    assert_eq!(report.fates.confirmed.messages, 1 + EACH as u64);
    assert_eq!(report.fates.dropped, connected.dropped);
    assert!(report.fates.unknown.is_empty() && report.fates.kept.is_empty());
    let statistics = client.statistics();
    assert_eq!((statistics.connects, statistics.dropped), (2, EACH as u64));
    Ok(())
}

/// How a request asks for its reply.
#[derive(Clone, Copy, Debug)]
enum Inbox {
    Shared,
    Own,
    Given,
}

type Asking = Pin<Box<dyn Future<Output = Result<Message, RequestError>> + Send>>;

/// A request that waits, its subject, and another one that was dropped.
struct Asked {
    subject: String,
    request: Asking,
    dropped: String,
}

async fn ask(client: &Client, inbox: Inbox, when: &str, timeout: Duration) -> Asked {
    let ask = |subject: &str| -> Asking {
        let request = client.request(subject.to_owned(), "").timeout(timeout);
        Box::pin(match inbox {
            Inbox::Shared => request.into_future(),
            Inbox::Own => request.own_inbox().into_future(),
            Inbox::Given => request.reply("given.reply").into_future(),
        })
    };
    let (subject, dropped) = (format!("ask.{when}.waits"), format!("ask.{when}.dropped"));
    let (mut request, mut other) = (ask(&subject), ask(&dropped));
    // Both are queued now.
    assert!(poll_once(&mut request).await.is_pending());
    assert!(poll_once(&mut other).await.is_pending());
    drop(other);
    Asked { subject, request, dropped }
}

/// Its log shows every message that a server gets.
async fn what_was_not_sent_stays_unsent<A: Adapter>(inbox: Inbox) -> Outcome {
    let mut server = NatsServer::builder().arg("-DV").start()?;
    let client = connect::<A>(impatient(&server.url()).ping_interval(HOUR)).await?;
    let mut events = client.events();
    // So that the shared inbox is there, and does not come with the first request.
    let nobody = soon(client.request("nobody", "")).await;
    assert_eq!(nobody, Err(RequestError::NoResponders));

    server.pause()?;
    fill(&client, "fill").await;
    let stuck = ask(&client, inbox, "stuck", HOUR).await;
    let late = ask(&client, inbox, "late", Duration::from_millis(10)).await;
    assert_eq!(soon(late.request).await, Err(RequestError::NotSent(NotSent::TimedOut)));
    server.kill()?;
    wait_for(&mut events, is_disconnected).await;
    assert_eq!(soon(stuck.request).await, Err(RequestError::NotSent(NotSent::Disconnected)));
    let alone = ask(&client, inbox, "alone", Duration::from_millis(10)).await;
    assert_eq!(soon(alone.request).await, Err(RequestError::NotSent(NotSent::TimedOut)));

    server.restart()?;
    client.publish("marker", "").await?;
    soon(client.flush()).await?;
    let log = server.log()?;
    assert!(log.contains("[PUB marker 0]"), "{log}");
    for subject in [
        [late.subject, late.dropped],
        [stuck.subject, stuck.dropped],
        [alone.subject, alone.dropped],
    ]
    .iter()
    .flatten()
    {
        assert!(!log.contains(&**subject), "{subject} reached the server");
    }
    Ok(())
}

pub async fn a_request_that_was_not_sent_reaches_no_server_that_comes_back<A: Adapter>() -> Outcome
{
    what_was_not_sent_stays_unsent::<A>(Inbox::Shared).await
}

pub async fn a_request_with_its_own_inbox_that_was_not_sent_reaches_no_server_that_comes_back<
    A: Adapter,
>() -> Outcome {
    what_was_not_sent_stays_unsent::<A>(Inbox::Own).await
}

pub async fn a_request_with_a_given_reply_that_was_not_sent_reaches_no_server_that_comes_back<
    A: Adapter,
>() -> Outcome {
    what_was_not_sent_stays_unsent::<A>(Inbox::Given).await
}
