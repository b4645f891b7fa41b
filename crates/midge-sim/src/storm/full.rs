//! A client with all that stands on the core: publishers, subscribers, requests, at the same time.

use std::future::Future;
use std::time::Duration;

use midge::{
    Client, EndReason, FlushError, PublishError, RequestError, State, Subscription, WhenFull,
};
use midge_proto::Instant;

use super::ledger::{Content, Ending, Ledger, Tag};
use super::plan::{DENIED, Plan};
use super::recovery;
use crate::net::Owner;
use crate::{Rng, Spawned, World};

pub(super) struct Full {
    world: World,
    ledger: Ledger,
    rng: Rng,
    client: Client,
    owner: Owner,
    plan: Plan,
    index: usize,
    driverless: bool,
}

/// What the tasks of one client share.
#[derive(Clone)]
struct Task {
    world: World,
    ledger: Ledger,
    client: Client,
    owner: Owner,
    biggest: usize,
    /// When to stop publishing.
    until: Instant,
    /// What serves the connection is dropped at some time.
    driverless: bool,
}

pub(super) const SUBJECTS: [&str; 5] = ["a", "a.b", "a.c", "b.c", "b.c.d"];
pub(super) const PATTERNS: [&str; 6] = ["a", "a.*", "a.>", ">", "b.c", "*.c"];

impl Full {
    pub(super) fn new(world: &World, plan: &Plan, ledger: &Ledger, index: usize) -> Self {
        let options = plan.options(world).name(format!("full {index}"));
        let (connecting, driver) = world.connect_with(options).expect("the options are good");
        let owner = driver.owner();
        let mut rng = world.rng();
        let driverless = rng.one_in(8);
        match driverless {
            true => {
                // An application may drop it at any time.
                let life = rng.between(Duration::ZERO, plan.calm - Instant::ZERO);
                let driver = world.timeout(life, driver);
                drop(world.spawn(driver));
            }
            false => drop(world.spawn(driver)),
        }
        // With `retry_first_connect` the client is there at once.
        let client = super::ready(connecting).expect("it connects in the background");
        Self {
            world: world.clone(),
            ledger: ledger.clone(),
            rng,
            client,
            owner,
            plan: plan.clone(),
            index,
            driverless,
        }
    }

    pub(super) async fn run(mut self) {
        let task = Task {
            world: self.world.clone(),
            ledger: self.ledger.clone(),
            client: self.client.clone(),
            owner: self.owner,
            biggest: self.plan.biggest,
            until: self.plan.calm,
            driverless: self.driverless,
        };
        let mut writers = Vec::new();
        let mut readers = Vec::new();
        for _ in 0..1 + self.rng.index(2) {
            writers.push(self.spawn(&task, publishes));
        }
        writers.push(self.spawn(&task, requests));
        writers.push(self.spawn(&task, meddles));
        for _ in 0..1 + self.rng.index(3) {
            readers.push(self.spawn(&task, subscribes));
        }
        readers.push(self.spawn(&task, answers));
        for writer in writers {
            writer.await;
        }
        self.world.sleep_until(self.plan.calm).await;
        if !self.driverless {
            self.comes_to_rest().await;
            // All that is under way between servers and to here arrives.
            self.world.sleep(Duration::from_secs(2)).await;
            self.flush().await;
            self.world.sleep(Duration::from_secs(1)).await;
            self.ledger.check_known(&self.world, self.owner);
        }
        let drains = self.rng.one_in(2);
        let closed = match drains {
            true => self.client.drain().await,
            false => self.client.close().await,
        };
        for reader in readers {
            reader.await;
        }
        self.ledger.ended(self.owner, &closed.fates);
        let statistics = self.client.statistics();
        let fates = &closed.fates;
        assert_eq!(
            statistics.out_messages,
            fates.confirmed.messages
                + fates.unknown.messages
                + fates.kept.messages
                + fates.dropped.messages,
            "full client {}: {statistics:?}, {fates:?}",
            self.index
        );
        assert!(closed.unread == 0 || self.driverless, "all was read");
        assert_eq!(
            self.client.pending_bytes(),
            0,
            "nothing is left to be written by a closed client"
        );
    }

