//! Requests with an inbox of their own.

use std::time::Duration;

use midge::{Event, NotSent, PublishError, RequestError};

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
    let wanted = format!("SUB {0} {1}\r\nUNSUB {1} 1\r\nPUB q {0} 1\r\n?\r\n", to.0, to.1);
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
fn what_was_not_sent_when_the_connection_was_lost_never_is() {
    let (client, mut rig) = Rig::connected(options());
    rig.writable = false;
    let mut lost = Task::new(client.request("q", "?").own_inbox());
    assert!(lost.poll().is_pending());
    rig.run();
    rig.cut();
    assert_eq!(lost.ready(), Err(RequestError::NotSent(NotSent::Disconnected)));
    let mut waits = Task::new(client.request("q", "!").own_inbox());
    let mut large = Task::new(client.request("q", vec![0; 2 << 20]).own_inbox());
    let mut dropped = Task::new(client.request("q", "dropped").own_inbox());
    assert!(waits.poll().is_pending() && large.poll().is_pending() && dropped.poll().is_pending());
    drop(dropped);
    rig.writable = true;
    rig.greet();
    rig.run();
    let sent = rig.take_sent();
    assert_eq!(sent.matches("PUB ").count(), 1, "{sent}");
    assert_eq!(large.ready(), Err(RequestError::NotSent(NotSent::NotAllowed)));
    let to = sent.split_whitespace().skip_while(|word| *word != "q").nth(1).unwrap().to_owned();
    let sid = rig.subscription_to(&to);
    rig.receive(&reply(&(to, sid), "yes"));
    assert_eq!(waits.ready().unwrap().payload(), b"yes");
}

#[test]
fn a_close_tells_what_was_sent_from_what_was_not() {
    let (client, mut rig) = Rig::connected(options().linger(Duration::ZERO));
    let mut sent = Task::new(client.request("q", "?").own_inbox());
    assert!(sent.poll().is_pending());
    rig.run();
    rig.writable = false;
    let mut unsent = Task::new(client.request("q", "?").own_inbox());
    assert!(unsent.poll().is_pending());
    drop(client.close());
    rig.run();
    assert_eq!(sent.ready(), Err(RequestError::Unknown));
    assert_eq!(unsent.ready(), Err(RequestError::NotSent(NotSent::Closed)));
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

#[test]
fn a_server_that_lowers_its_limit_gets_no_question_that_is_too_large() {
    let (client, mut rig) = Rig::connected(options());
    let mut events = client.events();
    rig.writable = false;
    let mut large = Task::new(client.request("q", [b'x'; 100]).own_inbox());
    let mut small = Task::new(client.request("q", "?").own_inbox());
    assert!(large.poll().is_pending() && small.poll().is_pending());
    rig.receive("INFO {\"max_payload\":99,\"headers\":true}\r\n");
    assert_eq!(large.ready(), Err(RequestError::NotSent(NotSent::NotAllowed)));
    let told = events.try_next();
    assert!(matches!(told, Some(Event::Dropped(dropped)) if dropped.messages == 1));
    assert!(small.poll().is_pending());
    let refused = ready(client.publish("q", [b'x'; 100]));
    assert_eq!(refused, Err(PublishError::TooLarge { size: 100, max: 99 }));
    rig.writable = true;
    rig.run();
    assert_eq!(rig.take_sent().matches("PUB ").count(), 1);
}
