//! A run: connections, packets on their way, and time that jumps from one to the next.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Buf;
use midge_proto::wire::{ClientOp, Limits, decode_client};
use midge_proto::{
    Action, Attempt, Config, Connection, DisconnectCause, Event, Instant, Output, ServerUrl,
    SubjectRef, Timer,
};

use super::door::{Answer, Door};
use super::outcome::{Outcome, SAMPLE, Sample};
use super::queue::Queue;
use super::{Fate, Herd, Scenario, Setting};
use crate::Rng;

/// When the servers are lost; all clients have connected before.
const LOSS: Instant = Instant::from_nanos(1_000_000_000);

const INFO: &[u8] = b"INFO {\"server_id\":\"HERD\",\"version\":\"2.12.0\",\"proto\":1,\
    \"headers\":true,\"max_payload\":1048576}\r\n";

/// After how long the system of a client sends an unanswered first packet again: each time twice as
/// late as the last time.
const RESEND: Duration = Duration::from_secs(1);

/// A packet, or a deadline, that a client meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The transport is gone.
    Lost,
    /// The first packet of an attempt reaches the server, for the `sent`th time.
    Knock {
        attempt: Attempt,
        sent: u32,
    },
    Refused(Attempt),
    /// The server's INFO reaches the client.
    Greeted(Attempt),
    Pong(Attempt),
    /// The connection's deadline.
    Wake,
}

#[derive(Debug)]
struct Client {
    connection: Connection,
    /// The transport, or the try to get one.
    attempt: Option<Attempt>,
    server: u16,
    /// The time of a packet, one way.
    latency: Duration,
    /// The deadline that is in the queue.
    wake: Option<Instant>,
    connected: bool,
}

struct Run<'a> {
    setting: &'a Setting,
    doors: Vec<Door>,
    clients: Vec<Client>,
    /// By the number of the client.
    queue: Queue<(u32, What)>,
    now: Instant,
    rng: Rng,
    missing: u32,
    outcome: Outcome,
}

impl Herd {
    /// Lets the herd connect, takes its servers away, and watches until everybody is back or
    /// [`limit`](Self::limit) is over. `progress` hears once every virtual second how far it is, with
    /// the clients that are without a connection.
    ///
    /// # Panics
    ///
    /// When the setting or the scenario is none: a zero `wait`, or no server.
    pub fn run(
        &self,
        scenario: &Scenario,
        setting: &Setting,
        progress: &mut dyn FnMut((Duration, u32)),
    ) -> Outcome {
        let mut run = Run::new(self, scenario, setting);
        progress((Duration::ZERO, run.missing));
        let mut told = 0;
        while let Some((at, (client, what))) = run.queue.pop() {
            let passed = at.saturating_since(LOSS);
            if passed > self.limit {
                break;
            }
            if passed.as_secs() > told {
                told = passed.as_secs();
                progress((passed, run.missing));
            }
            run.now = at;
            run.meet(client, what);
            if run.missing == 0 {
                break;
            }
        }
        run.finish(self.limit)
    }
}

impl<'a> Run<'a> {
    /// Everybody is connected, and the news of the loss is on its way.
    fn new(herd: &Herd, scenario: &Scenario, setting: &'a Setting) -> Self {
        let mut rng = Rng::new(herd.seed);
        let servers = scenario.servers;
        let door = |fate: &Fate| Door::new(*fate, LOSS, scenario, herd);
        let mut run = Self {
            setting,
            doors: servers.iter().map(door).collect(),
            clients: Vec::with_capacity(herd.clients as usize),
            queue: Queue::new(),
            now: LOSS,
            rng: rng.split(),
            missing: 0,
            outcome: Outcome {
                samples: Vec::new(),
                lost: 0,
                half: None,
                most: None,
                all: None,
                downtime: Duration::ZERO,
                in_vain: 0,
            },
        };
        let urls: Vec<ServerUrl> = (1..=servers.len())
            .map(|host| format!("10.0.{}.{}", host / 256, host % 256))
            .map(|host| ServerUrl::parse(&host).expect("an IP address is a URL"))
            .collect();
        for number in 0..herd.clients {
            let latency = rng.between(herd.latency.0, herd.latency.1);
            let home = number as usize % servers.len();
            let config = config(&urls, home, &mut rng, setting);
            let client = Client::connected(config, home, latency);
            run.clients.push(client);
            if !matches!(servers[home], Fate::Stays) {
                run.missing += 1;
                run.push(number, LOSS + latency, What::Lost);
            }
        }
        run.outcome.lost = run.missing;
        run
    }

