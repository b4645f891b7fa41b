//! One revision of a key.

use alloc::boxed::Box;
use alloc::string::String;

use bytes::Bytes;
use core::fmt;
use core::ops::Range;
use core::str;
use midge_proto::{Headers, Message};

use super::names::BucketName;
use super::subjects::BucketSubjects;
use crate::delivery::DeliveryNumbers;
use crate::direct::{DirectGetError, refusal};
use crate::stored::StoredMessage;
use crate::time::{self, Time};

const OPERATION: &[u8] = b"KV-Operation";
const REASON: &[u8] = b"Nats-Marker-Reason";

/// What a revision did to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// It gave it a value.
    Put,
    /// It deleted it; the revisions before stay in the history.
    Delete,
    /// It deleted it, and the revisions before.
    Purge,
}

impl Operation {
    /// Reads the headers of a revision (ADR-8, ADR-48): `KV-Operation`, of which any word that is not
    /// known deletes, else the reason of a marker that the server left.
    #[must_use]
    pub fn of(headers: Option<Headers<'_>>) -> Self {
        let Some(headers) = headers else { return Self::Put };
        // Most have neither, which is seen by how their lines begin.
        let is_one = |line: &[u8]| line.starts_with(OPERATION) || line.starts_with(REASON);
        if !headers.as_bytes().split(|byte| *byte == b'\n').any(is_one) {
            return Self::Put;
        }
        let (mut operation, mut reason): (&[u8], &[u8]) = (b"", b"");
        for (name, value) in headers.iter_bytes() {
            match name {
                OPERATION => operation = value,
                REASON => reason = value,
                _ => {}
            }
        }
        Self::said(operation, reason)
    }

    /// What these words say. None is empty.
    fn said(operation: &[u8], reason: &[u8]) -> Self {
        match (operation, reason) {
            (b"PUT", _) | (b"", b"") => Self::Put,
            (b"PURGE", _) | (b"", b"MaxAge" | b"Purge") => Self::Purge,
            _ => Self::Delete,
        }
    }

    /// The word that `KV-Operation` has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "PUT",
            Self::Delete => "DEL",
            Self::Purge => "PURGE",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A message that is no revision of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Its subject is of no key of the bucket.
    #[error("message {revision} of subject {subject:?} is of no key of bucket {bucket}")]
    Subject {
        /// The bucket.
        bucket: BucketName,
        /// The subject.
        subject: String,
        /// Its number.
        revision: u64,
    },
    /// It was not delivered by a consumer.
    #[error("the message was delivered by no consumer")]
    NotDelivered,
    /// The answer to a direct get is a status, or is not of the form expected.
    #[error(transparent)]
    Direct(#[from] DirectGetError),
}

/// One revision of a key. It holds the message that brought it: key and value are not copied.
#[derive(Clone, PartialEq)]
pub struct Entry {
    bucket: BucketName,
    brought: Brought,
    /// Bytes of the subject before the key.
    prefix: usize,
    revision: u64,
    created: Time,
    delta: u64,
    operation: Operation,
}

#[derive(Clone, PartialEq)]
enum Brought {
    /// By a consumer: the subject is the key's.
    Delivered(Message),
    /// By a direct get: the subject stands here in the block of its headers.
    Direct(Message, Range<usize>),
    Stored(Box<StoredMessage>),
}

impl Entry {
    /// A message that a consumer delivered.
    ///
    /// # Errors
    ///
    /// [`EntryError`] when it is no revision of a key of this bucket.
    pub fn delivered(
        bucket: &BucketName,
        subjects: &BucketSubjects,
        message: Message,
    ) -> Result<Self, EntryError> {
        let numbers = DeliveryNumbers::of(&message).ok_or(EntryError::NotDelivered)?;
        Self::numbered(bucket, subjects, message, numbers)
    }

