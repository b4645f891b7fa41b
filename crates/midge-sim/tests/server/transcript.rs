//! What clients read, without what differs from server to server.

use midge_proto::wire::{Decoder, Frame, Limits, Step};

/// What one client has read, and whether the server closed the connection then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) frames: Vec<String>,
    pub(crate) closed: bool,
}

/// The fields of INFO that say what a server is like, not which one it is.
const KEPT: [&str; 8] = [
    "headers",
    "max_payload",
    "proto",
    "auth_required",
    "connect_info",
    "remote_account",
    "client_ip",
    "ldm",
];

/// The frames in `bytes`: INFO without ids, without PINGs of the server, and the deliveries of one
/// publish in the order of their text, since a server orders them by chance.
///
/// # Panics
///
/// When there are bytes that are no frame, or a part of one.
pub(crate) fn frames(bytes: &[u8]) -> Vec<String> {
    let mut decoder = Decoder::new(Limits::default());
    let mut rest = bytes;
    let mut frames: Vec<String> = Vec::new();
    let mut last_message: Option<([&[u8]; 3], usize)> = None;
    while !rest.is_empty() {
        let shown = String::from_utf8_lossy(rest);
        let Step::Frame { frame, len } = decoder.decode(rest).expect("a server's frame") else {
            panic!("a part of a frame: {shown:?}");
        };
        let text = String::from_utf8_lossy(&rest[..len]).into_owned();
        match frame {
            Frame::Ping => {}
            Frame::Info(json) => frames.push(info(&rest[json.range()])),
            Frame::Message(layout) => {
                let headers = layout.headers.map_or(&b""[..], |headers| &rest[headers.range()]);
                let (subject, payload) = (layout.subject.range(), layout.payload.range());
                let message = [&rest[subject], headers, &rest[payload]];
                let start = match last_message {
                    Some((same, start)) if same == message => start,
                    _ => frames.len(),
                };
                frames.push(text);
                frames[start..].sort();
                last_message = Some((message, start));
                rest = &rest[len..];
                continue;
            }
            _ => frames.push(text),
        }
        last_message = None;
        rest = &rest[len..];
    }
    frames
}

fn info(json: &[u8]) -> String {
    let info: serde_json::Value = serde_json::from_slice(json).expect("JSON");
    let kept = KEPT.iter().filter_map(|&name| Some(format!("{name}={}", info.get(name)?)));
    let kept = kept.collect::<Vec<_>>().join(" ");
    match info.get("connect_urls").and_then(|urls| urls.as_array()) {
        Some(urls) => format!("INFO {kept} {} urls", urls.len()),
        None => format!("INFO {kept}"),
    }
}
