//! Parts that the example programs share.
//!
//! | to see | read | run |
//! |---|---|---|
//! | the main calls | [`tour`] | `cargo run -p midge-examples --bin quickstart [URL]` |
//! | the smallest program | `bin/ten_lines.rs` | `cargo run -p midge-examples --bin ten_lines [URL]` |
//! | what happens to messages when a server dies | [`crash`] | `cargo xtask demo` |

#![allow(clippy::print_stdout, reason = "programs for the terminal")]

pub mod crash;
pub mod tour;

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// What went wrong, in words.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The server to talk to: the first argument, else one on this machine.
pub fn url() -> String {
    std::env::args().nth(1).unwrap_or_else(|| "nats://localhost:4222".to_owned())
}
