//! One message of a window.

use alloc::string::String;
use alloc::vec::Vec;

use midge_proto::{HeaderMap, Instant, Position};

use crate::Unpublished;

/// Buffers with room for more than this are not kept.
const KEEP: usize = 1024;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// To be sent, as soon as it may be.
    #[default]
    Ready,
    /// To be sent again, later.
    Waiting { until: Instant },
    /// On its way.
    Sent { at: Instant },
    /// The stream has it.
    Stored { seq: u64, stream: u32 },
    /// It was given up, and that is reported.
    Failed,
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) headers: HeaderMap,
    /// Subject and payload.
    pub(super) body: Vec<u8>,
    /// What it counts for.
    pub(super) size: usize,
    /// Bytes of the subject.
    pub(super) subject: usize,
    /// For ids that are being written.
    pub(super) scratch: String,
    pub(super) state: State,
    /// 0 while it is sent for the first time.
    pub(super) attempt: u16,
    /// How often no stream took it.
    pub(super) refusals: u32,
    /// When it was first sent without its outcome becoming known.
    pub(super) doubt: Option<Instant>,
    /// Where it was published last.
    pub(super) position: Option<Position>,
    /// It was to be taken back.
    pub(super) withdrawn: bool,
}

impl Entry {
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.state, State::Stored { .. } | State::Failed)
    }

    pub(super) fn subject(&self) -> &[u8] {
        &self.body[..self.subject]
    }

    pub(super) fn payload(&self) -> &[u8] {
        &self.body[self.subject..]
    }

    pub(super) fn give_back(&self) -> Unpublished {
        let subject = String::from_utf8_lossy(self.subject()).into_owned();
        Unpublished { subject, headers: self.headers.clone(), payload: self.payload().into() }
    }

    /// Makes it as new, but for its memory; false when that is not worth keeping.
    pub(super) fn clear(&mut self) -> bool {
        let Self { headers, body, size, subject, scratch, state, .. } = self;
        if body.capacity() > KEEP || headers.as_bytes().len() > KEEP {
            return false;
        }
        headers.clear();
        body.clear();
        scratch.clear();
        (*size, *subject, *state) = (0, 0, State::Ready);
        (self.attempt, self.refusals) = (0, 0);
        (self.doubt, self.position, self.withdrawn) = (None, None, false);
        true
    }
}
