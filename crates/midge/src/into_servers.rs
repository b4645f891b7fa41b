//! The shapes in which an application names servers.

use midge_proto::{ServerUrl, ServerUrlError};

/// One or more servers: a URL, a text with several of them separated by commas, or a list of
/// either.
pub trait IntoServers {
    /// The servers in the order given.
    ///
    /// # Errors
    ///
    /// [`ServerUrlError`] of the first address that is none.
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError>;
}

impl IntoServers for &str {
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        ServerUrl::parse_list(self)
    }
}

impl IntoServers for String {
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        self.as_str().into_servers()
    }
}

impl IntoServers for ServerUrl {
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        Ok(vec![self])
    }
}

impl IntoServers for &String {
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        self.as_str().into_servers()
    }
}

impl IntoServers for &&str {
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        (*self).into_servers()
    }
}

impl IntoServers for &ServerUrl {
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        Ok(vec![self.clone()])
    }
}

impl<'a, T> IntoServers for &'a [T]
where
    &'a T: IntoServers,
{
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        all(self)
    }
}

impl<'a, T, const N: usize> IntoServers for &'a [T; N]
where
    &'a T: IntoServers,
{
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        all(self)
    }
}

impl<T: IntoServers> IntoServers for Vec<T> {
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        all(self)
    }
}

impl<T: IntoServers, const N: usize> IntoServers for [T; N] {
    fn into_servers(self) -> Result<Vec<ServerUrl>, ServerUrlError> {
        all(self)
    }
}

fn all(
    servers: impl IntoIterator<Item = impl IntoServers>,
) -> Result<Vec<ServerUrl>, ServerUrlError> {
    let mut all = Vec::new();
    for servers in servers {
        all.extend(servers.into_servers()?);
    }
    Ok(all)
}
