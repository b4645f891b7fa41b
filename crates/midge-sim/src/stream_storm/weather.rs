//! What goes wrong until it is calm.

use std::time::Duration;

use midge_proto::Instant;

use crate::server::ServerId;
use crate::{Direction, End, Rng, World};

/// Returns when it is calm: every server runs, is reachable and knows of the others, and one leads.
pub(super) async fn rage(world: &World, calm: Instant) {
    let mut rng = world.rng();
    let servers = world.servers();
    let pause = rng.between(Duration::from_millis(50), Duration::from_millis(1500));
    while world.now() < calm {
        let longest = pause.min(calm - world.now()).max(Duration::from_millis(1));
        world.sleep(rng.between(Duration::from_millis(1), longest)).await;
        strike(world, calm, &servers, &mut rng);
    }
    clear(world, &servers);
    while world.cluster(|cluster, _| cluster.jetstream_leader()).is_none() {
        world.sleep(Duration::from_millis(10)).await;
    }
}

fn strike(world: &World, calm: Instant, servers: &[ServerId], rng: &mut Rng) {
    let leader = world.cluster(|cluster, _| cluster.jetstream_leader());
    let any = servers[rng.index(servers.len())];
    let server = leader.filter(|_| rng.one_in(2)).unwrap_or(any);
    let other = servers[rng.index(servers.len())];
    let connections = world.connections();
    let connection = connections.get(rng.index(connections.len())).copied();
    let direction = if rng.one_in(2) { Direction::Up } else { Direction::Down };
    let running = world.cluster(|cluster, _| cluster.is_running(server));
    let time = rng.between(Duration::from_millis(1), Duration::from_secs(3));
    match (rng.index(15), connection) {
        (0 | 1, _) if running => {
            world.kill(server, if rng.one_in(2) { End::Eof } else { End::Reset });
        }
        (0..=2, _) if !running => world.start(server),
        (2 | 3, _) => world.cluster(|cluster, now| cluster.step_down(now)),
        (4, _) => world.lame_duck(server),
        (5, _) => world.pause(server, true),
        (6, _) => world.pause(server, false),
        (7, _) => world.partition(server, other, rng.one_in(2)),
        (14, _) => world.stand_still(time.min(calm.saturating_since(world.now()))),
        (8 | 9, Some(connection)) => world.cut(connection),
        (10 | 11, Some(connection)) => {
            world.cut_after(connection, direction, 1 + rng.index(3000));
        }
        (_, Some(connection)) => {
            world.stall(connection, direction, (!rng.one_in(4)).then_some(time));
        }
        _ => {}
    }
}

fn clear(world: &World, servers: &[ServerId]) {
    for &server in servers {
        world.pause(server, false);
        // A lame duck would end later, and nothing ends from here on.
        if world.cluster(|cluster, _| cluster.is_lame_duck(server)) {
            world.kill(server, End::Eof);
        }
        world.start(server);
        for &other in servers {
            world.partition(server, other, false);
        }
    }
    for connection in world.connections() {
        world.spare(connection);
    }
}
