//! One test for each fault that was found in the established client, so that Midge never has it.
//!
//! | fault | what must not happen | where |
//! |---|---|---|
//! | D1 | what was published before the last handle is dropped is lost | `shutdown.rs`: `the_drop_of_the_last_handle_delivers_…` |
//! | D2 | a program that ends with a close loses what it published | `shutdown.rs`: `a_close_as_the_last_line_of_main_…` |
//! | D3 | a flush succeeds over messages that a lost connection took | here |
//! | D4 | each request without a reply leaves memory behind | here, and `benches/allocations/tests/request.rs` |
//! | D5 | a drained member of a queue group loses messages in the flow | `drain::a_member_…` of the suite in `midge-testing` |
//! | D6 | a heartbeat hides the message behind it from a fetch | `jetstream_consume::a_message_behind_heartbeats_…` of the suite |
//! | D7 | a reader of what is new replays all there was, once its consumer is made again | `jetstream_ordered::an_ordered_consumer_that_is_deleted_…` of the suite |
//! | D9 | a malformed header costs its receivers their connection | here |
//! | D10 | a header value with a line break panics, or ends the line | `behaviour::headers_arrive_as_they_were_sent` of the suite; `midge-proto/tests/header.rs` |
//! | D11 | without a server publishes and requests hang past their deadlines | here |
//! | D12 | a request waits for its timeout though its connection is lost | here |
//! | D13 | messages dropped for a slow reader are neither counted nor all told | here |
//! | D14 | a later INFO changes nothing | here |
//! | D16 | statistics count bytes twice | here |
//! | D17 | a client that nobody holds goes on dialing | `shutdown.rs`: `the_drop_of_the_last_handle_without_a_server_…` |
//! | D18 | a denied subscription is silent for ever | `surface::a_subscription_is_confirmed_or_denied` and `behaviour::what_is_not_permitted_…` of the suite |
//! | D19 | a small payload that is kept holds a whole read buffer | here; whole messages: `midge-proto/tests/connection/inbound.rs`: `kept_messages_pin_…` |
//!
//! D8, D15, D20 and D21 are about JetStream, key-value, TLS, and credentials in URLs; D20,
//! the end of the initial values of a watch, has no counterpart in the core.

mod steps;

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::mpsc;
use std::time::Duration;

use midge::{
    ConnectOptions, Event, Events, FlushError, NotSent, Position, PublishError, RequestError,
    Subscription, WhenFull,
};
use midge_testing::{Direction, Link, NatsServer, Peer, ScriptedServer};
use tokio::time::Instant;

use steps::{Outcome, assert_took, connect, impatient, raw_subscriber, soon, wait_for};

const HOUR: Duration = Duration::from_secs(3600);

async fn finish(server: ScriptedServer) -> Outcome {
    Ok(tokio::task::spawn_blocking(|| server.finish()).await??)
}

/// How often each number came, in ascending order within the time before and after a reconnect.
async fn arrivals(
    mut numbers: Subscription,
) -> Result<BTreeMap<u64, u32>, std::num::ParseIntError> {
    soon(numbers.drain()).await;
    let mut arrived = BTreeMap::new();
    while let Some(message) = soon(numbers.next()).await {
        let text = String::from_utf8_lossy(message.payload()).into_owned();
        *arrived.entry(text.trim_end().parse()?).or_default() += 1;
    }
    Ok(arrived)
}