    fn push(&mut self, client: u32, at: Instant, what: What) {
        self.queue.push(at, (client, what));
    }

    fn meet(&mut self, number: u32, what: What) {
        let now = self.now;
        let client = &mut self.clients[number as usize];
        let current = |attempt| client.attempt == Some(attempt);
        match what {
            What::Lost => {
                if let Some(attempt) = client.attempt.take() {
                    client.connected = false;
                    client.connection.closed(attempt, DisconnectCause::Eof, now);
                }
            }
            What::Refused(attempt) if current(attempt) => {
                client.attempt = None;
                let cause = DisconnectCause::Io("connection refused".into());
                client.connection.closed(attempt, cause, now);
            }
            What::Greeted(attempt) if current(attempt) => {
                client.connection.connected(attempt, false, now);
                client.receive(INFO);
            }
            What::Greeted(_) => {
                self.outcome.in_vain += 1;
                return;
            }
            What::Pong(attempt) if current(attempt) => client.receive(b"PONG\r\n"),
            What::Wake if client.wake == Some(now) => client.wake = None,
            What::Knock { attempt, sent } => {
                if current(attempt) {
                    self.knock(number, attempt, sent);
                }
                return;
            }
            What::Refused(_) | What::Pong(_) | What::Wake => return,
        }
        self.turn(number);
    }

    /// An attempt reaches its server.
    fn knock(&mut self, number: u32, attempt: Attempt, sent: u32) {
        let client = &self.clients[number as usize];
        let latency = client.latency;
        match self.doors[usize::from(client.server)].knock(self.now) {
            Answer::Served(at) => self.push(number, at + latency, What::Greeted(attempt)),
            Answer::Refused => self.push(number, self.now + latency, What::Refused(attempt)),
            Answer::Silence => {
                let wait = RESEND.saturating_mul(1 << sent.min(16));
                let what = What::Knock { attempt, sent: sent + 1 };
                self.push(number, self.now + wait, what);
            }
        }
    }

    /// What a driver does with a connection until it waits.
    fn turn(&mut self, number: u32) {
        let now = self.now;
        loop {
            let client = &mut self.clients[number as usize];
            let latency = client.latency;
            match client.connection.poll(now) {
                Output::Action(Action::Connect { attempt, address, .. }) => {
                    client.begin(attempt, address);
                    self.sample().attempts += 1;
                    self.push(number, now + latency, What::Knock { attempt, sent: 0 });
                }
                Output::Action(Action::NextServer { attempt, next }) => {
                    let own = self.setting.own.expect("asked only when there is an own wait");
                    let wait = own(next.failed, next.wait, &mut self.rng);
                    client.connection.next_server(attempt, None, Some(wait), now);
                }
                Output::Action(Action::Close { .. }) => client.attempt = None,
                Output::Event(Event::AttemptFailed { cause, .. }) => match cause {
                    DisconnectCause::Io(_) => self.sample().refused += 1,
                    _ => self.sample().timed_out += 1,
                },
                Output::Event(Event::Connected(_)) => {
                    client.connected = true;
                    self.came_back();
                }
                Output::Idle(wait) if wait.write => {
                    if let Some(attempt) = client.write() {
                        self.push(number, now + latency * 2, What::Pong(attempt));
                    }
                }
                Output::Idle(wait) => {
                    // While connected, keep-alive alone is left, and that is not what is measured.
                    let until = wait.until.filter(|_| wait.reason != Some(Timer::Ping));
                    if let Some(until) = until.filter(|_| client.wake != until) {
                        client.wake = Some(until);
                        self.push(number, until, What::Wake);
                    }
                    return;
                }
                Output::Action(_) | Output::Event(_) | Output::Yield => {}
            }
        }
    }

