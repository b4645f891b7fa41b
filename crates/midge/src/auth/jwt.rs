//! What can be told of a JWT without its issuer's key: its shape, and whom it is about.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

/// Why a text is not the JWT of a user. It never shows the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// A JWT has three parts of base64url with dots between them.
    #[error("the JWT is not three parts of base64url with dots between them")]
    Parts,
    /// The header or the claims are not a JSON object.
    #[error("the {0} of the JWT is not a JSON object")]
    Json(&'static str),
    /// It is about an account, an operator or something else.
    #[error("the JWT is not one of a user, but of an `{0}`")]
    NotUser(String),
}

/// Checks the shape of a JWT, and gives its text without blanks around, and its subject if it has
/// one. Times are for the server to judge, by its clock.
pub(super) fn check(text: &str) -> Result<(&str, Option<String>), JwtError> {
    let text = text.trim();
    let mut parts = text.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(JwtError::Parts);
    };
    let header = decode(header)?;
    let claims = decode(claims)?;
    decode(signature)?;
    object(&header).ok_or(JwtError::Json("header"))?;
    let claims = object(&claims).ok_or(JwtError::Json("payload"))?;
    // JWTs of others, which an auth callout may take, have no claims of NATS.
    let kind = claims.get("nats").and_then(|nats| nats.get("type")).and_then(Value::as_str);
    match kind {
        Some(kind) if kind != "user" => Err(JwtError::NotUser(kind.to_owned())),
        _ => Ok((text, claims.get("sub").and_then(Value::as_str).map(str::to_owned))),
    }
}

fn object(json: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(json).ok()
}

fn decode(part: &str) -> Result<Vec<u8>, JwtError> {
    match BASE64URL_NOPAD.decode(part.as_bytes()) {
        Ok(bytes) if !bytes.is_empty() => Ok(bytes),
        _ => Err(JwtError::Parts),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        let part = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        format!("{}.{}.{}", part(r#"{"typ":"JWT"}"#), part(claims), part("signature"))
    }

    #[test]
    fn the_subject_is_read() {
        let text = jwt(r#"{"sub":"UX","nats":{"type":"user","pub":{}}}"#);
        assert_eq!(check(&format!(" {text}\n")), Ok((&*text, Some("UX".to_owned()))));
    }

    #[test]
    fn a_jwt_of_another_system_passes() {
        let text = jwt(r#"{"sub":"joe@example.com","exp":1}"#);
        assert_eq!(check(&text), Ok((&*text, Some("joe@example.com".to_owned()))));
        for claims in ["{}", r#"{"nats":[],"sub":5}"#] {
            assert_eq!(check(&jwt(claims)).map(|(_, subject)| subject), Ok(None));
        }
    }

    #[test]
    fn what_is_no_jwt_of_a_user_is_refused() {
        let good = jwt("{}");
        let (header, rest) = good.split_once('.').unwrap();
        for text in ["", "a.b", "..", &format!("{good}."), &format!("{header}.{rest}="), "a b.c.d"]
        {
            assert_eq!(check(text), Err(JwtError::Parts), "{text}");
        }
        assert_eq!(check(&jwt("[]")), Err(JwtError::Json("payload")));
        assert_eq!(check(&format!("W10.{rest}")), Err(JwtError::Json("header")));
        let account = jwt(r#"{"sub":"AX","nats":{"type":"account"}}"#);
        assert_eq!(check(&account), Err(JwtError::NotUser("account".to_owned())));
    }
}
