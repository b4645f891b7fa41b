//! What a drain keeps whole: beside others, over a long link, and when the server stops, dies, or
//! comes back.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use midge::{
    Client, CloseReason, Closed, ConnectOptions, EndReason, Event, Fates, Message, PublishError,
    Subscription,
};

use crate::conformance::steps::{
    HOUR, PATIENCE, assert_took, connect, expect_numbers, fill, impatient, is_disconnected,
    is_failed_attempt, raw_subscriber, soon, until, wait_for,
};
use crate::conformance::tasks::spawn;
use crate::conformance::timer::sleep;
use crate::conformance::{Adapter, Outcome};
use crate::{Direction, Link, NatsServer};

/// How long a drain may take where it does not get to its end; long enough for what is done meanwhile.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Every publish has one of the four fates.
fn assert_every_publish_is_accounted_for(report: &Closed, published: u64) {
    let Fates { confirmed, unknown, kept, dropped, .. } = &report.fates;
    let all = [confirmed, unknown, kept, dropped];
    let mut fates: Vec<Range<u64>> = all.iter().flat_map(|fate| fate.positions.ranges()).collect();
    fates.sort_by_key(|range| range.start);
    let next = fates.iter().fold(0, |next, range| {
        assert_eq!(range.start, next, "neither twice nor never: {report:?}");
        range.end
    });
    assert_eq!(next, published, "{report:?}");
    assert!(all.iter().all(|fate| fate.messages == fate.positions.len()), "{report:?}");
}

// ---- beside others ---------------------------------------------------------------------------

pub async fn a_drained_handler_answers_all_that_was_asked<A: Adapter>() -> Outcome {
    const WORK: Duration = Duration::from_millis(20);
    let server = NatsServer::start()?;
    let (asker, responder) = (connect::<A>(server.url()).await?, connect::<A>(server.url()).await?);
    let answers = responder.clone();
    let handler = responder.subscribe("work").handler(move |question: Message| {
        std::thread::sleep(WORK);
        let answer = question.payload().repeat(2);
        answers.respond(&question, answer).try_send().expect("publishing goes on until then");
    });
    let handler = handler.await?;
    soon(handler.confirmed()).await?;
    let asked = (0..50).map(|number: u32| {
        let asker = asker.clone();
        spawn::<A, _>(
            async move { asker.request("work", number.to_string()).timeout(PATIENCE).await },
        )
    });
    let asked: Vec<_> = asked.collect();
    until(|| asker.statistics().out_messages == 50).await;
    soon(asker.flush()).await?;

    let drained = responder.drain();
    for (number, reply) in asked.into_iter().enumerate() {
        let reply = soon(reply).await?;
        assert_eq!(reply.payload(), number.to_string().repeat(2).as_bytes());
    }
    let report = soon(drained).await;
    assert_eq!((&report.why, report.fates.confirmed.messages), (&CloseReason::Drained, 50));
    assert_eq!(handler.delivered(), 50);
    assert_every_publish_is_accounted_for(&report, 50);
    Ok(())
}

pub async fn a_drained_responder_answers_all_that_is_queued<A: Adapter>() -> Outcome {
    const WORK: Duration = Duration::from_millis(20);
    let server = NatsServer::start()?;
    let (asker, responder) = (connect::<A>(server.url()).await?, connect::<A>(server.url()).await?);
    let mut questions = soon(responder.subscribe("work").confirmed()).await?;
    let asked = (0..50).map(|number: u32| {
        let asker = asker.clone();
        spawn::<A, _>(
            async move { asker.request("work", number.to_string()).timeout(PATIENCE).await },
        )
    });
    let asked: Vec<_> = asked.collect();
    until(|| questions.pending() == 50).await;

    let drained = responder.drain();
    while let Some(question) = soon(questions.next()).await {
        sleep(WORK).await;
        responder.respond(&question, question.payload().repeat(2)).await?;
    }
    for (number, reply) in asked.into_iter().enumerate() {
        let reply = soon(reply).await?;
        assert_eq!(reply.payload(), number.to_string().repeat(2).as_bytes());
    }
    let report = soon(drained).await;
    assert_eq!((&report.why, report.fates.confirmed.messages), (&CloseReason::Drained, 50));
    assert_eq!((questions.delivered(), questions.pending()), (50, 0));
    assert_every_publish_is_accounted_for(&report, 50);
    Ok(())
}

