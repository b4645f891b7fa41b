//! Tracing the path of a message (ADR-41).

use midge::{HeaderMap, PublishError, RequestError};

use crate::rig::{Rig, Task, options, ready};

const DEST: &str = "Nats-Trace-Dest: t.dest\r\n";
const ONLY: &str = "Nats-Trace-Only: true\r\n";

#[test]
fn a_trace_adds_its_headers_to_those_given_and_leaves_the_map_alone() {
    let (client, mut rig) = Rig::connected(options());
    let mut headers = HeaderMap::new();
    headers.append("A", "1").unwrap().append("Nats-Trace-Only", "true").unwrap();
    let before = headers.clone();
    ready(client.publish("s", "x").headers(&headers).trace("t.dest")).unwrap();
    assert_eq!(headers, before);
    rig.run();
    let sent = rig.take_sent();
    assert!(sent.contains("A: 1\r\n") && sent.contains(DEST) && !sent.contains(ONLY), "{sent}");
    ready(client.publish("s", "x").trace_only("t.dest")).unwrap();
    rig.run();
    let sent = rig.take_sent();
    assert!(sent.contains(DEST) && sent.contains(ONLY), "{sent}");
}

#[test]
fn requests_are_traced_on_every_kind_of_inbox() {
    let (client, mut rig) = Rig::connected(options());
    let mut shared = Task::new(client.request("q", "").trace_only("t.dest"));
    let mut own = Task::new(client.request("q", "").trace_only("t.dest").own_inbox());
    let _replies = ready(client.request_many("q", "").trace_only("t.dest")).unwrap();
    assert!(shared.poll().is_pending() && own.poll().is_pending());
    rig.run();
    let sent = rig.take_sent();
    assert_eq!((sent.matches(DEST).count(), sent.matches(ONLY).count()), (3, 3), "{sent}");
}

#[test]
fn a_destination_that_is_no_subject_is_refused() {
    let (client, _rig) = Rig::connected(options());
    let refused = ready(client.publish("s", "").trace("t.*"));
    assert_eq!(refused, Err(PublishError::Wildcard));
    let refused = client.publish("s", "").trace("a b").try_send();
    assert!(matches!(refused, Err(PublishError::Subject(_))));
    let refused = ready(client.request("s", "").trace_only(""));
    assert!(matches!(refused, Err(RequestError::Publish(PublishError::Subject(_)))));
}
