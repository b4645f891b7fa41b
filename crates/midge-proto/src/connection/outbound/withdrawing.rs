//! Messages that are taken back before they are sent.

use alloc::sync::Arc;
use core::mem;

use super::Outbound;
use crate::connection::fates::Position;
use crate::connection::frames::Kind;

impl Outbound {
    /// Takes back the message at `position` if no byte of it was handed out. False: too late.
    ///
    /// One that lies in a batch that is out is not sent either if the transport takes no byte of
    /// it: `settle` tells.
    pub(in crate::connection) fn withdraw(&mut self, position: Position) -> bool {
        let mut index = self.runs.partition_point(|run| run.end() <= position.0);
        let begun = usize::from(self.cut > 0);
        let Some(&run) = self.runs.get(index) else {
            return false;
        };
        if index < begun || position.0 < run.position || !run.is_user() {
            return false;
        }
        if run.count > 1 {
            if index < self.front_runs && self.front.is_empty() {
                // Where it begins cannot be seen: the bytes of the run are out.
                if let Err(place) = self.recalled.binary_search(&position.0) {
                    self.recalled.insert(place, position.0);
                }
                return false;
            }
            index = self.isolate(index, position.0);
        }
        let run = &mut self.runs[index];
        if index < self.lent_runs {
            run.kind = Kind::Recalled;
            return false;
        }
        let len = run.len as usize;
        self.kill(index);
        self.bury(index, len);
        true
    }

    /// The batch is back, and what the transport took of it is gone.
    pub(super) fn take_back_recalled(&mut self) {
        let lent = mem::take(&mut self.lent_runs);
        for index in usize::from(self.cut > 0)..lent.min(self.runs.len()) {
            if self.runs[index].kind == Kind::Recalled {
                self.dead_front += self.runs[index].len as usize;
                self.kill(index);
            }
        }
        if !self.recalled.is_empty() {
            for position in mem::take(&mut self.recalled) {
                self.withdraw(Position(position));
            }
        }
    }

    /// The message of the run at `index` is not sent.
    fn kill(&mut self, index: usize) {
        let run = &mut self.runs[index];
        run.kind = Kind::Dead;
        let len = run.len as usize;
        self.user_bytes -= len;
        let dropped = &mut Arc::make_mut(&mut self.fates).dropped;
        dropped.insert(run.position..run.end(), len, self.max_ranges);
    }

    /// The run at `index` is dead. It is squeezed out later, unless the dead are most of what waits.
    fn bury(&mut self, index: usize, len: usize) {
        if index < self.front_runs {
            self.dead_front += len;
        } else {
            self.dead_back += len;
        }
        let dead = self.dead_back + if self.lent { 0 } else { self.dead_front };
        if dead > self.max_dead && dead > self.user_bytes {
            self.compact();
        }
    }

    /// Makes the message at `position` a run by itself, out of that at `index`, whose bytes are
    /// here. Returns its new index.
    fn isolate(&mut self, index: usize, position: u64) -> usize {
        let index = self.part(index, position);
        self.part(index, position + 1);
        index
    }

    /// Parts the run at `index`, whose bytes are here and of which none was taken, before
    /// `position`. Returns the index of the run that begins there.
    pub(super) fn part(&mut self, index: usize, position: u64) -> usize {
        let run = self.runs[index];
        if position <= run.position {
            return index;
        }
        if position >= run.end() {
            return index + 1;
        }
        let in_front = index < self.front_runs;
        let first = if in_front { 0 } else { self.front_runs };
        let before: usize = self.runs.range(first..index).map(|run| run.len as usize).sum();
        let bytes = if in_front {
            &self.front[self.head + before - self.cut..]
        } else {
            &self.back[before..]
        };
        let frames = run.frames(&bytes[..run.len as usize]);
        let len = frames.take_while(|(at, _)| *at < position).map(|(_, frame)| frame.len()).sum();
        let count = u16::try_from(position - run.position).unwrap_or(run.count);
        let (former, latter) = run.split(count, len);
        self.runs[index] = former;
        self.runs.insert(index + 1, latter);
        self.front_runs += usize::from(in_front);
        self.lent_runs += usize::from(index < self.lent_runs);
        index + 1
    }
}
