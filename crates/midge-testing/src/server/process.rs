//! One run of a server program, which ends with the test process at the latest.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// How often a condition that only shows in a file is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// A child process with its output in a file. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    guard: Child,
    ended: Option<ExitStatus>,
    log: PathBuf,
    /// Where the output of this run starts in the log.
    log_start: u64,
}

impl Process {
    /// Starts `command` with its output appended to `log`. If this process dies without
    /// dropping it, the child is killed and `scratch` removed.
    pub(super) fn start(mut command: Command, log: &Path, scratch: &Path) -> io::Result<Process> {
        let output = File::options().create(true).append(true).open(log)?;
        let log_start = output.metadata()?.len();
        let mut child =
            command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).spawn()?;
        match guard(&child, scratch) {
            Ok(guard) => Ok(Process { child, guard, ended: None, log: log.to_owned(), log_start }),
            Err(error) => {
                end(&mut child)?;
                Err(error)
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        // Once it has been waited for, its id may be that of a stranger.
        if self.ended.is_some() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the server has ended"));
        }
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Stops it (SIGSTOP) and returns once all its threads stand still: the signal alone only
    /// asks for it, and an answer may still slip out.
    pub(super) fn pause(&self, within: Duration) -> io::Result<()> {
        self.signal(Signal::STOP)?;
        let id = WaitId::Pid(Pid::from_child(&self.child));
        let look = WaitIdOptions::STOPPED
            | WaitIdOptions::EXITED
            | WaitIdOptions::NOHANG
            | WaitIdOptions::NOWAIT;
        match wait_for(within, || waitid(id.clone(), look))? {
            Some(status) if status.stopped() => Ok(()),
            Some(_) => Err(io::Error::new(io::ErrorKind::NotFound, "the server has ended")),
            None => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "nats-server does not stand still"))
            }
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none()
            && let Some(status) = self.child.try_wait()?
        {
            self.ended = Some(status);
            end(&mut self.guard)?;
        }
        Ok(self.ended)
    }

    /// Kills it at once and waits until it is gone. Nothing happens if it has ended.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        if self.ended.is_none() {
            // The guard first: it must never act on an id that is free again.
            end(&mut self.guard)?;
            self.ended = Some(end(&mut self.child)?);
        }
        Ok(())
    }

    /// What this run has written so far.
    pub(super) fn log(&self) -> io::Result<String> {
        let bytes = fs::read(&self.log)?;
        let start = usize::try_from(self.log_start).map_or(bytes.len(), |at| at.min(bytes.len()));
        Ok(String::from_utf8_lossy(&bytes[start..]).into_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left who could do something about a failure.
        let _ = self.kill();
    }
}

/// Asks `condition` until it has an answer, for at most `within`. `None` if it never had one.
pub(super) fn wait_for<T, E>(
    within: Duration,
    mut condition: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let end = Instant::now() + within;
    loop {
        let late = Instant::now() >= end;
        if let Some(answer) = condition()? {
            return Ok(Some(answer));
        }
        if late {
            return Ok(None);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// A shell that waits for the end of its input, which comes when this process dies in whatever
/// way, and then kills `child`. A parent-death signal would need unsafe code between fork and
/// exec, and follows the thread that forked, not the process.
fn guard(child: &Child, scratch: &Path) -> io::Result<Child> {
    Command::new("sh")
        .args(["-c", r#"read -r _; kill -9 "$1"; rm -rf -- "$2""#, "sh"])
        .arg(child.id().to_string())
        .arg(scratch)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A signal to the test's group must not end the guard too.
        .process_group(0)
        .spawn()
}

fn end(child: &mut Child) -> io::Result<ExitStatus> {
    child.kill()?;
    child.wait()
}
