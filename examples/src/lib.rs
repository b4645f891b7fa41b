//! Parts that the example programs share.
//!
//! | to see | read | run |
//! |---|---|---|
//! | the main calls | [`tour`] | `cargo run -p midge-examples --bin quickstart [URL]` |
//! | the smallest program | `bin/ten_lines.rs` | `cargo run -p midge-examples --bin ten_lines [URL]` |
//! | what happens to messages when a server dies | [`crash`] | `cargo xtask demo` |

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

pub mod crash;
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
