//! Publishing to a replicated stream while its leader is killed and comes back.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::time::Duration;

use midge::jetstream::{PublishOrder, Report, Stream};

use crate::Cluster;
use crate::conformance::clusters::{granted, position, replicated};
use crate::conformance::{Adapter, Outcome};

const MESSAGES: u64 = 6_000;

/// The server that leads the stream.
async fn leader(stream: &Stream, cluster: &Cluster) -> usize {
    granted(async || {
        let leader = stream.info().await?.cluster.and_then(|cluster| cluster.leader);
        let found = leader.and_then(|name| position(cluster, &name));
        Outcome::Ok(found.ok_or("the stream has no leader")?)
    })
    .await
}

/// Publishes, kills the leader twice and brings it back; what the stream has then, in its order.
async fn publish_while_leaders_die<A: Adapter>(
    order: PublishOrder,
) -> Outcome<(Vec<u64>, Vec<Report>)> {
    let (mut cluster, js, stream) = replicated::<A>().await?;
    let publisher = js
        .publisher()
        .order(order)
        .window(256, 1 << 20)
        .ack_wait(Duration::from_secs(2))
        .retries(200, Duration::from_millis(100))
        .stall(Duration::from_secs(60));
    let mut publisher = publisher.await?;
    let mut killed = None;
    for number in 1..=MESSAGES {
        if number % (MESSAGES / 3) == 0 {
            if let Some(killed) = killed.take() {
                cluster[killed].restart()?;
            }
            let leader = leader(&stream, &cluster).await;
            cluster[leader].kill()?;
            killed = Some(leader);
        }
        if number % (MESSAGES / 3) == MESSAGES / 6
            && let Some(killed) = killed.take()
        {
            cluster[killed].restart()?;
        }
        let message = publisher.publish("s", number.to_string());
        match message.message_id(format!("order-{number}")).await {
            Ok(given) => assert_eq!(given, number),
            Err(error) => {
                let report = publisher.try_next_report();
                return Err(format!("{number}: {error}; the first report: {report:?}").into());
            }
        }
    }
    let flushed = publisher.flush().await;
    let mut reports = Vec::new();
    while let Some(report) = publisher.try_next_report() {
        reports.push(report);
    }
    assert!(flushed.is_ok(), "{flushed:?} {reports:?}");
    if let Some(killed) = killed {
        cluster[killed].restart()?;
    }
    let last = granted(|| stream.info().into_future()).await.state.last_seq;
    let stored = granted(async || {
        let mut stored = Vec::new();
        let mut messages = stream.direct_batch().messages();
        while let Some(message) = messages.next().await {
            let message = message?;
            stored.push((message.sequence, str::from_utf8(&message.payload)?.parse()?));
        }
        // A replica that is behind may answer.
        match stored.last() {
            Some((sequence, _)) if *sequence == last => Outcome::Ok(stored),
            end => Err(format!("{end:?} is not {last}").into()),
        }
    })
    .await;
    Ok((stored.into_iter().map(|(_, number)| number).collect(), reports))
}

fn check_once(stored: &[u64]) {
    let mut times = BTreeMap::new();
    for number in stored {
        *times.entry(*number).or_insert(0) += 1;
    }
    let missing: Vec<u64> = (1..=MESSAGES).filter(|number| !times.contains_key(number)).collect();
    assert!(missing.is_empty(), "acknowledged and not stored: {missing:?}");
    let twice: Vec<_> = times.into_iter().filter(|(_, times)| *times > 1).collect();
    assert!(twice.is_empty(), "stored more than once: {twice:?}");
}

pub async fn while_leaders_are_killed_all_that_is_acknowledged_is_stored_once<A: Adapter>()
-> Outcome {
    let (stored, reports) = publish_while_leaders_die::<A>(PublishOrder::Sent).await?;
    check_once(&stored);
    let moved = |report: &Report| match report {
        Report::Moved { number, .. } => Some(*number),
        _ => None,
    };
    let moved: Vec<u64> = reports.iter().filter_map(moved).collect();
    let order: Vec<u64> = stored.into_iter().filter(|number| !moved.contains(number)).collect();
    assert!(order.is_sorted(), "what was not reported to have moved is in order");
    Ok(())
}

pub async fn while_leaders_are_killed_a_chain_is_stored_once_and_in_order<A: Adapter>() -> Outcome {
    let (stored, reports) = publish_while_leaders_die::<A>(PublishOrder::Chained).await?;
    check_once(&stored);
    assert!(stored.is_sorted() && reports.is_empty(), "{reports:?}");
    Ok(())
}
