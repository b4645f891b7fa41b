//! What was seen of a run, and the judge of it: every missing message must have a cause that core
//! NATS has, and nothing may come twice, out of order, or from nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;

/// The place of something in the order in which the test saw things.
pub(crate) type Moment = u64;

/// All that was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) publishers: Vec<Published>,
    pub(crate) subscribers: Vec<Received>,
    /// The ids of server processes that were ended.
    pub(crate) ended: BTreeSet<String>,
    /// The ids of server processes that stood still for a while, and went on.
    pub(crate) stopped: BTreeSet<String>,
    /// When each subscriber had got something of each of its publishers that was published after
    /// the last fault: each server knew of each subscription. Ascending.
    pub(crate) settled: Vec<Moment>,
}

/// What one client published, and what it was told of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    /// The accepted messages; each carries its place here as its number.
    pub(crate) sent: Vec<Sent>,
    pub(crate) epochs: Vec<PublisherEpoch>,
    /// The report at the end.
    pub(crate) report: Counts,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) position: u64,
    /// Before the call.
    pub(crate) at: Moment,
}

/// One connection of a publisher.
#[derive(Clone, Debug, Default)]
pub(crate) struct PublisherEpoch {
    /// The id of the server process.
    pub(crate) server: String,
    /// Nothing that was sent on it reached a server before.
    pub(crate) opened: Moment,
    /// It was up before.
    pub(crate) up: Moment,
    /// What was reported dropped when it came up.
    pub(crate) dropped: Ranges,
    /// How it ended, if it did.
    pub(crate) lost: Option<Lost>,
}

/// The report on the loss of a connection, by positions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lost {
    pub(crate) unknown: Ranges,
    pub(crate) kept: Ranges,
    pub(crate) dropped: Ranges,
    /// What has this position or a later one was accepted after it.
    pub(crate) end: u64,
}

pub(crate) type Ranges = Vec<Range<u64>>;

/// How many messages have each fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) confirmed: u64,
    pub(crate) unknown: u64,
    pub(crate) kept: u64,
    pub(crate) dropped: u64,
}

/// What one subscription received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received {
    /// The publishers whose subjects it matches.
    pub(crate) hears: Vec<usize>,
    pub(crate) epochs: Vec<SubscriberEpoch>,
    /// In the order of arrival.
    pub(crate) got: Vec<Got>,
}

/// One connection of a subscriber.
#[derive(Clone, Debug, Default)]
pub(crate) struct SubscriberEpoch {
    /// The id of the server process.
    pub(crate) server: String,
    /// It was up before, and its server had the subscription.
    pub(crate) up: Moment,
}

/// One message that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Got {
    pub(crate) publisher: usize,
    pub(crate) number: usize,
    /// It came on the connection with this place, or a later one.
    pub(crate) first: usize,
    /// It came on the connection with this place, or an earlier one.
    pub(crate) last: usize,
}

/// What became of all messages, summed over the subscriptions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) arrived: u64,
    /// The publisher calls it unknown.
    pub(crate) unknown: u64,
    /// The publisher calls it dropped, or kept until its end.
    pub(crate) unsent: u64,
    /// Lost with the subscriber's connection: after its last delivery and before the PONG behind
    /// the subscription on the next one.
    pub(crate) gap: u64,
    /// Taken by a server that was ended before it passed it on to another one: the tail of a
    /// connection of the publisher.
    pub(crate) killed: u64,
    /// Taken by a server to which another one had not told of the subscription yet, after either
    /// side had connected: the head of what one connection sent to another.
    pub(crate) untold: u64,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Duplicate {
        subscriber: usize,
        publisher: usize,
        number: usize,
    },
    Reordered {
        subscriber: usize,
        publisher: usize,
        number: usize,
        after: usize,
    },
    Unexplained {
        subscriber: usize,
        publisher: usize,
        number: usize,
        why: String,
    },
    /// It was never published, or not to this subscription, or never sent by the report.
    Invented {
        subscriber: usize,
        publisher: usize,
        number: usize,
    },
    /// The reports do not add up.
    Miscounted {
        publisher: usize,
        told: Counts,
        found: Counts,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Confirmed,
    Unknown,
    Unsent,
}

/// What became of a message by the reports, and on which connection.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    fate: Fate,
    epoch: usize,
}

