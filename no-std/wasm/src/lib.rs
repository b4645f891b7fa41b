//! The session as a module that asks its host for one function, which shows a line.
#![no_std]

extern crate alloc;

use alloc::string::ToString;

use midge_heap::Heap;
use midge_session::Console;

#[global_allocator]
static HEAP: Heap<{ 64 * 1024 }> = Heap::new();

#[link(wasm_import_module = "host")]
unsafe extern "C" {
    /// Shows `count` bytes of UTF-8.
    fn line(bytes: *const u8, count: usize);
}

struct Host;

impl Console for Host {
    fn line(&mut self, text: &str) {
        // SAFETY: pointer and count are those of a text that lives across the call.
        unsafe { line(text.as_ptr(), text.len()) };
    }
}

/// Runs the session and returns the number of its lines, or 0 when it failed.
#[unsafe(no_mangle)]
extern "C" fn session() -> usize {
    match midge_session::run(&mut Host) {
        Ok(lines) => lines,
        Err(failed) => {
            Host.line(&failed.to_string());
            0
        }
    }
}

/// The most bytes that were ever allocated.
#[unsafe(no_mangle)]
extern "C" fn peak_heap() -> usize {
    HEAP.peak()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    Host.line(&info.to_string());
    core::arch::wasm32::unreachable()
}
