//! Replies that are read by the thread that waits for them, against a real server and a scripted one.
#![allow(clippy::unwrap_used, reason = "what must be there and is not fails the test")]

use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use midge_std::midge::{Client, ConnectOptions, Event, Message, RequestError};
use midge_std::{Elapsed, Items, Stream, Wait};
use midge_testing::{NatsServer, Peer, ScriptError, ScriptedServer};

const LONG: Duration = Duration::from_secs(20);
/// Requests after which the thread that makes them reads, with a few to spare.
const ENOUGH: usize = 40;

/// Tells of each read who begins it.
struct Noted {
    stream: TcpStream,
    /// What it can: reads that end.
    ends_reads: bool,
    reads: Mutex<Sender<ThreadId>>,
    panics: Arc<AtomicBool>,
}

impl Stream for Noted {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let _ = self.reads.lock().unwrap().send(thread::current().id());
        assert!(!self.panics.swap(false, Ordering::Relaxed), "told to");
        Stream::read(&self.stream, buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Stream::write(&self.stream, bytes)
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        Stream::set_write_timeout(&self.stream, timeout)
    }

    fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self.ends_reads {
            true => Stream::set_read_timeout(&self.stream, timeout),
            false => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn shutdown(&self) {
        Stream::shutdown(&self.stream);
    }
}

struct Rig {
    client: Client,
    /// Who has begun to read.
    reads: Mutex<Receiver<ThreadId>>,
    /// The next read panics.
    panics: Arc<AtomicBool>,
}

impl Rig {
    fn connect(options: impl Into<ConnectOptions>, ends_reads: bool) -> Self {
        let (sender, reads) = mpsc::channel();
        let panics = Arc::new(AtomicBool::new(false));
        let told = panics.clone();
        let dialler = move |to| {
            let (reads, panics) = (Mutex::new(sender.clone()), told.clone());
            Ok(Noted { stream: midge_std::tcp(to)?, ends_reads, reads, panics })
        };
        let client = midge_std::connect_through(options, dialler).unwrap();
        Self { client, reads: Mutex::new(reads), panics }
    }

    /// A client whose driver has left reading to this thread.
    fn leading(options: impl Into<ConnectOptions>) -> Self {
        let rig = Self::connect(options, true);
        rig.lead();
        rig
    }

    /// Makes requests until this thread reads the replies.
    fn lead(&self) {
        let here = thread::current().id();
        let deadline = Instant::now() + LONG;
        loop {
            assert!(Instant::now() < deadline, "the driver never steps aside");
            self.readers();
            for _ in 0..ENOUGH {
                self.client.request("echo", "x").wait().unwrap();
            }
            if self.readers().iter().filter(|thread| **thread == here).count() > ENOUGH / 2 {
                return;
            }
        }
    }

    /// Who has begun to read since the last look.
    fn readers(&self) -> Vec<ThreadId> {
        self.reads.lock().unwrap().try_iter().collect()
    }

    /// Waits until another thread than this begins to read.
    fn until_read_beside(&self, here: ThreadId) {
        while self.reads.lock().unwrap().recv_timeout(LONG).unwrap() == here {}
    }
}

/// Answers what comes to `echo` with itself, and hands over what comes to `held`.
struct Responder {
    client: Client,
    held: Mutex<Receiver<Message>>,
}

impl Responder {
    fn start(server: &NatsServer) -> Self {
        let client = midge_std::connect(server.url()).unwrap();
        let mut echo = client.subscribe("echo").wait().unwrap();
        let mut held = client.subscribe("held").wait().unwrap();
        client.flush().wait().unwrap();
        let answering = client.clone();
        thread::spawn(move || {
            for message in echo.iter() {
                let _ = answering.respond(&message, message.payload()).wait();
            }
        });
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || held.iter().all(|message| sender.send(message).is_ok()));
        Self { client, held: Mutex::new(receiver) }
    }

    /// What came to `held`.
    fn held(&self) -> Message {
        self.held.lock().unwrap().recv_timeout(LONG).unwrap()
    }

    fn answer(&self, message: &Message) {
        self.client.respond(message, "answer").wait().unwrap();
    }
}

#[test]
fn who_asks_one_thing_after_the_other_reads_the_replies() {
    let server = NatsServer::start().unwrap();
    let _responder = Responder::start(&server);
    let rig = Rig::leading(server.url());
    let payload: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    for number in &payload {
        let reply = rig.client.request("echo", number).wait().unwrap();
        assert_eq!(reply.payload(), number.as_bytes());
    }
}