/// D3: the buffers of the system are full of messages for a peer that has stopped reading, and the
/// connection is reset. Only messages that Midge calls unknown may be missing, and the flush over
/// them fails.
#[tokio::test]
async fn d3_what_a_reset_connection_took_is_unknown_and_the_rest_arrives_once() -> Outcome {
    let server = NatsServer::start()?;
    let observer = ConnectOptions::new(server.url()).subscription_capacity(1 << 20, 1 << 30);
    let observer = connect(observer).await?;
    let numbers = soon(observer.subscribe("numbers").confirmed()).await?;
    let link = Link::to(&server.url()).start()?;
    let client = connect(impatient(&link.url()).ping_interval(HOUR)).await?;
    let mut events = client.events();
    let mut published = 0;
    let mut next = || {
        published += 1;
        format!("{:<1024}", published - 1)
    };
    for _ in 0..1000 {
        client.publish("numbers", next()).await?;
    }
    soon(client.flush()).await?;

    link.stall(Direction::ToServer);
    // The paused clock goes on once neither the sockets nor the client take any more.
    tokio::time::pause();
    let full = Duration::from_secs(1);
    while soon(client.publish("numbers", next()).timeout(full)).await.is_ok() {}
    tokio::time::resume();
    let accepted = client.statistics().out_messages;
    let flush = tokio::spawn(client.flush().into_future());
    tokio::task::yield_now().await;

    link.cut();
    let lost = wait_for(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
    let Event::Disconnected(lost) = lost else { return Err("it is that event".into()) };
    assert!(matches!(soon(flush).await?, Err(FlushError::Disconnected(_))));
    link.resume(Direction::ToServer);
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    // The refused one has no position, so the numbers of these are one ahead.
    for _ in 0..1000 {
        client.publish("numbers", next()).await?;
    }
    soon(client.flush()).await?;
    let report = soon(client.close()).await;
    let arrived = arrivals(numbers).await?;

    let (unknown, kept) = (&lost.unknown.positions, &lost.kept.positions);
    let mut missing = 0;
    for position in 0..accepted + 1000 {
        let number = if position < accepted { position } else { position + 1 };
        let times = arrived.get(&number).copied().unwrap_or(0);
        match unknown.contains(Position(position)) {
            true => assert!(times <= 1, "{position} arrived {times} times"),
            false => assert_eq!(times, 1, "{position} is not unknown"),
        }
        missing += u64::from(times == 0);
    }
    assert!(missing > 0 && !kept.is_empty(), "{missing} are missing, this shows nothing");
    assert_eq!(arrived.len() as u64, accepted + 1000 - missing);
    assert_eq!(report.fates.confirmed.messages, accepted + 1000 - unknown.len());
    assert_eq!(report.fates.unknown, lost.unknown);
    assert!(lost.dropped.is_empty() && report.fates.kept.is_empty());
    assert!(report.fates.dropped.is_empty());
    Ok(())
}

/// D4: more than there is room for would be refused if one that timed out kept its place.
#[tokio::test]
async fn d4_a_hundred_thousand_requests_that_time_out_leave_nothing_behind() -> Outcome {
    const AT_ONCE: usize = 500;
    let server = NatsServer::start()?;
    // It takes what comes, all the time: what nobody reads the server writes to for 10 s, no longer.
    let silent = connect(server.url()).await?;
    let silence = silent.subscribe("silent").capacity(1, 1 << 20).when_full(WhenFull::DropNewest);
    let _silence = soon(silence.confirmed()).await?;
    let options = ConnectOptions::new(server.url()).max_requests(AT_ONCE);
    let client = connect(options.request_timeout(Duration::from_millis(1))).await?;
    for _ in 0..200 {
        let requests =
            (0..AT_ONCE).map(|_| tokio::spawn(client.request("silent", "").into_future()));
        for request in requests.collect::<Vec<_>>() {
            let ended = soon(request).await?;
            let in_time = matches!(
                ended,
                Err(RequestError::TimedOut | RequestError::NotSent(NotSent::TimedOut))
            );
            assert!(in_time, "{ended:?}");
        }
    }
    soon(client.flush()).await?;
    // The inbox that requests share.
    assert_eq!((client.subscriptions(), client.pending_bytes()), (1, 0));
    Ok(())
}

/// D9: the server passes on header blocks that are none.
#[tokio::test]
async fn d9_malformed_headers_of_another_disturb_nobody() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect(server.url()).await?;
    let mut subscription = client.subscribe("s").await?;
    let mut other = soon(client.subscribe("other").confirmed()).await?;
    let mut raw = Peer::connect(&server.url())?;
    raw.expect("INFO ")?;
    raw.send("CONNECT {\"verbose\":false,\"headers\":true}\r\n")?;
    let blocks: [&[u8]; 6] = [
        b"NATS/1.0\r\nOk: 1\r\nValue: \xff\xfe\r\n\r\n",
        b"NATS/1.0\r\nOk: 1\r\nno colon\r\n\r\n",
        b"NATS/1.0\r\nOk: 1\r\na space: 1\r\n\r\n",
        b"NATS/1.0\r\nOk: 1\r\n: no name\r\n\r\n",
        b"NATS/1.0\r\nOk: 1\r\nno end",
        b"nothing of the kind",
    ];
    for block in blocks {
        let lengths = format!("HPUB s {} {}\r\n", block.len(), block.len() + 1);
        raw.send([lengths.as_bytes(), block, b"x\r\n"].concat())?;
    }
    raw.send("PUB other 1\r\ny\r\n")?;
    for block in blocks {
        let message = soon(subscription.next()).await.expect("the subscription goes on");
        assert_eq!(message.payload(), b"x");
        let headers = message.headers().expect("it has headers");
        let ok = block.starts_with(b"NATS/1.0\r\n").then_some("1");
        assert_eq!(headers.get("Ok"), ok, "{}", block.escape_ascii());
    }
    assert_eq!(soon(other.next()).await.expect("it goes on").payload(), b"y");
    assert_eq!(client.statistics().connects, 1);
    Ok(())
}

