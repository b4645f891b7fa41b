//! `near-cache` on smol.

use std::process::ExitCode;

use midge_examples::{Failure, end, shop::Shop, url};
use near_cache::{Cache, Limits};

fn main() -> ExitCode {
    end(smol::block_on(serve()))
}

async fn serve() -> Result<(), Failure> {
    let client = midge_smol::connect(url()).await?;
    let prices = Cache::new(&client, "prices.changed", Limits::default()).await?;
    let shop = Shop::new();
    for price in [3, 4] {
        shop.set_price(price)?;
        prices.invalidate("tea").await?;
        for _ in 0..2 {
            shop.tell(prices.get_or_load("tea", shop.price()).await?)?;
        }
    }
    client.close().await;
    Ok(())
}
