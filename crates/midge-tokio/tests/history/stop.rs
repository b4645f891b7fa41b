//! A server that stands still until the connection to it is stale, and a client that does until
//! the server has lost patience.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::Duration;

use midge::{ConnectOptions, DisconnectCause};
use midge_testing::{Cluster, NatsServer};
use tokio::runtime::Runtime;

use crate::load::{Load, Plan, Subscriber};
use crate::scene::Watched;
use crate::steps::{Outcome, PATIENCE, impatient};

/// Messages of each publisher before and after a server is stopped.
const MESSAGES: usize = 300;

/// Options with which a connection is stale after about 3 s, and not because the machine stands still
/// for a moment.
fn watchful(options: ConnectOptions) -> ConnectOptions {
    let options = options.ping_interval(Duration::from_secs(1)).max_pings_out(2);
    options.connect_timeout(Duration::from_secs(3))
}

fn causes(client: &Watched) -> Vec<DisconnectCause> {
    let connections = client.connections();
    connections.iter().filter_map(|one| Some(one.lost.as_ref()?.cause.clone())).collect()
}

fn plan(mut options: impl FnMut() -> ConnectOptions) -> Plan {
    Plan {
        publishers: vec![options(), options()],
        subscribers: vec![Subscriber::to_all(options()), Subscriber::to_one(1, options())],
        requesters: vec![options()],
        responders: vec![options(), options()],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_left_and_found_again() -> Outcome {
    let server = NatsServer::start()?;
    let mut load = plan(|| watchful(impatient(&server.url()))).start().await?;
    load.publish(MESSAGES).await?;
    server.pause()?;
    load.all_have_lost(1).await?;
    load.publish(MESSAGES).await?;
    server.resume()?;
    load.settle().await?;
    for client in load.everyone() {
        assert_eq!(causes(client)[0], DisconnectCause::Stale);
    }
    let judged = load.finish(BTreeSet::new()).await?;
    assert!(judged.published.unknown > 0 && judged.published.dropped == 0, "{judged:?}");
    assert!(judged.published.confirmed >= 2 * MESSAGES as u64, "{judged:?}");
    Ok(())
}

/// What the stopped server has read, or finds in its sockets when it goes on, it still passes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_is_left_for_another_one() -> Outcome {
    let cluster = Cluster::start(2)?;
    let urls = cluster.urls();
    let from = |first: usize| {
        let servers = [urls[first].clone(), urls[1 - first].clone()];
        let options = ConnectOptions::new(servers).retain_order(true);
        let options = options.reconnect_jitter(Duration::ZERO, Duration::ZERO);
        watchful(options.reconnect_wait(Duration::from_millis(5), Duration::from_millis(50)))
    };
    let mut plan = plan(|| from(0));
    plan.subscribers.push(Subscriber::to_all(from(1)));
    let mut load = plan.start().await?;
    load.publish(MESSAGES).await?;
    let stopped = load.publishers().next().map(Watched::server).ok_or("there is one")?;
    cluster[0].pause()?;
    load.stopped.insert(stopped.clone());
    let all_left = || load.everyone().all(|one| one.is_up() && one.server() != stopped);
    assert!(load.scene.wait(all_left).await, "somebody stays");
    load.settle().await?;
    load.publish(MESSAGES).await?;
    cluster[0].resume()?;
    // The subscriber that has been at the other server all the time gets all that is confirmed.
    load.pass_barrier(&urls[0], &[2]).await?;
    let stayed = load.subscribers().nth(2).ok_or("there are three")?;
    assert_eq!(causes(stayed), []);
    let judged = load.finish(BTreeSet::new()).await?;
    assert_eq!((judged.messages.killed, judged.published.dropped), (0, 0), "{judged:?}");
    assert!(judged.published.unknown > 0, "{judged:?}");
    Ok(())
}

/// The runtime of a client, on a thread of its own, which the test stops.
#[derive(Debug)]
struct Stoppable(Option<Runtime>);

impl Stoppable {
    fn new() -> Outcome<Stoppable> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ok(Stoppable(Some(builder.worker_threads(1).enable_all().build()?)))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until the drop")
    }

    /// Nothing of it runs from when this returns until what is returned is dropped.
    fn stop(&self) -> Outcome<mpsc::Sender<()>> {
        let (go_on, told) = mpsc::channel::<()>();
        let (stopped, stands) = mpsc::channel();
        self.runtime().spawn(async move {
            let _ = stopped.send(());
            // An error means go on.
            let _ = told.recv();
        });
        tokio::task::block_in_place(|| stands.recv_timeout(PATIENCE))?;
        Ok(go_on)
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_stands_still_too_long_is_sent_away_and_comes_back() -> Outcome {
    let config = "ping_interval: \"1s\"\nping_max: 2\n";
    let server = NatsServer::builder().config(config).arg("-D").start()?;
    let stoppable = Stoppable::new()?;
    let options = || impatient(&server.url());
    let mut plan = plan(options);
    let runtime = Some(stoppable.runtime().handle().clone());
    plan.subscribers.push(Subscriber { runtime, ..Subscriber::to_all(options()) });
    let mut load: Load = plan.start().await?;
    load.publish(MESSAGES).await?;
    let go_on = stoppable.stop()?;
    tokio::task::block_in_place(|| server.wait_for_log("Stale Client Connection", PATIENCE))?;
    load.publish(MESSAGES).await?;
    drop(go_on);
    load.settle().await?;
    let sent_away = load.subscribers().nth(2).ok_or("there are three")?;
    // The reason comes only if there is room for it behind what was not read.
    assert_eq!(causes(sent_away).len(), 1);
    let judged = load.finish(BTreeSet::new()).await?;
    assert!(judged.messages.gap > 0 && judged.published.dropped == 0, "{judged:?}");
    Ok(())
}
