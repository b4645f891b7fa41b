//! What the clients of a run do: publish, receive, ask, answer.

use std::collections::BTreeMap;
use std::future::IntoFuture;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use midge::{Client, FlushError, Message, PublishError, RequestError, State, Subscription};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::checker::{Got, Sent};
use crate::scene::Scene;

/// How often each publisher publishes a few messages, and each requester asks.
const RHYTHM: Duration = Duration::from_millis(2);
/// How many messages these are.
pub(crate) const FEW: usize = 4;
/// How often what was published is confirmed, so that little of it is unknown after a loss.
const CONFIRM: Duration = Duration::from_millis(10);
/// How long a request waits.
const ANSWER: Duration = Duration::from_secs(2);

pub(crate) const BARRIER: &[u8] = b"barrier";

pub(crate) fn subject(publisher: usize) -> String {
    format!("load.{publisher}")
}

fn rhythm(period: Duration) -> tokio::time::Interval {
    let mut rhythm = tokio::time::interval(period);
    rhythm.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rhythm
}

/// What a message holds: its publisher, its number, and bytes that depend on both.
fn payload(publisher: usize, number: usize) -> Vec<u8> {
    let mut mixed = (publisher as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64;
    mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^= mixed >> 32;
    let length = if number % 64 == 63 { 20_000 } else { mixed % 500 };
    let mut payload = format!("{publisher} {number} ").into_bytes();
    payload.extend((0..length).map(|at| (mixed >> (at % 57)) as u8));
    payload
}

/// Publisher and number of a message that holds what it should.
fn parse(message: &Message) -> (usize, usize) {
    let mut words = message.payload().splitn(3, |byte| *byte == b' ');
    let mut number = || str::from_utf8(words.next()?).ok()?.parse::<usize>().ok();
    let (Some(publisher), Some(number)) = (number(), number()) else {
        panic!("a message that nobody published: {message:?}");
    };
    assert!(*message.payload() == *payload(publisher, number), "{publisher}/{number} is mangled");
    assert_eq!(message.subject().as_bytes(), subject(publisher).as_bytes());
    (publisher, number)
}

/// Publishes until the run stops, also without a connection, and never waits for one.
pub(crate) async fn publish(client: Client, publisher: usize, scene: Arc<Scene>) -> Vec<Sent> {
    let (subject, mut rhythm, mut sent) = (subject(publisher), rhythm(RHYTHM), Vec::new());
    while !scene.is_stopped() {
        rhythm.tick().await;
        for _ in 0..FEW {
            let at = scene.now();
            match client.try_publish(&*subject, payload(publisher, sent.len())) {
                Ok(position) => sent.push(Sent { position: position.0, at }),
                Err(PublishError::Full) => break,
                Err(error) => panic!("a publish is refused: {error}"),
            }
        }
        scene.sent[publisher].store(sent.len(), SeqCst);
        scene.tell();
    }
    sent
}

/// Has the server confirm what was published, until the run stops.
pub(crate) async fn confirm(client: Client, scene: Arc<Scene>) {
    let mut rhythm = rhythm(CONFIRM);
    while !scene.is_stopped() {
        rhythm.tick().await;
        match client.flush().await {
            Ok(_)
            | Err(FlushError::Disconnected(_) | FlushError::Closed | FlushError::TimedOut) => {}
            Err(error) => panic!("a flush is refused: {error}"),
        }
    }
}

/// Receives until the subscription ends.
pub(crate) async fn receive(
    client: Client,
    mut subscription: Subscription,
    subscriber: usize,
    scene: Arc<Scene>,
) -> Vec<Got> {
    let (mut got, mut first) = (Vec::new(), 0);
    loop {
        let before = client.status();
        let message = match subscription.try_next() {
            Some(message) => message,
            None => {
                // What came on connections that were over by then has been taken.
                if let State::Connected { .. } | State::Reconnecting { .. } = before.state {
                    first = usize::try_from(before.transition / 2).expect("they are few");
                }
                scene.tell();
                match subscription.next().await {
                    Some(message) => message,
                    None => break,
                }
            }
        };
        let progress = &scene.seen[subscriber];
        if *message.payload() == *BARRIER {
            progress.barriers.fetch_add(1, SeqCst);
            continue;
        }
        let begun = client.status().transition.saturating_sub(1) / 2;
        let last = usize::try_from(begun).expect("they are few");
        let (publisher, number) = parse(&message);
        got.push(Got { publisher, number, first, last: last.max(first) });
        progress.numbers[publisher].fetch_max(number + 1, SeqCst);
    }
    assert_eq!(subscription.dropped(), 0, "there was room for all");
    got
}

/// What requests came to, by their payloads.
pub(crate) type Answers = BTreeMap<String, Result<String, RequestError>>;

/// Asks until the run stops, without waiting for one answer before the next question.
pub(crate) async fn ask(client: Client, requester: usize, scene: Arc<Scene>) -> Answers {
    let (mut rhythm, mut asked) = (rhythm(RHYTHM), JoinSet::new());
    for number in 0.. {
        if scene.is_stopped() {
            break;
        }
        rhythm.tick().await;
        let question = format!("{requester} {number}");
        let request = client.request("ask", question.clone()).timeout(ANSWER);
        let request = if number % 3 == 0 { request.own_inbox() } else { request };
        let request = request.into_future();
        asked.spawn(async move {
            let reply = request.await;
            let text = |reply: Message| String::from_utf8_lossy(reply.payload()).into_owned();
            (question, reply.map(text))
        });
    }
    asked.join_all().await.into_iter().collect()
}

pub(crate) fn answer_to(question: &str) -> String {
    format!("{question} is answered")
}

/// How often each question was heard.
pub(crate) type Heard = Arc<Mutex<BTreeMap<String, usize>>>;

/// Answers until the subscription ends.
pub(crate) async fn answer(client: Client, mut questions: Subscription, heard: Heard) {
    while let Some(message) = questions.next().await {
        let question = String::from_utf8_lossy(message.payload()).into_owned();
        let answer = answer_to(&question);
        *heard.lock().unwrap_or_else(PoisonError::into_inner).entry(question).or_default() += 1;
        match client.respond(&message, answer).try_send() {
            Ok(_) | Err(midge::RespondError::Publish(PublishError::Full)) => {}
            Err(error) => panic!("an answer is refused: {error}"),
        }
    }
}
