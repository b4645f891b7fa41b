//! Several servers that know each other.

use std::ops::{Index, IndexMut};

use super::process::wait_for;
use crate::link::{Direction, Link};

use super::{ADDRESS_IN_USE, NatsServer, NatsServerBuilder, PATIENCE, StartError, unused_port};
use super::{Search, Version};

/// Servers with routes between each other, named `n0`, `n1` and so on.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut cluster = midge_testing::Cluster::start(3)?;
/// cluster[1].kill()?;
/// cluster[1].restart()?;
/// # Ok(())
/// # }
/// ```
///
/// A cluster with JetStream has elected no leader yet when it is handed out: the first calls
/// of its API may time out.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<NatsServer>,
    routes: Vec<Route>,
}

/// The link that the routes between two servers go over.
#[derive(Debug)]
struct Route {
    between: [usize; 2],
    link: Link,
}

/// How a [`Cluster`] is started. Made by [`Cluster::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until `start`"]
pub struct ClusterBuilder {
    server: NatsServerBuilder,
    partable: bool,
}

impl Cluster {
    /// Starts `size` servers with default settings. See [`ClusterBuilder::start`].
    ///
    /// # Errors
    ///
    /// Those of [`ClusterBuilder::start`].
    pub fn start(size: usize) -> Result<Cluster, StartError> {
        Cluster::builder().start(size)
    }

    /// A cluster to be set up.
    pub fn builder() -> ClusterBuilder {
        ClusterBuilder { server: NatsServer::builder(), partable: false }
    }

    /// The servers, in the order of their names.
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// The URLs for clients, in the order of the servers' names.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
    }

    /// Parts one server from the others: nothing that they tell each other arrives, and no connection
    /// ends by it. What its clients and it tell each other is not touched. Does nothing unless the
    /// cluster is [`partable`](ClusterBuilder::partable).
    pub fn part(&self, server: usize) {
        for route in self.routes.iter().filter(|route| route.between.contains(&server)) {
            route.link.stall(Direction::ToServer);
            route.link.stall(Direction::ToClient);
        }
    }

    /// Ends every [`part`](Self::part): what was told meanwhile arrives late.
    pub fn join(&self) {
        for route in &self.routes {
            route.link.resume(Direction::ToServer);
            route.link.resume(Direction::ToClient);
        }
    }

    /// Waits until each server tells its clients of all of them, as after a restart of one.
    ///
    /// # Errors
    ///
    /// [`StartError::NotJoined`] after 30 seconds.
    pub fn wait_until_joined(&self) -> Result<(), StartError> {
        let size = self.servers.len();
        for (index, server) in self.servers.iter().enumerate() {
            let joined =
                wait_for(PATIENCE, || Ok::<_, StartError>((known(server) == size).then_some(())))?;
            if joined.is_none() {
                return Err(StartError::NotJoined {
                    server: name(index),
                    known: known(server),
                    size,
                    log: server.log().unwrap_or_default(),
                });
            }
        }
        Ok(())
    }
}

impl Index<usize> for Cluster {
    type Output = NatsServer;

    fn index(&self, index: usize) -> &NatsServer {
        &self.servers[index]
    }
}

impl IndexMut<usize> for Cluster {
    fn index_mut(&mut self, index: usize) -> &mut NatsServer {
        &mut self.servers[index]
    }
}

impl ClusterBuilder {
    /// Runs this release.
    pub fn version(mut self, version: Version) -> Self {
        self.server = self.server.version(version);
        self
    }

    /// Finds the program in this way.
    pub fn search(mut self, search: Search) -> Self {
        self.server = self.server.search(search);
        self
    }

    /// Whether JetStream is on.
    pub fn jetstream(mut self, on: bool) -> Self {
        self.server = self.server.jetstream(on);
        self
    }

    /// Text for the configuration file of every server.
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.server = self.server.config(text);
        self
    }

    /// Whether the servers can be [parted](Cluster::part): then their routes go over links.
    pub fn partable(mut self, partable: bool) -> Self {
        self.partable = partable;
        self
    }

    /// Starts `size` servers and waits until each tells its clients of all of them.
    ///
    /// # Errors
    ///
    /// [`StartError`]. No process and no file is left behind.
    pub fn start(self, size: usize) -> Result<Cluster, StartError> {
        const ATTEMPTS: usize = 5;
        for _ in 1..ATTEMPTS {
            match self.start_once(size) {
                // Somebody took one of the ports that were free a moment ago.
                Err(StartError::Ended { log, .. } | StartError::NotJoined { log, .. })
                    if log.contains(ADDRESS_IN_USE) => {}
                other => return other,
            }
        }
        self.start_once(size)
    }

    fn start_once(&self, size: usize) -> Result<Cluster, StartError> {
        let failed = StartError::io("find free ports for routes");
        let mut ports: Vec<u16> = Vec::new();
        while ports.len() < size {
            let port = unused_port().map_err(&failed)?;
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        let mut routes = Vec::new();
        if self.partable {
            let pairs = (0..size).flat_map(|to| (to + 1..size).map(move |from| [from, to]));
            for between in pairs {
                let link = Link::to(&format!("127.0.0.1:{}", ports[between[1]])).start();
                routes.push(Route { between, link: link.map_err(&failed)? });
            }
        }
        let servers = (0..size).map(|index| {
            let mut server = self.server.clone();
            let port = ports[index];
            let (known, advertised): (Vec<String>, _) = if self.partable {
                // Of two servers the later one dials, over their link. What is advertised leads
                // nowhere, so that nobody goes around a link. JetStream wants a route of each,
                // and that to oneself does nothing.
                let mine = routes.iter().filter(|route| route.between[0] == index);
                let mine = mine.map(|route| route.link.port());
                let urls = mine.chain([port]).map(route_url).collect();
                (urls, "advertise: \"127.0.0.1:1\", ")
            } else {
                (ports.iter().copied().map(route_url).collect(), "")
            };
            server.fixed_config = format!(
                "server_name: {}\ncluster {{ name: midge, listen: \"127.0.0.1:{port}\", {advertised}routes: [{}] }}\n",
                name(index),
                known.join(", "),
            );
            server.start()
        });
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let cluster = Cluster { servers, routes };
        cluster.wait_until_joined()?;
        Ok(cluster)
    }
}

fn route_url(port: u16) -> String {
    format!("\"nats-route://127.0.0.1:{port}\"")
}

fn name(index: usize) -> String {
    format!("n{index}")
}

/// How many servers `server` tells its clients of, itself included.
fn known(server: &NatsServer) -> usize {
    let info = server.info().unwrap_or_default();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap_or_default();
    info["connect_urls"].as_array().map_or(1, Vec::len)
}
