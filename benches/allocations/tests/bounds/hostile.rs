//! Peers and callers who do their worst, against a connection with narrow bounds.

use std::sync::Arc;
use std::time::Duration;

use midge_allocations::live;
use midge_proto::{Config, Connection, Event, Instant, RequestError, ServerUrl, SubjectRef};
use midge_sim::server::{ClientId, ServerId, ServerOptions};
use midge_sim::{CoreClient, Direction, End, Link, Sim, World};

use crate::{PEAK, begin};

const ROUNDS: usize = 20_000;
/// What is needed for it, with air: less than what the bound allows, of which each part is used by
/// another script.
const MOST: usize = 32 * 1024;
/// The subscriptions, requests and flushes of a script at a time.
const ENTRIES: usize = 16;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn subject(name: &str) -> SubjectRef<'_> {
    SubjectRef::new(name).unwrap()
}

/// A client with narrow bounds and its server.
struct Scene {
    world: World,
    server: ServerId,
    client: CoreClient,
}

impl Scene {
    /// Up, and everything that happens is heard and dropped from here on.
    async fn set(world: World) -> Self {
        let far = Duration::from_secs(100_000);
        let server = world.add_server(ServerOptions {
            ping_interval: far,
            write_deadline: far,
            ..world.server_options()
        });
        let mut config = Config::small(ServerUrl::parse_list(&world.urls()).unwrap(), [0; 32]);
        // Nothing but what a script does ends a connection.
        config.ping_interval = far;
        config.retry_first_connect = true;
        config.reconnect_wait = ms(10);
        config.reconnect_wait_max = ms(50);
        config.reconnect_jitter = Duration::ZERO;
        config.max_subscriptions = ENTRIES;
        config.max_requests = ENTRIES;
        config.max_flushes = ENTRIES;
        let client = world.core_client(config).unwrap();
        while !matches!(client.event().await, Event::Connected(_)) {}
        let listens = client.clone();
        drop(
            world.spawn(async move { while !matches!(listens.event().await, Event::Closed(_)) {} }),
        );
        Self { world, server, client }
    }

    fn with<T>(&self, run: impl FnOnce(&mut Connection, Instant) -> T) -> T {
        self.client.with(run)
    }

    fn stall(&self, direction: Direction) {
        self.world.stall(self.world.connections()[0], direction, None);
    }

    fn id(&self) -> ClientId {
        self.world.cluster(|cluster, _| cluster.clients(self.server)[0])
    }

    async fn turn(&self) {
        self.world.sleep(Duration::from_micros(10)).await;
    }

    fn live(&self) -> isize {
        live(usize::try_from(self.client.number()).unwrap())
    }

    /// The connection is lost, another one comes, and all that was done is over.
    async fn end(&self, floor: isize) {
        for connection in self.world.connections() {
            self.world.cut(connection);
        }
        self.with(|connection, _| connection.pause(false));
        self.world.sleep(Duration::from_secs(10)).await;
        assert!(self.with(|connection, _| connection.is_connected()));
        // Vectors keep what they have grown to, which is little here.
        let left = self.live();
        assert!(
            left <= floor + 16 * 1024,
            "{left} bytes are left, {floor} were there at the start"
        );
        self.with(|connection, _| connection.close(Duration::from_secs(1)));
        self.world.sleep(Duration::from_secs(10)).await;
    }
}

fn play<F>(script: impl Fn(Arc<Scene>) -> F + Copy + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    begin(ENTRIES, 4096);
    for seed in 0..3 {
        let mut link = Link::default();
        (link.window, link.short) = (2000, seed == 1);
        let outcome =
            Sim::new(seed).link(link).max_steps(20_000_000).run(move |world| async move {
                let scene = Arc::new(Scene::set(world).await);
                let floor = scene.live();
                script(Arc::clone(&scene)).await;
                let client = usize::try_from(scene.client.number()).unwrap();
                scene.end(floor).await;
                client
            });
        let outcome = outcome.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(live(outcome.value), 0, "all is freed with the connection");
    }
    let peak = PEAK.get();
    assert!(peak <= MOST, "{peak} bytes were allocated: within bounds, and more than is needed");
}

// ---- peers -------------------------------------------------------------------------------------

#[test]
fn a_flood_of_pings_while_nothing_can_be_written() {
    play(|scene| async move {
        scene.stall(Direction::Up);
        let id = scene.id();
        for _ in 0..ROUNDS {
            scene.world.cluster(|cluster, now| cluster.ping(id, now));
            scene.turn().await;
        }
    });
}

#[test]
fn info_after_info_with_other_urls_each_time() {
    play(|scene| async move {
        let world = &scene.world;
        let others = world.add_servers(60);
        for round in 0..6 {
            for (number, &server) in others.iter().enumerate() {
                let mut options = world.cluster(|cluster, _| cluster.options(server).clone());
                options.client_advertise = Some(format!("s{round}x{number}.example:4222"));
                world.kill(server, End::Reset);
                world.cluster(|cluster, now| cluster.reload(server, options, now));
                world.start(server);
            }
            world.cluster(|cluster, now| cluster.send_info(scene.server, now));
            world.sleep(ms(500)).await;
        }
        for server in others {
            world.kill(server, End::Reset);
        }
    });
}

