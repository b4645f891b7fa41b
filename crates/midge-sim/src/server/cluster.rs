//! The servers of a cluster and their clients: who is there, and what leaves for whom.

use std::collections::BTreeSet;

use midge_proto::Instant;
use midge_proto::wire::{ServerError, ServerInfo, encode};

use super::ServerOptions;
use super::client::Client;
use super::jetstream::JetStream;
use super::journal::{Close, Event, Journal};
use super::node::{Node, Running};
use super::routes::Routes;
use super::session::subscription_refused;
use super::timers::{ClientTimer, Timer};
use crate::Rng;

/// A server of a [`Cluster`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub(super) usize);

/// A connection to a server of a [`Cluster`]. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(super) usize);

impl ServerId {
    /// Its place in the order in which servers were added, from 0.
    pub fn index(self) -> usize {
        self.0
    }
}

impl ClientId {
    /// No connection: JetStream, which publishes what consumers deliver and what the API answers.
    pub const JETSTREAM: Self = Self(usize::MAX);

    /// Its place in the order in which connections were accepted by the cluster, from 0.
    pub fn index(self) -> usize {
        self.0
    }
}

/// One nats-server, or several that share interest.
///
/// Its methods are of four kinds. **Bytes**: [`accept`](Self::accept),
/// [`received`](Self::received), [`pending`](Self::pending), [`wrote`](Self::wrote),
/// [`is_closing`](Self::is_closing), [`disconnected`](Self::disconnected). **Time**:
/// [`next`](Self::next) and [`poll`](Self::poll). **What a test makes servers do**: the rest.
/// **What happened**: [`journal`](Self::journal). Any call may change what waits for any client:
/// [`take_changed`](Self::take_changed) says for whom.
///
/// `now` never goes backwards: an earlier one counts as the last one.
#[derive(Debug)]
pub struct Cluster {
    pub(super) rng: Rng,
    pub(super) nodes: Vec<Node>,
    /// `None` once the transport has ended.
    pub(super) clients: Vec<Option<Box<Client>>>,
    pub(super) routes: Routes,
    pub(super) jetstream: JetStream,
    pub(super) timers: BTreeSet<(Instant, Timer)>,
    pub(super) journal: Journal,
    changed: Vec<ClientId>,
    now: Instant,
}

