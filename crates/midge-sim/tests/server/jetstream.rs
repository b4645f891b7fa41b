//! JetStream of the model against a real nats-server: the same bytes in, the same messages out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use midge_proto::Instant;
use midge_sim::server::{Cluster, ServerOptions};
use midge_testing::{NatsServer, Peer};
use serde_json::Value;

use crate::client::{CONNECT, Client};
use crate::transcript::frames;

/// What a client sends, and how long it then waits for what it does not cause at once.
type Step = (String, Duration);

fn now(text: impl Into<String>) -> Step {
    (text.into(), Duration::ZERO)
}

fn then_wait(text: impl Into<String>, millis: u64) -> Step {
    (text.into(), Duration::from_millis(millis))
}

fn request(subject: &str, payload: &str) -> String {
    format!("PUB {subject} r {}\r\n{payload}\r\n", payload.len())
}

fn with_header(subject: &str, header: &str, payload: &str) -> String {
    let block = format!("NATS/1.0\r\n{header}\r\n\r\n");
    let (head, all) = (block.len(), block.len() + payload.len());
    format!("HPUB {subject} r {head} {all}\r\n{block}{payload}\r\n")
}

fn next(payload: &str) -> String {
    format!("PUB $JS.API.CONSUMER.MSG.NEXT.S.c i {}\r\n{payload}\r\n", payload.len())
}

/// An answer to the message of this stream sequence and consumer sequence.
fn answer(ack: &str, count: u64, stream: u64, consumer: u64) -> String {
    request(&format!("$JS.ACK.S.c.{count}.{stream}.{consumer}.1767225600000000000.0"), ack)
}

