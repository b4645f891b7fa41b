//! What a client does against a real nats-server.

use std::time::Duration;

use midge::{
    CloseReason, ConnectError, ConnectOptions, DisconnectCause, EndReason, Event, HeaderMap,
    LastError, NotSent, PublishError, RequestError, RespondError, State, SubscribeError,
};

use crate::conformance::steps::{
    PATIENCE, connect, expect_numbers, finish, next, raw_subscriber, soon, until, wait_for,
};
use crate::conformance::tasks::spawn;
use crate::conformance::{Adapter, Outcome};
use crate::{ClosedPort, NatsServer, ScriptedServer};

pub async fn messages_come_to_who_subscribed_in_order<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
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
    soon(client.flush()).await?;
    assert_eq!((exact.try_next(), one.try_next(), rest.try_next()), (None, None, None));
    assert_eq!((rest.delivered(), rest.pending(), rest.dropped()), (3, 0, 0));
    Ok(())
}

pub async fn one_member_of_a_queue_group_gets_each_message<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    let mut members = [
        client.queue_subscribe("jobs", "workers").await?,
        client.queue_subscribe("jobs", "workers").await?,
    ];
    for number in 0..100 {
        client.publish("jobs", number.to_string()).await?;
    }
    soon(client.flush()).await?;
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

pub async fn headers_arrive_as_they_were_sent<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
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

pub async fn a_request_gets_the_reply_of_a_responder<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let (client, responder) =
        (connect::<A>(server.url()).await?, connect::<A>(server.url()).await?);
    let mut questions = responder.subscribe("double").await?;
    soon(responder.flush()).await?;
    let _answering = spawn::<A, _>(async move {
        while let Some(question) = questions.next().await {
            let answer = question.payload().repeat(2);
            responder.respond(&question, answer).header("By", "me").await.expect("it is open");
        }
    });
    let requests = (0..100).map(|number| {
        let client = client.clone();
        spawn::<A, _>(async move { (number, client.request("double", number.to_string()).await) })
    });
    for request in requests.collect::<Vec<_>>() {
        let (number, reply) = soon(request).await;
        let reply = reply?;
        assert_eq!(reply.payload(), number.to_string().repeat(2).as_bytes());
        assert_eq!(reply.headers().and_then(|headers| headers.get("By")), Some("me"));
    }
    Ok(())
}

pub async fn a_request_that_nobody_answers_ends_in_time<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    let nobody = soon(client.request("nobody.is.here", "")).await;
    assert_eq!(nobody, Err(RequestError::NoResponders));
    let _silent = client.subscribe("silent").await?;
    // Long enough to be sent meanwhile: otherwise it ends as not sent.
    let timeout = Duration::from_secs(1);
    let late = soon(client.request("silent", "").timeout(timeout)).await;
    assert_eq!(late, Err(RequestError::TimedOut));
    Ok(())
}

pub async fn a_message_without_reply_cannot_be_answered<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
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

pub async fn what_is_not_permitted_ends_its_subscription_and_request<A: Adapter>() -> Outcome {
    let config = r#"authorization { users: [ { user: u, password: p, permissions:
        { subscribe: { deny: "secret" }, publish: { deny: "forbidden" } } } ] }"#;
    let server = NatsServer::builder().config(config).start()?;
    let options = ConnectOptions::new(server.url()).user_and_password("u", "p");
    let client = connect::<A>(options).await?;
    let mut events = client.events();
    let mut secret = client.subscribe("secret").await?;
    let mut open = client.subscribe("open").await?;
    assert_eq!(soon(secret.next()).await, None);
    assert!(matches!(secret.end(), Some(EndReason::Denied(_))));
    wait_for(&mut events, |event| matches!(event, Event::ServerError(_))).await;
    let denied = soon(client.request("forbidden", "")).await;
    assert!(matches!(denied, Err(RequestError::Permission(_))), "{denied:?}");
    client.publish("open", "still here").await?;
    assert_eq!(next(&mut open).await.payload(), b"still here");
    Ok(())
}

