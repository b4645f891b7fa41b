//! Runs the [Midge](midge) NATS client on tokio.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = midge_tokio::connect("nats://localhost").await?;
//! let mut greetings = client.subscribe("greet.*").await?;
//! client.publish("greet.joe", "hello").await?;
//! while let Some(message) = greetings.next().await {
//!     println!("{}: {:?}", message.subject(), message.payload());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`connect`] spawns the driver of the connection as one task; [`connect_with`] hands it over as
//! a future instead. [`connect_through`] leaves the opening of streams to the application: a proxy,
//! a unix socket, a TCP socket with options of its own. Everything else is [`midge::Client`].
//!
//! The types of [`midge`] are here too, as `midge_tokio::midge::ConnectOptions` or
//! `midge_tokio::midge::jetstream::JetStream`: an application needs no other dependency. The features
//! are those of [`midge`], and on as they are there.

mod dial;
mod driver;
mod transport;

use std::future::Future;
use std::io;
use std::pin::Pin;

use midge::{Client, ConnectError, ConnectOptions, Connecting, OptionsError};

pub use dial::tcp;
pub use driver::{Driver, Tokio};
pub use midge;
pub use midge::driver::Destination;
pub use transport::Transport;

/// Connects, and spawns the driver on the current runtime.
///
/// The driver's task ends when the connection has closed. When the runtime ends first, what the
/// socket takes without waiting is still written, and the connection is closed.
///
/// # Errors
///
/// [`ConnectError`]: the options are not valid, or no server could be connected to.
///
/// # Panics
///
/// Outside of a tokio runtime with its I/O and time drivers enabled.
pub async fn connect(options: impl Into<ConnectOptions>) -> Result<Client, ConnectError> {
    let (connecting, driver) = prepare(options.into())?;
    spawn(driver);
    connecting.await
}

/// Prepares a connection and hands back its driver, a future that must be polled for anything to
/// happen, within a tokio runtime. It is ready when the connection has closed.
///
/// # Errors
///
/// [`OptionsError`] names the setting that is not valid.
pub fn connect_with(
    options: impl Into<ConnectOptions>,
) -> Result<(Connecting, Driver), OptionsError> {
    prepare(options.into())
}

/// Connects over streams that `dialler` opens, and spawns the driver on the current runtime.
///
/// The dialler is an async function from a [`Destination`] to any stream of bytes. It is called in
/// the driver's task for every attempt: the first, those after a loss, and once for each address of
/// a name. Its future is dropped when the
/// [`connect_timeout`](midge::ConnectOptions::connect_timeout), which covers it and the handshake
/// behind it, has passed, or when the connection is closed. An error of it fails the attempt as
/// [`DisconnectCause::Dial`](midge::DisconnectCause::Dial), with its message. A dialler that panics
/// ends the driver, and with it the connection.
///
/// TLS and WebSocket go over its streams as the URL of the server and the options say, except on
/// one that is [`Transport::secure`]. What a stream has to do is said at [`Transport`].
///
/// A proxy resolves names itself, and a unix socket needs none: say
/// [`resolve(false)`](midge::ConnectOptions::resolve) for these. Servers that a server tells of
/// come to the dialler too, unless
/// [`ignore_discovered`](midge::ConnectOptions::ignore_discovered).
///
/// ```no_run
/// use midge_tokio::midge::ConnectOptions;
/// use tokio::net::UnixStream;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let options = ConnectOptions::new("nats://localhost").resolve(false).ignore_discovered(true);
/// let dialler = |_| UnixStream::connect("/run/nats.sock");
/// let client = midge_tokio::connect_through(options, dialler).await?;
/// # Ok(())
/// # }
/// ```
///
/// Sockets are set up by a dialler as well. Here with an address of this machine to come from, and
/// with TCP keep-alive, which NATS itself does not need, since it has PINGs:
///
/// ```no_run
/// use std::io;
/// use midge_tokio::Destination;
/// use tokio::net::{TcpSocket, TcpStream};
///
/// async fn dial(to: Destination) -> io::Result<TcpStream> {
///     let address = to.address.ok_or(io::ErrorKind::AddrNotAvailable)?;
///     let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
///     if address.is_ipv4() {
///         socket.bind(([192, 168, 1, 7], 0).into())?;
///     }
///     socket.set_keepalive(true)?;
///     socket.set_nodelay(true)?;
///     socket.connect(address).await
/// }
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = midge_tokio::connect_through("nats://one.example", dial).await?;
/// # Ok(())
/// # }
/// ```
///
/// With [`connect_with`] and [`Driver::through`] the driver is handed over instead of spawned.
///
/// # Errors
///
/// [`ConnectError`]: the options are not valid, or no server could be connected to.
///
/// # Panics
///
/// Outside of a tokio runtime with its I/O and time drivers enabled.
pub async fn connect_through<D, F, T>(
    options: impl Into<ConnectOptions>,
    dialler: D,
) -> Result<Client, ConnectError>
where
    D: FnMut(Destination) -> F + Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: Into<Transport>,
{
    let (connecting, driver) = prepare(options.into())?;
    spawn(driver.through(dialler));
    connecting.await
}

// What follows is not generic: it is compiled once, here, and not into each program.

fn prepare(options: ConnectOptions) -> Result<(Connecting, Driver), OptionsError> {
    let clock = driver::clock();
    let (connecting, driver) = midge::driver::connect(options, clock.clone())?;
    Ok((connecting, Driver::new(driver, Tokio::new(clock), tcp)))
}

fn spawn(driver: Driver) {
    // Boxed: else tokio's parts of a task, and each that drops one, have a copy for this type.
    let driver: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(driver);
    tokio::spawn(driver);
}
