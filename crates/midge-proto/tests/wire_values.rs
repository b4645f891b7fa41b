//! The JSON of INFO and CONNECT, and the texts of `-ERR`.

use midge_proto::wire::{ConnectInfo, MAX_URLS, ServerError, ServerInfo};

#[test]
fn an_info_of_a_current_server_is_read() {
    let info = ServerInfo::parse(
        br#"{"server_id":"NID","server_name":"n1","version":"2.15.1","proto":1,"git_commit":"b2fd3ef",
        "go":"go1.26","host":"0.0.0.0","port":4222,"headers":true,"tls_required":true,"tls_verify":true,
        "tls_available":true,"auth_required":true,"max_payload":1048576,"jetstream":true,"client_id":7,
        "client_ip":"127.0.0.1","nonce":"0123456789abcde","cluster":"c1","cluster_dynamic":true,
        "domain":"hub","connect_urls":["10.0.0.1:4222","[::1]:4222"],"ws_connect_urls":["h:80"],
        "ldm":true,"connect_info":true,"remote_account":"$G","acc_is_sys":true,"api_lvl":5,
        "xkey":"XK","ip":"10.0.0.1","compression":"off","from_the_future":{"a":[1,{}]}}"#,
    )
    .unwrap();
    let expected = ServerInfo {
        server_id: "NID".into(),
        server_name: "n1".into(),
        version: "2.15.1".into(),
        go: "go1.26".into(),
        git_commit: "b2fd3ef".into(),
        proto: 1,
        host: "0.0.0.0".into(),
        port: 4222,
        headers: true,
        max_payload: 1_048_576,
        client_id: 7,
        client_ip: "127.0.0.1".into(),
        auth_required: true,
        tls_required: true,
        tls_verify: true,
        tls_available: true,
        nonce: Some("0123456789abcde".into()),
        jetstream: true,
        ip: "10.0.0.1".into(),
        cluster: "c1".into(),
        cluster_dynamic: true,
        domain: "hub".into(),
        connect_urls: vec!["10.0.0.1:4222".into(), "[::1]:4222".into()],
        ws_connect_urls: vec!["h:80".into()],
        lame_duck: true,
        connect_info: true,
        remote_account: "$G".into(),
        acc_is_sys: true,
        api_lvl: 5,
        xkey: "XK".into(),
        urls_dropped: 0,
    };
    assert_eq!(info, expected);
    assert_eq!(ServerInfo::parse(&info.to_json()), Ok(expected));
}

#[test]
fn an_empty_info_is_one_of_a_server_that_said_nothing() {
    let info = ServerInfo::parse(b"{}").unwrap();
    assert_eq!(info, ServerInfo::default());
    assert_eq!(ServerInfo::parse(&info.to_json()), Ok(info));
}

