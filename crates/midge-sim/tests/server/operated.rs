//! What an operator and time do to clients: the model against a real nats-server.

use std::time::Duration;

use midge_proto::Instant;
use midge_sim::server::{Auth, Cluster, Permission, ServerId, ServerOptions, User};
use midge_testing::{NatsServer, Peer};

use crate::client::{CONNECT, Client};
use crate::transcript::frames;

const T0: Instant = Instant::ZERO;

/// A client of a real server that has read what follows its first PONG.
fn connect(server: &NatsServer, connect: &str) -> Peer {
    let mut peer = Peer::connect(&server.url()).expect("it runs");
    peer.send(format!("{connect}\r\nPING\r\nPING\r\n")).expect("it is open");
    peer.read_until(|bytes| {
        bytes.ends_with(b"PONG\r\n") && bytes.windows(6).filter(|w| w == b"PONG\r\n").count() == 2
    })
    .expect("two PONGs");
    peer
}

fn closed(peer: &mut Peer) -> Vec<String> {
    frames(&peer.expect_closed().expect("the server closes"))
}

fn line(peer: &mut Peer) -> Vec<String> {
    let line = |bytes: &[u8]| bytes.ends_with(b"\r\n") && !frames(bytes).is_empty();
    // Beside the PINGs of a server, which may be slow.
    frames(&peer.read_until(line).expect("a line"))
}

fn read(client: Client, cluster: &mut Cluster) -> Vec<String> {
    frames(client.read(cluster, T0).as_bytes())
}

fn one(options: ServerOptions) -> (Cluster, ServerId) {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(options);
    (cluster, server)
}

#[test]
fn a_reload_expels_as_a_real_one_does() {
    let user = |name: &str| User::new(name, "p");
    let users =
        |users: Vec<User>| ServerOptions { auth: Auth::Users(users), ..ServerOptions::default() };
    let a = r#"CONNECT {"verbose":false,"protocol":1,"user":"a","pass":"p"}"#;
    let b = r#"CONNECT {"verbose":false,"protocol":1,"user":"b","pass":"p"}"#;
    let c = r#"CONNECT {"verbose":false,"protocol":1,"user":"c","pass":"p"}"#;

    let (mut cluster, id) = one(users(vec![user("a"), user("b"), user("c")]));
    let [ma, mb, mc] = [a, b, c].map(|text| Client::connect_with(&mut cluster, id, text, T0));
    mb.say(&mut cluster, "SUB x q 1\r\nSUB y 2\r\n", T0);
    let limited = User { subscribe: Permission::allow(&["y"]), ..user("b") };
    cluster.reload(id, users(vec![limited, User::new("c", "other")]), T0);

    let config = concat!(
        "authorization { users: [",
        "{user: a, password: p}, {user: b, password: p}, {user: c, password: p}] }",
    );
    let mut server = NatsServer::builder().config(config).start().unwrap();
    let [mut ra, mut rb, mut rc] = [a, b, c].map(|text| connect(&server, text));
    rb.send("SUB x q 1\r\nSUB y 2\r\nPING\r\n").unwrap();
    rb.expect("PONG").unwrap();
    let config = concat!(
        "authorization { users: [",
        "{user: b, password: p, permissions: {subscribe: y}}, {user: c, password: other}] }",
    );
    server.reload(config).unwrap();
    assert_eq!(closed(&mut ra), read(ma, &mut cluster));
    assert_eq!(closed(&mut rc), read(mc, &mut cluster));
    assert!(cluster.is_closing(ma.0) && cluster.is_closing(mc.0) && !cluster.is_closing(mb.0));
    assert_eq!(line(&mut rb), read(mb, &mut cluster));
}

