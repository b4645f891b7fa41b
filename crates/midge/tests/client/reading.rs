//! Replies that are read past the driver, by who waits for them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use midge::driver::midge_proto::Wait;
use midge::driver::{ReadNow, WriteNow};
use midge::{Client, ConnectOptions, DisconnectCause, Event, RequestError};

use crate::requests::{reply, reply_subject};
use crate::rig::{Rig, Task, options, ready};

/// Requests that come one at a time, until the driver steps aside.
const ENOUGH: usize = 16;
/// How long it does.
const NAP: Duration = Duration::from_millis(100);

/// A transport whose both directions are at hand beside the driver.
#[derive(Default)]
struct Pipe(Mutex<Ends>, AtomicBool);

#[derive(Default)]
struct Ends {
    written: String,
    /// What can be read: nothing of it is the end, and an error is told once.
    readable: Option<io::Result<String>>,
    reader: Option<Waker>,
}

impl Pipe {
    fn ends(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().expect("nothing panics in it")
    }

    fn take(&self) -> String {
        std::mem::take(&mut self.ends().written)
    }

    fn give(&self, read: io::Result<String>) {
        self.ends().readable = Some(read);
        let reader = self.ends().reader.take();
        reader.expect("somebody waits for it").wake();
    }
}

impl WriteNow for Pipe {
    fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        self.ends().written += str::from_utf8(bytes).expect("these tests send text");
        Ok(bytes.len())
    }
}

impl ReadNow for Pipe {
    fn poll_read_ready(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut ends = self.ends();
        match ends.readable {
            Some(_) => Poll::Ready(()),
            None => {
                ends.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn tells_ahead(&self) -> bool {
        self.1.load(Ordering::Relaxed)
    }

    fn poll_read(&self, buffer: &mut [u8], context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.poll_read_ready(context).is_pending() {
            return Poll::Pending;
        }
        Poll::Ready(self.ends().readable.take().expect("it is readable").map(|text| {
            buffer[..text.len()].copy_from_slice(text.as_bytes());
            text.len()
        }))
    }
}

/// A client whose driver has stepped aside.
fn lending(pipe: &Arc<Pipe>) -> (Client, Rig) {
    lending_with(options(), pipe)
}

fn lending_with(options: ConnectOptions, pipe: &Arc<Pipe>) -> (Client, Rig) {
    let (client, mut rig) = Rig::connected(options);
    let (write, read): (Arc<dyn WriteNow>, Arc<dyn ReadNow>) = (pipe.clone(), pipe.clone());
    rig.writes_now(Arc::downgrade(&write));
    rig.reads_now(Arc::downgrade(&read));
    lends_after(ENOUGH, &client, &mut rig, pipe);
    rig.wakes.take();
    (client, rig)
}

/// Makes requests until the driver steps aside, which it does behind so many.
fn lends_after(enough: usize, client: &Client, rig: &mut Rig, pipe: &Pipe) {
    // The first one is written by the driver, which has to know a deadline.
    for asked in 0..=enough {
        let mut request = Task::new(client.request("q", "x"));
        assert!(request.poll().is_pending());
        assert!(rig.run().read, "{asked} requests are not enough");
        let to = reply_subject(&(pipe.take() + &rig.take_sent()));
        let wait = rig.receive(&reply(&to, "y"));
        assert_eq!(wait.read, asked < enough, "{asked}");
        request.ready().expect("the reply has come");
    }
}

fn ask(client: &Client, pipe: &Pipe) -> (Task<impl Future<Output = Reply>>, String) {
    let mut request = Task::new(client.request("q", "x"));
    assert!(request.poll().is_pending());
    let to = reply_subject(&pipe.take());
    (request, to)
}

type Reply = Result<midge::Message, RequestError>;

#[test]
fn where_requests_follow_each_other_who_asks_is_woken_by_the_transport_and_reads() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    for round in 0..100 {
        let (mut request, to) = ask(&client, &pipe);
        assert_eq!(request.wakes.take(), 0);
        pipe.give(Ok(reply(&to, "y")));
        assert_eq!((request.wakes.take(), rig.wakes.take()), (1, 0), "{round}");
        assert_eq!(request.ready().unwrap().payload(), b"y");
        assert_eq!((request.wakes.take(), rig.wakes.take()), (0, 0), "{round}");
    }
    let wait = rig.run();
    assert!(!wait.read);
    assert_eq!(wait.until, Some(rig.driver.now() + NAP));
}

#[test]
fn a_driver_that_looks_again_reads_what_is_waited_for_and_steps_aside_for_the_next_ones() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    for _ in 0..4 {
        let (mut request, to) = ask(&client, &pipe);
        pipe.give(Ok(reply(&to, "")));
        request.ready().unwrap();
    }
    let (mut request, to) = ask(&client, &pipe);
    assert!(rig.sleep(NAP).read);
    assert!(!rig.receive(&reply(&to, "y")).read);
    assert_eq!(request.wakes.take(), 1);
    assert_eq!(request.ready().unwrap().payload(), b"y");
}

#[test]
fn behind_each_ping_that_confirms_the_next_requests_are_read_by_who_asks() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    for round in 0..20 {
        for _ in 0..4 {
            let (mut request, to) = ask(&client, &pipe);
            pipe.give(Ok(reply(&to, "")));
            request.ready().unwrap();
            assert_eq!(rig.wakes.take(), 0, "{round}");
        }
        // What was sent first since the last one is confirmed as late as the driver looks.
        let begun = rig.driver.now();
        let mut sent = String::new();
        while sent.is_empty() {
            let until = rig.run().until.unwrap();
            rig.sleep(until.saturating_since(rig.driver.now()));
            sent = rig.take_sent();
        }
        assert_eq!(sent, "PING\r\n", "{round}");
        assert!(rig.driver.now().saturating_since(begun) <= 2 * NAP, "{round}");
        assert!(!rig.receive("PONG\r\n").read, "{round}");
    }
}

