//! INFO and CONNECT are read as a library for JSON reads them.

use midge_proto::wire::{ConnectInfo, ServerInfo};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

const FLAGS: [&str; 10] = [
    "headers",
    "auth_required",
    "tls_required",
    "tls_verify",
    "tls_available",
    "jetstream",
    "cluster_dynamic",
    "ldm",
    "connect_info",
    "acc_is_sys",
];
const TEXTS: [&str; 11] = [
    "server_id",
    "server_name",
    "version",
    "go",
    "git_commit",
    "host",
    "client_ip",
    "cluster",
    "domain",
    "remote_account",
    "xkey",
];
const OTHERS: [&str; 9] = [
    "max_payload",
    "nonce",
    "connect_urls",
    "ws_connect_urls",
    "proto",
    "port",
    "client_id",
    "api_lvl",
    "from_the_future",
];
const CONNECT_FLAGS: [&str; 6] =
    ["verbose", "pedantic", "echo", "tls_required", "headers", "no_responders"];
const CONNECT_OPTIONS: [&str; 7] = ["name", "user", "pass", "auth_token", "nkey", "sig", "jwt"];

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[a-z:0-9.]{1,12}",
        "\\PC{0,8}",
        vec(any::<char>(), 0..6).prop_map(String::from_iter),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-70_000..70_000_i64).prop_map(Value::from),
        (-1e9..1e9_f64).prop_map(Value::from),
        any_text().prop_map(Value::from),
        vec(any_text(), 0..4).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((any_text(), inner), 0..4).prop_map(|fields| Value::Object(Map::from_iter(fields))),
        ]
    })
}

/// An object with fields of the protocol, most of them of the right type.
fn any_object() -> impl Strategy<Value = Value> {
    let names: Vec<&str> =
        [&FLAGS[..], &TEXTS, &OTHERS, &CONNECT_FLAGS, &CONNECT_OPTIONS, &["protocol", "lang"]]
            .concat();
    let right = prop_oneof![
        (select(&FLAGS[..]), any::<bool>().prop_map(Value::from)),
        (select(&CONNECT_FLAGS[..]), any::<bool>().prop_map(Value::from)),
        (select(&TEXTS[..]), any_text().prop_map(Value::from)),
        (select(&CONNECT_OPTIONS[..]), any_text().prop_map(Value::from)),
        (Just("max_payload"), any::<i64>().prop_map(Value::from)),
        (Just("port"), any::<u16>().prop_map(Value::from)),
        (
            select(&["connect_urls", "ws_connect_urls"][..]),
            vec(any_text(), 0..5).prop_map(Value::from)
        ),
    ];
    let wrong = (select(names), any_value());
    let fields = vec(prop_oneof![4 => right, 1 => wrong], 0..10);
    fields.prop_map(|fields| {
        Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    })
}

