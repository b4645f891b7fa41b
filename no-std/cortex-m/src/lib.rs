//! What firmware needs besides the session: memory, a console, and an account of both.
#![no_std]

mod clock;
mod memory;
mod uart;

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use cortex_m_semihosting::{debug, hio};
use midge_heap::Heap;
use midge_session::Console;

pub use clock::Clock;
pub use memory::Memory;
pub use uart::Uart;

/// Of the 64 KiB of the device, what may be allocated.
#[global_allocator]
static HEAP: Heap<{ 40 * 1024 }> = Heap::new();

/// The host's standard output, by semihosting.
pub struct Host(hio::HostStream);

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host")
    }
}

impl Host {
    /// Opens it. `None` when no debugger or emulator listens.
    pub fn open() -> Option<Self> {
        hio::hstdout().ok().map(Self)
    }
}

impl Write for Host {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

impl Console for Host {
    fn line(&mut self, line: &str) {
        // A host that went away does not want it.
        let _ = writeln!(self, "{line}");
    }
}

/// What of the heap is in use, and was at most.
pub fn heap() -> midge_embedded::Memory {
    midge_embedded::Memory { used: HEAP.used(), peak: HEAP.peak() }
}

/// Runs `main` with the host's output, tells what memory it took, and ends the emulation.
pub fn run<E: fmt::Display>(main: impl FnOnce(&mut Host) -> Result<(), E>) -> ! {
    let memory = Memory::watch();
    let Some(mut host) = Host::open() else { exit(debug::EXIT_FAILURE) };
    let outcome = main(&mut host);
    if let Err(failed) = &outcome {
        let _ = writeln!(host, "{failed}");
        exit(debug::EXIT_FAILURE)
    }
    let _ = writeln!(
        host,
        "text {} data {} bss {} heap {} stack {}",
        memory.text(),
        memory.data(),
        memory.bss() - size_of_val(&HEAP),
        HEAP.peak(),
        memory.stack(),
    );
    exit(debug::EXIT_SUCCESS)
}

fn exit(status: debug::ExitStatus) -> ! {
    loop {
        debug::exit(status);
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    if let Some(mut host) = Host::open() {
        let _ = writeln!(host, "{info}");
    }
    exit(debug::EXIT_FAILURE)
}
