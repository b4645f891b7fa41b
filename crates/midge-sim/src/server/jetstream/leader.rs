//! Who leads JetStream, and what happens while nobody does.

use std::time::Duration;

use midge_proto::Instant;

use super::super::cluster::Cluster;
use super::super::delivery::Message;
use super::{JetStream, Say, Turn};

/// How long an election takes.
const ELECTION: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(3));

/// Who leads, or who will when.
#[derive(Debug, Default)]
pub(super) struct Leadership {
    leader: Option<usize>,
    /// Leaders so far.
    terms: u64,
    /// An election is under way until then.
    election: Option<Instant>,
    vacancy: Vacancy,
}

/// What those hear who need a leader when there is none.
#[derive(Clone, Copy, Debug, Default)]
enum Vacancy {
    /// Nobody listens.
    #[default]
    Deaf,
    /// Nobody answers: other servers believe that the leader is still there.
    Mute,
    /// Calls of the API are answered by an error.
    Unavailable,
}

/// How a leader ceased to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Its process was killed.
    Killed,
    /// It shuts down, and says so.
    Shutdown,
    /// It was voted out.
    SteppedDown,
}

impl Leadership {
    pub(super) fn leader(&self) -> Option<usize> {
        self.leader
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.election
    }
}

impl Cluster {
    /// The leader of JetStream steps down. After some time there is another one, or the same.
    pub fn step_down(&mut self, now: Instant) {
        let now = self.advance(now);
        if let Some(leader) = self.jetstream.leadership.leader {
            self.lose_leader(leader, Loss::SteppedDown, now);
            self.lead(now);
        }
        self.run_routes(now);
    }

    /// Looks whether the leader can still lead, and whether there has to be one.
    pub(in crate::server) fn lead(&mut self, now: Instant) {
        let with = |server: &usize| self.nodes[*server].options.jetstream;
        let all: Vec<usize> = (0..self.nodes.len()).filter(with).collect();
        let can = |server: &usize| {
            let running = self.nodes[*server].running.as_ref();
            running.is_some_and(|running| running.lame_duck.is_none())
        };
        let up: Vec<usize> = all.iter().copied().filter(can).collect();
        let reaches = |a: usize, b: usize| a == b || self.is_routed(a, b);
        let votes = |&server: &usize| up.iter().filter(|&&other| reaches(server, other)).count();
        let wins = |server: &usize| votes(server) * 2 > all.len();
        let able: Vec<usize> = up.iter().copied().filter(wins).collect();
        let leadership = &mut self.jetstream.leadership;
        if let Some(leader) = leadership.leader {
            if able.contains(&leader) {
                return;
            }
            let loss = match (&self.nodes[leader].running, up.contains(&leader)) {
                (None, _) => Loss::Killed,
                (Some(_), false) => Loss::Shutdown,
                (Some(_), true) => Loss::SteppedDown,
            };
            return self.lose_leader(leader, loss, now);
        }
        if able.is_empty() {
            leadership.election = None;
        } else if leadership.terms == 0 || leadership.election.is_some_and(|at| at <= now) {
            let place = self.jetstream.rng.index(able.len());
            let leadership = &mut self.jetstream.leadership;
            leadership.leader = Some(able[place]);
            leadership.terms += 1;
            leadership.election = None;
            self.jetstream.begin_term(now);
        } else if leadership.election.is_none() {
            let (least, most) = ELECTION;
            let at = now + self.jetstream.rng.between(least, most);
            self.jetstream.leadership.election = Some(at);
        }
    }

    fn lose_leader(&mut self, leader: usize, loss: Loss, now: Instant) {
        let jetstream = &mut self.jetstream;
        let all = [Vacancy::Deaf, Vacancy::Mute, Vacancy::Unavailable];
        jetstream.leadership.vacancy = all[jetstream.rng.index(all.len())];
        self.turn(leader, now, |jetstream, turn| jetstream.end_term(loss, turn));
        self.jetstream.leadership.leader = None;
        self.jetstream.due = None;
        self.lead(now);
    }

    /// Somebody wants JetStream and nobody leads it; whether it is heard.
    pub(super) fn without_leader(
        &mut self,
        server: usize,
        message: &Message,
        now: Instant,
    ) -> bool {
        let jetstream = &self.jetstream;
        if jetstream.leadership.terms == 0 || !jetstream.listens(&message.subject) {
            return false;
        }
        let is_call = message.subject.starts_with(b"$JS.API.")
            && !message.subject.starts_with(b"$JS.API.CONSUMER.MSG.NEXT.");
        match jetstream.leadership.vacancy {
            Vacancy::Mute => true,
            Vacancy::Unavailable if is_call => {
                if let Some(reply) = &message.reply {
                    let error = super::api::Error::UNAVAILABLE;
                    self.say_for_jetstream(server, Say::answer(reply, error.to_json()), now);
                }
                true
            }
            _ => false,
        }
    }
}

impl JetStream {
    /// Another leader knows what was replicated.
    fn begin_term(&mut self, now: Instant) {
        for consumer in self.streams.values_mut().flat_map(|it| it.consumers.values_mut()) {
            consumer.lead_anew(now);
        }
        self.due = Some(now);
    }

    /// What only the leader knew is lost. Those who wait are told, by it or by the next one, or not.
    fn end_term(&mut self, loss: Loss, turn: &mut Turn<'_>) {
        for stream in self.streams.values_mut() {
            for consumer in stream.consumers.values_mut() {
                let waiting = std::mem::take(&mut consumer.waiting);
                if loss == Loss::Shutdown {
                    let over = waiting.iter().map(|pull| pull.over("409 Server Shutdown"));
                    turn.says.extend(over);
                } else if self.rng.one_in(2) {
                    consumer.lost.extend(waiting.into_iter().map(|pull| pull.reply));
                }
            }
            // The server itself may lead them on, as nobody has to be voted for.
            if loss != Loss::SteppedDown || self.rng.one_in(2) {
                stream.consumers.retain(|_, consumer| !consumer.is_in_memory());
            }
        }
    }
}
