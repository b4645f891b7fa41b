//! A connection on a virtual clock, and scenarios for it that are text.
//!
//! Each line of a scenario does one thing or expects one:
//!
//! | line | meaning |
//! |---|---|
//! | `< TEXT` | the server sends the line TEXT (`\r\n` is added; a `\` in it begins an escape) |
//! | `> TEXT` | expects that the next line sent to the server is TEXT; `...` at its end stands for anything |
//! | `! TEXT` | expects that the next action or event is TEXT, likewise |
//! | `+ 5s`, `+ 10ms` | time passes |
//! | `WORD ...` | a command or a result of an action, see [`Rig::command`] |
//!
//! What a line causes must be expected before the next line that causes something. The random
//! part of inboxes reads `x`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Buf;
use midge_proto::{
    Action, Attempt, Config, Connection, Credentials, DisconnectCause, Event, FlushId, HeaderMap,
    Instant, Output, Position, Positions, QueueGroup, RequestId, ServerUrl, Sid, SubjectRef, Wait,
};

pub(crate) struct Rig {
    pub(crate) connection: Connection,
    pub(crate) now: Instant,
    pub(crate) attempt: Option<Attempt>,
    pub(crate) wait: Wait,
    /// The transport takes no bytes.
    pub(crate) stalled: bool,
    log: VecDeque<String>,
    sent: Vec<u8>,
    inbox: Option<String>,
    subscriptions: BTreeMap<u64, Sid>,
    requests: Vec<RequestId>,
    flushes: Vec<FlushId>,
    headers: Option<HeaderMap>,
}

pub(crate) fn config(servers: &str) -> Config {
    let servers = servers.split(',').map(|url| ServerUrl::parse(url).unwrap()).collect();
    let mut config = Config::new(servers, [7; 32]);
    config.retain_order = true;
    // Waits of which only the upper half is random: what a scenario waits is long enough.
    config.reconnect_jitter = Duration::ZERO;
    config
}

pub(crate) const INFO: &str = r#"INFO {"server_id":"S","max_payload":1048576,"headers":true} "#;

impl Rig {
    pub(crate) fn new(config: Config) -> Self {
        let mut rig = Self {
            connection: Connection::new(config).unwrap(),
            now: Instant::from_nanos(1_000_000_000),
            attempt: None,
            wait: Wait::default(),
            stalled: false,
            log: VecDeque::new(),
            sent: Vec::new(),
            inbox: None,
            subscriptions: BTreeMap::new(),
            requests: Vec::new(),
            flushes: Vec::new(),
            headers: None,
        };
        rig.turn();
        rig
    }

    /// A connection that is up, with everything about that already expected.
    pub(crate) fn up(config: Config) -> Self {
        let mut rig = Self::new(config);
        rig.come_up();
        rig
    }

    pub(crate) fn come_up(&mut self) {
        self.command("connected");
        self.come_up_from_info();
    }

    pub(crate) fn come_up_from_info(&mut self) {
        self.feed(format!("{INFO}\r\n").as_bytes());
        self.feed(b"PONG\r\n");
        self.log.clear();
        self.sent.clear();
    }

