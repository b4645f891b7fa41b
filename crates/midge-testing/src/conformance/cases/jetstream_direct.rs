//! Direct gets from a real nats-server: one message, many, the last of each subject.

use std::time::SystemTime;

use midge::jetstream::{
    DirectError, DirectGetError, DirectMessages, JetStream, StoredMessage, Stream, StreamConfig,
};

use super::jetstream_streams::{in_memory, jetstream, store};
use crate::NatsServer;
use crate::conformance::steps::{connect, impatient, soon, until};
use crate::conformance::{Adapter, Outcome};

async fn direct<A: Adapter>() -> Outcome<(NatsServer, JetStream, Stream)> {
    let (server, js) = jetstream::<A>().await?;
    let stream = StreamConfig { allow_direct: true, ..in_memory("s") };
    let stream = soon(js.create_stream(stream)).await?;
    Ok((server, js, stream))
}

/// Publishes `count` messages on `s.0` to `s.<subjects - 1>` in turn, and waits until they are
/// stored.
async fn fill(stream: &Stream, count: u64, subjects: u64, payload: &[u8]) -> Outcome {
    let client = stream.context().client();
    for number in 0..count {
        let subject = format!("s.{}", number % subjects);
        soon(client.publish(subject, payload)).await?;
    }
    soon(client.flush()).await?;
    while soon(stream.info()).await?.state.messages < count {}
    Ok(())
}

async fn sequences(mut messages: DirectMessages) -> Result<Vec<u64>, DirectError> {
    let mut sequences = Vec::new();
    while let Some(message) = soon(messages.next()).await {
        sequences.push(message?.sequence);
    }
    Ok(sequences)
}

fn is(error: Result<StoredMessage, DirectError>, wanted: &DirectGetError) {
    assert!(matches!(&error, Err(DirectError::Get(error)) if error == wanted), "{error:?}");
}

pub async fn a_message_is_got_directly<A: Adapter>() -> Outcome {
    let (_server, js, stream) = direct::<A>().await?;
    let payload: Vec<u8> = (0..=255).collect();
    let request = js.client().request("s.a", &payload).header("Color", "red");
    soon(request).await?;
    store(js.client(), "s.b", "").await?;
    store(js.client(), "s.a", "third").await?;
    let first = soon(stream.direct_get(1)).await?;
    assert_eq!((&*first.subject, first.sequence, &*first.payload), ("s.a", 1, &*payload));
    assert_eq!(first.headers.iter().collect::<Vec<_>>(), [("Color", &b"red"[..])]);
    assert_eq!(first, soon(stream.message(1)).await?, "the leader says the same");
    assert!(soon(stream.direct_get(2)).await?.payload.is_empty());
    assert_eq!(soon(stream.direct_last("s.a")).await?.sequence, 3);
    assert_eq!(soon(stream.direct_last("s.*")).await?.sequence, 3);
    assert_eq!(soon(stream.direct_next("s.b", 0)).await?.sequence, 2);
    assert_eq!(soon(stream.direct_next("s.>", 3)).await?.sequence, 3);
    is(soon(stream.direct_get(4)).await, &DirectGetError::NotFound);
    is(soon(stream.direct_last("s.none")).await, &DirectGetError::NotFound);
    is(soon(stream.direct_next("s.b", 3)).await, &DirectGetError::NotFound);
    Ok(())
}

pub async fn headers_of_a_message_do_not_pass_for_those_of_the_server<A: Adapter>() -> Outcome {
    let (_server, js, stream) = direct::<A>().await?;
    let forged = js
        .client()
        .request("s.a", "x")
        .header("Nats-Subject", "s.forged")
        .header("Nats-Sequence", "77")
        .header("Nats-Time-Stamp", "1999-01-01T00:00:00Z");
    soon(forged).await?;
    let got = soon(stream.direct_get(1)).await?;
    assert_eq!((&*got.subject, got.sequence), ("s.a", 1));
    assert_eq!(got.headers.get("Nats-Subject"), Some("s.forged"));
    assert_eq!(got, soon(stream.message(1)).await?);
    let many = soon(stream.direct_batch().messages().next()).await.expect("there is one")?;
    assert_eq!(got, many);
    Ok(())
}

pub async fn a_stream_without_direct_gets_is_noticed<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    store(js.client(), "s.a", "x").await?;
    for error in [
        soon(stream.direct_get(1)).await.err(),
        soon(stream.direct_last("s.a")).await.err(),
        soon(stream.direct_batch().messages().next()).await.and_then(Result::err),
    ] {
        let Some(DirectError::NotAllowed { stream }) = error else { panic!("{error:?}") };
        assert_eq!(stream, "s");
    }
    Ok(())
}

