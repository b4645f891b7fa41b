//! Transcripts: what clients send, on which kind of server.

use midge_sim::Rng;
use midge_sim::server::{Auth, Permission, ServerOptions, User};

/// What one client sends in one go: whole frames, or something that a server answers by closing.
pub(crate) type Say = (usize, String);

/// What clients do on a server of their own kind.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) says: Vec<Say>,
}

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Limited,
    Token,
    Users,
    OneConnection,
}

impl Kind {
    pub(crate) const ALL: [Self; 5] =
        [Self::Plain, Self::Limited, Self::Token, Self::Users, Self::OneConnection];

    /// The configuration file of a real server.
    pub(crate) const fn config(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Limited => "max_payload: 16\nmax_control_line: 256\nmax_subscriptions: 2\n",
            Self::Token => "authorization { token: secret }\n",
            Self::Users => concat!(
                "authorization { users: [",
                "{ user: all, password: all }, ",
                "{ user: some, password: some, permissions: { ",
                r#"publish: { allow: ["p.>", "s.ok"], deny: ["p.no"] }, "#,
                r#"subscribe: { allow: ["s.>", "w q1", "_INBOX.>"], deny: ["s.no", "s.q dq"] } } }, "#,
                "] }\n"
            ),
            Self::OneConnection => "max_connections: 1\n",
        }
    }

    /// The same for the model.
    pub(crate) fn options(self) -> ServerOptions {
        let mut options = ServerOptions::default();
        match self {
            Self::Plain => {}
            Self::Limited => {
                options.max_payload = 16;
                options.max_control_line = 256;
                options.max_subscriptions = Some(2);
            }
            Self::Token => options.auth = Auth::Token("secret".into()),
            Self::Users => options.auth = Auth::Users(vec![User::new("all", "all"), some()]),
            Self::OneConnection => options.max_connections = 1,
        }
        options
    }
}

pub(crate) fn some() -> User {
    let list = |patterns: &[&str]| patterns.iter().map(ToString::to_string).collect::<Vec<_>>();
    User {
        publish: Permission { allow: Some(list(&["p.>", "s.ok"])), deny: list(&["p.no"]) },
        subscribe: Permission {
            allow: Some(list(&["s.>", "w q1", "_INBOX.>"])),
            deny: list(&["s.no", "s.q dq"]),
        },
        ..User::new("some", "some")
    }
}

const C: &str = concat!(
    r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1}"#,
    "\r\n"
);
const QUIET: &str = "CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
const VERBOSE: &str = "CONNECT {\"pedantic\":false,\"headers\":true,\"protocol\":1}\r\n";
const LOUD: &str = concat!(
    r#"CONNECT {"verbose":true,"pedantic":false,"echo":true,"headers":false,"no_responders":false,"protocol":1}"#,
    "\r\n"
);
const NO_ECHO: &str = concat!(
    r#"CONNECT {"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1,"echo":false}"#,
    "\r\n"
);
const ALL: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"user\":\"all\",\"pass\":\"all\"}\r\n";
const SOME: &str =
    "CONNECT {\"verbose\":false,\"pedantic\":false,\"user\":\"some\",\"pass\":\"some\"}\r\n";

