//! Bytes: few at a time, stuck in one direction, reset, or ended.

use std::time::Duration;

use midge::{
    Client, ConnectOptions, DisconnectCause, Event, Events, Pem, Subscription, Tls, WhenFull,
};

use crate::conformance::steps::{
    HOUR, connect, echo, fill, finish, give_way, impatient, is_connected, is_disconnected, next,
    served, soon, until, wait_for,
};
use crate::conformance::tasks::{blocking, spawn};
use crate::conformance::{Adapter, Outcome};
use crate::{Authority, Chaos, Direction, Link, NatsServer, ScriptedServer};

const FRAME: usize = "MSG s 1 1000\r\n".len() + 1002;

fn frame() -> String {
    format!("MSG s 1 1000\r\n{}\r\n", "x".repeat(1000))
}

async fn lost(events: &mut Events) -> DisconnectCause {
    match wait_for(events, is_disconnected).await {
        Event::Disconnected(lost) => lost.cause.clone(),
        other => unreachable!("{other:?} was not waited for"),
    }
}

// ---- few at a time ---------------------------------------------------------------------------

pub async fn a_server_that_writes_byte_by_byte_is_read<A: Adapter>() -> Outcome {
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.send_in_pieces("INFO {\"max_payload\":1048576,\"headers\":true} \r\n", 1)?;
        peer.expect("CONNECT ")?;
        peer.expect("PING")?;
        peer.send_in_pieces("PONG\r\n", 1)?;
        peer.expect("SUB s 1")?;
        for _ in 0..3 {
            peer.send_in_pieces(frame(), 1)?;
        }
        peer.expect_closed().map(|_| ())
    })?;
    let client = connect::<A>(ConnectOptions::new(server.url()).linger(Duration::ZERO)).await?;
    let mut subscription = client.subscribe("s").await?;
    for _ in 0..3 {
        assert_eq!(next(&mut subscription).await.payload().len(), 1000);
    }
    drop((client, subscription));
    finish(server).await
}

/// What passes the link at once is less than a frame.
async fn passes_a_narrow_link<A: Adapter>(
    server: &NatsServer,
    options: impl FnOnce(u16) -> ConnectOptions,
) -> Outcome {
    let link = Link::to(&server.url()).capacity(700).start()?;
    let client = connect::<A>(options(link.port())).await?;
    echo(&client, 300).await?;
    soon(client.close()).await;
    Ok(())
}

pub async fn messages_pass_a_narrow_link<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    passes_a_narrow_link::<A>(&server, |port| {
        ConnectOptions::new(format!("nats://127.0.0.1:{port}"))
    })
    .await
}

/// A server for `localhost` that wants TLS, and what trusts it.
pub(super) fn with_tls() -> Outcome<(NatsServer, Tls)> {
    let authority = Authority::new()?;
    let block = authority.issue(&["localhost"])?.tls_block("");
    let server = NatsServer::builder().config(block).start()?;
    Ok((server, Tls::new().root_certificates(Pem::text(authority.pem()))))
}

pub async fn messages_pass_a_narrow_link_over_tls<A: Adapter>() -> Outcome {
    let (server, tls) = with_tls()?;
    passes_a_narrow_link::<A>(&server, |port| {
        ConnectOptions::new(format!("tls://localhost:{port}")).tls(tls)
    })
    .await
}

pub async fn messages_pass_a_narrow_link_over_websocket<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().websocket(true).start()?;
    let url = server.ws_url().ok_or("the server listens for WebSockets")?;
    let link = Link::to(&url).capacity(700).start()?;
    let client = connect::<A>(format!("ws://127.0.0.1:{}", link.port())).await?;
    echo(&client, 300).await?;
    soon(client.close()).await;
    Ok(())
}

pub async fn messages_pass_over_tls<A: Adapter>() -> Outcome {
    let (server, tls) = with_tls()?;
    let url = format!("tls://localhost:{}", server.port());
    let client = connect::<A>(ConnectOptions::new(url).tls(tls)).await?;
    assert!(client.tls_session().is_some());
    echo(&client, 2000).await?;
    soon(client.close()).await;
    Ok(())
}

pub async fn messages_pass_over_websocket<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().websocket(true).start()?;
    let client = connect::<A>(server.ws_url().ok_or("the server listens for WebSockets")?).await?;
    echo(&client, 2000).await?;
    soon(client.close()).await;
    Ok(())
}

// ---- one direction is stuck ------------------------------------------------------------------

