//! Certificates and keys in PEM, as a text or a file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

/// What is read of a file at most: many times the certificates of a platform.
const MAX_FILE: u64 = 4 << 20;

/// Certificates or a key in PEM.
///
/// `Debug` does not show a text. Texts, and what was read of a file, are wiped from memory on
/// drop; what rustls makes of a key is up to rustls.
#[derive(Clone)]
pub struct Pem(Source);

#[derive(Clone)]
enum Source {
    Text(Arc<Zeroizing<Vec<u8>>>),
    File(PathBuf),
}

impl Pem {
    /// The text itself.
    pub fn text(text: impl AsRef<[u8]>) -> Self {
        Self(Source::Text(Arc::new(text.as_ref().to_vec().into())))
    }

    /// A file of at most 4 MiB, which is read when the options are used and again at each connect,
    /// so that it can be replaced while a client runs.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self(Source::File(path.as_ref().to_owned()))
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match &self.0 {
            Source::Text(_) => None,
            Source::File(path) => Some(path),
        }
    }

    pub(super) fn read(&self) -> io::Result<Arc<Zeroizing<Vec<u8>>>> {
        match &self.0 {
            Source::Text(text) => Ok(Arc::clone(text)),
            Source::File(path) => Ok(Arc::new(read(path)?)),
        }
    }
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    // Of one size from the beginning: a text that grows leaves behind what it held.
    let length = file.metadata()?.len().min(MAX_FILE) + 1;
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0)));
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        let why = format!("it has more than {MAX_FILE} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

/// The text is not shown: it may be a key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Text(_) => f.write_str("Pem::text"),
            Source::File(path) => f.debug_tuple("Pem::file").field(path).finish(),
        }
    }
}
