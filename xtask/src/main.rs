//! The automation of this repository. `cargo xtask help` lists it.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

mod arrows;
mod bench;
mod cargo;
mod ci;
mod fuzz;
mod gates;
mod hygiene;
mod missing;
mod mutants;
mod no_std;
mod sim;
mod targets;

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;

use midge_testing::{NatsServer, Search, Version};

/// A task that did not succeed, in words for the person who started it.
type Failure = Box<dyn std::error::Error>;

const HELP: &str = "\
The automation of this repository.

cargo xtask <task>

  help                 print this
  demo                 build and run the demonstration of midge-examples
  server [port]        run a nats-server on 127.0.0.1, on this port or 4222, until Ctrl-C
  tools [release…]     fetch nats-server and print where it is; without a release the one that
                       tests use, with `all` each of them, else one such as 2.12
  fuzz [--minutes N] [target…]
                       fuzz these targets or all, one after the other, for N minutes (10) on one
                       core each; needs a nightly toolchain, see fuzz/README.md
  fuzz --keep [target…]
                       put the smallest set of inputs that reaches as much into fuzz/corpus
  fuzz --smoke         each target for some thousand inputs, the same every time
  mutants [name…]      put these faults or all, one after the other, into a copy of the core; the
                       tests that are named beside each in xtask/src/mutants/list.rs must fail
  mutants --keep       run every test on each of them, and write docs/mutants.md
  mutants --check      without compiling: each still applies, and the table is of these
  mutants --list       what each breaks
  mutants --wide [--resume] [file…]
                       cargo-mutants over these files of the connection or over all, which takes
                       hours; what no test sees must have a reason in .cargo/mutants.toml;
                       --resume leaves out what the last run has seen
  test                 every test, example and documentation test of every package, midge without
                       features and with aws-lc-rs besides, a thousand storms of the simulator, and
                       no-std
  test --targets       a session of the core as firmware on an emulated Cortex-M4 and as WebAssembly
                       under Node.js, and a device with a real server; on Debian it fetches a compiler that can build for them into
                       target/tools and, as root, installs what is missing. Says what it leaves out
                       and why; with CI set, that is a failure
  sim run [--minutes N | --seed S]
                       storms in virtual time for N minutes (10), from the seed on at which the last
                       search stopped; or the end of the trace of one seed
  sim herd [--clients N] [--seed S] [--handshakes N] [--backlog N] [--out DIRECTORY]
                       let a herd of 1,000,000 clients lose its servers, and a tenth of it in several
                       other ways, which takes 8 GB of memory and a quarter of an hour or more; writes
                       docs/herd.md and its charts, or with another herd the same into target/herd
  gates [--record]     count the instructions of a publish, a delivery, a request and the codec with
                       valgrind, and compare them with benches/gates/gates.txt, or write them there;
                       says why where it cannot, which in CI is a failure
  bench peers [option…]
                       measure Midge beside other clients, and write docs/performance.md; takes an hour
                       or less, with --quick a few minutes; --help lists the options
  bench --check        rustfmt, clippy and tests of benches/peers, no part of ci
  no-std               link the core without std on this machine, and run a session with it
  ci [--before-tests]  everything a submission must pass, in this order, up to the first failure:
                         toolchain  the compiler is the one that Cargo.toml promises (only with CI set)
                         format     rustfmt
                         hygiene    rules on files: length, first line, unfinished work, links, thin adapters
                         arrows     which package may depend on which
                         manifests  what is published says what it is, and has its licences
                         mutants    mutants --check, as above
                         clippy     each package by itself, bare, and with each feature alone
                         docs       rustdoc without warnings
                         gates      as above
                         fuzz-smoke each fuzz target for some thousand inputs; says why where it
                                    cannot be run, and goes on
                         test       as above; left out with --before-tests
                         targets    test --targets, as above; left out with --before-tests
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args[..] {
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["demo"] => cargo::run(&["run", "--quiet", "-p", "midge-examples", "--bin", "demo"]),
        ["server"] => server("4222"),
        ["server", port] => server(port),
        ["tools", ref releases @ ..] => tools(releases),
        ["fuzz", ref arguments @ ..] => fuzz::run(arguments),
        ["mutants", ref arguments @ ..] => mutants::run(arguments),
        ["test"] => test(),
        ["test", "--targets"] => targets::test(),
        ["sim", "herd", ref arguments @ ..] => sim::herd(arguments),
        ["sim", "run", ref arguments @ ..] => sim::run(arguments),
        ["gates"] => gates::check(),
        ["gates", "--record"] => gates::record(),
        ["bench", "peers", ref arguments @ ..] => bench::peers(arguments),
        ["bench", "--check"] => bench::check(),
        ["no-std"] => no_std::guard(),
        ["ci"] => ci::run(ci::Tests::Run),
        ["ci", "--before-tests"] => ci::run(ci::Tests::Leave),
        _ => Err(format!("there is no task `{}`\n\n{HELP}", args.join(" ")).into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a server with JetStream until somebody ends it. Its files go with it.
fn server(port: &str) -> Result<(), Failure> {
    let port: u16 = port.parse().map_err(|_| format!("`{port}` is no port"))?;
    // Else the start would wait for the port to become free.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        format!("port {port} cannot be used ({error}); name another: cargo xtask server <port>")
    })?;
    let mut server = NatsServer::builder().port(port).jetstream(true).start()?;
    let release = server.binary().release();
    let mut out = std::io::stdout();
    writeln!(out, "nats-server {release} runs on {} until Ctrl-C", server.url())?;
    let status = server.wait()?;
    Err(format!("nats-server ended with {status}; its log:\n{}", server.log()?).into())
}

fn tools(releases: &[&str]) -> Result<(), Failure> {
    let default = [Version::default()];
    let mut wanted = Vec::new();
    for &release in releases {
        if release == "all" {
            wanted.extend(Version::ALL);
            continue;
        }
        let version = Version::ALL.into_iter().find(|version| {
            let line = version.pinned().rsplit_once('.').map(|(line, _)| line);
            release == version.pinned() || Some(release) == line
        });
        wanted.push(version.ok_or_else(|| unknown_release(release))?);
    }
    let wanted = if releases.is_empty() { &default[..] } else { &wanted };
    for &version in wanted {
        // What this machine has besides stays out: the task is to fetch.
        let binary = Search::from_env().binary(None).path("").version(version).find()?;
        println!("nats-server {}  {}", binary.release(), binary.path().display());
    }
    Ok(())
}

fn unknown_release(release: &str) -> String {
    let known = Version::ALL.map(Version::pinned).join(", ");
    format!("there is no nats-server {release} to fetch; there are {known}")
}

fn test() -> Result<(), Failure> {
    // Before anything is compiled, and with a message of its own.
    let server = Search::from_env().find()?;
    println!("tests run against nats-server {} ({})", server.release(), server.path().display());
    // With --all-targets, cargo leaves the documentation tests out.
    let targets = cargo::run(&["test", "--workspace", "--all-targets", "--no-fail-fast"]);
    let docs = cargo::run(&["test", "--workspace", "--doc", "--no-fail-fast"]);
    // What cannot be seen with the default features.
    let without = ["test", "-p", "midge", "--no-default-features", "--no-fail-fast"];
    let bare = cargo::run(&[&without[..], &["--lib", "--tests"]].concat());
    let aws = ["--features", "aws-lc-rs,websocket", "--test", "layers"];
    let aws = cargo::run(&[&without[..], &aws].concat());
    targets.and(docs).and(bare).and(aws).and(sim::test()).and(no_std::guard())
}