/// D11, while the connection is up and the server does not read.
#[tokio::test]
async fn d11_a_server_that_stands_still_holds_up_nobody_past_a_deadline() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect(ConnectOptions::new(server.url()).ping_interval(HOUR)).await?;
    server.pause()?;
    tokio::time::pause();
    let timeout = Duration::from_secs(7);
    let mut began = Instant::now();
    while soon(client.publish("s", [0; 16 * 1024]).timeout(timeout)).await.is_ok() {
        began = Instant::now();
    }
    assert_took(began, timeout);
    began = Instant::now();
    assert_eq!(client.try_publish("s", [0; 16 * 1024]), Err(PublishError::Full));
    assert_took(began, Duration::ZERO);
    let full = client.request("s", [0; 16 * 1024]).timeout(timeout);
    assert_eq!(soon(full).await, Err(RequestError::Publish(PublishError::Full)));
    assert_took(began, timeout);
    began = Instant::now();
    assert_eq!(soon(client.flush().timeout(timeout)).await, Err(FlushError::TimedOut));
    assert_took(began, timeout);
    Ok(())
}

/// D11, while there is no connection.
#[tokio::test]
async fn d11_without_a_server_publishes_are_bounded_and_deadlines_kept() -> Outcome {
    let mut server = NatsServer::start()?;
    let timeout = Duration::from_secs(7);
    let options = impatient(&server.url()).reconnect_buffer(64 * 1024);
    let client = connect(options.request_timeout(timeout)).await?;
    let mut events = client.events();
    server.kill()?;
    wait_for(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
    tokio::time::pause();
    let mut began = Instant::now();
    let mut kept = 0;
    while client.publish("s", [0; 1000]).await.is_ok() {
        kept += 1;
    }
    assert_eq!(client.publish("s", [0; 1000]).await, Err(PublishError::Full));
    assert_took(began, Duration::ZERO);
    assert!((60..66).contains(&kept), "{kept} frames in 64 KiB");

    let request = soon(client.request("s", "")).await;
    assert_eq!(request, Err(RequestError::NotSent(NotSent::TimedOut)));
    assert_took(began, timeout);
    began = Instant::now();
    let own = soon(client.request("s", "").own_inbox()).await;
    assert!(matches!(own, Err(RequestError::NotSent(NotSent::TimedOut))), "{own:?}");
    assert_took(began, timeout);
    Ok(())
}

/// D12: it may have been carried out.
#[tokio::test]
async fn d12_a_lost_connection_ends_its_requests_at_once() -> Outcome {
    let mut server = NatsServer::start()?;
    let mut silent = raw_subscriber(&server, "silent")?;
    let client = connect(impatient(&server.url())).await?;
    let shared = tokio::spawn(client.request("silent", "").timeout(HOUR).into_future());
    let own = tokio::spawn(client.request("silent", "").own_inbox().timeout(HOUR).into_future());
    for _ in 0..2 {
        let come = tokio::task::spawn_blocking(move || {
            let line = silent.expect("MSG silent 1 ");
            silent.expect_exact("\r\n").and(line).map(|_| silent)
        });
        silent = soon(come).await??;
    }
    server.kill()?;
    assert_eq!(soon(shared).await?, Err(RequestError::Unknown));
    assert_eq!(soon(own).await?, Err(RequestError::Unknown));
    Ok(())
}

fn slow_consumers(events: &mut Events, subscription: &Subscription) -> usize {
    let mut count = 0;
    while let Some(event) = events.try_next() {
        if let Event::SlowConsumer { sid, subject, pending } = event {
            assert_eq!((sid, &subject), (subscription.sid(), subscription.subject()));
            assert_eq!(pending, 10);
            count += 1;
        }
    }
    count
}

/// D13: the counter is exact, and a burst is one event that says whose it is.
#[tokio::test]
async fn d13_what_is_dropped_is_counted_and_a_burst_is_one_event() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect(server.url()).await?;
    let mut events = client.events();
    let slow = client.subscribe("s").capacity(10, 1 << 20).when_full(WhenFull::DropNewest);
    let mut slow = slow.await?;
    for burst in 1..=3 {
        for number in 0..10_000 {
            client.publish("s", number.to_string()).await?;
        }
        soon(client.flush()).await?;
        assert_eq!((slow.pending(), slow.dropped()), (10, burst * 9_990));
        assert_eq!(slow_consumers(&mut events, &slow), 1);
        for number in 0..10 {
            let message = slow.try_next().expect("ten are there");
            assert_eq!(message.payload(), number.to_string().as_bytes());
        }
        assert_eq!(slow.delivered(), burst * 10);
    }
    Ok(())
}

