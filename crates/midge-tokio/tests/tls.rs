//! TLS against a real nats-server.
#![cfg(feature = "ring")]

mod steps;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use midge::auth::Context;
use midge::rustls::pki_types::CertificateDer;
use midge::rustls::pki_types::pem::PemObject;
use midge::rustls::{self, ClientConfig, RootCertStore};
use midge::{
    CertificateFault, ConnectOptions, DisconnectCause, Event, Pem, ServerError, Tls, TlsMode,
};
use midge_testing::{Authority, Identity, NatsServer};

use steps::{Outcome, connect, echo, refusal, soon};

/// How long the server may take to write its log.
const LOG: Duration = Duration::from_secs(20);

/// A server for `localhost`, and whom to trust.
fn server(more: &str) -> Outcome<(NatsServer, Authority)> {
    server_with("", more)
}

fn server_with(config: &str, more: &str) -> Outcome<(NatsServer, Authority)> {
    let authority = Authority::new()?;
    let block = authority.issue(&["localhost"])?.tls_block(more);
    let server = NatsServer::builder().config(format!("{config}\n{block}")).start()?;
    Ok((server, authority))
}

fn url(scheme: &str, server: &NatsServer) -> String {
    format!("{scheme}://localhost:{}", server.port())
}

fn trusting(authority: &Authority) -> Tls {
    Tls::new().root_certificates(Pem::text(authority.pem()))
}

