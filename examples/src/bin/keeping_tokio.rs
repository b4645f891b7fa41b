//! Keeping values under keys, on tokio.

use std::process::ExitCode;

use midge_examples::{Failure, end, keeping::keeping, url};

#[tokio::main]
async fn main() -> ExitCode {
    end(run().await)
}

async fn run() -> Result<(), Failure> {
    let client = midge_tokio::connect(url()).await?;
    keeping(&client).await?;
    client.close().await;
    Ok(())
}
