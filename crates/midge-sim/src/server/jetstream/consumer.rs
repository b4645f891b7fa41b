//! A consumer: what was delivered, what is not acknowledged, and who waits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use midge_jetstream::{AckPolicy, ConsumerConfig, DeliverPolicy};
use midge_proto::Instant;
use serde::Deserialize;

use super::pull::Pull;
use super::stream::{Stored, Stream, is_wanted};
use super::{EPOCH, Interest, Say, Turn};
use crate::Rng;

const ACK_WAIT: Duration = Duration::from_secs(30);
const MAX_ACK_PENDING: usize = 1000;
const INACTIVE: Duration = Duration::from_secs(5);
/// What the last token of the subject of a confirmation is made of.
const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) config: ConsumerConfig,
    pub(super) created: Instant,
    /// The next sequence of the stream to look at.
    pub(super) next: u64,
    /// What it delivers before that: the last message of each subject that there was.
    last_of_subjects: VecDeque<u64>,
    /// The numbers of the last delivery: of the consumer, and of the stream.
    pub(super) delivered: (u64, u64),
    /// What was delivered and is not settled, by sequence.
    pub(super) pending: BTreeMap<u64, Delivered>,
    pub(super) waiting: VecDeque<Pull>,
    /// Who waited when it lost its leader, and is to be told.
    pub(super) lost: Vec<Bytes>,
    flow: Flow,
    heartbeat_at: Instant,
    /// When somebody last wanted something.
    active: Instant,
}

#[derive(Debug)]
pub(super) struct Delivered {
    /// How often.
    count: u64,
    /// When it is delivered again.
    due: Instant,
}

/// What a push consumer has sent and is not confirmed.
#[derive(Debug)]
struct Flow {
    /// How many bytes may be at first, and how many now: twice as many after each confirmation.
    windows: (usize, usize),
    bytes: usize,
    /// The subject of the confirmation that was asked for, and the bytes that it stands for.
    asked: Option<(Bytes, usize)>,
}

impl Flow {
    /// How often a window is doubled at most.
    const DOUBLED: u32 = 4;

    fn new(window: usize) -> Self {
        Self { windows: (window, window), bytes: 0, asked: None }
    }

    fn is_open(&self) -> bool {
        self.bytes <= self.windows.1
    }

    /// So many bytes are sent; whether a confirmation is to be asked for.
    fn sent(&mut self, bytes: usize) -> bool {
        let (_, window) = self.windows;
        self.bytes += bytes;
        match &mut self.asked {
            None => return self.bytes > window / 2,
            Some((_, asked)) if self.bytes - *asked >= window => *asked += bytes,
            Some(_) => {}
        }
        false
    }

