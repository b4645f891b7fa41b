//! Several keys that are written all together or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::time::Duration;

use midge_jetstream::kv::{KeyError, Operation, check_key};
use midge_jetstream::{
    ApiError, Batch, BatchError, Commit, ErrorCode, PubAck, PublishHeaders, PublishHeadersError,
    Rollup,
};
use midge_proto::{HeaderMap, RequestError};

use super::many::each;
use super::write::TooLarge;
use super::{Boxed, KeyValue};
use crate::alarm::Alarm;
use crate::jetstream::{AtomicBatch, AtomicBatchError, CallError, FeatureError};

/// The most keys that a server takes in one batch.
const MAX_ENTRIES: usize = 1_000;
/// How often a batch is tried that there is no place for.
const ATTEMPTS: u32 = 6;
/// The wait behind the first attempt, and twice as long behind each further one.
const WAIT: Duration = Duration::from_millis(100);

/// Why several keys were not written, or are not known to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteBatchError {
    /// One of them cannot be a key. Nothing was sent.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key is in it twice. Nothing was sent.
    #[error("{key:?} is in the batch twice: each key can be written once")]
    Twice {
        /// The key.
        key: String,
    },
    /// A value, or a marker, is larger than the bucket or the server takes. Nothing was stored.
    #[error("{key:?} cannot be written: {error}")]
    TooLarge {
        /// The key.
        key: String,
        /// Why.
        error: TooLarge,
    },
    /// A key that is neither created nor purged was given a TTL. Nothing was sent.
    #[error("{key:?} is neither created nor purged: only then it can have a TTL")]
    Ttl {
        /// The key.
        key: String,
    },
    /// A TTL is not one, or longer than there can be. Nothing was sent.
    #[error("{key:?} cannot be written so: {error}")]
    Headers {
        /// The key.
        key: String,
        /// Why.
        error: PublishHeadersError,
    },
    /// There are more keys than a server takes. Nothing was sent.
    #[error("the batch has {entries} keys, and {MAX_ENTRIES} can be written together at most")]
    TooMany {
        /// How many there are.
        entries: usize,
    },
    /// There is nothing to write.
    #[error("the batch has no keys: add one at least")]
    Empty,
    /// The bucket does not allow it. Nothing was sent, or nothing is stored.
    #[error("bucket {bucket} takes no keys together: update it with allow_atomic")]
    NotAllowed {
        /// The bucket that decides: of a mirror, its origin.
        bucket: String,
    },
    /// The server is too old for it, or did not say. Nothing was sent.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// It could not be found out whether the bucket allows it. Nothing was sent.
    #[error(transparent)]
    Call(CallError),
    /// A key has another revision than was expected, or a value where it was to be created. Nothing
    /// is stored.
    #[error("nothing is stored: {}", why(differing))]
    WrongRevision {
        /// The keys whose revisions are others, as their leader had them afterwards: a hint. It is
        /// empty when they could not be read, or have come to be as expected since.
        differing: Vec<Differing>,
        /// The server's words, which name no key.
        error: ApiError,
    },
    /// Too many batches are open on the server, each time it was tried. Nothing is stored.
    #[error("too many batches are open on the server, after {ATTEMPTS} attempts: try again later")]
    Busy,
    /// It failed. Nothing is stored.
    #[error(transparent)]
    Batch(AtomicBatchError),
    /// The batch was sent whole, and it is not known whether it is stored. What the keys have tells,
    /// and all of them are written or none.
    #[error("the batch may be stored, or not: {0}")]
    Unknown(AtomicBatchError),
}

