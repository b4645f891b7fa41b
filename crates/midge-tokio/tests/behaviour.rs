//! What a client does against a real nats-server.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use midge::{
    Client, CloseReason, ConnectError, ConnectOptions, DisconnectCause, EndReason, Event, Events,
    HeaderMap, Message, NotSent, PublishError, RequestError, RespondError, State, SubscribeError,
    Subscription,
};
use midge_testing::{NatsServer, Peer, ScriptedServer};

type Outcome = Result<(), Box<dyn Error>>;

/// What takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens within 20 seconds")
}

async fn client(server: &NatsServer) -> Result<Client, ConnectError> {
    soon(midge_tokio::connect(server.url())).await
}

async fn next(subscription: &mut Subscription) -> Message {
    soon(subscription.next()).await.expect("the subscription goes on")
}

async fn wait_for(events: &mut Events, mut wanted: impl FnMut(&Event) -> bool) -> Event {
    loop {
        let event = soon(events.next()).await.expect("the wanted event comes before the end");
        if wanted(&event) {
            return event;
        }
    }
}

/// A client of plain text that is subscribed to `subject`.
fn raw_subscriber(server: &NatsServer, subject: &str) -> Result<Peer, Box<dyn Error>> {
    let mut raw = Peer::connect(&server.url())?;
    raw.expect("INFO ")?;
    raw.send(format!("CONNECT {{\"verbose\":false}}\r\nSUB {subject} 1\r\nPING\r\n"))?;
    raw.expect("PONG")?;
    Ok(raw)
}

/// Reads the messages `0` to `count - 1`, in this order and each once.
fn expect_numbers(raw: &mut Peer, subject: &str, count: usize) -> Outcome {
    for number in 0..count {
        let payload = number.to_string();
        raw.expect_exact(format!("MSG {subject} 1 {}\r\n{payload}\r\n", payload.len()))?;
    }
    Ok(())
}

#[tokio::test]
async fn messages_come_to_who_subscribed_in_order() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let mut exact = client.subscribe("a.b.c").await?;
    let mut one = client.subscribe("a.*.c").await?;
    let mut rest = client.subscribe("a.>").await?;
    for (subject, payload) in [("a.b.c", "1"), ("a.x.c", "2"), ("a.x", "3"), ("b", "4")] {
        client.publish(subject, payload).await?;
    }
    assert_eq!(next(&mut exact).await.payload(), b"1");
    assert_eq!(next(&mut one).await.payload(), b"1");
    assert_eq!(next(&mut one).await.subject(), "a.x.c");
    for payload in [b"1", b"2", b"3"] {
        assert_eq!(next(&mut rest).await.payload(), payload);
    }
    soon(client.flush().into_future()).await?;
    assert_eq!((exact.try_next(), one.try_next(), rest.try_next()), (None, None, None));
    assert_eq!((rest.delivered(), rest.pending(), rest.dropped()), (3, 0, 0));
    Ok(())
}

#[tokio::test]
async fn one_member_of_a_queue_group_gets_each_message() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let mut members = [
        client.queue_subscribe("jobs", "workers").await?,
        client.queue_subscribe("jobs", "workers").await?,
    ];
    for number in 0..100 {
        client.publish("jobs", number.to_string()).await?;
    }
    soon(client.flush().into_future()).await?;
    let mut all = Vec::new();
    for member in &mut members {
        let before = all.len();
        while let Some(message) = member.try_next() {
            all.push(message.payload().to_vec());
        }
        assert!(all.len() > before, "each member gets some");
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 100);
    Ok(())
}

