//! Faults of connections and servers: what each does, and that a client gets over it.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use midge::{ConnectOptions, DisconnectCause, Event};
use midge_proto::Instant;
use midge_sim::server::{self, ServerId};
use midge_sim::{Direction, Door, End, Sim, World};

use crate::{exact, flushed, ms, next, patient, read, read_until, run, shake_hands, up, write};

const BOTH: [Direction; 2] = [Direction::Up, Direction::Down];

// ---- cuts --------------------------------------------------------------------------------------

/// A client comes up though its first connection breaks behind so many bytes. Whether it broke
/// before it was up.
fn cut_at(direction: Direction, bytes: usize) -> bool {
    let outcome = Sim::new(bytes as u64).link(exact(ms(1))).limit(Duration::from_secs(20)).run(
        async move |world| {
            let server = world.add_servers(1)[0];
            world.cut_next(server, direction, bytes);
            let client = up(&world, patient(&world)).await;
            flushed(&client).await;
            world.cluster(|cluster, _| {
                let entries = cluster.journal().entries().iter();
                entries.filter(|e| matches!(e.event, server::Event::Accepted { .. })).count() > 1
            })
        },
    );
    outcome.unwrap_or_else(|failure| panic!("{direction:?} {bytes}: {failure}")).value
}

#[test]
fn a_client_comes_up_wherever_its_handshake_is_cut() {
    for direction in BOTH {
        let mut bytes = 1;
        while cut_at(direction, bytes) {
            bytes += 1;
        }
        assert!(bytes > 150, "{direction:?}: a handshake has more bytes than {bytes}");
        assert!(bytes < 1500, "{direction:?}: it never comes to its end");
    }
}