impl WriteBatchError {
    /// Whether the keys may have been written nevertheless.
    #[must_use]
    pub fn may_be_stored(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// A key that has another revision than a batch expected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Differing {
    /// The key.
    pub key: String,
    /// What was expected; 0 for a key without a value.
    pub expected: u64,
    /// Its last revision; 0 where there is none.
    pub revision: u64,
}

fn why(differing: &[Differing]) -> String {
    let Some(first) = differing.first() else {
        return "a key was not as expected. Get them, and decide anew".to_owned();
    };
    let Differing { key, expected, revision } = first;
    let others = match differing.len() - 1 {
        0 => String::new(),
        others => format!(", and {others} others are not as expected either"),
    };
    format!("the last revision of {key:?} is {revision} and not {expected}{others}")
}

impl KeyValue {
    /// Writes several keys all together or not at all, 1,000 at most and each once, with the
    /// revisions that they are expected to have.
    ///
    /// `.await` gives `Result<BTreeMap<String, u64>, WriteBatchError>`: the new revision of each key.
    /// The bucket must allow it ([`allow_atomic`](super::BucketConfig::allow_atomic)); API level 2.
    ///
    /// ```no_run
    /// # async fn example(kv: &midge::kv::KeyValue) -> Result<(), Box<dyn std::error::Error>> {
    /// let entry = kv.get("stock.tea").from_leader().await?.ok_or("there is no tea")?;
    /// let revisions = kv
    ///     .batch()
    ///     .update("stock.tea", "11", entry.revision())
    ///     .create("order.4711", "one tea")
    ///     .delete("basket.sue")
    ///     .await?;
    /// println!("the order is revision {}", revisions["order.4711"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn batch(&self) -> WriteBatch<'_> {
        WriteBatch { kv: self, entries: Vec::new(), timeout: None }
    }
}

/// Keys that are about to be written together. Made by [`KeyValue::batch`].
///
/// The server learns of the revisions when all is there, and then stores everything or nothing.
/// Where too many batches are open, it is tried again up to five times within about five seconds. A
/// batch that may be stored is never sent again. What a batch adds to each message, about 100 bytes,
/// counts as part of the value where the bucket has a `max_value_size`: nothing is sent when one is
/// too large.
#[must_use = "nothing is stored until `.await`"]
pub struct WriteBatch<'a> {
    kv: &'a KeyValue,
    entries: Vec<Entry>,
    timeout: Option<Duration>,
}

struct Entry {
    key: String,
    operation: Operation,
    /// Empty for a marker.
    value: Vec<u8>,
    expected: Option<u64>,
    /// A marker may be there.
    create: bool,
    ttl: Option<Duration>,
}

impl Entry {
    fn put(key: impl Into<String>, value: impl AsRef<[u8]>, expected: Option<u64>) -> Self {
        let value = value.as_ref().to_vec();
        let operation = Operation::Put;
        Self { key: key.into(), operation, value, expected, create: false, ttl: None }
    }

    fn marker(key: impl Into<String>, operation: Operation, expected: Option<u64>) -> Self {
        Self { operation, ..Self::put(key, [], expected) }
    }

    fn headers(&self) -> Result<HeaderMap, WriteBatchError> {
        let mut headers = PublishHeaders::new();
        if let Some(revision) = self.expected {
            headers.expect_last_subject_sequence(revision);
        }
        if self.operation != Operation::Put {
            headers.append("KV-Operation", self.operation.as_str().as_bytes());
        }
        if self.operation == Operation::Purge {
            headers.rollup(Rollup::Subject);
        }
        if let Some(ttl) = self.ttl {
            headers.ttl(ttl);
        }
        let headers = headers.into_map();
        let headers =
            headers.map_err(|error| WriteBatchError::Headers { key: self.key.clone(), error })?;
        Ok(headers.unwrap_or_default())
    }

    /// As by itself (ADR-48): what is put would lose its TTL with the next put.
    fn check_ttl(&self) -> Result<(), WriteBatchError> {
        if self.ttl.is_none() {
            return Ok(());
        }
        if !self.create && self.operation != Operation::Purge {
            return Err(WriteBatchError::Ttl { key: self.key.clone() });
        }
        self.headers().map(drop)
    }
}

