//! Steps of cases whose servers die and come back: elections follow each other.

use std::fmt::Display;
use std::time::Duration;

use midge::jetstream::{JetStream, Stream, StreamConfig};
use midge::{Client, ConnectOptions};

use super::steps::connect;
use super::timer::{sleep, within};
use super::{Adapter, Outcome};
use crate::{Cluster, NatsServer};

/// What takes longer than this hangs.
pub const CLUSTER_PATIENCE: Duration = Duration::from_secs(90);

/// Asks a cluster until it grants: while a leader is elected, nobody answers, or one that cannot.
///
/// Asking again is the only way. Advisories tell of a new leader, but not when its streams answer:
/// the elections of the API, of the stream and of each consumer are apart, a server that was not
/// elected says nothing, and a message of an event that was published while routes were down is lost.
///
/// # Panics
///
/// When that takes longer than [`CLUSTER_PATIENCE`].
pub async fn granted<T, E, F>(mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, E>>,
    E: Display,
{
    let mut last = String::from("nobody answered");
    let asking = async {
        loop {
            match ask().await {
                Ok(granted) => return granted,
                Err(error) => last = error.to_string(),
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    match within(CLUSTER_PATIENCE, asking).await {
        Some(granted) => granted,
        None => panic!("it is not granted within {CLUSTER_PATIENCE:?}: {last}"),
    }
}

/// Who leads a stream of three replicas, once each of them has everything.
///
/// # Panics
///
/// When that takes longer than [`CLUSTER_PATIENCE`].
pub async fn whole(stream: &Stream) -> String {
    granted(async || {
        let cluster = stream.info().await?.cluster.ok_or("it is in no cluster")?;
        let current = cluster.replicas.iter().filter(|it| it.current && !it.offline).count();
        match cluster.leader {
            Some(leader) if cluster.replicas.len() == 2 && current == 2 => Outcome::Ok(leader),
            leader => Err(format!("{leader:?} leads, and {current} replicas are current").into()),
        }
    })
    .await
}

/// Which server of a cluster has this name.
#[must_use]
pub fn position(cluster: &Cluster, name: &str) -> Option<usize> {
    let named = format!("\"server_name\":\"{name}\"");
    let is = |server: &NatsServer| server.info().is_ok_and(|info| info.contains(&named));
    cluster.servers().iter().position(is)
}

/// Waits until `condition` holds, of which nobody tells.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) -> Outcome {
    let waiting = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = within(CLUSTER_PATIENCE, waiting).await;
    Ok(waited.ok_or_else(|| format!("{what} does not happen"))?)
}

/// A client of any of the servers, that finds another one soon.
pub(crate) async fn client<A: Adapter>(cluster: &Cluster) -> Outcome<Client> {
    let options = ConnectOptions::new(cluster.urls())
        .reconnect_wait(Duration::from_millis(20), Duration::from_millis(200))
        .retry_first_connect(true);
    Ok(connect::<A>(options).await?)
}

/// Three servers, and on each a replica of the stream `S`, whose subject is `s`.
pub(crate) async fn replicated<A: Adapter>() -> Outcome<(Cluster, JetStream, Stream)> {
    let cluster = Cluster::builder().jetstream(true).start(3)?;
    let js = JetStream::new(client::<A>(&cluster).await?);
    let config = StreamConfig {
        subjects: vec!["s".into()],
        num_replicas: 3,
        allow_direct: true,
        ..StreamConfig::new("S")
    };
    granted(|| js.create_or_update_stream(config.clone())).await;
    let stream = js.stream("S")?;
    Ok((cluster, js, stream))
}
