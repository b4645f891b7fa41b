//! A global allocator that counts for threads which ask for it, and remembers who pays for what.

#![allow(unsafe_code)] // Nothing else than an `unsafe impl` makes a global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::null_mut;

/// Before each allocation: who pays for it. A multiple of every usual alignment.
const HEAD: usize = 16;

/// Those who can pay have numbers below this.
pub const PAYERS: usize = 4096;

/// Allocations of which the origin is kept.
const TRACES: usize = 4;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

thread_local! {
    // Without a destructor and with a constant start: using these allocates nothing.
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<u64> = const { Cell::new(0) };
    static PAYER: Cell<usize> = const { Cell::new(NOBODY) };
    static LIVE: [Cell<isize>; PAYERS] = const { [const { Cell::new(0) }; PAYERS] };
    static ORIGINS: RefCell<Vec<Backtrace>> = const { RefCell::new(Vec::new()) };
}

/// Counts one allocation, or one that grows or shrinks, if this thread is armed.
#[inline]
fn count(bytes: usize) {
    if !ARMED.get() {
        return;
    }
    BYTES.set(BYTES.get() + bytes as u64);
    let before = ALLOCATIONS.replace(ALLOCATIONS.get() + 1);
    if before < TRACES as u64 {
        // A trace allocates itself.
        ARMED.set(false);
        ORIGINS.with_borrow_mut(|origins| origins.push(Backtrace::force_capture()));
        ARMED.set(true);
    }
}

/// Pays for what is not booked.
const NOBODY: usize = usize::MAX;

fn book(payer: usize, bytes: isize) {
    LIVE.with(|live| {
        if let Some(live) = live.get(payer) {
            live.set(live.get() + bytes);
        }
    });
}

/// Books what this thread allocates from now on, and what it grows or shrinks, to `payer`, or to
/// nobody. What is freed goes back to who paid for it, on the thread that frees it.
///
/// # Panics
///
/// When `payer` is not below [`PAYERS`].
pub fn pay(payer: Option<usize>) {
    assert!(payer.is_none_or(|payer| payer < PAYERS), "payers are below {PAYERS}");
    PAYER.set(payer.unwrap_or(NOBODY));
}

/// Bytes that were allocated on this thread at the cost of `payer`, less those that it freed.
pub fn live(payer: usize) -> isize {
    LIVE.with(|live| live.get(payer).map_or(0, Cell::get))
}

/// The layout with the head in front, and the length of that.
fn with_head(layout: Layout) -> Option<(Layout, usize)> {
    let head = layout.align().max(HEAD);
    let size = layout.size().checked_add(head)?;
    Some((Layout::from_size_align(size, head).ok()?, head))
}

/// Writes who pays before an allocation.
///
/// # Safety
///
/// `start` is null or an allocation with the layout of `with_head`, whose head is `head` long.
unsafe fn begin(start: *mut u8, head: usize, size: usize) -> *mut u8 {
    if start.is_null() {
        return start;
    }
    let payer = PAYER.get();
    book(payer, size.cast_signed());
    // SAFETY: `head` is at least `HEAD`, so the number lies within the allocation, before what the
    // caller gets, and it is aligned as `head` is a multiple of its alignment.
    unsafe {
        let pointer = start.add(head);
        pointer.cast::<usize>().sub(1).write(payer);
        pointer
    }
}

/// Who paid for an allocation.
///
/// # Safety
///
/// `pointer` came from `begin`.
unsafe fn payer_of(pointer: *mut u8) -> usize {
    // SAFETY: `begin` wrote it there.
    unsafe { pointer.cast::<usize>().sub(1).read() }
}

// SAFETY: every method does what `System` does with a layout that has room for a head in front and
// the same or a greater alignment; what follows the head is as long and as aligned as was asked for.
// Counting neither panics nor calls back into the thread's armed state.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        let Some((whole, head)) = with_head(layout) else { return null_mut() };
        // SAFETY: the layout is not empty: it has a head.
        unsafe { begin(System.alloc(whole), head, layout.size()) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        let Some((whole, head)) = with_head(layout) else { return null_mut() };
        // SAFETY: as above.
        unsafe { begin(System.alloc_zeroed(whole), head, layout.size()) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        let Some((whole, head)) = with_head(layout) else { return null_mut() };
        let new = Layout::from_size_align(size, layout.align()).ok().and_then(with_head);
        let Some((new, _)) = new else { return null_mut() };
        // SAFETY: `pointer` came from `begin` with this layout, so its allocation starts `head` before;
        // that the new size is not too large was seen by making its layout.
        unsafe {
            let before = payer_of(pointer);
            let start = System.realloc(pointer.sub(head), whole, new.size());
            if !start.is_null() {
                book(before, -layout.size().cast_signed());
            }
            begin(start, head, size)
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let Some((whole, head)) = with_head(layout) else { return };
        // SAFETY: as above.
        unsafe {
            book(payer_of(pointer), -layout.size().cast_signed());
            System.dealloc(pointer.sub(head), whole);
        }
    }
}

/// Counts the allocations of the current thread, from `start` to `stop`.
#[derive(Debug)]
#[must_use = "counting goes on until it is stopped"]
pub struct Meter {
    /// It belongs to its thread.
    _thread: PhantomData<*const ()>,
}

impl Meter {
    /// Begins to count from zero.
    ///
    /// # Panics
    ///
    /// When this thread counts already.
    pub fn start() -> Self {
        assert!(!ARMED.get(), "one count at a time");
        ALLOCATIONS.set(0);
        BYTES.set(0);
        ORIGINS.with_borrow_mut(Vec::clear);
        ARMED.set(true);
        Self { _thread: PhantomData }
    }

    /// Ends counting.
    pub fn stop(self) -> Counted {
        ARMED.set(false);
        Counted {
            allocations: ALLOCATIONS.get(),
            bytes: BYTES.get(),
            origins: ORIGINS.with_borrow_mut(std::mem::take),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        ARMED.set(false);
    }
}

/// What a [`Meter`] counted.
#[derive(Debug)]
pub struct Counted {
    /// Calls for memory: new, zeroed, and changed in size.
    pub allocations: u64,
    /// Bytes asked for by them.
    pub bytes: u64,
    /// Where the first ones came from.
    pub origins: Vec<Backtrace>,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} allocations of {} bytes", self.allocations, self.bytes)?;
        for (number, origin) in (1..).zip(&self.origins) {
            write!(f, "\n  {number}.")?;
            let origin = origin.to_string();
            let mut frames = origin.lines().collect::<Vec<_>>();
            let ours = |pair: &&[&str]| {
                pair[1].contains("at ")
                    && ["/crates/", "/tests/"].iter().any(|at| pair[1].contains(at))
            };
            let own = frames.windows(2).filter(ours).flatten().copied().collect::<Vec<_>>();
            if !own.is_empty() {
                frames = own;
            }
            for line in frames {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}
