//! What passed over links, byte by byte.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::link::Direction;

/// Bytes that a recording keeps. What passes later is left out.
const KEPT: usize = 64 << 20;

/// What passes over the [`Link`](crate::Link)s that are given it, in the order in which they read it.
/// Clones are the same recording.
///
/// It keeps the first 64 MiB.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    passed: Vec<Passed>,
    bytes: usize,
}

/// Bytes that a link read at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// The port of the server.
    pub server: u16,
    /// The number of the connection on its link, from 0.
    pub connection: u64,
    /// Which way they went.
    pub direction: Direction,
    /// What they are.
    pub bytes: Vec<u8>,
}

impl Recording {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many pieces there are so far: the place of the next one.
    #[must_use]
    pub fn place(&self) -> usize {
        self.lock().passed.len()
    }

    /// The pieces at these places, as far as there are any.
    #[must_use]
    pub fn passed(&self, places: Range<usize>) -> Vec<Passed> {
        let kept = self.lock();
        let end = places.end.min(kept.passed.len());
        kept.passed.get(places.start..end).unwrap_or_default().to_vec()
    }

    pub(crate) fn note(&self, server: u16, connection: u64, direction: Direction, bytes: &[u8]) {
        let mut kept = self.lock();
        if bytes.is_empty() || kept.bytes + bytes.len() > KEPT {
            return;
        }
        kept.bytes += bytes.len();
        kept.passed.push(Passed { server, connection, direction, bytes: bytes.to_vec() });
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, connection, direction, bytes } = self;
        let arrow = match direction {
            Direction::ToServer => '>',
            Direction::ToClient => '<',
        };
        write!(f, ":{server}#{connection} {arrow} {}", bytes.escape_ascii())
    }
}
