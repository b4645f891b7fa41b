//! The session as firmware.
#![no_std]
#![no_main]

use core::fmt::Write;

#[cortex_m_rt::entry]
fn main() -> ! {
    midge_cortex_m::run(|host| -> Result<(), midge_session::Failed> {
        let lines = midge_session::run(host)?;
        let _ = writeln!(host, "{lines} lines");
        Ok(())
    })
}
