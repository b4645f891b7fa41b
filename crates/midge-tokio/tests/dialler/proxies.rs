//! Through proxies, which resolve the names: a handshake is a few lines of a dialler.

use std::io;
use std::net::Ipv4Addr;

use midge::DisconnectCause;
use midge_testing::NatsServer;
use midge_tokio::{Destination, connect_through};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::steps::{Outcome, soon};
use crate::{NAME, echo, forward, named, refusal};

// ---- HTTP CONNECT --------------------------------------------------------------------------

async fn through_http(proxy: u16, to: Destination) -> io::Result<BufReader<TcpStream>> {
    let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, proxy)).await?);
    stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).await?;
    let mut status = String::new();
    stream.read_line(&mut status).await?;
    let mut line = status.clone();
    while !line.trim_end().is_empty() {
        line.clear();
        stream.read_line(&mut line).await?;
    }
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("the proxy says: {}", status.trim_end())));
    }
    Ok(stream)
}

/// A proxy that leads to `port` whoever asks for `NAME` and port 4222 or 80, and nobody else.
async fn http_proxy(port: u16) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = BufReader::new(stream);
            let mut request = String::new();
            while !request.ends_with("\r\n\r\n") {
                stream.read_line(&mut request).await?;
            }
            let known = [4222, 80].map(|port| format!("CONNECT {NAME}:{port} HTTP/1.1\r\n"));
            if known.iter().any(|line| request.starts_with(line)) {
                stream.write_all(b"HTTP/1.1 200 OK\r\nVia: a test\r\n\r\n").await?;
                tokio::spawn(forward(stream, port));
            } else {
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await?;
            }
        }
        io::Result::Ok(())
    });
    Ok(at)
}

#[tokio::test]
async fn an_http_proxy_is_passed_through() -> Outcome {
    let server = NatsServer::start()?;
    let proxy = http_proxy(server.port()).await?;
    let dialler = move |to| through_http(proxy, to);
    let client = soon(connect_through(named("nats"), dialler)).await?;
    echo(&client).await?;
    let elsewhere = midge::ConnectOptions::new("nats://else.invalid").resolve(false);
    let cause = refusal(soon(connect_through(elsewhere, dialler)).await);
    assert_eq!(cause, DisconnectCause::Dial("the proxy says: HTTP/1.1 403 Forbidden".into()));
    Ok(())
}

#[cfg(feature = "websocket")]
#[tokio::test]
async fn a_websocket_passes_through_an_http_proxy() -> Outcome {
    let block = "websocket { host: \"127.0.0.1\", port: -1, no_tls: true, compression: true }";
    let server = NatsServer::builder().config(block).start()?;
    let url = server.ws_url().ok_or("the server listens for WebSockets")?;
    let port = url.rsplit(':').next().ok_or("it has a port")?.trim_end_matches('/').parse()?;
    let proxy = http_proxy(port).await?;
    let dialler = move |to| through_http(proxy, to);
    echo(&soon(connect_through(named("ws"), dialler)).await?).await
}

// ---- SOCKS5 --------------------------------------------------------------------------------

/// RFC 1928, without authentication.
async fn through_socks(proxy: u16, to: Destination) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy)).await?;
    stream.write_all(&[5, 1, 0]).await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    if answer != [5, 0] {
        return Err(io::Error::other("the proxy wants another authentication"));
    }
    let host = to.server.host().as_bytes();
    let length = u8::try_from(host.len()).map_err(io::Error::other)?;
    let port = to.server.port().to_be_bytes();
    stream.write_all(&[&[5, 1, 0, 3, length], host, &port].concat()).await?;
    // This one says where it is by an IPv4 address.
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).await?;
    match answer[1] {
        0 => Ok(stream),
        code => Err(io::Error::other(format!("the proxy refuses with code {code}"))),
    }
}

/// The other side of that: leads to `port` whoever asks for `NAME` and port 4222.
async fn socks_proxy(port: u16) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let at = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut methods = [0; 3];
            stream.read_exact(&mut methods).await?;
            assert_eq!(methods, [5, 1, 0]);
            stream.write_all(&[5, 0]).await?;
            let mut head = [0; 5];
            stream.read_exact(&mut head).await?;
            assert_eq!(head[..4], [5, 1, 0, 3]);
            let mut place = vec![0; usize::from(head[4]) + 2];
            stream.read_exact(&mut place).await?;
            let wanted = [NAME.as_bytes(), &4222_u16.to_be_bytes()].concat();
            let code = if place == wanted { 0 } else { 4 };
            stream.write_all(&[5, code, 0, 1, 127, 0, 0, 1, 0, 0]).await?;
            if code == 0 {
                tokio::spawn(forward(stream, port));
            }
        }
        io::Result::Ok(())
    });
    Ok(at)
}

#[tokio::test]
async fn a_socks_proxy_is_passed_through() -> Outcome {
    let server = NatsServer::start()?;
    let proxy = socks_proxy(server.port()).await?;
    let dialler = move |to| through_socks(proxy, to);
    let client = soon(connect_through(named("nats"), dialler)).await?;
    echo(&client).await?;
    let elsewhere = midge::ConnectOptions::new("nats://else.invalid").resolve(false);
    let cause = refusal(soon(connect_through(elsewhere, dialler)).await);
    assert_eq!(cause, DisconnectCause::Dial("the proxy refuses with code 4".into()));
    Ok(())
}
