//! A whole session of the core against scripted bytes: connect, subscribe, publish, request, a
//! lost connection and a new one, close. Each target runs it and compares every line with
//! `transcript.txt`.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod player;

use core::fmt;
use core::time::Duration;

use alloc::string::String;
use alloc::vec;
use midge_proto::{Config, ConfigError, DisconnectCause, HeaderMap, ServerUrl, SubjectRef};

use player::Player;

/// Where a target shows what happens.
pub trait Console {
    /// One line, without its end.
    fn line(&mut self, line: &str);
}

/// Why the session did not go as it must.
#[derive(Debug)]
pub enum Failed {
    /// A line that is not the one of `transcript.txt`.
    Line {
        /// Its number, from 1.
        number: usize,
        /// What `transcript.txt` says, if it goes so far.
        expected: Option<&'static str>,
        /// What happened.
        found: String,
    },
    /// The session is over, and `transcript.txt` goes on.
    Short {
        /// The lines that there were.
        lines: usize,
    },
    /// A call was refused.
    Refused(String),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { number, expected, found } => write!(
                f,
                "line {number} is not that of no-std/session/src/transcript.txt\n expected: {}\n    found: {found}",
                expected.unwrap_or("the end")
            ),
            Self::Short { lines } => {
                write!(f, "no-std/session/src/transcript.txt goes on after line {lines}")
            }
            Self::Refused(error) => write!(f, "a call was refused: {error}"),
        }
    }
}

impl core::error::Error for Failed {}

/// Runs the session and shows each line of it. Returns the number of lines.
///
/// # Errors
///
/// [`Failed`] says where it first went wrong. When that is meant, the lines shown are the new
/// `transcript.txt`.
pub fn run(console: &mut impl Console) -> Result<usize, Failed> {
    let mut session = Player::new(console, config()?)?;

    session.note("connect");
    session.subscribe("greet.*")?;
    session.turn();
    session.open();
    session.greet();

    session.note("publish, and receive");
    let mut headers = HeaderMap::new();
    headers.insert("Trace", "42").map_err(refused)?;
    session.publish("greet.joe", Some(&headers), b"hello")?;
    session.publish("greet.ann", None, b"")?;
    session.flush()?;
    session.turn();
    session.feed("HMSG greet.joe 1 23 28\r\nNATS/1.0\r\nTrace: 42\r\n\r\nhello\r\n");
    session.feed("MSG greet.ann 1 0\r\n\r\nPONG\r\n");

    session.note("requests: one is answered, one has no responders, one waits in vain");
    session.request("time", b"?", Duration::from_secs(2))?;
    session.turn();
    let inbox = session.last_inbox();
    session.feed_all(&["MSG ", &inbox, " 2 5\r\n12:00\r\n"]);
    session.request("nobody", b"?", Duration::from_secs(2))?;
    session.turn();
    let inbox = session.last_inbox();
    session.feed_all(&["HMSG ", &inbox, " 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\n"]);
    session.request("silence", b"?", Duration::from_millis(50))?;
    session.turn();
    session.sleep();

    session.note("the server lives, and asks whether this end does");
    session.feed("PING\r\n");

    session.note("a lost connection: one message was cut, one never left, one comes later");
    session.publish("log", None, b"cut")?;
    session.take(3);
    session.publish("log", None, b"whole")?;
    session.lose(DisconnectCause::Eof);
    session.publish("log", None, b"later")?;

    session.note("the next server refuses, the one after takes what was kept");
    session.lose(DisconnectCause::Io("connection refused".into()));
    session.sleep();
    session.open();
    session.greet();
    session.feed("MSG greet.bob 1 2\r\nhi\r\n");

    session.note("what cannot be read ends a connection, and no more than that");
    session.feed("MSG greet.bob 1\r\n");

    session.note("it was the second brief one in a row, which has a wait behind it");
    session.sleep();
    session.open();
    session.greet();

    session.note("close");
    session.publish("log", None, b"last")?;
    session.close();
    session.feed("PONG\r\n");
    session.end()
}

/// Two servers, fixed randomness, the memory of a small device.
fn config() -> Result<Config, Failed> {
    let servers = vec![
        ServerUrl::parse("nats://joe:secret@10.0.0.1").map_err(refused)?,
        ServerUrl::parse("nats://joe:secret@10.0.0.2").map_err(refused)?,
    ];
    let mut config = Config::small(servers, [7; 32]);
    config.name = Some("session".into());
    // Else a release would change the transcript.
    config.version = "0".into();
    config.retain_order = true;
    Ok(config)
}

fn refused(error: impl fmt::Display) -> Failed {
    use alloc::string::ToString;
    Failed::Refused(error.to_string())
}

fn subject(subject: &str) -> Result<SubjectRef<'_>, Failed> {
    SubjectRef::new(subject).map_err(refused)
}

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        refused(error)
    }
}