/// What is wrong with the server's certificate.
fn fault(cause: &DisconnectCause) -> CertificateFault {
    match cause {
        DisconnectCause::Certificate { fault, .. } => *fault,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn tls_is_used_behind_info_where_the_url_or_the_server_asks_for_it() -> Outcome {
    let (server, authority) = server("")?;
    for scheme in ["tls", "nats"] {
        let tls = trusting(&authority);
        let options = ConnectOptions::new(url(scheme, &server)).tls(tls);
        for options in [options.clone(), options.tls_mode(TlsMode::WhenOffered)] {
            let client = connect(options).await?;
            echo(&client).await?;
            let session = client.tls_session().ok_or("there is TLS")?;
            assert_eq!((&*session.server_name, &*session.version), ("localhost", "TLSv1_3"));
            soon(client.close()).await;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_offer_is_taken_unless_that_is_declined() -> Outcome {
    let (server, authority) = server_with("allow_non_tls: true", "")?;
    let options = ConnectOptions::new(url("nats", &server)).tls(trusting(&authority));
    let client = connect(options.tls_mode(TlsMode::WhenOffered)).await?;
    assert!(client.tls_session().is_some());
    let never = ConnectOptions::new(url("nats", &server)).tls_mode(TlsMode::Never);
    let client = connect(never).await?;
    assert!(client.tls_session().is_none());
    echo(&client).await
}

#[tokio::test]
async fn a_server_that_is_not_who_it_should_be_is_refused() -> Outcome {
    let (server, authority) = server("")?;
    let by_address = format!("tls://127.0.0.1:{}", server.port());
    let wrong_name = ConnectOptions::new(by_address).tls(trusting(&authority));
    let wrong_name = refusal(connect(wrong_name).await);
    assert_eq!(fault(&wrong_name), CertificateFault::WrongName, "{wrong_name}");
    assert!(wrong_name.to_string().contains("localhost"), "{wrong_name}");
    let stranger = Authority::new()?;
    let unknown = ConnectOptions::new(url("tls", &server)).tls(trusting(&stranger));
    let unknown = refusal(connect(unknown).await);
    assert_eq!(fault(&unknown), CertificateFault::UnknownIssuer, "{unknown}");
    // The server hears of both.
    server.wait_for_log("bad certificate", LOG)?;
    server.wait_for_log("unknown certificate authority", LOG)?;
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_full_says_so_before_tls() -> Outcome {
    for (more, mode) in [("", TlsMode::Required), ("handshake_first: true", TlsMode::First)] {
        let (server, authority) = server_with("max_connections: 1", more)?;
        let options = ConnectOptions::new(url("tls", &server)).tls(trusting(&authority));
        let options = options.tls_mode(mode);
        // Whoever looked whether the server is there may not have left yet.
        let first = connect(options.clone().retry_first_connect(true)).await?;
        soon(first.flush()).await?;
        for _ in 0..20 {
            let cause = refusal(connect(options.clone()).await);
            assert_eq!(cause, DisconnectCause::Server(ServerError::MaxConnections), "{mode:?}");
        }
        soon(first.close()).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_the_server_verifies_it() -> Outcome {
    let authority = Authority::new()?;
    let ca = authority.file().display().to_string();
    let block =
        authority.issue(&["localhost"])?.tls_block(&format!("ca_file: {ca:?}, verify: true"));
    let server = NatsServer::builder().config(block).start()?;
    let options = |tls| ConnectOptions::new(url("tls", &server)).tls(tls);
    let shows = |us: Identity| {
        trusting(&authority).client_certificate(Pem::file(&us.certificate), Pem::file(&us.key))
    };
    let stranger = Authority::new()?;
    let missing = refusal(connect(options(trusting(&authority))).await);
    assert_eq!(missing, DisconnectCause::ClientCertificateRequired);
    let missing = refusal(connect(options(Tls::new().config(tls12(&authority)))).await).to_string();
    assert!(missing.contains("set client_certificate"), "{missing}");
    let refused = refusal(connect(options(shows(stranger.issue(&["client.example"])?))).await);
    assert!(matches!(&refused, DisconnectCause::ClientCertificate(_)), "{refused}");
    echo(&connect(options(shows(authority.issue(&["client.example"])?))).await?).await
}

#[tokio::test]
async fn a_client_certificate_is_an_identity_where_the_server_maps_it() -> Outcome {
    let authority = Authority::new()?;
    let ca = authority.file().display().to_string();
    let block = authority
        .issue(&["localhost"])?
        .tls_block(&format!("ca_file: {ca:?}, verify_and_map: true"));
    let users = "authorization { users: [{user: \"app.example\"}, {user: \"other.example\"}] }";
    let server = NatsServer::builder().config(format!("{users}\n{block}")).start()?;
    let shows = |us: Identity| {
        let tls = trusting(&authority);
        let tls = tls.client_certificate(Pem::file(&us.certificate), Pem::file(&us.key));
        ConnectOptions::new(url("tls", &server)).tls(tls)
    };
    for name in ["app.example", "other.example"] {
        let client = connect(shows(authority.issue(&[name])?)).await?;
        let asked = client.request("$SYS.REQ.USER.INFO", "").into_future();
        let answer: serde_json::Value = serde_json::from_slice(soon(asked).await?.payload())?;
        assert_eq!(answer["data"]["user"], name, "{answer}");
        soon(client.close()).await;
    }
    // The authority vouches for it, and no user has this name.
    let stranger = refusal(connect(shows(authority.issue(&["stranger.example"])?)).await);
    assert_eq!(stranger, DisconnectCause::Server(ServerError::AuthorizationViolation));
    let nobody = ConnectOptions::new(url("tls", &server)).tls(trusting(&authority));
    assert_eq!(refusal(connect(nobody).await), DisconnectCause::ClientCertificateRequired);
    Ok(())
}

/// The certificates of the platform are looked for once a process: each part of this test is a
/// process of its own, which is told where they are.
#[tokio::test]
async fn the_root_certificates_of_the_platform_are_trusted_by_default() -> Outcome {
    const CHILD: &str = "MIDGE_TEST_PLATFORM_ROOTS";
    if let Ok(url) = std::env::var(CHILD) {
        match connect(ConnectOptions::new(&url)).await {
            Ok(client) => echo(&client).await?,
            Err(error) => return Err(error.into()),
        }
        return Ok(());
    }
    let (server, authority) = server("")?;
    let (stranger, empty) = (Authority::new()?, tempfile::NamedTempFile::new()?);
    for (roots, expected) in [
        (authority.file(), None),
        (stranger.file(), Some("UnknownIssuer")),
        (empty.path().to_owned(), Some("the platform has no root certificates")),
    ] {
        let name = "the_root_certificates_of_the_platform_are_trusted_by_default";
        let output = Command::new(std::env::current_exe()?)
            .args(["--exact", name, "--nocapture", "--test-threads", "1"])
            .env(CHILD, url("tls", &server))
            .env("SSL_CERT_FILE", roots)
            .env_remove("SSL_CERT_DIR")
            .output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains(name) || said.contains("1 test"), "the child ran a test: {said}");
        assert_eq!(output.status.success(), expected.is_none(), "{said}");
        assert!(expected.is_none_or(|expected| said.contains(expected)), "{said}");
    }
    Ok(())
}

/// A configuration of one's own, which shows no certificate and speaks TLS 1.2 alone.
fn tls12(authority: &Authority) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(authority.file()).expect("it is a file");
    roots.add_parsable_certificates(certificates.flatten());
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("the provider has it")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.into()
}

#[tokio::test]
async fn a_context_of_the_command_line_tool_brings_its_certificates() -> Outcome {
    let authority = Authority::new()?;
    let ca = authority.file();
    let us = authority.issue(&["client.example"])?;
    let identity = authority.issue(&["localhost"])?;
    for first in [false, true] {
        let more = format!("ca_file: {ca:?}, verify: true, handshake_first: {first}");
        let server = NatsServer::builder().config(identity.tls_block(&more)).start()?;
        let context = |fields: &str| {
            let url = url("nats", &server);
            format!(r#"{{"url": "{url}", "tls_first": {first}, "ca": {ca:?}{fields}}}"#)
                .parse::<Context>()
        };
        let pair = format!(r#", "cert": {:?}, "key": {:?}"#, us.certificate, us.key);
        let client = connect(&context(&pair)?).await?;
        assert!(client.tls_session().is_some());
        echo(&client).await?;
        let without = refusal(connect(&context("")?).await);
        assert_eq!(without, DisconnectCause::ClientCertificateRequired);
        let half = context(&format!(r#", "cert": {:?}"#, us.certificate))?;
        let half = connect(&half).await.map(|_| ()).unwrap_err().to_string();
        assert!(half.contains("both `cert` and `key`"), "{half}");
    }
    Ok(())
}

#[tokio::test]
async fn tls_before_info_needs_both_sides() -> Outcome {
    let options = |server: &NatsServer, authority: &Authority, mode| {
        ConnectOptions::new(url("tls", server)).tls(trusting(authority)).tls_mode(mode)
    };
    let (first, authority) = server("handshake_first: true")?;
    let client = connect(options(&first, &authority, TlsMode::First)).await?;
    echo(&client).await?;
    assert!(client.tls_session().is_some());
    let waits = options(&first, &authority, TlsMode::Required);
    let cause = refusal(connect(waits.connect_timeout(Duration::from_millis(500))).await);
    assert_eq!(cause, DisconnectCause::NoInfo);

    let (behind, authority) = server("")?;
    let cause = refusal(connect(options(&behind, &authority, TlsMode::First)).await);
    assert!(matches!(&cause, DisconnectCause::Tls(_)), "{cause}");

    // How long the server waits for a client that begins; `auto` is 50 ms.
    let (either, authority) = server("handshake_first: \"2s\"")?;
    for mode in [TlsMode::First, TlsMode::Required] {
        echo(&connect(options(&either, &authority, mode)).await?).await?;
    }
    Ok(())
}

#[tokio::test]
async fn tls_that_cannot_be_had_is_said() -> Outcome {
    let plain = NatsServer::start()?;
    for options in [
        ConnectOptions::new(url("tls", &plain)),
        ConnectOptions::new(url("nats", &plain)).tls(Tls::new()),
    ] {
        assert_eq!(refusal(connect(options).await), DisconnectCause::TlsNotOffered);
    }
    let (encrypted, _) = server("")?;
    let never = ConnectOptions::new(url("nats", &encrypted)).tls_mode(TlsMode::Never);
    assert_eq!(refusal(connect(never).await), DisconnectCause::TlsUnavailable);
    Ok(())
}

#[tokio::test]
async fn files_are_read_again_at_each_connect() -> Outcome {
    let (mut server, old) = server("")?;
    let roots = tempfile::NamedTempFile::new()?;
    std::fs::write(roots.path(), old.pem())?;
    let tls = Tls::new().root_certificates(Pem::file(roots.path()));
    let client = connect(ConnectOptions::new(url("tls", &server)).tls(tls)).await?;
    let mut events = client.events();
    let new = Authority::new()?;
    server.reload(new.issue(&["localhost"])?.tls_block(""))?;
    std::fs::write(roots.path(), new.pem())?;
    client.reconnect();
    loop {
        match soon(events.next()).await.ok_or("the connection goes on")? {
            Event::Connected(_) => return echo(&client).await,
            Event::AttemptFailed { cause, .. } => panic!("{cause}"),
            _ => {}
        }
    }
}