impl History {
    /// What became of the messages.
    ///
    /// # Errors
    ///
    /// Everything that has no cause.
    pub(crate) fn check(&self) -> Result<Tally, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut outcomes = Vec::new();
        for (publisher, published) in self.publishers.iter().enumerate() {
            let found: Vec<_> = published.sent.iter().map(|sent| published.outcome(sent)).collect();
            let counts = published.counts(&found);
            if counts != published.report {
                let told = published.report;
                findings.push(Finding::Miscounted { publisher, told, found: counts });
            }
            outcomes.push(found);
        }
        let mut tally = Tally::default();
        for (subscriber, received) in self.subscribers.iter().enumerate() {
            for got in &received.got {
                let Got { publisher, number, .. } = *got;
                let outcome = outcomes.get(publisher).and_then(|found| found.get(number));
                let sent = outcome.is_some_and(|outcome| outcome.fate != Fate::Unsent);
                if !sent || !received.hears.contains(&publisher) {
                    findings.push(Finding::Invented { subscriber, publisher, number });
                }
            }
            for &publisher in &received.hears {
                let pair = Pair {
                    history: self,
                    published: &self.publishers[publisher],
                    outcomes: &outcomes[publisher],
                    received,
                    names: (subscriber, publisher),
                };
                pair.check(&mut tally, &mut findings);
            }
        }
        if findings.is_empty() { Ok(tally) } else { Err(findings) }
    }
}

impl Published {
    fn outcome(&self, sent: &Sent) -> Outcome {
        let position = sent.position;
        for (epoch, connection) in self.epochs.iter().enumerate() {
            let outcome = |fate| Outcome { fate, epoch };
            if contain(&connection.dropped, position) {
                return outcome(Fate::Unsent);
            }
            let Some(lost) = &connection.lost else { return outcome(Fate::Confirmed) };
            if position >= lost.end || contain(&lost.kept, position) {
                continue;
            }
            let fate = if contain(&lost.unknown, position) {
                Fate::Unknown
            } else if contain(&lost.dropped, position) {
                Fate::Unsent
            } else {
                Fate::Confirmed
            };
            return outcome(fate);
        }
        Outcome { fate: Fate::Unsent, epoch: self.epochs.len() }
    }

    fn counts(&self, outcomes: &[Outcome]) -> Counts {
        let mut counts = Counts::default();
        for outcome in outcomes {
            match outcome.fate {
                Fate::Confirmed => counts.confirmed += 1,
                Fate::Unknown => counts.unknown += 1,
                Fate::Unsent if outcome.epoch == self.epochs.len() => counts.kept += 1,
                Fate::Unsent => counts.dropped += 1,
            }
        }
        counts
    }
}

fn contain(ranges: &Ranges, position: u64) -> bool {
    ranges.iter().any(|range| range.contains(&position))
}

/// One publisher as one subscription sees it.
struct Pair<'a> {
    history: &'a History,
    published: &'a Published,
    outcomes: &'a [Outcome],
    received: &'a Received,
    /// Subscriber and publisher.
    names: (usize, usize),
}

/// Between which connections of the subscriber a missing message belongs, by its neighbours.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// A message before it on the same connection of the publisher came on this one or later.
    not_before: Option<usize>,
    /// A message after it came on this connection or earlier.
    not_after: Option<usize>,
    /// A message after it on the same connection of the publisher came.
    inside: bool,
}

