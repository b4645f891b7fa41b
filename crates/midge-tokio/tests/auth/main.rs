//! Every way to say who one is, against a real nats-server: accepted, refused, expired, revoked,
//! replaced.

mod operator;
#[path = "../steps/mod.rs"]
mod steps;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use midge::auth::{Challenge, Context, Credentials, UserKey};
use midge::{
    Client, CloseReason, ConnectError, ConnectOptions, DisconnectCause, Event, LastError,
    ServerError,
};
use midge_testing::{Cluster, NatsServer};
use nkeys::KeyPair;
use operator::Operator;
use steps::{Outcome, connect, lost, soon, wait_for};

/// A life that is over soon, and not before the client is connected.
const BRIEF: Duration = Duration::from_secs(6);

fn server(config: &str) -> Result<NatsServer, midge_testing::StartError> {
    NatsServer::builder().config(config).start()
}

/// Whom the server takes the client for.
async fn user(client: &Client) -> Outcome<String> {
    let reply = soon(client.request("$SYS.REQ.USER.INFO", "").into_future()).await?;
    let info: serde_json::Value = serde_json::from_slice(reply.payload())?;
    Ok(info["data"]["user"].as_str().unwrap_or_default().to_owned())
}

/// Why there is no connection with these options.
async fn cause(options: impl Into<ConnectOptions>) -> DisconnectCause {
    match connect(options).await {
        Err(ConnectError::Closed(CloseReason::NoServers { cause, .. })) => cause,
        other => panic!("not given up for want of servers: {other:?}"),
    }
}

/// The server refuses these options because of who they say the client is.
async fn assert_refused(options: impl Into<ConnectOptions>) {
    let refused = DisconnectCause::Server(ServerError::AuthorizationViolation);
    assert_eq!(cause(options).await, refused);
}

fn violation(event: &Event) -> bool {
    let refused = DisconnectCause::Server(ServerError::AuthorizationViolation);
    matches!(event, Event::AttemptFailed { cause, .. } if *cause == refused)
}

// ---- kinds -------------------------------------------------------------------------------

#[tokio::test]
async fn a_token_is_accepted_or_refused() -> Outcome {
    let server = server("authorization { token: s3cret }")?;
    connect(ConnectOptions::new(server.url()).token("s3cret")).await?;
    assert_refused(ConnectOptions::new(server.url()).token("other")).await;
    assert_refused(server.url()).await;
    Ok(())
}

#[tokio::test]
async fn user_and_password_are_accepted_or_refused() -> Outcome {
    let server = server("authorization { user: joe, password: pw }")?;
    let client = connect(ConnectOptions::new(server.url()).user_and_password("joe", "pw")).await?;
    assert_eq!(user(&client).await?, "joe");
    assert_refused(ConnectOptions::new(server.url()).user_and_password("joe", "wp")).await;
    assert_refused(ConnectOptions::new(server.url()).user_and_password("jo", "pw")).await;
    Ok(())
}

#[tokio::test]
async fn those_of_a_url_go_before_those_of_options() -> Outcome {
    let config =
        r#"authorization { users: [{ user: "j/o", password: "p@:w" }, { user: b, password: b }] }"#;
    let server = server(config)?;
    let place = format!("127.0.0.1:{}", server.port());
    let options = ConnectOptions::new(format!("nats://j%2Fo:p%40%3Aw@{place}"));
    let client = connect(options.user_and_password("b", "b")).await?;
    assert_eq!(user(&client).await?, "j/o");
    assert_refused(format!("nats://j%2Fo:wrong@{place}")).await;
    Ok(())
}

#[tokio::test]
async fn an_nkey_is_accepted_or_refused() -> Outcome {
    let key = KeyPair::new_user();
    let server = server(&format!("authorization {{ users: [{{ nkey: {} }}] }}", key.public_key()))?;
    let client = connect(ConnectOptions::new(server.url()).nkey(key.seed()?)).await?;
    assert_eq!(user(&client).await?, key.public_key());
    let other = KeyPair::new_user().seed()?;
    assert_refused(ConnectOptions::new(server.url()).nkey(other)).await;

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("user.nk");
    fs::write(&path, key.seed()?)?;
    let client = connect(ConnectOptions::new(server.url()).nkey_file(&path)).await?;
    assert_eq!(user(&client).await?, key.public_key());
    Ok(())
}

