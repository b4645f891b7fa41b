//! Servers that send to the inboxes of JetStream what nobody has asked for.

use std::future::Future;
use std::task::Poll;

use midge::jetstream::{JetStream, Ordered, OrderedError, Push};
use midge::{Client, Event};

use crate::rig::{Rig, Task, options, ready};

/// The number of the last subscription that was announced.
fn last_sid(sent: &str) -> String {
    let line = sent.lines().rfind(|line| line.starts_with("SUB ")).expect("it subscribes");
    line.rsplit(' ').next().expect("a line has a last word").to_owned()
}

/// The reply subjects of what was published to a subject that begins so.
fn replies(sent: &str, to: &str) -> Vec<String> {
    let lines = sent.lines().filter(|line| line.starts_with(&format!("PUB {to}")));
    lines.map(|line| line.split(' ').nth(2).expect("it has a reply").to_owned()).collect()
}

/// Sends the same again and again until a subscription is said to be slow; how much was unread then.
fn flood(client: &Client, rig: &mut Rig, one: &str, most: usize) -> usize {
    const READ: usize = 64;
    let mut events = client.events();
    for _ in 0..=most / READ {
        rig.receive(&one.repeat(READ));
        while let Some(event) = events.try_next() {
            if let Event::SlowConsumer { pending, .. } = event {
                return pending;
            }
        }
    }
    panic!("more than {most} messages are unread")
}

fn answer(rig: &mut Rig, inbox: &str, sid: &str, json: &str) {
    rig.receive(&format!("MSG {inbox} {sid} {}\r\n{json}\r\n", json.len()));
}

#[test]
fn acks_that_nobody_has_asked_for_are_bounded() {
    let (client, mut rig) = Rig::connected(options());
    let publisher = ready(JetStream::new(client.clone()).publisher().window(8, 1 << 20));
    let _publisher = publisher.expect("it has a connection");
    rig.run();
    let sid = last_sid(&rig.take_sent());
    flood(&client, &mut rig, &format!("MSG i {sid} 1\r\nx\r\n"), 5_000);
    let read = rig.sleep(std::time::Duration::from_millis(1)).read;
    assert!(read, "an ack too many keeps nothing else from being read");
}

#[test]
fn messages_that_were_not_pulled_are_bounded() {
    let (client, mut rig) = Rig::connected(options());
    let consumer = JetStream::new(client.clone()).consumer("S", "c").expect("the names are valid");
    let mut messages = ready(consumer.consume().max_messages(10)).expect("it can be");
    assert!(Task::new(messages.next()).poll().is_pending());
    rig.run();
    let sid = last_sid(&rig.take_sent());
    flood(&client, &mut rig, &format!("MSG s {sid} $JS.ACK.S.c.1.1.1.1.0 1\r\nx\r\n"), 5_000);
}

/// A consumer that pushes, of this configuration.
fn push(client: &Client, rig: &mut Rig, config: &str) -> (Push, String) {
    let js = JetStream::new(client.clone());
    let mut push = Task::new(js.push_consumer("S", "c"));
    assert!(push.poll().is_pending());
    rig.run();
    let sent = rig.take_sent();
    let inbox = replies(&sent, "$JS.API.CONSUMER.INFO").pop().expect("it asks");
    let json = format!(
        r#"{{"stream_name":"S","name":"c","config":{{"deliver_policy":"all","deliver_subject":"d",{config}}}}}"#
    );
    answer(rig, &inbox, &last_sid(&sent), &json);
    let push = push.ready().expect("it pushes");
    rig.run();
    (push, last_sid(&rig.take_sent()))
}

