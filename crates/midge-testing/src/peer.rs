//! One end of a TCP connection, moved byte by byte by a test.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// How long a step may take before it fails, unless [`Peer::set_deadline`] says otherwise.
pub(crate) const STEP: Duration = Duration::from_secs(10);

/// One end of a TCP connection, moved byte by byte: the server's end inside a script
/// ([`Listener::accept`](crate::Listener::accept)), or a client's end ([`Peer::connect`]).
///
/// A real server asks its clients about two seconds after they have connected whether they are still
/// there, and again now and then. A client's end answers that by itself inside [`Peer::expect`] and
/// [`Peer::expect_exact`], unless a PING is what they want.
///
/// Each step that waits fails after 10 seconds, or after what [`Peer::set_deadline`] says.
/// A peer reads only inside the steps that read. A script that does something else, such as
/// waiting for a channel, has stopped reading.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
    deadline: Duration,
    /// Whether it answers PINGs that nobody wants.
    answers: bool,
}

/// What a server asks now and then.
const PING: &[u8] = b"PING\r\n";

/// Why a step of a script failed. The text says what was wanted and what came.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// No client connected in time.
    #[error("nobody connected within {within:?}")]
    NobodyConnected {
        /// How long the script waited.
        within: Duration,
    },
    /// Something else came.
    #[error("wanted {wanted}, got {got}")]
    Mismatch {
        /// What the script asked for.
        wanted: String,
        /// What came instead, escaped.
        got: String,
    },
    /// What was wanted did not come in time.
    #[error("wanted {wanted} within {within:?}, got only {got}")]
    TooLate {
        /// What the script asked for.
        wanted: String,
        /// What had come by then, escaped.
        got: String,
        /// How long the script waited.
        within: Duration,
    },
    /// The other end closed the connection first.
    #[error("wanted {wanted}, but the connection was closed after {got}")]
    Closed {
        /// What the script asked for.
        wanted: String,
        /// What had come before, escaped.
        got: String,
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

impl ScriptError {
    pub(crate) fn io(doing: &'static str) -> impl Fn(io::Error) -> ScriptError {
        move |source| ScriptError::Io { doing, source }
    }
}

impl Peer {
    /// Connects to `address` as a client. A URL such as `nats://127.0.0.1:4222` will do too;
    /// its scheme changes nothing.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Io`] if the address does not resolve or nobody listens there.
    pub fn connect(address: &str) -> Result<Peer, ScriptError> {
        let cannot_resolve = ScriptError::io("resolve the address");
        let address = address.split_once("://").map_or(address, |(_, rest)| rest);
        let address = address
            .to_socket_addrs()
            .map_err(&cannot_resolve)?
            .next()
            .ok_or_else(|| cannot_resolve(io::ErrorKind::NotFound.into()))?;
        let stream =
            TcpStream::connect_timeout(&address, STEP).map_err(ScriptError::io("connect"))?;
        Ok(Peer { answers: true, ..Peer::new(stream, STEP)? })
    }

    pub(crate) fn new(stream: TcpStream, deadline: Duration) -> Result<Peer, ScriptError> {
        stream.set_nodelay(true).map_err(ScriptError::io("set TCP_NODELAY"))?;
        Ok(Peer { stream, unread: Vec::new(), deadline, answers: false })
    }

    /// Each later step fails if it takes longer than `deadline`.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.deadline = deadline;
    }

    /// Does the server's part of a connection's start: sends an INFO as a plain server would,
    /// expects CONNECT and then PING, and answers PONG. Returns the JSON of the CONNECT.
    ///
    /// # Errors
    ///
    /// Those of [`Peer::expect`] and [`Peer::send`].
    pub fn handshake(&mut self) -> Result<String, ScriptError> {
        let port =
            self.stream.local_addr().map_err(ScriptError::io("read the own address"))?.port();
        self.handshake_with(&format!(
            concat!(
                r#"{{"server_id":"SCRIPTED","server_name":"scripted","version":"2.15.1","proto":1,"#,
                r#""host":"127.0.0.1","port":{port},"headers":true,"max_payload":1048576,"client_id":1}}"#
            ),
            port = port
        ))
    }

    /// [`Peer::handshake`] with this JSON in the INFO.
    ///
    /// # Errors
    ///
    /// Those of [`Peer::expect`] and [`Peer::send`].
    pub fn handshake_with(&mut self, info: &str) -> Result<String, ScriptError> {
        // A server writes a space before the CRLF of an INFO.
        self.send(format!("INFO {info} \r\n"))?;
        let connect = self.expect("CONNECT ")?;
        self.expect("PING")?;
        self.send("PONG\r\n")?;
        Ok(connect["CONNECT ".len()..].to_owned())
    }

    /// Sends all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Io`] if the other end is gone, or does not read and the buffers between
    /// the two are full until the deadline.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), ScriptError> {
        let failed = ScriptError::io("send");
        let mut rest = bytes.as_ref();
        let end = Instant::now() + self.deadline;
        while !rest.is_empty() {
            let left = left_until(end).ok_or_else(|| failed(io::ErrorKind::TimedOut.into()))?;
            self.stream.set_write_timeout(Some(left)).map_err(&failed)?;
            match self.stream.write(rest) {
                Ok(n) => rest = &rest[n..],
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }

    /// Sends `bytes` in pieces of `size` bytes, each a segment of its own. A slow reader may
    /// still find several of them in one read.
    ///
    /// # Errors
    ///
    /// Those of [`Peer::send`].
    ///
    /// # Panics
    ///
    /// If `size` is 0.
    pub fn send_in_pieces(
        &mut self,
        bytes: impl AsRef<[u8]>,
        size: usize,
    ) -> Result<(), ScriptError> {
        for piece in bytes.as_ref().chunks(size) {
            self.send(piece)?;
        }
        Ok(())
    }

    /// Reads a line and checks that it starts with `prefix`. Returns the line without its line
    /// ending (CRLF, or LF alone).
    ///
    /// # Errors
    ///
    /// [`ScriptError::Mismatch`] if another line came, [`ScriptError::TooLate`] or
    /// [`ScriptError::Closed`] if no whole line did.
    pub fn expect(&mut self, prefix: &str) -> Result<String, ScriptError> {
        let wanted = format!("a line starting with {prefix:?}");
        let line: Vec<u8> = loop {
            let length = self.fill(&wanted, |unread| {
                unread.iter().position(|&byte| byte == b'\n').map(|at| at + 1)
            })?;
            let line = self.unread.drain(..length).collect();
            if !self.answers || line != PING || PING.starts_with(prefix.as_bytes()) {
                break line;
            }
            self.send("PONG\r\n")?;
        };
        if !line.starts_with(prefix.as_bytes()) {
            return Err(mismatch(wanted, &line));
        }
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        String::from_utf8(line.to_vec()).map_err(|_| mismatch("a line of UTF-8".to_owned(), line))
    }

    /// Reads as many bytes as `wanted` has and checks that they are equal.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Mismatch`] as soon as a byte differs, [`ScriptError::TooLate`] or
    /// [`ScriptError::Closed`] if too few came.
    pub fn expect_exact(&mut self, wanted: impl AsRef<[u8]>) -> Result<(), ScriptError> {
        let wanted = wanted.as_ref();
        let shown = escaped(wanted);
        let answers = self.answers && !PING.starts_with(wanted) && !wanted.starts_with(PING);
        let length = loop {
            let length = self.fill(&shown, |unread| {
                if answers && (unread.starts_with(PING) || PING.starts_with(unread)) {
                    return unread.starts_with(PING).then_some(0);
                }
                let common = unread.len().min(wanted.len());
                let decided = common == wanted.len() || unread[..common] != wanted[..common];
                decided.then_some(common)
            })?;
            if length > 0 || wanted.is_empty() {
                break length;
            }
            self.unread.drain(..PING.len());
            self.send("PONG\r\n")?;
        };
        let got: Vec<u8> = self.unread.drain(..length).collect();
        if got == wanted { Ok(()) } else { Err(mismatch(shown, &got)) }
    }

    /// Reads until `enough` says so of all bytes that came since the last step, and returns
    /// those bytes. It is asked after every read, and once before the first.
    ///
    /// # Errors
    ///
    /// [`ScriptError::TooLate`] or [`ScriptError::Closed`] if it never said so.
    pub fn read_until(
        &mut self,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<Vec<u8>, ScriptError> {
        self.fill("enough for the condition", |unread| enough(unread).then_some(unread.len()))?;
        Ok(std::mem::take(&mut self.unread))
    }

    /// Reads until the other end closes the connection, cleanly or by a reset, and returns the
    /// bytes that came before.
    ///
    /// # Errors
    ///
    /// [`ScriptError::TooLate`] if it stays open.
    pub fn expect_closed(&mut self) -> Result<Vec<u8>, ScriptError> {
        match self.fill("the other end to close", |_| None) {
            Err(ScriptError::Closed { .. }) => Ok(std::mem::take(&mut self.unread)),
            Err(error) => Err(error),
            Ok(_) => Ok(Vec::new()),
        }
    }

    /// Says that no more bytes will come (FIN), and can still read.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Io`] if the connection is gone.
    pub fn half_close(&mut self) -> Result<(), ScriptError> {
        self.stream.shutdown(Shutdown::Write).map_err(ScriptError::io("shut down the sending side"))
    }

    /// Closes both directions: the other end reads what was sent, then an end of stream. What
    /// it sends later is answered by a reset.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Io`] if the connection is gone already.
    pub fn cut(mut self) -> Result<(), ScriptError> {
        let failed = ScriptError::io("close the connection");
        // Closing a socket with unread bytes resets it; take what has arrived.
        self.stream.set_nonblocking(true).map_err(&failed)?;
        let mut scratch = [0; 16 * 1024];
        while matches!(self.stream.read(&mut scratch), Ok(1..)) {}
        self.stream.shutdown(Shutdown::Both).map_err(failed)
    }

    /// Resets the connection (RST): what was sent and not read yet may be lost on the way.
    ///
    /// # Errors
    ///
    /// [`ScriptError::Io`] if the connection is gone already.
    pub fn reset(self) -> Result<(), ScriptError> {
        rustix::net::sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO))
            .map_err(|errno| ScriptError::io("reset the connection")(errno.into()))
    }

    /// Reads until `decide` returns a length of `unread` that is to be taken.
    fn fill(
        &mut self,
        wanted: &str,
        mut decide: impl FnMut(&[u8]) -> Option<usize>,
    ) -> Result<usize, ScriptError> {
        let failed = ScriptError::io("receive");
        let end = Instant::now() + self.deadline;
        let mut scratch = [0; 16 * 1024];
        loop {
            if let Some(length) = decide(&self.unread) {
                return Ok(length);
            }
            let Some(left) = left_until(end) else {
                return Err(ScriptError::TooLate {
                    wanted: wanted.to_owned(),
                    got: escaped(&self.unread),
                    within: self.deadline,
                });
            };
            self.stream.set_read_timeout(Some(left)).map_err(&failed)?;
            match self.stream.read(&mut scratch) {
                Ok(0) => return Err(self.closed(wanted)),
                Ok(n) => self.unread.extend_from_slice(&scratch[..n]),
                Err(error) if is_passing(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(self.closed(wanted));
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn closed(&self, wanted: &str) -> ScriptError {
        ScriptError::Closed { wanted: wanted.to_owned(), got: escaped(&self.unread) }
    }
}

/// Time left, never zero: a socket takes a timeout of zero for none.
fn left_until(end: Instant) -> Option<Duration> {
    end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// Whether the socket only says that its timeout ended; the caller's clock decides.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

fn mismatch(wanted: String, got: &[u8]) -> ScriptError {
    ScriptError::Mismatch { wanted, got: escaped(got) }
}

fn escaped(bytes: &[u8]) -> String {
    const SHOWN: usize = 400;
    let shown = bytes[..bytes.len().min(SHOWN)].escape_ascii();
    match bytes.len().checked_sub(SHOWN) {
        None | Some(0) => format!("\"{shown}\""),
        Some(more) => format!("\"{shown}\" and {more} bytes more"),
    }
}
