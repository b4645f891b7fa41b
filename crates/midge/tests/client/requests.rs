//! Requests and their slots.

use std::task::Poll;
use std::time::Duration;

use midge::{NotSent, RequestError};

use crate::rig::{Rig, Task, options};

/// The reply subject of the last request in `sent`.
pub(crate) fn reply_subject(sent: &str) -> String {
    let line = sent.lines().rfind(|line| line.starts_with("PUB ")).expect("a request was sent");
    line.split(' ').nth(2).expect("a request has a reply subject").to_owned()
}

/// A reply, as the subscription for replies gets it.
pub(crate) fn reply(subject: &str, payload: &str) -> String {
    format!("MSG {subject} 1 {}\r\n{payload}\r\n", payload.len())
}

#[test]
fn a_reply_wakes_its_request_once() {
    let (client, mut rig) = Rig::connected(options());
    let mut one = Task::new(client.request("q", "1"));
    let mut two = Task::new(client.request("q", "2"));
    assert!(one.poll().is_pending());
    rig.run();
    let to_one = reply_subject(&rig.take_sent());
    assert!(two.poll().is_pending());
    rig.run();
    let to_two = reply_subject(&rig.take_sent());
    rig.receive(&(reply(&to_two, "b") + &reply(&to_one, "a")));
    assert_eq!((one.wakes.take(), two.wakes.take()), (1, 1));
    assert_eq!(one.ready().unwrap().payload(), b"a");
    assert_eq!(two.ready().unwrap().payload(), b"b");
}

#[test]
fn a_request_that_was_dropped_unsent_is_never_sent() {
    let (client, mut rig) = Rig::connected(options());
    rig.writable = false;
    let mut request = Task::new(client.request("q", "1"));
    assert!(request.poll().is_pending());
    drop(request);
    rig.writable = true;
    rig.run();
    assert!(!rig.take_sent().contains("PUB"));
}

#[test]
fn a_dropped_request_frees_its_slot() {
    let (client, mut rig) = Rig::connected(options().max_requests(1));
    for round in 0..100 {
        let mut request = Task::new(client.request("q", "1"));
        assert!(request.poll().is_pending());
        let mut second = Task::new(client.request("q", "2"));
        assert_eq!(second.poll(), Poll::Ready(Err(RequestError::TooMany)));
        rig.run();
        let to = reply_subject(&rig.take_sent());
        if round % 2 == 0 {
            // Answered, and not looked at.
            rig.receive(&reply(&to, "x"));
        }
        drop(request);
        rig.receive(&reply(&to, "late"));
    }
}

#[test]
fn the_deadline_covers_the_wait_for_room() {
    let (client, mut rig) = Rig::connected(options().max_pending(100));
    rig.writable = false;
    client.try_publish("s", [b'x'; 80]).unwrap();
    let timeout = Duration::from_secs(2);
    let mut request = Task::new(client.request("q", "").timeout(timeout));
    assert!(request.poll().is_pending());
    rig.run();
    rig.sleep(timeout);
    assert_eq!(request.wakes.take(), 1);
    assert!(matches!(request.ready(), Err(RequestError::Publish(_))));
}

#[test]
fn the_deadline_covers_the_wait_for_a_connection() {
    let (client, mut rig) = Rig::connected(options());
    rig.cut();
    let mut request = Task::new(client.request("q", "").timeout(Duration::from_secs(2)));
    assert!(request.poll().is_pending());
    rig.sleep(Duration::from_secs(2));
    assert_eq!(request.ready(), Err(RequestError::NotSent(NotSent::TimedOut)));
}

#[test]
fn a_loss_ends_requests_at_once() {
    let (client, mut rig) = Rig::connected(options());
    let mut sent = Task::new(client.request("q", ""));
    assert!(sent.poll().is_pending());
    rig.run();
    rig.writable = false;
    let mut unsent = Task::new(client.request("q", ""));
    assert!(unsent.poll().is_pending());
    rig.run();
    rig.cut();
    assert_eq!(sent.ready(), Err(RequestError::Unknown));
    assert_eq!(unsent.ready(), Err(RequestError::NotSent(NotSent::Disconnected)));
}
