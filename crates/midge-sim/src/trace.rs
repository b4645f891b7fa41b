//! What happened in a run, as a number that two equal runs share, and as lines for a reader.

use std::collections::VecDeque;
use std::fmt::Write;

use midge_proto::Instant;

/// Bytes that a line shows.
const SHOWN: usize = 400;

pub(crate) struct Trace {
    hash: u64,
    steps: u64,
    /// The last ones, and how many.
    lines: VecDeque<String>,
    most: usize,
}

impl Trace {
    pub(crate) fn new(most: usize) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, steps: 0, lines: VecDeque::new(), most }
    }

    /// Something happened: what, to which two things, with which bytes.
    pub(crate) fn note(&mut self, now: Instant, what: &str, a: u64, b: u64, bytes: &[u8]) {
        self.steps += 1;
        for number in [now.as_nanos(), a, b, bytes.len() as u64] {
            self.mix(&number.to_le_bytes());
        }
        self.mix(what.as_bytes());
        self.mix(bytes);
        if self.most > 0 {
            let mut line = format!("{:>17.9} {what} {a} {b}", now.as_nanos() as f64 / 1e9);
            if !bytes.is_empty() {
                let shown = &bytes[..bytes.len().min(SHOWN)];
                let rest = bytes.len() - shown.len();
                let _ = write!(line, " {}", shown.escape_ascii());
                if rest > 0 {
                    let _ = write!(line, " and {rest} bytes");
                }
            }
            self.lines.push_back(line);
            if self.lines.len() > self.most {
                self.lines.pop_front();
            }
        }
    }

    /// FNV-1a, eight bytes at a time.
    fn mix(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.hash = (self.hash ^ u64::from_le_bytes(word)).wrapping_mul(0x100_0000_01b3);
            self.hash ^= self.hash >> 29;
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into()
    }
}
