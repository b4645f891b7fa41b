//! Seeds and texts of keys are nowhere in the memory of the process once nobody needs them. Linux only, since the
//! test looks for them in `/proc/self/mem`; one test, since other threads move memory around.
#![cfg(target_os = "linux")]

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;
use std::task::{Context, Waker};

use midge::auth::UserKey;
use midge::driver::{Clock, Turn};
use midge::{ConnectOptions, Instant};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Of nobody. Its text may be in memory, for it is not the text that signs.
const SEED: &str = "SUAMEHYMEMGXBKJCOBWW2Q35N5ZS4R2HK5JVMMWIYROQNKEUWXQPBF4SPQ";
/// More than an allocator hands out again at once, and so overwrites.
const MANY: usize = 30;
/// What is looked for stands in memory behind this mask only.
const MASK: u8 = 0x5a;
/// Bytes of memory that are looked at together.
const PART: usize = 1 << 20;

struct Masked(Vec<u8>);

impl Masked {
    /// Where it is in the memory that the process can write to.
    fn places(&self) -> Outcome<usize> {
        let mut memory = File::open("/proc/self/mem")?;
        let mut part = vec![0; PART + self.0.len()];
        let own = part.as_ptr_range();
        let own = own.start.addr() as u64..own.end.addr() as u64;
        let mut places = 0;
        for line in fs::read_to_string("/proc/self/maps")?.lines() {
            let mut columns = line.split_whitespace();
            let (Some(range), Some(rights)) = (columns.next(), columns.next()) else { continue };
            let Some((from, to)) = range.split_once('-') else { continue };
            let (from, to) = (u64::from_str_radix(from, 16)?, u64::from_str_radix(to, 16)?);
            if !rights.starts_with("rw") {
                continue;
            }
            for at in (from..to).step_by(PART) {
                let length = usize::try_from((to - at).min(part.len() as u64))?;
                memory.seek(SeekFrom::Start(at))?;
                // Some ranges of the kernel's cannot be read.
                if memory.read_exact(&mut part[..length]).is_ok() {
                    places += self.count(at, &part[..length], &own);
                }
                // What was found must not be found here again.
                part.fill(0);
                black_box(&mut part);
            }
        }
        Ok(places)
    }

    /// Where it is in the bytes read from the address `at`, apart from where they are read to.
    fn count(&self, at: u64, read: &[u8], own: &Range<u64>) -> usize {
        let first = self.0[0] ^ MASK;
        let windows = read.windows(self.0.len()).enumerate().take(PART);
        windows
            .filter(|(_, window)| window[0] == first)
            .filter(|(_, window)| window.iter().zip(&self.0).all(|(a, b)| a ^ MASK == *b))
            .filter(|(offset, _)| !own.contains(&(at + *offset as u64)))
            .count()
    }
}

struct Never;

impl Clock for Never {
    fn now(&self) -> Instant {
        Instant::ZERO
    }
}

/// The second half of the bytes of [`SEED`] masked: an allocator writes into the first half of
/// what it gets back. What they were made with is overwritten.
#[inline(never)]
fn masked() -> Outcome<Masked> {
    let mut bytes = data_encoding::BASE32_NOPAD.decode(SEED.as_bytes())?;
    let masked = Masked(bytes[18..34].iter().map(|byte| byte ^ MASK).collect());
    bytes.fill(0);
    black_box(&mut bytes);
    Ok(masked)
}

/// Overwrites what earlier calls left on the stack.
#[inline(never)]
fn clean_stack() {
    black_box(&mut [0u8; 256 << 10]);
}

/// A text in PEM that has the secret in its middle.
#[cfg(feature = "tls")]
#[inline(never)]
fn pem_with(secret: &Masked) -> midge::Pem {
    let mut text = Vec::with_capacity(256);
    text.extend([b'-'; 64]);
    text.extend(secret.0.iter().map(|byte| byte ^ MASK));
    text.extend([b'-'; 64]);
    let pem = midge::Pem::text(&text);
    text.fill(0);
    black_box(&mut text);
    pem
}

#[test]
fn a_seed_is_in_memory_as_long_as_its_connection() -> Outcome<()> {
    let seed = masked()?;
    clean_stack();
    assert_eq!(seed.places()?, 0);

    let keys = (0..MANY).map(|_| UserKey::from_seed(SEED)).collect::<Result<Vec<_>, _>>()?;
    black_box(keys[0].sign(b"nonce"));
    clean_stack();
    assert_eq!(seed.places()?, MANY, "each keeps it in one place");
    drop(keys);
    assert_eq!(seed.places()?, 0);

    let mut connections = Vec::new();
    for _ in 0..MANY {
        let options = ConnectOptions::new("127.0.0.1").nkey(SEED);
        let (connecting, mut driver) = midge::driver::connect(options, Arc::new(Never))?;
        let turn = driver.turn(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(turn, Turn::Connect { .. }));
        connections.push((connecting, driver));
    }
    clean_stack();
    assert_eq!(seed.places()?, MANY, "each keeps it in one place");
    drop(connections);
    assert_eq!(seed.places()?, 0);

    #[cfg(feature = "tls")]
    {
        let pems: Vec<_> = (0..MANY).map(|_| pem_with(&seed)).collect();
        clean_stack();
        assert_eq!(seed.places()?, MANY, "each keeps it in one place");
        drop(pems);
        assert_eq!(seed.places()?, 0);
    }
    Ok(())
}
