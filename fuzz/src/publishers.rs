//! Whatever streams answer to a publisher, in any order, and whatever becomes of the connection: each
//! message has one outcome, and nothing panics or spins.
//!
//! The wrapper in `targets/` gives this function to libFuzzer. The test `fuzz_replay` of
//! midge-jetstream includes this file and runs it on every kept input, with a stable compiler.

use std::collections::BTreeSet;
use std::time::Duration;

use midge_jetstream::{
    Answer, Batch, Commit, FastEvent, FastIngest, Gaps, PubAck, PublishOrder, PublishWindow,
    Report, WindowConfig, WindowOutput,
};
use midge_proto::{HeaderMap, Instant, Position, PublishError, SubjectRef};

use super::choices::Input;

const MOST: usize = 8;
/// Outputs at one moment, at most: a message is sent or withdrawn a few times.
const OUTPUTS: usize = 200;

/// The first byte chooses who publishes; then a byte chooses what happens, with arguments behind it.
pub(crate) fn publishers(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut input = Input(rest);
    let order = match first >> 2 & 3 {
        0 => PublishOrder::Chained,
        1 => PublishOrder::OneByOne,
        _ => PublishOrder::Sent,
    };
    match first & 3 {
        0 | 1 => Window::new(order, first & 16 != 0).run(&mut input),
        2 => batch(&mut input),
        _ => fast(if first & 4 == 0 { Gaps::End } else { Gaps::Allow }, &mut input),
    }
}

