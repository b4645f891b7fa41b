//! Publishing to streams, on blocking sockets.

use std::process::ExitCode;

use midge_examples::{Failure, end, publishing::publishing, url};
use midge_std::Wait;

fn main() -> ExitCode {
    end(run())
}

fn run() -> Result<(), Failure> {
    let client = midge_std::connect(url())?;
    Box::pin(publishing(&client)).wait()?;
    client.close().wait();
    Ok(())
}
