//! What Debian has: programs, and a Rust compiler with the sources of its `core`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::compiler;
use crate::missing::Missing;
use crate::{Failure, cargo};

/// The compiler and its sources. Which release they are moves with Debian.
const PACKAGES: &[&str] = &["rustc-web", "libstd-rust-web-dev", "rust-web-src"];
/// What it needs besides that is not on every machine; the names end in versions.
const NEEDED: &[&str] = &["libstd-rust-web-", "libllvm"];
const TOOLS: &str = "target/tools";

/// Where `name` is. As root it is installed when it is not there.
pub(crate) fn program(name: &str, package: &str) -> Result<PathBuf, Failure> {
    if let Some(found) = find(name) {
        return Ok(found);
    }
    let advice = format!("there is no {name}; on Debian, `apt-get install {package}` brings it");
    if find("apt-get").is_none() || !is_root() {
        return Err(Missing(advice).into());
    }
    println!("  installing {package}");
    let install = ["install", "--yes", "--quiet", "--no-install-recommends", package];
    let anywhere = Path::new("/");
    // Again with a new list of packages: the list may be old, or there is none yet.
    apt(&install, anywhere)
        .or_else(|_| apt(&["update", "--quiet"], anywhere).and_then(|_| apt(&install, anywhere)))
        .map_err(|why| Missing(format!("{advice}, if it can: {why}")))?;
    find(name).ok_or_else(|| Missing(advice).into())
}

/// The `usr` of an unpacked `rustc-web` that is at least `minimum`, fetched if there is none.
pub(super) fn rustc(minimum: &str) -> Result<PathBuf, Failure> {
    let tools = cargo::root().join(TOOLS);
    fs::create_dir_all(&tools)?;
    for entry in fs::read_dir(&tools)? {
        let entry = entry?;
        let usr = entry.path().join("usr");
        if entry.file_name().to_string_lossy().starts_with("rustc-web-")
            && is_new_enough(&usr, minimum)
        {
            return Ok(usr);
        }
    }
    let lacking = |why: &dyn std::fmt::Display| {
        Missing(format!(
            "there is no compiler for this target: `rustup target add` it, or use a Debian that has \
             the package rustc-web of release {minimum} or newer ({why})"
        ))
    };
    for tool in ["apt-get", "dpkg-deb"] {
        if find(tool).is_none() {
            return Err(lacking(&format!("there is no {tool}")).into());
        }
    }
    // What is unpacked half is never found.
    let unpacked = tools.join(format!(".rustc-web-{}", std::process::id()));
    let fetched = fetch(&unpacked, minimum).map_err(|why| lacking(&why));
    let place = fetched.and_then(|version| {
        let place = tools.join(format!("rustc-web-{version}"));
        // Another run may have been faster.
        fs::rename(&unpacked, &place)
            .or_else(|why| if place.is_dir() { Ok(()) } else { Err(why) })
            .map_err(|why| lacking(&why))?;
        Ok(place)
    });
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    Ok(place?.join("usr"))
}

/// Unpacks the compiler, and returns its version.
fn fetch(directory: &Path, minimum: &str) -> Result<String, Failure> {
    println!("  fetching rustc-web, about 140 MB");
    let debs = directory.join("debs");
    let mut version = download_and_unpack(&debs, directory);
    let usable = version.is_ok() && is_new_enough(&directory.join("usr"), minimum);
    if !usable && is_root() {
        // The list of packages is old, or there is none yet.
        fs::remove_dir_all(directory)?;
        apt(&["update", "--quiet"], Path::new("/"))?;
        version = download_and_unpack(&debs, directory);
    }
    let version = version.map_err(|why| format!("{why}; perhaps after `apt-get update`"))?;
    fs::remove_dir_all(&debs)?;
    if !is_new_enough(&directory.join("usr"), minimum) {
        return Err(format!(
            "the list of packages has {version}, perhaps more after `apt-get update`"
        )
        .into());
    }
    Ok(version)
}

fn download_and_unpack(debs: &Path, directory: &Path) -> Result<String, Failure> {
    fs::create_dir_all(debs)?;
    let mut names: Vec<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
    let mut had = BTreeSet::new();
    let mut version = String::new();
    while !names.is_empty() {
        let mut args = vec!["download", "--quiet"];
        args.extend(names.iter().map(String::as_str));
        apt(&args, debs)?;
        had.extend(std::mem::take(&mut names));
        for entry in fs::read_dir(debs)? {
            let deb = entry?.path();
            if deb.extension() != Some(OsStr::new("deb")) {
                continue;
            }
            let field = |name: &str| -> Result<String, Failure> {
                let output = Command::new("dpkg-deb").arg("--field").arg(&deb).arg(name).output();
                Ok(succeeded("dpkg-deb", output?)?.trim().to_owned())
            };
            if field("Package")? == PACKAGES[0] {
                version = field("Version")?;
            }
            for needed in
                field("Depends")?.split(',').filter_map(|one| one.split_whitespace().next())
            {
                let wanted = NEEDED.iter().any(|start| needed.starts_with(start));
                if wanted && !had.contains(needed) {
                    names.push(needed.to_owned());
                }
            }
            let unpack = Command::new("dpkg-deb").arg("--extract").args([&deb, directory]).output();
            succeeded("dpkg-deb", unpack?)?;
            fs::remove_file(&deb)?;
        }
        names.sort();
        names.dedup();
    }
    Ok(version.split(['+', '-', '~']).next().unwrap_or_default().to_owned())
}

fn is_new_enough(usr: &Path, minimum: &str) -> bool {
    let Ok(said) = compiler::version(usr) else { return false };
    let release = said.split_whitespace().nth(1).unwrap_or_default();
    numbers(release) >= numbers(minimum)
}

fn numbers(release: &str) -> Vec<u32> {
    release.split('.').map_while(|part| part.parse().ok()).collect()
}

fn apt(args: &[&str], directory: &Path) -> Result<String, Failure> {
    let mut command = Command::new("apt-get");
    command.args(args).current_dir(directory).env("DEBIAN_FRONTEND", "noninteractive");
    succeeded(&format!("apt-get {}", args.first().unwrap_or(&"")), command.output()?)
}

fn succeeded(name: &str, output: Output) -> Result<String, Failure> {
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("`{name}` failed: {}", said.trim()).into())
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|place| place.join(name)).find(|file| file.is_file())
}

/// Whether this program may install packages.
fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
