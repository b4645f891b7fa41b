//! The other side of a run: a sink that discards, a blaster that sends, an echo that answers. They
//! run in threads of this process and are nobody's client, so that no run waits for a real server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{str, thread};

use memchr::{memchr, memmem};
use peers_contestant::{END, LAST, wire};

/// Bytes of one read or write.
pub(crate) const BUFFER: usize = 256 * 1024;
/// How often it is said that nothing more will come.
pub(crate) const REPEAT: Duration = Duration::from_millis(20);

/// What a server does with its clients.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// Counts the bytes and answers each PING.
    Sink,
    /// Sends this to the first subscriptions, once it is [released](Server::release).
    Blaster(Blast),
    /// Sends each publish with a reply subject back to it.
    Echo,
    /// Cuts the connection once it is [released](Server::release), and counts the subscriptions of
    /// those that follow.
    Cutter,
}

/// Messages that are sent as fast as the client reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blast {
    pub(crate) count: u64,
    pub(crate) size: usize,
    pub(crate) headers: bool,
    /// How many subscriptions get them, in turn.
    pub(crate) subscriptions: u64,
}

/// A server for one client.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    bytes: AtomicU64,
    pings: AtomicU64,
    released: Mutex<bool>,
    release: Condvar,
    gone: AtomicBool,
    /// Subscriptions of connections that were made after the release.
    subscribed: AtomicU64,
}

impl Shared {
    /// Waits for the release.
    fn wait(&self) {
        let mut released = self.released.lock().unwrap_or_else(PoisonError::into_inner);
        while !*released {
            released = self.release.wait(released).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a server has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Bytes, without PINGs.
    pub(crate) bytes: Option<u64>,
    /// Messages, of a server that counts them.
    pub(crate) messages: Option<u64>,
}

impl Server {
    pub(crate) fn start(role: Role) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut clients = Vec::new();
            // Some clients open a connection more than they use.
            while let Ok((stream, _)) = listener.accept() {
                if serving.gone.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&serving);
                // How a connection ends is the client's matter; what came over it is counted.
                clients.push(thread::spawn(move || drop(serve(stream, port, role, &shared))));
            }
            for client in clients {
                let _ = client.join();
            }
        });
        Ok(Self { port, shared, thread })
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Lets the blaster begin.
    pub(crate) fn release(&self) {
        *self.shared.released.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.release.notify_all();
    }

    /// Waits until every byte of the client, which has gone, was read.
    pub(crate) fn finish(self) -> Seen {
        self.shared.gone.store(true, Ordering::Relaxed);
        self.release();
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        let _ = self.thread.join();
        let bytes = self.shared.bytes.load(Ordering::Relaxed);
        let pings = self.shared.pings.load(Ordering::Relaxed);
        let subscribed = self.shared.subscribed.load(Ordering::Relaxed);
        Seen { bytes: Some(bytes - PING.len() as u64 * pings), messages: Some(subscribed) }
    }
}

fn serve(mut stream: TcpStream, port: u16, role: Role, shared: &Arc<Shared>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(
        format!(
            "INFO {{\"server_id\":\"PEERS\",\"server_name\":\"peers\",\"version\":\"2.15.1\",\
             \"go\":\"go1.27\",\"proto\":1,\"host\":\"127.0.0.1\",\"port\":{port},\"headers\":true,\
             \"max_payload\":8388608,\"client_id\":1,\"client_ip\":\"127.0.0.1\"}}\r\n"
        )
        .as_bytes(),
    )?;
    match role {
        Role::Sink => sink(stream, shared),
        Role::Blaster(_) | Role::Echo => answer(stream, role, shared),
        Role::Cutter => {
            let released = *shared.released.lock().unwrap_or_else(PoisonError::into_inner);
            if !released {
                let (shared, stream) = (Arc::clone(shared), stream.try_clone()?);
                thread::spawn(move || {
                    shared.wait();
                    stream.shutdown(Shutdown::Both)
                });
            }
            answer(stream, if released { Role::Cutter } else { Role::Echo }, shared)
        }
    }
}

// ---- sink --------------------------------------------------------------------------------

const PING: &[u8] = b"PING\r\n";