/// Publishes numbers until the drain is over, and some more. Returns how many.
async fn publish_past(publisher: &Client, over: &AtomicBool) -> Result<usize, PublishError> {
    let (mut published, mut last) = (0, usize::MAX);
    while published < last {
        publisher.publish("jobs", published.to_string()).await?;
        published += 1;
        if published % 250 == 0 {
            soon(publisher.flush()).await.expect("the server is there");
        }
        if last == usize::MAX && over.load(Ordering::SeqCst) {
            last = published + 10_000;
        }
    }
    soon(publisher.flush()).await.expect("the server is there");
    Ok(published)
}

fn number_of(job: &Message) -> usize {
    let text = str::from_utf8(job.payload()).expect("it is text");
    text.parse().expect("it is a number")
}

/// Reads numbers to the end.
async fn read_numbers(jobs: &mut Subscription) -> Vec<usize> {
    let mut numbers = Vec::new();
    while let Some(batch) = soon(jobs.next_batch(256)).await {
        numbers.extend(batch.map(|job| number_of(&job)));
    }
    numbers
}

/// Two members over a link of 20 ms each way, of which one is drained with `drain` in the flow.
async fn a_member_leaves<A: Adapter>(
    drain: impl AsyncFnOnce(&Client, &mut Subscription),
) -> Outcome {
    let server = NatsServer::start()?;
    let link = Link::to(&server.url()).latency(Duration::from_millis(20)).start()?;
    // On a machine that is busy otherwise, a reader may be slower than the default allows.
    let member = || ConnectOptions::new(link.url()).slow_hold(HOUR);
    let (leaver, stayer) = (connect::<A>(member()).await?, connect::<A>(member()).await?);
    let publisher = connect::<A>(server.url()).await?;
    let mut leaving = soon(leaver.queue_subscribe("jobs", "workers").confirmed()).await?;
    let mut staying = soon(stayer.queue_subscribe("jobs", "workers").confirmed()).await?;
    let over = Arc::new(AtomicBool::new(false));
    let flow = spawn::<A, _>({
        let over = over.clone();
        async move { publish_past(&publisher, &over).await }
    });
    let stays = spawn::<A, _>({
        let stayer = stayer.clone();
        async move { (read_numbers(&mut staying).await, stayer) }
    });

    let mut begun = Vec::new();
    while begun.len() < 2000 {
        let job = soon(leaving.next()).await.ok_or("the flow goes on")?;
        begun.push(number_of(&job));
    }
    drain(&leaver, &mut leaving).await;
    begun.extend(read_numbers(&mut leaving).await);
    assert_eq!(leaving.end(), Some(EndReason::Drained));
    over.store(true, Ordering::SeqCst);

    let published = soon(flow).await?;
    // The server has handed over all jobs, so the PONG of this drain comes behind them.
    let report = soon(stayer.drain()).await;
    assert_eq!(report.why, CloseReason::Drained);
    let (others, _) = soon(stays).await;
    assert!(begun.len() > 2000 && others.len() > 10_000, "both had jobs during the drain");
    let mut times = vec![0; published];
    for number in begun.into_iter().chain(others) {
        times[number] += 1;
    }
    let count = |wanted: fn(u32) -> bool| times.iter().filter(|times| wanted(**times)).count();
    let (lost, doubled) = (count(|times| times == 0), count(|times| times > 1));
    assert_eq!((lost, doubled), (0, 0), "of {published} jobs");
    Ok(())
}

pub async fn a_member_whose_subscription_is_drained_in_the_flow_loses_no_job<A: Adapter>() -> Outcome
{
    a_member_leaves::<A>(async |_, jobs| soon(jobs.drain()).await).await
}

pub async fn a_member_whose_client_is_drained_in_the_flow_loses_no_job<A: Adapter>() -> Outcome {
    a_member_leaves::<A>(async |client, _| drop(client.drain())).await
}

// ---- without a server ------------------------------------------------------------------------

/// A client whose subscription holds ten messages unread, and its server.
async fn with_ten_unread<A: Adapter>(
    drain_timeout: Duration,
) -> Outcome<(NatsServer, Client, Subscription)> {
    let server = NatsServer::builder().arg("-DV").start()?;
    let options = impatient(&server.url()).drain_timeout(drain_timeout).linger(HOUR);
    let client = connect::<A>(options).await?;
    let subscription = client.subscribe("in").await?;
    for number in 0..10 {
        client.publish("in", number.to_string()).await?;
    }
    soon(client.flush()).await?;
    assert_eq!(subscription.pending(), 10);
    Ok((server, client, subscription))
}

async fn read(subscription: &mut Subscription, numbers: Range<u32>) {
    for number in numbers {
        let message = soon(subscription.next()).await.expect("it is readable");
        assert_eq!(message.payload(), number.to_string().as_bytes());
    }
}

