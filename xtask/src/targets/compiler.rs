//! A compiler that can build for a target, and for which there is `core`.
//!
//! That of rustup will do when the target was added to it. Otherwise Debian's `rustc-web` comes with
//! sources that match it, so that cargo can build `core` and `alloc` for any target.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::debian;
use crate::missing::Missing;
use crate::{Failure, cargo};

const TARGET_DIR: &str = "target/no-std/targets";

/// A compiler for one target.
#[derive(Debug)]
pub(crate) struct Compiler {
    target: &'static str,
    /// That of Debian, which builds `core` itself. `None`: the compiler of this toolchain.
    debian: Option<Debian>,
}

#[derive(Debug)]
struct Debian {
    /// The `usr` that the packages were unpacked to.
    usr: PathBuf,
    linker: PathBuf,
}

impl Compiler {
    /// The compiler at hand if it can, or that of Debian, fetched when it is not here yet.
    pub(crate) fn find(target: &'static str) -> Result<Self, Failure> {
        let rustc = rustc();
        let libraries = ask(&rustc, &["--print", "target-libdir", "--target", target]);
        if libraries.is_ok_and(|path| path.is_dir()) {
            println!("  built with the toolchain at hand");
            return Ok(Self { target, debian: None });
        }
        let sysroot = ask(&rustc, &["--print", "sysroot"])?;
        let host = ask(&rustc, &["--print", "target-libdir"])?;
        let tools = host.parent().unwrap_or(&sysroot).join("bin");
        let linker = tools.join("rust-lld");
        if !linker.is_file() {
            return Err(Missing(format!(
                "{} is not there, with which programs for {target} are linked: use a toolchain of \
                 rustup, or `rustup target add {target}`",
                linker.display()
            ))
            .into());
        }
        let usr = debian::rustc(&minimum()?)?;
        println!("  built with {}", version(&usr)?.trim());
        Ok(Self { target, debian: Some(Debian { usr, linker }) })
    }

    /// Builds a package of `no-std` and returns the directory of what came out.
    pub(crate) fn build(&self, package: &str) -> Result<PathBuf, Failure> {
        let args = ["build", "--quiet", "--release", "--locked"];
        let mut command = cargo::command(&args);
        command.args(["--manifest-path", crate::no_std::MANIFEST, "-p", package]);
        command.args(["--target", self.target, "--target-dir", TARGET_DIR]);
        if let Some(debian) = &self.debian {
            let linker = self.target.replace('-', "_").to_uppercase();
            command
                .arg("-Zbuild-std=core,alloc")
                // Building `core` is not stable; nothing else here needs the permission.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", debian.usr.join("bin/rustc"))
                .env("LD_LIBRARY_PATH", libraries(&debian.usr)?)
                .env(format!("CARGO_TARGET_{linker}_LINKER"), &debian.linker);
        }
        let status = command.status()?;
        if !status.success() {
            return Err(format!("{package} does not build for {} ({status})", self.target).into());
        }
        Ok(cargo::root().join(TARGET_DIR).join(self.target).join("release"))
    }
}

fn rustc() -> OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn ask(rustc: &OsString, args: &[&str]) -> Result<PathBuf, Failure> {
    let output = Command::new(rustc).args(args).output()?;
    if !output.status.success() {
        return Err(format!("`rustc {}` failed", args.join(" ")).into());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// The oldest compiler that the packages promise to work with, such as `1.95`.
fn minimum() -> Result<String, Failure> {
    let packages = cargo::packages()?;
    let core = packages.into_iter().find(|package| package.name == "midge-proto");
    Ok(core.and_then(|package| package.rust_version).unwrap_or_default())
}

/// What an unpacked compiler says of itself.
pub(super) fn version(usr: &Path) -> Result<String, Failure> {
    let mut rustc = Command::new(usr.join("bin/rustc"));
    let output = rustc.arg("--version").env("LD_LIBRARY_PATH", libraries(usr)?).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Missing(format!("the compiler of Debian does not run here: {said}")).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Where an unpacked compiler finds its shared libraries, `usr/lib/<machine>`, and then what was
/// set before.
fn libraries(usr: &Path) -> Result<OsString, Failure> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(usr.join("lib"))? {
        let path = entry?.path();
        if path.is_dir() && path.to_string_lossy().ends_with("-linux-gnu") {
            paths.push(path);
        }
    }
    let before = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    paths.extend(std::env::split_paths(&before).filter(|path| !path.as_os_str().is_empty()));
    Ok(std::env::join_paths(paths)?)
}
