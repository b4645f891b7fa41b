//! Slow readers against a server that is faster than them, and the rest of the surface against a
//! real nats-server.

use std::error::Error;
use std::fs;
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use midge::{
    Client, ConfirmError, ConnectOptions, Event, Events, Message, Replies, RepliesError,
    RequestError, Subscription,
};
use midge_testing::NatsServer;

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// What takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens within a minute")
}

// ---- slow readers ------------------------------------------------------------------------

/// A page of memory, as `/proc/self/statm` counts.
const PAGE: usize = 4096;
/// Frames of one write.
const AT_ONCE: usize = 2000;

/// Only one test at a time looks at the memory of the process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of memory that the process has.
fn memory() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = statm.split(' ').nth(1).expect("the second number is the resident set");
    pages.parse::<usize>().expect("it is a number") * PAGE
}

/// A server that sends messages of 128 bytes as fast as the socket takes them.
struct Blaster {
    url: String,
    /// The sids to send to, in turn, and how many messages to each.
    go: mpsc::Sender<(Vec<u64>, usize)>,
    thread: JoinHandle<std::io::Result<()>>,
}

impl Blaster {
    fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let url = format!("nats://{}", listener.local_addr()?);
        let (go, asked) = mpsc::channel::<(Vec<u64>, usize)>();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.write_all(b"INFO {\"max_payload\":1048576,\"headers\":true} \r\n")?;
            let mut answers = stream.try_clone()?;
            // Its PONGs come between two writes of whole messages, or in their place.
            let writer = Arc::new(Mutex::new(stream));
            let pongs = writer.clone();
            let reader = std::thread::spawn(move || answer_pings(&mut answers, &pongs));
            for (sids, count) in asked {
                let frames: String = sids
                    .iter()
                    .map(|sid| format!("MSG s {sid} 128\r\n{}\r\n", "x".repeat(128)))
                    .collect();
                let many = frames.repeat(AT_ONCE);
                let mut left = count;
                while left > 0 {
                    let now = left.min(AT_ONCE);
                    let mut stream = writer.lock().unwrap_or_else(PoisonError::into_inner);
                    stream.write_all(&many.as_bytes()[..now * frames.len()])?;
                    left -= now;
                }
            }
            reader.join().expect("the reader does not panic")
        });
        Ok(Self { url, go, thread })
    }

    fn blast(&self, to: &[&Subscription], count: usize) {
        let sids = to.iter().map(|subscription| subscription.sid().number()).collect();
        self.go.send((sids, count)).expect("the server runs");
    }

    /// Waits until the client has closed the connection.
    fn finish(self) -> Outcome {
        let Self { go, thread, .. } = self;
        drop(go);
        thread.join().expect("the server does not panic")?;
        Ok(())
    }
}

fn answer_pings(stream: &mut TcpStream, pongs: &Mutex<TcpStream>) -> std::io::Result<()> {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        text.extend_from_slice(&chunk[..count]);
        while let Some(end) = text.windows(2).position(|end| end == b"\r\n") {
            if text[..end] == *b"PING" {
                let mut stream = pongs.lock().unwrap_or_else(PoisonError::into_inner);
                stream.write_all(b"PONG\r\n")?;
            }
            text.drain(..end + 2);
        }
    }
}

fn slow_consumers(events: &mut Events) -> usize {
    std::iter::from_fn(|| events.try_next())
        .filter(|event| matches!(event, Event::SlowConsumer { .. }))
        .count()
}

/// A reader that lets others run after each message gets a million, and memory stays small.
async fn nothing_is_lost() -> Outcome {
    const MESSAGES: usize = 1_000_000;
    let server = Blaster::start()?;
    // On a machine that is busy otherwise, the reader may be slower than the default allows.
    let options = ConnectOptions::new(server.url.as_str()).slow_hold(Duration::from_secs(15));
    let client = soon(midge_tokio::connect(options)).await?;
    let mut events = client.events();
    let mut subscription = client.subscribe("s").await?;
    soon(client.flush().into_future()).await?;
    let before = memory();
    let mut most = 0;
    server.blast(&[&subscription], MESSAGES);
    for number in 0..MESSAGES {
        let message = soon(subscription.next()).await.expect("the subscription goes on");
        assert_eq!(message.payload().len(), 128);
        if number % 1024 == 0 {
            most = memory().max(most);
        }
        tokio::task::yield_now().await;
    }
    assert_eq!((subscription.dropped(), subscription.pending()), (0, 0));
    assert!(slow_consumers(&mut events) > 0, "the reader was never behind, this shows nothing");
    let growth = most.saturating_sub(before);
    assert!(growth < 32 << 20, "memory grew by {growth} bytes");
    soon(client.close()).await;
    server.finish()
}

