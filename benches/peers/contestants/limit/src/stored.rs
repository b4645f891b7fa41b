//! Streams and buckets of a real server: what a client that is correct has to write, and of what comes
//! no more than where each frame ends.

use std::io::{self, Write};
use std::time::Instant;

use memchr::{memchr, memrchr};
use peers_contestant::{
    BUCKET, CONSUMER, STREAM, STREAM_SUBJECT, Tally, Task, Workload, ready, wire,
};

use crate::{INBOX, Socket};

/// Messages that are asked for and have not come, at most, and at how few more are asked for.
const PULL: u64 = 500;
const REFILL: u64 = PULL / 2;
const ACK: &[u8] = b"+ACK";

/// Publishes to a stream or a bucket, or reads it.
pub(crate) fn stored(task: &Task, mut socket: Socket) -> io::Result<Tally> {
    socket.stream.write_all(format!("SUB {INBOX}.* 1\r\n").as_bytes())?;
    socket.flush()?;
    let frames = Frames { socket, start: 0, end: 0 };
    match task.workload {
        Workload::JsPublish => {
            let question = asking(STREAM_SUBJECT, &task.payload());
            one_by_one(task, frames, &[question], 0)
        }
        Workload::JsWindow => window(task, frames),
        Workload::JsConsume | Workload::JsRead => consume(task, frames),
        Workload::KvPut => {
            let subject = |number| format!("$KV.{BUCKET}.{}", wire::key(number));
            let puts = (0..task.keys()).map(|number| asking(&subject(number), &task.payload()));
            one_by_one(task, frames, &puts.collect::<Vec<_>>(), 0)
        }
        Workload::KvGet => {
            let subject = |number| {
                format!("$JS.API.DIRECT.GET.KV_{BUCKET}.$KV.{BUCKET}.{}", wire::key(number))
            };
            let gets = (0..task.keys()).map(|number| asking(&subject(number), b""));
            one_by_one(task, frames, &gets.collect::<Vec<_>>(), task.size)
        }
        _ => all_entries(task, frames),
    }
}

/// Writes one of the questions after the other, and counts the answers of at least so many bytes.
fn one_by_one(
    task: &Task,
    mut frames: Frames,
    questions: &[Vec<u8>],
    least: usize,
) -> io::Result<Tally> {
    let mut tally = Tally::default();
    ready()?;
    for question in questions.iter().cycle().take(usize::try_from(task.count).unwrap_or(usize::MAX))
    {
        let start = Instant::now();
        frames.socket.stream.write_all(question)?;
        tally.received += u64::from(frames.answer()? >= least);
        tally.took(start.elapsed());
    }
    Ok(tally)
}

/// As many messages as were acked by then are written at once.
fn window(task: &Task, mut frames: Frames) -> io::Result<Tally> {
    let question = asking(STREAM_SUBJECT, &task.payload());
    let questions = question.repeat(task.size);
    let (window, mut sent, mut acked) = (task.size as u64, 0, 0);
    ready()?;
    while acked < task.count {
        let room = (window - (sent - acked)).min(task.count - sent);
        frames.socket.stream.write_all(&questions[..question.len() * room as usize])?;
        sent += room;
        frames.read()?;
        while let Some((line, _)) = frames.next()? {
            acked += u64::from(is_message(line));
        }
    }
    Ok(Tally::of(acked))
}

/// One pull, kept filled, and the acks of what a read has brought in one write.
fn consume(task: &Task, mut frames: Frames) -> io::Result<Tally> {
    let acks = task.workload == Workload::JsConsume;
    if acks {
        let create = format!(
            "{{\"stream_name\":\"{STREAM}\",\"config\":{{\"durable_name\":\"{CONSUMER}\",\
             \"ack_policy\":\"explicit\",\"max_ack_pending\":-1}}}}"
        );
        let subject = format!("$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{CONSUMER}");
        frames.socket.stream.write_all(&asking(&subject, create.as_bytes()))?;
        frames.answer()?;
    }
    // All that comes has the same subject: what is between it and the length is the reply.
    let start = format!("MSG {STREAM_SUBJECT} 1 ").into_bytes();
    let next = format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}");
    let (mut received, mut asked) = (0, 0);
    let mut out = Vec::with_capacity(crate::BUFFER);
    ready()?;
    while received < task.count {
        if asked <= REFILL {
            let pull = format!(
                "{{\"batch\":{},\"expires\":30000000000,\"idle_heartbeat\":2000000000}}",
                PULL - asked
            );
            out.extend(asking(&next, pull.as_bytes()));
            asked = PULL;
        }
        if !out.is_empty() {
            frames.socket.stream.write_all(&out)?;
            out.clear();
        }
        frames.read()?;
        while let Some((line, _)) = frames.next()? {
            let Some(rest) = line.strip_prefix(&*start) else { continue };
            if acks {
                let reply = &rest[..memchr(b' ', rest).unwrap_or(rest.len())];
                for part in [b"PUB ", reply, b" 4\r\n", ACK, b"\r\n"] {
                    out.extend_from_slice(part);
                }
            }
            received += 1;
            asked -= 1;
        }
    }
    frames.socket.stream.write_all(&out)?;
    frames.socket.flush()?;
    Ok(Tally::of(received))
}

