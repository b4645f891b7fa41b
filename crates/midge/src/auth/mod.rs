//! Who the client is: what it shows to a server, and where that comes from.
//!
//! | a user of NATS has | option |
//! |---|---|
//! | a token, or a user and a password | [`token`], [`user_and_password`], or in the server's URL |
//! | an nkey | [`nkey`], or [`nkey_file`] |
//! | a credentials file of `nsc` | [`credentials_file`], or its text: [`credentials`] |
//! | a JWT, and the key elsewhere | [`jwt`] |
//! | a JWT without a key | [`bearer_jwt`] |
//! | anything else, or what changes | [`auth_provider`] |
//! | a context of the `nats` command line tool | [`Context`] |
//!
//! Several can be set; the server picks what it knows. Only one of nkey, JWT and credentials has
//! room in a CONNECT, since each signs the server's challenge; two of them are refused.
//!
//! Files are read, challenges signed and providers called at every connect, so that what was
//! renewed meanwhile is used. When that fails the attempt fails, with
//! [`DisconnectCause::Credentials`](crate::DisconnectCause::Credentials), and the next follows as
//! after any failed attempt. A server that refuses what it was shown twice in a row with the same
//! error ends the connection, unless [`ignore_auth_error_abort`] is set; that a user expired while
//! connected does not count.
//!
//! No `Debug`, error or trace of this crate shows a secret. Seeds are wiped from memory when
//! options and connection are gone; passwords, tokens and JWTs are not, since CONNECT bears them
//! as they are.
//!
//! [`token`]: crate::ConnectOptions::token
//! [`user_and_password`]: crate::ConnectOptions::user_and_password
//! [`nkey`]: crate::ConnectOptions::nkey
//! [`nkey_file`]: crate::ConnectOptions::nkey_file
//! [`credentials_file`]: crate::ConnectOptions::credentials_file
//! [`credentials`]: crate::ConnectOptions::credentials
//! [`jwt`]: crate::ConnectOptions::jwt
//! [`bearer_jwt`]: crate::ConnectOptions::bearer_jwt
//! [`ignore_auth_error_abort`]: crate::ConnectOptions::ignore_auth_error_abort
//! [`auth_provider`]: crate::ConnectOptions::auth_provider

mod authorizing;
mod context;
mod file;
mod jwt;
mod key;
mod methods;
mod options;
mod provider;

use std::path::PathBuf;

pub use context::{Context, ContextError};
pub use jwt::JwtError;
pub use key::{SeedError, UserKey};
pub use midge_proto::Credentials;
pub use provider::{Challenge, Failure, Provider, Providing, Sign, Signing};

pub(crate) use authorizing::Authorizing;
pub(crate) use methods::Methods;

/// Why a seed, a JWT or credentials cannot be used. It never shows them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// The seed is not one of a user.
    #[error("{0}")]
    Seed(SeedError),
    /// The JWT is not one.
    #[error("{0}")]
    Jwt(JwtError),
    /// A block of the credentials is missing, or is more or less than one line.
    #[error(
        "it holds no block of one line between `-----BEGIN {0}-----` and `------END {0}------`: credentials are made by `nsc generate creds`"
    )]
    Block(&'static str),
    /// Seed and JWT are of different users.
    #[error("its seed belongs to {seed}, its JWT to {jwt}: put together what belongs together")]
    OtherUser {
        /// The public key of the seed.
        seed: String,
        /// The subject of the JWT.
        jwt: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {why}", path.display())]
    File {
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A file holds what cannot be used.
    #[error("{}: {error}", path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: Box<AuthError>,
    },
    /// A signature has 64 bytes.
    #[error("the signature has {0} bytes, one by Ed25519 has 64")]
    Signature(usize),
}

impl From<SeedError> for AuthError {
    fn from(error: SeedError) -> Self {
        Self::Seed(error)
    }
}

impl From<JwtError> for AuthError {
    fn from(error: JwtError) -> Self {
        Self::Jwt(error)
    }
}
