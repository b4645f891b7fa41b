//! Calls of the API for a replicated stream and its consumer while its leader is killed and comes
//! back.

use std::future::IntoFuture;
use std::time::Duration;

use midge::jetstream::{
    CallError, ConsumerConfig, ErrorCode, GetMessageError, JetStream, Listed, Stream, StreamConfig,
    StreamInfo, Time,
};

use crate::Cluster;
use crate::conformance::clusters::{client, granted, position, whole};
use crate::conformance::{Adapter, Outcome};

const MESSAGES: u64 = 100;

fn config() -> StreamConfig {
    StreamConfig {
        subjects: vec!["s.>".into()],
        num_replicas: 3,
        allow_direct: true,
        allow_atomic: true,
        ..StreamConfig::new("s")
    }
}

fn consumer() -> ConsumerConfig {
    ConsumerConfig { num_replicas: Some(3), ..ConsumerConfig::durable("c") }
}

fn leader(info: &StreamInfo) -> Option<&str> {
    info.cluster.as_ref()?.leader.as_deref()
}

async fn names(js: &JetStream) -> Outcome<Vec<String>> {
    let (mut names, mut streams) = (Vec::new(), js.streams());
    while let Some(listed) = streams.next().await {
        match listed? {
            Listed::Found(info) => names.push(info.config.name),
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(names)
}

async fn consumer_names(stream: &Stream) -> Outcome<Vec<String>> {
    let (mut names, mut there) = (stream.consumer_names(), Vec::new());
    while let Some(name) = names.next().await {
        there.push(name?);
    }
    Ok(there)
}

async fn sequences(stream: &Stream) -> Outcome<Vec<u64>> {
    let (mut sequences, mut messages) = (Vec::new(), stream.direct_batch().messages());
    while let Some(message) = messages.next().await {
        sequences.push(message?.sequence);
    }
    Ok(sequences)
}

/// What was asked for once already may be gone.
fn gone(result: Result<(), CallError>, code: ErrorCode) -> Result<(), CallError> {
    match result {
        Err(error) if error.code() == Some(code) => Ok(()),
        other => other,
    }
}

pub async fn a_replicated_stream_is_managed_while_its_leader_dies_and_comes_back<A: Adapter>()
-> Outcome {
    let mut cluster = Cluster::builder().jetstream(true).start(3)?;
    // Short: what is asked of a leader that was just killed is answered by nobody.
    let js = JetStream::new(client::<A>(&cluster).await?).with_timeout(Duration::from_secs(2));
    // It is compared, field by field, with what a cluster makes of it.
    let stream = granted(|| js.create_or_update_stream(config())).await;
    for number in 0..MESSAGES {
        // Once, also when its ack was late.
        let publish = || {
            let message = js.publish(format!("s.{}", number % 10), "x");
            message.message_id(number.to_string()).into_future()
        };
        granted(publish).await;
    }
    let info = granted(|| stream.info().into_future()).await;
    let placed = info.cluster.clone().expect("it is in a cluster");
    assert_eq!((placed.name.as_deref(), placed.replicas.len()), (Some("midge"), 2));
    let first = leader(&info).expect("it has a leader").to_owned();
    let created = granted(|| stream.create_or_update_consumer(consumer())).await;
    assert!(created.cluster.is_some_and(|cluster| cluster.leader.is_some()));

    let index = position(&cluster, &first).expect("the leader is one of them");
    cluster[index].kill()?;
    let second = granted(async || {
        let info = stream.info().await.map_err(|error| error.to_string())?;
        match leader(&info) {
            Some(leader) if leader != first => Ok(leader.to_owned()),
            other => Err(format!("led by {other:?}")),
        }
    })
    .await;
    assert_ne!(second, first);

    // All that can be asked for is granted by the two that are left.
    let changed = StreamConfig { max_msgs: Some(1_000), ..config() };
    let updated = granted(|| js.update_stream(changed.clone())).await;
    assert_eq!(updated.cached_info().map(|info| info.config.max_msgs), Some(Some(1_000)));
    assert_eq!(granted(|| names(&js)).await, ["s"]);
    let found = granted(|| js.stream_by_subject("s.5")).await;
    assert_eq!(found.map(|stream| stream.name().to_string()).as_deref(), Some("s"));
    assert_eq!(granted(|| stream.message(MESSAGES)).await.subject, "s.9");
    granted(async || {
        // Its answer may be lost.
        let deleted = stream.delete_message(MESSAGES).await;
        match stream.message(MESSAGES).await {
            Err(GetMessageError::NotFound) => Ok(()),
            other => Err(format!("{deleted:?} {other:?}")),
        }
    })
    .await;
    granted(|| stream.purge().before(51).into_future()).await;
    let left: Vec<u64> = (51..MESSAGES).collect();
    // One of those that answer may be behind for a moment.
    granted(async || match sequences(&stream).await? {
        there if there == left => Outcome::Ok(()),
        there => Err(format!("{there:?}").into()),
    })
    .await;
    assert_eq!(granted(|| stream.consumer_info("c")).await.num_pending, left.len() as u64);
    let described = ConsumerConfig { description: Some("changed".into()), ..consumer() };
    let described = granted(|| stream.update_consumer(described.clone())).await;
    assert_eq!(described.config.description.as_deref(), Some("changed"));
    let until: Time = "2100-01-01T00:00:00Z".parse()?;
    assert!(granted(|| stream.pause_consumer("c", until)).await.paused);
    assert!(!granted(|| stream.resume_consumer("c")).await.paused);
    let other =
        ConsumerConfig { name: Some("d".into()), durable_name: Some("d".into()), ..consumer() };
    granted(|| stream.create_consumer(other.clone())).await;
    assert_eq!(granted(|| consumer_names(&stream)).await, ["c", "d"]);
    granted(async || gone(stream.delete_consumer("d").await, ErrorCode::CONSUMER_NOT_FOUND)).await;

    cluster[index].restart()?;
    cluster.wait_until_joined()?;
    // The one that was away has learnt all of it.
    whole(&stream).await;
    let info = granted(|| js.get_stream("s")).await.cached_info().cloned().expect("it was told");
    assert_eq!((info.state.messages, info.config.max_msgs), (left.len() as u64, Some(1_000)));
    assert_eq!(granted(|| consumer_names(&stream)).await, ["c"]);
    granted(async || gone(stream.delete().await, ErrorCode::STREAM_NOT_FOUND)).await;
    assert!(granted(|| names(&js)).await.is_empty());
    Ok(())
}
