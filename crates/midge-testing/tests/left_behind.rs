//! What is left of a server when it is dropped, or when its test process ends at any moment:
//! nothing. Linux only, for its list of processes.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failed step fails the test"
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use midge_testing::NatsServer;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(10);

/// Looks until `condition` holds, for at most 10 seconds.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Processes that have `text` on their command line.
fn processes_with(text: &str) -> Vec<String> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(text))
        .collect()
}

/// Runs a test of this file a second time, as a process to be ended, with a place of its own
/// for temporary files.
struct Victim {
    process: Child,
    scratch: TempDir,
}

impl Victim {
    const ROLE: &str = "MIDGE_TESTING_VICTIM";

    /// Whether this is the second run.
    fn is_here() -> bool {
        std::env::var_os(Self::ROLE).is_some()
    }

    fn start(test: &str, binary: Option<&Path>) -> Victim {
        let scratch = tempfile::tempdir().unwrap();
        // A process that ignores signals, as those under `nohup` do, passes that on.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP,INT,TERM").arg(std::env::current_exe().unwrap());
        if let Some(binary) = binary {
            command.env("NATS_SERVER_BIN", binary);
        }
        let process = command
            .args(["--exact", test])
            .env(Self::ROLE, "1")
            .env("TMPDIR", scratch.path())
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Victim { process, scratch }
    }

    /// The second run says that it has come to the point, and stays there.
    fn stays_here() -> ! {
        // The test harness captures what `eprintln!` writes.
        std::io::stderr().write_all(b"here\n").unwrap();
        loop {
            std::thread::park();
        }
    }

    fn wait_until_here(&mut self) {
        let mut said = BufReader::new(self.process.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap() == "here"));
    }

    fn end(&self, signal: &str, whole_group: bool) {
        let target = if whole_group { "-" } else { "" }.to_owned() + &self.process.id().to_string();
        let kill = Command::new("kill").args([signal, "--", &target]).status();
        assert!(kill.unwrap().success());
    }

    /// No file, no server, no guard.
    fn assert_nothing_is_left(&mut self) {
        eventually("the end of the test process", || self.process.try_wait().unwrap().is_some());
        let scratch = self.scratch.path();
        eventually("the end of server and files", || {
            processes_with(scratch.to_str().unwrap()).is_empty()
                && std::fs::read_dir(scratch).unwrap().next().is_none()
        });
    }
}

#[test]
fn nothing_is_left_after_a_drop() {
    let server = NatsServer::start().unwrap();
    let files = server.files().to_owned();
    let running = processes_with(files.to_str().unwrap());
    assert!(running.iter().any(|line| line.contains("nats-server")), "{running:?}");
    drop(server);
    assert_eq!(processes_with(files.to_str().unwrap()), [""; 0]);
    assert!(!files.exists());
}

#[test]
fn a_server_does_not_outlive_an_ended_test_process() {
    if Victim::is_here() {
        let _server = NatsServer::start().unwrap();
        Victim::stays_here();
    }
    for (signal, whole_group) in
        [("-KILL", false), ("-KILL", true), ("-INT", true), ("-TERM", true), ("-HUP", true)]
    {
        let mut victim = Victim::start("a_server_does_not_outlive_an_ended_test_process", None);
        victim.wait_until_here();
        assert!(!processes_with(victim.scratch.path().to_str().unwrap()).is_empty());
        victim.end(signal, whole_group);
        victim.assert_nothing_is_left();
    }
}

#[test]
fn files_do_not_outlive_a_test_process_that_ends_between_kill_and_restart() {
    if Victim::is_here() {
        let mut server = NatsServer::start().unwrap();
        server.kill().unwrap();
        Victim::stays_here();
    }
    let name = "files_do_not_outlive_a_test_process_that_ends_between_kill_and_restart";
    let mut victim = Victim::start(name, None);
    victim.wait_until_here();
    assert!(std::fs::read_dir(victim.scratch.path()).unwrap().next().is_some());
    victim.end("-KILL", false);
    victim.assert_nothing_is_left();
}

/// The program itself ends the test process, with the first thing it does.
#[test]
fn a_server_does_not_outlive_a_test_process_that_ends_as_it_starts_it() {
    if Victim::is_here() {
        let _ = NatsServer::start();
        unreachable!("this process is killed before");
    }
    let name = "a_server_does_not_outlive_a_test_process_that_ends_as_it_starts_it";
    let fake = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes/deadly/nats-server");
    let mut victim = Victim::start(name, Some(&fake));
    victim.assert_nothing_is_left();
    assert_eq!(victim.process.wait().unwrap().signal(), Some(9));
}