impl Cluster {
    /// A cluster without servers. `seed` decides its chances: members of queue groups, times of
    /// first PINGs, the order in which a lame duck closes clients, server ids.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            nodes: Vec::new(),
            clients: Vec::new(),
            routes: Routes::default(),
            jetstream: JetStream::new(seed),
            timers: BTreeSet::new(),
            journal: Journal::default(),
            changed: Vec::new(),
            now: Instant::ZERO,
        }
    }

    /// Another server, which runs. With more than one, all are a cluster.
    pub fn add(&mut self, options: ServerOptions) -> ServerId {
        let server = ServerId(self.nodes.len());
        self.nodes.push(Node { options, running: None });
        self.start(server, self.now);
        server
    }

    /// All servers, running or not, in the order in which they were added.
    pub fn servers(&self) -> impl Iterator<Item = ServerId> + use<> {
        (0..self.nodes.len()).map(ServerId)
    }

    /// Lets a server run again, with another `server_id` and without memory. The others learn of it
    /// after the delay of their routes. Does nothing when it runs.
    pub fn start(&mut self, server: ServerId, now: Instant) {
        let now = self.advance(now);
        let id = format!("N{:016X}{:016X}", self.rng.next_u64(), self.rng.next_u64());
        let Some(node) = self.nodes.get_mut(server.0).filter(|node| node.running.is_none()) else {
            return;
        };
        node.running = Some(Running::new(id));
        self.journal.push(now, Event::Started(server));
        self.greet_all(server.0, now);
        self.lead(now);
        self.run_routes(now);
    }

    /// Kills a server: what waits for its clients is thrown away, and so is what is under way to
    /// and from other servers, which forget it at once. Does nothing when it does not run.
    pub fn stop(&mut self, server: ServerId, now: Instant) {
        let now = self.advance(now);
        let Some(node) = self.nodes.get_mut(server.0) else { return };
        let Some(running) = node.running.take() else { return };
        self.journal.push(now, Event::Stopped(server));
        for id in running.clients {
            self.give_up(id, Close::Stopped, now);
        }
        self.timers.retain(|&(_, timer)| timer != Timer::LameDuck(server.0));
        self.lose_routes(server.0, now);
        self.lead(now);
        self.run_routes(now);
    }

    /// Whether a server runs; a lame duck does.
    pub fn is_running(&self, server: ServerId) -> bool {
        self.nodes.get(server.0).is_some_and(|node| node.running.is_some())
    }

    /// The options of a server.
    ///
    /// # Panics
    ///
    /// When `server` is of another cluster.
    pub fn options(&self, server: ServerId) -> &ServerOptions {
        &self.nodes[server.0].options
    }

    /// Gives a server other options, as a change of its configuration file does. Clients that named
    /// a user who is gone are closed without a word; others whose credentials are no longer good get `-ERR 'Authorization Violation'` and are closed;
    /// subscriptions that are no longer permitted end with an `-ERR`. Limits hold from now on, and
    /// no client is told: the next INFO, for whatever reason, has them
    /// ([`send_info`](Self::send_info) gives one).
    pub fn reload(&mut self, server: ServerId, options: ServerOptions, now: Instant) {
        let now = self.advance(now);
        let Some(node) = self.nodes.get_mut(server.0) else { return };
        let auth_changed = node.options.auth != options.auth;
        node.options = options;
        let Some(running) = &node.running else { return };
        let clients: Vec<ClientId> = running.clients.iter().copied().collect();
        if auth_changed {
            for &id in &clients {
                self.authorize_again(id, now);
            }
        }
        self.run_routes(now);
    }

    /// Sends INFO, as things are now, to all clients of a server that can take it at any time.
    pub fn send_info(&mut self, server: ServerId, now: Instant) {
        let now = self.advance(now);
        if server.0 < self.nodes.len() {
            self.push_info(server.0, false, now);
        }
    }

    /// A client connects: INFO is queued for it at once. `None` when the server does not run or is
    /// a lame duck: the connection is refused.
    pub fn accept(&mut self, server: ServerId, now: Instant) -> Option<ClientId> {
        let now = self.advance(now);
        let node = self.nodes.get_mut(server.0)?;
        let running = node.running.as_mut().filter(|running| running.lame_duck.is_none())?;
        running.last_client += 1;
        let full = running.clients.len() >= node.options.max_connections;
        let auth = node.options.auth.is_required();
        let id = ClientId(self.clients.len());
        let client = Client::new(server.0, running.last_client, auth);
        self.clients.push(Some(Box::new(client)));
        running.clients.insert(id);
        let (auth_at, ping_at) =
            (now + node.options.auth_timeout, now + node.options.ping_interval);
        self.journal.push(now, Event::Accepted { client: id, server });
        let info = self.info(server.0, id)?;
        self.say(id, |out| encode::info(out, &info.to_json()), now);
        if full {
            self.fail(id, &ServerError::MaxConnections.to_text(), now);
            return Some(id);
        }
        self.set_timer(id, ClientTimer::Auth, auth.then_some(auth_at));
        self.set_timer(id, ClientTimer::Ping, Some(ping_at));
        Some(id)
    }

    /// Bytes that wait for a client; none when its transport has ended.
    pub fn pending(&self, id: ClientId) -> &[u8] {
        self.client(id).map_or(&[], |client| client.output.pending())
    }

    /// The first `count` of the bytes that waited are taken.
    pub fn wrote(&mut self, id: ClientId, count: usize, now: Instant) {
        let now = self.advance(now);
        let Some(client) = self.client_mut(id) else { return };
        let whole = client.output.take(count);
        let waiting = (!client.output.pending().is_empty()).then_some(client.server);
        if whole > 0 {
            let counts = &mut self.journal.handed_over;
            if counts.len() <= id.0 {
                counts.resize(id.0 + 1, 0);
            }
            counts[id.0] += whole;
        }
        if count > 0 {
            let deadline = waiting.map(|server| now + self.nodes[server].options.write_deadline);
            self.set_timer(id, ClientTimer::Write, deadline);
        }
    }

    /// Whether the server has given a client up: the network closes the connection once what waits
    /// is written, and then says [`disconnected`](Self::disconnected).
    pub fn is_closing(&self, id: ClientId) -> bool {
        self.client(id).is_some_and(|client| client.closing.is_some())
    }

    /// The transport of a client has ended. Its id means nothing any more.
    pub fn disconnected(&mut self, id: ClientId, now: Instant) {
        let now = self.advance(now);
        if self.client(id).is_none() {
            return;
        }
        self.leave(id, now);
        if let Some(client) = self.clients.get_mut(id.0) {
            *client = None;
        }
        self.journal.push(now, Event::Disconnected { client: id });
        self.run_routes(now);
    }

    /// Clients for whom something waits, or that are closing, which was not so when this was last
    /// asked. Some of them may be gone by now.
    pub fn take_changed(&mut self) -> Vec<ClientId> {
        for id in &self.changed {
            if let Some(client) = self.clients.get_mut(id.0).and_then(Option::as_mut) {
                client.changed = false;
            }
        }
        std::mem::take(&mut self.changed)
    }

    /// The name that a client gave itself in CONNECT, while its transport has not ended.
    pub fn client_name(&self, id: ClientId) -> Option<&str> {
        self.client(id)?.connect.name.as_deref()
    }

    /// Clients of a server whose transport has not ended.
    pub fn clients(&self, server: ServerId) -> Vec<ClientId> {
        let of = |client: &Client| client.server == server.0;
        let ids = self.clients.iter().enumerate();
        ids.filter(|(_, c)| c.as_deref().is_some_and(of)).map(|(at, _)| ClientId(at)).collect()
    }

    /// Sends a client `-ERR` with `text` and closes it.
    pub fn expel(&mut self, id: ClientId, text: &str, now: Instant) {
        let now = self.advance(now);
        self.fail(id, text, now);
        self.run_routes(now);
    }

    /// Sends a client a PING, which counts against `ping_max` until it answers.
    pub fn ping(&mut self, id: ClientId, now: Instant) {
        let now = self.advance(now);
        if let Some(client) = self.client_mut(id).filter(|client| client.closing.is_none()) {
            client.pings_out += 1;
            client.last_ping = Some(now);
            self.say(id, encode::ping, now);
        }
    }

    /// What has happened so far.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    pub(super) fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    pub(super) fn client(&self, id: ClientId) -> Option<&Client> {
        self.clients.get(id.0)?.as_deref()
    }

    pub(super) fn client_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(id.0)?.as_deref_mut()
    }

    pub(super) fn info(&self, server: usize, id: ClientId) -> Option<ServerInfo> {
        let node = &self.nodes[server];
        Some(node.info(node.running.as_ref()?, self.client(id)?, self.nodes.len() > 1))
    }

    /// Tells all clients of a server that want to know what has changed.
    pub(super) fn push_info(&mut self, server: usize, lame_duck: bool, now: Instant) {
        let Some(running) = &self.nodes[server].running else { return };
        for id in running.clients.clone() {
            if self.client(id).is_some_and(Client::takes_info)
                && let Some(mut info) = self.info(server, id)
            {
                info.lame_duck = lame_duck;
                self.say(id, |out| encode::info(out, &info.to_json()), now);
            }
        }
    }

    pub(super) fn err(&mut self, id: ClientId, text: &str, now: Instant) {
        self.say(id, |out| encode::err(out, text), now);
    }

    /// Says `-ERR` and closes.
    pub(super) fn fail(&mut self, id: ClientId, text: &str, now: Instant) {
        if self.client(id).is_some_and(|client| client.closing.is_none()) {
            self.err(id, text, now);
            self.give_up(id, Close::Error(text.into()), now);
        }
    }

    pub(super) fn say(&mut self, id: ClientId, write: impl FnOnce(&mut Vec<u8>), now: Instant) {
        if let Some(client) = self.client_mut(id).filter(|client| client.closing.is_none()) {
            write(client.output.buffer());
            self.written(id, now);
        }
    }

    /// Something was appended to what waits for a client.
    pub(super) fn written(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.client(id).filter(|client| client.closing.is_none()) else {
            return;
        };
        let options = &self.nodes[client.server].options;
        let (max, deadline) = (options.max_pending, now + options.write_deadline);
        if client.output.pending().len() > max {
            return self.give_up(id, Close::SlowConsumer, now);
        }
        let waits = client.deadlines[ClientTimer::Write as usize].is_some();
        debug_assert!(!client.output.pending().is_empty(), "something was appended");
        self.mark_changed(id);
        if !waits {
            self.set_timer(id, ClientTimer::Write, Some(deadline));
        }
    }

    /// The server reads nothing more of a client, and closes it once what waits is written.
    pub(super) fn give_up(&mut self, id: ClientId, why: Close, now: Instant) {
        let Some(client) = self.client_mut(id).filter(|client| client.closing.is_none()) else {
            return;
        };
        if matches!(why, Close::SlowConsumer | Close::Stopped) {
            client.output.discard();
        }
        client.input = Vec::new();
        client.closing = Some(why.clone());
        self.mark_changed(id);
        self.journal.push(now, Event::Closed { client: id, why });
        self.leave(id, now);
    }

    /// The server forgets a client.
    fn leave(&mut self, id: ClientId, now: Instant) {
        for timer in [ClientTimer::Auth, ClientTimer::Ping, ClientTimer::Write] {
            self.set_timer(id, timer, None);
        }
        self.end_subscriptions(id, now);
        let Some(server) = self.client(id).map(|client| client.server) else { return };
        if let Some(running) = &mut self.nodes[server].running {
            running.clients.remove(&id);
        }
    }

    fn mark_changed(&mut self, id: ClientId) {
        if let Some(client) = self.client_mut(id)
            && !std::mem::replace(&mut client.changed, true)
        {
            self.changed.push(id);
        }
    }

    /// Who may connect has changed.
    fn authorize_again(&mut self, id: ClientId, now: Instant) {
        let Some(client) = self.clients.get_mut(id.0).and_then(Option::as_mut) else { return };
        let auth = &self.nodes[client.server].options.auth;
        let named = client.connect.user.as_deref().filter(|name| !name.is_empty());
        if named.is_some_and(|name| !auth.knows(name)) {
            return self.give_up(id, Close::UserGone, now);
        }
        let Some(user) = auth.check(&client.connect) else {
            return self.fail(id, &ServerError::AuthorizationViolation.to_text(), now);
        };
        client.user = user;
        let Some(running) = &self.nodes[client.server].running else { return };
        let lost = client.subscriptions.values().filter_map(|&number| {
            let subscription = running.subscriptions.get(number)?;
            let key = &subscription.key;
            let user = client.user.as_ref()?;
            let permitted = user.subscribe.permits_subscription(&key.subject, key.queue.as_deref());
            (!permitted).then(|| (subscription.sid.clone(), key.clone()))
        });
        for (sid, key) in lost.collect::<Vec<_>>() {
            self.end_subscription(id, &sid, now);
            self.err(
                id,
                &subscription_refused(&key.subject, key.queue.as_deref(), Some(&sid)),
                now,
            );
        }
    }
}
