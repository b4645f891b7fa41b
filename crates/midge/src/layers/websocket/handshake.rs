//! The HTTP request that begins a WebSocket, and the answer to it.

use data_encoding::BASE64;
use midge_proto::{DisconnectCause, Scheme, ServerUrl};

use crate::OptionsError;

/// RFC 6455, section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A longer answer is no answer.
const MAX_ANSWER: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const OFFER: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

/// Headers that the handshake itself sets.
const RESERVED: [&str; 7] = [
    "connection",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "upgrade",
];

/// A header that the application adds must not be able to add others.
pub(super) fn check_header(name: &str, value: &str) -> Result<(), String> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let refuse = |why: &str| Err(format!("`{name}` {why}"));
    if name.is_empty() || !name.bytes().all(token) {
        return Err(format!("{name:?} is not the name of a header"));
    }
    if RESERVED.iter().any(|reserved| reserved.eq_ignore_ascii_case(name)) {
        return refuse("is set by the handshake itself");
    }
    if !value.bytes().all(|byte| byte == b'\t' || byte == b' ' || byte.is_ascii_graphic()) {
        return refuse("has a value with control or non-ASCII characters");
    }
    Ok(())
}

/// It goes into the request line as it is.
pub(super) fn check_path(path: &str) -> Result<(), OptionsError> {
    match !path.is_empty() && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(OptionsError::WebSocketPath(path.to_owned())),
    }
}

/// What was agreed on for compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deflate {
    pub(super) server_keeps_context: bool,
}

pub(super) struct Handshake {
    request: String,
    /// What the server must answer to our key.
    accept: String,
    offered_deflate: bool,
}

impl Handshake {
    pub(super) fn new(
        server: &ServerUrl,
        path: &str,
        headers: &[(String, String)],
        deflate: bool,
        key: [u8; 16],
    ) -> Self {
        let key = BASE64.encode(&key);
        let accept = BASE64.encode(&sha1_smol::Sha1::from(format!("{key}{GUID}")).digest().bytes());
        // A fragment is not for the server.
        let path = path.split('#').next().unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        let mut request = format!("GET {slash}{path} HTTP/1.1\r\n");
        let mut add = |name: &str, value: &str| {
            request.extend([name, ": ", value, "\r\n"]);
        };
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            add("Host", &host(server));
        }
        add("Upgrade", "websocket");
        add("Connection", "Upgrade");
        add("Sec-WebSocket-Key", &key);
        add("Sec-WebSocket-Version", "13");
        if deflate {
            add("Sec-WebSocket-Extensions", OFFER);
        }
        for (name, value) in headers {
            add(name, value);
        }
        request.push_str("\r\n");
        Self { request, accept, offered_deflate: deflate }
    }

    pub(super) fn request(&self) -> &[u8] {
        self.request.as_bytes()
    }

    /// The length of the server's answer, and what it agrees to. `None` while it is not here
    /// whole; an error says why there is no WebSocket.
    pub(super) fn answer(
        &self,
        bytes: &[u8],
    ) -> Result<Option<(usize, Option<Deflate>)>, DisconnectCause> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length <= MAX_ANSWER => length,
            Ok(httparse::Status::Partial) if bytes.len() < MAX_ANSWER => return Ok(None),
            Ok(_) => return Err(fault("the server's answer is too long")),
            Err(error) => {
                return Err(fault(format!(
                    "the server does not answer as HTTP: is this its port for WebSockets? ({error})"
                )));
            }
        };
        let code = response.code.unwrap_or_default();
        if code != 101 {
            let reason = response.reason.unwrap_or_default().to_owned();
            return Err(DisconnectCause::WebSocketRefused { code, reason });
        }
        let values = |name: &'static str| {
            response
                .headers
                .iter()
                .filter(move |header| header.name.eq_ignore_ascii_case(name))
                .filter_map(|header| str::from_utf8(header.value).ok())
        };
        let has = |name, wanted: &str| {
            values(name)
                .flat_map(|value| value.split(','))
                .any(|value| value.trim().eq_ignore_ascii_case(wanted))
        };
        if !has("upgrade", "websocket") || !has("connection", "upgrade") {
            return Err(fault("the server answered without an upgrade to WebSocket"));
        }
        if values("sec-websocket-accept").next().map(str::trim) != Some(&self.accept) {
            return Err(fault("the server answered to another key: it may be a cache"));
        }
        if values("sec-websocket-protocol").next().is_some() {
            return Err(fault("the server chose a subprotocol that was not offered"));
        }
        let mut deflate = None;
        for extension in values("sec-websocket-extensions").flat_map(|value| value.split(',')) {
            if deflate.is_some() || !self.offered_deflate {
                let text = format!("the server chose an extension too many: {extension}");
                return Err(fault(text));
            }
            deflate = Some(agree(extension).map_err(fault)?);
        }
        Ok(Some((length, deflate)))
    }
}

fn fault(text: impl Into<String>) -> DisconnectCause {
    DisconnectCause::WebSocket(text.into())
}

