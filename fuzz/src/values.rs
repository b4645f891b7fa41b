//! Values inside of frames, and URLs: what is read can be written and read again.

use midge_proto::wire::{Decoder, Frame, Limits, ServerError, ServerInfo, Step, encode, grammar};
use midge_proto::{HeaderError, HeaderMap, Headers, ServerUrl};

use super::input::Input;

/// An even first byte: the rest is a header block, read by the view and by the grammar. An odd
/// one: the rest is changes to a map, which is held equal to a plain list.
pub fn headers(data: &[u8]) {
    match data.split_first() {
        Some((first, block)) if first % 2 == 0 => header_block(block),
        Some((_, changes)) => header_map(changes),
        None => {}
    }
}

fn header_block(block: &[u8]) {
    let headers = Headers::from_block(block);
    let entries: Vec<(&str, &[u8])> = headers.iter().collect();
    for (name, value) in &entries {
        assert!(headers.get_all(name).any(|other| other == *value), "{name} is found");
        let text = headers.get_all(name).find_map(|value| std::str::from_utf8(value).ok());
        assert_eq!(headers.get(name), text);
        let other_case = name.to_ascii_uppercase();
        assert_eq!(headers.get_ignore_case(&other_case).is_some(), {
            let same = |other: &str| other.eq_ignore_ascii_case(name);
            entries.iter().any(|(name, value)| same(name) && std::str::from_utf8(value).is_ok())
        });
    }
    let _ = format!("{headers:?}");

    let map = headers.to_map();
    assert!(!map.view().is_malformed(), "a map is always well-formed");
    assert_eq!(map.iter().collect::<Vec<_>>(), entries, "a map has the lines that can be read");
    assert_eq!(map.status(), headers.status());

    let stated = grammar::header_block(block);
    assert_eq!(headers.is_malformed(), stated.is_none(), "view and grammar agree");
    if let Some(stated) = stated {
        let read: Vec<(&[u8], &[u8])> =
            entries.iter().map(|(name, value)| (name.as_bytes(), *value)).collect();
        assert_eq!(read, stated.entries);
        let code = headers.status().map(|status| status.code);
        assert_eq!(code, stated.status.map(|(code, _)| code));
    }
}

