//! Keeping values under keys, on smol.

use std::process::ExitCode;

use midge_examples::{Failure, end, keeping::keeping, url};

fn main() -> ExitCode {
    end(smol::block_on(run()))
}

async fn run() -> Result<(), Failure> {
    let client = midge_smol::connect(url()).await?;
    keeping(&client).await?;
    client.close().await;
    Ok(())
}
