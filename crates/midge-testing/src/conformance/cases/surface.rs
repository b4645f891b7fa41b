//! The rest of the surface against a real nats-server.

use std::time::{Duration, Instant};

use midge::{
    Client, ConfirmError, ConnectOptions, Message, Replies, RepliesError, RequestError, RequestMany,
};

use crate::NatsServer;
use crate::conformance::steps::{PATIENCE, connect, next, soon};
use crate::conformance::tasks::spawn;
use crate::conformance::{Adapter, Outcome};

/// Answers each request with the words of its payload, one by one.
async fn echo_words<A: Adapter>(client: &Client) -> Outcome {
    let answers = client.clone();
    let mut questions = client.subscribe("words").confirmed().await?;
    let _answering = spawn::<A, _>(async move {
        while let Some(question) = questions.next().await {
            let text = String::from_utf8_lossy(question.payload()).into_owned();
            for word in text.split(' ') {
                answers.respond(&question, word).await.expect("the connection is up");
            }
        }
    });
    Ok(())
}

async fn texts(mut replies: Replies) -> Result<Vec<String>, RepliesError> {
    let mut texts = Vec::new();
    while let Some(reply) = soon(replies.next()).await {
        texts.push(String::from_utf8_lossy(reply?.payload()).into_owned());
    }
    Ok(texts)
}

fn borrowed(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// Asks by a wait that is made longer until every reply comes within it: on a machine that is busy they
/// take longer.
async fn until_all_come(
    all: &[&str],
    ask: impl Fn(Duration) -> RequestMany<'static, &'static str, &'static str>,
) -> Outcome {
    for wait in [200, 2_000, 20_000].map(Duration::from_millis) {
        let began = Instant::now();
        let came = texts(ask(wait).await?).await?;
        assert!(began.elapsed() >= wait && all.starts_with(&borrowed(&came)), "{came:?}");
        if came == all {
            return Ok(());
        }
    }
    panic!("they come within 20 s");
}

pub async fn a_request_gets_many_replies<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let (asker, responder) = (connect::<A>(server.url()).await?, connect::<A>(server.url()).await?);
    echo_words::<A>(&responder).await?;
    let all = ["a", "b", "c"];
    until_all_come(&all, |wait| asker.request_many("words", "a b c").max_wait(wait)).await?;
    let count = asker.request_many("words", "a b c").max_messages(2).await?;
    assert_eq!(texts(count).await?, all[..2]);
    until_all_come(&all, |stall| asker.request_many("words", "a b c").stall(stall)).await?;
    let sentinel = asker.request_many("words", "a b c  d").sentinel_empty().await?;
    assert_eq!(texts(sentinel).await?, all);
    let nobody = asker.request_many("nobody", "").await?;
    assert_eq!(texts(nobody).await, Err(RepliesError::NoResponders));
    assert_eq!(asker.subscriptions(), 0);
    Ok(())
}

pub async fn a_server_that_dies_ends_the_replies<A: Adapter>() -> Outcome {
    let mut server = NatsServer::start()?;
    let asker = connect::<A>(server.url()).await?;
    echo_words::<A>(&asker).await?;
    let mut replies = asker.request_many("words", "a").max_wait(PATIENCE).await?;
    assert!(matches!(soon(replies.next()).await, Some(Ok(_))));
    server.kill()?;
    assert_eq!(soon(replies.next()).await, Some(Err(RepliesError::Disconnected)));
    assert_eq!(soon(replies.next()).await, None);
    Ok(())
}

pub async fn a_request_has_an_inbox_of_its_own<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    echo_words::<A>(&client).await?;
    let mut seen = client.subscribe("words").await?;
    let reply = soon(client.request("words", "a").own_inbox()).await?;
    assert_eq!(reply.payload(), b"a");
    assert!(next(&mut seen).await.reply().is_some_and(|reply| reply.matches('.').count() == 1));
    let reply = soon(client.request("words", "b").reply("my.reply")).await?;
    assert_eq!((reply.subject(), reply.payload()), ("my.reply", &b"b"[..]));
    let nobody = soon(client.request("nobody", "").own_inbox()).await;
    assert_eq!(nobody, Err(RequestError::NoResponders));
    Ok(())
}

pub async fn the_path_of_a_message_is_reported<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    let mut traces = client.subscribe("traces").await?;
    let mut messages = client.subscribe("m").await?;
    client.publish("m", "1").trace_only("traces").await?;
    client.publish("m", "2").trace("traces").await?;
    for _ in 0..2 {
        let trace = String::from_utf8(next(&mut traces).await.payload().to_vec())?;
        assert!(trace.contains("\"request\""), "{trace}");
    }
    assert_eq!(next(&mut messages).await.payload(), b"2");
    assert_eq!(messages.try_next(), None);
    Ok(())
}

const RESTRICTED: &str = r#"
authorization {
  users: [{ user: u, password: p, permissions: { publish: ">", subscribe: { deny: "secret" } } }]
}
"#;

pub async fn a_subscription_is_confirmed_or_denied<A: Adapter>() -> Outcome {
    let server = NatsServer::builder().config(RESTRICTED).start()?;
    let options = ConnectOptions::new(server.url()).user_and_password("u", "p");
    let client = connect::<A>(options).await?;
    let mut open = soon(client.subscribe("open").confirmed()).await?;
    let denied = soon(client.subscribe("secret").confirmed()).await;
    assert!(matches!(denied, Err(ConfirmError::Denied(_))), "{denied:?}");
    client.publish("open", "x").await?;
    assert_eq!(next(&mut open).await.payload(), b"x");
    Ok(())
}

pub async fn a_handler_answers_and_is_drained<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let (asker, responder) = (connect::<A>(server.url()).await?, connect::<A>(server.url()).await?);
    let answers = responder.clone();
    let double = move |question: Message| {
        let answer = question.payload().repeat(2);
        answers.respond(&question, answer).try_send().expect("there is room");
    };
    let mut handler = responder.subscribe("double").handler(double).await?;
    soon(handler.confirmed()).await?;
    for number in 0..100 {
        let number = number.to_string();
        let reply = soon(asker.request("double", &number)).await?;
        assert_eq!(reply.payload(), number.repeat(2).as_bytes());
    }
    asker.publish("double", "").reply("x").await?;
    soon(asker.flush()).await?;
    soon(handler.drain()).await;
    assert_eq!(handler.delivered(), 101);
    Ok(())
}

pub async fn the_server_tells_who_the_client_is<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(server.url()).await?;
    assert!(client.client_id().is_some_and(|id| id > 0));
    assert_eq!(client.client_ip().as_deref(), Some("127.0.0.1"));
    let closed = client.closed();
    client.close().await;
    assert_eq!(soon(closed).await.why, midge::CloseReason::Requested);
    Ok(())
}