/// A reader that stops for good costs its neighbour one hold, then loses its own newest.
async fn a_neighbour_waits_once() -> Outcome {
    const MESSAGES: usize = 300_000;
    const HOLD: Duration = Duration::from_secs(1);
    let server = Blaster::start()?;
    let options = ConnectOptions::new(server.url.as_str()).slow_hold(HOLD);
    let client = soon(midge_tokio::connect(options)).await?;
    let mut events = client.events();
    let mut stopped = client.subscribe("s").await?;
    let mut neighbour = client.subscribe("s").await?;
    soon(client.flush().into_future()).await?;
    server.blast(&[&stopped, &neighbour], MESSAGES);
    let mut longest = Duration::ZERO;
    let mut waits = 0;
    for _ in 0..MESSAGES {
        let began = Instant::now();
        assert!(soon(neighbour.next()).await.is_some());
        let waited = began.elapsed();
        longest = longest.max(waited);
        waits += usize::from(waited > HOLD / 2);
    }
    assert_eq!(waits, 1, "the longest wait was {longest:?}");
    assert!(longest < HOLD * 2, "the longest wait was {longest:?}");
    assert_eq!((neighbour.dropped(), slow_consumers(&mut events)), (0, 1));
    let (messages, _) = stopped.capacity();
    let kept = stopped.pending();
    assert_eq!(stopped.dropped() as usize + kept, MESSAGES);
    assert!(stopped.dropped() > 0 && kept < messages * 2, "{kept} are unread");
    let mut read = 0;
    while stopped.try_next().is_some() {
        read += 1;
    }
    assert_eq!(read, kept);
    soon(client.close()).await;
    server.finish()
}

#[test]
fn a_reader_that_stops_costs_its_neighbour_one_hold() -> Outcome {
    let _alone = alone();
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(a_neighbour_waits_once())
}

#[test]
fn a_million_messages_pass_a_slower_reader_on_one_thread() -> Outcome {
    let _alone = alone();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(nothing_is_lost())
}

#[test]
fn a_million_messages_pass_a_slower_reader_on_two_threads() -> Outcome {
    let _alone = alone();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build()?;
    runtime.block_on(async { tokio::spawn(nothing_is_lost()).await? })
}

// ---- against a real server ---------------------------------------------------------------

async fn client(server: &NatsServer) -> Result<Client, midge::ConnectError> {
    soon(midge_tokio::connect(server.url())).await
}

async fn next(subscription: &mut Subscription) -> Message {
    soon(subscription.next()).await.expect("the subscription goes on")
}

/// Answers each request with the words of its payload, one by one.
async fn echo_words(client: &Client) -> Outcome {
    let answers = client.clone();
    let mut questions = client.subscribe("words").confirmed().await?;
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            let text = String::from_utf8_lossy(question.payload()).into_owned();
            for word in text.split(' ') {
                answers.respond(&question, word).await.expect("the connection is up");
            }
        }
    });
    Ok(())
}

async fn texts(mut replies: Replies) -> Result<Vec<String>, RepliesError> {
    let mut texts = Vec::new();
    while let Some(reply) = soon(replies.next()).await {
        texts.push(String::from_utf8_lossy(reply?.payload()).into_owned());
    }
    Ok(texts)
}

#[tokio::test]
async fn a_request_gets_many_replies() -> Outcome {
    let server = NatsServer::start()?;
    let (asker, responder) = (client(&server).await?, client(&server).await?);
    echo_words(&responder).await?;
    let all = ["a", "b", "c"];
    let short = Duration::from_millis(200);
    let timer = asker.request_many("words", "a b c").max_wait(short).await?;
    assert_eq!(texts(timer).await?, all);
    let count = asker.request_many("words", "a b c").max_messages(2).await?;
    assert_eq!(texts(count).await?, all[..2]);
    let began = Instant::now();
    let stall = asker.request_many("words", "a b c").stall(short).await?;
    assert_eq!(texts(stall).await?, all);
    assert!(began.elapsed() >= short);
    let sentinel = asker.request_many("words", "a b c  d").sentinel_empty().await?;
    assert_eq!(texts(sentinel).await?, all);
    let nobody = asker.request_many("nobody", "").await?;
    assert_eq!(texts(nobody).await, Err(RepliesError::NoResponders));
    assert_eq!(asker.subscriptions(), 0);
    Ok(())
}

