//! Servers, and what may go wrong with them and on the way to them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use midge_proto::Instant;

use crate::World;
use crate::net::{Connection, Direction, Door, End, Link, Place};
use crate::schedule::Happening;
use crate::server::{ServerId, ServerOptions};
use crate::state::State;

impl World {
    // ---- servers -----------------------------------------------------------------------------

    /// Adds a server to the cluster, and starts it.
    ///
    /// # Panics
    ///
    /// When the `host` of the options is no IP address. [`World::set_name`] gives names to
    /// addresses.
    pub fn add_server(&self, options: ServerOptions) -> ServerId {
        self.with(|state| {
            let ip: IpAddr = options.host.parse().expect("`host` is an IP address");
            let address = SocketAddr::new(ip, options.port);
            let server = state.net.cluster.add(options);
            state.net.places.insert(server, Place::at(address));
            state.note("server starts", server.index() as u64, 0, &[]);
            state.pump_changed();
            server
        })
    }

    /// Adds `count` servers with the default options.
    pub fn add_servers(&self, count: usize) -> Vec<ServerId> {
        (0..count).map(|_| self.add_server(self.server_options())).collect()
    }

    /// The default options for one more server: `n1` at 10.0.0.1, `n2` at 10.0.0.2, ...
    pub fn server_options(&self) -> ServerOptions {
        let number = self.with(|state| state.net.places.len()) + 1;
        let [.., high, low] = number.to_be_bytes();
        ServerOptions::at(&format!("n{number}"), &Ipv4Addr::new(10, 0, high, low).to_string(), 4222)
    }

    /// The servers, in the order in which they were added.
    pub fn servers(&self) -> Vec<ServerId> {
        self.with(|state| state.net.places.keys().copied().collect())
    }

    /// Where a server is.
    ///
    /// # Panics
    ///
    /// For a server of another world.
    pub fn address(&self, server: ServerId) -> SocketAddr {
        self.with(|state| state.net.places[&server].address)
    }

    /// The URLs of all servers, running or not, as [`ConnectOptions::new`](midge::ConnectOptions::new) takes them.
    pub fn urls(&self) -> String {
        self.with(|state| {
            let urls = state.net.places.values().map(|place| format!("nats://{}", place.address));
            urls.collect::<Vec<_>>().join(",")
        })
    }

    /// Ends a server as `kill -9` does: its clients see `end`, and what it had not written is lost.
    pub fn kill(&self, server: ServerId, end: End) {
        self.with(|state| {
            state.note("server killed", server.index() as u64, end as u64, &[]);
            state.net.cluster.stop(server, state.now);
            for connection in state.lines_to(server) {
                state.lose_server(connection, end);
            }
            state.pump_changed();
        });
    }

    /// Starts a server that was killed, or has ended after lame duck mode, as a new process. Does
    /// nothing when it runs.
    pub fn start(&self, server: ServerId) {
        self.with(|state| {
            state.note("server starts", server.index() as u64, 0, &[]);
            state.net.cluster.start(server, state.now);
            state.pump_changed();
        });
    }

    /// A server neither reads nor writes, or does again, as after SIGSTOP and SIGCONT. Connections
    /// to it still come about, as the system it runs on accepts them; they hear nothing. Its own
    /// timers run on.
    pub fn pause(&self, server: ServerId, paused: bool) {
        self.with(|state| {
            state.note("server paused", server.index() as u64, u64::from(paused), &[]);
            if let Some(place) = state.net.places.get_mut(&server) {
                place.paused = paused;
            }
            if !paused {
                state.resume(server);
            }
        });
    }

    /// The process that the run is stands still, as after SIGSTOP and SIGCONT or in a machine that was
    /// suspended: no task is polled, while servers, paths and what was planned go on. Behind it
    /// everything that came about meanwhile is there at once.
    pub fn stand_still(&self, time: Duration) {
        self.with(|state| {
            let end = state.now + time;
            state.note("stands still", end.as_nanos(), 0, &[]);
            while state.advance(Some(end)) {}
            state.now = end;
        });
    }

    /// Puts a server in lame duck mode, as `nats-server --signal ldm` does: it accepts nobody, tells
    /// its clients, closes them one by one after
    /// [`lame_duck_grace`](ServerOptions::lame_duck_grace), and ends.
    pub fn lame_duck(&self, server: ServerId) {
        self.with(|state| state.note("lame duck", server.index() as u64, 0, &[]));
        self.cluster(|cluster, now| cluster.lame_duck(server, now));
    }

    /// Cuts the route between two servers, or lets them find each other again. Their clients notice
    /// nothing but messages that do not come.
    pub fn partition(&self, a: ServerId, b: ServerId, parted: bool) {
        self.with(|state| {
            state.note("partition", a.index() as u64, b.index() as u64, &[u8::from(parted)])
        });
        self.cluster(|cluster, now| cluster.partition(a, b, parted, now));
    }

    /// Pulls the cable between a server and all clients, or plugs it in again. Meanwhile nothing
    /// arrives in either direction, and a dial hears nothing, whatever the
    /// [door](Self::set_door); afterwards what was written before arrives. Routes to other servers
    /// are left: [`partition`](Self::partition) cuts those.
    pub fn isolate(&self, server: ServerId, isolated: bool) {
        self.with(|state| {
            state.note("isolated", server.index() as u64, u64::from(isolated), &[]);
            if let Some(place) = state.net.places.get_mut(&server) {
                place.isolated = isolated;
            }
            for connection in state.lines_to(server) {
                state.hold(connection, Direction::Up, isolated);
                state.hold(connection, Direction::Down, isolated);
            }
        });
    }

