//! The device as it is built, in the memory it is meant for, against servers.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]
#![allow(clippy::print_stdout, reason = "what the device took is worth knowing")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use midge_std::Wait;
use midge_std::midge::Client;
use midge_testing::{NatsServer, Peer, ScriptedServer};

const PATIENCE: Duration = Duration::from_secs(20);
/// What the device has for its stack, in KiB: its heap has 40, and 64 are all that there is.
const STACK: u32 = 24;

/// The device with optimisation, as it would be shipped: without, it needs twice the stack. Tests
/// are built without, so that it is built here.
fn program() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let tested = Path::new(env!("CARGO_BIN_EXE_device"));
        let target = tested.ancestors().nth(2).unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--release", "--locked", "--bin", "device"]);
        build.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
        assert!(build.arg("--target-dir").arg(target).status().unwrap().success());
        target.join("release").join(tested.file_name().unwrap())
    })
}

/// A device that runs, and what it says.
struct Device {
    child: Child,
    said: Receiver<String>,
}

impl Device {
    fn start(url: &str) -> Self {
        let mut child = Command::new("sh")
            .arg("-c")
            .arg(format!("ulimit -s {STACK} && exec \"$0\" \"$@\""))
            .args([program().as_os_str().to_str().unwrap(), url, "kitchen"])
            // What stands in the environment lies on the stack.
            .env_clear()
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, said) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, said }
    }

    fn says(&self) -> String {
        self.said
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|error| panic!("the device says nothing: {error}"))
    }

    /// Waits for its end, and returns the peak of its heap.
    fn end(mut self) -> usize {
        let last = self.says();
        assert!(self.child.wait().unwrap().success());
        last.strip_prefix("closed, peak ").expect(&last).parse().unwrap()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Status {
    connects: usize,
    received: usize,
    oversized: usize,
    unsent: usize,
    used: usize,
}

impl Status {
    fn parse(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |name| {
            let place = words.iter().position(|word| *word == name).expect(name);
            words[place + 1].parse().unwrap()
        };
        Self {
            connects: number("connects"),
            received: number("received"),
            oversized: number("oversized"),
            unsent: number("unsent"),
            used: number("used"),
        }
    }
}

fn ask(client: &Client, what: &str, payload: impl Into<Vec<u8>>) -> Vec<u8> {
    let subject = format!("device.kitchen.{what}");
    let reply = client.request(subject, payload.into()).wait_timeout(PATIENCE).unwrap().unwrap();
    reply.payload().to_vec()
}

fn status(client: &Client) -> Status {
    Status::parse(&String::from_utf8(ask(client, "status", "")).unwrap())
}

#[test]
fn a_device_of_64_kib_serves_survives_and_grows_by_nothing() {
    let mut server = NatsServer::start().unwrap();
    let device = Device::start(&server.url());
    assert_eq!(device.says(), "connected");
    let client = midge_std::connect(server.url().as_str()).unwrap();

    for size in [0, 1, 100, 1000, 2000, 3000] {
        let payload = vec![b'x'; size];
        assert_eq!(ask(&client, "echo", payload.clone()), payload, "{size}");
    }
    let at_first = status(&client);
    assert_eq!((at_first.connects, at_first.oversized, at_first.unsent), (1, 0, 0));

    // Sixteen times its memory. It is skipped, and the connection stays.
    client.publish("device.kitchen.echo", vec![b'x'; 1 << 20]).wait().unwrap();
    assert_eq!(ask(&client, "echo", "still there"), b"still there");
    assert_eq!(status(&client).oversized, 1);

    // More than it can answer: what finds no room is counted, and nothing is lost in silence.
    let (before, mut asked) = (status(&client), 0);
    let mut replies = client.subscribe("replies").wait().unwrap();
    for size in (0..2000).map(|index| index % 900) {
        let question = client.publish("device.kitchen.echo", vec![b'x'; size]).reply("replies");
        question.wait().unwrap();
        asked += 1;
    }
    client.flush().wait().unwrap();
    let after = status(&client);
    assert_eq!(after.received - before.received, asked + 1);
    let answered = asked - (after.unsent - before.unsent);
    for _ in 0..answered {
        replies.next().wait_timeout(PATIENCE).unwrap().unwrap();
    }

    // Servers go and come.
    for connects in 2..12 {
        server.kill().unwrap();
        server.restart().unwrap();
        assert_eq!(device.says(), "connected");
        // The client has connected as well, and the device's subscriptions are there.
        let now = until_it_answers(&client);
        assert_eq!(now.connects, connects);
    }
    let at_last = status(&client);
    // Ranges in reports, a read chunk that some bytes are left in; nothing for each message.
    assert!(at_last.used <= at_first.used + 1024, "{at_first:?} {at_last:?}");

    client.publish("device.kitchen.stop", "").wait().unwrap();
    let peak = device.end();
    println!("peak heap {peak}, in use {} at first, {} at last", at_first.used, at_last.used);
}

fn until_it_answers(client: &Client) -> Status {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        match client.request("device.kitchen.status", "").wait_timeout(PATIENCE).unwrap() {
            Ok(reply) => return Status::parse(&String::from_utf8_lossy(reply.payload())),
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
    }
}

#[test]
fn an_info_with_500_urls_fits_whenever_it_comes() {
    let urls: Vec<String> = (0..500)
        .map(|host| format!("\"127.255.{}.{}:65535\"", 100 + host / 250, host % 250))
        .collect();
    let info = format!(
        "{{\"server_id\":\"S\",\"version\":\"2.15.1\",\"proto\":1,\"headers\":true,\
         \"max_payload\":1048576,\"connect_urls\":[{}]}}",
        urls.join(",")
    );
    assert!(info.len() > 10_000);
    // The script waits for the device, and not for the compiler.
    program();
    let ask = |peer: &mut Peer| {
        peer.send("MSG device.kitchen.status 2 reply 0\r\n\r\n")?;
        // Measurements and PINGs come besides.
        peer.read_until(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            text.split_once("PUB reply ")
                .is_some_and(|(_, reply)| reply.matches("\r\n").count() > 1)
        })
    };
    let line = format!("INFO {info}\r\n");
    let greet = move |peer: &mut Peer| {
        peer.send(&line)?;
        peer.read_until(|bytes| bytes.ends_with(b"PING\r\n"))?;
        peer.send("PONG\r\n")
    };
    let server = ScriptedServer::start(move |mut listener| {
        for _ in 0..3 {
            let mut peer = listener.accept()?;
            greet(&mut peer)?;
            for _ in 0..5 {
                ask(&mut peer)?;
                peer.send(format!("INFO {info}\r\n"))?;
            }
            ask(&mut peer)?;
            // Servers that were told of do not exist; this one is tried again.
            peer.cut()?;
        }
        let mut peer = listener.accept()?;
        greet(&mut peer)?;
        peer.send("MSG device.kitchen.stop 3 0\r\n\r\n")?;
        peer.read_until(|bytes| bytes.ends_with(b"PING\r\n"))?;
        // As many as there may be PINGs.
        peer.send("PONG\r\n".repeat(20))?;
        peer.expect_closed()?;
        Ok(())
    })
    .unwrap();
    let device = Device::start(&server.url());
    for _ in 0..4 {
        // What the script says is worth more than the silence of the device.
        if device.said.recv_timeout(PATIENCE).is_err() {
            server.finish().unwrap();
            panic!("the device does not connect");
        }
    }
    println!("peak heap {}", device.end());
    server.finish().unwrap();
}
