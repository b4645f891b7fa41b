//! The judge finds what must not be, and knows each cause that core NATS has.

#![allow(clippy::single_range_in_vec_init, reason = "one range of positions is meant")]

use super::*;

/// Ten messages of one publisher, numbered by their positions, sent at the moments 100 to 109 on
/// one connection to the server `A`; one subscriber there that got all of them.
fn quiet() -> History {
    let sent = (0..10).map(|number| Sent { position: number, at: 100 + number }).collect();
    let report = Counts { confirmed: 10, ..Counts::default() };
    let publisher = Published { sent, epochs: vec![connection("A", 10)], report };
    let epochs = vec![SubscriberEpoch { server: "A".to_owned(), up: 10 }];
    let got = (0..10).map(|number| got(number, 0)).collect();
    let subscriber = Received { hears: vec![0], epochs, got };
    History { publishers: vec![publisher], subscribers: vec![subscriber], ..History::default() }
}

fn connection(server: &str, up: Moment) -> PublisherEpoch {
    PublisherEpoch { server: server.to_owned(), up, ..PublisherEpoch::default() }
}

fn got(number: usize, epoch: usize) -> Got {
    Got { publisher: 0, number, first: epoch, last: epoch }
}

/// The first connection of the publisher ends behind the message `end - 1`, and another to
/// `server` follows.
fn publisher_moves(history: &mut History, end: u64, server: &str, up: Moment) {
    let epochs = &mut history.publishers[0].epochs;
    epochs[0].lost = Some(Lost { end, ..Lost::default() });
    epochs.push(connection(server, up));
}

/// The first connection of the subscriber ends behind the message `behind`, and those behind
/// `missing` come on another one to `server`.
fn subscriber_moves(history: &mut History, behind: usize, missing: usize, server: &str, up: u64) {
    let subscriber = &mut history.subscribers[0];
    subscriber.epochs.push(SubscriberEpoch { server: server.to_owned(), up });
    subscriber.got = (0..=behind).map(|number| got(number, 0)).collect();
    subscriber.got.extend((behind + missing + 1..10).map(|number| got(number, 1)));
}

fn misses(history: &mut History, numbers: Range<usize>) {
    history.subscribers[0].got.retain(|got| !numbers.contains(&got.number));
}

fn tally(arrived: u64) -> Tally {
    Tally { arrived, ..Tally::default() }
}

fn unexplained(history: &History) -> Vec<usize> {
    let findings = history.check().expect_err("something is missing");
    let number = |finding| match finding {
        Finding::Unexplained { number, .. } => number,
        other => panic!("{other}"),
    };
    findings.into_iter().map(number).collect()
}

#[test]
fn a_quiet_run_has_no_findings() {
    assert_eq!(quiet().check(), Ok(tally(10)));
}

#[test]
fn a_missing_message_without_a_fault_is_found() {
    for missing in [0..1, 4..6, 9..10] {
        let mut history = quiet();
        misses(&mut history, missing.clone());
        assert_eq!(unexplained(&history), missing.collect::<Vec<_>>());
    }
}

#[test]
fn a_duplicate_is_found_on_the_same_connection_and_on_another() {
    for epoch in 0..2 {
        let mut history = quiet();
        subscriber_moves(&mut history, 7, 0, "A", 105);
        history.subscribers[0].got.push(got(3, epoch));
        let found = Finding::Duplicate { subscriber: 0, publisher: 0, number: 3 };
        assert_eq!(history.check(), Err(vec![found]));
    }
}

#[test]
fn a_server_that_stood_still_may_pass_on_what_it_had_delivered() {
    let moved = |to: &str| {
        let mut history = quiet();
        subscriber_moves(&mut history, 7, 0, to, 105);
        history.subscribers[0].got.push(got(3, 1));
        history
    };
    assert!(moved("B").check().is_err(), "it did not stand still");
    for (to, fine) in [("B", true), ("A", false)] {
        let mut history = moved(to);
        history.stopped.insert("A".to_owned());
        assert_eq!(history.check().is_ok(), fine, "{to}");
    }
}

#[test]
fn a_reorder_is_found_within_a_connection_of_the_publisher_and_none_between_two() {
    let mut history = quiet();
    history.subscribers[0].got.swap(4, 5);
    let found = Finding::Reordered { subscriber: 0, publisher: 0, number: 4, after: 5 };
    assert_eq!(history.check(), Err(vec![found]));
    publisher_moves(&mut history, 5, "A", 50);
    assert_eq!(history.check(), Ok(tally(10)));
}

#[test]
fn what_was_never_published_or_is_for_others_or_was_dropped_is_found() {
    let invented = |number| Finding::Invented { subscriber: 0, publisher: 0, number };
    let mut history = quiet();
    history.subscribers[0].got.push(got(10, 0));
    assert_eq!(history.check(), Err(vec![invented(10)]));
    history.subscribers[0].got = vec![got(3, 0)];
    history.subscribers[0].hears.clear();
    assert_eq!(history.check(), Err(vec![invented(3)]));
    let mut history = quiet();
    publisher_moves(&mut history, 10, "A", 200);
    let published = &mut history.publishers[0];
    published.epochs[0].lost.as_mut().expect("it was").dropped = vec![8..9];
    published.epochs[1].dropped = vec![9..10];
    published.epochs[0].lost.as_mut().expect("it was").kept = vec![9..10];
    published.report = Counts { confirmed: 8, dropped: 2, ..Counts::default() };
    assert_eq!(history.check(), Err(vec![invented(8), invented(9)]));
    misses(&mut history, 8..10);
    assert_eq!(history.check(), Ok(Tally { unsent: 2, ..tally(8) }));
}

