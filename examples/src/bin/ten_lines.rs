//! The smallest program that publishes and subscribes.

use std::process::ExitCode;

use midge_examples::{Failure, end, url};

#[tokio::main]
async fn main() -> ExitCode {
    end(ten_lines().await)
}

#[allow(clippy::print_stdout, reason = "a program for the terminal")]
async fn ten_lines() -> Result<(), Failure> {
    let client = midge_tokio::connect(url()).await?;
    let mut greetings = client.subscribe("greet.*").await?;
    client.publish("greet.joe", "hello").await?;
    if let Some(message) = greetings.next().await {
        println!("{}: {}", message.subject(), String::from_utf8_lossy(message.payload()));
    }
    client.close().await;
    Ok(())
}
