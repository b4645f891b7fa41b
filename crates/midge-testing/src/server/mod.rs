//! A real `nats-server` that a test starts, disturbs and stops.

mod cluster;
mod fetch;
mod find;
mod guard;
mod process;

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use crate::Peer;
use guard::Guard;
use process::{Process, wait_for};

pub use cluster::{Cluster, ClusterBuilder};
pub use find::{Binary, FindError, Search, Version};

/// How long a server may take to start, to reload, or to stop.
const PATIENCE: Duration = Duration::from_secs(30);
const ADDRESS_IN_USE: &str = "address already in use";

/// A `nats-server` of its own on the loopback interface, with its files in a temporary
/// directory.
///
/// It is killed when dropped, and its files are removed; also, within moments, when the test
/// process dies at any time without dropping it: a small process, which signals to the test's
/// group do not reach, sees to that.
#[derive(Debug)]
pub struct NatsServer {
    setup: NatsServerBuilder,
    binary: Binary,
    process: Process,
    ports: Ports,
    // Last: the files are removed after the process is gone.
    guard: Guard,
}

/// How a [`NatsServer`] is started. Made by [`NatsServer::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until `start`"]
pub struct NatsServerBuilder {
    search: Search,
    jetstream: bool,
    websocket: bool,
    config: String,
    /// Configuration that a reload keeps.
    fixed_config: String,
    args: Vec<OsString>,
    port: u16,
    websocket_port: u16,
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no server to start.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The server ended before it served; its log says why.
    #[error("nats-server ended with {status} before it served; its log:\n{log}")]
    Ended {
        /// How it ended.
        status: ExitStatus,
        /// What it wrote.
        log: String,
    },
    /// The server did not serve within 30 seconds.
    #[error("nats-server did not serve within {PATIENCE:?}; its log:\n{log}")]
    TooLate {
        /// What it wrote.
        log: String,
    },
    /// The servers of a cluster did not find each other within 30 seconds.
    #[error("{server} knows {known} of {size} servers after {PATIENCE:?}; its log:\n{log}")]
    NotJoined {
        /// The name of the server.
        server: String,
        /// How many it knows, itself included.
        known: usize,
        /// How many there are.
        size: usize,
        /// What it wrote.
        log: String,
    },
    /// The operating system refused.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// Why a server did not take a new configuration. It goes on with the old one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The server refused it.
    #[error("nats-server refused the configuration: {line}")]
    Refused {
        /// The line of its log.
        line: String,
    },
    /// The server did not say within 30 seconds that it took it.
    #[error("nats-server did not reload within {PATIENCE:?}; its log:\n{log}")]
    TooLate {
        /// What it wrote.
        log: String,
    },
    /// The file cannot be written, or the server is gone.
    #[error("cannot reload nats-server: {0}")]
    Io(#[from] io::Error),
}

/// Why a text was not seen in a log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// It did not come in time.
    #[error("{needle:?} did not come within {within:?}; the log:\n{log}")]
    TooLate {
        /// What was waited for.
        needle: String,
        /// How long.
        within: Duration,
        /// What the server wrote.
        log: String,
    },
    /// The log cannot be read.
    #[error("cannot read the log of nats-server: {0}")]
    Io(#[from] io::Error),
}

impl StartError {
    fn io(doing: &'static str) -> impl Fn(io::Error) -> StartError {
        move |source| StartError::Io { doing, source }
    }
}

impl NatsServerBuilder {
    fn new() -> NatsServerBuilder {
        NatsServerBuilder {
            search: Search::from_env(),
            jetstream: false,
            websocket: false,
            config: String::new(),
            fixed_config: String::new(),
            args: Vec::new(),
            port: 0,
            websocket_port: 0,
        }
    }

    /// Runs this release. Without, the newest that [`Search`] finds first.
    pub fn version(mut self, version: Version) -> Self {
        self.search = self.search.version(version);
        self
    }

    /// Finds the program in this way.
    pub fn search(mut self, search: Search) -> Self {
        self.search = search;
        self
    }

    /// Whether JetStream is on, with its store among the server's temporary files.
    pub fn jetstream(mut self, on: bool) -> Self {
        self.jetstream = on;
        self
    }

    /// Whether there is a WebSocket listener without TLS, at [`NatsServer::ws_url`].
    pub fn websocket(mut self, on: bool) -> Self {
        self.websocket = on;
        self
    }

    /// The text of the configuration file, in place of any given before. Addresses, ports and
    /// the store directory are set by this crate.
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = text.into();
        self
    }

    /// Adds an argument to the command line.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The port for clients; 0, as at first, takes a free one.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Starts the server and waits until it greets a client.
    ///
    /// # Errors
    ///
    /// [`StartError`]. No process and no file is left behind.
    pub fn start(self) -> Result<NatsServer, StartError> {
        let binary = self.search.find()?;
        let guard = Guard::start().map_err(StartError::io("make a temporary directory"))?;
        let (process, ports) = self.run(&binary, &guard)?;
        Ok(NatsServer { setup: self, binary, process, ports, guard })
    }