#[tokio::test]
async fn credentials_are_accepted_or_refused() -> Outcome {
    let operator = Operator::new();
    let server = server(&operator.config())?;
    let known = operator.user();
    let client =
        connect(ConnectOptions::new(server.url()).credentials(known.credentials())).await?;
    assert_eq!(user(&client).await?, known.key.public_key());
    let unknown = Operator::new().user().credentials();
    assert_refused(ConnectOptions::new(server.url()).credentials(unknown)).await;

    let directory = tempfile::tempdir()?;
    let path = directory.path().join("user.creds");
    fs::write(&path, known.credentials())?;
    let client = connect(ConnectOptions::new(server.url()).credentials_file(&path)).await?;
    assert_eq!(user(&client).await?, known.key.public_key());
    Ok(())
}

#[tokio::test]
async fn a_jwt_is_accepted_with_the_right_signature_only() -> Outcome {
    let operator = Operator::new();
    let server = server(&operator.config())?;
    let known = operator.user();
    let sign = |key: KeyPair| move |nonce: String| std::future::ready(key.sign(nonce.as_bytes()));
    let options = ConnectOptions::new(server.url());
    let client = connect(options.clone().jwt(&known.jwt, sign(known.key.clone()))).await?;
    assert_eq!(user(&client).await?, known.key.public_key());
    let key = UserKey::from_seed(&known.seed())?;
    connect(options.clone().jwt(&known.jwt, key)).await?;
    assert_refused(options.clone().jwt(&known.jwt, sign(KeyPair::new_user()))).await;
    assert_refused(options.bearer_jwt(&known.jwt)).await;
    Ok(())
}

#[tokio::test]
async fn a_bearer_jwt_needs_no_signature() -> Outcome {
    let operator = Operator::new();
    let server = server(&operator.config())?;
    let bearer = operator.bearer();
    let client = connect(ConnectOptions::new(server.url()).bearer_jwt(&bearer.jwt)).await?;
    assert_eq!(user(&client).await?, bearer.key.public_key());
    Ok(())
}

