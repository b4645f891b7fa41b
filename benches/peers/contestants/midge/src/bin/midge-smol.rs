//! Midge over smol.

fn main() -> Result<(), peers_midge::Failure> {
    peers_midge::adapters::smol()
}
