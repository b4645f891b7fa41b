//! A connection of the core alone, to which every command is given at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use midge_proto::{
    Connection, EndReason, Event, Fates, FlushId, HeaderMap, Instant, Message, Position,
    PublishError, RequestError, RequestId, Sid, SubjectRef,
};

use super::full::{PATTERNS, SUBJECTS};
use super::ledger::{Content, Ending, Ledger, Tag};
use super::plan::{DENIED, DRAIN, Plan};
use super::recovery;
use crate::{CoreClient, Rng, World};

/// More of them would only be more of the same on the wire.
const MOST_SUBSCRIPTIONS: usize = 6;

pub(super) struct Bare {
    world: World,
    ledger: Ledger,
    rng: Rng,
    client: CoreClient,
    plan: Plan,
    books: Arc<Mutex<Books>>,
}

/// What the one who commands and the one who hears of it share.
struct Books {
    publisher: usize,
    /// Every id that was handed out, and whether it has ended. Cancelled ones have.
    ids: BTreeMap<Id, bool>,
    /// With their deadlines.
    requests: BTreeMap<RequestId, (Tag, Instant)>,
    /// How many messages were accepted before each.
    flushes: BTreeMap<FlushId, usize>,
    subscriptions: BTreeMap<Sid, Subscribed>,
    connects: u64,
    connected: bool,
    /// All that was under way has come.
    at_rest: bool,
    closed: Option<Fates>,
    /// Flushes that were answered.
    answered: BTreeSet<FlushId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Id {
    Request(RequestId),
    Flush(FlushId),
    Subscription(Sid),
}

struct Subscribed {
    sid: Sid,
    reader: usize,
    max: Option<u64>,
    /// The connection on which a drain began.
    draining: Option<u64>,
    received: u64,
    denied: bool,
}

impl Bare {
    pub(super) fn new(world: &World, plan: &Plan, ledger: &Ledger) -> Self {
        let client = world.core_client(plan.config(world)).expect("the configuration is good");
        let books = Books {
            publisher: ledger.publisher(client.number()),
            ids: BTreeMap::new(),
            requests: BTreeMap::new(),
            flushes: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            connects: 0,
            connected: false,
            at_rest: false,
            closed: None,
            answered: BTreeSet::new(),
        };
        Self {
            world: world.clone(),
            ledger: ledger.clone(),
            rng: world.rng(),
            client,
            plan: plan.clone(),
            books: Arc::new(Mutex::new(books)),
        }
    }

    pub(super) async fn run(mut self) {
        let listener = Listener {
            world: self.world.clone(),
            ledger: self.ledger.clone(),
            client: self.client.clone(),
            books: Arc::clone(&self.books),
        };
        let listener = self.world.spawn(listener.run());
        // Some come to their end in the midst of it all.
        let early = self.rng.one_in(4);
        let until = match early {
            true => {
                let most = self.plan.calm - Instant::ZERO;
                Instant::ZERO + self.rng.between(Duration::ZERO, most)
            }
            false => self.plan.calm,
        };
        while self.world.now() < until {
            for _ in 0..1 + self.rng.index(4) {
                self.command();
            }
            let longest = Duration::from_millis(1 << self.rng.index(9));
            self.world.sleep(self.rng.between(Duration::ZERO, longest)).await;
        }
        if !early {
            self.comes_to_rest().await;
        }
        let linger = Duration::from_secs(5);
        let bound = match self.rng.index(3) {
            0 => {
                self.client.with(|connection, _| connection.close(Duration::ZERO));
                Duration::ZERO
            }
            1 => {
                self.client.with(|connection, _| connection.close(linger));
                linger
            }
            _ => {
                let mut books = self.lock();
                let on = books.connected.then_some(books.connects);
                for subscribed in books.subscriptions.values_mut() {
                    subscribed.draining = subscribed.draining.or(on);
                }
                drop(books);
                self.client.with(|connection, _| connection.drain());
                DRAIN
            }
        };
        // What is lent comes back in the same moment, but in steps of its own.
        let closed = self.world.timeout(bound + Duration::from_millis(1), listener).await;
        assert!(closed.is_ok(), "not closed {bound:?} after it was told to");
        self.check_end();
    }

