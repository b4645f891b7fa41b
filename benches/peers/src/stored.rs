//! What the stream and the bucket of a real server hold before a run, made here so that each
//! contestant finds the same, and what the server says of them after it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use peers_contestant::{BUCKET, CONSUMER, KEYS, STREAM, STREAM_SUBJECT, wire};
use serde_json::{Value, json};

use crate::workload::{Kind, Workload};

const INBOX: &str = "_INBOX.peers";
/// Messages that the server is given until it has said that it has stored them.
const BLOCK: u64 = 2_048;
/// How long acks may be on their way.
const PATIENCE: Duration = Duration::from_secs(2);

/// A connection that asks.
#[derive(Debug)]
pub(crate) struct Storage {
    out: TcpStream,
    input: BufReader<TcpStream>,
    /// What the bucket holds, if no run has changed it since.
    filled: Option<(u64, usize)>,
}

impl Storage {
    pub(crate) fn connect(port: u16) -> io::Result<Self> {
        let mut out = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        out.set_nodelay(true)?;
        let hello = format!("CONNECT {{\"verbose\":false}}\r\nSUB {INBOX} 1\r\n");
        out.write_all(hello.as_bytes())?;
        let input = BufReader::new(out.try_clone()?);
        Ok(Self { out, input, filled: None })
    }

    /// Makes what a workload begins with.
    pub(crate) fn prepare(&mut self, workload: Workload, count: u64) -> io::Result<()> {
        if !workload.kind.is_bucket() {
            self.make(json!({
                "name": STREAM, "subjects": [STREAM_SUBJECT], "storage": "memory",
                "retention": "limits", "discard": "old", "num_replicas": 1,
                "max_consumers": -1, "max_msgs": -1, "max_bytes": -1,
            }))?;
            let reads = matches!(workload.kind, Kind::JsConsume | Kind::JsRead);
            self.fill(if reads { count } else { 0 }, workload.size, |_| STREAM_SUBJECT.to_owned())?;
            if workload.kind == Kind::JsRead {
                let config = json!({ "durable_name": CONSUMER, "ack_policy": "none" });
                let wanted = json!({ "stream_name": STREAM, "config": config });
                self.create(&format!("CONSUMER.DURABLE.CREATE.{STREAM}.{CONSUMER}"), &wanted)?;
            }
            return Ok(());
        }
        let held = match workload.kind {
            Kind::KvPut => 0,
            Kind::KvGet => KEYS,
            _ => count,
        };
        if held > 0 && self.filled == Some((held, workload.size)) {
            return Ok(());
        }
        self.make(json!({
            "name": format!("KV_{BUCKET}"), "subjects": [format!("$KV.{BUCKET}.>")],
            "storage": "memory", "retention": "limits", "discard": "new", "num_replicas": 1,
            "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_msgs_per_subject": 1,
            "allow_rollup_hdrs": true, "deny_delete": true, "allow_direct": true,
        }))?;
        self.fill(held, workload.size, |number| format!("$KV.{BUCKET}.{}", wire::key(number)))?;
        self.filled = (held > 0).then_some((held, workload.size));
        Ok(())
    }

    /// Messages that were stored, acked or delivered: `count` of them at the end of a run that was
    /// complete.
    pub(crate) fn seen(&mut self, workload: Workload, count: u64) -> io::Result<u64> {
        let (subject, place) = match workload.kind {
            Kind::JsConsume | Kind::JsRead => {
                let acked = workload.kind == Kind::JsConsume;
                let place = if acked { "/ack_floor/stream_seq" } else { "/delivered/stream_seq" };
                (format!("$JS.API.CONSUMER.INFO.{STREAM}.{CONSUMER}"), place)
            }
            kind if kind.is_bucket() => {
                (format!("$JS.API.STREAM.INFO.KV_{BUCKET}"), "/state/last_seq")
            }
            _ => (format!("$JS.API.STREAM.INFO.{STREAM}"), "/state/last_seq"),
        };
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(&subject, b"")?;
            let seen = answer.pointer(place).and_then(Value::as_u64);
            let seen = seen.ok_or_else(|| io::Error::other(format!("{subject}: {answer}")))?;
            // An ack that nobody waits for is counted a little later.
            if seen >= count || Instant::now() > until {
                return Ok(seen);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Makes a stream, in the place of one that is there.
    fn make(&mut self, config: Value) -> io::Result<()> {
        let name = config["name"].as_str().unwrap_or_default();
        self.ask(&format!("$JS.API.STREAM.DELETE.{name}"), b"")?;
        self.create(&format!("STREAM.CREATE.{name}"), &config)
    }

    fn create(&mut self, what: &str, wanted: &Value) -> io::Result<()> {
        let subject = format!("$JS.API.{what}");
        let answer = self.ask(&subject, wanted.to_string().as_bytes())?;
        match answer.get("error") {
            None => Ok(()),
            Some(error) => Err(io::Error::other(format!("{subject}: {error}"))),
        }
    }

    fn fill(&mut self, count: u64, size: usize, subject: impl Fn(u64) -> String) -> io::Result<()> {
        let payload = vec![b'x'; size];
        let mut block = Vec::new();
        for number in 0..count {
            // The server stores in order: the ack of the last one is that of all of them.
            if number + 1 == count || (number + 1) % BLOCK == 0 {
                self.out.write_all(&block)?;
                block.clear();
                let ack = self.ask(&subject(number), &payload)?;
                if ack.get("seq").and_then(Value::as_u64) != Some(number + 1) {
                    return Err(io::Error::other(format!("message {} got {ack}", number + 1)));
                }
            } else {
                block.extend_from_slice(&wire::publish(&subject(number), None, false, &payload));
            }
        }
        Ok(())
    }

    /// One request, one answer.
    fn ask(&mut self, subject: &str, payload: &[u8]) -> io::Result<Value> {
        self.out.write_all(&wire::publish(subject, Some(INBOX), false, payload))?;
        loop {
            let mut line = String::new();
            if self.input.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("MSG") => {
                    let length = words.last().and_then(|length| length.parse::<usize>().ok());
                    let length = length.ok_or_else(|| io::Error::other(line.clone()))?;
                    let mut payload = vec![0; length + 2];
                    self.input.read_exact(&mut payload)?;
                    return Ok(serde_json::from_slice(&payload)?);
                }
                Some("PING") => self.out.write_all(b"PONG\r\n")?,
                Some("-ERR") => return Err(io::Error::other(line)),
                _ => {}
            }
        }
    }
}
