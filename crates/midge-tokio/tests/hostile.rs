//! Servers that mean harm, over real sockets: each attempt ends within the connect timeout, or
//! sooner with a cause that says what was wrong, and is hung up.
//!
//! What needs no socket is in `midge-proto/tests/connection/hostile.rs`, and for TLS and WebSocket
//! in `midge/tests/layers`.
#![cfg(all(feature = "ring", feature = "websocket"))]

mod steps;

use std::thread;
use std::time::Duration;

use midge::{
    CloseReason, ConnectError, ConnectOptions, DisconnectCause, Event, RequestError, TlsMode,
};
use midge_testing::{Peer, ScriptError, ScriptedServer};
use tokio::time::Instant;

use steps::{Outcome, connect, soon, wait_for};

/// Of attempts that wait until it has passed. Long enough for what comes before, on a busy machine
/// too.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Of attempts that end before.
const LONG: Duration = Duration::from_secs(40);
/// Of bytes that drip in.
const PACE: Duration = Duration::from_millis(20);
const INFO: &str = r#"INFO {"server_id":"H","max_payload":1048576,"headers":true,"proto":1} "#;

/// Sends `bytes` again and again until the client hangs up.
fn flood(peer: &mut Peer, bytes: &[u8]) -> Result<(), ScriptError> {
    let bytes = bytes.repeat(64 * 1024 / bytes.len());
    while peer.send(&bytes).is_ok() {}
    Ok(())
}

/// Sends `bytes` one by one, slowly and without end, until the client hangs up.
fn drip(peer: &mut Peer, bytes: &[u8]) -> Result<(), ScriptError> {
    for byte in bytes.iter().chain(std::iter::repeat(&b'x')) {
        if peer.send([*byte]).is_err() {
            break;
        }
        thread::sleep(PACE);
    }
    Ok(())
}

/// What becomes of one attempt at a server that does as `script` says, and how long it took.
async fn attempt(
    scheme: &str,
    options: impl Fn(ConnectOptions) -> ConnectOptions,
    script: impl FnOnce(&mut Peer) -> Result<(), ScriptError> + Send + 'static,
) -> Result<(DisconnectCause, Duration), Box<dyn std::error::Error + Send + Sync>> {
    let server = ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        drop(listener);
        script(&mut peer)?;
        peer.expect_closed().map(|_| ())
    })?;
    let url = format!("{scheme}://127.0.0.1:{}", server.port());
    let began = Instant::now();
    let refused = connect(options(ConnectOptions::new(url).connect_timeout(TIMEOUT))).await;
    let took = began.elapsed();
    let cause = match refused {
        Err(ConnectError::Closed(CloseReason::NoServers { cause, .. })) => cause,
        other => return Err(format!("not given up: {other:?}").into()),
    };
    // It was hung up, so that the script ends.
    tokio::task::spawn_blocking(|| server.finish()).await??;
    Ok((cause, took))
}

fn plain(options: ConnectOptions) -> ConnectOptions {
    options
}

fn patient(options: ConnectOptions) -> ConnectOptions {
    options.connect_timeout(LONG)
}

/// The attempt took its whole time and no more.
fn assert_timed_out((cause, took): (DisconnectCause, Duration), wanted: &DisconnectCause) {
    assert_eq!(cause, *wanted);
    assert!(took >= TIMEOUT && took < 5 * TIMEOUT, "{took:?}");
}

/// The attempt ended before its time, which would have been the cause otherwise.
fn assert_refused((cause, _): &(DisconnectCause, Duration), wanted: &str) {
    assert!(cause.to_string().contains(wanted), "{cause}");
}

#[tokio::test]
async fn who_says_nothing_is_left_in_time() -> Outcome {
    let silent = |_: &mut Peer| Ok(());
    assert_timed_out(attempt("nats", plain, silent).await?, &DisconnectCause::NoInfo);
    Ok(())
}

#[tokio::test]
async fn a_byte_now_and_then_buys_no_time() -> Outcome {
    let dripping = |peer: &mut Peer| drip(peer, INFO.as_bytes());
    assert_timed_out(attempt("nats", plain, dripping).await?, &DisconnectCause::NoInfo);
    // Between INFO and the first PONG no less.
    let later = |peer: &mut Peer| {
        peer.send(format!("{INFO}\r\n"))?;
        drip(peer, b"PING\r\n".repeat(100).as_slice())
    };
    assert_timed_out(attempt("nats", plain, later).await?, &DisconnectCause::TimedOut);
    Ok(())
}

