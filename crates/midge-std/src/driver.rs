//! What a connection needs of the system: threads, names, and streams that are opened.

use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use midge::driver::{Destination, System};

use crate::stream::{Opened, Stream, tcp};

/// How long a write may wait before deadlines are looked at again: they are so much late at most,
/// and only while the socket takes nothing.
const WRITE_WAIT: Duration = Duration::from_millis(20);

type Dialler = Box<dyn Fn(Destination) -> io::Result<Box<dyn Stream>> + Send + Sync>;

/// What serves one connection, once a thread [runs](Self::run) it.
#[must_use = "a connection does nothing unless its driver runs"]
pub struct Driver {
    driver: midge::driver::Driver,
    dialler: Dialler,
}

impl Driver {
    pub(crate) fn new(driver: midge::driver::Driver) -> Self {
        Self { driver, dialler: boxed(tcp) }
    }

    /// Opens streams by `dialler`, see [`connect_through`](crate::connect_through).
    pub fn through<D, S>(self, dialler: D) -> Self
    where
        D: Fn(Destination) -> io::Result<S> + Send + Sync + 'static,
        S: Stream,
    {
        Self { dialler: boxed(dialler), ..self }
    }

    /// Serves the connection on this thread until it has closed, with the help of a thread for each
    /// transport and each name that is looked up.
    ///
    /// # Panics
    ///
    /// When a handler of a subscription or another function of the application does that the
    /// connection calls. It is closed then.
    pub fn run(self) {
        self.driver.run(Threads(self.dialler));
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

struct Threads(Dialler);

impl System for Threads {
    type Stream = Opened;

    fn spawn(&self, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        thread::Builder::new().name("midge-read".into()).spawn(work).map(drop)
    }

    fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }

    fn dial(&self, to: Destination) -> io::Result<Opened> {
        let stream = (self.0)(to)?;
        stream.set_write_timeout(WRITE_WAIT)?;
        Ok(Opened::new(stream))
    }
}

fn boxed<D, S>(dialler: D) -> Dialler
where
    D: Fn(Destination) -> io::Result<S> + Send + Sync + 'static,
    S: Stream,
{
    Box::new(move |to| Ok(Box::new(dialler(to)?)))
}