#[tokio::test]
async fn of_several_the_server_takes_what_it_knows() -> Outcome {
    let operator = Operator::new();
    let known = operator.user();
    let servers = [
        server(&operator.config())?,
        server("authorization { user: joe, password: pw }")?,
        server("authorization { token: s3cret }")?,
        NatsServer::start()?,
    ];
    for server in servers {
        let options = ConnectOptions::new(server.url())
            .user_and_password("joe", "pw")
            .token("s3cret")
            .credentials(known.credentials());
        connect(options).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_provider_is_asked_at_every_connect_and_may_use_the_runtime() -> Outcome {
    let mut server = server("authorization { token: first }")?;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let options = ConnectOptions::new(server.url()).auth_provider(move |_: Challenge| {
        let time = count.fetch_add(1, Ordering::SeqCst);
        async move {
            // On a thread of the runtime, as a look-up elsewhere would be.
            let token = tokio::spawn(async move { ["first", "second"][time] }).await?;
            Ok::<_, tokio::task::JoinError>(Credentials {
                token: Some(token.to_owned()),
                ..Credentials::default()
            })
        }
    });
    let client = connect(options).await?;
    let mut events = client.events();
    server.reload("authorization { token: second }")?;
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    Ok(())
}

#[tokio::test]
async fn a_server_does_not_wait_longer_than_its_timeout_for_a_provider() -> Outcome {
    let server = server("authorization { token: s3cret, timeout: 0.2 }")?;
    let never = |_: Challenge| std::future::pending::<Result<Credentials, std::io::Error>>();
    assert_eq!(
        cause(ConnectOptions::new(server.url()).auth_provider(never)).await,
        DisconnectCause::Server(ServerError::AuthenticationTimeout)
    );
    Ok(())
}

#[tokio::test]
async fn a_jwt_that_is_longer_than_a_control_line_is_told_as_that() -> Outcome {
    let operator = Operator::new();
    let server = server(&operator.config())?;
    let long = operator.user_with_tags(200);
    assert_eq!(
        cause(ConnectOptions::new(server.url()).credentials(long.credentials())).await,
        DisconnectCause::Server(ServerError::MaxControlLine)
    );
    Ok(())
}

#[tokio::test]
async fn a_context_of_the_tool_connects() -> Outcome {
    let operator = Operator::new();
    let server = server(&operator.config())?;
    let known = operator.user();
    let directory = tempfile::tempdir()?;
    let creds = directory.path().join("joe.creds");
    fs::write(&creds, known.credentials())?;
    let path = directory.path().join("orders.json");
    let json = serde_json::json!({
        "description": "orders", "url": server.url(), "creds": creds, "inbox_prefix": "_IN.joe",
    });
    fs::write(&path, json.to_string())?;
    let client = connect(Context::from_path(&path)?).await?;
    assert_eq!(user(&client).await?, known.key.public_key());
    assert!(client.new_inbox().as_str().starts_with("_IN.joe."));
    Ok(())
}

// ---- what changes ------------------------------------------------------------------------

#[tokio::test]
async fn an_expired_user_comes_back_with_a_file_that_was_replaced() -> Outcome {
    let operator = Operator::new();
    let server = server(&operator.config())?;
    let directory = tempfile::tempdir()?;
    let (path, new) = (directory.path().join("user.creds"), directory.path().join("new.creds"));
    fs::write(&path, operator.user_for(BRIEF).credentials())?;
    let client = connect(ConnectOptions::new(server.url()).credentials_file(&path)).await?;
    let mut events = client.events();
    let next = operator.user();
    fs::write(&new, next.credentials())?;
    fs::rename(&new, &path)?;
    let expired = DisconnectCause::Server(ServerError::UserAuthenticationExpired);
    assert_eq!(lost(&mut events).await, expired);
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    assert_eq!(user(&client).await?, next.key.public_key());
    Ok(())
}

#[tokio::test]
async fn an_expired_user_is_refused_twice_and_then_it_is_over() -> Outcome {
    let operator = Operator::new();
    let server = server(&operator.config())?;
    let user = operator.user_for(BRIEF);
    let client = connect(ConnectOptions::new(server.url()).credentials(user.credentials())).await?;
    let mut events = client.events();
    let expired = DisconnectCause::Server(ServerError::UserAuthenticationExpired);
    assert_eq!(lost(&mut events).await, expired);
    // That it expired was not the first of the two.
    wait_for(&mut events, violation).await;
    wait_for(&mut events, violation).await;
    let why = soon(client.closed()).await.why.clone();
    let refused = DisconnectCause::Server(ServerError::AuthorizationViolation);
    assert_eq!(why, CloseReason::Fatal(refused.clone()));
    assert!(
        matches!(client.last_error(), Some(LastError::Attempt { cause, .. }) if cause == refused)
    );
    Ok(())
}

#[tokio::test]
async fn an_expired_user_may_be_refused_until_its_file_is_renewed() -> Outcome {
    let operator = Operator::new();
    let server = server(&operator.config())?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("user.creds");
    fs::write(&path, operator.user_for(BRIEF).credentials())?;
    let options = ConnectOptions::new(server.url())
        .credentials_file(&path)
        .ignore_auth_error_abort(true)
        .reconnect_wait(Duration::from_millis(50), Duration::from_millis(200))
        .reconnect_jitter(Duration::ZERO, Duration::ZERO);
    let client = connect(options).await?;
    let mut events = client.events();
    for _ in 0..4 {
        wait_for(&mut events, violation).await;
    }
    let next = operator.user();
    fs::write(&path, next.credentials())?;
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    assert_eq!(user(&client).await?, next.key.public_key());
    Ok(())
}

#[tokio::test]
async fn a_revoked_user_is_cut_off_and_refused() -> Outcome {
    let mut operator = Operator::new();
    let mut server = server(&operator.config())?;
    let user = operator.user();
    let client = connect(ConnectOptions::new(server.url()).credentials(user.credentials())).await?;
    let mut events = client.events();
    operator.revoke(&user);
    server.reload(operator.config())?;
    lost(&mut events).await;
    wait_for(&mut events, violation).await;
    wait_for(&mut events, violation).await;
    let refused = DisconnectCause::Server(ServerError::AuthorizationViolation);
    assert_eq!(soon(client.closed()).await.why, CloseReason::Fatal(refused));
    Ok(())
}

#[tokio::test]
async fn an_expired_account_is_told_as_that_and_its_users_come_back_once_it_is_renewed() -> Outcome
{
    let mut operator = Operator::new();
    operator.account_for(Some(BRIEF));
    let mut server = server(&operator.config())?;
    let options = ConnectOptions::new(server.url())
        .credentials(operator.user().credentials())
        .ignore_auth_error_abort(true)
        .reconnect_wait(Duration::from_millis(50), Duration::from_millis(200))
        .reconnect_jitter(Duration::ZERO, Duration::ZERO);
    let client = connect(options).await?;
    let mut events = client.events();
    let expired = DisconnectCause::Server(ServerError::AccountAuthenticationExpired);
    assert_eq!(lost(&mut events).await, expired);
    for _ in 0..4 {
        wait_for(&mut events, violation).await;
    }
    operator.account_for(None);
    server.reload(operator.config())?;
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    Ok(())
}

/// That is no word on who the client is, so it is retried, ever more slowly, until it is mended.
#[tokio::test]
async fn a_jwt_that_became_too_long_is_retried_with_waits_until_a_shorter_one_is_there() -> Outcome
{
    let operator = Operator::new();
    let server = server(&operator.config())?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("user.creds");
    fs::write(&path, operator.user().credentials())?;
    let options = ConnectOptions::new(server.url())
        .credentials_file(&path)
        .reconnect_wait(Duration::from_millis(50), Duration::from_millis(200))
        .reconnect_jitter(Duration::ZERO, Duration::ZERO);
    let client = connect(options).await?;
    let mut events = client.events();
    fs::write(&path, operator.user_with_tags(200).credentials())?;
    client.reconnect();
    lost(&mut events).await;
    let began = Instant::now();
    for _ in 0..5 {
        let failed =
            wait_for(&mut events, |event| matches!(event, Event::AttemptFailed { .. })).await;
        let Event::AttemptFailed { cause, .. } = failed else { return Err("it is that".into()) };
        assert_eq!(cause, DisconnectCause::Server(ServerError::MaxControlLine));
        assert!(cause.to_string().contains("raise max_control_line on the server"), "{cause}");
    }
    // At least half of 50, 100, 200 and 200 ms.
    assert!(began.elapsed() >= Duration::from_millis(275), "{:?}", began.elapsed());
    fs::write(&path, operator.user().credentials())?;
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_gone_fails_attempts_until_it_is_back() -> Outcome {
    let operator = Operator::new();
    let mut server = server(&operator.config())?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("user.creds");
    fs::write(&path, operator.user().credentials())?;
    let client = connect(ConnectOptions::new(server.url()).credentials_file(&path)).await?;
    let mut events = client.events();
    fs::remove_file(&path)?;
    server.restart()?;
    lost(&mut events).await;
    for _ in 0..3 {
        let missing = |event: &Event| matches!(event, Event::AttemptFailed { cause: DisconnectCause::Credentials(why), .. } if why.starts_with("`credentials_file`: cannot read"));
        wait_for(&mut events, missing).await;
    }
    let next = operator.user();
    fs::write(&path, next.credentials())?;
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    assert_eq!(user(&client).await?, next.key.public_key());
    Ok(())
}

#[tokio::test]
async fn credentials_of_a_url_hold_for_servers_that_were_learnt() -> Outcome {
    let mut cluster =
        Cluster::builder().config("authorization { user: joe, password: pw }").start(2)?;
    let url = format!("nats://joe:pw@127.0.0.1:{}", cluster[0].port());
    let client = connect(url).await?;
    let mut events = client.events();
    cluster[0].kill()?;
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    assert_eq!(user(&client).await?, "joe");
    Ok(())
}
