//! An operator with one account, besides the account of the system, which issues JWTs as the tool `nsc` does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

pub(crate) struct Operator {
    operator: KeyPair,
    /// Issued once: a server does not take another one while it runs.
    jwt: String,
    system: KeyPair,
    account: KeyPair,
    revoked: Option<String>,
    account_expires: Option<u64>,
}

/// A user, and the JWT that its account has issued for it.
pub(crate) struct User {
    pub(crate) key: KeyPair,
    pub(crate) jwt: String,
}

impl User {
    pub(crate) fn seed(&self) -> String {
        self.key.seed().expect("a new pair has a seed")
    }

    /// The text of a credentials file.
    pub(crate) fn credentials(&self) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             ************************* IMPORTANT *************************\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            self.jwt,
            self.seed()
        )
    }
}

impl Operator {
    pub(crate) fn new() -> Self {
        let (system, account) = (KeyPair::new_account(), KeyPair::new_account());
        let operator = KeyPair::new_operator();
        let claims = json!({ "type": "operator", "version": 2 });
        let jwt = jwt(&operator, &operator, claims, None);
        Self { operator, jwt, system, account, revoked: None, account_expires: None }
    }

    /// The configuration of a server that trusts this operator.
    pub(crate) fn config(&self) -> String {
        let mut claims = json!({
            "limits": {
                "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
                "wildcards": true, "conn": -1, "leaf": -1,
            },
            "type": "account",
            "version": 2,
        });
        let system = jwt(&self.operator, &self.system, claims.clone(), None);
        if let Some(user) = &self.revoked {
            claims["revocations"] = json!({ user: now() });
        }
        let account = jwt(&self.operator, &self.account, claims, self.account_expires);
        let (system_key, key) = (self.system.public_key(), self.account.public_key());
        format!(
            "operator: {}\nsystem_account: {system_key}\nresolver: MEMORY\n\
             resolver_preload: {{ {system_key}: {system}, {key}: {account} }}\n",
            self.jwt
        )
    }

    pub(crate) fn user(&self) -> User {
        self.issue(KeyPair::new_user(), json!({}), None)
    }

    /// One whose JWT is believed without a signature of the nonce.
    pub(crate) fn bearer(&self) -> User {
        self.issue(KeyPair::new_user(), json!({ "bearer_token": true }), None)
    }

    /// One whose JWT is so long that each tag takes about 40 bytes of it.
    pub(crate) fn user_with_tags(&self, tags: usize) -> User {
        let tags: Vec<_> = (0..tags).map(|tag| format!("a tag of thirty bytes {tag:08}")).collect();
        self.issue(KeyPair::new_user(), json!({ "tags": tags }), None)
    }

    /// One whose JWT expires after `time`, of which only whole seconds count.
    pub(crate) fn user_for(&self, time: Duration) -> User {
        self.issue(KeyPair::new_user(), json!({}), Some(now() + time.as_secs()))
    }

    /// From the next configuration on, JWTs of `user` that were issued until now count nothing.
    pub(crate) fn revoke(&mut self, user: &User) {
        self.revoked = Some(user.key.public_key());
    }

    /// From the next configuration on, the account expires after `time`, of which only whole
    /// seconds count, or never.
    pub(crate) fn account_for(&mut self, time: Option<Duration>) {
        self.account_expires = time.map(|time| now() + time.as_secs());
    }

    fn issue(&self, key: KeyPair, more: Value, expires: Option<u64>) -> User {
        let mut claims = json!({
            "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1,
            "type": "user", "version": 2,
        });
        for (name, value) in more.as_object().into_iter().flatten() {
            claims[name] = value.clone();
        }
        let jwt = jwt(&self.account, &key, claims, expires);
        User { key, jwt }
    }
}

fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: Value, expires: Option<u64>) -> String {
    let mut claims = json!({
        "jti": "any", "iat": now(), "iss": issuer.public_key(), "sub": subject.public_key(),
        "name": "test", "nats": nats,
    });
    if let Some(expires) = expires {
        claims["exp"] = json!(expires);
    }
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let part = |json: Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let text = format!("{}.{}", part(header), part(claims));
    let signature = issuer.sign(text.as_bytes()).expect("a new pair has a seed");
    format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs()
}