pub async fn many_messages_are_got_in_pages_and_in_order<A: Adapter>() -> Outcome {
    let (_server, _js, stream) = direct::<A>().await?;
    assert!(sequences(stream.direct_batch().max_messages(0).messages()).await?.is_empty());
    let nothing = soon(stream.direct_batch().messages().next()).await.expect("an answer");
    is(nothing, &DirectGetError::NotFound);
    fill(&stream, 2_500, 5, b"x").await?;
    soon(stream.delete_message(1_000)).await?;
    let all: Vec<u64> = (1..=2_500).filter(|&sequence| sequence != 1_000).collect();
    assert_eq!(sequences(stream.direct_batch().messages()).await?, all);
    let some = stream.direct_batch().from(999).max_messages(1_001).messages();
    assert_eq!(sequences(some).await?, all[998..1_999]);
    let fives = stream.direct_batch().subject("s.4").messages();
    let fives_wanted = all.iter().copied().filter(|sequence| sequence % 5 == 0);
    assert_eq!(sequences(fives).await?, fives_wanted.collect::<Vec<_>>());
    let time = soon(stream.message(2_400)).await?.time;
    let late = sequences(stream.direct_batch().since(time).messages()).await?;
    assert_eq!(late.last(), Some(&2_500));
    assert!(late[0] <= 2_400 && late.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    let tomorrow = SystemTime::now() + std::time::Duration::from_secs(86_400);
    let later = soon(stream.direct_batch().since(tomorrow).messages().next()).await;
    is(later.expect("an answer"), &DirectGetError::NotFound);
    Ok(())
}

pub async fn large_messages_are_got_in_pages<A: Adapter>() -> Outcome {
    let (_server, _js, stream) = direct::<A>().await?;
    fill(&stream, 40, 1, &vec![7; 500_000]).await?;
    let got = sequences(stream.direct_batch().messages()).await?;
    assert_eq!(got, (1..=40).collect::<Vec<u64>>());
    Ok(())
}

pub async fn the_last_message_of_each_subject_is_of_one_moment<A: Adapter>() -> Outcome {
    let (_server, js, stream) = direct::<A>().await?;
    fill(&stream, 20, 4, b"x").await?;
    assert_eq!(sequences(stream.direct_last_of(["s.*"]).messages()).await?, [17, 18, 19, 20]);
    let two = stream.direct_last_of(["s.1", "s.3", "s.none"]).messages();
    assert_eq!(sequences(two).await?, [18, 20]);
    let then = stream.direct_last_of(["s.>"]).up_to(10).messages();
    assert_eq!(sequences(then).await?, [7, 8, 9, 10]);
    let time = soon(stream.message(20)).await?.time;
    let before = stream.direct_last_of(["s.3"]).up_to_time(time).messages();
    assert_eq!(sequences(before).await?, [16]);
    let none = soon(stream.direct_last_of(["s.none"]).messages().next()).await;
    is(none.expect("an answer"), &DirectGetError::NotFound);
    for number in 0..1_020 {
        soon(js.client().publish(format!("s.many.{number}"), "")).await?;
    }
    soon(js.client().flush()).await?;
    while soon(stream.info()).await?.state.messages < 1_040 {}
    // More than a page: what is stored meanwhile, in subjects of the next one, is of another moment.
    let mut pages = stream.direct_last_of(["s.many.>"]).messages();
    let mut got = vec![soon(pages.next()).await.expect("there are some")?.sequence];
    for number in 1_010..1_025 {
        store(js.client(), &format!("s.many.{number}"), "late").await?;
    }
    got.extend(sequences(pages).await?);
    assert_eq!(got, (21..=1_040).collect::<Vec<u64>>());
    let many = soon(stream.direct_last_of(["s.many.*"]).messages().next()).await;
    is(many.expect("an answer"), &DirectGetError::TooManySubjects);
    Ok(())
}

pub async fn messages_go_on_where_the_connection_was_lost<A: Adapter>() -> Outcome {
    let mut server = NatsServer::builder().jetstream(true).start()?;
    let js = JetStream::new(connect::<A>(impatient(&server.url())).await?);
    let config =
        StreamConfig { subjects: vec!["s.>".into()], allow_direct: true, ..StreamConfig::new("s") };
    let stream = soon(js.create_stream(config)).await?;
    fill(&stream, 2_500, 3, b"x").await?;
    let mut messages = stream.direct_batch().messages();
    let mut got = Vec::new();
    for _ in 0..1_200 {
        got.push(soon(messages.next()).await.expect("there are more")?.sequence);
    }
    server.kill()?;
    server.restart()?;
    until(|| matches!(js.client().status().state, midge::State::Connected { .. })).await;
    while let Some(message) = soon(messages.next()).await {
        got.push(message?.sequence);
    }
    assert_eq!(got, (1..=2_500).collect::<Vec<u64>>());
    Ok(())
}
