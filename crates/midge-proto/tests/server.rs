//! URLs of servers.

#![allow(clippy::unwrap_used, reason = "tests")]

use midge_proto::{Scheme, ServerUrl, ServerUrlError};

#[test]
fn every_part_of_a_url_is_read_and_has_a_default() {
    for (text, scheme, host, port, path, user, password) in [
        ("localhost", Scheme::Nats, "localhost", 4222, "", None, None),
        (" nats://a.b:1 ", Scheme::Nats, "a.b", 1, "", None, None),
        ("tls://10.0.0.1/", Scheme::Tls, "10.0.0.1", 4222, "", None, None),
        ("ws://h/nats?x=1", Scheme::Ws, "h", 80, "/nats?x=1", None, None),
        ("WSS://h", Scheme::Wss, "h", 443, "", None, None),
        ("[::1]", Scheme::Nats, "::1", 4222, "", None, None),
        ("nats://[fe80::1]:7", Scheme::Nats, "fe80::1", 7, "", None, None),
        ("nats://joe:p%40s%2Fs@h", Scheme::Nats, "h", 4222, "", Some("joe"), Some("p@s/s")),
        ("nats://t%C3%B6ken@h:5", Scheme::Nats, "h", 5, "", Some("töken"), None),
    ] {
        let url = ServerUrl::parse(text).unwrap();
        assert_eq!(
            (url.scheme(), url.host(), url.port(), url.path()),
            (scheme, host, port, path),
            "{text}"
        );
        assert_eq!((url.user(), url.password()), (user, password), "{text}");
        assert_eq!(ServerUrl::parse(&url.to_string()).unwrap().to_string(), url.to_string());
    }
}

#[test]
fn names_that_only_some_networks_know_are_hosts() {
    let label = "x".repeat(63);
    for host in
        ["my_host", "_nats._tcp.a", "a.b.", "1.2.3.4", "-a-", "\u{fc}ber.example", &label, "127.1"]
    {
        assert_eq!(ServerUrl::parse(&format!("nats://{host}:1")).unwrap().host(), host);
    }
    assert_eq!(ServerUrl::parse("nats://[::ffff:1.2.3.4]").unwrap().host(), "::ffff:1.2.3.4");
}

#[test]
fn a_mistake_is_named() {
    use ServerUrlError as E;
    let character = |host: &str, character| E::HostCharacter { host: host.into(), character };
    for (text, error) in [
        ("http://a", E::Scheme("http".into())),
        ("", E::NoHost),
        ("nats://", E::NoHost),
        ("nats://user@", E::NoHost),
        ("nats:/localhost", E::NoSlashes("nats")),
        ("a b", character("a b", ' ')),
        ("nats://a%20b", character("a%20b", '%')),
        ("nats://a~b:1", character("a~b", '~')),
        ("nats://a\u{a0}b", character("a\u{a0}b", '\u{a0}')),
        ("nats://a\u{7}", character("a\u{7}", '\u{7}')),
        ("nats://..", E::EmptyLabel("..".into())),
        ("nats://.:4222", E::EmptyLabel(".".into())),
        ("nats://a..b", E::EmptyLabel("a..b".into())),
        ("nats://.a", E::EmptyLabel(".a".into())),
        ("nats://a..", E::EmptyLabel("a..".into())),
        (&format!("nats://{}.a", "x".repeat(64)), E::HostTooLong(format!("{}.a", "x".repeat(64)))),
        ("nats://[]", E::NoHost),
        ("nats://[a]", E::Host("[a]".into())),
        ("nats://[127.0.0.1]", E::Host("[127.0.0.1]".into())),
        ("::1", E::Host("::1".into())),
        ("nats://::1:4222", E::Host("::1:4222".into())),
        ("nats://[::1", E::Host("[::1".into())),
        ("a:0", E::Port("0".into())),
        ("a:65536", E::Port("65536".into())),
        ("nats://a/path", E::Path("/path".into())),
        ("nats://%ff@a", E::Credentials),
        ("nats://%zz@a", E::Credentials),
        ("nats://50%@a", E::Credentials),
        ("ws://h/a@b", E::CredentialsNotEncoded),
        ("ws://user@h/a@b", E::CredentialsNotEncoded),
        ("ws://h/a b", E::PathNotEncoded),
        ("ws://h/a\r\nHost: x", E::PathNotEncoded),
        ("ws://h?\u{e9}", E::PathNotEncoded),
    ] {
        assert_eq!(ServerUrl::parse(text).unwrap_err(), error, "{text}");
    }
}

#[test]
fn lists_are_read_and_stray_commas_refused() {
    let hosts = |text| -> Vec<_> {
        ServerUrl::parse_list(text).unwrap().iter().map(|url| url.host().to_owned()).collect()
    };
    assert_eq!(hosts("a, nats://u:p@b:1,[::1]"), ["a", "b", "::1"]);
    for text in ["a,", ",a", "a,,b"] {
        assert_eq!(ServerUrl::parse_list(text), Err(ServerUrlError::NoHost), "{text}");
    }
}

#[test]
fn no_error_and_no_debug_shows_a_secret() {
    for text in [
        "nats://user:s3cret/x@host",
        "nats://user:x/s3cret@host",
        "nats://user:s3c#s3cret@host",
        "nats://user:?s3cret@host",
        "nats://user:x@y/s3cret@host",
        "ws://user:x@y/s3cret@host",
        "nats://user:s3cret,x@host",
        "nats://user:x,s3cret@host:y",
    ] {
        let error = ServerUrl::parse_list(text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("s3cret"), "{text}: {shown}");
    }
    let url = ServerUrl::parse("nats://user:s3cret@host").unwrap();
    assert!(!format!("{url} {url:?}").contains("s3cret"));
}
