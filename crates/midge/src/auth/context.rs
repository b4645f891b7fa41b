//! Contexts of the `nats` command line tool (ADR-21): a connection's settings under a name.

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde_json::{Map, Value};
use zeroize::Zeroize;

use super::{AuthError, UserKey, file};
use crate::{ConnectOptions, OptionsError};

const DEFAULT_URL: &str = "nats://localhost:4222";

/// A context as it stands in its file, for [`ConnectOptions`] to be made of.
///
/// ```no_run
/// use midge::ConnectOptions;
/// use midge::auth::Context;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let context = Context::load("orders")?;
/// let options = ConnectOptions::from(&context).name("reports");
/// # Ok(())
/// # }
/// ```
///
/// From [`ConnectOptions::from`] the connection gets `url` (or `nats://localhost:4222`),
/// `inbox_prefix`, `token`, and the first that is there of `user` with `password`, `creds`,
/// `nkey`, `user_jwt` with or without `user_seed`: the order of the command line tool. With any of
/// `cert`, `key`, `ca` or `tls_first`, TLS is required, with those files. Contexts that need `nsc`, a
/// `socks_proxy` or the Windows certificate store are refused when connecting. The JetStream
/// fields are data for the caller.
///
/// A field that is empty in the file is `None` here. In paths, a `~/` in front is replaced by the
/// home directory; otherwise they count from the working directory. `Debug` shows which fields
/// are set, but the value of none; secrets are wiped from memory on drop.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// What the context is for.
    pub description: Option<String>,
    /// Servers, with commas between them.
    pub url: Option<String>,
    /// Token.
    pub token: Option<String>,
    /// User name.
    pub user: Option<String>,
    /// Password.
    pub password: Option<String>,
    /// Path of a credentials file.
    pub creds: Option<PathBuf>,
    /// Path of a file with the seed of a user's nkey.
    pub nkey: Option<PathBuf>,
    /// Path of the client's certificate, PEM.
    pub cert: Option<PathBuf>,
    /// Path of the client's private key, PEM.
    pub key: Option<PathBuf>,
    /// Path of the certificate authorities to trust, PEM.
    pub ca: Option<PathBuf>,
    /// TLS before the server's INFO.
    pub tls_first: bool,
    /// JWT of a user.
    pub user_jwt: Option<String>,
    /// Seed that signs for `user_jwt`.
    pub user_seed: Option<String>,
    /// URL under which the program `nsc` knows the credentials.
    pub nsc: Option<String>,
    /// Proxy to connect through.
    pub socks_proxy: Option<String>,
    /// First tokens of inboxes.
    pub inbox_prefix: Option<String>,
    /// JetStream domain.
    pub jetstream_domain: Option<String>,
    /// Prefix of the subjects of the JetStream API.
    pub jetstream_api_prefix: Option<String>,
    /// Prefix of the subjects of JetStream events.
    pub jetstream_event_prefix: Option<String>,
    /// Windows certificate store to take the client's certificate from.
    pub windows_cert_store: Option<String>,
    /// By what the certificate is found in the store.
    pub windows_cert_match_by: Option<String>,
    /// What is looked for in the store.
    pub windows_cert_match: Option<String>,
    /// Certificate authorities of the store.
    pub windows_ca_certs_match: Option<String>,
}

/// Why there is no context. It never shows a value of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// Neither `XDG_CONFIG_HOME` nor `HOME` is an absolute path.
    #[error("no directory for contexts: set HOME or XDG_CONFIG_HOME to an absolute path")]
    NoDirectory,
    /// No context is selected.
    #[error("no context is selected: choose one with `nats context select`, or name one")]
    NoneSelected,
    /// The name is no name of a file.
    #[error("`{0}` is no name of a context: it must be a file name, without `..`, `/` and `\\`")]
    Name(String),
    /// The file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The text is not a JSON object.
    #[error("a context is a JSON object, which this is not at line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A field has a value of the wrong type.
    #[error("the field `{field}` must be {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A file is not a context.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<ContextError>,
    },
}

impl Context {
    /// The context `name`, from `$XDG_CONFIG_HOME/nats/context/<name>.json`, or from `~/.config`
    /// in place of an `XDG_CONFIG_HOME` that is not set.
    ///
    /// # Errors
    ///
    /// [`ContextError`].
    pub fn load(name: &str) -> Result<Self, ContextError> {
        // Also the separator of other systems: a context means the same file everywhere.
        if name.is_empty() || name.contains("..") || name.contains(['/', '\\']) {
            return Err(ContextError::Name(name.to_owned()));
        }
        let file = format!("{name}.json");
        Self::from_path(directory()?.join("context").join(file))
    }

