//! WebSocket (RFC 6455) as a layer: a byte stream in binary messages.
//!
//! | concern | file |
//! |---|---|
//! | the request, and what the server answers | `handshake.rs` |
//! | heads of frames, masks | `frames.rs` |
//! | permessage-deflate (RFC 7692) | `deflate.rs` |
//!
//! Messages of NATS and of WebSocket are not aligned: what one write takes from the core becomes
//! one message, and payloads are handed on as they come, however long their frames claim to be.

mod deflate;
mod frames;
mod handshake;

use std::fmt;
use std::sync::Arc;

use midge_proto::{DisconnectCause, ServerUrl};

use super::{Buffer, Layer};
use crate::OptionsError;
use crate::auth::Failure;
use deflate::{Deflater, Inflater};
use frames::{Head, MAX_CONTROL, Masks, Opcode};
use handshake::Handshake;

/// Less than this is not worth compressing.
const MIN_COMPRESSED: usize = 64;

/// Codes of RFC 6455, section 7.4.1.
const NORMAL: u16 = 1000;
const PROTOCOL_ERROR: u16 = 1002;
const UNSUPPORTED: u16 = 1003;
const NO_CODE: u16 = 1005;
const BAD_DATA: u16 = 1007;

type Headers = Vec<(String, String)>;

/// Gives headers for one attempt to connect to a server.
pub(crate) type HeaderProvider = dyn Fn(&ServerUrl) -> Result<Headers, Failure> + Send + Sync;

/// What the application has chosen.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) headers: Headers,
    pub(crate) header_provider: Option<Arc<HeaderProvider>>,
    /// For servers whose URL has none.
    pub(crate) path: Option<String>,
    pub(crate) compression: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { headers: Vec::new(), header_provider: None, path: None, compression: true }
    }
}

impl Settings {
    pub(super) fn check(&self) -> Result<(), OptionsError> {
        if let Some(path) = &self.path {
            handshake::check_path(path)?;
        }
        for (name, value) in &self.headers {
            handshake::check_header(name, value).map_err(OptionsError::WebSocketHeader)?;
        }
        Ok(())
    }

    /// The first option that has been set and means nothing without a WebSocket.
    pub(super) fn set(&self) -> Option<&'static str> {
        let set = [
            ("websocket_header", !self.headers.is_empty()),
            ("websocket_header_provider", self.header_provider.is_some()),
            ("websocket_path", self.path.is_some()),
        ];
        set.into_iter().find_map(|(option, set)| set.then_some(option))
    }

    /// The headers of one attempt. Those that the application gives for it take the place of fixed
    /// ones of the same name.
    fn headers_for(&self, server: &ServerUrl) -> Result<Headers, String> {
        let Some(provider) = &self.header_provider else { return Ok(self.headers.clone()) };
        let given = provider(server).map_err(|error| error.to_string())?;
        for (name, value) in &given {
            handshake::check_header(name, value)?;
        }
        let replaced = |name: &str| given.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        let fixed = self.headers.iter().filter(|(name, _)| !replaced(name)).cloned();
        Ok(fixed.chain(given.iter().cloned()).collect())
    }
}

/// Values of headers are not shown: they may be secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Settings")
            .field("headers", &names)
            .field("header_provider", &self.header_provider.is_some())
            .field("path", &self.path)
            .field("compression", &self.compression)
            .finish()
    }
}

/// The layer of a transport to `server`.
pub(super) fn start(
    settings: &Settings,
    server: &ServerUrl,
) -> Result<Box<dyn Layer>, DisconnectCause> {
    let mut masks = Masks::new();
    let mut key = [0; 16];
    for part in key.chunks_exact_mut(4) {
        part.copy_from_slice(&masks.next()?);
    }
    let headers = settings.headers_for(server).map_err(|why| {
        DisconnectCause::Credentials(format!("`websocket_header_provider`: {why}"))
    })?;
    let path = match (server.path(), &settings.path) {
        ("", Some(path)) => path,
        (path, _) => path,
    };
    let handshake = Handshake::new(server, path, &headers, settings.compression, key);
    Ok(Box::new(WebSocket {
        handshake: Some(handshake),
        masks,
        frame: None,
        message: None,
        inflater: None,
        deflater: None,
        pong: None,
        received_close: None,
        sent_close: false,
        fault: None,
    }))
}