pub async fn without_a_server_what_is_queued_stays_readable_and_what_is_kept_is_reported<
    A: Adapter,
>() -> Outcome {
    let (mut server, client, mut subscription) = with_ten_unread::<A>(TIMEOUT).await?;
    let mut events = client.events();
    server.kill()?;
    wait_for(&mut events, is_disconnected).await;
    let began = Instant::now();
    for _ in 0..3 {
        client.publish("out", "kept").await?;
    }
    let drained = client.drain();
    read(&mut subscription, 0..4).await;
    client.publish("out", "still taken").await?;

    let report = soon(drained).await;
    assert_took(began, TIMEOUT);
    assert_eq!((&report.why, report.fates.confirmed.messages), (&CloseReason::Drained, 10));
    assert_eq!((report.fates.unknown.messages, report.fates.kept.messages), (0, 4));
    assert_every_publish_is_accounted_for(&report, 14);
    assert_eq!((report.delivered, report.unread), (4, 6));
    assert_eq!((subscription.delivered(), subscription.pending()), (4, 6));
    read(&mut subscription, 4..10).await;
    assert_eq!(soon(subscription.next()).await, None);
    assert_eq!((subscription.delivered(), subscription.pending()), (10, 0));
    Ok(())
}

pub async fn without_a_server_a_drain_ends_once_all_is_read_when_nothing_is_kept<A: Adapter>()
-> Outcome {
    let (mut server, client, mut subscription) = with_ten_unread::<A>(HOUR).await?;
    let mut events = client.events();
    server.kill()?;
    wait_for(&mut events, is_disconnected).await;
    let began = Instant::now();
    let drained = client.drain();
    read(&mut subscription, 0..10).await;
    assert_eq!(soon(subscription.next()).await, None);
    let report = soon(drained).await;
    assert_took(began, Duration::ZERO);
    assert_eq!((&report.why, report.fates.confirmed.messages), (&CloseReason::Drained, 10));
    assert_every_publish_is_accounted_for(&report, 10);
    Ok(())
}

pub async fn a_server_that_stands_still_ends_a_drain_in_time_and_no_publish_is_forgotten<
    A: Adapter,
>() -> Outcome {
    let (server, client, mut subscription) = with_ten_unread::<A>(TIMEOUT).await?;
    server.pause()?;
    let published = 10 + fill(&client, "out").await;
    let began = Instant::now();
    let drained = client.drain();
    read(&mut subscription, 0..10).await;

    let report = soon(drained).await;
    assert_took(began, TIMEOUT);
    assert_eq!((&report.why, report.fates.confirmed.messages), (&CloseReason::Drained, 10));
    assert!(!report.fates.unknown.is_empty() && !report.fates.kept.is_empty());
    assert_every_publish_is_accounted_for(&report, published);
    assert_eq!(subscription.end(), Some(EndReason::Closed));
    Ok(())
}

pub async fn a_server_that_is_back_after_half_the_time_gets_what_was_kept<A: Adapter>() -> Outcome {
    let (mut server, client, mut subscription) = with_ten_unread::<A>(HOUR).await?;
    let mut events = client.events();
    server.kill()?;
    wait_for(&mut events, is_disconnected).await;
    client.publish("out", "before").await?;
    let drained = client.drain();
    read(&mut subscription, 0..10).await;
    client.publish("out", "during").await?;
    assert_eq!(soon(subscription.next()).await, None);
    sleep(TIMEOUT / 2).await;
    assert!(client.status().state == midge::State::Draining);
    server.restart()?;

    let report = soon(drained).await;
    assert_eq!((&report.why, report.fates.confirmed.messages), (&CloseReason::Drained, 12));
    assert_every_publish_is_accounted_for(&report, 12);
    let log = server.log()?;
    assert_eq!(log.matches("[PUB out 6]").count(), 2, "{log}");
    assert!(!log.contains("[SUB "), "it came back only to write: {log}");
    Ok(())
}

pub async fn a_drain_that_loses_its_connection_midway_goes_on_with_what_it_has<A: Adapter>()
-> Outcome {
    let server = NatsServer::start()?;
    let link = Link::to(&server.url()).start()?;
    let client = connect::<A>(impatient(&link.url()).drain_timeout(HOUR)).await?;
    let mut events = client.events();
    let mut answers = raw_subscriber(&server, "out")?;
    let mut subscription = client.subscribe("in").await?;
    for number in 0..10 {
        client.publish("in", number.to_string()).await?;
    }
    soon(client.flush()).await?;

    let drained = client.drain();
    let mut answered = 0;
    while let Some(message) = soon(subscription.next()).await {
        client.publish("out", message.payload()).await?;
        answered += 1;
        if answered == 5 {
            soon(client.flush()).await?;
            link.cut();
            wait_for(&mut events, is_disconnected).await;
        }
    }
    assert_eq!((answered, subscription.end()), (10, Some(EndReason::Drained)));
    let report = soon(drained).await;
    assert_eq!((&report.why, report.fates.confirmed.messages), (&CloseReason::Drained, 20));
    assert_every_publish_is_accounted_for(&report, 20);
    expect_numbers(&mut answers, "out", 10)
}

