//! The same firmware without the session: what the core is measured against.
#![no_std]
#![no_main]

extern crate alloc;

use core::fmt::Write;

#[cortex_m_rt::entry]
fn main() -> ! {
    midge_cortex_m::run(|host| -> Result<(), midge_session::Failed> {
        let line = alloc::format!("{} lines", 0);
        let _ = writeln!(host, "{line}");
        Ok(())
    })
}
