//! Anything in any order: the rules that hold at all times.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use midge_proto::Instant;
use midge_sim::Rng;
use midge_sim::server::{ClientId, Cluster, Event, ServerId, ServerOptions};

use crate::client::{CONNECT, Client};

#[test]
fn whatever_happens_the_rules_hold_and_the_cluster_heals() {
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut cluster = Cluster::new(seed);
        let servers = [1, 2, 3].map(|port| {
            cluster.add(ServerOptions {
                max_pending: 20_000,
                lame_duck_grace: Duration::from_secs(1),
                lame_duck_duration: Duration::from_secs(5),
                ..ServerOptions::at("n", "h", port)
            })
        });
        let mut now = Instant::ZERO;
        let mut clients = Vec::new();
        for _ in 0..400 {
            now = now + rng.between(Duration::ZERO, Duration::from_millis(100));
            step(&mut rng, &mut cluster, &servers, &mut clients, now);
            cluster.poll(now);
            assert!(cluster.next().is_none_or(|next| next > now), "seed {seed}: a hot loop");
        }
        check_journal(&cluster, seed);
        heal(&mut cluster, &servers, now, seed);
    }
}

fn step(
    rng: &mut Rng,
    cluster: &mut Cluster,
    servers: &[ServerId; 3],
    clients: &mut Vec<ClientId>,
    now: Instant,
) {
    let server = servers[rng.index(3)];
    let other = servers[rng.index(3)];
    match rng.below(100) {
        0..10 => {
            if let Some(id) = cluster.accept(server, now) {
                let hello =
                    format!("{CONNECT}\r\nPING\r\nSUB a.{} 1\r\nSUB a.> 2\r\n", rng.below(3));
                cluster.received(id, hello.as_bytes(), now);
                clients.push(id);
            }
        }
        10 => cluster.stop(server, now),
        11..14 => cluster.start(server, now),
        14 => cluster.lame_duck(server, now),
        15 => cluster.partition(server, other, true, now),
        16..18 => cluster.partition(server, other, false, now),
        18 => cluster.set_route_delay(rng.between(Duration::ZERO, Duration::from_millis(200))),
        _ if clients.is_empty() => {}
        kind => {
            let at = rng.index(clients.len());
            let id = clients[at];
            match kind {
                19..22 => {
                    cluster.disconnected(id, now);
                    clients.swap_remove(at);
                }
                22..50 => {
                    let count = 1 + rng.index(cluster.pending(id).len());
                    cluster.wrote(id, count, now);
                }
                _ => {
                    let text = match rng.below(6) {
                        0 => format!("SUB a.* q {}\r\n", rng.below(6)),
                        1 => format!("UNSUB {} {}\r\n", rng.below(6), rng.below(4)),
                        2 => "PING\r\nPONG\r\n".into(),
                        _ => format!("PUB a.{} a.0 4\r\nbody\r\n", rng.below(4)),
                    };
                    cluster.received(id, text.as_bytes(), now);
                }
            }
        }
    }
}

/// Deliveries go to subscriptions that are there, once for each publish and subscription, and no
/// more leave than were queued.
fn check_journal(cluster: &Cluster, seed: u64) {
    let mut present: BTreeSet<(ClientId, Vec<u8>)> = BTreeSet::new();
    let mut ended: BTreeSet<ClientId> = BTreeSet::new();
    let mut delivered: BTreeMap<ClientId, u64> = BTreeMap::new();
    let mut got: BTreeSet<(usize, ClientId, Vec<u8>)> = BTreeSet::new();
    let mut last = Instant::ZERO;
    for entry in cluster.journal().entries() {
        assert!(entry.at >= last, "seed {seed}: the journal is in order");
        last = entry.at;
        match &entry.event {
            Event::Subscribed { client, sid, .. } => {
                assert!(present.insert((*client, sid.to_vec())), "seed {seed}");
            }
            Event::Unsubscribed { client, sid } => {
                assert!(present.remove(&(*client, sid.to_vec())), "seed {seed}");
            }
            Event::Closed { client, .. } => {
                assert!(ended.insert(*client), "seed {seed}: closed once");
            }
            Event::Delivered { to, sid, publish } => {
                assert!(present.contains(&(*to, sid.to_vec())), "seed {seed}: {entry:?}");
                assert!(!ended.contains(to), "seed {seed}: {entry:?}");
                assert!(got.insert((*publish, *to, sid.to_vec())), "seed {seed}: {entry:?} again");
                *delivered.entry(*to).or_default() += 1;
            }
            _ => {}
        }
    }
    assert!(!got.is_empty(), "seed {seed}: something happened");
    for (client, count) in delivered {
        assert!(cluster.journal().handed_over(client) <= count, "seed {seed}");
    }
}

/// With all servers and routes back, everybody hears everybody, once.
fn heal(cluster: &mut Cluster, servers: &[ServerId; 3], now: Instant, seed: u64) {
    let mut now = now + Duration::from_secs(30);
    while let Some(next) = cluster.next().filter(|&next| next <= now) {
        cluster.poll(next);
    }
    for server in *servers {
        cluster.start(server, now);
        for other in *servers {
            cluster.partition(server, other, false, now);
        }
    }
    let hears = servers.map(|server| {
        let client = Client::connect(cluster, server, now);
        client.say(cluster, "SUB heal 1\r\n", now);
        client
    });
    now = now + Duration::from_secs(1);
    cluster.poll(now);
    for client in hears {
        client.read(cluster, now);
    }
    let mut heard = hears.map(|client| client.say(cluster, "PUB heal 0\r\n\r\n", now));
    now = now + Duration::from_secs(1);
    cluster.poll(now);
    for (client, heard) in hears.into_iter().zip(&mut heard) {
        *heard += &client.read(cluster, now);
        assert_eq!(heard.matches("MSG heal 1 0").count(), 3, "seed {seed}: {heard}");
    }
}
