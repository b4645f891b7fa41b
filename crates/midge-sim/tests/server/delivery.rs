//! Who gets what on one server and in a cluster.

use std::time::Duration;

use midge_proto::Instant;
use midge_sim::server::{Cluster, ServerOptions};

use crate::client::Client;

const T0: Instant = Instant::ZERO;

fn three() -> (Cluster, [midge_sim::server::ServerId; 3]) {
    let mut cluster = Cluster::new(1);
    let servers = [4222, 4223, 4224]
        .map(|port| cluster.add(ServerOptions::at(&format!("n{port}"), "127.0.0.1", port)));
    (cluster, servers)
}

#[test]
fn a_message_reaches_the_subscriptions_that_match() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions::default());
    let [a, b] = [(); 2].map(|()| Client::connect(&mut cluster, server, T0));
    assert_eq!(a.say(&mut cluster, "SUB a.* 1\r\nSUB a.b.> 2\r\nSUB > 3\r\n", T0), "");
    assert_eq!(b.say(&mut cluster, "PUB a.x back 2\r\nhi\r\n", T0), "");
    assert_eq!(a.read(&mut cluster, T0), "MSG a.x 1 back 2\r\nhi\r\nMSG a.x 3 back 2\r\nhi\r\n");
}

#[test]
fn interest_and_messages_cross_the_cluster_after_the_delay() {
    let (mut cluster, [s0, s1, _]) = three();
    let (a, b) = (Client::connect(&mut cluster, s0, T0), Client::connect(&mut cluster, s1, T0));
    cluster.set_route_delay(Duration::from_millis(5));
    let at = |millis| T0 + Duration::from_millis(millis);
    a.say(&mut cluster, "SUB x 1\r\n", T0);
    b.say(&mut cluster, "PUB x 1\r\n0\r\n", at(1));
    assert_eq!(cluster.next(), Some(at(5)));
    cluster.poll(at(5));
    b.say(&mut cluster, "PUB x 1\r\n1\r\n", at(6));
    cluster.poll(at(10));
    assert_eq!(a.read(&mut cluster, at(10)), "");
    cluster.poll(at(11));
    assert_eq!(a.read(&mut cluster, at(11)), "MSG x 1 1\r\n1\r\n");
}

#[test]
fn a_delivery_is_handed_over_with_its_last_byte() {
    let mut cluster = Cluster::new(1);
    let server = cluster.add(ServerOptions::default());
    let client = Client::connect(&mut cluster, server, T0);
    cluster.received(client.0, b"SUB x 1\r\nPUB x 2\r\nhi\r\nPING\r\nPUB x 0\r\n\r\n", T0);
    let first = b"MSG x 1 2\r\nhi\r\n".len();
    let second = b"PONG\r\nMSG x 1 0\r\n\r\n".len();
    let mut after = |count| {
        cluster.wrote(client.0, count, T0);
        cluster.journal().handed_over(client.0)
    };
    assert_eq!([first - 1, 1, second - 1, 1].map(&mut after), [0, 1, 1, 2]);
    cluster.disconnected(client.0, T0);
    assert_eq!(cluster.journal().handed_over(client.0), 2);
}
