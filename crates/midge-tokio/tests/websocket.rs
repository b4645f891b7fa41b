//! WebSocket against a real nats-server.
#![cfg(feature = "websocket")]

mod steps;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use midge::{ConnectOptions, DisconnectCause, Event, ServerUrl, WhenFull};
use midge_testing::NatsServer;

use steps::{Outcome, connect, echo, lost, refusal, soon};

/// A server with a listener for WebSockets, and the URL of that.
fn server(config: &str, websocket: &str) -> Outcome<(NatsServer, String)> {
    let block = format!("websocket {{ host: \"127.0.0.1\", port: -1\n {websocket} }}");
    let server = NatsServer::builder().config(format!("{config}\n{block}")).start()?;
    let url = server.ws_url().ok_or("the server listens for WebSockets")?;
    Ok((server, url))
}

#[tokio::test]
async fn messages_pass_with_and_without_compression_on_either_side() -> Outcome {
    for offered in [true, false] {
        let (_server, url) = server("", &format!("no_tls: true, compression: {offered}"))?;
        for wanted in [true, false] {
            let options = ConnectOptions::new(&url).websocket_compression(wanted);
            let client = connect(options).await?;
            assert!(client.tls_session().is_none());
            echo(&client).await?;
            soon(client.close()).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn messages_from_plain_clients_and_to_them_pass() -> Outcome {
    let (server, url) = server("", "no_tls: true, compression: true")?;
    let (web, plain) = (connect(&url).await?, connect(server.url()).await?);
    let mut of_web = web.subscribe("to.web").await?;
    let mut of_plain = plain.subscribe("to.plain").await?;
    soon(web.flush().into_future()).await?;
    soon(plain.flush().into_future()).await?;
    for number in 0..10_000_u32 {
        web.publish("to.plain", number.to_string()).await?;
        plain.publish("to.web", number.to_string()).await?;
    }
    for number in 0..10_000_u32 {
        for subscription in [&mut of_web, &mut of_plain] {
            let message = soon(subscription.next()).await.ok_or("it goes on")?;
            assert_eq!(message.payload(), number.to_string().as_bytes());
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_slow_consumer_hears_why_it_was_cut_off() -> Outcome {
    let config = "max_pending: 1048576, write_deadline: \"2s\"";
    let (server, url) = server(config, "no_tls: true")?;
    let options = ConnectOptions::new(&url).subscription_capacity(10, 1 << 30);
    let (slow, plain) = (connect(options).await?, connect(server.url()).await?);
    let mut events = slow.events();
    let mut subscription = slow.subscribe("a").when_full(WhenFull::Pause).await?;
    soon(slow.flush().into_future()).await?;
    // It reads nothing, until the server has had enough of it.
    let payload = vec![b'x'; 100_000];
    while !server.log()?.contains("Slow Consumer") {
        plain.publish("a", &payload).await?;
        soon(plain.flush().into_future()).await?;
    }
    subscription.unsubscribe();
    let cause = lost(&mut events).await;
    // What the server could still write of its last words depends on the system's buffers.
    assert!(
        matches!(&cause, DisconnectCause::WebSocketClosed { code: 1008, reason }
            if reason.starts_with("Slow Consumer"))
            || matches!(&cause, DisconnectCause::Eof | DisconnectCause::Io(_)),
        "{cause}"
    );
    Ok(())
}

#[tokio::test]
async fn a_server_that_stops_says_so() -> Outcome {
    let (mut server, url) = server("", "no_tls: true, compression: true")?;
    let client = connect(&url).await?;
    let mut events = client.events();
    server.stop()?;
    let cause = lost(&mut events).await;
    assert!(
        matches!(&cause, DisconnectCause::WebSocketClosed { code: 1001, reason }
            if reason == "Server Shutdown"),
        "{cause}"
    );
    Ok(())
}

#[tokio::test]
async fn credentials_in_headers_are_seen_by_the_server() -> Outcome {
    let config = "authorization { users: [{ user: joe, password: secret }] }";
    let cookies = "no_tls: true, user_cookie: who, pass_cookie: what";
    let (_server, url) = server(config, cookies)?;
    let refused = refusal(connect(ConnectOptions::new(&url)).await);
    assert!(matches!(&refused, DisconnectCause::Server(error) if error.is_auth()), "{refused}");
    let options = ConnectOptions::new(&url).websocket_header("Cookie", "who=joe; what=secret");
    echo(&connect(options).await?).await
}

#[tokio::test]
async fn headers_that_expire_are_renewed_at_the_next_attempt() -> Outcome {
    let config = "authorization { users: [{ user: joe, password: secret }] }";
    let cookies = "no_tls: true, user_cookie: who, pass_cookie: what";
    let (_server, url) = server(config, cookies)?;
    let asked = AtomicUsize::new(0);
    let provider = move |_: &ServerUrl| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Err("no token yet"),
        1 => Ok(vec![("Cookie".to_owned(), "who=joe; what=expired".to_owned())]),
        _ => Ok(vec![("Cookie".to_owned(), "who=joe; what=secret".to_owned())]),
    };
    let short = Duration::from_millis(10);
    let options = ConnectOptions::new(&url)
        .retry_first_connect(true)
        .reconnect_wait(short, short)
        .reconnect_jitter(short, short)
        .websocket_path("/behind/a/proxy")
        .websocket_header_provider(provider);
    let client = connect(options).await?;
    let mut events = client.events();
    let mut failures = Vec::new();
    loop {
        match soon(events.next()).await.ok_or("the connection goes on")? {
            Event::Connected(_) => break,
            Event::AttemptFailed { cause, .. } => failures.push(cause),
            _ => {}
        }
    }
    assert!(matches!(&failures[0], DisconnectCause::Credentials(why)
        if why == "`websocket_header_provider`: no token yet"));
    assert!(matches!(&failures[1], DisconnectCause::Server(error) if error.is_auth()));
    assert_eq!(failures.len(), 2);
    echo(&client).await
}

#[tokio::test]
async fn an_origin_that_is_not_allowed_is_a_clear_refusal() -> Outcome {
    let (_server, url) = server("", "no_tls: true, allowed_origins: [\"http://good.example\"]")?;
    let from = |origin| ConnectOptions::new(&url).websocket_header("Origin", origin);
    let refused = refusal(connect(from("http://bad.example")).await);
    let reason = "Forbidden".to_owned();
    assert_eq!(refused, DisconnectCause::WebSocketRefused { code: 403, reason });
    assert!(refused.to_string().contains("answered 403 Forbidden"), "{refused}");
    echo(&connect(from("http://good.example")).await?).await
}

#[tokio::test]
async fn the_port_of_plain_clients_is_told_from_that_of_web_sockets() -> Outcome {
    let server = NatsServer::start()?;
    let url = server.url().replace("nats://", "ws://");
    let refused = refusal(connect(ConnectOptions::new(&url)).await).to_string();
    assert!(refused.contains("is this its port for WebSockets?"), "{refused}");
    Ok(())
}

#[cfg(feature = "ring")]
mod secure {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use midge::{CertificateFault, Pem, Tls, TlsMode};
    use midge_testing::Authority;

    use super::*;

    #[tokio::test]
    async fn wss_is_tls_from_the_first_byte_with_and_without_compression() -> Outcome {
        let authority = Authority::new()?;
        let block = authority.issue(&["localhost"])?.tls_block("");
        for compression in [true, false] {
            let (_server, url) = server("", &format!("{block}\n compression: {compression}"))?;
            let url = url.replace("127.0.0.1", "localhost");
            assert!(url.starts_with("wss://"), "{url}");
            let tls = || Tls::new().root_certificates(Pem::text(authority.pem()));
            let options = ConnectOptions::new(&url).tls(tls());
            for options in [options.clone(), options.tls_mode(TlsMode::WhenOffered)] {
                let client = connect(options).await?;
                assert!(client.tls_session().is_some());
                echo(&client).await?;
                soon(client.close()).await;
            }
            let strange = Tls::new().root_certificates(Pem::text(Authority::new()?.pem()));
            let cause = refusal(connect(ConnectOptions::new(&url).tls(strange)).await);
            let unknown = matches!(
                &cause,
                DisconnectCause::Certificate { fault: CertificateFault::UnknownIssuer, .. }
            );
            assert!(unknown, "{cause}");
            // Without TLS, there is nobody to talk to.
            let plain = refusal(connect(ConnectOptions::new(url.replace("wss://", "ws://"))).await);
            let refused = matches!(&plain, DisconnectCause::WebSocketRefused { code: 400, .. });
            assert!(refused, "{plain}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn after_wss_a_server_of_ws_is_not_even_dialled() -> Outcome {
        let authority = Authority::new()?;
        let block = authority.issue(&["localhost"])?.tls_block("");
        let (mut server, secure) = server("", &block)?;
        let secure = secure.replace("127.0.0.1", "localhost");
        let clear = TcpListener::bind("127.0.0.1:0")?;
        clear.set_nonblocking(true)?;
        let plain = format!("ws://{}", clear.local_addr()?);
        let tls = Tls::new().root_certificates(Pem::text(authority.pem()));
        let options = ConnectOptions::new([&*secure, &*plain])
            .tls(tls)
            .tls_mode(TlsMode::WhenOffered)
            .retain_order(true)
            .ignore_discovered(true)
            .websocket_header("Cookie", "secret");
        let client = connect(options).await?;
        let mut events = client.events();
        server.kill()?;
        loop {
            if let Some(Event::AttemptFailed { server, cause }) = soon(events.next()).await
                && server.to_string() == plain
            {
                assert_eq!(cause, DisconnectCause::TlsNotOffered);
                break;
            }
        }
        let dialled = clear.accept().map_err(|error| error.kind());
        assert!(matches!(dialled, Err(ErrorKind::WouldBlock)), "{dialled:?}");
        Ok(())
    }
}
