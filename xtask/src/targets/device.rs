//! The device as firmware, whose serial line the emulator ties to a real server.

use std::process::Command;
use std::thread;

use midge_testing::{NatsServer, Peer, ScriptError};

use super::readme::Cost;
use crate::Failure;

/// More than the device has memory for a message, and little enough for a serial line.
const OVERSIZED: usize = 32 * 1024;

/// Runs the device in `qemu`, a command that lacks only the serial line, asks it what it knows, and
/// stops it.
pub(super) fn talk(mut qemu: Command) -> Result<Cost, Failure> {
    let server = NatsServer::start()?;
    let address = format!("127.0.0.1:{}", server.port());
    let mut peer = Peer::connect(&address)?;
    peer.send("CONNECT {\"verbose\":false}\r\nSUB telemetry.* 1\r\nSUB replies 2\r\nPING\r\n")?;
    until(&mut peer, "PONG\r\n")?;
    qemu.args(["-serial", &format!("tcp:{address}")]);
    let device = thread::spawn(move || super::output(&mut qemu).map_err(|why| why.to_string()));
    let asked = ask(&mut peer);
    // When it was not asked to stop, it ends with its server.
    if asked.is_err() {
        drop(server);
    }
    let said = device.join().map_err(|_| "the thread of the emulator panicked")?;
    asked.map_err(|why| format!("the device on the emulated board: {why}; it said: {said:?}"))?;
    Cost::read(&said?)
}

fn ask(peer: &mut Peer) -> Result<(), ScriptError> {
    until(peer, "MSG telemetry.cortex 1 ")?;
    let payload = "x".repeat(3000);
    publish(peer, "echo", &payload)?;
    until(peer, &format!("MSG replies 2 3000\r\n{payload}\r\n"))?;
    publish(peer, "echo", &"x".repeat(OVERSIZED))?;
    publish(peer, "status", "")?;
    until(peer, " oversized 1 ")?;
    publish(peer, "stop", "")
}

fn publish(peer: &mut Peer, what: &str, payload: &str) -> Result<(), ScriptError> {
    peer.send(format!("PUB device.cortex.{what} replies {}\r\n{payload}\r\n", payload.len()))
}

/// Reads up to `text`, past measurements and PINGs.
fn until(peer: &mut Peer, text: &str) -> Result<(), ScriptError> {
    let text = text.as_bytes();
    peer.read_until(|bytes| bytes.windows(text.len()).any(|window| window == text))?;
    Ok(())
}
