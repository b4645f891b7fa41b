//! Plays the part of a driver and its socket, and writes down what both see.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};
use core::time::Duration;

use bytes::Buf;
use midge_proto::{
    Action, Attempt, Config, Connection, DisconnectCause, Event, Fate, HeaderMap, Instant, Message,
    Output, Timer, Wait,
};

use crate::{Console, Failed, refused, subject};

const TRANSCRIPT: &str = include_str!("transcript.txt");

const INFO: &str = r#"INFO {"server_id":"S","version":"2.15.1","proto":1,"headers":true,"max_payload":1048576,"client_id":7,"connect_urls":["10.0.0.1:4222","10.0.0.2:4222"]}"#;

/// Reads come in pieces of so many bytes, so that frames are cut everywhere.
const PIECE: usize = 7;

pub(crate) struct Player<'a, C> {
    connection: Connection,
    console: &'a mut C,
    expected: core::str::Lines<'static>,
    lines: usize,
    wrong: Option<Failed>,
    now: Instant,
    attempt: Attempt,
    wait: Wait,
    /// The reply subject of the last request that was written.
    inbox: String,
}

impl<'a, C: Console> Player<'a, C> {
    pub(crate) fn new(console: &'a mut C, config: Config) -> Result<Self, Failed> {
        Ok(Self {
            connection: Connection::new(config)?,
            console,
            expected: TRANSCRIPT.lines(),
            lines: 0,
            wrong: None,
            now: Instant::ZERO,
            attempt: Attempt::default(),
            wait: Wait::default(),
            inbox: String::new(),
        })
    }

    // ---- what an application does --------------------------------------------------------

    pub(crate) fn subscribe(&mut self, to: &str) -> Result<(), Failed> {
        let sid = self.connection.subscribe(subject(to)?, None).map_err(refused)?;
        self.line(&format!("subscribe {to}: {}", sid.number()));
        Ok(())
    }

    pub(crate) fn publish(
        &mut self,
        to: &str,
        headers: Option<&HeaderMap>,
        payload: &[u8],
    ) -> Result<(), Failed> {
        let position =
            self.connection.publish(subject(to)?, None, headers, payload).map_err(refused)?;
        self.line(&format!("publish {to}: {position}"));
        Ok(())
    }

