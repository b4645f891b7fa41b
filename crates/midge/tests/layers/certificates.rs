//! An authority and what it signs, made anew for each test.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use midge::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use midge::rustls::server::WebPkiClientVerifier;
use midge::rustls::{
    RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion, crypto, version,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

/// What is built in, as a client chooses it.
pub(crate) fn provider() -> crypto::CryptoProvider {
    #[cfg(feature = "ring")]
    return crypto::ring::default_provider();
    #[cfg(not(feature = "ring"))]
    crypto::aws_lc_rs::default_provider()
}

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With a name of its own: with another's, its signature would be taken for a forged one.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("Midge Test Authority {}", MADE.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> midge::Pem {
        midge::Pem::text(self.text())
    }

    pub(crate) fn text(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    /// A client's certificate and key, in PEM.
    pub(crate) fn client(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["client.example".to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }

    /// A server that bears this name.
    pub(crate) fn server(&self, name: &str) -> ServerConnection {
        self.server_valid(name, 2000..4000)
    }

    /// A server whose certificate is valid in these years.
    pub(crate) fn server_valid(&self, name: &str, years: Range<i32>) -> ServerConnection {
        self.server_with(name, years, &[&version::TLS13, &version::TLS12], false)
    }

    /// A server that asks for a client certificate, and speaks this version alone.
    pub(crate) fn verifying_server(
        &self,
        name: &str,
        version: &'static SupportedProtocolVersion,
    ) -> ServerConnection {
        self.server_with(name, 2000..4000, &[version], true)
    }

    fn server_with(
        &self,
        name: &str,
        years: Range<i32>,
        versions: &[&'static SupportedProtocolVersion],
        verifies: bool,
    ) -> ServerConnection {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der()).unwrap();
        let verifier = match verifies {
            true => WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
                .build()
                .unwrap(),
            false => WebPkiClientVerifier::no_client_auth(),
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        ServerConnection::new(Arc::new(config)).unwrap()
    }
}
