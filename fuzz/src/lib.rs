//! What each fuzz target does with an input: it panics when a promise of midge-proto is broken.
//!
//! The wrappers in `targets/` give these functions to libFuzzer. The test `fuzz_replay` of
//! midge-proto includes this file and runs them on every kept input, with a stable compiler.
#![forbid(unsafe_code)]
#![allow(unreachable_pub, reason = "this file is a library for one and a module for the other")]

mod decoding;
mod describe;
mod input;
mod ops;
mod server_bytes;
mod values;

pub use decoding::{client_bytes, decoder_vs_grammar};
pub use ops::ops;
pub use server_bytes::server_bytes;
pub use values::{headers, info, server_error, url};
