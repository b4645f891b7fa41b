//! When a server gives clients up, and what it tells them.

use std::time::Duration;

use midge_proto::Instant;
use midge_sim::server::{Auth, Close, Cluster, Event, Permission, ServerOptions, User};

use crate::client::{CONNECT, Client};

const T0: Instant = Instant::ZERO;

fn at(millis: u64) -> Instant {
    T0 + Duration::from_millis(millis)
}

fn closes(cluster: &Cluster) -> Vec<Close> {
    let entries = cluster.journal().entries().iter();
    entries
        .filter_map(|entry| match &entry.event {
            Event::Closed { why, .. } => Some(why.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_client_that_does_not_say_who_it_is_in_time_is_closed() {
    let mut cluster = Cluster::new(1);
    let auth = Auth::Token("secret".into());
    let server = cluster.add(ServerOptions { auth, ..ServerOptions::default() });
    let client = Client::accept(&mut cluster, server, T0);
    assert_eq!(cluster.next(), Some(at(2000)));
    cluster.poll(at(1999));
    assert!(!cluster.is_closing(client.0));
    cluster.poll(at(2000));
    assert_eq!(client.read(&mut cluster, at(2000)), "-ERR 'Authentication Timeout'\r\n");
    assert!(cluster.is_closing(client.0));
    assert_eq!(client.say(&mut cluster, "PING\r\n", at(2001)), "", "it is not read any more");
    assert_eq!(cluster.next(), None);
}

#[test]
fn credentials_end_the_wait_for_them() {
    let mut cluster = Cluster::new(1);
    let auth = Auth::Token("secret".into());
    let server = cluster.add(ServerOptions { auth, ..ServerOptions::default() });
    let client = Client::accept(&mut cluster, server, T0);
    client.say(&mut cluster, "CONNECT {\"auth_token\":\"secret\"}\r\n", at(1000));
    cluster.poll(at(2900));
    assert!(!cluster.is_closing(client.0));
}

#[test]
fn the_first_ping_comes_early_and_silence_makes_a_client_stale() {
    let mut cluster = Cluster::new(3);
    let server = cluster
        .add(ServerOptions { ping_interval: Duration::from_secs(30), ..ServerOptions::default() });
    let client = Client::connect(&mut cluster, server, T0);
    let first = cluster.next().expect("a PING is due");
    assert!((at(2000)..=at(2400)).contains(&first), "{first:?}");
    let mut read = Vec::new();
    let mut now = first;
    while !cluster.is_closing(client.0) {
        cluster.poll(now);
        read.push((now - first, client.read(&mut cluster, now)));
        now = cluster.next().unwrap_or(now);
    }
    let seconds = Duration::from_secs;
    assert_eq!(
        read,
        [
            (seconds(0), "PING\r\n".to_owned()),
            (seconds(30), "PING\r\n".to_owned()),
            (seconds(60), "-ERR 'Stale Connection'\r\n".to_owned()),
        ]
    );
}

#[test]
fn a_pong_keeps_a_client_and_traffic_spares_it_the_ping() {
    let mut cluster = Cluster::new(3);
    let server = cluster
        .add(ServerOptions { ping_interval: Duration::from_secs(30), ..ServerOptions::default() });
    let client = Client::connect(&mut cluster, server, T0);
    let mut pings = 0;
    for minute in 0..60 {
        let now = cluster.next().expect("a PING is due");
        if minute % 3 == 0 {
            client.say(&mut cluster, "PUB x 0\r\n\r\n", now);
        }
        cluster.poll(now);
        if client.read(&mut cluster, now) == "PING\r\n" {
            pings += 1;
            client.say(&mut cluster, "PONG\r\n", now);
        }
    }
    assert!(!cluster.is_closing(client.0));
    // The first PING measures the way, whatever the client sends.
    assert_eq!(pings, 41);
}

#[test]
fn a_client_that_reads_too_little_is_closed_without_a_word() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions { max_pending: 1000, ..ServerOptions::default() });
    let [slow, fast] = [(); 2].map(|()| Client::connect(&mut cluster, server, T0));
    slow.say(&mut cluster, "SUB x 1\r\n", T0);
    let message = format!("PUB x 300\r\n{}\r\n", "x".repeat(300));
    for _ in 0..3 {
        fast.say(&mut cluster, &message, T0);
    }
    assert!(!cluster.is_closing(slow.0));
    cluster.wrote(slow.0, 320, T0);
    assert_eq!(cluster.journal().handed_over(slow.0), 1, "one whole delivery, and a bit");
    fast.say(&mut cluster, &message, T0);
    assert!(!cluster.is_closing(slow.0));
    fast.say(&mut cluster, &message, T0);
    assert!(cluster.is_closing(slow.0));
    assert_eq!(slow.read(&mut cluster, T0), "");
    assert_eq!(cluster.journal().handed_over(slow.0), 1);
    assert_eq!(closes(&cluster), [Close::SlowConsumer]);
}

#[test]
fn a_client_that_takes_nothing_is_closed_at_the_write_deadline() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions::default());
    let client = Client::connect(&mut cluster, server, T0);
    cluster.received(client.0, b"PING\r\nPING\r\n", at(100));
    cluster.wrote(client.0, 6, at(1000));
    cluster.poll(at(10_999));
    assert!(!cluster.is_closing(client.0), "it took something at 1 s");
    cluster.poll(at(11_000));
    assert!(cluster.is_closing(client.0));
    assert_eq!(cluster.pending(client.0), b"");
}

