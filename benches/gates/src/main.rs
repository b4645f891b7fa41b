//! One workload and nothing else, for a tool that counts the instructions of a process:
//! `midge-gates <workload> <operations>`. `cargo xtask gates` runs it twice, the second time with
//! twice the operations, so that what begins and ends a process does not count. An operation is a
//! message, a request, or in `trickle` a byte.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "what must be there and is not fails the test")
)]

mod client;
mod codec;
mod peer;
#[cfg(test)]
mod system_calls;
mod trickle;

use std::process::ExitCode;

type Failure = Box<dyn std::error::Error>;

/// Bytes of a payload.
const PAYLOAD: usize = 128;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        ["peer"] => peer::serve(),
        [workload, operations] => operations
            .parse()
            .map_err(|_| format!("`{operations}` is no number").into())
            .and_then(|operations| run(workload, operations)),
        _ => Err("midge-gates <workload> <operations>".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("midge-gates: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(workload: &str, operations: usize) -> Result<(), Failure> {
    match workload {
        "publish" => client::publish(operations, None),
        "publish-headers" => client::publish(operations, Some(&midge_benches::headers())),
        "publish-by-turns" => client::publish_by_turns(operations),
        "deliver" => client::deliver(operations, peer::BLAST, |_| 0),
        "deliver-headers" => client::deliver(operations, peer::BLAST_HEADERS, |_| 0),
        "deliver-headers-read" => {
            client::deliver(operations, peer::BLAST_HEADERS, client::read_headers)
        }
        "fan-out-1000" => client::fan_out(operations, 1000),
        "fan-out-10000" => client::fan_out(operations, 10_000),
        "request" => client::request(operations),
        "request-task" => client::request_in_task(operations),
        "requests-256" => client::requests(operations, 256),
        "js-window-256" => client::window(operations, 256),
        "js-window-4096" => client::window(operations, 4096),
        "js-consume" => client::consume(operations, usize::MAX),
        "js-consume-20" => client::consume(operations, 20),
        "encode-pub" => codec::encode(operations, None),
        "encode-hpub" => codec::encode(operations, Some(&midge_benches::headers())),
        "decode-msg" => codec::decode(operations, None),
        "decode-hmsg" => codec::decode(operations, Some(&midge_benches::headers())),
        "trickle-msg-small" => trickle::messages(operations, 128, None),
        "trickle-msg-1mib" => trickle::messages(operations, 1 << 20, None),
        "trickle-hmsg-small" => trickle::messages(operations, 128, Some(&midge_benches::headers())),
        "trickle-hmsg-1mib" => {
            trickle::messages(operations, 1 << 20, Some(&midge_benches::headers()))
        }
        "trickle-info-small" => trickle::infos(operations, 1000),
        "trickle-info-30kb" => trickle::infos(operations, 30_000),
        _ => Err(format!("there is no workload `{workload}`").into()),
    }
}