#[test]
fn a_driver_that_has_stepped_aside_in_vain_reads_for_more_requests_than_before() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    assert!(rig.sleep(NAP).read);
    // What was sent so far is confirmed meanwhile.
    assert_eq!(rig.take_sent(), "PING\r\n");
    rig.receive("PONG\r\n");
    lends_after(4 * ENOUGH, &client, &mut rig, &pipe);
}

#[test]
fn with_a_subscription_or_a_flush_the_driver_reads() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    let subscription = ready(client.subscribe("s")).unwrap();
    assert_eq!(rig.wakes.take(), 1);
    assert!(rig.run().read);
    drop(subscription);
    rig.run();
    let mut flush = Task::new(client.flush());
    assert!(flush.poll().is_pending());
    rig.wakes.take();
    assert!(rig.run().read);
}

#[test]
fn a_command_beside_the_request_has_the_driver_read() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    let (mut request, to) = ask(&client, &pipe);
    client.try_publish("s", "x").unwrap();
    assert_eq!(rig.wakes.take(), 1);
    assert!(rig.run().read);
    // Woken in vain, it leaves the reply to the driver.
    assert!(request.poll().is_pending());
    rig.receive(&reply(&to, "y"));
    assert_eq!(request.wakes.take(), 1);
    assert_eq!(request.ready().unwrap().payload(), b"y");
}

#[test]
fn a_request_that_is_dropped_while_it_reads_wakes_the_driver() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    let (request, _) = ask(&client, &pipe);
    drop(request);
    assert_eq!(rig.wakes.take(), 1);
    assert!(rig.run().read);
}

#[test]
fn what_comes_with_the_reply_is_for_the_driver() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    let (mut request, to) = ask(&client, &pipe);
    pipe.give(Ok(format!("PING\r\n{}", reply(&to, "y"))));
    assert_eq!(request.ready().unwrap().payload(), b"y");
    assert_eq!(rig.wakes.take(), 1);
    assert!(rig.run().read);
    assert_eq!(rig.take_sent(), "PONG\r\n");
}

#[test]
fn what_comes_in_place_of_the_reply_is_for_the_driver() {
    let protocol_error: fn(&Event) -> bool = |event| matches!(event, Event::Disconnected(_));
    let server_error: fn(&Event) -> bool = |event| matches!(event, Event::ServerError(_));
    for (bytes, tells) in [("nonsense\r\n", protocol_error), ("-ERR 'Oh'\r\n", server_error)] {
        let pipe = Arc::default();
        let (client, mut rig) = lending(&pipe);
        let mut events = client.events();
        let (mut request, _) = ask(&client, &pipe);
        pipe.give(Ok(bytes.into()));
        let _ = request.poll();
        assert_eq!(rig.wakes.take(), 1, "{bytes}");
        rig.unreachable();
        rig.run();
        assert!(tells(&ready(events.next()).unwrap()), "{bytes}");
    }
}