fn consumer(config: &str) -> Step {
    let config = format!(r#""name":"c","durable_name":"c","ack_policy":"explicit"{config}"#);
    let request_of = format!(r#"{{"stream_name":"S","config":{{{config}}}}}"#);
    now(request("$JS.API.CONSUMER.CREATE.S.c", &request_of))
}

/// Another consumer, which nobody reads.
fn other_consumer(config: &str) -> String {
    let config = format!(r#""name":"d","durable_name":"d","ack_policy":"explicit"{config}"#);
    let request_of = format!(r#"{{"stream_name":"S","config":{{{config}}}}}"#);
    request("$JS.API.CONSUMER.CREATE.S.d", &request_of)
}

fn purge(payload: &str) -> String {
    request("$JS.API.STREAM.PURGE.S", payload)
}

/// Messages of one byte each into the stream.
fn stored(payloads: &str) -> Step {
    now(payloads.chars().map(|it| request("s.n", &it.to_string())).collect::<String>())
}

/// A message of which three fill the window of a push consumer.
fn large() -> Step {
    now(request("s.n", &"x".repeat(700_000)))
}

/// The stream with limits, in the place of the one that there is, and what happens then.
fn limited(config: &str, steps: Vec<Step>) -> Vec<Step> {
    let config = format!(
        r#"{{"name":"S","subjects":["s.>"],"storage":"memory","allow_direct":true,{config}}}"#
    );
    let delete = now(request("$JS.API.STREAM.DELETE.S", ""));
    let create = now(request("$JS.API.STREAM.CREATE.S", &config));
    [delete, create].into_iter().chain(steps).collect()
}

fn cases() -> Vec<(&'static str, Vec<Step>)> {
    let expiring = r#"{"expires":300000000,"batch":5}"#;
    vec![
        (
            "publishing",
            vec![
                now(request("s.a", "one")),
                now(with_header("s.a", "Nats-Msg-Id: x", "two")),
                now(with_header("s.a", "Nats-Msg-Id: x", "two")),
                now(with_header("s.a", "Nats-Expected-Last-Sequence: 1", "no")),
                now(with_header("s.a", "Nats-Expected-Last-Sequence: 2", "yes")),
                now(request("other", "nobody")),
                now(request("$JS.API.STREAM.INFO.S", "")),
                now(request("$JS.API.STREAM.INFO.T", "")),
                now(request("$JS.API.STREAM.DELETE.T", "")),
            ],
        ),
        (
            "getting",
            vec![
                stored("ab"),
                now(with_header("s.a", "A: b", "c")),
                now(with_header("s.n", "Nats-Expected-Last-Subject-Sequence: 1", "no")),
                now(with_header("s.n", "Nats-Expected-Last-Subject-Sequence: 0", "no")),
                now(with_header("s.n", "Nats-Expected-Last-Subject-Sequence: 2", "d")),
                now(with_header("s.b", "Nats-Expected-Last-Subject-Sequence: 0", "")),
                now(request("$JS.API.STREAM.MSG.GET.S", r#"{"last_by_subj":"s.n"}"#)),
                now(request("$JS.API.STREAM.MSG.GET.S", r#"{"last_by_subj":"s.b"}"#)),
                now(request("$JS.API.STREAM.MSG.GET.S", r#"{"seq":3}"#)),
                now(request("$JS.API.STREAM.MSG.GET.S", r#"{"seq":9}"#)),
                now(request("$JS.API.STREAM.MSG.GET.S", r#"{"last_by_subj":"s.x"}"#)),
                now(request("$JS.API.DIRECT.GET.S.s.n", "")),
                now(request("$JS.API.DIRECT.GET.S.s.a", "")),
                now(request("$JS.API.DIRECT.GET.S.s.x", "")),
                now(request("$JS.API.DIRECT.GET.S", r#"{"seq":3}"#)),
                now(request("$JS.API.DIRECT.GET.S", r#"{"last_by_subj":"s.a"}"#)),
                now(request("$JS.API.DIRECT.GET.S", r#"{"seq":9}"#)),
                now(request("$JS.API.DIRECT.GET.S", r#"{"multi_last":["s.n","s.a","s.x"]}"#)),
                now(request("$JS.API.DIRECT.GET.S", r#"{"multi_last":["s.x"],"batch":9}"#)),
            ],
        ),
        (
            "consumers by the api",
            vec![
                stored("abc"),
                consumer(""),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                now(request("$JS.API.CONSUMER.INFO.S.d", "")),
                now(request("$JS.API.CONSUMER.INFO.T.d", "")),
                consumer(r#","deliver_policy":"new""#),
                now(request("$JS.API.CONSUMER.DELETE.S.c", "")),
                now(request("$JS.API.CONSUMER.DELETE.S.c", "")),
                consumer(r#","deliver_policy":"by_start_sequence","opt_start_seq":3"#),
                now(next(r#"{"batch":1}"#)),
            ],
        ),
        (
            "acks",
            vec![
                consumer(""),
                stored("abcd"),
                now(next(r#"{"batch":4}"#)),
                now(answer("", 1, 1, 1)),
                now(answer("+ACK", 1, 2, 2)),
                now(answer("+ACK", 1, 2, 2)),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                now(next(r#"{"batch":1}"#)),
                now(answer("-NAK", 1, 3, 3)),
                now(answer("+TERM", 2, 3, 5)),
                now(answer("+WPI", 1, 4, 4)),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                then_wait(next(r#"{"batch":1}"#), 0),
                then_wait(answer(r#"-NAK {"delay":200000000}"#, 1, 4, 4), 250),
            ],
        ),
        (
            "redelivery after ack_wait, up to max_deliver",
            vec![
                consumer(r#","ack_wait":200000000,"max_deliver":2"#),
                stored("ab"),
                now(next(r#"{"batch":2}"#)),
                now(answer("+ACK", 1, 1, 1)),
                then_wait(next(r#"{"batch":1}"#), 350),
                then_wait(next(r#"{"batch":1,"expires":500000000}"#), 600),
            ],
        ),
        (
            "ends of requests",
            vec![
                consumer(""),
                now(next(r#"{"no_wait":true}"#)),
                then_wait(next(expiring), 350),
                stored("ab"),
                now(next(r#"{"no_wait":true,"batch":5}"#)),
                stored("x"),
                then_wait(next(r#"{"no_wait":true,"batch":5,"expires":300000000}"#), 350),
                then_wait(next(r#"{"no_wait":true,"batch":5,"expires":300000000}"#), 350),
                now(next(r#"{"batch":1,"idle_heartbeat":1000000,"expires":1000000}"#)),
                now(next(r#"{"batch":5,"expires":60000000000}"#)),
                stored("c"),
                now(request("$JS.API.CONSUMER.DELETE.S.c", "")),
                now(next("")),
            ],
        ),
        (
            "limits",
            vec![
                consumer(r#","max_batch":3"#),
                now(next(r#"{"batch":4}"#)),
                stored("abc"),
                now(next(r#"{"batch":3,"max_bytes":10,"expires":60000000000}"#)),
                now(next(r#"{"batch":3,"max_bytes":130,"expires":60000000000}"#)),
                stored("abc"),
                now(next(r#"{"batch":3,"max_bytes":86,"expires":60000000000}"#)),
                then_wait(next(r#"{"batch":3,"max_bytes":60,"expires":200000000}"#), 250),
                now(next(r#"{"batch":2,"expires":60000000000}"#)),
                now(next(r#"{"batch":1,"no_wait":true}"#)),
                stored("a"),
                now(next(r#"{"batch":2,"no_wait":true}"#)),
            ],
        ),
        (
            "heartbeats of a pull",
            vec![
                consumer(""),
                stored("a"),
                then_wait(
                    next(r#"{"batch":3,"idle_heartbeat":200000000,"expires":500000000}"#),
                    550,
                ),
            ],
        ),
        (
            "requests that wait are served in turn",
            vec![
                consumer(r#","max_ack_pending":3"#),
                now("SUB j 9\r\n"),
                now(next(r#"{"batch":3}"#)),
                now(next(r#"{"batch":3}"#).replace(" i ", " j ")),
                // Its answer shows that a server has come to those before it, which it puts off.
                now(next(r#"{"batch":1,"no_wait":true}"#)),
                stored("a"),
                stored("b"),
                stored("c"),
                stored("d"),
                now(answer("+ACK", 1, 1, 1)),
                now("UNSUB 9\r\n"),
                now(answer("+ACK", 1, 2, 2)),
                stored("e"),
            ],
        ),
        (
            "pushing",
            vec![
                stored("ab"),
                consumer(r#","deliver_subject":"i","idle_heartbeat":300000000"#),
                then_wait("", 350),
                now(next("")),
                now(answer("+ACK", 1, 1, 1)),
                stored("c"),
            ],
        ),
        (
            "flow control",
            vec![
                consumer(
                    r#","deliver_subject":"i","idle_heartbeat":300000000,"flow_control":true"#,
                ),
                large(),
                large(),
                large(),
                then_wait(large().0, 350),
                now("PUB $FC 0\r\n\r\n"),
                stored("a"),
                large(),
                large(),
                now("PUB $FC 0\r\n\r\n"),
                now("PUB $FC 0\r\n\r\n"),
                stored("b"),
            ],
        ),
        (
            "the last of each subject",
            vec![
                now(["s.a", "s.b", "s.a", "s.c", "s.b"].map(|it| request(it, "x")).concat()),
                consumer(r#","deliver_policy":"last_per_subject","filter_subject":"s.>""#),
                now(next(r#"{"batch":1}"#)),
                now(request("s.a", "y")),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                now(next(r#"{"batch":5}"#)),
                now(request("s.b", "z")),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
            ],
        ),
        (
            "the last of each of some subjects, and of none",
            vec![
                now(["s.a", "s.b", "s.a", "s.c", "s.b"].map(|it| request(it, "x")).concat()),
                consumer(r#","deliver_policy":"last_per_subject","filter_subjects":["s.b","s.c"]"#),
                now(next(r#"{"batch":5}"#)),
                now(request("$JS.API.CONSUMER.DELETE.S.c", "")),
                consumer(r#","deliver_policy":"last_per_subject","filter_subject":"s.d""#),
                now(next(r#"{"batch":5}"#)),
                now(request("s.a", "y")),
                now(request("s.d", "y")),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
            ],
        ),
        (
            "a start behind the end and before the beginning",
            vec![
                stored("ab"),
                consumer(r#","deliver_policy":"by_start_sequence","opt_start_seq":9"#),
                now(next(r#"{"batch":5}"#)),
                stored("c"),
            ],
        ),
        (
            "a limit of messages",
            limited(
                r#""max_msgs":3"#,
                vec![
                    consumer(""),
                    stored("ab"),
                    now(next(r#"{"batch":1}"#)),
                    stored("cde"),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                    now(request("$JS.API.STREAM.MSG.GET.S", r#"{"seq":2}"#)),
                    now(request("$JS.API.DIRECT.GET.S", r#"{"seq":2}"#)),
                    now(request("$JS.API.DIRECT.GET.S", r#"{"seq":3}"#)),
                    now(answer("+ACK", 1, 1, 1)),
                    now(next(r#"{"batch":9}"#)),
                    now(request("$JS.API.CONSUMER.DELETE.S.c", "")),
                    consumer(r#","deliver_policy":"by_start_sequence","opt_start_seq":1"#),
                    now(next(r#"{"batch":1}"#)),
                ],
            ),
        ),
        (
            "a limit of bytes",
            limited(
                r#""max_bytes":70"#,
                vec![
                    stored("abc"),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    now(with_header("s.n", "A: b", "four")),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    stored("d"),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                ],
            ),
        ),
        (
            "a limit of messages of each subject",
            limited(
                r#""max_msgs_per_subject":2"#,
                vec![
                    consumer(""),
                    now(["s.a", "s.b", "s.a", "s.a", "s.a"].map(|it| request(it, "x")).concat()),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    now(request("$JS.API.DIRECT.GET.S.s.a", "")),
                    now(request("$JS.API.DIRECT.GET.S", r#"{"multi_last":["s.>"]}"#)),
                    now(with_header("s.b", "Nats-Expected-Last-Subject-Sequence: 2", "y")),
                    now(next(r#"{"batch":9}"#)),
                    now(request("s.b", "z")),
                    now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                ],
            ),
        ),
        (
            "a limit of age",
            limited(
                r#""max_age":200000000"#,
                vec![
                    consumer(""),
                    now(with_header("s.n", "Nats-Msg-Id: x", "a")),
                    now(with_header("s.n", "Nats-Msg-Id: x", "a")),
                    stored("b"),
                    then_wait(next(r#"{"batch":3,"expires":1000000000}"#), 1050),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                    now(request("$JS.API.DIRECT.GET.S.s.n", "")),
                    now(with_header("s.n", "Nats-Expected-Last-Subject-Sequence: 0", "c")),
                    now(with_header("s.n", "Nats-Msg-Id: x", "a")),
                    now(next(r#"{"batch":2}"#)),
                ],
            ),
        ),
        (
            "a limit of messages that refuses new ones",
            limited(
                r#""max_msgs":3,"discard":"new""#,
                vec![
                    now(with_header("s.a", "Nats-Msg-Id: x", "a")),
                    now(["s.a", "s.b", "s.b"].map(|it| request(it, "x")).concat()),
                    now(with_header("s.a", "Nats-Msg-Id: x", "a")),
                    now(with_header("s.a", "Nats-Msg-Id: y", "a")),
                    now(with_header("s.a", "Nats-Msg-Id: y", "a")),
                    now(with_header("s.a", "Nats-Expected-Last-Sequence: 2", "a")),
                    now(with_header("s.a", "Nats-Expected-Last-Sequence: 3", "a")),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                ],
            ),
        ),
        (
            "a limit of bytes that refuses new messages",
            limited(
                r#""max_bytes":70,"discard":"new""#,
                vec![
                    stored("abc"),
                    stored("d"),
                    now(with_header("s.n", "A: b", "four")),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                ],
            ),
        ),
        (
            "a limit of bytes that is met exactly",
            limited(
                r#""max_bytes":60,"discard":"new""#,
                vec![stored("abc"), stored("d"), now(request("$JS.API.STREAM.INFO.S", ""))],
            ),
        ),
        (
            "a limit of each subject beside one that refuses new messages",
            limited(
                r#""max_msgs_per_subject":2,"max_msgs":3,"discard":"new""#,
                vec![
                    now(["s.a", "s.b", "s.a", "s.a", "s.b"].map(|it| request(it, "x")).concat()),
                    now(request("s.c", "x")),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                ],
            ),
        ),
        (
            "a limit of each subject that refuses new messages",
            limited(
                r#""max_msgs_per_subject":2,"discard":"new","discard_new_per_subject":true"#,
                vec![
                    now(["s.a", "s.b", "s.a", "s.a"].map(|it| request(it, "x")).concat()),
                    now(request("s.b", "y")),
                    now(request("s.b", "z")),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                ],
            ),
        ),
        (
            "a limit of age that makes room",
            limited(
                r#""max_age":200000000,"max_msgs":1,"discard":"new""#,
                vec![
                    consumer(""),
                    stored("a"),
                    stored("b"),
                    then_wait(next(r#"{"batch":2,"expires":1000000000}"#), 1050),
                    stored("c"),
                    stored("d"),
                ],
            ),
        ),
        (
            "a work queue that is full until a message is done",
            limited(
                r#""retention":"workqueue","max_msgs":2,"discard":"new""#,
                vec![
                    consumer(""),
                    now(with_header("s.n", "Nats-Msg-Id: a", "a")),
                    stored("b"),
                    stored("c"),
                    now(with_header("s.n", "Nats-Msg-Id: a", "again")),
                    now(with_header("s.n", "Nats-Expected-Last-Sequence: 7", "d")),
                    now(with_header("s.n", "Nats-Expected-Last-Sequence: 2", "d")),
                    now(next(r#"{"batch":2}"#)),
                    now(answer("+WPI", 1, 1, 1)),
                    stored("e"),
                    now(answer("+ACK", 1, 1, 1)),
                    stored("f"),
                    stored("g"),
                    now(answer("+TERM", 1, 2, 2)),
                    stored("h"),
                    now(answer("+ACK", 1, 2, 2)),
                    stored("i"),
                    now(next(r#"{"batch":1}"#)),
                    now(answer("-NAK", 1, 3, 3)),
                    stored("j"),
                    now(next(r#"{"batch":1}"#)),
                    now(answer("+ACK", 2, 3, 4)),
                    now(with_header("s.n", "Nats-Msg-Id: a", "again")),
                    stored("k"),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                ],
            ),
        ),
        (
            "purging",
            vec![
                now(purge("")),
                consumer(""),
                now(["s.a", "s.b", "s.a", "s.b", "s.a", "s.b"].map(|it| request(it, "x")).concat()),
                now(next(r#"{"batch":2}"#)),
                now(purge(r#"{"filter":"s.a","keep":2}"#)),
                now(purge(r#"{"filter":"s.a","keep":2}"#)),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                now(request("$JS.API.STREAM.INFO.S", "")),
                now(purge(r#"{"filter":"s.b","seq":4}"#)),
                now(request("$JS.API.STREAM.INFO.S", "")),
                now(purge(r#"{"seq":5}"#)),
                now(request("$JS.API.STREAM.INFO.S", "")),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                now(purge(r#"{"keep":1}"#)),
                now(purge(r#"{"seq":1,"keep":1}"#)),
                now(purge(r#"{"seq":1}"#)),
                now(purge(r#"{"filter":"s.b","seq":1}"#)),
                now(request("$JS.API.STREAM.INFO.S", "")),
                now(next(r#"{"batch":9}"#)),
                now(with_header("s.a", "Nats-Msg-Id: x", "a")),
                now(purge("{}")),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                now(request("$JS.API.STREAM.INFO.S", "")),
                now(with_header("s.a", "Nats-Msg-Id: x", "a")),
                now(with_header("s.a", "Nats-Expected-Last-Subject-Sequence: 0", "b")),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                now(next(r#"{"batch":9}"#)),
                now(request("$JS.API.STREAM.PURGE.T", "")),
            ],
        ),
        (
            "purging before those who wait",
            vec![
                consumer(r#","ack_wait":200000000"#),
                stored("abc"),
                now(next(r#"{"batch":1}"#)),
                now(purge("")),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                then_wait(next(r#"{"batch":2,"expires":500000000}"#), 300),
                stored("d"),
                now(purge(r#"{"filter":"s.>"}"#)),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                now(next(r#"{"batch":1,"no_wait":true}"#)),
            ],
        ),
        (
            "a stream that may not be purged",
            limited(r#""deny_purge":true"#, vec![stored("a"), now(purge(""))]),
        ),
        (
            "what nobody is interested in",
            limited(
                r#""retention":"interest""#,
                vec![
                    stored("ab"),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    consumer(r#","filter_subject":"s.n""#),
                    stored("cd"),
                    now(request("s.a", "e")),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    now(other_consumer(r#","filter_subject":"s.n""#)),
                    now(next(r#"{"batch":9}"#)),
                    now(answer("+ACK", 1, 3, 1)),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    stored("f"),
                    now(request("$JS.API.CONSUMER.DELETE.S.d", "")),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    now(answer("+TERM", 1, 4, 2)),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                    now(request("$JS.API.CONSUMER.DELETE.S.c", "")),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                ],
            ),
        ),
        (
            "a message that is too large for the stream",
            limited(
                r#""max_msg_size":4,"max_msgs":1"#,
                vec![
                    now(request("s.n", "four")),
                    now(request("s.n", "five!")),
                    now(with_header("s.n", "A: b", "x")),
                    now(with_header("s.n", "Nats-Msg-Id: x", "")),
                    now(request("$JS.API.STREAM.INFO.S", "")),
                ],
            ),
        ),
        (
            "filters",
            vec![
                consumer(r#","filter_subjects":["s.a","s.b.*"],"max_ack_pending":2"#),
                now(next(r#"{"batch":9}"#)),
                stored("x"),
                now(request("s.a", "a")),
                now(request("s.b.c", "b")),
                now(request("s.b", "no")),
                now(request("s.a", "c")),
                now(request("$JS.API.CONSUMER.INFO.S.c", "")),
                now(answer("+ACK", 1, 2, 1)),
            ],
        ),
    ]
}

#[test]
fn jetstream_of_the_model_answers_as_that_of_a_real_server_does() {
    let mut wrong = Vec::new();
    for (name, steps) in cases() {
        let create = r#"{"name":"S","subjects":["s.>"],"storage":"memory","allow_direct":true}"#;
        let begin = format!("{CONNECT}\r\nSUB r 1\r\nSUB i 2\r\n");
        let begin = begin + &request("$JS.API.STREAM.CREATE.S", create);
        let steps: Vec<Step> = [now(begin)].into_iter().chain(steps).collect();
        let expected = on_the_model(&steps);
        // What a server does in its own time, it also does while this process stands still.
        let mut tries = (0..ATTEMPTS).map(|_| {
            let stall = Stall::watch();
            let difference = difference(name, &steps, &expected);
            difference.map(|difference| (difference, stall.longest()))
        });
        let is_said = |it: &Option<(String, Duration)>| {
            it.as_ref().is_none_or(|(_, stall)| *stall < Duration::from_millis(50))
        };
        let last = tries.by_ref().find(is_said).unwrap_or_else(|| panic!("{name}: it stalls"));
        wrong.extend(last.map(|(difference, _)| difference));
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// How often a case is tried that differs while the process stood still.
const ATTEMPTS: usize = 20;

/// The first step of a case to which a real server answers otherwise.
fn difference(
    name: &str,
    steps: &[Step],
    expected: &[(Vec<String>, Option<u64>)],
) -> Option<String> {
    let got = on_a_server(steps, expected);
    let mut pairs = expected.iter().zip(&got).enumerate();
    let (step, ((expected, _), got)) = pairs.find(|(_, ((expected, _), got))| expected != *got)?;
    let said: String = steps[step].0.chars().take(200).collect();
    let (got, expected) = (got.join("\n    "), expected.join("\n    "));
    Some(format!("{name}: {said}  real:\n    {got}\n  model:\n    {expected}"))
}

/// For how long this process stood still at most.
struct Stall(Arc<AtomicBool>, JoinHandle<Duration>);

impl Stall {
    fn watch() -> Self {
        const STEP: Duration = Duration::from_millis(5);
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let watching = thread::spawn(move || {
            let (mut longest, mut before) = (Duration::ZERO, std::time::Instant::now());
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(STEP);
                longest = longest.max(before.elapsed().saturating_sub(STEP));
                before = std::time::Instant::now();
            }
            longest
        });
        Self(over, watching)
    }

    fn longest(self) -> Duration {
        self.0.store(true, Ordering::Relaxed);
        self.1.join().expect("it only sleeps")
    }
}

/// What another client asks behind each step.
const ASK: &str = "PUB $JS.API.CONSUMER.INFO.S.c w 0\r\n\r\n";

/// How many messages the consumer has before it, by the answer to that; `None` when there is none.
fn pending(bytes: &[u8]) -> Option<u64> {
    let frames = frames(bytes);
    let (_, json) = frames.iter().find(|frame| frame.contains("MSG w "))?.split_once("\r\n")?;
    serde_json::from_str::<Value>(json.trim_end()).ok()?.get("num_pending")?.as_u64()
}

/// What each step gives, and how many messages the consumer has before it then.
fn on_the_model(steps: &[Step]) -> Vec<(Vec<String>, Option<u64>)> {
    let mut cluster = Cluster::new(1);
    let options = ServerOptions { jetstream: true, ..ServerOptions::default() };
    let server = cluster.add(options);
    let mut at = Instant::ZERO;
    let client = Client::accept(&mut cluster, server, at);
    let other = Client::connect(&mut cluster, server, at);
    other.say(&mut cluster, "SUB w 1\r\n", at);
    let (mut all, mut confirmation) = (Vec::new(), String::new());
    for (text, wait) in steps {
        let text = text.replace("$FC", &confirmation);
        let mut read = client.say(&mut cluster, &text, at);
        let until = at + *wait;
        while let Some(next) = cluster.next().filter(|&next| next <= until) {
            cluster.poll(next);
            read += &client.read(&mut cluster, next);
        }
        at = until;
        asked_for(read.as_bytes(), &mut confirmation);
        let told = other.say(&mut cluster, ASK, at);
        all.push((messages(read.as_bytes()), pending(told.as_bytes())));
    }
    all
}

fn on_a_server(steps: &[Step], expected: &[(Vec<String>, Option<u64>)]) -> Vec<Vec<String>> {
    let server = NatsServer::builder().jetstream(true).start().unwrap();
    let mut other = Peer::connect(&server.url()).unwrap();
    other.expect("INFO ").unwrap();
    other.send(format!("{CONNECT}\r\nSUB w 1\r\n")).unwrap();
    let mut peer = Peer::connect(&server.url()).unwrap();
    peer.expect("INFO ").unwrap();
    peer.set_deadline(Duration::from_secs(3));
    let (mut all, mut confirmation) = (Vec::new(), String::new());
    for ((text, _), (expected, before_it)) in steps.iter().zip(expected) {
        peer.send(text.replace("$FC", &confirmation)).unwrap();
        let mut seen = Vec::new();
        let read = peer.read_until(|bytes| {
            seen = bytes.to_vec();
            is_whole(bytes) && messages(bytes).len() >= expected.len()
        });
        // What is missing shows in the comparison.
        let mut read = read.unwrap_or(seen);
        peer.send("PING\r\n").unwrap();
        let answered = |bytes: &[u8]| bytes.windows(6).any(|part| part == b"PONG\r\n");
        read.extend(peer.read_until(|bytes| answered(bytes) && is_whole(bytes)).unwrap());
        asked_for(&read, &mut confirmation);
        all.push(messages(&read));
        // A stream acknowledges a message before its consumers hear of it.
        for _ in 0..300 {
            other.send(ASK).unwrap();
            let told = other.read_until(|bytes| {
                is_whole(bytes) && frames(bytes).iter().any(|frame| frame.contains("MSG w "))
            });
            if pending(&told.unwrap()) == *before_it {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    all
}

/// Keeps the last confirmation that a push consumer asks for.
fn asked_for(bytes: &[u8], confirmation: &mut String) {
    let text = String::from_utf8_lossy(bytes);
    if let Some((_, rest)) = text.rsplit_once("$JS.FC.") {
        let token = rest.split_ascii_whitespace().next().unwrap_or_default();
        *confirmation = format!("$JS.FC.{token}");
    }
}

/// Whether there is no part of a frame at the end.
fn is_whole(bytes: &[u8]) -> bool {
    use midge_proto::wire::{Decoder, Limits, Step};
    let (mut decoder, mut rest) = (Decoder::new(Limits::default()), bytes);
    while let Ok(Step::Frame { len, .. }) = decoder.decode(rest) {
        rest = &rest[len..];
    }
    rest.is_empty()
}

/// The messages among the frames, without what differs from server to server.
fn messages(bytes: &[u8]) -> Vec<String> {
    let frames = frames(bytes).into_iter();
    let messages = frames.filter(|frame| frame.contains("MSG ")).map(|frame| plain(&frame));
    // What is delivered may overtake answers to those who caused it.
    let is_answer = |it: &String| it.starts_with('/') || it.starts_with("MSG r ");
    let (answers, mut messages): (Vec<_>, Vec<_>) = messages.partition(is_answer);
    messages.extend(answers);
    messages
}

/// Fields of answers that the model has as a real server has them.
const KEPT: [&str; 21] = [
    "/message/subject",
    "/message/seq",
    "/message/hdrs",
    "/message/data",
    "/type",
    "/stream",
    "/seq",
    "/error",
    "/did_create",
    "/success",
    "/purged",
    "/state/messages",
    "/state/bytes",
    "/state/num_deleted",
    "/state/first_seq",
    "/state/last_seq",
    "/state/consumer_count",
    "/delivered/consumer_seq",
    "/delivered/stream_seq",
    "/num_ack_pending",
    "/num_pending",
];

fn plain(frame: &str) -> String {
    let (line, payload) = frame.split_once("\r\n").expect("a line");
    let json = payload.trim_end();
    if json.starts_with('{') && !json.starts_with(r#"{"stream":"#) {
        let json: Value = serde_json::from_str(json).expect("JSON");
        let kept = KEPT.iter().filter_map(|&key| Some(format!("{key}={}", json.pointer(key)?)));
        return kept.collect::<Vec<_>>().join(" ");
    }
    // The time of the message is no part of it here, nor is how long it is written.
    if let Some((before, after)) = payload.split_once("Nats-Time-Stamp: ") {
        let after = after.split_once('\r').map_or("", |(_, after)| after);
        return format!("HMSG {} T {}", before.escape_debug(), after.escape_debug());
    }
    let tokens = line.split(' ').map(|token| match token.starts_with("$JS.ACK.") {
        true => {
            let mut tokens: Vec<&str> = token.split('.').collect();
            tokens[7] = "T";
            tokens.join(".")
        }
        false => without_chance(token),
    });
    let line = tokens.collect::<Vec<_>>().join(" ");
    match payload.len() {
        0..1000 => format!("{line} {}", without_chance(payload).escape_debug()),
        // The line says how much it is.
        _ => line,
    }
}

/// The text without the last token of a subject of a confirmation.
fn without_chance(text: &str) -> String {
    match text.split_once("$JS.FC.S.c.") {
        Some((before, after)) => {
            format!("{before}$JS.FC.S.c.X{}", after.get(4..).unwrap_or_default())
        }
        None => text.to_owned(),
    }
}