/// Each side has more to send than the sockets between hold, and the server reads only when all of
/// its own was taken.
pub async fn a_write_that_is_stuck_stops_no_read<A: Adapter>() -> Outcome {
    const COUNT: usize = 30_000;
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB s 1")?;
        peer.expect("PUB go 0")?;
        for _ in 0..COUNT / 1000 {
            peer.send(frame().repeat(1000))?;
        }
        let mut published = 0;
        while published < COUNT * FRAME {
            published += peer.read_until(|bytes| !bytes.is_empty())?.len();
        }
        // Whoever ends a connection before all is read may take from the reader what travels.
        peer.send(frame())?;
        peer.expect_closed().map(|_| ())
    })?;
    // On a machine that is busy otherwise, the reader may be slower than the default allows.
    let options = ConnectOptions::new(server.url()).max_pending(1 << 20).slow_hold(HOUR);
    let client = connect::<A>(options.linger(Duration::ZERO)).await?;
    let mut subscription = client.subscribe("s").await?;
    client.publish("go", "").await?;
    let publishing = spawn::<A, _>({
        let client = client.clone();
        // Each at least as long as what comes.
        async move {
            for _ in 0..COUNT {
                if client.publish("out", [b'y'; 1010]).await.is_err() {
                    break;
                }
            }
        }
    });
    for _ in 0..=COUNT {
        assert_eq!(next(&mut subscription).await.payload().len(), 1000);
    }
    soon(client.close()).await;
    soon(publishing).await;
    finish(server).await
}

/// Whoever writes, the driver or a publisher beside it, and though nobody flushes behind them.
pub async fn several_publishers_at_full_speed_each_keep_their_order<A: Adapter>() -> Outcome {
    const PUBLISHERS: usize = 4;
    const COUNT: usize = 30_000;
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    // On a machine that is busy otherwise, the reader may be slower than the default allows.
    let reader = connect::<A>(ConnectOptions::new(server.url()).slow_hold(HOUR)).await?;
    let mut subscription = reader.subscribe("out.*").await?;
    soon(reader.flush()).await?;
    let publish = |publisher| {
        let client = client.clone();
        spawn::<A, _>(async move {
            let subject = format!("out.{publisher}");
            for number in 0..COUNT {
                let payload = format!("{number:>200}");
                client.publish(&subject, payload).await.expect("the connection is up");
            }
        })
    };
    let publishers: Vec<_> = (0..PUBLISHERS).map(publish).collect();
    let mut expected = [0; PUBLISHERS];
    for _ in 0..PUBLISHERS * COUNT {
        let message = next(&mut subscription).await;
        let publisher: usize = message.subject()["out.".len()..].parse()?;
        let number: usize = std::str::from_utf8(message.payload())?.trim_start().parse()?;
        assert_eq!(number, expected[publisher], "of publisher {publisher}");
        expected[publisher] += 1;
    }
    for publisher in publishers {
        soon(publisher).await;
    }
    assert_eq!(subscription.dropped(), 0);
    Ok(())
}

pub async fn a_reader_that_is_stuck_stops_no_write<A: Adapter>() -> Outcome {
    const COUNT: usize = 2000;
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB s 1")?;
        peer.send(frame().repeat(COUNT))?;
        let mut published = 0;
        while published < COUNT * FRAME {
            published += peer.read_until(|bytes| !bytes.is_empty())?.len();
        }
        peer.expect_closed().map(|_| ())
    })?;
    let options = ConnectOptions::new(server.url()).linger(Duration::ZERO);
    let client = connect::<A>(options).await?;
    let mut subscription =
        client.subscribe("s").capacity(10, 1 << 20).when_full(WhenFull::Pause).await?;
    until(|| subscription.pending() >= 10).await;
    for _ in 0..COUNT {
        soon(client.publish("out", [b'y'; 1010])).await?;
    }
    until(|| client.pending_bytes() == 0).await;
    for _ in 0..COUNT {
        next(&mut subscription).await;
    }
    drop((client, subscription));
    finish(server).await
}

/// Reading stops and goes on with almost each message.
pub async fn a_reader_with_room_for_one_gets_everything<A: Adapter>() -> Outcome {
    const COUNT: usize = 20_000;
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB s 1")?;
        for number in 0..COUNT {
            let number = number.to_string();
            peer.send(format!("MSG s 1 {}\r\n{number}\r\n", number.len()))?;
        }
        peer.expect_closed().map(|_| ())
    })?;
    let options = ConnectOptions::new(server.url()).linger(Duration::ZERO).read_chunk(1024);
    let client = connect::<A>(options).await?;
    let mut subscription =
        client.subscribe("s").capacity(1, 1 << 20).when_full(WhenFull::Pause).await?;
    for number in 0..COUNT {
        assert_eq!(next(&mut subscription).await.payload(), number.to_string().as_bytes());
        if number % 7 == 0 {
            give_way().await;
        }
    }
    drop((client, subscription));
    finish(server).await
}

