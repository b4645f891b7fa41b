//! How a transport to a server is opened without a dialler of the application.

use std::io;

use midge::driver::Destination;
use tokio::net::TcpStream;

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
