//! How a connection ends: closed, dropped, cancelled, or by a panic of the application.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use midge::{
    Client, CloseReason, ConnectOptions, EndReason, Message, PublishError, State, TlsMode,
};

use super::dials::Hanging;
use super::streams::with_tls;
use crate::conformance::steps::{
    HOUR, expect_numbers, fill, finish, give_way, impatient, is_disconnected, next, poll_once,
    raw_subscriber, served, soon, until, wait_for,
};
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome, Serving};
use crate::{ClosedPort, NatsServer, ScriptedServer};

/// A generator of numbers that a seed decides.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Options of a client whose end waits for the server as long as that takes, on a slow machine too.
fn patient(server: &NatsServer) -> ConnectOptions {
    ConnectOptions::new(server.url()).linger(HOUR)
}

/// Nothing works any more, and nothing waits for ever.
async fn assert_over(client: &Client) {
    assert!(matches!(client.status().state, State::Closed { .. }), "{:?}", client.status());
    assert_eq!(client.try_publish("x", ""), Err(PublishError::Closed));
    assert!(soon(client.flush()).await.is_err());
    assert!(soon(client.request("x", "")).await.is_err());
    assert!(soon(client.subscribe("x").confirmed()).await.is_err());
    soon(client.closed()).await;
    soon(client.drain()).await;
}

// ---- cancelled -------------------------------------------------------------------------------

async fn cancelled_at_random<A: Adapter>(seed: u64, options: ConnectOptions) -> Outcome {
    let mut random = Random(seed);
    for _ in 0..60 {
        let (connecting, serving) = A::serve(options.clone())?;
        let mut connecting = Box::pin(connecting);
        // Somewhere in the dial and the handshake, or behind them.
        let early = random.below(2) == 0;
        if early {
            let _ = poll_once(&mut connecting).await;
            sleep(Duration::from_micros(random.below(3000))).await;
            serving.cancel();
        }
        let client = match soon(connecting).await {
            Ok(client) => client,
            Err(_) if early => {
                soon(serving.ended()).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if let Ok(mut subscription) = client.subscribe("s").await {
            for _ in 0..random.below(200) {
                let _ = client.try_publish("s", vec![b'x'; random.below(20_000) as usize]);
            }
            if !early {
                sleep(Duration::from_micros(random.below(3000))).await;
                serving.cancel();
            }
            while soon(subscription.next()).await.is_some() {}
            assert!(matches!(subscription.end(), Some(EndReason::Closed)));
        }
        soon(serving.ended()).await;
        assert_over(&client).await;
        give_way().await;
    }
    Ok(())
}

pub async fn a_driver_cancelled_at_any_point_ends_everything<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    cancelled_at_random::<A>(0x5EED, ConnectOptions::new(server.url())).await
}

pub async fn a_driver_cancelled_at_any_point_of_tls_ends_everything<A: Adapter>() -> Outcome {
    let (server, tls) = with_tls()?;
    let url = format!("tls://localhost:{}", server.port());
    cancelled_at_random::<A>(0x7E55, ConnectOptions::new(url).tls(tls)).await
}

pub async fn a_driver_cancelled_at_any_point_of_websocket_ends_everything<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().websocket(true).start()?;
    let url = server.ws_url().ok_or("the server listens for WebSockets")?;
    cancelled_at_random::<A>(0x3B50, ConnectOptions::new(url)).await
}

pub async fn a_cancelled_driver_closes_its_socket<A: Adapter>() -> Outcome {
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect_closed().map(|_| ())
    })?;
    let (client, serving) = served::<A>(server.url()).await?;
    serving.cancel();
    soon(serving.ended()).await;
    finish(server).await?;
    assert_over(&client).await;
    Ok(())
}

// ---- a panic of the application --------------------------------------------------------------