pub async fn wrong_credentials_fail_the_connect_and_say_so<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().config("authorization { token: right }").start()?;
    let options = ConnectOptions::new(server.url()).token("wrong");
    let error = connect::<A>(options).await.expect_err("the token is wrong");
    assert!(error.to_string().contains("credentials"), "{error}");
    let url = server.url().replace("://", "://right@");
    connect::<A>(url).await?;
    Ok(())
}

pub async fn a_server_that_is_not_there_fails_the_connect<A: Adapter>() -> Outcome {
    let nobody = ClosedPort::new()?;
    let error = connect::<A>(nobody.url()).await;
    let error = error.expect_err("nobody listens there");
    let dial = |cause: &DisconnectCause| matches!(cause, DisconnectCause::Dial(_));
    assert!(
        matches!(&error, ConnectError::Closed(CloseReason::NoServers { cause, .. }) if dial(cause)),
        "{error}"
    );
    Ok(())
}

pub async fn what_speaks_no_nats_is_left_at_once<A: Adapter>() -> Outcome {
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.send("220 smtp.example ready\r\n")?;
        peer.expect_closed().map(|_| ())
    })?;
    let wait = Duration::from_secs(3600);
    let options =
        ConnectOptions::new(server.url()).retry_first_connect(true).reconnect_wait(wait, wait);
    let client = connect::<A>(options).await?;
    until(|| matches!(client.last_error(), Some(LastError::Attempt { .. }))).await;
    finish(server).await
}

pub async fn a_burst_arrives_whole_though_the_server_falls_silent_behind_it<A: Adapter>() -> Outcome
{
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
    let client = connect::<A>(options).await?;
    let mut subscription = client.subscribe("s").await?;
    for _ in 0..COUNT {
        assert_eq!(next(&mut subscription).await.payload().len(), 1000);
    }
    assert_eq!((subscription.pending(), subscription.dropped()), (0, 0));
    drop((client, subscription));
    finish(server).await
}

pub async fn unsubscribe_after_gives_so_many_messages_and_ends<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
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

pub async fn an_unsubscribed_subscription_gives_nothing_more<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    let mut subscription = client.subscribe("s").await?;
    client.publish("s", "").await?;
    soon(client.flush()).await?;
    assert_eq!(subscription.pending(), 1);
    subscription.unsubscribe();
    assert_eq!(subscription.pending(), 0);
    assert_eq!(soon(subscription.next()).await, None);
    assert_eq!(subscription.end(), Some(EndReason::Unsubscribed));
    Ok(())
}

pub async fn a_drained_subscription_gives_all_that_was_sent_before<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
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

pub async fn a_drain_lets_subscriptions_read_out_and_publishes_arrive<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    let mut raw = raw_subscriber(&server, "out")?;
    let mut subscription = client.subscribe("in").await?;
    for _ in 0..100 {
        client.publish("in", "").await?;
    }
    soon(client.flush()).await?;
    let drained = client.drain();
    assert_eq!(client.status().state, State::Draining);
    assert_eq!(client.subscribe("x").await.map(|_| ()), Err(SubscribeError::Draining));
    let request = soon(client.request("x", "")).await;
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

pub async fn a_drain_does_not_wait_for_a_subscription_that_was_dropped<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    let subscription = client.subscribe("in").await?;
    client.publish("in", "").await?;
    soon(client.flush()).await?;
    let drained = client.drain();
    drop(subscription);
    assert_eq!(soon(drained).await.why, CloseReason::Drained);
    Ok(())
}

