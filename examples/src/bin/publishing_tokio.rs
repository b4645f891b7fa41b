//! Publishing to streams, on tokio.

use std::process::ExitCode;

use midge_examples::{Failure, end, publishing::publishing, url};

#[tokio::main]
async fn main() -> ExitCode {
    end(run().await)
}

async fn run() -> Result<(), Failure> {
    let client = midge_tokio::connect(url()).await?;
    publishing(&client).await?;
    client.close().await;
    Ok(())
}
