//! The end of a connection that nobody drains: by `close`, by the last handle, with the runtime,
//! and with the process.

mod steps;

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use midge::{
    Client, CloseReason, ConnectOptions, EndReason, Event, FlushError, PublishError, RequestError,
    State,
};
use midge_testing::NatsServer;
use tokio::runtime::{Builder, Runtime};

use steps::{
    Outcome, PATIENCE, connect, expect_numbers, impatient, raw_subscriber, soon, wait_for,
};

const MESSAGES: usize = 1000;

fn one_thread() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

fn two_threads() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// Options of a client whose end waits for the server as long as that takes, on a slow machine too.
fn patient(url: &str) -> ConnectOptions {
    ConnectOptions::new(url).linger(PATIENCE)
}

/// Publishes the numbers below a thousand, without waiting for anything.
fn publish_numbers(client: &Client, subject: &str) -> Result<(), PublishError> {
    (0..MESSAGES).try_for_each(|number| client.try_publish(subject, number.to_string()).map(|_| ()))
}

/// Polls a future once, as no runtime is there to do it.
fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn ready<F: Future>(future: Pin<&mut F>) -> F::Output {
    match poll_once(future) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future has not ended"),
    }
}

// ---- close -----------------------------------------------------------------------------------

/// The server that a child process of this test is to publish to.
const URL: &str = "MIDGE_SHUTDOWN_URL";

/// What a program does that ends with `close().await`: nothing runs behind that.
fn publish_close_and_exit(runtime: &Runtime, url: &str) -> ! {
    let status = runtime.block_on(async {
        let client = midge_tokio::connect(patient(url)).await.expect("the server is there");
        publish_numbers(&client, "s").expect("there is room");
        let report = client.close().await;
        i32::from(report.fates.confirmed.messages != MESSAGES as u64)
    });
    std::process::exit(status)
}

/// Runs the test `name` of this file as a process, several times, with a server that it is to
/// publish to.
fn processes_deliver_everything(name: &str) -> Outcome {
    for _ in 0..10 {
        let server = NatsServer::start()?;
        let mut raw = raw_subscriber(&server, "s")?;
        let mut child = Command::new(std::env::current_exe()?);
        child.args(["--exact", name]).env(URL, server.url()).stdout(Stdio::null());
        let status = child.status()?;
        assert!(status.success(), "{status}");
        expect_numbers(&mut raw, "s", MESSAGES)?;
    }
    Ok(())
}

/// D2.
#[test]
fn a_close_as_the_last_line_of_main_delivers_everything_on_one_thread() -> Outcome {
    if let Ok(url) = std::env::var(URL) {
        publish_close_and_exit(&one_thread()?, &url);
    }
    let name = "a_close_as_the_last_line_of_main_delivers_everything_on_one_thread";
    processes_deliver_everything(name)
}

/// D2.
#[test]
fn a_close_as_the_last_line_of_main_delivers_everything_on_two_threads() -> Outcome {
    if let Ok(url) = std::env::var(URL) {
        publish_close_and_exit(&two_threads()?, &url);
    }
    let name = "a_close_as_the_last_line_of_main_delivers_everything_on_two_threads";
    processes_deliver_everything(name)
}

#[tokio::test]
async fn a_close_reports_what_was_confirmed() -> Outcome {
    let server = NatsServer::start()?;
    let mut raw = raw_subscriber(&server, "s")?;
    let client = connect(patient(&server.url())).await?;
    publish_numbers(&client, "s")?;
    let report = soon(client.close()).await;
    assert_eq!(
        (&report.why, report.fates.confirmed.messages),
        (&CloseReason::Requested, MESSAGES as u64)
    );
    assert!(report.fates.unknown.is_empty() && report.fates.dropped.is_empty());
    assert!(matches!(client.status().state, State::Closed { .. }));
    expect_numbers(&mut raw, "s", MESSAGES)
}

// ---- the last handle -------------------------------------------------------------------------

async fn dropped_handles_deliver_and_end_the_driver() -> Outcome {
    let server = NatsServer::start()?;
    for round in 0..20 {
        let subject = format!("s.{round}");
        let mut raw = raw_subscriber(&server, &subject)?;
        let (connecting, driver) = midge_tokio::connect_with(patient(&server.url()))?;
        let driver = tokio::spawn(driver);
        let client = soon(connecting).await?;
        publish_numbers(&client, &subject)?;
        drop(client);
        soon(driver).await?;
        expect_numbers(&mut raw, &subject, MESSAGES)?;
    }
    Ok(())
}

/// D1.
#[test]
fn the_drop_of_the_last_handle_delivers_and_ends_the_driver_on_one_thread() -> Outcome {
    one_thread()?.block_on(dropped_handles_deliver_and_end_the_driver())
}

/// D1.
#[test]
fn the_drop_of_the_last_handle_delivers_and_ends_the_driver_on_two_threads() -> Outcome {
    let runtime = two_threads()?;
    runtime.block_on(async { tokio::spawn(dropped_handles_deliver_and_end_the_driver()).await? })
}

