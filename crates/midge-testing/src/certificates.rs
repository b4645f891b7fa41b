//! Certificates that a test makes for itself.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// A certificate authority of its own, and the files of what it signed, which are removed when it
/// is dropped.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    files: TempDir,
    issued: AtomicU32,
}

/// A certificate and its private key, as files in PEM, which go with their [`Authority`].
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl Authority {
    /// A new authority, whose certificate nobody else trusts.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if its files cannot be written, or the system gives no randomness.
    pub fn new() -> io::Result<Authority> {
        let mut params = CertificateParams::new([]).map_err(io::Error::other)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With a name of its own: with another's, its signature would be taken for a forged one.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("Midge Test Authority {}", MADE.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;
        let files = TempDir::new()?;
        std::fs::write(files.path().join("ca.pem"), issuer.pem())?;
        Ok(Authority { issuer, files, issued: AtomicU32::new(0) })
    }

    /// Its own certificate in PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// The file of its own certificate.
    pub fn file(&self) -> PathBuf {
        self.files.path().join("ca.pem")
    }

    /// Signs a certificate for these host names and IP addresses.
    ///
    /// # Errors
    ///
    /// An [`io::Error`] if a name is none, or the files cannot be written.
    pub fn issue(&self, names: &[&str]) -> io::Result<Identity> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.distinguished_name.push(DnType::CommonName, "Midge Test");
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let file = |kind: &str| self.files.path().join(format!("{number}-{kind}.pem"));
        let identity = Identity { certificate: file("certificate"), key: file("key") };
        std::fs::write(&identity.certificate, certificate.pem())?;
        std::fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }
}

impl Identity {
    /// The `tls` block of a server's configuration with this identity; `more` is added to it.
    pub fn tls_block(&self, more: &str) -> String {
        let quote = |path: &Path| format!("{:?}", path.display().to_string());
        let (certificate, key) = (quote(&self.certificate), quote(&self.key));
        format!("tls {{ cert_file: {certificate}, key_file: {key}, timeout: 10\n {more} }}")
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("files", &self.files.path()).finish_non_exhaustive()
    }
}
