//! What clients were told of each message, held against what the servers saw of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use midge_proto::{Fate, Fates, Instant, Message, Position};

use crate::World;
use crate::net::{Life, Owner};
use crate::server::{ClientId, Close, Cluster, Event, Publish, ServerId};

/// What a server says before it closes the connection of who publishes too much at once.
const TOO_LARGE: &str = "Maximum Payload Violation";
/// The same for headers, which its INFO has not offered.
const NO_HEADERS: &str = "message headers not supported";

/// A message: who published it, and the how-manieth of that publisher it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tag {
    pub(crate) publisher: usize,
    pub(crate) number: u64,
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{};", self.publisher, self.number)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.publisher, self.number)
    }
}

impl Tag {
    /// A payload that bears the tag, of `size` bytes at least.
    pub(crate) fn payload(self, size: usize) -> Vec<u8> {
        let mut payload = self.to_string().into_bytes();
        payload.resize(size.max(payload.len()), b'.');
        payload
    }

    /// The tag of a payload, and what is behind it.
    pub(crate) fn of(payload: &[u8]) -> Option<(Self, &[u8])> {
        let end = payload.iter().position(|byte| *byte == b';')?;
        let (publisher, number) = std::str::from_utf8(&payload[..end]).ok()?.split_once('.')?;
        let tag = Self { publisher: publisher.parse().ok()?, number: number.parse().ok()? };
        Some((tag, &payload[end + 1..]))
    }
}

/// What a message consists of, besides a reply subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Content {
    subject: Bytes,
    headers: bool,
    payload: Bytes,
}

impl Content {
    pub(crate) fn new(subject: &str, headers: bool, payload: &[u8]) -> Self {
        let subject = Bytes::copy_from_slice(subject.as_bytes());
        Self { subject, headers, payload: Bytes::copy_from_slice(payload) }
    }

    fn of_publish(publish: &Publish) -> Self {
        Self {
            subject: publish.subject.clone(),
            headers: publish.headers.is_some(),
            payload: publish.payload.clone(),
        }
    }
}

/// What is known of an accepted message.
#[derive(Debug, Default)]
struct Sent {
    content: Content,
    /// Its number in the reports. Requests have one that nobody knows.
    position: Option<u64>,
    /// The connection on which a server saw it.
    seen: Option<ClientId>,
    /// Reported as unknown: it may have been sent on this connection or an earlier one, and is not
    /// sent again.
    unknown: Option<ClientId>,
    /// No byte of it may have left.
    never: bool,
    /// The client was told that a server has it: confirmed, or answered.
    certain: bool,
    /// It was reported as confirmed.
    confirmed: bool,
    /// A server took it and refused it.
    refused: bool,
}

struct Publisher {
    owner: Owner,
    sent: Vec<Sent>,
    /// The message with each position. Ascending.
    positions: Vec<(u64, u64)>,
}

/// A subscription, as its reader saw it.
struct Reader {
    owner: Owner,
    sid: u64,
    received: Vec<Tag>,
    end: Ending,
}

/// How a subscription ended, as far as that says what must have been received. Those that name a
/// connection mean the how-manieth of the client it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It lives, or ended when nothing was under way: all that was sent on the last connection came.
    Alive,
    /// Drained on this connection: all that was sent on it came.
    Drained { on: usize },
    /// By its maximum.
    Max { on: usize, max: u64 },
    /// So many messages found no room in its queue, and the client says so.
    Overflowed { dropped: u64 },
    /// What was under way may be gone.
    Other { on: usize },
}

impl Ending {
    /// How many of the messages that were sent on a connection must have come, given how many of
    /// them had been read.
    fn least(self, index: usize, last: bool, sent: usize, read: usize) -> usize {
        match self {
            Self::Alive if last => sent,
            Self::Alive => read,
            Self::Drained { on } if index == on => sent,
            Self::Drained { on } | Self::Max { on, .. } | Self::Other { on } if index < on => read,
            _ => 0,
        }
    }
}

