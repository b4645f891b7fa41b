//! Midge over tokio on one thread.

fn main() -> Result<(), peers_midge::Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    peers_midge::adapters::tokio(&runtime)
}
