//! Wake-ups and deadlines: none is lost.

use std::time::{Duration, Instant};

use midge::{ConnectOptions, DisconnectCause, Event, FlushError, RequestError};

use crate::conformance::steps::{
    HOUR, assert_took, connect, fill, finish, impatient, is_connected, is_disconnected, soon,
    wait_for,
};
use crate::conformance::tasks::{blocking, spawn};
use crate::conformance::{Adapter, Outcome};
use crate::{NatsServer, ScriptError, ScriptedServer};

// ---- wake-ups --------------------------------------------------------------------------------

/// Each publish comes at another moment of a driver that is about to sleep, or sleeps.
pub async fn thousands_of_publishes_each_wake_the_driver<A: Adapter>() -> Outcome {
    const COUNT: usize = 5000;
    let (taken, has_taken) = std::sync::mpsc::sync_channel(0);
    let server = ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        let mut left = COUNT;
        while left > 0 {
            match &*peer.expect("")? {
                "PUB out 0" => {
                    peer.expect("")?;
                    let _ = taken.send(());
                    left -= 1;
                }
                // It asks now and then, so that what it sent is confirmed.
                _ => peer.send("PONG\r\n")?,
            }
        }
        peer.expect_closed().map(|_| ())
    })?;
    // Without a deadline that would make up for it.
    let options = ConnectOptions::new(server.url()).ping_interval(HOUR).linger(Duration::ZERO);
    let client = connect::<A>(options).await?;
    let publisher = client.clone();
    let publishing = blocking(move || {
        for number in 0..COUNT {
            // Between none and the time that a driver needs to fall asleep.
            for _ in 0..number % 64 * 64 {
                std::hint::spin_loop();
            }
            publisher.try_publish("out", "").expect("there is room");
            if has_taken.recv_timeout(Duration::from_secs(5)).is_err() {
                return Err(number);
            }
        }
        Ok(())
    });
    assert_eq!(soon(publishing).await, Ok(()), "a publish woke nobody");
    drop(client);
    finish(server).await
}

pub async fn requests_of_many_tasks_are_all_answered<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let quiet = || ConnectOptions::new(server.url()).ping_interval(HOUR);
    let (asker, responder) = (connect::<A>(quiet()).await?, connect::<A>(quiet()).await?);
    let mut questions = soon(responder.subscribe("q").confirmed()).await?;
    let answering = spawn::<A, _>(async move {
        while let Some(question) = questions.next().await {
            responder.respond(&question, question.payload()).await.expect("it is up");
        }
    });
    let asking = |task: usize| {
        let asker = asker.clone();
        spawn::<A, _>(async move {
            for number in 0..500 {
                let text = format!("{task}.{number}");
                let reply = soon(asker.request("q", &text).timeout(HOUR)).await;
                assert_eq!(reply.expect("it is answered").payload(), text.as_bytes());
            }
        })
    };
    for task in (0..8).map(asking).collect::<Vec<_>>() {
        soon(task).await;
    }
    drop(answering);
    Ok(())
}

/// A server that takes everything and answers PINGs.
fn deaf() -> Outcome<ScriptedServer> {
    Ok(ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        loop {
            match peer.expect("") {
                Ok(line) if line == "PING" => peer.send("PONG\r\n")?,
                Ok(_) => {}
                Err(ScriptError::Closed { .. } | ScriptError::Io { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    })?)
}

/// The driver sleeps for an hour when each deadline is set.
pub async fn a_deadline_that_is_set_while_the_driver_sleeps_passes_in_time<A: Adapter>() -> Outcome
{
    let server = deaf()?;
    let options = ConnectOptions::new(server.url()).ping_interval(HOUR).linger(Duration::ZERO);
    let client = connect::<A>(options).await?;
    for number in 0..300u64 {
        let timeout = Duration::from_micros(number * 10);
        let began = Instant::now();
        let late = soon(client.request("q", "").timeout(timeout)).await;
        let ended = matches!(late, Err(RequestError::TimedOut | RequestError::NotSent(_)));
        assert!(ended, "{late:?}");
        assert_took(began, timeout);
    }
    drop(client);
    finish(server).await
}

pub async fn deadlines_of_many_tasks_pass_in_time<A: Adapter>() -> Outcome {
    let server = deaf()?;
    let options = ConnectOptions::new(server.url()).ping_interval(HOUR).linger(Duration::ZERO);
    let client = connect::<A>(options).await?;
    let asking = |task: u64| {
        let client = client.clone();
        spawn::<A, _>(async move {
            for number in 0..30 {
                let timeout = Duration::from_millis((task * 7 + number * 3) % 30 + 1);
                let began = Instant::now();
                let late = soon(client.request("q", "").timeout(timeout)).await;
                let ended = matches!(late, Err(RequestError::TimedOut | RequestError::NotSent(_)));
                assert!(ended, "{late:?}");
                assert_took(began, timeout);
            }
        })
    };
    for task in (0..8).map(asking).collect::<Vec<_>>() {
        soon(task).await;
    }
    drop(client);
    finish(server).await
}

/// A server that reads nothing behind the handshake until it is let go.
pub(super) fn stuck() -> Outcome<(ScriptedServer, std::sync::mpsc::Sender<()>)> {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let server = ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        let _ = gone.recv();
        peer.read_until(|_| true).map(|_| ())
    })?;
    Ok((server, go))
}

