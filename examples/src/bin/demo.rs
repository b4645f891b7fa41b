//! The main job on a real server: the tour, then a crash in the middle of a stream.

use std::io::{Write, stdout};
use std::process::ExitCode;
use std::time::Duration;

use midge_examples::{Failure, crash, end, tour};
use midge_testing::NatsServer;

/// A machine that takes longer has something else to do; the demonstration never hangs.
const LONGEST: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    end(demo().await)
}

async fn demo() -> Result<(), Failure> {
    let server = tokio::task::spawn_blocking(NatsServer::start).await??;
    let binary = server.binary();
    writeln!(stdout(), "nats-server {} from {}", binary.release(), binary.path().display())?;
    writeln!(stdout(), "runs on {}\n", server.url())?;
    tokio::time::timeout(LONGEST, demonstrate(server))
        .await
        .map_err(|_| format!("the demonstration was not over after {LONGEST:?}"))??;
    writeln!(stdout(), "\nEvery number is accounted for.")?;
    Ok(())
}

async fn demonstrate(server: NatsServer) -> Result<(), Failure> {
    let client = midge_tokio::connect(server.url()).await?;
    tour::tour(&client).await?;
    client.close().await;
    writeln!(stdout(), "\na server dies in the middle of a stream")?;
    let client = midge_tokio::connect(server.url()).await?;
    crash::crash(&client, server).await
}
