//! async-nats over tokio on one thread.

fn main() -> Result<(), peers_async_nats::Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    peers_async_nats::run(&runtime)
}