/// Frames are not looked at: no payload of a workload has a PING in it.
fn sink(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let ping = memmem::Finder::new(PING);
    // A PING may be cut in two: so many bytes of the last read stay in front of the next.
    let keep = PING.len() - 1;
    let mut buffer = vec![0; keep + BUFFER];
    let mut first = true;
    loop {
        let count = match stream.read(&mut buffer[keep..])? {
            0 => return Ok(()),
            count => count,
        };
        shared.bytes.fetch_add(count as u64, Ordering::Relaxed);
        let read = &buffer[..keep + count];
        if first && memmem::find(read, b"\"verbose\":true").is_some() {
            return confirm_each(&read[keep..], stream, shared);
        }
        first = false;
        let pings = ping.find_iter(read).count();
        if pings > 0 {
            shared.pings.fetch_add(pings as u64, Ordering::Relaxed);
            stream.write_all(&b"PONG\r\n".repeat(pings))?;
        }
        buffer.copy_within(count..count + keep, 0);
    }
}

/// A client that asked for it gets `+OK` for each operation, so that they must be told apart.
fn confirm_each(start: &[u8], mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut input = Input::new(stream.try_clone()?);
    input.buffer[..start.len()].copy_from_slice(start);
    input.end = start.len();
    let mut out = Vec::with_capacity(BUFFER);
    loop {
        while let Some(op) = input.next() {
            out.extend_from_slice(match op {
                Op::Ping => {
                    shared.pings.fetch_add(1, Ordering::Relaxed);
                    b"PONG\r\n"
                }
                _ => b"+OK\r\n",
            });
        }
        stream.write_all(&out)?;
        out.clear();
        match input.read()? {
            0 => return Ok(()),
            count => shared.bytes.fetch_add(count as u64, Ordering::Relaxed),
        };
    }
}

// ---- blaster and echo --------------------------------------------------------------------

fn answer(mut stream: TcpStream, role: Role, shared: &Arc<Shared>) -> io::Result<()> {
    let mut input = Input::new(stream.try_clone()?);
    let mut subscriptions: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut verbose = false;
    let mut out = Vec::with_capacity(BUFFER);
    let mut blasting = None;
    let writing = Arc::new(Mutex::new(stream.try_clone()?));
    loop {
        while let Some(op) = input.next() {
            match op {
                Op::Ping => out.extend_from_slice(b"PONG\r\n"),
                Op::Publish { reply: Some(reply), payload } => {
                    let sid = sid_of(reply, &subscriptions);
                    let mut length = [0; 20];
                    for part in [
                        b"MSG ",
                        reply,
                        b" ",
                        sid,
                        b" ",
                        digits(payload.len(), &mut length),
                        b"\r\n",
                        payload,
                        b"\r\n",
                    ] {
                        out.extend_from_slice(part);
                    }
                }
                Op::Subscribe { .. } if matches!(role, Role::Cutter) => {
                    shared.subscribed.fetch_add(1, Ordering::Relaxed);
                }
                Op::Subscribe { subject, sid } => {
                    subscriptions.push((subject.to_vec(), sid.to_vec()));
                    if let (Role::Blaster(blast), None) = (role, &blasting)
                        && subscriptions.len() as u64 == blast.subscriptions
                    {
                        let to = subscriptions.clone();
                        let (writing, shared) = (Arc::clone(&writing), Arc::clone(shared));
                        blasting = Some(thread::spawn(move || send(blast, &to, &writing, &shared)));
                    }
                }
                Op::Unsubscribe { sid } => subscriptions.retain(|(_, known)| known != sid),
                Op::Connect { verbose: wanted } => verbose = wanted,
                Op::Publish { .. } | Op::Other => {}
            }
            if verbose && !out.ends_with(b"PONG\r\n") {
                out.extend_from_slice(b"+OK\r\n");
            }
        }
        if !out.is_empty() {
            writing.lock().unwrap_or_else(PoisonError::into_inner).write_all(&out)?;
            out.clear();
        }
        if input.read()? == 0 {
            break;
        }
    }
    // The end of the blast, if it still goes on.
    let _ = stream.shutdown(Shutdown::Both);
    let _ = stream.flush();
    if let Some(blasting) = blasting {
        let _ = blasting.join();
    }
    Ok(())
}

