//! What each option does: on the wire, and in time. Options of which a longer story is to be told
//! have it elsewhere: `docs/parity.md` says where.

use std::collections::HashSet;
use std::error::Error;
use std::time::Duration;

use midge::{
    Client, CloseReason, ConnectOptions, DisconnectCause, Event, Events, FlushError, PublishError,
    RequestError, State, SubscribeError,
};
use midge_proto::wire::ConnectInfo;

use crate::auth::{refused, shown, why};
use crate::rig::{Rig, Task, message, options, ready};

type Change = fn(ConnectOptions) -> ConnectOptions;
type Shows = fn(&mut ConnectInfo);
type End = fn(&Client);

const INFO: &str = r#"INFO {"server_id":"S","headers":true,"max_payload":1048576} "#;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const TICK: Duration = Duration::from_nanos(1);

/// Asserts that something happens once `after` has passed, and not before.
fn happens_after(rig: &mut Rig, after: Duration, mut happens: impl FnMut(&mut Rig) -> bool) {
    rig.sleep(after - TICK);
    assert!(!happens(rig), "it takes {after:?}");
    rig.sleep(TICK);
    assert!(happens(rig), "it takes {after:?}");
}

/// The next event of a kind, which is there.
fn next<T>(events: &mut Events, pick: impl Fn(Event) -> Option<T>) -> T {
    loop {
        let event = events.try_next().expect("there is such an event");
        if let Some(found) = pick(event) {
            return found;
        }
    }
}

// ---- on the wire -------------------------------------------------------------------------------

#[test]
fn connect_says_what_the_options_say_and_no_more() {
    let plain = shown(options(), INFO);
    let version = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(plain, ConnectInfo { lang: "rust".into(), version, ..ConnectInfo::default() });
    let cases: [(Change, Shows); 6] = [
        (|options| options.name("orders"), |connect| connect.name = Some("orders".into())),
        (|options| options.verbose(true), |connect| connect.verbose = true),
        (|options| options.pedantic(true), |connect| connect.pedantic = true),
        (|options| options.echo(false), |connect| connect.echo = false),
        (|options| options.token("t"), |connect| connect.auth_token = Some("t".into())),
        (
            |options| options.user_and_password("joe", "pw"),
            |connect| {
                connect.user = Some("joe".into());
                connect.pass = Some("pw".into());
            },
        ),
    ];
    for (set, expected) in cases {
        let mut connect = plain.clone();
        expected(&mut connect);
        assert_eq!(shown(set(options()), INFO), connect);
    }
}

