//! What a real nats-server tells of JetStream on its own: advisories, and republished messages.

use midge::jetstream::{
    Advisories, Advisory, AdvisoryAction, AdvisoryEvent, ConsumerConfig, Republish, Republished,
    StreamConfig, event_subjects,
};

use super::jetstream_streams::{in_memory, jetstream, store};
use crate::conformance::steps::{next, soon};
use crate::conformance::{Adapter, Outcome};

/// The next one, but for calls of the API.
async fn told(advisories: &mut Advisories) -> Outcome<Advisory> {
    loop {
        let advisory = soon(advisories.next()).await.expect("the connection is up")?;
        if !matches!(advisory.event, AdvisoryEvent::Api(_)) {
            return Ok(advisory);
        }
    }
}

pub async fn advisories_tell_of_streams_and_consumers<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let mut advisories = js.advisories(event_subjects::ALL).await?;
    let mut calls = js.advisories(event_subjects::API).await?;
    soon(js.client().flush()).await?;
    let stream = soon(js.create_stream(in_memory("s"))).await?;
    let created = told(&mut advisories).await?;
    let AdvisoryEvent::StreamAction(action) = created.event else { panic!("{created:?}") };
    assert_eq!((&*action.stream, action.action), ("s", AdvisoryAction::Create));
    assert!(created.time.is_some() && !created.id.is_empty());
    let call = soon(calls.next()).await.expect("the connection is up")?;
    let AdvisoryEvent::Api(call) = call.event else { panic!("{call:?}") };
    assert_eq!(call.subject, "$JS.API.STREAM.CREATE.s");

    let config = ConsumerConfig {
        max_deliver: Some(1),
        sample_freq: Some(100),
        ..ConsumerConfig::durable("c")
    };
    soon(stream.create_consumer(config)).await?;
    let created = told(&mut advisories).await?;
    let AdvisoryEvent::ConsumerAction(action) = created.event else { panic!("{created:?}") };
    assert_eq!((&*action.consumer, action.action), ("c", AdvisoryAction::Create));

    for _ in 0..3 {
        store(js.client(), "s.a", "x").await?;
    }
    for answer in ["-NAK", "+TERM it is broken", "+ACK"] {
        let pull = js.client().request("$JS.API.CONSUMER.MSG.NEXT.s.c", "").own_inbox();
        soon(js.client().respond(&soon(pull).await?, answer)).await?;
    }
    // That a message has no deliveries left is seen when somebody waits for one.
    let _waits = js.client().subscribe("waits").await?;
    js.client().publish("$JS.API.CONSUMER.MSG.NEXT.s.c", "").reply("waits").await?;
    let (mut naked, mut exceeded, mut terminated, mut acked) = (None, None, None, None);
    while naked.is_none() || exceeded.is_none() || terminated.is_none() || acked.is_none() {
        match told(&mut advisories).await?.event {
            AdvisoryEvent::Naked(message) => naked = Some(message),
            AdvisoryEvent::MaxDeliveries(message) => exceeded = Some(message),
            AdvisoryEvent::Terminated(message) => terminated = Some(message),
            AdvisoryEvent::Acked(message) => acked = Some(message),
            other => panic!("{other:?}"),
        }
    }
    let sequence = |message: &Option<midge::jetstream::MessageEvent>| {
        message.as_ref().map(|message| (message.stream_seq, message.deliveries))
    };
    assert_eq!(sequence(&naked), Some((1, 1)));
    assert_eq!(sequence(&exceeded), Some((1, 1)));
    assert_eq!(sequence(&acked), Some((3, 1)));
    assert!(acked.is_some_and(|message| message.ack_time.is_some()));
    assert_eq!(terminated.and_then(|message| message.reason).as_deref(), Some("it is broken"));

    let until = "2100-01-01T00:00:00Z".parse::<midge::jetstream::Time>()?;
    soon(stream.pause_consumer("c", until)).await?;
    let paused = told(&mut advisories).await?;
    let AdvisoryEvent::ConsumerPause(pause) = paused.event else { panic!("{paused:?}") };
    assert_eq!((pause.paused, pause.pause_until), (true, Some(until)));
    Ok(())
}

pub async fn what_is_no_advisory_is_told_as_such<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let mut advisories = js.advisories("mine.>").await?;
    soon(js.client().publish("mine.a", "nonsense")).await?;
    let error = soon(advisories.next()).await.expect("a message").expect_err("no advisory");
    assert_eq!((error.message.subject(), error.message.payload()), ("mine.a", &b"nonsense"[..]));
    let other = r#"{"type":"org.example.moon","phase":"full"}"#;
    soon(js.client().publish("mine.b", other)).await?;
    let advisory = soon(advisories.next()).await.expect("a message")?;
    assert!(matches!(advisory.event, AdvisoryEvent::Other { .. }), "{advisory:?}");
    Ok(())
}

pub async fn a_republished_message_says_where_it_is_stored<A: Adapter>() -> Outcome {
    let (_server, js) = jetstream::<A>().await?;
    let to = |dest: &str, headers_only| StreamConfig {
        republish: Some(Republish { dest: dest.into(), headers_only, ..Republish::default() }),
        ..in_memory(if headers_only { "t" } else { "s" })
    };
    let stream = soon(js.create_stream(to("copy.>", false))).await?;
    soon(js.create_stream(to("heads.>", true))).await?;
    let mut copies = js.client().subscribe("copy.>").confirmed().await?;
    let mut heads = js.client().subscribe("heads.>").confirmed().await?;
    for subject in ["s.a", "s.b", "s.a"] {
        let forged = js.client().request(subject, "x").header("Nats-Sequence", "77");
        soon(forged).await?;
    }
    for (sequence, subject, before) in [(1, "s.a", 0), (2, "s.b", 0), (3, "s.a", 1)] {
        let copy = next(&mut copies).await;
        assert_eq!(copy.subject(), format!("copy.{subject}"));
        let stored = Republished::of(&copy).expect("it is one");
        assert_eq!((stored.stream, stored.subject), ("s", subject));
        assert_eq!((stored.sequence, stored.last_sequence), (sequence, before));
        assert_eq!((stored.time, stored.size), (soon(stream.message(sequence)).await?.time, None));
    }
    store(js.client(), "t.a", "twelve bytes").await?;
    let head = next(&mut heads).await;
    let stored = Republished::of(&head).expect("it is one");
    assert_eq!((head.payload(), stored.size, stored.sequence), (&b""[..], Some(12), 1));
    Ok(())
}