    /// The context that `nats context select` has chosen: its name is in `nats/context.txt`, in
    /// the directory that [`load`](Self::load) tells of.
    ///
    /// # Errors
    ///
    /// [`ContextError`].
    pub fn selected() -> Result<Self, ContextError> {
        let path = directory()?.join("context.txt");
        let name = match fs::read_to_string(&path) {
            Ok(name) => name,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(&path, &error)),
        };
        match name.trim() {
            "" => Err(ContextError::NoneSelected),
            name => Self::load(name),
        }
    }

    /// The context in this file, of less than 256 KiB.
    ///
    /// # Errors
    ///
    /// [`ContextError`].
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self, ContextError> {
        let path = path.as_ref();
        let text = file::read(path).map_err(|error| failed(path, &error))?;
        text.parse()
            .map_err(|error| ContextError::InFile { path: path.to_owned(), error: Box::new(error) })
    }

    fn needs_tls(&self) -> bool {
        self.tls_first || self.ca.is_some() || self.cert.is_some() || self.key.is_some()
    }

    /// The names of the fields that are set.
    fn set(&self) -> impl Iterator<Item = &'static str> {
        let text = |text: &Option<String>| text.is_some();
        let path = |path: &Option<PathBuf>| path.is_some();
        let fields = [
            ("description", text(&self.description)),
            ("url", text(&self.url)),
            ("token", text(&self.token)),
            ("user", text(&self.user)),
            ("password", text(&self.password)),
            ("creds", path(&self.creds)),
            ("nkey", path(&self.nkey)),
            ("cert", path(&self.cert)),
            ("key", path(&self.key)),
            ("ca", path(&self.ca)),
            ("tls_first", self.tls_first),
            ("user_jwt", text(&self.user_jwt)),
            ("user_seed", text(&self.user_seed)),
            ("nsc", text(&self.nsc)),
            ("socks_proxy", text(&self.socks_proxy)),
            ("inbox_prefix", text(&self.inbox_prefix)),
            ("jetstream_domain", text(&self.jetstream_domain)),
            ("jetstream_api_prefix", text(&self.jetstream_api_prefix)),
            ("jetstream_event_prefix", text(&self.jetstream_event_prefix)),
            ("windows_cert_store", text(&self.windows_cert_store)),
            ("windows_cert_match_by", text(&self.windows_cert_match_by)),
            ("windows_cert_match", text(&self.windows_cert_match)),
            ("windows_ca_certs_match", text(&self.windows_ca_certs_match)),
        ];
        fields.into_iter().filter_map(|(name, set)| set.then_some(name))
    }
}

/// Reads the JSON of a context. Fields that are not known are ignored.
impl FromStr for Context {
    type Err = ContextError;

    fn from_str(json: &str) -> Result<Self, ContextError> {
        let fields = serde_json::from_str::<Map<String, Value>>(json)
            .map_err(|error| ContextError::Json { line: error.line(), column: error.column() })?;
        let mut fields = Fields(fields);
        Ok(Self {
            description: fields.text("description")?,
            url: fields.text("url")?,
            token: fields.text("token")?,
            user: fields.text("user")?,
            password: fields.text("password")?,
            creds: fields.path("creds")?,
            nkey: fields.path("nkey")?,
            cert: fields.path("cert")?,
            key: fields.path("key")?,
            ca: fields.path("ca")?,
            tls_first: fields.flag("tls_first")?,
            user_jwt: fields.text("user_jwt")?,
            user_seed: fields.text("user_seed")?,
            nsc: fields.text("nsc")?,
            socks_proxy: fields.text("socks_proxy")?,
            inbox_prefix: fields.text("inbox_prefix")?,
            jetstream_domain: fields.text("jetstream_domain")?,
            jetstream_api_prefix: fields.text("jetstream_api_prefix")?,
            jetstream_event_prefix: fields.text("jetstream_event_prefix")?,
            windows_cert_store: fields.text("windows_cert_store")?,
            windows_cert_match_by: fields.text("windows_cert_match_by")?,
            windows_cert_match: fields.text("windows_cert_match")?,
            windows_ca_certs_match: fields.text("windows_ca_certs_match")?,
        })
    }
}

