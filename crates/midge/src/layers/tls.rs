//! TLS by rustls, which nothing else in Midge knows.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use midge_proto::wire::{DecodeError, Decoder, Frame, Limits, ServerError, Step as Decoded};
use midge_proto::{CertificateFault, DisconnectCause};
use rustls::client::UnbufferedClientConnection;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use zeroize::Zeroizing;

pub use rustls;

use super::{Buffer, Layer, Pem, TlsSession};
use crate::OptionsError;

/// The bytes that a record has besides what it carries, generously.
const RECORD_OVERHEAD: usize = 128;
const RECORD: usize = 16 * 1024;
/// How long a line may be that comes in place of a handshake.
const MAX_LINE: usize = 1024;

/// Whom to trust, and what to show, when a connection uses TLS.
///
/// By default the root certificates are those of the platform, and no client certificate is
/// shown. The name that the server's certificate must bear is the host of the URL that the
/// application gave, also for servers that another one told of.
///
/// ```
/// use midge::{ConnectOptions, Pem, Tls};
///
/// # let ca = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----";
/// let tls = Tls::new()
///     .root_certificates(Pem::text(ca))
///     .client_certificate(Pem::file("client.pem"), Pem::file("client-key.pem"));
/// let options = ConnectOptions::new("tls://nats.example").tls(tls);
/// ```
#[derive(Clone, Default)]
#[must_use = "settings do nothing until they are given to `ConnectOptions::tls`"]
pub struct Tls {
    roots: Option<Pem>,
    client: Option<(Pem, Pem)>,
    config: Option<Arc<ClientConfig>>,
    server_name: Option<String>,
    /// What was made of settings that do not change.
    made: Arc<OnceLock<Arc<ClientConfig>>>,
}

#[derive(Debug, thiserror::Error)]
enum TlsError {
    #[error("{field}: cannot read {}: {error}", path.display())]
    Read { field: &'static str, path: PathBuf, error: io::Error },
    #[error("{0} is not PEM")]
    Pem(&'static str),
    #[error("{0} holds no certificate in PEM")]
    NoCertificate(&'static str),
    #[error("{0} holds a certificate that cannot be read: {1:?}")]
    Certificate(&'static str, CertificateError),
    #[error("client_certificate holds no private key in PEM")]
    NoKey,
    #[error(
        "client_certificate: its private key is encrypted: give it as `openssl pkey` writes it"
    )]
    EncryptedKey,
    #[error("client_certificate: its private key belongs to another certificate")]
    OtherKey,
    #[error("client_certificate: {0}")]
    Client(rustls::Error),
    #[error(
        "config stands for itself: put root_certificates and client_certificate into it, or leave it out"
    )]
    TwoConfigurations,
    #[error("root_certificates: {0}")]
    Roots(rustls::Error),
    #[error("the platform has no root certificates: install some, or set root_certificates ({0})")]
    NoRoots(String),
    #[error("server_name: `{0}` is not a host name or IP address")]
    ServerName(String),
    #[error(
        "there is no cryptography: build with the feature `ring` or `aws-lc-rs`, or install a default provider of rustls"
    )]
    NoProvider,
    #[error("{0}")]
    Config(rustls::Error),
}

impl Tls {
    /// Root certificates of the platform, no client certificate.
    pub fn new() -> Self {
        Self::default()
    }

    /// The root certificates to trust, in place of the platform's: at least one; a text or file with
    /// none, or with one that cannot be read, is refused. Default: those of the platform.
    pub fn root_certificates(mut self, certificates: Pem) -> Self {
        self.roots = Some(certificates);
        self.changed()
    }

    /// The certificate to show to servers that ask for one, with its chain behind it, and its
    /// private key: PKCS #8, PKCS #1 or SEC1, not encrypted, and that of this certificate; others
    /// are refused. Default: none.
    pub fn client_certificate(mut self, certificates: Pem, key: Pem) -> Self {
        self.client = Some((certificates, key));
        self.changed()
    }

