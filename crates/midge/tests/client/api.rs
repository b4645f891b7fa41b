//! A server's part of requests, and the answers to them.

use midge::Client;
use midge::jetstream::JetStream;

use crate::rig::{Rig, options};

/// What one request was.
pub(crate) struct Asked {
    pub(crate) subject: String,
    reply: String,
}

/// A server that answers as it is told.
pub(crate) struct Api {
    pub(crate) rig: Rig,
    pub(crate) client: Client,
    /// The subjects of subscriptions, and their numbers.
    subscriptions: Vec<(String, String)>,
}

impl Api {
    pub(crate) fn new() -> Self {
        let (client, rig) = Rig::connected(options());
        Self { rig, client, subscriptions: Vec::new() }
    }

    pub(crate) fn jetstream(&self) -> JetStream {
        JetStream::new(self.client.clone())
    }

    /// The requests since the last call.
    pub(crate) fn asked(&mut self) -> Vec<Asked> {
        self.rig.run();
        let sent = self.rig.announced() + &self.rig.take_sent();
        let mut all = Vec::new();
        for line in sent.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match *words.as_slice() {
                ["SUB", subject, sid] => {
                    self.subscriptions.insert(0, (subject.to_owned(), sid.to_owned()));
                }
                ["PUB" | "HPUB", subject, reply, _, ..] => {
                    all.push(Asked { subject: subject.to_owned(), reply: reply.to_owned() });
                }
                _ => {}
            }
        }
        all
    }

    fn sid(&self, reply: &str) -> &str {
        let hears = |(subject, _): &&(String, String)| match subject.strip_suffix('*') {
            Some(start) => reply.starts_with(start),
            None => subject == reply,
        };
        let found = self.subscriptions.iter().find(hears).expect("somebody waits for the answer");
        &found.1
    }

    pub(crate) fn answer(&mut self, asked: &Asked, payload: &str) {
        let (reply, sid, length) = (&asked.reply, self.sid(&asked.reply), payload.len());
        let bytes = format!("MSG {reply} {sid} {length}\r\n{payload}\r\n");
        self.rig.receive(&bytes);
    }

    /// A status without a text, such as 503.
    pub(crate) fn status(&mut self, asked: &Asked, line: &str) {
        let head = format!("NATS/1.0 {line}\r\n\r\n");
        let (reply, sid, length) = (&asked.reply, self.sid(&asked.reply), head.len());
        let bytes = format!("HMSG {reply} {sid} {length} {length}\r\n{head}\r\n");
        self.rig.receive(&bytes);
    }
}