#[derive(Default)]
struct Books {
    publishers: Vec<Publisher>,
    readers: Vec<Reader>,
    /// Entries of the journal that were looked at.
    looked_at: usize,
    /// The latest number that a connection brought of each publisher.
    latest: BTreeMap<(ClientId, usize), u64>,
    /// All deliveries to a connection, in order.
    deliveries: BTreeMap<ClientId, Vec<(u64, Tag)>>,
    /// Where each connection leads, and since when.
    accepted: BTreeMap<ClientId, (ServerId, Instant)>,
    /// The subscriptions that servers know of.
    known: BTreeSet<(ClientId, u64)>,
    /// When the limits of a server were last changed.
    limits: BTreeMap<ServerId, Instant>,
}

/// The account of a run. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Books>>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- publishers --------------------------------------------------------------------------

    pub(crate) fn publisher(&self, owner: Owner) -> usize {
        let publishers = &mut self.lock().publishers;
        publishers.push(Publisher { owner, sent: Vec::new(), positions: Vec::new() });
        publishers.len() - 1
    }

    /// The tag of the next message of a publisher.
    pub(crate) fn next(&self, publisher: usize) -> Tag {
        let number = self.lock().publishers[publisher].sent.len() as u64;
        Tag { publisher, number }
    }

    /// The next message is accepted; nothing else may reach a server.
    pub(crate) fn accepted(&self, tag: Tag, position: Option<Position>, content: Content) {
        let publisher = &mut self.lock().publishers[tag.publisher];
        assert_eq!(tag.number, publisher.sent.len() as u64, "a tag is used once");
        let position = position.map(|Position(position)| position);
        publisher.sent.push(Sent { position, content, ..Sent::default() });
        publisher.positions.extend(position.map(|position| (position, tag.number)));
    }

    /// A server may refuse it, and keeps no record of whose it was.
    pub(crate) fn may_be_refused(&self, tag: Tag) {
        self.lock().publishers[tag.publisher].sent[tag.number as usize].refused = true;
    }

    /// The client says that the server has it.
    pub(crate) fn is_certain(&self, tag: Tag) {
        self.lock().publishers[tag.publisher].sent[tag.number as usize].certain = true;
    }

    /// The client says that messages with these positions were not sent and will not be.
    pub(crate) fn dropped(&self, owner: Owner, fate: &Fate) {
        let mut books = self.lock();
        for (index, publisher) in books.publishers.iter_mut().enumerate() {
            if publisher.owner != owner {
                continue;
            }
            for position in fate.positions.ranges().flatten() {
                let at = publisher.positions.binary_search_by_key(&position, |(at, _)| *at);
                let Ok(at) = at else { continue };
                let number = publisher.positions[at].1;
                let sent = &mut publisher.sent[number as usize];
                assert!(sent.seen.is_none(), "{index}.{number} is dropped, and a server saw it");
                sent.never = true;
            }
        }
    }

    /// A connection is lost, and the client does not know what became of these messages.
    pub(crate) fn unknown(&self, world: &World, publisher: usize, fate: &Fate) {
        let present = Self::present(world, self.lock().publishers[publisher].owner);
        let publisher = &mut self.lock().publishers[publisher];
        for sent in &mut publisher.sent {
            if sent.position.is_some_and(|position| fate.positions.contains(Position(position))) {
                sent.unknown = present;
            }
        }
    }

    /// The latest connection of a client.
    fn present(world: &World, owner: Owner) -> Option<ClientId> {
        world.with(|state| Some(state.net.lives.get(&owner)?.last()?.client))
    }

    /// The client says that it was not sent and will not be.
    pub(crate) fn is_not_sent(&self, tag: Tag) {
        let sent = &mut self.lock().publishers[tag.publisher].sent[tag.number as usize];
        assert_eq!(sent.seen, None, "{tag} is not sent, and a server saw it");
        sent.never = true;
    }

    /// A flush has ended well that was begun when `before` messages were accepted.
    pub(crate) fn flushed(&self, world: &World, publisher: usize, before: usize, fates: &Fates) {
        let present = Self::present(world, self.lock().publishers[publisher].owner);
        let publisher = &mut self.lock().publishers[publisher];
        for sent in &mut publisher.sent[..before] {
            let Some(position) = sent.position else { continue };
            let position = Position(position);
            match place(fates, position) {
                Some("confirmed") => (sent.certain, sent.confirmed) = (true, true),
                Some("dropped") => sent.never = true,
                Some("unknown") => assert!(
                    sent.seen.is_none() || sent.seen != present,
                    "{position:?} was sent on this connection and flushed, and is unknown"
                ),
                other => panic!("{position:?} is flushed, and {other:?}"),
            }
        }
    }

    /// The end of a client: what it says became of all messages of its life.
    pub(crate) fn ended(&self, owner: Owner, fates: &Fates) {
        let mut books = self.lock();
        for (index, publisher) in books.publishers.iter_mut().enumerate() {
            if publisher.owner != owner {
                continue;
            }
            for (number, sent) in publisher.sent.iter_mut().enumerate() {
                let Some(position) = sent.position else { continue };
                let tag = Tag { publisher: index, number: number as u64 };
                match place(fates, Position(position)) {
                    Some("confirmed") => {
                        assert!(!sent.never, "{tag} was not sent, and is confirmed");
                        (sent.certain, sent.confirmed) = (true, true);
                    }
                    Some("unknown") => {
                        assert!(!sent.confirmed, "{tag} was confirmed, and is unknown");
                    }
                    Some(_) => {
                        assert!(!sent.certain, "{tag} is with a server, and is not sent");
                        sent.never = true;
                    }
                    None => panic!("{tag} has no fate in {fates:?}"),
                }
            }
        }
    }

    // ---- servers -----------------------------------------------------------------------------

    /// Who is connected to the server may not know of its limits.
    pub(crate) fn limits_changed(&self, server: ServerId, now: Instant) {
        self.lock().limits.insert(server, now);
    }

    // ---- readers -----------------------------------------------------------------------------

    pub(crate) fn reader(&self, owner: Owner, sid: u64) -> usize {
        let readers = &mut self.lock().readers;
        readers.push(Reader { owner, sid, received: Vec::new(), end: Ending::Alive });
        readers.len() - 1
    }

    /// A server may have left out the headers, for a client that told it to.
    pub(crate) fn received(&self, reader: usize, message: &Message) -> Tag {
        let mut books = self.lock();
        let payload = message.payload();
        let Some((tag, _)) = Tag::of(payload) else {
            panic!("nobody published {}", payload.escape_ascii())
        };
        let sent = &books.publishers[tag.publisher].sent[tag.number as usize];
        assert!(sent.seen.is_some(), "{tag} came, and no server saw it");
        let content = &sent.content;
        assert_eq!(content.subject, message.subject_bytes(), "the subject of {tag}");
        assert_eq!(content.payload, payload, "the payload of {tag}");
        assert!(content.headers || message.headers().is_none(), "{tag} came with headers");
        books.readers[reader].received.push(tag);
        tag
    }

    /// The how-manieth connection of a client the latest one is.
    pub(crate) fn life(world: &World, owner: Owner) -> usize {
        let lives = world.with(|state| state.net.lives.get(&owner).map_or(0, Vec::len));
        lives.saturating_sub(1)
    }

    pub(crate) fn reader_ended(&self, reader: usize, end: Ending) {
        self.lock().readers[reader].end = end;
    }

    /// While nothing goes wrong, the server of a client knows each of its subscriptions.
    pub(crate) fn check_known(&self, world: &World, owner: Owner) {
        let books = self.lock();
        let life =
            world.with(|state| state.net.lives.get(&owner).and_then(|of| of.last().copied()));
        let life = life.expect("it is connected");
        let alive = books
            .readers
            .iter()
            .filter(|reader| reader.owner == owner && reader.end == Ending::Alive);
        for Reader { sid, .. } in alive {
            let known = books.known.contains(&(life.client, *sid));
            assert!(
                known,
                "subscription {sid} of client {owner} lives here, and not at the server"
            );
        }
    }

    // ---- the judge ---------------------------------------------------------------------------

    /// What servers have seen since the last look: nothing that was not accepted, nothing twice,
    /// and nothing out of order on one connection.
    pub(crate) fn look(&self, cluster: &Cluster) -> Result<(), String> {
        let mut books = self.lock();
        let books = &mut *books;
        let journal = cluster.journal();
        let entries = journal.entries();
        for entry in &entries[books.looked_at..] {
            match &entry.event {
                Event::Published(index) => {
                    let publish = &journal.publishes()[*index];
                    let (tag, _) = Tag::of(&publish.payload).ok_or_else(|| {
                        format!("a server saw what nobody published: {publish:?}")
                    })?;
                    let sent = books
                        .publishers
                        .get_mut(tag.publisher)
                        .and_then(|publisher| publisher.sent.get_mut(tag.number as usize))
                        .ok_or_else(|| format!("{tag} was not accepted, and a server saw it"))?;
                    if sent.never {
                        return Err(format!("{tag} is not sent, and a server saw it"));
                    }
                    if sent.content != Content::of_publish(publish) {
                        let content = &sent.content;
                        return Err(format!("{tag} is {content:?}, and a server saw {publish:?}"));
                    }
                    if sent.unknown.is_some_and(|latest| publish.client > latest) {
                        return Err(format!("{tag} was unknown, and is sent again"));
                    }
                    if sent.seen.replace(publish.client).is_some() {
                        return Err(format!("{tag} reached a server twice"));
                    }
                    let key = (publish.client, tag.publisher);
                    if let Some(earlier) = books.latest.insert(key, tag.number)
                        && earlier > tag.number
                    {
                        return Err(format!("{tag} came behind number {earlier}"));
                    }
                }
                Event::Delivered { to, sid, publish } => {
                    let payload = &journal.publishes()[*publish].payload;
                    let (Some(sid), Some((tag, _))) = (number(sid), Tag::of(payload)) else {
                        return Err("a delivery bears no number, or no tag".to_owned());
                    };
                    books.deliveries.entry(*to).or_default().push((sid, tag));
                }
                Event::Subscribed { client, sid, .. } => {
                    books.known.extend(number(sid).map(|sid| (*client, sid)));
                }
                Event::Unsubscribed { client, sid } => {
                    if let Some(sid) = number(sid) {
                        books.known.remove(&(*client, sid));
                    }
                }
                Event::Accepted { client, server } => {
                    books.accepted.insert(*client, (*server, entry.at));
                }
                Event::Closed { client, why: Close::Error(why) } if why == NO_HEADERS => {
                    return Err(format!("{client:?} was told of no headers, and sent some"));
                }
                Event::Closed { client, why: Close::Error(why) } if why == TOO_LARGE => {
                    let (server, since) = books.accepted[client];
                    let changed = books.limits.get(&server);
                    if changed.is_none_or(|changed| *changed < since) {
                        return Err(format!("{client:?} was told of the limit, and went above it"));
                    }
                }
                _ => {}
            }
        }
        books.looked_at = entries.len();
        Ok(())
    }

    /// At the end, when nothing is under way any more.
    pub(crate) fn judge(&self, world: &World) -> Result<Tally, String> {
        let books = self.lock();
        let mut tally = Tally::default();
        for (index, publisher) in books.publishers.iter().enumerate() {
            for (number, sent) in publisher.sent.iter().enumerate() {
                tally.published += 1;
                tally.arrived += u64::from(sent.seen.is_some());
                tally.certain += u64::from(sent.certain);
                tally.never += u64::from(sent.never);
                tally.unknown += u64::from(!sent.certain && !sent.never);
                if sent.certain && sent.seen.is_none() && !sent.refused {
                    return Err(format!("{index}.{number} is confirmed, and no server saw it"));
                }
            }
        }
        world.cluster(|cluster, _| {
            for entry in cluster.journal().entries() {
                match &entry.event {
                    Event::Connected { .. } => tally.connections += 1,
                    Event::Refused { .. } => tally.refused += 1,
                    Event::LostOnRoute { .. } => tally.parted += 1,
                    _ => {}
                }
            }
        });
        tally.beside = world.with(|state| state.net.read_beside);
        let lives = world.with(|state| state.net.lives.clone());
        for reader in &books.readers {
            tally.received += reader.received.len() as u64;
            match reader.end {
                Ending::Drained { .. } => tally.drained += 1,
                Ending::Max { .. } => tally.maxima += 1,
                Ending::Alive | Ending::Overflowed { .. } | Ending::Other { .. } => {}
            }
            let none = Vec::new();
            books.judge_reader(reader, lives.get(&reader.owner).unwrap_or(&none))?;
        }
        Ok(tally)
    }
}