    /// A configuration of rustls, in place of root certificates and a client certificate: with
    /// either of them besides it the options are refused. Whatever rustls can, this gives:
    /// resolvers and verifiers of one's own, cipher suites, keys in hardware. `midge::rustls` is
    /// the version that fits. Default: one of TLS 1.2 and 1.3 as rustls has it by default.
    pub fn config(mut self, config: Arc<ClientConfig>) -> Self {
        self.config = Some(config);
        self.changed()
    }

    /// The name that the certificate of every server must bear: a host name or an IP address;
    /// anything else is refused. Default: the host of the URL.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    fn changed(mut self) -> Self {
        self.made = Arc::default();
        self
    }

    /// Checks what was given, without loading the certificates of the platform.
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        let check = || {
            if let Some(name) = &self.server_name {
                parse_name(name)?;
            }
            if self.config.is_some() {
                if self.roots.is_some() || self.client.is_some() {
                    return Err(TlsError::TwoConfigurations);
                }
            } else {
                let roots = match &self.roots {
                    Some(_) => self.load_roots()?,
                    None => RootCertStore::empty(),
                };
                self.configure(roots)?;
            }
            Ok(())
        };
        check().map_err(|error: TlsError| OptionsError::Tls(format!("tls: {error}")))
    }

    /// The layer for a transport to `server_name`.
    pub(super) fn start(&self, server_name: &str) -> Result<Box<dyn Layer>, DisconnectCause> {
        let server_name = self.server_name.as_deref().unwrap_or(server_name);
        let new = || {
            let name = parse_name(server_name)?;
            let config = self.client_config()?;
            let shows = config.client_auth_cert_resolver.has_certs();
            let connection = UnbufferedClientConnection::new(config, name);
            connection.map(|connection| (connection, shows)).map_err(TlsError::Config)
        };
        let (connection, shows) =
            new().map_err(|error| DisconnectCause::TlsSettings(error.to_string()))?;
        Ok(Box::new(TlsLayer::new(connection, server_name, shows)))
    }

    fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        if let Some(config) = self.config.as_ref().or(self.made.get()) {
            return Ok(config.clone());
        }
        let config = Arc::new(self.configure(self.load_roots()?)?);
        let client = self.client.iter().flat_map(|(certificates, key)| [certificates, key]);
        if !self.roots.iter().chain(client).any(|pem| pem.path().is_some()) {
            let _ = self.made.set(config.clone());
        }
        Ok(config)
    }

    fn load_roots(&self) -> Result<RootCertStore, TlsError> {
        let mut store = RootCertStore::empty();
        if let Some(pem) = &self.roots {
            let field = "root_certificates";
            for certificate in certificates(pem, field)? {
                store.add(certificate).map_err(|error| match error {
                    rustls::Error::InvalidCertificate(why) => TlsError::Certificate(field, why),
                    error => TlsError::Roots(error),
                })?;
            }
        } else {
            let loaded = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(loaded.certs);
            if store.is_empty() {
                let errors = loaded.errors.iter().map(ToString::to_string);
                return Err(TlsError::NoRoots(errors.collect::<Vec<_>>().join(", ")));
            }
        }
        Ok(store)
    }

    fn configure(&self, roots: RootCertStore) -> Result<ClientConfig, TlsError> {
        let provider = provider().ok_or(TlsError::NoProvider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Config)?
            .with_root_certificates(roots);
        let Some((chain, key)) = &self.client else {
            return Ok(builder.with_no_client_auth());
        };
        let field = "client_certificate";
        let chain = certificates(chain, field)?;
        builder.with_client_auth_cert(chain, private_key(key, field)?).map_err(
            |error| match error {
                rustls::Error::InvalidCertificate(why) => TlsError::Certificate(field, why),
                rustls::Error::InconsistentKeys(_) => TlsError::OtherKey,
                error => TlsError::Client(error),
            },
        )
    }
}

fn read(pem: &Pem, field: &'static str) -> Result<Arc<Zeroizing<Vec<u8>>>, TlsError> {
    pem.read().map_err(|error| {
        let path = pem.path().unwrap_or("".as_ref()).to_owned();
        TlsError::Read { field, path, error }
    })
}

