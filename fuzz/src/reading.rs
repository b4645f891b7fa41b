//! Whatever a server says to who reads streams and buckets beside pull and ordered consumers: watching over
//! a push consumer, getting many messages, lists, watches and copies of buckets, and texts of any kind.
//! Nothing panics, spins or stalls, nothing is given twice, and no more than was asked for.
//!
//! The wrapper in `targets/` gives this function to libFuzzer. The test `fuzz_replay` of
//! midge-jetstream includes this file and runs it on every kept input, with a stable compiler.

use std::collections::BTreeMap;
use std::time::Duration;

use midge_jetstream::kv::{
    BucketConfig, BucketName, BucketSubjects, CacheMachine, Entry, Include, InitialEnd,
    WatchMachine, check_key, check_key_filter, watch_filters,
};
use midge_jetstream::{
    Advisory, ApiPrefix, ConsumerInfo, Delivery, DirectBatch, DirectBatchOf, DirectBatchRequest,
    DirectBatchStep, Integer, Listed, Pages, PubAck, PushMachine, PushOutput, Republished,
    StatusMessage, StoredMessage, StreamInfo, Time, read_reply,
};
use midge_proto::{HeaderMap, Headers, Instant, Message, SubjectRef};

use super::choices::Input;

/// Outputs at one moment.
const OUTPUTS: usize = 10;

/// The first byte chooses who reads; then a byte chooses what happens, with arguments behind it.
pub(crate) fn reading(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut input = Input(rest);
    match first & 7 {
        0 | 1 => push(*first, &mut input),
        2 | 3 => direct(*first, &mut input),
        4 => pages(rest),
        5 | 6 => bucket(*first, &mut input),
        _ => texts(rest),
    }
}

// ---- push consumers ----------------------------------------------------------------------

fn heartbeat(input: &mut Input<'_>) -> Option<Duration> {
    match input.byte() {
        0 => None,
        255 => Some(Duration::MAX),
        other => Some(Duration::from_millis(u64::from(other - 1) * 20)),
    }
}

fn push(first: u8, input: &mut Input<'_>) {
    let mut now = Instant::ZERO;
    let mut beats = heartbeat(input);
    let mut machine = PushMachine::new(beats, 1).of_group(first & 8 != 0);
    let (mut connected, mut asked) = (false, false);
    while !input.0.is_empty() {
        match input.byte() % 8 {
            0 => machine.heard(),
            1 => {
                machine.connected();
                connected = true;
            }
            2 => {
                machine.disconnected();
                connected = false;
            }
            3 | 4 => {
                let exists = [Some(true), Some(true), None, Some(false)];
                let exists = exists[usize::from(input.byte()) % exists.len()];
                if std::mem::take(&mut asked) {
                    machine.checked(exists, now);
                }
            }
            5 => {
                beats = heartbeat(input);
                machine.changed(beats, input.byte() & 1 != 0);
            }
            _ => now = now + input.time(),
        }
        if settle_push(&mut machine, now, &mut asked).is_err() {
            return;
        }
    }
    if !connected {
        machine.connected();
    }
    if std::mem::take(&mut asked) {
        machine.checked(None, now);
    }
    let Ok(until) = settle_push(&mut machine, now, &mut asked) else { return };
    let beats = beats.filter(|beats| !beats.is_zero());
    assert_eq!(until.is_some(), beats.is_some() && !asked, "who has heartbeats waits for them");
    // From here on there is silence: it is looked for before long.
    if let (Some(until), Some(beats)) = (until, beats) {
        let most = beats.saturating_mul(5).saturating_add(Duration::from_secs(20));
        let (began, mut until) = (now, until);
        while !asked {
            assert!(until.saturating_since(began) <= most, "it stalls");
            match settle_push(&mut machine, until, &mut asked) {
                Ok(Some(next)) => until = next,
                Ok(None) => assert!(asked, "it waits for nothing"),
                Err(()) => return,
            }
            if until == Instant::from_nanos(u64::MAX) {
                return;
            }
        }
    }
}

/// Fails when the consumer has gone.
fn settle_push(
    machine: &mut PushMachine,
    now: Instant,
    asked: &mut bool,
) -> Result<Option<Instant>, ()> {
    for _ in 0..OUTPUTS {
        match machine.poll(now) {
            PushOutput::Check => {
                assert!(!*asked, "it asks while it is answered");
                *asked = true;
            }
            PushOutput::Notice(_) => {}
            PushOutput::Gone => return Err(()),
            PushOutput::Wait(until) => {
                assert!(until.is_none_or(|until| until > now), "a wait for the past");
                return Ok(until);
            }
        }
    }
    panic!("there is always more to do")
}