    fn spawn<F>(&mut self, task: &Task, run: impl FnOnce(Task, Rng) -> F) -> Spawned<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.world.spawn(run(task.clone(), self.rng.split()))
    }

    /// Connected, and answered, within the time that the settings allow.
    async fn comes_to_rest(&self) {
        let bound = recovery(&self.plan);
        let answered = self.world.timeout(bound, self.flush()).await;
        let status = self.client.status();
        assert!(answered.is_ok(), "not connected {bound:?} after the last fault: {status:?}");
    }

    async fn flush(&self) {
        loop {
            match self.client.flush().timeout(Duration::from_secs(3600)).await {
                Ok(_) => return,
                Err(FlushError::Disconnected(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

async fn publishes(task: Task, mut rng: Rng) {
    let publisher = task.ledger.publisher(task.owner);
    let longest = rng.between(Duration::from_micros(100), Duration::from_millis(300));
    while task.world.now() < task.until {
        for _ in 0..1 + rng.index(8) {
            let tag = task.ledger.next(publisher);
            let payload = tag.payload(rng.index(task.biggest));
            let denied = rng.one_in(20);
            let subject = if denied { DENIED } else { SUBJECTS[rng.index(SUBJECTS.len())] };
            let publish = task.client.publish(subject, &payload);
            let headers = rng.one_in(4);
            let result = match headers {
                true => publish.header("Storm", "yes").timeout(Duration::from_millis(50)).await,
                false => publish.timeout(Duration::from_secs(2)).await,
            };
            match result {
                Ok(position) => {
                    let content = Content::new(subject, headers, &payload);
                    task.ledger.accepted(tag, Some(position), content);
                    if denied {
                        task.ledger.may_be_refused(tag);
                    }
                }
                Err(
                    PublishError::Full
                    | PublishError::TooLarge { .. }
                    | PublishError::HeadersUnsupported,
                ) => {}
                Err(PublishError::Closed) if task.driverless => return,
                Err(error) => panic!("{error}"),
            }
        }
        if rng.one_in(6) {
            let before = task.ledger.next(publisher).number as usize;
            match task.client.flush().timeout(Duration::from_secs(3)).await {
                Ok(fates) => task.ledger.flushed(&task.world, publisher, before, &fates),
                Err(FlushError::TimedOut | FlushError::Disconnected(_)) => {}
                Err(FlushError::Closed) if task.driverless => return,
                Err(error) => panic!("{error}"),
            }
        }
        task.world.sleep(rng.between(Duration::ZERO, longest)).await;
    }
}

async fn requests(task: Task, mut rng: Rng) {
    let publisher = task.ledger.publisher(task.owner);
    while task.world.now() < task.until {
        let tag = task.ledger.next(publisher);
        let payload = tag.payload(rng.index(200));
        let subject = ["nobody", "service", "service", "service", DENIED][rng.index(5)];
        // What is not accepted is not sent either: either way no server may see it then.
        task.ledger.accepted(tag, None, Content::new(subject, false, &payload));
        let request = task.client.request(subject, &payload);
        let request = match rng.one_in(3) {
            true => request.own_inbox(),
            false => request,
        };
        let timeout = rng.between(Duration::from_millis(1), Duration::from_secs(1));
        let result = match rng.one_in(6) {
            // Given up on the way: it may have been sent, or not.
            true => {
                task.world.timeout(timeout / 2, request.timeout(timeout).into_future()).await.ok()
            }
            false => Some(request.timeout(timeout).await),
        };
        match result {
            Some(Ok(message)) => {
                let (_, asked) = Tag::of(message.payload()).expect("answers bear a tag");
                assert!(asked.starts_with(tag.to_string().as_bytes()), "the answer to {tag}");
                task.ledger.is_certain(tag);
            }
            Some(Err(RequestError::NoResponders)) => task.ledger.is_certain(tag),
            Some(Err(RequestError::NotSent(_) | RequestError::Publish(_))) => {
                task.ledger.is_not_sent(tag);
            }
            Some(Err(RequestError::Inbox(_))) => {
                task.ledger.is_not_sent(tag);
                if task.driverless {
                    return;
                }
            }
            // The denial stands for the latest publish to its subject, in good order.
            Some(Err(RequestError::Permission(_))) => assert_eq!(subject, DENIED),
            Some(Err(RequestError::TimedOut | RequestError::Unknown)) | None => {}
            Some(Err(error)) => panic!("{error}"),
        }
        task.world.sleep(rng.between(Duration::ZERO, Duration::from_millis(300))).await;
    }
}

/// Moves the client about.
async fn meddles(task: Task, mut rng: Rng) {
    loop {
        task.world.sleep(rng.between(Duration::from_millis(100), Duration::from_secs(10))).await;
        if task.world.now() >= task.until {
            return;
        }
        task.client.reconnect();
    }
}

async fn answers(task: Task, mut rng: Rng) {
    let publisher = task.ledger.publisher(task.owner);
    let Ok(mut questions) = task.client.queue_subscribe("service", "workers").await else { return };
    let reader = task.ledger.reader(task.owner, questions.sid().number());
    let ignores = if rng.one_in(2) { 10 } else { 200 };
    while let Some(question) = questions.next().await {
        let asked = task.ledger.received(reader, &question);
        let tag = task.ledger.next(publisher);
        let mut payload = tag.to_string().into_bytes();
        payload.extend_from_slice(asked.to_string().as_bytes());
        if rng.one_in(ignores) {
            continue;
        }
        if let Ok(position) = task.client.respond(&question, &payload).try_send() {
            let reply = question.reply().expect("a question has a reply subject");
            task.ledger.accepted(tag, Some(position), Content::new(reply, false, &payload));
        }
    }
    task.reader_ended(reader, &questions, None, None);
}

async fn subscribes(task: Task, mut rng: Rng) {
    loop {
        let denied = rng.one_in(10);
        let pattern = if denied { DENIED } else { PATTERNS[rng.index(PATTERNS.len())] };
        let subscribe = match rng.one_in(3) {
            true => task.client.queue_subscribe(pattern, "group"),
            false => task.client.subscribe(pattern),
        };
        // Slow, and without a loss: what does not fit stays with the server.
        let slow = rng.one_in(4);
        let subscribe = match slow {
            true => subscribe.capacity(1 + rng.index(10), 10_000).when_full(WhenFull::Pause),
            false => subscribe,
        };
        let Ok(mut subscription) = subscribe.await else { return };
        let reader = task.ledger.reader(task.owner, subscription.sid().number());
        let leave_at = match rng.one_in(2) {
            true => None,
            false => {
                let longest = Duration::from_secs(5);
                Some(task.world.now() + rng.between(Duration::ZERO, longest))
            }
        };
        let max = rng.one_in(4).then(|| 1 + rng.below(30));
        if let Some(max) = max {
            subscription.unsubscribe_after(max);
        }
        loop {
            let message = match leave_at {
                Some(at) => {
                    let left = at.saturating_since(task.world.now());
                    match task.world.timeout(left, subscription.next()).await {
                        Ok(message) => message,
                        Err(_) => break,
                    }
                }
                None => subscription.next().await,
            };
            match message {
                Some(message) => drop(task.ledger.received(reader, &message)),
                None => break,
            }
            if slow && task.world.now() < task.until && rng.one_in(4) {
                let longest = Duration::from_millis(40);
                task.world.sleep(rng.between(Duration::ZERO, longest)).await;
            }
        }
        let mut drained_on = None;
        if subscription.end().is_none() {
            let before = task.client.statistics().connects;
            if rng.one_in(2) {
                subscription.unsubscribe();
            } else {
                let drain = subscription.drain();
                // What has no room comes only once the rest is read.
                if !slow {
                    drain.await;
                }
                let connected = matches!(task.client.status().state, State::Connected { .. });
                if connected && before == task.client.statistics().connects {
                    drained_on = Some(Ledger::life(&task.world, task.owner));
                }
            }
            while let Some(message) = subscription.next().await {
                task.ledger.received(reader, &message);
            }
        }
        task.reader_ended(reader, &subscription, max, drained_on);
        if task.world.now() >= task.until {
            return;
        }
    }
}

impl Task {
    fn reader_ended(
        &self,
        reader: usize,
        subscription: &Subscription,
        max: Option<u64>,
        drained_on: Option<usize>,
    ) {
        let calm = !self.driverless && self.world.now() > self.until + Duration::from_secs(2);
        let on = Ledger::life(&self.world, self.owner);
        let dropped = subscription.dropped();
        let end = match (subscription.end(), drained_on) {
            _ if dropped > 0 => Ending::Overflowed { dropped },
            (Some(EndReason::MaxReached), _) => Ending::Max { on, max: max.expect("it has one") },
            (Some(EndReason::Drained), Some(on)) => Ending::Drained { on },
            // Once all is quiet, nothing is under way that could be missed.
            (Some(EndReason::Closed | EndReason::Drained), _) if calm => Ending::Alive,
            _ => Ending::Other { on },
        };
        self.ledger.reader_ended(reader, end);
    }
}
