//! Names, dials and handshakes that fail, or never end.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use midge::{
    CertificateFault, CloseReason, ConnectError, ConnectOptions, DisconnectCause, Pem, Tls, TlsMode,
};
use rustix::net::{AddressFamily, SocketType, bind, getsockname, listen, socket};

use crate::conformance::steps::{
    HOUR, assert_took, connect, finish, impatient, is_failed_attempt, served, soon, wait_for,
};
use crate::conformance::{Adapter, Outcome};
use crate::{Authority, ClosedPort, NatsServer, ScriptedServer};

const TIMEOUT: Duration = Duration::from_millis(300);

/// A port of this machine on which a dial neither succeeds nor fails: nobody accepts there, and the
/// queue of those who wait is full.
pub(super) struct Hanging {
    address: SocketAddr,
    _socket: OwnedFd,
    _queued: Vec<TcpStream>,
}

impl Hanging {
    pub(super) fn start() -> Outcome<Hanging> {
        let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        listen(&socket, 0)?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        let mut queued = Vec::new();
        let wait = Duration::from_millis(100);
        while let Ok(stream) = TcpStream::connect_timeout(&address, wait) {
            queued.push(stream);
            if queued.len() > 100 {
                return Err("the queue of a listening socket has no end".into());
            }
        }
        Ok(Hanging { address, _socket: socket, _queued: queued })
    }

    pub(super) fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

/// Why no connection was made.
async fn refusal<A: Adapter>(options: ConnectOptions) -> DisconnectCause {
    match connect::<A>(options).await.map(|_| ()) {
        Err(ConnectError::Closed(
            CloseReason::NoServers { cause, .. } | CloseReason::Fatal(cause),
        )) => cause,
        other => panic!("{other:?}"),
    }
}

pub async fn a_name_is_looked_up<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let client = connect::<A>(format!("nats://localhost:{}", server.port())).await?;
    soon(client.flush()).await?;
    Ok(())
}

pub async fn a_name_that_nobody_has_is_said<A: Adapter>() -> Outcome {
    // How long that takes is up to the system.
    let options = ConnectOptions::new("nats://name.invalid:1").connect_timeout(HOUR);
    let cause = refusal::<A>(options).await;
    assert!(matches!(cause, DisconnectCause::Resolve(_)), "{cause}");
    Ok(())
}

pub async fn a_name_is_left_to_what_dials<A: Adapter>() -> Outcome {
    let server = NatsServer::start()?;
    let url = format!("nats://localhost:{}", server.port());
    let client = connect::<A>(ConnectOptions::new(url).resolve(false)).await?;
    soon(client.flush()).await?;
    Ok(())
}

pub async fn a_dial_that_is_refused_is_said<A: Adapter>() -> Outcome {
    let nobody = ClosedPort::new()?;
    let cause = refusal::<A>(ConnectOptions::new(nobody.url())).await;
    assert!(matches!(cause, DisconnectCause::Dial(_)), "{cause}");
    Ok(())
}

pub async fn a_dial_that_hangs_ends_with_the_connect_timeout<A: Adapter>() -> Outcome {
    let hanging = Hanging::start()?;
    let began = Instant::now();
    let cause = refusal::<A>(ConnectOptions::new(hanging.url()).connect_timeout(TIMEOUT)).await;
    assert_took(began, TIMEOUT);
    assert_eq!(cause, DisconnectCause::TimedOut);
    Ok(())
}

pub async fn behind_a_dial_that_hangs_the_next_server_is_found<A: Adapter>() -> Outcome {
    let (hanging, server) = (Hanging::start()?, NatsServer::start()?);
    let options = ConnectOptions::new([hanging.url(), server.url()]).retain_order(true);
    // The second one has no more time for its handshake.
    let client = connect::<A>(options.connect_timeout(Duration::from_secs(2))).await?;
    assert_eq!(client.server().map(|server| server.port()), Some(server.port()));
    Ok(())
}

pub async fn dials_that_hang_are_tried_again<A: Adapter>() -> Outcome {
    let hanging = Hanging::start()?;
    let options = impatient(&hanging.url()).connect_timeout(Duration::from_millis(20));
    let (client, serving) = served::<A>(options.retry_first_connect(true)).await?;
    let mut events = client.events();
    for _ in 0..20 {
        wait_for(&mut events, is_failed_attempt).await;
    }
    soon(client.close()).await;
    assert!(!soon(serving.ended()).await);
    Ok(())
}

