//! An allocator over a fixed array, which tells how much of it was ever in use and can be held
//! at that.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::fmt;
use core::mem::MaybeUninit;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, Ordering};

/// `SIZE` bytes to allocate from, for `#[global_allocator]`.
///
/// It takes the first free piece that fits. A request that finds none, or would pass the
/// [limit](Self::limit), gets a null pointer. For programs with one thread; others wait in a loop.
pub struct Heap<const SIZE: usize> {
    arena: UnsafeCell<Arena<SIZE>>,
    state: UnsafeCell<State>,
    locked: AtomicBool,
}

#[repr(align(16))]
struct Arena<const SIZE: usize>(MaybeUninit<[u8; SIZE]>);

struct State {
    free: linked_list_allocator::Heap,
    ready: bool,
    peak: usize,
    /// 0: none. With zeros alone the array is in `.bss`, and takes no place in flash.
    limit: usize,
    refused: Option<usize>,
}

// SAFETY: both cells are only touched between `lock` and `unlock`, by one thread at a time.
unsafe impl<const SIZE: usize> Sync for Heap<SIZE> {}

impl<const SIZE: usize> fmt::Debug for Heap<SIZE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").field("used", &self.used()).field("peak", &self.peak()).finish()
    }
}

impl<const SIZE: usize> Heap<SIZE> {
    /// A heap with nothing in use.
    #[expect(
        clippy::new_without_default,
        reason = "`Default` is not const, and this is for statics"
    )]
    pub const fn new() -> Self {
        Self {
            arena: UnsafeCell::new(Arena(MaybeUninit::uninit())),
            state: UnsafeCell::new(State {
                free: linked_list_allocator::Heap::empty(),
                ready: false,
                peak: 0,
                limit: 0,
                refused: None,
            }),
            locked: AtomicBool::new(false),
        }
    }

    /// Bytes in use, with what their alignment costs.
    pub fn used(&self) -> usize {
        self.with(|state| state.free.used())
    }

    /// The most bytes that were ever in use since the start, or since [`forget_peak`](Self::forget_peak).
    pub fn peak(&self) -> usize {
        self.with(|state| state.peak)
    }

    /// Measures the peak from here on.
    pub fn forget_peak(&self) {
        self.with(|state| state.peak = state.free.used());
    }

    /// From here on, no more than `bytes` may be in use; 0 takes the limit away.
    pub fn limit(&self, bytes: usize) {
        self.with(|state| state.limit = bytes);
    }

    /// The size of the first request that was refused.
    pub fn refused(&self) -> Option<usize> {
        self.with(|state| state.refused)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        while self.locked.swap(true, Ordering::Acquire) {
            core::hint::spin_loop();
        }
        // SAFETY: the flag was not set and is now, so nobody else has a reference.
        let state = unsafe { &mut *self.state.get() };
        if !state.ready {
            state.ready = true;
            // SAFETY: the arena is used by nothing else and, as part of a heap that can only be
            // used as a static, lives for ever; `ready` says that this happens once.
            unsafe { state.free.init(self.arena.get().cast(), SIZE) };
        }
        let done = act(state);
        self.locked.store(false, Ordering::Release);
        done
    }
}

// SAFETY: pieces come from an arena that lives as long as the program and are handed out once;
// `linked_list_allocator` keeps to size and alignment. Nothing unwinds.
unsafe impl<const SIZE: usize> GlobalAlloc for Heap<SIZE> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.with(|state| {
            let piece = state.free.allocate_first_fit(layout).ok().filter(|piece| {
                let fits = state.limit == 0 || state.free.used() <= state.limit;
                if !fits {
                    // SAFETY: it was allocated just now, with this layout, and goes nowhere else.
                    unsafe { state.free.deallocate(*piece, layout) };
                }
                fits
            });
            match piece {
                Some(_) => state.peak = state.peak.max(state.free.used()),
                None => state.refused = state.refused.or(Some(layout.size())),
            }
            piece.map_or(ptr::null_mut(), NonNull::as_ptr)
        })
    }

    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        if let Some(piece) = NonNull::new(piece) {
            // SAFETY: the caller promises that it came from `alloc` with this layout.
            self.with(|state| unsafe { state.free.deallocate(piece, layout) });
        }
    }
}
