//! One server of a cluster, and what it holds while it runs.

use std::collections::{BTreeMap, BTreeSet};

use super::interest::{Interest, Subscriptions};
use super::lame_duck::LameDuck;
use super::{ClientId, ServerOptions};

#[derive(Debug)]
pub(super) struct Node {
    pub(super) options: ServerOptions,
    pub(super) running: Option<Running>,
}

/// What is forgotten when a server stops.
#[derive(Debug)]
pub(super) struct Running {
    /// `server_id` of INFO, another one after each start.
    pub(super) id: String,
    pub(super) clients: BTreeSet<ClientId>,
    pub(super) last_client: u64,
    pub(super) subscriptions: Subscriptions,
    /// The interest of its clients.
    pub(super) interest: Interest,
    /// The interest of the servers that it has a route to.
    pub(super) remote: BTreeMap<usize, Interest>,
    /// The addresses that other servers told it, for `connect_urls`.
    pub(super) urls: BTreeMap<usize, String>,
    pub(super) lame_duck: Option<LameDuck>,
}

impl Running {
    pub(super) fn new(id: String) -> Self {
        Self {
            id,
            clients: BTreeSet::new(),
            last_client: 0,
            subscriptions: Subscriptions::default(),
            interest: Interest::default(),
            remote: BTreeMap::new(),
            urls: BTreeMap::new(),
            lame_duck: None,
        }
    }
}