/// A server that says `words`, and then no more until the client leaves.
fn silent(words: &'static str) -> Outcome<ScriptedServer> {
    Ok(ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        peer.send(words)?;
        peer.expect_closed().map(|_| ())
    })?)
}

async fn is_left_in_time<A: Adapter>(
    server: ScriptedServer,
    options: impl FnOnce(&str) -> ConnectOptions,
) -> Outcome {
    let began = Instant::now();
    let cause = refusal::<A>(options(&server.url()).connect_timeout(TIMEOUT)).await;
    assert_took(began, TIMEOUT);
    assert!(matches!(cause, DisconnectCause::TimedOut | DisconnectCause::NoInfo), "{cause}");
    finish(server).await
}

pub async fn a_server_that_says_nothing_is_left_in_time<A: Adapter>() -> Outcome {
    is_left_in_time::<A>(silent("")?, |url| ConnectOptions::new(url)).await
}

pub async fn a_server_that_answers_no_ping_is_left_in_time<A: Adapter>() -> Outcome {
    is_left_in_time::<A>(silent("INFO {} \r\n")?, |url| ConnectOptions::new(url)).await
}

pub async fn a_tls_handshake_that_stalls_ends_in_time<A: Adapter>() -> Outcome {
    let server = silent("INFO {\"tls_required\":true} \r\n")?;
    is_left_in_time::<A>(server, |url| ConnectOptions::new(url)).await
}

pub async fn a_tls_handshake_before_info_that_stalls_ends_in_time<A: Adapter>() -> Outcome {
    is_left_in_time::<A>(silent("")?, |url| ConnectOptions::new(url).tls_mode(TlsMode::First)).await
}

pub async fn a_tls_handshake_that_stalls_midway_ends_in_time<A: Adapter>() -> Outcome {
    // The head of a record that never comes.
    let server = silent("INFO {\"tls_required\":true} \r\n\x16\x03\x03\x10\x00\x02")?;
    let cause = refusal::<A>(ConnectOptions::new(server.url()).connect_timeout(TIMEOUT)).await;
    // Behind INFO it may be injected, if it is read in one go.
    let fits = matches!(cause, DisconnectCause::TimedOut | DisconnectCause::TlsInjection);
    assert!(fits, "{cause}");
    finish(server).await
}

fn websocket(url: &str) -> ConnectOptions {
    ConnectOptions::new(url.replace("nats://", "ws://"))
}

pub async fn a_websocket_handshake_that_stalls_ends_in_time<A: Adapter>() -> Outcome {
    is_left_in_time::<A>(silent("")?, websocket).await
}

pub async fn a_websocket_handshake_that_stalls_midway_ends_in_time<A: Adapter>() -> Outcome {
    is_left_in_time::<A>(silent("HTTP/1.1 101 Switching Protocols\r\nUpgrade: w")?, websocket).await
}

pub async fn what_is_no_tls_and_no_websocket_is_left_at_once<A: Adapter>() -> Outcome {
    let server = silent("220 smtp.example ready, and long enough for a record\r\n")?;
    let options = ConnectOptions::new(server.url()).tls_mode(TlsMode::First).connect_timeout(HOUR);
    let cause = refusal::<A>(options).await;
    assert!(matches!(cause, DisconnectCause::Tls(_)), "{cause}");
    finish(server).await?;
    let server = silent("220 smtp.example ready\r\n\r\n")?;
    let cause = refusal::<A>(websocket(&server.url()).connect_timeout(HOUR)).await;
    assert!(matches!(cause, DisconnectCause::WebSocket(_)), "{cause}");
    finish(server).await
}

pub async fn a_certificate_that_nobody_trusts_is_said<A: Adapter>() -> Outcome {
    let (authority, other) = (Authority::new()?, Authority::new()?);
    let block = authority.issue(&["localhost"])?.tls_block("");
    let server = NatsServer::builder().config(block).start()?;
    let url = format!("tls://localhost:{}", server.port());
    let tls = Tls::new().root_certificates(Pem::text(other.pem()));
    let cause = refusal::<A>(ConnectOptions::new(url).tls(tls)).await;
    let DisconnectCause::Certificate { fault, .. } = &cause else { panic!("{cause}") };
    assert_eq!(*fault, CertificateFault::UnknownIssuer, "{cause}");
    Ok(())
}
