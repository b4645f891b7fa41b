//! Reads and writes of a socket for each thousand messages, counted in a socket that takes and has
//! all that there is at once. A read that finds nothing is none: a `TcpStream` of tokio keeps its
//! readiness, and makes no call then.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use midge::Client;
use midge_benches::SUBJECT;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::PAYLOAD;
use crate::peer::Session;

/// A peer without a socket. Every call that moves bytes is one of the operating system.
#[derive(Debug)]
struct Memory {
    session: Session,
    reader: Option<Waker>,
    calls: Arc<AtomicUsize>,
}

impl AsyncWrite for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let received = self.session.receive(bytes, &mut io::sink());
        received.map_err(|why| io::Error::other(why.to_string()))?;
        if !self.session.answers.is_empty()
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.session.answers.is_empty() {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let count = room.remaining().min(self.session.answers.len());
        room.put_slice(&self.session.answers[..count]);
        self.session.answers.drain(..count);
        Poll::Ready(Ok(()))
    }
}

/// Runs `work`, which is given a count of the calls so far, with a client on one thread.
fn run(work: impl AsyncFnOnce(&Client, &dyn Fn() -> usize)) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let dial = move |_| {
        let calls = Arc::clone(&counted);
        async move { Ok(Memory { session: Session::new(), reader: None, calls }) }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = midge_tokio::connect_through("127.0.0.1", dial).await.unwrap();
        work(&client, &|| calls.load(Ordering::Relaxed)).await;
    });
}

#[test]
fn publishing_makes_at_most_two_for_a_thousand_messages() {
    const MESSAGES: usize = 300_000;
    run(async |client, calls| {
        let publish = async || {
            for _ in 0..MESSAGES {
                client.publish(SUBJECT, [b'x'; PAYLOAD]).await.unwrap();
            }
            client.flush().await.unwrap();
        };
        publish().await;
        let before = calls();
        publish().await;
        let made = calls() - before;
        assert!(made <= 2 * MESSAGES / 1000, "{made} calls for {MESSAGES} messages");
    });
}
