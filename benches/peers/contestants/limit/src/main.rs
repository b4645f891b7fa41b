//! What plain blocking sockets can do: bytes that were encoded before, and nothing parsed.

mod stored;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use peers_contestant::{IN_FLIGHT, LAST, Tally, Task, Workload, done, ready, wire};

/// Bytes of one read or write.
const BUFFER: usize = 256 * 1024;
/// Enough for INFO and PONG.
const SMALL: usize = 4096;
const INBOX: &str = "_INBOX.limit";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let task = Task::from_args()?;
    let socket = Socket::connect(&task, BUFFER)?;
    let tally = match task.workload {
        Workload::Publish => publish(&task, socket, false)?,
        Workload::PublishHeaders => publish(&task, socket, true)?,
        Workload::Receive | Workload::Burst => receive(&task, socket)?,
        Workload::ReadHeaders => return Err("reading headers is no matter of a socket".into()),
        Workload::Request => request(&task, socket, 1)?,
        Workload::Requests => request(&task, socket, IN_FLIGHT)?,
        Workload::FanOut => fan_out(&task, socket)?,
        Workload::Subscriptions => subscribe(&task, socket)?,
        Workload::Idle => {
            ready()?;
            let sockets: io::Result<Vec<_>> =
                (0..task.count).map(|_| Socket::connect(&task, SMALL)).collect();
            let sockets = sockets?;
            done(&Tally::of(sockets.len() as u64))?;
            return Ok(());
        }
        Workload::Connect => {
            let frame = wire::publish(wire::SUBJECT, None, false, &task.payload());
            ready()?;
            for _ in 0..task.count {
                let mut socket = Socket::connect(&task, SMALL)?;
                socket.stream.write_all(&frame)?;
                socket.flush()?;
            }
            Tally::of(task.count)
        }
        Workload::JsPublish
        | Workload::JsWindow
        | Workload::JsConsume
        | Workload::JsRead
        | Workload::KvPut
        | Workload::KvGet
        | Workload::KvKeys
        | Workload::KvWatch => stored::stored(&task, socket)?,
        _ => return Err("not written".into()),
    };
    done(&tally)?;
    Ok(())
}

const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\
    \"version\":\"0\",\"protocol\":1,\"headers\":true}\r\n";

struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Socket {
    fn connect(task: &Task, buffer: usize) -> io::Result<Self> {
        let stream = TcpStream::connect(&task.server)?;
        stream.set_nodelay(true)?;
        let mut socket = Self { stream, buffer: vec![0; buffer] };
        socket.until(b"\r\n")?;
        socket.stream.write_all(CONNECT)?;
        socket.flush()?;
        Ok(socket)
    }

    fn read(&mut self) -> io::Result<usize> {
        match self.stream.read(&mut self.buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }

    /// Reads until this has come, in one read.
    fn until(&mut self, wanted: &[u8]) -> io::Result<()> {
        loop {
            let count = self.read()?;
            if self.buffer[..count].windows(wanted.len()).any(|bytes| bytes == wanted) {
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
    count(task, socket, frame.len() as u64 * task.count)
}

fn fan_out(task: &Task, mut socket: Socket) -> io::Result<Tally> {
    let mut round = 0;
    for number in 0..task.size as u64 {
        let (subject, sid) = (wire::numbered(number), (number + 1).to_string());
        socket.stream.write_all(format!("SUB {subject} {sid}\r\n").as_bytes())?;
        round += wire::message(&subject, &sid, false, &task.payload()).len() as u64;
    }
    socket.flush()?;
    count(task, socket, round * (task.count / task.size as u64))
}

/// Reads so many bytes.
fn count(task: &Task, mut socket: Socket, bytes: u64) -> io::Result<Tally> {
    ready()?;
    let mut left = bytes;
    let mut tail = vec![0; task.payload().len() + 2];
    while left > 0 {
        let count = socket.read()?.min(usize::try_from(left).unwrap_or(usize::MAX));
        left -= count as u64;
        if left < tail.len() as u64 {
            let bytes = &socket.buffer[..count];
            let kept = tail.len().saturating_sub(count);
            let gone = count.min(tail.len());
            tail.rotate_left(gone);
            let from = count.saturating_sub(tail.len());
            tail[kept..].copy_from_slice(&bytes[from..]);
        }
    }
    Ok(Tally { received: task.count, last: tail[0] == LAST, ..Tally::default() })
}

fn subscribe(task: &Task, mut socket: Socket) -> io::Result<Tally> {
    ready()?;
    let mut bytes = Vec::with_capacity(BUFFER);
    for number in 1..=task.count {
        writeln!(bytes, "SUB {} {number}\r", wire::numbered(number))?;
        if bytes.len() + 64 > BUFFER {
            socket.stream.write_all(&bytes)?;
            bytes.clear();
        }
    }
    socket.stream.write_all(&bytes)?;
    socket.flush()?;
    Ok(Tally::of(task.count))
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
