//! Publishing to streams, on smol.

use std::process::ExitCode;

use midge_examples::{Failure, end, publishing::publishing, url};

fn main() -> ExitCode {
    end(smol::block_on(run()))
}

async fn run() -> Result<(), Failure> {
    let client = midge_smol::connect(url()).await?;
    publishing(&client).await?;
    client.close().await;
    Ok(())
}
