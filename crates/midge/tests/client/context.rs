//! Contexts of the `nats` tool: what is read from their files, and what a connection gets of it.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use midge::auth::{Context, ContextError};
use midge::{ConnectOptions, OptionsError};
use midge_proto::wire::ConnectInfo;
use nkeys::KeyPair;

use crate::auth::{ASKS, credentials, jwt, refused, seed, shown, signed_by};
use crate::rig::{Rig, Task};

/// As the tool writes it: every field, most of them empty.
const WHOLE: &str = r#"{
  "description": "the orders", "url": "nats://127.0.0.1:4333", "socks_proxy": "",
  "token": "t", "user": "joe", "password": "pw", "creds": "/c", "nkey": "/n", "cert": "/cert",
  "key": "/key", "ca": "/ca", "nsc": "", "jetstream_domain": "hub",
  "jetstream_api_prefix": "JS.acc", "jetstream_event_prefix": "EV", "inbox_prefix": "_IN.joe",
  "user_jwt": "j", "user_seed": "s", "color_scheme": "red", "tls_first": true,
  "windows_cert_store": null, "not known": [1, {"a": 2}]
}"#;

fn context(json: &str) -> Context {
    json.parse().expect("it is a context")
}

/// What a connection from this context shows to a server.
fn connects(context: &Context) -> ConnectInfo {
    shown(context.into(), ASKS)
}

