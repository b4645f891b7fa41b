//! What a server allows, and what happens when it changes its mind while clients are connected.

mod steps;

use std::future::IntoFuture;
use std::time::Duration;

use midge::{
    Client, CloseReason, ConfirmError, ConnectError, DisconnectCause, EndReason, Event,
    PublishError, RequestError, ServerError,
};
use midge_testing::NatsServer;

use steps::{Outcome, connect, impatient, soon, wait_for};

fn is_connected(event: &Event) -> bool {
    matches!(event, Event::Connected(_))
}

// ---- permissions ---------------------------------------------------------------------------

/// A user who may do everything except with these subjects.
fn denying(subscribe: &str, publish: &str) -> String {
    format!(
        "authorization {{ users: [{{ user: u, password: p, permissions: {{
            subscribe: {{ deny: [{subscribe}] }}, publish: {{ deny: [{publish}] }} }} }}] }}"
    )
}

async fn user(server: &NatsServer) -> Result<Client, ConnectError> {
    connect(impatient(&server.url()).user_and_password("u", "p")).await
}

#[tokio::test]
async fn a_reload_that_denies_ends_the_subscription_that_it_concerns_and_no_connection() -> Outcome
{
    let mut server = NatsServer::builder().config(denying("", "")).start()?;
    let client = user(&server).await?;
    let mut secret = soon(client.subscribe("secret").confirmed().into_future()).await?;
    let mut open = soon(client.subscribe("open").confirmed().into_future()).await?;
    let queue = client.queue_subscribe("secret", "workers").confirmed();
    let mut queue = soon(queue.into_future()).await?;
    let mut events = client.events();

    server.reload(denying("secret", ""))?;
    for ended in [&mut secret, &mut queue] {
        assert_eq!(soon(ended.next()).await, None);
        let denied = matches!(
            ended.end(),
            Some(EndReason::Denied(ServerError::SubscribePermission { subject, .. }))
                if subject == "secret"
        );
        assert!(denied, "{:?}", ended.end());
    }
    let told = wait_for(&mut events, |event| matches!(event, Event::ServerError(_))).await;
    assert!(matches!(told, Event::ServerError(ServerError::SubscribePermission { .. })));
    let again = soon(client.subscribe("secret").confirmed().into_future()).await;
    assert!(matches!(again, Err(ConfirmError::Denied(_))), "{again:?}");

    server.reload(denying("", ""))?;
    let mut granted = soon(client.subscribe("secret").confirmed().into_future()).await?;
    client.publish("secret", "once").await?;
    assert_eq!(soon(granted.next()).await.expect("granted").payload(), b"once");
    client.publish("open", "all along").await?;
    assert_eq!(soon(open.next()).await.expect("never denied").payload(), b"all along");
    assert_eq!(soon(secret.next()).await, None, "what has ended does not begin again");
    assert_eq!((client.statistics().connects, client.subscriptions()), (1, 2));
    Ok(())
}

#[tokio::test]
async fn a_reload_that_denies_publishing_is_told_and_fails_requests_at_once() -> Outcome {
    let mut server = NatsServer::builder().config(denying("", "")).start()?;
    let client = user(&server).await?;
    let mut work = soon(client.subscribe("work").confirmed().into_future()).await?;
    let ask = || soon(client.request("nobody", "").timeout(Duration::from_secs(50)).into_future());
    assert_eq!(ask().await.unwrap_err(), RequestError::NoResponders);
    let mut events = client.events();

    server.reload(denying("", "work, nobody"))?;
    client.publish("work", "not yet").await?;
    let denied = |event: &Event| match event {
        Event::ServerError(ServerError::PublishPermission { subject }) => subject == "work",
        _ => false,
    };
    wait_for(&mut events, denied).await;
    let refused = ask().await;
    assert!(matches!(refused, Err(RequestError::Permission(_))), "{refused:?}");

    server.reload(denying("", ""))?;
    client.publish("work", "now").await?;
    assert_eq!(soon(work.next()).await.expect("granted").payload(), b"now");
    assert_eq!(ask().await.unwrap_err(), RequestError::NoResponders);
    assert_eq!(client.statistics().connects, 1);
    Ok(())
}

// ---- numbers of subscriptions and tokens ---------------------------------------------------