pub async fn a_drain_that_loses_its_connection_before_the_server_answered_keeps_what_came<
    A: Adapter,
>() -> Outcome {
    let server = NatsServer::start()?;
    let link = Link::to(&server.url()).start()?;
    let client = connect::<A>(impatient(&link.url()).drain_timeout(HOUR)).await?;
    let mut events = client.events();
    let mut answers = raw_subscriber(&server, "out")?;
    let mut subscription = client.subscribe("in").await?;
    for number in 0..10 {
        client.publish("in", number.to_string()).await?;
    }
    soon(client.flush()).await?;

    link.stall(Direction::ToClient);
    let drained = client.drain();
    link.cut();
    link.resume(Direction::ToClient);
    wait_for(&mut events, is_disconnected).await;
    while let Some(message) = soon(subscription.next()).await {
        client.publish("out", message.payload()).await?;
    }
    assert_eq!((subscription.delivered(), subscription.end()), (10, Some(EndReason::Disconnected)));
    let report = soon(drained).await;
    assert_eq!((&report.why, report.fates.confirmed.messages), (&CloseReason::Drained, 20));
    assert_every_publish_is_accounted_for(&report, 20);
    expect_numbers(&mut answers, "out", 10)
}

pub async fn a_server_that_stands_still_dies_and_comes_back_gets_what_was_never_sent<A: Adapter>()
-> Outcome {
    let (mut server, client, mut subscription) = with_ten_unread::<A>(HOUR).await?;
    let mut events = client.events();
    server.pause()?;
    let published = 10 + fill(&client, "out").await;
    let last = client.try_publish("out", "last")?;
    let drained = client.drain();
    read(&mut subscription, 0..10).await;
    server.kill()?;
    let lost = wait_for(&mut events, is_disconnected).await;
    let Event::Disconnected(lost) = lost else { return Err("it is that event".into()) };
    assert!(lost.kept.positions.contains(last) && lost.dropped.is_empty());
    assert_eq!(10 + lost.unknown.messages + lost.kept.messages, published + 1);
    assert_eq!(soon(subscription.next()).await, None);

    server.restart()?;
    let report = soon(drained).await;
    assert_eq!(
        (&report.why, report.fates.confirmed.messages),
        (&CloseReason::Drained, 10 + lost.kept.messages)
    );
    assert_eq!(report.fates.unknown, lost.unknown);
    assert_every_publish_is_accounted_for(&report, published + 1);
    let log = server.log()?;
    assert_eq!(log.matches("[PUB out 4]").count(), 1);
    assert_eq!(log.matches("[PUB out ").count() as u64, lost.kept.messages);
    Ok(())
}

pub async fn a_close_without_a_server_is_immediate<A: Adapter>() -> Outcome {
    let (mut server, client, mut subscription) = with_ten_unread::<A>(HOUR).await?;
    let mut events = client.events();
    server.kill()?;
    // Not while an attempt is under way, which would end at once by itself.
    wait_for(&mut events, is_failed_attempt).await;
    let began = Instant::now();
    client.publish("out", "kept").await?;
    let report = soon(client.close()).await;
    assert_took(began, Duration::ZERO);
    assert_eq!((&report.why, report.fates.confirmed.messages), (&CloseReason::Requested, 10));
    assert_eq!(report.fates.kept.messages, 1);
    assert_every_publish_is_accounted_for(&report, 11);
    read(&mut subscription, 0..10).await;
    assert_eq!(soon(subscription.next()).await, None);
    Ok(())
}

pub async fn a_close_during_a_drain_without_a_server_is_immediate_too<A: Adapter>() -> Outcome {
    let (mut server, client, _subscription) = with_ten_unread::<A>(HOUR).await?;
    let mut events = client.events();
    server.kill()?;
    wait_for(&mut events, is_failed_attempt).await;
    let began = Instant::now();
    client.publish("out", "kept").await?;
    let drained = client.drain();
    let report = soon(client.close()).await;
    assert_took(began, Duration::ZERO);
    assert_every_publish_is_accounted_for(&report, 11);
    assert_eq!(soon(drained).await.fates.kept.messages, 1);
    Ok(())
}
