//! Streams that the application opens: where they may lead, what may go wrong while they are
//! opened, and what goes over them.

#[cfg(all(feature = "ring", feature = "websocket"))]
mod layers;
mod proxies;
#[path = "../steps/mod.rs"]
mod steps;
mod streams;

use std::future::{Ready, pending, ready};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::{ConnectError, ConnectOptions, DisconnectCause, Event, State};
use midge_testing::NatsServer;
use midge_tokio::{Destination, connect_through, tcp};
use tokio::io::{
    AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, DuplexStream,
    copy_bidirectional, duplex,
};
use tokio::net::{TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::Notify;
use tokio::time::Instant;

use steps::{Outcome, echo, echo_of, impatient, refusal, soon, wait_for};

/// Whom a name is given that no system knows.
const NAME: &str = "nats.test.invalid";

/// Options for a server of that name, which is not looked up.
fn named(scheme: &str) -> ConnectOptions {
    impatient(&format!("{scheme}://{NAME}")).resolve(false)
}

/// What is put in here is put out at the server, and the other way round.
async fn forward(mut stream: impl AsyncRead + AsyncWrite + Unpin, port: u16) -> io::Result<()> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut stream, &mut server).await.map(|_| ())
}

/// Forwards what connects to a unix socket to a port, and cuts one after the other when told.
fn unix_socket(path: &Path, port: u16) -> io::Result<Arc<Notify>> {
    let listener = UnixListener::bind(path)?;
    let cut = Arc::new(Notify::new());
    let told = cut.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::select! {
                _ = forward(stream, port) => {}
                () = told.notified() => {}
            }
        }
    });
    Ok(cut)
}

/// Lets other tasks do what they can do without waiting.
async fn others_run() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

// ---- places --------------------------------------------------------------------------------

#[tokio::test]
async fn a_unix_socket_leads_to_a_server_and_after_a_loss_again() -> Outcome {
    let (server, directory) = (NatsServer::start()?, tempfile::tempdir()?);
    let path = directory.path().join("nats.sock");
    let cut = unix_socket(&path, server.port())?;
    let client =
        soon(connect_through(named("nats"), move |_| UnixStream::connect(path.clone()))).await?;
    let mut events = client.events();
    echo(&client).await?;
    cut.notify_one();
    wait_for(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    echo(&client).await?;
    let report = soon(client.close()).await;
    assert_eq!(report.fates.unknown.messages, 0);
    Ok(())
}

/// A server's end of a stream within this process.
struct Peer(BufReader<DuplexStream>);

impl Peer {
    /// Says INFO with these fields, and gives the CONNECT that comes.
    async fn greet(end: DuplexStream, fields: &str) -> io::Result<(Self, String)> {
        let mut peer = Self(BufReader::new(end));
        let info = format!("INFO {{\"headers\":true,\"max_payload\":1048576{fields}}}\r\n");
        peer.say(&info).await?;
        let connect = peer.line().await?;
        assert_eq!(peer.line().await?, "PING");
        peer.say("PONG\r\n").await?;
        Ok((peer, connect))
    }

    async fn say(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes()).await
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        soon(self.0.read_line(&mut line)).await?;
        Ok(line.trim_end().to_owned())
    }
}

/// A dialler that gives this stream, once.
fn once<S>(stream: S) -> impl FnMut(Destination) -> Ready<io::Result<S>> {
    let mut stream = Some(stream);
    move |_| ready(stream.take().ok_or_else(|| io::Error::other("it was given")))
}

