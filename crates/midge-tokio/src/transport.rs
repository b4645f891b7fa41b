//! A stream of bytes to a server: of which kind it may be, and how it is written and read.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use midge::driver::Driver;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The most bytes of one write, and the most that a stream may hold back before it is flushed.
const WRITE_BYTES: usize = 256 * 1024;

/// A stream of bytes to and from a server, which a [dialler](crate::connect_through) opens.
///
/// Whatever is `AsyncRead`, `AsyncWrite` and `Send` becomes one by [`From`]:
///
/// - It may take as little of a write as it likes, and may hold bytes back until it is flushed:
///   that is done whenever there is nothing more to write, and after 256 KiB at the latest.
/// - When the connection is closed it is asked to shut down, once, and then dropped: what it cannot
///   write at once is not waited for.
/// - A read of nothing is the end of the stream. An error ends it too, and is the cause in
///   [`Event::Disconnected`](midge::Event::Disconnected).
///
/// A `TcpStream` is driven like those that Midge opens itself.
pub struct Transport {
    stream: Stream,
    secure: bool,
    /// Bytes written since the last flush.
    unflushed: usize,
    /// It was not ready in this poll, and wakes the task when it is.
    write_waits: bool,
    read_waits: bool,
}

enum Stream {
    Tcp(TcpStream),
    Other(Pin<Box<dyn Other>>),
}

trait Other: AsyncRead + AsyncWrite + Send {}

impl<S: AsyncRead + AsyncWrite + Send> Other for S {}

impl<S: AsyncRead + AsyncWrite + Send + 'static> From<S> for Transport {
    fn from(stream: S) -> Self {
        let mut stream = Some(stream);
        let any: &mut dyn Any = &mut stream;
        let tcp = any.downcast_mut::<Option<TcpStream>>().and_then(Option::take);
        let other = |stream| Stream::Other(Box::pin(stream) as Pin<Box<dyn Other>>);
        let stream = tcp.map(Stream::Tcp).or_else(|| stream.map(other));
        Self {
            stream: stream.expect("it was taken at most as a TcpStream"),
            secure: false,
            unflushed: 0,
            write_waits: false,
            read_waits: false,
        }
    }
}

impl Transport {
    /// A stream that has TLS, or something as good, underneath: Midge begins none on it and counts
    /// the connection as secure, as `tls` and `wss` need. That it leads to the right server is for
    /// the dialler to see to.
    pub fn secure(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        Self { secure: true, ..stream.into() }
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// A new poll of the task begins: what was not ready may be so now.
    pub(crate) fn woken(&mut self) {
        (self.write_waits, self.read_waits) = (false, false);
    }

    /// Ready when the driver must turn again.
    pub(crate) fn poll_write(
        &mut self,
        driver: &mut Driver,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match &self.stream {
            Stream::Tcp(stream) => ready!(stream.poll_write_ready(context))?,
            Stream::Other(_) if self.write_waits => return Poll::Pending,
            Stream::Other(_) if self.unflushed >= WRITE_BYTES => ready!(self.poll_flush(context))?,
            Stream::Other(_) => {}
        }
        let Some(transmit) = driver.take_transmit(WRITE_BYTES) else { return Poll::Ready(Ok(())) };
        let (written, result) = match self.poll_bytes(&transmit, context) {
            Poll::Ready(Ok(0)) => (0, Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(written)) => (written, Ok(())),
            Poll::Ready(Err(error)) => (0, Err(error)),
            Poll::Pending => {
                self.write_waits = true;
                (0, Ok(()))
            }
        };
        driver.settle(transmit, written);
        Poll::Ready(result)
    }

    /// Ready with the bytes that were read, 0 at the end of the stream; `None` when the driver must
    /// turn again all the same.
    pub(crate) fn poll_read(
        &mut self,
        driver: &mut Driver,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<usize>>> {
        match &self.stream {
            Stream::Tcp(stream) => ready!(stream.poll_read_ready(context))?,
            Stream::Other(_) if self.read_waits => return Poll::Pending,
            Stream::Other(_) => {}
        }
        let Some(mut buffer) = driver.take_read() else { return Poll::Ready(Ok(None)) };
        let mut room = ReadBuf::new(&mut buffer);
        let polled = match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(context, &mut room),
            Stream::Other(stream) => stream.as_mut().poll_read(context, &mut room),
        };
        let result = match polled {
            Poll::Ready(result) => result.map(|()| Some(room.filled().len())),
            Poll::Pending => {
                self.read_waits = true;
                Ok(None)
            }
        };
        driver.filled(buffer, result.as_ref().map_or(0, |count| count.unwrap_or(0)));
        Poll::Ready(result)
    }

    /// Lets go of what the stream holds back. Nothing of it concerns the driver.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Stream::Other(stream) = &mut self.stream
            && self.unflushed > 0
        {
            ready!(stream.as_mut().poll_flush(context))?;
            self.unflushed = 0;
        }
        Poll::Ready(Ok(()))
    }

    /// Before it is dropped: writes what it takes without waiting, and shuts it down.
    pub(crate) fn farewell(&mut self, driver: &mut Driver) {
        // One panic of a stream is enough.
        if matches!(self.stream, Stream::Other(_)) && std::thread::panicking() {
            return;
        }
        let last = poll_fn(|context| {
            self.write_last(driver, context);
            Poll::Ready(())
        });
        // Also when the task has used up its share of this poll.
        let last = pin!(tokio::task::unconstrained(last));
        let _ = last.poll(&mut Context::from_waker(Waker::noop()));
    }

    fn write_last(&mut self, driver: &mut Driver, context: &mut Context<'_>) {
        while let Some(transmit) = driver.take_transmit(WRITE_BYTES) {
            let written = match &self.stream {
                // Which still works while the runtime shuts down.
                Stream::Tcp(stream) => stream.try_write(&transmit).unwrap_or(0),
                Stream::Other(_) => match self.poll_bytes(&transmit, context) {
                    Poll::Ready(Ok(written)) => written,
                    Poll::Ready(Err(_)) | Poll::Pending => 0,
                },
            };
            let all = written == transmit.len();
            driver.settle(transmit, written);
            if !all {
                break;
            }
        }
        if let Stream::Other(stream) = &mut self.stream {
            let _ = stream.as_mut().poll_shutdown(context);
        }
    }

    fn poll_bytes(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Other(stream) => {
                let written = ready!(stream.as_mut().poll_write(context, bytes))?.min(bytes.len());
                self.unflushed += written;
                Poll::Ready(Ok(written))
            }
        }
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
        let is_tcp = |transport: Transport| matches!(transport.stream, Stream::Tcp(_));
        let connect = || async { TcpStream::connect(listener.local_addr()?).await };
        assert!(is_tcp(connect().await?.into()));
        assert!(is_tcp(Transport::secure(connect().await?)));
        assert!(!is_tcp(tokio::io::duplex(1).0.into()));
        Ok(())
    }
}
