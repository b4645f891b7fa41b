//! A run: clients that publish, receive, ask and answer until it is judged.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, PoisonError};

use midge::{Closed, ConnectOptions, RequestError};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::checker::{
    Counts, Got, History, Lost, Moment, Published, PublisherEpoch, Received, Sent, SubscriberEpoch,
    Tally,
};
use crate::roles::{self, Answers, Heard};
use crate::scene::{Progress, Scene, Watched, ranges};
use crate::steps::{Outcome, connect, soon};

/// Who takes part, each with its options.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) publishers: Vec<ConnectOptions>,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) requesters: Vec<ConnectOptions>,
    pub(crate) responders: Vec<ConnectOptions>,
}

#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) options: ConnectOptions,
    /// The only publisher that it hears.
    pub(crate) only: Option<usize>,
    /// The runtime that its connection is driven by, if not the one of the test.
    pub(crate) runtime: Option<Handle>,
}

impl Subscriber {
    pub(crate) fn to_all(options: ConnectOptions) -> Subscriber {
        Subscriber { options, only: None, runtime: None }
    }

    pub(crate) fn to_one(publisher: usize, options: ConnectOptions) -> Subscriber {
        Subscriber { options, only: Some(publisher), runtime: None }
    }
}

/// A task, and the client that it uses.
#[derive(Debug)]
struct Role<T> {
    watched: Watched,
    watching: JoinHandle<()>,
    task: JoinHandle<T>,
}

/// A run that is on.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) scene: Arc<Scene>,
    publishers: Vec<Role<Vec<Sent>>>,
    confirming: Vec<JoinHandle<()>>,
    subscribers: Vec<Role<Vec<Got>>>,
    requesters: Vec<Role<Answers>>,
    responders: Vec<Role<()>>,
    hears: Vec<Vec<usize>>,
    heard: Heard,
    settled: Vec<Moment>,
    /// The ids of servers that were stopped, and went on.
    pub(crate) stopped: BTreeSet<String>,
}

/// What a run came to, after it was judged.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    pub(crate) messages: Tally,
    /// By the publishers' reports.
    pub(crate) published: Counts,
    pub(crate) requests: Requests,
}

/// What requests came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requests {
    pub(crate) answered: u64,
    /// They may or may not have been heard.
    pub(crate) unknown: u64,
    /// They were not heard.
    pub(crate) unheard: u64,
}

impl Plan {
    /// Connects everybody, subscribers and responders first, and begins.
    pub(crate) async fn start(self) -> Outcome<Load> {
        let publishers = self.publishers.len();
        let scene = Arc::new(Scene::new(publishers, self.subscribers.len()));
        let mut load = Load {
            scene,
            publishers: Vec::new(),
            confirming: Vec::new(),
            subscribers: Vec::new(),
            requesters: Vec::new(),
            responders: Vec::new(),
            hears: Vec::new(),
            heard: Heard::default(),
            settled: Vec::new(),
            stopped: BTreeSet::new(),
        };
        for (index, subscriber) in self.subscribers.into_iter().enumerate() {
            let options = subscriber.options.subscription_capacity(1 << 22, 1 << 32);
            let runtime = subscriber.runtime.unwrap_or_else(Handle::current);
            let (watched, watching) = load.client(options, runtime).await?;
            let subject = subscriber.only.map_or("load.*".to_owned(), roles::subject);
            let subscription = soon(watched.client.subscribe(subject).confirmed()).await?;
            let client = watched.client.clone();
            let task = roles::receive(client, subscription, index, Arc::clone(&load.scene));
            load.subscribers.push(Role { watched, watching, task: tokio::spawn(task) });
            load.hears.push(subscriber.only.map_or((0..publishers).collect(), |one| vec![one]));
        }
        for options in self.responders {
            let (watched, watching) = load.client(options, Handle::current()).await?;
            let questions = watched.client.queue_subscribe("ask", "responders").confirmed();
            let questions = soon(questions).await?;
            let task = roles::answer(watched.client.clone(), questions, Arc::clone(&load.heard));
            load.responders.push(Role { watched, watching, task: tokio::spawn(task) });
        }
        for (index, options) in self.publishers.into_iter().enumerate() {
            let (watched, watching) = load.client(options, Handle::current()).await?;
            let confirming = roles::confirm(watched.client.clone(), Arc::clone(&load.scene));
            load.confirming.push(tokio::spawn(confirming));
            let task = roles::publish(watched.client.clone(), index, Arc::clone(&load.scene));
            load.publishers.push(Role { watched, watching, task: tokio::spawn(task) });
        }
        for (index, options) in self.requesters.into_iter().enumerate() {
            let (watched, watching) = load.client(options, Handle::current()).await?;
            let task = roles::ask(watched.client.clone(), index, Arc::clone(&load.scene));
            load.requesters.push(Role { watched, watching, task: tokio::spawn(task) });
        }
        load.settle().await?;
        Ok(load)
    }
}