impl Books {
    /// What a reader received is, of each connection, the beginning of what the server sent on it:
    /// at least what the client had read of it, and all where nothing came between.
    fn judge_reader(&self, reader: &Reader, lives: &[Life]) -> Result<(), String> {
        let (sid, received) = (reader.sid, &reader.received);
        if let Ending::Overflowed { dropped } = reader.end {
            return self.judge_overflowed(reader, lives, dropped);
        }
        // How much may have been received with the connections up to one.
        let mut reached = BTreeSet::from([0_usize]);
        for (index, life) in lives.iter().enumerate() {
            let none = Vec::new();
            let deliveries = self.deliveries.get(&life.client).unwrap_or(&none);
            let own = |deliveries: &[(u64, Tag)]| -> Vec<Tag> {
                deliveries.iter().filter(|(to, _)| *to == sid).map(|(_, tag)| *tag).collect()
            };
            let sent = own(deliveries);
            let read = usize::try_from(life.read).unwrap_or(usize::MAX).min(deliveries.len());
            let last = index + 1 == lives.len();
            let least = reader.end.least(index, last, sent.len(), own(&deliveries[..read]).len());
            let mut next = BTreeSet::new();
            for &from in &reached {
                let equal = received[from..].iter().zip(&sent).take_while(|(a, b)| a == b).count();
                next.extend((least..=equal).map(|count| from + count));
            }
            if next.is_empty() {
                return Err(format!(
                    "subscription {sid} ({:?}) of client {}: of {least} to {} messages of its connection \
                     {index}, not all came, or not in order: sent {sent:?}, received {received:?}, \
                     up to {reached:?} before",
                    reader.end,
                    reader.owner,
                    sent.len()
                ));
            }
            reached = next;
        }
        if !reached.contains(&received.len()) {
            return Err(format!(
                "subscription {sid} of client {} received {received:?}, of which only {reached:?} \
                 were sent",
                reader.owner
            ));
        }
        if let Ending::Max { max, .. } = reader.end
            && received.len() as u64 != max
        {
            return Err(format!("subscription {sid} received {}, not {max}", received.len()));
        }
        Ok(())
    }

