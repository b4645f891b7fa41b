//! The first serial line of the board (CMSDK APB UART). The emulator ties it to a TCP connection.

const BASE: usize = 0x4000_4000;
const DATA: usize = BASE;
const STATE: usize = BASE + 0x4;
const CONTROL: usize = BASE + 0x8;
const DIVISOR: usize = BASE + 0x10;

const SENDING: u32 = 1 << 0;
const RECEIVED: u32 = 1 << 1;
const ENABLE_BOTH: u32 = 0b11;

/// The serial line, which has room for one byte in either direction.
#[derive(Debug)]
pub struct Uart(());

impl Uart {
    /// Switches it on. Call this once: two would share the line.
    pub fn start() -> Self {
        write(DIVISOR, 16);
        write(CONTROL, ENABLE_BOTH);
        Self(())
    }

    /// What came, until nothing more is there or `buffer` is full.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut count = 0;
        for place in buffer {
            if read(STATE) & RECEIVED == 0 {
                break;
            }
            // The register holds a byte.
            *place = read(DATA).to_le_bytes()[0];
            count += 1;
        }
        count
    }

    /// Sends as much as the line takes now.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut count = 0;
        for byte in bytes {
            if read(STATE) & SENDING != 0 {
                break;
            }
            write(DATA, u32::from(*byte));
            count += 1;
        }
        count
    }
}

fn read(register: usize) -> u32 {
    // SAFETY: the constants above are the registers of the UART, which are there on this board and
    // may be read at any time.
    unsafe { core::ptr::with_exposed_provenance::<u32>(register).read_volatile() }
}

fn write(register: usize, value: u32) {
    // SAFETY: as above; no register of the UART touches memory.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(register).write_volatile(value) }
}