// ---- many messages -----------------------------------------------------------------------

impl Input<'_> {
    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.counted()).into_owned()
    }

    /// A message with headers that a server might send with one that is stored, or not.
    fn stored(&mut self, subject: &str) -> Message {
        let mut headers = HeaderMap::new();
        let what = self.byte();
        let mut add = |name: &str, value: &str| {
            // What cannot stand there is left out.
            let _ = headers.append(name, value);
        };
        if what & 1 == 0 {
            add("Nats-Subject", subject);
            add("Nats-Time-Stamp", "2026-11-21T21:36:25.735489387Z");
        }
        if what & 2 == 0 {
            add("Nats-Sequence", &self.number().to_string());
        }
        if what & 4 == 0 {
            add("Nats-Num-Pending", &self.number().to_string());
        }
        if what & 8 == 0 {
            add("Nats-Last-Sequence", &self.number().to_string());
        }
        if what & 16 != 0 {
            add("Nats-UpTo-Sequence", &self.number().to_string());
        }
        if what & 32 != 0 {
            add("KV-Operation", if self.byte() & 1 == 0 { "DEL" } else { "PURGE" });
        }
        if what & 64 != 0 {
            let (name, value) = (self.text(), self.text());
            add(&name, &value);
        }
        if what & 128 != 0 {
            const CODES: [u16; 5] = [204, 404, 413, 503, 100];
            let _ = headers.set_status(CODES[usize::from(self.byte()) % CODES.len()], "said");
        }
        let inbox = SubjectRef::new("_INBOX.1").expect("it is valid");
        Message::from_parts(inbox, None, Some(&headers), b"x")
    }
}

fn direct(first: u8, input: &mut Input<'_>) {
    let most = (first & 8 != 0).then(|| input.number());
    let which = match first >> 4 & 3 {
        0 => DirectBatchOf::From { sequence: input.number(), subject: None },
        1 => DirectBatchOf::FromTime { time: Time::UNIX_EPOCH, subject: Some("a".into()) },
        _ => DirectBatchOf::Last {
            subjects: vec!["a.*".into()],
            up_to_sequence: input.number(),
            up_to_time: None,
        },
    };
    let mut batch = DirectBatch::new(DirectBatchRequest { which, max_messages: most });
    if batch.is_empty() {
        return;
    }
    let (mut last, mut given, mut in_vain) = (0, 0, 0);
    let _ = batch.request();
    while !input.0.is_empty() {
        let step = match input.byte() % 8 {
            0 => batch.lost(),
            _ => batch.receive(input.stored("a.b")),
        };
        match step {
            DirectBatchStep::Message(message) => {
                assert!(message.sequence > last, "twice");
                (last, in_vain) = (message.sequence, 0);
                given += 1;
                assert!(most.is_none_or(|most| given <= most), "more than was asked for");
            }
            DirectBatchStep::Ask { after } => {
                in_vain += 1;
                assert!(after <= Duration::from_secs(60));
                assert!(in_vain < 100 || last > 0, "it asks without end");
                let _ = batch.request();
            }
            DirectBatchStep::End | DirectBatchStep::Failed(_) => return,
            _ => {}
        }
    }
}

// ---- lists -------------------------------------------------------------------------------

/// Reads the same lines as pages of three kinds.
fn pages(rest: &[u8]) {
    macro_rules! read {
        ($of:ty) => {
            let mut pages = Pages::<$of>::new(None);
            for page in rest.split(|byte| *byte == b'\n') {
                let _ = pages.receive(page);
                let mut came = 0;
                while let Some(entry) = pages.pop() {
                    came += 1;
                    if let Listed::Unreadable { error, .. } = entry {
                        assert!(!error.is_empty());
                    }
                }
                assert!(came <= page.len(), "more entries than bytes");
            }
        };
    }
    read!(String);
    read!(StreamInfo);
    read!(ConsumerInfo);
}

// ---- buckets -----------------------------------------------------------------------------

