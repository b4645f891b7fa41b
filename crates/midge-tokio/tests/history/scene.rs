//! What the tasks of a run share: its clock, and how far each of them is.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use midge::{Client, Disconnected, Event, Fate};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::checker::{Moment, Ranges};
use crate::steps::PATIENCE;

/// A run.
#[derive(Debug, Default)]
pub(crate) struct Scene {
    clock: AtomicU64,
    stopped: AtomicBool,
    /// Something of this has changed.
    news: Notify,
    /// How many messages each publisher has published.
    pub(crate) sent: Vec<AtomicUsize>,
    pub(crate) seen: Vec<Progress>,
}

/// How far a subscriber is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// For each publisher, the number behind the highest one that came.
    pub(crate) numbers: Vec<AtomicUsize>,
    /// Barriers that came.
    pub(crate) barriers: AtomicUsize,
}

impl Scene {
    pub(crate) fn new(publishers: usize, subscribers: usize) -> Scene {
        let counters = || (0..publishers).map(|_| AtomicUsize::new(0)).collect::<Vec<_>>();
        let progress = || Progress { numbers: counters(), ..Progress::default() };
        let seen = (0..subscribers).map(|_| progress()).collect();
        Scene { sent: counters(), seen, ..Scene::default() }
    }

    /// A moment that is later than all before.
    pub(crate) fn now(&self) -> Moment {
        self.clock.fetch_add(1, SeqCst)
    }

    pub(crate) fn stop(&self) {
        self.stopped.store(true, SeqCst);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(SeqCst)
    }

    /// Something has changed that somebody may wait for.
    pub(crate) fn tell(&self) {
        self.news.notify_waiters();
    }

    /// Waits until `condition` holds; false when that takes too long.
    pub(crate) async fn wait(&self, mut condition: impl FnMut() -> bool) -> bool {
        let wait = async {
            loop {
                let mut told = std::pin::pin!(self.news.notified());
                told.as_mut().enable();
                if condition() {
                    return;
                }
                told.await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.is_ok()
    }
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// The id of the server process.
    pub(crate) server: String,
    pub(crate) up: Moment,
    /// As [`Watched::gate`] was.
    pub(crate) opened: Moment,
    pub(crate) dropped: Ranges,
    pub(crate) lost: Option<Arc<Disconnected>>,
}

/// A client, and what it told of its connections.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) client: Client,
    /// Before this moment nothing reached a server by the connections that follow.
    pub(crate) gate: Arc<AtomicU64>,
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl Watched {
    /// Watches a client that is connected, and of which no connection was lost, until it is closed.
    pub(crate) fn new(client: Client, scene: &Arc<Scene>) -> (Watched, JoinHandle<()>) {
        let server = client.server_info().map(|info| info.server_id.clone());
        let first = Connection {
            server: server.unwrap_or_default(),
            up: scene.now(),
            opened: 0,
            dropped: Ranges::new(),
            lost: None,
        };
        let connections = Arc::new(Mutex::new(vec![first]));
        let watched = Watched { client, gate: Arc::default(), connections };
        let events = watched.client.events();
        let watching = watch(events, watched.clone(), Arc::clone(scene));
        (watched, tokio::spawn(watching))
    }

    pub(crate) fn connections(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections were lost.
    pub(crate) fn losses(&self) -> usize {
        self.connections().iter().filter(|connection| connection.lost.is_some()).count()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.connections().last().is_some_and(|connection| connection.lost.is_none())
    }

    /// The id of the server process that it is, or was last, connected to.
    pub(crate) fn server(&self) -> String {
        self.connections().last().map(|connection| connection.server.clone()).unwrap_or_default()
    }
}

async fn watch(mut events: midge::Events, watched: Watched, scene: Arc<Scene>) {
    let Watched { client, gate, connections } = watched;
    // A client that nobody else holds is to end.
    drop(client);
    while let Some(event) = events.next().await {
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Connected(connected) => connections.push(Connection {
                server: connected.info.server_id.clone(),
                up: scene.now(),
                opened: gate.load(SeqCst),
                dropped: ranges(&connected.dropped),
                lost: None,
            }),
            Event::Disconnected(lost) => {
                let last = connections.last_mut().expect("the first one is there");
                assert!(last.lost.replace(lost).is_none(), "it was lost twice");
            }
            Event::Lagged(events) => panic!("{events} events were missed"),
            Event::SlowConsumer { subject, .. } => panic!("too little room for {subject}"),
            _ => continue,
        }
        drop(connections);
        scene.tell();
    }
}

/// The positions of a fate.
pub(crate) fn ranges(fate: &Fate) -> Ranges {
    let ranges: Ranges = fate.positions.ranges().collect();
    let positions: u64 = ranges.iter().map(|range| range.end - range.start).sum();
    assert_eq!(positions, fate.messages, "each message has a position");
    ranges
}
