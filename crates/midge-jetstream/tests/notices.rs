//! What a reader is told of statuses.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::time::Duration;

use midge_jetstream::{
    Limit, Notice, OrderedMachine, OrderedOutput, PullConfig, PullMachine, PullOutput, ResetCause,
    StatusMessage,
};
use midge_proto::{HeaderMap, Instant};

fn config() -> PullConfig {
    PullConfig { messages: 10, bytes: Some(1000), ..PullConfig::consume() }
}

fn headers(code: u16, text: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.set_status(code, text).unwrap();
    headers
}

/// What `consume` tells of a status, that ends a request after others did.
fn told(code: u16, text: &str) -> Vec<Notice> {
    let now = Instant::ZERO;
    let mut machine = PullMachine::consume(config(), 1);
    machine.connected();
    machine.message(10, Some("pin"));
    let mut notices = Vec::new();
    for _ in 0..2 {
        let headers = headers(code, text);
        machine.status(&StatusMessage::from_headers(headers.view()).unwrap(), now);
        loop {
            match machine.poll(now) {
                PullOutput::Notice(Notice::Pinned) | PullOutput::Pull(_) => {}
                PullOutput::Notice(notice) => notices.push(notice),
                _ => break,
            }
        }
    }
    notices
}

#[test]
fn each_status_that_means_something_to_a_reader_is_told() {
    let bad = "Bad Request - Priority Group missing";
    for (code, text, notice) in [
        (400, bad, Notice::BadRequest(bad.into())),
        (409, "Leadership Change", Notice::LeadershipChanged),
        (409, "Server Shutdown", Notice::ServerShutdown),
        (409, "Exceeded MaxWaiting", Notice::TooManyWaiting),
        (429, "Too Many Requests", Notice::TooManyRequests),
        (500, "Internal Error", Notice::Status(500, "Internal Error".into())),
        (503, "", Notice::NoResponders),
        (999, "?", Notice::Status(999, "?".into())),
    ] {
        assert_eq!(told(code, text), [notice.clone(), notice], "{code} {text}");
    }
    // What changes something is told when it does.
    for (code, text, notice) in [
        (423, "Nats-Wrong-Pin-Id", Notice::Unpinned),
        (409, "Message Size Exceeds MaxBytes", Notice::MessageTooLarge),
    ] {
        assert_eq!(told(code, text), [notice], "{code} {text}");
    }
    for (text, limit) in [
        ("Exceeded MaxRequestBatch of 3", Limit::Messages(3)),
        ("Exceeded MaxRequestMaxBytes of 100", Limit::Bytes(100)),
    ] {
        assert_eq!(told(409, text)[0], Notice::LimitLowered(limit), "{text}");
    }
    // What only ends a request is not.
    for (code, text) in [(404, "No Messages"), (408, "Request Timeout"), (409, "Batch Completed")] {
        assert_eq!(told(code, text), [], "{code} {text}");
    }
}

#[test]
fn an_ordered_reader_is_told_why_it_begins_anew() {
    for (code, text, cause) in [
        (409, "Consumer Deleted", ResetCause::ConsumerDeleted),
        (409, "Leadership Change", ResetCause::ConsumerLost),
        (409, "Server Shutdown", ResetCause::ConsumerLost),
        (503, "", ResetCause::ConsumerLost),
    ] {
        for pulls in [false, true] {
            let mut machine = match pulls {
                true => OrderedMachine::pull(config(), false, 1),
                false => OrderedMachine::push(Duration::from_secs(1), false, 1),
            };
            let now = Instant::ZERO;
            machine.connected(now);
            assert!(matches!(machine.poll(now), OrderedOutput::Create { .. }));
            machine.created(midge_jetstream::Created { before: 0, stream: None }, now);
            let headers = headers(code, text);
            machine.status(&StatusMessage::from_headers(headers.view()).unwrap(), now);
            let output = machine.poll(now);
            assert_eq!(output, OrderedOutput::Notice(Notice::Reset(cause)), "{code} {text}");
        }
    }
}
