//! TLS and WebSocket over streams of the application, and streams that are secure by themselves.

use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use midge::{CertificateFault, ConnectOptions, DisconnectCause, Event, Pem, Tls, TlsMode};
use midge_testing::NatsServer;
use midge_tokio::{Transport, connect_through, connect_with};
use tokio::io::{BufReader, duplex};
use tokio::sync::mpsc;

use crate::steps::{Outcome, soon, wait_for};
use crate::{NAME, Peer, echo, forward, named, refusal};

#[tokio::test]
async fn tls_and_websocket_go_over_a_stream_and_verify_the_name_of_the_url() -> Outcome {
    let authority = midge_testing::Authority::new()?;
    let identity = authority.issue(&[NAME])?;
    let tls = identity.tls_block("");
    let websocket = format!("websocket {{ host: \"127.0.0.1\", port: -1\n {tls} }}");
    let server = NatsServer::builder().config(format!("{tls}\n{websocket}")).start()?;
    let web = server.ws_url().ok_or("the server listens for WebSockets")?;
    let web = web.rsplit(':').next().ok_or("it has a port")?.trim_end_matches('/').parse()?;
    let first = identity.tls_block("handshake_first: true");
    let first = NatsServer::builder().config(first).start()?;
    let trusting = Tls::new().root_certificates(Pem::text(authority.pem()));
    for (scheme, mode, port) in [
        ("tls", TlsMode::Required, server.port()),
        ("nats", TlsMode::WhenOffered, server.port()),
        ("tls", TlsMode::First, first.port()),
        ("wss", TlsMode::Required, web),
    ] {
        let options = |name: &str| {
            let url = format!("{scheme}://{name}");
            ConnectOptions::new(url).resolve(false).tls(trusting.clone()).tls_mode(mode)
        };
        let dialler = move |_| {
            let (ours, theirs) = duplex(1000);
            tokio::spawn(forward(theirs, port));
            ready(Ok(ours))
        };
        let client = soon(connect_through(options(NAME), dialler)).await?;
        let session = client.tls_session().ok_or("TLS is on")?;
        assert_eq!(session.server_name, NAME);
        echo(&client).await?;
        soon(client.close()).await;
        let cause = refusal(soon(connect_through(options("other.invalid"), dialler)).await);
        let wrong_name = matches!(
            cause,
            DisconnectCause::Certificate { fault: CertificateFault::WrongName, .. }
        );
        assert!(wrong_name, "{scheme} {mode:?}: {cause:?}");
    }
    Ok(())
}

#[tokio::test]
async fn on_a_stream_that_is_secure_no_tls_begins_and_a_later_one_must_be_so_too() -> Outcome {
    let secure = Arc::new(AtomicBool::new(true));
    let (hand_over, mut ends) = mpsc::unbounded_channel();
    let dialler = {
        let secure = secure.clone();
        move |_| {
            let (ours, theirs) = duplex(1000);
            let _ = hand_over.send(theirs);
            let transport = match secure.load(Ordering::Relaxed) {
                true => Transport::secure(ours),
                false => Transport::from(ours),
            };
            ready(Ok(transport))
        }
    };
    let (connecting, driver) = connect_with(named("tls"))?;
    tokio::spawn(driver.through(dialler));
    let end = soon(ends.recv()).await.ok_or("it is dialled")?;
    let (peer, connect) = Peer::greet(end, ",\"tls_required\":true").await?;
    assert!(connect.contains("\"tls_required\":true"), "{connect}");
    let client = soon(connecting).await?;
    assert!(client.tls_session().is_none());
    let mut events = client.events();

    secure.store(false, Ordering::Relaxed);
    drop(peer);
    let end = soon(ends.recv()).await.ok_or("it is dialled again")?;
    let mut peer = Peer(BufReader::new(end));
    peer.say("INFO {}\r\n").await?;
    let failed = |event: &Event| matches!(event, Event::AttemptFailed { .. });
    match wait_for(&mut events, failed).await {
        Event::AttemptFailed { cause, .. } => assert_eq!(cause, DisconnectCause::TlsNotOffered),
        other => panic!("{other:?}"),
    }
    assert_eq!(peer.line().await?, "", "nothing was sent");

    secure.store(true, Ordering::Relaxed);
    let end = soon(ends.recv()).await.ok_or("it is dialled again")?;
    let (_peer, connect) = Peer::greet(end, "").await?;
    assert!(connect.contains("\"tls_required\":true"), "{connect}");
    wait_for(&mut events, |event| matches!(event, Event::Connected(_))).await;
    Ok(())
}