impl WriteBatch<'_> {
    fn add(mut self, entry: Entry) -> Self {
        self.entries.push(entry);
        self
    }

    /// Gives a key a value, whatever it has.
    pub fn put(self, key: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.add(Entry::put(key, value, None))
    }

    /// Gives a key a value, if it has none: if it was never written, is deleted or has expired.
    pub fn create(self, key: impl Into<String>, value: impl AsRef<[u8]>) -> Self {
        self.add(Entry { create: true, ..Entry::put(key, value, Some(0)) })
    }

    /// Gives a key a value, if this is its last revision.
    pub fn update(self, key: impl Into<String>, value: impl AsRef<[u8]>, revision: u64) -> Self {
        self.add(Entry::put(key, value, Some(revision)))
    }

    /// Deletes a key, whatever it has.
    pub fn delete(self, key: impl Into<String>) -> Self {
        self.add(Entry::marker(key, Operation::Delete, None))
    }

    /// Deletes a key, if this is its last revision.
    pub fn delete_at(self, key: impl Into<String>, revision: u64) -> Self {
        self.add(Entry::marker(key, Operation::Delete, Some(revision)))
    }

    /// Deletes a key and its history, whatever it has.
    pub fn purge(self, key: impl Into<String>) -> Self {
        self.add(Entry::marker(key, Operation::Purge, None))
    }

    /// Deletes a key and its history, if this is its last revision.
    pub fn purge_at(self, key: impl Into<String>, revision: u64) -> Self {
        self.add(Entry::marker(key, Operation::Purge, Some(revision)))
    }

    /// What was added last, a key that is created or purged, goes after this time, as with
    /// [`Create::ttl`](super::Create::ttl) and [`Purge::ttl`](super::Purge::ttl). Does nothing to an
    /// empty batch.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        if let Some(last) = self.entries.last_mut() {
            last.ttl = Some(ttl);
        }
        self
    }

    /// The longest wait for each word of the server. Default: that of the
    /// [`JetStream`](crate::jetstream::JetStream).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn check(&self) -> Result<(), WriteBatchError> {
        let entries = &self.entries;
        if entries.is_empty() {
            return Err(WriteBatchError::Empty);
        }
        if entries.len() > MAX_ENTRIES {
            return Err(WriteBatchError::TooMany { entries: entries.len() });
        }
        let mut keys = BTreeSet::new();
        for entry in entries {
            let key = &entry.key;
            check_key(key)?;
            if !keys.insert(key) {
                return Err(WriteBatchError::Twice { key: key.clone() });
            }
            entry.check_ttl()?;
        }
        Ok(())
    }

    /// Each of them fits with the headers that it will have.
    fn check_sizes(&self, id: &str) -> Result<(), WriteBatchError> {
        let limits = self.kv.limit().into_iter().chain(self.kv.js().client().max_payload());
        let Some(limit) = limits.min() else { return Ok(()) };
        let failed = |error: BatchError| WriteBatchError::Batch(error.into());
        let mut batch = Batch::new(id.to_owned()).map_err(failed)?;
        for (place, entry) in (1..).zip(&self.entries) {
            let mut headers = entry.headers()?;
            let added = match place == self.entries.len() {
                true => batch.commit(&mut headers, Commit::WithMessage),
                false => batch.add(&mut headers).map(drop),
            };
            added.map_err(failed)?;
            let fits = TooLarge::check(entry.value.len(), Some(&headers), Some(limit));
            fits.map_err(|error| WriteBatchError::TooLarge { key: entry.key.clone(), error })?;
        }
        Ok(())
    }

    async fn write(mut self) -> Result<BTreeMap<String, u64>, WriteBatchError> {
        self.check()?;
        // A server that knows no batches would store each message by itself.
        if !self.kv.takes_batches().await.map_err(WriteBatchError::Call)? {
            return Err(self.not_allowed());
        }
        let (mut full, mut recreated) = (0, 0);
        loop {
            let mut batch = self.kv.js().batch().await?;
            if let Some(timeout) = self.timeout {
                batch = batch.timeout(timeout);
            }
            self.check_sizes(batch.id())?;
            let refusal = match self.send(&mut batch).await {
                Ok(ack) => {
                    let kv = self.kv;
                    let keys = self.entries.into_iter().map(|entry| entry.key);
                    let revisions = revisions(keys, ack.seq);
                    revisions.iter().for_each(|(key, &revision)| kv.note_written(key, revision));
                    return Ok(revisions);
                }
                Err(WriteBatchError::Batch(AtomicBatchError::Refused(refusal))) => refusal,
                Err(error) => return Err(error),
            };
            match refusal.err_code {
                ErrorCode::ATOMIC_PUBLISH_DISABLED => return Err(self.not_allowed()),
                ErrorCode::ATOMIC_PUBLISH_TOO_MANY_INFLIGHT => {
                    full += 1;
                    if full == ATTEMPTS {
                        return Err(WriteBatchError::Busy);
                    }
                    self.pause(full, batch.id()).await;
                }
                code if code.is_wrong_last_sequence() => {
                    let (differing, moved) = self.look_again().await;
                    recreated += 1;
                    if !differing.is_empty() || !moved || recreated == ATTEMPTS {
                        return Err(WriteBatchError::WrongRevision { differing, error: refusal });
                    }
                }
                _ => return Err(WriteBatchError::Batch(AtomicBatchError::Refused(refusal))),
            }
        }
    }

    fn not_allowed(&self) -> WriteBatchError {
        let bucket = self.kv.bucket.origin_subjects.bucket().to_string();
        WriteBatchError::NotAllowed { bucket }
    }

    async fn send(&self, batch: &mut AtomicBatch) -> Result<PubAck, WriteBatchError> {
        let Some((last, before)) = self.entries.split_last() else {
            return Err(WriteBatchError::Empty);
        };
        let subject = |entry: &Entry| self.kv.bucket.subjects.written(&entry.key);
        for entry in before {
            let message = batch.add(subject(entry), &entry.value).headers(&entry.headers()?);
            message.await.map_err(WriteBatchError::Batch)?;
        }
        let commit = batch.commit(subject(last), &last.value).headers(&last.headers()?);
        commit.await.map_err(committed)
    }

    /// Reads the keys of which a revision is expected, and gives those that have another. What is to
    /// be created takes the place of its marker the next time: true if there is one that was not
    /// known.
    async fn look_again(&mut self) -> (Vec<Differing>, bool) {
        let kv = self.kv;
        let expecting = self.entries.iter().filter(|entry| entry.expected.is_some());
        let keys: Vec<&str> = expecting.map(|entry| &*entry.key).collect();
        let read = each(&keys, |key| Box::pin(kv.read_leader(key, None))).await;
        let Ok(read) = read else { return (Vec::new(), false) };
        let last = |entry: Option<&super::Entry>| {
            entry.map_or((0, false), |entry| (entry.revision(), entry.is_put()))
        };
        let read: BTreeMap<String, (u64, bool)> =
            read.into_iter().map(|(key, entry)| (key.to_owned(), last(entry.as_ref()))).collect();
        let (mut differing, mut moved) = (Vec::new(), false);
        for entry in &mut self.entries {
            let (Some(expected), Some(&(revision, is_put))) =
                (entry.expected, read.get(&entry.key))
            else {
                continue;
            };
            if entry.create && !is_put {
                moved |= expected != revision;
                entry.expected = Some(revision);
            } else if revision != expected || entry.create {
                let expected = if entry.create { 0 } else { expected };
                differing.push(Differing { key: entry.key.clone(), expected, revision });
            }
        }
        (differing, moved)
    }

    /// Waits, by half at random, as ids of batches are.
    async fn pause(&self, attempt: u32, id: &str) {
        let longest = WAIT.saturating_mul(1 << attempt.min(5));
        let chance = id.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31) ^ u64::from(byte));
        let wait = longest / 2 + (longest / 2).mul_f64((chance % 1_024) as f64 / 1_024.0);
        let shared = self.kv.js().client().handle().shared.clone();
        let at = shared.after(wait);
        let mut alarm = Alarm::new(shared);
        poll_fn(|context| alarm.poll(at, context)).await;
    }
}

