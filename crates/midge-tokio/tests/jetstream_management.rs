//! Streams and consumers on a cluster of three: where they are, and calls after a leader is gone.

mod steps;

use std::future::IntoFuture;
use std::time::Duration;

use midge::jetstream::{
    ConsumerConfig, DirectError, JetStream, Listed, Stream, StreamConfig, StreamInfo,
};
use midge_testing::Cluster;

use steps::{Outcome, connect, granted, impatient, position, whole};

async fn jetstream(cluster: &Cluster) -> Outcome<JetStream> {
    let client = connect(impatient(&cluster.urls().join(","))).await?;
    // Short: what is asked of a leader that was just killed is answered by nobody.
    Ok(JetStream::new(client).with_timeout(Duration::from_secs(2)))
}

fn replicated() -> StreamConfig {
    StreamConfig {
        subjects: vec!["s.>".into()],
        num_replicas: 3,
        allow_direct: true,
        allow_atomic: true,
        ..StreamConfig::new("s")
    }
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

async fn count(stream: &Stream) -> Result<usize, DirectError> {
    let (mut count, mut messages) = (0, stream.direct_batch().messages());
    while let Some(message) = messages.next().await {
        message?;
        count += 1;
    }
    Ok(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replicated_stream_is_managed_while_servers_die_and_come_back() -> Outcome {
    let mut cluster = Cluster::builder().jetstream(true).start(3)?;
    let js = jetstream(&cluster).await?;
    // It is compared, field by field, with what a cluster makes of it.
    let stream = granted(|| js.create_or_update_stream(replicated())).await;
    for number in 0..100 {
        // Once, also when its ack was late.
        let publish = || {
            let message = js.publish(format!("s.{}", number % 10), "x");
            message.message_id(number.to_string()).into_future()
        };
        granted(publish).await;
    }
    let info = granted(|| stream.info().into_future()).await;
    let cluster_info = info.cluster.clone().expect("it is in a cluster");
    assert_eq!(cluster_info.name.as_deref(), Some("midge"));
    assert_eq!(cluster_info.replicas.len(), 2);
    let first = leader(&info).expect("it has a leader").to_owned();

    let config = ConsumerConfig { num_replicas: Some(3), ..ConsumerConfig::durable("c") };
    let consumer = granted(|| stream.create_or_update_consumer(config.clone())).await;
    assert!(consumer.cluster.is_some_and(|cluster| cluster.leader.is_some()));

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
    let changed = StreamConfig { max_msgs: Some(1_000), ..replicated() };
    granted(|| js.update_stream(changed.clone())).await;
    assert_eq!(granted(|| names(&js)).await, ["s"]);
    // From the servers that are left, of which one may be behind for a moment.
    granted(async || match count(&stream).await.map_err(|error| error.to_string())? {
        100 => Ok(()),
        count => Err(format!("{count} messages")),
    })
    .await;
    granted(|| stream.consumer_info("c")).await;

    cluster[index].restart()?;
    cluster.wait_until_joined()?;
    whole(&stream).await;
    assert_eq!(
        granted(|| js.get_stream("s")).await.cached_info().map(|i| i.state.messages),
        Some(100)
    );
    granted(|| stream.delete()).await;
    assert!(granted(|| names(&js)).await.is_empty());
    Ok(())
}
