//! A cluster whose members are ended and come back one by one, under load.

use std::collections::BTreeSet;
use std::time::Duration;

use midge::ConnectOptions;
use midge_testing::Cluster;

use crate::load::{Plan, Subscriber};
use crate::steps::Outcome;

/// Messages of each publisher before a member is ended, and while it is away.
const MESSAGES: usize = 300;

/// How a member is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// SIGTERM.
    Stop,
    /// SIGUSR2: it tells its clients, which leave by themselves.
    LameDuck,
    /// SIGKILL.
    Kill,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_that_a_rolling_cluster_loses_has_a_cause() -> Outcome {
    let config = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"\n";
    let mut cluster = Cluster::builder().config(config).start(3)?;
    let urls = cluster.urls();
    // Publishers and subscribers at each of them.
    let from = |first: usize| {
        let servers: Vec<_> = (0..3).map(|index| urls[(first + index) % 3].clone()).collect();
        let wait = (Duration::from_millis(5), Duration::from_millis(50));
        let options =
            ConnectOptions::new(servers).retain_order(true).reconnect_wait(wait.0, wait.1);
        let options = options.reconnect_jitter(Duration::ZERO, Duration::ZERO);
        options.leave_lame_duck(Duration::from_millis(200))
    };
    let plan = Plan {
        publishers: (0..3).map(from).collect(),
        subscribers: (0..3).map(|first| Subscriber::to_all(from(first))).collect(),
        requesters: vec![from(0), from(1)],
        responders: vec![from(1), from(2)],
    };
    let mut load = plan.start().await?;
    let mut ended = BTreeSet::new();
    for (index, end) in [End::Stop, End::LameDuck, End::Kill].into_iter().enumerate() {
        load.publish(MESSAGES).await?;
        let id = server_id(&cluster, index)?;
        let losses: Vec<_> = load.publishers().map(|one| one.losses()).collect();
        let affected: Vec<_> = load.publishers().map(|one| one.server() == id).collect();
        assert!(affected.contains(&true), "no publisher is at n{index}");
        tokio::task::block_in_place(|| match end {
            End::Stop => cluster[index].stop().map(drop),
            End::LameDuck => {
                cluster[index].lame_duck().and_then(|()| cluster[index].wait()).map(drop)
            }
            End::Kill => cluster[index].kill(),
        })?;
        ended.insert(id);
        load.publish(MESSAGES).await?;
        for ((publisher, before), affected) in load.publishers().zip(losses).zip(affected) {
            let all_left = || publisher.losses() == before + usize::from(affected);
            assert!(load.scene.wait(all_left).await, "a server stays when another is ended");
            let unknown = |losses: usize| {
                let connections = publisher.connections();
                connections[losses].lost.as_ref().map(|lost| lost.unknown.messages)
            };
            if affected && end == End::LameDuck {
                assert_eq!(unknown(before), Some(0), "who leaves a lame duck loses nothing");
            }
        }
        tokio::task::block_in_place(|| {
            cluster[index].restart()?;
            cluster.wait_until_joined()
        })?;
        load.settle().await?;
    }
    let judged = load.finish(ended).await?;
    assert!(judged.published.dropped == 0 && judged.requests.answered > 0, "{judged:?}");
    Ok(())
}

/// The id of the process that runs now.
fn server_id(cluster: &Cluster, index: usize) -> Outcome<String> {
    let info: serde_json::Value = serde_json::from_str(&cluster[index].info()?)?;
    Ok(info["server_id"].as_str().ok_or("it has an id")?.to_owned())
}
