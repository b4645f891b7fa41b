//! All that a client was given to prove who it is, and what it shows of it for a challenge.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use midge_proto::Credentials;

use super::file::{self, UserCredentials};
use super::{AuthError, Challenge, Failure, Provider, Sign, UserKey};

/// What is found anew at every connect. A user, password or token that stays the same is in the
/// configuration of the core.
#[derive(Clone, Default)]
pub(crate) struct Methods {
    /// What signs, under the name of its option.
    signed: Option<(&'static str, Signed)>,
    providers: Vec<Arc<dyn Provider>>,
}

/// What has a signature of the nonce in it. A CONNECT has room for one.
#[derive(Clone)]
pub(super) enum Signed {
    Key(Arc<UserKey>),
    KeyFile(PathBuf),
    /// Without what signs: a bearer of the JWT is believed.
    Jwt(String, Option<Arc<dyn Sign>>),
    Credentials(Arc<UserCredentials>),
    CredentialsFile(PathBuf),
}

impl Methods {
    /// Sets what signs. Gives the name of the option that did before, if there is one.
    pub(super) fn sign_with(
        &mut self,
        option: &'static str,
        signed: Signed,
    ) -> Option<&'static str> {
        match &self.signed {
            Some((before, _)) => Some(before),
            None => {
                self.signed = Some((option, signed));
                None
            }
        }
    }

    pub(super) fn add(&mut self, provider: Arc<dyn Provider>) {
        self.providers.push(provider);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.signed.is_none() && self.providers.is_empty()
    }

    /// Reads the file, if there is one, to see that it can be used.
    pub(crate) fn check(&self) -> Result<(), (&'static str, AuthError)> {
        let Some((option, signed)) = &self.signed else { return Ok(()) };
        let read = match signed {
            Signed::KeyFile(path) => file::read_key(path).map(drop),
            Signed::CredentialsFile(path) => UserCredentials::read(path).map(drop),
            Signed::Key(_) | Signed::Jwt(..) | Signed::Credentials(_) => Ok(()),
        };
        read.map_err(|error| (*option, error))
    }

    /// What to show for `challenge`: of each field what was set last, after `fixed`.
    pub(super) async fn answer(
        &self,
        fixed: Credentials,
        challenge: Challenge,
    ) -> Result<Credentials, String> {
        let failed = |option: &'static str| move |error: Failure| format!("`{option}`: {error}");
        let mut all = fixed;
        if let Some((option, signed)) = &self.signed {
            let nonce = challenge.nonce.clone();
            all = over(all, signed.show(nonce).await.map_err(failed(option))?);
        }
        for provider in &self.providers {
            let given = provider.credentials(challenge.clone()).await;
            all = over(all, given.map_err(failed("auth_provider"))?);
        }
        Ok(all)
    }
}

impl Signed {
    async fn show(&self, nonce: Option<String>) -> Result<Credentials, Failure> {
        let nonce = nonce.as_deref();
        match self {
            Self::Key(key) => Ok(with_key(key, nonce)),
            Self::KeyFile(path) => Ok(with_key(&file::read_key(path)?, nonce)),
            Self::Credentials(credentials) => Ok(with_credentials(credentials, nonce)),
            Self::CredentialsFile(path) => {
                Ok(with_credentials(&UserCredentials::read(path)?, nonce))
            }
            Self::Jwt(jwt, sign) => {
                let mut signature = None;
                if let (Some(sign), Some(nonce)) = (sign, nonce) {
                    let signed = sign.sign(nonce.to_owned()).await?;
                    if signed.len() != 64 {
                        return Err(AuthError::Signature(signed.len()).into());
                    }
                    signature = Some(BASE64URL_NOPAD.encode(&signed));
                }
                Ok(Credentials { jwt: Some(jwt.clone()), signature, ..Credentials::default() })
            }
        }
    }
}

/// Without a nonce there is nothing to sign: the server takes no nkeys.
fn with_key(key: &UserKey, nonce: Option<&str>) -> Credentials {
    let nkey = Some(key.public_key().to_owned());
    Credentials { nkey, signature: signature(key, nonce), ..Credentials::default() }
}

fn with_credentials(credentials: &UserCredentials, nonce: Option<&str>) -> Credentials {
    let UserCredentials { jwt, key } = credentials;
    let jwt = Some(jwt.clone());
    Credentials { jwt, signature: signature(key, nonce), ..Credentials::default() }
}

fn signature(key: &UserKey, nonce: Option<&str>) -> Option<String> {
    nonce.map(|nonce| BASE64URL_NOPAD.encode(&key.sign(nonce.as_bytes())))
}

fn over(below: Credentials, above: Credentials) -> Credentials {
    Credentials {
        user: above.user.or(below.user),
        password: above.password.or(below.password),
        token: above.token.or(below.token),
        nkey: above.nkey.or(below.nkey),
        jwt: above.jwt.or(below.jwt),
        signature: above.signature.or(below.signature),
    }
}

/// Names the options that were used.
impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed = self.signed.iter().map(|(option, _)| *option);
        f.debug_set().entries(signed.chain(self.providers.iter().map(|_| "auth_provider"))).finish()
    }
}
