//! The window of a publisher against a stream that is two vectors.

use std::collections::BTreeMap;
use std::time::Duration;

use midge_jetstream::{
    Answer, ErrorCode, PublishFailure, PublishOrder, PublishWindow, Report, WindowConfig,
    WindowOutput,
};
use midge_proto::{HeaderMap, Instant, Position, PublishError, SubjectRef};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);
const ID: &str = "Nats-Msg-Id";
const LAST: &str = "Nats-Expected-Last-Sequence";

/// What a stream does with messages that have ids.
#[derive(Default)]
struct Stream {
    ids: Vec<String>,
    known: BTreeMap<String, (u64, Instant)>,
}

impl Stream {
    fn store(&mut self, headers: &HeaderMap, now: Instant, window: Duration) -> String {
        let id = headers.get(ID).unwrap_or_default().to_owned();
        if let Some((seq, at)) = self.known.get(&id)
            && *at + window > now
        {
            return format!("{{\"stream\":\"S\",\"seq\":{seq},\"duplicate\": true}}");
        }
        let last = self.ids.len().to_string();
        if headers.get(LAST).is_some_and(|expected| expected != last) {
            return format!(
                "{{\"error\":{{\"code\":400,\"err_code\":10071,\"description\":\"wrong last sequence: {last}\"}},\"stream\":\"S\",\"seq\":0}}"
            );
        }
        self.ids.push(id.clone());
        let seq = self.ids.len() as u64;
        if !id.is_empty() {
            self.known.insert(id, (seq, now));
        }
        format!("{{\"stream\":\"S\",\"seq\":{seq}}}")
    }
}

/// A window, what it has sent, and what the stream has answered.
struct Rig {
    window: PublishWindow,
    config: WindowConfig,
    stream: Stream,
    now: Instant,
    position: u64,
    wire: Vec<(u64, HeaderMap, u64)>,
    reports: Vec<Report>,
}

fn subject(subject: &str) -> SubjectRef<'_> {
    SubjectRef::new(subject).expect("a subject")
}

fn config(order: PublishOrder) -> WindowConfig {
    WindowConfig {
        max_messages: 16,
        order,
        report_stored: true,
        ack_wait: SECOND,
        duplicate_window: 8 * SECOND,
        ..WindowConfig::default()
    }
}

impl Rig {
    fn new(config: WindowConfig) -> Self {
        let mut window = PublishWindow::new(config.clone(), "p-".into())
            .expect("a header may have these letters");
        window.connected();
        Self {
            window,
            config,
            stream: Stream::default(),
            now: Instant::from_nanos(1),
            position: 0,
            wire: Vec::new(),
            reports: Vec::new(),
        }
    }

    fn push(&mut self) -> u64 {
        self.window.push(subject("orders"), None, b"payload")
    }

    /// Does what the window says, until it is idle.
    fn turn(&mut self) -> Option<Instant> {
        for _ in 0..100_000 {
            match self.window.poll(self.now) {
                WindowOutput::Send(number) => {
                    let outgoing = self.window.outgoing(number).expect("it is there");
                    assert_eq!(
                        (outgoing.subject, outgoing.payload),
                        (subject("orders"), &b"payload"[..])
                    );
                    self.wire.push((outgoing.token, outgoing.headers.clone(), self.position));
                    self.window.sent(number, Position(self.position), self.now);
                    self.position += 1;
                }
                WindowOutput::Withdraw(number, position) => {
                    let waiting = self.wire.len();
                    self.wire.retain(|(_, _, at)| *at != position.0);
                    self.window.withdrawn(number, self.wire.len() < waiting, self.now);
                }
                WindowOutput::Idle(until) => {
                    assert!(until.is_none_or(|until| until > self.now), "{until:?} {:?}", self.now);
                    while let Some(report) = self.window.take_report() {
                        self.reports.push(report);
                    }
                    return until;
                }
            }
        }
        panic!("it never comes to rest");
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.turn();
    }

    /// The oldest message on the wire reaches the stream; its answer.
    fn arrive(&mut self) -> Option<(u64, String)> {
        if self.wire.is_empty() {
            return None;
        }
        let (token, headers, _) = self.wire.remove(0);
        Some((token, self.stream.store(&headers, self.now, self.config.duplicate_window)))
    }

