//! The device of `examples/embedded` as firmware: its network is a serial line, at the other end of
//! which is a server.
#![no_std]
#![no_main]

extern crate alloc;

use core::convert::Infallible;
use core::fmt::Write;
use core::net::SocketAddr;
use core::time::Duration;

use alloc::string::{String, ToString};
use alloc::vec;
use midge_cortex_m::{Clock, Host, Uart};
use midge_embedded::{Device, Driver, Network};
use midge_proto::{Config, Connection, Instant, ServerUrl};

#[cortex_m_rt::entry]
fn main() -> ! {
    midge_cortex_m::run(device)
}

fn device(host: &mut Host) -> Result<(), String> {
    let peripherals = cortex_m::Peripherals::take().ok_or("somebody has the timer")?;
    let line = Line { uart: Uart::start(), clock: Clock::start(peripherals.SYST) };
    // The line leads to one server, whatever its address.
    let server = ServerUrl::parse("127.0.0.1").map_err(|error| error.to_string())?;
    let config = Config::small(vec![server], [7; 32]);
    let mut connection = Connection::new(config).map_err(|error| error.to_string())?;
    let interval = Duration::from_secs(1);
    let mut device = Device::new(&mut connection, "cortex", interval, midge_cortex_m::heap)
        .map_err(|error| error.to_string())?;
    let mut driver = Driver::new(connection, line);
    while !device.is_closed() {
        // A device that must save power would sleep until the line or `until` wakes it.
        let _ = driver.turn(|connection, event| device.told(connection, event));
        let now = driver.now();
        device.measure(driver.connection(), now);
    }
    let _ = writeln!(host, "closed");
    Ok(())
}

/// A network of one line, which is always connected.
struct Line {
    uart: Uart,
    clock: Clock,
}

impl Network for Line {
    type Error = Infallible;

    fn now(&self) -> Instant {
        self.clock.now()
    }

    fn connect(&mut self, _: SocketAddr) -> Result<(), Infallible> {
        Ok(())
    }

    fn is_connected(&mut self) -> Result<bool, Infallible> {
        Ok(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, Infallible> {
        Ok(Some(self.uart.read(buffer)).filter(|count| *count > 0))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        Ok(self.uart.write(bytes))
    }

    fn disconnect(&mut self) {}
}
