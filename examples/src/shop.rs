//! A shop with a price that changes, for the programs that cache it: what would be a database.

use std::io::{self, Write, stdout};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where the price of tea is kept. It says when it is asked.
#[derive(Debug, Default)]
pub struct Shop {
    price: AtomicU32,
}

impl Shop {
    /// A shop that has not set its price.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes the price.
    ///
    /// # Errors
    ///
    /// Those of standard output.
    pub fn set_price(&self, price: u32) -> io::Result<()> {
        self.price.store(price, Ordering::Relaxed);
        writeln!(stdout(), "the price of tea is now {price}")
    }

    /// Reads the price, which a real shop would take its time for.
    ///
    /// # Errors
    ///
    /// Those of standard output.
    pub async fn price(&self) -> io::Result<u32> {
        writeln!(stdout(), "  the shop is asked")?;
        Ok(self.price.load(Ordering::Relaxed))
    }

    /// Tells a customer.
    ///
    /// # Errors
    ///
    /// Those of standard output.
    pub fn tell(&self, price: u32) -> io::Result<()> {
        writeln!(stdout(), "  tea costs {price}")
    }
}
