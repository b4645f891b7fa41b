//! What a client shows to a server that asks who it is: taken from the CONNECT it writes.

use std::error::Error;
use std::fs;
use std::future::{pending, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use midge::auth::{AuthError, Challenge, Credentials, SeedError, UserKey};
use midge::{CloseReason, ConnectError, ConnectOptions, DisconnectCause, OptionsError};
use midge_proto::wire::ConnectInfo;
use nkeys::KeyPair;

use crate::rig::{Rig, Task, options};

pub(crate) const ASKS: &str = r#"INFO {"server_id":"S","max_payload":1048576,"headers":true,"proto":1,"auth_required":true,"nonce":"n0nce"} "#;

/// A JWT of a user, which nobody has signed.
pub(crate) fn jwt(subject: &str) -> String {
    let part = |text: &str| data_encoding::BASE64URL_NOPAD.encode(text.as_bytes());
    let claims = format!(r#"{{"sub":"{subject}","nats":{{"type":"user"}}}}"#);
    format!("{}.{}.{}", part(r#"{"typ":"JWT"}"#), part(&claims), part("signature"))
}

pub(crate) fn credentials(user: &KeyPair) -> String {
    let (jwt, seed) = (jwt(&user.public_key()), user.seed().expect("it has one"));
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

pub(crate) fn seed(user: &KeyPair) -> String {
    user.seed().expect("it has one")
}

/// The CONNECT that the client has written, if it has.
fn sent(rig: &mut Rig) -> Option<ConnectInfo> {
    let sent = rig.take_sent();
    let json = sent.strip_prefix("CONNECT ")?.split_once("\r\n")?.0;
    Some(ConnectInfo::parse(json.as_bytes()).expect("it is a CONNECT"))
}

/// What the client shows to a server that greets with `info`.
pub(crate) fn shown(options: ConnectOptions, info: &str) -> ConnectInfo {
    let (_connecting, mut rig) = Rig::new(options);
    rig.run();
    rig.receive(&format!("{info}\r\n"));
    sent(&mut rig).expect("it answers at once")
}

pub(crate) fn signed_by(user: &KeyPair, connect: &ConnectInfo) -> bool {
    let signature = connect.sig.as_deref().expect("it has signed");
    let signature = data_encoding::BASE64URL_NOPAD.decode(signature.as_bytes());
    user.verify(b"n0nce", &signature.expect("it is base64url")).is_ok()
}

pub(crate) fn refused(options: ConnectOptions) -> OptionsError {
    let clock = Arc::new(crate::rig::TestClock::default());
    midge::driver::connect(options, clock).map(drop).expect_err("it cannot be used")
}

pub(crate) fn why(connecting: Result<midge::Client, ConnectError>) -> DisconnectCause {
    match connecting {
        Err(ConnectError::Closed(CloseReason::NoServers { cause, .. })) => cause,
        other => panic!("not given up for want of servers: {other:?}"),
    }
}

#[test]
fn an_nkey_signs_the_nonce() {
    let user = KeyPair::new_user();
    let connect = shown(options().nkey(seed(&user)), ASKS);
    assert_eq!(connect.nkey, Some(user.public_key()));
    assert!(signed_by(&user, &connect));
    assert_eq!(connect.jwt, None);
}

#[test]
fn credentials_show_the_jwt_and_sign_the_nonce() {
    let user = KeyPair::new_user();
    let connect = shown(options().credentials(credentials(&user)), ASKS);
    assert_eq!(connect.jwt, Some(jwt(&user.public_key())));
    assert!(signed_by(&user, &connect));
    assert_eq!(connect.nkey, None);
}

#[test]
fn a_jwt_is_signed_for_by_a_key_or_a_function() {
    let user = Arc::new(KeyPair::new_user());
    let text = jwt(&user.public_key());
    let key = UserKey::from_seed(&seed(&user)).expect("it is a seed");
    let by_key = shown(options().jwt(&text, key), ASKS);
    assert!(signed_by(&user, &by_key));
    let signer = user.clone();
    let sign = move |nonce: String| ready(signer.sign(nonce.as_bytes()));
    let by_function = shown(options().jwt(&text, sign), ASKS);
    assert!(signed_by(&user, &by_function));
    assert_eq!((by_function.jwt, by_function.nkey), (Some(text), None));
}

#[test]
fn a_bearer_jwt_is_not_signed_for() {
    let text = jwt("UANY");
    let connect = shown(options().bearer_jwt(&text), ASKS);
    assert_eq!((connect.jwt, connect.sig), (Some(text), None));
}

#[test]
fn without_a_nonce_nothing_is_signed() {
    let user = KeyPair::new_user();
    let info = ASKS.replace(r#","nonce":"n0nce""#, "");
    let connect = shown(options().nkey(seed(&user)), &info);
    assert_eq!((connect.nkey, connect.sig), (Some(user.public_key()), None));
    let unasked = |_: String| async { Err::<Vec<u8>, _>("it was asked") };
    let connect = shown(options().jwt(jwt("U"), unasked), &info);
    assert_eq!((connect.jwt, connect.sig), (Some(jwt("U")), None));
}

#[test]
fn several_are_shown_together_and_a_provider_goes_first() {
    let user = KeyPair::new_user();
    let provide = |_: Challenge| {
        let token = Some("of the provider".to_owned());
        ready(Ok::<_, std::io::Error>(Credentials { token, ..Credentials::default() }))
    };
    let all = options().user_and_password("joe", "pw").token("fixed").nkey(seed(&user));
    let connect = shown(all.auth_provider(provide), ASKS);
    assert_eq!((connect.user.as_deref(), connect.pass.as_deref()), (Some("joe"), Some("pw")));
    assert_eq!(connect.auth_token.as_deref(), Some("of the provider"));
    assert!(signed_by(&user, &connect));
}

/// Gives these values for the fields `user`, `password`, `token`, `nkey`, `jwt` and `signature`.
fn gives(fields: [Option<&'static str>; 6]) -> impl midge::auth::Provider {
    move |_: Challenge| {
        let [user, password, token, nkey, jwt, signature] =
            fields.map(|field| field.map(Into::into));
        ready(Ok::<_, std::io::Error>(Credentials { user, password, token, nkey, jwt, signature }))
    }
}

#[test]
fn a_provider_changes_the_fields_that_it_gives_and_no_others() {
    let fields = |connect: ConnectInfo| {
        let ConnectInfo { user, pass, auth_token, nkey, jwt, sig, .. } = connect;
        [user, pass, auth_token, nkey, jwt, sig].map(Option::unwrap_or_default)
    };
    let (first, second) = (["1"; 6].map(Some), ["2"; 6].map(Some));
    let options = options().user_and_password("0", "0").token("0");
    let unchanged = options.clone().auth_provider(gives([None; 6]));
    assert_eq!(fields(shown(unchanged, ASKS)), ["0", "0", "0", "", "", ""]);
    let changed = options.auth_provider(gives(first));
    assert_eq!(fields(shown(changed.clone(), ASKS)), ["1"; 6]);
    let changed = changed.auth_provider(gives(second)).auth_provider(gives([None; 6]));
    assert_eq!(fields(shown(changed, ASKS)), ["2"; 6]);
}

#[test]
fn a_provider_is_told_the_nonce_and_the_server() {
    let told = Arc::new(Mutex::new(None));
    let notes = told.clone();
    let provide = move |challenge: Challenge| {
        *notes.lock().expect("nothing panics") = Some(challenge);
        ready(Ok::<_, std::io::Error>(Credentials::default()))
    };
    shown(options().auth_provider(provide), ASKS);
    let challenge = told.lock().expect("nothing panics").take().expect("it was asked");
    assert_eq!(challenge.nonce.as_deref(), Some("n0nce"));
    assert_eq!(challenge.server.to_string(), "nats://127.0.0.1:4222");
}

#[derive(Default)]
struct Slow {
    token: Option<&'static str>,
    waker: Option<Waker>,
}

/// Gives a token once the test has put it there.
struct Later(Arc<Mutex<Slow>>);

impl Future for Later {
    type Output = Result<Credentials, std::io::Error>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut slow = self.0.lock().expect("nothing panics");
        match slow.token {
            Some(token) => {
                let token = Some(token.to_owned());
                Poll::Ready(Ok(Credentials { token, ..Credentials::default() }))
            }
            None => {
                slow.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[test]
fn a_provider_may_take_time_and_wakes_the_driver() {
    let slow = Arc::new(Mutex::new(Slow::default()));
    let given = slow.clone();
    let (connecting, mut rig) =
        Rig::new(options().auth_provider(move |_: Challenge| Later(given.clone())));
    let mut connecting = Task::new(connecting);
    rig.run();
    rig.receive(&format!("{ASKS}\r\n"));
    assert!(sent(&mut rig).is_none(), "it waits for the provider");
    rig.wakes.take();
    let waker = {
        let mut slow = slow.lock().expect("nothing panics");
        slow.token = Some("late");
        slow.waker.take().expect("it was polled")
    };
    waker.wake();
    assert_eq!(rig.wakes.take(), 1);
    rig.run();
    let connect = sent(&mut rig).expect("the provider has answered");
    assert_eq!(connect.auth_token.as_deref(), Some("late"));
    rig.receive("PONG\r\n");
    assert!(connecting.ready().is_ok());
}

/// Counts its drops.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A provider that never answers, and how often its futures were dropped.
fn never() -> (ConnectOptions, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    let count = drops.clone();
    let provide = move |_: Challenge| {
        let dropped = Dropped(count.clone());
        async move {
            pending::<()>().await;
            drop(dropped);
            Ok::<_, std::io::Error>(Credentials::default())
        }
    };
    (options().auth_provider(provide), drops)
}

#[test]
fn a_provider_that_never_answers_has_the_time_of_the_attempt() {
    let (options, drops) = never();
    let (connecting, mut rig) = Rig::new(options.connect_timeout(Duration::from_secs(3)));
    let mut connecting = Task::new(connecting);
    rig.run();
    rig.receive(&format!("{ASKS}\r\n"));
    assert_eq!(drops.load(Ordering::SeqCst), 0);
    rig.sleep(Duration::from_secs(3));
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert_eq!(why(connecting.ready()), DisconnectCause::TimedOut);
}

#[test]
fn a_server_that_hangs_up_ends_the_wait_for_a_provider() {
    let (options, drops) = never();
    let (_connecting, mut rig) = Rig::new(options);
    rig.run();
    rig.receive(&format!("{ASKS}\r\n"));
    rig.cut();
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn a_provider_that_fails_fails_the_attempt_with_its_words() {
    let provide = |_: Challenge| async { Err::<Credentials, _>("the vault is sealed") };
    let (connecting, mut rig) = Rig::new(options().auth_provider(provide));
    let mut connecting = Task::new(connecting);
    rig.run();
    rig.receive(&format!("{ASKS}\r\n"));
    assert!(sent(&mut rig).is_none());
    assert!(!rig.is_open(), "the server is not left waiting");
    let cause = "`auth_provider`: the vault is sealed".to_owned();
    assert_eq!(why(connecting.ready()), DisconnectCause::Credentials(cause));
}

#[test]
fn after_a_failure_the_provider_is_asked_again_by_the_usual_rules() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let provide = move |_: Challenge| {
        let time = count.fetch_add(1, Ordering::SeqCst);
        ready(if time == 0 { Err("not yet") } else { Ok(Credentials::default()) })
    };
    let (connecting, mut rig) =
        Rig::new(options().auth_provider(provide).retry_first_connect(true));
    let client = Task::new(connecting).ready().expect("it is there at once");
    rig.run();
    rig.receive(&format!("{ASKS}\r\n"));
    assert!(sent(&mut rig).is_none());
    assert!(client.last_error().is_some_and(|error| error.to_string().contains("not yet")));
    rig.sleep(Duration::from_secs(1));
    rig.receive(&format!("{ASKS}\r\n"));
    assert!(sent(&mut rig).is_some());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn a_signature_of_another_length_fails_the_attempt() {
    let sign = |_: String| ready(Ok::<_, std::io::Error>(vec![0; 32]));
    let (connecting, mut rig) = Rig::new(options().jwt(jwt("U"), sign));
    let mut connecting = Task::new(connecting);
    rig.run();
    rig.receive(&format!("{ASKS}\r\n"));
    let cause = "`jwt`: the signature has 32 bytes, one by Ed25519 has 64".to_owned();
    assert_eq!(why(connecting.ready()), DisconnectCause::Credentials(cause));
}

#[test]
fn a_file_is_read_again_at_each_connect() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("user.creds");
    let (first, second) = (KeyPair::new_user(), KeyPair::new_user());
    fs::write(&path, credentials(&first))?;
    let (_connecting, mut rig) = Rig::new(options().credentials_file(&path));
    fs::write(&path, credentials(&second))?;
    rig.run();
    rig.receive(&format!("{ASKS}\r\n"));
    assert!(signed_by(&second, &sent(&mut rig).expect("the file is there")));
    rig.receive("PONG\r\n");

    fs::write(&path, credentials(&first))?;
    rig.cut();
    rig.reopen();
    rig.receive(&format!("{ASKS}\r\n"));
    assert!(signed_by(&first, &sent(&mut rig).expect("the file is there")));

    fs::remove_file(&path)?;
    rig.cut();
    rig.sleep(Duration::from_secs(1));
    rig.reopen();
    rig.receive(&format!("{ASKS}\r\n"));
    assert!(sent(&mut rig).is_none(), "there is nothing to show");
    assert!(!rig.done, "the next attempt may find it");
    Ok(())
}

#[test]
fn a_file_that_cannot_be_used_is_refused_before_connecting() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("user");
    let missing = refused(options().credentials_file(&path)).to_string();
    assert!(missing.starts_with("`credentials_file`: cannot read "), "{missing}");
    fs::write(&path, "rubbish")?;
    let wrong = refused(options().credentials_file(&path)).to_string();
    assert!(wrong.contains("user: it holds no block"), "{wrong}");
    let wrong = refused(options().nkey_file(&path)).to_string();
    assert!(wrong.starts_with("`nkey_file`: ") && wrong.contains("7 characters"), "{wrong}");
    Ok(())
}

#[test]
fn what_is_malformed_is_refused_and_its_option_named() {
    let error = AuthError::Seed(SeedError::Length(4));
    assert_eq!(refused(options().nkey("SUAB")), OptionsError::Auth { option: "nkey", error });
    let option = |options| match refused(options) {
        OptionsError::Auth { option, .. } => option,
        other => panic!("not about credentials: {other}"),
    };
    let key = || UserKey::from_seed(&seed(&KeyPair::new_user())).expect("it is a seed");
    assert_eq!(option(options().credentials("x")), "credentials");
    assert_eq!(option(options().jwt("x", key())), "jwt");
    assert_eq!(option(options().bearer_jwt("x.y")), "bearer_jwt");
}

#[test]
fn two_that_sign_are_refused() {
    let user = KeyPair::new_user();
    let two = options().nkey(seed(&user)).credentials_file("joe.creds");
    let error = OptionsError::TwoSignatures { option: "credentials_file", other: "nkey" };
    assert_eq!(refused(two), error);
}

#[test]
fn no_secret_is_shown_by_debug() {
    let user = KeyPair::new_user();
    let (seed, jwt) = (seed(&user), jwt(&user.public_key()));
    let secrets = [seed.as_str(), &jwt, "pa55word", "t0ken", "ur1pass", "pr0vided"];
    let url = "nats://joe:ur1pass@127.0.0.1";
    let provide = |_: Challenge| {
        let password = Some("pr0vided".to_owned());
        ready(Ok::<_, std::io::Error>(Credentials { password, ..Credentials::default() }))
    };
    let options = ConnectOptions::new(url)
        .user_and_password("joe", "pa55word")
        .token("t0ken")
        .credentials(credentials(&user))
        .auth_provider(provide);
    let mut shown = format!("{options:?} {:?}", UserKey::from_seed(&seed));
    let (connecting, mut rig) = Rig::new(options);
    let mut connecting = Task::new(connecting);
    assert!(connecting.poll().is_pending());
    rig.run();
    rig.receive(&format!("{ASKS}\r\n"));
    shown += &format!("{:?}", sent(&mut rig));
    rig.receive("PONG\r\n");
    let client = connecting.ready().expect("the server has accepted");
    let mut events = client.events();
    rig.receive("-ERR 'Authorization Violation'\r\n");
    shown += &format!("{client:?} {:?} {:?}", client.status(), client.last_error());
    while let Some(event) = events.try_next() {
        shown += &format!("{event:?}");
    }
    shown += &format!("{:?}", rig.turn());
    shown += &format!("{:?}", rig.driver);
    for secret in secrets {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
    assert!(shown.contains("AuthorizationViolation"), "{shown}");
}
