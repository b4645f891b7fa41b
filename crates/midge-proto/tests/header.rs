//! Headers to send and headers that arrived (ADR-4).

use midge_proto::{HeaderError, HeaderMap, Headers, Status};
use proptest::prelude::*;

/// Name and value of a line.
type Entry<'a> = (&'a str, &'a [u8]);

fn block_of(build: impl FnOnce(&mut HeaderMap) -> Result<(), HeaderError>) -> String {
    let mut map = HeaderMap::new();
    build(&mut map).expect("the headers are valid");
    String::from_utf8(map.as_bytes().to_vec()).expect("the values are UTF-8")
}

#[test]
fn the_map_holds_the_block_that_is_sent() {
    assert_eq!(block_of(|_| Ok(())), "NATS/1.0\r\n\r\n");
    let block = block_of(|map| {
        map.append("A", "1")?.append("b", "")?.append("A", b"\xc3\xbc")?;
        Ok(())
    });
    assert_eq!(block, "NATS/1.0\r\nA: 1\r\nb: \r\nA: ü\r\n\r\n");
    let block = block_of(|map| {
        map.append("A", "1")?.set_status(503, "")?;
        Ok(())
    });
    assert_eq!(block, "NATS/1.0 503\r\nA: 1\r\n\r\n");
    let block = block_of(|map| {
        map.set_status(4, "x")?.set_status(404, "No Messages")?.append("A", "1")?;
        Ok(())
    });
    assert_eq!(block, "NATS/1.0 404 No Messages\r\nA: 1\r\n\r\n");
}

#[test]
fn order_case_and_repeated_names_are_kept() {
    let mut map = HeaderMap::new();
    map.append("b", "1").unwrap().append("a", "2").unwrap().append("B", "3").unwrap();
    map.append("b", "4").unwrap();
    let lines: Vec<_> = map.iter().collect();
    assert_eq!(lines, [("b", &b"1"[..]), ("a", b"2"), ("B", b"3"), ("b", b"4")]);
    assert_eq!(map.get("b"), Some("1"));
    assert_eq!(map.get_all("b").collect::<Vec<_>>(), [b"1", b"4"]);
    assert_eq!((map.len(), map.is_empty()), (4, false));
    assert_eq!(map.view().get_ignore_case("A"), Some("2"));
}

#[test]
fn insert_replaces_and_remove_removes_exactly_one_name() {
    let mut map = HeaderMap::new();
    map.append("a", "1").unwrap().append("ab", "2").unwrap().append("a", "3").unwrap();
    map.insert("a", "4").unwrap();
    assert_eq!(map.iter().collect::<Vec<_>>(), [("ab", &b"2"[..]), ("a", b"4")]);
    assert!(!map.remove("A"));
    assert!(!map.remove("a: 4\r\nab"));
    assert!(!map.remove(""));
    assert!(map.remove("ab"));
    assert!(map.remove("a"));
    assert!(!map.remove("a"));
    assert!(map.is_empty());
    assert_eq!(map, HeaderMap::new());
}

#[test]
fn clear_forgets_lines_and_status() {
    let mut map = HeaderMap::with_capacity(100);
    map.set_status(503, "x").unwrap().append("a", "1").unwrap();
    assert!(!map.is_empty());
    map.clear();
    assert!(map.is_empty());
    assert_eq!(map.as_bytes(), b"NATS/1.0\r\n\r\n");
    map.append("b", "2").unwrap();
    assert_eq!(map.as_bytes(), b"NATS/1.0\r\nb: 2\r\n\r\n");
}

