//! Planned moves to another server, against real servers: nothing is lost on the way.

use std::collections::BTreeMap;
use std::time::Duration;

use midge::{Client, ConnectOptions, Event, Subscription};

use crate::conformance::steps::{HOUR, connect, give_way, soon, wait_for};
use crate::conformance::tasks::spawn;
use crate::conformance::{Adapter, Outcome};
use crate::{Cluster, NatsServer};

/// How often each number came, until the subscription ends.
async fn count(mut subscription: Subscription) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    while let Some(message) = subscription.next().await {
        let number = str::from_utf8(message.payload()).ok().and_then(|text| text.parse().ok());
        *counts.entry(number.expect("a number")).or_default() += 1;
    }
    counts
}

pub async fn a_publisher_that_moves_loses_no_message_and_knows_it<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let reader = connect::<A>(server.url()).await?;
    let arrived = spawn::<A, _>(count(reader.subscribe("numbers").confirmed().await?));
    let client = connect::<A>(server.url()).await?;
    let mut events = client.events();
    for number in 0..30_000u64 {
        if number % 10_000 == 5_000 {
            client.reconnect();
        }
        client.publish("numbers", number.to_string()).await?;
        if number % 10_000 == 9_999 {
            let lost = wait_for(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
            let Event::Disconnected(lost) = lost else { unreachable!("it was waited for") };
            assert!(lost.unknown.is_empty() && lost.dropped.is_empty(), "{lost:?}");
            wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
        }
    }
    let fates = soon(client.flush()).await?;
    assert_eq!(fates.confirmed.messages, 30_000);
    soon(reader.drain()).await;
    let arrived = soon(arrived).await;
    assert!(arrived.len() == 30_000 && arrived.values().all(|times| *times == 1));
    Ok(())
}

async fn member<A: Adapter>(options: ConnectOptions) -> Outcome<(Client, Subscription)> {
    let client = connect::<A>(options).await?;
    let subscription = soon(client.queue_subscribe("jobs", "workers")).await?;
    soon(client.flush()).await?;
    Ok((client, subscription))
}

pub async fn a_member_of_a_queue_group_leaves_a_lame_duck_and_loses_nothing<A: Adapter>() -> Outcome
{
    let cluster = Cluster::start(2)?;
    let urls = cluster.urls();
    let options = |move_on: bool| {
        let options = ConnectOptions::new([urls[0].clone(), urls[1].clone()]).retain_order(true);
        // On a machine that is busy otherwise, a reader may be slower than the default allows.
        let options = options.slow_hold(HOUR);
        match move_on {
            true => options.leave_lame_duck(Duration::from_millis(500)),
            false => options,
        }
    };
    let (moving, jobs) = member::<A>(options(true)).await?;
    let (staying, other_jobs) = member::<A>(options(false)).await?;
    let publisher = connect::<A>(options(false)).await?;
    let mut events = moving.events();
    let done = [spawn::<A, _>(count(jobs)), spawn::<A, _>(count(other_jobs))];

    let mut number = 0u64;
    let mut told = false;
    let mut left = None;
    // From before the signal until after the move, without a pause.
    let mut after = 0;
    while after < 5_000 {
        for _ in 0..100 {
            publisher.publish("jobs", number.to_string()).await?;
            number += 1;
        }
        give_way().await;
        if !told && number >= 5_000 {
            cluster.servers()[0].lame_duck()?;
            told = true;
        }
        match events.try_next() {
            Some(Event::Disconnected(lost)) => left = Some(lost),
            Some(Event::Connected(connected)) => {
                assert_eq!(connected.server.to_string(), urls[1]);
                after = 1;
            }
            _ => {}
        }
        if after > 0 {
            after += 100;
        }
    }
    assert!(left.expect("it moved").unknown.is_empty());
    soon(publisher.flush()).await?;
    for client in [&moving, &staying] {
        soon(client.drain()).await;
    }
    let mut all = BTreeMap::new();
    for counts in done {
        for (number, times) in soon(counts).await {
            *all.entry(number).or_insert(0) += times;
        }
    }
    let missing: Vec<_> = (0..number).filter(|number| !all.contains_key(number)).collect();
    assert_eq!((missing.len(), all.values().all(|times| *times == 1)), (0, true), "{missing:?}");
    Ok(())
}