fn certificates(pem: &Pem, field: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> =
        CertificateDer::pem_slice_iter(&read(pem, field)?).collect();
    // What the reader of PEM says may show a line of the text: it is not passed on.
    let certificates = certificates.map_err(|_| TlsError::Pem(field))?;
    if certificates.is_empty() { Err(TlsError::NoCertificate(field)) } else { Ok(certificates) }
}

fn private_key(pem: &Pem, field: &'static str) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(pem, field)?;
    // `BEGIN ENCRYPTED PRIVATE KEY`, and `Proc-Type: 4,ENCRYPTED` in older files.
    let encrypted = text.windows(9).any(|word| word == b"ENCRYPTED");
    PrivateKeyDer::from_pem_slice(&text)
        .map_err(|_| if encrypted { TlsError::EncryptedKey } else { TlsError::NoKey })
}

fn parse_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))
}

/// The process's own, or the first that was built in.
fn provider() -> Option<Arc<CryptoProvider>> {
    if let Some(provider) = CryptoProvider::get_default() {
        return Some(provider.clone());
    }
    #[cfg(feature = "ring")]
    return Some(Arc::new(rustls::crypto::ring::default_provider()));
    #[cfg(all(feature = "aws-lc-rs", not(feature = "ring")))]
    return Some(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    #[cfg(not(any(feature = "aws-lc-rs", feature = "ring")))]
    None
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("root_certificates", &self.roots)
            .field("client_certificate", &self.client.as_ref().map(|(chain, _)| chain))
            .field("config", &self.config.is_some())
            .field("server_name", &self.server_name)
            .finish()
    }
}

/// A connection of rustls between two buffers.
///
/// The unbuffered face of rustls decrypts in the buffer that the socket was read into and encrypts
/// into the one that is written from, with one allocation a record of its own; it keeps no queue.
struct TlsLayer {
    connection: UnbufferedClientConnection,
    server_name: String,
    /// There is a certificate for a server that asks.
    shows_certificate: bool,
    /// Decrypted, and more than there was room for: what is left of a record, or of what had to
    /// be decrypted before something could be encrypted.
    rest: Buffer,
    fault: Option<DisconnectCause>,
    peer_closed: bool,
    /// The peer has begun, and with TLS.
    begun: bool,
}

/// Where one step of rustls has led.
#[derive(PartialEq, Eq)]
enum Step {
    /// There is more to do.
    Again,
    /// More input is needed; bytes can be encrypted, and those given were.
    Traffic,
    /// More input is needed.
    Blocked,
}

impl TlsLayer {
    fn new(
        connection: UnbufferedClientConnection,
        server_name: &str,
        shows_certificate: bool,
    ) -> Self {
        Self {
            connection,
            server_name: server_name.to_owned(),
            shows_certificate,
            rest: Buffer::default(),
            fault: None,
            peer_closed: false,
            begun: false,
        }
    }

    /// Looks at what comes first: a server that is full says so in clear, before it reads what it
    /// was sent. False when more must come before it can be told from a handshake.
    fn begins(&mut self, input: &[u8]) -> bool {
        if self.begun || input.is_empty() {
            return true;
        }
        // No record of TLS begins with this byte.
        if input[0] == b'-' {
            match first_error(input) {
                Ok(Some(error)) if error.is_full() => {
                    self.fault = Some(DisconnectCause::Server(error));
                    return true;
                }
                Ok(None) => return false,
                _ => {}
            }
        }
        self.begun = true;
        true
    }

