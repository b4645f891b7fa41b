//! A stream of bytes to a server: how it is opened, read and written.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use midge::driver::{BlockingStream, Destination};

/// How long the system may try to open a connection. The attempt has given it up long before,
/// after [`connect_timeout`](midge::ConnectOptions::connect_timeout): this ends the thread that
/// tries.
const DIAL: Duration = Duration::from_secs(30);

/// A stream of bytes to and from a server, which a [dialler](crate::connect_through) opens.
///
/// One thread reads while another writes, and either may shut it down meanwhile. A request is written
/// by the thread that makes it, if it is the only one, and its reply read by it, if such requests
/// follow each other.
pub trait Stream: Send + Sync + 'static {
    /// Waits for bytes and reads some. Nothing is the end of the stream. After the time of
    /// [`set_read_timeout`](Self::set_read_timeout) without any, it fails as `WouldBlock` or
    /// `TimedOut`, and nothing is lost.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes some of the bytes. After the time of
    /// [`set_write_timeout`](Self::set_write_timeout) without being able to, it fails as
    /// `WouldBlock` or `TimedOut`; what it has taken then has to count.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Sets the longest time that a write waits, which is never zero.
    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()>;

    /// Sets the longest time that the next reads wait, which is never zero; `None` is for ever. A thread
    /// that waits for the reply to a request reads the stream by itself, while nothing else is
    /// expected, if that works: by default it does not.
    ///
    /// # Errors
    ///
    /// `Unsupported`, when it does not.
    fn set_read_timeout(&self, _timeout: Option<Duration>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Ends the stream: reads and writes that wait, and later ones, end at once.
    fn shutdown(&self);

    /// It has TLS, or something as good, underneath: Midge begins none on it and counts the
    /// connection as secure. That it leads to the right server is for the dialler to see to.
    fn is_secure(&self) -> bool {
        false
    }
}

macro_rules! socket {
    ($socket:ty) => {
        impl Stream for $socket {
            fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                Read::read(&mut &*self, buffer)
            }

            fn write(&self, bytes: &[u8]) -> io::Result<usize> {
                Write::write(&mut &*self, bytes)
            }

            fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
                <$socket>::set_write_timeout(self, Some(timeout))
            }

            fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                <$socket>::set_read_timeout(self, timeout)
            }

            fn shutdown(&self) {
                // An error means that it has ended already.
                let _ = <$socket>::shutdown(self, Shutdown::Both);
            }
        }
    };
}

socket!(TcpStream);
#[cfg(unix)]
socket!(UnixStream);

/// A stream that was opened, and how long its reads wait.
pub(crate) struct Opened {
    stream: Box<dyn Stream>,
    reads_within: bool,
    /// The time that the next read may take, in nanoseconds: none is zero. One thread reads at a time.
    limit: AtomicU64,
}

impl Opened {
    pub(crate) fn new(stream: Box<dyn Stream>) -> Self {
        let reads_within = stream.set_read_timeout(None).is_ok();
        Self { stream, reads_within, limit: AtomicU64::new(0) }
    }

    fn limit_reads(&self, time: Option<Duration>) -> io::Result<()> {
        let limit = time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        if self.limit.load(Ordering::Acquire) != limit {
            self.stream.set_read_timeout(time)?;
            self.limit.store(limit, Ordering::Release);
        }
        Ok(())
    }
}

impl BlockingStream for Opened {
    fn is_secure(&self) -> bool {
        self.stream.is_secure()
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        // With the limit that was, it fails as one that is late, and is made again.
        let _ = self.limit_reads(None);
        unless_late(self.stream.read(buffer))
    }

    fn reads_within(&self) -> bool {
        self.reads_within
    }

    fn read_within(&self, buffer: &mut [u8], time: Duration) -> io::Result<usize> {
        if self.limit_reads(Some(time)).is_err() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        unless_late(self.stream.read(buffer))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        unless_late(self.stream.write(bytes))
    }

    fn shutdown(&self) {
        self.stream.shutdown();
    }
}

/// What one system calls a time-out, another calls an operation that would block.
fn unless_late(moved: io::Result<usize>) -> io::Result<usize> {
    moved.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => io::ErrorKind::WouldBlock.into(),
        _ => error,
    })
}

/// Opens a TCP connection, as is done without a dialler, with `TCP_NODELAY`. A name that has no
/// address is looked up by the system, and its addresses are tried in turn.
///
/// # Errors
///
/// Those of the system.
pub fn tcp(to: Destination) -> io::Result<TcpStream> {
    let stream = match to.address {
        Some(address) => TcpStream::connect_timeout(&address, DIAL)?,
        None => TcpStream::connect((to.server.host(), to.server.port()))?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}
