//! Midge over tokio on several threads.

fn main() -> Result<(), peers_midge::Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    peers_midge::adapters::tokio(&runtime)
}