    /// Does what comes next: decrypts a record into `room`, counting in `given`, goes on with the
    /// handshake, or, when there is nothing else, encrypts with `encrypt`.
    fn step(
        &mut self,
        input: &mut Buffer,
        room: &mut [u8],
        given: &mut usize,
        out: &mut Buffer,
        encrypt: &mut dyn FnMut(&mut WriteTraffic<'_>, &mut Buffer) -> Result<(), DisconnectCause>,
    ) -> Result<Step, DisconnectCause> {
        let UnbufferedStatus { mut discard, state } =
            self.connection.process_tls_records(input.unread_mut());
        let step = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(|error| cause(&error, self.shows_certificate))?;
                    discard += record.discard;
                    let count = record.payload.len().min(room.len() - *given);
                    let (now, later) = record.payload.split_at(count);
                    room[*given..*given + count].copy_from_slice(now);
                    *given += count;
                    self.rest.extend(later);
                }
                Ok(Step::Again)
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let mut length = 0;
                loop {
                    match data.encode(out.room(length)) {
                        Ok(count) => break out.filled(count),
                        Err(EncodeError::InsufficientSize(size)) => length = size.required_size,
                        Err(EncodeError::AlreadyEncoded) => break,
                    }
                }
                Ok(Step::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It stands in `out`, from where it leaves in order.
                data.done();
                Ok(Step::Again)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                encrypt(&mut traffic, out).map(|()| Step::Traffic)
            }
            Ok(ConnectionState::PeerClosed) => {
                self.peer_closed = true;
                Ok(Step::Again)
            }
            Ok(_) => Ok(Step::Blocked),
            Err(error) => Err(cause(&error, self.shows_certificate)),
        };
        input.consume(discard);
        step
    }

    /// What rustls still has to say after a fault: an alert. It must not see the input again.
    fn fail(&mut self, fault: DisconnectCause, input: &mut Buffer, out: &mut Buffer) {
        while self.connection.wants_write()
            && let Ok(Step::Again) = self.step(input, &mut [], &mut 0, out, &mut |_, _| Ok(()))
        {
        }
        self.fault = Some(fault);
    }
}

/// The `-ERR` that `input` begins with. `None` when the end of its line has not come.
fn first_error(input: &[u8]) -> Result<Option<ServerError>, DecodeError> {
    let limits = Limits { control_line: MAX_LINE, info: MAX_LINE, frame: MAX_LINE };
    Ok(match Decoder::new(limits).decode(input)? {
        Decoded::Frame { frame: Frame::Err(text), .. } => {
            Some(ServerError::parse(&input[text.start as usize..text.end as usize]))
        }
        Decoded::Frame { .. } => Some(ServerError::Other(String::new())),
        Decoded::Incomplete { .. } => None,
    })
}

type WriteTraffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::client::ClientConnectionData>;

impl Layer for TlsLayer {
    fn open(&mut self, out: &mut Buffer) {
        let _ = self.read(&mut Buffer::default(), &mut [], out);
    }

    fn is_open(&self) -> bool {
        !self.connection.is_handshaking()
    }

    fn read(
        &mut self,
        input: &mut Buffer,
        room: &mut [u8],
        out: &mut Buffer,
    ) -> Result<usize, DisconnectCause> {
        let mut given = self.rest.give(room);
        if !self.begins(input.unread()) {
            return Ok(0);
        }
        while self.fault.is_none() && (given < room.len() || !self.is_open()) {
            match self.step(input, room, &mut given, out, &mut |_, _| Ok(())) {
                Ok(Step::Again) => {}
                Ok(Step::Traffic | Step::Blocked) => break,
                Err(fault) => self.fail(fault, input, out),
            }
        }
        match &self.fault {
            Some(fault) if given == 0 => Err(fault.clone()),
            _ => Ok(given),
        }
    }

    fn write(
        &mut self,
        bytes: &[u8],
        input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<(), DisconnectCause> {
        let mut encrypt = |traffic: &mut WriteTraffic<'_>, out: &mut Buffer| {
            let mut length = bytes.len() + (bytes.len() / RECORD + 1) * RECORD_OVERHEAD;
            loop {
                match traffic.encrypt(bytes, out.room(length)) {
                    Ok(count) => break out.filled(count),
                    Err(EncryptError::InsufficientSize(size)) => length = size.required_size,
                    Err(error) => return Err(DisconnectCause::Tls(error.to_string())),
                }
            }
            Ok(())
        };
        // A fault waits until what was decrypted before it is read.
        while self.fault.is_none() {
            match self.step(input, &mut [], &mut 0, out, &mut encrypt) {
                Ok(Step::Again) => {}
                Ok(Step::Traffic) => break,
                Ok(Step::Blocked) => self.fault = Some(DisconnectCause::Eof),
                Err(fault) => self.fail(fault, input, out),
            }
        }
        Ok(())
    }