/// See [`Context`] for what becomes of which field.
impl From<&Context> for ConnectOptions {
    fn from(context: &Context) -> Self {
        let mut options = Self::new(context.url.as_deref().unwrap_or(DEFAULT_URL));
        if context.nsc.is_some() && (context.creds.is_none() || context.url.is_none()) {
            options.refuse(OptionsError::Context("nsc"));
        }
        for (field, set) in [
            ("socks_proxy", context.socks_proxy.is_some()),
            ("windows_cert_store", context.windows_cert_store.is_some()),
        ] {
            if set {
                options.refuse(OptionsError::Context(field));
            }
        }
        if context.needs_tls() {
            options = tls(options, context);
        }
        if let Some(prefix) = &context.inbox_prefix {
            options = options.inbox_prefix(prefix);
        }
        if let Some(token) = &context.token {
            options = options.token(token);
        }
        if let Some(user) = &context.user {
            options = options.user_and_password(user, context.password.as_deref().unwrap_or(""));
        } else if let Some(path) = &context.creds {
            options = options.credentials_file(path);
        } else if let Some(path) = &context.nkey {
            options = options.nkey_file(path);
        } else if let Some(jwt) = &context.user_jwt {
            options = match context.user_seed.as_deref().map(UserKey::from_seed) {
                None => options.bearer_jwt(jwt),
                Some(Ok(key)) => options.jwt(jwt, key),
                Some(Err(error)) => {
                    let error = AuthError::Seed(error);
                    options.refuse(OptionsError::Auth { option: "user_seed", error });
                    options
                }
            };
        }
        options
    }
}

#[cfg(feature = "tls")]
fn tls(mut options: ConnectOptions, context: &Context) -> ConnectOptions {
    use crate::{Pem, Tls, TlsMode};

    let mut tls = Tls::new();
    if let Some(ca) = &context.ca {
        tls = tls.root_certificates(Pem::file(ca));
    }
    match (&context.cert, &context.key) {
        (Some(cert), Some(key)) => {
            tls = tls.client_certificate(Pem::file(cert), Pem::file(key));
        }
        (None, None) => {}
        _ => options.refuse(OptionsError::Tls(
            "a context has both `cert` and `key`, or neither: this one has one of them".into(),
        )),
    }
    if context.tls_first {
        options = options.tls_mode(TlsMode::First);
    }
    options.tls(tls)
}

#[cfg(not(feature = "tls"))]
fn tls(mut options: ConnectOptions, context: &Context) -> ConnectOptions {
    let url = context.url.as_deref().unwrap_or(DEFAULT_URL).to_owned();
    options.refuse(OptionsError::NotBuilt { url, feature: "tls" });
    options
}

impl From<Context> for ConnectOptions {
    fn from(context: Context) -> Self {
        Self::from(&context)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let secrets =
            [&mut self.token, &mut self.password, &mut self.user_jwt, &mut self.user_seed];
        secrets.into_iter().for_each(Zeroize::zeroize);
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context ")?;
        f.debug_set().entries(self.set()).finish()
    }
}

/// The fields of a file that were not looked at yet.
struct Fields(Map<String, Value>);

impl Fields {
    fn text(&mut self, field: &'static str) -> Result<Option<String>, ContextError> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(_) => Err(ContextError::Field { field, expected: "a string" }),
        }
    }

    fn path(&mut self, field: &'static str) -> Result<Option<PathBuf>, ContextError> {
        let path = self.text(field)?.map(|path| match (path.strip_prefix("~/"), home()) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => PathBuf::from(path),
        });
        Ok(path)
    }

    fn flag(&mut self, field: &'static str) -> Result<bool, ContextError> {
        match self.0.remove(field) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(ContextError::Field { field, expected: "true or false" }),
        }
    }
}

/// Where the settings of NATS are. A relative `XDG_CONFIG_HOME` is to be ignored, as its
/// specification says.
fn directory() -> Result<PathBuf, ContextError> {
    let config =
        env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let config = config.or_else(|| Some(home()?.join(".config")));
    Ok(config.ok_or(ContextError::NoDirectory)?.join("nats"))
}

fn home() -> Option<PathBuf> {
    env::home_dir().filter(|path| path.is_absolute())
}

fn failed(path: &Path, error: &io::Error) -> ContextError {
    ContextError::File { path: path.to_owned(), why: error.to_string() }
}
