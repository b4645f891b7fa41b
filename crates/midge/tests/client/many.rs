//! Requests with many replies.

use std::time::Duration;

use midge::{Client, NotSent, Replies, RepliesError, RequestError};

use crate::rig::{Rig, Task, options, ready};

const SECOND: Duration = Duration::from_secs(1);

/// The inbox of the last request in `sent`: its subject and sid.
pub(crate) fn inbox(sent: &str) -> (String, String) {
    let line = sent.lines().rfind(|line| line.starts_with("SUB ")).expect("an inbox is there");
    let mut words = line.split(' ').skip(1).map(str::to_owned);
    (words.next().expect("a subject"), words.next().expect("a sid"))
}

pub(crate) fn reply((subject, sid): &(String, String), payload: &str) -> String {
    format!("MSG {subject} {sid} {}\r\n{payload}\r\n", payload.len())
}

pub(crate) fn status((subject, sid): &(String, String), code: &str) -> String {
    let block = format!("NATS/1.0 {code}\r\n\r\n");
    format!("HMSG {subject} {sid} {0} {0}\r\n{block}\r\n", block.len())
}

/// Sends the request; its replies and its inbox.
fn ask(rig: &mut Rig, request: midge::RequestMany<'_, &str, &str>) -> (Replies, (String, String)) {
    let replies = ready(request).expect("it is queued");
    rig.run();
    let sent = rig.take_sent();
    let inbox = inbox(&sent);
    assert!(sent.contains(&format!("PUB q {} 1\r\n?\r\n", inbox.0)), "{sent}");
    assert!(sent.find("SUB ") < sent.find("PUB "), "{sent}");
    (replies, inbox)
}

fn asker(client: &Client) -> midge::RequestMany<'static, &'static str, &'static str> {
    client.request_many("q", "?").max_wait(10 * SECOND)
}

fn next(replies: &mut Replies) -> Option<Result<String, RepliesError>> {
    let reply = ready(replies.next())?;
    Some(reply.map(|reply| String::from_utf8_lossy(reply.payload()).into_owned()))
}

fn texts(replies: &mut Replies) -> Vec<String> {
    std::iter::from_fn(|| next(replies)).map(|reply| reply.expect("no error")).collect()
}

#[test]
fn replies_come_until_the_time_is_up_also_when_nobody_polls() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, inbox) = ask(&mut rig, asker(&client));
    rig.receive(&(reply(&inbox, "a") + &reply(&inbox, "b")));
    assert_eq!(next(&mut replies), Some(Ok("a".into())));
    rig.sleep(10 * SECOND);
    assert!(rig.take_sent().contains(&format!("UNSUB {}\r\n", inbox.1)));
    rig.receive(&reply(&inbox, "late"));
    assert_eq!(texts(&mut replies), ["b"]);
    assert_eq!(client.subscriptions(), 0);
}

#[test]
fn a_reader_that_waits_is_woken_when_the_time_is_up() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, _) = ask(&mut rig, asker(&client));
    let mut next = Task::new(replies.next());
    assert!(next.poll().is_pending());
    rig.sleep(10 * SECOND);
    assert_eq!(next.wakes.take(), 1);
    assert_eq!(next.ready(), None);
}

#[test]
fn replies_end_with_the_count() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, inbox) = ask(&mut rig, asker(&client).max_messages(2));
    rig.receive(&["a", "b", "c"].map(|text| reply(&inbox, text)).concat());
    assert_eq!(texts(&mut replies), ["a", "b"]);
}

#[test]
fn a_gap_ends_the_replies_but_not_before_the_first() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, inbox) = ask(&mut rig, asker(&client).stall(SECOND));
    let mut first = Task::new(replies.next());
    assert!(first.poll().is_pending());
    rig.sleep(5 * SECOND);
    assert!(first.poll().is_pending());
    rig.receive(&reply(&inbox, "a"));
    assert!(first.ready().is_some());
    drop(first);
    for _ in 0..3 {
        let mut next = Task::new(replies.next());
        assert!(next.poll().is_pending());
        rig.sleep(SECOND - Duration::from_nanos(1));
        assert!(next.poll().is_pending());
        rig.receive(&reply(&inbox, "b"));
        assert!(next.ready().is_some());
    }
    let mut next = Task::new(replies.next());
    assert!(next.poll().is_pending());
    rig.sleep(SECOND);
    assert!(next.wakes.take() >= 1);
    assert_eq!(next.ready(), None);
    drop(next);
    rig.run();
    assert!(rig.take_sent().ends_with(&format!("UNSUB {}\r\n", inbox.1)));
}

#[test]
fn what_the_caller_does_in_between_is_no_gap() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, inbox) = ask(&mut rig, asker(&client).stall(SECOND));
    rig.receive(&reply(&inbox, "a"));
    assert_eq!(next(&mut replies), Some(Ok("a".into())));
    rig.sleep(3 * SECOND);
    let mut waits = Task::new(replies.next());
    assert!(waits.poll().is_pending());
    drop(waits);
    rig.sleep(SECOND / 2);
    rig.receive(&reply(&inbox, "b"));
    rig.sleep(3 * SECOND);
    assert_eq!(next(&mut replies), Some(Ok("b".into())), "what has come goes first");
}

#[test]
fn a_sentinel_ends_the_replies() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, inbox) = ask(&mut rig, asker(&client).sentinel_empty());
    rig.receive(&["a", "", "c"].map(|text| reply(&inbox, text)).concat());
    assert_eq!(texts(&mut replies), ["a"]);
    let is_end = |message: &midge::Message| message.payload() == b"end";
    let (mut replies, inbox) = ask(&mut rig, asker(&client).sentinel(is_end));
    rig.receive(&["", "end", "c"].map(|text| reply(&inbox, text)).concat());
    assert_eq!(texts(&mut replies), [""]);
    assert_eq!(client.subscriptions(), 0);
}