    /// As [`delivered`](Self::delivered), by the numbers that its reply subject has.
    ///
    /// # Errors
    ///
    /// [`EntryError::Subject`].
    pub fn numbered(
        bucket: &BucketName,
        subjects: &BucketSubjects,
        message: Message,
        numbers: DeliveryNumbers,
    ) -> Result<Self, EntryError> {
        let (revision, delta) = (numbers.stream_sequence, numbers.pending);
        let created = Time::from_unix_nanos(numbers.timestamp.into());
        check(bucket, subjects, message.subject_bytes(), revision)?;
        let operation = Operation::of(message.headers());
        let (bucket, prefix) = (bucket.clone(), subjects.prefix_len());
        let brought = Brought::Delivered(message);
        Ok(Self { bucket, brought, prefix, revision, created, delta, operation })
    }

    /// The answer to a direct get. What the server says of the message is in the last header of each
    /// name: one before may be the message's own.
    ///
    /// # Errors
    ///
    /// [`EntryError`] when it is no revision of a key of this bucket.
    pub fn direct(
        bucket: &BucketName,
        subjects: &BucketSubjects,
        message: Message,
    ) -> Result<Self, EntryError> {
        if let Some(error) = refusal(&message) {
            return Err(error.into());
        }
        let headers = message.headers().unwrap_or(Headers::from_block(b""));
        let (mut sequence, mut time_stamp, mut subject) = (None, None, None);
        let (mut operation, mut reason): (&[u8], &[u8]) = (b"", b"");
        for (name, value) in headers.iter_bytes() {
            match name {
                b"Nats-Sequence" => sequence = Some(value),
                b"Nats-Time-Stamp" => time_stamp = Some(value),
                b"Nats-Subject" => subject = Some(value),
                OPERATION => operation = value,
                REASON => reason = value,
                _ => {}
            }
        }
        let operation = Operation::said(operation, reason);
        let revision = text(sequence, "Nats-Sequence")?.parse();
        let revision =
            revision.map_err(|_| DirectGetError::Malformed { header: "Nats-Sequence" })?;
        let created = time_stamp.and_then(time::parse);
        let created = created.ok_or(DirectGetError::Malformed { header: "Nats-Time-Stamp" })?;
        let subject = text(subject, "Nats-Subject")?;
        check(bucket, subjects, subject.as_bytes(), revision)?;
        // A value is a part of the block.
        let start = subject.as_ptr().addr() - headers.as_bytes().as_ptr().addr();
        let place = start..start + subject.len();
        let (bucket, prefix) = (bucket.clone(), subjects.prefix_len());
        let brought = Brought::Direct(message, place);
        Ok(Self { bucket, brought, prefix, revision, created, delta: 0, operation })
    }

    /// A stored message.
    ///
    /// # Errors
    ///
    /// [`EntryError`] when it is no revision of a key of this bucket.
    pub fn stored(
        bucket: &BucketName,
        subjects: &BucketSubjects,
        message: StoredMessage,
    ) -> Result<Self, EntryError> {
        let (revision, created) = (message.sequence, message.time);
        check(bucket, subjects, message.subject.as_bytes(), revision)?;
        let operation = Operation::of(Some(message.headers.view()));
        let (bucket, prefix) = (bucket.clone(), subjects.prefix_len());
        let brought = Brought::Stored(Box::new(message));
        Ok(Self { bucket, brought, prefix, revision, created, delta: 0, operation })
    }

    /// The bucket.
    #[must_use]
    pub fn bucket(&self) -> &BucketName {
        &self.bucket
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        let subject = match &self.brought {
            Brought::Delivered(message) => message.subject(),
            Brought::Direct(message, place) => {
                let block = message.headers().map_or(&b""[..], Headers::as_bytes);
                let subject = block.get(place.clone()).unwrap_or_default();
                str::from_utf8(subject).unwrap_or_default()
            }
            Brought::Stored(message) => &message.subject,
        };
        subject.get(self.prefix..).unwrap_or_default()
    }