fn local(fields: &str) -> Context {
    context(&format!(r#"{{"url": "127.0.0.1", {fields}}}"#))
}

#[test]
fn every_field_is_read_and_unknown_ones_are_ignored() {
    let read = context(WHOLE);
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    assert_eq!(text(&read.description), "the orders");
    assert_eq!(text(&read.url), "nats://127.0.0.1:4333");
    assert_eq!((text(&read.token), text(&read.user)), ("t".into(), "joe".into()));
    assert_eq!(text(&read.password), "pw");
    assert_eq!(read.creds.as_deref(), Some(Path::new("/c")));
    assert_eq!(read.nkey.as_deref(), Some(Path::new("/n")));
    assert_eq!(read.cert.as_deref(), Some(Path::new("/cert")));
    assert_eq!(read.key.as_deref(), Some(Path::new("/key")));
    assert_eq!(read.ca.as_deref(), Some(Path::new("/ca")));
    assert_eq!(text(&read.jetstream_domain), "hub");
    assert_eq!(text(&read.jetstream_api_prefix), "JS.acc");
    assert_eq!(text(&read.jetstream_event_prefix), "EV");
    assert_eq!(text(&read.inbox_prefix), "_IN.joe");
    assert_eq!((text(&read.user_jwt), text(&read.user_seed)), ("j".into(), "s".into()));
    assert!(read.tls_first);
    assert_eq!((&read.nsc, &read.socks_proxy, &read.windows_cert_store), (&None, &None, &None));
}

#[test]
fn a_field_of_the_wrong_type_is_named_without_its_value() {
    let refused = |json: &str| json.parse::<Context>().unwrap_err();
    let error = ContextError::Field { field: "token", expected: "a string" };
    assert_eq!(refused(r#"{"token": 4711}"#), error);
    assert_eq!(error.to_string(), "the field `token` must be a string");
    let error = ContextError::Field { field: "tls_first", expected: "true or false" };
    assert_eq!(refused(r#"{"tls_first": "yes"}"#), error);
    assert_eq!(refused("{\n\"token\": \"x"), ContextError::Json { line: 2, column: 11 });
    assert!(matches!(refused("[]"), ContextError::Json { .. }));
}

#[test]
fn an_empty_context_means_the_local_server() {
    let url = "nats://localhost:4222";
    let (connecting, mut rig) = Rig::new(context("{}").into());
    let _connecting = Task::new(connecting);
    match rig.turn() {
        midge::driver::Turn::Resolve { host, .. } => assert_eq!(host, "localhost"),
        other => panic!("{url} is not looked up: {other:?}"),
    }
}

#[test]
fn user_password_token_and_inbox_prefix_are_used() {
    let fields = r#""user": "joe", "password": "pw", "token": "t", "inbox_prefix": "_IN.joe""#;
    let context = local(fields);
    let connect = connects(&context);
    assert_eq!((connect.user.as_deref(), connect.pass.as_deref()), (Some("joe"), Some("pw")));
    assert_eq!(connect.auth_token.as_deref(), Some("t"));
    let (client, _rig) = Rig::connected(ConnectOptions::from(&context));
    assert!(client.new_inbox().as_str().starts_with("_IN.joe."));
}

#[test]
fn paths_are_read_in_the_order_of_the_tool() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let (by_creds, by_key) = (KeyPair::new_user(), KeyPair::new_user());
    let creds = directory.path().join("joe.creds");
    let nkey = directory.path().join("joe.nk");
    fs::write(&creds, credentials(&by_creds))?;
    fs::write(&nkey, seed(&by_key))?;
    let mut context = local(r#""user_jwt": "of no use""#);
    context.creds = Some(creds);
    context.nkey = Some(nkey);
    assert!(signed_by(&by_creds, &connects(&context)));
    context.creds = None;
    let connect = connects(&context);
    assert!(signed_by(&by_key, &connect));
    assert_eq!(connect.jwt, None);
    context.user = Some("joe".to_owned());
    assert_eq!(connects(&context).sig, None);
    Ok(())
}

#[test]
fn a_jwt_is_used_with_its_seed_or_without() {
    let user = KeyPair::new_user();
    let mut context = local("\"token\": null");
    context.user_jwt = Some(jwt(&user.public_key()));
    let connect = connects(&context);
    assert_eq!((connect.jwt.as_ref(), connect.sig), (context.user_jwt.as_ref(), None));
    context.user_seed = Some(seed(&user));
    assert!(signed_by(&user, &connects(&context)));
    context.user_seed = Some("SU".to_owned());
    assert!(refused((&context).into()).to_string().starts_with("`user_seed`: "));
}

#[test]
fn what_cannot_be_carried_out_is_refused() {
    for field in ["nsc", "socks_proxy", "windows_cert_store"] {
        let context = local(&format!(r#""{field}": "x""#));
        let error = refused((&context).into());
        assert_eq!(error, OptionsError::Context(field));
        assert!(error.to_string().contains(field));
    }
    let known = local(r#""nsc": "nsc://op/acc/joe", "creds": "joe.creds""#);
    assert!(refused(known.into()).to_string().starts_with("`credentials_file`: "));
}

#[test]
#[cfg(feature = "ring")]
fn files_of_tls_that_cannot_be_used_are_refused_and_named() {
    let both = "a context has both `cert` and `key`, or neither: this one has one of them";
    for (fields, expected) in [
        (r#""ca": "/no/ca""#, "tls: root_certificates: cannot read /no/ca: "),
        (
            r#""cert": "/no/cert", "key": "/no/key""#,
            "tls: client_certificate: cannot read /no/cert: ",
        ),
        (r#""cert": "/no/cert""#, both),
        (r#""key": "/no/key""#, both),
    ] {
        let refusal = refused(local(fields).into()).to_string();
        assert!(refusal.starts_with(expected), "{refusal}");
    }
}

#[test]
fn no_secret_is_shown_by_debug() {
    let fields = r#""user": "joe", "password": "pa55word", "token": "t0ken", "user_seed": "SUsecret",
        "user_jwt": "jjwt", "url": "nats://a:ur1pass@b", "socks_proxy": "s://a:pr0xy@c""#;
    let context = context(&format!("{{{fields}}}"));
    let shown = format!("{context:?} {:?}", ConnectOptions::from(&context));
    for secret in ["pa55word", "t0ken", "SUsecret", "jjwt", "ur1pass", "pr0xy"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
    assert!(shown.starts_with("Context {\"url\", \"token\", \"user\", "), "{shown}");
}

#[test]
fn a_name_that_is_no_file_name_is_refused() {
    for name in ["", "..", "a..b", "a/b", "../a", "a\\b", "/a"] {
        assert_eq!(Context::load(name), Err(ContextError::Name(name.to_owned())));
    }
}

/// Part of the next test, which runs it in a process with an environment of its own.
#[test]
fn loads_as_the_environment_says() {
    let Ok(expected) = std::env::var("MIDGE_TEST_EXPECTED") else { return };
    let describe = |context: Result<Context, ContextError>| match context {
        Ok(context) => format!("{:?} {:?}", context.description, context.creds),
        Err(error) => error.to_string(),
    };
    let named = std::env::var("MIDGE_TEST_NAME");
    let context = named.map_or_else(|_| Context::selected(), |name| Context::load(&name));
    assert_eq!(describe(context), expected);
}

#[test]
fn contexts_are_found_by_name_or_selection() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let home = home.path();
    let (xdg, config) = (home.join("xdg"), home.join(".config"));
    for (directory, place) in [(&xdg, "xdg"), (&config, "home")] {
        fs::create_dir_all(directory.join("nats/context"))?;
        let json = format!(r#"{{"description": "{place}", "creds": "~/joe.creds"}}"#);
        fs::write(directory.join("nats/context/orders.json"), json)?;
    }
    fs::write(xdg.join("nats/context.txt"), "orders\n")?;
    fs::write(xdg.join("nats/context/broken.json"), "{\"url\": 1}")?;
    let found = |place: &str| format!("Some({place:?}) Some({:?})", home.join("joe.creds"));
    let broken = xdg.join("nats/context/broken.json").display().to_string();
    let missing = xdg.join("nats/context/none.json").display().to_string();
    let none = "no context is selected: choose one with `nats context select`, or name one";
    let name = "`../orders` is no name of a context: it must be a file name, without `..`, `/` \
                and `\\`";
    let cases = [
        (Some(xdg.as_path()), Some("orders"), found("xdg")),
        (Some(&xdg), None, found("xdg")),
        (None, Some("orders"), found("home")),
        (Some(Path::new("relative")), Some("orders"), found("home")),
        (None, None, none.to_owned()),
        (Some(&xdg), Some("../orders"), name.to_owned()),
        (Some(&xdg), Some("broken"), format!("{broken}: the field `url` must be a string")),
        (
            Some(&xdg),
            Some("none"),
            format!("cannot read {missing}: No such file or directory (os error 2)"),
        ),
    ];
    for (xdg, name, expected) in cases {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--exact", "context::loads_as_the_environment_says"]);
        command.env_remove("XDG_CONFIG_HOME").env("HOME", home);
        command.env("MIDGE_TEST_EXPECTED", &expected);
        xdg.map(|xdg| command.env("XDG_CONFIG_HOME", xdg));
        name.map(|name| command.env("MIDGE_TEST_NAME", name));
        let output = command.output()?;
        assert!(output.status.success(), "{expected}: {output:?}");
        assert!(String::from_utf8(output.stdout)?.contains("1 passed"));
    }
    Ok(())
}
