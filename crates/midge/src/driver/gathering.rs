//! Who writes a stream of messages, and when: the driver once more has come, or publishers.

use std::time::Duration;

use midge_proto::{Instant, Wait};

/// So many bytes are worth a write of their own.
const ENOUGH: usize = 32 * 1024;
/// So often the driver gives way before a write.
const MOST: u32 = 32;
/// How long the driver leaves writing to publishers before it looks again.
const NAP: Duration = Duration::from_millis(1);
/// Bytes that a driver has written for others, at first, before it does that.
const STREAM: usize = 256 * 1024;
/// The most that it comes to when publishers do not write then.
const LONG_STREAM: usize = 64 * 1024 * 1024;
/// A stream of fewer bytes a microsecond is none.
const PACE: u64 = 64;
/// So many times somebody on another thread has published and then waited, before that.
const WAITED: u32 = 8;
/// The most that it comes to when publishers do not write then.
const OFTEN_WAITED: u32 = 1 << 16;

/// Publishers on other threads add to what waits while the driver writes. Written at once, it would
/// be little each time, and a driver that then sleeps has to be woken for the next message. So
/// after a write it gives way and looks again, for as long as there is more each time. What comes
/// to a driver that was idle is written at once.
///
/// When that goes on for long, bytes only travel from one core to another, and both contend for the
/// lock: the driver hands over to the publishers, who write a run as soon as there is one, and looks
/// after [`NAP`] whether they do. If not, it writes what is there, and it takes a stream four times
/// as long until it hands over again: who sends much, but only once it has got an answer, waits so
/// long a few times at most. Each time that they do, it takes half of it.
#[derive(Debug)]
pub(super) struct Gathering {
    /// The transport took all of the last write, and the driver has not been idle since.
    wrote: bool,
    /// What waited when it was last looked at.
    seen: usize,
    looks: u32,
    /// Bytes written that came from other threads, less those that no stream is made of.
    streamed: usize,
    /// When they were last looked at.
    looked: Instant,
    /// As many of them are a stream.
    stream: usize,
    /// How often who has published came to wait for what comes of it, since that was in vain.
    waited: u32,
    /// As often is worth handing over.
    often: u32,
    handed_over: bool,
    /// The driver has to write before it hands over again.
    writes_first: bool,
}

impl Default for Gathering {
    fn default() -> Self {
        Self {
            wrote: false,
            seen: 0,
            looks: 0,
            streamed: 0,
            looked: Instant::ZERO,
            stream: STREAM,
            waited: 0,
            often: WAITED,
            handed_over: false,
            writes_first: false,
        }
    }
}

impl Gathering {
    /// The write of `len` bytes came back, of which these were taken. `elsewhere`: they come from
    /// another thread, which could have written them.
    pub(super) fn wrote(&mut self, len: usize, taken: usize, elsewhere: bool) {
        let all = taken == len;
        self.writes_first = !all;
        if elsewhere {
            self.streamed = self.streamed.saturating_add(taken);
        }
        (self.wrote, self.seen, self.looks) = (all, 0, 0);
    }

    /// The driver has nothing to do but to write, if there is anything: true when it gives way
    /// first.
    pub(super) fn goes_on(&mut self, write: bool, waiting: usize) -> bool {
        if !write {
            self.wrote = false;
        }
        let more = self.wrote && waiting > self.seen && waiting < ENOUGH && self.looks < MOST;
        self.seen = waiting;
        self.looks += u32::from(more);
        more
    }

    /// Somebody on another thread has called the driver for what it published, and waits.
    pub(super) fn waited(&mut self, times: u32) {
        self.waited = self.waited.saturating_add(times);
    }

    /// The driver would wait like this: until when it leaves writing to publishers instead, if it
    /// does. `before` is when the last such time ends, if nobody needed the driver meanwhile, and
    /// `beside` what publishers have written in it.
    pub(super) fn hands_over(
        &mut self,
        now: Instant,
        wait: Wait,
        run: bool,
        before: Option<Instant>,
        beside: usize,
    ) -> Option<Instant> {
        let mut until = now + NAP;
        if std::mem::take(&mut self.handed_over) {
            match before {
                Some(before) if now < before => until = before,
                Some(_) if beside > 0 => {
                    self.stream = (self.stream / 2).max(STREAM);
                    self.often = (self.often / 2).max(WAITED);
                }
                Some(_) => {
                    if self.streamed >= self.stream {
                        self.stream = (self.stream * 4).min(LONG_STREAM);
                    }
                    if self.waited >= self.often && wait.write {
                        self.often = (self.often * 4).min(OFTEN_WAITED);
                    }
                    (self.streamed, self.waited) = (0, 0);
                }
                None => self.writes_first = true,
            }
        } else {
            let micros = now.saturating_since(self.looked).as_micros() as u64;
            let slow = usize::try_from(micros * PACE).unwrap_or(usize::MAX);
            self.streamed = self.streamed.saturating_sub(slow);
        }
        self.looked = now;
        // Another deadline may be one of writing.
        let sleeps = wait.until.is_none_or(|other| until < other);
        let much = run || self.writes_first;
        let streams = self.streamed >= self.stream;
        // What waits already may be of somebody who waits, too, unless it is to be written by whoever
        // does.
        let waits = self.waited >= self.often && (!wait.write || before == Some(until));
        self.handed_over = sleeps && !much && (streams || waits);
        self.handed_over.then_some(until)
    }
}