/// Those of a batch, of which this is the last one, stand behind each other in the stream, in their order.
fn revisions(keys: impl ExactSizeIterator<Item = String>, last: u64) -> BTreeMap<String, u64> {
    let before = last.saturating_sub(keys.len() as u64);
    keys.zip(1..).map(|(key, place)| (key, before.saturating_add(place))).collect()
}

/// What the error of a commit means.
fn committed(error: AtomicBatchError) -> WriteBatchError {
    match error {
        AtomicBatchError::Request(RequestError::TimedOut | RequestError::Unknown)
        | AtomicBatchError::Malformed(_)
        | AtomicBatchError::Commit(_) => WriteBatchError::Unknown(error),
        error => WriteBatchError::Batch(error),
    }
}

impl<'a> IntoFuture for WriteBatch<'a> {
    type Output = Result<BTreeMap<String, u64>, WriteBatchError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.write())
    }
}

impl fmt::Debug for WriteBatch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.entries.iter().map(|entry| &entry.key);
        f.debug_struct("WriteBatch").field("keys", &keys.collect::<Vec<_>>()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_may_end_with_the_largest_number() {
        let of = |last| {
            let keys = ["b", "a"].map(String::from);
            revisions(keys.into_iter(), last).into_values().collect::<Vec<_>>()
        };
        assert_eq!(of(7), [7, 6]);
        assert_eq!(of(u64::MAX), [u64::MAX, u64::MAX - 1]);
        assert_eq!(of(1), [2, 1], "a number that cannot be");
    }
}