fn header_map(changes: &[u8]) {
    let mut input = Input::new(changes);
    let mut map = HeaderMap::new();
    let mut model: Vec<(String, Vec<u8>)> = Vec::new();
    let mut status: Option<(u16, String)> = None;
    while !input.is_empty() {
        let kind = input.byte();
        let name = String::from_utf8_lossy(input.counted());
        let value = if kind % 4 == 2 { &[] } else { input.counted() };
        match kind % 4 {
            0 | 1 => {
                let insert = kind % 4 == 1;
                let result =
                    if insert { map.insert(&name, value) } else { map.append(&name, value) };
                match result {
                    Ok(_) => {
                        if insert {
                            model.retain(|(other, _)| *other != name);
                        }
                        model.push((name.into_owned(), trimmed(value).to_vec()));
                    }
                    Err(HeaderError::EmptyName) => assert!(name.is_empty()),
                    Err(HeaderError::InvalidName { position, .. }) => {
                        let byte = name.as_bytes()[position];
                        assert!(!byte.is_ascii_graphic() || byte == b':');
                    }
                    Err(HeaderError::InvalidValue { position, .. }) => {
                        assert!(matches!(value[position], b'\r' | b'\n'));
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            2 => {
                let before = model.len();
                model.retain(|(other, _)| *other != name);
                assert_eq!(map.remove(&name), model.len() < before);
            }
            _ => {
                let code = u16::from(kind) * 5;
                let text = String::from_utf8_lossy(value);
                match map.set_status(code, &text) {
                    Ok(_) => {
                        let seen = String::from_utf8_lossy(trimmed(text.as_bytes())).into_owned();
                        status = Some((code, seen));
                    }
                    Err(HeaderError::InvalidStatus { code }) => assert!(code > 999),
                    Err(HeaderError::InvalidValue { .. }) => assert!(text.contains(['\r', '\n'])),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        let seen: Vec<(String, Vec<u8>)> =
            map.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect();
        assert_eq!(seen, model);
        let seen = map.status().map(|status| (status.code, status.description.to_owned()));
        assert_eq!(seen, status);
        assert_eq!(
            (map.len(), map.is_empty()),
            (model.len(), model.is_empty() && status.is_none())
        );
        assert!(grammar::header_block(map.as_bytes()).is_some(), "a map is always well-formed");
    }
}

/// Readers trim blanks around values.
fn trimmed(value: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = value.iter().take_while(|byte| blank(byte)).count();
    let end = value.len() - value[start..].iter().rev().take_while(|byte| blank(byte)).count();
    &value[start..end]
}

/// The JSON of an INFO: what was read is the same once written and read again, also through a
/// frame, and lists are bounded.
pub fn info(data: &[u8]) {
    let Ok(info) = ServerInfo::parse(data) else { return };
    assert!(info.connect_urls.len() <= midge_proto::wire::MAX_URLS);
    assert!(info.ws_connect_urls.len() <= midge_proto::wire::MAX_URLS);
    assert_eq!(info.payload_limit().is_none(), info.max_payload < 0);
    let json = info.to_json();
    assert!(!json.contains(&b'\n') && !json.contains(&b'\r'), "the JSON is on one line");
    let expected = ServerInfo { urls_dropped: 0, ..info };
    assert_eq!(ServerInfo::parse(&json), Ok(expected.clone()));

    let mut frame = Vec::new();
    encode::info(&mut frame, &json);
    let limits = Limits { control_line: 0, info: frame.len(), frame: 0 };
    match Decoder::new(limits).decode(&frame) {
        Ok(Step::Frame { frame: Frame::Info(span), len }) if len == frame.len() => {
            assert_eq!(ServerInfo::parse(&frame[span.range()]), Ok(expected));
        }
        other => panic!("{other:?}"),
    }
}

/// The text of a `-ERR`: what was read is the same once written and read again, also through a
/// frame.
pub fn server_error(data: &[u8]) {
    let error = ServerError::parse(data);
    let text = error.to_text();
    assert_eq!(ServerError::parse(text.as_bytes()), error, "{text:?}");
    let _ = (error.is_fatal(), error.to_string());
    assert!(!error.is_auth() || error.closes_connection(), "an auth error ends the connection");

    let mut frame = Vec::new();
    encode::err(&mut frame, &text);
    match Decoder::new(Limits::default()).decode(&frame) {
        Ok(Step::Frame { frame: Frame::Err(span), len }) => {
            assert_eq!(len, frame.len(), "one frame");
            if !text.contains(['\r', '\n']) {
                assert_eq!(ServerError::parse(&frame[span.range()]), error);
            }
        }
        other => assert!(frame.len() > Limits::default().control_line, "{other:?}"),
    }
}

/// The URL of a server: what is shown leads to the same place and shows no secret.
pub fn url(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(url) = ServerUrl::parse(&text) else { return };
    assert!(!url.host().is_empty() && url.port() > 0);
    assert!(url.password().is_none() || url.user().is_some());
    assert!(url.path().bytes().all(|byte| byte.is_ascii_graphic()), "a path splits a request");
    let shown = url.to_string();
    assert_eq!(format!("{url:?}"), shown);
    let again = match ServerUrl::parse(&shown) {
        Ok(again) => again,
        Err(error) => panic!("{shown:?} is shown and cannot be read: {error}"),
    };
    assert_eq!(again.user(), None, "{shown:?} shows a user or token");
    let parts = |url: &ServerUrl| {
        (url.scheme(), url.host().to_owned(), url.port(), url.path().to_owned(), url.ip())
    };
    assert_eq!(parts(&again), parts(&url), "{shown:?}");
    assert!(again.same_place(&url) && url.same_place(&again));
    assert_eq!(again.to_string(), shown);
}
