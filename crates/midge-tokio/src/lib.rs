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
//! a future instead. Everything else is [`midge::Client`].

mod driver;

use midge::{Client, ConnectError, ConnectOptions, Connecting, OptionsError};

pub use driver::Driver;
pub use midge;

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
    let (connecting, driver) = connect_with(options)?;
    tokio::spawn(driver);
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
    let clock = driver::clock();
    let (connecting, driver) = midge::driver::connect(options.into(), clock.clone())?;
    Ok((connecting, Driver::new(driver, clock)))
}
