//! The options that say who the client is.

use std::path::PathBuf;
use std::sync::Arc;

use super::file::UserCredentials;
use super::methods::{CredentialsFile, Jwt, KeyFile, Signed};
use super::{AuthError, Provider, Sign, UserKey, jwt};
use crate::{ConnectOptions, OptionsError};

/// Who the client is. See [`auth`](crate::auth).
impl ConnectOptions {
    /// The seed of a user's nkey, `SU…`, which signs the server's challenge. The seed is copied
    /// to a place that is wiped at the end; what was passed here is for you to wipe.
    ///
    /// A text that is none is refused when connecting, as [`OptionsError::Auth`]. Default: none.
    pub fn nkey(self, seed: impl AsRef<str>) -> Self {
        let key = UserKey::from_seed(seed.as_ref()).map_err(AuthError::from);
        self.sign_with("nkey", key)
    }

    /// A file with the seed of a user's nkey, as `nk -gen user` writes it, of less than 256 KiB. It is read
    /// when connecting, where an unusable one is refused as [`OptionsError::Auth`], and again at
    /// every connect, where that fails the attempt. Reading holds up the connection's driver.
    /// Default: none.
    pub fn nkey_file(self, path: impl Into<PathBuf>) -> Self {
        self.sign_with("nkey_file", Ok(KeyFile(path.into())))
    }

    /// The text of a credentials file: the JWT of a user, and the seed that signs for it.
    ///
    /// An unusable text is refused when connecting, as [`OptionsError::Auth`]; so is a seed that
    /// is not that of the JWT's user. Whether the JWT has expired is for the server to say. Of any
    /// length that the server's `max_control_line`, 4096 bytes by default, leaves: a longer CONNECT
    /// is refused with [`ServerError::MaxControlLine`](crate::ServerError::MaxControlLine). Default:
    /// none.
    pub fn credentials(self, text: impl AsRef<str>) -> Self {
        self.sign_with("credentials", UserCredentials::parse(text.as_ref()))
    }

    /// A credentials file, such as `nsc` makes, of less than 256 KiB. It is read when connecting, where an
    /// unusable one is refused as [`OptionsError::Auth`], and again at every connect, where that
    /// fails the attempt: replace it (by renaming, so that no half of it is read), and the next
    /// connect uses the new one. Reading holds up the connection's driver; for a file that takes
    /// long there is [`auth_provider`](Self::auth_provider). Of its JWT, the server bounds the
    /// length as for [`credentials`](Self::credentials). Default: none.
    pub fn credentials_file(self, path: impl Into<PathBuf>) -> Self {
        self.sign_with("credentials_file", Ok(CredentialsFile(path.into())))
    }

    /// The JWT of a user, and what signs for it: a [`UserKey`], or a function from the server's
    /// nonce to a future of 64 bytes.
    ///
    /// A text that is no JWT is refused when connecting, as [`OptionsError::Auth`]; the server bounds
    /// its length as for [`credentials`](Self::credentials). Default: none.
    pub fn jwt(self, jwt: impl AsRef<str>, sign: impl Sign + 'static) -> Self {
        self.with_jwt("jwt", jwt.as_ref(), Some(Arc::new(sign)))
    }

    /// A JWT that is believed without a signature: one that NATS calls a bearer token, or one of
    /// another system for an auth callout.
    ///
    /// A text that is no JWT is refused when connecting, as [`OptionsError::Auth`]; the server bounds
    /// its length as for [`credentials`](Self::credentials). Default: none.
    pub fn bearer_jwt(self, jwt: impl AsRef<str>) -> Self {
        self.with_jwt("bearer_jwt", jwt.as_ref(), None)
    }

    /// What gives credentials at every connect: a function, or another [`Provider`], which shows
    /// an example. The fields that it sets go before those of other options; of several
    /// providers, of which there may be any number, the one that was added last goes first. Default:
    /// none.
    pub fn auth_provider(mut self, provider: impl Provider + 'static) -> Self {
        self.settings_mut().auth.add(Arc::new(provider));
        self
    }

    fn with_jwt(self, option: &'static str, text: &str, sign: Option<Arc<dyn Sign>>) -> Self {
        let jwt = jwt::check(text).map_err(AuthError::from);
        self.sign_with(option, jwt.map(|(jwt, _)| Jwt { jwt: jwt.to_owned(), sign }))
    }

    fn sign_with(
        mut self,
        option: &'static str,
        signed: Result<impl Signed + 'static, AuthError>,
    ) -> Self {
        match signed {
            Ok(signed) => {
                let signed = Arc::new(signed);
                if let Some(other) = self.settings_mut().auth.sign_with(option, signed) {
                    self.refuse(OptionsError::TwoSignatures { option, other });
                }
            }
            Err(error) => self.refuse(OptionsError::Auth { option, error }),
        }
        self
    }
}
