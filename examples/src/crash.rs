//! A stream of numbered publishes through the death of a server, and the fate of each of them.
//!
//! The client subscribes to what it publishes itself. Its server delivers a message before it
//! answers a later PING on the same connection, so of the messages that Midge calls *confirmed*
//! none may be missing; of those that it *kept* for the next connection neither; those of which
//! it says that it does not *know* may be missing; and none may arrive twice.

use std::collections::BTreeMap;

use midge::{Client, Event, Events, Position, Positions, State, Subscription};
use midge_testing::NatsServer;

use crate::Failure;

const SUBJECT: &str = "numbers";
/// Messages before the server is killed, at least.
const BEFORE: u64 = 20_000;
/// Messages while there is no server.
const WITHOUT: u64 = 5_000;
/// Messages after the reconnect.
const AFTER: u64 = 5_000;

/// What became of the messages, by what Midge says.
#[derive(Debug, Default)]
struct Fates {
    unknown: Vec<Positions>,
    kept: u64,
    dropped: Vec<Positions>,
}

/// Kills `server` with SIGKILL in the middle of a stream of publishes, starts it again on the
/// same port, and checks every number.
///
/// # Errors
///
/// What failed, or which numbers do not reconcile.
pub async fn crash(client: &Client, mut server: NatsServer) -> Result<(), Failure> {
    let mut events = client.events();
    let subscription = client.subscribe(SUBJECT).await?;
    let reader = tokio::spawn(count_arrivals(subscription));
    let mut fates = Fates::default();

    // The kill happens while the stream flows: the publishing goes on until the loss is seen.
    let mut number = 0;
    publish(client, &mut number, BEFORE).await?;
    let killer = tokio::task::spawn_blocking(move || server.kill().map(|()| server));
    while matches!(client.status().state, State::Connected { .. }) {
        publish(client, &mut number, 100).await?;
        tokio::task::yield_now().await;
    }
    let mut server = killer.await??;
    println!("  killed the server with SIGKILL after about {number} messages");
    publish(client, &mut number, WITHOUT).await?;
    println!("  published {WITHOUT} more without a server");
    let server = tokio::task::spawn_blocking(move || server.restart().map(|()| server)).await??;
    println!("  started it again on port {}", server.port());
    reconnected(&mut events, &mut fates).await?;
    publish(client, &mut number, AFTER).await?;
    client.flush().await?;

    let closed = client.drain().await;
    let arrived = reader.await?;
    fates.unknown.push(closed.unknown.positions.clone());
    fates.dropped.push(closed.dropped.positions.clone());
    reconcile(number, closed.confirmed, &fates, &arrived)
}

/// Publishes the next `count` numbers. Nothing else publishes through this client, so the
/// position of a message is its number.
async fn publish(client: &Client, number: &mut u64, count: u64) -> Result<(), Failure> {
    for _ in 0..count {
        let position = client.publish(SUBJECT, number.to_string()).await?;
        if position != Position(*number) {
            return Err(format!("message {number} has position {position}").into());
        }
        *number += 1;
    }
    Ok(())
}

async fn count_arrivals(mut subscription: Subscription) -> BTreeMap<u64, u64> {
    let mut arrived = BTreeMap::new();
    while let Some(message) = subscription.next().await {
        if let Some(number) = str::from_utf8(message.payload()).ok().and_then(|n| n.parse().ok()) {
            *arrived.entry(number).or_default() += 1;
        }
    }
    arrived
}

/// Waits for the reconnect, and notes what the events say of messages.
async fn reconnected(events: &mut Events, fates: &mut Fates) -> Result<(), Failure> {
    while let Some(event) = events.next().await {
        match event {
            Event::Disconnected(lost) => {
                println!("  disconnected: {}", lost.cause);
                fates.unknown.push(lost.unknown.positions.clone());
                fates.kept += lost.kept.messages;
                fates.dropped.push(lost.dropped.positions.clone());
            }
            Event::AttemptFailed { server, cause } => println!("  {server}: {cause}"),
            Event::Connected(connected) if connected.again => {
                println!("  reconnected to {}", connected.server);
                fates.dropped.push(connected.dropped.positions.clone());
                return Ok(());
            }
            _ => {}
        }
    }
    Err("the connection ended instead of coming back".into())
}

fn reconcile(
    published: u64,
    confirmed: u64,
    fates: &Fates,
    arrived: &BTreeMap<u64, u64>,
) -> Result<(), Failure> {
    let within = |all: &[Positions], number: u64| {
        all.iter().any(|positions| positions.contains(Position(number)))
    };
    let (mut faults, mut unknown_arrived) = (Vec::new(), 0);
    for number in 0..published {
        let unknown = within(&fates.unknown, number);
        let dropped = within(&fates.dropped, number);
        let times = arrived.get(&number).copied().unwrap_or(0);
        let right = match (unknown, dropped) {
            (true, true) => false,
            (true, false) => times <= 1,
            (false, true) => times == 0,
            (false, false) => times == 1,
        };
        unknown_arrived += u64::from(unknown && times == 1);
        if !right {
            faults
                .push(format!("{number} (unknown {unknown}, dropped {dropped}, arrived {times}x)"));
        }
    }
    let count = |all: &[Positions]| all.iter().map(Positions::len).sum::<u64>();
    let (unknown, dropped) = (count(&fates.unknown), count(&fates.dropped));
    let ranges: Vec<_> = fates
        .unknown
        .iter()
        .flat_map(Positions::ranges)
        .map(|range| format!("{} to {}", range.start, range.end - 1))
        .collect();
    println!("\n  of {published} messages published");
    println!("    {confirmed:>6} confirmed  the server said that it has them");
    println!("    {unknown:>6} unknown    written, not confirmed: {}", ranges.join(", "));
    println!("    {dropped:>6} dropped");
    println!(
        "  {:>6} of the confirmed were kept when the connection was lost, and sent after it",
        fates.kept + WITHOUT
    );
    println!(
        "  {:>6} arrived, among them {unknown_arrived} of the unknown, none twice",
        arrived.len()
    );
    if confirmed + unknown + dropped != published {
        faults.push(format!("{confirmed} + {unknown} + {dropped} is not {published}"));
    }
    if arrived.keys().any(|number| *number >= published) {
        faults.push("a number arrived that was never published".to_owned());
    }
    match faults.len() {
        0 => Ok(()),
        count => {
            faults.truncate(10);
            Err(format!("{count} numbers do not reconcile: {}", faults.join(", ")).into())
        }
    }
}