#[test]
fn the_payload_limit_is_absent_or_negative_when_there_is_none() {
    let table = [
        ("{}", None),
        (r#"{"max_payload":null}"#, None),
        (r#"{"max_payload":-1}"#, None),
        (r#"{"max_payload":0}"#, Some(0)),
        (r#"{"max_payload":1024}"#, Some(1024)),
    ];
    for (json, limit) in table {
        assert_eq!(ServerInfo::parse(json.as_bytes()).unwrap().payload_limit(), limit, "{json}");
    }
}

#[test]
fn a_field_that_only_informs_never_fails_an_info() {
    let info = ServerInfo::parse(
        br#"{"server_id":7,"port":-5,"proto":"x","go":null,"client_id":1e99,"api_lvl":[],"cluster":{},
        "connect_urls":["a:1",null,7,"b:2"],"ws_connect_urls":null,"version":"\u003c2\u003e","ldm":true,
        "version_extra":1,"headers":true}"#,
    )
    .unwrap();
    assert_eq!((info.server_id.as_str(), info.port, info.client_id), ("", 0, 0));
    assert_eq!(info.version, "<2>");
    assert_eq!(info.connect_urls, ["a:1", "b:2"]);
    assert!(info.lame_duck && info.headers);
}

#[test]
fn an_info_that_cannot_be_trusted_is_refused() {
    for json in [
        "",
        "{",
        "[]",
        "7",
        "{}x",
        r#"{"headers":"yes"}"#,
        r#"{"max_payload":"1"}"#,
        r#"{"nonce":7}"#,
        r#"{"connect_urls":"a"}"#,
        r#"{"tls_required":1}"#,
        "{\"a\":\"\u{1}\"}",
    ] {
        let error = ServerInfo::parse(json.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("INFO"), "{json}");
    }
    let error = ServerInfo::parse(br#"{"port":"x","ldm":1,"nonce":2}"#).unwrap_err();
    assert!(error.to_string().contains("`ldm` has a wrong type"), "{error}");
    let deep = [b"{\"x\":".to_vec(), b"[".repeat(100_000)].concat();
    assert!(ServerInfo::parse(&deep).is_err());
}

#[test]
fn urls_beyond_the_bound_are_counted_and_not_kept() {
    let list = |n: usize| vec!["\"h:1\""; n].join(",");
    let json = format!(
        r#"{{"connect_urls":[{}],"ws_connect_urls":[{}],"client_id":3}}"#,
        list(MAX_URLS + 5),
        list(MAX_URLS + 1)
    );
    let info = ServerInfo::parse(json.as_bytes()).unwrap();
    assert_eq!((info.connect_urls.len(), info.ws_connect_urls.len()), (MAX_URLS, MAX_URLS));
    assert_eq!((info.urls_dropped, info.client_id), (6, 3));

    let json = format!(r#"{{"connect_urls":[{}]}}"#, list(MAX_URLS));
    assert_eq!(ServerInfo::parse(json.as_bytes()).unwrap().urls_dropped, 0);
}

fn json_of(connect: &ConnectInfo) -> String {
    let mut out = Vec::new();
    connect.write_json(&mut out);
    String::from_utf8(out).expect("JSON is UTF-8")
}

#[test]
fn a_connect_always_says_what_servers_default_to_true() {
    let json = json_of(&ConnectInfo { version: "1".into(), ..ConnectInfo::default() });
    assert_eq!(
        json,
        r#"{"verbose":false,"pedantic":false,"echo":true,"tls_required":false,"headers":true,"no_responders":true,"protocol":1,"lang":"rust","version":"1"}"#
    );
}

#[test]
fn a_connect_is_read_back() {
    let connect = ConnectInfo {
        echo: false,
        tls_required: true,
        name: Some("a \"name\"\n".into()),
        user: Some("u".into()),
        pass: Some("p".into()),
        auth_token: Some("t".into()),
        nkey: Some("U".into()),
        sig: Some("s".into()),
        jwt: Some("j".into()),
        ..ConnectInfo::default()
    };
    let json = json_of(&connect);
    assert!(!json.contains('\n'));
    assert_eq!(ConnectInfo::parse(json.as_bytes()), Ok(connect));
}

#[test]
fn a_connect_that_omits_a_field_means_the_servers_default() {
    let connect = ConnectInfo::parse(br#"{"unknown":1}"#).unwrap();
    assert!(connect.verbose && connect.pedantic && connect.echo);
    assert!(!connect.headers && !connect.no_responders && !connect.tls_required);
    assert_eq!((connect.protocol, connect.lang.as_str(), connect.user), (0, "", None));
}

#[test]
fn no_secret_of_a_connect_is_printed() {
    let secret = || Some(String::from("hunter2"));
    let connect = ConnectInfo {
        pass: secret(),
        auth_token: secret(),
        sig: secret(),
        jwt: secret(),
        user: Some("ann".into()),
        ..ConnectInfo::default()
    };
    let shown = format!("{connect:?}");
    assert!(shown.contains("ann") && !shown.contains("hunter2"), "{shown}");
    let error = ConnectInfo::parse(br#"{"protocol":"hunter2"}"#).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"));
}

#[derive(Debug, Default, PartialEq)]
struct Kind {
    closes: bool,
    auth: bool,
    expired: bool,
    fatal: bool,
}

#[test]
fn every_error_text_is_known_and_written_back() {
    use ServerError as E;
    let open = Kind::default;
    let closes = || Kind { closes: true, ..open() };
    let auth = || Kind { auth: true, ..closes() };
    let fatal = || Kind { fatal: true, ..closes() };
    let subscribe = |queue: Option<&str>, sid, too_many_tokens| E::SubscribePermission {
        subject: "foo.>".into(),
        queue: queue.map(Into::into),
        sid,
        too_many_tokens,
    };
    let table = [
        ("Invalid Subject", E::InvalidSubject, open()),
        ("Invalid Publish Subject", E::InvalidPublishSubject, open()),
        (
            r#"Permissions Violation for Publish to "foo""#,
            E::PublishPermission { subject: "foo".into() },
            open(),
        ),
        (
            r#"Permissions Violation for Publish with Reply of "r""#,
            E::PublishReplyPermission { reply: "r".into() },
            open(),
        ),
        (
            r#"Permissions Violation for Subscription to "foo.>""#,
            subscribe(None, None, false),
            open(),
        ),
        (
            r#"Permissions Violation for Subscription to "foo.>" using queue "q""#,
            subscribe(Some("q"), None, false),
            open(),
        ),
        (
            r#"Permissions Violation for Subscription to "foo.>" (sid "7")"#,
            subscribe(None, Some(7), false),
            open(),
        ),
        (
            r#"Permissions Violation for Subscription to "foo.>" using queue "q" (sid "7")"#,
            subscribe(Some("q"), Some(7), false),
            open(),
        ),
        (
            r#"Permissions Violation for Subscription to "foo.>", too many tokens"#,
            subscribe(None, None, true),
            open(),
        ),
        ("maximum subscriptions exceeded", E::MaxSubscriptions, open()),
        ("Unknown Protocol Operation", E::UnknownOperation, closes()),
        ("Authorization Violation", E::AuthorizationViolation, auth()),
        ("Authentication Timeout", E::AuthenticationTimeout, closes()),
        (
            "User Authentication Expired",
            E::UserAuthenticationExpired,
            Kind { expired: true, ..closes() },
        ),
        ("User Authentication Revoked", E::UserAuthenticationRevoked, auth()),
        (
            "Account Authentication Expired",
            E::AccountAuthenticationExpired,
            Kind { expired: true, ..auth() },
        ),
        ("maximum connections exceeded", E::MaxConnections, closes()),
        ("maximum account active connections exceeded", E::MaxAccountConnections, closes()),
        ("Maximum Payload Violation", E::MaxPayload, closes()),
        ("maximum control line exceeded", E::MaxControlLine, closes()),
        ("invalid client protocol", E::InvalidClientProtocol, fatal()),
        ("no responders requires headers support", E::NoRespondersRequiresHeaders, fatal()),
        ("Stale Connection", E::StaleConnection, closes()),
        ("Secure Connection - TLS Required", E::TlsRequired, fatal()),
        ("Connection throttling is active. Please try again later.", E::Throttled, closes()),
        ("Failed Account Registration", E::FailedAccountRegistration, closes()),
        ("attempted to connect to route port", E::WrongPort("route port".into()), closes()),
        ("attempted to connect to leaf node port", E::WrongPort("leaf node port".into()), closes()),
        ("attempted to connect to gateway port", E::WrongPort("gateway port".into()), closes()),
        ("attempted to connect to wrong port", E::WrongPort("wrong port".into()), closes()),
        ("Slow Consumer", E::SlowConsumer, closes()),
        ("Parser Error", E::ParserError, closes()),
        ("Something New", E::Other("Something New".into()), open()),
    ];
    for (text, error, kind) in table {
        let read = ServerError::parse(text.as_bytes());
        assert_eq!(read, error, "{text}");
        assert_eq!(read.to_text(), text);
        let found = Kind {
            closes: read.closes_connection(),
            auth: read.is_auth(),
            expired: read.is_expired(),
            fatal: read.is_fatal(),
        };
        assert_eq!(found, kind, "{text}");
        let full = matches!(read, E::MaxConnections | E::MaxAccountConnections | E::Throttled);
        assert_eq!(read.is_full(), full, "{text}");
        assert!(!read.to_string().is_empty());
    }
}

#[test]
fn error_texts_match_by_prefix_in_any_case() {
    use ServerError as E;
    let permission = |subject: &str| E::PublishPermission { subject: subject.into() };
    let table: &[(&[u8], E)] = &[
        (b"AUTHORIZATION VIOLATION", E::AuthorizationViolation),
        (b" stale connection (pings)", E::StaleConnection),
        (b"Authorization Timeout", E::AuthenticationTimeout),
        (b"Connection throttling is active", E::Throttled),
        (b"Invalid Client Protocol", E::InvalidClientProtocol),
        (b"Maximum Connections Exceeded", E::MaxConnections),
        (b"permissions violation for publish to \"Foo.Bar\" now", permission("Foo.Bar")),
        (b"Permissions Violation for Publish to Foo", permission("Foo")),
        (
            br#"Permissions Violation for Publish to "a\"b\\c\x07\u00e9\U0001f600""#,
            permission("a\"b\\c\u{7}\u{e9}\u{1f600}"),
        ),
        (br#"Permissions Violation for Publish to "\xff""#, permission("\u{fffd}")),
        (
            b"Permissions Violation for Publish to ",
            E::Other("Permissions Violation for Publish to".into()),
        ),
        (b"", E::Other(String::new())),
        (b"\xff", E::Other("\u{fffd}".into())),
    ];
    for (text, expected) in table {
        assert_eq!(ServerError::parse(text), *expected, "{:?}", text.escape_ascii().to_string());
    }
    let older = b"Permissions Violation for Subscription to \"a\" (sid 7)";
    assert_eq!(
        ServerError::parse(older),
        E::SubscribePermission {
            subject: "a".into(),
            queue: None,
            sid: Some(7),
            too_many_tokens: false
        }
    );
    let odd = br#"Permissions Violation for Subscription to "a" using queue "q q" (sid "x1")"#;
    assert_eq!(
        ServerError::parse(odd),
        E::SubscribePermission {
            subject: "a".into(),
            queue: Some("q q".into()),
            sid: None,
            too_many_tokens: false
        }
    );
}
