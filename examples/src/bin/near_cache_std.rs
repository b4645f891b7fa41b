//! `near-cache` on blocking sockets.

use std::process::ExitCode;

use midge_examples::{Failure, end, shop::Shop, url};
use midge_std::Wait;
use near_cache::{Cache, Limits};

fn main() -> ExitCode {
    end(serve())
}

fn serve() -> Result<(), Failure> {
    let client = midge_std::connect(url())?;
    let prices = Cache::new(&client, "prices.changed", Limits::default()).wait()?;
    let shop = Shop::new();
    for price in [3, 4] {
        shop.set_price(price)?;
        prices.invalidate("tea").wait()?;
        for _ in 0..2 {
            shop.tell(prices.get_or_load("tea", shop.price()).wait()?)?;
        }
    }
    client.close().wait();
    Ok(())
}
