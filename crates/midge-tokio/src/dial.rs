//! How a transport to a server is opened: by TCP, or by a dialler of the application.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use midge::ServerUrl;
use tokio::net::TcpStream;

use crate::Transport;

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;
pub(crate) type Dialler = Box<dyn FnMut(Destination) -> Boxed<Transport> + Send>;

/// Where a dialler is to lead to.
///
/// `Display` gives `host:port`, as a proxy wants it: the address when there is one, and the name
/// otherwise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Destination {
    /// The server: one of those of the options, or one that a server told of.
    pub server: Arc<ServerUrl>,
    /// The address to try. `None`: the host is a name, and
    /// [`ConnectOptions::resolve`](midge::ConnectOptions::resolve) is false.
    pub address: Option<SocketAddr>,
}

impl Destination {
    /// Opens a TCP connection, as is done without a dialler: a name is looked up by the system, and
    /// the first of its addresses that answers is taken; the connection has `TCP_NODELAY`.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub async fn tcp(&self) -> io::Result<TcpStream> {
        let stream = match self.address {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((self.server.host(), self.server.port())).await?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => write!(f, "{}:{}", self.server.host(), self.server.port()),
        }
    }
}

pub(crate) fn tcp() -> Dialler {
    Box::new(|to| Box::pin(async move { Ok(to.tcp().await?.into()) }))
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
