//! watermelon over tokio on several threads.

fn main() -> Result<(), peers_watermelon::Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    peers_watermelon::run(&runtime)
}
