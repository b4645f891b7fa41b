//! Credentials as files and texts: what `nsc` writes, and files with a seed.
//!
//! Credentials are a text with two blocks, the JWT of a user and its seed, each on one line
//! between a line with BEGIN and one with END. What stands between the blocks means nothing.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::{AuthError, UserKey, jwt};

/// What is read of a file at most.
const MAX_FILE: usize = 256 << 10;
const JWT: &str = "NATS USER JWT";
const SEED: &str = "USER NKEY SEED";

/// A JWT and the key that signs for it.
#[derive(Debug)]
pub(super) struct UserCredentials {
    pub(super) jwt: String,
    pub(super) key: UserKey,
}

impl UserCredentials {
    /// Reads the text of a credentials file.
    pub(super) fn parse(text: &str) -> Result<Self, AuthError> {
        let jwt = block(text, "JWT").ok_or(AuthError::Block(JWT))?;
        let seed = block(text, "SEED").ok_or(AuthError::Block(SEED))?;
        let (jwt, subject) = jwt::check(jwt)?;
        let key = UserKey::from_seed(seed)?;
        if let Some(subject) = subject.filter(|subject| subject != key.public_key()) {
            return Err(AuthError::OtherUser { seed: key.public_key().to_owned(), jwt: subject });
        }
        Ok(Self { jwt: jwt.to_owned(), key })
    }

    /// Reads a credentials file.
    pub(super) fn read(path: &Path) -> Result<Self, AuthError> {
        in_file(path, Self::parse)
    }
}

/// Reads a file with a seed, either alone or in a block as in credentials.
pub(super) fn read_key(path: &Path) -> Result<UserKey, AuthError> {
    in_file(path, |text| Ok(UserKey::from_seed(block(text, "SEED").unwrap_or(text))?))
}

/// Reads a text of at most [`MAX_FILE`] bytes, and leaves no copy of it.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    // Of one size from the beginning: a text that grows leaves behind what it held.
    let mut text = Zeroizing::new(String::with_capacity(MAX_FILE));
    File::open(path)?.take(MAX_FILE as u64).read_to_string(&mut text)?;
    if text.len() == MAX_FILE {
        let why = format!("it has {MAX_FILE} bytes or more, which no file of its kind has");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

fn in_file<T>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, AuthError>,
) -> Result<T, AuthError> {
    let path_of = || path.to_owned();
    let text =
        read(path).map_err(|error| AuthError::File { path: path_of(), why: error.to_string() })?;
    parse(&text).map_err(|error| AuthError::InFile { path: path_of(), error: Box::new(error) })
}

/// The line in the first block whose BEGIN names `label`.
fn block<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.find(|line| is_border(line, "BEGIN") && line.contains(label))?;
    let line = lines.next().filter(|line| !line.starts_with("---"))?;
    let end = lines.next()?;
    is_border(end, "END").then_some(line)
}

fn is_border(line: &str, word: &str) -> bool {
    line.starts_with("---") && line.ends_with("---") && line.contains(word)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use data_encoding::BASE64URL_NOPAD;
    use nkeys::KeyPair;

    use super::*;

    fn jwt_of(subject: &str) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let claims = format!(r#"{{"sub":"{subject}","nats":{{"type":"user"}}}}"#);
        format!("{}.{}.{}", part("{}"), part(&claims), part("signature"))
    }

    fn credentials(jwt: &str, seed: &str) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\
             NKEY Seed printed below can be used to sign and prove identity.\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n\n\
             *************************************************************\n"
        )
    }

    #[test]
    fn credentials_are_read_with_any_line_ends() {
        let user = KeyPair::new_user();
        let jwt = jwt_of(&user.public_key());
        let text = credentials(&jwt, &user.seed().unwrap());
        for text in [text.clone(), text.replace('\n', "\r\n"), text.replace('\n', "\n\n")] {
            let read = UserCredentials::parse(&text).unwrap();
            assert_eq!(read.jwt, jwt);
            assert_eq!(read.key.public_key(), user.public_key());
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let user = KeyPair::new_user();
        let (jwt, seed) = (jwt_of(&user.public_key()), user.seed().unwrap());
        let text = credentials(&jwt, &seed);
        let refused = |text: &str| UserCredentials::parse(text).unwrap_err();
        assert_eq!(refused(""), AuthError::Block(JWT));
        assert_eq!(refused(&text.replace("END NATS", "FIN NATS")), AuthError::Block(JWT));
        assert_eq!(refused(&credentials("", &seed)), AuthError::Block(JWT));
        assert_eq!(refused(&credentials(&jwt, &format!("{seed}\n{seed}"))), AuthError::Block(SEED));
        let cut = text.find("------END USER").unwrap();
        assert_eq!(refused(&text[..cut]), AuthError::Block(SEED));
    }

    #[test]
    fn what_is_wrong_in_a_block_is_told_without_it() {
        let user = KeyPair::new_user();
        let (jwt, seed) = (jwt_of(&user.public_key()), user.seed().unwrap());
        let refused = |jwt: &str, seed: &str| {
            let error = UserCredentials::parse(&credentials(jwt, seed)).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains(seed) && !text.contains(jwt), "{text}");
            error
        };
        assert_eq!(refused(&jwt[3..], &seed), AuthError::Jwt(super::super::JwtError::Parts));
        assert!(matches!(refused(&jwt, &seed[3..]), AuthError::Seed(_)));
        let other = jwt_of(&KeyPair::new_user().public_key());
        assert!(matches!(refused(&other, &seed), AuthError::OtherUser { .. }));
    }

    #[test]
    fn a_file_of_a_seed_may_have_a_block_or_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("user.nk");
        let user = KeyPair::new_user();
        let seed = user.seed().unwrap();
        let block = "-----BEGIN USER NKEY SEED-----\nX\n------END USER NKEY SEED------\n";
        for text in [format!("{seed}\n"), block.replace('X', &seed)] {
            fs::write(&path, text).unwrap();
            assert_eq!(read_key(&path).unwrap().public_key(), user.public_key());
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("user.creds");
        let refused = |path: &Path| UserCredentials::read(path).unwrap_err();
        assert!(matches!(refused(&path), AuthError::File { path: named, .. } if named == path));
        assert!(matches!(refused(directory.path()), AuthError::File { .. }));
        fs::write(&path, [0xff]).unwrap();
        assert!(refused(&path).to_string().contains("user.creds: stream did not contain"));
        fs::write(&path, "nothing").unwrap();
        assert!(matches!(refused(&path), AuthError::InFile { .. }));
        fs::write(&path, vec![b'x'; MAX_FILE]).unwrap();
        assert!(refused(&path).to_string().contains("262144 bytes or more"));
    }
}