#[tokio::test]
async fn headers_arrive_as_they_were_sent() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let mut subscription = client.subscribe("h").await?;
    let mut headers = HeaderMap::new();
    headers.append("X-One", "1")?.append("x-one", "2")?.append("X-One", "3")?;
    client.publish("h", "").headers(&headers).header("Y", "z").await?;
    let message = next(&mut subscription).await;
    let got = message.headers().expect("it has headers");
    assert_eq!(got.get_all("X-One").collect::<Vec<_>>(), [b"1", b"3"]);
    assert_eq!((got.get("x-one"), got.get("Y")), (Some("2"), Some("z")));
    let refused = client.publish("h", "").header("X", "a\r\nPUB x 0").await;
    assert!(matches!(refused, Err(PublishError::Header(_))));
    Ok(())
}

#[tokio::test]
async fn a_request_gets_the_reply_of_a_responder() -> Outcome {
    let server = NatsServer::start()?;
    let (client, responder) = (client(&server).await?, client(&server).await?);
    let mut questions = responder.subscribe("double").await?;
    soon(responder.flush().into_future()).await?;
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let answer = question.payload().repeat(2);
            responder.respond(&question, answer).header("By", "me").await.expect("it is open");
        }
    });
    let requests = (0..100).map(|number| {
        let client = client.clone();
        tokio::spawn(async move { (number, client.request("double", number.to_string()).await) })
    });
    for request in requests.collect::<Vec<_>>() {
        let (number, reply) = soon(request).await?;
        let reply = reply?;
        assert_eq!(reply.payload(), number.to_string().repeat(2).as_bytes());
        assert_eq!(reply.headers().and_then(|headers| headers.get("By")), Some("me"));
    }
    Ok(())
}

#[tokio::test]
async fn a_request_that_nobody_answers_ends_in_time() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let nobody = soon(client.request("nobody.is.here", "").into_future()).await;
    assert_eq!(nobody, Err(RequestError::NoResponders));
    let _silent = client.subscribe("silent").await?;
    let timeout = Duration::from_millis(50);
    let late = soon(client.request("silent", "").timeout(timeout).into_future()).await;
    assert_eq!(late, Err(RequestError::TimedOut));
    Ok(())
}

#[tokio::test]
async fn a_message_without_reply_cannot_be_answered() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let mut subscription = client.subscribe("s").await?;
    client.publish("s", "").await?;
    client.publish("s", "").reply("back").await?;
    let mut back = client.subscribe("back").await?;
    let deaf = next(&mut subscription).await;
    assert_eq!(client.respond(&deaf, "x").try_send(), Err(RespondError::NoReply));
    let open = next(&mut subscription).await;
    client.respond(&open, "x").await?;
    assert_eq!(next(&mut back).await.payload(), b"x");
    Ok(())
}

#[tokio::test]
async fn what_is_not_permitted_ends_its_subscription_and_request() -> Outcome {
    let config = r#"authorization { users: [ { user: u, password: p, permissions:
        { subscribe: { deny: "secret" }, publish: { deny: "forbidden" } } } ] }"#;
    let server = NatsServer::builder().config(config).start()?;
    let options = ConnectOptions::new(server.url()).user_and_password("u", "p");
    let client = soon(midge_tokio::connect(options)).await?;
    let mut events = client.events();
    let mut secret = client.subscribe("secret").await?;
    let mut open = client.subscribe("open").await?;
    assert_eq!(soon(secret.next()).await, None);
    assert!(matches!(secret.end(), Some(EndReason::Denied(_))));
    wait_for(&mut events, |event| matches!(event, Event::ServerError(_))).await;
    let denied = soon(client.request("forbidden", "").into_future()).await;
    assert!(matches!(denied, Err(RequestError::Permission(_))), "{denied:?}");
    client.publish("open", "still here").await?;
    assert_eq!(next(&mut open).await.payload(), b"still here");
    Ok(())
}