#[test]
fn part_of_a_reply_is_kept_and_the_driver_reads_the_rest() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    let (mut request, to) = ask(&client, &pipe);
    let whole = reply(&to, "yes");
    let (part, rest) = whole.split_at(whole.len() - 4);
    pipe.give(Ok(part.into()));
    assert!(request.poll().is_pending());
    assert_eq!(rig.wakes.take(), 1);
    assert!(rig.run().read);
    rig.receive(rest);
    assert_eq!(request.ready().unwrap().payload(), b"yes");
}

#[test]
fn an_error_that_who_waits_has_met_is_the_cause_that_the_driver_tells() {
    let reset = || Err(io::ErrorKind::ConnectionReset.into());
    let cause = DisconnectCause::Io(io::Error::from(io::ErrorKind::ConnectionReset).to_string());
    for (read, cause) in [(reset(), cause), (Ok(String::new()), DisconnectCause::Eof)] {
        let pipe = Arc::default();
        let (client, mut rig) = lending(&pipe);
        let mut events = client.events();
        let (mut request, _) = ask(&client, &pipe);
        pipe.give(read);
        assert!(request.poll().is_pending());
        assert_eq!(rig.wakes.take(), 1);
        assert!(rig.run().read);
        rig.unreachable();
        rig.end();
        assert_eq!(request.ready(), Err(RequestError::Unknown));
        let Some(Event::Disconnected(lost)) = ready(events.next()) else { panic!("it is told") };
        assert_eq!(lost.cause, cause);
    }
}

#[test]
fn a_request_that_reads_times_out() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    let mut request = Task::new(client.request("q", "x").timeout(2 * NAP));
    assert!(request.poll().is_pending());
    assert_eq!(rig.wakes.take(), 0);
    // As an adapter does that wakes when it was told to, and not before.
    let end = rig.driver.now() + 2 * NAP;
    while rig.driver.now() < end {
        let Wait { until, .. } = rig.run();
        rig.sleep(until.unwrap().saturating_since(rig.driver.now()));
    }
    assert_eq!(request.ready(), Err(RequestError::TimedOut));
}

#[test]
fn a_driver_that_is_dropped_ends_a_request_that_reads() {
    let pipe = Arc::default();
    let (client, rig) = lending(&pipe);
    let (mut request, _) = ask(&client, &pipe);
    drop(rig);
    assert_eq!(request.wakes.take(), 1);
    assert_eq!(request.ready(), Err(RequestError::Unknown));
}

/// What has come between two requests, where the transport tells of it.
fn come(pipe: &Pipe, read: io::Result<String>) {
    pipe.1.store(true, Ordering::Relaxed);
    pipe.ends().readable = Some(read);
}

#[test]
fn an_end_between_two_requests_is_met_before_the_next_one_is_written() {
    let pipe = Arc::default();
    let (client, mut rig) = lending_with(options().keep_requests(true), &pipe);
    come(&pipe, Ok(String::new()));
    let mut request = Task::new(client.request("q", "x"));
    assert!(request.poll().is_pending());
    assert_eq!(pipe.take(), "");
    assert_eq!(rig.wakes.take(), 1);
    rig.unreachable();
    rig.end();
    assert_eq!(rig.take_sent(), "");
    rig.greet();
    let to = reply_subject(&rig.take_sent());
    rig.receive(&reply(&to, "y"));
    assert_eq!(request.ready().unwrap().payload(), b"y");
}

#[test]
fn a_request_behind_an_end_is_known_to_be_unsent() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    come(&pipe, Ok(String::new()));
    let mut request = Task::new(client.request("q", "x"));
    assert!(request.poll().is_pending());
    rig.unreachable();
    rig.end();
    let reply = request.ready();
    assert!(matches!(reply, Err(RequestError::NotSent(_))), "{reply:?}");
}

#[test]
fn a_ping_between_two_requests_is_answered_before_the_next_one_is_written() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    come(&pipe, Ok("PING\r\n".into()));
    let mut request = Task::new(client.request("q", "x"));
    assert!(request.poll().is_pending());
    assert_eq!((pipe.take(), rig.wakes.take()), (String::new(), 1));
    rig.receive("PING\r\n");
    let sent = rig.take_sent();
    assert!(sent.contains("PONG\r\n"), "{sent}");
    rig.receive(&reply(&reply_subject(&sent), "y"));
    assert_eq!(request.ready().unwrap().payload(), b"y");
}

