//! The model against a real nats-server: the same bytes in, the same bytes out.

use std::collections::BTreeMap;

use midge_proto::Instant;
use midge_sim::server::{ClientId, Cluster, ServerId};
use midge_testing::{NatsServer, Peer, ScriptError};

use crate::cases::{Case, Kind, cases};
use crate::transcript::{Read, frames};

/// Two, because INFO follows the first PONG of all.
const SYNC: &str = "PING\r\nPING\r\n";

/// Everything that the clients of a case read, by client and step.
type Transcript = Vec<(usize, Read)>;

#[test]
fn the_model_answers_as_a_real_server_does() {
    let cases = cases();
    let mut wrong = Vec::new();
    for kind in Kind::ALL {
        let server = NatsServer::builder().config(kind.config()).start().unwrap();
        for case in cases.iter().filter(|case| case.kind == kind) {
            if kind == Kind::OneConnection {
                wait_until_free(&server);
            }
            let (expected, raw) = on_the_model(case);
            let got = on_a_server(case, &server, &raw);
            if let Some(step) = (0..expected.len()).find(|&at| got.get(at) != expected.get(at)) {
                let (got, expected) = (&got[step], &expected[step]);
                wrong.push(format!(
                    "{}, read {step}:\n  {got:?}\nmodel:\n  {expected:?}",
                    case.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// The clients that read after a step: the one that spoke, and then the others that are there.
fn readers(case: &Case, step: usize) -> Vec<usize> {
    let speaker = case.says[step].0;
    let mut readers = vec![speaker];
    for &(client, _) in &case.says[..step] {
        if !readers.contains(&client) {
            readers.push(client);
        }
    }
    readers
}

/// What is read on the model, and how many bytes of which kind the real server owes.
fn on_the_model(case: &Case) -> (Transcript, Vec<Owed>) {
    const NOW: Instant = Instant::ZERO;
    let mut cluster = Cluster::new(1);
    let server: ServerId = cluster.add(case.kind.options());
    let mut clients: BTreeMap<usize, ClientId> = BTreeMap::new();
    let (mut transcript, mut owed) = (Vec::new(), Vec::new());
    for (step, (speaker, text)) in case.says.iter().enumerate() {
        clients
            .entry(*speaker)
            .or_insert_with(|| cluster.accept(server, NOW).expect("the server runs"));
        for reader in readers(case, step) {
            let id = clients[&reader];
            if reader == *speaker {
                cluster.received(id, text.as_bytes(), NOW);
            }
            cluster.received(id, SYNC.as_bytes(), NOW);
            let bytes = cluster.pending(id).to_vec();
            cluster.wrote(id, bytes.len(), NOW);
            let closed = cluster.is_closing(id);
            owed.push(Owed { pongs: count_pongs(&bytes), closed });
            transcript.push((reader, Read { frames: frames(&bytes), closed }));
        }
    }
    (transcript, owed)
}

/// What a real server is waited for.
struct Owed {
    pongs: usize,
    closed: bool,
}

fn on_a_server(case: &Case, server: &NatsServer, owed: &[Owed]) -> Transcript {
    let mut clients: BTreeMap<usize, Option<Peer>> = BTreeMap::new();
    let mut owed = owed.iter();
    let mut transcript = Vec::new();
    for (step, (speaker, text)) in case.says.iter().enumerate() {
        clients
            .entry(*speaker)
            .or_insert_with(|| Some(Peer::connect(&server.url()).expect("it runs")));
        for reader in readers(case, step) {
            let owed = owed.next().expect("as many steps as on the model");
            let client = clients.get_mut(&reader).expect("it is there");
            let Some(peer) = client else {
                transcript.push((reader, Read { frames: Vec::new(), closed: true }));
                continue;
            };
            let said = if reader == *speaker { text.as_str() } else { "" };
            // The server may have closed it already: then there is something to read.
            let _ = peer.send(format!("{said}{SYNC}"));
            let read = read(peer, owed);
            if read.closed {
                *client = None;
            }
            transcript.push((reader, read));
        }
    }
    for (number, client) in clients {
        if let Some(mut peer) = client {
            peer.half_close().expect("it is open");
            let rest = peer.expect_closed().expect("the server closes, too");
            assert!(frames(&rest).is_empty(), "{}: {number} reads more: {rest:?}", case.name);
        }
    }
    transcript
}

fn read(peer: &mut Peer, owed: &Owed) -> Read {
    if owed.closed {
        return match peer.expect_closed() {
            Ok(bytes) => Read { frames: frames(&bytes), closed: true },
            Err(error) => Read { frames: vec![error.to_string()], closed: false },
        };
    }
    let mut seen = Vec::new();
    let done = peer.read_until(|bytes| {
        seen = bytes.to_vec();
        count_pongs(bytes) >= owed.pongs && bytes.ends_with(b"PONG\r\n")
    });
    match done {
        Ok(bytes) => Read { frames: frames(&bytes), closed: false },
        Err(error) => {
            let closed = matches!(error, ScriptError::Closed { .. });
            Read { frames: vec![String::from_utf8_lossy(&seen).into_owned()], closed }
        }
    }
}

fn count_pongs(bytes: &[u8]) -> usize {
    bytes.windows(6).filter(|window| window == b"PONG\r\n").count()
}

/// Waits until the connection that asked whether the server is there is forgotten.
fn wait_until_free(server: &NatsServer) {
    for _ in 0..100 {
        let mut peer = Peer::connect(&server.url()).expect("it runs");
        peer.expect("INFO ").expect("a greeting");
        if peer.send(SYNC).is_ok() && peer.expect("PONG").is_ok() {
            peer.half_close().expect("it is open");
            peer.expect_closed().expect("the server closes, too");
            return;
        }
    }
    panic!("the server stays full");
}
