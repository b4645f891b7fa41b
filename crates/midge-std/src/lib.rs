//! Runs the [Midge](midge) NATS client on blocking sockets and threads, without an async runtime.
//!
//! ```no_run
//! use midge_std::{Items, Wait};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = midge_std::connect("nats://localhost")?;
//! let mut greetings = client.subscribe("greet.*").wait()?;
//! client.publish("greet.joe", "hello").wait()?;
//! for message in greetings.iter() {
//!     println!("{}: {:?}", message.subject(), message.payload());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`connect`] serves the connection on a thread of its own; [`connect_with`] hands over what a
//! thread of yours can run instead. Either starts one more that reads, for each transport, and
//! short-lived ones to look up names. Everything else is [`midge::Client`], whose futures [`Wait`]
//! waits for, and whose streams [`Items`] iterates over, from as many threads as you like.
//!
//! The threads end with the process: what must have been sent before is [flushed](midge::Client::flush),
//! or the connection [drained](midge::Client::drain) or [closed](midge::Client::close).
//!
//! The types of [`midge`] are here too, as `midge_std::midge::ConnectOptions` or
//! `midge_std::midge::jetstream::JetStream`: an application needs no other dependency. The features
//! are those of [`midge`], and on as they are there.

mod driver;
mod stream;

use std::io;
use std::sync::Arc;
use std::thread;

use midge::driver::SystemClock;
use midge::{Client, ConnectError, ConnectOptions, Connecting, OptionsError};

pub use driver::Driver;
pub use midge;
pub use midge::blocking::{Elapsed, Items, Iter, Wait};
pub use midge::driver::Destination;
pub use stream::{Stream, tcp};

/// Connects, and serves the connection on a thread of its own, which ends when it has closed.
///
/// # Errors
///
/// [`ConnectError`]: the options are not valid, the system gives no thread, or no server could be
/// connected to.
pub fn connect(options: impl Into<ConnectOptions>) -> Result<Client, ConnectError> {
    let (connecting, driver) = connect_with(options)?;
    serve(driver)?;
    connecting.wait()
}

/// Prepares a connection and hands back its driver, which some thread must [run](Driver::run) for
/// anything to happen.
///
/// ```no_run
/// use midge_std::Wait;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (connecting, driver) = midge_std::connect_with("nats://localhost")?;
/// let serving = std::thread::spawn(|| driver.run());
/// let client = connecting.wait()?;
/// client.close().wait();
/// serving.join().expect("no function that the connection calls has panicked");
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
    let (connecting, driver) =
        midge::driver::connect(options.into(), Arc::new(SystemClock::new()))?;
    Ok((connecting, Driver::new(driver)))
}

/// Connects over streams that `dialler` opens, and serves the connection on a thread of its own.
///
/// The dialler is called for every attempt, each time on a thread of its own: the first, those
/// after a loss, and once for each address of a name. When the
/// [`connect_timeout`](midge::ConnectOptions::connect_timeout) has passed, or the connection is
/// closed, nobody waits for it any more and what it opens is dropped; it should not take much
/// longer, since it keeps its thread. An error of it fails the attempt as
/// [`DisconnectCause::Dial`](midge::DisconnectCause::Dial), with its message.
///
/// TLS and WebSocket go over its streams as the URL of the server and the options say, except on
/// one that [is secure](Stream::is_secure).
///
/// A proxy resolves names itself, and a unix socket needs none: say
/// [`resolve(false)`](midge::ConnectOptions::resolve) for these. Servers that a server tells of
/// come to the dialler too, unless
/// [`ignore_discovered`](midge::ConnectOptions::ignore_discovered).
///
/// ```no_run
/// use std::os::unix::net::UnixStream;
/// use midge_std::midge::ConnectOptions;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let options = ConnectOptions::new("nats://localhost").resolve(false).ignore_discovered(true);
/// let client = midge_std::connect_through(options, |_| UnixStream::connect("/run/nats.sock"))?;
/// # Ok(())
/// # }
/// ```
///
/// With [`connect_with`] and [`Driver::through`] the driver is handed over instead.
///
/// # Errors
///
/// [`ConnectError`]: the options are not valid, the system gives no thread, or no server could be
/// connected to.
pub fn connect_through<D, S>(
    options: impl Into<ConnectOptions>,
    dialler: D,
) -> Result<Client, ConnectError>
where
    D: Fn(Destination) -> io::Result<S> + Send + Sync + 'static,
    S: Stream,
{
    let (connecting, driver) = connect_with(options)?;
    serve(driver.through(dialler))?;
    connecting.wait()
}

fn serve(driver: Driver) -> Result<(), ConnectError> {
    let thread = thread::Builder::new().name("midge".into());
    match thread.spawn(|| driver.run()) {
        Ok(_) => Ok(()),
        Err(error) => Err(ConnectError::NoThread(error.to_string())),
    }
}
