//! All that a client was given to prove who it is, and what it shows of it for a challenge.

use std::fmt;
use std::future::ready;
use std::path::PathBuf;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use midge_proto::Credentials;

use super::file::{self, UserCredentials};
use super::{AuthError, Challenge, Failure, Provider, Providing, Sign, UserKey};

/// What is found anew at every connect. A user, password or token that stays the same is in the
/// configuration of the core.
#[derive(Clone, Default)]
pub(crate) struct Methods {
    /// What signs, under the name of its option.
    signed: Option<(&'static str, Arc<dyn Signed>)>,
    providers: Vec<Arc<dyn Provider>>,
}

/// What has a signature of the nonce in it. A CONNECT has room for one.
///
/// A trait, not an enum: a program links the cryptography of those that it uses, if any.
pub(super) trait Signed: Send + Sync {
    /// Reads the file, if there is one, to see that it can be used.
    fn check(&self) -> Result<(), AuthError> {
        Ok(())
    }

    /// What to show. Without a nonce there is nothing to sign: the server takes no nkeys.
    fn show(&self, nonce: Option<String>) -> Providing;
}

pub(super) struct KeyFile(pub(super) PathBuf);
pub(super) struct CredentialsFile(pub(super) PathBuf);

pub(super) struct Jwt {
    pub(super) jwt: String,
    /// Without what signs: a bearer of the JWT is believed.
    pub(super) sign: Option<Arc<dyn Sign>>,
}

impl Methods {
    /// Sets what signs. Gives the name of the option that did before, if there is one.
    pub(super) fn sign_with(
        &mut self,
        option: &'static str,
        signed: Arc<dyn Signed>,
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
        signed.check().map_err(|error| (*option, error))
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

impl Signed for UserKey {
    fn show(&self, nonce: Option<String>) -> Providing {
        at_once(Ok(with_key(self, nonce)))
    }
}

impl Signed for KeyFile {
    fn check(&self) -> Result<(), AuthError> {
        file::read_key(&self.0).map(drop)
    }

    fn show(&self, nonce: Option<String>) -> Providing {
        at_once(file::read_key(&self.0).map(|key| with_key(&key, nonce)))
    }
}

impl Signed for UserCredentials {
    fn show(&self, nonce: Option<String>) -> Providing {
        at_once(Ok(with_credentials(self, nonce)))
    }
}

impl Signed for CredentialsFile {
    fn check(&self) -> Result<(), AuthError> {
        UserCredentials::read(&self.0).map(drop)
    }

    fn show(&self, nonce: Option<String>) -> Providing {
        let read = UserCredentials::read(&self.0);
        at_once(read.map(|credentials| with_credentials(&credentials, nonce)))
    }
}

impl Signed for Jwt {
    fn show(&self, nonce: Option<String>) -> Providing {
        let (jwt, sign) = (Some(self.jwt.clone()), self.sign.clone());
        Box::pin(async move {
            let mut signature = None;
            if let (Some(sign), Some(nonce)) = (sign, nonce) {
                let signed = sign.sign(nonce).await?;
                if signed.len() != 64 {
                    return Err(AuthError::Signature(signed.len()).into());
                }
                signature = Some(BASE64URL_NOPAD.encode(&signed));
            }
            Ok(Credentials { jwt, signature, ..Credentials::default() })
        })
    }
}

fn at_once(shown: Result<Credentials, AuthError>) -> Providing {
    Box::pin(ready(shown.map_err(Failure::from)))
}

fn with_key(key: &UserKey, nonce: Option<String>) -> Credentials {
    let nkey = Some(key.public_key().to_owned());
    Credentials { nkey, signature: signature(key, nonce), ..Credentials::default() }
}

fn with_credentials(credentials: &UserCredentials, nonce: Option<String>) -> Credentials {
    let UserCredentials { jwt, key } = credentials;
    let jwt = Some(jwt.clone());
    Credentials { jwt, signature: signature(key, nonce), ..Credentials::default() }
}

fn signature(key: &UserKey, nonce: Option<String>) -> Option<String> {
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
