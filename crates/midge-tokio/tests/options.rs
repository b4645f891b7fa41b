//! Options whose effect is the server's: what it sees of them, and what it does.

mod steps;

use midge::{ConnectOptions, RequestError};
use midge_testing::NatsServer;

use steps::{Outcome, PATIENCE, connect, soon};

#[tokio::test]
async fn the_server_knows_the_client_by_name_language_and_version() -> Outcome {
    let server = NatsServer::builder().arg("-D").start()?;
    let client = connect(ConnectOptions::new(server.url()).name("orders")).await?;
    soon(client.flush()).await?;
    let known = format!("\"v{}:rust:orders\"", env!("CARGO_PKG_VERSION"));
    server.wait_for_log(&known, PATIENCE)?;
    Ok(())
}

#[tokio::test]
async fn a_verbose_and_pedantic_server_serves_as_well() -> Outcome {
    let server = NatsServer::builder().arg("-DV").start()?;
    let options = ConnectOptions::new(server.url()).verbose(true).pedantic(true);
    let client = connect(options).await?;
    let mut subscription = client.subscribe("s").await?;
    for number in 0..100 {
        client.publish("s", number.to_string()).await?;
    }
    for number in 0..100 {
        let message = soon(subscription.next()).await.ok_or("the subscription goes on")?;
        assert_eq!(message.payload(), number.to_string().as_bytes());
    }
    server.wait_for_log("->> [OK]", PATIENCE)?;
    assert!(client.last_error().is_none());
    Ok(())
}

#[tokio::test]
async fn without_echo_only_messages_of_others_come() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect(ConnectOptions::new(server.url()).echo(false)).await?;
    let other = connect(server.url()).await?;
    let mut subscription = client.subscribe("s").await?;
    client.publish("s", "own").await?;
    soon(client.flush()).await?;
    other.publish("s", "other's").await?;
    let message = soon(subscription.next()).await.ok_or("the subscription goes on")?;
    assert_eq!(message.payload(), b"other's");
    Ok(())
}

#[tokio::test]
async fn an_inbox_prefix_keeps_replies_where_a_user_may_listen() -> Outcome {
    let permissions = r#"permissions: { publish: ">", subscribe: ["_INBOX_joe.>", "s"] }"#;
    let config =
        format!("authorization {{ users: [{{ user: joe, password: pw, {permissions} }}] }}");
    let server = NatsServer::builder().config(config).start()?;
    let options = ConnectOptions::new(server.url()).user_and_password("joe", "pw");
    let denied = connect(options.clone()).await?;
    let mut requests = denied.subscribe("s").await?;
    let outcome = soon(denied.request("s", "")).await;
    assert!(matches!(outcome, Err(RequestError::Permission(_))), "{outcome:?}");
    drop(soon(requests.next()).await);

    let client = connect(options.inbox_prefix("_INBOX_joe")).await?;
    let asking = async { soon(client.request("s", "question")).await.map(drop) };
    let answering = async {
        let request = soon(requests.next()).await.ok_or("the subscription goes on")?;
        denied.respond(&request, "answer").await?;
        Outcome::Ok(())
    };
    let (asked, answered) = tokio::join!(asking, answering);
    answered?;
    asked?;
    Ok(())
}
