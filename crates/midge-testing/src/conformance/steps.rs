//! Steps that the cases share.

use std::future::{Future, IntoFuture, poll_fn};
use std::task::Poll;
use std::time::{Duration, Instant};

use midge::{Client, ConnectError, ConnectOptions, Event, Events, Message, Subscription};

use super::tasks::blocking;
use super::timer::{sleep, within};
use super::{Adapter, Outcome, Serving};
use crate::{NatsServer, Peer, ScriptedServer};

/// What takes longer than this hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(40);
/// Later than any test waits.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) async fn soon<F: IntoFuture>(future: F) -> F::Output {
    within(PATIENCE, future).await.expect("it happens within 40 seconds")
}

/// Waits until `condition` holds, of which nobody tells.
pub(crate) async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Lets others run.
pub(crate) async fn give_way() {
    let mut gave = false;
    poll_fn(|context| {
        if gave {
            return Poll::Ready(());
        }
        gave = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls once.
pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut *future).poll(context))).await
}

pub(crate) async fn wait_for(events: &mut Events, mut wanted: impl FnMut(&Event) -> bool) -> Event {
    loop {
        let event = soon(events.next()).await.expect("the wanted event comes before the end");
        if wanted(&event) {
            return event;
        }
    }
}

pub(crate) fn is_connected(event: &Event) -> bool {
    matches!(event, Event::Connected(_))
}

pub(crate) fn is_disconnected(event: &Event) -> bool {
    matches!(event, Event::Disconnected(_))
}

pub(crate) fn is_failed_attempt(event: &Event) -> bool {
    matches!(event, Event::AttemptFailed { .. })
}

pub(crate) async fn connect<A: Adapter>(
    options: impl Into<ConnectOptions>,
) -> Result<Client, ConnectError> {
    served::<A>(options).await.map(|(client, _)| client)
}

pub(crate) async fn served<A: Adapter>(
    options: impl Into<ConnectOptions>,
) -> Result<(Client, Serving), ConnectError> {
    let (connecting, serving) = A::serve(options.into())?;
    Ok((soon(connecting).await?, serving))
}

/// Options that find a server again soon after it is back.
pub(crate) fn impatient(url: &str) -> ConnectOptions {
    ConnectOptions::new(url)
        .reconnect_wait(Duration::from_millis(5), Duration::from_millis(50))
        .reconnect_jitter(Duration::ZERO, Duration::ZERO)
}

pub(crate) async fn next(subscription: &mut Subscription) -> Message {
    soon(subscription.next()).await.expect("the subscription goes on")
}

/// A client of plain text that is subscribed to `subject`.
pub(crate) fn raw_subscriber(server: &NatsServer, subject: &str) -> Outcome<Peer> {
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

/// Waits for the end of a script, which must not have failed.
pub(crate) async fn finish(server: ScriptedServer) -> Outcome {
    Ok(soon(blocking(move || server.finish())).await?)
}

/// Messages of many sizes come back whole and in order.
pub(crate) async fn echo(client: &Client, count: usize) -> Outcome {
    let mut subscription = client.subscribe("echo").await?;
    let sizes: Vec<usize> =
        (0..count).map(|number| number * 37 % 3000).chain([700_000, 0]).collect();
    for &size in &sizes {
        soon(client.publish("echo", vec![size as u8; size])).await?;
    }
    for &size in &sizes {
        let message = next(&mut subscription).await;
        assert!(message.payload() == vec![size as u8; size], "{size}");
    }
    soon(client.flush()).await?;
    Ok(())
}

/// Publishes until nothing more is taken: the server does not read, and the socket is full. There
/// is room for small messages still. Returns how many were taken.
///
/// One refusal shows nothing: a machine that stands still for a moment keeps the driver from writing
/// as long as the publisher waits. Behind each the driver has its turn.
pub(crate) async fn fill(client: &Client, subject: &str) -> u64 {
    let (mut taken, mut refused) = (0, 0);
    let block = vec![b'x'; 64 * 1024];
    let publish = || client.publish(subject, &block);
    let patience = Duration::from_millis(75);
    while refused < 4 {
        if publish().try_send().is_ok() || soon(publish().timeout(patience)).await.is_ok() {
            (taken, refused) = (taken + 1, 0);
        } else {
            refused += 1;
        }
    }
    taken
}

/// It took `wanted`, or not much more on a machine that is busy.
pub(crate) fn assert_took(began: Instant, wanted: Duration) {
    let took = began.elapsed();
    assert!(wanted <= took && took < wanted + PATIENCE / 8, "it took {took:?}, not {wanted:?}");
}
