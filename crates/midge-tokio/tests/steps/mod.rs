//! Steps that tests against real servers share.

#![allow(dead_code, unused_imports, reason = "no test takes all of them")]

use std::error::Error;
use std::future::IntoFuture;
use std::time::Duration;

use midge::{Client, CloseReason, ConnectError, ConnectOptions, DisconnectCause, Event, Events};
pub(crate) use midge_testing::conformance::clusters::{CLUSTER_PATIENCE, granted, position, whole};
use midge_testing::{NatsServer, Peer};
use tokio::time::Instant;

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// What takes longer than this hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn soon<F: IntoFuture>(future: F) -> F::Output {
    let future = future.into_future();
    tokio::time::timeout(PATIENCE, future).await.expect("it happens within a minute")
}

/// Lets others run until `condition` holds.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    soon(wait).await;
}

pub(crate) async fn wait_for(events: &mut Events, mut wanted: impl FnMut(&Event) -> bool) -> Event {
    loop {
        let event = soon(events.next()).await.expect("the wanted event comes before the end");
        if wanted(&event) {
            return event;
        }
    }
}

pub(crate) async fn connect(options: impl Into<ConnectOptions>) -> Result<Client, ConnectError> {
    soon(midge_tokio::connect(options)).await
}

/// Options that find a server again soon after it is back.
pub(crate) fn impatient(url: &str) -> ConnectOptions {
    ConnectOptions::new(url)
        .reconnect_wait(Duration::from_millis(5), Duration::from_millis(50))
        .reconnect_jitter(Duration::ZERO, Duration::ZERO)
}

/// Why a connection was not made.
pub(crate) fn refusal(result: Result<Client, ConnectError>) -> DisconnectCause {
    match result.map(|_| ()) {
        Err(ConnectError::Closed(
            CloseReason::NoServers { cause, .. } | CloseReason::Fatal(cause),
        )) => cause,
        other => panic!("{other:?}"),
    }
}

/// Messages come back whole and in order.
pub(crate) async fn echo(client: &Client) -> Outcome {
    echo_of(client, (0..2000).map(|number| number * 37 % 3000).chain([700_000, 0])).await
}

pub(crate) async fn echo_of(client: &Client, sizes: impl Iterator<Item = usize>) -> Outcome {
    let sizes: Vec<usize> = sizes.collect();
    let mut subscription = client.subscribe("echo").await?;
    for &size in &sizes {
        client.publish("echo", vec![size as u8; size]).await?;
    }
    for &size in &sizes {
        let message = soon(subscription.next()).await.ok_or("the subscription goes on")?;
        assert!(message.payload() == vec![size as u8; size], "{size}");
    }
    soon(client.flush()).await?;
    Ok(())
}

/// Why the connection is lost next.
pub(crate) async fn lost(events: &mut Events) -> DisconnectCause {
    match wait_for(events, |event| matches!(event, Event::Disconnected(_))).await {
        Event::Disconnected(disconnected) => disconnected.cause.clone(),
        other => panic!("it was waited for another event: {other:?}"),
    }
}

/// A client of plain text that is subscribed to `subject`.
pub(crate) fn raw_subscriber(
    server: &NatsServer,
    subject: &str,
) -> Result<Peer, Box<dyn Error + Send + Sync>> {
    let mut raw = Peer::connect(&server.url())?;
    raw.expect("INFO ")?;
    raw.send(format!("CONNECT {{\"verbose\":false}}\r\nSUB {subject} 1\r\nPING\r\n"))?;
    raw.expect("PONG")?;
    Ok(raw)
}

/// Reads the messages `0` to `count - 1`, in this order and each once.
pub(crate) fn expect_numbers(raw: &mut Peer, subject: &str, count: usize) -> Outcome {
    for number in 0..count {
        let payload = number.to_string();
        raw.expect_exact(format!("MSG {subject} 1 {}\r\n{payload}\r\n", payload.len()))?;
    }
    Ok(())
}

/// By the paused clock, whose timers fire at whole milliseconds.
pub(crate) fn assert_took(began: Instant, wanted: Duration) {
    let took = began.elapsed();
    let most = if wanted.is_zero() { wanted } else { wanted + Duration::from_millis(2) };
    assert!(wanted <= took && took <= most, "it took {took:?}, not {wanted:?}");
}