#[tokio::test]
async fn the_server_may_be_in_the_same_process() -> Outcome {
    let (ours, theirs) = duplex(64);
    let peer = tokio::spawn(async move {
        let (mut peer, _) = Peer::greet(theirs, "").await?;
        assert_eq!(peer.line().await?, "SUB a 1");
        peer.say("MSG a 1 5\r\nhello\r\n").await?;
        assert_eq!(peer.line().await?, "PUB b 3");
        assert_eq!(peer.line().await?, "yes");
        assert_eq!(peer.line().await?, "PING");
        peer.say("PONG\r\n").await?;
        // The end of the stream.
        assert_eq!(peer.line().await?, "");
        io::Result::Ok(())
    });
    let client = soon(connect_through(named("nats"), once(ours))).await?;
    let mut subscription = client.subscribe("a").await?;
    let message = soon(subscription.next()).await.ok_or("a message comes")?;
    assert_eq!(message.payload(), b"hello");
    client.publish("b", "yes").await?;
    let report = soon(client.close()).await;
    assert_eq!(report.fates.confirmed.messages, 1);
    soon(peer).await??;
    Ok(())
}

#[tokio::test]
async fn a_dialler_learns_the_server_and_the_address() -> Outcome {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let record = {
        let seen = seen.clone();
        move |to: Destination| {
            let at = (to.to_string(), to.server.to_string(), to.address);
            seen.lock().expect("no test panics with it").push(at);
            ready(io::Result::<TcpStream>::Err(io::Error::other("seen")))
        }
    };
    let looked_up = "nats://localhost:1".to_owned();
    let options = || ConnectOptions::new("localhost:1,nats://[::1]").retain_order(true);
    let _ = soon(connect_through(options().resolve(false), record.clone())).await;
    let local = "[::1]:4222".parse().ok();
    let expected = [
        ("localhost:1".to_owned(), looked_up.clone(), None),
        ("[::1]:4222".to_owned(), "nats://[::1]:4222".to_owned(), local),
    ];
    assert_eq!(std::mem::take(&mut *seen.lock().expect("no test panics with it")), expected);
    let _ = soon(connect_through(options(), record)).await;
    let seen = seen.lock().expect("no test panics with it");
    let (last, first) = seen.split_last().ok_or("it was dialled")?;
    assert_eq!(*last, expected[1]);
    assert!(!first.is_empty());
    for (place, server, address) in first {
        let address: SocketAddr = address.ok_or("it was looked up")?;
        assert_eq!((place.clone(), server), (address.to_string(), &looked_up));
        assert!(address.ip().is_loopback() && address.port() == 1);
    }
    Ok(())
}

#[tokio::test]
async fn without_a_dialler_a_name_that_is_not_resolved_is_left_to_the_system() -> Outcome {
    let server = NatsServer::start()?;
    let options = ConnectOptions::new(format!("localhost:{}", server.port())).resolve(false);
    echo(&soon(midge_tokio::connect(options)).await?).await?;
    let cause = refusal(soon(midge_tokio::connect(named("nats"))).await);
    assert!(matches!(cause, DisconnectCause::Dial(_)), "{cause:?}");
    Ok(())
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_socket_may_be_bound_to_an_address_of_this_machine() -> Outcome {
    async fn dial(to: Destination) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(([127, 0, 0, 77], 0).into())?;
        socket.set_nodelay(true)?;
        socket.connect(to.address.ok_or(io::ErrorKind::AddrNotAvailable)?).await
    }
    let server = NatsServer::start()?;
    let client = soon(connect_through(server.url(), dial)).await?;
    assert_eq!(client.client_ip().as_deref(), Some("127.0.0.77"));
    echo(&client).await
}

#[tokio::test]
async fn a_driver_that_was_handed_over_dials_through_a_dialler_too() -> Outcome {
    let server = NatsServer::start()?;
    let dials = Arc::new(AtomicUsize::new(0));
    let (connecting, driver) = midge_tokio::connect_with(server.url())?;
    let driver = driver.through({
        let dials = dials.clone();
        move |to: Destination| {
            dials.fetch_add(1, Ordering::Relaxed);
            tcp(to)
        }
    });
    tokio::spawn(driver);
    echo(&soon(connecting).await?).await?;
    assert_eq!(dials.load(Ordering::Relaxed), 1);
    Ok(())
}

// ---- diallers that fail --------------------------------------------------------------------

