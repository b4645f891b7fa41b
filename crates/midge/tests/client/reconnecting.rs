//! Where the next attempt goes to and when, and what waits for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use midge::{ConnectOptions, DisconnectCause, NextServer, RepliesError, RequestError};

use crate::rig::{Rig, Task, options, ready};

const SECOND: Duration = Duration::from_secs(1);

fn three() -> ConnectOptions {
    ConnectOptions::new("127.0.0.1, 127.0.0.2, 127.0.0.3")
        .retain_order(true)
        .reconnect_jitter(Duration::ZERO, Duration::ZERO)
}

#[test]
fn the_application_chooses_the_server_of_every_attempt() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let choose = move |next: &NextServer| {
        seen.lock().unwrap().push((next.failed, next.cause.clone()));
        let mut servers = next.servers.iter();
        let wanted = servers.find(|known| known.server.host() == "127.0.0.2" && known.failed == 0);
        Some(wanted?.server.clone())
    };
    let (_client, mut rig) = Rig::connected(three().choose_server(choose));
    assert_eq!(rig.dialed, ["127.0.0.2"]);
    rig.cut();
    rig.refuse();
    rig.sleep(SECOND);
    assert_eq!(rig.dialed, ["127.0.0.2", "127.0.0.2", "127.0.0.1"]);
    let cut = DisconnectCause::Io("cut".into());
    let refused = DisconnectCause::Dial("refused".into());
    let asked = asked.lock().unwrap();
    assert_eq!(*asked, [(0, None), (0, Some(cut)), (1, Some(refused))]);
}

#[test]
fn the_application_says_how_long_each_wait_is() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let delay = move |next: &NextServer| {
        counted.fetch_add(1, Ordering::SeqCst);
        SECOND * (next.failed + 1)
    };
    let (client, mut rig) = Rig::connected(three().reconnect_delay(delay));
    assert_eq!(calls.load(Ordering::SeqCst), 0, "the first attempt comes at once");
    rig.cut();
    assert_eq!(client.status().next_attempt, Some(SECOND));
    rig.sleep(SECOND - Duration::from_nanos(1));
    assert_eq!(rig.dialed.len(), 1);
    rig.sleep(Duration::from_nanos(1));
    assert_eq!(rig.dialed.len(), 2);
    rig.refuse();
    assert_eq!(client.status().next_attempt, Some(2 * SECOND));
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}

#[test]
fn the_status_tells_of_failed_attempts_and_of_the_next() {
    let wait = Duration::from_millis(100);
    let options = options().reconnect_wait(wait, wait).reconnect_jitter(SECOND, SECOND);
    let (client, mut rig) = Rig::connected(options);
    let attempts = || {
        let status = client.status();
        (status.failed_attempts, status.next_attempt)
    };
    assert_eq!(attempts(), (0, None));
    rig.cut();
    assert_eq!(attempts(), (0, None), "the first attempt is under way");
    rig.refuse();
    let (failed, next) = attempts();
    let next = next.unwrap();
    assert_eq!(failed, 1);
    assert!(next >= wait / 2 && next <= wait + SECOND, "{next:?}");
    rig.sleep(next / 2);
    assert_eq!(attempts(), (1, Some(next - next / 2)));
    rig.sleep(next);
    assert_eq!(attempts(), (1, None));
    rig.refuse();
    assert_eq!(attempts().0, 2);
    rig.sleep(2 * SECOND);
    rig.greet();
    assert_eq!(attempts(), (0, None));
}

#[test]
fn kept_requests_wait_for_their_reply_on_the_next_connection() {
    let (client, mut rig) = Rig::connected(options().keep_requests(true));
    let mut sent = Task::new(client.request("q", "sent"));
    let mut own = Task::new(client.request("q", "own").own_inbox());
    let mut many = ready(client.request_many("q", "many").max_messages(1)).unwrap();
    assert!(sent.poll().is_pending() && own.poll().is_pending());
    rig.run();
    let inboxes: Vec<String> = rig.take_sent().lines().filter_map(asked_for_reply).collect();
    rig.writable = false;
    let mut unsent = Task::new(client.request("q", "unsent"));
    assert!(unsent.poll().is_pending());
    rig.run();
    rig.cut();
    assert!(sent.poll().is_pending() && own.poll().is_pending() && unsent.poll().is_pending());
    rig.writable = true;
    rig.greet();
    let last: Vec<String> = rig.take_sent().lines().filter_map(asked_for_reply).collect();
    assert_eq!((inboxes.len(), last.len()), (3, 1));
    for inbox in inboxes.iter().chain(&last) {
        let all = format!("{}.*", inbox.rsplit_once('.').unwrap().0);
        let announced = |subject: &str| rig.announces(subject);
        let to = if announced(inbox) { inbox } else { &all };
        let sid = rig.subscription_to(to);
        rig.receive(&format!("MSG {inbox} {sid} 3\r\nyes\r\n"));
    }
    for mut answered in [sent, unsent] {
        assert_eq!(answered.ready().unwrap().payload(), b"yes");
    }
    assert_eq!(own.ready().unwrap().payload(), b"yes");
    assert_eq!(ready(many.next()).unwrap().unwrap().payload(), b"yes");
}

#[test]
fn requests_end_with_the_connection_unless_they_are_kept() {
    let (client, mut rig) = Rig::connected(options());
    let mut sent = Task::new(client.request("q", "sent"));
    let mut many = ready(client.request_many("q", "many")).unwrap();
    assert!(sent.poll().is_pending());
    rig.run();
    rig.cut();
    assert_eq!(sent.ready(), Err(RequestError::Unknown));
    assert_eq!(ready(many.next()), Some(Err(RepliesError::Disconnected)));
}

fn asked_for_reply(line: &str) -> Option<String> {
    Some(line.strip_prefix("PUB q ")?.split(' ').next()?.to_owned())
}

#[test]
fn a_socket_that_takes_nothing_is_given_up_at_the_write_deadline() {
    let (client, mut rig) = Rig::connected(options().write_deadline(SECOND));
    rig.writable = false;
    ready(client.publish("s", "x")).unwrap();
    rig.run();
    rig.sleep(SECOND - Duration::from_nanos(1));
    assert!(rig.is_open());
    rig.sleep(Duration::from_nanos(1));
    assert_eq!(rig.dialed.len(), 2);
    let error = client.last_error().unwrap().to_string();
    assert!(error.contains("write deadline"), "{error}");
}
