//! A real nats-server as the other side, and a feeder that publishes to it what a client receives.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use peers_contestant::{END, LAST, wire};

use crate::Failure;
use crate::servers::{BUFFER, Blast, REPEAT};

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Real {
    child: Child,
    port: u16,
    monitor: u16,
}

impl Real {
    /// Starts `program`, which writes its log into `directory`.
    pub(crate) fn start(program: &Path, directory: &Path) -> Result<Self, Failure> {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr();
        let (port, monitor) = (free()?.port(), free()?.port());
        let file = directory.join("nats-server.conf");
        // A slow client is to be waited for, not thrown out.
        fs::write(
            &file,
            format!(
                "listen: 127.0.0.1:{port}\nhttp: 127.0.0.1:{monitor}\nmax_payload: 8MB\n\
                 max_pending: 4GB\nwrite_deadline: \"60s\"\n"
            ),
        )?;
        let child = Command::new(program)
            .arg("--config")
            .arg(&file)
            .arg("--log")
            .arg(directory.join("nats-server.log"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, port, monitor };
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > until {
                return Err("nats-server does not listen".into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
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
