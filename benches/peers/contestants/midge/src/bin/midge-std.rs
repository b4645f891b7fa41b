//! Midge over blocking sockets and threads.

fn main() -> Result<(), peers_midge::Failure> {
    peers_midge::adapters::std()
}
