//! Clients that make mistakes: the model and a real server find the same ones.

use midge_proto::Instant;
use midge_sim::Rng;
use midge_sim::server::{Cluster, ServerOptions};
use midge_testing::{NatsServer, Peer};

use crate::transcript::frames;

const NOW: Instant = Instant::ZERO;
const CONNECT: &str = "CONNECT {\"pedantic\":false,\"headers\":true,\"protocol\":1}\r\n";
const SEEDS: u64 = 400;

#[test]
fn mistakes_are_answered_as_a_real_server_answers_them() {
    let config = "max_payload: 40\nmax_control_line: 100\nmax_subscriptions: 3\n";
    let server = NatsServer::builder().config(config).start().unwrap();
    let mut wrong = Vec::new();
    for seed in 0..SEEDS {
        let input = input(seed);
        let model = on_the_model(&input, |_| usize::MAX);
        let mut peer = Peer::connect(&server.url()).unwrap();
        // What is sent behind the greeting arrives in one read.
        let greeting = peer.expect("INFO ").unwrap();
        peer.send(&input).unwrap();
        // It may be closed already.
        let _ = peer.half_close();
        let mut real = format!("{greeting}\r\n").into_bytes();
        real.extend(peer.expect_closed().unwrap());
        if frames(&real) != frames(&model) {
            let [real, model] = [real, model].map(|bytes| frames(&bytes).join(""));
            wrong.push(format!("seed {seed}: {input:?}\n  server: {real:?}\n  model: {model:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn mistakes_are_the_same_under_every_cut() {
    for seed in 0..SEEDS {
        let input = input(seed);
        let whole = on_the_model(&input, |_| usize::MAX);
        assert_eq!(on_the_model(&input, |_| 1), whole, "seed {seed}, byte by byte: {input:?}");
        let mut rng = Rng::new(seed);
        let cut = on_the_model(&input, |left| 1 + rng.index(left));
        assert_eq!(cut, whole, "seed {seed}: {input:?}");
    }
}

#[test]
fn no_bytes_make_the_model_panic() {
    for seed in 0..2000 {
        let mut rng = Rng::new(seed);
        let mut bytes = input(seed).into_bytes();
        for _ in 0..rng.index(6) {
            let at = rng.index(bytes.len());
            bytes[at] = rng.next_u64().to_le_bytes()[0];
        }
        let mut cluster = Cluster::new(seed);
        let server = cluster.add(options());
        let id = cluster.accept(server, NOW).expect("it runs");
        cluster.received(id, &bytes, NOW);
        cluster.disconnected(id, NOW);
    }
}

fn options() -> ServerOptions {
    ServerOptions {
        max_payload: 40,
        max_control_line: 100,
        max_subscriptions: Some(3),
        ..ServerOptions::default()
    }
}

fn on_the_model(input: &str, mut cut: impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(options());
    let id = cluster.accept(server, NOW).expect("it runs");
    let mut rest = input.as_bytes();
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(cut(rest.len()).min(rest.len()));
        cluster.received(id, piece, NOW);
        rest = behind;
    }
    cluster.pending(id).to_vec()
}

/// Some operations, most of them right. A queue group appears once: its members are chosen at
/// random.
fn input(seed: u64) -> String {
    let mut rng = Rng::new(seed);
    let mut pick = |list: &[&str]| list[rng.index(list.len())].to_owned();
    let mut input = CONNECT.to_owned();
    let mut grouped = false;
    for _ in 0..=seed % 8 {
        let blank = pick(&[" ", " ", " ", "\t", "  ", " \t "]);
        let end = pick(&["\r\n", "\r\n", "\r\n", "\n"]);
        let subject = |pick: &mut dyn FnMut(&[&str]) -> String| {
            pick(&["a", "a.b", "a.*", ">", "b", "a..b", "x.>", "\u{e4}", "a>", "", "a b"])
        };
        let line = match pick(&["SUB", "SUB", "PUB", "PUB", "HPUB", "UNSUB", "PING", "other"])
            .as_str()
        {
            "SUB" if !grouped && pick(&["y", "n", "n"]) == "y" => {
                grouped = true;
                format!("{}{blank}{}{blank}q{blank}7", pick(&["SUB", "sub"]), pick(&["a", "a.>"]))
            }
            "SUB" => {
                let sid = pick(&["1", "2", "3", "4", "x", ""]);
                let subject = subject(&mut pick);
                // Two words are a subject and a group.
                let subject = if subject == "a b" { "b".to_owned() } else { subject };
                match (subject.is_empty(), sid.is_empty()) {
                    (true, true) => "SUB".to_owned(),
                    _ => format!("SUB{blank}{}", [subject, sid].join(&blank).trim()),
                }
            }
            "PUB" => {
                let (size, body) = sized(&mut pick);
                let subject = subject(&mut pick);
                let subject = if subject.is_empty() { "a".to_owned() } else { subject };
                format!("{}{blank}{subject}{blank}{size}\r\n{body}", pick(&["PUB", "Pub"]))
            }
            "HPUB" => {
                let (size, body) = sized(&mut pick);
                let headers = pick(&["0", "0", "1", "2", "5", "x", ""]);
                format!("HPUB{blank}a{blank}{headers}{blank}{size}\r\n{body}")
            }
            "UNSUB" => {
                let sid = pick(&["1", "2", "3", "x", "9"]);
                let max = pick(&["", "", "0", "1", "2", "3", "-1", "z", "1 2"]);
                format!("UNSUB{blank}{sid}{blank}{max}")
            }
            "PING" => pick(&["PING", "ping", "PINGPONG", "PING x", "PONG", "+OK", "INFO {}"]),
            _ => pick(&["", "x", "SU", "SUBx", "CONNECTx", "-ERR x", "-ERR", "INFO x", "RS+ a"]),
        };
        input += &line;
        input += &end;
    }
    input
}

/// A size and a body, which most often fit.
fn sized(pick: &mut dyn FnMut(&[&str]) -> String) -> (String, String) {
    let body = pick(&["", "x", "hello", "0123456789012345678901234567890123456789"]);
    let size = match pick(&["right", "right", "right", "right", "right", "less", "more", "odd"])
        .as_str()
    {
        "right" => body.len(),
        "less" => body.len().saturating_sub(1),
        "more" => body.len() + 1,
        _ => return (pick(&["-1", "1x", "0000000005", "999999999", "", "+1"]), body),
    };
    (size.to_string(), body)
}
