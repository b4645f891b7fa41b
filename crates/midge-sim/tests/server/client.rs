//! Clients of the model, and what they are told.

use midge_proto::Instant;
use midge_sim::server::{ClientId, Cluster, ServerId};

/// What Midge sends, roughly.
pub(crate) const CONNECT: &str = r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}"#;

/// A connection to a server of the model.
#[derive(Clone, Copy)]
pub(crate) struct Client(pub(crate) ClientId);

impl Client {
    /// A connection that has read its INFO.
    pub(crate) fn accept(cluster: &mut Cluster, server: ServerId, now: Instant) -> Self {
        let client = Self(cluster.accept(server, now).expect("the server runs"));
        assert!(client.read(cluster, now).starts_with("INFO {"));
        client
    }

    /// A connection that has read the INFO behind its first PONG.
    pub(crate) fn connect(cluster: &mut Cluster, server: ServerId, now: Instant) -> Self {
        Self::connect_with(cluster, server, CONNECT, now)
    }

    pub(crate) fn connect_with(
        cluster: &mut Cluster,
        server: ServerId,
        connect: &str,
        now: Instant,
    ) -> Self {
        let client = Self::accept(cluster, server, now);
        let told = client.say(cluster, &format!("{connect}\r\nPING\r\n"), now);
        assert!(told.contains("PONG\r\n"), "{told}");
        client
    }

    /// Sends `text` and returns what there is to read then.
    pub(crate) fn say(self, cluster: &mut Cluster, text: &str, now: Instant) -> String {
        cluster.received(self.0, text.as_bytes(), now);
        self.read(cluster, now)
    }

    /// Everything that waits.
    pub(crate) fn read(self, cluster: &mut Cluster, now: Instant) -> String {
        let bytes = cluster.pending(self.0).to_vec();
        cluster.wrote(self.0, bytes.len(), now);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