#[test]
fn messages_for_a_client_that_is_paused() {
    play(|scene| async move {
        scene.with(|connection, _| connection.subscribe(subject("a"), None)).unwrap();
        let other = scene.world.connect(scene.world.urls()).await.unwrap();
        other.flush().await.unwrap();
        scene.world.sleep(ms(10)).await;
        for round in 0..1000 {
            scene.with(|connection, _| connection.pause(round % 100 != 99));
            other.publish("a", [b'x'; 2000]).await.unwrap();
            scene.world.sleep(ms(1)).await;
        }
        other.close().await;
    });
}

#[test]
fn messages_that_are_too_large() {
    play(|scene| async move {
        scene.with(|connection, _| connection.subscribe(subject("a"), None)).unwrap();
        let other = scene.world.connect(scene.world.urls()).await.unwrap();
        other.flush().await.unwrap();
        scene.world.sleep(ms(10)).await;
        for round in 0..100 {
            other.publish("a", vec![b'x'; 500_000 + round]).await.unwrap();
            other.flush().await.unwrap();
        }
        other.close().await;
    });
}

// ---- callers -----------------------------------------------------------------------------------

#[test]
fn subscriptions_that_come_and_go_while_there_is_no_connection() {
    play(|scene| async move {
        scene.world.kill(scene.server, End::Reset);
        scene.world.sleep(ms(10)).await;
        for _ in 0..ROUNDS {
            scene.with(|connection, _| {
                let sid = connection.subscribe(subject("a.rather.long.subject"), None).unwrap();
                connection.unsubscribe(sid, None);
            });
            scene.turn().await;
        }
        scene.world.start(scene.server);
        scene.world.sleep(ms(500)).await;
    });
}

#[test]
fn subscriptions_that_come_and_go_while_nobody_polls() {
    play(|scene| async move {
        scene.world.kill(scene.server, End::Reset);
        scene.world.sleep(ms(10)).await;
        scene.with(|connection, _| {
            for _ in 0..ROUNDS {
                if let Ok(sid) = connection.subscribe(subject("a"), None) {
                    connection.unsubscribe(sid, None);
                }
            }
        });
        scene.world.start(scene.server);
        scene.world.sleep(ms(500)).await;
    });
}

#[test]
fn subscriptions_that_come_and_go_while_nothing_can_be_written() {
    play(|scene| async move {
        scene.stall(Direction::Up);
        let mut refused = 0;
        for _ in 0..ROUNDS {
            scene.with(|connection, _| {
                match connection.subscribe(subject("a.rather.long.subject"), None) {
                    Ok(sid) => connection.unsubscribe(sid, None),
                    Err(_) => refused += 1,
                }
            });
            scene.turn().await;
        }
        assert!(refused > 0, "the control reserve is full at some time");
    });
}

#[test]
fn subscriptions_that_are_drained_while_nobody_answers() {
    play(|scene| async move {
        scene.stall(Direction::Down);
        for _ in 0..ROUNDS {
            scene.with(|connection, _| {
                if let Ok(sid) = connection.subscribe(subject("a"), None) {
                    connection.drain_subscription(sid);
                }
            });
            scene.turn().await;
        }
    });
}

/// Begins a request or a flush, and gives it up before or after the driver had its turn.
async fn gives_up(scene: &Scene, round: usize) {
    let late = round.is_multiple_of(3);
    if round.is_multiple_of(2) {
        let far = scene.world.now() + Duration::from_secs(3600);
        let request = scene
            .with(|connection, _| connection.request(subject("service"), None, &[b'x'; 30], far));
        match request {
            Ok(request) => {
                if late {
                    scene.turn().await;
                }
                scene.with(|connection, _| connection.cancel(request));
            }
            Err(RequestError::Publish(_)) => {}
            Err(error) => panic!("{error}"),
        }
    } else if let Ok(flush) = scene.with(|connection, _| connection.flush()) {
        if late {
            scene.turn().await;
        }
        scene.with(|connection, _| connection.cancel_flush(flush));
    }
    if round.is_multiple_of(5) {
        scene.turn().await;
    }
}

#[test]
fn requests_and_flushes_given_up_while_nothing_can_be_written() {
    play(|scene| async move {
        scene.stall(Direction::Up);
        for round in 0..ROUNDS {
            gives_up(&scene, round).await;
        }
    });
}

#[test]
fn requests_and_flushes_given_up_while_nobody_answers() {
    play(|scene| async move {
        scene.stall(Direction::Down);
        for round in 0..ROUNDS {
            gives_up(&scene, round).await;
        }
    });
}

#[test]
fn requests_and_flushes_given_up_while_there_is_no_connection() {
    play(|scene| async move {
        scene.world.kill(scene.server, End::Reset);
        scene.world.sleep(ms(10)).await;
        for round in 0..ROUNDS {
            gives_up(&scene, round).await;
        }
        scene.world.start(scene.server);
        scene.world.sleep(ms(500)).await;
    });
}

#[test]
fn messages_with_gaps_between_them_while_nobody_answers() {
    play(|scene| async move {
        scene.stall(Direction::Down);
        for _ in 0..ROUNDS {
            scene.with(|connection, _| {
                let withdrawn = connection.publish(subject("a"), None, None, b"b");
                let _ = connection.publish(subject("a"), None, None, b"b");
                if let Ok(position) = withdrawn {
                    assert!(connection.withdraw(position));
                }
            });
            scene.turn().await;
        }
    });
}