    fn answer(&mut self, (token, payload): (u64, String)) {
        self.window.answered(token, Answer::Payload(payload.as_bytes()), self.now);
        self.turn();
    }

    /// All that is on the wire is stored and answered, until nothing is.
    fn serve(&mut self) {
        self.turn();
        while let Some(answer) = self.arrive() {
            self.answer(answer);
        }
    }

    fn refuse(&mut self) {
        if !self.wire.is_empty() {
            let (token, ..) = self.wire.remove(0);
            self.window.answered(token, Answer::NoResponders, self.now);
            self.turn();
        }
    }

    fn lose_connection(&mut self, never_sent: usize) {
        let sent = self.position - never_sent.min(self.wire.len()) as u64;
        self.wire.clear();
        self.window.disconnected(|position| position.0 >= sent);
        self.turn();
    }

    /// Nothing fails any more: everything comes to its end.
    fn heal(&mut self) {
        self.window.connected();
        for _ in 0..1000 {
            self.serve();
            if self.window.pending() == 0 {
                return;
            }
            let until = self.turn().expect("what is open has a deadline");
            self.now = until;
        }
        panic!("{} messages never end", self.window.pending());
    }

    fn stored(&self) -> Vec<(u64, u64)> {
        let stored = self.reports.iter().filter_map(|report| match report {
            Report::Stored { number, ack } => Some((*number, ack.seq)),
            _ => None,
        });
        stored.collect()
    }

    fn moved(&self) -> Vec<u64> {
        let moved = self.reports.iter().filter_map(|report| match report {
            Report::Moved { number, .. } => Some(*number),
            _ => None,
        });
        moved.collect()
    }

    fn order(&self) -> Vec<u64> {
        let number = |id: &String| id.strip_prefix("p-")?.parse().ok();
        self.stream.ids.iter().filter_map(number).collect()
    }
}

#[test]
fn many_are_on_their_way_and_each_is_reported() {
    let mut rig = Rig::new(config(PublishOrder::Sent));
    for number in 1..=16 {
        assert!(rig.window.has_room(100));
        assert_eq!(rig.push(), number);
    }
    assert!(!rig.window.has_room(1));
    rig.turn();
    assert_eq!((rig.wire.len(), rig.window.pending()), (16, 16));
    rig.serve();
    assert_eq!(rig.stored(), (1..=16).map(|number| (number, number)).collect::<Vec<_>>());
    assert_eq!((rig.window.pending(), rig.window.bytes()), (0, 0));
}

#[test]
fn bytes_are_bounded_and_one_message_always_has_room() {
    let mut rig = Rig::new(WindowConfig { max_bytes: 100, ..config(PublishOrder::Sent) });
    assert!(rig.window.has_room(1000));
    rig.window.push(subject("a"), None, &[b'x'; 1000]);
    assert!(!rig.window.has_room(0));

    // The id counts that each message gets.
    let most = 500;
    let mut rig = Rig::new(WindowConfig { max_bytes: most, ..config(PublishOrder::Sent) });
    while rig.window.has_room(1 + 10) {
        rig.window.push(subject("a"), None, &[b'x'; 10]);
    }
    assert!((most - 150..=most).contains(&rig.window.bytes()), "{}", rig.window.bytes());
}

#[test]
fn a_part_of_a_full_window_is_free_once_as_many_acks_came() {
    let mut rig = Rig::new(config(PublishOrder::Sent));
    while rig.window.has_room(1) {
        rig.push();
    }
    rig.turn();
    let free = |rig: &Rig| (rig.window.has_room(1), rig.window.has_part_free(1, 4));
    assert_eq!((rig.window.in_flight(), free(&rig)), (16, (false, false)));
    for expected in [(true, false), (true, false), (true, false), (true, true)] {
        let answer = rig.arrive().unwrap();
        rig.answer(answer);
        assert_eq!(free(&rig), expected);
    }
    let config = WindowConfig { max_messages: 1, max_bytes: 100, ..config(PublishOrder::Sent) };
    assert!(Rig::new(config).window.has_part_free(1000, 4), "an empty window");
}

