//! Messages made of parts: views, and what keeping one holds in memory.

use midge_proto::{HeaderMap, Message, SubjectRef};

fn subject(text: &str) -> SubjectRef<'_> {
    SubjectRef::new(text).expect("the subject is valid")
}

#[test]
fn parts_are_views() {
    let mut headers = HeaderMap::new();
    headers.set_status(503, "").unwrap().append("Nats-Subject", "a.b").unwrap();
    let message = Message::from_parts(subject("x.y"), Some(subject("r")), Some(&headers), b"hi");
    assert_eq!((message.subject(), message.subject_bytes()), ("x.y", &b"x.y"[..]));
    assert_eq!((message.reply(), message.reply_bytes()), (Some("r"), Some(&b"r"[..])));
    assert_eq!(message.headers().unwrap().get("Nats-Subject"), Some("a.b"));
    assert_eq!(message.status().unwrap().code, 503);
    assert_eq!(message.payload(), b"hi");
    assert_eq!(message.size(), 3 + 1 + headers.as_bytes().len() + 2);
}

#[test]
fn absent_parts_are_absent() {
    let message = Message::from_parts(subject("x"), None, None, b"");
    assert_eq!((message.reply(), message.reply_bytes()), (None, None));
    assert!(message.headers().is_none() && message.status().is_none());
    assert_eq!((message.payload(), message.size()), (&b""[..], 1));

    let message = Message::from_parts(subject("x"), None, Some(&HeaderMap::new()), b"");
    assert!(message.headers().is_some_and(|headers| headers.iter().next().is_none()));
}

#[test]
fn a_clone_shares_and_a_detached_copy_does_not() {
    let message = Message::from_parts(subject("x"), Some(subject("r")), None, b"hi");
    assert_eq!(message.clone().payload().as_ptr(), message.payload().as_ptr());
    let detached = message.detach();
    assert_eq!(detached, message);
    assert_ne!(detached.payload().as_ptr(), message.payload().as_ptr());
}

#[test]
fn a_kept_payload_is_shared_from_the_threshold_on_and_copied_below() {
    for (len, shared) in [(Message::DETACH_SHARE_MIN - 1, false), (Message::DETACH_SHARE_MIN, true)]
    {
        let message = Message::from_parts(subject("x"), None, None, &vec![7; len]);
        let before = message.payload().as_ptr();
        let payload = message.clone().into_payload();
        assert_eq!(payload.len(), len);
        assert_eq!(payload.as_ptr() == before, shared);
    }
}

#[test]
fn messages_are_equal_by_their_parts() {
    let message = |reply, payload| Message::from_parts(subject("x"), reply, None, payload);
    assert_eq!(message(None, b"a"), message(None, b"a"));
    assert_ne!(message(None, b"a"), message(None, b"b"));
    assert_ne!(message(None, b"a"), message(Some(subject("r")), b"a"));
}

#[test]
fn a_message_is_small_and_its_payload_is_not_printed() {
    assert!(size_of::<Message>() <= 64);
    let message = Message::from_parts(subject("x.y"), Some(subject("r")), None, b"secret");
    let shown = format!("{message:?}");
    assert!(shown.contains("x.y") && shown.contains('6') && !shown.contains("secret"), "{shown}");
}
