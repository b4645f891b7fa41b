//! Two connections and a timer on one thread, over a readiness poller and nothing else.
//!
//! A sensor publishes a reading whenever the timer says so, and a display shows it. After half of
//! the readings both move to another server, or to the same one again; a server that dies is lived
//! through in the same way. `link.rs` is a whole driver; this is the loop around it.
//!
//! `cargo run -p custom-event-loop [URL [READINGS]]`

mod link;

use std::io::{ErrorKind, Write, stdout};
use std::num::NonZeroU64;
use std::time::Duration;

use link::{Link, Next};
use midge_proto::{CloseReason, Event, Instant, SubjectRef};
use mio::{Events, Poll, Token};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The time between two readings.
const TICK: Duration = Duration::from_millis(20);
/// How long the last messages may take at the end.
const LINGER: Duration = Duration::from_secs(2);

const NAMES: [&str; 2] = ["sensor", "display"];
const SENSOR: usize = 0;
const DISPLAY: usize = 1;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap_or_else(|| "nats://localhost:4222".to_owned());
    let readings = arguments.next().unwrap_or_else(|| "10".to_owned());
    watch(&url, readings.parse::<NonZeroU64>()?.get())
}

/// Runs until the display has shown so many `readings`.
fn watch(url: &str, readings: u64) -> Result<(), Failure> {
    let subject = SubjectRef::new("readings")?;
    let mut poller = Poll::new()?;
    let mut readiness = Events::with_capacity(16);
    let mut links = [Link::new(url, Token(SENSOR))?, Link::new(url, Token(DISPLAY))?];
    links[DISPLAY].connection.subscribe(subject, None)?;

    let epoch = std::time::Instant::now();
    let (mut tick, mut taken, mut shown) = (Instant::ZERO, 0_u64, 0);
    while !links.iter().all(|link| link.connection.is_closed()) {
        // The time is read once a round. A deadline is judged by it, not by what woke the thread.
        let now = Instant::ZERO + epoch.elapsed();
        if now >= tick && shown < readings {
            taken += 1;
            let reading = taken.to_string();
            links[SENSOR].connection.publish(subject, None, None, reading.as_bytes())?;
            tick = now + TICK;
        }

        // Before it waits, the loop asks each link until it has nothing more. What happened to one
        // may be work for another, so the loop waits only when nothing happened to any.
        let mut until = (shown < readings).then_some(tick);
        for index in [SENSOR, DISPLAY] {
            loop {
                let event = match links[index].next(poller.registry(), now) {
                    Next::Event(event) => event,
                    Next::Wait(deadline) => {
                        until = until.into_iter().chain(deadline).min();
                        break;
                    }
                };
                until = Some(now);
                tell(NAMES[index], &event)?;
                if let Event::Message(..) = event {
                    shown += 1;
                    for link in &mut links {
                        if shown == readings {
                            link.connection.close(LINGER);
                        } else if shown == readings / 2 {
                            link.connection.reconnect();
                        }
                    }
                }
            }
        }

        // The one place where the thread sleeps: for both sockets, both deadlines and the timer.
        let left = until.map(|until| until.saturating_since(now));
        match poller.poll(&mut readiness, left) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for ready in &readiness {
            links[ready.token().0].is_ready(ready);
        }
    }
    Ok(())
}

/// Says what happened, and fails when a connection has ended that nobody closed.
fn tell(name: &str, event: &Event) -> Result<(), Failure> {
    let mut out = stdout();
    match event {
        Event::Connected(connected) => {
            let again = if connected.again { " again" } else { "" };
            writeln!(out, "{name}: connected{again} to {}", connected.server)?;
        }
        Event::Message(_, message) => {
            writeln!(out, "{name}: reading {}", String::from_utf8_lossy(message.payload()))?;
        }
        Event::Disconnected(lost) => writeln!(
            out,
            "{name}: disconnected ({}); {} unknown, {} kept",
            lost.cause, lost.unknown.messages, lost.kept.messages
        )?,
        Event::AttemptFailed { server, cause } => writeln!(out, "{name}: {server}: {cause}")?,
        Event::Closed(closed) => {
            let fates = &closed.fates;
            writeln!(
                out,
                "{name}: {}; {} confirmed, {} unknown, {} not sent",
                closed.why,
                fates.confirmed.messages,
                fates.unknown.messages,
                fates.kept.messages + fates.dropped.messages
            )?;
            if closed.why != CloseReason::Requested {
                return Err(format!("{name}: {}", closed.why).into());
            }
        }
        _ => {}
    }
    Ok(())
}