    fn confirmed(&mut self, subject: &Bytes) {
        if let Some((_, bytes)) = self.asked.take_if(|(asked, _)| asked == subject) {
            let (first, window) = self.windows;
            self.windows.1 = (window * 2).min(first << Self::DOUBLED);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

#[derive(Deserialize)]
struct Nak {
    delay: u64,
}

impl Consumer {
    /// `window`: how many bytes it pushes at first without a confirmation.
    pub(super) fn new(
        config: ConsumerConfig,
        stream: &Stream,
        window: usize,
        now: Instant,
    ) -> Self {
        let messages = &stream.messages;
        let last = messages.len() as u64;
        let mut last_of_subjects = VecDeque::new();
        let next = match &config.deliver_policy {
            DeliverPolicy::Last => last,
            DeliverPolicy::LastPerSubject => {
                last_of_subjects = last_of_each(messages, &config.filter_subjects);
                last_of_subjects.front().copied().unwrap_or(last)
            }
            DeliverPolicy::New => last + 1,
            DeliverPolicy::ByStartSequence(sequence) => *sequence,
            DeliverPolicy::ByStartTime(time) => {
                let older = |stored: &Stored| super::time(stored.at) < *time;
                messages.partition_point(older) as u64 + 1
            }
            _ => 1,
        };
        let next = next.max(stream.first());
        let resume = if last_of_subjects.is_empty() { next } else { last + 1 };
        Self {
            config,
            created: now,
            next: resume,
            last_of_subjects,
            delivered: (0, next - 1),
            pending: BTreeMap::new(),
            waiting: VecDeque::new(),
            lost: Vec::new(),
            flow: Flow::new(window),
            heartbeat_at: now,
            active: now,
        }
    }

    /// Whether it is lost with the server that leads it.
    pub(super) fn is_in_memory(&self) -> bool {
        self.config.mem_storage && self.config.num_replicas == Some(1)
    }

    /// Another server leads it.
    pub(super) fn lead_anew(&mut self, now: Instant) {
        self.flow = Flow::new(self.flow.windows.0);
        self.heartbeat_at = now;
        self.active = now;
    }

    /// Whether it stays: somebody wanted something not too long ago.
    pub(super) fn is_wanted(&mut self, interest: Interest<'_>, now: Instant) -> bool {
        let heard = match &self.config.deliver_subject {
            Some(subject) => interest(subject.as_bytes()),
            None => !self.waiting.is_empty(),
        };
        if heard {
            self.active = now;
        }
        self.inactive_at().is_none_or(|at| now < at)
    }

    /// When it goes unless somebody wants something.
    fn inactive_at(&self) -> Option<Instant> {
        let given = self.config.inactive_threshold;
        let default = self.config.durable_name.is_none().then_some(INACTIVE);
        given.or(default).map(|time| self.active + time)
    }

    /// Messages that match and were not delivered.
    pub(super) fn num_pending(&self, messages: &[Stored]) -> u64 {
        let rest = messages.get(index(self.next)..).unwrap_or_default().iter();
        let rest = rest.filter(|message| is_wanted(&self.config.filter_subjects, message));
        (self.last_of_subjects.len() + rest.count()) as u64
    }

    /// A message is not there any more.
    pub(super) fn removed(&mut self, sequence: u64) {
        self.pending.remove(&sequence);
        self.last_of_subjects.retain(|it| *it != sequence);
    }

    /// A purge has taken away everything before a sequence.
    pub(super) fn purged(&mut self, first: u64) {
        self.next = self.next.max(first);
        self.delivered.1 = self.delivered.1.max(first - 1);
    }

    /// Whether it has not delivered a message that it wants, or waits for an answer to it.
    pub(super) fn wants(&self, sequence: u64, message: &Stored) -> bool {
        self.pending.contains_key(&sequence)
            || self.last_of_subjects.contains(&sequence)
            || sequence >= self.next && is_wanted(&self.config.filter_subjects, message)
    }

    /// A pull has come.
    pub(super) fn pulled(
        &mut self,
        reply: &Bytes,
        payload: &[u8],
        messages: &[Stored],
        turn: &mut Turn<'_>,
    ) {
        let now = turn.now;
        self.active = now;
        if self.config.is_push() {
            turn.says.push(Say::status(reply, "409 Consumer is push based"));
            return;
        }
        let again = self.pending.values().filter(|it| it.due <= now).count() as u64;
        let wanted = self.waiting.iter().map(|pull| pull.messages).sum();
        let waits = (self.num_pending(messages) + again, wanted);
        match Pull::read(reply, payload, &self.config, waits, now) {
            Ok(pull) => self.waiting.push_back(pull),
            Err(words) => turn.says.push(Say::status(reply, &words)),
        }
    }

    /// Something was said of a message; the sequences of what that settles.
    pub(super) fn acked(&mut self, sequence: u64, payload: &[u8], now: Instant) -> Vec<u64> {
        self.active = now;
        let ack_wait = self.ack_wait();
        let text = std::str::from_utf8(payload).unwrap_or_default();
        if text.starts_with("-NAK") || text == "+WPI" {
            if let Some(delivered) = self.pending.get_mut(&sequence) {
                let delay = text.strip_prefix("-NAK").map(|rest| {
                    let nak = serde_json::from_str(rest).unwrap_or(Nak { delay: 0 });
                    Duration::from_nanos(nak.delay)
                });
                delivered.due = now + delay.unwrap_or(ack_wait);
            }
            return Vec::new();
        }
        let all = self.config.ack_policy == AckPolicy::All;
        let first = if all { 0 } else { sequence };
        let settled: Vec<u64> = self.pending.range(first..=sequence).map(|(it, _)| *it).collect();
        self.pending.retain(|it, _| !settled.contains(it));
        settled
    }

    /// The reader of a push consumer has come this far.
    pub(super) fn flow_confirmed(&mut self, subject: &Bytes, now: Instant) {
        self.active = now;
        self.flow.confirmed(subject);
    }

    /// Delivers what it can, and ends and reminds those who wait; when there is more to do.
    pub(super) fn serve(
        &mut self,
        stream: &str,
        name: &str,
        messages: &[Stored],
        rng: &mut Rng,
        turn: &mut Turn<'_>,
    ) -> Option<Instant> {
        let now = turn.now;
        let change = |reply: Bytes| Say::status(&reply, "409 Leadership Change");
        turn.says.extend(self.lost.drain(..).map(change));
        self.waiting.retain(|pull| (turn.interest)(&pull.reply));
        while self.is_reached(turn.interest)
            && let Some((sequence, count)) = self.choose(messages, now)
            && let Some(message) = messages.get(index(sequence))
        {
            let number = self.delivered.0 + 1;
            let at = EPOCH + i128::from(message.at.as_nanos());
            let left = self.num_pending(messages)
                - u64::from(count == 1 && is_wanted(&self.config.filter_subjects, message));
            let reply = Bytes::from(format!(
                "$JS.ACK.{stream}.{name}.{count}.{sequence}.{number}.{at}.{left}"
            ));
            let Some((to, over)) = self.place(message, &reply, turn) else { continue };
            self.deliver(sequence, count, now);
            turn.says.push(Say {
                to,
                subject: message.subject.clone(),
                reply: Some(reply),
                headers: message.headers.clone(),
                payload: message.payload.clone(),
            });
            turn.says.extend(over);
            self.ask_for_flow(stream, name, message, rng, turn);
        }
        self.remind(turn);
        let waits = self.waiting.iter().filter_map(Pull::due);
        let again = (self.pending.values()).map(|it| it.due).filter(|&due| due > now);
        let heartbeat = self.push_heartbeat().map(|_| self.heartbeat_at);
        waits.chain(again).chain(heartbeat).chain(self.inactive_at().filter(|&at| at > now)).min()
    }

    /// Whether a message would reach somebody.
    fn is_reached(&self, interest: Interest<'_>) -> bool {
        match &self.config.deliver_subject {
            None => !self.waiting.is_empty(),
            Some(subject) => {
                let free = !self.config.flow_control || self.flow.is_open();
                free && interest(subject.as_bytes())
            }
        }
    }

    /// The next message to deliver, and how often it was with this time.
    fn choose(&mut self, messages: &[Stored], now: Instant) -> Option<(u64, u64)> {
        let most = self.config.max_deliver.map_or(u64::MAX, u64::from);
        self.pending.retain(|_, it| it.due > now || it.count < most);
        if let Some((sequence, it)) = self.pending.iter().find(|(_, it)| it.due <= now) {
            return Some((*sequence, it.count + 1));
        }
        let most = self.config.max_ack_pending.and_then(|most| usize::try_from(most).ok());
        if self.pending.len() >= most.unwrap_or(MAX_ACK_PENDING) {
            return None;
        }
        if let Some(&sequence) = self.last_of_subjects.front() {
            return Some((sequence, 1));
        }
        while let Some(message) = messages.get(index(self.next)) {
            if is_wanted(&self.config.filter_subjects, message) {
                return Some((self.next, 1));
            }
            self.next += 1;
        }
        None
    }

    /// Where a message goes, and what is said behind it; `None` when the one whose turn it was has
    /// no room for it.
    fn place(
        &mut self,
        message: &Stored,
        reply: &Bytes,
        turn: &mut Turn<'_>,
    ) -> Option<(Bytes, Option<Say>)> {
        if let Some(subject) = &self.config.deliver_subject {
            return Some((Bytes::copy_from_slice(subject.as_bytes()), None));
        }
        let mut pull = self.waiting.pop_front()?;
        if pull.is_expired(turn.now) {
            turn.says.push(pull.over("408 Request Timeout"));
            return None;
        }
        let size = message.delivered_size() + reply.len() as u64;
        if let Some(bytes) = &mut pull.bytes {
            if size > *bytes {
                turn.says.push(pull.over("409 Message Size Exceeds MaxBytes"));
                return None;
            }
            *bytes -= size;
        }
        pull.messages -= 1;
        pull.served = true;
        if let Some((heartbeat, at)) = &mut pull.heartbeat {
            *at = turn.now + *heartbeat;
        }
        let to = pull.reply.clone();
        let mut over = None;
        if pull.messages == 0 && pull.bytes.is_some_and(|bytes| bytes > 0) {
            over = Some(pull.over("409 Batch Completed"));
        } else if pull.messages > 0 && pull.bytes != Some(0) {
            self.waiting.push_back(pull);
        }
        Some((to, over))
    }

    fn deliver(&mut self, sequence: u64, count: u64, now: Instant) {
        self.delivered = (self.delivered.0 + 1, self.delivered.1.max(sequence));
        if self.last_of_subjects.front() == Some(&sequence) {
            self.last_of_subjects.pop_front();
        }
        self.next = self.next.max(sequence + 1);
        if self.config.ack_policy != AckPolicy::None {
            let due = now + self.ack_wait();
            self.pending.insert(sequence, Delivered { count, due });
        }
        if let Some(heartbeat) = self.push_heartbeat() {
            self.heartbeat_at = now + heartbeat;
        }
    }

    /// Asks the reader of a push consumer to say when it gets there.
    fn ask_for_flow(
        &mut self,
        stream: &str,
        name: &str,
        message: &Stored,
        rng: &mut Rng,
        turn: &mut Turn<'_>,
    ) {
        let Some(to) = self.config.deliver_subject.as_ref().filter(|_| self.config.flow_control)
        else {
            return;
        };
        let bytes = usize::try_from(message.delivered_size()).unwrap_or(usize::MAX);
        if self.flow.sent(bytes) {
            let token: String = (0..4).map(|_| LETTERS[rng.index(LETTERS.len())] as char).collect();
            let reply = Bytes::from(format!("$JS.FC.{stream}.{name}.{token}"));
            self.flow.asked = Some((reply.clone(), self.flow.bytes));
            let to = Bytes::copy_from_slice(to.as_bytes());
            let say = Say::status(&to, "100 FlowControl Request");
            turn.says.push(Say { reply: Some(reply), ..say });
        }
    }

    /// Ends pulls whose time is over, and sends heartbeats.
    fn remind(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let (consumer, stream) = self.delivered;
        let heartbeat = format!(
            "100 Idle Heartbeat\r\nNats-Last-Consumer: {consumer}\r\nNats-Last-Stream: {stream}"
        );
        self.waiting.retain_mut(|pull| {
            if pull.no_wait && pull.served {
                turn.says.push(Say::status(&pull.reply, "404 No Messages"));
                return false;
            }
            if pull.is_expired(now) {
                turn.says.push(pull.over("408 Request Timeout"));
                return false;
            }
            if let Some((every, at)) = &mut pull.heartbeat
                && *at <= now
            {
                *at = now + *every;
                turn.says.push(Say::status(&pull.reply, &heartbeat));
            }
            true
        });
        if let (Some(every), Some(to)) = (self.push_heartbeat(), &self.config.deliver_subject)
            && self.heartbeat_at <= now
        {
            self.heartbeat_at = now + every;
            let to = Bytes::copy_from_slice(to.as_bytes());
            let stalled = self.flow.asked.as_ref().map(|(subject, _)| {
                format!("\r\nNats-Consumer-Stalled: {}", String::from_utf8_lossy(subject))
            });
            let line = heartbeat + &stalled.unwrap_or_default();
            turn.says.push(Say::status(&to, &line));
        }
    }

    fn push_heartbeat(&self) -> Option<Duration> {
        self.config.idle_heartbeat.filter(|_| self.config.is_push())
    }

    fn ack_wait(&self) -> Duration {
        self.config.ack_wait.unwrap_or(ACK_WAIT)
    }
}

impl Stored {
    /// Bytes of a delivery, but for its reply subject.
    fn delivered_size(&self) -> u64 {
        let headers = self.headers.as_ref().map_or(0, Bytes::len);
        (self.subject.len() + headers + self.payload.len()) as u64
    }
}

/// The last message of each subject that passes the filters, in their order.
fn last_of_each(messages: &[Stored], filters: &[String]) -> VecDeque<u64> {
    let mut last = BTreeMap::new();
    for (place, message) in messages.iter().enumerate() {
        if is_wanted(filters, message) {
            last.insert(&message.subject, place as u64 + 1);
        }
    }
    let mut last: Vec<u64> = last.into_values().collect();
    last.sort_unstable();
    last.into()
}

/// Where a sequence is among the messages.
pub(super) fn index(sequence: u64) -> usize {
    usize::try_from(sequence.saturating_sub(1)).unwrap_or(usize::MAX)
}
