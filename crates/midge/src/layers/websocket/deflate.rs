//! permessage-deflate (RFC 7692): each message compressed by itself.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// What a compressed message would end with, and does not carry.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// Decompresses messages straight into where they are read to, so that none can claim memory.
pub(super) struct Inflater {
    state: Decompress,
    /// The server refers back to earlier messages.
    keeps_context: bool,
    /// Bytes of `TAIL` that the state has seen.
    tail: usize,
    /// The last block has ended before its message: nothing may follow it.
    ended: bool,
}

impl Inflater {
    pub(super) fn new(keeps_context: bool) -> Self {
        Self { state: Decompress::new(false), keeps_context, tail: 0, ended: false }
    }

    /// Decompresses `bytes` into `room`: how much of each was used, and, when `bytes` are the
    /// `last` of their message, whether that was given whole.
    pub(super) fn inflate(
        &mut self,
        bytes: &[u8],
        room: &mut [u8],
        last: bool,
    ) -> Result<(usize, usize, bool), flate2::DecompressError> {
        let (mut taken, mut given) = (0, 0);
        while given < room.len() && !self.ended {
            let from_tail = taken == bytes.len();
            let input = match from_tail {
                false => &bytes[taken..],
                true if last => &TAIL[self.tail..],
                true => &[],
            };
            let (before_in, before_out) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input, &mut room[given..], FlushDecompress::Sync)?;
            let used = (self.state.total_in() - before_in) as usize;
            let made = (self.state.total_out() - before_out) as usize;
            given += made;
            if from_tail {
                self.tail += used
            } else {
                taken += used
            }
            self.ended = status == Status::StreamEnd;
            if used == 0 && made == 0 {
                break;
            }
        }
        if self.ended {
            taken = bytes.len();
        }
        let done = last && (self.ended || self.tail == TAIL.len() && given < room.len());
        if done {
            if self.ended || !self.keeps_context {
                self.state.reset(false);
            }
            self.tail = 0;
            self.ended = false;
        }
        Ok((taken, given, done))
    }
}

/// Compresses messages, each without looking back at the one before.
pub(super) struct Deflater {
    state: Compress,
    bytes: Vec<u8>,
}

impl Deflater {
    pub(super) fn new() -> Self {
        Self { state: Compress::new(Compression::fast(), false), bytes: Vec::new() }
    }

    /// The compressed message; what is no shorter than `bytes` may be cut off.
    pub(super) fn deflate(&mut self, bytes: &[u8]) -> &[u8] {
        self.state.reset();
        self.bytes.resize(bytes.len() + 64, 0);
        let (mut taken, mut made) = (0, 0);
        loop {
            let status =
                self.state.compress(&bytes[taken..], &mut self.bytes[made..], FlushCompress::Sync);
            taken = self.state.total_in() as usize;
            let before = std::mem::replace(&mut made, self.state.total_out() as usize);
            let stuck = made == before || made == self.bytes.len();
            if stuck || status.is_err() {
                break;
            }
            if taken == bytes.len() && self.bytes[..made].ends_with(&TAIL) {
                return &self.bytes[..made - TAIL.len()];
            }
        }
        // It does not shrink.
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inflate(inflater: &mut Inflater, bytes: &[u8], piece: usize, room: usize) -> Vec<u8> {
        let mut whole = Vec::new();
        let mut buffer = vec![0; room];
        let mut rest = bytes;
        loop {
            let now = &rest[..rest.len().min(piece)];
            let last = now.len() == rest.len();
            let (taken, given, done) = inflater.inflate(now, &mut buffer, last).unwrap();
            whole.extend_from_slice(&buffer[..given]);
            rest = &rest[taken..];
            if done {
                assert!(rest.is_empty());
                return whole;
            }
            assert!(taken + given > 0 || !last, "it goes on");
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let mut deflater = Deflater::new();
        let text = b"PUB a.b.c 5\r\nhello\r\n".repeat(1000);
        for length in [1, 2, 63, 64, 1000, 20_000] {
            let compressed = deflater.deflate(&text[..length]).to_vec();
            for (piece, room) in [(1, 1), (7, 13), (usize::MAX, 1), (3, 4096), (4096, 1 << 16)] {
                let mut inflater = Inflater::new(false);
                for _ in 0..3 {
                    let got = inflate(&mut inflater, &compressed, piece, room);
                    assert!(got == text[..length], "{length} {piece} {room}");
                }
            }
        }
    }

    #[test]
    fn what_does_not_shrink_is_not_shorter() {
        let mut noise = vec![0; 5000];
        getrandom::fill(&mut noise).unwrap();
        let mut deflater = Deflater::new();
        assert!(deflater.deflate(&noise).len() >= noise.len());
        assert!(deflater.deflate(&[b'x'; 5000]).len() < 100);
    }

    #[test]
    fn a_server_that_looks_back_is_understood() {
        let mut state = Compress::new(Compression::fast(), false);
        let mut inflater = Inflater::new(true);
        for _ in 0..3 {
            let mut message = Vec::with_capacity(4096);
            let text = b"MSG a.b.c 1 5\r\nhello\r\n".repeat(10);
            state.compress_vec(&text, &mut message, FlushCompress::Sync).unwrap();
            message.truncate(message.len() - TAIL.len());
            assert_eq!(inflate(&mut inflater, &message, 5, 100), text);
        }
    }

    #[test]
    fn a_message_whose_last_block_ends_it_is_read_and_so_is_the_next() {
        let mut inflater = Inflater::new(false);
        for _ in 0..2 {
            let mut message = Vec::with_capacity(4096);
            let mut state = Compress::new(Compression::fast(), false);
            state.compress_vec(b"hello hello", &mut message, FlushCompress::Finish).unwrap();
            assert_eq!(inflate(&mut inflater, &message, 2, 3), b"hello hello");
        }
    }

    #[test]
    fn garbage_is_an_error() {
        let mut room = [0; 100];
        assert!(Inflater::new(false).inflate(&[0xff; 50], &mut room, true).is_err());
    }
}
