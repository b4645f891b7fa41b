//! The session as a program without std. It brings what std would bring, an allocator and a panic
//! handler; a crate below the core that needs std brings them again, and the compiler names it.
#![no_std]
#![no_main]

use core::ffi::{c_char, c_int, c_void};
use core::fmt::{self, Write};

use midge_heap::Heap;
use midge_session::Console;

#[cfg(feature = "std-creeps-in")]
use serde_json as _;

#[global_allocator]
static HEAP: Heap<{ 64 * 1024 }> = Heap::new();

#[link(name = "c")]
unsafe extern "C" {
    fn write(file: c_int, bytes: *const c_void, count: usize) -> isize;
    fn abort() -> !;
}

#[derive(Debug)]
struct Standard(c_int);

impl Write for Standard {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            // SAFETY: the pointer and the count are those of a slice that lives across the call.
            let count = unsafe { write(self.0, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(count) {
                Ok(count @ 1..) => rest = rest.get(count..).unwrap_or_default(),
                _ => return Err(fmt::Error),
            }
        }
        Ok(())
    }
}

impl Console for Standard {
    fn line(&mut self, line: &str) {
        // Whoever closed the output does not want it.
        let _ = writeln!(self, "{line}");
    }
}

// The compiled `alloc` of the toolchain can unwind, and asks for these where it would. Here a panic
// ends the program before.

#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    // SAFETY: it takes nothing and does not return.
    unsafe { abort() }
}

/// Called by the C runtime, which brings `memcpy` and its like besides.
#[unsafe(no_mangle)]
extern "C" fn main(_: c_int, _: *const *const c_char) -> c_int {
    match midge_session::run(&mut Standard(1)) {
        Ok(lines) => {
            let _ = writeln!(Standard(1), "{lines} lines, peak heap {} bytes", HEAP.peak());
            0
        }
        Err(failed) => {
            let _ = writeln!(Standard(2), "{failed}");
            1
        }
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let _ = writeln!(Standard(2), "{info}");
    // SAFETY: it takes nothing and does not return.
    unsafe { abort() }
}
