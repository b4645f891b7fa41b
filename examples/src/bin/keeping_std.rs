//! Keeping values under keys, on blocking sockets.

use std::process::ExitCode;

use midge_examples::{Failure, end, keeping::keeping, url};
use midge_std::Wait;

fn main() -> ExitCode {
    end(run())
}

fn run() -> Result<(), Failure> {
    let client = midge_std::connect(url())?;
    Box::pin(keeping(&client)).wait()?;
    client.close().wait();
    Ok(())
}
