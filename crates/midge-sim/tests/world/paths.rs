//! Paths: latency, bandwidth, window, reads and writes that are short, and the order of bytes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge_proto::Instant;
use midge_sim::server::{self, ServerId};
use midge_sim::{Link, Sim, World};

use crate::{exact, ms, read, read_until, run, shake_hands, write, write_all};

/// When each publish was taken by its server.
fn published(world: &World) -> Vec<Instant> {
    world.cluster(|cluster, _| {
        let entries = cluster.journal().entries().iter();
        let publishes = entries.filter(|e| matches!(e.event, server::Event::Published(_)));
        publishes.map(|entry| entry.at).collect()
    })
}

fn with(change: impl FnOnce(&mut Link)) -> Link {
    let mut link = exact(ms(10));
    change(&mut link);
    link
}

#[test]
fn latency_is_exact_in_each_direction() {
    run(1, ms(10), async |world| {
        let server = world.add_servers(1)[0];
        let mut socket = world.dial(world.address(server)).await.unwrap();
        assert_eq!(world.now(), Instant::ZERO + ms(20), "there and back");
        read_until(&mut socket, b"\r\n").await;
        assert_eq!(world.now(), Instant::ZERO + ms(30), "INFO");
        write_all(&mut socket, b"CONNECT {\"verbose\":false}\r\nPING\r\n").await.unwrap();
        read_until(&mut socket, b"PONG\r\n").await;
        assert_eq!(world.now(), Instant::ZERO + ms(50));
    });
}

#[test]
fn bandwidth_is_exact_and_bytes_that_wait_for_others_come_later() {
    let link = with(|link| link.bandwidth = Some(100_000));
    let outcome = Sim::new(1).link(link).run(async |world| {
        let server = world.add_servers(1)[0];
        let mut socket = shake_hands(&world, server).await;
        let start = world.now();
        // 1,000 bytes each: 10 ms of the line.
        for _ in 0..3 {
            let frame = [b"PUB a 986\r\n".as_slice(), &[b'x'; 986], b"\r\n"].concat();
            write_all(&mut socket, &frame).await.unwrap();
        }
        world.sleep(ms(100)).await;
        published(&world).iter().map(|at| *at - start).collect::<Vec<_>>()
    });
    let taken = Duration::from_nanos(9_990_000);
    assert_eq!(outcome.unwrap().value, [1, 2, 3].map(|times| taken * times + ms(10)));
}

#[test]
fn a_window_that_is_full_takes_no_more_until_it_is_read() {
    let link = with(|link| link.window = 1000);
    let outcome = Sim::new(1).link(link).run(async |world| {
        let server = world.add_servers(1)[0];
        let mut socket = shake_hands(&world, server).await;
        world.pause(server, true);
        let start = world.now();
        assert_eq!(write(&mut socket, &[b'\n'; 600]).await.unwrap(), 600);
        assert_eq!(write(&mut socket, &[b'\n'; 600]).await.unwrap(), 400);
        let more = world.timeout(Duration::from_secs(1), write(&mut socket, b"PING\r\n")).await;
        assert!(more.is_err(), "nobody reads");
        assert_eq!(world.now() - start, Duration::from_secs(1));
        world.pause(server, false);
        let more = world.timeout(Duration::ZERO, write(&mut socket, b"PING\r\n")).await;
        assert_eq!(more.unwrap().unwrap(), 6, "all was read");
    });
    outcome.unwrap();
}