    /// Starts a process; while the address is not free yet, starts another one.
    fn run(&self, binary: &Binary, guard: &Guard) -> Result<(Process, Ports), StartError> {
        let last = wait_for(PATIENCE, || match self.run_once(binary, guard) {
            Err(StartError::Ended { log, .. })
                if self.port != 0 && log.contains(ADDRESS_IN_USE) =>
            {
                Ok(None)
            }
            other => other.map(Some),
        })?;
        match last {
            Some(run) => Ok(run),
            None => self.run_once(binary, guard),
        }
    }

    fn run_once(&self, binary: &Binary, guard: &Guard) -> Result<(Process, Ports), StartError> {
        let files = guard.directory();
        let failed = StartError::io("start nats-server");
        let ports_dir = files.join("ports");
        // A killed server leaves its ports file behind.
        match std::fs::remove_dir_all(&ports_dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        std::fs::create_dir(&ports_dir).map_err(&failed)?;
        self.write_config(files).map_err(&failed)?;

        let mut command = Command::new(binary.path());
        command
            .args(["-a", "127.0.0.1", "-p", &port_or_any(self.port), "-c"])
            .arg(config_file(files))
            .arg("--ports_file_dir")
            .arg(&ports_dir);
        if self.jetstream {
            command.arg("-js").arg("-sd").arg(files.join("store"));
        }
        command.args(&self.args);
        let mut process = Process::start(&command, &files.join("log"), guard).map_err(&failed)?;

        let ports_file = ports_dir.join(format!(
            "{}_{}.ports",
            binary.path().file_name().unwrap_or_default().display(),
            process.id()
        ));
        let ports = wait_for(PATIENCE, || {
            // Its end is looked at first: then its log is complete.
            if let Some(status) = process.ended().map_err(&failed)? {
                let log = process.log().map_err(&failed)?;
                return Err(StartError::Ended { status, log });
            }
            Ok(Ports::read(&ports_file).filter(Ports::greets))
        })?;
        match ports {
            Some(ports) => Ok((process, ports)),
            None => Err(StartError::TooLate { log: process.log().map_err(failed)? }),
        }
    }

    fn write_config(&self, files: &Path) -> io::Result<()> {
        let mut text = format!("{}\n{}", self.config, self.fixed_config);
        if self.websocket {
            let port = port_or_any(self.websocket_port);
            text += &format!("websocket {{ host: \"127.0.0.1\", port: {port}, no_tls: true }}\n");
        }
        std::fs::write(config_file(files), text)
    }
}

impl NatsServer {
    /// Starts a server with default settings: any free port, no JetStream.
    ///
    /// # Errors
    ///
    /// Those of [`NatsServerBuilder::start`].
    pub fn start() -> Result<NatsServer, StartError> {
        NatsServer::builder().start()
    }

    /// A server to be set up.
    pub fn builder() -> NatsServerBuilder {
        NatsServerBuilder::new()
    }

    /// The URL for clients: `nats://127.0.0.1:<port>`, or `tls://…` if the server wants TLS.
    pub fn url(&self) -> String {
        self.ports.client.clone()
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.ports.client_port
    }

    /// The URL of the WebSocket listener, if there is one.
    pub fn ws_url(&self) -> Option<String> {
        self.ports.websocket.clone()
    }

    /// The program that runs.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// The directory of the server's files: configuration, log, store.
    pub fn files(&self) -> &Path {
        self.guard.directory()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Whether the process is still there.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if the system does not say.
    pub fn is_running(&mut self) -> io::Result<bool> {
        Ok(self.process.ended()?.is_none())
    }

    /// The JSON of the INFO with which the server greets a client now.
    ///
    /// # Errors
    ///
    /// [`ScriptError`](crate::ScriptError) if it does not greet within 10 seconds.
    pub fn info(&self) -> Result<String, crate::ScriptError> {
        info(&self.ports.client)
    }

    /// What the server has written since its last start.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if the file cannot be read.
    pub fn log(&self) -> io::Result<String> {
        self.process.log()
    }

    /// Waits until `needle` is in the log since the last start, and returns its line.
    ///
    /// # Errors
    ///
    /// [`LogError::TooLate`] if it is not there after `within`.
    pub fn wait_for_log(&self, needle: &str, within: Duration) -> Result<String, LogError> {
        let line = wait_for(within, || self.find_in_log(0, &[needle]))?;
        line.ok_or_else(|| LogError::TooLate {
            needle: needle.to_owned(),
            within,
            log: self.log().unwrap_or_default(),
        })
    }

    /// Kills it at once (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()
    }