fn bucket(first: u8, input: &mut Input<'_>) {
    let name = BucketName::new("b").expect("it is valid");
    let stream = BucketConfig::new("b").to_stream().expect("it is valid");
    let subjects = BucketSubjects::new(&stream, &ApiPrefix::default()).expect("it is a bucket");
    let include = match first >> 3 & 3 {
        0 => Include::Latest,
        1 => Include::History,
        2 => Include::Updates,
        _ => Include::From(input.number()),
    };
    let mut watch = WatchMachine::new(include, first & 32 != 0);
    let max_age = (first & 64 != 0).then(|| input.time());
    let mut cache = CacheMachine::new(max_age);
    let mut model: BTreeMap<String, u64> = BTreeMap::new();
    let (mut told, mut highest) = (usize::from(watch.has_all()), 0);
    let now = Time::UNIX_EPOCH;
    while !input.0.is_empty() {
        match input.byte() % 8 {
            0 => told += usize::from(watch.created(input.number(), input.number())),
            1 => told += usize::from(watch.nothing_waits()),
            2 => {
                cache.begin_check();
                while input.byte() & 1 != 0 {
                    if let Ok(entry) = Entry::direct(&name, &subjects, input.stored("$KV.b.k.1")) {
                        cache.listed(&entry);
                    }
                }
                for suspect in cache.end_check() {
                    cache.gone(&suspect);
                }
                model.retain(|key, _| cache.get(key, now).is_some());
            }
            3 => {
                let message = input.stored("$KV.b.k.1");
                let _ = StoredMessage::from_direct(message).map(|message| {
                    Entry::stored(&name, &subjects, message).map(|entry| entry.into_value())
                });
            }
            _ => {
                let key = format!("k.{}", input.byte() % 4);
                let (revision, pending) = (input.number(), input.number());
                let subject = match input.byte() {
                    0 => input.text(),
                    _ => format!("$KV.b.{key}"),
                };
                let reply = format!("$JS.ACK.KV_b.c.1.{revision}.{revision}.7.{pending}");
                let mut headers = HeaderMap::new();
                if input.byte() & 3 == 0 {
                    headers.append("KV-Operation", "DEL").expect("it is valid");
                }
                let Ok(subject) = SubjectRef::new(&subject) else { continue };
                let reply = SubjectRef::new(&reply).expect("it is valid");
                let message = Message::from_parts(subject, Some(reply), Some(&headers), b"v");
                let Ok(entry) = Entry::delivered(&name, &subjects, message) else { continue };
                assert!(entry.size() > 0 && check_key(entry.key()).is_ok());
                let step = watch.revision(entry.revision(), entry.delta(), entry.operation());
                told += usize::from(step.initial_end != InitialEnd::Not);
                let (key, is_put) = (entry.key().to_owned(), entry.is_put());
                assert_eq!(cache.apply(entry), revision > highest);
                if revision > highest {
                    highest = revision;
                    match is_put {
                        true => drop(model.insert(key, revision)),
                        false => drop(model.remove(&key)),
                    }
                }
            }
        }
        assert!(told <= 1, "the end is told again");
        assert_eq!(told == 1, watch.has_all());
        assert_eq!(cache.revision(), highest);
        if max_age.is_none() {
            let copied = cache.entries(now).map(|entry| (entry.key().to_owned(), entry.revision()));
            assert!(copied.eq(model.iter().map(|(key, revision)| (key.clone(), *revision))));
        }
    }
    cache.expire(Time::from_unix_nanos(i128::MAX));
    assert!(max_age.is_none() || cache.entries(now).next().is_none());
}

// ---- texts -------------------------------------------------------------------------------

fn texts(rest: &[u8]) {
    let _ = read_reply::<StreamInfo>(rest);
    let _ = read_reply::<ConsumerInfo>(rest);
    let _ = PubAck::read(rest);
    let _ = Advisory::read(rest);
    let _ = Delivery::parse(rest);
    if let Some(status) = StatusMessage::from_headers(Headers::from_block(rest)) {
        let _ = (status.pending_messages(), status.pending_bytes(), status.stalled());
    }
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Ok(time) = text.parse::<Time>() {
        assert_eq!(time.to_string().parse(), Ok(time), "{text}");
    }
    if let Ok(integer) = text.parse::<Integer>() {
        assert_eq!(integer.to_string().parse(), Ok(integer.clone()), "{text}");
        let (mut sum, one) = (integer.clone(), Integer::from(1));
        sum += &one;
        sum -= &one;
        assert_eq!(sum, integer);
    }
    let _ = (check_key(text), check_key_filter(text));
    let _ = watch_filters(text.split('\n'));
    let mut headers = HeaderMap::new();
    for line in text.lines() {
        let _ = line.split_once(':').map(|(name, value)| headers.append(name, value));
    }
    let subject = SubjectRef::new("a").expect("it is valid");
    let message = Message::from_parts(subject, Some(subject), Some(&headers), rest);
    let _ = (Republished::of(&message), Delivery::of(&message), StatusMessage::of(&message));
}
