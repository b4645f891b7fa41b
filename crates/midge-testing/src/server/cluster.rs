//! Several servers that know each other.

use std::ops::{Index, IndexMut};

use super::process::wait_for;
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
}

/// How a [`Cluster`] is started. Made by [`Cluster::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until `start`"]
pub struct ClusterBuilder {
    server: NatsServerBuilder,
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
        ClusterBuilder { server: NatsServer::builder() }
    }

    /// The servers, in the order of their names.
    pub fn servers(&self) -> &[NatsServer] {
        &self.servers
    }

    /// The URLs for clients, in the order of the servers' names.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(NatsServer::url).collect()
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
        let routes: Vec<String> =
            ports.iter().map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).collect();
        let routes = routes.join(", ");
        let servers = ports.iter().enumerate().map(|(index, port)| {
            let mut server = self.server.clone();
            server.fixed_config = format!(
                "server_name: {}\ncluster {{ name: midge, listen: \"127.0.0.1:{port}\", routes: [{routes}] }}\n",
                name(index),
            );
            server.start()
        });
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let cluster = Cluster { servers };
        cluster.wait_until_joined()?;
        Ok(cluster)
    }
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