#[test]
fn a_message_that_no_stream_took_comes_behind_those_sent_meanwhile_and_is_reported() {
    let mut rig = Rig::new(config(PublishOrder::Sent));
    for _ in 0..4 {
        rig.push();
    }
    rig.turn();
    let answer = rig.arrive().unwrap();
    rig.answer(answer);
    rig.refuse();
    rig.serve();
    assert_eq!(rig.order(), [1, 3, 4]);
    rig.wait(Duration::from_millis(249));
    assert_eq!(rig.wire.len(), 0);
    rig.wait(Duration::from_millis(1));
    rig.serve();
    assert_eq!(rig.order(), [1, 3, 4, 2]);
    assert_eq!(rig.moved(), [2]);
    assert_eq!(rig.window.pending(), 0);
}

#[test]
fn behind_a_gap_a_chain_is_sent_again_in_order() {
    let mut rig = Rig::new(config(PublishOrder::Chained));
    for _ in 0..5 {
        rig.push();
    }
    rig.turn();
    assert_eq!((rig.wire.len(), rig.wire[0].1.get(LAST)), (1, None));
    let answer = rig.arrive().unwrap();
    rig.answer(answer);
    assert_eq!((rig.wire.len(), rig.wire[3].1.get(LAST)), (4, Some("4")));
    rig.refuse();
    rig.serve();
    assert_eq!(rig.order(), [1]);
    rig.wait(Duration::from_millis(250));
    assert_eq!((rig.wire.len(), rig.wire[0].1.get(LAST)), (1, None));
    rig.serve();
    assert_eq!(rig.order(), [1, 2, 3, 4, 5]);
    assert!(rig.moved().is_empty());
}

#[test]
fn a_chain_goes_on_behind_what_is_stored_also_when_an_earlier_answer_comes_again() {
    let mut rig = Rig::new(config(PublishOrder::Chained));
    for _ in 0..3 {
        rig.push();
    }
    rig.turn();
    let answer = rig.arrive().unwrap();
    rig.answer(answer);
    // Both are stored, and the answer to the second comes with the next connection.
    rig.arrive().unwrap();
    let late = rig.arrive().unwrap();
    rig.lose_connection(0);
    rig.window.connected();
    rig.turn();
    rig.answer(late);
    rig.push();
    rig.push();
    rig.serve();
    assert_eq!(rig.order(), [1, 2, 3, 4, 5]);
    assert!(rig.moved().is_empty());
}

/// As of a process that stood still for longer than the time for acks: they come together, and after
/// the first message was sent again.
#[test]
fn a_chain_goes_on_behind_all_that_late_answers_tell() {
    let mut rig = Rig::new(config(PublishOrder::Chained));
    for _ in 0..4 {
        rig.push();
    }
    rig.turn();
    let answer = rig.arrive().unwrap();
    rig.answer(answer);
    let late: Vec<_> = std::iter::from_fn(|| rig.arrive()).collect();
    rig.wait(SECOND);
    assert_eq!((late.len(), rig.wire.len(), rig.wire[0].1.get(LAST)), (3, 1, None));
    for (token, payload) in late {
        rig.window.answered(token, Answer::Payload(payload.as_bytes()), rig.now);
    }
    for _ in 0..4 {
        rig.push();
    }
    rig.heal();
    assert_eq!(rig.order(), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert!(rig.moved().is_empty());
}

#[test]
fn a_chain_tells_what_somebody_else_has_moved() {
    let mut rig = Rig::new(config(PublishOrder::Chained));
    for _ in 0..4 {
        rig.push();
    }
    rig.turn();
    let answer = rig.arrive().unwrap();
    rig.stream.store(&HeaderMap::new(), rig.now, SECOND);
    rig.answer(answer);
    rig.heal();
    assert_eq!(rig.order(), [1, 3, 4, 2]);
    assert_eq!((rig.stored().len(), rig.moved()), (4, vec![2]));
}

#[test]
fn behind_a_message_that_is_refused_a_chain_goes_on() {
    let mut rig = Rig::new(config(PublishOrder::Chained));
    for _ in 0..3 {
        rig.push();
    }
    rig.turn();
    let (token, ..) = rig.wire.remove(0);
    let error = r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"stream":"S","seq":0}"#;
    rig.answer((token, error.into()));
    rig.heal();
    assert_eq!(rig.order(), [2, 3]);
    let Report::Failed { number: 1, failure: PublishFailure::Refused(_), message } =
        &rig.reports[0]
    else {
        panic!("{:?}", rig.reports)
    };
    assert_eq!(message.message_id(), Some("p-1"));
    assert_eq!((&*message.subject, &*message.payload), ("orders", &b"payload"[..]));
}