#[tokio::test]
async fn one_subscription_too_many_is_not_confirmed_and_no_request_waits_on_a_dead_inbox() -> Outcome
{
    let limit = |subscriptions: usize| format!("max_subscriptions: {subscriptions}");
    let mut server = NatsServer::builder().config(limit(2)).start()?;
    let client = connect(impatient(&server.url())).await?;
    let ask = || soon(client.request("nobody", "").timeout(Duration::from_secs(50)).into_future());
    let one = soon(client.subscribe("one").confirmed().into_future()).await?;
    let two = soon(client.subscribe("two").confirmed().into_future()).await?;
    let three = soon(client.subscribe("three").confirmed().into_future()).await;
    let refused = Err(ConfirmError::Refused(ServerError::MaxSubscriptions));
    assert_eq!(three.map(drop), refused);
    assert_eq!(soon(two.confirmed()).await, Ok(()), "it is there");
    assert_eq!(ask().await, Err(RequestError::Permission(ServerError::MaxSubscriptions)));
    drop(two);
    assert_eq!(ask().await, Err(RequestError::NoResponders));

    // What is announced last to the server that comes back is refused: the inbox of another client.
    server.kill()?;
    let other = connect(impatient(&server.url()).retry_first_connect(true)).await?;
    let held = [other.subscribe("three").await?, other.subscribe("four").await?];
    let ask = || soon(other.request("nobody", "").timeout(Duration::from_secs(50)).into_future());
    let (asked, restarted) = tokio::join!(ask(), async { server.restart() });
    restarted?;
    assert_eq!(asked, Err(RequestError::Permission(ServerError::MaxSubscriptions)));
    drop(held);
    assert_eq!(ask().await, Err(RequestError::NoResponders));
    drop(one);
    Ok(())
}

