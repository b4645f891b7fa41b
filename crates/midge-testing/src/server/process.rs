//! One run of a server program, which ends with the test process at the latest.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::guard::{Guard, Watch};

/// How often a condition that only shows in a file is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(3);

/// A child process with its output in a file. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    watch: Watch,
    ended: Option<ExitStatus>,
    log: PathBuf,
    /// Where the output of this run starts in the log.
    log_start: u64,
}

impl Process {
    /// Starts `command` with its output appended to `log`. If this process dies without
    /// dropping it, `guard` kills it.
    pub(super) fn start(command: &Command, log: &Path, guard: &Guard) -> io::Result<Process> {
        let output = File::options().create(true).append(true).open(log)?;
        let log_start = output.metadata()?.len();
        let (mut launch, watch) = guard.watch(command)?;
        let child = launch.stdout(output.try_clone()?).stderr(output).spawn()?;
        Ok(Process { child, watch, ended: None, log: log.to_owned(), log_start })
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
        self.look(WaitIdOptions::NOHANG)
    }

    /// Waits until it ends.
    pub(super) fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.look(WaitIdOptions::empty())? {
                return Ok(status);
            }
        }
    }

    /// Kills it at once and waits until it is gone. Nothing happens if it has ended.
    pub(super) fn kill(&mut self) -> io::Result<()> {
        if self.ended.is_none() {
            self.child.kill()?;
            self.reap()?;
        }
        Ok(())
    }

    /// Whether it has ended, and how; only then is it reaped.
    fn look(&mut self, how: WaitIdOptions) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            let id = WaitId::Pid(Pid::from_child(&self.child));
            let look = how | WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            match waitid(id, look) {
                Ok(Some(_)) => self.reap()?,
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(self.ended)
    }

    fn reap(&mut self) -> io::Result<()> {
        // The guard first: it must never act on an id that is free again.
        self.watch.end(&self.child);
        self.ended = Some(self.child.wait()?);
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