impl Load {
    async fn client(
        &self,
        options: ConnectOptions,
        runtime: Handle,
    ) -> Outcome<(Watched, JoinHandle<()>)> {
        let client = soon(runtime.spawn(connect(options.event_capacity(10_000)))).await??;
        Ok(Watched::new(client, &self.scene))
    }

    /// Publishers, subscribers, requesters and responders.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = &Watched> {
        let publishers = self.publishers();
        let requesters = self.requesters.iter().map(|role| &role.watched);
        let responders = self.responders.iter().map(|role| &role.watched);
        publishers.chain(self.subscribers()).chain(requesters).chain(responders)
    }

    pub(crate) fn publishers(&self) -> impl Iterator<Item = &Watched> {
        self.publishers.iter().map(|role| &role.watched)
    }

    pub(crate) fn subscribers(&self) -> impl Iterator<Item = &Watched> {
        self.subscribers.iter().map(|role| &role.watched)
    }

    /// Waits until each publisher has published `messages` more, with a connection or without.
    pub(crate) async fn publish(&self, messages: usize) -> Outcome {
        let count = || self.scene.sent.iter().map(|sent| sent.load(SeqCst));
        let enough: Vec<_> = count().map(|sent| sent + messages).collect();
        match self.scene.wait(|| count().zip(&enough).all(|(sent, enough)| sent >= *enough)).await {
            true => Ok(()),
            false => Err("somebody does not publish".into()),
        }
    }

    /// Waits until every client has lost `losses` connections.
    pub(crate) async fn all_have_lost(&self, losses: usize) -> Outcome {
        match self.scene.wait(|| self.everyone().all(|one| one.losses() == losses)).await {
            true => Ok(()),
            false => Err("somebody has lost nothing".into()),
        }
    }

    /// Waits until each subscriber has got something of each of its publishers that was published
    /// after this was called, so that all of them are connected to servers that know of them.
    pub(crate) async fn settle(&mut self) -> Outcome {
        let scene = &self.scene;
        let sent: Vec<_> = scene.sent.iter().map(|sent| sent.load(SeqCst)).collect();
        // The task may have published a few that are not counted yet.
        let came = |subscriber: usize, publisher: usize| {
            scene.seen[subscriber].numbers[publisher].load(SeqCst) > sent[publisher] + roles::FEW
        };
        let settled = || {
            let mut hears = self.hears.iter().enumerate();
            hears.all(|(subscriber, hears)| hears.iter().all(|one| came(subscriber, *one)))
        };
        if !scene.wait(settled).await {
            let states: Vec<_> = self.everyone().map(|one| one.client.status()).collect();
            return Err(
                format!("it does not settle: {:?} of {sent:?}, {states:?}", scene.seen).into()
            );
        }
        self.settled.push(scene.now());
        Ok(())
    }

    /// Waits until each of `subscribers` has got what the server at `url` was sent before and
    /// passes on now.
    pub(crate) async fn pass_barrier(&self, url: &str, subscribers: &[usize]) -> Outcome {
        let barriers = |index: usize| self.scene.seen[index].barriers.load(SeqCst);
        let before: Vec<_> = subscribers.iter().map(|index| barriers(*index)).collect();
        let options = ConnectOptions::new(url).ignore_discovered(true);
        let client = connect(options).await?;
        for publisher in 0..self.publishers.len() {
            client.publish(roles::subject(publisher), roles::BARRIER).await?;
        }
        soon(client.close()).await;
        let expected = |index: usize| self.hears[index].len();
        let came = || {
            let mut pairs = subscribers.iter().zip(&before);
            pairs.all(|(index, before)| barriers(*index) == before + expected(*index))
        };
        if self.scene.wait(came).await { Ok(()) } else { Err("the barrier does not come".into()) }
    }

    /// Stops publishing and asking, waits until everything has come that can, and judges all of
    /// it. `ended` are the ids of the server processes that were ended.
    pub(crate) async fn finish(mut self, ended: BTreeSet<String>) -> Outcome<Judged> {
        self.settle().await?;
        let scene = Arc::clone(&self.scene);
        scene.stop();
        let (settled, stopped) = (self.settled, self.stopped);
        let mut history = History { ended, settled, stopped, ..History::default() };
        let mut published = Counts::default();
        for confirming in self.confirming {
            soon(confirming).await?;
        }
        for (publisher, role) in self.publishers.into_iter().enumerate() {
            let sent = soon(role.task).await?;
            soon(role.watched.client.flush()).await?;
            let pairs = scene.seen.iter().zip(&self.hears);
            let last = |(seen, hears): (&Progress, &Vec<usize>)| {
                !hears.contains(&publisher) || seen.numbers[publisher].load(SeqCst) == sent.len()
            };
            // Should the last one be missing, the judge says so.
            scene.wait(|| pairs.clone().all(last)).await;
            let report = end(&role.watched, role.watching).await?;
            add(&mut published, report);
            history.publishers.push(record(&role.watched, sent, report));
        }
        let mut answers = Vec::new();
        for role in self.requesters {
            answers.push(soon(role.task).await?);
            end(&role.watched, role.watching).await?;
        }
        for role in self.responders {
            soon(role.watched.client.drain()).await;
            end(&role.watched, role.watching).await?;
            soon(role.task).await?;
        }
        for (role, hears) in self.subscribers.into_iter().zip(self.hears) {
            soon(role.watched.client.drain()).await;
            end(&role.watched, role.watching).await?;
            let got = soon(role.task).await?;
            let connections = role.watched.connections();
            let epochs = connections.iter().map(|connection| SubscriberEpoch {
                server: connection.server.clone(),
                up: connection.up,
            });
            history.subscribers.push(Received { hears, epochs: epochs.collect(), got });
        }
        let messages = history.check().map_err(|findings| {
            let told: Vec<_> = findings.iter().take(20).map(ToString::to_string).collect();
            format!("{} findings:\n{}", findings.len(), told.join("\n"))
        })?;
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut requests = Requests::default();
        for (question, answer) in answers.into_iter().flatten() {
            requests.judge(&question, &answer, heard.get(&question).copied().unwrap_or(0))?;
        }
        let judged = Judged { messages, published, requests };
        note(&format!("{judged:?}"));
        Ok(judged)
    }
}

