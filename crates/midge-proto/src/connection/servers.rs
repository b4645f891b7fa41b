//! The pool of servers: who is next, who is given up, who was learnt.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use super::output::Candidate;
use crate::rng::Rng;
use crate::wire::{ServerError, ServerInfo};
use crate::{Config, Scheme, ServerUrl};

#[derive(Debug, Clone)]
struct Server {
    url: Arc<ServerUrl>,
    /// Learnt from INFO: leaves again when INFO no longer names it.
    discovered: bool,
    /// The host name to verify: that of the server that told of it.
    tls_name: Option<String>,
    /// Some attempt succeeded.
    connected: bool,
    /// Failed attempts in a row.
    failed: u32,
    /// The authentication error that the last attempt ended with.
    auth_error: Option<ServerError>,
}

impl Server {
    fn given(url: ServerUrl) -> Self {
        Self {
            url: Arc::new(url),
            discovered: false,
            tls_name: None,
            connected: false,
            failed: 0,
            auth_error: None,
        }
    }
}

/// How INFO changed the pool.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) added: Vec<Arc<ServerUrl>>,
    pub(super) removed: Vec<Arc<ServerUrl>>,
    pub(super) ignored: usize,
}

/// Servers in the order in which they are tried. The one in use stands first.
#[derive(Debug)]
pub(super) struct Servers {
    pool: Vec<Server>,
    retain_order: bool,
    max_discovered: usize,
    /// The pool was replaced: its first server is the next to try, not the one in use.
    detached: bool,
}

impl Servers {
    /// Takes the servers out of `config`.
    pub(super) fn new(config: &mut Config, rng: &mut Rng) -> Self {
        let mut servers = Self {
            pool: Vec::new(),
            retain_order: config.retain_order,
            max_discovered: config.max_servers,
            detached: false,
        };
        servers.fill(mem::take(&mut config.servers), rng);
        servers
    }

    fn fill(&mut self, urls: Vec<ServerUrl>, rng: &mut Rng) {
        self.pool = urls.into_iter().map(Server::given).collect();
        if !self.retain_order {
            rng.shuffle(&mut self.pool);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.pool.len()
    }

    /// There is a server that is not the one in use.
    pub(super) fn has_another(&self) -> bool {
        self.pool.len() > usize::from(!self.detached)
    }

    /// The server that [`begin`](Self::begin) will give.
    pub(super) fn next(&self) -> Option<&ServerUrl> {
        self.pool.first().map(|server| &*server.url)
    }

    /// All of them, in the order in which they would be tried.
    pub(super) fn candidates(&self) -> Vec<Candidate> {
        let candidate = |server: &Server| Candidate {
            server: Arc::clone(&server.url),
            discovered: server.discovered,
            connected: server.connected,
            failed: server.failed,
        };
        self.pool.iter().map(candidate).collect()
    }

    /// Puts a server of the pool in front. The order of the others stays.
    pub(super) fn prefer(&mut self, url: &ServerUrl) {
        if let Some(index) = self.pool.iter().position(|server| server.url.same_place(url)) {
            let server = self.pool.remove(index);
            self.pool.insert(0, server);
        }
    }

    /// The server to try now, which is in use from here on, and the name that its certificate
    /// must bear.
    pub(super) fn begin(&mut self) -> Option<(Arc<ServerUrl>, String)> {
        self.detached = false;
        let server = self.pool.first()?;
        let tls_name = server.tls_name.clone().unwrap_or_else(|| server.url.host().to_string());
        Some((Arc::clone(&server.url), tls_name))
    }

    fn in_use(&mut self) -> Option<&mut Server> {
        if self.detached { None } else { self.pool.first_mut() }
    }

    /// The current server answered: what it failed before is forgotten.
    pub(super) fn succeeded(&mut self) {
        if let Some(server) = self.in_use() {
            server.connected = true;
            server.failed = 0;
            server.auth_error = None;
        }
    }

    /// The current server failed; it goes to the end, or leaves after `max` failures in a row.
    pub(super) fn failed(&mut self, max: Option<u32>) {
        if let Some(server) = self.in_use() {
            server.failed = server.failed.saturating_add(1);
            let is_out = max.is_some_and(|max| server.failed >= max);
            let server = self.pool.remove(0);
            if !is_out {
                self.pool.push(server);
            }
        }
    }

    /// The current server goes to the end: the next one is another, if there is another.
    pub(super) fn move_on(&mut self) {
        if self.in_use().is_some() {
            let server = self.pool.remove(0);
            self.pool.push(server);
        }
    }

    /// True when the current server ended the last attempt with the same error.
    pub(super) fn same_auth_error(&mut self, error: &ServerError) -> bool {
        let Some(server) = self.in_use() else {
            return false;
        };
        let same = server.auth_error.as_ref() == Some(error);
        server.auth_error = Some(error.clone());
        same
    }

    /// The current server ended the attempt in another way: what it says of credentials next is
    /// not said twice in a row.
    pub(super) fn other_error(&mut self) {
        if let Some(server) = self.in_use() {
            server.auth_error = None;
        }
    }

    /// Puts other servers in the place of all; a connection in use is not touched.
    pub(super) fn replace(&mut self, urls: Vec<ServerUrl>, rng: &mut Rng) {
        self.fill(urls, rng);
        self.detached = true;
    }

    /// Takes over the list of servers from INFO. The current server stays whatever it says. The
    /// others must bear its `tls_name`: INFO comes before TLS, and whoever forges one must not be
    /// able to lead to a server with a certificate of its own.
    pub(super) fn learn(
        &mut self,
        info: &ServerInfo,
        current: &ServerUrl,
        tls_name: &str,
        rng: &mut Rng,
    ) -> Changes {
        let mut changes = Changes { ignored: info.urls_dropped, ..Changes::default() };
        let web = matches!(current.scheme(), Scheme::Ws | Scheme::Wss);
        let listed = if web && !info.ws_connect_urls.is_empty() {
            &info.ws_connect_urls
        } else {
            &info.connect_urls
        };
        if listed.is_empty() {
            return changes;
        }
        let urls: Vec<_> =
            listed.iter().filter_map(|place| ServerUrl::discovered(place, current).ok()).collect();
        let fixed = usize::from(!self.detached);
        let mut index = fixed;
        while index < self.pool.len() {
            let server = &self.pool[index];
            if server.discovered && !urls.iter().any(|url| url.same_place(&server.url)) {
                changes.removed.push(self.pool.remove(index).url);
            } else {
                index += 1;
            }
        }
        let mut discovered = self.pool.iter().filter(|server| server.discovered).count();
        let known = self.pool.len();
        for url in urls {
            if self.pool.iter().any(|server| url.same_place(&server.url)) {
                continue;
            }
            if discovered >= self.max_discovered {
                changes.ignored += 1;
                continue;
            }
            discovered += 1;
            let tls_name = Some(tls_name.to_string());
            let server = Server { discovered: true, tls_name, ..Server::given(url) };
            changes.added.push(Arc::clone(&server.url));
            self.pool.push(server);
        }
        if !self.retain_order && self.pool.len() > known {
            rng.shuffle(&mut self.pool[fixed..]);
        }
        changes
    }
}