#[test]
fn a_chain_has_no_messages_whose_headers_it_would_overwrite_or_that_expect_nothing() {
    for (header, in_a_chain) in
        [(LAST, false), ("Nats-Incr", false), ("Nats-Expected-Stream", true)]
    {
        let mut headers = HeaderMap::new();
        headers.append(header, "1").unwrap();
        for order in [PublishOrder::Sent, PublishOrder::OneByOne] {
            assert_eq!(Rig::new(config(order)).window.check_headers(&headers), Ok(()));
        }
        let checked = Rig::new(config(PublishOrder::Chained)).window.check_headers(&headers);
        assert_eq!(checked.is_ok(), in_a_chain, "{checked:?}");
    }
}

#[test]
fn one_by_one_waits_for_each() {
    let mut rig = Rig::new(config(PublishOrder::OneByOne));
    for _ in 0..3 {
        rig.push();
    }
    rig.turn();
    assert_eq!(rig.wire.len(), 1);
    rig.refuse();
    assert_eq!(rig.wire.len(), 0);
    rig.wait(SECOND / 4);
    rig.serve();
    assert_eq!(rig.order(), [1, 2, 3]);
}

#[test]
fn what_no_stream_takes_fails_after_the_last_attempt() {
    for order in [PublishOrder::Sent, PublishOrder::Chained, PublishOrder::OneByOne] {
        let mut rig = Rig::new(config(order));
        rig.push();
        rig.push();
        rig.turn();
        for _ in 0..6 {
            rig.refuse();
            rig.refuse();
            rig.wait(SECOND / 4);
        }
        assert_eq!(rig.reports.len(), 2, "{order:?}");
        for report in &rig.reports {
            let Report::Failed { failure, .. } = report else { panic!("{report:?}") };
            assert!(matches!(failure, PublishFailure::NoStream { attempts: 3 }), "{failure}");
        }
    }
}

#[test]
fn an_answer_that_is_lost_is_asked_for_by_the_same_id() {
    let mut rig = Rig::new(config(PublishOrder::Sent));
    rig.push();
    rig.turn();
    rig.arrive();
    rig.wait(SECOND);
    assert_eq!(rig.wire.len(), 1);
    rig.serve();
    assert_eq!(rig.order(), [1]);
    let Report::Stored { ack, .. } = &rig.reports[0] else { panic!("it is stored") };
    assert!(ack.duplicate);
}

/// A server alone looks at what is expected before it looks at the id.
#[test]
fn a_refusal_that_a_message_may_have_caused_itself_is_no_proof_that_it_is_not_stored() {
    for order in [PublishOrder::Sent, PublishOrder::Chained, PublishOrder::OneByOne] {
        for (code, may_be_stored) in
            [(10071, true), (10164, true), (10070, true), (10077, true), (10054, false)]
        {
            let answer = format!("{{\"error\":{{\"code\":400,\"err_code\":{code}}}}}");
            let mut rig = Rig::new(config(order));
            for in_doubt in [false, true] {
                rig.push();
                rig.turn();
                if in_doubt {
                    rig.lose_connection(0);
                    rig.window.connected();
                    rig.turn();
                }
                let (token, ..) = rig.wire.remove(0);
                rig.answer((token, answer.clone()));
                let report = rig.reports.pop();
                let Some(Report::Failed { failure, .. }) = report else { panic!("{report:?}") };
                let unknown = matches!(failure, PublishFailure::Unknown);
                assert_eq!(unknown, in_doubt && may_be_stored, "{order:?} {code} {failure}");
            }
        }
    }
}

