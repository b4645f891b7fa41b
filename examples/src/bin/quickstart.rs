//! The main calls of Midge over tokio, against a server of yours.

use std::process::ExitCode;

use midge_examples::{Failure, end, tour, url};

#[tokio::main]
async fn main() -> ExitCode {
    end(quickstart().await)
}

async fn quickstart() -> Result<(), Failure> {
    let client = midge_tokio::connect(url()).await?;
    tour::tour(&client).await?;
    // Nothing is lost at the end of a program that waits for this.
    client.close().await;
    Ok(())
}