    /// Tells it to stop (SIGTERM) and waits until it is gone.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::TimedOut`] if it is still there after 30 seconds.
    pub fn stop(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.process.ended()? {
            return Ok(status);
        }
        self.process.signal(Signal::TERM)?;
        wait_for(PATIENCE, || self.process.ended())?
            .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "nats-server does not stop"))
    }

    /// Waits until it ends by itself, or another program ends it.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if the system does not say.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.process.wait()
    }

    /// Freezes it (SIGSTOP) and waits until it stands still: connections stay open, and nothing
    /// answers.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if it is gone.
    pub fn pause(&self) -> io::Result<()> {
        self.process.pause(PATIENCE)
    }

    /// Lets it go on after [`NatsServer::pause`] (SIGCONT).
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if it is gone.
    pub fn resume(&self) -> io::Result<()> {
        self.process.signal(Signal::CONT)
    }

    /// Puts it in lame duck mode (SIGUSR2): it tells its clients, turns new ones away, sends the
    /// others away one by one after `lame_duck_grace_period`, and ends.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if it is gone.
    pub fn lame_duck(&self) -> io::Result<()> {
        self.process.signal(Signal::USR2)
    }

    /// Replaces the text given to [`NatsServerBuilder::config`] and waits until the running
    /// server has taken it (SIGHUP).
    ///
    /// # Errors
    ///
    /// [`ReloadError::Refused`] if the server cannot use it, or cannot change this while
    /// running.
    pub fn reload(&mut self, config: impl Into<String>) -> Result<(), ReloadError> {
        let start = self.process.log()?.len();
        let before = std::mem::replace(&mut self.setup.config, config.into());
        self.setup.write_config(self.guard.directory())?;
        self.process.signal(Signal::HUP)?;
        let line = wait_for(PATIENCE, || {
            self.find_in_log(start, &["Reloaded server configuration", "Failed to reload"])
        })?;
        match line {
            Some(line) if line.contains("Failed") => {
                self.setup.config = before;
                self.setup.write_config(self.guard.directory())?;
                Err(ReloadError::Refused { line })
            }
            Some(_) => Ok(()),
            None => Err(ReloadError::TooLate { log: self.log()? }),
        }
    }

    /// Starts it again on the same ports with the same store and configuration. Kills it first
    /// if it runs.
    ///
    /// # Errors
    ///
    /// [`StartError`]; also if the port is still taken by another after 30 seconds. The server
    /// stays down and can be restarted again.
    pub fn restart(&mut self) -> Result<(), StartError> {
        self.kill().map_err(StartError::io("kill nats-server"))?;
        self.setup.port = self.ports.client_port;
        self.setup.websocket_port = self.ports.websocket_port;
        (self.process, self.ports) = self.setup.run(&self.binary, &self.guard)?;
        Ok(())
    }

    /// The first line of the log after its first `start` bytes that has one of `needles`.
    fn find_in_log(&self, start: usize, needles: &[&str]) -> io::Result<Option<String>> {
        let log = self.process.log()?;
        let line = log
            .get(start..)
            .unwrap_or(&log)
            // A line is looked at once it is whole.
            .split_inclusive('\n')
            .filter_map(|line| line.strip_suffix('\n'))
            .find(|line| needles.iter().any(|needle| line.contains(needle)));
        Ok(line.map(str::to_owned))
    }
}

/// A port of `127.0.0.1` that nobody listens on now. Another program may take it before you do.
///
/// # Errors
///
/// An [`io::Error`] if no port is free.
pub fn unused_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// What the ports file of a running server says.
#[derive(Debug)]
struct Ports {
    client: String,
    client_port: u16,
    websocket: Option<String>,
    websocket_port: u16,
}

impl Ports {
    /// `None` until the server has written the file whole.
    fn read(file: &Path) -> Option<Ports> {
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        let first = |name: &str| json.get(name)?.get(0)?.as_str().map(str::to_owned);
        let port = |url: &str| url.rsplit(':').next()?.parse().ok();
        let client = first("nats")?;
        let websocket = first("websocket");
        Some(Ports {
            client_port: port(&client)?,
            client,
            websocket_port: websocket.as_deref().and_then(port).unwrap_or(0),
            websocket,
        })
    }

    fn greets(&self) -> bool {
        // A server may want TLS before its INFO; then being connected has to do.
        if self.client.starts_with("tls://") {
            Peer::connect(&self.client).is_ok()
        } else {
            info(&self.client).is_ok()
        }
    }
}

fn info(url: &str) -> Result<String, crate::ScriptError> {
    let line = Peer::connect(url)?.expect("INFO ")?;
    Ok(line["INFO ".len()..].trim_end().to_owned())
}

fn config_file(files: &Path) -> std::path::PathBuf {
    files.join("nats.conf")
}

fn port_or_any(port: u16) -> String {
    match port {
        0 => "-1".to_owned(),
        port => port.to_string(),
    }
}
