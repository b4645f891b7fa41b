//! The network of a run: what is dialled, written and read takes time, and may fail.

mod lane;
mod socket;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Waker;

pub use lane::{End, Link};
pub(crate) use lane::{Lane, Wrote};
pub use socket::Socket;
pub(crate) use socket::{Dial, LookUp};

use crate::Rng;
use crate::schedule::Happening;
use crate::server::{ClientId, Cluster, ServerId};
use crate::state::State;

/// One connection of a client to a server, open or not any more. A client that connects again has
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Connection(pub(crate) u64);

/// From a client to a server, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What becomes of those who dial a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// They are let in, if the server runs, and refused if it does not.
    #[default]
    Open,
    /// They are refused.
    Refusing,
    /// They hear nothing.
    Silent,
}

pub(crate) struct Net {
    pub(crate) link: Link,
    pub(crate) rng: Rng,
    pub(crate) cluster: Cluster,
    pub(crate) places: BTreeMap<ServerId, Place>,
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
    pub(crate) lines: BTreeMap<Connection, Line>,
    lines_of: BTreeMap<ClientId, Connection>,
    dials: BTreeMap<u64, Dialling>,
    next: u64,
    /// The connections that each client of the world has had, and what it has read of each.
    pub(crate) lives: BTreeMap<Owner, Vec<Life>>,
    /// Reads beside a driver that have brought something.
    pub(crate) read_beside: u64,
}

/// A client of the world: a `Client`, a `CoreClient`, or who dials by hand.
pub(crate) type Owner = u64;

/// One connection of a client, for a judge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    pub(crate) client: ClientId,
    /// So many of the messages that the server wrote have been read whole, at least.
    pub(crate) read: u64,
}

/// Where a server is.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) door: Door,
    /// It reads nothing, and says nothing new.
    pub(crate) paused: bool,
    /// Nothing gets through between it and its clients.
    pub(crate) isolated: bool,
    /// Where the next connection breaks.
    pub(crate) cut_next: Option<(Direction, usize)>,
}

impl Place {
    pub(crate) fn at(address: SocketAddr) -> Self {
        Self { address, door: Door::Open, paused: false, isolated: false, cut_next: None }
    }
}

/// The two directions of a connection.
pub(crate) struct Line {
    pub(crate) server: ServerId,
    pub(crate) client: ClientId,
    owner: Owner,
    link: Link,
    up: Lane,
    down: Lane,
    /// Bytes that the server has written and the client has read, and how many messages were
    /// complete after how many written bytes.
    written: u64,
    read: u64,
    complete: VecDeque<(u64, u64)>,
    client_gone: bool,
    server_gone: bool,
}

