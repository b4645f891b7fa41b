//! Counts the allocations of a client over tokio, and of nothing else.
//!
//! Client, driver and runtime share the one thread of a test ([`run`]), and only the thread that
//! [`Meter::start`] was called on is counted. The server is another thread of the process and is
//! not. [`pay`] and [`live`] book memory to whoever is named, as long as it lives.

mod allocator;
mod server;
mod transport;

use std::fmt;

use midge::{Client, ConnectOptions};
use transport::{Accept, Messages};

pub use allocator::{Counted, Meter, PAYERS, live, pay};
pub use server::{BLAST, SILENT, Server};

/// Runs `test` with a client that is connected to a [`Server`] and has published before, all on
/// the current thread.
///
/// # Panics
///
/// When the client cannot connect, or the server failed.
pub fn run(test: impl AsyncFnOnce(&Client)) {
    let server = Server::start().expect("a listener on a loopback address");
    let options = ConnectOptions::new(server.url());
    run_with(server, options, test);
}

/// The same over TLS that begins before INFO.
///
/// # Panics
///
/// As [`run`].
pub fn run_tls(test: impl AsyncFnOnce(&Client)) {
    run_layered(true, None, test);
}

/// The same over a WebSocket without compression.
///
/// # Panics
///
/// As [`run`].
pub fn run_websocket(test: impl AsyncFnOnce(&Client)) {
    run_layered(false, Some(Messages::Plain), test);
}

/// The same over a WebSocket without compression, and TLS below it.
///
/// # Panics
///
/// As [`run`].
pub fn run_secure_websocket(test: impl AsyncFnOnce(&Client)) {
    run_layered(true, Some(Messages::Plain), test);
}

/// The same over a WebSocket with compression, in both directions.
///
/// # Panics
///
/// As [`run`].
pub fn run_compressed(test: impl AsyncFnOnce(&Client)) {
    run_layered(false, Some(Messages::Deflated), test);
}

fn run_layered(secure: bool, websocket: Option<Messages>, test: impl AsyncFnOnce(&Client)) {
    let (config, tls) = transport::tls();
    let accept = Accept { tls: secure.then_some(config), websocket };
    let server = Server::start_with(accept).expect("a listener on a loopback address");
    let mut options = ConnectOptions::new(server.url());
    if secure {
        options = options.tls(tls).tls_mode(midge::TlsMode::First);
    }
    run_with(server, options, test);
}

fn run_with(server: Server, options: ConnectOptions, test: impl AsyncFnOnce(&Client)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(async {
        let client = midge_tokio::connect(options).await.expect("the server is there");
        warm_up(&client).await;
        test(&client).await;
        client.close().await;
    });
    server.join();
}

/// Gives the outbound queue, whose two buffers take turns, room for more than a test queues: a
/// quarter of a megabyte at a time, less than what it gives back.
async fn warm_up(client: &Client) {
    for _ in 0..20 {
        for _ in 0..1500 {
            client.publish("warm.up", [b'x'; 128]).await.expect("the connection is up");
        }
        client.flush().await.expect("the connection is up");
    }
}

/// A count of operations, and the allocations that they cost.
#[derive(Debug)]
pub struct Cost {
    /// Operations.
    pub operations: u64,
    /// Their allocations.
    pub counted: Counted,
}

impl Cost {
    /// Asserts that there were at most so many allocations in all.
    ///
    /// # Panics
    ///
    /// When there were more; shows where the first ones came from.
    #[track_caller]
    pub fn at_most(&self, allocations: u64) {
        assert!(
            self.counted.allocations <= allocations,
            "at most {allocations} allocations were promised: {self}"
        );
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} operations cost {}", self.operations, self.counted)
    }
}