/// The subscription that the reply goes to: the newest that is equal or a wildcard above it.
fn sid_of<'a>(reply: &[u8], subscriptions: &'a [(Vec<u8>, Vec<u8>)]) -> &'a [u8] {
    let hit = subscriptions.iter().rev().find(|(subject, _)| match subject.split_last() {
        Some((b'*' | b'>', prefix)) => reply.starts_with(prefix),
        _ => reply == subject,
    });
    hit.map_or(b"0", |(_, sid)| sid)
}

fn digits(number: usize, buffer: &mut [u8; 20]) -> &[u8] {
    let mut rest = number;
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            return &buffer[at..];
        }
    }
}

/// Sends the messages in rounds, one to each subscription, marks those of the last round, and then
/// says again and again that it was the last.
fn send(
    blast: Blast,
    to: &[(Vec<u8>, Vec<u8>)],
    writing: &Mutex<TcpStream>,
    shared: &Shared,
) -> io::Result<()> {
    let round = |first: u8| {
        let mut payload = vec![b'x'; blast.size];
        payload[0] = first;
        let each = to.iter().map(|(subject, sid)| {
            let (subject, sid) = (String::from_utf8_lossy(subject), String::from_utf8_lossy(sid));
            wire::message(&subject, &sid, blast.headers, &payload)
        });
        each.collect::<Vec<_>>().concat()
    };
    let (usual, last, end) = (round(b'x'), round(LAST), round(END));
    let rounds = blast.count / blast.subscriptions;
    let block = (BUFFER / usual.len()).max(1);
    let bytes = usual.repeat(block);
    let write =
        |bytes: &[u8]| writing.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes);
    shared.wait();
    let mut left = rounds.saturating_sub(1);
    while left > 0 {
        let now = left.min(block as u64);
        write(&bytes[..usual.len() * now as usize])?;
        left -= now;
    }
    write(&last)?;
    loop {
        thread::sleep(REPEAT);
        write(&end)?;
    }
}

// ---- what clients say --------------------------------------------------------------------

enum Op<'a> {
    Connect { verbose: bool },
    Ping,
    Publish { reply: Option<&'a [u8]>, payload: &'a [u8] },
    Subscribe { subject: &'a [u8], sid: &'a [u8] },
    Unsubscribe { sid: &'a [u8] },
    Other,
}

/// Bytes of a client, and how far they were understood.
struct Input {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: vec![0; 2 * BUFFER], start: 0, end: 0 }
    }

    fn read(&mut self) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            return Err(ErrorKind::OutOfMemory.into());
        }
        let count = self.stream.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// The next operation, if all of it is there.
    fn next(&mut self) -> Option<Op<'_>> {
        let (op, length) = parse(&self.buffer[self.start..self.end])?;
        self.start += length;
        Some(op)
    }
}

fn parse(bytes: &[u8]) -> Option<(Op<'_>, usize)> {
    let line_end = memchr(b'\n', bytes)? + 1;
    let line = bytes[..line_end].trim_ascii_end();
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let op = match words.next() {
        Some(b"PUB" | b"HPUB") => {
            let headers = line[0] == b'H';
            let mut rest: [&[u8]; 4] = [b""; 4];
            let mut count = 0;
            for (place, word) in rest.iter_mut().zip(words) {
                *place = word;
                count += 1;
            }
            // Subject, reply, bytes of headers, bytes of all.
            let numbers = 1 + usize::from(headers);
            let total = number(rest[count - 1]);
            let head = if headers { number(rest[count - 2]) } else { 0 };
            let end = line_end + total + 2;
            if bytes.len() < end {
                return None;
            }
            let reply = (count == 2 + numbers).then_some(rest[1]);
            let payload = &bytes[line_end + head..line_end + total];
            return Some((Op::Publish { reply, payload }, end));
        }
        Some(b"SUB") => {
            let (subject, sid) =
                (words.next().unwrap_or_default(), words.next_back().unwrap_or_default());
            Op::Subscribe { subject, sid }
        }
        Some(b"UNSUB") => Op::Unsubscribe { sid: words.next().unwrap_or_default() },
        Some(b"PING") => Op::Ping,
        Some(b"CONNECT") => {
            Op::Connect { verbose: memmem::find(line, b"\"verbose\":true").is_some() }
        }
        _ => Op::Other,
    };
    Some((op, line_end))
}

fn number(word: &[u8]) -> usize {
    str::from_utf8(word).ok().and_then(|word| word.parse().ok()).unwrap_or_default()
}