#[test]
fn one_connection_too_many_is_told_so_behind_its_info() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions { max_connections: 1, ..ServerOptions::default() });
    let first = Client::connect(&mut cluster, server, T0);
    let second = cluster.accept(server, T0).expect("it is told why");
    let told = Client(second).read(&mut cluster, T0);
    assert!(told.starts_with("INFO "), "{told}");
    assert!(told.ends_with("-ERR 'maximum connections exceeded'\r\n"), "{told}");
    assert!(cluster.is_closing(second));
    cluster.disconnected(first.0, T0);
    let third = cluster.accept(server, T0).expect("it runs");
    assert!(!cluster.is_closing(third));
}

#[test]
fn a_reload_expels_who_is_no_longer_known_and_ends_what_is_no_longer_permitted() {
    let mut cluster = Cluster::new(1);
    let users = |users: &[User]| ServerOptions {
        auth: Auth::Users(users.to_vec()),
        ..ServerOptions::default()
    };
    let (a, b) = (User::new("a", "1"), User::new("b", "2"));
    let server = cluster.add(users(&[a, b.clone()]));
    let [ca, cb] = [("a", "1"), ("b", "2")].map(|(user, pass)| {
        let connect =
            format!(r#"CONNECT {{"verbose":false,"protocol":1,"user":"{user}","pass":"{pass}"}}"#);
        Client::connect_with(&mut cluster, server, &connect, T0)
    });
    cb.say(&mut cluster, "SUB x 1\r\nSUB x q 2\r\nSUB y 3\r\n", T0);
    let b = User { subscribe: Permission::allow(&["y"]), ..b };
    cluster.reload(server, users(&[User::new("a", "other"), b]), T0);
    assert_eq!(ca.read(&mut cluster, T0), "-ERR 'Authorization Violation'\r\n");
    assert!(cluster.is_closing(ca.0));
    assert_eq!(
        cb.read(&mut cluster, T0),
        concat!(
            "-ERR 'Permissions Violation for Subscription to \"x\" (sid \"1\")'\r\n",
            "-ERR 'Permissions Violation for Subscription to \"x\" using queue \"q\" (sid \"2\")'\r\n",
        )
    );
    let told = cb.say(&mut cluster, "PUB x 0\r\n\r\nPUB y 0\r\n\r\n", T0);
    assert_eq!(told, "MSG y 3 0\r\n\r\n");
}

#[test]
fn a_reload_changes_the_largest_payload_and_the_next_info_tells() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions::default());
    let client = Client::connect(&mut cluster, server, T0);
    cluster.reload(server, ServerOptions { max_payload: 5, ..ServerOptions::default() }, T0);
    assert_eq!(client.read(&mut cluster, T0), "", "nobody is told by the reload");
    cluster.send_info(server, T0);
    assert!(client.read(&mut cluster, T0).contains("\"max_payload\":5,"));
    let told = client.say(&mut cluster, "PUB x 6\r\n", T0);
    assert_eq!(told, "-ERR 'Maximum Payload Violation'\r\n");
}