    pub(crate) fn request(
        &mut self,
        to: &str,
        payload: &[u8],
        timeout: Duration,
    ) -> Result<(), Failed> {
        let deadline = self.now + timeout;
        let id = self.connection.request(subject(to)?, None, payload, deadline).map_err(refused)?;
        self.line(&format!("request {to}: {}", id.number()));
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failed> {
        self.connection.flush().map_err(refused)?;
        self.line("flush");
        Ok(())
    }

    pub(crate) fn close(&mut self) {
        self.connection.close(Duration::from_secs(2));
        self.turn();
    }

    pub(crate) fn last_inbox(&self) -> String {
        self.inbox.clone()
    }

    // ---- what a network does -------------------------------------------------------------

    /// The transport that was asked for is open.
    pub(crate) fn open(&mut self) {
        self.line("the transport is open");
        self.connection.connected(self.attempt, false, self.now);
        self.turn();
    }

    /// The transport is lost, or could not be opened.
    pub(crate) fn lose(&mut self, cause: DisconnectCause) {
        self.line(&format!("the transport is gone: {cause}"));
        self.connection.closed(self.attempt, cause, self.now);
        self.turn();
    }

    /// The server sends `text`.
    pub(crate) fn feed(&mut self, text: &str) {
        self.line(&format!("< {}", shown(text.as_bytes())));
        for piece in text.as_bytes().chunks(PIECE) {
            let mut rest = piece;
            while !rest.is_empty() {
                let room = self.connection.read_buf();
                let count = room.len().min(rest.len());
                if count == 0 {
                    return self.turn();
                }
                room[..count].copy_from_slice(&rest[..count]);
                self.connection.received(count);
                rest = &rest[count..];
                self.turn();
            }
        }
    }

    /// The server says hello and answers the first PING.
    pub(crate) fn greet(&mut self) {
        self.feed_all(&[INFO, "\r\n"]);
        self.feed("PONG\r\n");
    }

    pub(crate) fn feed_all(&mut self, texts: &[&str]) {
        self.feed(&texts.concat());
    }

    /// The socket takes `count` bytes, and no more.
    pub(crate) fn take(&mut self, count: usize) {
        let mut taken = String::new();
        let out = self.connection.transmit();
        for byte in out.chunk().iter().take(count) {
            taken.push((*byte).into());
        }
        let count = count.min(out.remaining());
        out.advance(count);
        self.line(&format!("> {}", shown(taken.as_bytes())));
    }

    /// Time passes up to the next deadline.
    pub(crate) fn sleep(&mut self) {
        if let Wait { until: Some(until), reason: Some(reason), .. } = self.wait {
            self.line(match reason {
                Timer::Request => "time passes, until a request is too old",
                Timer::Reconnect => "time passes, until the next attempt",
                _ => "time passes, for a reason that nobody expects",
            });
            self.now = until;
        }
        self.turn();
    }

    // ---- the loop of a driver ------------------------------------------------------------

    /// Does and writes down everything that there is to do now.
    pub(crate) fn turn(&mut self) {
        loop {
            match self.connection.poll(self.now) {
                Output::Action(action) => self.act(&action),
                Output::Event(event) => self.tell(&event),
                Output::Yield => {}
                Output::Idle(wait) if wait.write => self.write(),
                Output::Idle(wait) => {
                    self.wait = wait;
                    return;
                }
            }
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Connect { attempt, address, .. } => {
                self.attempt = *attempt;
                match address {
                    Some(address) => self.line(&format!("connect to {address}")),
                    None => self.line("connect"),
                }
            }
            Action::Close { .. } => self.line("close the transport"),
            // Its `Debug` would cost more than all that the session needs.
            _ => self.line("an action that nobody expects"),
        }
    }

    fn write(&mut self) {
        let out = self.connection.transmit();
        let mut text = format!("> {}", shown(out.chunk()));
        let count = out.remaining();
        let inbox = out.chunk().split(|byte| b" \r\n".contains(byte));
        let inbox = inbox.rev().find(|word| word.starts_with(b"_INBOX.") && !word.ends_with(b"*"));
        if let Some(inbox) = inbox {
            self.inbox = String::from_utf8_lossy(inbox).into_owned();
        }
        out.advance(count);
        if count == 0 {
            text = "there is nothing to write, though the connection says so".into();
        }
        self.line(&text);
    }

    fn tell(&mut self, event: &Event) {
        let mut text = String::new();
        let told = match event {
            Event::Message(sid, message) => {
                write!(text, "message for {}: {}", sid.number(), Shown(message))
            }
            Event::Response(id, Ok(reply)) => {
                write!(text, "reply to {}: {}", id.number(), Shown(reply))
            }
            Event::Response(id, Err(error)) => write!(text, "no reply to {}: {error}", id.number()),
            Event::Flushed(_, Ok(fates)) => {
                write!(text, "flushed: confirmed {}", Counted(&fates.confirmed))
            }
            Event::Connected(facts) => {
                write!(text, "connected to {}, again: {}", facts.server, facts.again)
            }
            Event::Disconnected(facts) => write!(
                text,
                "disconnected ({}): unknown {}, kept {}, dropped {}",
                facts.cause,
                Counted(&facts.unknown),
                Counted(&facts.kept),
                Counted(&facts.dropped)
            ),
            Event::AttemptFailed { server, cause } => write!(text, "{server} failed: {cause}"),
            Event::Closed(closed) => write!(
                text,
                "{}: confirmed {}, unknown {}, kept {}, dropped {}",
                closed.why,
                Counted(&closed.fates.confirmed),
                Counted(&closed.fates.unknown),
                Counted(&closed.fates.kept),
                Counted(&closed.fates.dropped)
            ),
            Event::SubscriptionEnded(sid, why) => {
                write!(text, "subscription {} ended: {why}", sid.number())
            }
            _ => write!(text, "an event that nobody expects"),
        };
        // A `String` takes everything.
        let _ = told;
        self.line(&text);
    }

    // ---- the transcript ------------------------------------------------------------------

    pub(crate) fn note(&mut self, text: &str) {
        self.line(&format!("# {text}"));
    }

    /// Shows a line, and remembers the first that is wrong: what follows is shown all the same.
    fn line(&mut self, line: &str) {
        self.console.line(line);
        self.lines += 1;
        let expected = self.expected.next();
        if expected != Some(line) && self.wrong.is_none() {
            self.wrong = Some(Failed::Line { number: self.lines, expected, found: line.into() });
        }
    }

    pub(crate) fn end(&mut self) -> Result<usize, Failed> {
        self.turn();
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        if self.expected.next().is_some() {
            return Err(Failed::Short { lines: self.lines });
        }
        Ok(self.lines)
    }
}

/// Bytes on one line: what is not printable as `\r`, `\n` or `\x..`.
fn shown(bytes: &[u8]) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        for byte in bytes {
            match byte {
                b'"' | b'\'' => f.write_char(char::from(*byte))?,
                _ => write!(f, "{}", byte.escape_ascii())?,
            }
        }
        Ok(())
    })
}

/// A message on one line.
struct Shown<'a>(&'a Message);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.0;
        write!(f, "{} `{}`", message.subject(), shown(message.payload()))?;
        match message.headers() {
            Some(headers) => {
                for (name, value) in headers.iter() {
                    write!(f, " {name}={}", shown(value))?;
                }
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// How many messages, and which.
struct Counted<'a>(&'a Fate);

impl fmt::Display for Counted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.messages)?;
        for range in self.0.positions.ranges() {
            write!(f, " [{}..{}]", range.start, range.end)?;
        }
        Ok(())
    }
}