/// D14: limits are those of the last INFO, and the next server may be one that it named.
#[tokio::test]
async fn d14_every_info_counts() -> Outcome {
    let (say, said) = mpsc::channel::<()>();
    let next = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect_closed().map(|_| ())
    })?;
    let named = format!("127.0.0.1:{}", next.port());
    let info = format!(
        r#"INFO {{"server_id":"A","max_payload":512,"headers":true,"proto":1,"connect_urls":["{named}"]}} "#
    );
    let first = ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        // Each step waits until the client has been looked at.
        let _ = said.recv();
        peer.send(format!("{info}\r\n"))?;
        let _ = said.recv();
        drop(listener);
        peer.cut()
    })?;
    let options = impatient(&first.url()).linger(Duration::ZERO);
    let client = connect(options).await?;
    assert_eq!(client.max_payload(), Some(1 << 20));
    let mut events = client.events();
    say.send(())?;
    let changed =
        wait_for(&mut events, |event| matches!(event, Event::ServersChanged { .. })).await;
    let Event::ServersChanged { added, removed, ignored } = changed else {
        return Err("it is that event".into());
    };
    let added: Vec<_> = added.iter().map(|url| (url.host(), url.port())).collect();
    assert_eq!((added, removed.len(), ignored), (vec![("127.0.0.1", next.port())], 0, 0));
    assert_eq!(client.max_payload(), Some(512));
    let known = client.server_info().map(|info| info.connect_urls.clone());
    assert_eq!(known, Some(vec![named]));
    client.publish("s", [0; 512]).await?;
    let refused = client.publish("s", [0; 513]).await;
    assert_eq!(refused, Err(PublishError::TooLarge { size: 513, max: 512 }));

    say.send(())?;
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    assert_eq!(client.server().map(|server| server.port()), Some(next.port()));
    drop(client);
    finish(first).await?;
    finish(next).await
}

/// D16: both sides of a connection count the same bytes.
#[tokio::test]
async fn d16_statistics_are_what_the_server_counted() -> Outcome {
    const MESSAGES: usize = 1000;
    const INFO: &str = r#"{"server_id":"S","max_payload":1048576,"headers":true}"#;
    let (to, counted) = mpsc::channel();
    let server = ScriptedServer::start(move |mut listener| {
        let mut peer: Peer = listener.accept()?;
        let connect = peer.handshake_with(INFO)?;
        let mut sent = format!("INFO {INFO} \r\nPONG\r\n").len();
        let mut received = format!("CONNECT {connect}\r\nPING\r\n").len();
        // Behind the last message comes the PING of the flush.
        let all = peer.read_until(|bytes| bytes.ends_with(b"last\r\nPING\r\n"))?;
        received += all.len();
        let pings = all.windows(6).filter(|bytes| bytes == b"PING\r\n").count();
        let answer = "MSG s 1 5\r\nhello\r\n".repeat(3) + &"PONG\r\n".repeat(pings);
        peer.send(&answer)?;
        sent += answer.len();
        let _ = to.send((received, sent));
        peer.expect_closed().map(|_| ())
    })?;
    let client = connect(ConnectOptions::new(server.url()).linger(Duration::ZERO)).await?;
    let mut subscription = client.subscribe("s").await?;
    for _ in 1..MESSAGES {
        client.publish("out", [b'x'; 1000]).await?;
    }
    client.publish("out", "last").await?;
    soon(client.flush()).await?;
    for _ in 0..3 {
        assert!(soon(subscription.next()).await.is_some());
    }
    let statistics = client.statistics();
    let (received, sent) = counted.recv()?;
    assert_eq!((statistics.out_messages, statistics.out_bytes), (1000, received as u64));
    assert_eq!((statistics.in_messages, statistics.in_bytes), (3, sent as u64));
    assert_eq!((statistics.confirmed, statistics.unknown, statistics.dropped), (1000, 0, 0));
    drop((client, subscription));
    finish(server).await
}

/// D19: two messages lie in the same read buffer, and the payload of one is kept.
#[tokio::test]
async fn d19_a_small_payload_that_is_kept_holds_nothing_but_itself() -> Outcome {
    const FRAME: &str = "MSG s 1 16\r\n0123456789abcdef\r\n";
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB s 1")?;
        peer.send(FRAME.repeat(2))?;
        peer.expect_closed().map(|_| ())
    })?;
    let client = connect(ConnectOptions::new(server.url()).linger(Duration::ZERO)).await?;
    let mut subscription = client.subscribe("s").await?;
    let first = soon(subscription.next()).await.expect("it was sent");
    let second = soon(subscription.next()).await.expect("it was sent");
    let apart = second.payload().as_ptr() as usize - first.payload().as_ptr() as usize;
    assert_eq!(apart, FRAME.len(), "they lie side by side in one buffer");
    let payload = first.into_payload();
    assert!(payload.is_unique(), "it shares a buffer with {second:?}");
    assert_eq!(payload, second.payload());
    drop((client, subscription));
    finish(server).await
}