#[tokio::test]
async fn wrong_credentials_fail_the_connect_and_say_so() -> Outcome {
    let server = NatsServer::builder().config("authorization { token: right }").start()?;
    let options = ConnectOptions::new(server.url()).token("wrong");
    let error = soon(midge_tokio::connect(options)).await.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("credentials"), "{error}");
    let url = server.url().replace("://", "://right@");
    soon(midge_tokio::connect(url)).await?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_fails_the_connect() -> Outcome {
    let port = midge_testing::unused_port()?;
    let error = soon(midge_tokio::connect(format!("127.0.0.1:{port}"))).await;
    let error = error.map(|_| ()).unwrap_err();
    let dial = |cause: &DisconnectCause| matches!(cause, DisconnectCause::Dial(_));
    assert!(
        matches!(&error, ConnectError::Closed(CloseReason::NoServers { cause, .. }) if dial(cause)),
        "{error}"
    );
    Ok(())
}

#[tokio::test]
async fn what_speaks_no_nats_is_left_at_once() -> Outcome {
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.send("220 smtp.example ready\r\n")?;
        peer.expect_closed().map(|_| ())
    })?;
    let wait = Duration::from_secs(3600);
    let options =
        ConnectOptions::new(server.url()).retry_first_connect(true).reconnect_wait(wait, wait);
    let client = soon(midge_tokio::connect(options)).await?;
    let mut events = client.events();
    wait_for(&mut events, |event| matches!(event, Event::AttemptFailed { .. })).await;
    tokio::task::spawn_blocking(|| server.finish()).await??;
    Ok(())
}

#[tokio::test]
async fn a_burst_arrives_whole_though_the_server_falls_silent_behind_it() -> Outcome {
    const COUNT: usize = 8000;
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB s 1")?;
        let frame = format!("MSG s 1 1000\r\n{}\r\n", "x".repeat(1000));
        peer.send(frame.repeat(COUNT))?;
        peer.expect_closed().map(|_| ())
    })?;
    let options = ConnectOptions::new(server.url()).linger(Duration::ZERO);
    let client = soon(midge_tokio::connect(options)).await?;
    let mut subscription = client.subscribe("s").await?;
    for _ in 0..COUNT {
        assert_eq!(next(&mut subscription).await.payload().len(), 1000);
    }
    assert_eq!((subscription.pending(), subscription.dropped()), (0, 0));
    drop((client, subscription));
    tokio::task::spawn_blocking(|| server.finish()).await??;
    Ok(())
}

#[tokio::test]
async fn unsubscribe_after_gives_so_many_messages_and_ends() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let mut subscription = client.subscribe("s").await?;
    subscription.unsubscribe_after(3);
    for _ in 0..10 {
        client.publish("s", "").await?;
    }
    let mut count = 0;
    while soon(subscription.next()).await.is_some() {
        count += 1;
    }
    assert_eq!((count, subscription.end()), (3, Some(EndReason::MaxReached)));
    Ok(())
}

#[tokio::test]
async fn an_unsubscribed_subscription_gives_nothing_more() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let mut subscription = client.subscribe("s").await?;
    client.publish("s", "").await?;
    soon(client.flush().into_future()).await?;
    assert_eq!(subscription.pending(), 1);
    subscription.unsubscribe();
    assert_eq!(subscription.pending(), 0);
    assert_eq!(soon(subscription.next()).await, None);
    assert_eq!(subscription.end(), Some(EndReason::Unsubscribed));
    Ok(())
}

#[tokio::test]
async fn a_drained_subscription_gives_all_that_was_sent_before() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let mut subscription = client.subscribe("s").await?;
    for _ in 0..1000 {
        client.publish("s", "").await?;
    }
    soon(subscription.drain()).await;
    client.publish("s", "too late").await?;
    let mut count = 0;
    while let Some(batch) = soon(subscription.next_batch(64)).await {
        assert!(batch.len() > 0 && batch.len() <= 64);
        count += batch.count();
    }
    assert_eq!((count, subscription.end()), (1000, Some(EndReason::Drained)));
    Ok(())
}

