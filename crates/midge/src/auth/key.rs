//! The nkey of a user: base32 with a prefix and a checksum around an Ed25519 key.
//!
//! The format is that of the nkeys library of NATS: a seed is two bytes of prefix (its kind and
//! that of the key), 32 bytes and a CRC-16; a public key is one byte, 32 bytes and a CRC-16.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use ed25519_compact::{KeyPair, SecretKey, Seed};
use zeroize::Zeroizing;

/// Characters of a seed, and the bytes that they stand for.
const SEED_TEXT: usize = 58;
const SEED_BYTES: usize = 36;
/// The prefixes of a seed and of a user, each in the upper five bits of a byte.
const SEED: u8 = 18 << 3;
const USER: u8 = 20 << 3;

/// The key of a user, made from its seed.
///
/// The seed is kept in one place of memory and wiped there when this is dropped. `Debug` shows
/// the public key only.
pub struct UserKey {
    // Boxed: moving the key must leave no copy behind. It wipes itself.
    secret: Box<SecretKey>,
    public_key: String,
}

/// Why a text is not the seed of a user. It never shows the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// A seed has 58 characters.
    #[error("the seed has {0} characters, a seed has 58 and begins with `SU`")]
    Length(usize),
    /// A character that base32 does not have.
    #[error("the seed is not base32: a seed has only `A` to `Z` and `2` to `7`")]
    Base32,
    /// It was mistyped or damaged.
    #[error("the checksum of the seed is wrong: it was mistyped or cut")]
    Checksum,
    /// It is another kind of key, such as a public one.
    #[error("the key is not a seed: a seed begins with `SU`")]
    NotSeed,
    /// It is the seed of an account, an operator or a server.
    #[error("the seed is not one of a user: that begins with `SU`")]
    NotUser,
    /// Nothing but zeros: no key is made of that.
    #[error("the seed is all zeros, which stands in the place of a seed: put in that of the user")]
    Zero,
}

impl UserKey {
    /// Reads a seed, `SU…`. Blanks and line ends around it are ignored.
    ///
    /// # Errors
    ///
    /// [`SeedError`].
    pub fn from_seed(seed: &str) -> Result<Self, SeedError> {
        let text = seed.trim();
        if text.len() != SEED_TEXT {
            return Err(SeedError::Length(text.chars().count()));
        }
        let mut bytes = Zeroizing::new([0; SEED_BYTES]);
        let decoded = BASE32_NOPAD.decode_mut(text.as_bytes(), &mut *bytes);
        decoded.map_err(|_| SeedError::Base32)?;
        let [data @ .., low, high] = &*bytes;
        if crc16(data) != u16::from_le_bytes([*low, *high]) {
            return Err(SeedError::Checksum);
        }
        let [first, second, key @ ..] = data;
        if first & 0b1111_1000 != SEED {
            return Err(SeedError::NotSeed);
        }
        if first << 5 | second >> 3 != USER {
            return Err(SeedError::NotUser);
        }
        let mut seed = Zeroizing::new([0; Seed::BYTES]);
        seed.copy_from_slice(key);
        let pair = KeyPair::try_from_seed(Seed::new(*seed)).map_err(|_| SeedError::Zero)?;
        let mut secret = Box::new(SecretKey::new([0; SecretKey::BYTES]));
        secret.copy_from_slice(&*pair.sk);
        Ok(Self { secret, public_key: public_key(&*pair.pk) })
    }

    /// The public key, `U…`: what the server knows the user by.
    pub fn public_key(&self) -> &str {
        &self.public_key
    }

    /// The signature of `nonce` by Ed25519. CONNECT has it as base64url without padding.
    pub fn sign(&self, nonce: &[u8]) -> [u8; 64] {
        *self.secret.sign(nonce, None)
    }
}

impl fmt::Debug for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserKey").field("public_key", &self.public_key).finish_non_exhaustive()
    }
}

fn public_key(key: &[u8]) -> String {
    let mut bytes = vec![USER];
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
    BASE32_NOPAD.encode(&bytes)
}

/// CRC-16/XMODEM: polynomial 0x1021, from 0, highest bit first.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let carry = if crc & 0x8000 == 0 { 0 } else { 0x1021 };
            crc << 1 ^ carry
        })
    })
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::*;

    #[test]
    fn the_checksum_is_xmodem() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
    }

    #[test]
    fn keys_and_signatures_are_those_of_the_nkeys_crate() {
        for _ in 0..20 {
            let pair = KeyPair::new_user();
            let key = UserKey::from_seed(&pair.seed().unwrap()).unwrap();
            assert_eq!(key.public_key(), pair.public_key());
            pair.verify(b"nonce", &key.sign(b"nonce")).unwrap();
        }
    }

    #[test]
    fn blanks_around_a_seed_are_ignored() {
        let seed = KeyPair::new_user().seed().unwrap();
        assert!(UserKey::from_seed(&format!(" {seed}\r\n")).is_ok());
    }

    #[test]
    fn what_is_no_seed_of_a_user_is_refused() {
        let user = KeyPair::new_user();
        let seed = user.seed().unwrap();
        let refused = |text: &str| UserKey::from_seed(text).unwrap_err();
        assert_eq!(refused(""), SeedError::Length(0));
        assert_eq!(refused(&seed[1..]), SeedError::Length(57));
        assert_eq!(refused(&user.public_key()), SeedError::Length(56));
        assert_eq!(refused(&seed.to_lowercase()), SeedError::Base32);
        assert_eq!(refused(&"é".repeat(29)), SeedError::Base32);
        assert_eq!(refused(&KeyPair::new_account().seed().unwrap()), SeedError::NotUser);
        let (head, tail) = seed.split_at(20);
        let other = if tail.starts_with('A') { "B" } else { "A" };
        assert_eq!(refused(&format!("{head}{other}{}", &tail[1..])), SeedError::Checksum);
    }

    #[test]
    fn a_seed_of_zeros_is_refused() {
        let mut bytes = vec![SEED | USER >> 5, USER << 3];
        bytes.extend_from_slice(&[0; 32]);
        bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
        assert_eq!(UserKey::from_seed(&BASE32_NOPAD.encode(&bytes)).unwrap_err(), SeedError::Zero);
    }

    #[test]
    fn another_kind_of_key_is_not_a_seed() {
        let mut bytes = vec![USER; 34];
        bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
        let text = BASE32_NOPAD.encode(&bytes);
        assert_eq!(UserKey::from_seed(&text).unwrap_err(), SeedError::NotSeed);
    }

    #[test]
    fn debug_shows_the_public_key_only() {
        let pair = KeyPair::new_user();
        let key = UserKey::from_seed(&pair.seed().unwrap()).unwrap();
        let public = pair.public_key();
        assert_eq!(format!("{key:?}"), format!("UserKey {{ public_key: {public:?}, .. }}"));
    }
}
