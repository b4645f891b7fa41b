//! What the server speaks its protocol through.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use data_encoding::BASE64;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use midge::rustls::pki_types::PrivateKeyDer;
use midge::rustls::{ServerConfig, ServerConnection, StreamOwned};
use midge::{Pem, Tls};

/// The first byte of a message in one frame.
const BINARY: u8 = 0x82;
const COMPRESSED: u8 = 0x40;
/// What a compressed message ends with, and does not carry.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// A stream of bytes in both directions.
pub(crate) trait Transport: Read + Write {}

impl<T: Read + Write> Transport for T {}

/// What stands between the socket and the protocol.
#[derive(Debug, Default)]
pub(crate) struct Accept {
    /// From the first byte on.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) websocket: Option<Messages>,
}

/// What a WebSocket does with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Messages {
    Plain,
    Deflated,
}

/// TLS for `localhost` with a certificate made for it, and a client's settings that trust it.
pub(crate) fn tls() -> (Arc<ServerConfig>, Tls) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.expect("a name and randomness");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a key that belongs to the certificate");
    (Arc::new(config), Tls::new().root_certificates(Pem::text(cert.pem())))
}

impl Accept {
    pub(crate) fn scheme(&self) -> &'static str {
        match (self.tls.is_some(), self.websocket.is_some()) {
            (false, false) => "nats",
            (true, false) => "tls",
            (false, true) => "ws",
            (true, true) => "wss",
        }
    }

    pub(crate) fn open(self, stream: TcpStream) -> io::Result<Box<dyn Transport>> {
        let mut stream: Box<dyn Transport> = Box::new(stream);
        if let Some(config) = self.tls {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            stream = Box::new(StreamOwned::new(connection, stream));
        }
        Ok(match self.websocket {
            Some(messages) => Box::new(WebSocket::accept(stream, messages)?),
            None => stream,
        })
    }
}

/// Binary messages as a stream of bytes.
struct WebSocket {
    stream: BufReader<Box<dyn Transport>>,
    messages: Messages,
    /// What a compressed message held, and how much of it was read.
    inflated: Vec<u8>,
    given: usize,
    /// What is left of the frame that is being read, its mask, and where that stands.
    left: u64,
    mask: [u8; 4],
    at: usize,
}

impl WebSocket {
    fn accept(stream: Box<dyn Transport>, messages: Messages) -> io::Result<Self> {
        let mut stream = BufReader::with_capacity(256 * 1024, stream);
        let mut key = None;
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            match line.split_once(": ") {
                Some(("Sec-WebSocket-Key", value)) => key = Some(value.trim().to_owned()),
                _ if line == "\r\n" => break,
                _ => {}
            }
        }
        let key = key.ok_or_else(|| io::Error::other("no key"))?;
        let accept = sha1_smol::Sha1::from(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11"));
        let accept = BASE64.encode(&accept.digest().bytes());
        let extension = match messages {
            Messages::Plain => "",
            Messages::Deflated => {
                "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; \
                 client_no_context_takeover\r\n"
            }
        };
        stream.get_mut().write_all(
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n{extension}\r\n"
            )
            .as_bytes(),
        )?;
        let (inflated, given) = (Vec::new(), 0);
        Ok(Self { stream, messages, inflated, given, left: 0, mask: [0; 4], at: 0 })
    }

    /// Reads the head of a frame. False at the end.
    fn head(&mut self) -> io::Result<bool> {
        let mut head = [0; 2];
        if self.stream.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.stream.read_exact(&mut head)?;
        if head[0] & 0x0f == 8 {
            return Ok(false);
        }
        let mut length = [0; 8];
        match head[1] & 0x7f {
            126 => self.stream.read_exact(&mut length[6..])?,
            127 => self.stream.read_exact(&mut length)?,
            short => length[7] = short,
        }
        self.left = u64::from_be_bytes(length);
        self.stream.read_exact(&mut self.mask)?;
        self.at = 0;
        if head[0] & COMPRESSED != 0 {
            self.inflate()?;
        }
        Ok(true)
    }

    /// Reads a compressed message whole.
    fn inflate(&mut self) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(self.left).map_err(io::Error::other)?];
        let mut read = 0;
        while read < bytes.len() {
            read += self.unmask(&mut bytes[read..])?;
        }
        bytes.extend(TAIL);
        let mut state = Decompress::new(false);
        self.inflated.clear();
        self.given = 0;
        while state.total_in() < bytes.len() as u64
            || self.inflated.len() == self.inflated.capacity()
        {
            self.inflated.reserve(64 * 1024);
            let rest = &bytes[state.total_in() as usize..];
            state
                .decompress_vec(rest, &mut self.inflated, FlushDecompress::Sync)
                .map_err(io::Error::other)?;
        }
        Ok(())
    }

    fn unmask(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.stream.read(&mut buffer[..most])?;
        for byte in &mut buffer[..count] {
            *byte ^= self.mask[self.at % 4];
            self.at += 1;
        }
        self.left -= count as u64;
        match count {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => Ok(count),
        }
    }
}

fn deflate(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut state = Compress::new(Compression::fast(), false);
    let mut message = Vec::with_capacity(bytes.len() + 1024);
    state.compress_vec(bytes, &mut message, FlushCompress::Sync).map_err(io::Error::other)?;
    message.truncate(message.len() - TAIL.len());
    Ok(message)
}

impl Read for WebSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let rest = &self.inflated[self.given..];
            if !rest.is_empty() {
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                self.given += count;
                return Ok(count);
            }
            if self.left > 0 {
                return self.unmask(buffer);
            }
            if !self.head()? {
                return Ok(0);
            }
        }
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (first, message) = match self.messages {
            Messages::Plain => (BINARY, Cow::Borrowed(bytes)),
            Messages::Deflated => (BINARY | COMPRESSED, deflate(bytes)?.into()),
        };
        let mut frame = vec![first, 127];
        frame.extend((message.len() as u64).to_be_bytes());
        frame.extend(&*message);
        self.stream.get_mut().write_all(&frame)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