struct WebSocket {
    /// `None` once it is over.
    handshake: Option<Handshake>,
    masks: Masks,
    /// The data frame that is being received.
    frame: Option<Frame>,
    /// The message that is being received, over one frame or several.
    message: Option<Message>,
    inflater: Option<Inflater>,
    deflater: Option<Deflater>,
    /// The payload of the last PING, which is not answered yet. RFC 6455 asks for no answer to
    /// those before it.
    pong: Option<Vec<u8>>,
    received_close: Option<DisconnectCause>,
    sent_close: bool,
    fault: Option<DisconnectCause>,
}

#[derive(Clone, Copy)]
struct Frame {
    left: u64,
    last: bool,
}

#[derive(Clone, Copy)]
struct Message {
    compressed: bool,
}

/// A break of the protocol: the code that the server hears, and what it was.
type Break = (u16, &'static str);

impl WebSocket {
    /// Reads the server's answer to the request. False when more of it is needed.
    fn shake_hands(&mut self, input: &mut Buffer) -> Result<bool, DisconnectCause> {
        let Some(handshake) = &self.handshake else { return Ok(true) };
        let Some((length, deflate)) = handshake.answer(input.unread())? else { return Ok(false) };
        input.consume(length);
        if let Some(deflate) = deflate {
            self.inflater = Some(Inflater::new(deflate.server_keeps_context));
            self.deflater = Some(Deflater::new());
        }
        self.handshake = None;
        Ok(true)
    }

    /// Does what comes next, and gives the bytes of `room` that it filled. `None`: more input or
    /// more room is needed.
    fn step(&mut self, input: &mut Buffer, room: &mut [u8]) -> Result<Option<usize>, Break> {
        match (self.frame, self.message) {
            (Some(frame), Some(message)) => self.payload(frame, message, input, room),
            _ if self.received_close.is_some() => Ok(None),
            _ => self.head(input),
        }
    }

    fn payload(
        &mut self,
        mut frame: Frame,
        message: Message,
        input: &mut Buffer,
        room: &mut [u8],
    ) -> Result<Option<usize>, Break> {
        let here = input.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
        let bytes = &input.unread()[..here];
        let whole = frame.left == here as u64;
        let (taken, given, done) = match &mut self.inflater {
            Some(inflater) if message.compressed => inflater
                .inflate(bytes, room, whole && frame.last)
                .map_err(|_| (BAD_DATA, "a message that is not compressed as it says"))?,
            _ => {
                let count = here.min(room.len());
                room[..count].copy_from_slice(&bytes[..count]);
                (count, count, whole && count == here)
            }
        };
        input.consume(taken);
        frame.left -= taken as u64;
        let ended = frame.left == 0 && (done || !frame.last);
        self.frame = (!ended).then_some(frame);
        if ended && frame.last {
            self.message = None;
        }
        Ok((taken > 0 || given > 0 || ended).then_some(given))
    }

    /// Begins with the next frame; one of control is taken whole.
    fn head(&mut self, input: &mut Buffer) -> Result<Option<usize>, Break> {
        let Some((head, length)) = Head::read(input.unread())? else { return Ok(None) };
        if head.compressed && (self.inflater.is_none() || !head.opcode.begins_message()) {
            return Err((PROTOCOL_ERROR, "a compressed frame where none was agreed on"));
        }
        match head.opcode {
            Opcode::Text => return Err((UNSUPPORTED, "a text message")),
            Opcode::Binary if self.message.is_some() => {
                return Err((PROTOCOL_ERROR, "a message within another one"));
            }
            Opcode::Continuation if self.message.is_none() => {
                return Err((PROTOCOL_ERROR, "the continuation of no message"));
            }
            Opcode::Binary => self.message = Some(Message { compressed: head.compressed }),
            Opcode::Continuation => {}
            Opcode::Close | Opcode::Ping | Opcode::Pong => {
                return self.control(head, length, input);
            }
        }
        input.consume(length);
        self.frame = Some(Frame { left: head.length, last: head.last });
        Ok(Some(0))
    }

    fn control(
        &mut self,
        head: Head,
        start: usize,
        input: &mut Buffer,
    ) -> Result<Option<usize>, Break> {
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        if length > MAX_CONTROL || !head.last {
            return Err((PROTOCOL_ERROR, "a control frame that is too long or in pieces"));
        }
        let Some(payload) = input.unread().get(start..start + length) else { return Ok(None) };
        match head.opcode {
            Opcode::Ping => {
                let pong = self.pong.get_or_insert_default();
                pong.clear();
                pong.extend_from_slice(payload);
            }
            Opcode::Close => self.received_close = Some(closed(payload)?),
            _ => {}
        }
        input.consume(start + length);
        Ok(Some(0))
    }

    fn send(
        &mut self,
        opcode: Opcode,
        compressed: bool,
        payload: &[u8],
        out: &mut Buffer,
    ) -> Result<(), DisconnectCause> {
        frames::write(opcode, compressed, payload, self.masks.next()?, out);
        Ok(())
    }

    fn send_close(&mut self, code: Option<u16>, out: &mut Buffer) {
        if !std::mem::replace(&mut self.sent_close, true) {
            let code = code.map(u16::to_be_bytes);
            let payload = code.as_ref().map_or(&[][..], |code| &code[..]);
            // Without randomness the connection ends all the same.
            let _ = self.send(Opcode::Close, false, payload, out);
        }
    }
}

/// What a CLOSE of the server says.
fn closed(payload: &[u8]) -> Result<DisconnectCause, Break> {
    let (code, reason) = match payload {
        [] => (NO_CODE, &[][..]),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        _ => return Err((PROTOCOL_ERROR, "a close frame with half a code")),
    };
    let reason = String::from_utf8_lossy(reason).into_owned();
    Ok(DisconnectCause::WebSocketClosed { code, reason })
}

impl Layer for WebSocket {
    fn open(&mut self, out: &mut Buffer) {
        if let Some(handshake) = &self.handshake {
            out.extend(handshake.request());
        }
    }

    fn is_open(&self) -> bool {
        self.handshake.is_none()
    }

    fn read(
        &mut self,
        input: &mut Buffer,
        room: &mut [u8],
        out: &mut Buffer,
    ) -> Result<usize, DisconnectCause> {
        if self.fault.is_none() && !self.shake_hands(input)? {
            return Ok(0);
        }
        let mut given = 0;
        while self.fault.is_none() {
            match self.step(input, &mut room[given..]) {
                Ok(Some(count)) => given += count,
                Ok(None) => break,
                Err((code, what)) => {
                    self.send_close(Some(code), out);
                    let text = format!("the server sent {what}");
                    self.fault = Some(DisconnectCause::WebSocket(text));
                }
            }
        }
        match &self.fault {
            Some(fault) if given == 0 => Err(fault.clone()),
            _ => Ok(given),
        }
    }

    fn write(
        &mut self,
        bytes: &[u8],
        _input: &mut Buffer,
        out: &mut Buffer,
    ) -> Result<(), DisconnectCause> {
        if let Some(deflater) = &mut self.deflater
            && bytes.len() >= MIN_COMPRESSED
        {
            let compressed = deflater.deflate(bytes);
            if compressed.len() < bytes.len() {
                frames::write(Opcode::Binary, true, compressed, self.masks.next()?, out);
                return Ok(());
            }
        }
        self.send(Opcode::Binary, false, bytes, out)
    }

    fn has_answer(&self) -> bool {
        !self.sent_close && (self.pong.is_some() || self.received_close.is_some())
    }

    fn answer(&mut self, out: &mut Buffer) {
        if let Some(payload) = self.pong.take()
            && !self.sent_close
        {
            let _ = self.send(Opcode::Pong, false, &payload, out);
        }
        if let Some(DisconnectCause::WebSocketClosed { code, .. }) = self.received_close {
            self.send_close(Some(code).filter(|code| *code != NO_CODE), out);
        }
    }

    fn ended(&self) -> Option<DisconnectCause> {
        self.received_close.clone().filter(|_| self.frame.is_none())
    }

    fn close(&mut self, _input: &mut Buffer, out: &mut Buffer) {
        self.answer(out);
        self.send_close(Some(NORMAL), out);
    }
}