#[test]
fn behind_the_highest_number_a_chain_does_not_overflow() {
    let mut rig = Rig::new(config(PublishOrder::Chained));
    rig.push();
    rig.push();
    rig.turn();
    let (token, ..) = rig.wire.remove(0);
    rig.answer((token, format!("{{\"stream\":\"S\",\"seq\":{}}}", u64::MAX)));
    assert_eq!(rig.wire.len(), 1);
}

#[test]
fn a_late_answer_to_an_earlier_attempt_counts() {
    let mut rig = Rig::new(config(PublishOrder::Sent));
    rig.push();
    rig.turn();
    let late = rig.arrive().unwrap();
    rig.wait(SECOND);
    rig.answer(late);
    assert_eq!((rig.window.pending(), rig.stored().len()), (0, 1));
    rig.serve();
    assert_eq!(rig.stored().len(), 1);
}

#[test]
fn an_unknown_message_is_sent_again_only_while_its_id_is_known() {
    let mut rig = Rig::new(config(PublishOrder::Sent));
    rig.push();
    rig.turn();
    rig.lose_connection(0);
    rig.wait(5 * SECOND);
    assert_eq!(rig.reports.len(), 0);
    rig.wait(SECOND);
    let [Report::Failed { failure: PublishFailure::Unknown, .. }] = &rig.reports[..] else {
        panic!("{:?}", rig.reports)
    };
    rig.window.connected();
    rig.turn();
    assert_eq!(rig.wire.len(), 0);
}

#[test]
fn while_nobody_knows_for_how_long_ids_are_known_a_message_in_doubt_waits() {
    let unknown = WindowConfig { duplicate_window: Duration::MAX, ..config(PublishOrder::Sent) };
    let mut rig = Rig::new(unknown);
    rig.push();
    rig.turn();
    rig.lose_connection(0);
    rig.wait(3600 * SECOND);
    assert_eq!(rig.turn(), None, "it has no deadline");
    rig.push();
    rig.window.connected();
    assert_eq!(rig.window.poll(rig.now), WindowOutput::Send(1));
    assert!(rig.window.outgoing(1).expect("it is there").in_doubt);
    rig.window.limit_duplicates(2 * 3600 * SECOND);
    assert_eq!(rig.window.poll(rig.now), WindowOutput::Send(1), "it is known long enough");
    rig.window.limit_duplicates(3600 * SECOND);
    assert_eq!(rig.window.poll(rig.now), WindowOutput::Send(2));
    assert!(!rig.window.outgoing(2).expect("it is there").in_doubt);
    rig.turn();
    let [Report::Failed { number: 1, failure: PublishFailure::Unknown, .. }] = &rig.reports[..]
    else {
        panic!("{:?}", rig.reports)
    };
}

#[test]
fn a_message_that_was_never_sent_waits_for_any_time() {
    let mut rig = Rig::new(config(PublishOrder::Sent));
    rig.push();
    rig.turn();
    rig.lose_connection(1);
    rig.wait(3600 * SECOND);
    assert_eq!(rig.reports.len(), 0);
    rig.heal();
    assert_eq!(rig.order(), [1]);
}

#[test]
fn what_is_not_written_while_its_id_is_known_is_taken_back() {
    let mut rig = Rig::new(WindowConfig { ack_wait: 60 * SECOND, ..config(PublishOrder::Sent) });
    rig.push();
    rig.turn();
    rig.lose_connection(0);
    rig.now = rig.now + 5 * SECOND;
    rig.window.connected();
    rig.turn();
    assert_eq!(rig.wire.len(), 1);
    rig.now = rig.now + SECOND;
    assert_eq!(rig.window.poll(rig.now), WindowOutput::Withdraw(1, Position(1)));
    rig.window.withdrawn(1, true, rig.now);
    rig.turn();
    assert!(matches!(rig.reports[..], [Report::Failed { failure: PublishFailure::Unknown, .. }]));
}

