//! The scripted server, seen from a client.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use midge_testing::{Peer, ScriptError, ScriptedServer};

const SOON: Duration = Duration::from_millis(50);

#[test]
fn the_handshake_greets_like_a_server_and_returns_what_the_client_said() {
    let (told, connect) = mpsc::channel();
    let server = ScriptedServer::start(move |mut listener| {
        let mut client = listener.accept()?;
        told.send(client.handshake()?).unwrap();
        client.expect("SUB ")?;
        client.send("MSG a 1 2\r\nhi\r\n")
    })
    .unwrap();
    let mut client = Peer::connect(&server.url()).unwrap();

    let info = client.expect("INFO {").unwrap();
    assert!(info.contains(&format!(r#""port":{},"#, server.port())));
    client.send("CONNECT {\"verbose\":false}\r\nPING\r\n").unwrap();
    client.expect("PONG").unwrap();
    client.send("SUB a 1\r\n").unwrap();
    client.expect_exact("MSG a 1 2\r\nhi\r\n").unwrap();

    assert_eq!(connect.recv().unwrap(), r#"{"verbose":false}"#);
    server.finish().unwrap();
}

#[test]
fn a_script_serves_one_connection_after_another() {
    let server = ScriptedServer::start(|mut listener| {
        listener.accept()?.cut()?;
        let mut second = listener.accept()?;
        second.send("hello again")
    })
    .unwrap();
    let mut first = Peer::connect(&server.url()).unwrap();
    assert_eq!(first.expect_closed().unwrap(), b"");
    let mut second = Peer::connect(&server.url()).unwrap();
    assert_eq!(second.expect_closed().unwrap(), b"hello again");
    server.finish().unwrap();
}

#[test]
fn pieces_arrive_as_the_same_bytes() {
    let server = ScriptedServer::start(|mut listener| {
        let mut client = listener.accept()?;
        client.send_in_pieces("PING\r\nPONG\r\n", 1)?;
        client.cut()
    })
    .unwrap();
    let mut client = Peer::connect(&server.url()).unwrap();
    let all = client.read_until(|bytes| bytes.len() == 12).unwrap();
    assert_eq!(all, b"PING\r\nPONG\r\n");
    server.finish().unwrap();
}

#[test]
fn a_cut_is_an_end_of_stream_and_a_reset_is_a_reset() {
    let (gone, after) = mpsc::channel();
    let server = ScriptedServer::start(move |mut listener| {
        listener.accept()?.cut()?;
        listener.accept()?.reset()?;
        gone.send(()).unwrap();
        Ok(())
    })
    .unwrap();
    let read = |mut stream: std::net::TcpStream| std::io::Read::read(&mut stream, &mut [0]);
    let address = ("127.0.0.1", server.port());
    let cut = std::net::TcpStream::connect(address).unwrap();
    assert_eq!(read(cut).unwrap(), 0);
    let reset = std::net::TcpStream::connect(address).unwrap();
    after.recv().unwrap();
    let error = read(reset).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    server.finish().unwrap();
}

#[test]
fn a_client_answers_a_ping_where_it_wants_something_else() {
    let server = ScriptedServer::start(|mut listener| {
        let mut client = listener.accept()?;
        client.send_in_pieces("PING\r\nMSG a 1 2\r\nhi\r\n", 1)?;
        client.expect_exact("PONG\r\n")?;
        client.send("PING\r\n+OK\r\nPING\r\nPING\r\n")?;
        client.expect_exact("PONG\r\nSUB a 1\r\n")?;
        Ok(())
    })
    .unwrap();
    let mut client = Peer::connect(&server.url()).unwrap();
    client.expect_exact("MSG a 1 2\r\nhi\r\n").unwrap();
    client.expect("+OK").unwrap();
    client.expect("PING").unwrap();
    client.expect_exact("PING\r\n").unwrap();
    client.send("SUB a 1\r\n").unwrap();
    server.finish().unwrap();
}

#[test]
fn after_a_half_close_the_script_still_reads() {
    let server = ScriptedServer::start(|mut listener| {
        let mut client = listener.accept()?;
        client.half_close()?;
        client.expect_exact("still here")?;
        assert_eq!(client.expect_closed()?, b"");
        Ok(())
    })
    .unwrap();
    let mut client = Peer::connect(&server.url()).unwrap();
    client.expect_closed().unwrap();
    client.send("still here").unwrap();
    drop(client);
    server.finish().unwrap();
}

#[test]
fn a_script_that_does_not_read_stops_the_sender() {
    let (resume, resumed) = mpsc::channel();
    let server = ScriptedServer::start(move |mut listener| {
        listener.set_receive_buffer(4096)?;
        let mut client = listener.accept()?;
        resumed.recv().unwrap();
        client.expect_closed().map(drop)
    })
    .unwrap();
    let mut client = Peer::connect(&server.url()).unwrap();
    client.set_deadline(SOON);
    let error = client.send(vec![b'x'; 16 << 20]).unwrap_err();
    assert!(matches!(error, ScriptError::Io { .. }), "{error}");
    resume.send(()).unwrap();
    drop(client);
    server.finish().unwrap();
}

#[test]
fn a_failed_step_shows_what_was_wanted_and_what_came() {
    /// The text of the error of `step`, after a client sent `bytes` and perhaps left.
    fn failure(
        bytes: &'static str,
        leave: bool,
        step: impl FnOnce(&mut Peer) -> Result<(), ScriptError> + Send + 'static,
    ) -> String {
        let (sent, is_sent) = mpsc::channel::<()>();
        let server = ScriptedServer::start(move |mut listener| {
            let _ = is_sent.recv();
            listener.set_deadline(SOON);
            step(&mut listener.accept()?)
        })
        .unwrap();
        let mut client = Peer::connect(&server.url()).unwrap();
        client.send(bytes).unwrap();
        let kept = (!leave).then_some(client);
        drop(sent);
        let text = server.finish().unwrap_err().to_string();
        drop(kept);
        text
    }
    let line = |peer: &mut Peer| peer.expect("SUB ").map(drop);
    let exact = |peer: &mut Peer| peer.expect_exact("PING\r\n");

    assert_eq!(
        failure("PUB a 0\r\n", false, line),
        r#"wanted a line starting with "SUB ", got "PUB a 0\r\n""#
    );
    assert_eq!(
        failure("SUB a", false, line),
        r#"wanted a line starting with "SUB " within 50ms, got only "SUB a""#
    );
    assert_eq!(
        failure("SUB a", true, line),
        r#"wanted a line starting with "SUB ", but the connection was closed after "SUB a""#
    );
    assert_eq!(failure("PONG", false, exact), r#"wanted "PING\r\n", got "PONG""#);
    assert_eq!(failure("PING", false, exact), r#"wanted "PING\r\n" within 50ms, got only "PING""#);
}

#[test]
fn a_script_that_waits_for_nobody_fails() {
    let server = ScriptedServer::start(|mut listener| {
        listener.set_deadline(SOON);
        listener.accept().map(drop)
    })
    .unwrap();
    let error = server.finish().unwrap_err();
    assert_eq!(error.to_string(), "nobody connected within 50ms");
}

#[test]
fn dropping_a_server_whose_script_failed_panics() {
    let server = ScriptedServer::start(|mut listener| {
        listener.set_deadline(SOON);
        listener.accept().map(drop)
    })
    .unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| drop(server))).unwrap_err();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("nobody connected"), "{text}");
}

#[test]
fn a_panic_of_the_script_reaches_the_test() {
    let server = ScriptedServer::start(|_| panic!("as asserted")).unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| server.finish())).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"as asserted"));
}