impl Line {
    pub(crate) fn lane(&mut self, direction: Direction) -> &mut Lane {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

struct Dialling {
    owner: Owner,
    to: Option<ServerId>,
    waker: Option<Waker>,
    outcome: Option<io::Result<Connection>>,
}

impl Net {
    pub(crate) fn new(link: Link, mut rng: Rng) -> Self {
        let cluster = Cluster::new(rng.next_u64());
        Self {
            link,
            rng,
            cluster,
            places: BTreeMap::new(),
            names: BTreeMap::new(),
            lines: BTreeMap::new(),
            lines_of: BTreeMap::new(),
            dials: BTreeMap::new(),
            next: 0,
            lives: BTreeMap::new(),
            read_beside: 0,
        }
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

// ---- dialling ----------------------------------------------------------------------------------

impl State {
    pub(crate) fn dial(&mut self, owner: Owner, address: SocketAddr) -> u64 {
        let dial = self.net.number();
        let to = self.net.places.iter().find(|(_, place)| place.address == address);
        let to = to.map(|(server, _)| *server);
        self.note("dial", dial, u64::from(address.port()), &[]);
        self.net.dials.insert(dial, Dialling { owner, to, waker: None, outcome: None });
        let link = &self.net.link;
        // There and back.
        let delay = (link.latency + self.net.rng.between(link.jitter / 2, link.jitter)) * 2;
        self.schedule.add(self.now + delay, Happening::Dialled(dial));
        dial
    }

    /// The outcome of a dial; `None` while there is none.
    pub(crate) fn dialled(&mut self, dial: u64, waker: &Waker) -> Option<io::Result<Connection>> {
        let dialling = self.net.dials.get_mut(&dial)?;
        let outcome = dialling.outcome.take();
        match outcome {
            Some(_) => drop(self.net.dials.remove(&dial)),
            None => dialling.waker = Some(waker.clone()),
        }
        outcome
    }

    /// Nobody waits for it any more. A connection that has come about is closed.
    pub(crate) fn give_up(&mut self, dial: u64) {
        if let Some(Dialling { outcome: Some(Ok(connection)), .. }) = self.net.dials.remove(&dial) {
            self.hang_up(connection);
        }
    }

    pub(crate) fn answer_dial(&mut self, dial: u64) {
        let Some(&Dialling { owner, to, .. }) = self.net.dials.get(&dial) else { return };
        let outcome = match to.map(|server| (server, &self.net.places[&server])) {
            Some((_, Place { door: Door::Silent, .. } | Place { isolated: true, .. })) => return,
            Some((server, place)) if place.door == Door::Open => self.accept(owner, server),
            _ => None,
        };
        let outcome = outcome.ok_or_else(|| io::Error::from(io::ErrorKind::ConnectionRefused));
        self.note("dialled", dial, outcome.as_ref().map_or(0, |connection| connection.0), &[]);
        if let Some(dialling) = self.net.dials.get_mut(&dial) {
            dialling.outcome = Some(outcome);
            self.woken.extend(dialling.waker.take());
        }
    }

    fn accept(&mut self, owner: Owner, server: ServerId) -> Option<Connection> {
        let client = self.net.cluster.accept(server, self.now)?;
        let connection = Connection(self.net.number());
        let cut_next = self.net.places.get_mut(&server).and_then(|place| place.cut_next.take());
        let mut line = Line {
            server,
            client,
            owner,
            link: self.net.link.clone(),
            up: Lane::default(),
            down: Lane::default(),
            written: 0,
            read: 0,
            complete: VecDeque::new(),
            client_gone: false,
            server_gone: false,
        };
        if let Some((direction, bytes)) = cut_next {
            line.lane(direction).cut_after = Some(bytes);
        }
        self.net.lines.insert(connection, line);
        self.net.lives.entry(owner).or_default().push(Life { client, read: 0 });
        self.net.lines_of.insert(client, connection);
        self.pump_changed();
        Some(connection)
    }
}

// ---- bytes -------------------------------------------------------------------------------------

impl State {
    /// What has arrived is there; on the side of the server it is read at once.
    pub(crate) fn arrive(&mut self, connection: Connection, direction: Direction) {
        let (now, net) = (self.now, &mut self.net);
        let Some(line) = net.lines.get_mut(&connection) else { return };
        if !line.lane(direction).arrive(now, &mut net.rng) {
            return;
        }
        match direction {
            Direction::Down => self.woken.extend(line.down.reader.take()),
            Direction::Up => self.serve(connection),
        }
        if direction == Direction::Down
            && let Some(line) = self.net.lines.get_mut(&connection)
            && line.down.end() == Some(End::Reset)
        {
            self.woken.extend(line.down.writer.take());
            self.woken.extend(line.up.writer.take());
        }
    }

    /// The server reads all there is.
    fn serve(&mut self, connection: Connection) {
        let Some(line) = self.net.lines.get_mut(&connection) else { return };
        if self.net.places[&line.server].paused {
            return;
        }
        let (server, client) = (line.server, line.client);
        let count = line.up.arrived().len();
        if line.server_gone {
            line.up.consume(count);
            if count > 0 {
                self.end_lane(connection, Direction::Down, End::Reset);
            }
        } else if count > 0 {
            let bytes = line.up.arrived().to_vec();
            line.up.consume(count);
            self.note("server reads", server.index() as u64, connection.0, &bytes);
            self.net.cluster.received(client, &bytes, self.now);
        }
        let Some(line) = self.net.lines.get_mut(&connection) else { return };
        self.woken.extend(line.up.writer.take());
        if line.up.end().is_some() && !line.server_gone {
            line.server_gone = true;
            self.net.cluster.disconnected(client, self.now);
            self.end_lane(connection, Direction::Down, End::Eof);
        }
        self.pump_changed();
        self.forget(connection);
    }

    /// Writes what servers have to say.
    pub(crate) fn pump_changed(&mut self) {
        loop {
            let changed = self.net.cluster.take_changed();
            if changed.is_empty() {
                return;
            }
            for client in changed {
                if let Some(connection) = self.net.lines_of.get(&client) {
                    self.pump(*connection);
                }
            }
        }
    }

    /// Writes what the server has to say to one client, as far as there is room.
    pub(crate) fn pump(&mut self, connection: Connection) {
        let (now, net) = (self.now, &mut self.net);
        let Some(line) = net.lines.get_mut(&connection) else { return };
        if line.server_gone || line.down.is_finished() || net.places[&line.server].paused {
            return;
        }
        let mut cut_off = false;
        while !cut_off && !net.cluster.pending(line.client).is_empty() {
            let bytes = net.cluster.pending(line.client);
            // As TCP does, it waits for a window that is worth a packet.
            if line.down.room(&line.link) < bytes.len().min(line.link.window / 4) {
                break;
            }
            let Wrote::Took { count, arrives, cut } =
                line.down.write(bytes, now, &line.link, &mut net.rng)
            else {
                break;
            };
            self.trace.note(
                now,
                "server writes",
                line.server.index() as u64,
                connection.0,
                &bytes[..count],
            );
            self.schedule.add(arrives, Happening::Arrived(connection, Direction::Down));
            net.cluster.wrote(line.client, count, now);
            line.written += count as u64;
            let complete = net.cluster.journal().handed_over(line.client);
            if line.complete.back().is_none_or(|(_, earlier)| *earlier < complete) {
                line.complete.push_back((line.written, complete));
            }
            cut_off = cut;
        }
        let client = line.client;
        if cut_off {
            self.sever(connection);
        } else if net.cluster.pending(client).is_empty() && net.cluster.is_closing(client) {
            line.server_gone = true;
            net.cluster.disconnected(client, now);
            self.end_lane(connection, Direction::Down, End::Eof);
        }
    }

    fn end_lane(&mut self, connection: Connection, direction: Direction, end: End) {
        let (now, net) = (self.now, &mut self.net);
        let Some(line) = net.lines.get_mut(&connection) else { return };
        let link = line.link.clone();
        if let Some(arrives) = line.lane(direction).finish(end, now, &link) {
            self.trace.note(now, "end", connection.0, direction as u64, &[end as u8]);
            self.schedule.add(arrives, Happening::Arrived(connection, direction));
        }
    }
}

// ---- ends --------------------------------------------------------------------------------------

impl State {
    /// The client closes its socket.
    pub(crate) fn hang_up(&mut self, connection: Connection) {
        let net = &mut self.net;
        let Some(line) = net.lines.get_mut(&connection) else { return };
        line.client_gone = true;
        // As TCP does: who closes with bytes unread resets, and what it wrote last may be lost.
        let end = match line.down.arrived().is_empty() {
            true => End::Eof,
            false => End::Reset,
        };
        if end == End::Reset {
            line.up.lose_some(&mut net.rng);
        }
        self.note("client closes", connection.0, end as u64, &[]);
        self.end_lane(connection, Direction::Up, end);
        self.forget(connection);
    }

    /// The connection breaks: both ends see an error, and the last bytes of both directions may be
    /// lost.
    pub(crate) fn sever(&mut self, connection: Connection) {
        let net = &mut self.net;
        let Some(line) = net.lines.get_mut(&connection) else { return };
        line.up.lose_some(&mut net.rng);
        line.down.lose_some(&mut net.rng);
        line.up.held = false;
        line.down.held = false;
        self.note("cut", connection.0, 0, &[]);
        self.end_lane(connection, Direction::Up, End::Reset);
        self.end_lane(connection, Direction::Down, End::Reset);
    }

    /// The server's side of the connection is no more; the client learns of it by `end`.
    pub(crate) fn lose_server(&mut self, connection: Connection, end: End) {
        let Some(line) = self.net.lines.get_mut(&connection) else { return };
        line.server_gone = true;
        self.net.cluster.disconnected(line.client, self.now);
        self.end_lane(connection, Direction::Down, end);
        self.forget(connection);
    }

    /// Once both sides are gone there is nothing to remember.
    fn forget(&mut self, connection: Connection) {
        let Some(line) = self.net.lines.get(&connection) else { return };
        if line.client_gone && line.server_gone {
            let client = line.client;
            self.net.lines.remove(&connection);
            self.net.lines_of.remove(&client);
        }
    }
}

// ---- the client's side -------------------------------------------------------------------------

impl State {
    /// A read would bring something, if only the end. If not, it wakes `waker` once it would.
    pub(crate) fn is_readable(&mut self, connection: Connection, waker: &Waker) -> bool {
        let Some(line) = self.net.lines.get_mut(&connection) else { return true };
        let readable = !line.down.arrived().is_empty() || line.down.end().is_some();
        if !readable {
            line.down.reader = Some(waker.clone());
        }
        readable
    }

    pub(crate) fn read(
        &mut self,
        connection: Connection,
        buffer: &mut [u8],
        waker: &Waker,
    ) -> Option<io::Result<usize>> {
        let (now, net) = (self.now, &mut self.net);
        let Some(line) = net.lines.get_mut(&connection) else { return Some(Ok(0)) };
        let mut count = line.down.arrived().len().min(buffer.len());
        if count == 0 {
            let end = match line.down.end() {
                _ if buffer.is_empty() => Ok(0),
                Some(End::Eof) => Ok(0),
                Some(End::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
                None => {
                    line.down.reader = Some(waker.clone());
                    return None;
                }
            };
            self.trace.note(now, "client reads the end", connection.0, u64::from(end.is_ok()), &[]);
            return Some(end);
        }
        if line.link.short && net.rng.one_in(2) {
            count = 1 + net.rng.index(count);
        }
        buffer[..count].copy_from_slice(&line.down.arrived()[..count]);
        line.down.consume(count);
        line.read += count as u64;
        while let Some((_, complete)) = line.complete.pop_front_if(|(at, _)| *at <= line.read) {
            let lives = net.lives.entry(line.owner).or_default();
            if let Some(life) = lives.iter_mut().rev().find(|life| life.client == line.client) {
                life.read = complete;
            }
        }
        self.trace.note(now, "client reads", connection.0, count as u64, &buffer[..count]);
        self.pump(connection);
        Some(Ok(count))
    }

    pub(crate) fn write(
        &mut self,
        connection: Connection,
        bytes: &[u8],
        waker: Option<&Waker>,
    ) -> Option<io::Result<usize>> {
        let (now, net) = (self.now, &mut self.net);
        let broken = || Some(Err(io::ErrorKind::BrokenPipe.into()));
        let Some(line) = net.lines.get_mut(&connection) else { return broken() };
        if line.up.is_finished() || line.down.end() == Some(End::Reset) {
            return broken();
        }
        match line.up.write(bytes, now, &line.link, &mut net.rng) {
            Wrote::Full => {
                if let Some(waker) = waker {
                    line.up.writer = Some(waker.clone());
                }
                None
            }
            Wrote::Took { count, arrives, cut } => {
                self.schedule.add(arrives, Happening::Arrived(connection, Direction::Up));
                self.note("client writes", connection.0, count as u64, &bytes[..count]);
                if cut {
                    self.sever(connection);
                }
                Some(Ok(count))
            }
        }
    }

    /// What a paused server finds when it goes on.
    pub(crate) fn resume(&mut self, server: ServerId) {
        let lines: Vec<_> = self
            .net
            .lines
            .iter()
            .filter(|(_, line)| line.server == server)
            .map(|(at, _)| *at)
            .collect();
        for connection in lines {
            self.serve(connection);
            self.pump(connection);
        }
    }
}