#[test]
fn a_cut_is_behind_the_byte_that_was_named() {
    run(1, ms(1), async |world| {
        let server = world.add_servers(1)[0];
        let mut socket = shake_hands(&world, server).await;
        world.cut_after(socket.connection(), Direction::Up, 10);
        assert_eq!(write(&mut socket, &[b'\n'; 7]).await.unwrap(), 7);
        assert_eq!(write(&mut socket, &[b'\n'; 7]).await.unwrap(), 3);
        let error = write(&mut socket, b"\n").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        let error = read(&mut socket, &mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_connection_that_is_spared_is_not_cut() {
    run(1, ms(1), async |world| {
        let server = world.add_servers(1)[0];
        let mut socket = shake_hands(&world, server).await;
        for direction in BOTH {
            world.cut_after(socket.connection(), direction, 3);
        }
        world.spare(socket.connection());
        assert_eq!(write(&mut socket, b"PING\r\n").await.unwrap(), 6);
        assert_eq!(read_until(&mut socket, b"\r\n").await, b"PONG\r\n");
    });
}

// ---- silence -----------------------------------------------------------------------------------

#[test]
fn a_stall_of_either_direction_is_found_and_got_over() {
    for (seed, direction) in [1, 2].into_iter().zip(BOTH) {
        run(seed, ms(1), async move |world| {
            world.add_servers(1);
            let client = up(&world, patient(&world)).await;
            let mut events = client.events();
            world.stall(world.connections()[0], direction, None);
            let start = world.now();
            let lost = next(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
            let Event::Disconnected(lost) = lost else { unreachable!() };
            assert_eq!(lost.cause, DisconnectCause::Stale);
            // Two intervals without an answer, of which one may have begun before.
            let took = world.now() - start;
            assert!(took > ms(500) && took <= ms(1000), "{took:?}");
            flushed(&client).await;
        });
    }
}

#[test]
fn what_was_stalled_arrives_when_the_time_is_over() {
    run(1, ms(1), async |world| {
        let server = world.add_servers(1)[0];
        let mut socket = shake_hands(&world, server).await;
        let start = world.now();
        world.stall(socket.connection(), Direction::Up, Some(ms(100)));
        assert_eq!(write(&mut socket, b"PING\r\n").await.unwrap(), 6);
        assert_eq!(read_until(&mut socket, b"\r\n").await, b"PONG\r\n");
        assert_eq!(world.now() - start, ms(101));
    });
}

#[test]
fn a_paused_server_is_silent_and_goes_on_where_it_stopped() {
    run(1, ms(1), async |world| {
        let server = world.add_servers(1)[0];
        let mut socket = shake_hands(&world, server).await;
        world.pause(server, true);
        assert_eq!(write(&mut socket, b"PING\r\n").await.unwrap(), 6);
        let mut other = world.dial(world.address(server)).await.unwrap();
        let silence = world.timeout(ms(500), read(&mut socket, &mut [0; 10])).await;
        assert!(silence.is_err());
        let silence = world.timeout(ms(500), read(&mut other, &mut [0; 10])).await;
        assert!(silence.is_err(), "the system accepts, the server does not greet");
        world.pause(server, false);
        assert_eq!(read_until(&mut socket, b"\r\n").await, b"PONG\r\n");
        assert!(read_until(&mut other, b"\r\n").await.starts_with(b"INFO "));
    });
}

#[test]
fn an_isolated_server_is_found_gone_and_found_again() {
    run(1, ms(1), async |world| {
        let server = world.add_servers(1)[0];
        let client = up(&world, patient(&world)).await;
        let mut events = client.events();
        let mut socket = shake_hands(&world, server).await;
        world.isolate(server, true);
        assert_eq!(write(&mut socket, b"PING\r\n").await.unwrap(), 6);
        let dial = world.timeout(Duration::from_secs(60), world.dial(world.address(server)));
        assert!(dial.await.is_err(), "it hears nothing");
        next(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
        let failed = next(&mut events, |event| matches!(event, Event::AttemptFailed { .. })).await;
        let Event::AttemptFailed { cause, .. } = failed else { unreachable!() };
        assert_eq!(cause, DisconnectCause::TimedOut);
        world.isolate(server, false);
        read_until(&mut socket, b"PONG\r\n").await;
        flushed(&client).await;
    });
}

// ---- doors and names ---------------------------------------------------------------------------

#[test]
fn doors_refuse_or_say_nothing() {
    run(1, ms(1), async |world| {
        let server = world.add_servers(1)[0];
        let address = world.address(server);
        world.set_door(server, Door::Refusing);
        let refused = world.dial(address).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(world.now(), Instant::ZERO + ms(2));
        world.set_door(server, Door::Silent);
        assert!(world.timeout(Duration::from_secs(100), world.dial(address)).await.is_err());
        world.set_door(server, Door::Open);
        assert!(world.dial(address).await.is_ok());
        world.kill(server, End::Reset);
        assert_eq!(world.dial(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let nobody = "10.9.9.9:4222".parse().unwrap();
        assert_eq!(world.dial(nobody).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_client_waits_for_its_door_to_open() {
    for door in [Door::Refusing, Door::Silent] {
        run(1, ms(1), async move |world| {
            let server = world.add_servers(1)[0];
            world.set_door(server, door);
            let (connecting, driver) = world.connect_with(patient(&world)).unwrap();
            drop(world.spawn(driver));
            let client = connecting.await.unwrap();
            let own = world.clone();
            drop(world.spawn(async move {
                own.sleep(Duration::from_secs(10)).await;
                own.set_door(server, Door::Open);
            }));
            client.flush().timeout(Duration::from_secs(60)).await.unwrap();
            assert!(world.now() > Instant::ZERO + Duration::from_secs(10));
            assert!(world.now() < Instant::ZERO + Duration::from_secs(12));
        });
    }
}

#[test]
fn names_lead_to_servers_until_they_do_not() {
    run(1, ms(1), async |world| {
        let server = world.add_servers(1)[0];
        let ip = world.address(server).ip();
        let connect = || world.connect("nats://one.example");
        let nobody = connect().await.unwrap_err().to_string();
        assert!(nobody.contains("no such name"), "{nobody}");
        world.set_name("one.example", &[ip]);
        let client = connect().await.unwrap();
        client.close().await;
        let elsewhere = IpAddr::from([10, 9, 9, 9]);
        world.set_name("one.example", &[elsewhere, ip]);
        let client = connect().await.expect("the second address is good");
        client.close().await;
        world.set_name("one.example", &[]);
        assert!(connect().await.is_err());
    });
}

// ---- servers -----------------------------------------------------------------------------------

#[test]
fn a_server_that_is_killed_ends_its_connections_in_the_way_that_was_asked_for() {
    for end in [End::Eof, End::Reset] {
        run(1, ms(1), async move |world| {
            let server = world.add_servers(1)[0];
            let client = up(&world, patient(&world)).await;
            let mut events = client.events();
            let mut socket = shake_hands(&world, server).await;
            world.kill(server, end);
            match (end, read(&mut socket, &mut [0; 10]).await) {
                (End::Eof, Ok(0)) => {}
                (End::Reset, Err(error)) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
                (_, result) => panic!("{result:?}"),
            }
            let lost = next(&mut events, |event| matches!(event, Event::Disconnected(_))).await;
            let Event::Disconnected(lost) = lost else { unreachable!() };
            match end {
                End::Eof => assert_eq!(lost.cause, DisconnectCause::Eof),
                End::Reset => assert!(matches!(lost.cause, DisconnectCause::Io(_))),
            }
            world.start(server);
            flushed(&client).await;
        });
    }
}

#[test]
fn a_lame_duck_tells_and_sends_its_clients_away() {
    run(1, ms(1), async |world| {
        let servers = world.add_servers(2);
        let client = up(&world, patient(&world).name("it")).await;
        let mut events = client.events();
        let from = world.server_of(world.connections_of("it")[0]).unwrap();
        world.lame_duck(from);
        next(&mut events, |event| matches!(event, Event::LameDuck)).await;
        next(&mut events, |event| matches!(event, Event::Connected(_))).await;
        flushed(&client).await;
        let to = world.server_of(world.connections_of("it")[0]).unwrap();
        assert!(servers.contains(&to) && to != from);
        let refused = world.dial(world.address(from)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn servers_that_are_parted_do_not_hear_of_each_others_messages() {
    run(1, ms(1), async |world| {
        let servers = world.add_servers(2);
        let at = |server: ServerId| format!("nats://{}", world.address(server));
        let one = world.connect(ConnectOptions::new(at(servers[0])).retain_order(true));
        let one = one.await.unwrap();
        let other = world.connect(ConnectOptions::new(at(servers[1])).retain_order(true));
        let mut heard = other.await.unwrap().subscribe("a").await.unwrap();
        world.sleep(ms(100)).await;
        for (parted, text) in [(false, "before"), (true, "between"), (false, "after")] {
            world.partition(servers[0], servers[1], parted);
            world.sleep(Duration::from_secs(1)).await;
            one.publish("a", text).await.unwrap();
            one.flush().await.unwrap();
            world.sleep(Duration::from_secs(1)).await;
        }
        for text in ["before", "after"] {
            assert_eq!(heard.next().await.unwrap().payload(), text.as_bytes());
        }
    });
}

#[test]
fn connections_are_found_by_the_name_of_their_client() {
    run(1, ms(1), async |world: World| {
        let servers = world.add_servers(2);
        let options = |name| patient(&world).name(name);
        let one = up(&world, options("one")).await;
        let other = up(&world, options("other")).await;
        let found = world.connections_of("one");
        assert_eq!(found.len(), 1);
        assert_eq!(world.connections_of("nobody"), []);
        let all: usize = servers.iter().map(|server| world.connections_to(*server).len()).sum();
        assert_eq!(all, 2);
        world.cut(found[0]);
        flushed(&one).await;
        let later = world.connections_of("one");
        assert!(later.len() == 1 && later != found);
        assert_eq!(world.server_of(found[0]), None);
        assert_eq!((one.statistics().connects, other.statistics().connects), (2, 1));
    });
}
