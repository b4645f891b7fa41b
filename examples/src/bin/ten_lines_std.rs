//! The ten lines of README on blocking sockets.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use midge_std::Wait;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let client = midge_std::connect(midge_examples::url())?;
    let mut greetings = client.subscribe("greet.*").wait()?;
    client.publish("greet.joe", "hello").wait()?;
    if let Some(message) = greetings.next().wait() {
        println!("{}: {}", message.subject(), String::from_utf8_lossy(message.payload()));
    }
    client.close().wait();
    Ok(())
}