    /// Runs a scenario; panics at the first line that is not as it says.
    #[track_caller]
    pub(crate) fn run(&mut self, scenario: &str) {
        for line in scenario.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(expected) = line.strip_prefix("! ") {
                let got = self.log.pop_front();
                assert!(matches(expected, got.as_deref()), "expected {line:?}, got {got:?}");
            } else if let Some(expected) = line.strip_prefix('>') {
                let expected = expected.trim_start();
                let got = self.next_sent();
                assert!(matches(expected, got.as_deref()), "expected {line:?}, got {got:?}");
            } else {
                self.expect_quiet(line);
                if let Some(text) = line.strip_prefix("< ") {
                    let text = unescape(text)
                        .replace("_INBOX.x", self.inbox.as_deref().unwrap_or("_INBOX.x"));
                    self.feed(format!("{text}\r\n").as_bytes());
                } else if let Some(time) = line.strip_prefix("+ ") {
                    self.advance(duration(time));
                } else {
                    self.command(line);
                }
            }
        }
        self.expect_quiet("the end");
    }

    #[track_caller]
    fn expect_quiet(&self, before: &str) {
        assert!(self.log.is_empty(), "unexpected before {before:?}: {:?}", self.log);
        let sent = String::from_utf8_lossy(&self.sent);
        assert!(sent.is_empty(), "sent, unexpectedly, before {before:?}: {sent:?}");
    }

    fn next_sent(&mut self) -> Option<String> {
        let end = self.sent.windows(2).position(|pair| pair == b"\r\n")?;
        let line: Vec<u8> = self.sent.drain(..end + 2).take(end).collect();
        let line = String::from_utf8(line).unwrap();
        if let Some(start) = line.find("_INBOX.") {
            self.inbox = Some(line[start..start + "_INBOX.".len() + 22].to_owned());
        }
        Some(match &self.inbox {
            Some(inbox) => line.replace(inbox, "_INBOX.x"),
            None => line,
        })
    }

    pub(crate) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.connection.read_buf();
            assert!(!room.is_empty(), "the connection does not read");
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            self.connection.received(count);
            bytes = &bytes[count..];
            self.turn();
        }
    }

    /// Time passes, from deadline to deadline.
    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(until) = self.wait.until.filter(|until| *until <= end) {
            // Contract, line 1.
            assert!(until > self.now, "a deadline in the past");
            self.now = until;
            self.turn();
        }
        self.now = end;
        self.turn();
    }

    /// Polls until idle, and lets the transport take what there is.
    pub(crate) fn turn(&mut self) {
        // What waited may have been taken back: then there is nothing, and that is seen at once.
        let mut nothing = 0;
        for turns in 0.. {
            assert!(turns < 1_000_000, "poll never comes to an end");
            match self.connection.poll(self.now) {
                Output::Action(action) => self.action(action),
                Output::Event(event) => self.log.push_back(describe(&event)),
                Output::Yield => {}
                Output::Idle(wait) => {
                    self.wait = wait;
                    if !wait.write || self.stalled {
                        return;
                    }
                    let before = self.sent.len();
                    self.take(usize::MAX);
                    nothing = if self.sent.len() > before { 0 } else { nothing + 1 };
                    assert!(nothing < 2, "`write` without bytes");
                }
            }
        }
    }

    /// The transport takes up to `max` bytes.
    pub(crate) fn take(&mut self, max: usize) {
        let mut left = max;
        loop {
            let out = self.connection.transmit();
            let count = out.remaining().min(left);
            if count == 0 {
                return;
            }
            self.sent.extend_from_slice(&out.chunk()[..count]);
            out.advance(count);
            left -= count;
        }
    }

    /// What was sent and not expected yet.
    pub(crate) fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// The inbox of requests, once a line of the scenario showed it.
    pub(crate) fn inbox(&self) -> &str {
        self.inbox.as_deref().unwrap_or_default()
    }

    /// What happened and was not expected yet.
    pub(crate) fn log(&mut self) -> Vec<String> {
        self.log.drain(..).collect()
    }

    fn action(&mut self, action: Action) {
        let text = match &action {
            Action::NextServer { next, .. } => {
                let hosts: Vec<_> =
                    next.servers.iter().map(|known| known.server.host().to_owned()).collect();
                let cause = next.cause.as_ref().map_or("-".to_owned(), ToString::to_string);
                let wait = next.wait.as_millis();
                format!("next {} failed {} wait {wait} ms: {cause}", hosts.join(","), next.failed)
            }
            Action::Resolve { host, .. } => format!("resolve {host}"),
            Action::Connect { address: Some(address), .. } => format!("connect {address}"),
            Action::Connect { server, .. } => format!("connect to {server}"),
            Action::StartTls { server_name, .. } => format!("tls {server_name}"),
            Action::Authorize { nonce, .. } => {
                format!("authorize {}", nonce.as_deref().unwrap_or("-"))
            }
            Action::Close { .. } => "close".to_owned(),
            other => panic!("{other:?}"),
        };
        match action {
            Action::NextServer { attempt, .. }
            | Action::Resolve { attempt, .. }
            | Action::Connect { attempt, .. } => self.attempt = Some(attempt),
            _ => {}
        }
        self.log.push_back(text);
    }

    /// Does what a line of a scenario says, then polls.
    pub(crate) fn command(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let attempt = self.attempt.unwrap_or_default();
        let now = self.now;
        let refused = |result: Result<String, String>| match result {
            Ok(text) | Err(text) => text,
        };
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        let mut answer = None;
        match words[0] {
            "choose" => {
                let server = (words[1] != "-").then(|| ServerUrl::parse(words[1]).unwrap());
                let wait = words.get(2).map(|wait| duration(wait));
                self.connection.next_server(attempt, server.as_ref(), wait, now);
            }
            "connected" => self.connection.connected(attempt, false, now),
            "connected-secure" => self.connection.connected(attempt, true, now),
            "resolved" => {
                let addresses: Vec<_> = words[1..].iter().map(|ip| ip.parse().unwrap()).collect();
                self.connection.resolved(attempt, &addresses, now);
            }
            "tls-ready" => self.connection.tls_ready(attempt, now),
            "authorize" => {
                let credentials = Credentials {
                    jwt: Some(words[1].into()),
                    signature: Some(words[2].into()),
                    ..Credentials::default()
                };
                self.connection.authorize(attempt, credentials, now);
            }
            "refused" => {
                self.connection.closed(attempt, DisconnectCause::Dial("refused".into()), now)
            }
            "no-credentials" => {
                let cause = DisconnectCause::Credentials("expired".into());
                self.connection.closed(attempt, cause, now);
            }
            "eof" => self.connection.closed(attempt, DisconnectCause::Eof, now),
            "publish" => {
                let subject = SubjectRef::new(words[1]).unwrap();
                let payload = words.get(2).copied().unwrap_or("");
                let result = self.connection.publish(
                    subject,
                    None,
                    self.headers.as_ref(),
                    payload.as_bytes(),
                );
                answer = result.err().map(|error| format!("refused: {error}"));
            }
            "ask" => {
                let subject = SubjectRef::new(words[1]).unwrap();
                let reply = SubjectRef::new(words[2]).unwrap();
                let result = self.connection.publish_request(subject, reply, None, b"?");
                answer = result.err().map(|error| format!("refused: {error}"));
            }
            "withdraw" => {
                let withdrawn = self.connection.withdraw(Position(number(1)));
                answer = Some(if withdrawn { "withdrawn" } else { "too late" }.to_owned());
            }
            "header" => {
                let mut headers = HeaderMap::new();
                headers.append(words[1], words[2]).unwrap();
                self.headers = Some(headers);
            }
            "no-headers" => self.headers = None,
            "request" => {
                let subject = SubjectRef::new(words[1]).unwrap();
                let deadline = now + duration(words[3]);
                match self.connection.request(subject, None, words[2].as_bytes(), deadline) {
                    Ok(id) => self.requests.push(id),
                    Err(error) => answer = Some(format!("refused: {error}")),
                }
            }
            "cancel" => {
                self.connection.cancel(self.requests[words[1].parse::<usize>().unwrap() - 1])
            }
            "subscribe" => {
                let queue = words.get(2).map(|name| QueueGroup::new(name).unwrap());
                match self.connection.subscribe(SubjectRef::new(words[1]).unwrap(), queue.as_ref())
                {
                    Ok(sid) => drop(self.subscriptions.insert(sid.number(), sid)),
                    Err(error) => answer = Some(format!("refused: {error}")),
                }
            }
            "subscribe-replies" => {
                match self.connection.subscribe_replies(SubjectRef::new(words[1]).unwrap()) {
                    Ok(sid) => drop(self.subscriptions.insert(sid.number(), sid)),
                    Err(error) => answer = Some(format!("refused: {error}")),
                }
            }
            "unsubscribe" => {
                let max = words.get(2).map(|_| number(2));
                self.connection.unsubscribe(self.subscriptions[&number(1)], max);
            }
            "drain-subscription" => {
                self.connection.drain_subscription(self.subscriptions[&number(1)])
            }
            "flush" => match self.connection.flush() {
                Ok(id) => self.flushes.push(id),
                Err(error) => answer = Some(refused(Err(format!("refused: {error}")))),
            },
            "cancel-flush" => {
                self.connection.cancel_flush(self.flushes[words[1].parse::<usize>().unwrap() - 1])
            }
            "drain" => self.connection.drain(),
            "queues-drained" => self.connection.queues_drained(),
            "close" => self.connection.close(duration(words[1])),
            "reconnect" => self.connection.reconnect(),
            "pause" => self.connection.pause(true),
            "resume" => self.connection.pause(false),
            "stall" => self.stalled = true,
            "unstall" => self.stalled = false,
            "take" => self.take(words[1].parse().unwrap()),
            "servers" => {
                let urls = words[1..].iter().map(|url| ServerUrl::parse(url).unwrap()).collect();
                self.connection.set_servers(urls);
            }
            other => panic!("no such command: {other}"),
        }
        self.log.extend(answer);
        self.turn();
    }
}

