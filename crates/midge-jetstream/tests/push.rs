//! Watching over push consumers, whatever happens.

use std::time::Duration;

use midge_jetstream::{Notice, PushMachine, PushOutput};
use midge_proto::Instant;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Step {
    Connected,
    Disconnected,
    Heard,
    Checked(Option<bool>),
    Changed(Option<u8>, bool),
    Pass(u16),
    ToTheWait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => Just(Step::Connected),
        1 => Just(Step::Disconnected),
        2 => Just(Step::Heard),
        4 => prop_oneof![Just(None), Just(Some(true))].prop_map(Step::Checked),
        1 => any::<(Option<u8>, bool)>().prop_map(|(a, b)| Step::Changed(a, b)),
        2 => any::<u16>().prop_map(Step::Pass),
        4 => Just(Step::ToTheWait),
    ]
}

/// What a machine has said until it waits.
#[derive(Debug, Default)]
struct Said {
    checks: usize,
    notices: usize,
    until: Option<Instant>,
}

fn run(machine: &mut PushMachine, now: Instant) -> Said {
    let mut said = Said::default();
    for _ in 0..4 {
        match machine.poll(now) {
            PushOutput::Check => said.checks += 1,
            PushOutput::Notice(notice) => {
                assert_eq!(notice, Notice::HeartbeatsMissed);
                said.notices += 1;
            }
            PushOutput::Gone => panic!("it is not gone"),
            PushOutput::Wait(until) => {
                assert!(until.is_none_or(|until| until > now), "a wait for the past");
                said.until = until;
                return said;
            }
        }
    }
    panic!("there is always more to do")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_asks_seldom_tells_once_and_finds_out_that_the_consumer_is_gone(
        is_shared: bool, steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut machine = PushMachine::new(Some(SECOND), 1).of_group(is_shared);
        let (mut now, mut until) = (Instant::ZERO, None);
        let (mut checks, mut notices) = (0, 0);
        // What begins a silence that may be told of, and questioned about, again.
        let mut silences = 1;
        for step in steps {
            match step {
                Step::Connected => machine.connected(),
                Step::Disconnected => machine.disconnected(),
                Step::Heard => machine.heard(),
                Step::Checked(exists) => machine.checked(exists, now),
                Step::Changed(seconds, is_shared) => {
                    let heartbeat = seconds.map(|seconds| SECOND * u32::from(seconds));
                    machine.changed(heartbeat, is_shared);
                }
                Step::Pass(millis) => now = now + Duration::from_millis(millis.into()),
                Step::ToTheWait => now = until.map_or(now, |until: Instant| until.max(now)),
            }
            silences += usize::from(!matches!(step, Step::Pass(_) | Step::ToTheWait | Step::Checked(_)));
            let said = run(&mut machine, now);
            (checks, notices, until) = (checks + said.checks, notices + said.notices, said.until);
        }
        prop_assert!(notices <= silences, "{notices} notices of {silences} silences");
        let seconds = usize::try_from((now - Instant::ZERO).as_secs()).unwrap();
        prop_assert!(checks <= silences + seconds, "{checks} checks in {seconds} s");

        // From here on nobody is heard, and the consumer is gone.
        machine.connected();
        machine.changed(Some(SECOND), is_shared);
        machine.checked(None, now);
        let began = now;
        loop {
            match machine.poll(now) {
                PushOutput::Check => machine.checked(Some(false), now),
                PushOutput::Notice(_) => {}
                PushOutput::Gone => break,
                PushOutput::Wait(until) => now = until.expect("it watches"),
            }
            prop_assert!(now - began <= 4 * SECOND, "it does not find out");
        }
    }
}
