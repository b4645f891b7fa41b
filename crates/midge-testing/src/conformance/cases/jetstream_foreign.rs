//! Answers that no present server gives on demand: a responder gives them, below a prefix of its
//! own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::jetstream::{
    ApiLevel, ApiPrefix, CallError, DirectError, DirectGetError, ErrorCode, FeatureError,
    JetPublishError, JetStream, Listed, PurgeError, StreamConfig, StreamError,
};
use midge::{Client, HeaderMap, Message};

use crate::NatsServer;
use crate::conformance::steps::{connect, impatient, is_connected, soon, wait_for};
use crate::conformance::tasks::spawn;
use crate::conformance::{Adapter, Outcome};

/// What is answered: headers and payload, any number of them.
type Answers = Vec<(Option<HeaderMap>, String)>;

/// A context whose API is `answer`, given the call and the payload of each request.
async fn foreign<A: Adapter>(
    mut answer: impl FnMut(&str, &str) -> Answers + Send + 'static,
) -> Outcome<(NatsServer, JetStream, Arc<Mutex<Vec<String>>>)> {
    let server = NatsServer::start()?;
    let responder = connect::<A>(impatient(&server.url())).await?;
    let mut asked = responder.subscribe("foreign.>").confirmed().await?;
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = log.clone();
    let _answering = spawn::<A, _>(async move {
        while let Some(request) = asked.next().await {
            let call = request.subject().trim_start_matches("foreign.").to_owned();
            let payload = String::from_utf8_lossy(request.payload()).into_owned();
            let answers = answer(&call, &payload);
            lines.lock().expect("nobody panics").push(format!("{call} {payload}"));
            give(&responder, &request, answers).await;
        }
    });
    let client = connect::<A>(impatient(&server.url())).await?;
    Ok((server, JetStream::new(client).with_prefix(ApiPrefix::new("foreign")?), log))
}

async fn give(responder: &Client, request: &Message, answers: Answers) {
    for (headers, payload) in answers {
        let mut respond = responder.respond(request, payload);
        if let Some(headers) = &headers {
            respond = respond.headers(headers);
        }
        respond.await.expect("the connection is up");
    }
}

fn plain(payload: &str) -> Answers {
    vec![(None, payload.to_owned())]
}

const STATE: &str = r#""state":{"messages":0,"bytes":0,"first_seq":0,"last_seq":0}"#;