impl Input<'_> {
    /// What a stream might answer, or not.
    fn answer(&mut self) -> Vec<u8> {
        match self.byte() % 8 {
            0 => self.counted().to_vec(),
            1 => {
                const CODES: [u16; 6] = [10_071, 10_164, 10_158, 10_167, 10_077, 0];
                let code = CODES[usize::from(self.byte()) % CODES.len()];
                format!(r#"{{"error":{{"code":400,"err_code":{code}}},"stream":"S","seq":0}}"#)
                    .into_bytes()
            }
            2 => format!(r#"{{"stream":"T","seq":{},"duplicate":true}}"#, self.number()).into(),
            _ => format!(r#"{{"stream":"S","seq":{}}}"#, self.number()).into_bytes(),
        }
    }
}

// ---- many messages on their way ----------------------------------------------------------

struct Window {
    window: PublishWindow,
    now: Instant,
    connected: bool,
    given: u64,
    position: u64,
    /// Tokens of what was sent.
    tokens: Vec<u64>,
    /// Messages with an outcome, and those of them that are stored.
    ended: BTreeSet<u64>,
    stored: BTreeSet<u64>,
}

impl Window {
    fn new(order: PublishOrder, unknown: bool) -> Self {
        let seconds = Duration::from_secs;
        let config = WindowConfig {
            max_messages: MOST,
            max_bytes: 200,
            retries: 2,
            ack_wait: seconds(1),
            duplicate_window: if unknown { Duration::MAX } else { seconds(4) },
            order,
            report_stored: true,
            ..WindowConfig::default()
        };
        Self {
            window: PublishWindow::new(config, "p-".into())
                .expect("a header may have these letters"),
            now: Instant::ZERO,
            connected: false,
            given: 0,
            position: 0,
            tokens: Vec::new(),
            ended: BTreeSet::new(),
            stored: BTreeSet::new(),
        }
    }

    fn run(mut self, input: &mut Input<'_>) {
        while !input.0.is_empty() {
            match input.byte() % 12 {
                0..=2 => self.give(input),
                3..=5 => {
                    let token = match self.tokens.len() {
                        0 => input.number(),
                        sent => self.tokens[usize::from(input.byte()) % sent],
                    };
                    let answer = input.answer();
                    self.window.answered(token, Answer::Payload(&answer), self.now);
                }
                6 => {
                    let token = self.tokens.pop().unwrap_or_else(|| input.number());
                    self.window.answered(token, Answer::NoResponders, self.now);
                }
                7 => self.window.answered(input.number() << 16, Answer::Payload(b"{}"), self.now),
                8 => {
                    self.window.connected();
                    self.connected = true;
                }
                9 => {
                    let sent = self.position.saturating_sub(input.number());
                    self.window.disconnected(|position| position.0 >= sent);
                    self.connected = false;
                }
                10 => self.window.limit_duplicates(input.time() * 20),
                _ => self.now = self.now + input.time(),
            }
            self.turn(input);
        }
        let (last, lost) = (self.given, self.position.saturating_sub(1));
        self.window.closed(|position| position.0 >= lost);
        self.turn(input);
        assert_eq!((self.window.pending(), self.window.bytes()), (0, 0));
        assert!(self.ended.iter().copied().eq(1..=last), "{:?} of {last}", self.ended);
    }

    fn give(&mut self, input: &mut Input<'_>) {
        let payload = input.counted();
        let payload = &payload[..payload.len().min(50)];
        if self.window.has_room(payload.len() + 30) {
            let subject = SubjectRef::new("s").expect("a subject");
            self.given += 1;
            assert_eq!(self.window.push(subject, None, payload), self.given);
        }
        assert!(self.window.pending() <= MOST);
    }

    /// Does what the window says, until it is idle.
    fn turn(&mut self, input: &mut Input<'_>) {
        for outputs in 0.. {
            assert!(outputs < OUTPUTS, "there is always more to do");
            match self.window.poll(self.now) {
                WindowOutput::Send(number) => {
                    assert!(self.connected, "there is no connection");
                    assert!(!self.ended.contains(&number), "{number} has an outcome");
                    let outgoing = self.window.outgoing(number).expect("it is there");
                    assert!(outgoing.headers.get("Nats-Msg-Id").is_some());
                    let token = outgoing.token;
                    if input.byte() == 77 {
                        self.window.not_sent(number, PublishError::Wildcard);
                        continue;
                    }
                    self.tokens.push(token);
                    self.window.sent(number, Position(self.position), self.now);
                    self.position += 1;
                }
                WindowOutput::Withdraw(number, _) => {
                    self.window.withdrawn(number, input.byte() & 1 == 0, self.now);
                }
                WindowOutput::Idle(until) => {
                    assert!(until.is_none_or(|until| until > self.now), "a wait for the past");
                    break;
                }
            }
        }
        while let Some(report) = self.window.take_report() {
            match report {
                Report::Stored { number, .. } => {
                    assert!(self.ended.insert(number), "{number} has two outcomes");
                    self.stored.insert(number);
                }
                Report::Failed { number, message, .. } => {
                    assert!(self.ended.insert(number), "{number} has two outcomes");
                    assert!(message.message_id().is_some());
                }
                Report::Moved { number, .. } => {
                    assert!(self.stored.contains(&number), "{number} has moved to nowhere");
                }
                _ => {}
            }
        }
        assert_eq!(self.window.unread(), 0);
    }
}

// ---- messages that are stored together ---------------------------------------------------

fn batch(input: &mut Input<'_>) {
    let every = u64::from(input.byte() % 5);
    let mut batch = Batch::new("b".into()).expect("an id").ack_every(every).max_messages(20);
    while !input.0.is_empty() {
        let before = batch.messages();
        let mut headers = HeaderMap::new();
        if input.byte() & 8 != 0 {
            const NAMES: [&str; 3] = ["Nats-Batch-Id", "Nats-Expected-Last-Sequence", "A"];
            let name = NAMES[usize::from(input.byte()) % NAMES.len()];
            headers.append(name, "1").expect("a header");
        }
        match input.byte() % 6 {
            0..=2 => match batch.add(&mut headers) {
                Ok(_) => assert_eq!(batch.messages(), before + 1),
                Err(_) => assert_eq!(batch.messages(), before),
            },
            3 => batch.take_back(),
            4 => {
                let how = if input.byte() & 1 == 0 { Commit::WithMessage } else { Commit::End };
                let committed = batch.commit(&mut headers, how).is_ok();
                assert_eq!(batch.is_over(), committed || batch.is_over());
                let (id, count) = (input.byte() & 1, input.number());
                let text = format!(r#"{{"stream":"S","seq":9,"batch":"{id}b","count":{count}}}"#);
                if let Ok(ack) = PubAck::read(text.replace("0b", "b").as_bytes())
                    && batch.committed(&ack).is_ok()
                {
                    assert_eq!((ack.batch.as_deref(), id), (Some("b"), 0));
                }
            }
            _ => drop(PubAck::read(&input.answer())),
        }
    }
}

fn fast(gaps: Gaps, input: &mut Input<'_>) {
    let mut now = Instant::ZERO;
    let every = 1 + u16::from(input.byte() % 10);
    let mut batch = FastIngest::new("_INBOX.a", "b".into(), gaps, every, 2, now).expect("a batch");
    while !input.0.is_empty() {
        match input.byte() % 9 {
            0..=2 if batch.has_room() => {
                let before = batch.messages();
                let open = !batch.is_over();
                if batch.append().is_ok() {
                    assert!(open && batch.messages() == before + 1);
                }
            }
            0..=2 => {}
            3 => batch.take_back(),
            4 => drop(batch.commit(input.byte() & 1 == 0).map(str::len)),
            5 => now = now + input.time(),
            6 => {
                if batch.ping_at().is_some_and(|at| at <= now) {
                    assert!(!batch.ping(now).is_empty());
                    assert!(batch.ping_at().is_none_or(|at| at > now), "it asks on and on");
                }
            }
            _ => {
                let (seq, more) = (input.number(), input.number());
                let answer = match input.byte() % 6 {
                    0 => input.answer(),
                    1 => format!(r#"{{"type":"gap","seq":{seq},"last_seq":{more}}}"#).into_bytes(),
                    2 => format!(r#"{{"type":"err","seq":{seq},"error":{{"code":400}}}}"#).into(),
                    3 => format!(r#"{{"stream":"S","seq":{seq},"batch":"b","count":{more}}}"#)
                        .into_bytes(),
                    _ => format!(r#"{{"type":"ack","seq":{seq},"msgs":{more}}}"#).into_bytes(),
                };
                match batch.answered(&answer, now) {
                    Ok(FastEvent::Ended(ack)) => {
                        assert!(batch.is_over());
                        if batch.committed(&ack, true).is_ok() {
                            assert_eq!(ack.batch.as_deref(), Some("b"));
                        }
                    }
                    Ok(FastEvent::Failed(_)) => assert!(batch.is_over()),
                    _ => {}
                }
            }
        }
        assert!(batch.acknowledged() <= batch.messages(), "more is stored than was sent");
    }
}
