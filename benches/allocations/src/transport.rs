//! What the server speaks its protocol through.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use data_encoding::BASE64;
use midge::rustls::pki_types::PrivateKeyDer;
use midge::rustls::{ServerConfig, ServerConnection, StreamOwned};
use midge::{Pem, Tls};

/// A stream of bytes in both directions.
pub(crate) trait Transport: Read + Write {}

impl<T: Read + Write> Transport for T {}

/// How a connection begins.
#[derive(Debug)]
pub(crate) enum Accept {
    Plain,
    Tls(Arc<ServerConfig>),
    WebSocket,
}

/// TLS for `localhost` with a certificate made for it, and a client's settings that trust it.
pub(crate) fn tls() -> (Accept, Tls) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let rcgen::CertifiedKey { cert, signing_key } = made.expect("a name and randomness");
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .expect("a key that belongs to the certificate");
    (Accept::Tls(Arc::new(config)), Tls::new().root_certificates(Pem::text(cert.pem())))
}

impl Accept {
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Plain => "nats",
            Self::Tls(_) => "tls",
            Self::WebSocket => "ws",
        }
    }

    pub(crate) fn open(self, stream: TcpStream) -> io::Result<Box<dyn Transport>> {
        Ok(match self {
            Self::Plain => Box::new(stream),
            Self::Tls(config) => {
                let connection = ServerConnection::new(config).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(connection, stream))
            }
            Self::WebSocket => Box::new(WebSocket::accept(stream)?),
        })
    }
}

/// Binary messages as a stream of bytes.
struct WebSocket {
    stream: BufReader<TcpStream>,
    /// What is left of the frame that is being read, its mask, and where that stands.
    left: u64,
    mask: [u8; 4],
    at: usize,
}

impl WebSocket {
    fn accept(stream: TcpStream) -> io::Result<Self> {
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
        stream.get_mut().write_all(
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                 Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            )
            .as_bytes(),
        )?;
        Ok(Self { stream, left: 0, mask: [0; 4], at: 0 })
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
        Ok(true)
    }
}

impl Read for WebSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left == 0 {
            if !self.head()? {
                return Ok(0);
            }
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let count = self.stream.read(&mut buffer[..most])?;
        for byte in &mut buffer[..count] {
            *byte ^= self.mask[self.at % 4];
            self.at += 1;
        }
        self.left -= count as u64;
        Ok(count)
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len() as u64;
        let mut frame = vec![0x82, 127];
        frame.extend(length.to_be_bytes());
        frame.extend(bytes);
        self.stream.get_mut().write_all(&frame)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
