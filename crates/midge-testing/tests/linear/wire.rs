//! What a report shows of the wire.

use midge_testing::linear::{Answer, Call, Found, History, check};
use midge_testing::{Direction, Link, Peer, Recording, ScriptedServer};

#[test]
fn a_report_shows_what_passed_while_a_client_asked() {
    let server = ScriptedServer::start(|mut listener| {
        let mut client = listener.accept()?;
        for (asked, told) in [("PUT 10", "OK 1"), ("PING", "PONG"), ("GET", "NONE")] {
            client.expect(asked)?;
            client.send(format!("{told}\r\n"))?;
        }
        Ok(())
    });
    let server = server.unwrap();
    let recording = Recording::new();
    let link = Link::to(&server.url()).record(&recording).start().unwrap();
    let mut client = Peer::connect(&link.url()).unwrap();
    let mut ask = |asked: &str, told: &str| {
        client.send(format!("{asked}\r\n")).unwrap();
        client.expect(told).unwrap();
    };
    let history = History::new();
    let put = history.call_over(1, Call::Put { value: 10 }, &recording);
    ask("PUT 10", "OK 1");
    put.answer(Answer::Written(1));
    ask("PING", "PONG");
    let get = history.call_over(1, Call::Read, &recording);
    ask("GET", "NONE");
    get.answer(Answer::Found(None));
    server.finish().unwrap();

    let operations = history.operations();
    let violation = check(&operations).expect_err("it was put");
    let report = history.report(&operations, violation);
    assert!(report.is_witnessed());
    let wires: Vec<_> = report.contradiction.iter().map(|witness| &witness.wire).collect();
    let [put, get] = &wires[..] else { panic!("{report}") };
    assert_eq!((put.len(), get.len()), (2, 2), "{report}");
    assert_eq!((put[0].direction, &*put[0].bytes), (Direction::ToServer, &b"PUT 10\r\n"[..]));
    assert_eq!((get[1].direction, &*get[1].bytes), (Direction::ToClient, &b"NONE\r\n"[..]));
    let told = report.to_string();
    assert!(told.contains("> PUT 10\\r\\n") && told.contains("< NONE\\r\\n"), "{told}");
    assert!(!told.contains("PONG"), "{told}");

    // An answer of which nothing passed is not witnessed.
    history
        .call_over(1, Call::Read, &recording)
        .answer(Answer::Found(Some(Found { revision: 1, value: Some(3) })));
    let operations = [operations[0].clone(), history.operations()[2].clone()];
    let violation = check(&operations).expect_err("nobody put that");
    assert!(!history.report(&operations, violation).is_witnessed());
}