pub async fn a_subscription_outlives_a_killed_server<A: Adapter>() -> Outcome {
    let mut server = NatsServer::start()?;
    let options = ConnectOptions::new(server.url())
        .reconnect_wait(Duration::from_millis(5), Duration::from_millis(50))
        .reconnect_jitter(Duration::ZERO, Duration::ZERO);
    let client = connect::<A>(options).await?;
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

pub async fn a_client_moves_to_the_servers_that_it_is_given<A: Adapter>() -> Outcome {
    let (old, new) = (NatsServer::start()?, NatsServer::start()?);
    let client = connect::<A>(old.url()).await?;
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

pub async fn a_full_reconnect_buffer_refuses_at_once<A: Adapter>() -> Outcome {
    let mut server = NatsServer::start()?;
    let options = ConnectOptions::new(server.url()).reconnect_buffer(1024);
    let client = connect::<A>(options).await?;
    let mut events = client.events();
    server.kill()?;
    wait_for(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
    client.publish("s", [0; 512]).await?;
    let full = soon(client.publish("s", [0; 512])).await;
    assert_eq!(full, Err(PublishError::Full));
    let report = soon(client.close()).await;
    assert_eq!(report.fates.kept.messages, 1);
    Ok(())
}

pub async fn publishing_more_than_there_is_room_waits_and_loses_nothing<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let options = ConnectOptions::new(server.url()).max_pending(16 * 1024);
    let client = connect::<A>(options).await?;
    let mut raw = raw_subscriber(&server, "s")?;
    let publishers = (0..4).map(|_| {
        let client = client.clone();
        spawn::<A, _>(async move {
            for _ in 0..500 {
                client.publish("s", [b'x'; 1000]).await.expect("it waits for room");
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        soon(publisher).await;
    }
    soon(client.flush()).await?;
    for _ in 0..2000 {
        raw.expect_exact(format!("MSG s 1 1000\r\n{}\r\n", "x".repeat(1000)))?;
    }
    Ok(())
}

pub async fn a_flush_means_that_the_server_has_it<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let (client, other) = (connect::<A>(server.url()).await?, connect::<A>(server.url()).await?);
    let mut subscription = other.subscribe("s").await?;
    soon(other.flush()).await?;
    for number in 0..1000 {
        client.publish("s", number.to_string()).await?;
    }
    soon(client.flush()).await?;
    soon(other.flush()).await?;
    assert_eq!(subscription.pending(), 1000);
    assert_eq!(
        subscription.try_next().map(|message| message.into_payload()).as_deref(),
        Some(&b"0"[..])
    );
    assert!(soon(client.rtt()).await? < PATIENCE);
    Ok(())
}

pub async fn many_tasks_publish_and_many_subscriptions_receive<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    let receivers = (0..50).map(|number| {
        let client = client.clone();
        spawn::<A, _>(async move {
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
    soon(client.flush()).await?;
    let receivers: Vec<_> = receivers.collect();
    for _ in 0..50 {
        next(&mut ready).await;
    }
    for number in 0..50 {
        let client = client.clone();
        let _publishing = spawn::<A, _>(async move {
            let subject = format!("s.{number}");
            for count in 0..2000u32 {
                client.publish(&subject, count.to_be_bytes()).await.expect("it is open");
            }
        });
    }
    for receiver in receivers {
        soon(receiver).await?;
    }
    Ok(())
}

pub async fn the_longest_subject_that_is_not_refused_costs_no_connection<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    // `subject` and ` 1` are what the server counts against its default of 4096.
    let longest = "s".repeat(4096 - 2);
    client.publish(longest.as_str(), "x").await?;
    soon(client.flush()).await?;
    let refused = client.publish(format!("{longest}s"), "x").await;
    assert_eq!(refused, Err(PublishError::LineTooLong { length: 4097, max: 4096 }));
    let longest = "s".repeat(4096 - 21);
    let _subscription = client.subscribe(longest.as_str()).await?;
    soon(client.flush()).await?;
    let refused = client.subscribe(format!("{longest}s")).await.map(|_| ());
    assert_eq!(refused, Err(SubscribeError::LineTooLong { length: 4097, max: 4096 }));
    assert_eq!(client.statistics().connects, 1);
    Ok(())
}

pub async fn a_mistake_in_a_reply_subject_is_told_apart_from_one_in_the_subject<A: Adapter>()
-> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    let error = client.publish("a", "x").reply("b c").await;
    assert!(matches!(error, Err(PublishError::Reply(_))), "{error:?}");
    let error = client.publish("b c", "x").reply("a").try_send();
    assert!(matches!(error, Err(PublishError::Subject(_))), "{error:?}");
    Ok(())
}
