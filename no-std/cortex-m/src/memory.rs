//! What the program takes of the device: sizes from the linker, and how deep the stack went.

use core::ptr;

/// The stack is filled with this, and what it overwrote is what it used.
const UNTOUCHED: u32 = 0xA5A5_A5A5;

// Set by the linker script of cortex-m-rt. Only their addresses mean something.
unsafe extern "C" {
    static __stext: u32;
    static __etext: u32;
    static __srodata: u32;
    static __erodata: u32;
    static __sdata: u32;
    static __edata: u32;
    static __sbss: u32;
    static __ebss: u32;
    static __sheap: u32;
    static _stack_start: u32;
}

/// The memory of this program, in bytes.
#[derive(Debug)]
pub struct Memory(());

impl Memory {
    /// Watches the stack from here on.
    #[inline(never)]
    pub fn watch() -> Self {
        let here = 0_u32;
        // Some bytes below this frame may be in use by the calls of the loop.
        let end = ptr::from_ref(&here).wrapping_sub(64);
        let mut word = (&raw const __sheap).cast_mut();
        while word.cast_const() < end {
            // SAFETY: between the end of the static data and the present end of the stack lies
            // memory that nothing uses: the heap is a static.
            unsafe { word.write_volatile(UNTOUCHED) };
            word = word.wrapping_add(1);
        }
        Self(())
    }

    /// Code and constants, in flash.
    pub fn text(&self) -> usize {
        distance(&raw const __stext, &raw const __etext)
            + distance(&raw const __srodata, &raw const __erodata)
    }

    /// Variables that start with a value, in flash and in RAM.
    pub fn data(&self) -> usize {
        distance(&raw const __sdata, &raw const __edata)
    }

    /// Variables that start as zero, in RAM.
    pub fn bss(&self) -> usize {
        distance(&raw const __sbss, &raw const __ebss)
    }

    /// The most stack that was ever in use.
    pub fn stack(&self) -> usize {
        let mut word = &raw const __sheap;
        // SAFETY: as in `watch`; up to the start of the stack all of it is RAM.
        while word < &raw const _stack_start && unsafe { word.read_volatile() } == UNTOUCHED {
            word = word.wrapping_add(1);
        }
        distance(word, &raw const _stack_start)
    }
}

fn distance(from: *const u32, to: *const u32) -> usize {
    to.addr() - from.addr()
}