    /// In order, each once, and no more than was sent.
    fn judge_overflowed(
        &self,
        reader: &Reader,
        lives: &[Life],
        dropped: u64,
    ) -> Result<(), String> {
        let deliveries =
            lives.iter().filter_map(|life| self.deliveries.get(&life.client)).flatten();
        let sent: Vec<Tag> =
            deliveries.filter(|(to, _)| *to == reader.sid).map(|(_, tag)| *tag).collect();
        let mut rest = sent.iter();
        let in_order = reader.received.iter().all(|tag| rest.any(|sent| sent == tag));
        if !in_order || reader.received.len() as u64 + dropped > sent.len() as u64 {
            return Err(format!(
                "subscription {} of client {}: of {} messages {dropped} were dropped and {} came",
                reader.sid,
                reader.owner,
                sent.len(),
                reader.received.len()
            ));
        }
        Ok(())
    }
}

/// What a storm came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Messages that clients accepted.
    pub published: u64,
    /// Those that a server saw.
    pub arrived: u64,
    /// Those that clients called confirmed, or that were answered.
    pub certain: u64,
    /// Those that clients called dropped, kept to the end, or not sent.
    pub never: u64,
    /// Those of which clients cannot tell, or asked no more.
    pub unknown: u64,
    /// Messages that subscriptions received.
    pub received: u64,
    /// Connections on which a server took CONNECT.
    pub connections: u64,
    /// What servers refused: publishes and subscriptions.
    pub refused: u64,
    /// Messages that were lost between two servers.
    pub parted: u64,
    /// Subscriptions that were drained on the connection on which the drain began.
    pub drained: u64,
    /// Subscriptions that reached their maximum.
    pub maxima: u64,
    /// Reads beside a driver that have brought something.
    pub beside: u64,
}

fn number(sid: &[u8]) -> Option<u64> {
    std::str::from_utf8(sid).ok()?.parse().ok()
}

/// The one or none of the fates that holds a message.
fn place(fates: &Fates, position: Position) -> Option<&'static str> {
    let holds = |fate: &Fate| fate.positions.contains(position);
    let all = [
        (&fates.confirmed, "confirmed"),
        (&fates.unknown, "unknown"),
        (&fates.kept, "kept"),
        (&fates.dropped, "dropped"),
    ];
    let mut places = all.into_iter().filter(|(fate, _)| holds(fate)).map(|(_, name)| name);
    let place = places.next();
    assert_eq!(places.next(), None, "{position:?} has two fates in {fates:?}");
    place
}