#[tokio::test]
async fn a_server_that_dies_ends_the_replies() -> Outcome {
    let mut server = NatsServer::start()?;
    let asker = client(&server).await?;
    echo_words(&asker).await?;
    let mut replies = asker.request_many("words", "a").max_wait(PATIENCE).await?;
    assert!(matches!(soon(replies.next()).await, Some(Ok(_))));
    server.kill()?;
    assert_eq!(soon(replies.next()).await, Some(Err(RepliesError::Disconnected)));
    assert_eq!(soon(replies.next()).await, None);
    Ok(())
}

#[tokio::test]
async fn a_request_has_an_inbox_of_its_own() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    echo_words(&client).await?;
    let mut seen = client.subscribe("words").await?;
    let reply = soon(client.request("words", "a").own_inbox().into_future()).await?;
    assert_eq!(reply.payload(), b"a");
    assert!(next(&mut seen).await.reply().is_some_and(|reply| reply.matches('.').count() == 1));
    let reply = soon(client.request("words", "b").reply("my.reply").into_future()).await?;
    assert_eq!((reply.subject(), reply.payload()), ("my.reply", &b"b"[..]));
    let nobody = soon(client.request("nobody", "").own_inbox().into_future()).await;
    assert_eq!(nobody, Err(RequestError::NoResponders));
    Ok(())
}

#[tokio::test]
async fn the_path_of_a_message_is_reported() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    let mut traces = client.subscribe("traces").await?;
    let mut messages = client.subscribe("m").await?;
    client.publish("m", "1").trace_only("traces").await?;
    client.publish("m", "2").trace("traces").await?;
    for _ in 0..2 {
        let trace = String::from_utf8(next(&mut traces).await.payload().to_vec())?;
        assert!(trace.contains("\"request\""), "{trace}");
    }
    assert_eq!(next(&mut messages).await.payload(), b"2");
    assert_eq!(messages.try_next(), None);
    Ok(())
}

const RESTRICTED: &str = r#"
authorization {
  users: [{ user: u, password: p, permissions: { publish: ">", subscribe: { deny: "secret" } } }]
}
"#;

#[tokio::test]
async fn a_subscription_is_confirmed_or_denied() -> Outcome {
    let server = NatsServer::builder().config(RESTRICTED).start()?;
    let options = ConnectOptions::new(server.url()).user_and_password("u", "p");
    let client = soon(midge_tokio::connect(options)).await?;
    let mut open = soon(client.subscribe("open").confirmed().into_future()).await?;
    let denied = soon(client.subscribe("secret").confirmed().into_future()).await;
    assert!(matches!(denied, Err(ConfirmError::Denied(_))), "{denied:?}");
    client.publish("open", "x").await?;
    assert_eq!(next(&mut open).await.payload(), b"x");
    Ok(())
}

#[tokio::test]
async fn a_handler_answers_and_is_drained() -> Outcome {
    let server = NatsServer::start()?;
    let (asker, responder) = (client(&server).await?, client(&server).await?);
    let answers = responder.clone();
    let double = move |question: Message| {
        let answer = question.payload().repeat(2);
        answers.respond(&question, answer).try_send().expect("there is room");
    };
    let mut handler = responder.subscribe("double").handler(double).await?;
    soon(handler.confirmed()).await?;
    for number in 0..100 {
        let number = number.to_string();
        let reply = soon(asker.request("double", &number).into_future()).await?;
        assert_eq!(reply.payload(), number.repeat(2).as_bytes());
    }
    asker.publish("double", "").reply("x").await?;
    soon(asker.flush().into_future()).await?;
    soon(handler.drain()).await;
    assert_eq!(handler.delivered(), 101);
    Ok(())
}

#[tokio::test]
async fn the_server_tells_who_the_client_is() -> Outcome {
    let server = NatsServer::start()?;
    let client = client(&server).await?;
    assert!(client.client_id().is_some_and(|id| id > 0));
    assert_eq!(client.client_ip().as_deref(), Some("127.0.0.1"));
    let closed = client.closed();
    client.close().await;
    assert_eq!(soon(closed).await.why, midge::CloseReason::Requested);
    Ok(())
}