#[tokio::test]
async fn a_subject_of_too_many_tokens_is_not_confirmed() -> Outcome {
    let server = NatsServer::builder().config("max_subscription_tokens: 3").start()?;
    let client = connect(impatient(&server.url())).await?;
    soon(client.queue_subscribe("a.b.c", "workers").confirmed().into_future()).await?;
    for group in [None, Some("workers")] {
        let subscribe = client.subscribe("a.b.c.d");
        let subscribe =
            group.into_iter().fold(subscribe, |subscribe, group| subscribe.queue(group));
        let refused = soon(subscribe.confirmed().into_future()).await.map(drop);
        let denied = matches!(
            &refused,
            Err(ConfirmError::Denied(ServerError::SubscribePermission {
                too_many_tokens: true,
                ..
            }))
        );
        assert!(denied, "{group:?}: {refused:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_reload_that_denies_the_inbox_fails_requests_until_it_is_granted() -> Outcome {
    let mut server = NatsServer::builder().config(denying("", "")).start()?;
    let client = user(&server).await?;
    let mut echo = soon(client.subscribe("echo").confirmed().into_future()).await?;
    let answering = client.clone();
    tokio::spawn(async move {
        while let Some(message) = echo.next().await {
            let _ = answering.respond(&message, "heard").await;
        }
    });
    let ask = || soon(client.request("echo", "").timeout(Duration::from_secs(50)).into_future());
    assert_eq!(ask().await?.payload(), b"heard");
    server.reload(denying("\"_INBOX.>\"", ""))?;
    let refused = ask().await;
    assert!(matches!(refused, Err(RequestError::Permission(_))), "{refused:?}");
    server.reload(denying("", ""))?;
    assert_eq!(ask().await?.payload(), b"heard");
    assert_eq!(client.statistics().connects, 1);
    Ok(())
}

// ---- connections ---------------------------------------------------------------------------

#[tokio::test]
async fn a_server_that_is_full_says_so_and_a_client_that_waits_gets_in() -> Outcome {
    let server = NatsServer::builder().config("max_connections: 1").start()?;
    // Whoever looked whether the server is there may not have left yet.
    let first = connect(impatient(&server.url()).retry_first_connect(true)).await?;
    soon(first.flush()).await?;
    let refused = connect(server.url()).await.map(|_| ()).unwrap_err();
    let full = DisconnectCause::Server(ServerError::MaxConnections);
    assert!(
        matches!(&refused, ConnectError::Closed(CloseReason::NoServers { cause, .. }) if *cause == full),
        "{refused:?}"
    );
    let text = refused.to_string();
    assert!(text.contains("no room for another connection"), "{text}");

    let waiting = connect(impatient(&server.url()).retry_first_connect(true)).await?;
    let mut events = waiting.events();
    for _ in 0..3 {
        let turned_away =
            wait_for(&mut events, |event| matches!(event, Event::AttemptFailed { .. })).await;
        assert!(matches!(turned_away, Event::AttemptFailed { cause, .. } if cause == full));
    }
    soon(first.close()).await;
    wait_for(&mut events, is_connected).await;
    soon(waiting.flush()).await?;
    Ok(())
}

#[tokio::test]
async fn a_reload_that_leaves_no_room_turns_one_out_who_waits_for_it() -> Outcome {
    let mut server = NatsServer::start()?;
    let options = impatient(&server.url());
    let clients = [connect(options.clone()).await?, connect(options).await?];
    let [mut one, mut two] = clients.each_ref().map(Client::events);
    server.reload("max_connections: 1")?;
    let lost = |event: &Event| matches!(event, Event::Disconnected(_));
    // The server picks one; which one is its own affair.
    let (lost, out) = tokio::select! {
        lost = wait_for(&mut one, lost) => (lost, 0),
        lost = wait_for(&mut two, lost) => (lost, 1),
    };
    let full = DisconnectCause::Server(ServerError::MaxConnections);
    assert!(matches!(lost, Event::Disconnected(lost) if lost.cause == full));
    let events = [&mut one, &mut two].into_iter().nth(out).expect("one of two");
    for _ in 0..3 {
        let failed = wait_for(events, |event| matches!(event, Event::AttemptFailed { .. })).await;
        assert!(matches!(failed, Event::AttemptFailed { cause, .. } if cause == full));
    }
    server.reload("")?;
    wait_for(events, is_connected).await;
    soon(clients[out].flush()).await?;
    assert_eq!(clients[1 - out].statistics().connects, 1);
    Ok(())
}

// ---- sizes ---------------------------------------------------------------------------------

/// A reload tells no client of the new limit: the server ends the connection at the first message
/// that is larger.
#[tokio::test]
async fn a_lower_max_payload_ends_the_connection_once_and_what_waited_is_kept_or_told() -> Outcome {
    const OLD: usize = 200_000;
    const NEW: usize = 65_536;
    const WAITING: u64 = 600;
    let limit = |bytes: usize| format!("max_payload: {bytes}");
    let mut server = NatsServer::builder().config(limit(OLD)).start()?;
    let client =
        connect(impatient(&server.url()).max_pending(256 << 20).reconnect_buffer(256 << 20))
            .await?;
    let other = connect(server.url()).await?;
    let mut done = soon(other.subscribe("done").confirmed().into_future()).await?;
    let mut events = client.events();
    client.publish("s", vec![0; OLD]).await?;
    soon(client.flush()).await?;
    server.reload(limit(NEW))?;
    assert_eq!(client.max_payload(), Some(OLD), "no INFO came");

    // Nothing is read while the rest is queued, far more than sockets hold.
    server.pause()?;
    let large = client.try_publish("s", vec![0; OLD])?;
    for number in 0..WAITING {
        client.try_publish("s", vec![0; if number % 2 == 0 { NEW } else { NEW + 1 }])?;
    }
    let last = client.try_publish("done", "0")?;
    server.resume()?;
    let Event::Disconnected(lost) =
        wait_for(&mut events, |event| matches!(event, Event::Disconnected(_))).await
    else {
        return Err("it is that event".into());
    };
    assert_eq!(lost.cause, DisconnectCause::Server(ServerError::MaxPayload));
    assert!(lost.unknown.positions.contains(large), "{:?}", lost.unknown);
    assert!(lost.dropped.is_empty() && lost.kept.positions.contains(last));
    assert_eq!(lost.unknown.messages + lost.kept.messages, WAITING + 2);

    let Event::Connected(again) = wait_for(&mut events, is_connected).await else {
        return Err("it is that event".into());
    };
    assert_eq!((again.info.max_payload, client.max_payload()), (NEW as i64, Some(NEW)));
    // Every second one of those that were kept.
    let too_large = again.dropped.messages;
    assert!(too_large > 0 && (lost.kept.messages / 2).abs_diff(too_large) <= 1, "{too_large}");
    assert_eq!(soon(done.next()).await.expect("it is kept").payload(), b"0");
    let refused = client.publish("s", vec![0; NEW + 1]).await;
    assert_eq!(refused, Err(PublishError::TooLarge { size: NEW + 1, max: NEW }));
    soon(client.flush()).await?;
    let report = soon(client.close()).await;
    assert_eq!(report.fates.confirmed.messages, 1 + lost.kept.messages - too_large);
    assert_eq!(report.fates.unknown, lost.unknown);
    assert_eq!(report.fates.dropped, again.dropped);
    assert_eq!(client.statistics().connects, 2);
    Ok(())
}
