//! async-nats over tokio on several threads.

fn main() -> Result<(), peers_async_nats::Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    peers_async_nats::run(&runtime)
}
