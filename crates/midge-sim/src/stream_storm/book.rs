//! What publishers were told and readers have read, and whether that may be so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use midge::jetstream::JetMessage;
use midge_proto::Instant;

use super::{BATCHES, CHAIN, FLOW, FULL, PUSHED, QUEUE, SHARED, WORK, most_calls};
use crate::World;
use crate::server::Event;

/// What a storm over streams came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamTally {
    /// Messages in streams.
    pub stored: u64,
    /// Those that the limits of a stream or a purge took away, or that were done.
    pub removed: u64,
    /// Messages that were purged, as far as who purged them was told.
    pub purged: u64,
    /// Messages that a full stream has refused.
    pub refused: u64,
    /// Messages of a full stream that publishers were told to have moved.
    pub moved: u64,
    /// Confirmations that readers came this far, which push consumers had asked for.
    pub confirmed: u64,
    /// Messages that publishers were told are stored.
    pub acked: u64,
    /// Messages that readers read.
    pub read: u64,
    /// Those that they had read before: of durable consumers.
    pub again: u64,
    /// What readers noticed.
    pub notices: u64,
    /// Consumers that ordered readers made after their first.
    pub recreated: u64,
    /// Calls of the API.
    pub calls: u64,
    /// The most calls in one second.
    pub most_calls: u64,
    /// How long a reader was without messages after the last fault, at most.
    pub longest_wait: Duration,
}

#[derive(Clone)]
pub(super) struct Book {
    world: World,
    window: Duration,
    pages: Arc<Mutex<Pages>>,
}

#[derive(Default)]
struct Pages {
    over: bool,
    /// Stream, sequence and payload.
    acked: Vec<(String, u64, String)>,
    /// Stream and payload of messages that are said not to be stored, and of those that may be.
    failed: Vec<(String, String)>,
    unknown: BTreeSet<String>,
    /// Numbers of messages of the full stream that are said to have moved.
    moved: BTreeSet<u64>,
    windows: BTreeMap<usize, Window>,
    readers: BTreeMap<usize, Reader>,
    calm: Option<Instant>,
    /// Messages that were read in each second.
    seconds: BTreeMap<u64, usize>,
    tally: StreamTally,
}

/// What one publisher with a window has taken and told.
#[derive(Default)]
struct Window {
    given: u64,
    told: BTreeSet<u64>,
    settled: bool,
}

/// What a reader reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reads {
    /// Every message, in order.
    #[default]
    All,
    /// The last message of each subject, and then every message, in order.
    LastOfEach,
    /// What a durable consumer has, which it may share.
    Durable(&'static str),
}

/// What one reader has read.
#[derive(Default)]
struct Reader {
    reads: Reads,
    /// How many messages there were when it read the first.
    began: u64,
    read: Vec<u64>,
    last: Option<Instant>,
    /// How long it was without messages after the last fault, and until when that was.
    longest_wait: (Duration, Option<Instant>),
}

impl Reader {
    /// The stream that it reads.
    fn stream(&self) -> &'static str {
        if self.reads == Reads::Durable(QUEUE) { FULL } else { SHARED }
    }

    fn waited(&mut self, calm: Option<Instant>, now: Instant) {
        let Some(calm) = calm else { return };
        let wait = now - self.last.unwrap_or(calm).max(calm);
        if wait >= self.longest_wait.0 {
            self.longest_wait = (wait, Some(now));
        }
    }
}

/// Where a message is in its stream.
fn place(sequence: u64) -> usize {
    usize::try_from(sequence - 1).expect("few messages")
}

/// The second of virtual time.
fn second(at: Instant) -> u64 {
    (at - Instant::ZERO).as_secs()
}