#[tokio::test]
async fn a_drain_lets_subscriptions_read_out_and_publishes_arrive() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let mut raw = raw_subscriber(&server, "out")?;
    let mut subscription = client.subscribe("in").await?;
    for _ in 0..100 {
        client.publish("in", "").await?;
    }
    soon(client.flush().into_future()).await?;
    let drained = client.drain();
    assert_eq!(client.status().state, State::Draining);
    assert_eq!(client.subscribe("x").await.map(|_| ()), Err(SubscribeError::Draining));
    let request = soon(client.request("x", "").into_future()).await;
    assert_eq!(request, Err(RequestError::NotSent(NotSent::Draining)));
    let mut number = 0;
    while soon(subscription.next()).await.is_some() {
        client.publish("out", number.to_string()).await?;
        number += 1;
    }
    assert_eq!(number, 100);
    let report = soon(drained).await;
    assert_eq!(report.why, CloseReason::Drained);
    assert!(report.fates.unknown.is_empty() && report.fates.dropped.is_empty());
    assert_eq!(report.fates.confirmed.messages, 200);
    expect_numbers(&mut raw, "out", 100)?;
    assert_eq!(client.try_publish("out", ""), Err(PublishError::Closed));
    Ok(())
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_subscription_that_was_dropped() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let subscription = client.subscribe("in").await?;
    client.publish("in", "").await?;
    soon(client.flush().into_future()).await?;
    let drained = client.drain();
    drop(subscription);
    assert_eq!(soon(drained).await.why, CloseReason::Drained);
    Ok(())
}

