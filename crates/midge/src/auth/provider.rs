//! What an application can supply itself: credentials for a challenge, and signatures.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use midge_proto::{Credentials, ServerUrl};

use super::UserKey;

/// Why a [`Provider`] or [`Sign`] has nothing to give. Its text goes into the
/// [`DisconnectCause`](crate::DisconnectCause) of the attempt: it must hold no secret.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Credentials to come. See [`Provider`].
pub type Providing = Pin<Box<dyn Future<Output = Result<Credentials, Failure>> + Send>>;

/// A signature to come. See [`Sign`].
pub type Signing = Pin<Box<dyn Future<Output = Result<Vec<u8>, Failure>> + Send>>;

/// A server asks who the client is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Challenge {
    /// What is to be signed. `None` when the server takes no signatures: it has neither nkeys nor
    /// JWTs.
    pub nonce: Option<String>,
    /// The server.
    pub server: Arc<ServerUrl>,
}

/// Gives the credentials for one connect.
///
/// It is asked at every connect, once the server has greeted and TLS, if there is any, is up;
/// also for a server that has credentials in its URL, which then go before. The laws:
///
/// - The call returns at once; what takes time is in the future. The connection's driver polls
///   that with its own waker, which an adapter polls in its runtime: on tokio the future may use
///   tokio. Whatever it does within one poll holds up the whole connection.
/// - It has until the `connect_timeout` of the attempt is over; then, or when the server hangs
///   up before, it is dropped. A server waits for CONNECT for 2 s by default.
/// - Its panics are the driver's.
///
/// A function from a [`Challenge`] to such a future is a provider.
///
/// ```
/// use midge::ConnectOptions;
/// use midge::auth::{Challenge, Credentials};
///
/// # async fn token_of_today() -> Result<String, std::io::Error> { Ok(String::new()) }
/// let options = ConnectOptions::new("nats.example").auth_provider(|_: Challenge| async {
///     let token = token_of_today().await?;
///     Ok::<_, std::io::Error>(Credentials { token: Some(token), ..Credentials::default() })
/// });
/// ```
pub trait Provider: Send + Sync {
    /// The credentials to show.
    fn credentials(&self, challenge: Challenge) -> Providing;
}

impl<F, R, E> Provider for F
where
    F: Fn(Challenge) -> R + Send + Sync,
    R: Future<Output = Result<Credentials, E>> + Send + 'static,
    E: Into<Failure>,
{
    fn credentials(&self, challenge: Challenge) -> Providing {
        let asked = self(challenge);
        Box::pin(async { asked.await.map_err(Into::into) })
    }
}

/// Signs the nonce of a server with the key of a user, by Ed25519: 64 bytes.
///
/// The laws of [`Provider`] hold. A function from the nonce to a future of the signature signs;
/// so does a [`UserKey`].
pub trait Sign: Send + Sync {
    /// The signature of the bytes of `nonce`, as they are.
    fn sign(&self, nonce: String) -> Signing;
}

impl<F, R, E> Sign for F
where
    F: Fn(String) -> R + Send + Sync,
    R: Future<Output = Result<Vec<u8>, E>> + Send + 'static,
    E: Into<Failure>,
{
    fn sign(&self, nonce: String) -> Signing {
        let asked = self(nonce);
        Box::pin(async { asked.await.map_err(Into::into) })
    }
}

impl Sign for UserKey {
    fn sign(&self, nonce: String) -> Signing {
        let signature = UserKey::sign(self, nonce.as_bytes());
        Box::pin(std::future::ready(Ok(signature.to_vec())))
    }
}

impl fmt::Debug for dyn Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Provider")
    }
}

impl fmt::Debug for dyn Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sign")
    }
}
