//! Commands, results of actions, bytes and time in any order, on one connection after the other.
//!
//! After every step the contract of `poll` and the accounting are checked. At the end a server that
//! does all it should gets the connection to confirm what was published, and then to close.

mod driver;
mod finish;
mod ledger;
mod server;

use midge_proto::{Config, ServerUrl, TlsMode};
use std::time::Duration;

use super::input::Input;
use driver::Driver;

/// The most steps of a run.
const STEPS: usize = 400;

/// The first three bytes choose the configuration and how the run ends, then each step is an
/// operation (with 32 added: a variant of it; with 128 added: without a poll behind it) and what
/// that reads.
///
/// A driver that wakes only when `Wait` says so, and one that polls all the time and in large
/// budgets, see the same.
pub fn ops(data: &[u8]) {
    let lazy = run(data, false);
    let busy = run(data, true);
    assert_eq!(lazy.0, busy.0, "the events differ when polled all the time");
    assert!(lazy.1 == busy.1, "the bytes differ when polled all the time");
}

fn run(data: &[u8], busy: bool) -> (Vec<String>, Vec<u8>) {
    let mut input = Input::new(data);
    let setup = Setup { how: input.byte(), bounds: input.byte(), end: input.byte() };
    let mut driver = Driver::new(config(&setup), busy);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        driver.step(&mut input);
    }
    driver.finish(setup.end)
}

struct Setup {
    how: u8,
    bounds: u8,
    end: u8,
}

fn config(setup: &Setup) -> Config {
    let Setup { how, bounds, end } = *setup;
    let servers: &[&str] = match how % 4 {
        0 => &["127.0.0.1:1"],
        1 => &["127.0.0.1:1", "127.0.0.1:2"],
        2 => &["a.example:1", "127.0.0.1:2"],
        _ => &["a.example", "wss://b.example/x", "user:pass@127.0.0.1"],
    };
    let servers = servers.iter().map(|url| ServerUrl::parse(url).expect("a URL")).collect();
    let mut config = Config::new(servers, [7; 32]);
    config.tls = match how >> 2 & 3 {
        0 | 1 => TlsMode::WhenOffered,
        2 => TlsMode::Required,
        _ => TlsMode::First,
    };
    config.authorize = how & 16 != 0;
    config.reconnect = how & 32 == 0;
    config.retry_first_connect = how & 64 == 0;
    config.max_attempts = (how & 128 != 0).then_some(3);
    config.retain_order = bounds & 1 != 0;
    config.reconnect_buffer = if bounds & 2 != 0 { 0 } else { 1500 };
    config.max_pending = 2000;
    config.confirm_bytes = if bounds & 4 != 0 { 100 } else { 700 };
    config.control_reserve = if bounds & 8 != 0 { 30 } else { 300 };
    config.max_subscriptions = if bounds & 16 != 0 { 3 } else { 12 };
    config.max_requests = if bounds & 32 != 0 { 2 } else { 8 };
    config.max_flushes = if bounds & 64 != 0 { 2 } else { 8 };
    config.max_chunks = if bounds & 128 != 0 { 0 } else { 4 };
    config.read_chunk = 512;
    config.max_control_line = 512;
    config.max_info = 1024;
    config.max_message = 200;
    config.ping_interval = Duration::from_secs(10);
    config.drain_timeout = Duration::from_secs(3);
    config.move_timeout = Duration::from_secs(2);
    config.resolve = end & 32 == 0;
    config.leave_lame_duck = (end & 64 != 0).then_some(Duration::from_secs(1));
    config.max_kept_age = (end & 128 != 0).then_some(Duration::from_millis(1500));
    config
}
