//! Whatever a server says to a consumer, and whatever becomes of the connection: the machines that
//! read consumers neither panic, nor spin, nor stall, nor ask for more than they may.
//!
//! The wrapper in `targets/` gives this function to libFuzzer. The test `fuzz_replay` of
//! midge-jetstream includes this file and runs it on every kept input, with a stable compiler.

use std::time::Duration;

use midge_jetstream::{
    Created, Delivery, Notice, OrderedMachine, OrderedOutput, PullConfig, PullMachine, PullOutput,
    StatusMessage, Verdict,
};
use midge_proto::{Headers, Instant};

use super::choices::Input;

const MOST: u64 = 20;
/// Outputs at one moment; a machine keeps 32 notices.
const OUTPUTS: usize = 100;

/// The first byte chooses the machine; then a byte chooses what happens, with arguments behind it.
pub(crate) fn consumers(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let mut input = Input(rest);
    let config = PullConfig {
        messages: 1 + u64::from(first >> 3) % MOST,
        small_messages: (first & 128 != 0).then_some(2 * MOST),
        read_within: (first & 64 != 0).then_some(Duration::from_secs(1)),
        bytes: (first & 4 != 0).then_some(1000),
        limit: (first & 8 != 0).then_some(7),
        abort_when_missing: first & 16 != 0,
        no_wait: first & 32 != 0,
        expires: Duration::from_secs(10),
        ..PullConfig::consume()
    };
    match first & 3 {
        0 => pull(PullMachine::consume(config, 1), true, &mut input),
        1 => pull(PullMachine::fetch(config, 1, Instant::ZERO), false, &mut input),
        2 => ordered(OrderedMachine::pull(config, first & 64 != 0, 1), &mut input),
        _ => ordered(OrderedMachine::push(Duration::from_secs(2), false, 1), &mut input),
    }
}

fn pull(mut machine: PullMachine, on_and_on: bool, input: &mut Input<'_>) {
    let (mut now, mut connected) = (Instant::ZERO, false);
    let config = machine.config();
    let most = if on_and_on { config.most_messages() } else { config.messages };
    let mut until = settle(&mut machine, now);
    let mut json = Vec::new();
    while !input.0.is_empty() {
        match input.byte() % 10 {
            0 | 1 => {
                let (size, pin) = (input.number(), input.counted());
                let pin = std::str::from_utf8(pin).ok().filter(|pin| !pin.is_empty());
                machine.message(usize::try_from(size).unwrap_or(usize::MAX), pin);
            }
            2 => machine.late_message(usize::from(input.byte())),
            3 | 4 => {
                if let Some(status) =
                    StatusMessage::from_headers(Headers::from_block(input.counted()))
                {
                    machine.status(&status, now);
                }
            }
            5 => {
                machine.connected();
                connected = true;
            }
            6 => {
                machine.disconnected();
                connected = false;
            }
            7 => match input.byte() % 4 {
                0 => machine.checked(Some(true), now),
                1 => machine.checked(Some(false), now),
                2 => machine.checked(None, now),
                _ => machine.not_sent(now),
            },
            8 => now = now + input.time(),
            _ => now = until.map_or(now, |until| until.max(now)),
        }
        until = settle(&mut machine, now);
        assert!(machine.pending() <= most, "{} are asked for", machine.pending());
    }
    json.clear();
    machine.checked(None, now);
    if !connected {
        machine.connected();
    }
    until = settle(&mut machine, now);
    if machine.end().is_none() {
        assert!(until.is_some(), "connected, and it waits for nothing");
    }
    // From here on there is silence: it asks, checks or ends before long.
    let began = now;
    let delivered = machine.delivered();
    while machine.end().is_none() && now.saturating_since(began) < Duration::from_secs(60) {
        let mut asked = false;
        for _ in 0..OUTPUTS {
            match machine.poll(now) {
                PullOutput::Pull(request) => {
                    machine.write_request(&request, &mut json);
                    asked = true;
                }
                PullOutput::Check => machine.checked(None, now),
                PullOutput::Notice(_) => {}
                PullOutput::End(_) => return,
                PullOutput::Wait(next) => {
                    until = next;
                    break;
                }
            }
        }
        if asked {
            assert_eq!(machine.delivered(), delivered);
            return;
        }
        now = until.expect("connected, and it waits for nothing");
    }
    assert!(machine.end().is_some() || !on_and_on, "it stalls");
}

fn settle(machine: &mut PullMachine, now: Instant) -> Option<Instant> {
    for _ in 0..OUTPUTS {
        match machine.poll(now) {
            PullOutput::Pull(request) => {
                assert!((1..=machine.config().most_messages()).contains(&request.messages));
                assert_ne!(request.bytes, Some(0));
            }
            PullOutput::Check | PullOutput::Notice(_) => {}
            PullOutput::End(_) => return None,
            PullOutput::Wait(until) => {
                assert!(until.is_none_or(|until| until > now), "a wait for the past");
                return until;
            }
        }
    }
    panic!("there is always more to do")
}

fn ordered(mut machine: OrderedMachine, input: &mut Input<'_>) {
    let mut now = Instant::ZERO;
    let mut last = None;
    let mut replaced = false;
    while !input.0.is_empty() {
        match input.byte() % 10 {
            0 | 1 => {
                let (consumer, stream) = (input.number(), input.number());
                let stored = i64::try_from(stream).unwrap_or(i64::MAX);
                if machine.message(consumer, stream, stored, 10, now) == Verdict::Deliver {
                    assert!(replaced || last.is_none_or(|last| stream > last), "twice");
                    (last, replaced) = (Some(stream), false);
                }
            }
            2 | 3 => {
                if let Some(status) =
                    StatusMessage::from_headers(Headers::from_block(input.counted()))
                {
                    machine.status(&status, now);
                }
            }
            4 => machine.connected(now),
            5 => machine.disconnected(),
            6 => machine.created(Created { before: input.number(), stream: None }, now),
            7 => machine.not_created(None, now),
            8 => {
                if let Some(delivery) = Delivery::parse(input.counted()) {
                    assert!(!delivery.stream.is_empty() && !delivery.consumer.is_empty());
                }
            }
            _ => now = now + input.time(),
        }
        for outputs in 0.. {
            assert!(outputs < OUTPUTS, "there is always more to do");
            match machine.poll(now) {
                OrderedOutput::Notice(notice) => replaced |= notice == Notice::StreamReplaced,
                OrderedOutput::Create { from, .. } => {
                    if let (Some(from), Some(last)) = (from, last) {
                        assert!(from == last.saturating_add(1) || replaced, "{from} behind {last}");
                    }
                }
                OrderedOutput::Delete { .. } | OrderedOutput::Pull(_) => {}
                OrderedOutput::End(_) => return,
                OrderedOutput::Wait(until) => {
                    assert!(until.is_none_or(|until| until > now), "a wait for the past");
                    break;
                }
            }
        }
    }
}
