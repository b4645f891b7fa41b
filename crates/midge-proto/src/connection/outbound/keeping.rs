//! What becomes of the messages that wait, between one transport and the next.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use super::{Outbound, Split};
use crate::connection::fates::{Fate, Fates};
use crate::connection::frames::{Kind, Run, Squeeze};

impl Outbound {
    /// Lets user data out: the handshake is over. `fits` says whether a kept frame may be sent.
    pub(in crate::connection) fn open(
        &mut self,
        confirm_every: usize,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Fate {
        let mut dropped = Fate::default();
        let runs = mem::take(&mut self.runs);
        let bytes = mem::take(&mut self.back);
        self.user_bytes = 0;
        self.dead_back = 0;
        self.since_ping = 0;
        let mut start = 0;
        for run in runs {
            let end = start + run.len as usize;
            if run.is_user() {
                for (position, frame) in run.frames(&bytes[start..end]) {
                    if fits(frame) {
                        self.keep(position, run.kind, frame);
                        self.since_ping += frame.len();
                        if self.since_ping >= confirm_every {
                            self.ping_before(position + 1);
                        }
                    } else {
                        dropped.push(position..position + 1, frame.len());
                    }
                }
            }
            start = end;
        }
        self.open = true;
        Fates::settle(&mut Arc::make_mut(&mut self.fates).dropped, &dropped, self.max_ranges);
        dropped
    }

    /// A message that is still to be sent, behind those that are.
    fn keep(&mut self, position: u64, kind: Kind, frame: &[u8]) {
        let before = self.back.len();
        self.back.extend_from_slice(frame);
        self.user_bytes += frame.len();
        self.note(position, kind, before, frame.len());
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
        let in_front = mem::take(&mut self.front_runs);
        for (index, run) in mem::take(&mut self.runs).into_iter().enumerate() {
            if index == in_front {
                start = 0;
            }
            let begun = index == 0 && self.cut > 0;
            let end = start + run.len as usize - if begun { self.cut } else { 0 };
            if begun || !run.is_user() {
                self.runs.push_back(run);
            } else {
                let buffer = if index < in_front { &self.front } else { &self.back };
                let first = self.runs.len();
                for (position, frame) in run.frames(&buffer[start..end]) {
                    let mut one = Run::one(position, frame.len(), run.kind);
                    if !fits(frame) {
                        one.kind = Kind::Dead;
                        dropped.push(position..position + 1, frame.len());
                    }
                    let joins = self.runs.len() > first
                        && self.runs.back_mut().is_some_and(|last| last.join(one));
                    if !joins {
                        self.runs.push_back(one);
                    }
                }
                for dead in self.runs.range(first..).filter(|run| run.kind == Kind::Dead) {
                    let len = dead.len as usize;
                    *if index < in_front { &mut self.dead_front } else { &mut self.dead_back } +=
                        len;
                    self.user_bytes -= len;
                }
            }
            if index < in_front {
                self.front_runs = self.runs.len();
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
        let runs = mem::take(&mut self.runs);
        let mut start = 0;
        self.user_bytes = 0;
        self.front_runs = 0;
        let mut unsent = None;
        for (index, run) in runs.into_iter().enumerate() {
            let begun = index == 0 && self.cut > 0;
            let end = start + run.len as usize - if begun { self.cut } else { 0 };
            if begun && run.is_user() {
                split.unknown.push(run.position..run.end(), run.len as usize);
            } else if run.is_user() {
                let _ = unsent.get_or_insert(run.position);
                let keeps = keep_requests || run.kind == Kind::Publish;
                for (position, frame) in run.frames(&bytes[start..end]) {
                    let fits = keeps && self.user_bytes + frame.len() <= keep;
                    if fits {
                        self.keep(position, run.kind, frame);
                    }
                    let fate = if fits { &mut split.kept } else { &mut split.dropped };
                    fate.push(position..position + 1, frame.len());
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
        self.recalled.clear();
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
        for run in mem::take(&mut self.runs) {
            let fate = match run.kind {
                Kind::Publish => &mut fates.kept,
                Kind::Request => &mut fates.dropped,
                _ => continue,
            };
            fate.insert(run.position..run.end(), run.len as usize, self.max_ranges);
        }
        self.back = Vec::new();
        self.user_bytes = 0;
        self.dead_back = 0;
    }

    /// While there is no connection: drops what was kept below `position`, requests excepted,
    /// whose deadlines are their own.
    pub(in crate::connection) fn expire_below(&mut self, position: u64) -> Fate {
        let mut expired = Fate::default();
        let last = self.runs.partition_point(|run| run.end() <= position);
        if self.runs.get(last).is_some_and(|run| run.position < position) {
            self.part(last, position);
        }
        for run in self.runs.iter_mut().take_while(|run| run.position < position) {
            if run.kind == Kind::Publish {
                run.kind = Kind::Dead;
                self.dead_back += run.len as usize;
                self.user_bytes -= run.len as usize;
                expired.push(run.position..run.end(), run.len as usize);
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
        let (mut kept_runs, mut front_runs, mut held_dead) = (0, 0, 0);
        for index in 0..self.runs.len() {
            let run = self.runs[index];
            let len = run.len as usize - if index == 0 { self.cut } else { 0 };
            let mut stays = run.kind != Kind::Dead;
            if index >= self.front_runs {
                if !stays && self.hold_from.is_some_and(|hold| back.from < hold) {
                    held_dead += len;
                }
                back.step(&mut self.back, len, stays);
            } else {
                stays |= !squeeze_front;
                front_runs += usize::from(stays);
                if squeeze_front {
                    front.step(&mut self.front, len, stays);
                }
            }
            if stays {
                self.runs[kept_runs] = run;
                kept_runs += 1;
            }
        }
        if squeeze_front {
            self.front.truncate(front.kept);
        }
        self.back.truncate(back.kept);
        self.runs.truncate(kept_runs);
        self.front_runs = front_runs;
        self.hold_from = self.hold_from.map(|hold| hold - held_dead);
        self.dead_back = 0;
    }
}