/// Says something that is shown when the test fails.
#[expect(clippy::print_stdout, reason = "tests say it so")]
pub(crate) fn note(text: &str) {
    println!("{text}");
}

/// Closes a client, if it is not closed, and holds its report against its counters.
async fn end(watched: &Watched, watching: JoinHandle<()>) -> Outcome<Counts> {
    let closed: Arc<Closed> = soon(watched.client.close()).await;
    soon(watching).await?;
    let fates = &closed.fates;
    let counts = Counts {
        confirmed: fates.confirmed.messages,
        unknown: fates.unknown.messages,
        kept: fates.kept.messages,
        dropped: fates.dropped.messages,
    };
    let statistics = watched.client.statistics();
    let Counts { confirmed, unknown, kept, dropped } = counts;
    let counted = (statistics.confirmed, statistics.unknown, statistics.dropped);
    let all = confirmed + unknown + kept + dropped;
    if all != statistics.out_messages || counted != (confirmed, unknown, kept + dropped) {
        return Err(format!("{counts:?} does not agree with {statistics:?}").into());
    }
    Ok(counts)
}

fn add(sum: &mut Counts, counts: Counts) {
    sum.confirmed += counts.confirmed;
    sum.unknown += counts.unknown;
    sum.kept += counts.kept;
    sum.dropped += counts.dropped;
}

fn record(watched: &Watched, sent: Vec<Sent>, report: Counts) -> Published {
    let connections = watched.connections();
    let epochs = connections.iter().map(|connection| PublisherEpoch {
        server: connection.server.clone(),
        opened: connection.opened,
        up: connection.up,
        dropped: connection.dropped.clone(),
        lost: connection.lost.as_ref().map(|lost| Lost {
            unknown: ranges(&lost.unknown),
            kept: ranges(&lost.kept),
            dropped: ranges(&lost.dropped),
            end: lost.end.0,
        }),
    });
    Published { sent, epochs: epochs.collect(), report }
}

impl Requests {
    /// Whether `answer` agrees with how often the question was heard.
    fn judge(
        &mut self,
        question: &str,
        answer: &Result<String, RequestError>,
        heard: usize,
    ) -> Outcome {
        let (count, possible) = match answer {
            Ok(text) => {
                if *text != roles::answer_to(question) {
                    return Err(format!("{question:?} got {text:?}").into());
                }
                (&mut self.answered, 1..=1)
            }
            Err(RequestError::Unknown | RequestError::TimedOut) => (&mut self.unknown, 0..=1),
            Err(
                RequestError::NotSent(_) | RequestError::NoResponders | RequestError::Publish(_),
            ) => (&mut self.unheard, 0..=0),
            Err(error) => return Err(format!("{question:?} ended with {error:?}").into()),
        };
        *count += 1;
        match possible.contains(&heard) {
            true => Ok(()),
            false => Err(format!("{question:?} was heard {heard} times: {answer:?}").into()),
        }
    }
}
