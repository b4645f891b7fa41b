//! What a server says about itself.

use midge_proto::wire::ServerInfo;

use super::client::Client;
use super::node::{Node, Running};

impl Node {
    /// The INFO for `client`, as things are now.
    pub(super) fn info(&self, running: &Running, client: &Client, clustered: bool) -> ServerInfo {
        let options = &self.options;
        let mut info = ServerInfo {
            server_id: running.id.clone(),
            server_name: options.name.clone(),
            version: "2.15.1".into(),
            go: "go1.26".into(),
            proto: 1,
            host: options.host.clone(),
            port: options.port,
            headers: options.headers,
            jetstream: options.jetstream,
            api_lvl: if options.jetstream { 5 } else { 0 },
            max_payload: i64::try_from(options.max_payload).unwrap_or(i64::MAX),
            client_id: client.number,
            client_ip: "127.0.0.1".into(),
            auth_required: options.auth.is_required(),
            ..ServerInfo::default()
        };
        if clustered {
            info.cluster = "sim".into();
            if options.advertise {
                let own = running.lame_duck.is_none().then(|| options.url());
                info.connect_urls = own.into_iter().chain(running.urls.values().cloned()).collect();
            }
        }
        info
    }
}
