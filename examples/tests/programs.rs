//! The small programs against a real server: each says what the others say, on whatever it runs.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use midge_testing::{Authority, NatsServer};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// A program that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(20);

/// What a program prints when it talks to a server.
fn run(program: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    run_with(program, &NatsServer::start()?)
}

fn run_with(
    program: &str,
    server: &NatsServer,
) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let mut child = Command::new(program).arg(server.url()).stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().ok_or("it is piped")?;
    let (said, says) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let _ = said.send(out.read_to_string(&mut text).map(|_| text));
    });
    let text = says.recv_timeout(LONGEST);
    if text.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    let text = text.map_err(|_| format!("{program} was not over after {LONGEST:?}"))??;
    if status.success() { Ok(text) } else { Err(format!("{status} after {text}").into()) }
}

#[test]
fn the_ten_lines_do_the_same_on_everything() -> Outcome {
    for program in [
        env!("CARGO_BIN_EXE_ten_lines_tokio"),
        env!("CARGO_BIN_EXE_ten_lines_smol"),
        env!("CARGO_BIN_EXE_ten_lines_std"),
        env!("CARGO_BIN_EXE_ten_lines_by_hand"),
    ] {
        assert_eq!(run(program)?, "greet.joe: hello\n", "{program}");
    }
    Ok(())
}

#[test]
fn the_loop_by_hand_declines_tls_where_it_is_offered_and_fails_where_it_is_required() -> Outcome {
    let program = env!("CARGO_BIN_EXE_ten_lines_by_hand");
    let authority = Authority::new()?; // its files are there as long as it is
    let tls = authority.issue(&["localhost"])?.tls_block("");
    let offers = NatsServer::builder().config(format!("allow_non_tls: true\n{tls}")).start()?;
    assert_eq!(run_with(program, &offers)?, "greet.joe: hello\n");
    let requires = NatsServer::builder().config(tls).start()?;
    assert!(run_with(program, &requires).is_err(), "it has not talked to this server");
    Ok(())
}

#[test]
fn a_library_that_knows_no_runtime_does_the_same_on_everything() -> Outcome {
    let told = "the price of tea is now 3\n  the shop is asked\n  tea costs 3\n  tea costs 3\n\
                the price of tea is now 4\n  the shop is asked\n  tea costs 4\n  tea costs 4\n";
    for program in [
        env!("CARGO_BIN_EXE_near_cache_tokio"),
        env!("CARGO_BIN_EXE_near_cache_smol"),
        env!("CARGO_BIN_EXE_near_cache_std"),
    ] {
        assert_eq!(run(program)?, told, "{program}");
    }
    Ok(())
}

#[test]
fn work_queues_and_logs_are_the_same_on_everything() -> Outcome {
    let said = "a work queue       resize cat.jpg, attempt 1\n\
                a work queue       resize dog.jpg fails\n\
                a work queue       resize cow.jpg, attempt 1\n\
                a work queue       resize dog.jpg, attempt 2\n                   \
                jobs left: 0\n\
                an event log       1: 100\n\
                an event log       2: 70\n\
                an event log       3: 320\n\
                an event log       4: 300\n                   \
                from the third on: 250, ...\n";
    for program in [
        env!("CARGO_BIN_EXE_consuming_tokio"),
        env!("CARGO_BIN_EXE_consuming_smol"),
        env!("CARGO_BIN_EXE_consuming_std"),
    ] {
        let server = NatsServer::builder().jetstream(true).start()?;
        assert_eq!(run_with(program, &server)?, said, "{program}");
    }
    Ok(())
}

#[test]
fn keys_and_values_are_the_same_on_everything() -> Outcome {
    let said = "a value            hello.world exists with revision 1\n                   \
                hello.world is not at revision 1 any more\n                   \
                profiles hello.world: world, PUT, revision 2, 5 bytes, dated: true\n                   \
                at revision 1: hi\n                   \
                sue is 42\n                   \
                deleted: true, Some(Delete)\n\
                a watch            PUT hello.world world\n\
                a watch            PUT visits 3\n                   \
                that is what there was\n\
                a watch            PUT sue.color blue\n\
                a watch            DEL hello.world \n                   \
                PURGE sue.color, 0 bytes\n                   \
                PUT sue.color, 4 bytes\n                   \
                from 3 on: 5 visits\n                   \
                from 3 on: 6 visits\n                   \
                from 3 on: 7 visits\n                   \
                from 3 on: 11 sue.color\n\
                lists              keys: visits, sue.color\n                   \
                colors: sue.color\n                   \
                1: PUT hi, then 2\n                   \
                2: PUT world, then 1\n                   \
                9: DEL , then 0\n                   \
                blue, nothing, 3\n                   \
                purged: PURGE\n                   \
                6 revisions are kept, 5 of a key, for None, JetStream\n\
                a copy             sue.color\n                   \
                bob.color: red\n                   \
                2 are deleted, left: visits\n\
                another form       /home/sue/notes is _root_.home.sue.notes\n                   \
                sum of [3, 4, 5]: 12\n\
                lifetimes          PUT sue\n\
                lifetimes          PURGE sue\n                   \
                cleared away: 0, then 3\n                   \
                and 1 without a marker\n\
                buckets            profiles: max_msgs_per_subject was to be 1 and is 5, \
                storage was to be \"file\" and is \"memory\"\n                   \
                profiles: 12 revisions\n                   \
                in Memory, replicas: 1\n                   \
                it is deleted: true\n";
    for program in [
        env!("CARGO_BIN_EXE_keeping_tokio"),
        env!("CARGO_BIN_EXE_keeping_smol"),
        env!("CARGO_BIN_EXE_keeping_std"),
    ] {
        let server = NatsServer::builder().jetstream(true).start()?;
        assert_eq!(run_with(program, &server)?, said, "{program}");
    }
    Ok(())
}

#[test]
fn jobs_counters_and_batches_are_the_same_on_everything() -> Outcome {
    let said = "a scheduled job    water the plants\n\
                a counter          hits.home: 1\n\
                a counter          hits.about: 18446744073709551616\n                   \
                all: 18446744073709551617\n\
                a batch            3 messages\n                   \
                refused: true, messages: 3\n";
    for program in [
        env!("CARGO_BIN_EXE_publishing_tokio"),
        env!("CARGO_BIN_EXE_publishing_smol"),
        env!("CARGO_BIN_EXE_publishing_std"),
    ] {
        let server = NatsServer::builder().jetstream(true).start()?;
        assert_eq!(run_with(program, &server)?, said, "{program}");
    }
    Ok(())
}