#[test]
fn the_end_of_the_connection_ends_every_message() {
    let mut rig = Rig::new(config(PublishOrder::Sent));
    rig.push();
    rig.turn();
    rig.push();
    rig.window.closed(|_| false);
    rig.turn();
    let failures: Vec<_> = rig.reports.iter().map(|report| format!("{report:?}")).collect();
    assert!(failures[0].contains("Unknown") && failures[1].contains("NotSent"), "{failures:?}");
    assert_eq!(rig.window.pending(), 0);
}

#[test]
fn what_the_client_refuses_is_reported_and_stops_nothing() {
    let mut rig = Rig::new(config(PublishOrder::Chained));
    rig.push();
    rig.push();
    assert_eq!(rig.window.poll(rig.now), WindowOutput::Send(1));
    rig.window.not_sent(1, PublishError::HeadersUnsupported);
    rig.serve();
    assert_eq!(rig.order(), [2]);
    assert_eq!(rig.window.unread_failures(), 0);
    assert_eq!(rig.reports.len(), 2);
}

#[test]
fn nonsense_in_answers_changes_nothing_it_should_not() {
    let mut rig = Rig::new(config(PublishOrder::Sent));
    rig.push();
    rig.turn();
    for token in [0, 1, 5 << 16, u64::MAX, (1 << 16) + 1] {
        rig.window.answered(token, Answer::Payload(b"{\"stream\":\"S\",\"seq\":0}"), rig.now);
        rig.window.answered(token, Answer::NoResponders, rig.now);
    }
    rig.turn();
    assert_eq!(rig.window.pending(), 1);
    let token = rig.wire[0].0;
    rig.window.answered(token, Answer::Payload(b"nonsense"), rig.now);
    rig.turn();
    assert!(matches!(
        rig.reports[..],
        [Report::Failed { failure: PublishFailure::Malformed(_), .. }]
    ));
}

// ---- every answer in every state ---------------------------------------------------------

/// What an answer finds the message at that it is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Its outcome is known.
    Ended,
    /// Nothing is on its way that this could be the answer to.
    NotSent,
    /// On its way. `doubt`: not for the first time. `chained`: it expects the one before it.
    Sent { doubt: bool, chained: bool },
}

/// What an answer comes to: the message with that token, and what it is at.
fn states(order: PublishOrder) -> Vec<(&'static str, Rig, u64, At)> {
    let chained = order == PublishOrder::Chained;
    let pushed = |count: usize| {
        let mut rig = Rig::new(config(order));
        for _ in 0..count {
            rig.push();
        }
        rig
    };
    let sent = || {
        let mut rig = pushed(1);
        rig.turn();
        rig
    };
    let behind = |count: usize| {
        let mut rig = pushed(1);
        rig.serve();
        for _ in 0..count {
            rig.push();
        }
        rig.turn();
        rig
    };
    let first = 1 << 16;
    let mut refused = sent();
    refused.refuse();
    let mut again = sent();
    again.wire.clear();
    again.wait(SECOND);
    let mut late = sent();
    late.wire.clear();
    late.wait(SECOND);
    let mut disconnected = sent();
    disconnected.lose_connection(0);
    let mut not_written = sent();
    not_written.lose_connection(1);
    let mut failed = sent();
    failed.answer((first, "nonsense".to_owned()));
    let (refused_later, again_token) = (first + 1, again.wire[0].0);
    let mut states = vec![
        ("not sent yet", pushed(1), first, At::NotSent),
        ("sent", sent(), first, At::Sent { doubt: false, chained: false }),
        ("sent behind another", behind(1), 2 << 16, At::Sent { doubt: false, chained }),
        ("sent again", again, again_token, At::Sent { doubt: true, chained: false }),
        ("sent again, and this is to the first attempt", late, first, At::NotSent),
        ("waiting to be sent again", refused, first, At::NotSent),
        ("disconnected", disconnected, first, At::NotSent),
        ("disconnected before it was written", not_written, first, At::NotSent),
        ("stored", behind(0), first, At::Ended),
        ("failed", failed, first, At::Ended),
    ];
    let mut waiting = sent();
    waiting.refuse();
    states.push(("waiting, and this is to the next attempt", waiting, refused_later, At::NotSent));
    if order != PublishOrder::OneByOne {
        let mut both = behind(2);
        both.lose_connection(0);
        both.window.connected();
        both.turn();
        let answer = both.arrive().expect("it is sent again");
        both.answer(answer);
        let token = both.wire[0].0;
        let at = At::Sent { doubt: true, chained };
        states.push(("sent again behind another", both, token, at));
    }
    states
}