#[test]
fn what_would_break_the_block_is_refused_and_changes_nothing() {
    let mut map = HeaderMap::new();
    map.append("a", "1").unwrap();
    let before = map.clone();
    let name = |name: &str, position| HeaderError::InvalidName { name: name.into(), position };
    let value = |name: &str, position| HeaderError::InvalidValue { name: name.into(), position };
    let table = [
        ("", "x", HeaderError::EmptyName),
        ("a b", "x", name("a b", 1)),
        ("a:", "x", name("a:", 1)),
        ("a\r\n", "x", name("a\r\n", 1)),
        ("ä", "x", name("ä", 0)),
        ("a\u{7f}", "x", name("a\u{7f}", 1)),
        ("a", "x\r", value("a", 1)),
        ("a", "\nPING", value("a", 0)),
    ];
    for (header, text, error) in table {
        assert_eq!(map.append(header, text).unwrap_err(), error);
        assert_eq!(map.insert(header, text).unwrap_err(), error);
    }
    assert_eq!(map.set_status(503, "a\nb").unwrap_err(), value("", 1));
    assert_eq!(map.set_status(1000, "").unwrap_err(), HeaderError::InvalidStatus { code: 1000 });
    assert_eq!(map, before);
}

#[test]
fn a_status_line_is_read_with_and_without_description() {
    let status = |code, description| Some(Status { code, description });
    let table: &[(&[u8], Option<Status<'_>>, bool)] = &[
        (b"NATS/1.0\r\n\r\n", None, false),
        (b"NATS/1.0 \r\n\r\n", None, false),
        (b"NATS/1.0 503\r\n\r\n", status(503, ""), false),
        (b"NATS/1.0 404 No Messages\r\n\r\n", status(404, "No Messages"), false),
        (b"NATS/1.0\t 100  Idle Heartbeat \t\r\n\r\n", status(100, "Idle Heartbeat"), false),
        (b"NATS/1.0 503x\r\n\r\n", status(503, "x"), false),
        (b"NATS/1.0 408 \xff\r\n\r\n", status(408, "\u{fffd}"), false),
        (b"NATS/1.0 50\r\n\r\n", None, true),
        (b"NATS/1.0 5030\r\n\r\n", None, true),
        (b"NATS/1.0 abc\r\n\r\n", None, true),
        (b"NATS/1.0503\r\n\r\n", None, true),
        (b"NATS/2.0 503\r\n\r\n", None, true),
        (b"NATS/1.0 503 a\rb\r\n\r\n", None, true),
    ];
    for (block, expected, malformed) in table {
        let headers = Headers::from_block(block);
        assert_eq!(headers.status(), *expected, "{:?}", block.escape_ascii().to_string());
        assert_eq!(headers.is_malformed(), *malformed, "{:?}", block.escape_ascii().to_string());
    }
}

#[test]
fn blocks_that_no_server_checked_are_read_as_far_as_possible() {
    let table: &[(&[u8], &[Entry<'_>])] = &[
        (b"", &[]),
        (b"ab:c", &[]),
        (b"\r\n", &[]),
        (b"NATS/2.0\r\na: 1\r\n\r\n", &[("a", b"1")]),
        (b"NATS/1.0\r\na: 1", &[("a", b"1")]),
        (b"NATS/1.0\r\na: 1\r\n", &[("a", b"1")]),
        (b"NATS/1.0\na: 1\nb: 2\n\n", &[("a", b"1"), ("b", b"2")]),
        (b"NATS/1.0\r\na: 1\r\n folded\r\nb: 2\r\n\r\n", &[("a", b"1"), ("b", b"2")]),
        (b"NATS/1.0\r\n: 1\r\nc d: 2\r\nx\r\n\xff: 3\r\ne: 5\r\n\r\n", &[("e", b"5")]),
        (b"NATS/1.0\r\na: 1\r2\r\nb: 3\r\n\r\n", &[("b", b"3")]),
        (b"NATS/1.0\r\na: 1\r\n\r\nb: 2\r\n\r\n", &[("a", b"1")]),
    ];
    for (block, expected) in table {
        let headers = Headers::from_block(block);
        assert_eq!(headers.iter().collect::<Vec<_>>(), *expected);
        assert!(headers.is_malformed(), "{:?}", block.escape_ascii().to_string());
        assert_eq!(headers.as_bytes(), *block);
    }
}

#[test]
fn values_are_trimmed_and_may_be_any_bytes() {
    let headers = Headers::from_block(
        b"NATS/1.0\r\na:1\r\nb: \t x y \t\r\nc:\r\nd: \xff\r\nd: ok\r\ne: k: v\r\nf: \0\r\n\r\n",
    );
    assert!(!headers.is_malformed());
    assert_eq!(headers.get("a"), Some("1"));
    assert_eq!(headers.get("b"), Some("x y"));
    assert_eq!(headers.get("c"), Some(""));
    assert_eq!(headers.get("d"), Some("ok"));
    assert_eq!(headers.get_bytes("d"), Some(&b"\xff"[..]));
    assert_eq!(headers.get("e"), Some("k: v"));
    assert_eq!(headers.get("e: k"), None);
    assert_eq!(headers.get_bytes("f"), Some(&b"\0"[..]));
    assert_eq!(headers.get("A"), None);
    assert_eq!(headers.get_ignore_case("A"), Some("1"));
    assert_eq!(headers.get_ignore_case("D"), Some("ok"));
}

#[test]
fn the_canonical_form_is_looked_up_by_any_form() {
    let mut map = HeaderMap::new();
    map.append("nats-msg-id", "1").unwrap().append("Nats-Msg-Id", "2").unwrap();
    for name in ["nats-msg-id", "NATS-MSG-ID", "Nats-Msg-Id"] {
        assert_eq!(map.view().get_canonical(name), Some("2"), "{name}");
    }
    assert_eq!(map.view().get_canonical("Nats-Msg"), None);
    map.remove("Nats-Msg-Id");
    assert_eq!(map.view().get_canonical("nats-msg-id"), None, "its line is in another form");
}

fn entries() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    let value = proptest::collection::vec(
        any::<u8>().prop_filter("line end", |byte| !b"\r\n".contains(byte)),
        0..20,
    );
    proptest::collection::vec(("[!-9;-~]{1,12}|[ab]", value), 0..8)
}

fn trimmed(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| !b" \t".contains(byte);
    match (value.iter().position(blank), value.iter().rposition(blank)) {
        (Some(first), Some(last)) => &value[first..=last],
        _ => &[],
    }
}

proptest! {
    #[test]
    fn what_is_appended_is_read_back(
        entries in entries(),
        status in proptest::option::of((0..1000_u16, "[!-~]([ -~]*[!-~])?")),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in &entries {
            map.append(name, value).unwrap();
        }
        if let Some((code, description)) = &status {
            map.set_status(*code, description).unwrap();
        }
        let headers = Headers::from_block(map.as_bytes());
        prop_assert!(!headers.is_malformed());
        let expected: Vec<(&str, &[u8])> =
            entries.iter().map(|(name, value)| (name.as_str(), trimmed(value))).collect();
        prop_assert_eq!(headers.iter().collect::<Vec<_>>(), expected);
        let read = headers.status().map(|status| (status.code, status.description.to_owned()));
        prop_assert_eq!(read, status);
        let copy = headers.to_map();
        prop_assert_eq!(copy.iter().collect::<Vec<_>>(), headers.iter().collect::<Vec<_>>());
        prop_assert_eq!(copy.status(), headers.status());
    }

    #[test]
    fn removing_and_inserting_is_as_on_a_list(entries in entries(), name in "[ab]") {
        let mut map = HeaderMap::new();
        for (name, value) in &entries {
            map.append(name, value).unwrap();
        }
        let mut list: Vec<(String, Vec<u8>)> = entries.iter()
            .filter(|(other, _)| *other != name)
            .map(|(name, value)| (name.clone(), trimmed(value).to_vec()))
            .collect();
        let read = |map: &HeaderMap| -> Vec<(String, Vec<u8>)> {
            map.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
        };
        prop_assert_eq!(map.remove(&name), list.len() < entries.len());
        prop_assert_eq!(read(&map), list.clone());
        map.insert(&name, "new").unwrap().insert(&name, "newer").unwrap();
        list.push((name, b"newer".to_vec()));
        prop_assert_eq!(read(&map), list);
    }
}