    async fn comes_to_rest(&self) {
        self.client.with(|connection, _| connection.pause(false));
        let bound = recovery(&self.plan);
        let answered = self.world.timeout(bound, self.is_answered()).await;
        assert!(answered.is_ok(), "not connected {bound:?} after the last fault");
        self.world.sleep(Duration::from_secs(2)).await;
        self.is_answered().await;
        self.world.sleep(Duration::from_secs(1)).await;
        self.ledger.check_known(&self.world, self.client.number());
        if self.plan.users {
            self.denials_are_heard().await;
        }
        self.lock().at_rest = true;
    }

    /// A flush is answered, however often the connection is lost before.
    async fn is_answered(&self) {
        loop {
            let flush = self.client.with(|connection, _| connection.flush());
            let Ok(flush) = flush else { panic!("too many flushes") };
            self.begins(flush);
            while !self.lock().ids[&Id::Flush(flush)] {
                self.world.sleep(Duration::from_millis(5)).await;
            }
            if self.lock().answered.contains(&flush) {
                return;
            }
        }
    }

    /// What a server refuses ends at once, not at a deadline, or never.
    async fn denials_are_heard(&self) {
        let denied = self.lock().subscriptions.values().filter(|one| one.denied).count();
        assert_eq!(denied, 0, "subscriptions that the server has refused live on");
        let tag = self.ledger.next(self.lock().publisher);
        let payload = tag.payload(0);
        let content = Content::new(DENIED, false, &payload);
        let subject = SubjectRef::new(DENIED).expect("it is a subject");
        let (result, deadline) = self.client.with(|connection, now| {
            let deadline = now + Duration::from_secs(60);
            (connection.request(subject, None, &payload, deadline), deadline)
        });
        let Ok(id) = result else { return };
        self.ledger.accepted(tag, Some(Position(tag.number)), content);
        self.ledger.may_be_refused(tag);
        self.asks(id, tag, deadline);
        self.is_answered().await;
        self.world.sleep(Duration::from_secs(1)).await;
        assert!(self.lock().ids[&Id::Request(id)], "a request that the server has refused waits");
    }

    fn check_end(&self) {
        let count = self.count() as u64;
        let books = self.lock();
        for (id, ended) in &books.ids {
            assert!(ended, "{id:?} never ended");
        }
        let fates = books.closed.as_ref().expect("it is closed");
        self.ledger.ended(self.client.number(), fates);
        let statistics = self.client.with(|connection, _| connection.statistics());
        let dropped = fates.kept.messages + fates.dropped.messages;
        assert_eq!(
            (statistics.confirmed, statistics.unknown, statistics.dropped),
            (fates.confirmed.messages, fates.unknown.messages, dropped),
            "{fates:?}"
        );
        let accepted = statistics.out_messages;
        assert_eq!(statistics.confirmed + statistics.unknown + dropped, accepted, "{fates:?}");
        assert_eq!(count, accepted);
    }