/// All that can be answered, and what becomes of a message that this is the answer to.
fn answers() -> Vec<(String, &'static str)> {
    let mut answers = vec![
        ("{\"stream\":\"S\",\"seq\":1}".to_owned(), "stored"),
        ("{\"stream\":\"S\",\"seq\":1,\"duplicate\":true}".to_owned(), "stored"),
        ("{\"stream\":\"another\",\"seq\":18446744073709551615}".to_owned(), "stored"),
        ("503".to_owned(), "again"),
    ];
    for malformed in
        ["", "nonsense", "{}", "[]", "{\"seq\":1}", "{\"stream\":\"S\",\"seq\":-1}", "+ACK"]
    {
        answers.push((malformed.to_owned(), "malformed"));
    }
    for code in ErrorCode::ALL.iter().map(|code| code.0).chain([0, 1, 65_535]) {
        let becomes = match code {
            10158 | 10167 => "again",
            10071 | 10164 => "gap",
            10070 | 10077 => "its own doing",
            _ => "refused",
        };
        answers.push((format!("{{\"error\":{{\"code\":400,\"err_code\":{code}}}}}"), becomes));
    }
    answers
}

#[test]
fn every_answer_in_every_state_ends_the_message_it_is_to_or_nothing_and_all_goes_on() {
    for order in [PublishOrder::Sent, PublishOrder::Chained, PublishOrder::OneByOne] {
        for (answer, becomes) in answers() {
            for (state, mut rig, token, at) in states(order) {
                let (number, case) = (token >> 16, format!("{answer} while {state}, {order:?}"));
                let outcome = |rig: &Rig| {
                    let mut outcomes = rig.reports.iter().filter_map(|report| match report {
                        Report::Stored { number: of, .. } if *of == number => Some("stored"),
                        Report::Failed { number: of, failure, .. } if *of == number => {
                            Some(match failure {
                                PublishFailure::Refused(_) => "refused",
                                PublishFailure::Unknown => "unknown",
                                PublishFailure::Malformed(_) => "malformed",
                                other => panic!("{other}"),
                            })
                        }
                        _ => None,
                    });
                    let outcome = outcomes.next();
                    assert_eq!(outcomes.next(), None, "{case}");
                    outcome
                };
                let before = outcome(&rig);
                rig.wire.retain(|(sent, ..)| *sent != token);
                let given = match &*answer {
                    "503" => Answer::NoResponders,
                    payload => Answer::Payload(payload.as_bytes()),
                };
                rig.window.answered(token, given, rig.now);
                rig.turn();
                let expected = match (at, becomes) {
                    (At::Ended, _) => before,
                    (_, "stored") => Some("stored"),
                    (At::NotSent, _) | (_, "again") => None,
                    (At::Sent { chained: true, .. }, "gap") => None,
                    (At::Sent { doubt: true, .. }, "gap" | "its own doing") => Some("unknown"),
                    (At::Sent { .. }, "gap" | "its own doing") => Some("refused"),
                    (At::Sent { .. }, other) => Some(other),
                };
                assert_eq!(outcome(&rig), expected, "{case}");

                let last = rig.push();
                rig.heal();
                assert_eq!((rig.window.pending(), rig.window.in_flight()), (0, 0), "{case}");
                assert_eq!(outcome(&rig), expected.or(Some("stored")), "{case}");
                assert!(rig.stored().iter().any(|it| it.0 == last), "{case}");
                let mut stream = rig.order();
                if order == PublishOrder::Sent {
                    stream.sort_unstable();
                }
                assert!(stream.is_sorted_by(|one, next| one < next), "{case}: {stream:?}");
            }
        }
    }
}

