//! The other side: a thread that discards what is published, answers requests, and sends as many
//! messages as it is asked for.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::thread::JoinHandle;

use crate::transport::{Accept, Transport};
use midge::Subject;
use midge::driver::midge_proto::wire::{ClientOp, Limits, decode_client, encode};

/// A message to this subject, with a number as its payload, makes the server send that many
/// messages of 128 bytes to each subscription.
pub const BLAST: &str = "blast";

/// Requests to this subject get no reply.
pub const SILENT: &str = "silent";

/// Requests to subjects that begin so are pulls: as many messages come as their `batch` says.
const PULL: &[u8] = b"$JS.API.CONSUMER.MSG.NEXT.";

const INFO: &str = r#"{"server_id":"S","max_payload":1048576,"headers":true}"#;
/// Bytes of one write while it sends.
const WRITE_BYTES: usize = 256 * 1024;

/// A server for one connection.
#[derive(Debug)]
pub struct Server {
    url: String,
    thread: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Listens on a free port of the loopback address, in plain text.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Accept::default())
    }

    /// The same, with something between the socket and the protocol.
    pub(crate) fn start_with(accept: Accept) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("{}://localhost:{}", accept.scheme(), listener.local_addr()?.port());
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            let stream = accept.open(stream)?;
            Session { stream, answers: Vec::new(), subscriptions: Vec::new(), delivered: 0 }.serve()
        });
        Ok(Self { url, thread })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until the client has closed the connection.
    ///
    /// # Panics
    ///
    /// When serving failed.
    pub fn join(self) {
        self.thread.join().expect("the server's thread ends").expect("the server's socket works");
    }
}

struct Session {
    stream: Box<dyn Transport>,
    answers: Vec<u8>,
    subscriptions: Vec<(Subject, Vec<u8>)>,
    /// Messages of the consumer so far.
    delivered: u64,
}

impl Session {
    fn serve(mut self) -> io::Result<()> {
        encode::info(&mut self.answers, INFO.as_bytes());
        let mut input = Vec::new();
        let mut chunk = vec![0; WRITE_BYTES];
        loop {
            if !self.answers.is_empty() {
                self.stream.write_all(&self.answers)?;
            }
            self.answers.clear();
            let count = self.stream.read(&mut chunk)?;
            if count == 0 {
                return Ok(());
            }
            input.extend_from_slice(&chunk[..count]);
            let mut rest = &input[..];
            let limits = Limits::default();
            while let Some((op, len)) = decode_client(rest, &limits).map_err(io::Error::other)? {
                rest = &rest[len..];
                self.take(op)?;
            }
            let taken = input.len() - rest.len();
            input.drain(..taken);
        }
    }

    fn take(&mut self, op: ClientOp<'_>) -> io::Result<()> {
        match op {
            ClientOp::Ping => encode::pong(&mut self.answers),
            ClientOp::Subscribe { subject, sid, .. } => {
                let subject = std::str::from_utf8(subject).map_err(io::Error::other)?;
                let subject = Subject::new(subject).map_err(io::Error::other)?;
                self.subscriptions.push((subject, sid.to_vec()));
            }
            ClientOp::Publish { subject, payload, .. } if subject == BLAST.as_bytes() => {
                let text = std::str::from_utf8(payload).map_err(io::Error::other)?;
                self.blast(text.parse().map_err(io::Error::other)?)?;
            }
            ClientOp::Publish { subject, .. } if subject == SILENT.as_bytes() => {}
            ClientOp::Publish { subject, reply: Some(reply), payload, .. }
                if subject.starts_with(PULL) =>
            {
                self.deliver(reply, payload)?;
            }
            ClientOp::Publish { reply: Some(reply), payload, .. } => {
                for (pattern, sid) in &self.subscriptions {
                    if pattern.matches(reply) {
                        encode::message(&mut self.answers, reply, sid, None, None, payload);
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends what a consumer would, to the inbox that asked.
    fn deliver(&mut self, inbox: &[u8], request: &[u8]) -> io::Result<()> {
        let request = std::str::from_utf8(request).map_err(io::Error::other)?;
        let batch = request.split("\"batch\":").nth(1).unwrap_or_default();
        let batch = batch.split([',', '}']).next().unwrap_or_default();
        let batch: u64 = batch.parse().map_err(io::Error::other)?;
        for _ in 0..batch {
            self.delivered += 1;
            let number = self.delivered;
            let ack = format!("$JS.ACK.S.c.1.{number}.{number}.1795297176763474374.9");
            for (pattern, sid) in &self.subscriptions {
                if pattern.matches(inbox) {
                    let (ack, answers) = (ack.as_bytes(), &mut self.answers);
                    encode::message(answers, b"s.n", sid, Some(ack), None, &[b'x'; 128]);
                }
            }
        }
        Ok(())
    }

    fn blast(&mut self, mut messages: usize) -> io::Result<()> {
        let mut frame = Vec::new();
        for (subject, sid) in &self.subscriptions {
            encode::message(&mut frame, subject.as_bytes(), sid, None, None, &[b'x'; 128]);
        }
        let at_once = WRITE_BYTES / frame.len();
        let frames = frame.repeat(at_once);
        while messages > 0 {
            let count = messages.min(at_once);
            self.stream.write_all(&frames[..count * frame.len()])?;
            messages -= count;
        }
        Ok(())
    }
}
