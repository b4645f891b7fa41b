//! `near-cache` on tokio.

use std::process::ExitCode;

use midge_examples::{Failure, end, shop::Shop, url};
use near_cache::{Cache, Limits};

#[tokio::main]
async fn main() -> ExitCode {
    end(serve().await)
}

async fn serve() -> Result<(), Failure> {
    let client = midge_tokio::connect(url()).await?;
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