#[test]
fn a_reload_of_the_largest_payload_tells_nobody_as_a_real_one_does() {
    let (mut cluster, id) = one(ServerOptions::default());
    let model = Client::connect(&mut cluster, id, T0);
    cluster.reload(id, ServerOptions { max_payload: 5, ..ServerOptions::default() }, T0);
    cluster.received(model.0, b"PING\r\nPUB x 6\r\n", T0);

    let mut server = NatsServer::start().unwrap();
    let mut real = connect(&server, CONNECT);
    server.reload("max_payload: 5").unwrap();
    real.send("PING\r\nPUB x 6\r\n").unwrap();
    assert_eq!(closed(&mut real), read(model, &mut cluster));
}

#[test]
fn a_lame_duck_says_what_a_real_one_says() {
    let (mut cluster, id) = one(ServerOptions::default());
    let model = Client::connect(&mut cluster, id, T0);
    cluster.lame_duck(id, T0);
    let told = read(model, &mut cluster);
    while let Some(next) = cluster.next() {
        cluster.poll(next);
    }

    let config = "lame_duck_duration: 30s\nlame_duck_grace_period: 100ms\n";
    let server = NatsServer::builder().config(config).start().unwrap();
    let mut real = connect(&server, CONNECT);
    server.lame_duck().unwrap();
    assert_eq!(line(&mut real), told);
    assert_eq!(closed(&mut real), read(model, &mut cluster));
    assert!(!cluster.is_running(id));
}

#[test]
fn credentials_that_are_late_are_refused_as_by_a_real_server() {
    let auth = Auth::Token("x".into());
    let (mut cluster, id) = one(ServerOptions { auth, ..ServerOptions::default() });
    let model = Client(cluster.accept(id, T0).expect("it runs"));
    cluster.poll(T0 + Duration::from_secs(2));

    let config = "authorization { token: x, timeout: 0.2 }";
    let server = NatsServer::builder().config(config).start().unwrap();
    let mut real = Peer::connect(&server.url()).unwrap();
    assert_eq!(closed(&mut real), read(model, &mut cluster));
}

#[test]
fn a_client_that_answers_no_ping_is_stale_as_for_a_real_server() {
    let (mut cluster, id) = one(ServerOptions { ping_max: 1, ..ServerOptions::default() });
    let model = Client::connect(&mut cluster, id, T0);
    let mut said = String::new();
    while let Some(next) = cluster.next() {
        cluster.poll(next);
        said += &model.read(&mut cluster, next);
    }

    // Later than the handshake, which they would disturb.
    let config = "ping_interval: 1s\nping_max: 1\n";
    let server = NatsServer::builder().config(config).start().unwrap();
    let mut real = connect(&server, CONNECT);
    let bytes = real.expect_closed().unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), said);
}

#[test]
fn a_cluster_tells_of_its_servers_as_a_real_one_does() {
    let mut cluster = Cluster::new(1);
    let [s0, s1, s2] = [1, 2, 3].map(|port| cluster.add(ServerOptions::at("n", "h", port)));
    let model = Client(cluster.accept(s0, T0).expect("it runs"));
    model.say(&mut cluster, &format!("{CONNECT}\r\nPING\r\n"), T0);
    cluster.stop(s1, T0);
    let one_less = read(model, &mut cluster);
    cluster.start(s1, T0);
    let all = read(model, &mut cluster);
    let on_s2 = Client::connect(&mut cluster, s2, T0);
    cluster.lame_duck(s2, T0);
    let (by_lame_duck, of_lame_duck) = (read(model, &mut cluster), read(on_s2, &mut cluster));

    let config = "lame_duck_duration: 30s\nlame_duck_grace_period: 10s\n";
    let mut servers = midge_testing::Cluster::builder().config(config).start(3).unwrap();
    let mut real = connect(&servers[0], CONNECT);
    servers[1].kill().unwrap();
    assert_eq!(line(&mut real), one_less);
    servers[1].restart().unwrap();
    assert_eq!(line(&mut real), all);
    servers.wait_until_joined().unwrap();
    let mut on_s2 = connect(&servers[2], CONNECT);
    servers[2].lame_duck().unwrap();
    assert_eq!(line(&mut on_s2), of_lame_duck);
    assert_eq!(line(&mut real), by_lame_duck);
}
