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
            state.net.places.insert(server, Place { address, door: Door::Open, paused: false });
            state.note("server starts", server.number(), 0, &[]);
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

    /// The URLs of all servers, as [`ConnectOptions::new`](midge::ConnectOptions::new) takes them.
    pub fn urls(&self) -> String {
        self.with(|state| {
            let urls = state.net.places.values().map(|place| format!("nats://{}", place.address));
            urls.collect::<Vec<_>>().join(",")
        })
    }

    /// Ends a server as `kill -9` does: its clients see `end`, and what it had not written is lost.
    pub fn kill(&self, server: ServerId, end: End) {
        self.with(|state| {
            state.note("server killed", server.number(), end as u64, &[]);
            state.net.cluster.stop(server, state.now);
            for connection in state.lines_to(server) {
                state.lose_server(connection, end);
            }
            state.pump_changed();
        });
    }

    /// Starts a server that was killed, or has ended after lame duck mode, as a new process.
    pub fn start(&self, server: ServerId) {
        self.with(|state| {
            state.note("server starts", server.number(), 0, &[]);
            state.net.cluster.start(server, state.now);
            state.pump_changed();
        });
    }

    /// A server neither reads nor writes, or does again, as after SIGSTOP and SIGCONT.
    pub fn pause(&self, server: ServerId, paused: bool) {
        self.with(|state| {
            state.note("server paused", server.number(), u64::from(paused), &[]);
            if let Some(place) = state.net.places.get_mut(&server) {
                place.paused = paused;
            }
            if !paused {
                state.resume(server);
            }
        });
    }

    /// What becomes of those who dial a server from now on.
    pub fn set_door(&self, server: ServerId, door: Door) {
        self.with(|state| {
            state.note("door", server.number(), door as u64, &[]);
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

    /// Breaks a connection: both sides see an error, and the last bytes under way may be lost.
    pub fn cut(&self, connection: Connection) {
        self.with(|state| state.sever(connection));
    }

    /// Breaks a connection behind the next `bytes` of one direction.
    pub fn cut_after(&self, connection: Connection, direction: Direction, bytes: usize) {
        self.with(|state| {
            state.note("cut after", connection.0, bytes as u64, &[direction as u8]);
            if let Some(line) = state.net.lines.get_mut(&connection) {
                line.lane(direction).cut_after = Some(bytes.max(1));
            }
        });
    }

    /// Takes back what [`cut_after`](Self::cut_after) has planned.
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

    /// Nothing more of one direction arrives, for a while or for ever.
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
