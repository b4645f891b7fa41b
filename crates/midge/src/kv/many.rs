//! Getting many keys at once.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use midge_jetstream::DirectGetError;
use midge_jetstream::kv::{Entry, KeyError, check_key};

use super::KeyValue;
use super::get::GetError;
use crate::jetstream::DirectError;

/// The most keys that a server gives in one answer.
const PAGE: usize = 1_024;
/// The most bytes of the subjects in one request.
const PAGE_BYTES: usize = 256 * 1024;
/// Keys that are got at the same time from a server that gives one at a time.
const PIPELINE: usize = 64;

/// Why keys were not got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetManyError {
    /// One of them cannot be a key. Nothing was sent.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// They could not be got.
    #[error(transparent)]
    Get(#[from] GetError),
}

impl KeyValue {
    /// Gets the last revisions of many keys, in the order in which they are given: `None` for each
    /// that was never written, is deleted or has expired.
    ///
    /// At most 1,024 keys are asked for at a time, and are then as they were at one moment; any
    /// server that has the bucket answers. A server before 2.11, or one that takes fewer keys, is asked
    /// for one after another, 64 at a time.
    ///
    /// # Errors
    ///
    /// [`GetManyError`].
    pub async fn get_many<K: AsRef<str>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<Vec<Option<Entry>>, GetManyError> {
        let keys: Vec<K> = keys.into_iter().collect();
        for key in &keys {
            check_key(key.as_ref())?;
        }
        let mut wanted: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = self.get_found(&wanted).await?;
        if let Some(own) = &self.own {
            let got = |key: &str| found.get(key).and_then(Option::as_ref);
            wanted.retain(|key| own.is_missing(key, None, got(key)));
            let newer = each(&wanted, |key| Box::pin(self.read_leader(key, None))).await?;
            found.extend(newer);
        }
        let put = |key: &K| found.get(key.as_ref())?.clone().filter(Entry::is_put);
        Ok(keys.iter().map(put).collect())
    }

    async fn get_found<'a>(
        &self,
        wanted: &[&'a str],
    ) -> Result<BTreeMap<&'a str, Option<Entry>>, GetError> {
        if !self.bucket.direct {
            return self.get_each(wanted).await;
        }
        let mut found = BTreeMap::new();
        let mut rest = wanted;
        while !rest.is_empty() {
            let count = self.page(rest);
            let (page, further) = rest.split_at(count);
            if !self.get_page(page, &mut found).await? {
                return self.get_each(wanted).await;
            }
            rest = further;
        }
        Ok(found)
    }

    /// How many of the keys fit into one request.
    fn page(&self, keys: &[&str]) -> usize {
        let prefix = self.bucket.subjects.prefix_len() + 3;
        let mut bytes = 0;
        let fits = |key: &&&str| {
            bytes += prefix + key.len();
            bytes <= PAGE_BYTES
        };
        keys.iter().take(PAGE).take_while(fits).count().max(1)
    }

    /// False when the server gives one message at a time, or fewer than it is asked for.
    async fn get_page<'a>(
        &self,
        page: &[&'a str],
        found: &mut BTreeMap<&'a str, Option<Entry>>,
    ) -> Result<bool, GetError> {
        let bucket = &self.bucket;
        let subjects = page.iter().map(|key| bucket.subjects.stored(key));
        let mut messages = bucket.stream.direct_last_of(subjects).messages();
        while let Some(message) = messages.next().await {
            let message = match message {
                Ok(message) => message,
                Err(DirectError::Get(DirectGetError::NotFound)) => break,
                Err(
                    DirectError::Level(_)
                    | DirectError::Get(DirectGetError::Unsupported | DirectGetError::TooManySubjects),
                ) => return Ok(false),
                Err(error) => return Err(GetError::of(&bucket.name, error)),
            };
            // What was not asked for is left out.
            let Ok(entry) = Entry::stored(&bucket.name, &bucket.subjects, message) else {
                continue;
            };
            if let Ok(at) = page.binary_search(&entry.key()) {
                found.insert(page[at], Some(entry));
            }
        }
        Ok(true)
    }

    /// Those that a server gives one at a time.
    async fn get_each<'a>(
        &self,
        wanted: &[&'a str],
    ) -> Result<BTreeMap<&'a str, Option<Entry>>, GetError> {
        each(wanted, |key| self.get(key).with_markers().into_future()).await
    }
}

/// Asks for one key after another, some at a time.
pub(super) async fn each<'a, F>(
    keys: &[&'a str],
    mut ask: impl FnMut(&'a str) -> F,
) -> Result<BTreeMap<&'a str, Option<Entry>>, GetError>
where
    F: Future<Output = Result<Option<Entry>, GetError>> + Unpin,
{
    let mut rest = keys.iter();
    let mut running = VecDeque::new();
    let mut found = BTreeMap::new();
    poll_fn(|context| {
        loop {
            while running.len() < PIPELINE
                && let Some(&key) = rest.next()
            {
                running.push_back((key, ask(key)));
            }
            let before = found.len();
            for _ in 0..running.len() {
                let Some((key, mut get)) = running.pop_front() else { break };
                match Pin::new(&mut get).poll(context) {
                    Poll::Ready(Ok(entry)) => drop(found.insert(key, entry)),
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => running.push_back((key, get)),
                }
            }
            if running.is_empty() && rest.len() == 0 {
                return Poll::Ready(Ok(()));
            }
            if found.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;
    use std::task::{Context, Waker};

    use super::*;

    /// A key that is being asked for: ready once it is let through.
    struct Asked<'a>(&'static str, &'a RefCell<BTreeSet<&'static str>>);

    impl Future for Asked<'_> {
        type Output = Result<Option<Entry>, GetError>;

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
            if self.1.borrow().contains(self.0) { Poll::Ready(Ok(None)) } else { Poll::Pending }
        }
    }

    #[test]
    fn one_by_one_at_most_64_keys_are_asked_for_at_a_time() {
        let names: Vec<String> = (0..200).map(|number| format!("k.{number}")).collect();
        let keys: Vec<&'static str> = names.into_iter().map(|key| &*key.leak()).collect();
        let (asked, let_through) = (RefCell::new(Vec::new()), RefCell::new(BTreeSet::new()));
        let ask = |key| {
            asked.borrow_mut().push(key);
            Asked(key, &let_through)
        };
        let mut getting = Box::pin(each(&keys, ask));
        let mut context = Context::from_waker(Waker::noop());
        assert!(getting.as_mut().poll(&mut context).is_pending());
        assert_eq!(*asked.borrow(), keys[..PIPELINE]);
        // For each that is answered, in whatever order, one more is asked for.
        for answered in [5, 60] {
            let_through.borrow_mut().insert(keys[answered]);
            assert!(getting.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(*asked.borrow(), keys[..PIPELINE + 2]);
        let_through.borrow_mut().extend(&keys);
        let Poll::Ready(Ok(found)) = getting.as_mut().poll(&mut context) else {
            panic!("all are answered")
        };
        assert!(found.len() == 200 && *asked.borrow() == keys);
    }
}
