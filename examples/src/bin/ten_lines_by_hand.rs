//! The ten lines of README by hand: the core, a socket, and nothing between them.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Buf;
use midge_proto::{
    Action, CloseReason, Config, Connection, Event, Instant, Output, ServerUrl, SubjectRef, TlsMode,
};

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let servers = vec![ServerUrl::parse(&midge_examples::url())?];
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let mut config = Config::new(servers, seed);
    config.resolve = false; // that is left to `TcpStream::connect`
    config.tls = TlsMode::Never; // by default it is used where a server offers it
    let mut nats = Connection::new(config)?;
    nats.subscribe(SubjectRef::new("greet.*")?, None)?;
    nats.publish(SubjectRef::new("greet.joe")?, None, None, b"hello")?;

    let start = std::time::Instant::now();
    let mut socket = None;
    loop {
        let now = Instant::ZERO + start.elapsed();
        match (nats.poll(now), &mut socket) {
            (Output::Action(Action::Connect { attempt, server, .. }), _) => {
                socket = Some(TcpStream::connect((server.host(), server.port()))?);
                nats.connected(attempt, false, now);
            }
            (Output::Idle(wait), Some(socket)) if wait.write => {
                let written = socket.write(nats.transmit().chunk())?;
                nats.transmit().advance(written);
            }
            (Output::Idle(wait), Some(socket)) if wait.read => {
                socket.set_read_timeout(wait.until.map(|until| until - now))?;
                match socket.read(nats.read_buf()) {
                    Ok(0) => return Err("the server closed the connection".into()),
                    Ok(count) => nats.received(count),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {} // it is time
                    Err(error) => return Err(error.into()),
                }
            }
            (Output::Event(Event::Message(_, message)), _) => {
                println!("{}: {}", message.subject(), String::from_utf8_lossy(message.payload()));
                nats.close(Duration::from_secs(2)); // at most, for what is not confirmed
            }
            (Output::Event(Event::Closed(closed)), _) => match &closed.why {
                CloseReason::Requested => return Ok(()),
                why => return Err(why.to_string().into()),
            },
            _ => {}
        }
    }
}
