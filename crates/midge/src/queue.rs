//! The queue between the driver and the reader of one subscription.
//!
//! The driver puts in a batch under one lock and wakes once; the reader takes out all there is
//! under one lock and then reads without any. Two counters that only grow, one written by each
//! side, say how many messages are unread.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::task::Waker;

use midge_proto::{Message, Subject};

use crate::end::{End, EndReason};
use crate::shared::lock;
use crate::subscribe::WhenFull;
use crate::waiters::Wakes;

/// Buffers with room for more messages than this are not kept once they are empty.
const KEEP_CAPACITY: usize = 8 * 1024;

/// The reader has something to tell when it has read down to half of a limit.
const SLOW: u8 = 1;
/// Nothing is put in any more.
const ENDED: u8 = 2;
/// The reader has taken the last message that there was and has not come back: it may be at work
/// on it.
const BUSY: u8 = 4;

/// How much of a subscription may be unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Limits {
    /// What a handler is called with is never unread for longer than a turn.
    pub(crate) const NONE: Self = Self { messages: usize::MAX, bytes: usize::MAX };
}

/// Messages and bytes, as counters that wrap around.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Amount {
    /// So many messages more, of `size` bytes together.
    #[inline]
    pub(crate) fn add(&mut self, messages: usize, size: usize) {
        self.messages = self.messages.wrapping_add(messages);
        self.bytes = self.bytes.wrapping_add(size);
    }

    fn take_back(&mut self, message: &Message) {
        self.messages = self.messages.wrapping_sub(1);
        self.bytes = self.bytes.wrapping_sub(message.size());
    }

    #[inline]
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            messages: self.messages.wrapping_sub(earlier.messages),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
        }
    }

    fn exceeds(self, limits: Limits) -> bool {
        self.messages > limits.messages || self.bytes > limits.bytes
    }

    /// At most half of the limits.
    pub(crate) fn is_half(self, limits: Limits) -> bool {
        self.messages <= limits.messages / 2 && self.bytes <= limits.bytes / 2
    }
}

/// An [`Amount`] that one side writes and the other one reads.
#[derive(Debug, Default)]
struct Counter {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Counter {
    #[inline]
    fn store(&self, amount: Amount, order: Ordering) {
        self.bytes.store(amount.bytes, Ordering::Relaxed);
        self.messages.store(amount.messages, order);
    }

    #[inline]
    fn load(&self) -> Amount {
        self.load_as(Ordering::SeqCst)
    }

