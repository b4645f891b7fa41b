//! Midge beside other clients: `benches/peers`, which is a workspace of its own so that none of them
//! enters the tree of Midge.

use midge_testing::Search;

use crate::{Failure, cargo};

const MANIFEST: &str = "benches/peers/Cargo.toml";
const TARGET_DIR: &str = "target/peers";

/// Builds the tool and hands it `arguments`.
pub(crate) fn peers(arguments: &[&str]) -> Result<(), Failure> {
    let run = ["run", "--release", "--quiet", "--locked", "--package", "peers"];
    let server = Search::from_env().find()?;
    let server = server.path().display().to_string();
    let server = ["--", "--nats-server", &server];
    cargo::run(&[&run[..], &PLACE, &server, arguments].concat())
}

/// What CI checks of the other workspaces.
pub(crate) fn check() -> Result<(), Failure> {
    cargo::run(&["fmt", "--all", "--check", "--manifest-path", MANIFEST])?;
    let clippy = ["clippy", "--quiet", "--locked", "--workspace", "--all-targets"];
    cargo::run(&[&clippy[..], &PLACE, &["--", "-D", "warnings"]].concat())?;
    let test = ["test", "--quiet", "--locked", "--package", "peers"];
    cargo::run(&[&test[..], &PLACE].concat())
}

const PLACE: [&str; 4] = ["--manifest-path", MANIFEST, "--target-dir", TARGET_DIR];