    fn ended(&self) -> Option<DisconnectCause> {
        (self.peer_closed && self.rest.is_empty()).then_some(DisconnectCause::Eof)
    }

    fn close(&mut self, input: &mut Buffer, out: &mut Buffer) {
        let mut farewell = |traffic: &mut WriteTraffic<'_>, out: &mut Buffer| {
            if let Ok(count) = traffic.queue_close_notify(out.room(RECORD_OVERHEAD)) {
                out.filled(count);
            }
            Ok(())
        };
        while self.fault.is_none() {
            match self.step(input, &mut [], &mut 0, out, &mut farewell) {
                Ok(Step::Again) => {}
                Ok(Step::Traffic | Step::Blocked) => return,
                Err(fault) => self.fail(fault, input, out),
            }
        }
    }

    fn tls_session(&self) -> Option<TlsSession> {
        Some(TlsSession {
            server_name: self.server_name.clone(),
            version: format!("{:?}", self.connection.protocol_version()?),
            cipher_suite: format!("{:?}", self.connection.negotiated_cipher_suite()?.suite()),
        })
    }
}

fn certificate_fault(error: &CertificateError) -> CertificateFault {
    use CertificateError as Error;

    match error {
        Error::NotValidForName | Error::NotValidForNameContext { .. } => {
            CertificateFault::WrongName
        }
        Error::UnknownIssuer => CertificateFault::UnknownIssuer,
        Error::Expired | Error::ExpiredContext { .. } => CertificateFault::Expired,
        Error::NotValidYet | Error::NotValidYetContext { .. } => CertificateFault::NotYetValid,
        Error::Revoked => CertificateFault::Revoked,
        _ => CertificateFault::Other,
    }
}

fn cause(error: &rustls::Error, shows_certificate: bool) -> DisconnectCause {
    use AlertDescription as Alert;

    match error {
        rustls::Error::InvalidCertificate(why) => {
            DisconnectCause::Certificate { fault: certificate_fault(why), text: error.to_string() }
        }
        rustls::Error::AlertReceived(Alert::CertificateRequired) => {
            DisconnectCause::ClientCertificateRequired
        }
        // TLS 1.2 has no alert of its own for a certificate that is missing: servers send one of
        // these, of which the second has other reasons as well.
        rustls::Error::AlertReceived(Alert::BadCertificate) if !shows_certificate => {
            DisconnectCause::ClientCertificateRequired
        }
        rustls::Error::AlertReceived(Alert::HandshakeFailure) if !shows_certificate => {
            let hint = "if it asks for a client certificate, set client_certificate";
            DisconnectCause::Tls(format!("{error}; {hint}"))
        }
        rustls::Error::AlertReceived(
            alert @ (Alert::AccessDenied
            | Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::UnsupportedCertificate),
        ) if shows_certificate => DisconnectCause::ClientCertificate(format!("{alert:?}")),
        _ => DisconnectCause::Tls(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_certificate_is_told_apart_with_and_without_its_context() {
        for (error, fault) in [
            (CertificateError::NotValidForName, CertificateFault::WrongName),
            (CertificateError::UnknownIssuer, CertificateFault::UnknownIssuer),
            (CertificateError::Expired, CertificateFault::Expired),
            (CertificateError::NotValidYet, CertificateFault::NotYetValid),
            (CertificateError::Revoked, CertificateFault::Revoked),
            (CertificateError::BadSignature, CertificateFault::Other),
        ] {
            assert_eq!(certificate_fault(&error), fault);
        }
    }
}
