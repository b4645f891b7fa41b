//! Messages a second through each transport, against a real nats-server: what TLS and WebSocket
//! cost. The transports take turns within one run, so that their ratios mean something.
#![allow(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;
use std::time::{Duration, Instant};

use midge::{Client, ConnectOptions, Pem, Tls};
use midge_testing::{Authority, NatsServer};

type Failure = Box<dyn Error + Send + Sync>;

/// Payload sizes in bytes, and how many messages of that size are moved at a time.
const SIZES: [(usize, u32); 3] = [(16, 200_000), (128, 200_000), (4096, 20_000)];
/// Rounds of which the fastest counts: whatever else the machine does only slows one down.
const ROUNDS: usize = 9;
/// Unread messages, so that the subscription of the one that publishes never drops any.
const CAPACITY: (usize, usize) = (1 << 20, 1 << 30);

/// One transport, and its server.
struct Transport {
    name: &'static str,
    client: Client,
    _server: NatsServer,
    _authority: Authority,
}

impl Transport {
    async fn open(name: &'static str, scheme: &str, compressed: bool) -> Result<Self, Failure> {
        let authority = Authority::new()?;
        let tls = authority.issue(&["localhost"])?.tls_block("");
        let config = match scheme {
            "nats" => String::new(),
            "tls" => tls,
            scheme => {
                let tls = if scheme == "wss" { tls.as_str() } else { "no_tls: true" };
                format!(
                    "websocket {{ host: \"127.0.0.1\", port: -1, compression: {compressed}\n {tls} }}"
                )
            }
        };
        let server = NatsServer::builder().config(config).start()?;
        let url = match server.ws_url() {
            Some(url) => url.replace("127.0.0.1", "localhost"),
            None => format!("{scheme}://localhost:{}", server.port()),
        };
        let mut options = ConnectOptions::new(url);
        if matches!(scheme, "tls" | "wss") {
            options = options.tls(Tls::new().root_certificates(Pem::text(authority.pem())));
        }
        let client = midge_tokio::connect(options).await?;
        Ok(Self { name, client, _server: server, _authority: authority })
    }

    /// The time until the server has `messages` payloads.
    async fn publish(&self, payload: &[u8], messages: u32) -> Result<Duration, Failure> {
        let start = Instant::now();
        for _ in 0..messages {
            self.client.publish("publish", payload).await?;
        }
        self.client.flush().await?;
        Ok(start.elapsed())
    }

    /// The time until a client has `messages` payloads, which came from itself.
    async fn echo(&self, payload: &[u8], messages: u32) -> Result<Duration, Failure> {
        let subscribe = self.client.subscribe("echo");
        let mut subscription = subscribe.capacity(CAPACITY.0, CAPACITY.1).await?;
        self.client.flush().await?;
        let start = Instant::now();
        let publishing = async {
            for _ in 0..messages {
                self.client.publish("echo", payload).await?;
            }
            Result::<(), Failure>::Ok(())
        };
        let reading = async {
            for _ in 0..messages {
                subscription.next().await.ok_or("the subscription goes on")?;
            }
            Result::<(), Failure>::Ok(())
        };
        tokio::try_join!(publishing, reading)?;
        Ok(start.elapsed())
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    // As a test it only shows that it runs.
    let measures = std::env::args().any(|arg| arg == "--bench");
    let (rounds, share) = if measures { (ROUNDS, 1) } else { (1, 1000) };
    let transports = [
        Transport::open("nats", "nats", false).await?,
        Transport::open("tls", "tls", false).await?,
        Transport::open("ws", "ws", false).await?,
        Transport::open("ws, compressed", "ws", true).await?,
        Transport::open("wss", "wss", false).await?,
    ];
    println!("{:6} {:>6} {:16} {:>12} {:>8}", "", "bytes", "transport", "messages/s", "of nats");
    for (size, messages) in SIZES {
        let payload = vec![b'x'; size];
        let messages = messages / share;
        for what in ["pub", "echo"] {
            let mut times = [Duration::MAX; 5];
            for _ in 0..rounds {
                for (transport, time) in transports.iter().zip(&mut times) {
                    *time = (*time).min(match what {
                        "pub" => transport.publish(&payload, messages).await?,
                        _ => transport.echo(&payload, messages).await?,
                    });
                }
            }
            let rates = times.map(|time| f64::from(messages) / time.as_secs_f64());
            for (transport, rate) in transports.iter().zip(rates) {
                let (name, ratio) = (transport.name, rate / rates[0]);
                println!("{what:6} {size:>6} {name:16} {rate:>12.0} {ratio:>8.2}");
            }
        }
    }
    Ok(())
}
