//! Changing a value by what it is: compare and swap.

use std::future::IntoFuture;

use midge_jetstream::kv::{Entry, KeyError, check_key};

use super::get::GetError;
use super::put::{PutError, UpdateError};
use super::write::Options;
use super::{Boxed, KeyValue};

/// Rounds, unless it is told otherwise.
pub(super) const ATTEMPTS: u32 = 10;

/// Why a value was not changed, or is not known to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// It cannot be a key. Nothing was sent.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What is there could not be read. Nothing was stored.
    #[error("the value to change could not be read: {0}")]
    Get(#[from] GetError),
    /// Others were faster each time. Nothing was stored.
    #[error("others changed {key:?} {attempts} times in a row: try again later")]
    Contended {
        /// The key.
        key: String,
        /// How often it was tried.
        attempts: u32,
    },
    /// It was not stored, or that is not known: then it is not tried again.
    #[error(transparent)]
    Put(#[from] PutError),
}

impl KeyValue {
    /// Gives a key a value that depends on what it has: `function` gets the last revision, or `None`
    /// where there is no value, and gives the new value, or `None` to leave all as it is. Where
    /// somebody else writes the key meanwhile, it is called again.
    ///
    /// `.await` gives `Result<Option<u64>, ChangeError>`: the new revision, if there is one. Each
    /// round reads from the leader.
    ///
    /// ```no_run
    /// # async fn example(kv: &midge::kv::KeyValue) -> Result<(), Box<dyn std::error::Error>> {
    /// let count = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    /// kv.change("visits", |entry| {
    ///     let visits: u64 = entry.and_then(|entry| count(entry.value())).unwrap_or(0);
    ///     Some((visits + 1).to_string())
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn change<'a, F, P>(&'a self, key: &'a str, function: F) -> Change<'a, F>
    where
        F: FnMut(Option<&Entry>) -> Option<P> + Send + 'a,
        P: AsRef<[u8]> + Send,
    {
        Change { kv: self, key, function, attempts: ATTEMPTS }
    }
}

/// A change that is about to be made. Made by [`KeyValue::change`].
#[must_use = "nothing is changed until `.await`"]
pub struct Change<'a, F> {
    kv: &'a KeyValue,
    key: &'a str,
    function: F,
    attempts: u32,
}

impl<F> Change<'_, F> {
    /// How often it is tried. Default: 10.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }
}

impl<F> std::fmt::Debug for Change<'_, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change").field("key", &self.key).finish_non_exhaustive()
    }
}

impl<'a, F, P> IntoFuture for Change<'a, F>
where
    F: FnMut(Option<&Entry>) -> Option<P> + Send + 'a,
    P: AsRef<[u8]> + Send,
{
    type Output = Result<Option<u64>, ChangeError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { kv, key, mut function, attempts } = self;
        Box::pin(async move {
            check_key(key)?;
            for _ in 0..attempts {
                let last = kv.read_leader(key, None).await?;
                let Some(value) = function(last.as_ref().filter(|last| last.is_put())) else {
                    return Ok(None);
                };
                let expected = last.map_or(0, |last| last.revision());
                let options = Options { expected: Some(expected), ..Options::default() };
                let written = kv.write_expecting(key, value.as_ref(), options).await;
                match written {
                    Ok(revision) => return Ok(Some(revision)),
                    Err(UpdateError::WrongRevision { .. }) => {}
                    Err(UpdateError::Put(error)) => return Err(error.into()),
                }
            }
            Err(ChangeError::Contended { key: key.to_owned(), attempts })
        })
    }
}