/// What the server says to the offer of permessage-deflate.
fn agree(extension: &str) -> Result<Deflate, String> {
    let mut parts = extension.split(';').map(str::trim);
    let mut deflate = Deflate { server_keeps_context: true };
    let mut known =
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("permessage-deflate"));
    for parameter in parts {
        match parameter {
            "server_no_context_takeover" => deflate.server_keeps_context = false,
            // That is how it is in any case.
            "client_no_context_takeover" => {}
            // Every window can be read with the largest one.
            _ => known &= parameter.starts_with("server_max_window_bits="),
        }
    }
    match known {
        true => Ok(deflate),
        false => Err(format!("the server chose an extension that was not offered: {extension}")),
    }
}

fn host(server: &ServerUrl) -> String {
    let host = match server.host() {
        host if host.contains(':') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let default = if server.scheme() == Scheme::Wss { 443 } else { 80 };
    match server.port() {
        port if port == default => host,
        port => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(url: &str, deflate: bool) -> Handshake {
        let headers = [("X-Token".to_owned(), "a b".to_owned())];
        // The example of RFC 6455, section 1.3.
        let key = *b"the sample nonce";
        let server = ServerUrl::parse(url).unwrap();
        Handshake::new(&server, server.path(), &headers, deflate, key)
    }

    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n\
        Connection: keep-alive, Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

    #[test]
    fn the_request_is_that_of_the_rfc_with_the_callers_headers() {
        for (url, line, host) in [
            ("ws://a", "GET / ", "a"),
            ("ws://a:8080/p/q?r=1#s", "GET /p/q?r=1 ", "a:8080"),
            ("ws://a?r", "GET /?r ", "a"),
            ("wss://[::1]:443", "GET / ", "[::1]"),
            ("wss://a:80", "GET / ", "a:80"),
        ] {
            let handshake = handshake(url, false);
            assert_eq!(
                str::from_utf8(handshake.request()).unwrap(),
                format!(
                    "{line}HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
                     Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     Sec-WebSocket-Version: 13\r\nX-Token: a b\r\n\r\n"
                )
            );
        }
        let offer = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                     client_no_context_takeover\r\n";
        assert!(handshake("ws://a", true).request.contains(offer));
    }

    #[test]
    fn the_answer_is_read_once_it_is_whole() {
        let answer = format!("{ANSWER}\r\n");
        let handshake = handshake("ws://a", true);
        for end in 0..answer.len() {
            assert_eq!(handshake.answer(&answer.as_bytes()[..end]), Ok(None));
        }
        let more = format!("{answer}\u{2}frames");
        assert_eq!(handshake.answer(more.as_bytes()), Ok(Some((answer.len(), None))));
    }

    #[test]
    fn compression_is_what_the_server_chooses_of_the_offer() {
        let answer = |offered, chosen: &str| {
            let answer = format!("{ANSWER}Sec-WebSocket-Extensions: {chosen}\r\n\r\n");
            handshake("ws://a", offered).answer(answer.as_bytes()).map(|answer| answer.unwrap().1)
        };
        let deflate = |server_keeps_context| Ok(Some(Deflate { server_keeps_context }));
        assert_eq!(answer(true, OFFER), deflate(false));
        assert_eq!(answer(true, "permessage-deflate"), deflate(true));
        assert_eq!(answer(true, "permessage-deflate;server_max_window_bits=10"), deflate(true));
        assert!(answer(true, "permessage-deflate; client_max_window_bits=10").is_err());
        assert!(answer(true, "permessage-deflate, permessage-deflate").is_err());
        assert!(answer(true, "x-webkit-deflate-frame").is_err());
        assert!(answer(false, OFFER).is_err());
    }

    #[test]
    fn an_answer_that_is_none_is_refused_and_named() {
        let refused =
            |answer: &str| handshake("ws://a", false).answer(answer.as_bytes()).unwrap_err();
        for (code, reason) in [(401, ""), (403, "Forbidden"), (503, "No Server"), (200, "OK")] {
            let answer = format!("HTTP/1.1 {code} {reason}\r\nX: y\r\n\r\n");
            let reason = reason.to_owned();
            assert_eq!(refused(&answer), DisconnectCause::WebSocketRefused { code, reason });
        }
        let refused = |answer: &str| refused(answer).to_string();
        assert!(refused("INFO {\"server_id\":\"S\"}\r\n").contains("port for WebSockets"));
        assert!(refused(&format!("{}\r\n", ANSWER.replace("s3p", "s3q"))).contains("key"));
        assert!(refused(&format!("{}\r\n", ANSWER.replace("Upgrade:", "X:"))).contains("upgrade"));
        assert!(refused(&format!("{ANSWER}Sec-WebSocket-Protocol: x\r\n\r\n")).contains("sub"));
        let long = format!("{ANSWER}X: {}", "x".repeat(MAX_ANSWER));
        assert!(refused(&long).contains("too long"));
    }

    #[test]
    fn a_header_cannot_add_others() {
        assert_eq!(check_header("Cookie", "a=b; c"), Ok(()));
        for (name, value) in [
            ("", "x"),
            ("a b", "x"),
            ("a:", "x"),
            ("a", "x\r\nb: y"),
            ("a", "\u{e9}"),
            ("Upgrade", "x"),
            ("SEC-WebSocket-Key", "x"),
        ] {
            assert!(check_header(name, value).is_err(), "{name} {value}");
        }
    }
}