#[test]
fn messages_that_are_pushed_are_bounded() {
    let small = || options().subscription_capacity(100, 1 << 20);
    let (client, mut rig) = Rig::connected(small());
    let (mut pushed, sid) = push(&client, &mut rig, r#""ack_policy":"none""#);
    let one = format!("MSG d {sid} $JS.ACK.S.c.1.1.1.1.0 1\r\nx\r\n");
    assert!(flood(&client, &mut rig, &one, 200) <= 200);
    rig.sleep(std::time::Duration::from_secs(1));
    rig.receive(&one.repeat(10));
    assert_eq!(pushed.dropped(), 10, "they are counted");
    assert!(ready(pushed.next()).expect("it goes on").is_ok());
    pushed.stop();
    assert_eq!(pushed.dropped(), 10);

    let (client, mut rig) = Rig::connected(small());
    let config = r#""ack_policy":"explicit","max_ack_pending":1000"#;
    let (_pushed, sid) = push(&client, &mut rig, config);
    let one = format!("MSG d {sid} $JS.ACK.S.c.1.1.1.1.0 1\r\nx\r\n");
    let unread = flood(&client, &mut rig, &one, 6_000);
    assert!(unread > 1_000, "there is room for all that may wait for acks, not for {unread}");
}

/// Lets a reader, or what is to become one, go on: what it sends.
fn go_on<F>(rig: &mut Rig, begin: &mut Task<F>, reading: &mut Option<Ordered>) -> String
where
    F: Future<Output = Result<Ordered, OrderedError>>,
{
    if reading.is_none()
        && let Poll::Ready(begun) = begin.poll()
    {
        *reading = Some(begun.expect("it begins"));
    }
    if let Some(reading) = reading {
        let _: Poll<_> = Task::new(reading.next()).poll();
    }
    rig.run();
    rig.take_sent()
}

#[test]
fn consumers_that_are_to_be_deleted_are_bounded() {
    const MADE: &str = r#"{"stream_name":"S","name":"x","config":{"deliver_policy":"all"}}"#;
    const STREAM: &str = r#"{"config":{"name":"S"},"created":"2026-11-21T21:36:25Z","state":{"messages":1000,"bytes":1000,"first_seq":1,"last_seq":1000}}"#;
    let (client, mut rig) = Rig::connected(options());
    let (mut begin, mut reading) = (Task::new(JetStream::new(client.clone()).ordered("S")), None);
    let mut sent = go_on(&mut rig, &mut begin, &mut reading);
    let mut shared = None;
    for cycle in 1..=100 {
        let inbox = replies(&sent, "$JS.API.CONSUMER.CREATE").pop().expect("it asks");
        // The inbox that requests share is the one of their replies.
        let (prefix, _) = inbox.rsplit_once('.').expect("it has a token for the request");
        let of_requests = |line: &&str| line.starts_with(&format!("SUB {prefix}."));
        let shared = shared.get_or_insert_with(|| {
            last_sid(sent.lines().find(of_requests).expect("requests have an inbox"))
        });
        let own = sent.lines().rfind(|line| line.starts_with("SUB ") && !of_requests(line));
        let own = last_sid(own.expect("it has an inbox"));
        answer(&mut rig, &inbox, shared, MADE);
        let sent_then = go_on(&mut rig, &mut begin, &mut reading);
        let inbox = replies(&sent_then, "$JS.API.STREAM.INFO").pop().expect("it asks");
        answer(&mut rig, &inbox, shared, STREAM);
        go_on(&mut rig, &mut begin, &mut reading);
        // One that is right, so that the next consumer is made at once, and one with a gap.
        let ack = |number| format!("MSG s {own} $JS.ACK.S.x.1.{cycle}.{number}.1.0 1\r\nx\r\n");
        rig.receive(&(ack(1) + &ack(9)));
        sent = go_on(&mut rig, &mut begin, &mut reading);
        sent += &go_on(&mut rig, &mut begin, &mut reading);
    }
    drop(reading);
    rig.run();
    let deletes = replies(&rig.take_sent(), "$JS.API.CONSUMER.DELETE").len();
    assert!((1..=20).contains(&deletes), "{deletes} are to be deleted");
}
