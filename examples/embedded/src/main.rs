//! The device on this machine: `device ADDRESS NAME`, with the heap of a small one.
//!
//! There is one thread, one loop, and one socket that never waits. All that is allocated, by the
//! standard library too, lies in an array of 40 KiB; with a stack of 24 KiB, which the test holds it
//! to, that makes 64 KiB in all.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use midge_embedded::{Device, Driver, Memory, Network};
use midge_heap::Heap;
use midge_proto::{Config, Connection, Instant, ServerUrl};

#[global_allocator]
static HEAP: Heap<{ 40 * 1024 }> = Heap::new();

const INTERVAL: Duration = Duration::from_secs(1);
/// A socket that is only asked, and never tells, is asked so often.
const TICK: Duration = Duration::from_millis(1);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("name the server and the device: device 127.0.0.1:4222 kitchen".into());
    };
    // A device takes them from its hardware, or from its factory.
    let mut seed = [0; 32];
    seed.iter_mut().zip(name.bytes()).for_each(|(byte, from)| *byte = from);
    let mut config = Config::small(vec![ServerUrl::parse(&server)?], seed);
    config.retry_first_connect = true;
    let mut connection = Connection::new(config)?;
    let mut device = Device::new(&mut connection, &name, INTERVAL, memory)?;
    let mut driver = Driver::new(connection, Socket::new());
    let mut connects = 0;
    while !device.is_closed() {
        let wait = driver.turn(|connection, event| device.told(connection, event));
        if device.connects() > connects {
            connects = device.connects();
            println!("connected");
        }
        let now = driver.now();
        let due = device.measure(driver.connection(), now);
        let until = wait.until.map_or(due, |until| until.min(due));
        std::thread::sleep(until.saturating_since(now).min(TICK));
    }
    println!("closed, peak {}", HEAP.peak());
    Ok(())
}

fn memory() -> Memory {
    Memory { used: HEAP.used(), peak: HEAP.peak() }
}

/// A socket of the operating system that never waits, but to connect: `std` has no other way.
#[derive(Debug)]
struct Socket {
    stream: Option<TcpStream>,
    start: std::time::Instant,
}

impl Socket {
    fn new() -> Self {
        Self { stream: None, start: std::time::Instant::now() }
    }

    fn stream(&mut self) -> io::Result<&mut TcpStream> {
        self.stream.as_mut().ok_or_else(|| ErrorKind::NotConnected.into())
    }
}

impl Network for Socket {
    type Error = io::Error;

    fn now(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<()> {
        self.stream = None;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        self.stream = Some(stream);
        Ok(())
    }

    fn is_connected(&mut self) -> io::Result<bool> {
        Ok(self.stream.is_some())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match self.stream()?.read(buffer) {
            Ok(count) => Ok(Some(count)),
            Err(error) if is_busy(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream()?.write(bytes) {
            Err(error) if is_busy(&error) => Ok(0),
            outcome => outcome,
        }
    }

    fn disconnect(&mut self) {
        self.stream = None;
    }
}

fn is_busy(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}
