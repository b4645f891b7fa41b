//! Parts that the example programs share.
//!
//! | to see | read | run |
//! |---|---|---|
//! | the main calls | [`tour`] | `cargo run -p midge-examples --bin quickstart [URL]` |
//! | the smallest program, on tokio, smol, blocking sockets and by hand | `bin/ten_lines_*.rs` | `cargo run -p midge-examples --bin ten_lines_tokio [URL]` |
//! | a library that knows no runtime | the package `near-cache` | its tests |
//! | programs that use it as it is, on tokio, smol and blocking sockets | `bin/near_cache_*.rs` | `cargo run -p midge-examples --bin near_cache_std [URL]` |
//! | connections in an event loop of one's own | the package `custom-event-loop` | `cargo run -p custom-event-loop [URL [READINGS]]` |
//! | a work queue and a log of events, on tokio, smol and blocking sockets | [`consuming`] | `cargo run -p midge-examples --bin consuming_tokio [URL]` |
//! | a bucket of keys and values, on tokio, smol and blocking sockets | [`keeping`] | `cargo run -p midge-examples --bin keeping_tokio [URL]` |
//! | a scheduled job, a counter and a batch, on tokio, smol and blocking sockets | [`publishing`] | `cargo run -p midge-examples --bin publishing_tokio [URL]` |
//! | what happens to messages when a server dies | [`crash`] | `cargo xtask demo` |

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

pub mod consuming;
pub mod crash;
pub mod keeping;
pub mod publishing;
pub mod shop;
pub mod tour;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// What went wrong, in words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The end of a program: says on stderr what went wrong, in words. A reader of the output who
/// has seen enough (`| head`) is no failure.
pub fn end(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    let error = failure.downcast_ref::<std::io::Error>();
    if error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    // Nobody is left to tell if this fails too.
    let _ = writeln!(std::io::stderr(), "error: {failure}");
    ExitCode::FAILURE
}

/// The server to talk to: the first argument, else one on this machine.
pub fn url() -> String {
    std::env::args().nth(1).unwrap_or_else(|| "nats://localhost:4222".to_owned())
}
