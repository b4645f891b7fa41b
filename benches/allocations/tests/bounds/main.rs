//! What a connection of the core allocates stays below a bound that follows from its configuration,
//! in the simulator: through storms, and against peers and callers who do their worst.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod hostile;
mod storms;

use std::cell::Cell;

use midge_allocations::{live, pay};
use midge_proto::Config;
use midge_sim::{Metered, meter};

thread_local! {
    /// The most that one client had, after a call into it.
    static PEAK: Cell<usize> = const { Cell::new(0) };
    /// The entries of a table that are used at most, and the bytes of the largest message.
    static USE: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

/// Bytes that a connection may have allocated (ARCHITECTURE.md: bounds). A buffer or table has
/// room for up to twice of what is in it, as vectors double.
fn bound(config: &Config, entries: usize, message: usize) -> usize {
    let user = config.max_pending.max(config.reconnect_buffer);
    // A reserve that is not full takes one more operation.
    let control = config.control_reserve + config.server_control_line + 64;
    // One buffer is written from while the other one is filled. Withdrawn messages are taken out
    // before they are more than the others.
    let queue = 2 * 2 * (2 * user + control);
    // The shortest message has 11 bytes, a PING 6; each has 16 bytes of its own.
    let frames = 2 * 16 * (2 * user / 11 + control / 6);
    // Messages that are unconfirmed, and four fates, of which a report shares a second copy.
    let ranges = 2 * 16 * config.max_ranges * (1 + 2 * 4 + 2);
    let largest = message.max(config.max_control_line);
    // What a large message left is kept while it is no more than four times what is needed.
    let input = 4 * (config.read_chunk.max(largest) + config.read_chunk)
        + config.max_chunks * config.read_chunk.max(largest);
    // As it came, taken apart, and its URLs as servers.
    let info = 3 * config.max_info + 1024 * (config.max_servers + config.servers.len());
    let subscriptions = entries.min(config.max_subscriptions);
    let requests = entries.min(config.max_requests);
    let flushes = entries.min(config.max_flushes);
    // A place, its UNSUB, its drain, its end as an event; the subject besides.
    let tables = 2 * subscriptions * (160 + 24 + 24 + 24 + 200)
        + subscriptions * 256
        + 2 * requests * (40 + 24 + 8 + 200)
        + 2 * (flushes + 64) * (8 + 48 + 200);
    queue + frames + ranges + input + info + tables + 16 * 1024
}

/// The hook: books memory to the client that is called, and looks at it after each call.
fn hook(whose: &Metered<'_>, inside: bool) {
    let payer = usize::try_from(whose.client).expect("a run has few clients");
    pay(inside.then_some(payer));
    if inside || std::thread::panicking() {
        return;
    }
    let now = usize::try_from(live(payer)).expect("nothing is freed twice");
    PEAK.set(PEAK.get().max(now));
    let (entries, message) = USE.get();
    let most = bound(whose.config, entries, message);
    assert!(now <= most, "{now} bytes are allocated, more than {most}");
}

/// Measures what follows on this thread.
fn begin(entries: usize, message: usize) {
    meter(hook);
    PEAK.set(0);
    USE.set((entries, message));
}
