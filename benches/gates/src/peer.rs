//! The other side: discards what is published, answers requests with their payload, and sends as
//! many messages as it is asked for.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use midge_benches::{SUBJECT, headers, payload};
use midge_proto::wire::{ClientOp, Limits, decode_client, encode};

use crate::{Failure, PAYLOAD};

/// A message to this subject, with a number as its payload, makes the peer send so many messages.
pub(crate) const BLAST: &str = "blast";
/// The same with three headers.
pub(crate) const BLAST_HEADERS: &str = "blast.headers";

const INFO: &str = r#"{"server_id":"S","max_payload":1048576,"headers":true}"#;
/// Bytes of one read or write.
const CHUNK: usize = 256 * 1024;

/// Prints where it listens, and serves one connection until it ends.
pub(crate) fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    println!("nats://{}", listener.local_addr()?);
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut session = Session::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        stream.write_all(&session.answers)?;
        session.answers.clear();
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        session.receive(&chunk[..count], &mut stream)?;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Session {
    input: Vec<u8>,
    pub(crate) answers: Vec<u8>,
    /// Of the subscriptions to messages, which take turns.
    sids: Vec<Vec<u8>>,
    /// Of the subscription to replies.
    inbox: Vec<u8>,
}

impl Session {
    pub(crate) fn new() -> Self {
        let mut session = Self::default();
        encode::info(&mut session.answers, INFO.as_bytes());
        session
    }

    /// What it says is in `answers`; what it was asked to send goes to `stream` at once.
    pub(crate) fn receive(&mut self, bytes: &[u8], stream: &mut impl Write) -> Result<(), Failure> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        while let Some((op, len)) = decode_client(rest, &Limits::default())? {
            rest = &rest[len..];
            self.take(op, stream)?;
        }
        self.input.extend_from_slice(rest);
        Ok(())
    }

    fn take(&mut self, op: ClientOp<'_>, stream: &mut impl Write) -> Result<(), Failure> {
        match op {
            ClientOp::Ping => encode::pong(&mut self.answers),
            ClientOp::Subscribe { subject, sid, .. } if subject == SUBJECT.as_bytes() => {
                self.sids.push(sid.to_vec());
            }
            ClientOp::Subscribe { sid, .. } => self.inbox = sid.to_vec(),
            ClientOp::Publish { reply: Some(reply), payload, .. } => {
                encode::message(&mut self.answers, reply, &self.inbox, None, None, payload);
            }
            ClientOp::Publish { subject, payload: count, .. }
                if subject == BLAST.as_bytes() || subject == BLAST_HEADERS.as_bytes() =>
            {
                let headers = headers();
                let block = (subject == BLAST_HEADERS.as_bytes()).then(|| headers.as_bytes());
                let payload = payload(PAYLOAD);
                let frames = self.sids.iter().map(|sid| {
                    let mut frame = Vec::new();
                    encode::message(&mut frame, SUBJECT.as_bytes(), sid, None, block, &payload);
                    frame
                });
                let frames: Vec<_> = frames.collect();
                blast(stream, &frames, std::str::from_utf8(count)?.parse()?)?;
            }
            _ => {}
        }
        Ok(())
    }
}

fn blast(stream: &mut impl Write, frames: &[Vec<u8>], messages: usize) -> io::Result<()> {
    let mut chunk = Vec::with_capacity(CHUNK);
    for frame in frames.iter().cycle().take(messages) {
        if chunk.len() + frame.len() > CHUNK {
            stream.write_all(&chunk)?;
            chunk.clear();
        }
        chunk.extend_from_slice(frame);
    }
    stream.write_all(&chunk)
}
