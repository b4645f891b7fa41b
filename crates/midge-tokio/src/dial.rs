//! How a transport to a server is opened: by TCP, or by a dialler of the application.

use std::future::Future;
use std::io;

use midge::driver::{Destination, Opening};
use tokio::net::TcpStream;

use crate::Transport;

pub(crate) type Dialler = Box<dyn FnMut(Destination) -> Opening<Transport> + Send>;

/// Opens a TCP connection, as is done without a dialler: a name is looked up by the system, and
/// the first of its addresses that answers is taken; the connection has `TCP_NODELAY`.
///
/// # Errors
///
/// Those of the system.
pub async fn tcp(to: Destination) -> io::Result<TcpStream> {
    let stream = match to.address {
        Some(address) => TcpStream::connect(address).await?,
        None => TcpStream::connect((to.server.host(), to.server.port())).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) fn boxed<D, F, T>(mut dialler: D) -> Dialler
where
    D: FnMut(Destination) -> F + Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
    T: Into<Transport>,
{
    Box::new(move |to| {
        let dial = dialler(to);
        Box::pin(async move { Ok(dial.await?.into()) })
    })
}
