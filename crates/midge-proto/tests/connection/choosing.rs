//! Which server is tried next, and when, as the caller says.

use std::time::Duration;

use midge_proto::{Config, Output, ServerUrl, Timer};

use crate::rig::{Rig, config};

fn choosing(servers: &str) -> Config {
    let mut config = config(servers);
    config.choose_server = true;
    config.retry_first_connect = true;
    config
}

#[test]
fn the_caller_says_where_each_attempt_goes_to_and_when() {
    let mut rig = Rig::new(choosing("127.0.0.1,127.0.0.2,127.0.0.3"));
    rig.run(
        "! next 127.0.0.1,127.0.0.2,127.0.0.3 failed 0 wait 0 ms: -
        choose 127.0.0.3
        ! connect 127.0.0.3:4222
        refused
        ! failed nats://127.0.0.3:4222 could not connect: refused
        ! next 127.0.0.1,127.0.0.2,127.0.0.3 failed 1 wait ...",
    );
    rig.run("choose 127.0.0.2 3s\n+ 2999ms\n+ 1ms\n! connect 127.0.0.2:4222");
    rig.come_up();
    rig.run(
        "eof
        ! disconnected ...
        ! next 127.0.0.1,127.0.0.3,127.0.0.2 failed 0 wait 0 ms: the server closed the connection
        choose 127.0.0.2 0s
        ! connect 127.0.0.2:4222",
    );
}

#[test]
fn without_a_word_the_default_choice_and_wait_are_taken() {
    let mut rig = Rig::new(choosing("127.0.0.1,127.0.0.2"));
    rig.run(
        "! next ...
        choose -
        ! connect 127.0.0.1:4222
        refused
        ! failed ...
        ! next ...
        choose 127.0.0.9",
    );
    let wait = rig.connection.next_attempt().unwrap().saturating_since(rig.now);
    assert!(wait >= Duration::from_millis(50) && wait <= Duration::from_millis(100), "{wait:?}");
    rig.run("+ 100ms\n! connect 127.0.0.2:4222");
}

#[test]
fn a_question_that_is_not_answered_holds_nothing_up_for_longer_than_an_attempt() {
    let mut rig = Rig::new(choosing("127.0.0.1"));
    rig.run("! next ...");
    assert_eq!(rig.wait.reason, Some(Timer::Attempt));
    rig.run("+ 4999ms\n+ 1ms\n! connect 127.0.0.1:4222");
}

#[test]
fn a_late_answer_changes_nothing() {
    let mut rig = Rig::new(choosing("127.0.0.1,127.0.0.2"));
    let old = rig.attempt.unwrap();
    rig.run("! next ...\nchoose -\n! connect 127.0.0.1:4222\nrefused\n! failed ...\n! next ...");
    let other = ServerUrl::parse("127.0.0.1").unwrap();
    rig.connection.next_server(old, Some(&other), Some(Duration::ZERO), rig.now);
    assert!(matches!(rig.connection.poll(rig.now), Output::Idle(wait) if wait == rig.wait));
}

#[test]
fn new_servers_make_a_new_question() {
    let mut rig = Rig::new(choosing("127.0.0.1"));
    rig.run(
        "! next 127.0.0.1 ...
        servers 127.0.0.7 127.0.0.8
        ! next 127.0.0...
        choose 127.0.0.8
        ! connect 127.0.0.8:4222",
    );
}

#[test]
fn what_is_closed_is_not_asked_for() {
    let mut rig = Rig::new(choosing("127.0.0.1"));
    rig.run("! next ...\nclose 0s\n! closed ...");
}

#[test]
fn the_failures_and_the_next_attempt_are_told() {
    let mut config = config("127.0.0.1");
    config.retry_first_connect = true;
    let mut rig = Rig::new(config);
    assert_eq!((rig.connection.failed_attempts(), rig.connection.next_attempt()), (0, None));
    rig.run("! connect ...\nrefused\n! failed ...");
    assert_eq!(rig.connection.failed_attempts(), 1);
    assert_eq!(rig.connection.next_attempt(), rig.wait.until);
    rig.run("+ 100ms\n! connect ...");
    assert_eq!((rig.connection.failed_attempts(), rig.connection.next_attempt()), (1, None));
    rig.come_up();
    assert_eq!(rig.connection.failed_attempts(), 0);
}