pub async fn subjects_are_told_beyond_a_page<A: Adapter>() -> Outcome {
    let (_server, js, log) = foreign::<A>(|_, request| {
        let (offset, subjects) = match request {
            request if request.contains("\"offset\":2") => (2, r#"{"c":3,"d":4}"#),
            request if request.contains("\"offset\":4") => (4, r#"{"e":5}"#),
            _ => (0, r#"{"a":1,"b":2}"#),
        };
        plain(&format!(
            r#"{{"total":5,"offset":{offset},"limit":2,"config":{{"name":"s"}},"state":{{"messages":15,"bytes":0,"first_seq":1,"last_seq":15,"subjects":{subjects}}}}}"#
        ))
    })
    .await?;
    let stream = js.stream("s")?;
    let info = soon(stream.info().subjects(">").deleted()).await?;
    assert_eq!(info.state.subjects.values().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let asked = log.lock().expect("nobody panics").clone();
    assert_eq!(
        asked,
        [
            r#"STREAM.INFO.s {"deleted_details":true,"subjects_filter":">"}"#,
            r#"STREAM.INFO.s {"subjects_filter":">","offset":2}"#,
            r#"STREAM.INFO.s {"subjects_filter":">","offset":4}"#,
        ]
    );
    Ok(())
}

pub async fn names_are_told_beyond_a_page<A: Adapter>() -> Outcome {
    let (_server, js, log) = foreign::<A>(|call, request| {
        let (offset, names) = match request {
            request if request.contains("\"offset\":2") => (2, r#"["c","d"]"#),
            request if request.contains("\"offset\":4") => (4, r#"["e"]"#),
            _ => (0, r#"["a","b"]"#),
        };
        let of = if call == "STREAM.NAMES" { "streams" } else { "consumers" };
        plain(&format!(r#"{{"total":5,"offset":{offset},"limit":2,"{of}":{names}}}"#))
    })
    .await?;
    for mut names in [js.stream_names_of("a.>"), js.stream("s")?.consumer_names()] {
        let mut told = Vec::new();
        while let Some(name) = soon(names.next()).await {
            told.push(name?);
        }
        assert_eq!(told, ["a", "b", "c", "d", "e"]);
    }
    let asked = log.lock().expect("nobody panics").clone();
    assert_eq!(
        asked,
        [
            r#"STREAM.NAMES {"subject":"a.>"}"#,
            r#"STREAM.NAMES {"offset":2,"subject":"a.>"}"#,
            r#"STREAM.NAMES {"offset":4,"subject":"a.>"}"#,
            r#"CONSUMER.NAMES.s {}"#,
            r#"CONSUMER.NAMES.s {"offset":2}"#,
            r#"CONSUMER.NAMES.s {"offset":4}"#,
        ]
    );
    Ok(())
}

pub async fn a_level_that_is_too_low_is_believed_for_a_while_and_on_its_connection<A: Adapter>()
-> Outcome {
    let level = Arc::new(AtomicU32::new(1));
    let said = level.clone();
    let (_server, js, log) = foreign::<A>(move |call, _| match call {
        "INFO" => {
            let level = said.load(Ordering::Relaxed);
            plain(&format!(r#"{{"api":{{"level":{level}}}}}"#))
        }
        "s" => plain(r#"{"stream":"s","seq":1}"#),
        _ => plain(&format!(r#"{{"config":{{"name":"s","allow_atomic":true}},{STATE}}}"#)),
    })
    .await?;
    let atomic = || StreamConfig { allow_atomic: true, ..StreamConfig::new("s") };
    let calls = || -> Vec<String> {
        let lines = std::mem::take(&mut *log.lock().expect("nobody panics"));
        lines.iter().filter_map(|line| line.split(' ').next().map(Into::into)).collect()
    };
    for _ in 0..2 {
        let error = soon(js.create_stream(atomic())).await.expect_err("it is too old");
        let StreamError::Level(error) = error else { panic!("{error}") };
        assert_eq!((error.level, error.needed), (ApiLevel::V2_11, ApiLevel::V2_12));
        let error =
            soon(js.publish("foreign.s", "").increment(1)).await.expect_err("it is too old");
        assert!(matches!(error, JetPublishError::Feature(FeatureError::Level(_))), "{error}");
    }
    assert_eq!(calls(), ["INFO"], "it is believed for a while, and nothing else is sent");

    // What is known is known of this connection only.
    level.store(2, Ordering::Relaxed);
    let mut events = js.client().events();
    js.client().reconnect();
    wait_for(&mut events, is_connected).await;
    soon(js.publish("foreign.s", "").increment(1)).await?;
    soon(js.create_stream(atomic())).await?;
    soon(js.publish("foreign.s", "").increment(1)).await?;
    assert_eq!(calls(), ["INFO", "s", "STREAM.CREATE.s", "s"]);
    level.store(1, Ordering::Relaxed);
    js.client().reconnect();
    wait_for(&mut events, is_connected).await;
    let error = soon(js.create_stream(atomic())).await.expect_err("it is too old now");
    assert!(matches!(error, StreamError::Level(_)), "{error}");
    assert_eq!(calls(), ["INFO"]);
    Ok(())
}

pub async fn an_answer_that_is_none_is_told_with_its_subject<A: Adapter>() -> Outcome {
    let (_server, js, _log) = foreign::<A>(|call, _| match call {
        "STREAM.INFO.s" => plain("-ERR"),
        "STREAM.DELETE.s" => {
            plain(r#"{"error":{"code":503,"err_code":19999,"description":"new"}}"#)
        }
        "INFO" => plain(""),
        _ => plain("{}"),
    })
    .await?;
    let stream = js.stream("other")?;
    for (call, error) in [
        ("STREAM.DELETE.other", soon(stream.delete()).await.err()),
        ("STREAM.MSG.DELETE.other", soon(stream.delete_message(1)).await.err()),
        ("CONSUMER.DELETE.other.c", soon(stream.delete_consumer("c")).await.err()),
    ] {
        let Some(CallError::Malformed { subject, .. }) = error else { panic!("{call}: {error:?}") };
        assert_eq!(subject, format!("foreign.{call}"), "nothing says that it was done");
    }
    let purged = soon(stream.purge()).await;
    assert!(matches!(purged, Err(PurgeError::Call(CallError::Malformed { .. }))), "{purged:?}");
    let error = soon(js.get_stream("s")).await.expect_err("it is no answer");
    let CallError::Malformed { subject, .. } = error else { panic!("{error}") };
    assert_eq!(subject, "foreign.STREAM.INFO.s");
    let error = soon(js.delete_stream("s")).await.expect_err("it was refused");
    assert_eq!(error.code(), Some(ErrorCode(19_999)), "a code of another age is kept");
    assert_eq!(error.to_string(), "new (JetStream error 19999, code 503)");
    let error = soon(js.account_info()).await.expect_err("it is no answer");
    assert!(matches!(error, CallError::Malformed { .. }), "{error}");
    Ok(())
}

pub async fn a_field_that_is_dropped_is_named<A: Adapter>() -> Outcome {
    let (_server, js, _log) = foreign::<A>(|call, _| match call {
        "INFO" => plain(r#"{"api":{"level":2}}"#),
        _ => {
            plain(&format!(r#"{{"config":{{"name":"s","metadata":{{"_nats.ver":"9"}}}},{STATE}}}"#))
        }
    })
    .await?;
    let config = StreamConfig { allow_atomic: true, ..StreamConfig::new("s") };
    let error = soon(js.create_stream(config)).await.expect_err("it was dropped");
    let StreamError::Differs { differences, info } = &error else { panic!("{error}") };
    assert_eq!(differences.to_string(), "allow_atomic was to be true and is left out");
    assert_eq!(info.config.name, "s");
    soon(js.create_stream(StreamConfig::new("s"))).await?;
    Ok(())
}

pub async fn what_is_out_of_use_is_listed<A: Adapter>() -> Outcome {
    let (_server, js, log) = foreign::<A>(|_, request| {
        if request.contains("offset") {
            return plain(r#"{"total":4,"offset":3,"streams":[{"config":"unheard of"}]}"#);
        }
        plain(&format!(
            r#"{{"total":4,"streams":[{{"config":{{"name":"a","retention":"for ever"}},{STATE}}}],"missing":["b","c"],"offline":{{"b":"too new"}}}}"#
        ))
    })
    .await?;
    let mut streams = js.streams();
    let mut listed = Vec::new();
    while let Some(stream) = soon(streams.next()).await {
        listed.push(stream?);
    }
    let [Listed::Found(a), Listed::Offline { name: b, reason }, Listed::Missing { name: c }, rest] =
        listed.as_slice()
    else {
        panic!("{listed:?}")
    };
    assert_eq!((&*a.config.name, a.config.retention.as_str()), ("a", "for ever"));
    assert_eq!((&**b, &**reason, &**c), ("b", "too new", "c"));
    assert!(matches!(rest, Listed::Unreadable { .. }), "{rest:?}");
    let asked = log.lock().expect("nobody panics").clone();
    assert_eq!(asked, ["STREAM.LIST {}", r#"STREAM.LIST {"offset":3}"#]);
    Ok(())
}

/// A stored message as a direct get answers it.
fn stored(sequence: u64, before: u64) -> (Option<HeaderMap>, String) {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("Nats-Subject", "s.a".to_owned()),
        ("Nats-Sequence", sequence.to_string()),
        ("Nats-Time-Stamp", "2026-01-01T00:00:00Z".to_owned()),
        ("Nats-Num-Pending", "1".to_owned()),
        ("Nats-Last-Sequence", before.to_string()),
    ] {
        headers.append(name, value).expect("it is a header");
    }
    (Some(headers), sequence.to_string())
}

fn end(last: u64) -> (Option<HeaderMap>, String) {
    let mut headers = HeaderMap::new();
    headers.set_status(204, "EOB").expect("it is a status");
    headers.append("Nats-Num-Pending", "0").expect("it is a header");
    headers.append("Nats-Last-Sequence", last.to_string()).expect("it is a header");
    (Some(headers), String::new())
}

pub async fn messages_that_are_lost_on_their_way_are_asked_for_again<A: Adapter>() -> Outcome {
    let (_server, js, log) = foreign::<A>(|call, request| match call {
        "INFO" => plain(r#"{"api":{"level":1}}"#),
        _ if request.contains("\"seq\":1,") => vec![stored(1, 0), stored(3, 2), end(3)],
        _ => vec![stored(2, 0), stored(3, 2), end(3)],
    })
    .await?;
    let mut messages = js.stream("s")?.direct_batch().messages();
    for sequence in 1..=3 {
        let message = soon(messages.next()).await.expect("there are three")?;
        assert_eq!(message.sequence, sequence);
    }
    assert!(soon(messages.next()).await.is_none());
    let asked = log.lock().expect("nobody panics").clone();
    assert_eq!(asked.len(), 3, "{asked:?}");
    assert!(asked[2].starts_with(r#"DIRECT.GET.s {"seq":2,"#), "{asked:?}");
    Ok(())
}

pub async fn messages_that_are_always_lost_are_given_up<A: Adapter>() -> Outcome {
    let (_server, js, log) = foreign::<A>(|call, _| match call {
        "INFO" => plain(r#"{"api":{"level":1}}"#),
        _ => vec![end(3)],
    })
    .await?;
    let mut messages = js.stream("s")?.direct_batch().messages();
    let error = soon(messages.next()).await.expect("an end").expect_err("it is lost");
    assert!(matches!(error, DirectError::Get(DirectGetError::Lost)), "{error}");
    assert!(soon(messages.next()).await.is_none());
    assert_eq!(log.lock().expect("nobody panics").len(), 6, "the level, and five tries");
    Ok(())
}

pub async fn a_page_without_an_end_ends_in_time<A: Adapter>() -> Outcome {
    let (_server, js, _log) = foreign::<A>(|call, _| match call {
        "INFO" => plain(r#"{"api":{"level":1}}"#),
        _ => Vec::new(),
    })
    .await?;
    soon(js.api_level()).await?;
    // Long enough to be sent meanwhile: otherwise it ends as not sent.
    let js = js.with_timeout(Duration::from_secs(1));
    let mut messages = js.stream("s")?.direct_batch().messages();
    let error = soon(messages.next()).await.expect("an end").expect_err("nobody answers");
    let timed_out = midge::RequestError::TimedOut;
    assert!(
        matches!(&error, DirectError::Call(CallError::Request { error, .. }) if *error == timed_out),
        "{error}"
    );
    assert!(soon(messages.next()).await.is_none());
    Ok(())
}

pub async fn a_page_that_lost_its_connection_is_asked_for_again<A: Adapter>() -> Outcome {
    let (mut server, js, log) = foreign::<A>(|call, request| match call {
        "INFO" => plain(r#"{"api":{"level":1}}"#),
        "PING" => plain("{}"),
        // Its end never comes.
        _ if request.contains("\"seq\":1,") => vec![stored(1, 0)],
        _ => vec![stored(2, 0), end(2)],
    })
    .await?;
    let mut messages = js.stream("s")?.direct_batch().messages();
    assert_eq!(soon(messages.next()).await.expect("there are two")?.sequence, 1);
    server.kill()?;
    server.restart()?;
    // Until the responder is back.
    soon(async { while js.client().request("foreign.PING", "").await.is_err() {} }).await;
    assert_eq!(soon(messages.next()).await.expect("there are two")?.sequence, 2);
    assert!(soon(messages.next()).await.is_none());
    let asked = log.lock().expect("nobody panics").clone();
    assert!(asked.iter().any(|line| line.starts_with(r#"DIRECT.GET.s {"seq":2,"#)), "{asked:?}");
    Ok(())
}

pub async fn a_stream_that_somebody_else_creates_meanwhile_is_updated<A: Adapter>() -> Outcome {
    let mut updates = 0;
    let (_server, js, log) = foreign::<A>(move |call, _| {
        let refusal =
            |code: u16| plain(&format!(r#"{{"error":{{"code":400,"err_code":{code}}}}}"#));
        updates += u8::from(call == "STREAM.UPDATE.s");
        match call {
            "STREAM.UPDATE.s" if updates == 1 => refusal(10_059),
            "STREAM.CREATE.s" => refusal(10_058),
            _ => plain(&format!(r#"{{"config":{{"name":"s"}},{STATE}}}"#)),
        }
    })
    .await?;
    soon(js.create_or_update_stream(StreamConfig::new("s"))).await?;
    let asked = log.lock().expect("nobody panics").clone();
    let calls: Vec<_> = asked.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(calls, ["STREAM.UPDATE.s", "STREAM.CREATE.s", "STREAM.UPDATE.s"]);
    Ok(())
}

pub async fn a_server_that_is_away_for_a_moment_is_asked_again<A: Adapter>() -> Outcome {
    let mut pages = 0;
    let (_server, js, _log) = foreign::<A>(move |call, _| {
        if call == "INFO" {
            return plain(r#"{"api":{"level":1}}"#);
        }
        pages += 1;
        match pages {
            1 => vec![stored(1, 0), unfinished(1)],
            // As if nobody was there.
            2..=4 => vec![nobody()],
            _ => vec![stored(2, 0), end(2)],
        }
    })
    .await?;
    let mut messages = js.stream("s")?.direct_batch().messages();
    assert_eq!(soon(messages.next()).await.expect("there are two")?.sequence, 1);
    let began = std::time::Instant::now();
    assert_eq!(soon(messages.next()).await.expect("there are two")?.sequence, 2);
    assert!(began.elapsed() >= Duration::from_millis(750), "there is a wait in between");
    Ok(())
}

/// The end of a page behind which there is more.
fn unfinished(last: u64) -> (Option<HeaderMap>, String) {
    let mut headers = HeaderMap::new();
    headers.set_status(204, "EOB").expect("it is a status");
    headers.append("Nats-Num-Pending", "1").expect("it is a header");
    headers.append("Nats-Last-Sequence", last.to_string()).expect("it is a header");
    (Some(headers), String::new())
}

fn nobody() -> (Option<HeaderMap>, String) {
    let mut headers = HeaderMap::new();
    headers.set_status(503, "").expect("it is a status");
    (Some(headers), String::new())
}
