//! The pool of servers: order, back-off, who is given up, who is learnt.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::rig::{INFO, Rig, config};

#[test]
fn the_first_connect_is_one_pass_through_the_servers() {
    let mut rig = Rig::new(config("127.0.0.1:1,127.0.0.1:2"));
    rig.run(
        "! connect 127.0.0.1:1
        refused
        ! failed nats://127.0.0.1:1 could not connect: refused
        ! connect 127.0.0.1:2
        refused
        ! failed nats://127.0.0.1:2 could not connect: refused
        ! closed no server left to try; the last one, nats://127.0.0.1:2: could not connect: refused; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn the_first_retry_comes_at_once_and_the_next_ones_ever_later() {
    let mut config = config("127.0.0.1:1");
    config.reconnect_wait = Duration::from_millis(100);
    config.reconnect_wait_max = Duration::from_secs(1);
    let mut rig = Rig::up(config);
    rig.run(
        "eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:1",
    );
    let mut longest = [0, 0, 0, 0, 0, 0];
    for (try_number, longest) in longest.iter_mut().enumerate() {
        let before = rig.now;
        rig.run("refused\n! failed nats://127.0.0.1:1 could not connect: refused");
        let wait = rig.wait.until.unwrap().saturating_since(before);
        let full =
            Duration::from_millis(100).saturating_mul(1 << try_number).min(Duration::from_secs(1));
        assert!(wait >= full / 2 && wait <= full, "try {try_number}: {wait:?} of {full:?}");
        *longest = wait.as_nanos();
        rig.advance(wait);
        rig.run("! connect 127.0.0.1:1");
    }
    assert!(
        longest.iter().any(|wait| wait % 50_000_000 != 0),
        "the waits are jittered: {longest:?}"
    );
    rig.come_up();
    rig.run(
        "+ 1s
        eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:1",
    );
}

#[test]
fn a_reconnect_that_is_asked_for_ends_the_wait_for_the_next_attempt() {
    let mut config = config("127.0.0.1:1");
    config.retry_first_connect = true;
    Rig::new(config).run(
        "! connect 127.0.0.1:1
        refused
        ! failed ...
        reconnect
        ! connect 127.0.0.1:1",
    );
}

#[test]
fn a_lost_server_is_tried_after_the_others() {
    let mut rig = Rig::up(config("127.0.0.1:1,127.0.0.1:2"));
    rig.run(
        "eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:2
        refused
        ! failed nats://127.0.0.1:2 could not connect: refused
        + 100ms
        ! connect 127.0.0.1:1",
    );
}

#[test]
fn without_reconnecting_the_first_loss_is_the_end() {
    let mut config = config("127.0.0.1");
    config.reconnect = false;
    let mut rig = Rig::up(config);
    rig.run(
        "eof
        ! closed no server left to try; the last one, nats://127.0.0.1:4222: the server closed the connection; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn a_server_that_fails_too_often_is_given_up() {
    let mut config = config("127.0.0.1:1");
    config.max_attempts = Some(2);
    let mut rig = Rig::up(config);
    rig.run(
        "eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:1
        refused
        ! failed nats://127.0.0.1:1 could not connect: refused
        + 100ms
        ! connect 127.0.0.1:1
        refused
        ! failed nats://127.0.0.1:1 could not connect: refused
        ! closed no server left to try; the last one, nats://127.0.0.1:1: could not connect: refused; confirmed -; unknown -; kept -; dropped -",
    );
}

#[test]
fn only_failures_in_a_row_count() {
    let mut config = config("127.0.0.1:1");
    config.max_attempts = Some(2);
    let mut rig = Rig::up(config);
    for _ in 0..3 {
        rig.run(
            "+ 1s
            eof
            ! disconnected ...
            ! connect ...
            refused
            ! failed ...
            + 100ms
            ! connect 127.0.0.1:1",
        );
        rig.come_up();
    }
}

#[test]
fn the_first_connect_can_be_retried_like_any_other() {
    let mut config = config("127.0.0.1:1");
    config.retry_first_connect = true;
    let mut rig = Rig::new(config);
    rig.run(
        "! connect 127.0.0.1:1
        refused
        ! failed nats://127.0.0.1:1 could not connect: refused
        + 100ms
        ! connect 127.0.0.1:1",
    );
}

#[test]
fn attempts_before_the_first_connection_count_when_they_are_retried() {
    let mut config = config("127.0.0.1:1");
    config.retry_first_connect = true;
    config.max_attempts = Some(2);
    let mut rig = Rig::new(config);
    rig.run(
        "! connect 127.0.0.1:1
        refused
        ! failed nats://127.0.0.1:1 could not connect: refused
        + 100ms
        ! connect 127.0.0.1:1
        refused
        ! failed nats://127.0.0.1:1 could not connect: refused
        ! closed no server left to try...",
    );
}

#[test]
fn two_equal_authentication_errors_of_a_server_are_the_end_and_expiry_is_not() {
    let mut rig = Rig::up(config("127.0.0.1:1"));
    rig.run(
        "< -ERR 'User Authentication Expired'
        ! close
        ! server error: ...
        ! disconnected the server says: ...
        ! connect 127.0.0.1:1",
    );
    for last in [false, true] {
        rig.run(&format!(
            "connected
            < {INFO}
            > CONNECT ...
            > PING
            < -ERR 'Authorization Violation'
            ! close
            ! failed nats://127.0.0.1:1 the server says: ...
            {}",
            if last {
                "! closed not worth trying again..."
            } else {
                "+ 100ms\n! connect 127.0.0.1:1"
            }
        ));
    }
}

#[test]
fn an_error_that_trying_again_does_not_mend_is_the_end_at_once() {
    for error in ["Secure Connection - TLS Required", "Invalid Client Protocol"] {
        let mut config = config("127.0.0.1:1,127.0.0.1:2");
        config.retry_first_connect = true;
        Rig::new(config).run(&format!(
            "! connect 127.0.0.1:1
            connected
            < {INFO}
            > CONNECT ...
            > PING
            < -ERR '{error}'
            ! close
            ! failed ...
            ! closed not worth trying again..."
        ));
    }
}

#[test]
fn authentication_errors_end_nothing_when_they_are_to_be_ignored() {
    let mut config = config("127.0.0.1:1");
    config.ignore_auth_error_abort = true;
    let mut rig = Rig::up(config);
    rig.run("eof\n! disconnected ...\n! connect 127.0.0.1:1");
    for _ in 0..5 {
        rig.run(&format!(
            "connected
            < {INFO}
            > CONNECT ...
            > PING
            < -ERR 'Authorization Violation'
            ! close
            ! failed nats://127.0.0.1:1 the server says: ...
            + 5s
            ! connect 127.0.0.1:1"
        ));
    }
}

#[test]
fn servers_are_learnt_from_info_and_leave_with_it() {
    let mut rig = Rig::up(config("127.0.0.1:1"));
    rig.run(
        r#"< INFO {"connect_urls":["127.0.0.1:1","10.0.0.2:4222","[::1]:5"]}
        ! servers +nats://10.0.0.2:4222,nats://[::1]:5 - ignored 0
        < INFO {"connect_urls":["10.0.0.2:4222"]}
        ! servers + -nats://[::1]:5 ignored 0
        < INFO {"connect_urls":["10.0.0.2:4222"]}
        eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect 10.0.0.2:4222"#,
    );
}

#[test]
fn a_learnt_server_is_shown_the_credentials_of_the_url_it_was_learnt_from() {
    let mut rig = Rig::new(config("nats://joe:pw@127.0.0.1:1"));
    rig.run(
        r#"! connect 127.0.0.1:1
        connected
        < INFO {"connect_urls":["10.0.0.2:4222"]}
        > CONNECT ...
        > PING"#,
    );
    rig.run(
        "< PONG
        ! connected ...
        ! servers +nats://10.0.0.2:4222 - ignored 0
        eof
        ! disconnected ...
        ! connect 10.0.0.2:4222
        connected",
    );
    rig.feed(b"INFO {}\r\n");
    let sent = String::from_utf8(rig.sent()).unwrap();
    assert!(sent.contains(r#""user":"joe","pass":"pw""#), "{sent}");
}

#[test]
fn thousands_of_urls_in_info_are_cut_at_the_bound_and_said() {
    let urls: Vec<_> = (0..5000).map(|port| format!("\"10.0.0.1:{}\"", port + 1)).collect();
    let mut rig = Rig::up(config("127.0.0.1:1"));
    rig.feed(format!("INFO {{\"connect_urls\":[{}]}}\r\n", urls.join(",")).as_bytes());
    let log = rig.log();
    assert_eq!(log.len(), 1);
    assert!(log[0].ends_with("ignored 4744"), "{}", &log[0][log[0].len() - 40..]);
    assert_eq!(log[0].matches("nats://").count(), 256);
}

#[test]
fn max_servers_bounds_what_is_learnt_and_what_is_kept_of_info() {
    let mut config = config("127.0.0.1:1");
    config.max_servers = 2;
    let mut rig = Rig::up(config);
    let urls: Vec<_> = (0..500).map(|port| format!("\"10.0.0.1:{}\"", port + 1)).collect();
    rig.feed(format!("INFO {{\"connect_urls\":[{}]}}\r\n", urls.join(",")).as_bytes());
    let log = rig.log();
    assert!(log[0].ends_with("ignored 498"), "{}", &log[0][log[0].len() - 40..]);
    assert_eq!(log[0].matches("nats://").count(), 2);
    let info = rig.connection.server_info().unwrap();
    assert_eq!((info.connect_urls.len(), info.urls_dropped), (2, 498));
}

#[test]
fn that_urls_are_ignored_is_said_also_when_nothing_else_changes() {
    let mut config = config("127.0.0.1:1");
    config.max_servers = 1;
    let mut rig = Rig::up(config);
    rig.run(
        r#"< INFO {"connect_urls":["10.0.0.1:1"]}
        ! servers +nats://10.0.0.1:1 - ignored 0
        < INFO {"connect_urls":["10.0.0.1:1","10.0.0.1:2"]}
        ! servers + - ignored 1"#,
    );
}

#[test]
fn discovered_servers_are_ignored_on_request() {
    let mut config = config("127.0.0.1:1");
    config.ignore_discovered = true;
    let mut rig = Rig::up(config);
    rig.run(r#"< INFO {"connect_urls":["10.0.0.2:4222"]}"#);
}

#[test]
fn the_pool_can_be_replaced_without_touching_the_connection() {
    let mut rig = Rig::up(config("127.0.0.1:1"));
    rig.run(
        "servers 127.0.0.1:7 127.0.0.1:8
        eof
        ! disconnected the server closed the connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:7",
    );
}

#[test]
fn lame_duck_is_said_once_a_connection() {
    let mut rig = Rig::up(config("127.0.0.1:1"));
    rig.run(
        r#"< INFO {"ldm":true}
        ! lame duck
        < INFO {"ldm":true}"#,
    );
}

#[test]
fn servers_are_shuffled_unless_their_order_is_retained() {
    let servers: Vec<_> = (1..=9).map(|port| format!("127.0.0.1:{port}")).collect();
    let mut config = config(&servers.join(","));
    config.retain_order = false;
    let first: BTreeSet<_> = (0..20)
        .map(|seed| {
            config.seed = [seed; 32];
            Rig::new(config.clone()).log()[0].clone()
        })
        .collect();
    assert!(first.len() > 3, "{first:?}");
}

#[test]
fn lame_duck_is_said_once_though_the_first_info_says_it_already() {
    let mut rig = Rig::new(config("127.0.0.1:1"));
    rig.run(
        "! connect 127.0.0.1:1
        connected
        < INFO {\"ldm\":true}
        > CONNECT ...
        > PING
        < PONG
        ! connected ...
        ! lame duck
        < INFO {\"ldm\":true}
        eof
        ! disconnected ...
        ! connect 127.0.0.1:1
        connected
        < INFO {\"ldm\":true}
        > CONNECT ...
        > PING
        < PONG
        ! connected ...
        ! lame duck",
    );
}

const LAME: &str = r#"< INFO {"max_payload":1048576,"headers":true,"ldm":true"#;

#[test]
fn a_lame_duck_is_left_within_the_given_time_for_a_server_that_is_known() {
    let mut config = config("127.0.0.1:1,127.0.0.1:2");
    config.leave_lame_duck = Some(Duration::from_secs(8));
    config.move_timeout = Duration::from_secs(10);
    let mut rig = Rig::up(config);
    rig.run(&format!("{LAME}}}\n! lame duck\n{LAME}}}"));
    rig.advance(Duration::from_secs(8));
    rig.run(
        "> PING
        < PONG
        ! close
        ! disconnected the caller asked for another connection; unknown -; kept -; dropped -
        ! connect 127.0.0.1:2
        refused
        ! failed nats://127.0.0.1:2 could not connect: refused
        + 100ms
        ! connect 127.0.0.1:1",
    );
}

#[test]
fn lame_ducks_are_left_at_different_times() {
    let times = (0..20u8).map(|seed| {
        let mut config = config("127.0.0.1:1,127.0.0.1:2");
        config.leave_lame_duck = Some(Duration::from_secs(8));
        config.seed = [seed; 32];
        let mut rig = Rig::up(config);
        rig.run(&format!("{LAME}}}\n! lame duck"));
        let begun = rig.now;
        rig.wait.until.expect("it is left some time").saturating_since(begun)
    });
    let times: BTreeSet<_> = times.collect();
    assert!(times.len() == 20 && times.iter().all(|time| *time <= Duration::from_secs(8)));
    assert!(*times.last().unwrap() - *times.first().unwrap() > Duration::from_secs(4));
}

#[test]
fn a_lame_duck_is_kept_when_no_other_server_is_known_or_nobody_asked() {
    for asked in [true, false] {
        let mut config = config(if asked { "127.0.0.1" } else { "127.0.0.1,127.0.0.2" });
        config.leave_lame_duck = asked.then_some(Duration::from_secs(8));
        let mut rig = Rig::up(config);
        rig.run(&format!("{LAME}}}\n! lame duck\n+ 60s"));
        assert!(rig.connection.is_connected());
    }
}

#[test]
fn the_time_to_leave_a_lame_duck_is_over_with_its_connection() {
    let mut config = config("127.0.0.1:1,127.0.0.1:2");
    config.leave_lame_duck = Some(Duration::from_secs(8));
    let mut rig = Rig::new(config);
    rig.run(&format!(
        "! connect 127.0.0.1:1
        connected
        {LAME}}}
        > CONNECT ...
        > PING
        < PONG
        ! connected ...
        ! lame duck
        eof
        ! disconnected ...
        ! connect 127.0.0.1:2"
    ));
    rig.come_up();
    rig.run("+ 60s");
    assert!(rig.connection.is_connected());
}

#[test]
fn two_authentication_errors_with_something_else_between_are_not_two_in_a_row() {
    let mut config = config("127.0.0.1:1");
    config.retry_first_connect = true;
    for between in
        ["eof\n! failed ...", "< -ERR 'User Authentication Expired'\n! close\n! failed ..."]
    {
        let mut rig = Rig::new(config.clone());
        let attempt = "! connect 127.0.0.1:1\nconnected\n< INFO {}\n> CONNECT ...\n> PING";
        let refused = "< -ERR 'Authorization Violation'\n! close\n! failed ...";
        rig.run(&format!(
            "{attempt}\n{refused}\n+ 5s\n{attempt}\n{between}\n+ 5s\n{attempt}\n{refused}"
        ));
        assert!(rig.connection.next_attempt().is_some(), "{between}");
    }
}

#[test]
fn a_server_that_lost_its_patience_is_tried_on() {
    for error in ["Authentication Timeout", "Failed Account Registration"] {
        let mut config = config("127.0.0.1:1");
        config.retry_first_connect = true;
        let mut rig = Rig::new(config);
        for _ in 0..3 {
            rig.run(&format!(
                "! connect 127.0.0.1:1
                connected
                < INFO {{}}
                > CONNECT ...
                > PING
                < -ERR '{error}'
                ! close
                ! failed ..."
            ));
            rig.advance(Duration::from_secs(5));
        }
        rig.run("! connect 127.0.0.1:1");
    }
}

#[test]
fn a_lame_duck_is_left_when_another_server_becomes_known_later() {
    let mut config = config("127.0.0.1:1");
    config.leave_lame_duck = Some(Duration::from_secs(8));
    let mut rig = Rig::up(config);
    rig.run(&format!("{LAME}}}\n! lame duck\n+ 60s"));
    rig.run(&format!(
        "{LAME},\"connect_urls\":[\"127.0.0.1:2\"]}}\n! servers +nats://127.0.0.1:2 - ignored 0"
    ));
    rig.advance(Duration::from_secs(8));
    rig.run("> PING\n< PONG\n! close\n! disconnected ...\n! connect 127.0.0.1:2");
}

#[test]
fn a_server_that_is_no_lame_duck_is_not_left_when_another_becomes_known() {
    let mut config = config("127.0.0.1:1");
    config.leave_lame_duck = Some(Duration::from_secs(8));
    let mut rig = Rig::up(config);
    rig.run("< INFO {\"connect_urls\":[\"127.0.0.1:2\"]}\n! servers ...\n+ 60s");
}

#[test]
fn a_websocket_learns_the_addresses_of_websockets_and_keeps_its_scheme() {
    let info = r#"< INFO {"connect_urls":["10.0.0.2:4222"],"ws_connect_urls":["10.0.0.2:8080"]}"#;
    for (scheme, connected) in [("ws", "connected"), ("wss", "connected-secure")] {
        let mut rig = Rig::new(config(&format!("{scheme}://127.0.0.1:1/path")));
        rig.run(&format!(
            "! connect 127.0.0.1:1
            {connected}
            {info}
            > CONNECT ...
            > PING
            < PONG
            ! connected ...
            ! servers +{scheme}://10.0.0.2:8080/path - ignored 0
            eof
            ! disconnected ...
            ! connect 10.0.0.2:8080"
        ));
    }
}

#[test]
fn addresses_of_websockets_are_for_websockets() {
    let both = r#"{"connect_urls":["10.0.0.2:4222"],"ws_connect_urls":["10.0.0.2:8080"]}"#;
    Rig::up(config("127.0.0.1:1"))
        .run(&format!("< INFO {both}\n! servers +nats://10.0.0.2:4222 - ignored 0"));
    let mut rig = Rig::up(config("ws://127.0.0.1:1"));
    rig.run(
        "< INFO {\"connect_urls\":[\"10.0.0.2:8080\"]}
        ! servers +ws://10.0.0.2:8080 - ignored 0",
    );
}

#[test]
fn the_server_in_use_stays_though_info_no_longer_names_it() {
    let mut rig = Rig::up(config("127.0.0.1:1"));
    rig.run(
        "< INFO {\"connect_urls\":[\"127.0.0.1:2\",\"127.0.0.1:3\"]}
        ! servers ...
        eof
        ! disconnected ...
        ! connect 127.0.0.1:2",
    );
    rig.come_up();
    rig.run(
        "< INFO {\"connect_urls\":[\"127.0.0.1:4\"]}
        ! servers +nats://127.0.0.1:4 -nats://127.0.0.1:3 ignored 0
        servers 127.0.0.1:7
        < INFO {\"connect_urls\":[\"127.0.0.1:8\"]}
        ! servers +nats://127.0.0.1:8 - ignored 0
        < INFO {\"connect_urls\":[\"127.0.0.1:9\"]}
        ! servers +nats://127.0.0.1:9 -nats://127.0.0.1:8 ignored 0",
    );
}

#[test]
fn the_server_in_use_counts_among_those_that_were_learnt() {
    let mut config = config("127.0.0.1:1");
    config.max_servers = 2;
    let mut rig = Rig::up(config);
    rig.run(
        "< INFO {\"connect_urls\":[\"127.0.0.1:2\"]}
        ! servers ...
        eof
        ! disconnected ...
        ! connect 127.0.0.1:2",
    );
    rig.come_up();
    rig.run(
        "< INFO {\"connect_urls\":[\"127.0.0.1:3\",\"127.0.0.1:4\"]}
        ! servers +nats://127.0.0.1:3 - ignored 1",
    );
}

#[test]
fn learnt_servers_are_shuffled_when_some_are_new_and_only_then() {
    let urls: Vec<_> = (1..=9).map(|port| format!("\"10.0.0.1:{port}\"")).collect();
    let info = format!("INFO {{\"connect_urls\":[{}]}}\r\n", urls.join(","));
    let next = |seed: u8, times: usize| {
        let mut config = config("127.0.0.1:1");
        config.retain_order = false;
        config.seed = [seed; 32];
        let mut rig = Rig::up(config);
        rig.feed(info.repeat(times).as_bytes());
        rig.log();
        rig.command("eof");
        rig.log()[1].clone()
    };
    let once: Vec<_> = (0..20).map(|seed| next(seed, 1)).collect();
    assert!(once.iter().collect::<BTreeSet<_>>().len() > 3, "{once:?}");
    assert_eq!((0..20).map(|seed| next(seed, 2)).collect::<Vec<_>>(), once);
}
