//! What plain blocking sockets can do: bytes that were encoded before, and nothing parsed.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use peers_contestant::{IN_FLIGHT, LAST, Tally, Task, Workload, done, ready, wire};

/// Bytes of one read or write.
const BUFFER: usize = 256 * 1024;
const INBOX: &str = "_INBOX.limit";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let task = Task::from_args()?;
    let stream = TcpStream::connect(&task.server)?;
    stream.set_nodelay(true)?;
    let mut socket = Socket { stream, buffer: vec![0; BUFFER] };
    socket.until(b"\r\n")?;
    socket.stream.write_all(
        b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"0\",\"protocol\":1,\"headers\":true}\r\n",
    )?;
    socket.flush()?;
    let tally = match task.workload {
        Workload::Publish => publish(&task, socket, false)?,
        Workload::PublishHeaders => publish(&task, socket, true)?,
        Workload::Receive => receive(&task, socket)?,
        Workload::ReadHeaders => return Err("reading headers is no matter of a socket".into()),
        Workload::Request => request(&task, socket, 1)?,
        Workload::Requests => request(&task, socket, IN_FLIGHT)?,
    };
    done(&tally)?;
    Ok(())
}

struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Socket {
    fn read(&mut self) -> io::Result<usize> {
        match self.stream.read(&mut self.buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    /// Reads until what has come ends so.
    fn until(&mut self, end: &[u8]) -> io::Result<()> {
        loop {
            let count = self.read()?;
            if self.buffer[..count].ends_with(end) {
                return Ok(());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(b"PING\r\n")?;
        self.until(b"PONG\r\n")
    }
}

fn publish(task: &Task, mut socket: Socket, headers: bool) -> io::Result<Tally> {
    let frame = wire::publish(wire::SUBJECT, None, headers, &task.payload());
    let block = (BUFFER / frame.len()).max(1);
    let bytes = frame.repeat(block);
    ready()?;
    let mut left = task.count;
    while left > 0 {
        let now = left.min(block as u64);
        socket.stream.write_all(&bytes[..frame.len() * now as usize])?;
        left -= now;
    }
    socket.flush()?;
    Ok(Tally::default())
}

/// Counts bytes; of the end it looks at the last message.
fn receive(task: &Task, mut socket: Socket) -> io::Result<Tally> {
    // `receive` and `receive-headers` are one workload to a client, which sees what comes.
    let headers = std::env::args().nth(1).is_some_and(|workload| workload.ends_with("headers"));
    socket.stream.write_all(format!("SUB {} 1\r\n", wire::SUBJECT).as_bytes())?;
    socket.flush()?;
    let frame = wire::message(wire::SUBJECT, "1", headers, &task.payload());
    ready()?;
    let mut left = frame.len() as u64 * task.count;
    let mut tail = vec![0; task.size + 2];
    while left > 0 {
        let count = socket.read()?.min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= count as u64;
        if left < tail.len() as u64 {
            let bytes = &socket.buffer[..count];
            let kept = tail.len().saturating_sub(count);
            tail.rotate_left(count.min(task.size + 2));
            let from = count.saturating_sub(tail.len());
            tail[kept..].copy_from_slice(&bytes[from..]);
        }
    }
    Ok(Tally { received: task.count, last: tail[0] == LAST, ..Tally::default() })
}

/// As many requests as are answered by then are written at once.
fn request(task: &Task, mut socket: Socket, in_flight: u64) -> io::Result<Tally> {
    socket.stream.write_all(format!("SUB {INBOX}.* 1\r\n").as_bytes())?;
    socket.flush()?;
    let inbox = format!("{INBOX}.0001");
    let question = wire::publish(wire::SUBJECT, Some(&inbox), false, &task.payload());
    let answer = wire::message(&inbox, "1", false, &task.payload()).len();
    let questions = question.repeat(in_flight as usize);
    let mut tally = Tally::default();
    ready()?;
    let (mut sent, mut bytes) = (0, 0);
    let mut start = Instant::now();
    while tally.received < task.count {
        let room = (in_flight - (sent - tally.received)).min(task.count - sent);
        socket.stream.write_all(&questions[..question.len() * room as usize])?;
        sent += room;
        loop {
            bytes += socket.read()?;
            let answers = (bytes / answer) as u64;
            if answers > 0 {
                bytes %= answer;
                tally.received += answers;
                break;
            }
        }
        if in_flight == 1 {
            tally.took(start.elapsed());
            start = Instant::now();
        }
    }
    Ok(tally)
}
