//! A stream of bytes to a server.

use std::any::Any;
use std::fmt;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};

use async_io::Async;
use midge::driver::{ReadNow, WriteNow};
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::TcpStream;

/// A stream of bytes to and from a server, which a [dialler](crate::connect_through) opens.
///
/// Whatever is `AsyncRead`, `AsyncWrite` and `Send` becomes one by [`From`]:
///
/// - It may take as little of a write as it likes, and may hold bytes back until it is flushed:
///   that is done whenever there is nothing more to write, and after 320 KiB at the latest.
/// - When the connection is closed it is asked to close, once, and then dropped: what it cannot
///   write at once is not waited for.
/// - A read of nothing is the end of the stream. An error ends it too, and is the cause in
///   [`Event::Disconnected`](midge::Event::Disconnected).
pub struct Transport {
    stream: Pin<Box<dyn Stream>>,
    /// Of a TCP socket.
    beside: Option<Arc<Beside>>,
    secure: bool,
}

/// Shared with those who write and read beside the driver.
struct Beside(Arc<Async<std::net::TcpStream>>);

impl WriteNow for Beside {
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_ref().write(bytes)
    }
}

impl ReadNow for Beside {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.0.poll_readable(context).map(drop)
    }

    fn poll_read(&self, buffer: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            match self.0.get_ref().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read),
            }
            ready!(self.0.poll_readable(context))?;
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Stream for S {}

impl<S: AsyncRead + AsyncWrite + Send + 'static> From<S> for Transport {
    fn from(stream: S) -> Self {
        let any: &dyn Any = &stream;
        let tcp = any.downcast_ref::<TcpStream>().cloned();
        let beside = tcp.map(|tcp| Arc::new(Beside(tcp.into())));
        Self { stream: Box::pin(stream), beside, secure: false }
    }
}

impl Transport {
    /// A stream that has TLS, or something as good, underneath: Midge begins none on it and counts
    /// the connection as secure, as `tls` and `wss` need. That it leads to the right server is for
    /// the dialler to see to.
    pub fn secure(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self { secure: true, ..stream.into() }
    }
}

impl midge::driver::Stream for Transport {
    fn is_secure(&self) -> bool {
        self.secure
    }

    fn poll_write(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_read(
        &mut self,
        buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_read(context, buffer)
    }

    fn write_now(&self) -> Option<Weak<dyn WriteNow>> {
        let beside: Arc<dyn WriteNow> = self.beside.clone()?;
        Some(Arc::downgrade(&beside))
    }

    fn read_now(&self) -> Option<Weak<dyn ReadNow>> {
        let beside: Arc<dyn ReadNow> = self.beside.clone()?;
        Some(Arc::downgrade(&beside))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn write_last(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // One panic of a stream is enough.
        if std::thread::panicking() {
            return Poll::Pending;
        }
        self.poll_write(bytes, &mut Context::from_waker(Waker::noop()))
    }

    fn close(&mut self) {
        if !std::thread::panicking() {
            let _ = self.stream.as_mut().poll_close(&mut Context::from_waker(Waker::noop()));
        }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("secure", &self.secure).finish_non_exhaustive()
    }
}