/// All that a bucket holds, with values or without, by one consumer and one pull.
fn all_entries(task: &Task, mut frames: Frames) -> io::Result<Tally> {
    let headers_only = task.workload == Workload::KvKeys;
    let name = format!("limit-{}", std::process::id());
    let create = format!(
        "{{\"stream_name\":\"KV_{BUCKET}\",\"config\":{{\"name\":\"{name}\",\
         \"deliver_policy\":\"last_per_subject\",\"ack_policy\":\"none\",\"max_deliver\":1,\
         \"filter_subject\":\"$KV.{BUCKET}.>\",\"headers_only\":{headers_only},\
         \"inactive_threshold\":300000000000,\"num_replicas\":1,\"mem_storage\":true}}}}"
    );
    let subject = format!("$JS.API.CONSUMER.CREATE.KV_{BUCKET}.{name}.$KV.{BUCKET}.>");
    let create = asking(&subject, create.as_bytes());
    let pull = format!("{{\"batch\":{},\"expires\":30000000000}}", task.count);
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.KV_{BUCKET}.{name}");
    let pull = asking(&subject, pull.as_bytes());
    let delete = asking(&format!("$JS.API.CONSUMER.DELETE.KV_{BUCKET}.{name}"), b"");
    let least = if headers_only { 0 } else { task.size };
    let mut received = 0;
    ready()?;
    frames.socket.stream.write_all(&create)?;
    frames.answer()?;
    frames.socket.stream.write_all(&pull)?;
    while received < task.count {
        frames.read()?;
        while let Some((line, length)) = frames.next()? {
            let is_entry = line.starts_with(b"MSG $KV.") || line.starts_with(b"HMSG $KV.");
            received += u64::from(is_entry && length >= least);
        }
    }
    frames.socket.stream.write_all(&delete)?;
    frames.answer()?;
    Ok(Tally::of(received))
}

fn asking(subject: &str, payload: &[u8]) -> Vec<u8> {
    wire::publish(subject, Some(&format!("{INBOX}.0001")), false, payload)
}

/// What was read and not looked at yet.
struct Frames {
    socket: Socket,
    start: usize,
    end: usize,
}

impl Frames {
    /// Reads once, behind what is left of a frame.
    fn read(&mut self) -> io::Result<()> {
        let buffer = &mut self.socket.buffer;
        buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        match io::Read::read(&mut self.socket.stream, &mut buffer[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }

    /// The line of the next frame that is here whole, and the bytes of headers and payload.
    fn next(&mut self) -> io::Result<Option<(&[u8], usize)>> {
        let bytes = &self.socket.buffer[self.start..self.end];
        let Some(line_end) = memchr(b'\n', bytes) else { return Ok(None) };
        let line = &bytes[..line_end.saturating_sub(1)];
        let length = if is_message(line) { number(line) } else { 0 };
        let whole = line_end + 1 + if is_message(line) { length + 2 } else { 0 };
        if bytes.len() < whole {
            return Ok(None);
        }
        if line == b"PING" {
            self.socket.stream.write_all(b"PONG\r\n")?;
        } else if line.starts_with(b"-ERR") {
            return Err(io::Error::other(String::from_utf8_lossy(line)));
        }
        self.start += whole;
        Ok(Some((line, length)))
    }

    /// Waits for a message. Its bytes.
    fn answer(&mut self) -> io::Result<usize> {
        loop {
            while let Some((line, length)) = self.next()? {
                if is_message(line) {
                    return Ok(length);
                }
            }
            self.read()?;
        }
    }
}

fn is_message(line: &[u8]) -> bool {
    line.starts_with(b"MSG ") || line.starts_with(b"HMSG ")
}

/// The last word of a line.
fn number(line: &[u8]) -> usize {
    let digits = &line[memrchr(b' ', line).map_or(0, |blank| blank + 1)..];
    digits.iter().fold(0, |number, digit| number * 10 + usize::from(digit & 15))
}