#[test]
fn a_stream_whose_reads_do_not_end_is_read_by_its_own_thread() {
    let server = NatsServer::start().unwrap();
    let _responder = Responder::start(&server);
    let rig = Rig::connect(server.url(), false);
    for _ in 0..4 * ENOUGH {
        rig.client.request("echo", "x").wait().unwrap();
    }
    let here = thread::current().id();
    assert!(!rig.readers().contains(&here));
}

#[test]
fn a_reply_that_takes_long_is_read_by_the_driver() {
    let server = NatsServer::start().unwrap();
    let responder = Responder::start(&server);
    let rig = Rig::leading(server.url());
    let here = thread::current().id();
    thread::scope(|scope| {
        scope.spawn(|| {
            let message = responder.held();
            rig.until_read_beside(here);
            responder.answer(&message);
        });
        assert_eq!(rig.client.request("held", "").wait().unwrap().payload(), b"answer");
    });
}

#[test]
fn what_else_the_thread_waits_for_comes_while_it_reads() {
    let server = ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB ")?;
        while echo(&mut peer, "", "")? {}
        // From here on it says nothing, not even to a PING.
        peer.expect_closed()?;
        Ok(())
    })
    .unwrap();
    let rig = Rig::leading(ConnectOptions::new(server.url()).linger(Duration::from_millis(1)));
    let bell = Mutex::new((false, None::<Waker>));
    thread::scope(|scope| {
        rig.readers();
        let mut asking = rig.client.request("held", "").timeout(LONG).into_future();
        scope.spawn(|| {
            // None is begun if the driver is at it just now.
            let _ = rig.reads.lock().unwrap().recv_timeout(Duration::from_millis(500));
            let mut bell = bell.lock().unwrap();
            bell.0 = true;
            bell.1.take().into_iter().for_each(Waker::wake);
        });
        let both = poll_fn(|context| {
            assert!(pin!(&mut asking).poll(context).is_pending());
            let mut bell = bell.lock().unwrap();
            bell.1 = Some(context.waker().clone());
            if bell.0 { Poll::Ready(()) } else { Poll::Pending }
        });
        both.wait_timeout(LONG / 2).unwrap();
    });
    drop(rig);
    server.finish().unwrap();
}

#[test]
fn a_wait_that_ends_leaves_the_reply_to_the_driver() {
    let server = NatsServer::start().unwrap();
    let responder = Responder::start(&server);
    let rig = Rig::leading(server.url());
    for wait in [Duration::from_millis(1), Duration::from_millis(30)] {
        let mut asking = rig.client.request("held", "").into_future();
        let began = Instant::now();
        assert_eq!((&mut asking).wait_timeout(wait).err(), Some(Elapsed));
        assert!(began.elapsed() >= wait);
        responder.answer(&responder.held());
        assert_eq!(asking.wait().unwrap().payload(), b"answer");
        rig.lead();
    }
}

#[test]
fn a_request_that_is_polled_once_and_left_is_answered() {
    let server = NatsServer::start().unwrap();
    let _responder = Responder::start(&server);
    let rig = Rig::leading(server.url());
    let here = thread::current().id();
    let mut asking = rig.client.request("echo", "x").into_future();
    // It would be read here if this wait went on.
    poll_fn(|context| {
        assert!(pin!(&mut asking).poll(context).is_pending());
        Poll::Ready(())
    })
    .wait();
    rig.until_read_beside(here);
    assert_eq!(asking.wait().unwrap().payload(), b"x");
}

#[test]
fn who_does_not_park_for_a_reply_is_answered_by_the_driver() {
    let server = NatsServer::start().unwrap();
    let responder = Responder::start(&server);
    let rig = Rig::leading(server.url());
    let here = thread::current().id();
    let (woken, wakes) = mpsc::channel();
    let waker = Arc::new(Told(Mutex::new(woken))).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut asking = pin!(rig.client.request("held", "").into_future());
    rig.readers();
    assert!(asking.as_mut().poll(&mut context).is_pending());
    rig.until_read_beside(here);
    responder.answer(&responder.held());
    wakes.recv_timeout(LONG).unwrap();
    let Poll::Ready(reply) = asking.as_mut().poll(&mut context) else { panic!("it was woken") };
    assert_eq!(reply.unwrap().payload(), b"answer");
}

struct Told(Mutex<Sender<()>>);

impl std::task::Wake for Told {
    fn wake(self: Arc<Self>) {
        let _ = self.0.lock().unwrap().send(());
    }
}