/// Tells when it is dropped.
struct Guard(Arc<AtomicUsize>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

async fn hang(_guard: Guard) -> io::Result<TcpStream> {
    pending().await
}

#[tokio::test(start_paused = true)]
async fn a_dialler_that_hangs_is_given_up_after_the_connect_timeout() {
    let dropped = Arc::<AtomicUsize>::default();
    let count = dropped.clone();
    let dialler = move |_| hang(Guard(count.clone()));
    let began = Instant::now();
    let options = ConnectOptions::new(["a", "b"]).resolve(false);
    let timeout = Duration::from_millis(700);
    let cause = refusal(connect_through(options.connect_timeout(timeout), dialler).await);
    assert_eq!(cause, DisconnectCause::TimedOut);
    assert_eq!(dropped.load(Ordering::Relaxed), 2);
    let took = began.elapsed();
    assert!(took >= 2 * timeout && took < 2 * timeout + Duration::from_millis(10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_given_up_is_dropped_before_the_next_attempt_begins() -> Outcome {
    let dropped = Arc::<AtomicUsize>::default();
    let count = dropped.clone();
    let dialler = move |_| hang(Guard(count.clone()));
    let (began, timeout) = (Instant::now(), Duration::from_millis(700));
    let wait = Duration::from_secs(60);
    let options = named("nats").retry_first_connect(true).reconnect_wait(wait, wait);
    let client = connect_through(options.connect_timeout(timeout), dialler).await?;
    let mut events = client.events();
    wait_for(&mut events, |event| matches!(event, Event::AttemptFailed { .. })).await;
    others_run().await;
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert!(began.elapsed() < 2 * timeout);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_close_drops_what_is_being_dialled_at_once() -> Outcome {
    let dropped = Arc::<AtomicUsize>::default();
    let count = dropped.clone();
    let dialler = move |_| hang(Guard(count.clone()));
    let client = connect_through(named("nats").retry_first_connect(true), dialler).await?;
    let began = Instant::now();
    tokio::task::yield_now().await;
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    client.close().await;
    assert!(matches!(client.status().state, State::Closed { .. }), "{:?}", client.status());
    others_run().await;
    assert_eq!(dropped.load(Ordering::Relaxed), 1);
    assert_eq!(began.elapsed(), Duration::ZERO);
    Ok(())
}

#[tokio::test]
async fn an_error_of_a_dialler_is_the_cause_and_the_next_server_is_dialled() -> Outcome {
    let server = NatsServer::start()?;
    let url = format!("nats://no.invalid,nats://127.0.0.1:{}", server.port());
    let dialler = |to: Destination| async move {
        match to.address {
            Some(_) => tcp(to).await,
            None => Err(io::Error::other("no way to that place")),
        }
    };
    let options = || impatient(&url).resolve(false).retain_order(true);
    let cause = refusal(soon(connect_through(named("nats"), dialler)).await);
    assert_eq!(cause, DisconnectCause::Dial("no way to that place".into()));
    let client = soon(connect_through(options(), dialler)).await?;
    assert_eq!(client.server().map(|server| server.port()), Some(server.port()));
    let client = connect_through(options().retry_first_connect(true), dialler).await?;
    let mut events = client.events();
    let failed = |event: &Event| matches!(event, Event::AttemptFailed { .. });
    match wait_for(&mut events, failed).await {
        Event::AttemptFailed { cause, .. } => {
            assert_eq!(cause.to_string(), "could not connect: no way to that place");
        }
        other => panic!("{other:?}"),
    }
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    Ok(())
}

#[tokio::test]
async fn a_dialler_that_panics_ends_the_connection_and_nothing_hangs() {
    fn at_once(_: Destination) -> Ready<io::Result<TcpStream>> {
        panic!("a dialler that panics, which this test wants")
    }
    async fn later(_: Destination) -> io::Result<TcpStream> {
        tokio::task::yield_now().await;
        panic!("a dialler that panics, which this test wants")
    }
    for result in [
        soon(connect_through(named("nats"), at_once)).await,
        soon(connect_through(named("nats"), later)).await,
    ] {
        assert!(matches!(result, Err(ConnectError::Closed(_))), "{result:?}");
    }
}