    fn count(&self) -> usize {
        let publisher = self.lock().publisher;
        self.ledger.next(publisher).number as usize
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- commands ----------------------------------------------------------------------------

    fn command(&mut self) {
        match self.rng.index(20) {
            0 if self.plan.link.bandwidth.is_none() && self.rng.one_in(10) => {
                (0..100).for_each(|_| self.publish());
            }
            0..=7 => self.publish(),
            8 | 9 => self.request(),
            10 => self.cancel(),
            11 | 12 => self.subscribe(),
            13 => self.end_subscription(),
            14 | 15 => self.flush(),
            16 => self.withdraw(),
            17 => {
                let paused = self.rng.one_in(3);
                self.client.with(|connection, _| connection.pause(paused));
            }
            18 if self.rng.one_in(8) => self.client.with(|connection, _| connection.reconnect()),
            _ => self.publish(),
        }
    }

    /// Publishes in one of the ways in which that is possible. The position of a message is the
    /// number of messages that were accepted before it.
    fn publish_by(
        &mut self,
        send: impl FnOnce(
            &mut Connection,
            SubjectRef<'_>,
            Option<&HeaderMap>,
            &[u8],
        ) -> Result<Position, PublishError>,
    ) {
        let tag = self.ledger.next(self.lock().publisher);
        let payload = tag.payload(self.rng.index(self.plan.biggest));
        let denied = self.rng.one_in(20);
        let subject = if denied { DENIED } else { SUBJECTS[self.rng.index(SUBJECTS.len())] };
        let mut headers = HeaderMap::new();
        headers.insert("Storm", "yes").expect("it is a header");
        let headers = self.rng.one_in(4).then_some(&headers);
        let content = Content::new(subject, headers.is_some(), &payload);
        let subject = SubjectRef::new(subject).expect("it is a subject");
        let result = self.client.with(|connection, _| send(connection, subject, headers, &payload));
        match result {
            Ok(position) => {
                assert_eq!(position, Position(tag.number), "positions are counted");
                self.ledger.accepted(tag, Some(position), content);
                if denied {
                    self.ledger.may_be_refused(tag);
                }
            }
            Err(
                PublishError::Full
                | PublishError::TooLarge { .. }
                | PublishError::HeadersUnsupported,
            ) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn publish(&mut self) {
        match self.rng.one_in(5) {
            true => self.publish_by(|connection, subject, headers, payload| {
                let reply = SubjectRef::new("no.reply").expect("it is a subject");
                connection.publish_request(subject, reply, headers, payload)
            }),
            false => self.publish_by(|connection, subject, headers, payload| {
                connection.publish(subject, None, headers, payload)
            }),
        }
    }

    fn request(&mut self) {
        let tag = self.ledger.next(self.lock().publisher);
        let payload = tag.payload(self.rng.index(200));
        let subject = ["nobody", "service", "service", DENIED][self.rng.index(4)];
        let denied = subject == DENIED;
        let content = Content::new(subject, false, &payload);
        let subject = SubjectRef::new(subject).expect("it is a subject");
        let time = self.rng.between(Duration::from_millis(1), Duration::from_secs(2));
        let deadline = self.world.now() + time;
        let result =
            self.client.with(|connection, _| connection.request(subject, None, &payload, deadline));
        match result {
            Ok(id) => {
                self.ledger.accepted(tag, Some(Position(tag.number)), content);
                if denied {
                    self.ledger.may_be_refused(tag);
                }
                self.asks(id, tag, deadline);
                if self.rng.one_in(6) {
                    self.cancel_request(id);
                }
            }
            Err(RequestError::Publish(_) | RequestError::TooMany | RequestError::Inbox(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    fn asks(&self, id: RequestId, tag: Tag, deadline: Instant) {
        let mut books = self.lock();
        books.ids.insert(Id::Request(id), false);
        books.requests.insert(id, (tag, deadline));
    }

    fn cancel_request(&self, id: RequestId) {
        self.client.with(|connection, _| connection.cancel(id));
        self.lock().ids.insert(Id::Request(id), true);
    }

    fn cancel(&mut self) {
        if let Ok(flush) = self.client.with(|connection, _| connection.flush()) {
            self.client.with(|connection, _| connection.cancel_flush(flush));
            self.lock().ids.insert(Id::Flush(flush), true);
        }
    }

    fn flush(&mut self) {
        if let Ok(flush) = self.client.with(|connection, _| connection.flush()) {
            self.begins(flush);
        }
    }

    fn begins(&self, flush: FlushId) {
        let before = self.count();
        let mut books = self.lock();
        books.ids.insert(Id::Flush(flush), false);
        books.flushes.insert(flush, before);
    }

    fn withdraw(&mut self) {
        let count = self.count() as u64;
        let position = count.saturating_sub(1 + self.rng.below(10));
        if self.client.with(|connection, _| connection.withdraw(Position(position))) {
            let tag = Tag { publisher: self.lock().publisher, number: position };
            self.ledger.is_not_sent(tag);
        }
    }

    fn subscribe(&mut self) {
        if self.lock().subscriptions.len() >= MOST_SUBSCRIPTIONS {
            return;
        }
        let denied = self.rng.one_in(12);
        let subject = if denied { DENIED } else { PATTERNS[self.rng.index(PATTERNS.len())] };
        let subject = SubjectRef::new(subject).expect("it is a subject");
        let Ok(sid) = self.client.with(|connection, _| connection.subscribe(subject, None)) else {
            return;
        };
        let reader = self.ledger.reader(self.client.number(), sid.number());
        let mut books = self.lock();
        books.ids.insert(Id::Subscription(sid), false);
        let subscribed = Subscribed { sid, reader, max: None, draining: None, received: 0, denied };
        books.subscriptions.insert(sid, subscribed);
    }

    fn end_subscription(&mut self) {
        let books = Arc::clone(&self.books);
        let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
        let Books { subscriptions, connects, connected, .. } = &mut *books;
        let place = self.rng.index(subscriptions.len());
        let Some(subscribed) = subscriptions.values_mut().nth(place) else { return };
        let sid = subscribed.sid;
        match self.rng.index(3) {
            0 => {
                // Counted from the beginning of the subscription.
                let max = subscribed.received + 1 + self.rng.below(30);
                if subscribed.max.is_none() && subscribed.draining.is_none() {
                    subscribed.max = Some(max);
                    self.client.with(|connection, _| connection.unsubscribe(sid, Some(max)));
                }
            }
            1 => self.client.with(|connection, _| connection.unsubscribe(sid, None)),
            _ => {
                subscribed.draining = connected.then_some(*connects);
                self.client.with(|connection, _| connection.drain_subscription(sid));
            }
        }
    }
}

/// Who hears of everything.
struct Listener {
    world: World,
    ledger: Ledger,
    client: CoreClient,
    books: Arc<Mutex<Books>>,
}

impl Listener {
    async fn run(self) {
        loop {
            if self.happened(self.client.event().await) {
                return;
            }
        }
    }

    /// True at the end.
    fn happened(&self, event: Event) -> bool {
        let owner = self.client.number();
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Message(sid, message) => {
                if let Some(subscribed) = books.subscriptions.get_mut(&sid) {
                    subscribed.received += 1;
                    self.ledger.received(subscribed.reader, &message);
                }
            }
            Event::Response(id, result) => {
                books.end(Id::Request(id));
                let (tag, deadline) = books.requests[&id];
                let now = self.world.now();
                assert!(now <= deadline, "line 1: {tag} ended at {now:?}, after {deadline:?}");
                self.responded(tag, result);
            }
            Event::Flushed(id, result) => {
                books.end(Id::Flush(id));
                if let Ok(fates) = result {
                    let before = books.flushes[&id];
                    books.answered.insert(id);
                    self.ledger.flushed(&self.world, books.publisher, before, &fates);
                }
            }
            Event::SubscriptionEnded(sid, why) => {
                books.end(Id::Subscription(sid));
                let present = books.connected.then_some(books.connects);
                if let Some(subscribed) = books.subscriptions.remove(&sid) {
                    let on = Ledger::life(&self.world, owner);
                    let end = match why {
                        EndReason::MaxReached => {
                            Ending::Max { on, max: subscribed.max.unwrap_or(0) }
                        }
                        EndReason::Drained
                            if present.is_some() && subscribed.draining == present =>
                        {
                            Ending::Drained { on }
                        }
                        // Once all is quiet, nothing is under way that could be missed.
                        EndReason::Closed | EndReason::Drained if books.at_rest => Ending::Alive,
                        _ => Ending::Other { on },
                    };
                    self.ledger.reader_ended(subscribed.reader, end);
                }
            }
            Event::Connected(facts) => {
                books.connects += 1;
                books.connected = true;
                self.ledger.dropped(owner, &facts.dropped);
            }
            Event::Disconnected(facts) => {
                books.connected = false;
                self.ledger.dropped(owner, &facts.dropped);
                self.ledger.unknown(&self.world, books.publisher, &facts.unknown);
            }
            Event::Dropped(fate) => self.ledger.dropped(owner, &fate),
            Event::SubscriptionsDrained => {
                self.client.with(|connection, _| connection.queues_drained());
            }
            Event::Closed(closed) => {
                books.closed = Some(closed.fates.clone());
                return true;
            }
            _ => {}
        }
        false
    }

    fn responded(&self, tag: Tag, result: Result<Message, RequestError>) {
        match result {
            Ok(message) => {
                let (_, asked) = Tag::of(message.payload()).expect("answers bear a tag");
                assert!(asked.starts_with(tag.to_string().as_bytes()), "the answer to {tag}");
                self.ledger.is_certain(tag);
            }
            Err(RequestError::NoResponders) => self.ledger.is_certain(tag),
            Err(RequestError::NotSent(_)) => self.ledger.is_not_sent(tag),
            Err(_) => {}
        }
    }
}

impl Books {
    fn end(&mut self, id: Id) {
        let ended = self.ids.get_mut(&id).unwrap_or_else(|| panic!("{id:?} was never handed out"));
        assert!(!*ended, "{id:?} ended twice, or was cancelled");
        *ended = true;
    }
}
