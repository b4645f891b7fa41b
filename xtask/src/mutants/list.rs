//! The mutants: each a fault that somebody could write, and the tests that must see it.
//!
//! An edit names the text it replaces, and blanks and line ends in it stand for any. It must be in
//! its file exactly once: when it is not, the code has changed, and the mutant has to follow it.

/// A fault of the core.
#[derive(Debug)]
pub(super) struct Mutant {
    pub(super) name: &'static str,
    /// What a user would see, in a few words.
    pub(super) breaks: &'static str,
    pub(super) edits: &'static [Edit],
    /// Tests of `midge-proto` that must fail, each as `TARGET::TEST`.
    pub(super) proto: &'static [&'static str],
    /// The same of `midge-sim`.
    pub(super) sim: &'static [&'static str],
}

#[derive(Debug)]
pub(super) struct Edit {
    /// Below `crates/midge-proto/src`.
    pub(super) file: &'static str,
    pub(super) find: &'static str,
    pub(super) replace: &'static str,
}

const fn edit(file: &'static str, find: &'static str, replace: &'static str) -> Edit {
    Edit { file, find, replace }
}

const COMMANDS: &str = "connection/commands.rs";
const CHOOSING: &str = "connection/choosing.rs";
const ENDING: &str = "connection/ending.rs";
const FRAMES: &str = "connection/frames.rs";
const HANDSHAKE: &str = "connection/handshake.rs";
const KEEPING: &str = "connection/outbound/keeping.rs";
const MOD: &str = "connection/mod.rs";
const OUTBOUND: &str = "connection/outbound.rs";
const PINGS: &str = "connection/pings.rs";
const RECEIVE: &str = "connection/receive.rs";
const REQUESTS: &str = "connection/requests.rs";
const SUBSCRIPTIONS: &str = "connection/subscriptions.rs";
const WITHDRAWING: &str = "connection/outbound/withdrawing.rs";
const DECODER: &str = "wire/decoder.rs";

