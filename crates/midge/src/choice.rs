//! Where the next attempt to connect goes to, and when, as the application says.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use midge_proto::{NextServer, ServerUrl};

use crate::ConnectOptions;

type ChooseServer = dyn Fn(&NextServer) -> Option<Arc<ServerUrl>> + Send + Sync;
type Delay = dyn Fn(&NextServer) -> Duration + Send + Sync;

/// The application's functions, if it has any.
#[derive(Clone, Default)]
pub(crate) struct Choice {
    server: Option<Arc<ChooseServer>>,
    delay: Option<Arc<Delay>>,
}

impl Choice {
    pub(crate) fn is_empty(&self) -> bool {
        self.server.is_none() && self.delay.is_none()
    }

    /// The server and the wait, where the application has a word. Calls its code: no lock may be
    /// held.
    pub(crate) fn decide(&self, next: &NextServer) -> (Option<Arc<ServerUrl>>, Option<Duration>) {
        let server = self.server.as_ref().and_then(|choose| choose(next));
        let delay = self.delay.as_ref().filter(|_| next.cause.is_some());
        (server, delay.map(|delay| delay(next)))
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = [("server", self.server.is_some()), ("delay", self.delay.is_some())];
        let names = set.into_iter().filter(|(_, set)| *set).map(|(name, _)| name);
        f.debug_set().entries(names).finish()
    }
}

/// Where to connect to, and when. The functions are called by the connection's driver, which they
/// hold up, without a lock; their panics are the driver's.
impl ConnectOptions {
    /// Chooses the server of each attempt, the first one included: one of [`NextServer::servers`].
    /// `None`, and a server that is not there, leave the choice to Midge: the one in front, and
    /// after it failed the next. Default: that choice.
    ///
    /// ```
    /// // The servers of one's own zone, as long as they do not fail.
    /// let options = midge::ConnectOptions::new("nats.example").choose_server(|next| {
    ///     let near = |host: &str| host.ends_with(".zone-a.example");
    ///     let mut servers = next.servers.iter();
    ///     let near = servers.find(|known| known.failed < 3 && near(known.server.host()))?;
    ///     Some(near.server.clone())
    /// });
    /// ```
    pub fn choose_server<F>(mut self, choose: F) -> Self
    where
        F: Fn(&NextServer) -> Option<Arc<ServerUrl>> + Send + Sync + 'static,
    {
        self.settings_mut().choice.server = Some(Arc::new(choose));
        self
    }

    /// The wait before each attempt but the very first, in place of
    /// [`reconnect_wait`](Self::reconnect_wait) and [`reconnect_jitter`](Self::reconnect_jitter);
    /// [`NextServer::wait`] is what they would give, [`NextServer::failed`] counts the attempts
    /// that failed in a row. Default: none.
    ///
    /// Without a random part, clients that lose a server at the same time come back in step.
    pub fn reconnect_delay<F>(mut self, delay: F) -> Self
    where
        F: Fn(&NextServer) -> Duration + Send + Sync + 'static,
    {
        self.settings_mut().choice.delay = Some(Arc::new(delay));
        self
    }
}