pub async fn a_handler_that_panics_ends_the_connection<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let (client, serving) = served::<A>(server.url()).await?;
    let mut other = client.subscribe("other").await?;
    let handler = |_: Message| std::panic::resume_unwind(Box::new("a panic of the application"));
    let _handler = client.subscribe("s").handler(handler).await?;
    client.publish("s", "").await?;
    assert!(soon(serving.ended()).await, "the panic is told to who serves the driver");
    assert_eq!(soon(other.next()).await, None);
    assert_over(&client).await;
    Ok(())
}

// ---- closed ----------------------------------------------------------------------------------

pub async fn what_is_published_before_a_close_is_written_before_it<A: Adapter>() -> Outcome {
    const COUNT: usize = 20_000;
    let server = NatsServer::start()?;
    let mut raw = raw_subscriber(&server, "s")?;
    let (client, serving) = served::<A>(patient(&server)).await?;
    for number in 0..COUNT {
        client.publish("s", number.to_string()).await?;
    }
    let report = soon(client.close()).await;
    assert_eq!(report.fates.confirmed.messages, COUNT as u64);
    assert!(!soon(serving.ended()).await);
    expect_numbers(&mut raw, "s", COUNT)
}

/// What the sockets take of it is written in the moment in which the connection is closed.
pub async fn a_close_without_patience_still_writes_what_the_socket_takes<A: Adapter>() -> Outcome {
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        let last = peer.expect_closed()?;
        let text = String::from_utf8_lossy(&last).into_owned();
        assert!(text.contains("PUB last 0\r\n"), "it wrote only {text:?}");
        Ok(())
    })?;
    let (client, serving) =
        served::<A>(ConnectOptions::new(server.url()).linger(Duration::from_millis(50))).await?;
    client.try_publish("last", "")?;
    soon(client.close()).await;
    assert!(!soon(serving.ended()).await);
    finish(server).await
}

pub async fn a_close_over_tls_and_websocket_is_in_good_order<A: Adapter>() -> Outcome {
    let (secure, tls) = with_tls()?;
    let url = format!("tls://localhost:{}", secure.port());
    let plain = NatsServer::builder().websocket(true).start()?;
    let websocket = plain.ws_url().ok_or("the server listens for WebSockets")?;
    for options in [ConnectOptions::new(url).tls(tls), ConnectOptions::new(websocket)] {
        let (client, serving) = served::<A>(options).await?;
        let mut subscription = client.subscribe("s").await?;
        for _ in 0..1000 {
            client.publish("s", "").await?;
        }
        let drained = client.drain();
        let mut count = 0;
        while soon(subscription.next()).await.is_some() {
            count += 1;
        }
        assert_eq!((count, &soon(drained).await.why), (1000, &CloseReason::Drained));
        assert!(!soon(serving.ended()).await);
    }
    Ok(())
}

// ---- dropped in every state ------------------------------------------------------------------

async fn ends_when_dropped(client: Client, serving: Serving) {
    drop(client);
    assert!(!soon(serving.ended()).await, "the driver panicked");
}

/// Drops what waits for a connection that does not come about.
async fn ends_when_given_up<A: Adapter>(
    options: ConnectOptions,
    mut reached: impl FnMut() -> bool,
) -> Outcome {
    let (connecting, serving) = A::serve(options.clone())?;
    let mut connecting = Box::pin(connecting);
    assert!(poll_once(&mut connecting).await.is_pending());
    until(&mut reached).await;
    drop(connecting);
    assert!(!soon(serving.ended()).await, "the driver panicked");
    // The same with a client, by its close.
    let (client, serving) = served::<A>(options.retry_first_connect(true)).await?;
    until(&mut reached).await;
    soon(client.close()).await;
    assert!(!soon(serving.ended()).await, "the driver panicked");
    Ok(())
}

pub async fn a_client_given_up_in_a_dial_ends_the_driver<A: Adapter>() -> Outcome {
    let hanging = Hanging::start()?;
    let options = ConnectOptions::new(hanging.url()).connect_timeout(HOUR);
    // Nothing tells when a dial has begun: it is given up at some time about then.
    ends_when_given_up::<A>(options, || true).await
}