#[test]
fn a_report_that_does_not_add_up_is_found() {
    let mut history = quiet();
    let told = Counts { confirmed: 9, unknown: 1, ..Counts::default() };
    let found = history.publishers[0].report;
    history.publishers[0].report = told;
    assert_eq!(history.check(), Err(vec![Finding::Miscounted { publisher: 0, told, found }]));
}

#[test]
fn only_messages_in_an_unknown_range_may_be_missing_for_that() {
    let mut history = quiet();
    publisher_moves(&mut history, 8, "A", 50);
    let published = &mut history.publishers[0];
    published.epochs[0].lost.as_mut().expect("it was").unknown = vec![3..5];
    published.report = Counts { confirmed: 8, unknown: 2, ..Counts::default() };
    assert_eq!(history.check(), Ok(tally(10)));
    misses(&mut history, 3..5);
    assert_eq!(history.check(), Ok(Tally { unknown: 2, ..tally(8) }));
    misses(&mut history, 2..6);
    assert_eq!(unexplained(&history), [2, 5]);
}

#[test]
fn a_kept_message_must_arrive_although_its_connection_was_lost() {
    let mut history = quiet();
    publisher_moves(&mut history, 8, "A", 50);
    history.publishers[0].epochs[0].lost.as_mut().expect("it was").kept = vec![6..8];
    misses(&mut history, 6..7);
    assert_eq!(unexplained(&history), [6]);
}

#[test]
fn a_gap_is_between_two_connections_of_the_subscriber() {
    // The messages 4 and 5 were sent before the moment 106.
    let mut history = quiet();
    subscriber_moves(&mut history, 3, 2, "A", 106);
    assert_eq!(history.check(), Ok(Tally { gap: 2, ..tally(8) }));
    // It was up when 5 was sent.
    history.subscribers[0].epochs[1].up = 105;
    assert_eq!(unexplained(&history), [5]);
    // 2 came and 3 came on the same connection.
    let mut history = quiet();
    subscriber_moves(&mut history, 5, 2, "A", 108);
    misses(&mut history, 2..3);
    assert_eq!(unexplained(&history), [2]);
    // And behind the new one nothing may be missing either.
    let mut history = quiet();
    subscriber_moves(&mut history, 3, 2, "A", 200);
    misses(&mut history, 8..9);
    assert_eq!(unexplained(&history), [8]);
}

#[test]
fn a_gap_does_not_excuse_what_was_sent_once_the_subscriber_was_back() {
    let mut history = quiet();
    subscriber_moves(&mut history, 3, 2, "A", 106);
    publisher_moves(&mut history, 4, "A", 107);
    history.publishers[0].epochs[1].opened = 107;
    assert_eq!(unexplained(&history), [4, 5]);
}

#[test]
fn a_gap_of_which_it_is_not_certain_where_it_began_excuses() {
    let mut history = quiet();
    subscriber_moves(&mut history, 5, 2, "A", 108);
    // Whether 5 came before or after the loss was not seen.
    history.subscribers[0].got[5].last = 1;
    misses(&mut history, 4..5);
    assert_eq!(history.check(), Ok(Tally { gap: 3, ..tally(7) }));
}

#[test]
fn a_killed_server_may_take_the_tail_of_what_went_to_other_servers() {
    let mut history = quiet();
    publisher_moves(&mut history, 6, "C", 90);
    misses(&mut history, 4..6);
    // To the subscriber at the same server nothing crosses a route.
    history.ended.insert("A".to_owned());
    assert_eq!(unexplained(&history), [4, 5]);
    history.subscribers[0].epochs[0].server = "B".to_owned();
    assert_eq!(history.check(), Ok(Tally { killed: 2, ..tally(8) }));
    // It is no tail when something behind it came.
    let mut inside = history.clone();
    misses(&mut inside, 2..3);
    assert_eq!(unexplained(&inside), [2]);
    // A server that was not ended passes everything on.
    history.ended.clear();
    assert_eq!(unexplained(&history), [4, 5]);
}

#[test]
fn the_head_between_two_servers_may_be_missing_until_they_know_of_each_other() {
    let mut history = quiet();
    history.subscribers[0].epochs[0].server = "B".to_owned();
    publisher_moves(&mut history, 4, "C", 90);
    misses(&mut history, 4..6);
    history.settled = vec![50, 106];
    assert_eq!(history.check(), Ok(Tally { untold: 2, ..tally(8) }));
    // They did know when 5 was sent.
    history.settled = vec![50, 105];
    assert_eq!(unexplained(&history), [5]);
    // At the same server there is nothing to tell.
    history.settled = vec![106];
    history.subscribers[0].epochs[0].server = "C".to_owned();
    assert_eq!(unexplained(&history), [4, 5]);
    // It is no head when something before it came.
    history.subscribers[0].epochs[0].server = "B".to_owned();
    history.subscribers[0].got.insert(4, got(4, 0));
    assert_eq!(unexplained(&history), [5]);
}

#[test]
fn the_head_of_a_new_connection_of_the_subscriber_may_be_missing_likewise() {
    let mut history = quiet();
    subscriber_moves(&mut history, 3, 2, "B", 104);
    history.settled = vec![200];
    assert_eq!(history.check(), Ok(Tally { untold: 2, ..tally(8) }));
    history.subscribers[0].epochs[1].server = "A".to_owned();
    assert_eq!(unexplained(&history), [4, 5]);
}
