//! What a storm is to be like: sizes, limits, times, drawn from the seed.

use std::time::Duration;

use midge::ConnectOptions;
use midge_proto::{Config, Credentials, Instant, ServerUrl};

use crate::server::{Auth, Permission, ServerOptions, User};
use crate::{Link, Rng, World};

/// What nobody may publish or subscribe to where there are users.
pub(crate) const DENIED: &str = "denied";

/// A drain takes no longer.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);

/// Where the chance of the plan begins, apart from that of the run.
const SALT: u64 = 0x706c_616e;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) link: Link,
    pub(crate) servers: usize,
    pub(crate) full: usize,
    pub(crate) bare: usize,
    /// Clients whose replies are read beside their drivers.
    pub(crate) asking: usize,
    /// When everything has stopped going wrong.
    pub(crate) calm: Instant,
    pub(crate) users: bool,
    pub(crate) route_delay: Duration,
    pub(crate) ping_interval: Duration,
    pub(crate) max_pings_out: u32,
    pub(crate) connect_timeout: Duration,
    pub(crate) reconnect_wait: Duration,
    pub(crate) reconnect_wait_max: Duration,
    pub(crate) reconnect_jitter: Duration,
    pub(crate) move_timeout: Duration,
    pub(crate) max_pending: usize,
    pub(crate) reconnect_buffer: usize,
    pub(crate) max_kept_age: Option<Duration>,
    pub(crate) keep_requests: bool,
    pub(crate) leave_lame_duck: bool,
    pub(crate) small_reads: bool,
    pub(crate) biggest: usize,
    pub(crate) verbose: bool,
    /// One of the servers knows no headers.
    pub(crate) without_headers: Option<usize>,
}

