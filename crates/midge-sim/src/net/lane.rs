//! One direction of a connection: bytes under way, bytes that have arrived, and the end.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use midge_proto::Instant;

use crate::Rng;

/// What the path between a client and a server is like.
///
/// ```
/// use std::time::Duration;
/// use midge_sim::Link;
///
/// let mut ocean = Link::default();
/// ocean.latency = Duration::from_millis(70);
/// ocean.window = 16 * 1024;
/// ocean.short = true;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Link {
    /// The least time that bytes are under way.
    pub latency: Duration,
    /// By how much it varies: connections overtake each other, the bytes of one never do.
    pub jitter: Duration,
    /// Bytes a second in each direction. `None`: any number.
    pub bandwidth: Option<u64>,
    /// Bytes of one direction that may be under way or unread, as of a socket's buffers. More
    /// have to wait. At least 1.
    pub window: usize,
    /// Reads and writes take, at random, less than they could.
    pub short: bool,
}

impl Default for Link {
    /// A network in one building: 50 µs to 100 µs, without a limit on bandwidth, 256 KiB.
    fn default() -> Self {
        Self {
            latency: Duration::from_micros(50),
            jitter: Duration::from_micros(50),
            bandwidth: None,
            window: 256 * 1024,
            short: false,
        }
    }
}

/// How the one who reads learns of the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All bytes that were written before arrive, then the end.
    Eof,
    /// An error; what was under way may be lost.
    Reset,
}

enum Segment {
    Bytes(Bytes),
    End(End),
}

#[derive(Default)]
pub(crate) struct Lane {
    /// Under way, ascending.
    segments: VecDeque<(Instant, Segment)>,
    /// Bytes of the segments.
    under_way: usize,
    arrived: BytesMut,
    end: Option<End>,
    /// The end is written; nothing comes after it but a reset.
    finished: Option<End>,
    /// Nothing arrives until it is let go.
    pub(crate) held: bool,
    /// After so many bytes the connection is cut.
    pub(crate) cut_after: Option<usize>,
    /// When the last bit that was written leaves, and when it arrives.
    leaves: Instant,
    arrives: Instant,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

/// What came of a write.
pub(crate) enum Wrote {
    /// The window is full.
    Full,
    /// So many bytes were taken, the last of them arrives then. The connection is to be cut behind
    /// them, or not.
    Took { count: usize, arrives: Instant, cut: bool },
}

impl Lane {
    pub(crate) fn room(&self, link: &Link) -> usize {
        link.window.max(1).saturating_sub(self.under_way + self.arrived.len())
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.is_some()
    }

    pub(crate) fn write(
        &mut self,
        bytes: &[u8],
        now: Instant,
        link: &Link,
        rng: &mut Rng,
    ) -> Wrote {
        let mut count = bytes.len().min(self.room(link));
        if count == 0 {
            return Wrote::Full;
        }
        if link.short && rng.one_in(2) {
            count = 1 + rng.index(count);
        }
        let mut cut = false;
        if let Some(left) = &mut self.cut_after {
            count = count.min(*left);
            *left -= count;
            cut = *left == 0;
        }
        let needed = link.bandwidth.map_or(Duration::ZERO, |bandwidth| {
            let nanos = u128::from(count as u64) * 1_000_000_000 / u128::from(bandwidth.max(1));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        });
        self.leaves = self.leaves.max(now) + needed;
        let delay = link.latency + rng.between(Duration::ZERO, link.jitter);
        self.arrives = self.arrives.max(self.leaves + delay);
        if count > 0 {
            self.under_way += count;
            self.segments
                .push_back((self.arrives, Segment::Bytes(Bytes::copy_from_slice(&bytes[..count]))));
        }
        Wrote::Took { count, arrives: self.arrives, cut }
    }

    /// Writes the end; says when it arrives.
    pub(crate) fn finish(&mut self, end: End, now: Instant, link: &Link) -> Option<Instant> {
        if self.finished == Some(End::Reset) || self.finished == Some(end) {
            return None;
        }
        self.finished = Some(end);
        self.arrives = self.arrives.max(now + link.latency);
        self.segments.push_back((self.arrives, Segment::End(end)));
        Some(self.arrives)
    }

    /// Some of what is under way gets lost: a random number of the last bytes, with what is behind
    /// them.
    pub(crate) fn lose_some(&mut self, rng: &mut Rng) {
        let mut left = rng.index(self.under_way + 1);
        self.under_way = left;
        let mut kept = VecDeque::new();
        for (at, segment) in self.segments.drain(..) {
            if let Segment::Bytes(bytes) = segment
                && left > 0
            {
                let count = bytes.len().min(left);
                left -= count;
                kept.push_back((at, Segment::Bytes(bytes.slice(..count))));
            }
        }
        self.segments = kept;
        self.finished = None;
    }

    /// Takes in what has arrived by `now`. True when there is something new.
    pub(crate) fn arrive(&mut self, now: Instant, rng: &mut Rng) -> bool {
        let mut new = false;
        while !self.held
            && let Some((_, segment)) = self.segments.pop_front_if(|(at, _)| *at <= now)
        {
            new = true;
            match segment {
                Segment::Bytes(bytes) => {
                    self.under_way -= bytes.len();
                    self.arrived.extend_from_slice(&bytes);
                }
                Segment::End(end) => {
                    // Systems differ in what can still be read before the error.
                    if end == End::Reset && rng.one_in(2) {
                        self.arrived.clear();
                    }
                    self.end = Some(end);
                }
            }
        }
        new
    }

    pub(crate) fn arrived(&self) -> &[u8] {
        &self.arrived
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.arrived.advance(count);
    }

    /// The end, once everything before it has been read.
    pub(crate) fn end(&self) -> Option<End> {
        self.end.filter(|_| self.arrived.is_empty())
    }
}