#[test]
fn two_requests_of_one_thread_are_both_answered() {
    let server = NatsServer::start().unwrap();
    let _responder = Responder::start(&server);
    let (one, two) = (Rig::leading(server.url()), Rig::leading(server.url()));
    for pair in [(&one, &two), (&one, &one), (&two, &one)] {
        let mut first = pair.0.client.request("echo", "1").into_future();
        let mut second = pair.1.client.request("echo", "2").into_future();
        let (mut left, mut right) = (None, None);
        let both = poll_fn(|context| {
            if left.is_none()
                && let Poll::Ready(reply) = pin!(&mut first).poll(context)
            {
                left = Some(reply.unwrap());
            }
            if right.is_none()
                && let Poll::Ready(reply) = pin!(&mut second).poll(context)
            {
                right = Some(reply.unwrap());
            }
            if left.is_some() && right.is_some() { Poll::Ready(()) } else { Poll::Pending }
        });
        both.wait_timeout(LONG).unwrap();
        assert_eq!(left.unwrap().payload(), b"1");
        assert_eq!(right.unwrap().payload(), b"2");
    }
}

#[test]
fn a_server_that_dies_while_a_thread_reads_is_found_again() {
    let mut server = NatsServer::start().unwrap();
    let responder = Responder::start(&server);
    let rig = Rig::leading(server.url());
    let mut events = rig.client.events();
    thread::scope(|scope| {
        let dying = scope.spawn(|| {
            responder.held();
            server.kill().unwrap();
        });
        let asked = rig.client.request("held", "").timeout(LONG).wait();
        assert_eq!(asked.err(), Some(RequestError::Unknown));
        dying.join().unwrap();
    });
    let lost = events.iter_timeout(LONG).find(|event| matches!(event, Event::Disconnected(_)));
    assert!(lost.is_some());
    server.restart().unwrap();
    let again = events.iter_timeout(LONG).find(|event| matches!(event, Event::Connected(_)));
    assert!(again.is_some());
    let nobody = rig.client.request("nobody", "").wait();
    assert_eq!(nobody.err(), Some(RequestError::NoResponders));
}

#[test]
fn a_panic_of_the_stream_on_the_thread_that_asks_is_its_own() {
    let server = NatsServer::start().unwrap();
    let _responder = Responder::start(&server);
    let rig = Rig::leading(server.url());
    rig.panics.store(true, Ordering::Relaxed);
    let asking = || rig.client.request("echo", "").wait();
    if catch_unwind(AssertUnwindSafe(asking)).is_err() {
        assert_eq!(rig.client.request("echo", "x").wait().unwrap().payload(), b"x");
    } else {
        // The driver was about to read, and the panic was its own.
        assert!(rig.client.request("echo", "").wait().is_err());
    }
}

#[test]
fn a_close_ends_the_read_of_a_thread() {
    let server = NatsServer::start().unwrap();
    let responder = Responder::start(&server);
    let options = ConnectOptions::new(server.url()).linger(Duration::from_millis(1));
    let rig = Rig::leading(options);
    thread::scope(|scope| {
        scope.spawn(|| {
            responder.held();
            rig.client.close().wait();
        });
        let asked = rig.client.request("held", "").timeout(LONG).wait();
        assert_eq!(asked.err(), Some(RequestError::Unknown));
    });
}

/// Answers a request to `echo`, and PINGs before it; false when another request has come.
fn echo(peer: &mut Peer, before: &str, behind: &str) -> Result<bool, ScriptError> {
    let line = loop {
        let line = peer.expect("P")?;
        if !line.starts_with("PING") {
            break line;
        }
        peer.send("PONG\r\n")?;
    };
    if !line.starts_with("PUB echo ") {
        return Ok(false);
    }
    peer.expect("x")?;
    let inbox = line.split(' ').nth(2).unwrap();
    peer.send(format!("{before}MSG {inbox} 1 1\r\nx\r\n{behind}"))?;
    Ok(true)
}

#[test]
fn a_ping_beside_a_reply_and_between_two_is_answered() {
    let (answered, pongs) = mpsc::channel();
    let server = ScriptedServer::start(move |mut listener| {
        let mut peer = listener.accept()?;
        peer.handshake()?;
        peer.expect("SUB ")?;
        for (before, behind) in [("PING\r\n", ""), ("", "PING\r\n"), ("", "")] {
            for _ in 0..4 * ENOUGH {
                assert!(echo(&mut peer, "", "")?);
            }
            assert!(echo(&mut peer, before, behind)?);
            if before == behind {
                peer.send("PING\r\n")?;
            }
            while !peer.expect("P")?.starts_with("PONG") {
                peer.send("PONG\r\n")?;
            }
            let _ = answered.send(());
        }
        peer.expect_closed()?;
        Ok(())
    })
    .unwrap();
    let rig = Rig::connect(server.url(), true);
    for _ in 0..3 {
        for _ in 0..=4 * ENOUGH {
            assert_eq!(rig.client.request("echo", "x").wait().unwrap().payload(), b"x");
        }
        pongs.recv_timeout(LONG).unwrap();
    }
    rig.client.close().wait();
    server.finish().unwrap();
}
