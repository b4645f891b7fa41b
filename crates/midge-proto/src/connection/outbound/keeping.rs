//! What becomes of the messages that wait, between one transport and the next.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use super::{Outbound, Split};
use crate::connection::fates::{Fate, Fates, Position};
use crate::connection::frames::{Kind, Squeeze};

impl Outbound {
    /// Lets user data out: the handshake is over. `fits` says whether a kept frame may be sent.
    pub(in crate::connection) fn open(
        &mut self,
        confirm_every: usize,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Fate {
        let mut dropped = Fate::default();
        let frames = mem::take(&mut self.frames);
        let bytes = mem::take(&mut self.back);
        self.user_bytes = 0;
        self.dead_back = 0;
        self.since_ping = 0;
        let mut start = 0;
        for frame in frames {
            let end = start + frame.len as usize;
            let kept = frame.is_user();
            if kept && fits(&bytes[start..end]) {
                self.back.extend_from_slice(&bytes[start..end]);
                self.user_bytes += end - start;
                self.since_ping += end - start;
                self.frames.push_back(frame);
                if self.since_ping >= confirm_every {
                    self.ping_before(frame.position + 1);
                }
            } else if kept {
                dropped.push(Position(frame.position), end - start);
            }
            start = end;
        }
        self.open = true;
        Fates::settle(&mut Arc::make_mut(&mut self.fates).dropped, &dropped, self.max_ranges);
        dropped
    }

    fn ping_before(&mut self, position: u64) {
        let next = mem::replace(&mut self.next_position, position);
        self.ping(None, 0);
        self.next_position = next;
    }

    /// Drops the messages that do not fit, except one that was begun. No batch is out.
    pub(in crate::connection) fn drop_unfit(&mut self, fits: impl Fn(&[u8]) -> bool) -> Fate {
        let mut dropped = Fate::default();
        let mut start = self.head;
        for (index, frame) in self.frames.iter_mut().enumerate() {
            let in_front = index < self.front_frames;
            if index == self.front_frames {
                start = 0;
            }
            let begun = index == 0 && self.cut > 0;
            let len = frame.len as usize;
            let end = start + if begun { len - self.cut } else { len };
            let bytes = if in_front { &self.front[start..end] } else { &self.back[start..end] };
            if !begun && frame.is_user() && !fits(bytes) {
                frame.kind = Kind::Dead;
                *if in_front { &mut self.dead_front } else { &mut self.dead_back } += len;
                self.user_bytes -= len;
                dropped.push(Position(frame.position), len);
            }
            start = end;
        }
        self.compact();
        Fates::settle(&mut Arc::make_mut(&mut self.fates).dropped, &dropped, self.max_ranges);
        dropped
    }

    /// The transport is gone: splits what was published, keeps what never left, of requests only
    /// with `keep_requests`. No batch is out.
    pub(in crate::connection) fn lose(&mut self, keep: usize, keep_requests: bool) -> Split {
        let mut split = Split { first_unsent: self.next_position, ..Split::default() };
        split.unknown = mem::take(&mut self.written);
        let mut bytes = mem::take(&mut self.front);
        bytes.drain(..self.head.min(bytes.len()));
        bytes.append(&mut self.back);
        let frames = mem::take(&mut self.frames);
        let mut start = 0;
        self.user_bytes = 0;
        let mut unsent = None;
        for (index, frame) in frames.into_iter().enumerate() {
            let len = frame.len as usize;
            let begun = index == 0 && self.cut > 0;
            let end = start + if begun { len - self.cut } else { len };
            if begun && frame.is_user() {
                split.unknown.push(Position(frame.position), len);
            } else if frame.is_user() {
                let _ = unsent.get_or_insert(frame.position);
            }
            if !begun && frame.is_user() {
                let keeps = keep_requests || frame.kind == Kind::Publish;
                if keeps && self.user_bytes + len <= keep {
                    self.back.extend_from_slice(&bytes[start..end]);
                    self.user_bytes += len;
                    self.frames.push_back(frame);
                    split.kept.push(Position(frame.position), len);
                } else {
                    split.dropped.push(Position(frame.position), len);
                }
            }
            start = end;
        }
        split.first_unsent = unsent.unwrap_or(self.next_position);
        self.written_messages = 0;
        self.written_bytes = 0;
        self.reset_handshake();
        self.head = 0;
        self.cut = 0;
        self.front_frames = 0;
        self.dead_front = 0;
        self.dead_back = 0;
        self.pong_queued = false;
        self.control_bytes = 0;
        self.since_ping = 0;
        self.pings.clear();
        self.open = false;
        self.release();
        let fates = Arc::make_mut(&mut self.fates);
        Fates::settle(&mut fates.unknown, &split.unknown, self.max_ranges);
        Fates::settle(&mut fates.dropped, &split.dropped, self.max_ranges);
        split
    }

    /// A transport ended before user data could go out: nothing that waits changes.
    pub(in crate::connection) fn reset_handshake(&mut self) {
        self.handshake.clear();
        self.greeting = 0;
    }

    /// Gives up what was kept for a next connection that will not come.
    pub(in crate::connection) fn abandon(&mut self) {
        let fates = Arc::make_mut(&mut self.fates);
        for frame in mem::take(&mut self.frames) {
            let fate = match frame.kind {
                Kind::Publish => &mut fates.kept,
                Kind::Request => &mut fates.dropped,
                _ => continue,
            };
            fate.insert(Position(frame.position), frame.len as usize, self.max_ranges);
        }
        self.back = Vec::new();
        self.user_bytes = 0;
        self.dead_back = 0;
    }

    /// While there is no connection: drops what was kept below `position`, requests excepted,
    /// whose deadlines are their own.
    pub(in crate::connection) fn expire_below(&mut self, position: u64) -> Fate {
        let mut expired = Fate::default();
        for frame in &mut self.frames {
            if frame.position >= position {
                break;
            }
            if frame.kind == Kind::Publish {
                frame.kind = Kind::Dead;
                self.dead_back += frame.len as usize;
                self.user_bytes -= frame.len as usize;
                expired.push(Position(frame.position), frame.len as usize);
            }
        }
        self.compact();
        Fates::settle(&mut Arc::make_mut(&mut self.fates).dropped, &expired, self.max_ranges);
        expired
    }

    /// Squeezes the withdrawn frames out of `back`, and out of what is left of `front` unless
    /// that is out.
    pub(super) fn compact(&mut self) {
        let squeeze_front = self.dead_front > 0 && !self.lent;
        if !squeeze_front && self.dead_back == 0 {
            return;
        }
        if squeeze_front {
            self.front.drain(..self.head.min(self.front.len()));
            self.head = 0;
            self.dead_front = 0;
        }
        let (mut front, mut back) = (Squeeze::default(), Squeeze::default());
        let (mut kept_frames, mut front_frames, mut held_dead) = (0, 0, 0);
        for index in 0..self.frames.len() {
            let frame = self.frames[index];
            let len = frame.len as usize - if index == 0 { self.cut } else { 0 };
            let mut stays = frame.kind != Kind::Dead;
            if index >= self.front_frames {
                if !stays && self.hold_from.is_some_and(|hold| back.from < hold) {
                    held_dead += len;
                }
                back.step(&mut self.back, len, stays);
            } else {
                stays |= !squeeze_front;
                front_frames += usize::from(stays);
                if squeeze_front {
                    front.step(&mut self.front, len, stays);
                }
            }
            if stays {
                self.frames[kept_frames] = frame;
                kept_frames += 1;
            }
        }
        if squeeze_front {
            self.front.truncate(front.kept);
        }
        self.back.truncate(back.kept);
        self.frames.truncate(kept_frames);
        self.front_frames = front_frames;
        self.hold_from = self.hold_from.map(|hold| hold - held_dead);
        self.dead_back = 0;
    }
}
