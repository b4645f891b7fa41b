//! A stream of bytes to a server: of which kind it may be, and how it is written and read.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};

use midge::driver::{ReadNow, Spare, WriteNow};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A stream of bytes to and from a server, which a [dialler](crate::connect_through) opens.
///
/// Whatever is `AsyncRead`, `AsyncWrite` and `Send` becomes one by [`From`]:
///
/// - It may take as little of a write as it likes, and may hold bytes back until it is flushed:
///   that is done whenever there is nothing more to write, and after 320 KiB at the latest.
/// - When the connection is closed it is asked to shut down, once, and then dropped: what it cannot
///   write at once is not waited for.
/// - A read of nothing is the end of the stream. An error ends it too, and is the cause in
///   [`Event::Disconnected`](midge::Event::Disconnected).
///
/// A `TcpStream` is driven like those that Midge opens itself.
pub struct Transport {
    stream: Stream,
    secure: bool,
}

enum Stream {
    Tcp(Arc<Reader>, Arc<Writer>),
    Other(Pin<Box<dyn Other>>),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self::Tcp(Arc::new(Reader(Mutex::new(read))), Arc::new(Writer(write)))
    }
}

/// Shared with those who write beside the driver.
struct Writer(OwnedWriteHalf);

impl WriteNow for Writer {
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }
}

/// Shared with those who read beside the driver.
struct Reader(Mutex<OwnedReadHalf>);

impl Reader {
    fn lock(&self) -> MutexGuard<'_, OwnedReadHalf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadNow for Reader {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        self.lock().as_ref().poll_read_ready(context).map(drop)
    }

    /// The runtime remembers what the system has told it of. Elsewhere a read that leaves room does
    /// not make it forget that.
    fn tells_ahead(&self) -> bool {
        cfg!(unix)
    }

    fn poll_read(
        &self,
        mut buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        pin!(self.lock().read_buf(&mut buffer)).poll(context)
    }
}

trait Other: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Other for S {}

impl<S: AsyncRead + AsyncWrite + Send + 'static> From<S> for Transport {
    fn from(stream: S) -> Self {
        let mut stream = Some(stream);
        let any: &mut dyn Any = &mut stream;
        let tcp = any.downcast_mut::<Option<TcpStream>>().and_then(Option::take);
        let other = |stream| Stream::Other(Box::pin(stream) as Pin<Box<dyn Other>>);
        let stream = tcp.map(Stream::from).or_else(|| stream.map(other));
        Self { stream: stream.expect("it was taken at most as a TcpStream"), secure: false }
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

    fn poll_write_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            Stream::Tcp(_, write) => write.0.as_ref().poll_write_ready(context).map(drop),
            Stream::Other(_) => Poll::Ready(()),
        }
    }

    fn poll_read_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &self.stream {
            Stream::Tcp(read, _) => read.poll_read_ready(context),
            Stream::Other(_) => Poll::Ready(()),
        }
    }

    fn poll_write(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let write = match &mut self.stream {
            Stream::Tcp(_, write) => &write.0,
            Stream::Other(stream) => return stream.as_mut().poll_write(context, bytes),
        };
        loop {
            ready!(write.as_ref().poll_write_ready(context))?;
            match write.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_read(
        &mut self,
        mut buffer: &mut [u8],
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(read, _) => read.poll_read(buffer, context),
            Stream::Other(stream) => pin!(stream.read_buf(&mut buffer)).poll(context),
        }
    }

    fn poll_read_spare(
        &mut self,
        spare: &mut Spare<'_>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut buffer = spare.buffer();
        match &mut self.stream {
            Stream::Tcp(read, _) => pin!(read.lock().read_buf(&mut buffer)).poll(context),
            Stream::Other(stream) => pin!(stream.read_buf(&mut buffer)).poll(context),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(..) => Poll::Ready(Ok(())),
            Stream::Other(stream) => stream.as_mut().poll_flush(context),
        }
    }

    fn write_now(&self) -> Option<Weak<dyn WriteNow>> {
        let Stream::Tcp(_, write) = &self.stream else { return None };
        Some(Arc::<Writer>::downgrade(write))
    }

    fn read_now(&self) -> Option<Weak<dyn ReadNow>> {
        let Stream::Tcp(read, _) = &self.stream else { return None };
        Some(Arc::<Reader>::downgrade(read))
    }

    fn write_last(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            // Which still works while the runtime shuts down.
            Stream::Tcp(_, write) => Poll::Ready(write.0.try_write(bytes)),
            // One panic of a stream is enough.
            Stream::Other(_) if std::thread::panicking() => Poll::Pending,
            Stream::Other(stream) => at_last(|context| stream.as_mut().poll_write(context, bytes)),
        }
    }

    fn close(&mut self) {
        if let Stream::Other(stream) = &mut self.stream
            && !std::thread::panicking()
        {
            let _ = at_last(|context| stream.as_mut().poll_shutdown(context));
        }
    }
}

/// Polls once and for the last time, also when the task has used up its share of this poll.
fn at_last<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    let once = pin!(tokio::task::unconstrained(poll_fn(|context| Poll::Ready(poll(context)))));
    match once.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(polled) => polled,
        Poll::Pending => Poll::Pending,
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("secure", &self.secure).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_tcp_stream_is_driven_as_one() -> io::Result<()> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let is_tcp = |transport: Transport| matches!(transport.stream, Stream::Tcp(..));
        let connect = || async { TcpStream::connect(listener.local_addr()?).await };
        assert!(is_tcp(connect().await?.into()));
        assert!(is_tcp(Transport::secure(connect().await?)));
        assert!(!is_tcp(tokio::io::duplex(1).0.into()));
        Ok(())
    }
}
