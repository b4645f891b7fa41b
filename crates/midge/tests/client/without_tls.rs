//! A program that was built without TLS.

use std::sync::Arc;

use midge::{ConnectOptions, DisconnectCause, OptionsError, ServerError};

use crate::auth::{refused, why};
use crate::rig::{Rig, Task, TestClock, options};

#[test]
fn a_url_that_needs_what_is_not_built_is_refused_at_construction() {
    let mut schemes = vec!["tls", "wss"];
    if cfg!(not(feature = "websocket")) {
        schemes.push("ws");
    }
    for scheme in schemes {
        let missing = if scheme == "ws" { "websocket" } else { "tls" };
        let url = format!("{scheme}://a.example:1");
        match refused(ConnectOptions::new(["nats://b.example", &*url])) {
            OptionsError::NotBuilt { url: named, feature } => {
                assert_eq!((named, feature), (url, missing));
            }
            other => panic!("{scheme}: {other}"),
        }
    }
    let clock = Arc::new(TestClock::default());
    assert!(midge::driver::connect(ConnectOptions::new("nats://a.example"), clock).is_ok());
}

#[test]
fn a_server_that_requires_tls_is_told_from_one_that_offers_it() {
    let cause = |greeting: &str| {
        let (connecting, mut rig) = Rig::new(options());
        let mut connecting = Task::new(connecting);
        assert!(connecting.poll().is_pending());
        rig.run();
        rig.receive(greeting);
        match rig.take_sent() {
            sent if sent.starts_with("CONNECT ") => None,
            sent => {
                assert_eq!(sent, "");
                Some(why(connecting.ready()))
            }
        }
    };
    let required = "INFO {\"server_id\":\"S\",\"tls_required\":true}\r\n";
    assert_eq!(cause(required), Some(DisconnectCause::TlsUnavailable));
    assert_eq!(cause("INFO {\"server_id\":\"S\",\"tls_available\":true}\r\n"), None);
    let full = "-ERR 'maximum connections exceeded'\r\n";
    assert_eq!(cause(full), Some(DisconnectCause::Server(ServerError::MaxConnections)));
}
