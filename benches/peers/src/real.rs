//! Real nats-servers as the other side, and a feeder that publishes to them what a client receives.

use std::cell::{RefCell, RefMut};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use peers_contestant::{END, LAST, wire};

use crate::Failure;
use crate::servers::{BUFFER, Blast, REPEAT};
use crate::stored::Storage;
use crate::workload::Layer;

/// A server without TLS, one that offers it, and one that demands it.
#[derive(Debug)]
pub(crate) struct Reals {
    plain: Real,
    secure: Real,
    strict: Real,
    certificate: PathBuf,
}

impl Reals {
    /// Starts them from `program`; they write their logs into `directory`.
    pub(crate) fn start(program: &Path, directory: &Path) -> Result<Self, Failure> {
        let made = rcgen::generate_simple_self_signed(["localhost".into(), "127.0.0.1".into()])?;
        let (certificate, key) = (directory.join("server.pem"), directory.join("server.key"));
        fs::write(&certificate, made.cert.pem())?;
        fs::write(&key, made.signing_key.serialize_pem())?;
        let tls = format!("tls {{ cert_file: {certificate:?}, key_file: {key:?} }}\n");
        // The feeder speaks without.
        let offered = format!("allow_non_tls: true\n{tls}");
        let plain = Real::start(program, directory, "nats-server", "")?;
        let secure = Real::start(program, directory, "nats-server-tls", &offered)?;
        let strict = Real::start(program, directory, "nats-server-strict", &tls)?;
        Ok(Self { plain, secure, strict, certificate })
    }

    pub(crate) fn with(&self, layer: Layer, is_fed: bool) -> &Real {
        match layer {
            Layer::None | Layer::WebSocket => &self.plain,
            Layer::Tls if is_fed => &self.secure,
            // nats.c takes no other.
            Layer::Tls => &self.strict,
        }
    }

    /// What a client has to trust.
    pub(crate) fn certificate(&self) -> &Path {
        &self.certificate
    }
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Real {
    child: Child,
    port: u16,
    websocket: u16,
    monitor: u16,
    /// What asks it for streams, once something has.
    storage: RefCell<Option<Storage>>,
}

impl Real {
    fn start(
        program: &Path,
        directory: &Path,
        name: &str,
        settings: &str,
    ) -> Result<Self, Failure> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let (port, monitor, websocket) = (free()?.port(), free()?.port(), free()?.port());
        let file = directory.join(name).with_extension("conf");
        let store = directory.join(name).with_extension("store");
        // A slow client is to be waited for, not thrown out.
        fs::write(
            &file,
            format!(
                "listen: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor}\nmax_payload: 8MB\n\
                 max_pending: 4GB\nwrite_deadline: \"60s\"\n\
                 websocket {{ port: {websocket}, no_tls: true }}\n\
                 jetstream {{ store_dir: {store:?} }}\n{settings}"
            ),
        )?;
        let child = Command::new(program)
            .arg("--config")
            .arg(&file)
            .arg("--log")
            .arg(directory.join(name).with_extension("log"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, port, websocket, monitor, storage: RefCell::default() };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > until {
                return Err("nats-server does not listen".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    pub(crate) fn address(&self, layer: Layer) -> String {
        match layer {
            Layer::None => format!("127.0.0.1:{}", self.port),
            Layer::Tls => format!("tls://127.0.0.1:{}", self.port),
            Layer::WebSocket => format!("ws://127.0.0.1:{}", self.websocket),
        }
    }

    /// Its streams.
    pub(crate) fn storage(&self) -> io::Result<RefMut<'_, Storage>> {
        let mut storage = self.storage.borrow_mut();
        if storage.is_none() {
            *storage = Some(Storage::connect(self.port)?);
        }
        RefMut::filter_map(storage, Option::as_mut)
            .map_err(|_| io::Error::other("streams cannot be asked for"))
    }

    /// Messages that it has received from all clients.
    pub(crate) fn received(&self) -> io::Result<u64> {
        self.figure("\"in_msgs\":")
    }

    /// Subscriptions of all clients and its own.
    pub(crate) fn subscriptions(&self) -> io::Result<u64> {
        self.figure("\"subscriptions\":")
    }

    fn figure(&self, name: &str) -> io::Result<u64> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.monitor))?;
        stream.write_all(b"GET /varz HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        let number = page.split_once(name).map(|(_, rest)| rest.trim_start());
        let number = number.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        number
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| io::Error::other(format!("/varz has no {name}")))
    }

    /// Prepares to publish.
    pub(crate) fn feed(&self, blast: Blast) -> io::Result<Feeder> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_nodelay(true)?;
        stream.write_all(b"CONNECT {\"verbose\":false,\"headers\":true}\r\n")?;
        let (release, released) = mpsc::channel();
        let socket = stream.try_clone()?;
        let thread = thread::spawn(move || {
            if released.recv().is_ok() {
                let _ = publish(stream, blast);
            }
        });
        Ok(Feeder { release: Some(release), socket, thread })
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Publishes once it is released, and says then that it was all until it is stopped.
#[derive(Debug)]
pub(crate) struct Feeder {
    release: Option<Sender<()>>,
    socket: TcpStream,
    thread: JoinHandle<()>,
}

impl Feeder {
    pub(crate) fn release(&self) {
        if let Some(release) = &self.release {
            let _ = release.send(());
        }
    }

    pub(crate) fn stop(self) {
        drop(self.release);
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = self.thread.join();
    }
}

fn publish(mut stream: TcpStream, blast: Blast) -> io::Result<()> {
    let frame = |first: u8| {
        let mut payload = vec![b'x'; blast.size];
        payload[0] = first;
        wire::publish(wire::SUBJECT, None, blast.headers, &payload)
    };
    let (usual, last, end) = (frame(b'x'), frame(LAST), frame(END));
    let block = (BUFFER / usual.len()).max(1);
    let bytes = usual.repeat(block);
    let mut left = blast.count.saturating_sub(1);
    while left > 0 {
        let now = left.min(block as u64);
        stream.write_all(&bytes[..usual.len() * now as usize])?;
        left -= now;
    }
    stream.write_all(&last)?;
    loop {
        thread::sleep(REPEAT);
        stream.write_all(&end)?;
    }
}