#[test]
fn short_reads_and_writes_take_less_at_times() {
    for (short, seeds) in [(false, 1), (true, 10)] {
        for seed in 0..seeds {
            let link = with(|link| link.short = short);
            let outcome = Sim::new(seed).link(link).run(async |world| {
                let server = world.add_servers(1)[0];
                let mut socket = shake_hands(&world, server).await;
                let (mut wrote, mut reads) = (BTreeSet::new(), BTreeSet::new());
                for _ in 0..30 {
                    let pings = b"PING\r\n".repeat(10);
                    let mut left = &pings[..];
                    while !left.is_empty() {
                        let count = write(&mut socket, left).await.unwrap();
                        wrote.insert(count);
                        left = &left[count..];
                    }
                    world.sleep(ms(50)).await;
                    let (mut left, mut buffer) = (60, [0; 60]);
                    while left > 0 {
                        let count = read(&mut socket, &mut buffer[..left]).await.unwrap();
                        reads.insert(count);
                        left -= count;
                    }
                }
                (wrote, reads)
            });
            let (wrote, reads) = outcome.unwrap().value;
            match short {
                true => assert!(wrote.len() > 10 && reads.len() > 10, "{wrote:?} {reads:?}"),
                false => assert_eq!((wrote, reads), ([60].into(), [60].into())),
            }
        }
    }
}

/// Writes 200 numbered messages on each of two connections, and says in which order the server
/// took them.
async fn race(world: World, server: ServerId) -> Vec<(usize, usize)> {
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut hears = shake_hands(&world, server).await;
    write_all(&mut hears, b"SUB > 1\r\nPING\r\n").await.unwrap();
    read_until(&mut hears, b"PONG\r\n").await;
    let tasks = [0, 1].map(|writer| {
        let world = world.clone();
        world.clone().spawn(async move {
            let mut socket = shake_hands(&world, server).await;
            for number in 0..200 {
                let frame = format!("PUB {writer}.{number} 0\r\n\r\n");
                write_all(&mut socket, frame.as_bytes()).await.unwrap();
                world.sleep(ms(1)).await;
            }
            socket
        })
    });
    let sockets = world.join(tasks.into()).await;
    world.sleep(Duration::from_secs(1)).await;
    drop(sockets);
    world.cluster(|cluster, _| {
        for publish in cluster.journal().publishes() {
            let subject = std::str::from_utf8(&publish.subject).unwrap();
            let (writer, number) = subject.split_once('.').unwrap();
            order.lock().unwrap().push((writer.parse().unwrap(), number.parse().unwrap()));
        }
    });
    order.lock().unwrap().clone()
}

#[test]
fn connections_overtake_each_other_and_the_bytes_of_one_never_do() {
    let mut overtaken = BTreeSet::new();
    for seed in 0_u64..10 {
        let link = with(|link| (link.jitter, link.short) = (ms(30), seed.is_multiple_of(2)));
        let outcome = Sim::new(seed).link(link).run(async |world| {
            let server = world.add_servers(1)[0];
            race(world, server).await
        });
        let order = outcome.unwrap().value;
        for writer in [0, 1] {
            let own = order.iter().filter(|(from, _)| *from == writer).map(|(_, number)| *number);
            assert!(own.eq(0..200), "seed {seed}");
        }
        // One is ahead of the other by more than the time at which it was written.
        let mut counts = [0_i32; 2];
        for (writer, _) in order {
            counts[writer] += 1;
            let ahead = counts[0] - counts[1];
            if ahead.abs() > 10 {
                overtaken.insert(ahead > 0);
            }
        }
    }
    assert_eq!(overtaken.len(), 2, "each is ahead at some time");
}

#[test]
fn bytes_are_whole_over_the_worst_of_paths() {
    for seed in 0..30 {
        let mut link = exact(Duration::from_micros(10));
        (link.jitter, link.window, link.short) = (ms(5), 1 + seed as usize * 7, true);
        let outcome =
            Sim::new(seed).link(link).limit(Duration::from_secs(600)).run(async |world| {
                world.add_servers(1);
                let client = world.connect(world.urls()).await.unwrap();
                let mut subscription = client.subscribe("a").await.unwrap();
                let mut rng = world.rng();
                let payloads: Vec<Vec<u8>> = (0..20)
                    .map(|_| (0..rng.index(300)).map(|_| rng.next_u64() as u8).collect())
                    .collect();
                for payload in &payloads {
                    client.publish("a", payload).await.unwrap();
                }
                for payload in &payloads {
                    assert_eq!(subscription.next().await.unwrap().payload(), payload);
                }
            });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }
}