/// D17.
#[tokio::test]
async fn the_drop_of_the_last_handle_without_a_server_ends_the_driver_at_once() -> Outcome {
    let mut server = NatsServer::start()?;
    let hour = Duration::from_secs(3600);
    let options = impatient(&server.url()).linger(hour);
    let (connecting, driver) = midge_tokio::connect_with(options)?;
    let driver = tokio::spawn(driver);
    let client = soon(connecting).await?;
    let mut events = client.events();
    let closed = client.closed();
    server.kill()?;
    // Not while an attempt is under way, which would end at once by itself.
    wait_for(&mut events, |event| matches!(event, Event::AttemptFailed { .. })).await;
    client.publish("s", "kept").await?;
    // From here on the clock goes on only when there is nothing else to do.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    drop(client);
    soon(driver).await?;
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(soon(closed).await.fates.kept.messages, 1);
    Ok(())
}

#[tokio::test]
async fn a_pending_request_keeps_the_connection_until_its_reply() -> Outcome {
    let server = NatsServer::start()?;
    let responder = connect(server.url()).await?;
    let mut questions = soon(responder.subscribe("q").confirmed()).await?;
    let (connecting, driver) = midge_tokio::connect_with(server.url())?;
    let driver = tokio::spawn(driver);
    let client = soon(connecting).await?;
    let mut request = Box::pin(client.request("q", "").into_future());
    assert!(poll_once(request.as_mut()).is_pending());
    drop(client);

    let question = soon(questions.next()).await.expect("it was sent");
    responder.respond(&question, "here").await?;
    assert_eq!(soon(request).await?.payload(), b"here");
    soon(driver).await?;
    Ok(())
}

#[tokio::test]
async fn a_subscription_keeps_the_connection() -> Outcome {
    let server = NatsServer::start()?;
    let publisher = connect(server.url()).await?;
    let (connecting, driver) = midge_tokio::connect_with(server.url())?;
    let driver = tokio::spawn(driver);
    let client = soon(connecting).await?;
    let mut subscription = soon(client.subscribe("s").confirmed()).await?;
    drop(client);
    soon(subscription.confirmed()).await?;
    publisher.publish("s", "here").await?;
    let message = soon(subscription.next()).await.expect("it goes on");
    assert_eq!(message.payload(), b"here");
    drop(subscription);
    soon(driver).await?;
    Ok(())
}

// ---- the driver, and with it the runtime -----------------------------------------------------

#[tokio::test]
async fn a_dropped_driver_writes_once_more_and_ends_everything() -> Outcome {
    let server = NatsServer::start()?;
    let mut raw = raw_subscriber(&server, "s")?;
    let (connecting, driver) = midge_tokio::connect_with(server.url())?;
    let driver = tokio::spawn(driver);
    let client = soon(connecting).await?;
    let mut subscription = client.subscribe("x").await?;
    publish_numbers(&client, "s")?;
    driver.abort();
    assert!(soon(driver).await.is_err_and(|error| error.is_cancelled()));
    expect_numbers(&mut raw, "s", MESSAGES)?;
    assert_eq!(soon(subscription.next()).await, None);
    assert_eq!(subscription.end(), Some(EndReason::Closed));
    assert_eq!(soon(client.close()).await.why, CloseReason::Requested);
    assert!(soon(client.flush()).await.is_err());
    Ok(())
}

/// What waits when a runtime is gone, and can be polled by any other.
fn everything_ends_with(runtime: Runtime) -> Outcome {
    let server = NatsServer::start()?;
    let mut raw = raw_subscriber(&server, "s")?;
    let client = runtime.block_on(connect(server.url()))?;
    let mut silent = runtime.block_on(client.subscribe("silent").into_future())?;
    runtime.block_on(async { soon(client.flush()).await })?;
    // A request that was written, so it waits for its reply.
    let mut request = Box::pin(client.request("silent", "").into_future());
    assert!(poll_once(request.as_mut()).is_pending());
    runtime.block_on(async { soon(client.flush()).await })?;

    server.pause()?;
    publish_numbers(&client, "s")?;
    let mut flush = Box::pin(client.flush().into_future());
    let mut confirming = Box::pin(silent.confirmed());
    let mut closed = Box::pin(client.closed());
    assert!(poll_once(flush.as_mut()).is_pending());
    assert!(poll_once(confirming.as_mut()).is_pending());
    assert!(poll_once(closed.as_mut()).is_pending());
    drop(runtime);

    assert_eq!(ready(request.as_mut()), Err(RequestError::Unknown));
    assert!(matches!(ready(flush.as_mut()), Err(FlushError::Closed)));
    assert!(ready(confirming.as_mut()).is_err());
    let report = ready(closed.as_mut());
    assert_eq!(
        (report.fates.confirmed.messages, report.fates.unknown.messages),
        (1, MESSAGES as u64)
    );
    assert!(report.fates.dropped.is_empty(), "the socket had room for all of it");
    assert!(ready(std::pin::pin!(silent.next())).is_some(), "the request itself");
    assert_eq!(ready(std::pin::pin!(silent.next())), None);
    assert_eq!(silent.end(), Some(EndReason::Closed));
    assert_eq!(client.try_publish("s", ""), Err(PublishError::Closed));
    let refused = ready(std::pin::pin!(client.request("s", "").into_future()));
    assert_eq!(refused, Err(RequestError::Publish(PublishError::Closed)));
    server.resume()?;
    expect_numbers(&mut raw, "s", MESSAGES)
}

#[test]
fn a_runtime_of_one_thread_that_ends_writes_once_more_and_ends_everything() -> Outcome {
    everything_ends_with(one_thread()?)
}

#[test]
fn a_runtime_of_two_threads_that_ends_writes_once_more_and_ends_everything() -> Outcome {
    everything_ends_with(two_threads()?)
}
