//! Nothing turns in vain: what a connection takes of a processor while nothing happens.

use std::time::Duration;

use midge::{ConnectOptions, WhenFull};
use rustix::time::{ClockId, clock_gettime};

use super::dials::Hanging;
use super::wakes::stuck;
use crate::conformance::steps::{
    HOUR, connect, fill, finish, impatient, is_connected, next, soon, until, wait_for,
};
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};
use crate::{ClosedPort, NatsServer, ScriptedServer};

/// What a connection does while nothing happens takes next to no time of any processor.
async fn assert_rests() {
    const LOOKED_AT: Duration = Duration::from_millis(500);
    let used = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
    let mut spent = Vec::new();
    // What led here, and cases before this one, may have left something to do for a while. What turns in
    // vain does so for ever.
    for _ in 0..10 {
        sleep(LOOKED_AT / 5).await;
        let before = used();
        sleep(LOOKED_AT).await;
        spent.push(used().saturating_sub(before));
        if spent.last() < Some(&(LOOKED_AT / 5)) {
            return;
        }
    }
    panic!("it has spent {spent:?}, each in {LOOKED_AT:?}");
}

pub async fn a_connection_without_traffic_rests<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    soon(client.flush()).await?;
    assert_rests().await;
    soon(client.close()).await;
    Ok(())
}

pub async fn a_connection_that_cannot_write_rests<A: Adapter>() -> Outcome {
    let (server, go) = stuck()?;
    let options = ConnectOptions::new(server.url()).ping_interval(HOUR).linger(Duration::ZERO);
    let client = connect::<A>(options).await?;
    fill(&client, "out").await;
    assert_rests().await;
    soon(client.close()).await;
    drop(go);
    finish(server).await
}

pub async fn a_connection_that_must_not_read_rests<A: Adapter>() -> Outcome {
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB s 1")?;
        peer.send("MSG s 1 1000\r\n".to_owned() + &"x".repeat(1000) + "\r\n")?;
        // As much as the sockets between hold, and the end of it.
        let many = format!("MSG s 1 1000\r\n{}\r\n", "x".repeat(1000)).repeat(500);
        peer.send(many)?;
        peer.half_close()?;
        peer.expect_closed().map(|_| ())
    })?;
    let client = connect::<A>(ConnectOptions::new(server.url()).linger(Duration::ZERO)).await?;
    let mut subscription =
        client.subscribe("s").capacity(1, 1 << 20).when_full(WhenFull::Pause).await?;
    until(|| subscription.pending() > 0).await;
    assert_rests().await;
    for _ in 0..501 {
        next(&mut subscription).await;
    }
    soon(client.close()).await;
    finish(server).await
}

pub async fn a_connection_that_waits_for_its_next_attempt_rests<A: Adapter>() -> Outcome {
    let nobody = ClosedPort::new()?;
    let options = ConnectOptions::new(nobody.url()).retry_first_connect(true);
    let client = connect::<A>(options.reconnect_wait(HOUR, HOUR)).await?;
    until(|| client.last_error().is_some()).await;
    assert_rests().await;
    soon(client.close()).await;
    Ok(())
}

pub async fn a_dial_that_hangs_rests<A: Adapter>() -> Outcome {
    let hanging = Hanging::start()?;
    let options = ConnectOptions::new(hanging.url()).connect_timeout(HOUR);
    let client = connect::<A>(options.retry_first_connect(true)).await?;
    assert_rests().await;
    soon(client.close()).await;
    Ok(())
}

/// Threads of this process.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux");
    tasks.count()
}

pub async fn connections_that_have_closed_leave_nothing_that_runs<A: Adapter>() -> Outcome {
    const CONNECTIONS: usize = 20;
    let server = NatsServer::start()?;
    let mut at_first = usize::MAX;
    for _ in 0..CONNECTIONS {
        let client = connect::<A>(impatient(&server.url())).await?;
        let mut events = client.events();
        for _ in 0..5 {
            client.reconnect();
            wait_for(&mut events, is_connected).await;
        }
        soon(client.close()).await;
        // Those of the runtime are there from then on.
        at_first = at_first.min(threads());
    }
    // What runs the tests may have begun another one, which waits for this.
    until(|| threads() < at_first + CONNECTIONS / 2).await;
    assert_rests().await;
    Ok(())
}