/// All written cases.
pub(crate) fn cases() -> Vec<Case> {
    let long = |count: usize| "x".repeat(count);
    let long_sub = |count: usize| format!("SUB {} 1\r\n", long(count));
    let case = |name: &str, kind, says: &[(usize, &str)]| Case {
        name: name.into(),
        kind,
        says: says.iter().map(|&(client, text)| (client, text.into())).collect(),
    };
    use Kind::{Limited, OneConnection, Plain, Token, Users};
    let mut cases = vec![
        case(
            "nothing before CONNECT",
            Plain,
            &[(0, "PING\r\n"), (0, "SUB a 1\r\nPUB a 1\r\nx\r\n")],
        ),
        case("PING before CONNECT gives no INFO", Plain, &[(0, "PING\r\n"), (0, C), (0, C)]),
        case("an old client gets no INFO", Plain, &[(0, QUIET), (0, "PING\r\n")]),
        case(
            "an empty CONNECT is verbose",
            Plain,
            &[(0, "CONNECT {}\r\n"), (0, "SUB a 1\r\nUNSUB 1\r\n")],
        ),
        case(
            "own messages",
            Plain,
            &[(0, C), (0, "SUB a 1\r\nPUB a 2\r\nhi\r\nPUB a b 0\r\n\r\n")],
        ),
        case(
            "verbose",
            Plain,
            &[
                (0, VERBOSE),
                (0, "SUB a 1\r\nPUB a 2\r\nhi\r\nUNSUB 1\r\nUNSUB 9\r\nPONG\r\n+OK\r\n"),
            ],
        ),
        case(
            "verbose refusals",
            Plain,
            &[(0, VERBOSE), (0, "SUB a..b 1\r\nSUB a 1\r\nSUB b 1\r\n")],
        ),
        case(
            "no echo",
            Plain,
            &[
                (0, NO_ECHO),
                (0, "SUB a 1\r\nSUB r 2\r\nPUB a r 1\r\nx\r\n"),
                (1, C),
                (1, "SUB a 1\r\n"),
                (0, "PUB a r 1\r\ny\r\n"),
            ],
        ),
        case(
            "no echo in a group",
            Plain,
            &[
                (0, NO_ECHO),
                (1, C),
                (0, "SUB a q 1\r\n"),
                (1, "SUB a q 7\r\n"),
                (0, "PUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n"),
            ],
        ),
        case(
            "headers",
            Plain,
            &[
                (0, C),
                (1, QUIET),
                (0, "SUB h 1\r\n"),
                (1, "SUB h 2\r\n"),
                (0, "HPUB h r 16 18\r\nNATS/1.0\r\nA: \r\n\r\nhi\r\n"),
                (0, "HPUB h 0 2\r\nhi\r\n"),
            ],
        ),
        case(
            "headers that are not valid",
            Plain,
            &[(0, C), (0, "SUB h 1\r\nHPUB h 4 6\r\nab:chi\r\nHPUB h 2 2\r\n\r\n\r\n")],
        ),
        case(
            "headers not negotiated",
            Plain,
            &[(0, QUIET), (0, "HPUB h 12 12\r\nNATS/1.0\r\n\r\n\r\n")],
        ),
        case(
            "no responders",
            Plain,
            &[
                (0, C),
                (0, "SUB r.* 5\r\n"),
                (0, "PUB nobody r.1 2\r\nhi\r\n"),
                (0, "PUB nobody other 0\r\n\r\nPUB nobody 0\r\n\r\n"),
            ],
        ),
        case(
            "no responders without a plain subscription",
            Plain,
            &[(0, C), (0, "SUB r q 5\r\nPUB nobody r 0\r\n\r\n")],
        ),
        case(
            "no responders is not counted",
            Plain,
            &[
                (0, C),
                (0, "SUB r 5\r\nUNSUB 5 1\r\n"),
                (0, "PUB nobody r 0\r\n\r\nPUB nobody r 0\r\n\r\n"),
                (0, "PUB r 0\r\n\r\nPUB r 0\r\n\r\n"),
            ],
        ),
        case(
            "no responders not asked for",
            Plain,
            &[(0, VERBOSE), (0, "SUB r 5\r\nPUB nobody r 0\r\n\r\n")],
        ),
        case(
            "wildcards",
            Plain,
            &[
                (0, C),
                (1, C),
                (0, "SUB a.*.c 1\r\n"),
                (0, "PUB a.b.c 0\r\n\r\nPUB a.b 0\r\n\r\nPUB a.b.c.d 0\r\n\r\nPUB a.*.c 0\r\n\r\n"),
                (
                    1,
                    "SUB a.> 2\r\nPUB a 0\r\n\r\nPUB a.b 0\r\n\r\nPUB a.> 0\r\n\r\nPUB a..b 0\r\n\r\nPUB a. 0\r\n\r\nPUB .a 0\r\n\r\n",
                ),
            ],
        ),
        case(
            "wildcards inside tokens",
            Plain,
            &[
                (0, C),
                (
                    0,
                    "SUB a*.b 1\r\nSUB a>.b 2\r\nPUB a*.b 0\r\n\r\nPUB ax.b 0\r\n\r\nPUB a>.b 0\r\n\r\n",
                ),
            ],
        ),
        case(
            "invalid subjects",
            Plain,
            &[
                (0, C),
                (
                    0,
                    "SUB a..b 1\r\nSUB . 2\r\nSUB >.a 3\r\nSUB a. 4\r\nSUB .a 5\r\nSUB a.>.b q 6\r\nSUB a 1\r\nPUB a 0\r\n\r\n",
                ),
            ],
        ),
        case(
            "pedantic",
            Plain,
            &[
                (0, "CONNECT {\"verbose\":false}\r\n"),
                (
                    0,
                    "SUB > 1\r\nPUB a.* 0\r\n\r\nPUB > 1\r\nx\r\nPUB a..b 0\r\n\r\nPUB a*b 0\r\n\r\n",
                ),
            ],
        ),
        case(
            "groups",
            Plain,
            &[
                (0, C),
                (1, C),
                (0, "SUB a q 1\r\nSUB a r 2\r\n"),
                (1, "PUB a 1\r\nx\r\n"),
                (0, "UNSUB 1\r\n"),
                (1, "PUB a 1\r\ny\r\n"),
            ],
        ),
        case(
            "a group over two subjects",
            Plain,
            &[
                (0, C),
                (1, C),
                (0, "SUB a.* q 1\r\n"),
                (0, "UNSUB 1 1\r\nSUB a.> q 2\r\nUNSUB 2 1\r\n"),
                (1, "PUB a.b 1\r\nx\r\nPUB a.b 1\r\nx\r\n"),
                (1, "PUB b 1\r\ny\r\n"),
            ],
        ),
        case(
            "unsub after some",
            Plain,
            &[
                (0, C),
                (0, "SUB a 1\r\nUNSUB 1 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n"),
            ],
        ),
        case(
            "unsub counts from the start",
            Plain,
            &[
                (0, C),
                (
                    0,
                    "SUB a 1\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nUNSUB 1 3\r\nPUB a 1\r\n3\r\nPUB a 1\r\n4\r\n",
                ),
            ],
        ),
        case(
            "unsub when it is too late",
            Plain,
            &[
                (0, C),
                (0, "SUB a 1\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nUNSUB 1 2\r\nPUB a 1\r\n3\r\n"),
            ],
        ),
        case(
            "unsub with odd numbers",
            Plain,
            &[
                (0, C),
                (
                    0,
                    "SUB a 1\r\nSUB a 2\r\nSUB a 3\r\nSUB a 4\r\nUNSUB 1 0\r\nUNSUB 2 -1\r\nUNSUB 3 x\r\nUNSUB 4 9999999999\r\nPUB a 1\r\n1\r\n",
                ),
            ],
        ),
        case(
            "unsub again",
            Plain,
            &[
                (0, C),
                (
                    0,
                    "UNSUB 7\r\nSUB a 1\r\nUNSUB 1\r\nUNSUB 1\r\nUNSUB 1 4\r\nSUB b 1\r\nPUB b 0\r\n\r\nPUB a 0\r\n\r\n",
                ),
            ],
        ),
        case(
            "unsub raises its number",
            Plain,
            &[
                (0, C),
                (
                    0,
                    "SUB a 1\r\nUNSUB 1 1\r\nUNSUB 1 2\r\nPUB a 1\r\n1\r\nPUB a 1\r\n2\r\nPUB a 1\r\n3\r\n",
                ),
            ],
        ),
        case(
            "a sid twice",
            Plain,
            &[
                (0, C),
                (
                    0,
                    "SUB a 1\r\nSUB b 1\r\nPUB b 0\r\n\r\nPUB a 0\r\n\r\nUNSUB 1\r\nPUB a 0\r\n\r\n",
                ),
            ],
        ),
        case("a sid that is no number", Plain, &[(0, C), (0, "SUB a x-y\r\nPUB a 0\r\n\r\n")]),
        case(
            "CONNECT again",
            Plain,
            &[
                (0, C),
                (0, "SUB a 1\r\n"),
                (0, LOUD),
                (0, "PUB a 0\r\n\r\nSUB a 1\r\nPUB a 0\r\n\r\n"),
            ],
        ),
        case(
            "lenient lines",
            Plain,
            &[
                (0, C),
                (
                    0,
                    "sub a \t 1\nPub\ta   2 \r\nhi\r\npInG\r\nping with words\r\nPINGX\r\nPONG\r\nINFO {}\r\n+OK whatever\r\n",
                ),
            ],
        ),
        case(
            "a CONNECT without a blank",
            Plain,
            &[(0, "connect{\"verbose\":false,\"pedantic\":false}\r\n"), (0, "SUB a 1\r\n")],
        ),
        case("an INFO that is no JSON", Plain, &[(0, C), (0, "INFO x\r\n")]),
        case("an -ERR", Plain, &[(0, C), (0, "-ERR 'x'\r\n")]),
        case("no operation", Plain, &[(0, C), (0, "GET / HTTP/1.1\r\n\r\n")]),
        case("no operation any more", Plain, &[(0, C), (0, "SUB a 1\r\nPUBX a 1\r\n")]),
        case("an operation of routes", Plain, &[(0, C), (0, "RMSG a 1\r\n")]),
        case("SUB without arguments", Plain, &[(0, C), (0, "SUB\r\n")]),
        case("SUB and a blank", Plain, &[(0, C), (0, "SUB \r\n")]),
        case("SUB with one argument", Plain, &[(0, C), (0, "SUB a\r\n")]),
        case("SUB with four arguments", Plain, &[(0, C), (0, "SUB a b c d\r\n")]),
        case("UNSUB with three arguments", Plain, &[(0, C), (0, "UNSUB a b c\r\n")]),
        case("PUB with one argument", Plain, &[(0, C), (0, "PUB a\r\n")]),
        case("PUB with four arguments", Plain, &[(0, C), (0, "PUB a b c 1\r\n")]),
        case("PUB with a sign", Plain, &[(0, C), (0, "PUB a -1\r\n")]),
        case("PUB with too many digits", Plain, &[(0, C), (0, "PUB a 0000000001\r\n")]),
        case("HPUB with two arguments", Plain, &[(0, C), (0, "HPUB a 1\r\n")]),
        case("HPUB with more headers than bytes", Plain, &[(0, C), (0, "HPUB a 5 4\r\n")]),
        case("a payload that goes on", Plain, &[(0, C), (0, "SUB a 1\r\nPUB a 1\r\nxyz\r\n")]),
        case("a payload without CR", Plain, &[(0, C), (0, "PUB a 1\r\nx\n\n")]),
        case("CONNECT that is no JSON", Plain, &[(0, "CONNECT {\r\n")]),
        case("CONNECT of a wrong type", Plain, &[(0, "CONNECT {\"verbose\":1}\r\n")]),
        case("CONNECT without anything", Plain, &[(0, "CONNECT\r\n")]),
        case("CONNECT with a protocol to come", Plain, &[(0, "CONNECT {\"protocol\":2}\r\n")]),
        case(
            "no responders without headers",
            Plain,
            &[(0, "CONNECT {\"no_responders\":true}\r\n")],
        ),
        case(
            "a payload of the limit",
            Limited,
            &[(0, C), (0, "SUB a 1\r\nPUB a 16\r\n0123456789abcdef\r\n")],
        ),
        case("a payload above the limit", Limited, &[(0, C), (0, "PUB a 17\r\n")]),
        case("headers count", Limited, &[(0, C), (0, "HPUB a 12 17\r\n")]),
        case("a payload far above the limit", Limited, &[(0, C), (0, "PUB a 999999999\r\n")]),
        case(
            "subscriptions up to the limit",
            Limited,
            &[
                (0, C),
                (
                    0,
                    "SUB a 1\r\nSUB a 2\r\nSUB a 3\r\nSUB a 1\r\nUNSUB 1\r\nSUB a 3\r\nSUB ..a 4\r\n",
                ),
            ],
        ),
        case("a line of the limit", Limited, &[(0, C), (0, &long_sub(254))]),
        case("a line above the limit", Limited, &[(0, C), (0, &long_sub(255))]),
        case("a line without an end", Limited, &[(0, C), (0, &format!("SUB {}", long(300)))]),
        case(
            "a CONNECT above the limit",
            Limited,
            &[(0, &format!("CONNECT {{\"name\":\"{}\"}}\r\n", long(300)))],
        ),
        case(
            "a PING is never too long",
            Limited,
            &[(0, C), (0, &format!("PING {}\r\n", long(300)))],
        ),
        case(
            "a good token",
            Token,
            &[(0, "CONNECT {\"verbose\":false,\"auth_token\":\"secret\",\"protocol\":1}\r\n")],
        ),
        case("a wrong token", Token, &[(0, "CONNECT {\"auth_token\":\"wrong\"}\r\n")]),
        case("no token", Token, &[(0, "CONNECT {}\r\n")]),
        case("PING where CONNECT is due", Token, &[(0, "PING\r\n")]),
        case("nonsense where CONNECT is due", Token, &[(0, "x")]),
        case("a wrong password", Users, &[(0, "CONNECT {\"user\":\"all\",\"pass\":\"x\"}\r\n")]),
        case(
            "a user that is not there",
            Users,
            &[(0, "CONNECT {\"user\":\"x\",\"pass\":\"x\"}\r\n")],
        ),
        case(
            "publish permissions",
            Users,
            &[
                (0, ALL),
                (1, SOME),
                (0, "SUB > 1\r\n"),
                (
                    1,
                    "PUB p.a 0\r\n\r\nPUB p.no 0\r\n\r\nPUB q 0\r\n\r\nPUB s.ok 0\r\n\r\nPUB p 0\r\n\r\n",
                ),
            ],
        ),
        case(
            "subscribe permissions",
            Users,
            &[
                (0, SOME),
                (
                    0,
                    "SUB s.a 1\r\nSUB s.no 2\r\nSUB x 3\r\nSUB s.* 4\r\nSUB > 5\r\nSUB w 6\r\nSUB w q1 7\r\nSUB w q2 8\r\nSUB s.q dq 9\r\nSUB s.q eq 10\r\nSUB x q 11\r\n",
                ),
            ],
        ),
        case(
            "a denied subject does not come",
            Users,
            &[
                (0, SOME),
                (1, ALL),
                (0, "SUB s.* 1\r\n"),
                (1, "PUB s.no 1\r\n1\r\nPUB s.yes 1\r\n2\r\n"),
            ],
        ),
        case(
            "a refusal is verbose",
            Users,
            &[
                (0, "CONNECT {\"pedantic\":false,\"user\":\"some\",\"pass\":\"some\"}\r\n"),
                (0, "PUB q 0\r\n\r\nSUB x 1\r\nPUB p.a 0\r\n\r\n"),
            ],
        ),
        case(
            "a subject with quotes is escaped",
            Users,
            &[(0, SOME), (0, "PUB q\"\\t 0\r\n\r\nSUB x\"y q\"q 1\r\n")],
        ),
        case("one connection too many", OneConnection, &[(0, C), (1, "")]),
    ];
    cases.extend((0..20).map(random));
    cases
}