#[rustfmt::skip]
pub(super) const MUTANTS: &[Mutant] = &[
    // ---- the contract of poll ------------------------------------------------------------
    Mutant {
        name: "deadline-not-reported",
        breaks: "the deadline of a request is not in `Wait`: it times out whenever something else wakes the driver",
        edits: &[edit(MOD,
            "let next = match (timer, self.requests.next_deadline()) {",
            "let next = match (timer, None::<Instant>) {")],
        proto: &["connection::contract::line_1_idle_reports_the_earliest_deadline_and_never_a_past_one"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "attempt-not-checked",
        breaks: "a late answer of an old attempt is taken for one of the present attempt",
        edits: &[edit(HANDSHAKE,
            "self.session.alive && self.session.attempt == attempt",
            "self.session.alive && attempt <= self.session.attempt")],
        proto: &["connection::contract::line_4_answers_of_an_old_attempt_change_nothing"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "read-buffer-of-an-old-transport-taken",
        breaks: "bytes that an old transport delivered late are read as if the new one had brought them",
        edits: &[edit(MOD,
            "let current = buffer.attempt() == self.session.attempt && self.session.alive;",
            "let current = true;")],
        proto: &["connection::inbound::a_read_buffer_that_comes_back_to_another_attempt_is_room_and_nothing_more"],
        sim: &[],
    },
    Mutant {
        name: "request-ends-twice",
        breaks: "a request that got its reply goes on waiting: a second reply, or its deadline, ends it again",
        edits: &[edit(RECEIVE,
            "self.requests.end(id); let nobody",
            "let nobody")],
        proto: &["connection::requests::all_requests_share_one_inbox_and_each_reply_finds_its_own"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "full-buffer-not-noticed",
        breaks: "no publish is refused for want of room: memory grows as long as the transport is slow",
        edits: &[edit(COMMANDS,
            "self.outbound.user_bytes() + length <= self.user_bound()",
            "self.outbound.user_bytes() <= usize::MAX - length")],
        proto: &["connection::refused::past_the_bound_a_publish_is_refused_and_writable_comes_at_half"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    // ---- fates ---------------------------------------------------------------------------
    Mutant {
        name: "begun-frame-sent-again",
        breaks: "a message that was half written when the connection was lost is unknown and kept at once, and sent again",
        edits: &[edit(KEEPING,
            "} else if run.is_user() { let _ = unsent",
            "} if run.is_user() { let _ = unsent")],
        proto: &["connection::fates::a_loss_in_the_middle_of_a_frame_splits_unknown_from_kept"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "kept-frames-doubled",
        breaks: "what was kept for the next connection is sent twice on it",
        edits: &[edit(KEEPING,
            "self.keep(position, run.kind, frame); self.since_ping += frame.len();",
            "self.keep(position, run.kind, frame);
             self.keep(position, run.kind, frame);
             self.since_ping += frame.len();")],
        proto: &["connection::fates::messages_published_while_disconnected_wait_for_the_first_pong"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "kept-frames-before-the-first-pong",
        breaks: "kept messages go out before the server has accepted the client, which may lose them",
        edits: &[
            edit(HANDSHAKE,
                "encode::connect(out, &json); self.phase = Phase::Greeting;",
                "encode::connect(out, &json);
                 let _ = self.outbound.open(usize::MAX, |_| true);
                 self.phase = Phase::Greeting;"),
            edit(MOD,
                "Phase::Greeting => self.fill_handshake(),",
                "Phase::Greeting => { self.fill_handshake(); self.outbound.prepare(); }"),
        ],
        proto: &["connection::fates::messages_published_while_disconnected_wait_for_the_first_pong"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "confirmed-without-pong",
        breaks: "messages count as confirmed, and flushes succeed, once their PING is written",
        edits: &[
            edit(PINGS, "self.written > 0 && self.answered > 0", "self.written > 0"),
            edit(PINGS,
                "if !self.has_answer() { return None; }",
                "if !self.has_answer() { return None; }
                 self.answered = self.answered.max(1);"),
        ],
        proto: &["connection::confirmed::what_was_written_before_an_answered_ping_is_confirmed"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "flush-without-its-ping",
        breaks: "a flush appends no PING, and waits for one that may never come",
        edits: &[edit(COMMANDS,
            "if self.is_connected() { self.outbound.ping(Some(id), 0); }",
            "")],
        proto: &["connection::confirmed::a_flush_tells_what_was_lost_before_it"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "flush-served-by-an-earlier-ping",
        breaks: "a PING that waits serves for a flush of what was published behind it",
        edits: &[edit(OUTBOUND,
            "&& self.runs.back().is_some_and(|run| run.kind == Kind::Ping);",
            "&& self.runs.iter().any(|run| run.kind == Kind::Ping);")],
        proto: &["connection::confirmed::a_ping_that_waits_serves_only_for_what_stands_before_it"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "withdrawn-request-sent",
        breaks: "a request whose caller was told that it is not sent is sent",
        edits: &[edit(WITHDRAWING,
            "run.kind = Kind::Dead; let len = run.len as usize; self.user_bytes -= len;",
            "let len = run.len as usize; self.user_bytes -= len;")],
        proto: &["connection::requests::a_deadline_that_passes_before_a_byte_left_means_never_sent"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    // ---- what the server takes -----------------------------------------------------------
    Mutant {
        name: "max-payload-of-the-next-server-not-checked",
        breaks: "a kept message that the next server does not take is sent, and costs the connection",
        edits: &[edit(HANDSHAKE,
            "let fits = |frame: &[u8]| frames::fits(frame, max, headers);",
            "let fits = |frame: &[u8]| frames::fits(frame, max.and(None), headers);")],
        proto: &["connection::fates::kept_messages_that_the_next_server_does_not_take_are_dropped_and_said"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "lowered-max-payload-not-checked",
        breaks: "a message that waits while INFO lowers the limit is sent, and costs the connection",
        edits: &[edit(HANDSHAKE,
            "self.session.lowered |= old.is_some_and",
            "self.session.lowered &= old.is_some_and")],
        proto: &["connection::limits::what_waits_and_fits_no_more_is_dropped_and_said_and_the_rest_is_sent"],
        sim: &[],
    },
    Mutant {
        name: "headers-to-a-server-without-them",
        breaks: "a message with headers goes to a server that knows none, and costs the connection",
        edits: &[
            edit(FRAMES,
                "max_payload.is_none_or(fits) && (headers || frame.first() == Some(&b'P'))",
                "{ let _ = headers; max_payload.is_none_or(fits) }"),
            edit(COMMANDS,
                "if headers.is_some() && !info.headers {",
                "if headers.is_some() && info.payload_limit() == Some(0) {"),
        ],
        proto: &[
            "connection::fates::a_kept_message_with_headers_is_not_sent_to_a_server_that_knows_none",
            "connection::limits::headers_that_the_server_no_longer_knows_are_not_sent",
            "connection::limits::headers_are_refused_while_the_server_knows_none",
        ],
        sim: &[],
    },
    Mutant {
        name: "denied-subscription-stays",
        breaks: "a subscription that the server refuses never ends, and never gets a message",
        edits: &[edit(RECEIVE,
            "Some((sid, false)) => { self.subscriptions.end(sid); self.subscription_ended(sid, EndReason::Denied(error.clone())); }",
            "Some((_, false)) => {}")],
        proto: &["connection::subscriptions::a_denied_subscription_ends_by_subject_and_queue_and_the_event_is_told_besides"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "denied-request-waits",
        breaks: "a request that the server refuses waits for its deadline",
        edits: &[edit(RECEIVE,
            "self.requests.with_subject(subject.as_bytes())",
            "self.requests.with_subject(&subject.as_bytes()[1..])")],
        proto: &["connection::requests::a_denied_subject_ends_the_request_to_it_at_once"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    // ---- ids and counts ------------------------------------------------------------------
    Mutant {
        name: "maximum-sent-again-whole",
        breaks: "after a reconnect the server is told the whole maximum of an auto-unsubscribe, and sends too many",
        edits: &[edit(SUBSCRIPTIONS,
            "subscription.before = slot.delivered;",
            "")],
        proto: &["connection::subscriptions::the_remaining_count_of_an_auto_unsubscribe_is_announced_not_the_original_one"],
        sim: &[],
    },
    Mutant {
        name: "request-place-without-generation",
        breaks: "a late reply ends the next request that has the same place",
        edits: &[edit(REQUESTS,
            "slot.waiting = None; slot.generation += 1;",
            "slot.waiting = None;")],
        proto: &["connection::requests::a_place_that_is_used_again_does_not_take_a_late_reply"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "sid-used-twice",
        breaks: "messages for a subscription that has ended go to the next one in its place",
        edits: &[edit(SUBSCRIPTIONS,
            "slot.subscription = None; slot.generation += 1;",
            "slot.subscription = None;")],
        proto: &["connection::subscriptions::an_ended_subscription_gets_nothing_more_and_its_number_is_not_used_again"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "subscriptions-not-announced-again",
        breaks: "after a reconnect the new server knows no subscription",
        edits: &[edit(SUBSCRIPTIONS,
            "self.cursor = 0; self.fence = false;",
            "self.fence = false;")],
        proto: &["connection::subscriptions::a_subscription_is_announced_again_on_the_next_connection"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    // ---- keep-alive ----------------------------------------------------------------------
    Mutant {
        name: "pong-lost-under-back-pressure",
        breaks: "a PING of the server that comes while bytes wait to be written is not answered",
        edits: &[edit(RECEIVE,
            "Received::Ping => self.pong_due = true,",
            "Received::Ping => self.pong_due |= !self.has_output() && !self.outbound.is_lent(),")],
        proto: &["connection::keep_alive::a_ping_that_comes_while_bytes_wait_is_answered_behind_them"],
        sim: &[],
    },
    Mutant {
        name: "stale-server-not-noticed",
        breaks: "a server that answers no PING is never left",
        edits: &[edit(MOD,
            "if self.pings_out >= self.config.max_pings_out {",
            "if self.pings_out == u32::MAX {")],
        proto: &["connection::keep_alive::a_server_that_answers_no_ping_is_stale"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    // ---- the way up ----------------------------------------------------------------------
    Mutant {
        name: "attempt-without-timer",
        breaks: "a dial, or a server, that never answers holds the connection up for ever",
        edits: &[
            edit(HANDSHAKE, "self.timers.set(Timer::Attempt, self.now + share);", "let _ = share;"),
            edit(HANDSHAKE,
                "self.timers.set(Timer::Attempt, self.session.ends); if server.scheme()",
                "if server.scheme()"),
            edit(HANDSHAKE,
                "self.timers.set(Timer::Attempt, self.session.ends); let scheme",
                "let scheme"),
        ],
        proto: &["connection::handshake::one_timer_covers_a_whole_attempt"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "jitter-zero",
        breaks: "all clients of a lost server come back at the same time",
        edits: &[edit(CHOOSING,
            "half + self.rng.duration(half) + self.rng.duration(jitter)",
            "half + half + jitter.min(Duration::ZERO)")],
        proto: &[
            "connection::servers::the_first_retry_comes_at_once_and_the_next_ones_ever_later",
            "connection::choosing::each_wait_is_longer_by_a_random_time_which_is_another_one_with_tls",
        ],
        sim: &[],
    },
    Mutant {
        name: "backoff-never-grows",
        breaks: "a server that stays away is tried at the shortest interval for ever",
        edits: &[edit(CHOOSING,
            "let wait = self.config.reconnect_wait.saturating_mul(1 << doublings);",
            "let wait = self.config.reconnect_wait.saturating_mul(1 << (doublings * 0));")],
        proto: &["connection::servers::the_first_retry_comes_at_once_and_the_next_ones_ever_later"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "plaintext-before-tls-taken",
        breaks: "what somebody on the way sent behind INFO is read as if it had come through TLS",
        edits: &[edit(HANDSHAKE,
            "if !behind.is_empty() {",
            "if behind.len() == usize::MAX {")],
        proto: &["connection::tls::plaintext_behind_info_fails_the_attempt_when_tls_is_due"],
        sim: &[],
    },
    // ---- planned ends --------------------------------------------------------------------
    Mutant {
        name: "drain-ends-early",
        breaks: "a drain does not wait for requests that run",
        edits: &[edit(ENDING,
            "Drain::Requests if self.requests.len() == 0 && !self.subscriptions.awaits_replies() => {",
            "Drain::Requests if !self.subscriptions.awaits_replies() => {")],
        proto: &["connection::ending::a_drain_lets_a_request_run_to_its_deadline"],
        sim: &[],
    },
    Mutant {
        name: "drain-ends-with-an-earlier-pong",
        breaks: "the PONG of an earlier PING ends the drain of a subscription, and what is still on its way is lost",
        edits: &[edit(SUBSCRIPTIONS,
            "if waits_for > number {",
            "if waits_for > number + 1 {")],
        proto: &["connection::subscriptions::the_pong_of_an_earlier_ping_does_not_end_a_drain"],
        sim: &["storm::a_thousand_storms_lose_nothing"],
    },
    Mutant {
        name: "close-does-not-wait",
        breaks: "a close does not wait for the server's word on what was published",
        edits: &[edit(ENDING,
            "Closing { why, flush: None, confirmed: linger.is_zero() }",
            "Closing { why, flush: None, confirmed: true }")],
        proto: &["connection::ending::a_close_confirms_what_was_published_first"],
        sim: &[],
    },
    Mutant {
        name: "move-does-not-wait",
        breaks: "a planned move leaves a server that has not confirmed what it was sent",
        edits: &[edit(ENDING,
            "self.ending.moving = Some(Move::Flushing(flush));",
            "self.ending.moving = None; self.fail(DisconnectCause::Requested);")],
        proto: &["connection::moves::a_planned_move_leaves_nothing_unknown"],
        sim: &[],
    },
    Mutant {
        name: "lame-duck-ignored",
        breaks: "a server that is about to go is left only when it closes the connection",
        edits: &[edit(HANDSHAKE,
            "let told = info.lame_duck && !mem::replace(&mut self.session.lame_duck, true);",
            "let told = info.lame_duck && mem::replace(&mut self.session.lame_duck, false);")],
        proto: &[
            "connection::servers::lame_duck_is_said_once_a_connection",
            "connection::servers::a_lame_duck_is_left_within_the_given_time_for_a_server_that_is_known",
        ],
        sim: &[],
    },
    // ---- bytes ---------------------------------------------------------------------------
    Mutant {
        name: "payload-end-not-checked",
        breaks: "a message whose payload does not end where its line says is taken, and what follows is read askew",
        edits: &[edit(DECODER,
            "Some(_) => Err(DecodeError::MissingCrlf),",
            "Some(_) => Ok(Step::Frame { frame: Frame::Message(body.layout), len: body.total }),")],
        proto: &["wire_decoder::what_is_no_frame_is_refused"],
        sim: &[],
    },
];