impl Pair<'_> {
    fn check(&self, tally: &mut Tally, findings: &mut Vec<Finding>) {
        let (subscriber, publisher) = self.names;
        let mut came: BTreeMap<usize, Got> = BTreeMap::new();
        let mut latest: BTreeMap<usize, usize> = BTreeMap::new();
        let of_publisher = self.received.got.iter().filter(|got| got.publisher == publisher);
        for got in of_publisher.filter(|got| got.number < self.outcomes.len()) {
            let number = got.number;
            if let Some(earlier) = came.insert(number, *got) {
                if self.passed_on_late(&earlier, got) {
                    came.insert(number, earlier);
                    continue;
                }
                findings.push(Finding::Duplicate { subscriber, publisher, number });
                continue;
            }
            let epoch = self.outcomes[number].epoch;
            if let Some(after) = latest.insert(epoch, number).filter(|after| *after > number) {
                findings.push(Finding::Reordered { subscriber, publisher, number, after });
            }
        }
        let places = self.places(&came);
        for (number, outcome) in self.outcomes.iter().enumerate() {
            if came.contains_key(&number) {
                tally.arrived += 1;
                continue;
            }
            let count = match outcome.fate {
                Fate::Unknown => &mut tally.unknown,
                Fate::Unsent => &mut tally.unsent,
                Fate::Confirmed if self.in_gap(number, places[number]) => &mut tally.gap,
                Fate::Confirmed if self.killed(number, places[number]) => &mut tally.killed,
                Fate::Confirmed if self.untold(number, places[number]) => &mut tally.untold,
                Fate::Confirmed => {
                    let why = format!("{:?}, {outcome:?}, {:?}", places[number], self.sent(number));
                    findings.push(Finding::Unexplained { subscriber, publisher, number, why });
                    continue;
                }
            };
            *count += 1;
        }
    }

    fn sent(&self, number: usize) -> Sent {
        self.published.sent[number]
    }

    /// The place of each number.
    fn places(&self, came: &BTreeMap<usize, Got>) -> Vec<Place> {
        let mut places = Vec::new();
        let (mut epoch, mut not_before) = (usize::MAX, None);
        for (number, outcome) in self.outcomes.iter().enumerate() {
            if outcome.epoch != epoch {
                (epoch, not_before) = (outcome.epoch, None);
            }
            places.push(Place { not_before, not_after: None, inside: false });
            if let Some(got) = came.get(&number) {
                not_before = not_before.max(Some(got.first));
            }
        }
        let (mut epoch, mut not_after, mut inside) = (usize::MAX, usize::MAX, false);
        for (number, outcome) in self.outcomes.iter().enumerate().rev() {
            if outcome.epoch != epoch {
                (epoch, inside) = (outcome.epoch, false);
            }
            places[number].not_after = Some(not_after).filter(|last| *last != usize::MAX);
            places[number].inside = inside;
            if let Some(got) = came.get(&number) {
                inside = true;
                not_after = not_after.min(got.last);
            }
        }
        places
    }

    /// A server that stood still had delivered it itself, and passed it on to the server to which
    /// the subscriber had moved, when it went on.
    fn passed_on_late(&self, earlier: &Got, later: &Got) -> bool {
        let server = &self.published.epochs[self.outcomes[later.number].epoch].server;
        let on = |epoch: usize| self.received.epochs.get(epoch).map(|epoch| &epoch.server);
        let there = (later.first..=later.last)
            .any(|epoch| epoch > earlier.first && on(epoch).is_some_and(|other| other != server));
        self.history.stopped.contains(server)
            && (earlier.first..=earlier.last).any(|epoch| on(epoch) == Some(server))
            && there
    }

    /// The connections of the subscriber on which the message could have come.
    fn candidates(&self, place: Place) -> Range<usize> {
        let end = self.received.epochs.len();
        let end = place.not_after.map_or(end, |last| end.min(last + 1));
        place.not_before.unwrap_or(0)..end
    }

    /// A connection of the subscriber ended behind what came before it, and what came behind it
    /// came on a later one, which was not up yet when the message could first reach a server.
    fn in_gap(&self, number: usize, place: Place) -> bool {
        let epoch = &self.published.epochs[self.outcomes[number].epoch];
        let possible = self.sent(number).at.max(epoch.opened);
        let candidates = self.candidates(place);
        let next = candidates.start + 1..candidates.end;
        self.received.epochs[next.start.min(next.end)..next.end]
            .iter()
            .any(|epoch| possible < epoch.up)
    }

    /// Its server was ended before it passed this, and what was behind this, on.
    fn killed(&self, number: usize, place: Place) -> bool {
        let epoch = &self.published.epochs[self.outcomes[number].epoch];
        epoch.lost.is_some()
            && !place.inside
            && self.history.ended.contains(&epoch.server)
            && self.candidates(place).any(|at| self.received.epochs[at].server != epoch.server)
    }

    /// Its server did not know yet of the subscription at another server.
    fn untold(&self, number: usize, place: Place) -> bool {
        let epoch = &self.published.epochs[self.outcomes[number].epoch];
        self.candidates(place).filter(|at| Some(*at) != place.not_before).any(|at| {
            let there = &self.received.epochs[at];
            let began = epoch.up.max(there.up);
            let told = self.history.settled.iter().find(|settled| **settled > began);
            there.server != epoch.server && told.is_some_and(|told| self.sent(number).at < *told)
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Duplicate { subscriber, publisher, number } => {
                write!(f, "subscriber {subscriber} got {publisher}/{number} twice")
            }
            Finding::Reordered { subscriber, publisher, number, after } => write!(
                f,
                "subscriber {subscriber} got {publisher}/{number} after {publisher}/{after} of the same connection"
            ),
            Finding::Unexplained { subscriber, publisher, number, why } => {
                write!(f, "subscriber {subscriber} misses {publisher}/{number}: {why}")
            }
            Finding::Invented { subscriber, publisher, number } => write!(
                f,
                "subscriber {subscriber} got {publisher}/{number}, which was never sent to it"
            ),
            Finding::Miscounted { publisher, told, found } => {
                write!(f, "publisher {publisher} reports {told:?} at its end and {found:?} before")
            }
        }
    }
}

#[cfg(test)]
mod tests;
