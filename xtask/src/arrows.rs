//! Which package may depend on which. Packages that are never published, and development
//! dependencies, may use anything.

use std::collections::BTreeSet;

use crate::cargo::{self, Package};
use crate::{Failure, hygiene};

/// What each published package may use of the workspace.
const MAY_USE: &[(&str, &[&str])] = &[
    ("midge-proto", &[]),
    ("midge-jetstream", &["midge-proto"]),
    ("midge", &["midge-proto", "midge-jetstream"]),
    ("midge-tokio", &["midge"]),
    ("midge-smol", &["midge"]),
    ("midge-std", &["midge"]),
    ("midge-sim", &["midge", "midge-jetstream", "midge-proto"]),
    ("midge-testing", &["midge", "midge-proto"]),
];

/// Crates that bring a runtime, or wait for sockets in one way.
const TOKIO: &[&str] = &["tokio"];
const SMOL: &[&str] = &["smol", "async-io", "async-executor", "async-global-executor"];
const OTHERS: &[&str] = &["async-std", "mio", "polling", "embassy-executor"];
/// What polls futures, which an adapter without a runtime does by itself.
const EXECUTORS: &[&str] = &["futures-executor", "futures-lite", "async-task", "pollster"];

/// What must be nowhere below a package, however deep.
const MUST_NOT_REACH: &[(&str, &[&[&str]])] = &[
    ("midge-proto", &[TOKIO, SMOL, OTHERS]),
    ("midge-jetstream", &[TOKIO, SMOL, OTHERS]),
    ("midge", &[TOKIO, SMOL, OTHERS]),
    ("midge-std", &[TOKIO, SMOL, OTHERS, EXECUTORS]),
    ("midge-tokio", &[SMOL]),
    ("midge-smol", &[TOKIO, &["async-std", "mio"]]),
    // Libraries and loops of applications, as the examples show them.
    ("near-cache", &[TOKIO, SMOL, OTHERS]),
    ("custom-event-loop", &[TOKIO, SMOL]),
];

/// Checks both tables.
pub(crate) fn check(packages: &[Package]) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    for package in packages.iter().filter(|package| package.published) {
        let name = package.name.as_str();
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("{name} is in no row of MAY_USE in xtask/src/arrows.rs"));
            continue;
        };
        let own = package
            .dependencies
            .iter()
            .filter(|used| packages.iter().any(|package| package.name == **used));
        for used in own.filter(|used| !allowed.contains(&used.as_str())) {
            wrong.push(format!("{name} must not depend on {used}"));
        }
    }
    for (name, banned) in MUST_NOT_REACH {
        if !packages.iter().any(|package| package.name == *name) {
            continue;
        }
        let reached = reached(name)?;
        for crate_name in banned.iter().copied().flatten() {
            if reached.contains(*crate_name) {
                wrong.push(format!(
                    "{name} must not reach {crate_name}; see `cargo tree -p {name} -e normal \
                     --all-features -i {crate_name}`"
                ));
            }
        }
    }
    hygiene::verdict(&wrong)
}

/// The names of all crates that `package` needs to run, on any platform, with all features.
fn reached(package: &str) -> Result<BTreeSet<String>, Failure> {
    let tree = cargo::output(&[
        "tree",
        "-p",
        package,
        "-e",
        "normal",
        "--all-features",
        "--target",
        "all",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ])?;
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    Ok(names.map(str::to_owned).collect())
}
