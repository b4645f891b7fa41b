//! The core of Midge, turned by hand over a blocking socket: no adapter, no queue, no other thread.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant as Clock};

use bytes::Buf;
use midge_proto::{
    Action, Config, Connection, Event, Instant, Message, Output, RequestError, RequestId,
    ServerUrl, Sid, Sink, SubjectRef,
};
use peers_contestant::{Tally, Task, Workload, done, ready, wire};

use crate::{Failure, headers, tasks};

/// Bytes that are worth a write.
const WRITE: usize = 256 * 1024;
/// Bytes of input that are looked at before the socket is asked again.
const BUDGET: usize = 256 * 1024;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the task of the command line.
///
/// # Errors
///
/// Those of connecting and of the work.
pub fn run() -> Result<(), Failure> {
    let task = Task::from_args()?;
    let mut link = Link::connect(&task)?;
    let subject = SubjectRef::new(wire::SUBJECT)?;
    let payload = task.payload();
    match task.workload {
        Workload::Publish | Workload::PublishHeaders => {
            let headers = headers()?;
            let headers = (task.workload == Workload::PublishHeaders).then_some(&headers);
            ready()?;
            for _ in 0..task.count {
                link.connection.publish(subject, None, headers, &payload)?;
                if link.connection.pending_bytes() >= WRITE {
                    link.write()?;
                }
            }
            link.flush()?;
        }
        Workload::Subscriptions => {
            ready()?;
            for number in 0..task.count {
                link.connection.subscribe(SubjectRef::new(&wire::numbered(number))?, None)?;
                // Of what waits to be written only so much is taken on.
                if number % 4096 == 0 {
                    link.write()?;
                }
            }
            link.flush()?;
            link.seen.tally = Tally::of(task.count);
        }
        Workload::Idle => {
            let mut links = Vec::with_capacity(usize::try_from(task.count)?);
            ready()?;
            for _ in 0..task.count {
                let mut link = Link::connect(&task)?;
                link.flush()?;
                links.push(link);
            }
            done(&Tally::of(links.len() as u64))?;
            return Ok(());
        }
        Workload::Connect => {
            ready()?;
            for _ in 0..task.count {
                let mut link = Link::connect(&task)?;
                link.connection.publish(subject, None, None, &payload)?;
                link.flush()?;
            }
            link.seen.tally = Tally::of(task.count);
        }
        Workload::Receive | Workload::ReadHeaders | Workload::Burst | Workload::FanOut => {
            if task.workload == Workload::FanOut {
                for number in 0..task.size as u64 {
                    link.connection.subscribe(SubjectRef::new(&wire::numbered(number))?, None)?;
                }
            } else {
                link.connection.subscribe(subject, None)?;
            }
            link.flush()?;
            ready()?;
            while !link.seen.ended {
                link.turn()?;
            }
        }
        Workload::Request | Workload::Requests => {
            let in_flight = tasks(&task).unwrap_or(1);
            link.flush()?;
            ready()?;
            let mut sent = 0;
            while link.seen.tally.received < task.count {
                while sent < task.count && sent - link.seen.tally.received < in_flight {
                    if in_flight == 1 {
                        link.seen.asked = Some(Clock::now());
                    }
                    let deadline = link.now + TIMEOUT;
                    link.connection.request(subject, None, &payload, deadline)?;
                    sent += 1;
                }
                link.turn()?;
            }
        }
        _ => return Err("not written".into()),
    }
    done(&link.seen.tally)?;
    Ok(())
}

struct Link {
    connection: Connection,
    socket: Option<TcpStream>,
    start: Clock,
    /// The time of this round: time passes while the socket is waited for.
    now: Instant,
    seen: Seen,
}

/// What came.
struct Seen {
    count: u64,
    size: usize,
    reads_headers: bool,
    tally: Tally,
    ended: bool,
    asked: Option<Clock>,
}

impl Sink for Seen {
    #[inline]
    fn message(&mut self, _: Sid, message: Message) {
        if self.reads_headers
            && let Some(headers) = message.headers()
        {
            self.tally.headers += headers.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
        }
        if !self.ended {
            self.ended = self.tally.message(message.payload(), self.count);
        }
    }

    #[inline]
    fn response(&mut self, _: RequestId, result: Result<Message, RequestError>) {
        let Ok(message) = result else { return };
        match self.asked {
            Some(start) => self.tally.reply(message.payload(), self.size, start),
            None => self.tally.received += u64::from(message.payload().len() == self.size),
        }
    }
}

impl Link {
    fn connect(task: &Task) -> Result<Self, Failure> {
        let mut config = Config::new(vec![ServerUrl::parse(&task.url())?], [7; 32]);
        config.resolve = false;
        let reads_headers = task.workload == Workload::ReadHeaders;
        let (count, size) = (task.count, task.size);
        let tally = Tally::default();
        let seen = Seen { count, size, reads_headers, tally, ended: false, asked: None };
        let connection = Connection::new(config)?;
        let (start, now) = (Clock::now(), Instant::ZERO);
        let mut link = Self { connection, socket: None, start, now, seen };
        while !link.connection.is_connected() {
            link.turn()?;
        }
        Ok(link)
    }

    /// Looks at the clock, once a round.
    fn begin_round(&mut self) {
        self.now = Instant::ZERO + self.start.elapsed();
    }

    /// Writes until the server has answered behind all that was published.
    fn flush(&mut self) -> Result<(), Failure> {
        let flush = self.connection.flush()?;
        loop {
            if let Some(Event::Flushed(id, result)) = self.turn()?
                && id == flush
            {
                result?;
                return Ok(());
            }
        }
    }

    fn write(&mut self) -> Result<(), Failure> {
        let socket = self.socket.as_mut().ok_or("no connection")?;
        let out = self.connection.transmit();
        while out.has_remaining() {
            let written = socket.write(out.chunk())?;
            out.advance(written);
        }
        Ok(())
    }

    fn read(&mut self) -> Result<(), Failure> {
        let socket = self.socket.as_mut().ok_or("no connection")?;
        match socket.read(self.connection.read_buf())? {
            0 => Err("the server closed the connection".into()),
            count => {
                self.connection.received(count);
                Ok(())
            }
        }
    }

    /// Hands messages over, and if there are none writes what there is and reads.
    fn turn(&mut self) -> Result<Option<Event>, Failure> {
        let received = self.seen.tally.received;
        match self.connection.poll_into(self.now, BUDGET, &mut self.seen) {
            Output::Action(Action::Connect { attempt, server, .. }) => {
                let socket = TcpStream::connect((server.host(), server.port()))?;
                socket.set_nodelay(true)?;
                self.socket = Some(socket);
                self.begin_round();
                self.connection.connected(attempt, false, self.now);
            }
            // What was just handed over may be the last, or make room for a request.
            Output::Idle(_) if received != self.seen.tally.received => {}
            Output::Idle(wait) => {
                if wait.write {
                    self.write()?;
                }
                if wait.read {
                    self.read()?;
                }
                self.begin_round();
            }
            Output::Event(Event::Closed(closed)) => return Err(closed.why.to_string().into()),
            Output::Event(event) => return Ok(Some(event)),
            _ => {}
        }
        Ok(None)
    }
}