#[test]
fn a_lame_duck_tells_its_clients_and_closes_them_one_by_one() {
    let mut cluster = Cluster::new(5);
    let server = cluster.add(ServerOptions {
        lame_duck_duration: Duration::from_secs(12),
        lame_duck_grace: Duration::from_secs(4),
        ..ServerOptions::default()
    });
    let clients = [(); 16].map(|()| Client::connect(&mut cluster, server, T0));
    let old = Client::connect_with(&mut cluster, server, "CONNECT {\"verbose\":false}", T0);
    cluster.lame_duck(server, at(1000));
    assert_eq!(cluster.accept(server, at(1000)), None);
    assert!(cluster.is_running(server));
    for client in clients {
        let told = client.read(&mut cluster, at(1000));
        assert!(told.contains("\"ldm\":true"), "{told}");
        assert_eq!(client.say(&mut cluster, "PING\r\n", at(1001)), "PONG\r\n");
    }
    assert_eq!(old.read(&mut cluster, at(1000)), "", "protocol 0 knows no second INFO");
    cluster.poll(at(4999));
    assert_eq!(closes(&cluster), []);
    cluster.poll(at(5000));
    assert_eq!(closes(&cluster), [Close::LameDuck]);
    let mut now = at(5000);
    while let Some(next) = cluster.next() {
        cluster.poll(next);
        now = next;
    }
    assert_eq!(closes(&cluster), [(); 17].map(|()| Close::LameDuck));
    assert!(!cluster.is_running(server));
    assert!((at(5000)..at(13_000)).contains(&now), "{now:?}");
}

#[test]
fn a_lame_duck_without_clients_stops_at_once() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions::default());
    cluster.lame_duck(server, T0);
    assert!(!cluster.is_running(server));
}

#[test]
fn a_killed_server_cuts_everybody_and_is_another_one_after_its_start() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions::default());
    let client = Client::connect(&mut cluster, server, T0);
    let id = |cluster: &mut Cluster| {
        let id = cluster.accept(server, T0).expect("it runs");
        let info = Client(id).read(cluster, T0);
        info.split("\"server_id\":\"")
            .nth(1)
            .and_then(|rest| Some(rest.split_once('"')?.0.to_owned()))
    };
    let before = id(&mut cluster);
    cluster.received(client.0, b"PING\r\n", T0);
    cluster.take_changed();
    cluster.stop(server, T0);
    assert!(cluster.is_closing(client.0));
    assert_eq!(cluster.pending(client.0), b"", "what waited is lost");
    assert!(cluster.take_changed().contains(&client.0));
    assert_eq!(cluster.accept(server, T0), None);
    assert_eq!(cluster.next(), None);
    cluster.start(server, T0);
    assert_ne!(id(&mut cluster), before);
}

#[test]
fn a_test_may_expel_and_ping() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions::default());
    let client = Client::connect(&mut cluster, server, T0);
    cluster.ping(client.0, T0);
    assert_eq!(client.read(&mut cluster, T0), "PING\r\n");
    cluster.expel(client.0, "User Authentication Expired", T0);
    assert_eq!(client.read(&mut cluster, T0), "-ERR 'User Authentication Expired'\r\n");
    assert!(cluster.is_closing(client.0));
}

#[test]
fn who_has_changed_is_said_once() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions::default());
    let client = Client::connect(&mut cluster, server, T0);
    assert_eq!(cluster.take_changed(), [client.0]);
    assert_eq!(cluster.take_changed(), []);
    cluster.received(client.0, b"PING\r\nPING\r\n", T0);
    assert_eq!(cluster.take_changed(), [client.0]);
    cluster.disconnected(client.0, T0);
    assert_eq!(cluster.pending(client.0), b"");
    cluster.received(client.0, CONNECT.as_bytes(), T0);
    assert_eq!(cluster.clients(server), []);
}