/// A server that takes two connections and says `words` on them, and no more.
fn twice_silent(words: &'static str) -> Outcome<(ScriptedServer, Receiver<()>)> {
    let (say, said) = channel();
    let server = ScriptedServer::start(move |mut listener| {
        for _ in 0..2 {
            let mut peer = listener.accept()?;
            peer.send(words)?;
            let _ = say.send(());
            peer.expect_closed()?;
        }
        Ok(())
    })?;
    Ok((server, said))
}

pub async fn a_client_given_up_in_a_handshake_ends_the_driver<A: Adapter>() -> Outcome {
    for (words, scheme, mode) in [
        ("", "nats", TlsMode::WhenOffered),
        ("INFO {} \r\n", "nats", TlsMode::WhenOffered),
        ("INFO {\"tls_required\":true} \r\n", "nats", TlsMode::WhenOffered),
        ("", "nats", TlsMode::First),
        ("", "ws", TlsMode::WhenOffered),
        ("", "wss", TlsMode::WhenOffered),
    ] {
        let (server, said) = twice_silent(words)?;
        let url = server.url().replace("nats", scheme);
        let options = ConnectOptions::new(url).tls_mode(mode).connect_timeout(HOUR);
        ends_when_given_up::<A>(options, || said.try_recv().is_ok()).await?;
        finish(server).await?;
    }
    Ok(())
}

pub async fn a_client_dropped_without_a_server_ends_the_driver<A: Adapter>() -> Outcome {
    let nobody = ClosedPort::new()?;
    let options = ConnectOptions::new(nobody.url()).retry_first_connect(true);
    let (client, serving) = served::<A>(options.reconnect_wait(HOUR, HOUR)).await?;
    until(|| client.last_error().is_some()).await;
    client.publish("s", "kept").await?;
    ends_when_dropped(client, serving).await;
    Ok(())
}

pub async fn a_client_dropped_while_it_is_connected_ends_the_driver<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    for _ in 0..50 {
        let (client, serving) = served::<A>(server.url()).await?;
        ends_when_dropped(client, serving).await;
    }
    Ok(())
}

pub async fn a_client_dropped_behind_what_it_published_delivers_it<A: Adapter>() -> Outcome {
    const COUNT: usize = 2000;
    let server = NatsServer::start()?;
    for round in 0..20 {
        let subject = format!("s.{round}");
        let mut raw = raw_subscriber(&server, &subject)?;
        let (client, serving) = served::<A>(patient(&server)).await?;
        for number in 0..COUNT {
            client.try_publish(&*subject, number.to_string())?;
        }
        ends_when_dropped(client, serving).await;
        expect_numbers(&mut raw, &subject, COUNT)?;
    }
    Ok(())
}

pub async fn a_client_dropped_while_the_socket_is_stuck_ends_the_driver<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let options = ConnectOptions::new(server.url()).linger(Duration::from_millis(100));
    let (client, serving) = served::<A>(options).await?;
    server.pause()?;
    fill(&client, "s").await;
    ends_when_dropped(client, serving).await;
    server.resume()?;
    Ok(())
}

pub async fn a_client_dropped_in_a_drain_ends_the_driver<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let (client, serving) = served::<A>(server.url()).await?;
    let mut subscription = client.subscribe("s").await?;
    client.publish("s", "").await?;
    soon(client.flush()).await?;
    drop(client.drain());
    next(&mut subscription).await;
    drop(subscription);
    ends_when_dropped(client, serving).await;
    Ok(())
}

pub async fn a_client_dropped_right_behind_a_loss_ends_the_driver<A: Adapter>() -> Outcome {
    for _ in 0..20 {
        let mut server = NatsServer::start()?;
        let (client, serving) = served::<A>(impatient(&server.url())).await?;
        let mut events = client.events();
        server.kill()?;
        wait_for(&mut events, is_disconnected).await;
        ends_when_dropped(client, serving).await;
    }
    Ok(())
}