#[test]
fn credentials_of_a_url_are_decoded_and_go_before_those_of_the_options() {
    let shown = |url: &str| {
        let options = ConnectOptions::new(url).token("option").user_and_password("option", "pw");
        let connect = shown(options, INFO);
        (connect.user, connect.pass, connect.auth_token)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(shown("j%40e:p%2Fw@127.0.0.1"), (some("j@e"), some("p/w"), None));
    assert_eq!(shown("t%3Ak@127.0.0.1"), (None, None, some("t:k")));
    assert_eq!(shown("127.0.0.1"), (some("option"), some("pw"), some("option")));
}

#[test]
fn servers_are_dialed_in_the_order_given_or_shuffled() {
    let given: Vec<_> = (1..=16).map(|number| format!("127.0.0.{number}")).collect();
    let dialed = |options: ConnectOptions| {
        let (_connecting, mut rig) = Rig::new(options);
        rig.unreachable();
        rig.run();
        while rig.is_dialing() {
            rig.refuse();
        }
        (rig.dialed, rig.address.map(|address| address.to_string()))
    };
    assert_eq!(dialed(ConnectOptions::new(&given[..]).retain_order(true)).0, given);
    let (shuffled, _) = dialed(ConnectOptions::new(&given[..]));
    assert_ne!(shuffled, given);
    let set = |list: Vec<_>| list.into_iter().collect::<HashSet<_>>();
    assert_eq!(set(shuffled), set(given));
    for (url, address) in [
        ("[::1]", "[::1]:4222"),
        ("tls://127.0.0.1", "127.0.0.1:4222"),
        ("ws://127.0.0.1", "127.0.0.1:80"),
        ("wss://[::1]", "[::1]:443"),
        ("nats://127.0.0.1:1", "127.0.0.1:1"),
    ] {
        let built = cfg!(all(feature = "tls", feature = "websocket"));
        if built || url.starts_with(['n', '[']) {
            assert_eq!(dialed(url.into()).1.as_deref(), Some(address));
        }
    }
}

#[test]
fn servers_that_a_server_tells_of_are_known_unless_ignored() {
    for ignored in [false, true] {
        let (client, mut rig) = Rig::connected(options().ignore_discovered(ignored));
        let mut events = client.events();
        rig.receive("INFO {\"server_id\":\"S\",\"connect_urls\":[\"127.0.0.9:4222\"]}\r\n");
        let heard = matches!(events.try_next(), Some(Event::ServersChanged { .. }));
        assert_eq!(heard, !ignored);
    }
}

#[test]
fn acknowledgements_of_a_verbose_server_are_passed_over() {
    let (client, mut rig) = Rig::connected(options().verbose(true));
    let mut subscription = ready(client.subscribe("s")).expect("it is allowed");
    let sid = subscription.sid();
    rig.receive(&format!("+OK\r\n{}+OK\r\n", message(sid, "x")));
    assert_eq!(ready(subscription.next()).expect("it came").payload(), b"x");
    assert!(client.last_error().is_none());
}

// ---- in time -----------------------------------------------------------------------------------

#[test]
fn an_attempt_takes_no_longer_than_connect_timeout() {
    for (options, timeout) in
        [(options(), seconds(5)), (options().connect_timeout(seconds(1)), seconds(1))]
    {
        let (connecting, mut rig) = Rig::new(options);
        let mut connecting = Task::new(connecting);
        rig.run();
        happens_after(&mut rig, timeout, |rig| rig.done);
        assert_eq!(why(connecting.ready()), DisconnectCause::NoInfo);
    }
}

#[test]
fn a_ping_is_sent_each_interval_until_too_many_are_unanswered() {
    let local = || ConnectOptions::new("127.0.0.1");
    for (options, interval, most) in [
        (local(), seconds(120), 2),
        (local().ping_interval(seconds(10)).max_pings_out(1), seconds(10), 1),
    ] {
        let (client, mut rig) = Rig::connected(options);
        let mut events = client.events();
        for _ in 0..most {
            happens_after(&mut rig, interval, |rig| rig.take_sent() == "PING\r\n");
        }
        rig.sleep(interval);
        let lost = next(&mut events, |event| match event {
            Event::Disconnected(lost) => Some(lost),
            _ => None,
        });
        assert_eq!(lost.cause, DisconnectCause::Stale);
    }
}

#[test]
fn a_request_takes_no_longer_than_request_timeout() {
    for (options, timeout) in
        [(options(), seconds(5)), (options().request_timeout(seconds(1)), seconds(1))]
    {
        let (client, mut rig) = Rig::connected(options);
        let mut request = Task::new(client.request("s", ""));
        assert!(request.poll().is_pending());
        rig.run();
        happens_after(&mut rig, timeout, |_| request.wakes.take() > 0);
        assert_eq!(request.ready().map(drop), Err(RequestError::TimedOut));
    }
}

#[test]
fn a_flush_takes_no_longer_than_flush_timeout() {
    for (options, timeout) in
        [(options(), seconds(10)), (options().flush_timeout(seconds(1)), seconds(1))]
    {
        let (client, mut rig) = Rig::connected(options);
        let mut flush = Task::new(client.flush());
        assert!(flush.poll().is_pending());
        rig.run();
        happens_after(&mut rig, timeout, |_| flush.wakes.take() > 0);
        assert_eq!(flush.ready().map(drop), Err(FlushError::TimedOut));
    }
}

#[test]
fn a_close_takes_no_longer_than_linger_and_a_drain_than_drain_timeout() {
    fn close(client: &Client) {
        drop(client.close());
    }
    fn drain(client: &Client) {
        drop(client.drain());
    }
    let cases: [(End, ConnectOptions, u64); 4] = [
        (close, options(), 2),
        (close, options().linger(seconds(7)), 7),
        (drain, options(), 30),
        (drain, options().drain_timeout(seconds(7)), 7),
    ];
    for (end, options, timeout) in cases {
        let (client, mut rig) = Rig::connected(options);
        client.try_publish("s", "").expect("there is room");
        end(&client);
        rig.run();
        happens_after(&mut rig, seconds(timeout), |rig| rig.done);
    }
}

#[test]
fn the_longest_times_are_as_good_as_none() {
    let options = options()
        .connect_timeout(Duration::MAX)
        .ping_interval(Duration::MAX)
        .request_timeout(Duration::MAX)
        .flush_timeout(Duration::MAX)
        .linger(Duration::MAX)
        .drain_timeout(Duration::MAX)
        .reconnect_wait(Duration::MAX, Duration::MAX)
        .slow_hold(Duration::MAX)
        .max_kept_age(Duration::MAX)
        .leave_lame_duck(Duration::MAX)
        .event_capacity(usize::MAX)
        .subscription_capacity(usize::MAX, usize::MAX);
    let (client, mut rig) = Rig::connected(options);
    rig.receive("INFO {\"server_id\":\"S\",\"ldm\":true,\"connect_urls\":[\"127.0.0.9:1\"]}\r\n");
    let mut request = Task::new(client.request("s", ""));
    let mut flush = Task::new(client.flush());
    assert!(request.poll().is_pending() && flush.poll().is_pending());
    rig.sleep(seconds(1 << 30));
    assert!(request.poll().is_pending() && flush.poll().is_pending());
    rig.receive("PONG\r\n");
    rig.cut();
    rig.refuse();
    rig.sleep(seconds(1 << 30));
    drop(client.drain());
    drop(client.close());
    rig.run();
}

// ---- connecting again --------------------------------------------------------------------------

#[test]
fn a_lost_connection_is_made_again_unless_reconnect_is_off() {
    for reconnect in [true, false] {
        let (client, mut rig) = Rig::connected(options().reconnect(reconnect));
        rig.cut();
        assert_eq!(rig.done, !reconnect);
        let closed = matches!(client.status().state, State::Closed { .. });
        assert_eq!(closed, !reconnect);
    }
}

#[test]
fn without_reconnect_leaving_a_server_is_the_end() {
    let (client, mut rig) = Rig::connected(options().reconnect(false));
    client.reconnect();
    rig.run();
    assert_eq!(rig.take_sent(), "PING\r\n");
    rig.receive("PONG\r\n");
    assert!(rig.done);
    let cause = DisconnectCause::Requested;
    let server = client.server().expect("there was one");
    let why = CloseReason::NoServers { server, cause };
    assert_eq!(client.status().state, State::Closed { why });
}

#[test]
fn a_server_is_given_up_after_max_attempts_and_else_never() {
    for most in [Some(1), Some(3), None] {
        let (client, mut rig) = Rig::connected(options().max_attempts(most));
        rig.cut();
        for _ in 0..most.unwrap_or(200) {
            assert!(!rig.done);
            rig.refuse();
            rig.sleep(seconds(60));
        }
        let given_up = State::Closed {
            why: CloseReason::NoServers {
                server: client.server().expect("there was one"),
                cause: DisconnectCause::Dial("refused".into()),
            },
        };
        assert_eq!(client.status().state == given_up, most.is_some());
    }
}

#[test]
fn waits_between_attempts_double_up_to_the_longest() {
    let ms = Duration::from_millis;
    let defaults = [100, 200, 400, 800, 1600, 3200, 5000, 5000];
    let set = [1000, 2000, 3000, 3000];
    for (options, waits) in
        [(options(), &defaults[..]), (options().reconnect_wait(seconds(1), seconds(3)), &set)]
    {
        let (_client, mut rig) = Rig::connected(options);
        rig.cut();
        assert_eq!(rig.dialed.len(), 2, "the first attempt comes at once");
        for &wait in waits {
            let before = rig.dialed.len();
            rig.refuse();
            rig.sleep(ms(wait / 2) - TICK);
            assert_eq!(rig.dialed.len(), before, "half of {wait} ms is certain");
            // The other half is random, as is the jitter.
            rig.sleep(ms(wait / 2 + 1000) + TICK);
            assert_eq!(rig.dialed.len(), before + 1, "{wait} ms");
        }
    }
}

// ---- bounds ------------------------------------------------------------------------------------

#[test]
fn bounds_of_zero_refuse_what_they_bound_or_end_it_at_once() {
    let none = options().max_subscriptions(0).max_requests(0).max_flushes(0).max_pending(0);
    let (client, mut rig) = Rig::connected(none.linger(Duration::ZERO));
    assert_eq!(ready(client.subscribe("s")).map(drop), Err(SubscribeError::TooMany));
    assert_eq!(ready(client.request("r", "")).map(drop), Err(RequestError::TooMany));
    let too_many = FlushError::TooMany;
    assert_eq!(ready(client.flush()).map(drop), Err(too_many));
    // One message passes at a time.
    rig.writable = false;
    ready(client.publish("a", "1")).expect("nothing else waits");
    let mut second = Task::new(client.publish("a", "2"));
    assert!(second.poll().is_pending());
    rig.writable = true;
    rig.run();
    second.ready().expect("the first one was written");
    drop(client.close());
    rig.run();
    assert!(rig.done, "it does not linger");

    let (client, _rig) = Rig::connected(options().max_subscriptions(0));
    let no_inbox = RequestError::Inbox(SubscribeError::TooMany);
    assert_eq!(ready(client.request("r", "")).map(drop), Err(no_inbox));

    let (client, mut rig) = Rig::connected(options().drain_timeout(Duration::ZERO));
    let _unread = ready(client.subscribe("s")).expect("it is allowed");
    drop(client.drain());
    rig.run();
    assert!(rig.done, "it does not wait for the server");
}

#[test]
fn a_message_above_max_message_is_skipped_and_reported() {
    let (client, mut rig) = Rig::connected(options().max_message(4));
    let mut events = client.events();
    let mut subscription = ready(client.subscribe("s")).expect("it is allowed");
    let sid = subscription.sid();
    rig.receive(&format!("{}{}", message(sid, "large"), message(sid, "tiny")));
    assert_eq!(ready(subscription.next()).expect("it came").payload(), b"tiny");
    let length = next(&mut events, |event| match event {
        Event::Oversized { length, .. } => Some(length),
        _ => None,
    });
    assert_eq!(length, 5);
}

#[test]
fn what_is_pending_or_kept_is_bounded() {
    let frame = "PUB s 1\r\nx\r\n".len();
    let (client, mut rig) =
        Rig::connected(options().max_pending(2 * frame).reconnect_buffer(frame));
    let count = || (0..10).take_while(|_| client.try_publish("s", "x").is_ok()).count();
    assert_eq!(count(), 2);
    assert!(matches!(client.try_publish("s", "x"), Err(PublishError::Full)));
    rig.run();
    rig.cut();
    assert_eq!(count(), 1);
}

#[test]
fn subscriptions_requests_and_flushes_are_bounded() {
    let bounded = options().max_subscriptions(1).max_requests(1).max_flushes(1);
    let (client, mut rig) = Rig::connected(bounded);
    let kept = ready(client.subscribe("s")).expect("it is the first");
    assert_eq!(ready(client.subscribe("s")).map(drop), Err(SubscribeError::TooMany));
    drop(kept);
    rig.run();
    let (mut first, mut second) = (Task::new(client.flush()), Task::new(client.flush()));
    assert!(first.poll().is_pending());
    let too_many = FlushError::TooMany;
    assert_eq!(second.ready().map(drop), Err(too_many));
    let (mut first, mut second) =
        (Task::new(client.request("s", "")), Task::new(client.request("s", "")));
    assert!(first.poll().is_pending());
    assert_eq!(second.ready().map(drop), Err(RequestError::TooMany));
}

#[test]
fn a_subject_that_the_server_would_not_take_is_refused() {
    for (options, most) in [(options(), 4096), (options().server_control_line(100), 100)] {
        let (client, _rig) = Rig::connected(options);
        let longest = "s".repeat(most - " 0".len());
        client.try_publish(longest.as_str(), "").expect("it has room");
        let longer = client.try_publish(format!("{longest}s").as_str(), "");
        assert!(matches!(longer, Err(PublishError::LineTooLong { max, .. }) if max == most));
    }
}

/// They begin small, and are as large as set once reads have filled them.
#[test]
fn reads_go_into_buffers_of_the_size_that_is_set() {
    for (options, size) in [(options(), 64 << 10), (options().read_chunk(9000), 9000)] {
        let (_client, mut rig) = Rig::connected(options);
        let mut largest = 0;
        for _ in 0..100 {
            let mut buffer = rig.driver.take_read().expect("it reads");
            largest = largest.max(buffer.len());
            assert!(buffer.len() <= size);
            let len = buffer.len();
            buffer.fill(b' ');
            let line = b"PING\r\n";
            for place in buffer.chunks_exact_mut(line.len()) {
                place.copy_from_slice(line);
            }
            let whole = len - len % line.len();
            buffer[whole..].copy_from_slice(&line[..len - whole]);
            rig.driver.filled(buffer, Ok(len));
            rig.run();
            let rest = line.len() - (len - whole);
            let mut buffer = rig.driver.take_read().expect("it reads");
            buffer[..rest].copy_from_slice(&line[line.len() - rest..]);
            rig.driver.filled(buffer, Ok(rest));
            rig.run();
        }
        // Its first bytes may have been those of a PONG.
        assert!(largest <= size && largest > size - 64, "{largest}");
    }
}

// ---- mistakes ----------------------------------------------------------------------------------

#[test]
fn servers_that_cannot_be_are_refused_and_nothing_secret_is_shown() {
    for url in [
        "",
        "nats://",
        ",127.0.0.1",
        "127.0.0.1,",
        "http://127.0.0.1",
        "nats:/127.0.0.1",
        "a b",
        "::1",
        "[::1",
        "[::1]4222",
        "[g::1]",
        "a:0",
        "a:65536",
        "a:port",
        "a:",
        "a/path",
        "ws://a/p q",
        "joe:secret%@a",
        "joe:secret%ff@a",
        "joe:secret/@a",
        "joe:secret,@a",
        "joe:secret@",
    ] {
        let refusal = refused(url.into()).to_string();
        assert!(refusal.starts_with("servers: "), "{url}: {refusal}");
        assert!(!refusal.contains("secret"), "{url}: {refusal}");
    }
    let none: [&str; 0] = [];
    assert_eq!(refused(ConnectOptions::new(none)).to_string(), "servers: name at least one");
}

#[test]
fn options_that_cannot_be_are_refused_and_named() {
    const ZERO: Duration = Duration::ZERO;
    let cases: [(&str, Change); 19] = [
        ("connect_timeout", |options| options.connect_timeout(ZERO)),
        ("ping_interval", |options| options.ping_interval(ZERO)),
        ("max_pings_out", |options| options.max_pings_out(0)),
        ("max_attempts", |options| options.max_attempts(0)),
        ("reconnect_wait", |options| options.reconnect_wait(ZERO, seconds(1))),
        ("reconnect_wait", |options| options.reconnect_wait(seconds(2), seconds(1))),
        ("request_timeout", |options| options.request_timeout(ZERO)),
        ("flush_timeout", |options| options.flush_timeout(ZERO)),
        ("max_kept_age", |options| options.max_kept_age(ZERO)),
        ("write_deadline", |options| options.write_deadline(ZERO)),
        ("max_message", |options| options.max_message(0)),
        ("max_message", |options| options.max_message(usize::MAX)),
        ("server_control_line", |options| options.server_control_line(0)),
        ("subscription_capacity", |options| options.subscription_capacity(0, 1)),
        ("subscription_capacity", |options| options.subscription_capacity(1, 0)),
        ("event_capacity", |options| options.event_capacity(0)),
        ("leave_lame_duck", |options| options.leave_lame_duck(seconds(1)).reconnect(false)),
        ("read_chunk", |options| options.read_chunk(0)),
        ("read_chunk", |options| options.read_chunk(usize::MAX)),
    ];
    for (option, set) in cases {
        let refusal = refused(set(options())).to_string();
        assert!(refusal.starts_with(&format!("`{option}` ")), "{refusal}");
    }
    for prefix in ["", "a..b", "a.*", "a.>", "a b", "a."] {
        let refusal = refused(options().inbox_prefix(prefix)).to_string();
        assert_eq!(
            refusal,
            format!("inbox_prefix: `{prefix}` must be a subject without wildcards")
        );
    }
}

#[test]
fn errors_say_all_in_their_message_and_have_no_source() {
    let (client, _rig) = Rig::connected(options());
    let connecting = why_not(ConnectOptions::new("http://a"));
    let subscribe = ready(client.subscribe("a b")).map(drop).expect_err("it has a blank");
    let errors: [Box<dyn Error>; 5] = [
        connecting,
        Box::new(client.try_publish("a b", "").expect_err("it has a blank")),
        Box::new(ready(client.request("a b", "")).map(drop).expect_err("it has a blank")),
        Box::new(client.new_inbox_with("a b").expect_err("it has a blank")),
        Box::new(subscribe),
    ];
    for error in errors {
        assert!(error.to_string().contains(": "), "{error}: it says what is wrong");
        assert!(error.source().is_none(), "{error}");
    }
}

fn why_not(options: ConnectOptions) -> Box<dyn Error> {
    Box::new(midge::ConnectError::from(refused(options)))
}
