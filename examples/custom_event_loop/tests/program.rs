//! The program against a real server: through the reconnect that it asks for, and through one that
//! it does not.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use midge_testing::NatsServer;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Outcome = Result<(), Failure>;

/// Lines that take longer, all together, do not come.
const LONGEST: Duration = Duration::from_secs(20);

struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(url: &str, readings: &str) -> Result<Self, std::io::Error> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_custom-event-loop"))
            .args([url, readings])
            .stdout(Stdio::piped())
            .spawn()?;
        let out = child.stdout.take().expect("it is piped");
        let (told, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.map(|line| told.send(line)).take_while(Result::is_ok).for_each(drop);
        });
        Ok(Self { child, lines })
    }

    /// Waits until a line has come for each of `starts`, in any order.
    fn wait_for(&self, starts: &[&str]) {
        let deadline = Instant::now() + LONGEST;
        let (mut missing, mut came) = (starts.to_vec(), Vec::new());
        while !missing.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("{missing:?} did not come after {came:#?}");
            };
            missing.retain(|start| !line.starts_with(start));
            came.push(line);
        }
    }

    fn end(&mut self) -> Result<(ExitStatus, Vec<String>), Failure> {
        let deadline = Instant::now() + LONGEST;
        let mut lines = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return Ok((self.child.wait()?, lines)),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("no end after {lines:#?}").into());
                }
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_shows_readings_before_and_after_a_planned_reconnect() -> Outcome {
    let server = NatsServer::start()?;
    let (status, lines) = Program::start(&server.url(), "10")?.end()?;

    assert!(status.success(), "{lines:#?}");
    let readings: Vec<u64> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("display: reading "))
        .map(|reading| reading.parse().unwrap())
        .collect();
    assert_eq!(readings.len(), 10, "{lines:#?}");
    assert!(readings.is_sorted_by(|a, b| a < b), "{lines:#?}");
    for name in ["sensor", "display"] {
        let told: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .filter(|told| !told.starts_with("reading"))
            .map(|told| told.split([' ', ';']).next().unwrap())
            .collect();
        assert_eq!(told, ["connected", "disconnected", "connected", "closed"], "{lines:#?}");
    }
    let sums = lines.iter().find(|line| line.starts_with("sensor: closed")).unwrap();
    assert!(sums.ends_with("confirmed, 0 unknown, 0 not sent"), "{sums}");
    Ok(())
}

#[test]
fn it_lives_through_the_death_of_a_server() -> Outcome {
    let mut server = NatsServer::start()?;
    let program = Program::start(&server.url(), "1000000")?;
    program.wait_for(&["display: reading"]);

    server.kill()?;
    program.wait_for(&["sensor: disconnected", "display: disconnected"]);
    server.restart()?;

    program.wait_for(&["sensor: connected again", "display: connected again"]);
    program.wait_for(&["display: reading"]);
    Ok(())
}

#[test]
fn it_ends_when_there_is_no_server() -> Outcome {
    let nobody = midge_testing::ClosedPort::new()?;
    let (status, lines) = Program::start(&nobody.url(), "10")?.end()?;
    assert!(!status.success(), "{lines:#?}");
    Ok(())
}
