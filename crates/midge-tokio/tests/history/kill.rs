//! One server that is killed and comes back, under load.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;

use midge_testing::{Direction, Link, NatsServer};

use crate::load::{Plan, Subscriber};
use crate::steps::{Outcome, impatient};

/// Nothing that is published after the subscribers are back may be missing, also of what was kept
/// while there was no server: the publishers come through links that open then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_only_what_the_reports_call_unknown_and_the_gaps() -> Outcome {
    const KILLS: usize = 3;
    const MESSAGES: usize = 500;
    let mut server = NatsServer::start()?;
    let link = Link::to(&server.url()).start()?;
    let (direct, gated) = (|| impatient(&server.url()), || impatient(&link.url()));
    let plan = Plan {
        publishers: vec![gated(), gated(), gated()],
        subscribers: vec![
            Subscriber::to_all(direct()),
            Subscriber::to_all(direct()),
            Subscriber::to_one(1, direct()),
        ],
        requesters: vec![direct(), gated()],
        responders: vec![direct(), direct()],
    };
    let mut load = plan.start().await?;
    for kill in 1..=KILLS {
        load.publish(MESSAGES).await?;
        server.kill()?;
        link.stall(Direction::ToServer);
        load.all_have_lost(kill).await?;
        tokio::task::block_in_place(|| server.restart())?;
        let subscribed = load.scene.wait(|| load.subscribers().all(|one| one.is_up())).await;
        assert!(subscribed, "the subscribers come back");
        load.publish(MESSAGES).await?;
        let opened = load.scene.now();
        load.publishers().for_each(|one| one.gate.store(opened, SeqCst));
        link.resume(Direction::ToServer);
        load.settle().await?;
    }
    let judged = load.finish(BTreeSet::new()).await?;
    // What is confirmed within a moment, and all that was published without a connection.
    let least = KILLS * 3 * MESSAGES;
    assert!(judged.published.confirmed >= least as u64, "{judged:?}");
    assert!(judged.published.unknown > 0 && judged.requests.unknown > 0, "{judged:?}");
    assert!(judged.requests.answered > 0 && judged.published.dropped == 0, "{judged:?}");
    Ok(())
}