    /// What becomes of those who dial a server, from now on: of dials under way too.
    pub fn set_door(&self, server: ServerId, door: Door) {
        self.with(|state| {
            state.note("door", server.index() as u64, door as u64, &[]);
            if let Some(place) = state.net.places.get_mut(&server) {
                place.door = door;
            }
        });
    }

    /// Looks at the model of the servers, or has it do what has no method here. What it has to say
    /// to clients is written after it.
    pub fn cluster<T>(&self, run: impl FnOnce(&mut crate::server::Cluster, Instant) -> T) -> T {
        self.with(|state| {
            let result = run(&mut state.net.cluster, state.now);
            state.pump_changed();
            result
        })
    }

    // ---- connections -------------------------------------------------------------------------

    /// What paths are like that are opened from now on.
    pub fn set_link(&self, link: Link) {
        self.with(|state| state.net.link = link);
    }

    /// The connections that have not ended on both sides, the oldest first.
    pub fn connections(&self) -> Vec<Connection> {
        self.with(|state| state.net.lines.keys().copied().collect())
    }

    /// The connections of the clients that have this [name](midge::ConnectOptions::name), the
    /// oldest first. One is among them once its server has read CONNECT, which brings the name.
    pub fn connections_of(&self, name: &str) -> Vec<Connection> {
        self.with(|state| {
            let net = &state.net;
            let named = |client| net.cluster.client_name(client) == Some(name);
            let lines = net.lines.iter().filter(|(_, line)| named(line.client));
            lines.map(|(connection, _)| *connection).collect()
        })
    }

    /// The connections to a server, the oldest first.
    pub fn connections_to(&self, server: ServerId) -> Vec<Connection> {
        self.with(|state| state.lines_to(server))
    }

    /// The server that a connection leads to; `None` when it has ended on both sides.
    pub fn server_of(&self, connection: Connection) -> Option<ServerId> {
        self.with(|state| state.net.lines.get(&connection).map(|line| line.server))
    }

    /// Breaks a connection: both sides see an error, and the last bytes under way may be lost.
    pub fn cut(&self, connection: Connection) {
        self.with(|state| state.sever(connection));
    }

    /// Breaks a connection behind the next `bytes` that are written in one direction. At least 1.
    pub fn cut_after(&self, connection: Connection, direction: Direction, bytes: usize) {
        self.with(|state| {
            state.note("cut after", connection.0, bytes as u64, &[direction as u8]);
            if let Some(line) = state.net.lines.get_mut(&connection) {
                line.lane(direction).cut_after = Some(bytes.max(1));
            }
        });
    }

    /// Breaks the next connection that a server accepts, behind its first `bytes` of one direction.
    /// At least 1. Another call before that replaces this one.
    pub fn cut_next(&self, server: ServerId, direction: Direction, bytes: usize) {
        self.with(|state| {
            state.note("cut next", server.index() as u64, bytes as u64, &[direction as u8]);
            if let Some(place) = state.net.places.get_mut(&server) {
                place.cut_next = Some((direction, bytes.max(1)));
            }
        });
    }

    /// Takes back what [`cut_after`](Self::cut_after) or [`cut_next`](Self::cut_next) has planned
    /// for a connection.
    pub fn spare(&self, connection: Connection) {
        self.with(|state| {
            if let Some(line) = state.net.lines.get_mut(&connection) {
                line.lane(Direction::Up).cut_after = None;
                line.lane(Direction::Down).cut_after = None;
            }
        });
    }

    /// The server of a connection sends `-ERR` with `text`, and closes it.
    pub fn expel(&self, connection: Connection, text: &str) {
        self.with(|state| {
            state.note("expelled", connection.0, 0, text.as_bytes());
            if let Some(line) = state.net.lines.get(&connection) {
                state.net.cluster.expel(line.client, text, state.now);
            }
            state.pump_changed();
        });
    }

    /// Nothing more of one direction arrives, for `time` or, with `None`, for ever. Then what was
    /// written meanwhile arrives. Neither side is told.
    pub fn stall(&self, connection: Connection, direction: Direction, time: Option<Duration>) {
        self.with(|state| {
            state.note("stall", connection.0, direction as u64, &[]);
            state.hold(connection, direction, true);
            if let Some(time) = time {
                let go_on = move |state: &mut State| state.hold(connection, direction, false);
                state.schedule.add(state.now + time, Happening::Do(Box::new(go_on)));
            }
        });
    }
}

impl State {
    fn lines_to(&self, server: ServerId) -> Vec<Connection> {
        let lines = self.net.lines.iter().filter(|(_, line)| line.server == server);
        lines.map(|(connection, _)| *connection).collect()
    }

    fn hold(&mut self, connection: Connection, direction: Direction, held: bool) {
        if let Some(line) = self.net.lines.get_mut(&connection) {
            line.lane(direction).held = held;
            if !held {
                self.arrive(connection, direction);
            }
        }
    }
}