// ---- at random ---------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Step {
    Push(u8),
    Arrive(u8),
    Answer,
    /// All at once, before the window says anything.
    AnswerTogether,
    LoseAnswer,
    LoseMessage,
    Refuse,
    Disconnect(u8),
    Connect,
    Wait(u16),
    Other,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..8_u8).prop_map(Step::Push),
        6 => (1..8_u8).prop_map(Step::Arrive),
        4 => Just(Step::Answer),
        4 => Just(Step::AnswerTogether),
        1 => Just(Step::LoseAnswer),
        1 => Just(Step::LoseMessage),
        2 => Just(Step::Refuse),
        1 => any::<u8>().prop_map(Step::Disconnect),
        3 => Just(Step::Connect),
        3 => (0..2500_u16).prop_map(Step::Wait),
        1 => Just(Step::Other),
    ]
}

fn orders() -> impl Strategy<Value = PublishOrder> {
    prop_oneof![Just(PublishOrder::Sent), Just(PublishOrder::Chained), Just(PublishOrder::OneByOne)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_happens_every_message_has_one_outcome_and_the_order_is_kept(
        order in orders(),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let mut rig = Rig::new(config(order));
        let mut answers = Vec::new();
        let (mut pushed, mut others) = (0, false);
        for step in steps {
            match step {
                Step::Push(count) => {
                    for _ in 0..count {
                        if rig.window.has_room(20) {
                            pushed = rig.push();
                        }
                    }
                    rig.turn();
                }
                Step::Arrive(count) => {
                    for _ in 0..count {
                        answers.extend(rig.arrive());
                    }
                }
                Step::Answer => answers.drain(..).for_each(|answer| rig.answer(answer)),
                Step::AnswerTogether => {
                    for (token, payload) in answers.drain(..) {
                        let answer = Answer::Payload(payload.as_bytes());
                        rig.window.answered(token, answer, rig.now);
                    }
                    rig.turn();
                }
                Step::LoseAnswer => drop(answers.pop()),
                Step::LoseMessage => drop(rig.wire.pop()),
                Step::Refuse => rig.refuse(),
                Step::Disconnect(unsent) => {
                    // What came before the loss may be read behind it.
                    if unsent % 2 == 0 {
                        answers.clear();
                    }
                    rig.lose_connection(unsent.into());
                }
                Step::Connect => {
                    rig.window.connected();
                    rig.turn();
                }
                Step::Wait(millis) => rig.wait(Duration::from_millis(millis.into())),
                Step::Other => {
                    others = true;
                    rig.stream.store(&HeaderMap::new(), rig.now, SECOND);
                }
            }
            prop_assert!(rig.window.pending() <= 16);
        }
        answers.into_iter().for_each(|answer| rig.answer(answer));
        rig.heal();

        let mut outcomes: Vec<u64> = rig.reports.iter().filter_map(|report| match report {
            Report::Stored { number, .. } | Report::Failed { number, .. } => Some(*number),
            _ => None,
        }).collect();
        outcomes.sort_unstable();
        prop_assert_eq!(outcomes, (1..=pushed).collect::<Vec<_>>());

        let stream = rig.order();
        let mut once = stream.clone();
        once.sort_unstable();
        once.dedup();
        prop_assert_eq!(once.len(), stream.len(), "stored twice: {:?}", stream);

        let stored = rig.stored();
        for (number, seq) in &stored {
            prop_assert_eq!(&rig.stream.ids[*seq as usize - 1], &format!("p-{number}"));
        }
        for report in &rig.reports {
            if let Report::Failed { number, failure, .. } = report {
                let unknown = matches!(failure, PublishFailure::Unknown);
                prop_assert!(unknown || !stream.contains(number), "{:?}", report);
            }
        }
        if order != PublishOrder::OneByOne {
            let moved = rig.moved();
            for (one, seq) in &stored {
                let behind = stored.iter().any(|(other, before)| one < other && before < seq);
                prop_assert_eq!(behind, moved.contains(one), "{} {:?}", one, stream);
            }
        }
        if order == PublishOrder::OneByOne || order == PublishOrder::Chained && !others {
            prop_assert!(stream.is_sorted(), "{:?}", stream);
        }
        prop_assert_eq!((rig.window.bytes(), rig.window.unread()), (0, 0));
    }
}