impl Plan {
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ SALT);
        let rng = &mut rng;
        let link = link(rng);
        let small = rng.one_in(3);
        Self {
            link,
            servers: 1 + rng.index(3),
            full: 1 + rng.index(2),
            bare: 1 + rng.index(2),
            calm: Instant::ZERO + rng.between(Duration::from_secs(1), Duration::from_secs(15)),
            users: rng.one_in(3),
            route_delay: rng.between(Duration::ZERO, Duration::from_millis(20)),
            ping_interval: rng.between(Duration::from_millis(500), Duration::from_secs(3)),
            max_pings_out: 1 + rng.index(2) as u32,
            connect_timeout: rng.between(Duration::from_millis(600), Duration::from_secs(2)),
            reconnect_wait: rng.between(Duration::from_millis(20), Duration::from_millis(200)),
            reconnect_wait_max: rng.between(Duration::from_millis(200), Duration::from_secs(1)),
            reconnect_jitter: rng.between(Duration::ZERO, Duration::from_millis(100)),
            move_timeout: rng.between(Duration::from_millis(200), Duration::from_secs(2)),
            max_pending: if small { 4000 + rng.index(4000) } else { 1 << 20 },
            reconnect_buffer: if small { 2000 + rng.index(4000) } else { 8 << 20 },
            max_kept_age: rng.one_in(4).then(|| Duration::from_millis(200 + rng.below(2000))),
            keep_requests: rng.one_in(3),
            leave_lame_duck: rng.one_in(3),
            small_reads: rng.one_in(3),
            verbose: rng.one_in(6),
            without_headers: rng.one_in(4).then(|| rng.index(3)),
            biggest: if small { 300 } else { 300 + rng.index(3000) },
            asking: rng.index(3),
        }
    }

    pub(crate) fn server_options(&self, options: ServerOptions) -> ServerOptions {
        let auth = match self.users {
            true => Auth::Users(vec![User {
                publish: Permission::deny(&[DENIED]),
                subscribe: Permission::deny(&[DENIED]),
                ..User::new("storm", "petrel")
            }]),
            false => Auth::None,
        };
        ServerOptions {
            auth,
            max_payload: 8192,
            ping_interval: Duration::from_secs(5),
            lame_duck_duration: Duration::from_secs(2),
            lame_duck_grace: Duration::from_millis(500),
            write_deadline: Duration::from_secs(4),
            ..options
        }
    }

    pub(crate) fn add_servers(&self, world: &World) {
        for server in 0..self.servers {
            let options = self.server_options(world.server_options());
            let headers = self.without_headers != Some(server);
            world.add_server(ServerOptions { headers, ..options });
        }
        world.cluster(|cluster, _| cluster.set_route_delay(self.route_delay));
    }

    /// Options of a `Client`.
    pub(crate) fn options(&self, world: &World) -> ConnectOptions {
        let mut options = ConnectOptions::new(world.urls())
            .retry_first_connect(true)
            .max_attempts(None)
            .ping_interval(self.ping_interval)
            .max_pings_out(self.max_pings_out)
            .connect_timeout(self.connect_timeout)
            .reconnect_wait(self.reconnect_wait, self.reconnect_wait_max)
            .reconnect_jitter(self.reconnect_jitter, self.reconnect_jitter)
            .move_timeout(self.move_timeout)
            .max_pending(self.max_pending)
            .reconnect_buffer(self.reconnect_buffer)
            .keep_requests(self.keep_requests)
            .verbose(self.verbose)
            .ignore_auth_error_abort(true)
            .request_timeout(Duration::from_secs(1))
            .drain_timeout(DRAIN);
        if let Some(age) = self.max_kept_age {
            options = options.max_kept_age(age);
        }
        if self.leave_lame_duck {
            options = options.leave_lame_duck(Duration::from_millis(300));
        }
        if self.small_reads {
            options = options.read_chunk(256);
        }
        if self.users {
            options = options.user_and_password("storm", "petrel");
        }
        options
    }

    /// The same for a connection of the core.
    pub(crate) fn config(&self, world: &World) -> Config {
        let servers = ServerUrl::parse_list(&world.urls()).expect("they are addresses");
        let mut config = Config::new(servers, [0; 32]);
        config.retry_first_connect = true;
        config.max_attempts = None;
        config.ping_interval = self.ping_interval;
        config.max_pings_out = self.max_pings_out;
        config.connect_timeout = self.connect_timeout;
        config.reconnect_wait = self.reconnect_wait;
        config.reconnect_wait_max = self.reconnect_wait_max;
        config.reconnect_jitter = self.reconnect_jitter;
        config.move_timeout = self.move_timeout;
        config.max_pending = self.max_pending;
        config.reconnect_buffer = self.reconnect_buffer;
        config.keep_requests = self.keep_requests;
        config.verbose = self.verbose;
        config.ignore_auth_error_abort = true;
        config.max_kept_age = self.max_kept_age;
        config.drain_timeout = DRAIN;
        if self.max_pending < 10_000 {
            config.control_reserve = 400;
        }
        config.leave_lame_duck = self.leave_lame_duck.then_some(Duration::from_millis(300));
        if self.small_reads {
            config.read_chunk = 256;
        }
        if self.users {
            config.credentials = Credentials {
                user: Some("storm".into()),
                password: Some("petrel".into()),
                ..Credentials::default()
            };
        }
        config
    }
}

fn link(rng: &mut Rng) -> Link {
    let mut link = Link { short: rng.one_in(2), ..Link::default() };
    match rng.index(4) {
        // A network in one building.
        0 => {}
        // Across an ocean.
        1 => {
            link.latency = Duration::from_millis(20);
            link.jitter = Duration::from_millis(60);
        }
        // A straw.
        2 => {
            link.latency = Duration::from_millis(1);
            link.window = 1000 + rng.index(4000);
            link.bandwidth = Some(200_000);
        }
        _ => {
            link.latency = Duration::from_micros(10);
            link.jitter = Duration::from_millis(5);
            link.window = 2000 + rng.index(60_000);
        }
    }
    link
}