#[test]
fn a_transport_that_tells_ahead_is_asked_before_the_write_and_lends_all_the_same() {
    let pipe = Arc::<Pipe>::default();
    pipe.1.store(true, Ordering::Relaxed);
    let (client, rig) = lending(&pipe);
    for round in 0..100 {
        let (mut request, to) = ask(&client, &pipe);
        pipe.give(Ok(reply(&to, "y")));
        assert_eq!((request.wakes.take(), rig.wakes.take()), (1, 0), "{round}");
        assert_eq!(request.ready().unwrap().payload(), b"y");
    }
}

#[test]
fn a_pong_that_is_expected_is_for_the_driver_to_read() {
    let pipe = Arc::default();
    let interval = NAP / 2;
    let (client, mut rig) = lending_with(options().ping_interval(interval), &pipe);
    for _ in 0..10 {
        let (mut request, to) = ask(&client, &pipe);
        pipe.give(Ok(reply(&to, "")));
        request.ready().unwrap();
    }
    assert!(rig.sleep(interval).read);
    assert_eq!(rig.take_sent(), "PING\r\n");
    assert!(!rig.receive("PONG\r\n").read);
}

#[test]
fn a_request_that_is_moved_to_another_task_wakes_that_one() {
    let pipe = Arc::default();
    let (client, rig) = lending(&pipe);
    let (mut request, to) = ask(&client, &pipe);
    let first = std::mem::take(&mut request.wakes);
    assert!(request.poll().is_pending());
    pipe.give(Ok(reply(&to, "y")));
    assert_eq!((first.take(), request.wakes.take(), rig.wakes.take()), (0, 1, 0));
    assert_eq!(request.ready().unwrap().payload(), b"y");
}

#[test]
fn a_request_that_is_forgotten_is_read_by_the_driver_when_it_looks() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    let (request, to) = ask(&client, &pipe);
    std::mem::forget(request);
    // Its waker is woken, and nobody comes.
    pipe.give(Ok(reply(&to, "y")));
    assert!(rig.sleep(NAP).read);
    rig.receive(&reply(&to, "y"));
    rig.receive("PING\r\n");
    assert!(rig.take_sent().ends_with("PONG\r\n"));
    assert_eq!(client.statistics().in_messages, ENOUGH as u64 + 2);
}

#[test]
fn a_second_request_has_the_driver_read_both_replies() {
    let pipe = Arc::default();
    let (client, mut rig) = lending(&pipe);
    let (mut first, one) = ask(&client, &pipe);
    let mut second = Task::new(client.request("q", "x"));
    assert!(second.poll().is_pending());
    assert_eq!((pipe.take(), rig.wakes.take()), (String::new(), 1));
    assert!(rig.run().read);
    let two = reply_subject(&rig.take_sent());
    rig.receive(&(reply(&two, "2") + &reply(&one, "1")));
    assert_eq!((first.wakes.take(), second.wakes.take()), (1, 1));
    assert_eq!(second.ready().unwrap().payload(), b"2");
    assert_eq!(first.ready().unwrap().payload(), b"1");
}

#[test]
fn a_reply_that_comes_twice_is_heard_once() {
    let pipe = Arc::default();
    let (client, rig) = lending(&pipe);
    let (mut request, to) = ask(&client, &pipe);
    pipe.give(Ok(reply(&to, "1") + &reply(&to, "2")));
    assert_eq!(request.ready().unwrap().payload(), b"1");
    let (mut request, to) = ask(&client, &pipe);
    pipe.give(Ok(reply(&to, "3")));
    assert_eq!(request.ready().unwrap().payload(), b"3");
    drop(rig);
}

#[test]
fn a_client_that_is_closed_or_drained_ends_a_request_that_reads() {
    for drains in [false, true] {
        let pipe = Arc::default();
        let (client, mut rig) = lending(&pipe);
        let (mut request, to) = ask(&client, &pipe);
        let mut closed = match drains {
            true => Task::new(client.drain()),
            false => Task::new(client.close()),
        };
        assert!(closed.poll().is_pending());
        assert_eq!(rig.wakes.take(), 1);
        assert!(rig.run().read);
        if drains {
            rig.receive(&reply(&to, "y"));
        }
        for _ in 0..3 {
            if !rig.done {
                rig.receive("PONG\r\n");
            }
        }
        assert!(rig.done);
        let reply = request.ready().map(|reply| reply.payload().to_vec());
        assert_eq!(reply, if drains { Ok(b"y".to_vec()) } else { Err(RequestError::Unknown) });
        closed.ready();
    }
}
