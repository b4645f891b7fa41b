//! Runs the [Midge](midge) NATS client on smol, or on any executor: its sockets and timers are
//! those of `async-io`, which brings the thread that it needs.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = midge_smol::connect("nats://localhost").await?;
//! let mut greetings = client.subscribe("greet.*").await?;
//! client.publish("greet.joe", "hello").await?;
//! while let Some(message) = greetings.next().await {
//!     println!("{}: {:?}", message.subject(), message.payload());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`connect`] spawns the driver of the connection on smol's global executor; [`connect_with`]
//! hands it over as a future for an executor of your own. Everything else is [`midge::Client`].
//!
//! The types of [`midge`] are here too, as `midge_smol::midge::ConnectOptions` or
//! `midge_smol::midge::jetstream::JetStream`: an application needs no other dependency. The features
//! are those of [`midge`], and on as they are there.

mod driver;
mod transport;

use std::future::Future;
use std::io;
use std::sync::Arc;

use midge::driver::SystemClock;
use midge::{Client, ConnectError, ConnectOptions, Connecting, OptionsError};

pub use driver::{Driver, Smol, tcp};
pub use midge;
pub use midge::driver::Destination;
pub use transport::Transport;

/// Connects, and spawns the driver on smol's global executor.
///
/// The driver's task ends when the connection has closed.
///
/// # Errors
///
/// [`ConnectError`]: the options are not valid, or no server could be connected to.
pub async fn connect(options: impl Into<ConnectOptions>) -> Result<Client, ConnectError> {
    let (connecting, driver) = connect_with(options)?;
    smol::spawn(driver).detach();
    connecting.await
}

/// Prepares a connection and hands back its driver, a future that must be polled for anything to
/// happen, by any executor. It is ready when the connection has closed.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let executor = smol::LocalExecutor::new();
/// let (connecting, driver) = midge_smol::connect_with("nats://localhost")?;
/// executor.spawn(driver).detach();
/// let client = executor.run(connecting).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`OptionsError`] names the setting that is not valid.
pub fn connect_with(
    options: impl Into<ConnectOptions>,
) -> Result<(Connecting, Driver), OptionsError> {
    let clock = Arc::new(SystemClock::new());
    let (connecting, driver) = midge::driver::connect(options.into(), clock.clone())?;
    Ok((connecting, Driver::new(driver, Smol::new(clock), tcp)))
}

/// Connects over streams that `dialler` opens, and spawns the driver on smol's global executor.
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
/// use midge_smol::midge::ConnectOptions;
/// use smol::net::unix::UnixStream;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let options = ConnectOptions::new("nats://localhost").resolve(false).ignore_discovered(true);
/// let dialler = |_| UnixStream::connect("/run/nats.sock");
/// let client = midge_smol::connect_through(options, dialler).await?;
/// # Ok(())
/// # }
/// ```
///
/// With [`connect_with`] and [`Driver::through`] the driver is handed over instead of spawned.
///
/// # Errors
///
/// [`ConnectError`]: the options are not valid, or no server could be connected to.
pub async fn connect_through<D, F, T>(
    options: impl Into<ConnectOptions>,
    dialler: D,
) -> Result<Client, ConnectError>
where
    D: FnMut(Destination) -> F + Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: Into<Transport>,
{
    let (connecting, driver) = connect_with(options)?;
    smol::spawn(driver.through(dialler)).detach();
    connecting.await
}
