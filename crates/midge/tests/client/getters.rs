//! What a client tells about itself.

use midge::driver::Turn;
use midge::{ConnectOptions, Event, InboxError, LastError};

use crate::rig::{Rig, Task, options, ready};

#[test]
fn closed_tells_the_end_and_neither_closes_nor_holds() {
    let (client, mut rig) = Rig::connected(options());
    let mut closed = Task::new(client.closed());
    assert!(closed.poll().is_pending());
    rig.run();
    assert!(!rig.done && !rig.take_sent().contains("PING"));
    drop(client);
    rig.run();
    rig.receive("PONG\r\n");
    assert!(rig.done);
    assert_eq!(closed.wakes.take(), 1);
    assert_eq!(closed.ready().why, midge::CloseReason::Requested);
}

#[test]
fn names_are_looked_up_unless_resolve_is_off() {
    let first = |options| {
        let (connecting, mut rig) = Rig::new(options);
        let _connecting = Task::new(connecting);
        rig.turn()
    };
    let named = || ConnectOptions::new("one.example:1");
    match first(named()) {
        Turn::Resolve { host, .. } => assert_eq!(host, "one.example"),
        other => panic!("{other:?}"),
    }
    match first(named().resolve(false)) {
        Turn::Connect { to, .. } => {
            assert_eq!((to.address, to.to_string()), (None, "one.example:1".to_owned()));
        }
        other => panic!("{other:?}"),
    }
    match first(ConnectOptions::new("127.0.0.1:1").resolve(false)) {
        Turn::Connect { to, .. } => assert_eq!(to.address, "127.0.0.1:1".parse().ok()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_error_is_kept() {
    let (client, mut rig) = Rig::connected(options());
    assert_eq!(client.last_error(), None);
    rig.receive("-ERR 'Odd'\r\n");
    assert!(matches!(client.last_error(), Some(LastError::Server(_))));
    rig.cut();
    assert!(matches!(client.last_error(), Some(LastError::Lost(_))));
    rig.greet();
    assert!(client.last_error().unwrap().to_string().contains("cut"));
}

#[test]
fn inboxes_begin_with_their_prefix_and_differ() {
    let (client, _rig) = Rig::connected(options().inbox_prefix("mine"));
    let (one, two) = (client.new_inbox(), client.new_inbox_with("other.place").unwrap());
    assert!(one.starts_with("mine.") && two.starts_with("other.place."), "{one} {two}");
    assert_ne!(one.rsplit('.').next(), two.rsplit('.').next());
    assert_eq!(two.rsplit('.').next().map(str::len), Some(22));
    assert_eq!(client.new_inbox_with("a.*"), Err(InboxError::Wildcard));
    assert!(matches!(client.new_inbox_with("a b"), Err(InboxError::Subject(_))));
    assert!(matches!(client.new_inbox_with(""), Err(InboxError::Subject(_))));
}

#[test]
fn counts_follow_what_is_there() {
    let (client, mut rig) = Rig::connected(options());
    let subscription = ready(client.subscribe("s")).unwrap();
    rig.run();
    rig.writable = false;
    assert_eq!((client.subscriptions(), client.pending_bytes()), (1, 0));
    client.try_publish("s", "x").unwrap();
    assert_eq!(client.pending_bytes(), "PUB s 1\r\nx\r\n".len());
    drop(subscription);
    rig.writable = true;
    rig.run();
    assert_eq!((client.subscriptions(), client.pending_bytes()), (0, 0));
    rig.receive("INFO {\"client_id\":7,\"client_ip\":\"10.0.0.1\"} \r\n");
    assert_eq!((client.client_id(), client.client_ip().as_deref()), (Some(7), Some("10.0.0.1")));
}

#[test]
fn each_listener_gets_every_event() {
    let (client, mut rig) = Rig::connected(options());
    let mut listeners = [client.events(), client.events()];
    rig.receive("-ERR 'Odd'\r\n");
    for events in &mut listeners {
        assert!(matches!(events.try_next(), Some(Event::ServerError(_))));
    }
}
