//! A global allocator that counts for threads which ask for it.

#![allow(unsafe_code)] // Nothing else than an `unsafe impl` makes a global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;

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

// SAFETY: every method does what `System` does with the same arguments, and counting neither
// panics nor calls back into the thread's armed state.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
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
