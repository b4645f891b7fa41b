//! The other side: discards what is published, answers requests with their payload, and sends as
//! many messages as it is asked for. It has a stream that is published to and pulled from.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener};

use midge_benches::{SUBJECT, headers, payload};
use midge_proto::wire::{ClientOp, Limits, decode_client, encode};

use crate::{Failure, PAYLOAD};

/// A message to this subject, with a number as its payload, makes the peer send so many messages.
pub(crate) const BLAST: &str = "blast";
/// The same with three headers.
pub(crate) const BLAST_HEADERS: &str = "blast.headers";

/// What is published here is acked as by a stream.
pub(crate) const STREAM_SUBJECT: &str = "stream.orders";
/// The stream, and its subject for pulls, behind which the name of the consumer stands: how many
/// messages it sends before it waits for their acks, and how many it has.
pub(crate) const STREAM: &str = "ORDERS";
const PULL: &str = "$JS.API.CONSUMER.MSG.NEXT.ORDERS.";
const ACK: &str = "$JS.ACK.";
/// When the first message was stored.
const STORED: u64 = 1_795_297_176_763_474_374;

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
    /// The number of the last message of the stream.
    stored: u64,
    consumer: Consumer,
}

/// A consumer of which messages are pulled, each to be acked.
#[derive(Debug, Default)]
struct Consumer {
    reply: Vec<u8>,
    /// Messages that were asked for and not sent.
    wanted: u64,
    sent: u64,
    acked: u64,
}

impl Consumer {
    /// Sends what was asked for, as far as it may: the name is that of the consumer.
    fn send(&mut self, name: &str, sid: &[u8], to: &mut Vec<u8>) -> Result<(), Failure> {
        let (run, all) = name.split_once('-').ok_or("a consumer is named by two numbers")?;
        let (run, all): (u64, u64) = (run.parse()?, all.parse()?);
        let payload = payload(PAYLOAD);
        if self.sent > self.acked && run < all {
            return Ok(());
        }
        for _ in 0..run.min(self.wanted).min(all - self.sent) {
            self.wanted -= 1;
            self.sent += 1;
            let Self { reply, sent, .. } = self;
            reply.clear();
            let (stored, pending) = (STORED + *sent * 1_234_567, all - *sent);
            write!(reply, "{ACK}{STREAM}.{name}.1.{sent}.{sent}.{stored}.{pending}")?;
            encode::message(to, SUBJECT.as_bytes(), sid, Some(reply), None, &payload);
        }
        Ok(())
    }
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
            ClientOp::Publish { subject, reply: Some(reply), .. }
                if subject == STREAM_SUBJECT.as_bytes() =>
            {
                self.stored += 1;
                let ack = format!(r#"{{"stream":"{STREAM}","seq":{}}}"#, self.stored);
                encode::message(&mut self.answers, reply, &self.inbox, None, None, ack.as_bytes());
            }
            ClientOp::Publish { subject, reply: Some(_), payload, .. }
                if subject.starts_with(PULL.as_bytes()) =>
            {
                let name = std::str::from_utf8(&subject[PULL.len()..])?;
                let (_, batch) = std::str::from_utf8(payload)?
                    .split_once("\"batch\":")
                    .ok_or("a pull asks for messages")?;
                let digits = batch.bytes().take_while(u8::is_ascii_digit).count();
                self.consumer.wanted += batch[..digits].parse::<u64>()?;
                self.consumer.send(name, &self.inbox, &mut self.answers)?;
            }
            ClientOp::Publish { subject, .. } if subject.starts_with(ACK.as_bytes()) => {
                self.consumer.acked += 1;
                if self.consumer.acked == self.consumer.sent {
                    let name = std::str::from_utf8(subject)?;
                    let name = name.split('.').nth(3).ok_or("the name of a consumer")?;
                    self.consumer.send(name, &self.inbox, &mut self.answers)?;
                }
            }
            ClientOp::Ping => encode::pong(&mut self.answers),
            ClientOp::Subscribe { subject, sid, .. } if subject == SUBJECT.as_bytes() => {
                self.sids.push(sid.to_vec());
            }
            // The last one: it is of the stream, if that is used.
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