// ---- reset and ended -------------------------------------------------------------------------

pub async fn an_end_of_stream_is_noticed_and_the_server_found_again<A: Adapter>() -> Outcome {
    let (watched, is_watched) = std::sync::mpsc::channel::<()>();
    let server = ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        let _ = is_watched.recv();
        peer.half_close()?;
        peer.expect_closed()?;
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect_closed().map(|_| ())
    })?;
    let options = impatient(&server.url()).ping_interval(HOUR).linger(Duration::ZERO);
    let client = connect::<A>(options).await?;
    let mut events = client.events();
    drop(watched);
    assert_eq!(lost(&mut events).await, DisconnectCause::Eof);
    wait_for(&mut events, is_connected).await;
    drop(client);
    finish(server).await
}

/// The server sends more than anybody reads, then ends the stream.
pub async fn an_end_of_stream_behind_much_that_is_unread_loses_nothing<A: Adapter>() -> Outcome {
    const COUNT: usize = 4000;
    let (end, ended) = std::sync::mpsc::channel();
    let server = ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB s 1")?;
        peer.send(frame().repeat(COUNT))?;
        peer.half_close()?;
        let _ = end.send(());
        peer.expect_closed().map(|_| ())
    })?;
    let options = impatient(&server.url()).max_attempts(None).ping_interval(HOUR);
    let client = connect::<A>(options).await?;
    let mut events = client.events();
    let mut subscription =
        client.subscribe("s").capacity(10, 1 << 20).when_full(WhenFull::Pause).await?;
    until(|| subscription.pending() >= 10).await;
    let ended = blocking(move || ended.recv().is_ok());
    for _ in 0..COUNT {
        assert_eq!(next(&mut subscription).await.payload().len(), 1000);
    }
    assert!(soon(ended).await);
    assert_eq!(lost(&mut events).await, DisconnectCause::Eof);
    soon(client.close()).await;
    assert_eq!(soon(subscription.next()).await, None);
    finish(server).await
}

pub async fn what_the_server_says_before_a_reset_is_read<A: Adapter>() -> Outcome {
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("PUB out 1010")?;
        peer.send("-ERR 'Maximum Payload Violation'\r\n")?;
        // With much of what was sent still unread, which resets the connection.
        drop(peer);
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect_closed().map(|_| ())
    })?;
    let client = connect::<A>(impatient(&server.url()).linger(Duration::ZERO)).await?;
    let mut events = client.events();
    let publishing = spawn::<A, _>({
        let client = client.clone();
        async move {
            for _ in 0..2000 {
                let _ = client.publish("out", [b'y'; 1010]).await;
            }
        }
    });
    let cause = lost(&mut events).await;
    let said =
        matches!(cause, DisconnectCause::Eof | DisconnectCause::Io(_) | DisconnectCause::Server(_));
    assert!(said, "{cause}");
    wait_for(&mut events, is_connected).await;
    soon(publishing).await;
    soon(client.close()).await;
    finish(server).await
}

/// Nothing is read meanwhile that would tell of the reset.
pub async fn a_reset_is_noticed_by_a_write_while_reading_is_stopped<A: Adapter>() -> Outcome {
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let server = ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB s 1")?;
        peer.send(frame().repeat(1000))?;
        let _ = gone.recv();
        peer.reset()
    })?;
    let options = impatient(&server.url()).ping_interval(HOUR).linger(Duration::ZERO);
    let client = connect::<A>(options).await?;
    let mut events = client.events();
    let subscription =
        client.subscribe("s").capacity(10, 1 << 20).when_full(WhenFull::Pause).await?;
    until(|| subscription.pending() >= 10).await;
    drop(go);
    finish(server).await?;
    until(|| {
        let _ = client.try_publish("out", "");
        matches!(events.try_next(), Some(Event::Disconnected(_)))
    })
    .await;
    soon(client.close()).await;
    Ok(())
}

