//! Requests with an inbox of their own.

use std::time::Duration;

use midge::{NotSent, PublishError, RequestError};

use crate::many::{inbox, reply, status};
use crate::rig::{Rig, Task, options, ready};

#[test]
fn the_reply_comes_on_a_fresh_inbox_that_ends_with_it() {
    let (client, mut rig) = Rig::connected(options());
    let mut request = Task::new(client.request("q", "?").own_inbox());
    assert!(request.poll().is_pending());
    rig.run();
    let sent = rig.take_sent();
    let to = inbox(&sent);
    let wanted = format!("SUB {0} {1}\r\nPUB q {0} 1\r\n?\r\nUNSUB {1} 1\r\n", to.0, to.1);
    assert_eq!(sent, wanted);
    rig.receive(&reply(&to, "!"));
    assert_eq!(request.wakes.take(), 1);
    assert_eq!(request.ready().unwrap().payload(), b"!");
    assert_eq!(client.subscriptions(), 0);
}

#[test]
fn a_reply_subject_can_be_given() {
    let (client, mut rig) = Rig::connected(options());
    let mut request = Task::new(client.request("q", "?").reply("my.reply"));
    assert!(request.poll().is_pending());
    rig.run();
    let to = inbox(&rig.take_sent());
    assert_eq!(to.0, "my.reply");
    rig.receive(&reply(&to, "!"));
    assert_eq!(request.ready().unwrap().payload(), b"!");
    let refused = ready(client.request("q", "?").reply("my.*"));
    assert_eq!(refused, Err(RequestError::Publish(PublishError::Wildcard)));
}

#[test]
fn each_failure_is_told_apart() {
    let (client, mut rig) = Rig::connected(options());
    let ask = |rig: &mut Rig| {
        let mut request = Task::new(client.request("q", "?").own_inbox());
        assert!(request.poll().is_pending());
        rig.run();
        (request, inbox(&rig.take_sent()))
    };
    let (mut request, to) = ask(&mut rig);
    rig.receive(&status(&to, "503"));
    assert_eq!(request.ready(), Err(RequestError::NoResponders));
    let (mut request, _) = ask(&mut rig);
    rig.sleep(Duration::from_secs(5));
    assert_eq!(request.ready(), Err(RequestError::TimedOut));
    let (mut request, _) = ask(&mut rig);
    rig.receive("-ERR 'Permissions Violation for Publish to \"q\"'\r\n");
    assert!(matches!(request.ready(), Err(RequestError::Permission(_))));
    let (mut request, _) = ask(&mut rig);
    rig.cut();
    assert_eq!(request.wakes.take(), 1);
    assert_eq!(request.ready(), Err(RequestError::Unknown));
    let mut request =
        Task::new(client.request("q", "?").own_inbox().timeout(Duration::from_secs(2)));
    assert!(request.poll().is_pending());
    rig.sleep(Duration::from_secs(2));
    assert_eq!(request.ready(), Err(RequestError::NotSent(NotSent::TimedOut)));
}

#[test]
fn a_dropped_request_gives_its_inbox_up() {
    let (client, mut rig) = Rig::connected(options());
    let mut request = Task::new(client.request("q", "?").own_inbox());
    assert!(request.poll().is_pending());
    rig.run();
    let to = inbox(&rig.take_sent());
    drop(request);
    rig.run();
    assert_eq!(rig.take_sent(), format!("UNSUB {}\r\n", to.1));
    rig.receive(&reply(&to, "late"));
}