#[test]
fn a_status_ends_the_replies_with_an_error() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, inbox) = ask(&mut rig, asker(&client).sentinel_empty());
    rig.receive(&status(&inbox, "503"));
    assert_eq!(next(&mut replies), Some(Err(RepliesError::NoResponders)));
    assert_eq!(next(&mut replies), None);
    let (mut replies, inbox) = ask(&mut rig, asker(&client));
    rig.receive(&(reply(&inbox, "a") + &status(&inbox, "408 Too Late")));
    assert_eq!(next(&mut replies), Some(Ok("a".into())));
    let status = RepliesError::Status { code: 408, description: "Too Late".into() };
    assert_eq!((next(&mut replies), next(&mut replies)), (Some(Err(status)), None));
}

#[test]
fn a_lost_connection_ends_the_replies_behind_the_last_of_them() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, inbox) = ask(&mut rig, asker(&client));
    rig.receive(&reply(&inbox, "a"));
    rig.cut();
    assert_eq!(next(&mut replies), Some(Ok("a".into())));
    assert_eq!(next(&mut replies), Some(Err(RepliesError::Disconnected)));
    assert_eq!(next(&mut replies), None);
}

#[test]
fn a_permission_that_lacks_ends_the_replies() {
    for error in
        ["Publish to \"q\"", "Subscription to \"INBOX\"", "Publish with Reply of \"INBOX\""]
    {
        let (client, mut rig) = Rig::connected(options());
        let (mut replies, inbox) = ask(&mut rig, asker(&client));
        let error = error.replace("INBOX", &inbox.0);
        rig.receive(&format!("-ERR 'Permissions Violation for {error}'\r\n"));
        let got = next(&mut replies);
        assert!(matches!(got, Some(Err(RepliesError::Permission(_)))), "{error}: {got:?}");
        assert_eq!(next(&mut replies), None);
    }
}

#[test]
fn dropped_replies_unsubscribe() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, inbox) = ask(&mut rig, asker(&client).stall(SECOND));
    rig.receive(&(reply(&inbox, "a") + "PONG\r\n"));
    assert_eq!(next(&mut replies), Some(Ok("a".into())));
    let mut waits = Task::new(replies.next());
    assert!(waits.poll().is_pending());
    drop(waits);
    assert_eq!(rig.run().until.map(|until| until.as_nanos()), Some(100_000_000));
    rig.sleep(SECOND / 10);
    rig.receive("PONG\r\n");
    assert_eq!(rig.run().until.map(|until| until.as_nanos()), Some(1_000_000_000));
    rig.take_sent();
    drop(replies);
    let until = rig.run().until.expect("the keep-alive is due some time");
    assert!(until.as_nanos() > 60_000_000_000, "no deadline is left behind");
    assert_eq!(rig.take_sent(), format!("UNSUB {}\r\n", inbox.1));
}

#[test]
fn many_unread_replies_stop_reading_and_none_is_dropped() {
    let (client, mut rig) = Rig::connected(options().subscription_capacity(4, 1 << 20));
    let (mut replies, inbox) = ask(&mut rig, asker(&client));
    assert!(!rig.receive(&reply(&inbox, "x").repeat(20)).read);
    assert!(!rig.sleep(9 * SECOND).read);
    assert!(rig.sleep(SECOND).read, "the time is up, the connection goes on");
    assert_eq!(texts(&mut replies).len(), 20);
}

#[test]
fn a_request_waits_for_a_connection_and_not_for_longer_than_its_time() {
    let (client, mut rig) = Rig::connected(options());
    rig.cut();
    let mut early = ready(asker(&client)).unwrap();
    let mut late = ready(client.request_many("q", "?").max_wait(SECOND)).unwrap();
    rig.sleep(SECOND);
    assert_eq!(next(&mut late), Some(Err(RepliesError::NotSent(NotSent::TimedOut))));
    assert_eq!(next(&mut late), None);
    rig.greet();
    rig.run();
    assert_eq!(rig.take_sent().matches("PUB ").count(), 1);
    rig.sleep(9 * SECOND);
    assert_eq!(next(&mut early), None);
}

#[test]
fn a_request_whose_replies_are_dropped_in_time_is_not_sent() {
    let (client, mut rig) = Rig::connected(options());
    drop(ready(asker(&client)).unwrap());
    rig.run();
    assert!(!rig.take_sent().contains("PUB "));
}

#[test]
fn a_drain_waits_for_the_replies_to_end() {
    let (client, mut rig) = Rig::connected(options());
    let (mut replies, inbox) = ask(&mut rig, asker(&client).max_messages(2));
    let mut drained = Task::new(client.drain());
    assert!(drained.poll().is_pending());
    rig.run();
    rig.receive(&reply(&inbox, "a"));
    assert!(!rig.take_sent().contains("UNSUB"));
    rig.receive(&reply(&inbox, "b"));
    assert_eq!(texts(&mut replies), ["a", "b"]);
    rig.receive("PONG\r\n");
    assert_eq!(drained.ready().delivered, 2);
}

#[test]
fn a_request_that_is_refused_leaves_nothing_behind() {
    let (client, mut rig) = Rig::connected(options());
    let refused = ready(client.request_many("q", vec![0; 2 << 20])).map(|_| ()).unwrap_err();
    assert!(matches!(refused, RequestError::Publish(_)), "{refused}");
    for subject in ["a b", "a.*"] {
        let refused = ready(client.request_many(subject, "")).map(|_| ()).unwrap_err();
        assert!(matches!(refused, RequestError::Publish(_)), "{refused}");
    }
    rig.run();
    assert_eq!(client.subscriptions(), 0);
}