pub async fn connections_that_are_reset_again_and_again_are_made_again<A: Adapter>() -> Outcome {
    const ROUNDS: usize = 200;
    let (last, is_last) = std::sync::mpsc::channel();
    let server = ScriptedServer::start(move |mut listener| {
        for round in 0..ROUNDS {
            let mut peer = listener.accept()?;
            match round % 5 {
                0 => peer.reset()?,
                1 => {
                    peer.send("INFO {} \r\n")?;
                    peer.reset()?;
                }
                2 => {
                    peer.handshake()?;
                    peer.reset()?;
                }
                3 => {
                    peer.handshake()?;
                    peer.cut()?;
                }
                _ => {
                    peer.handshake()?;
                    peer.half_close()?;
                    peer.expect_closed()?;
                }
            }
        }
        let mut peer = listener.accept()?;
        peer.handshake()?;
        let _ = last.send(());
        peer.expect("SUB s 1")?;
        peer.expect("PUB last 0")?;
        peer.expect_closed().map(|_| ())
    })?;
    let options = ConnectOptions::new(server.url())
        .reconnect_wait(Duration::from_nanos(1), Duration::from_nanos(1))
        .reconnect_jitter(Duration::ZERO, Duration::ZERO)
        .max_attempts(None)
        .retry_first_connect(true)
        .linger(Duration::ZERO);
    let (client, serving) = served::<A>(options).await?;
    soon(blocking(move || is_last.recv())).await?;
    let _subscription = client.subscribe("s").await?;
    client.publish("last", "").await?;
    until(|| client.pending_bytes() == 0).await;
    soon(client.close()).await;
    assert!(!soon(serving.ended()).await);
    finish(server).await
}

/// Both ways, over a wire that is cut, ended, stalled, and lets few bytes pass at a time.
pub async fn faults_at_random_places_lose_what_was_unknown_and_nothing_else<A: Adapter>() -> Outcome
{
    const COUNT: u64 = 20_000;
    let server = NatsServer::start()?;
    let reader = connect::<A>(server.url()).await?;
    let mut losses = 0;
    for seed in 0..6 {
        // What a server finds in the socket of a lost connection later is none of the next seed's.
        let subject = format!("numbers.{seed}");
        let mut arriving = soon(reader.subscribe(&*subject).confirmed()).await?;
        let link = Link::to(&server.url()).start()?;
        let options = impatient(&link.url()).max_attempts(None);
        let client = connect::<A>(options.reconnect_buffer(64 << 20)).await?;
        let calm = Chaos::new(seed).spacing(40_000).longest_stall(Duration::from_millis(50));
        link.unleash(calm);
        let mut positions = Vec::new();
        for number in 0..COUNT {
            positions.push(soon(client.publish(&*subject, number.to_string())).await?);
            if number % 64 == 0 {
                give_way().await;
            }
        }
        link.calm();
        let fates = loop {
            // A connection that is lost meanwhile fails it.
            if let Ok(fates) = soon(client.flush()).await {
                break fates;
            }
        };
        losses += link.faults().cuts + link.faults().half_closes;
        assert!(fates.dropped.is_empty() && fates.kept.is_empty());
        assert_eq!(fates.confirmed.messages + fates.unknown.messages, COUNT);
        soon(client.close()).await;
        let arrived = read_numbers(&reader, &mut arriving, COUNT).await;
        for (position, times) in positions.into_iter().zip(arrived) {
            let unknown = fates.unknown.positions.contains(position);
            assert!(times == 1 || (times == 0 && unknown), "{position:?}: {times} times");
        }
    }
    assert!(losses > 0, "nothing was lost on any of these wires");
    Ok(())
}

/// How often each number has come by now.
async fn read_numbers(reader: &Client, arriving: &mut Subscription, count: u64) -> Vec<u32> {
    // What was confirmed is on its way to the reader, or there.
    soon(reader.flush()).await.expect("the server is there");
    let mut times = vec![0; count as usize];
    while let Some(message) = arriving.try_next() {
        let number = str::from_utf8(message.payload()).ok().and_then(|text| text.parse().ok());
        let number: usize = number.expect("it is a number");
        times[number] += 1;
    }
    times
}

pub async fn a_connection_that_is_cut_while_it_is_stuck_is_made_again<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let link = Link::to(&server.url()).start()?;
    let client = connect::<A>(impatient(&link.url()).ping_interval(HOUR)).await?;
    let mut events = client.events();
    for _ in 0..5 {
        link.stall(Direction::ToServer);
        fill(&client, "out").await;
        link.cut();
        link.resume(Direction::ToServer);
        lost(&mut events).await;
        wait_for(&mut events, is_connected).await;
        soon(client.flush()).await?;
    }
    Ok(())
}