#[test]
fn connections_that_are_lost_as_soon_as_they_are_up_are_made_again_at_once_only_once() {
    let mut config = config("127.0.0.1");
    config.reconnect_jitter = Duration::ZERO;
    let mut rig = Rig::new(config);
    rig.run("! connect ...");
    for _ in 0..2 {
        rig.come_up();
        rig.run("eof\n! disconnected ...\n! connect ...");
        rig.come_up();
        for longest in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            rig.run("eof\n! disconnected ...");
            let wait = rig.connection.next_attempt().unwrap().saturating_since(rig.now);
            let longest = Duration::from_millis(longest);
            assert!(wait >= longest / 2 && wait <= longest, "{wait:?}, not up to {longest:?}");
            rig.run(&format!("+ {}ms\n! connect ...", longest.as_millis()));
            rig.come_up();
        }
        // A failed attempt goes on where they were.
        rig.run("eof\n! disconnected ...\n+ 5s\n! connect ...\nrefused\n! failed ...");
        let wait = rig.connection.next_attempt().unwrap().saturating_since(rig.now);
        assert!(wait >= Duration::from_millis(2500), "{wait:?}");
        rig.run("+ 5s\n! connect ...");
        // One that lasts is lost like the first.
        rig.come_up();
        rig.run("+ 5s\neof\n! disconnected ...\n! connect ...");
    }
}

#[test]
fn who_asks_for_another_connection_gets_it_at_once_however_often() {
    let mut rig = Rig::new(config("127.0.0.1"));
    rig.run("! connect ...");
    for _ in 0..3 {
        rig.come_up();
        rig.run("reconnect\n> PING\n< PONG\n! close\n! disconnected ...\n! connect ...");
    }
}

/// The longest of many waits before the second attempt.
fn longest_wait(server: &str, jitter: Duration, jitter_tls: Duration) -> Duration {
    let wait = |seed| {
        let mut config = config(server);
        config.seed = [seed; 32];
        config.retry_first_connect = true;
        config.reconnect_wait = Duration::from_millis(100);
        config.reconnect_jitter = jitter;
        config.reconnect_jitter_tls = jitter_tls;
        let mut rig = Rig::new(config);
        rig.run("! connect ...\nrefused\n! failed ...");
        let wait = rig.connection.next_attempt().unwrap().saturating_since(rig.now);
        assert!(wait >= Duration::from_millis(50));
        wait
    };
    (1..=64).map(wait).max().unwrap()
}

#[test]
fn each_wait_is_longer_by_a_random_time_which_is_another_one_with_tls() {
    let [none, second, minute] = [0, 1, 60].map(Duration::from_secs);
    assert!(longest_wait("127.0.0.1", none, minute) <= Duration::from_millis(100));
    let plain = longest_wait("127.0.0.1", second, minute);
    assert!(plain > second / 2 && plain <= second + Duration::from_millis(100), "{plain:?}");
    for url in ["tls://127.0.0.1", "wss://127.0.0.1"] {
        let tls = longest_wait(url, second, minute);
        assert!(tls > minute / 2 && tls <= minute + Duration::from_millis(100), "{tls:?}");
    }
}

/// All the waits before the second attempt, of many clients that lose their server together.
#[test]
fn by_default_a_herd_spreads_over_a_second_after_its_first_attempt() {
    let waits = (1..=64).map(|seed| {
        let server = ServerUrl::parse("127.0.0.1").unwrap();
        let mut rig = Rig::new(Config::new(vec![server], [seed; 32]));
        rig.run("! connect ...");
        rig.come_up();
        rig.run("eof\n! disconnected ...\n! connect ...\nrefused\n! failed ...");
        rig.connection.next_attempt().unwrap().saturating_since(rig.now)
    });
    let waits: Vec<Duration> = waits.collect();
    let (shortest, longest) = (waits.iter().min().unwrap(), waits.iter().max().unwrap());
    assert!(*shortest >= Duration::from_millis(50) && *longest <= Duration::from_millis(1100));
    assert!(*longest - *shortest > Duration::from_millis(800), "{shortest:?} to {longest:?}");
}
