//! The ten lines of README on tokio.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let client = midge_tokio::connect(midge_examples::url()).await?;
    let mut greetings = client.subscribe("greet.*").await?;
    client.publish("greet.joe", "hello").await?;
    if let Some(message) = greetings.next().await {
        println!("{}: {}", message.subject(), String::from_utf8_lossy(message.payload()));
    }
    client.close().await;
    Ok(())
}