    fn sample(&mut self) -> &mut Sample {
        let passed = self.now.saturating_since(LOSS).as_nanos();
        let index = usize::try_from(passed / SAMPLE.as_nanos()).unwrap_or(usize::MAX);
        let samples = &mut self.outcome.samples;
        if samples.len() <= index {
            samples.resize(index + 1, Sample::default());
        }
        &mut samples[index]
    }

    fn came_back(&mut self) {
        self.sample().connected += 1;
        let passed = self.now.saturating_since(LOSS);
        self.missing -= 1;
        let outcome = &mut self.outcome;
        outcome.downtime += passed;
        let back = outcome.lost - self.missing;
        let share = |percent: u64| u64::from(back) * 100 >= u64::from(outcome.lost) * percent;
        let (half, most, all) = (share(50), share(99), self.missing == 0);
        for (reached, at) in
            [(half, &mut outcome.half), (most, &mut outcome.most), (all, &mut outcome.all)]
        {
            if reached {
                at.get_or_insert(passed);
            }
        }
    }

    fn finish(mut self, limit: Duration) -> Outcome {
        self.outcome.downtime += limit * self.missing;
        self.outcome
    }
}

impl Client {
    /// A client of `home`, connected without further ado.
    fn connected(config: Config, home: usize, latency: Duration) -> Self {
        let connection = Connection::new(config).expect("what the herd sets is a configuration");
        let mut client = Self {
            connection,
            attempt: None,
            server: u16::try_from(home).expect("there are fewer servers"),
            latency,
            wake: None,
            connected: false,
        };
        let now = Instant::ZERO;
        let subject = SubjectRef::new("herd.news").expect("it is a subject");
        client.connection.subscribe(subject, None).expect("there is room for one");
        let mut greeted = false;
        while !client.connected {
            match client.connection.poll(now) {
                Output::Action(Action::NextServer { attempt, .. }) => {
                    client.connection.next_server(attempt, None, Some(Duration::ZERO), now);
                }
                Output::Action(Action::Connect { attempt, address, .. }) => {
                    client.begin(attempt, address);
                    client.connection.connected(attempt, false, now);
                    client.receive(INFO);
                }
                Output::Event(Event::Connected(_)) => client.connected = true,
                Output::Idle(wait) if wait.write => greeted = client.write().is_some(),
                Output::Idle(_) if greeted => client.receive(b"PONG\r\n"),
                _ => {}
            }
        }
        client
    }

    fn begin(&mut self, attempt: Attempt, address: Option<SocketAddr>) {
        let address = address.expect("the servers are IP addresses");
        if let IpAddr::V4(ip) = address.ip() {
            let [_, _, high, low] = ip.octets();
            self.server = u16::from_be_bytes([high, low]) - 1;
        }
        self.attempt = Some(attempt);
    }

    fn receive(&mut self, bytes: &[u8]) {
        let room = self.connection.read_buf();
        room[..bytes.len()].copy_from_slice(bytes);
        self.connection.received(bytes.len());
    }

    /// Takes what is to be sent. Returns the transport when a PING is in it.
    fn write(&mut self) -> Option<Attempt> {
        let out = self.connection.transmit();
        let mut pinged = false;
        while out.has_remaining() {
            let bytes = out.chunk();
            let mut at = 0;
            while let Ok(Some((op, len))) = decode_client(&bytes[at..], &Limits::default()) {
                pinged |= matches!(op, ClientOp::Ping);
                at += len;
            }
            let len = bytes.len();
            out.advance(len);
        }
        if pinged { self.attempt } else { None }
    }
}

fn config(urls: &[ServerUrl], home: usize, rng: &mut Rng, setting: &Setting) -> Config {
    let mut servers = urls.to_vec();
    // Its own first, so that the herd is spread evenly, and the others in any order.
    servers.swap(0, home);
    for last in (2..servers.len()).rev() {
        servers.swap(last, 1 + rng.index(last));
    }
    let mut config = Config::small(servers, rng.seed());
    config.retain_order = true;
    config.read_chunk = 256;
    config.reconnect_wait = setting.wait;
    config.reconnect_wait_max = setting.longest;
    config.reconnect_jitter = setting.jitter;
    config.choose_server = setting.own.is_some();
    config
}
