//! Reading streams, on smol.

use std::process::ExitCode;

use midge_examples::{Failure, consuming::consuming, end, url};

fn main() -> ExitCode {
    end(smol::block_on(run()))
}

async fn run() -> Result<(), Failure> {
    let client = midge_smol::connect(url()).await?;
    consuming(&client).await?;
    client.close().await;
    Ok(())
}