    /// The value; empty when the revision deletes, and in a watch of metadata alone.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        match &self.brought {
            Brought::Delivered(message) | Brought::Direct(message, _) => message.payload(),
            Brought::Stored(message) => &message.payload,
        }
    }

    /// The value, to keep. One of at least [`DETACH_SHARE_MIN`](Message::DETACH_SHARE_MIN) bytes is not
    /// copied; a smaller one is, since it would hold a read buffer many times its size.
    #[must_use]
    pub fn into_value(self) -> Bytes {
        match self.brought {
            Brought::Delivered(message) | Brought::Direct(message, _) => message.into_payload(),
            Brought::Stored(message) => message.payload,
        }
    }

    /// The same in memory of its own: of what came with it, nothing is held. For those that are kept.
    #[must_use]
    pub fn detached(self) -> Self {
        let brought = match self.brought {
            Brought::Delivered(message) => Brought::Delivered(message.detach()),
            Brought::Direct(message, place) => Brought::Direct(message.detach(), place),
            stored @ Brought::Stored(_) => stored,
        };
        Self { brought, ..self }
    }

    /// The size of the value in bytes, also where it was left out.
    #[must_use]
    pub fn size(&self) -> usize {
        let told = match &self.brought {
            Brought::Delivered(message) => last(message, "Nats-Msg-Size"),
            _ => None,
        };
        match told.and_then(|size| size.parse().ok()) {
            Some(size) if self.value().is_empty() => size,
            _ => self.value().len(),
        }
    }

    /// Its number: greater than that of every revision before, of any key of the bucket.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// When it was stored.
    #[must_use]
    pub fn created(&self) -> Time {
        self.created
    }

    /// How many revisions were to follow, of what was asked for, when this one was sent; 0 where one
    /// was asked for.
    #[must_use]
    pub fn delta(&self) -> u64 {
        self.delta
    }

    /// What it did to the key.
    #[must_use]
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Whether the key has a value by it.
    #[must_use]
    pub fn is_put(&self) -> bool {
        self.operation == Operation::Put
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("bucket", &self.bucket)
            .field("key", &self.key())
            .field("revision", &self.revision)
            .field("operation", &self.operation)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

fn text<'a>(value: Option<&'a [u8]>, header: &'static str) -> Result<&'a str, DirectGetError> {
    let text = value.and_then(|value| str::from_utf8(value).ok());
    text.ok_or(DirectGetError::Malformed { header })
}

fn last<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    str::from_utf8(message.headers()?.get_all(name).last()?).ok()
}

