//! Everything that goes wrong in a storm, until it is calm.

use std::time::Duration;

use super::ledger::Ledger;
use super::plan::Plan;
use crate::server::ServerId;
use crate::{Direction, Door, End, Rng, World};

/// The longest time for which a path falls silent, if not for ever.
pub(super) const LONGEST_STALL: Duration = Duration::from_secs(3);

/// Returns when it is calm: every server runs, is reachable, and knows of the others. Paths that
/// have gone silent for ever stay so; those who use them have to find out.
pub(super) async fn rage(world: &World, plan: &Plan, ledger: &Ledger) {
    let mut rng = world.rng();
    let servers = world.servers();
    // Some storms are fair: what must hold without a fault is looked at too.
    let fair = rng.one_in(8);
    let pause = rng.between(Duration::from_millis(20), Duration::from_millis(1500));
    while world.now() < plan.calm {
        let longest = pause.min(plan.calm - world.now());
        world
            .sleep(rng.between(Duration::from_millis(1), longest.max(Duration::from_millis(1))))
            .await;
        if !fair {
            strike(world, plan, ledger, &servers, &mut rng);
        }
    }
    calm(world, plan, ledger, &servers);
}

fn strike(world: &World, plan: &Plan, ledger: &Ledger, servers: &[ServerId], rng: &mut Rng) {
    let server = servers[rng.index(servers.len())];
    let other = servers[rng.index(servers.len())];
    let connections = world.connections();
    let connection = connections.get(rng.index(connections.len())).copied();
    let direction = if rng.one_in(2) { Direction::Up } else { Direction::Down };
    let running = world.cluster(|cluster, _| cluster.is_running(server));
    match (rng.index(14), connection) {
        (0 | 1, _) if running => {
            let end = if rng.one_in(2) { End::Eof } else { End::Reset };
            world.kill(server, end);
        }
        (0..=2, _) if !running => world.start(server),
        (2, _) => world.lame_duck(server),
        (3, _) => world.pause(server, true),
        (4, _) => world.pause(server, false),
        (5, _) => {
            let doors = [Door::Open, Door::Open, Door::Refusing, Door::Silent];
            world.set_door(server, doors[rng.index(doors.len())]);
        }
        (6, _) => {
            let mut options =
                plan.server_options(world.cluster(|cluster, _| cluster.options(server).clone()));
            options.max_payload = [200, 1000, 8192][rng.index(3)];
            if !running {
                options.headers = !rng.one_in(4);
            }
            // The real one says nothing of a new limit; a proxy or another version may.
            let says_so = rng.one_in(2);
            ledger.limits_changed(server, world.now());
            world.cluster(|cluster, now| {
                cluster.reload(server, options, now);
                if says_so {
                    cluster.send_info(server, now);
                }
            });
        }
        (7, _) => world.partition(server, other, rng.one_in(2)),
        (8 | 9, Some(connection)) => world.cut(connection),
        (10 | 11, Some(connection)) => {
            world.cut_after(connection, direction, 1 + rng.index(3000));
        }
        (12, Some(connection)) => {
            let time = rng.between(Duration::from_millis(1), LONGEST_STALL);
            world.stall(connection, direction, (!rng.one_in(4)).then_some(time));
        }
        (_, Some(connection)) => {
            let texts = ["User Authentication Expired", "Stale Connection", "Slow Consumer"];
            let text = texts[rng.index(texts.len())];
            world.expel(connection, text);
        }
        _ => {}
    }
}

fn calm(world: &World, plan: &Plan, ledger: &Ledger, servers: &[ServerId]) {
    for &server in servers {
        world.set_door(server, Door::Open);
        world.pause(server, false);
        // A lame duck would end later, and nothing ends from here on.
        if world.cluster(|cluster, _| cluster.is_lame_duck(server)) {
            world.kill(server, End::Eof);
        }
        world.start(server);
        let options =
            plan.server_options(world.cluster(|cluster, _| cluster.options(server).clone()));
        ledger.limits_changed(server, world.now());
        world.cluster(|cluster, now| cluster.reload(server, options, now));
        for &other in servers {
            world.cluster(|cluster, now| cluster.partition(server, other, false, now));
        }
    }
    for connection in world.connections() {
        world.spare(connection);
    }
}
