//! A server that says exactly what a test says, from a script on a thread of its own.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::panic::resume_unwind;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::peer::STEP;
use crate::{Peer, ScriptError};

/// A server on the loopback interface that runs a script.
///
/// ```
/// use midge_testing::{Peer, ScriptedServer};
///
/// let server = ScriptedServer::start(|mut listener| {
///     let mut client = listener.accept()?;
///     client.send("INFO {} \r\n")?;
///     client.expect("PING")?;
///     client.cut()
/// })?;
///
/// let mut client = Peer::connect(&server.url())?;
/// client.expect("INFO ")?;
/// client.send("PING\r\n")?;
/// client.expect_closed()?;
/// server.finish()?;
/// # Ok::<(), midge_testing::ScriptError>(())
/// ```
///
/// Dropping it waits for the script and panics if the script failed, unless the thread is
/// panicking already: then the script is left to end by its deadlines.
#[derive(Debug)]
pub struct ScriptedServer {
    port: u16,
    script: Option<JoinHandle<Result<(), ScriptError>>>,
}

/// What a script holds first: the listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    deadline: Duration,
}

impl ScriptedServer {
    /// Listens on a free port of `127.0.0.1` and runs `script` in a thread.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Io`] if there is no port to listen on.
    pub fn start(
        script: impl FnOnce(Listener) -> Result<(), ScriptError> + Send + 'static,
    ) -> Result<ScriptedServer, ScriptError> {
        let failed = ScriptError::io("listen");
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(&failed)?;
        socket.set_nonblocking(true).map_err(&failed)?;
        let port = socket.local_addr().map_err(&failed)?.port();
        let listener = Listener { socket, deadline: STEP };
        let script = std::thread::Builder::new()
            .name("scripted server".to_owned())
            .spawn(move || script(listener))
            .map_err(ScriptError::io("start a thread"))?;
        Ok(ScriptedServer { port, script: Some(script) })
    }

    /// Where it listens: `nats://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the script to end and returns its result. A panic of the script goes on here.
    ///
    /// # Errors
    ///
    /// Whatever the script returned.
    pub fn finish(mut self) -> Result<(), ScriptError> {
        self.join()
    }

    fn join(&mut self) -> Result<(), ScriptError> {
        match self.script.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => resume_unwind(panic),
        }
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Err(error) = self.join() {
            panic!("the script of the server failed: {error}");
        }
    }
}

impl Listener {
    /// Waits for a client to connect.
    ///
    /// # Errors
    ///
    /// [`ScriptError::NobodyConnected`] after the deadline.
    pub fn accept(&mut self) -> Result<Peer, ScriptError> {
        let failed = ScriptError::io("accept a connection");
        let end = Instant::now() + self.deadline;
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).map_err(&failed)?;
                    return Peer::new(stream, self.deadline);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ScriptError::NobodyConnected { within: self.deadline });
            }
            let left = Timespec::try_from(left).unwrap_or_default();
            let mut readable = [PollFd::new(&self.socket, PollFlags::IN)];
            match poll(&mut readable, Some(&left)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }

    /// Each later step of this listener, and of the peers it accepts, fails if it takes longer
    /// than `deadline`. 10 seconds at first.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Asks for a receive buffer of about `bytes` on the connections accepted later, so that a
    /// client notices early when nobody reads.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Io`] if the system refuses.
    pub fn set_receive_buffer(&mut self, bytes: usize) -> Result<(), ScriptError> {
        rustix::net::sockopt::set_socket_recv_buffer_size(&self.socket, bytes)
            .map_err(|errno| ScriptError::io("set the receive buffer")(errno.into()))
    }
}