fn check(
    bucket: &BucketName,
    subjects: &BucketSubjects,
    subject: &[u8],
    revision: u64,
) -> Result<(), EntryError> {
    if subjects.have(subject) {
        return Ok(());
    }
    let subject = String::from_utf8_lossy(subject).into_owned();
    Err(EntryError::Subject { bucket: bucket.clone(), subject, revision })
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use midge_proto::{HeaderMap, SubjectRef};

    use super::*;
    use crate::ApiPrefix;
    use crate::kv::BucketConfig;

    fn bucket() -> (BucketName, BucketSubjects) {
        let stream = BucketConfig::new("b").to_stream().unwrap();
        let subjects = BucketSubjects::new(&stream, &ApiPrefix::default()).unwrap();
        (BucketName::new("b").unwrap(), subjects)
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value).unwrap();
        }
        headers
    }

    fn message(subject: &str, reply: Option<&str>, pairs: &[(&str, &str)]) -> Message {
        let headers = headers(pairs);
        let headers = (!headers.is_empty()).then_some(&headers);
        let subject = SubjectRef::new(subject).unwrap();
        let reply = reply.map(|reply| SubjectRef::new(reply).unwrap());
        Message::from_parts(subject, reply, headers, b"value")
    }

    #[test]
    fn headers_say_what_a_revision_did() {
        for (pairs, operation) in [
            (&[][..], Operation::Put),
            (&[("Color", "red")], Operation::Put),
            (&[("KV-Operation", "PUT")], Operation::Put),
            (&[("KV-Operation", "DEL")], Operation::Delete),
            (&[("KV-Operation", "PURGE"), ("Nats-Rollup", "sub")], Operation::Purge),
            (&[("KV-Operation", "SOMETHING")], Operation::Delete),
            (&[("KV-Operation", "DEL"), ("KV-Operation", "PUT")], Operation::Put),
            (&[("KV-Operation", "")], Operation::Put),
            (&[("Nats-Marker-Reason", "MaxAge"), ("KV-Operation", "PUT")], Operation::Put),
            (&[("Nats-Marker-Reason", "MaxAge"), ("KV-Operation", "DEL")], Operation::Delete),
            (&[("Nats-Marker-Reason", "MaxAge"), ("Nats-Marker-Reason", "")], Operation::Put),
            (&[("Nats-Marker-Reason", "MaxAge")], Operation::Purge),
            (&[("Nats-Marker-Reason", "Purge")], Operation::Purge),
            (&[("Nats-Marker-Reason", "Remove")], Operation::Delete),
            (&[("Nats-Marker-Reason", "Later")], Operation::Delete),
        ] {
            assert_eq!(Operation::of(Some(headers(pairs).view())), operation, "{pairs:?}");
        }
        assert_eq!(Operation::of(None), Operation::Put);
    }

    #[test]
    fn a_delivered_message_is_an_entry() {
        let (name, subjects) = bucket();
        let reply = Some("$JS.ACK.KV_b.c.1.7.3.1795297176763474374.9");
        let entry =
            Entry::delivered(&name, &subjects, message("$KV.b.hello.world", reply, &[])).unwrap();
        assert_eq!((entry.key(), entry.value(), entry.size()), ("hello.world", &b"value"[..], 5));
        assert_eq!((entry.revision(), entry.delta(), entry.is_put()), (7, 9, true));
        assert_eq!(entry.created().unix_nanos(), 1_795_297_176_763_474_374);
        let other = Entry::delivered(&name, &subjects, message("$KV.c.k", reply, &[]));
        assert!(matches!(other, Err(EntryError::Subject { revision: 7, .. })), "{other:?}");
        let bare = Entry::delivered(&name, &subjects, message("$KV.b.k", None, &[]));
        assert_eq!(bare, Err(EntryError::NotDelivered));
    }

    #[test]
    fn the_value_is_what_was_received_and_no_copy() {
        let (name, subjects) = bucket();
        let large = alloc::vec![b'x'; Message::DETACH_SHARE_MIN];
        let message = |subject, reply: Option<&str>, pairs: &[_]| {
            let reply = reply.map(|reply| SubjectRef::new(reply).unwrap());
            let headers = headers(pairs);
            let headers = (!headers.is_empty()).then_some(&headers);
            Message::from_parts(SubjectRef::new(subject).unwrap(), reply, headers, &large)
        };
        let reply = Some("$JS.ACK.KV_b.c.1.7.3.1795297176763474374.9");
        let delivered = message("$KV.b.k", reply, &[]);
        let answer = [
            ("Nats-Subject", "$KV.b.k"),
            ("Nats-Sequence", "7"),
            ("Nats-Time-Stamp", "2026-01-01T00:00:00Z"),
        ];
        let direct = message("_INBOX.x", None, &answer);
        let at = [delivered.payload().as_ptr(), direct.payload().as_ptr()];
        let delivered = Entry::delivered(&name, &subjects, delivered).unwrap();
        let direct = Entry::direct(&name, &subjects, direct).unwrap();
        for (entry, at) in [delivered, direct].into_iter().zip(at) {
            assert_eq!(entry.value().as_ptr(), at);
            assert_eq!(entry.into_value().as_ptr(), at);
        }
    }

    #[test]
    fn a_direct_answer_is_read_by_the_last_headers() {
        let (name, subjects) = bucket();
        let answer = message(
            "_INBOX.x",
            None,
            &[
                ("Nats-Subject", "$KV.b.forged"),
                ("Nats-Sequence", "99"),
                ("Nats-Time-Stamp", "1999-01-01T00:00:00Z"),
                ("Nats-Subject", "$KV.b.k"),
                ("Nats-Sequence", "7"),
                ("Nats-Time-Stamp", "2026-01-01T00:00:00Z"),
            ],
        );
        let entry = Entry::direct(&name, &subjects, answer).unwrap();
        assert_eq!((entry.key(), entry.revision()), ("k", 7));
        assert_eq!(entry.created().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(&*entry.into_value(), b"value");
        let bare = Entry::direct(&name, &subjects, message("_INBOX.x", None, &[]));
        assert!(matches!(bare, Err(EntryError::Direct(DirectGetError::Malformed { .. }))));
    }
}