#[tokio::test]
async fn a_subscription_outlives_a_killed_server() -> Outcome {
    let mut server = NatsServer::start()?;
    let options = ConnectOptions::new(server.url())
        .reconnect_wait(Duration::from_millis(5), Duration::from_millis(50));
    let client = soon(midge_tokio::connect(options)).await?;
    let mut events = client.events();
    let mut subscription = client.subscribe("s").await?;
    client.publish("s", "before").await?;
    assert_eq!(next(&mut subscription).await.payload(), b"before");
    let before = client.status();

    server.kill()?;
    wait_for(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
    assert!(matches!(client.status().state, State::Reconnecting { .. }));
    client.publish("s", "while it was away").await?;

    server.restart()?;
    let connected = wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    assert!(matches!(connected, Event::Connected(facts) if facts.again));
    assert_eq!(next(&mut subscription).await.payload(), b"while it was away");
    let after = client.status();
    assert!(matches!(after.state, State::Connected { .. }));
    assert_eq!(after.transition, before.transition + 2);
    assert_eq!(client.statistics().connects, 2);
    Ok(())
}

#[tokio::test]
async fn a_client_moves_to_the_servers_that_it_is_given() -> Outcome {
    let (old, new) = (NatsServer::start()?, NatsServer::start()?);
    let client = client(&old).await?;
    let mut events = client.events();
    let mut subscription = client.subscribe("s").await?;
    client.set_servers(new.url())?;
    client.reconnect();
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    assert_eq!(client.server().map(|server| server.port()), Some(new.port()));
    client.publish("s", "here").await?;
    assert_eq!(next(&mut subscription).await.payload(), b"here");
    Ok(())
}

#[tokio::test]
async fn a_full_reconnect_buffer_refuses_at_once() -> Outcome {
    let mut server = NatsServer::start()?;
    let options = ConnectOptions::new(server.url()).reconnect_buffer(1024);
    let client = soon(midge_tokio::connect(options)).await?;
    let mut events = client.events();
    server.kill()?;
    wait_for(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
    client.publish("s", [0; 512]).await?;
    let full = soon(client.publish("s", [0; 512]).into_future()).await;
    assert_eq!(full, Err(PublishError::Full));
    let report = soon(client.close()).await;
    assert_eq!(report.fates.kept.messages, 1);
    Ok(())
}

#[tokio::test]
async fn publishing_more_than_there_is_room_waits_and_loses_nothing() -> Outcome {
    let server = NatsServer::start()?;
    let options = ConnectOptions::new(server.url()).max_pending(16 * 1024);
    let client = soon(midge_tokio::connect(options)).await?;
    let mut raw = raw_subscriber(&server, "s")?;
    let publishers = (0..4).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            for _ in 0..500 {
                client.publish("s", [b'x'; 1000]).await.expect("it waits for room");
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        soon(publisher).await?;
    }
    soon(client.flush().into_future()).await?;
    let frame = "MSG s 1 1000\r\n".len() + 1002;
    raw.read_until(|bytes| bytes.len() == 2000 * frame)?;
    Ok(())
}

#[tokio::test]
async fn a_flush_means_that_the_server_has_it() -> Outcome {
    let server = NatsServer::start()?;
    let (client, other) = (client(&server).await?, client(&server).await?);
    let mut subscription = other.subscribe("s").await?;
    soon(other.flush().into_future()).await?;
    for number in 0..1000 {
        client.publish("s", number.to_string()).await?;
    }
    soon(client.flush().into_future()).await?;
    soon(other.flush().into_future()).await?;
    assert_eq!(subscription.pending(), 1000);
    assert_eq!(
        subscription.try_next().map(|message| message.into_payload()).as_deref(),
        Some(&b"0"[..])
    );
    assert!(soon(client.rtt()).await? < PATIENCE);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_publish_and_many_subscriptions_receive() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let receivers = (0..50).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            let mut subscription = client.subscribe(format!("s.{number}")).await?;
            client.flush().await.expect("it is open");
            client.publish("ready", "").await.expect("it is open");
            let mut expected = 0u32;
            while expected < 2000 {
                let batch = subscription.next_batch(100).await.expect("it goes on");
                for message in batch {
                    assert_eq!(message.payload(), expected.to_be_bytes());
                    expected += 1;
                }
            }
            Ok::<_, SubscribeError>(())
        })
    });
    let mut ready = client.subscribe("ready").await?;
    soon(client.flush().into_future()).await?;
    let receivers: Vec<_> = receivers.collect();
    for _ in 0..50 {
        next(&mut ready).await;
    }
    for number in 0..50 {
        let client = client.clone();
        tokio::spawn(async move {
            let subject = format!("s.{number}");
            for count in 0..2000u32 {
                client.publish(&subject, count.to_be_bytes()).await.expect("it is open");
            }
        });
    }
    for receiver in receivers {
        soon(receiver).await??;
    }
    Ok(())
}

#[tokio::test]
async fn the_longest_subject_that_is_not_refused_costs_no_connection() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    // `subject` and ` 1` are what the server counts against its default of 4096.
    let longest = "s".repeat(4096 - 2);
    client.publish(longest.as_str(), "x").await?;
    soon(client.flush().into_future()).await?;
    let refused = client.publish(format!("{longest}s"), "x").await;
    assert_eq!(refused, Err(PublishError::LineTooLong { length: 4097, max: 4096 }));
    let longest = "s".repeat(4096 - 21);
    let _subscription = client.subscribe(longest.as_str()).await?;
    soon(client.flush().into_future()).await?;
    let refused = client.subscribe(format!("{longest}s")).await.map(|_| ());
    assert_eq!(refused, Err(SubscribeError::LineTooLong { length: 4097, max: 4096 }));
    assert_eq!(client.statistics().connects, 1);
    Ok(())
}

#[tokio::test]
async fn a_mistake_in_a_reply_subject_is_told_apart_from_one_in_the_subject() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let error = client.publish("a", "x").reply("b c").await;
    assert!(matches!(error, Err(PublishError::Reply(_))), "{error:?}");
    let error = client.publish("b c", "x").reply("a").try_send();
    assert!(matches!(error, Err(PublishError::Subject(_))), "{error:?}");
    Ok(())
}
