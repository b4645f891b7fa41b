//! A reconnect storm: very many clients lose their cluster at once.
//!
//! Each client is a whole [`Connection`](midge_proto::Connection); the servers are
//! no more than their front doors, for that is what a storm meets: so many handshakes a second, so
//! many connections that may wait for one, and what becomes of the others. Time is virtual, one seed
//! decides everything, and the same herd gives the same [`Outcome`].
//!
//! ```
//! use midge_sim::herd::{Herd, STORMS, settings};
//!
//! let herd = Herd { clients: 300, ..Herd::new(7) };
//! let outcome = herd.run(&STORMS[0], &settings()[0], &mut |_| {});
//! assert!(outcome.all.is_some(), "everybody is back");
//! ```

mod chart;
mod door;
mod outcome;
mod queue;
mod run;
mod settings;
mod table;

use std::time::Duration;

pub use chart::{attempts_chart, connected_chart};
pub use outcome::{Outcome, SAMPLE, Sample};
pub use settings::{SMALL, STORMS, settings};
pub use table::table;

use crate::Rng;

/// How many clients there are, and what their servers can bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Herd {
    /// Clients, spread evenly over the servers of the scenario.
    pub clients: u32,
    /// Decides all chance of a run.
    pub seed: u64,
    /// Handshakes that a server does in a second, one after the other.
    pub handshakes: u32,
    /// Connections that may wait for their handshake at a server: the length of its listen queue.
    pub backlog: u32,
    /// The shortest and the longest time of a packet between a client and its servers. Each client
    /// has its own.
    pub latency: (Duration, Duration),
    /// A run ends here, whoever is still without a connection.
    pub limit: Duration,
}

impl Herd {
    /// A million clients, 1 to 20 ms away, of servers that do 10,000 handshakes a second and let 4,096
    /// wait, as Linux does by default; for at most 5 minutes.
    pub fn new(seed: u64) -> Self {
        Self {
            clients: 1_000_000,
            seed,
            handshakes: 10_000,
            backlog: 4_096,
            latency: (Duration::from_millis(1), Duration::from_millis(20)),
            limit: Duration::from_secs(300),
        }
    }

    /// A tenth of the clients, and servers that can do a tenth: what takes longer than the packets do
    /// takes as long.
    pub fn tenth(&self) -> Self {
        Self {
            clients: self.clients.div_ceil(10),
            handshakes: self.handshakes.div_ceil(10),
            backlog: self.backlog.div_ceil(10),
            ..self.clone()
        }
    }
}

/// What happens to the servers, all at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// A word for file names.
    pub name: &'static str,
    /// What happens, for the reader of a table.
    pub title: &'static str,
    /// The servers; clients know all of them.
    pub servers: &'static [Fate],
    /// Servers accept everybody at once, whatever [`Herd::backlog`] says, and do the handshakes one
    /// after the other, also those of clients that have given up.
    pub greedy: bool,
    /// What becomes of a connection when the places are taken.
    pub full: Full,
}

/// What happens to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing; its clients stay, too.
    Stays,
    /// It loses all its clients.
    Lost {
        /// When it takes clients again, from the loss on; `None`: never.
        back: Option<Duration>,
        /// What those see who try before.
        meanwhile: Absence,
    },
}

/// What a server that is not there says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The process is gone: the machine refuses at once.
    Refuses,
    /// The machine is gone: nothing comes back.
    Silent,
}

/// What a server says that has no place left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// It refuses (`tcp_abort_on_overflow`, and most proxies).
    Refuses,
    /// It drops the packet, as Linux does by default. The client's system sends it again 1 s, 3 s and
    /// 7 s after the first.
    Silent,
}

/// When a client tries again.
#[derive(Clone, Debug)]
pub struct Setting {
    /// A word for tables.
    pub name: &'static str,
    /// [`Config::reconnect_wait`](midge_proto::Config::reconnect_wait).
    pub wait: Duration,
    /// [`Config::reconnect_wait_max`](midge_proto::Config::reconnect_wait_max).
    pub longest: Duration,
    /// [`Config::reconnect_jitter`](midge_proto::Config::reconnect_jitter).
    pub jitter: Duration,
    /// In the place of these, or on top of them.
    pub own: Option<OwnWait>,
}

/// The wait that a client wants: from the attempts that failed in a row, the wait that the core
/// proposes, and chance.
pub type OwnWait = fn(u32, Duration, &mut Rng) -> Duration;
