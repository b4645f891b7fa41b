//! The wire between a client and a server.

#![allow(
    clippy::unwrap_used,
    reason = "also outside of test functions, a failed step fails the test"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use midge_testing::{
    Chaos, ClosedPort, Direction, Faults, Link, LinkBuilder, NatsServer, Peer, ScriptError,
};

/// A link that a client and a server are connected through.
struct Rig {
    link: Link,
    client: TcpStream,
    server: TcpStream,
}

impl Rig {
    fn new(build: impl FnOnce(LinkBuilder) -> LinkBuilder) -> Rig {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let link = build(Link::to(&address)).start().unwrap();
        let client = TcpStream::connect(("127.0.0.1", link.port())).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            end.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        Rig { link, client, server }
    }

    fn plain() -> Rig {
        Rig::new(|builder| builder)
    }

    fn is_reset(stream: &mut TcpStream) -> bool {
        let error = stream.read(&mut [0]).unwrap_err();
        error.kind() == ErrorKind::ConnectionReset
    }
}

/// Bytes that tell their place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at % 251) as u8).collect()
}

fn read_exactly(stream: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Writes until the buffers on the way are full, which is when they have taken nothing at many
/// looks, and returns how many bytes they took.
fn fill(stream: &mut TcpStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let piece = pattern(64 * 1024);
    let (mut taken, mut refused) = (0, 0);
    // Looks and not a time: what moves the bytes has its turn behind each, on a machine that stands
    // still for a while too.
    while refused < 100 {
        match stream.write(&piece) {
            Ok(count) => (taken, refused) = (taken + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refused += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
    stream.set_nonblocking(false).unwrap();
    taken
}

#[test]
fn bytes_arrive_in_order_both_ways_after_the_latency() {
    const LATENCY: Duration = Duration::from_millis(20);
    let mut rig = Rig::new(|builder| builder.latency(LATENCY));
    let there = pattern(1_000_000);
    let began = Instant::now();
    rig.client.write_all(&there).unwrap();
    assert_eq!(read_exactly(&mut rig.server, there.len()), there);
    assert!(began.elapsed() >= LATENCY);
    let turned = Instant::now();
    rig.server.write_all(b"and back").unwrap();
    assert_eq!(read_exactly(&mut rig.client, 8), b"and back");
    assert!(turned.elapsed() >= LATENCY);
}

#[test]
fn what_travels_holds_up_nothing_behind_it() {
    // Nothing arrives within the life of this test, and all of it can be sent.
    let mut rig = Rig::new(|builder| builder.latency(Duration::from_secs(3600)));
    rig.client.write_all(&pattern(32 << 20)).unwrap();
    rig.server.set_nonblocking(true).unwrap();
    assert_eq!(rig.server.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn what_travels_is_bounded() {
    let latency = Duration::from_secs(3600);
    let mut bounded = Rig::new(|builder| builder.latency(latency).capacity(1 << 20));
    let mut wide = Rig::new(|builder| builder.latency(latency).capacity(32 << 20));
    let (little, much) = (fill(&mut bounded.client), fill(&mut wide.client));
    assert!(much - little >= 16 << 20, "{little} and {much} bytes travel");
}

#[test]
fn a_stall_stops_reading_until_it_is_resumed() {
    let mut rig = Rig::plain();
    rig.client.write_all(b"before").unwrap();
    assert_eq!(read_exactly(&mut rig.server, 6), b"before");

    rig.link.stall(Direction::ToServer);
    let taken = fill(&mut rig.client);
    assert!(taken > 0);
    rig.server.set_nonblocking(true).unwrap();
    assert_eq!(rig.server.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    rig.server.set_nonblocking(false).unwrap();
    rig.server.write_all(b"other way").unwrap();
    assert_eq!(read_exactly(&mut rig.client, 9), b"other way");

    rig.link.resume(Direction::ToServer);
    assert_eq!(read_exactly(&mut rig.server, taken).len(), taken);
}

#[test]
fn a_stall_is_for_later_connections_too() {
    let server = NatsServer::start().unwrap();
    let link = Link::to(&server.url()).start().unwrap();
    link.stall(Direction::ToClient);
    let mut client = Peer::connect(&link.url()).unwrap();
    client.set_deadline(Duration::from_millis(50));
    assert!(matches!(client.expect("INFO "), Err(ScriptError::TooLate { .. })));
    link.resume(Direction::ToClient);
    client.set_deadline(Duration::from_secs(10));
    client.expect("INFO ").unwrap();
    assert_eq!(link.accepted(), 1);
}

#[test]
fn a_cut_resets_both_ends_and_later_connections_are_served() {
    let mut rig = Rig::plain();
    rig.link.stall(Direction::ToServer);
    rig.client.write_all(b"lost").unwrap();
    rig.link.cut();
    assert!(Rig::is_reset(&mut rig.client));
    assert!(Rig::is_reset(&mut rig.server));

    let server = NatsServer::start().unwrap();
    let link = Link::to(&server.url()).start().unwrap();
    for _ in 0..3 {
        let mut client = Peer::connect(&link.url()).unwrap();
        client.expect("INFO ").unwrap();
        link.cut();
        client.expect_closed().unwrap();
    }
    assert_eq!(link.accepted(), 3);
}

#[test]
fn a_half_close_ends_one_direction_behind_what_travels() {
    let mut rig = Rig::new(|builder| builder.latency(Duration::from_millis(5)));
    rig.server.write_all(b"the last").unwrap();
    assert_eq!(read_exactly(&mut rig.client, 8), b"the last");
    rig.link.half_close(Direction::ToClient);
    assert_eq!(rig.client.read(&mut [0]).unwrap(), 0);
    rig.client.write_all(b"still here").unwrap();
    assert_eq!(read_exactly(&mut rig.server, 10), b"still here");
}

#[test]
fn an_end_of_stream_and_a_reset_are_passed_on() {
    let mut ended = Rig::new(|builder| builder.latency(Duration::from_millis(5)));
    ended.client.write_all(b"bye").unwrap();
    drop(ended.client);
    assert_eq!(read_exactly(&mut ended.server, 3), b"bye");
    assert_eq!(ended.server.read(&mut [0]).unwrap(), 0);

    let mut reset = Rig::plain();
    // Closing with an unread byte is a reset.
    reset.server.write_all(b"x").unwrap();
    assert_eq!(reset.client.peek(&mut [0]).unwrap(), 1);
    drop(reset.client);
    assert!(Rig::is_reset(&mut reset.server));
}

#[test]
fn a_client_that_the_server_does_not_take_is_reset() {
    let nobody = ClosedPort::new().unwrap();
    let link = Link::to(&nobody.url()).start().unwrap();
    let mut client = TcpStream::connect(("127.0.0.1", link.port())).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    assert!(Rig::is_reset(&mut client));
}

#[test]
fn a_dropped_link_leaves_nobody_connected() {
    let Rig { link, mut client, mut server } = Rig::plain();
    drop(link);
    assert!(Rig::is_reset(&mut client) && Rig::is_reset(&mut server));
}

/// How many bytes one connection took before it ended; `None` when it ended with a reset, which may
/// overtake bytes that wait in the system's buffers.
fn one_course(rig: &mut Rig) -> Option<usize> {
    let mut client = rig.client.try_clone().unwrap();
    let writer = std::thread::spawn(move || while client.write_all(&pattern(251 * 16)).is_ok() {});
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    let reset = loop {
        match rig.server.read(&mut buffer) {
            Ok(0) => break false,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break error.kind() == ErrorKind::ConnectionReset,
        }
    };
    assert_eq!(bytes, pattern(bytes.len()), "what passed is in order");
    // Whoever ends a stream may go: then the writer sees it.
    rig.server.shutdown(std::net::Shutdown::Both).unwrap_or_default();
    rig.client.shutdown(std::net::Shutdown::Both).unwrap_or_default();
    writer.join().unwrap();
    (!reset).then_some(bytes.len())
}

#[test]
fn faults_come_where_the_seed_says() {
    let run = |seed: u64| {
        let mut faults = Faults::default();
        let courses: Vec<_> = (0..12)
            .map(|number| {
                let mut rig = Rig::plain();
                let chaos = Chaos::new(seed + number).spacing(5_000);
                rig.link.unleash(chaos.longest_stall(Duration::from_millis(3)));
                let course = one_course(&mut rig);
                let seen = rig.link.faults();
                faults.cuts += seen.cuts;
                faults.half_closes += seen.half_closes;
                faults.stalls += seen.stalls;
                faults.trickles += seen.trickles;
                course
            })
            .collect();
        (courses, faults)
    };
    let (courses, faults) = run(100);
    assert_eq!(run(100), (courses.clone(), faults));
    assert_ne!(run(200).0, courses);
    let resets = courses.iter().filter(|ended| ended.is_none()).count() as u64;
    assert_eq!((faults.cuts, faults.half_closes), (resets, 12 - resets));
    assert!(faults.cuts > 0 && faults.half_closes > 0, "{faults:?}");
    assert!(faults.stalls > 0 && faults.trickles > 0, "{faults:?}");
}

#[test]
fn a_calm_link_disturbs_nothing_and_holds_nothing_up() {
    // The first byte is behind a stall of which nobody sees the end.
    let stalls = |seed| {
        let mut rig = Rig::plain();
        rig.link.unleash(Chaos::new(seed).spacing(1).longest_stall(Duration::from_secs(3600)));
        rig.client.write_all(b"x").unwrap();
        let mut first = [0];
        let passed = rig.server.read(&mut first).is_ok_and(|count| count == 1);
        (passed && rig.link.faults().stalls == 1).then_some(rig)
    };
    let mut rig = (0..1000).find_map(stalls).unwrap();
    rig.client.write_all(b"held up").unwrap();
    rig.link.calm();
    assert_eq!(read_exactly(&mut rig.server, 7), b"held up");
    let faults = rig.link.faults();
    let (mut client, there) = (rig.client.try_clone().unwrap(), pattern(1_000_000));
    let writer = std::thread::spawn(move || client.write_all(&there).unwrap());
    assert_eq!(read_exactly(&mut rig.server, 1_000_000), pattern(1_000_000));
    writer.join().unwrap();
    assert_eq!(rig.link.faults(), faults);
}
