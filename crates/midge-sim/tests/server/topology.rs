//! Servers that come, go, and lose each other.

use std::time::Duration;

use midge_proto::Instant;
use midge_sim::server::{Cluster, Event, ServerId, ServerOptions};

use crate::client::Client;

const T0: Instant = Instant::ZERO;

fn at(millis: u64) -> Instant {
    T0 + Duration::from_millis(millis)
}

fn three(seed: u64) -> (Cluster, [ServerId; 3]) {
    let mut cluster = Cluster::new(seed);
    let servers = [1, 2, 3].map(|n| cluster.add(ServerOptions::at(&format!("n{n}"), "h", n)));
    (cluster, servers)
}

/// The lists of `connect_urls` in what was read.
fn urls(read: &str) -> Vec<&str> {
    let lists = read.split("\"connect_urls\":[").skip(1);
    lists.filter_map(|rest| Some(rest.split_once(']')?.0)).collect()
}

fn count(read: &str) -> usize {
    read.matches("MSG ").count()
}

#[test]
fn clients_are_told_the_whole_cluster_and_each_change_of_it() {
    let (mut cluster, [s0, s1, s2]) = three(1);
    let client = Client(cluster.accept(s0, T0).expect("it runs"));
    let greeting = client.read(&mut cluster, T0);
    assert_eq!(urls(&greeting), [r#""h:1","h:2","h:3""#]);
    cluster.stop(s1, T0);
    client.say(&mut cluster, &format!("{}\r\n", crate::client::CONNECT), T0);
    cluster.start(s1, T0);
    cluster.stop(s1, T0);
    assert_eq!(client.read(&mut cluster, T0), "", "not before its first PONG");
    let told = client.say(&mut cluster, "PING\r\n", T0);
    assert_eq!(urls(&told), [r#""h:1","h:3""#]);
    cluster.set_route_delay(Duration::from_millis(10));
    cluster.start(s1, T0);
    assert_eq!(client.read(&mut cluster, T0), "");
    cluster.poll(at(10));
    assert_eq!(urls(&client.read(&mut cluster, at(10))), [r#""h:1","h:2","h:3""#]);
    let on_s2 = Client::connect(&mut cluster, s2, at(10));
    cluster.lame_duck(s2, at(10));
    let told = on_s2.read(&mut cluster, at(10));
    assert_eq!(urls(&told), [r#""h:1","h:2""#]);
    assert!(told.contains("\"ldm\":true"));
    cluster.poll(at(20));
    let told = client.read(&mut cluster, at(20));
    assert_eq!(urls(&told), [r#""h:1","h:2""#]);
    assert!(!told.contains("ldm"));
}

#[test]
fn a_server_that_does_not_advertise_is_told_to_nobody() {
    let mut cluster = Cluster::new(1);
    let loud = cluster.add(ServerOptions {
        client_advertise: Some("public:9".into()),
        ..ServerOptions::at("a", "h", 1)
    });
    let quiet = cluster.add(ServerOptions { advertise: false, ..ServerOptions::at("b", "h", 2) });
    let greeting = Client(cluster.accept(loud, T0).expect("it runs")).read(&mut cluster, T0);
    assert_eq!(urls(&greeting), [r#""public:9""#]);
    let greeting = Client(cluster.accept(quiet, T0).expect("it runs")).read(&mut cluster, T0);
    assert!(urls(&greeting).is_empty());
}

#[test]
fn one_member_of_a_group_gets_a_message_wherever_it_is_by_the_number_of_members() {
    let (mut cluster, [s0, s1, s2]) = three(7);
    let [here, there, none] = [s0, s1, s2].map(|s| Client::connect(&mut cluster, s, T0));
    here.say(&mut cluster, "SUB x q 1\r\n", T0);
    there.say(&mut cluster, "SUB x q 1\r\nSUB * q 2\r\nSUB x q 3\r\n", T0);
    let publisher = Client::connect(&mut cluster, s0, T0);
    publisher.say(&mut cluster, &"PUB x 0\r\n\r\n".repeat(1000), T0);
    let (local, remote) =
        (count(&here.read(&mut cluster, T0)), count(&there.read(&mut cluster, T0)));
    assert_eq!(local + remote, 1000);
    assert!((200..300).contains(&local), "one of four members is here: {local}");
    none.say(&mut cluster, "PUB x 0\r\n\r\n", T0);
    let got = [here, there].map(|client| count(&client.read(&mut cluster, T0)));
    assert_eq!(got.iter().sum::<usize>(), 1);
}

#[test]
fn every_group_and_every_plain_subscription_gets_a_message_once() {
    let (mut cluster, servers) = three(3);
    let clients = servers.map(|server| Client::connect(&mut cluster, server, T0));
    for client in clients {
        client.say(&mut cluster, "SUB x q 1\r\nSUB x r 2\r\nSUB x 3\r\nSUB > 4\r\n", T0);
    }
    for _ in 0..50 {
        clients[0].say(&mut cluster, "PUB x 0\r\n\r\n", T0);
    }
    let entries = cluster.journal().entries();
    let to = |sid: &[u8]| {
        let to_sid =
            |e: &Event| matches!(e, Event::Delivered { sid: to, .. } if to.as_ref() == sid);
        entries.iter().filter(|entry| to_sid(&entry.event)).count()
    };
    assert_eq!([to(b"1"), to(b"2"), to(b"3"), to(b"4")], [50, 50, 150, 150]);
}

#[test]
fn a_request_that_another_server_has_interest_in_is_no_503() {
    let (mut cluster, [s0, s1, _]) = three(1);
    let asks = Client::connect(&mut cluster, s0, T0);
    let answers = Client::connect(&mut cluster, s1, T0);
    asks.say(&mut cluster, "SUB r 1\r\n", T0);
    let told = asks.say(&mut cluster, "PUB x r 0\r\n\r\n", T0);
    assert_eq!(told, "HMSG r 1 33 33\r\nNATS/1.0 503\r\nNats-Subject: x\r\n\r\n\r\n");
    answers.say(&mut cluster, "SUB x q 1\r\nUNSUB 1 1\r\n", T0);
    assert_eq!(asks.say(&mut cluster, "PUB x r 0\r\n\r\n", T0), "");
    assert_eq!(answers.say(&mut cluster, "PUB r 2\r\nhi\r\n", T0), "MSG x 1 r 0\r\n\r\n");
    assert_eq!(asks.read(&mut cluster, T0), "MSG r 1 2\r\nhi\r\n");
    let told = asks.say(&mut cluster, "PUB x r 0\r\n\r\n", T0);
    assert!(told.contains("NATS/1.0 503"), "its member is used up: {told}");
}

#[test]
fn interest_ends_with_the_client_that_had_it() {
    let (mut cluster, [s0, s1, _]) = three(1);
    let asks = Client::connect(&mut cluster, s0, T0);
    let answers = Client::connect(&mut cluster, s1, T0);
    asks.say(&mut cluster, "SUB r 1\r\n", T0);
    answers.say(&mut cluster, "SUB x 1\r\nSUB x 2\r\nSUB x q 3\r\n", T0);
    answers.say(&mut cluster, "UNSUB 1\r\n", T0);
    assert_eq!(asks.say(&mut cluster, "PUB x r 0\r\n\r\n", T0), "");
    cluster.disconnected(answers.0, T0);
    assert!(asks.say(&mut cluster, "PUB x r 0\r\n\r\n", T0).contains("503"));
}

#[test]
fn what_is_on_a_route_that_is_lost_is_lost_and_said() {
    let (mut cluster, [s0, s1, _]) = three(1);
    let [a, b] = [s0, s1].map(|server| Client::connect(&mut cluster, server, T0));
    b.say(&mut cluster, "SUB x 1\r\n", T0);
    cluster.set_route_delay_between(s0, s1, Duration::from_millis(10));
    a.say(&mut cluster, "PUB x 1\r\n1\r\n", T0);
    cluster.partition(s0, s1, true, at(5));
    cluster.poll(at(20));
    assert_eq!(b.read(&mut cluster, at(20)).matches("MSG").count(), 0);
    let lost = Event::LostOnRoute { publish: 0, from: s0, to: s1 };
    assert!(cluster.journal().entries().iter().any(|entry| entry.event == lost));
    a.say(&mut cluster, "PUB x 1\r\n2\r\n", at(20));
    cluster.partition(s0, s1, false, at(30));
    a.say(&mut cluster, "PUB x 1\r\n3\r\n", at(30));
    cluster.poll(at(40));
    a.say(&mut cluster, "PUB x 1\r\n4\r\n", at(40));
    cluster.poll(at(50));
    let read = b.read(&mut cluster, at(50));
    assert!(read.ends_with("MSG x 1 1\r\n4\r\n"), "{read}");
    assert_eq!(count(&read), 1);
}

#[test]
fn a_message_whose_member_has_left_meanwhile_goes_to_another_server() {
    let (mut cluster, [s0, s1, s2]) = three(1);
    let [a, b, c] = [s0, s1, s2].map(|server| Client::connect(&mut cluster, server, T0));
    b.say(&mut cluster, "SUB x q 1\r\n", T0);
    c.say(&mut cluster, "SUB x q 1\r\n", T0);
    cluster.set_route_delay(Duration::from_millis(10));
    a.say(&mut cluster, &"PUB x 0\r\n\r\n".repeat(20), T0);
    b.say(&mut cluster, "UNSUB 1\r\n", T0);
    cluster.poll(at(10));
    cluster.poll(at(20));
    assert_eq!(count(&c.read(&mut cluster, at(20))), 20);
}

#[test]
fn messages_of_one_publisher_stay_in_order_over_a_route_that_becomes_faster() {
    let (mut cluster, [s0, s1, _]) = three(1);
    let [a, b] = [s0, s1].map(|server| Client::connect(&mut cluster, server, T0));
    b.say(&mut cluster, "SUB x 1\r\n", T0);
    cluster.set_route_delay(Duration::from_millis(10));
    a.say(&mut cluster, "PUB x 1\r\n1\r\n", T0);
    cluster.set_route_delay(Duration::ZERO);
    a.say(&mut cluster, "PUB x 1\r\n2\r\n", T0);
    assert_eq!(b.read(&mut cluster, T0), "");
    cluster.poll(at(10));
    assert_eq!(b.read(&mut cluster, at(10)), "MSG x 1 1\r\n1\r\nMSG x 1 1\r\n2\r\n");
}

#[test]
fn the_same_seed_and_calls_give_the_same_journal() {
    let run = |seed| {
        let (mut cluster, servers) = three(seed);
        cluster.set_route_delay(Duration::from_millis(1));
        let clients = [0, 1, 2, 0, 1, 2].map(|n| Client::connect(&mut cluster, servers[n], T0));
        for (n, client) in clients.into_iter().enumerate() {
            client.say(&mut cluster, &format!("SUB x q 1\r\nSUB {n} 2\r\n"), T0);
        }
        let mut now = T0;
        for round in 0..50 {
            now = now + Duration::from_millis(1);
            cluster.poll(now);
            let text = format!("PUB x 0\r\n\r\nPUB {} 0\r\n\r\n", round % 7);
            clients[round % 6].say(&mut cluster, &text, now);
        }
        cluster.lame_duck(servers[0], now);
        while let Some(next) = cluster.next().filter(|&next| next < at(60_000)) {
            cluster.poll(next);
        }
        cluster.journal().entries().to_vec()
    };
    assert_eq!(run(4), run(4));
    assert_ne!(run(4), run(5));
}