impl Book {
    /// `window`: for how long the shared stream knows the ids of its messages.
    pub(super) fn new(world: &World, window: Duration) -> Self {
        Self { world: world.clone(), window, pages: Arc::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- what happens ------------------------------------------------------------------------

    pub(super) fn acked(&self, stream: &str, sequence: u64, payload: &str) {
        self.pages().acked.push((stream.into(), sequence, payload.into()));
    }

    /// A publisher has given a message up.
    pub(super) fn failed(&self, stream: &str, payload: String, may_be_stored: bool) {
        let pages = &mut *self.pages();
        if may_be_stored {
            pages.unknown.insert(payload);
        } else {
            pages.failed.push((stream.into(), payload));
        }
    }

    /// A full stream has refused a message.
    pub(super) fn refused(&self) {
        self.pages().tally.refused += 1;
    }

    /// The publisher of the full stream is told that it has a message behind later ones.
    pub(super) fn moved(&self, number: u64) {
        self.pages().moved.insert(number);
    }

    /// There is a publisher with a window.
    pub(super) fn publishes(&self, index: usize) {
        self.pages().windows.entry(index).or_default();
    }

    /// It has taken a message.
    pub(super) fn given(&self, index: usize, number: u64) {
        self.pages().windows.entry(index).or_default().given = number;
    }

    /// It has told what became of one.
    pub(super) fn told(&self, index: usize, number: u64) {
        let first = self.pages().windows.entry(index).or_default().told.insert(number);
        assert!(first, "publisher {index} tells twice what became of {number}");
    }

    /// It says that it has told of all.
    pub(super) fn settled(&self, index: usize) {
        let pages = &mut *self.pages();
        let window = pages.windows.entry(index).or_default();
        let hidden = (1..=window.given).find(|number| !window.told.contains(number));
        assert_eq!(hidden, None, "publisher {index} never tells what became of it");
        assert_eq!(window.told.len() as u64, window.given, "{index} tells of what it never got");
        window.settled = true;
    }

    pub(super) fn purged(&self, messages: u64) {
        self.pages().tally.purged += messages;
    }

    pub(super) fn is_calm(&self) -> bool {
        let pages = self.pages();
        pages.over || pages.calm.is_some()
    }

    pub(super) fn it_is_calm(&self) {
        self.pages().calm = Some(self.world.now());
    }

    pub(super) fn publish_no_more(&self) {
        let now = self.world.now();
        let pages = &mut *self.pages();
        pages.over = true;
        for reader in pages.readers.values_mut() {
            reader.waited(pages.calm, now);
        }
        // What is left is no more than what was not read before.
        pages.calm = None;
    }

    pub(super) fn is_over(&self) -> bool {
        self.pages().over
    }

    pub(super) fn reads(&self, index: usize, reads: Reads) {
        self.pages().readers.entry(index).or_default().reads = reads;
    }

    /// A reader has got a message of its stream, and what it says fits its number.
    pub(super) fn read(&self, index: usize, message: &JetMessage) -> u64 {
        let delivery = message.delivery().expect("a consumer has delivered it");
        let sequence = delivery.stream_sequence;
        let stream = self.pages().readers.entry(index).or_default().stream();
        assert_eq!(delivery.stream, stream, "message {sequence}");
        let (stored, count) = self.world.cluster(|cluster, _| {
            let stored = cluster.stored(stream);
            (stored.get(place(sequence)).cloned(), stored.len() as u64)
        });
        let stored = stored.expect("what is delivered is stored");
        assert_eq!(message.payload(), &*stored.payload, "message {sequence}");
        assert_eq!(message.subject().as_bytes(), &*stored.subject, "message {sequence}");
        let now = self.world.now();
        let pages = &mut *self.pages();
        pages.tally.read += 1;
        let reader = pages.readers.entry(index).or_default();
        if reader.read.is_empty() {
            reader.began = count;
        }
        reader.read.push(sequence);
        reader.waited(pages.calm, now);
        reader.last = Some(now);
        *pages.seconds.entry(second(now)).or_default() += 1;
        sequence
    }

    /// An ordered reader has got a message.
    pub(super) fn ordered(&self, index: usize, message: &JetMessage) {
        let sequence = self.read(index, message);
        let pages = self.pages();
        let reader = &pages.readers[&index];
        let before = reader.read.len().checked_sub(2).map_or(0, |place| reader.read[place]);
        assert!(before < sequence, "reader {index} gets {sequence} behind {before}");
        let known = match reader.reads {
            Reads::LastOfEach => reader.began,
            _ => 0,
        };
        let between = before.max(known) + 1..sequence;
        let missing = self.world.cluster(|cluster, _| {
            let stored = cluster.stored(SHARED);
            between.into_iter().find(|&sequence| stored[place(sequence)].is_there())
        });
        assert_eq!(missing, None, "reader {index} gets {sequence} behind {before}");
    }

    pub(super) fn noticed(&self, recreated: bool) {
        let tally = &mut self.pages().tally;
        tally.notices += 1;
        tally.recreated += u64::from(recreated);
    }

    // ---- what must hold ----------------------------------------------------------------------

    /// Waits until every stored message has been read by all who should, and publishers have told of all
    /// that they took.
    pub(super) async fn all_read(&self, until: Instant) {
        let missing = || self.untold().or_else(|| self.missing());
        while missing().is_some() && self.world.now() < until {
            self.world.sleep(Duration::from_millis(100)).await;
        }
    }

    /// A publisher that has not told of all that it took.
    fn untold(&self) -> Option<String> {
        let pages = self.pages();
        let (index, window) = pages.windows.iter().find(|(_, window)| !window.settled)?;
        let Window { given, told, .. } = window;
        Some(format!("publisher {index} tells of {} messages, and took {given}", told.len()))
    }

    /// Something that was not read, and is still there, or was in the work queue.
    fn missing(&self) -> Option<String> {
        let (queued, there, last_of_each) = self.world.cluster(|cluster, _| {
            // Only an answer takes one away.
            let queued: Vec<u64> = (1..=cluster.stored(FULL).len() as u64).collect();
            let stored = (1..).zip(cluster.stored(SHARED)).filter(|(_, it)| it.is_there());
            let last: BTreeMap<_, u64> = stored.clone().map(|(at, it)| (&it.subject, at)).collect();
            let there: Vec<u64> = stored.map(|(sequence, _)| sequence).collect();
            (queued, there, last.into_values().collect::<BTreeSet<u64>>())
        });
        let pages = self.pages();
        let read = |which: &dyn Fn(&Reader) -> bool| {
            let readers = pages.readers.values().filter(|it| which(it));
            readers.flat_map(|it| it.read.iter().copied()).collect::<BTreeSet<u64>>()
        };
        let durables = [WORK, BATCHES, PUSHED].map(|durable| (durable, &there));
        for (durable, there) in durables.into_iter().chain([(QUEUE, &queued)]) {
            let is = |reader: &Reader| reader.reads == Reads::Durable(durable);
            let read = read(&is);
            if pages.readers.values().any(is)
                && let Some(missing) = there.iter().find(|sequence| !read.contains(sequence))
            {
                return Some(format!("{durable} never got {missing}"));
            }
        }
        for (index, reader) in &pages.readers {
            let wanted = |sequence: &u64| match reader.reads {
                Reads::All => true,
                Reads::LastOfEach => *sequence > reader.began || last_of_each.contains(sequence),
                Reads::Durable(_) => false,
            };
            let read: BTreeSet<&u64> = reader.read.iter().collect();
            let mut wanted = there.iter().filter(|sequence| wanted(sequence));
            if let Some(missing) = wanted.find(|sequence| !read.contains(sequence)) {
                return Some(format!("reader {index}, {:?}, never got {missing}", reader.reads));
            }
        }
        None
    }

    pub(super) fn judge(&self) -> StreamTally {
        if let Some(missing) = self.untold().or_else(|| self.missing()) {
            panic!("{missing}");
        }
        self.judge_stored();
        self.judge_full();
        self.judge_calls();
        self.judge_leftovers();
        let pages = &mut *self.pages();
        for (index, reader) in &pages.readers {
            let (wait, until) = reader.longest_wait;
            let durable = matches!(reader.reads, Reads::Durable(_));
            // Nothing says that there are always messages in the work queue.
            if reader.stream() == SHARED {
                pages.tally.longest_wait = pages.tally.longest_wait.max(wait);
                assert!(
                    wait <= FLOW,
                    "reader {index} was without messages for {wait:?} to {until:?}"
                );
            }
            if durable {
                let distinct: BTreeSet<&u64> = reader.read.iter().collect();
                pages.tally.again += (reader.read.len() - distinct.len()) as u64;
            }
        }
        pages.tally
    }

    /// A reader in order has its consumer, and left behind at most the one that it could not delete
    /// last.
    fn judge_leftovers(&self) {
        let names = self.world.cluster(|cluster, _| cluster.consumers(SHARED));
        let mut of_reader = BTreeMap::<&str, Vec<&str>>::new();
        for (prefix, serial) in names.iter().filter_map(|name| name.rsplit_once('_')) {
            of_reader.entry(prefix).or_default().push(serial);
        }
        for (prefix, serials) in of_reader {
            assert!(serials.len() <= 2, "{prefix} has left the consumers {serials:?}");
        }
    }

    fn judge_stored(&self) {
        let pages = &mut *self.pages();
        self.world.cluster(|cluster, _| {
            for (stream, sequence, payload) in &pages.acked {
                let stored = cluster.stored(stream).get(place(*sequence));
                let stored = stored.map(|stored| String::from_utf8_lossy(&stored.payload));
                assert_eq!(stored.as_deref(), Some(&**payload), "{stream} has {sequence}");
            }
            for stream in [SHARED, CHAIN, FULL] {
                let stored = cluster.stored(stream);
                let mut known = BTreeMap::new();
                for it in stored {
                    let before = known.insert(&it.payload, it.at);
                    let forgotten = before.is_none_or(|before| before + self.window <= it.at);
                    assert!(forgotten, "{stream} has {:?} twice", it.payload);
                }
                pages.tally.stored += stored.len() as u64;
                pages.tally.removed += stored.iter().filter(|it| !it.is_there()).count() as u64;
            }
            for (stream, payload) in &pages.failed {
                let mut stored = cluster.stored(stream).iter();
                let is_there = stored.any(|stored| *stored.payload == *payload.as_bytes());
                assert!(!is_there, "{stream} has {payload:?}, which was said not to be stored");
            }
            let chain = cluster.stored(CHAIN).iter();
            let chain = chain.map(|stored| String::from_utf8_lossy(&stored.payload));
            let chain: Vec<_> = chain.collect();
            // An attempt that comes late is to the chain as a message of somebody else.
            let disturbed = chain.iter().any(|payload| pages.unknown.contains(&**payload));
            let chain: Vec<u64> = chain.iter().map(|it| it.parse().expect("a number")).collect();
            assert!(
                disturbed || chain.is_sorted(),
                "a chained publisher's messages are in order: {chain:?}"
            );
        });
        pages.tally.acked = pages.acked.len() as u64;
    }

    /// What the publisher of the full stream is not told to have moved is there in order.
    fn judge_full(&self) {
        let pages = &mut *self.pages();
        self.world.cluster(|cluster, _| {
            let stored = cluster.stored(FULL).iter();
            let stored = stored.map(|stored| String::from_utf8_lossy(&stored.payload));
            let sure = stored.filter(|payload| !pages.unknown.contains(&**payload));
            let numbers: Vec<u64> = sure.filter_map(|payload| payload.parse().ok()).collect();
            let unmoved = numbers.iter().filter(|number| !pages.moved.contains(number));
            assert!(
                unmoved.is_sorted(),
                "the full stream has {numbers:?}, of which {:?} are said to have moved",
                pages.moved
            );
        });
        pages.tally.moved = pages.moved.len() as u64;
    }

    /// Counts calls of the API by the second, and confirmations.
    fn judge_calls(&self) {
        let mut seconds: BTreeMap<u64, usize> = BTreeMap::new();
        let mut confirmed = 0;
        self.world.cluster(|cluster, _| {
            let journal = cluster.journal();
            for entry in journal.entries() {
                let Event::Published(index) = entry.event else { continue };
                let subject = &journal.publishes()[index].subject;
                if subject.starts_with(b"$JS.API.") {
                    *seconds.entry(second(entry.at)).or_default() += 1;
                }
                confirmed += u64::from(subject.starts_with(b"$JS.FC."));
            }
        });
        let pages = &mut *self.pages();
        pages.tally.confirmed = confirmed;
        let most = seconds.values().copied().max().unwrap_or(0);
        let allowed = most_calls(pages.readers.len());
        for (second, count) in &seconds {
            let read = |second: u64| pages.seconds.get(&second).copied().unwrap_or(0);
            let reads = read(*second) + read(second.saturating_sub(1));
            let most = allowed + reads;
            assert!(*count <= most, "{count} calls of the API in second {second}, {reads} reads");
        }
        pages.tally.calls = seconds.values().map(|count| *count as u64).sum();
        pages.tally.most_calls = most as u64;
    }
}
