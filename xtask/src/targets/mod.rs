//! The session of `no-std` on other targets: as firmware on an emulated microcontroller, and as
//! WebAssembly under Node.js. The device of `examples` as firmware, against a real server.

mod compiler;
pub(crate) mod debian;
mod device;
mod readme;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use std::{io, thread};

use crate::missing::excuse;
use crate::{Failure, cargo};
use compiler::Compiler;

const FIRMWARE: &str = "thumbv7em-none-eabihf";
const WASM: &str = "wasm32-unknown-unknown";
/// The emulator takes a second; one that takes so long hangs.
const HANG: Duration = Duration::from_secs(120);

/// Runs both, the second also when the first failed.
pub(crate) fn test() -> Result<(), Failure> {
    let firmware = excuse(firmware());
    let wasm = excuse(wasm());
    firmware.and(wasm)
}

fn firmware() -> Result<(), Failure> {
    println!("the session as firmware ({FIRMWARE})");
    let qemu = debian::program("qemu-system-arm", "qemu-system-arm")?;
    let built = Compiler::find(FIRMWARE)?.build("midge-cortex-m")?;
    let emulator = |name: &str| {
        let mut command = Command::new(&qemu);
        command.args(["-machine", "mps2-an386", "-cpu", "cortex-m4", "-display", "none"]);
        command.args(["-monitor", "none", "-semihosting-config", "enable=on,target=native"]);
        command.arg("-kernel").arg(built.join(name));
        command
    };
    let emulate = |name: &str| -> Result<readme::Cost, Failure> {
        readme::Cost::read(&output(emulator(name).args(["-serial", "none"]))?)
    };
    let session = emulate("session")?;
    println!("  {session}");
    let empty = emulate("empty")?;
    println!("  without the core: {empty}");
    let device = device::talk(emulator("device"))?;
    println!("  a device and a real server: {device}");
    readme::check(&device, &session, &empty)
}

fn wasm() -> Result<(), Failure> {
    println!("the session as WebAssembly ({WASM})");
    let node = debian::program("node", "nodejs")?;
    let built = Compiler::find(WASM)?.build("midge-wasm")?;
    let place = cargo::root().join("no-std");
    let mut command = Command::new(node);
    command.arg(place.join("wasm/run.mjs")).arg(built.join("midge_wasm.wasm"));
    print!("  {}", output(command.arg(place.join("session/src/transcript.txt")))?);
    Ok(())
}

/// What a program says, if it succeeds and does not hang.
fn output(command: &mut Command) -> Result<String, Failure> {
    let name = PathBuf::from(command.get_program()).display().to_string();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (said, heard) = mpsc::channel();
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let errors = thread::spawn(move || err.map(io::read_to_string).transpose());
    thread::spawn(move || {
        // Nobody listens any more when it took too long.
        let _ = said.send(out.map(io::read_to_string).transpose());
    });
    let heard = heard.recv_timeout(HANG);
    if heard.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let complaint = errors.join().ok().transpose()?.flatten().unwrap_or_default();
    let Ok(said) = heard else {
        return Err(format!("{name} did not end within {} s: {complaint}", HANG.as_secs()).into());
    };
    let said = said?.unwrap_or_default();
    if !status.success() {
        return Err(format!("{name} ended with {status}:\n{said}{complaint}").into());
    }
    Ok(said)
}