/// Three clients that subscribe, unsubscribe and publish at random. Each payload is another one,
/// and what a real server decides at random does not come up.
fn random(seed: u64) -> Case {
    let mut rng = Rng::new(seed);
    let mut says: Vec<Say> = Vec::new();
    for client in 0..3 {
        let connect = [C, NO_ECHO, VERBOSE, QUIET][rng.index(4)];
        says.push((client, format!("{connect}SUB inbox.{client} i\r\n")));
    }
    let patterns = ["a", "a.b", "a.*", "a.>", "*.b", "a.*.c", "*.*.*", "a..b"];
    let subjects = ["a", "a.b", "a.c", "a.b.c", "x", "a.*", "a..b"];
    for step in 0..60 {
        let client = rng.index(3);
        let sid = rng.below(6);
        let text = match rng.below(10) {
            0..3 => format!("SUB {} {sid}\r\n", patterns[rng.index(patterns.len())]),
            3 => format!("SUB {} q{client}.{sid} {sid}\r\n", patterns[rng.index(patterns.len())]),
            4 => format!("UNSUB {sid}\r\n"),
            5 => format!("UNSUB {sid} {}\r\n", rng.below(5)),
            kind => {
                let subject = subjects[rng.index(subjects.len())];
                let reply = if kind > 7 { format!(" inbox.{client}") } else { String::new() };
                let payload = format!("m{step}");
                format!("PUB {subject}{reply} {}\r\n{payload}\r\n", payload.len())
            }
        };
        says.push((client, text));
    }
    Case { name: format!("random {seed}"), kind: Kind::Plain, says }
}