/// What an INFO means, from what a library has read of it. `None`: it is refused.
fn reference(json: &Value) -> Option<ServerInfo> {
    let fields = json.as_object()?;
    let field = |name: &str| fields.get(name).filter(|value| !value.is_null());
    let text = |name: &str| field(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let flag = |name: &str| field(name).and_then(Value::as_bool).unwrap_or_default();
    fn integer<T: TryFrom<i128> + Default>(value: Option<&Value>) -> T {
        value.and_then(any_integer).and_then(|number| number.try_into().ok()).unwrap_or_default()
    }
    let urls = |name: &str| {
        let list = field(name).and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    };
    let is_right = ["headers", "auth_required", "tls_required", "tls_available", "ldm"]
        .into_iter()
        .all(|name| field(name).is_none_or(Value::is_boolean))
        && field("nonce").is_none_or(Value::is_string)
        && ["connect_urls", "ws_connect_urls"]
            .into_iter()
            .all(|name| field(name).is_none_or(Value::is_array))
        && field("max_payload").is_none_or(Value::is_i64);
    is_right.then(|| ServerInfo {
        server_id: text("server_id"),
        server_name: text("server_name"),
        version: text("version"),
        go: text("go"),
        git_commit: text("git_commit"),
        proto: integer(field("proto")),
        host: text("host"),
        port: integer(field("port")),
        headers: flag("headers"),
        max_payload: field("max_payload").and_then(Value::as_i64).unwrap_or(-1),
        client_id: integer(field("client_id")),
        client_ip: text("client_ip"),
        auth_required: flag("auth_required"),
        tls_required: flag("tls_required"),
        tls_verify: flag("tls_verify"),
        tls_available: flag("tls_available"),
        nonce: field("nonce").and_then(Value::as_str).map(str::to_owned),
        jetstream: flag("jetstream"),
        ip: text("ip"),
        cluster: text("cluster"),
        cluster_dynamic: flag("cluster_dynamic"),
        domain: text("domain"),
        connect_urls: urls("connect_urls"),
        ws_connect_urls: urls("ws_connect_urls"),
        lame_duck: flag("ldm"),
        connect_info: flag("connect_info"),
        remote_account: text("remote_account"),
        acc_is_sys: flag("acc_is_sys"),
        api_lvl: integer(field("api_lvl")),
        xkey: text("xkey"),
        urls_dropped: 0,
    })
}

fn any_integer(value: &Value) -> Option<i128> {
    value.as_i64().map(i128::from).or(value.as_u64().map(i128::from))
}

/// Whether a server takes it for a CONNECT.
fn is_connect(json: &Value) -> bool {
    let Some(fields) = json.as_object() else { return false };
    fields.iter().all(|(name, value)| match name.as_str() {
        name if CONNECT_FLAGS.contains(&name) => value.is_boolean(),
        name if CONNECT_OPTIONS.contains(&name) => value.is_string() || value.is_null(),
        "lang" | "version" => value.is_string(),
        "protocol" => value.as_u64().is_some_and(|number| number <= 255),
        _ => true,
    })
}

fn agrees(json: &[u8]) {
    let read = serde_json::from_slice::<Value>(json);
    if read.as_ref().is_err_and(|error| error.to_string().contains("out of range")) {
        // Only of a number that is to be shown; here such a number is like any fraction.
        return;
    }
    let shown = String::from_utf8_lossy(json);
    // A library that keeps `-0` apart reads it as a fraction.
    if shown.contains("-0") {
        return;
    }
    let read = read.ok();
    let expected = read.as_ref().and_then(reference);
    assert_eq!(ServerInfo::parse(json).ok(), expected, "{shown}");
    let connect = ConnectInfo::parse(json);
    assert_eq!(connect.is_ok(), read.as_ref().is_some_and(is_connect), "{shown}");
    if let (Ok(connect), Some(read)) = (connect, read) {
        assert_eq!(connect.name.as_deref(), read.get("name").and_then(Value::as_str), "{shown}");
        assert_eq!(Some(connect.echo), read.get("echo").map_or(Some(true), Value::as_bool));
    }
}

proptest! {
    #[test]
    fn any_object_is_read_as_a_library_does(object in any_object(), pretty: bool) {
        let json = if pretty { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) };
        agrees(&json.unwrap());
    }

    #[test]
    fn json_with_a_wrong_byte_is_read_or_refused_as_a_library_does(
        object in any_object(),
        at: prop::sample::Index,
        byte in prop_oneof![any::<u8>(), select(&b"\"\\{}[],:.-+eE0 \n"[..])],
        kind in 0..3,
    ) {
        let mut json = serde_json::to_vec(&object).unwrap();
        let at = at.index(json.len());
        match kind {
            0 => json[at] = byte,
            1 => json.insert(at, byte),
            _ => json.truncate(at),
        }
        agrees(&json);
    }

    #[test]
    fn what_is_written_is_json(text in any_text(), urls in vec(any_text(), 1..3), max_payload: i64) {
        let info = ServerInfo {
            cluster: text.clone(),
            connect_urls: urls.clone(),
            max_payload,
            lame_duck: true,
            api_lvl: 7,
            ..ServerInfo::default()
        };
        let json: Value = serde_json::from_slice(&info.to_json()).unwrap();
        assert_eq!(json["connect_urls"], json!(urls));
        assert_eq!((&json["max_payload"], &json["api_lvl"]), (&json!(max_payload), &json!(7)));
        assert_eq!(json["ldm"], true);
        assert_eq!(json.get("cluster").and_then(Value::as_str).unwrap_or_default(), text);
        assert_eq!(ServerInfo::parse(&info.to_json()), Ok(info));

        let mut out = Vec::new();
        ConnectInfo { pass: Some(text.clone()), lang: text.clone(), ..ConnectInfo::default() }
            .write_json(&mut out);
        let json: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!((&json["pass"], &json["lang"]), (&json!(text), &json!(text)));
        assert!(!out.contains(&b'\n') && !out.contains(&b'\r'));
    }
}

#[test]
fn the_corners_of_json_are_read_as_a_library_does() {
    let texts = [
        r#""\u0041\n\t\r\b\f\/\\\"""#,
        r#""\ud83d\ude00""#,
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83d\u0041""#,
        r#""\ud83dx""#,
        r#""\u00g0""#,
        r#""\u00""#,
        r#""\x""#,
        r#""open"#,
        "\"\u{1}\"",
        "\"\u{7f}\u{80}\u{ffff}\"",
        "01",
        "1.",
        ".5",
        "-",
        "+1",
        "1e",
        "1e+",
        "1E-3",
        "0",
        "0.0",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "-9223372036854775809",
        "18446744073709551615",
        "18446744073709551616",
        "truer",
        "tru",
        "nul",
        "[1,]",
        "[,]",
        "[1 2]",
        "[]",
        "{}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "{\"a\" : [ ] }",
    ];
    for text in texts {
        for name in ["version", "max_payload", "client_id", "nonce", "name", "x"] {
            agrees(format!("{{\"{name}\":{text}}}").as_bytes());
            agrees(format!(" \t\r\n{{ \"x\" : [{text}] ,\n\"{name}\": {text} }} \n").as_bytes());
        }
    }
    for json in
        ["", " ", "{", "{\"", "{\"a\"", "{} {}", "{},", "\u{feff}{}", "null", "\"a\"", "[{}]"]
    {
        agrees(json.as_bytes());
    }
    agrees(b"{\"version\":\"\xff\"}");
    agrees(b"{\"\xc3\x28\":1}");
    for depth in [126, 127, 128, 129] {
        agrees(format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).as_bytes());
        agrees(format!("{}1{}", "{\"x\":".repeat(depth), "}".repeat(depth)).as_bytes());
    }
}