    #[inline]
    fn load_as(&self, order: Ordering) -> Amount {
        let messages = self.messages.load(order);
        Amount { messages, bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// What the driver and the reader of a subscription share.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) subject: Subject,
    /// The bytes that may be unread.
    max_bytes: usize,
    /// The messages that may be, or as many as there are.
    max_messages: u32,
    pub(crate) when_full: WhenFull,
    state: Mutex<State>,
    /// Written by the driver: all that was ever put in, but for what made room for newer ones.
    put: Counter,
    /// Written by both.
    flags: AtomicU8,
    /// Written by the reader.
    read: Counter,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<Message>,
    waker: Option<Waker>,
    rare: Option<Box<Rare>>,
}

/// What few queues have, and those not for long.
#[derive(Debug, Default)]
struct Rare {
    /// Fewer messages wake nobody.
    least: usize,
    dropped: u64,
    end: Option<End>,
}

impl State {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn least(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| rare.least)
    }

    fn end(&self) -> Option<&End> {
        self.rare.as_ref()?.end.as_ref()
    }

    /// Any message wakes the reader.
    fn wake_at_any(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.least = 0;
        }
    }
}

/// What a reader found.
#[derive(Debug)]
pub(crate) enum Taken {
    Messages,
    Ended,
    /// Nothing; the waker given is registered.
    Nothing,
}

impl Queue {
    pub(crate) fn new(subject: Subject, limits: Limits, when_full: WhenFull) -> Self {
        Self {
            subject,
            max_bytes: limits.bytes,
            max_messages: u32::try_from(limits.messages).unwrap_or(u32::MAX),
            when_full,
            state: Mutex::default(),
            put: Counter::default(),
            flags: AtomicU8::new(0),
            read: Counter::default(),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        let messages = match self.max_messages {
            u32::MAX => usize::MAX,
            most => most as usize,
        };
        Limits { messages, bytes: self.max_bytes }
    }

    // ---- the driver's side ---------------------------------------------------------------

    /// Puts in all of `batch`, which has `size` bytes and is left empty. What makes room for newer
    /// messages goes to `discarded`.
    pub(crate) fn put(
        &self,
        batch: &mut Vec<Message>,
        size: usize,
        discarded: &mut Vec<Message>,
        wakes: &mut Wakes,
    ) {
        let mut put = self.put.load_as(Ordering::Relaxed);
        put.add(batch.len(), size);
        let mut state = lock(&self.state);
        let mut messages = VecDeque::from(std::mem::take(batch));
        if state.messages.is_empty() {
            std::mem::swap(&mut state.messages, &mut messages);
        } else {
            state.messages.append(&mut messages);
        }
        *batch = Vec::from(messages);
        if self.when_full == WhenFull::DropOldest {
            // What the reader has taken out counts and cannot make room; the newest stays.
            while state.messages.len() > 1
                && put.since(self.read.load()).exceeds(self.limits())
                && let Some(oldest) = state.messages.pop_front()
            {
                put.take_back(&oldest);
                discarded.push(oldest);
                state.rare().dropped += 1;
            }
        }
        self.put.store(put, Ordering::SeqCst);
        if state.messages.len() >= state.least() {
            wakes.add(state.waker.take());
        }
        drop(state);
        if batch.capacity() > KEEP_CAPACITY {
            *batch = Vec::new();
        }
    }

    /// Nothing more will be put in.
    pub(crate) fn end(&self, end: End, wakes: &mut Wakes) {
        let mut state = lock(&self.state);
        state.rare().end.get_or_insert(end);
        wakes.add(state.waker.take());
        drop(state);
        self.flags.fetch_or(ENDED, Ordering::SeqCst);
    }

    /// Lets the reader look again.
    pub(crate) fn wake(&self, wakes: &mut Wakes) {
        wakes.add(lock(&self.state).waker.take());
    }

    /// Whether a message was ever put in.
    pub(crate) fn has_begun(&self) -> bool {
        self.put.load_as(Ordering::Relaxed).messages > 0
    }

    pub(crate) fn read_so_far(&self) -> Amount {
        self.read.load()
    }

    pub(crate) fn count_dropped(&self) {
        lock(&self.state).rare().dropped += 1;
    }

    pub(crate) fn set_slow(&self, slow: bool) {
        if slow {
            self.flags.fetch_or(SLOW, Ordering::SeqCst);
        } else {
            self.flags.fetch_and(!SLOW, Ordering::SeqCst);
        }
    }

    /// Lets whoever waits look again, at once. To be called with no lock held.
    pub(crate) fn wake_reader(&self) {
        let waker = lock(&self.state).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    // ---- the reader's side ---------------------------------------------------------------

    /// Takes out messages into `local`, which must be empty: all of them, or at most `max` where
    /// the oldest may still have to make room.
    pub(crate) fn take(&self, local: &mut VecDeque<Message>, max: usize, waker: &Waker) -> Taken {
        if local.capacity() > KEEP_CAPACITY {
            *local = VecDeque::new();
        }
        let mut state = lock(&self.state);
        if !state.messages.is_empty() {
            self.move_out(&mut state, local, max);
            return Taken::Messages;
        }
        if state.end().is_some() {
            return Taken::Ended;
        }
        state.wake_at_any();
        let old = crate::waiters::set_waker(&mut state.waker, waker);
        drop(state);
        drop(old);
        Taken::Nothing
    }

    /// The reader, which has found nothing, is woken when there are so many messages, or at the end.
    /// False when that is so already.
    #[cfg(feature = "jetstream")]
    pub(crate) fn wake_at(&self, least: usize) -> bool {
        let mut state = lock(&self.state);
        state.rare().least = least;
        state.messages.len() < least && state.end().is_none()
    }

    /// As [`take`](Self::take), without waiting.
    pub(crate) fn try_take(&self, local: &mut VecDeque<Message>, max: usize) {
        self.move_out(&mut lock(&self.state), local, max);
    }

    #[inline]
    fn move_out(&self, state: &mut State, local: &mut VecDeque<Message>, max: usize) {
        if self.when_full == WhenFull::DropOldest && state.messages.len() > max {
            local.extend(state.messages.drain(..max));
        } else {
            std::mem::swap(&mut state.messages, local);
        }
    }

    /// What the reader has read, for itself: nobody else writes that.
    #[inline]
    pub(crate) fn read_by_me(&self) -> Amount {
        self.read.load_as(Ordering::Relaxed)
    }

    /// Says what the reader has read, which holds more. Tells whether it must look at
    /// [`attention`](Self::attention).
    #[inline]
    pub(crate) fn note_read(&self, read: Amount) -> bool {
        self.read.store(read, Ordering::Relaxed);
        self.flags.load(Ordering::SeqCst) & !BUSY != 0
    }

    /// As [`note_read`](Self::note_read) of the last message that the reader holds.
    ///
    /// The reader's store and the driver's `ENDED` are ordered against the load that follows each: one
    /// of the two sees that an ended queue is read out.
    pub(crate) fn note_last(&self, read: Amount) -> bool {
        self.read.store(read, Ordering::SeqCst);
        self.flags.fetch_or(BUSY, Ordering::SeqCst) & !BUSY != 0
    }

    /// The reader is back from the last message that there was. True when the queue has ended
    /// meanwhile and is read out, which the driver must be told.
    #[inline]
    pub(crate) fn come_back(&self) -> bool {
        let flags = self.flags.load(Ordering::Relaxed);
        flags & BUSY != 0
            && self.flags.fetch_and(!BUSY, Ordering::SeqCst) & ENDED != 0
            && self.unread().messages == 0
    }

    /// Nothing is unread, and the reader is not at work on the last message.
    pub(crate) fn is_read_out(&self) -> bool {
        self.flags.load(Ordering::SeqCst) & BUSY == 0 && self.unread().messages == 0
    }

    /// What the driver must be told after a read, under its lock: that a slow reader has caught
    /// up, or that a queue which has ended is read out.
    pub(crate) fn attention(&self) -> bool {
        let flags = self.flags.load(Ordering::SeqCst);
        let unread = self.unread();
        (flags & SLOW != 0 && unread.is_half(self.limits()))
            || (flags & (ENDED | BUSY) == ENDED && unread.messages == 0)
    }

    pub(crate) fn unread(&self) -> Amount {
        let read = self.read.load();
        self.put.load().since(read)
    }

    pub(crate) fn dropped(&self) -> u64 {
        lock(&self.state).rare.as_ref().map_or(0, |rare| rare.dropped)
    }

    pub(crate) fn how_it_ended(&self) -> Option<End> {
        lock(&self.state).end().cloned()
    }

    pub(crate) fn end_reason(&self) -> Option<EndReason> {
        self.how_it_ended().map(End::into_reason)
    }

    /// Ends it from the reader's side, once the driver has forgotten it: takes out what nobody
    /// will read, and counts it as read.
    pub(crate) fn abandon(&self, reason: EndReason) -> VecDeque<Message> {
        let mut state = lock(&self.state);
        state.rare().end.get_or_insert(End::Reason(reason));
        let waker = state.waker.take();
        let messages = std::mem::take(&mut state.messages);
        drop(state);
        drop(waker);
        self.read.store(self.put.load(), Ordering::SeqCst);
        messages
    }

    /// Registers a waker for the end; false when it has ended. With `read_out`, the end comes
    /// when nothing is unread.
    pub(crate) fn wait_for_end(&self, waker: &Waker, read_out: bool) -> bool {
        let mut state = lock(&self.state);
        if state.end().is_some() && !(read_out && self.unread().messages > 0) {
            return false;
        }
        state.wake_at_any();
        let old = crate::waiters::set_waker(&mut state.waker, waker);
        drop(state);
        drop(old);
        true
    }
}
