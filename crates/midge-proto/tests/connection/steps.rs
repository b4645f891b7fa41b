//! What can happen in a random run.

use proptest::prelude::*;

/// A step of a random run.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Publish(usize),
    /// A message that is not kept.
    PublishRequest(usize),
    /// Takes back one of the latest messages.
    Withdraw(u64),
    Request(u64),
    CancelRequest(usize),
    /// To replies, or to anything.
    Subscribe(bool),
    Unsubscribe(usize, u64),
    DrainSubscription(usize),
    Flush,
    CancelFlush(usize),
    Reconnect,
    SetServers(usize),
    Pause(bool),
    Drain,
    QueuesDrained,
    Close(u64),
    /// The answer to the last action that asks for one.
    Answer,
    Fail,
    /// Every answer there is, of attempts that are over.
    Late,
    /// Everyone does what the other waits for.
    ComeUp,
    /// The server answers what it was sent.
    Serve,
    /// The server says something of its own.
    Say(usize),
    /// The connection reads so many bytes at most.
    Read(usize),
    TakeRead,
    Fill(usize),
    /// The transport takes so many bytes.
    Write(usize),
    /// A batch of so many bytes is taken, and the transport takes so many of them.
    Take(usize, usize),
    Settle,
    Time(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0usize..300).prop_map(Step::Publish),
        1 => (0usize..300).prop_map(Step::PublishRequest),
        1 => (0u64..4).prop_map(Step::Withdraw),
        3 => (1u64..5000).prop_map(Step::Request),
        1 => (0usize..4).prop_map(Step::CancelRequest),
        2 => prop::bool::weighted(0.2).prop_map(Step::Subscribe),
        1 => ((0usize..4), (0u64..4)).prop_map(|(which, max)| Step::Unsubscribe(which, max)),
        1 => (0usize..4).prop_map(Step::DrainSubscription),
        2 => Just(Step::Flush),
        1 => (0usize..4).prop_map(Step::CancelFlush),
        1 => Just(Step::Reconnect),
        1 => (1usize..4).prop_map(Step::SetServers),
        1 => any::<bool>().prop_map(Step::Pause),
        8 => Just(Step::Answer),
        1 => Just(Step::Fail),
        1 => Just(Step::Late),
        2 => Just(Step::ComeUp),
        8 => Just(Step::Serve),
        4 => (0usize..12).prop_map(Step::Say),
        8 => prop_oneof![3 => Just(usize::MAX), 1 => 1usize..60].prop_map(Step::Read),
        2 => Just(Step::TakeRead),
        3 => prop_oneof![3 => Just(usize::MAX), 1 => 0usize..60].prop_map(Step::Fill),
        6 => prop_oneof![1 => Just(usize::MAX), 2 => 1usize..300].prop_map(Step::Write),
        4 => (prop_oneof![1 => Just(usize::MAX), 1 => 0usize..300],
              prop_oneof![1 => Just(usize::MAX), 1 => 0usize..300])
            .prop_map(|(max, written)| Step::Take(max, written)),
        5 => Just(Step::Settle),
        4 => (0u64..4000).prop_map(Step::Time),
    ]
}

fn last_steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Drain),
        2 => Just(Step::QueuesDrained),
        1 => (0u64..3000).prop_map(Step::Close),
        2 => Just(Step::Answer),
        3 => Just(Step::Serve),
        3 => Just(Step::Read(usize::MAX)),
        3 => (1usize..2000).prop_map(Step::Write),
        1 => (0usize..300).prop_map(|max| Step::Take(max, max)),
        2 => Just(Step::Settle),
        1 => (0u64..4000).prop_map(Step::Time),
    ]
}

#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) named: bool,
    pub(crate) tls: bool,
    pub(crate) authorize: bool,
    pub(crate) choose: bool,
    pub(crate) keep_requests: bool,
    /// In milliseconds.
    pub(crate) write_deadline: Option<u64>,
    /// In milliseconds.
    pub(crate) max_kept_age: Option<u64>,
    pub(crate) steps: Vec<Step>,
}

pub(crate) fn run() -> impl Strategy<Value = Run> {
    let flags = (
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.3),
        prop::option::weighted(0.3, 1u64..3000),
        prop::option::weighted(0.3, 1u64..3000),
    );
    let steps =
        (proptest::collection::vec(step(), 0..150), proptest::collection::vec(last_steps(), 0..30));
    (flags, steps).prop_map(|(flags, (mut steps, last))| {
        let (named, tls, authorize, choose, keep_requests, write_deadline, max_kept_age) = flags;
        steps.extend(last);
        Run { named, tls, authorize, choose, keep_requests, write_deadline, max_kept_age, steps }
    })
}