/// And none of it is read: the answers of the client pile up in its sockets.
#[tokio::test]
async fn floods_buy_no_time() -> Outcome {
    for bytes in [format!("{INFO}\r\n"), "PING\r\n".into(), "+OK\r\n".into(), "-ERR 'x'\r\n".into()]
    {
        let flooding = move |peer: &mut Peer| {
            peer.send(format!("{INFO}\r\n"))?;
            flood(peer, bytes.as_bytes())
        };
        assert_timed_out(attempt("nats", plain, flooding).await?, &DisconnectCause::TimedOut);
    }
    Ok(())
}

#[tokio::test]
async fn an_info_without_end_is_refused_at_once() -> Outcome {
    let endless = |peer: &mut Peer| {
        peer.send("INFO {\"server_name\":\"")?;
        flood(peer, b"x")
    };
    assert_refused(&attempt("nats", patient, endless).await?, "longer than the configured limit");
    Ok(())
}

#[tokio::test]
async fn tls_that_stalls_drips_or_is_none_is_left_in_time() -> Outcome {
    let info = INFO.replace('}', ",\"tls_required\":true}");
    let stalled = info.clone();
    let stalled = move |peer: &mut Peer| {
        peer.send(format!("{stalled}\r\n"))?;
        peer.read_until(|bytes| !bytes.is_empty()).map(|_| ())
    };
    assert_timed_out(attempt("tls", plain, stalled).await?, &DisconnectCause::TimedOut);
    let first = |options: ConnectOptions| options.tls_mode(TlsMode::First);
    let silent = |_: &mut Peer| Ok(());
    assert_timed_out(attempt("tls", first, silent).await?, &DisconnectCause::TimedOut);
    let dripping = |peer: &mut Peer| drip(peer, &[22, 3, 3, 0x40, 0]);
    assert_timed_out(attempt("tls", first, dripping).await?, &DisconnectCause::TimedOut);

    // A ServerHello of 16 MiB, in records of 16 KiB.
    let mut record = vec![22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff];
    record.resize(5 + 0x4000, 0);
    let endless = move |peer: &mut Peer| {
        peer.send(format!("{info}\r\n"))?;
        peer.read_until(|hello| !hello.is_empty())?;
        flood(peer, &record)
    };
    let (cause, _) = attempt("tls", patient, endless).await?;
    assert!(matches!(cause, DisconnectCause::Tls(_)), "{cause:?}");
    // Warnings without end, and what is no record at all.
    for bytes in [&[21, 3, 3, 0, 2, 1, 90][..], b"INFO {}\r\n", &[0; 64], &[23, 3, 3, 0, 0]] {
        let flooding = move |peer: &mut Peer| flood(peer, bytes);
        let (cause, _) = attempt("tls", |options| patient(first(options)), flooding).await?;
        assert!(matches!(cause, DisconnectCause::Tls(_)), "{cause:?}");
    }
    Ok(())
}

#[tokio::test]
async fn an_http_answer_that_never_ends_is_left_in_time_or_at_its_bound() -> Outcome {
    let silent = |peer: &mut Peer| peer.expect("GET / HTTP/1.1").map(|_| ());
    assert_timed_out(attempt("ws", plain, silent).await?, &DisconnectCause::TimedOut);
    let dripping = |peer: &mut Peer| drip(peer, b"HTTP/1.1 101 Switching Protocols\r\nX: ");
    assert_timed_out(attempt("ws", plain, dripping).await?, &DisconnectCause::TimedOut);
    for bytes in ["x", "X: y\r\n"] {
        let endless = move |peer: &mut Peer| {
            peer.send("HTTP/1.1 101 Switching Protocols\r\nX: ")?;
            flood(peer, bytes.as_bytes())
        };
        assert_refused(&attempt("ws", patient, endless).await?, "WebSocket: ");
    }
    Ok(())
}

/// A server that turns bad on a client that is up costs the client that connection, and its calls
/// no more than their own time.
#[tokio::test]
async fn a_server_that_turns_bad_holds_up_no_call_past_its_time() -> Outcome {
    let server = ScriptedServer::start(|mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB ")?;
        // From here on it reads nothing.
        flood(&mut peer, b"PING\r\nPONG\r\n+OK\r\n-ERR 'x'\r\nMSG q 77 2\r\nhi\r\n")
    })?;
    let options = ConnectOptions::new(server.url())
        .ping_interval(Duration::from_millis(100))
        .linger(Duration::ZERO);
    let client = connect(options).await?;
    let mut events = client.events();
    let began = Instant::now();
    let asked = soon(client.request("q", "").timeout(TIMEOUT)).await;
    assert_eq!(asked, Err(RequestError::TimedOut));
    assert!(began.elapsed() < 5 * TIMEOUT, "{:?}", began.elapsed());
    wait_for(&mut events, |event| matches!(event, Event::ServerError(_))).await;
    soon(client.close()).await;
    drop(client);
    tokio::task::spawn_blocking(|| server.finish()).await??;
    Ok(())
}