pub async fn a_deadline_that_is_set_while_the_socket_is_stuck_passes_in_time<A: Adapter>() -> Outcome
{
    const TIMEOUT: Duration = Duration::from_millis(100);
    let (server, go) = stuck()?;
    let options = ConnectOptions::new(server.url()).ping_interval(HOUR).linger(Duration::ZERO);
    let client = connect::<A>(options).await?;
    fill(&client, "out").await;
    for _ in 0..5 {
        let began = Instant::now();
        let late = soon(client.request("q", "").timeout(TIMEOUT)).await;
        assert!(matches!(late, Err(RequestError::NotSent(_))), "{late:?}");
        assert_took(began, TIMEOUT);
        let began = Instant::now();
        let late = soon(client.flush().timeout(TIMEOUT)).await;
        assert!(matches!(late, Err(FlushError::TimedOut)), "{late:?}");
        assert_took(began, TIMEOUT);
    }
    soon(client.close()).await;
    drop(go);
    finish(server).await
}

pub async fn a_server_that_reads_nothing_and_answers_nothing_is_left<A: Adapter>() -> Outcome {
    let (server, go) = stuck()?;
    let options = impatient(&server.url()).ping_interval(Duration::from_millis(200));
    let options = options.max_pings_out(1).linger(Duration::ZERO);
    // There before it is connected: on a slow machine it may be lost before anybody looks.
    let client = connect::<A>(options.retry_first_connect(true)).await?;
    let mut events = client.events();
    wait_for(&mut events, is_connected).await;
    fill(&client, "out").await;
    let lost = wait_for(&mut events, is_disconnected).await;
    let Event::Disconnected(lost) = lost else { return Err("it is that event".into()) };
    assert_eq!(lost.cause, DisconnectCause::Stale);
    soon(client.close()).await;
    drop(go);
    finish(server).await
}

pub async fn a_write_deadline_ends_a_connection_that_is_stuck<A: Adapter>() -> Outcome {
    let (server, go) = stuck()?;
    let options = impatient(&server.url()).ping_interval(HOUR).linger(Duration::ZERO);
    let client = connect::<A>(options.write_deadline(Duration::from_millis(500))).await?;
    let mut events = client.events();
    fill(&client, "out").await;
    let lost = wait_for(&mut events, is_disconnected).await;
    let Event::Disconnected(lost) = lost else { return Err("it is that event".into()) };
    assert_eq!(lost.cause, DisconnectCause::WriteTimedOut);
    soon(client.close()).await;
    drop(go);
    finish(server).await
}

pub async fn a_close_ends_a_connection_that_is_stuck_in_time<A: Adapter>() -> Outcome {
    const LINGER: Duration = Duration::from_millis(200);
    let (server, go) = stuck()?;
    let options = ConnectOptions::new(server.url()).ping_interval(HOUR).linger(LINGER);
    let client = connect::<A>(options).await?;
    let taken = fill(&client, "out").await;
    let began = Instant::now();
    let report = soon(client.close()).await;
    assert_took(began, LINGER);
    let fates = &report.fates;
    assert_eq!(fates.confirmed.messages, 0);
    assert_eq!(fates.unknown.messages + fates.kept.messages, taken);
    drop(go);
    finish(server).await
}
