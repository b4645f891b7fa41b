//! A stream of numbered publishes through the death of a server, and the fate of each of them.
//!
//! The client subscribes to what it publishes itself. Its server delivers a message before it
//! answers a later PING on the same connection, so of the messages that Midge calls *confirmed*
//! none may be missing; of those that it *kept* for the next connection neither; those of which
//! it says that it does not *know* may be missing; and none may arrive twice.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::ops::Range;

use midge::{Client, Event, Events, Fates, Position, State, Subscription};
use midge_testing::NatsServer;

use crate::Failure;

const SUBJECT: &str = "numbers";
/// Messages before the server is killed, at least.
const BEFORE: u64 = 20_000;
/// Messages while there is no server.
const WITHOUT: u64 = 5_000;
/// Messages after the reconnect.
const AFTER: u64 = 5_000;

/// What Midge says of the messages.
#[derive(Debug)]
struct Account {
    /// What became of them, over the whole life of the client.
    fates: Fates,
    /// Those that were confirmed when the connection was lost: the first ones.
    confirmed_before: u64,
    /// How many were published when the connection came back.
    published_at_reconnect: u64,
}

impl Account {
    fn is_unknown(&self, number: u64) -> bool {
        self.fates.unknown.positions.contains(Position(number))
    }

    fn is_dropped(&self, number: u64) -> bool {
        self.fates.dropped.positions.contains(Position(number))
    }

    /// How many of `numbers` are neither unknown nor dropped.
    fn others(&self, numbers: Range<u64>) -> u64 {
        let other = |number: &u64| !self.is_unknown(*number) && !self.is_dropped(*number);
        numbers.filter(other).count() as u64
    }
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

    // The kill happens while the stream flows: the publishing goes on until the loss is seen.
    let mut number = 0;
    publish(client, &mut number, BEFORE).await?;
    let killer = tokio::task::spawn_blocking(move || server.kill().map(|()| server));
    while matches!(client.status().state, State::Connected { .. }) {
        publish(client, &mut number, 100).await?;
        tokio::task::yield_now().await;
    }
    let mut server = killer.await??;
    // Nothing is confirmed while there is no server.
    let confirmed_before = client.statistics().confirmed;
    writeln!(stdout(), "  killed the server with SIGKILL after about {number} messages")?;
    publish(client, &mut number, WITHOUT).await?;
    writeln!(stdout(), "  published {WITHOUT} more without a server")?;
    let server = tokio::task::spawn_blocking(move || server.restart().map(|()| server)).await??;
    writeln!(stdout(), "  started it again on port {}", server.port())?;
    reconnected(&mut events).await?;
    let published_at_reconnect = number;
    publish(client, &mut number, AFTER).await?;
    client.flush().await?;

    let closed = client.drain().await;
    let arrived = reader.await?;
    let fates = closed.fates.clone();
    let account = Account { fates, confirmed_before, published_at_reconnect };
    reconcile(number, &account, &arrived)
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

/// Waits for the reconnect.
async fn reconnected(events: &mut Events) -> Result<(), Failure> {
    while let Some(event) = events.next().await {
        match event {
            Event::Disconnected(lost) => {
                writeln!(stdout(), "  disconnected: {}", lost.cause)?;
            }
            Event::AttemptFailed { server, cause } => {
                writeln!(stdout(), "  {server}: {cause}")?;
            }
            Event::Connected(connected) if connected.again => {
                writeln!(stdout(), "  reconnected to {}", connected.server)?;
                return Ok(());
            }
            _ => {}
        }
    }
    Err("the connection ended instead of coming back".into())
}

/// Checks every number against what arrived, and prints the sums.
fn reconcile(
    published: u64,
    account: &Account,
    arrived: &BTreeMap<u64, u64>,
) -> Result<(), Failure> {
    let (mut faults, mut unknown_arrived) = (Vec::new(), 0);
    for number in 0..published {
        let (unknown, dropped) = (account.is_unknown(number), account.is_dropped(number));
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
    if arrived.keys().any(|number| *number >= published) {
        faults.push("a number arrived that was never published".to_owned());
    }

    let Fates { confirmed, unknown, dropped, .. } = &account.fates;
    let [confirmed, unknown, dropped] = [confirmed, unknown, dropped].map(|fate| fate.messages);
    if confirmed + unknown + dropped != published {
        faults.push(format!("{confirmed} + {unknown} + {dropped} is not {published}"));
    }
    // What was confirmed before the loss comes first; what was published later than that, and
    // is not unknown or dropped, was kept; what was published after the reconnect never was.
    let before = account.confirmed_before;
    let kept = account.others(before..account.published_at_reconnect);
    let after = account.others(account.published_at_reconnect..published);
    if before + kept + after != confirmed {
        faults.push(format!("{before} + {kept} + {after} is not {confirmed}"));
    }

    let ranges: Vec<_> = account
        .fates
        .unknown
        .positions
        .ranges()
        .map(|range| format!("{} to {}", range.start, range.end - 1))
        .collect();
    let mut out = stdout();
    writeln!(out, "\n  of {published} messages published")?;
    writeln!(
        out,
        "  {confirmed:>8} confirmed  processed by the server (it answered a later PING):"
    )?;
    writeln!(out, "  {before:>19} before the connection was lost")?;
    writeln!(out, "  {kept:>19} kept while there was none, and sent on the next")?;
    writeln!(out, "  {after:>19} published after the reconnect")?;
    writeln!(out, "  {unknown:>8} unknown    written, not confirmed: {}", ranges.join(", "))?;
    writeln!(out, "  {dropped:>8} dropped")?;
    writeln!(
        out,
        "  {:>8} arrived, among them {unknown_arrived} of the unknown, none twice",
        arrived.len()
    )?;
    match faults.len() {
        0 => Ok(()),
        count => {
            faults.truncate(10);
            Err(format!("{count} numbers do not reconcile: {}", faults.join(", ")).into())
        }
    }
}
