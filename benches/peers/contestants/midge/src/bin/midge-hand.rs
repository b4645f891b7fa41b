//! Midge turned by hand.

fn main() -> Result<(), peers_midge::Failure> {
    peers_midge::hand::run()
}