fn matches(expected: &str, got: Option<&str>) -> bool {
    match (expected.strip_suffix("..."), got) {
        (_, None) => false,
        (Some(start), Some(got)) => got.starts_with(start),
        (None, Some(got)) => got == expected,
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n")
}

pub(crate) fn duration(text: &str) -> Duration {
    if let Some(millis) = text.strip_suffix("ms") {
        Duration::from_millis(millis.parse().unwrap())
    } else {
        Duration::from_secs(text.strip_suffix('s').unwrap().parse().unwrap())
    }
}

fn positions(positions: &Positions) -> String {
    let ranges: Vec<_> =
        positions.ranges().map(|range| format!("{}..{}", range.start, range.end)).collect();
    if ranges.is_empty() { "-".to_owned() } else { ranges.join(",") }
}

/// One line that says all that a test wants to know of an event.
pub(crate) fn describe(event: &Event) -> String {
    match event {
        Event::Message(sid, message) => {
            let payload = String::from_utf8_lossy(message.payload());
            format!("message {} {} {payload}", sid.number(), message.subject())
        }
        Event::Response(id, Ok(message)) => {
            format!("response {} ok {}", id.index() + 1, String::from_utf8_lossy(message.payload()))
        }
        Event::Response(id, Err(error)) => format!("response {} {error}", id.index() + 1),
        Event::Flushed(_, Ok(fates)) if fates.unknown.is_empty() && fates.dropped.is_empty() => {
            "flushed".to_owned()
        }
        Event::Flushed(_, Ok(fates)) => format!(
            "flushed; confirmed {}; unknown {}; dropped {}",
            positions(&fates.confirmed.positions),
            positions(&fates.unknown.positions),
            positions(&fates.dropped.positions),
        ),
        Event::Flushed(_, Err(error)) => format!("flush failed: {error}"),
        Event::SubscriptionEnded(sid, reason) => format!("ended {} {reason}", sid.number()),
        Event::Oversized { sid, length } => format!("oversized {} {length}", sid.number()),
        Event::Writable => "writable".to_owned(),
        Event::Connected(facts) => {
            let again = if facts.again { " again" } else { "" };
            format!(
                "connected {}{again}; dropped {}",
                facts.server,
                positions(&facts.dropped.positions)
            )
        }
        Event::Disconnected(facts) => format!(
            "disconnected {}; unknown {}; kept {}; dropped {}",
            facts.cause,
            positions(&facts.unknown.positions),
            positions(&facts.kept.positions),
            positions(&facts.dropped.positions),
        ),
        Event::AttemptFailed { server, cause } => format!("failed {server} {cause}"),
        Event::ServersChanged { added, removed, ignored } => {
            let list = |urls: &[std::sync::Arc<ServerUrl>]| {
                urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
            };
            format!("servers +{} -{} ignored {ignored}", list(added), list(removed))
        }
        Event::Dropped(fate) => format!("dropped {}", positions(&fate.positions)),
        Event::LameDuck => "lame duck".to_owned(),
        Event::ServerError(error) => format!("server error: {error}"),
        Event::SubscriptionsDrained => "subscriptions drained".to_owned(),
        Event::Closed(facts) => format!(
            "closed {}; confirmed {}; unknown {}; kept {}; dropped {}",
            facts.why,
            positions(&facts.fates.confirmed.positions),
            positions(&facts.fates.unknown.positions),
            positions(&facts.fates.kept.positions),
            positions(&facts.fates.dropped.positions),
        ),
        other => panic!("{other:?}"),
    }
}

/// True when `position` is in none of the fates.
pub(crate) fn in_none(fates: &[&Positions], position: u64) -> bool {
    fates.iter().all(|positions| !positions.contains(Position(position)))
}
