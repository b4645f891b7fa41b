//! Getting messages of a stream: from its leader, and directly, from a replica that may be behind.

use std::collections::BTreeMap;

use bytes::Bytes;
use data_encoding::BASE64;
use serde::Deserialize;
use serde_json::json;

use super::super::delivery::Message;
use super::super::interest::matches;
use super::api::{Answer, Error, bad_request};
use super::stream::{Stored, Stream, is_wanted};
use super::{JetStream, Say, Turn, time};

/// Which message; what else a server knows of is none here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    seq: Option<u64>,
    last_by_subj: Option<String>,
    /// Several at once, up to the limits, which are not kept here.
    multi_last: Option<Vec<String>>,
    #[serde(rename = "batch")]
    _batch: Option<u64>,
    #[serde(rename = "max_bytes")]
    _max_bytes: Option<u64>,
}

impl Request {
    /// Its sequence, among the messages that there are.
    fn find(&self, messages: &[Stored]) -> Option<u64> {
        let place = match (&self.last_by_subj, self.seq) {
            (Some(subject), _) => {
                let is = |it: &Stored| it.is_there() && matches(subject.as_bytes(), &it.subject);
                messages.iter().rposition(is)?
            }
            (None, sequence) => usize::try_from(sequence?.checked_sub(1)?).ok()?,
        };
        messages.get(place)?.is_there().then_some(place as u64 + 1)
    }
}

impl Stream {
    fn at(&self, sequence: u64) -> &Stored {
        &self.messages[sequence as usize - 1]
    }

    /// As the leader answers.
    pub(super) fn get(&self, payload: &Bytes) -> Answer {
        let request: Request = serde_json::from_slice(payload).map_err(|_| bad_request())?;
        let none = || Error::new(404, 10_037, "no message found");
        let sequence = request.find(&self.messages).ok_or_else(none)?;
        let stored = self.at(sequence);
        let mut message = json!({
            "subject": String::from_utf8_lossy(&stored.subject), "seq": sequence,
            "time": time(stored.at)});
        if let Some(headers) = &stored.headers {
            message["hdrs"] = BASE64.encode(headers).into();
        }
        if !stored.payload.is_empty() {
            message["data"] = BASE64.encode(&stored.payload).into();
        }
        Ok(json!({ "message": message }))
    }
}

impl JetStream {
    /// As a replica answers; nobody does for a stream that does not allow it.
    pub(super) fn get_directly(
        &self,
        name: &str,
        subject: &str,
        message: &Message,
        turn: &mut Turn<'_>,
    ) {
        let Some(stream) = self.streams.get(name) else { return };
        let Some(reply) = &message.reply else { return };
        let request = match subject {
            "" => serde_json::from_slice(&message.payload),
            subject => Ok(Request { last_by_subj: Some(subject.to_owned()), ..Request::default() }),
        };
        let Ok(request) = request else {
            turn.answers.push(Say::status(reply, "408 Bad Request"));
            return;
        };
        let known = stream.messages.len().saturating_sub(self.behind);
        let known = &stream.messages[..known];
        if let Some(subjects) = &request.multi_last {
            return turn.answers.extend(stream.last_of(subjects, known, name, reply));
        }
        turn.answers.push(match request.find(known) {
            Some(sequence) => stream.say(name, sequence, "", reply),
            None => Say::status(reply, "404 Message Not Found"),
        });
    }
}

impl Stream {
    /// A message as one that is got directly is sent.
    fn say(&self, name: &str, sequence: u64, more: &str, reply: &Bytes) -> Say {
        let stored = self.at(sequence);
        let own = stored.headers.as_deref().and_then(|it| it.strip_suffix(b"\r\n"));
        let own = own.map_or("NATS/1.0\r\n".into(), String::from_utf8_lossy);
        let (subject, at) = (String::from_utf8_lossy(&stored.subject), time(stored.at));
        let headers = format!(
            "{own}Nats-Stream: {name}\r\nNats-Subject: {subject}\r\nNats-Sequence: {sequence}\r\n\
             Nats-Time-Stamp: {at}\r\n{more}\r\n"
        );
        Say { headers: Some(headers.into()), ..Say::answer(reply, stored.payload.clone()) }
    }

    /// The last message of each subject, in their order, and an end.
    fn last_of(
        &self,
        subjects: &[String],
        known: &[Stored],
        name: &str,
        reply: &Bytes,
    ) -> Vec<Say> {
        let mut last = BTreeMap::new();
        for (place, stored) in known.iter().enumerate() {
            if is_wanted(subjects, stored) {
                last.insert(&stored.subject, place as u64 + 1);
            }
        }
        let mut last: Vec<u64> = last.into_values().collect();
        last.sort_unstable();
        let Some(&end) = last.last() else { return vec![Say::status(reply, "404 No Results")] };
        let mut before = 0;
        let mut says: Vec<Say> = Vec::new();
        for (place, &sequence) in last.iter().enumerate() {
            let pending = last.len() - 1 - place;
            let more = format!("Nats-Num-Pending: {pending}\r\nNats-Last-Sequence: {before}\r\n");
            says.push(self.say(name, sequence, &more, reply));
            before = sequence;
        }
        let up_to = known.len();
        says.push(Say::status(
            reply,
            &format!(
                "204 EOB\r\nNats-Num-Pending: 0\r\nNats-Last-Sequence: {end}\r\n\
                 Nats-UpTo-Sequence: {up_to}"
            ),
        ));
        says
    }
}
