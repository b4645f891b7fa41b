//! Heads of WebSocket frames, and the masks that clients put over payloads.

use midge_proto::DisconnectCause;

use super::{Break, Buffer, PROTOCOL_ERROR};

/// The longest payload of a control frame.
pub(super) const MAX_CONTROL: usize = 125;
/// The longest head of a frame that is sent.
const MAX_HEAD: usize = 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    pub(super) fn begins_message(self) -> bool {
        matches!(self, Self::Text | Self::Binary)
    }
}

/// What stands before a payload that a server sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// No further frame belongs to the message.
    pub(super) last: bool,
    pub(super) compressed: bool,
    pub(super) opcode: Opcode,
    pub(super) length: u64,
}

impl Head {
    /// Reads a head, and gives its own length with it. `None` while it is not here whole.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Break> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let opcode = match first & 0x0f {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err((PROTOCOL_ERROR, "a frame of an unknown kind")),
        };
        if first & 0x30 != 0 {
            return Err((PROTOCOL_ERROR, "a frame with reserved bits"));
        }
        if second & 0x80 != 0 {
            return Err((PROTOCOL_ERROR, "a frame with a mask, which only clients use"));
        }
        let (length, own) = match (second, rest) {
            (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), 10)
            }
            (126 | 127, _) => return Ok(None),
            (length, _) => (u64::from(*length), 2),
        };
        if length > i64::MAX as u64 {
            return Err((PROTOCOL_ERROR, "a frame with an impossible length"));
        }
        let (last, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        Ok(Some((Self { last, compressed, opcode, length }, own)))
    }
}

/// Writes a frame that is a message of its own, masked as a client must.
pub(super) fn write(
    opcode: Opcode,
    compressed: bool,
    payload: &[u8],
    mask: [u8; 4],
    out: &mut Buffer,
) {
    let room = out.room(MAX_HEAD + payload.len());
    room[0] = 0x80 | u8::from(compressed) << 6 | opcode as u8;
    let length = payload.len();
    let own = if length <= MAX_CONTROL {
        room[1] = 0x80 | length as u8;
        2
    } else if let Ok(length) = u16::try_from(length) {
        room[1] = 0x80 | 126;
        room[2..4].copy_from_slice(&length.to_be_bytes());
        4
    } else {
        room[1] = 0x80 | 127;
        room[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        10
    };
    room[own..own + 4].copy_from_slice(&mask);
    let masked = &mut room[own + 4..own + 4 + length];
    masked.copy_from_slice(payload);
    apply(mask, masked);
    out.filled(own + 4 + length);
}

fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask) {
        *byte ^= mask;
    }
    // At most seven bytes are left: the mask begins anew at the fifth.
    for (byte, mask) in rest.iter_mut().skip(4).zip(mask) {
        *byte ^= mask;
    }
}

/// Random bytes of the system, got for many frames at once.
#[derive(Debug)]
pub(super) struct Masks {
    bytes: [u8; 256],
    used: usize,
}

impl Masks {
    pub(super) fn new() -> Self {
        Self { bytes: [0; 256], used: 256 }
    }

    pub(super) fn next(&mut self) -> Result<[u8; 4], DisconnectCause> {
        if self.used == self.bytes.len() {
            getrandom::fill(&mut self.bytes).map_err(|error| {
                DisconnectCause::WebSocket(format!("the system gives no random bytes: {error}"))
            })?;
            self.used = 0;
        }
        let mut mask = [0; 4];
        mask.copy_from_slice(&self.bytes[self.used..self.used + 4]);
        self.used += 4;
        Ok(mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads what `write` wrote, as a server does.
    fn unmask(mut frame: Vec<u8>) -> (Head, Vec<u8>) {
        assert_eq!(frame[1] & 0x80, 0x80, "a client masks");
        frame[1] &= 0x7f;
        let (head, own) = Head::read(&frame).unwrap().unwrap();
        let (mask, payload) = frame[own..].split_at(4);
        let payload = payload.iter().zip(mask.iter().cycle());
        (head, payload.map(|(byte, mask)| byte ^ mask).collect())
    }

    #[test]
    fn a_frame_that_was_written_reads_back_at_every_length() {
        for length in (0..300).chain([65_535, 65_536, 70_001]) {
            let payload: Vec<u8> = (0..length).map(|number| number as u8).collect();
            let mut out = Buffer::default();
            write(Opcode::Binary, length % 2 == 0, &payload, [1, 2, 3, 4], &mut out);
            let (head, read) = unmask(out.unread().to_vec());
            assert_eq!((head.length, head.last), (length as u64, true));
            assert_eq!((head.opcode, head.compressed), (Opcode::Binary, length % 2 == 0));
            assert!(read == payload, "{length}");
        }
    }

    #[test]
    fn a_head_that_is_not_whole_waits() {
        for head in [&[0x82, 5][..], &[0x82, 126, 1, 0], &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]] {
            for end in 0..head.len() {
                assert_eq!(Head::read(&head[..end]), Ok(None));
            }
            assert_eq!(Head::read(head).unwrap().unwrap().1, head.len());
        }
    }

    #[test]
    fn a_head_that_breaks_the_protocol_is_refused() {
        let impossible = [0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0];
        for head in [&[0x83, 0][..], &[0x92, 0], &[0xa2, 0], &[0x82, 0x85], &impossible] {
            assert!(Head::read(head).is_err(), "{head:x?}");
        }
    }

    #[test]
    fn masks_differ() {
        let mut masks = Masks::new();
        let seen: std::collections::BTreeSet<_> = (0..200).map(|_| masks.next().unwrap()).collect();
        assert!(seen.len() > 190);
    }
}
