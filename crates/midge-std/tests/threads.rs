//! A client without a runtime: what it does on threads, against a real server.
#![allow(clippy::unwrap_used, reason = "what must be there and is not fails the test")]

use std::cell::RefCell;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use midge_std::midge::{
    Client, CloseReason, ConnectError, ConnectOptions, DisconnectCause, Event, RequestError,
};
use midge_std::{Elapsed, Items, Stream, Wait, connect};
use midge_testing::NatsServer;

const LONG: Duration = Duration::from_secs(20);

#[test]
fn many_threads_share_a_client() {
    let server = NatsServer::start().unwrap();
    let client = connect(server.url()).unwrap();
    let mut requests = client.subscribe("double").wait().unwrap();
    let answering = thread::spawn({
        let client = client.clone();
        move || {
            for message in requests.iter() {
                let number: u64 = std::str::from_utf8(message.payload()).unwrap().parse().unwrap();
                client.respond(&message, (number * 2).to_string()).wait().unwrap();
            }
        }
    });
    let asking = |base: u64| {
        let client = client.clone();
        thread::spawn(move || {
            for number in base..base + 500 {
                let answer = client.request("double", number.to_string()).wait().unwrap();
                assert_eq!(answer.payload(), (number * 2).to_string().as_bytes());
            }
        })
    };
    for asker in [asking(0), asking(1_000), asking(2_000)] {
        asker.join().unwrap();
    }
    client.drain().wait();
    answering.join().unwrap();
}

#[cfg(feature = "jetstream")]
#[test]
fn what_buckets_list_and_watch_is_iterated() {
    use midge_std::midge::jetstream::{JetStream, Listed};
    use midge_std::midge::kv::{BucketConfig, WatchItem};

    let server = NatsServer::builder().jetstream(true).start().unwrap();
    let js = JetStream::new(connect(server.url()).unwrap());
    let create = |name| js.create_key_value(BucketConfig { history: 5, ..BucketConfig::new(name) });
    let (a, _b) = (create("a").wait().unwrap(), create("b").wait().unwrap());
    for (key, value) in [("x", "1"), ("y", "2"), ("x", "3")] {
        a.put(key, value).wait().unwrap();
    }

    let names: Vec<String> =
        js.key_value_names().iter().map(|name| name.unwrap().to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    let mut statuses = js.key_values();
    let values = statuses.iter().map(|listed| match listed.unwrap() {
        Listed::Found(status) => status.values,
        other => panic!("it is in use: {other:?}"),
    });
    assert_eq!(values.collect::<Vec<_>>(), [3, 0]);
    let keys = a.keys().wait().unwrap().iter().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(keys, ["y", "x"], "in the order of their last revisions");
    let mut history = a.history("x").wait().unwrap();
    let revisions = history.iter().map(|entry| entry.unwrap().revision());
    assert_eq!(revisions.collect::<Vec<_>>(), [1, 3]);
    let mut watch = a.watch_all().wait().unwrap();
    let given = watch.iter().map(Result::unwrap).take_while(|item| *item != WatchItem::InitialEnd);
    assert_eq!(given.count(), 2);
    // It goes on where the iterator was left.
    a.put("z", "4").wait().unwrap();
    let next = watch.iter().next().unwrap().unwrap();
    assert_eq!(next.entry().unwrap().revision(), 4);
}

#[test]
fn what_is_published_before_a_close_arrives() {
    let server = NatsServer::start().unwrap();
    let reader = connect(server.url()).unwrap();
    let mut subscription = reader.subscribe("all.>").wait().unwrap();
    reader.flush().wait().unwrap();
    // A close waits for the server so long.
    let client = connect(ConnectOptions::new(server.url()).linger(LONG)).unwrap();
    for number in 0..50_000 {
        client.publish("all.numbers", format!("{number}")).wait().unwrap();
    }
    let report = client.close().wait();
    assert_eq!(report.fates.confirmed.messages, 50_000);
    for (number, message) in subscription.iter().take(50_000).enumerate() {
        assert_eq!(message.payload(), number.to_string().as_bytes());
    }
}

#[test]
fn a_killed_server_is_found_again() {
    let mut server = NatsServer::start().unwrap();
    let wait = Duration::from_millis(10);
    let options = ConnectOptions::new(server.url()).reconnect_wait(wait, wait);
    let client = connect(options.reconnect_jitter(wait, wait)).unwrap();
    let mut events = client.events();
    let mut subscription = client.subscribe("s").wait().unwrap();
    client.flush().wait().unwrap();
    server.kill().unwrap();
    let lost = events.iter_timeout(LONG).find(|event| matches!(event, Event::Disconnected(_)));
    assert!(lost.is_some());
    client.publish("s", "kept").wait().unwrap();
    server.restart().unwrap();
    let message = subscription.next().wait_timeout(LONG).unwrap().unwrap();
    assert_eq!(message.payload(), b"kept");
}

#[test]
fn waiting_ends_in_time() {
    let server = NatsServer::start().unwrap();
    let client = connect(server.url()).unwrap();
    let mut silent = client.subscribe("silent").wait().unwrap();
    let began = Instant::now();
    assert_eq!(silent.next().wait_timeout(Duration::from_millis(30)).err(), Some(Elapsed));
    assert!(began.elapsed() >= Duration::from_millis(30));
    let past = Instant::now() - Duration::from_millis(1);
    assert_eq!(silent.next().wait_deadline(past).err(), Some(Elapsed));
    assert_eq!(silent.iter_timeout(Duration::from_millis(1)).count(), 0);
    client.publish("silent", "not lost").wait().unwrap();
    assert_eq!(silent.iter().next().unwrap().payload(), b"not lost");
    let nobody = client.request("nobody", "").wait();
    assert_eq!(nobody.err(), Some(RequestError::NoResponders));
}

/// Says goodbye when its thread ends.
struct Farewell(RefCell<Option<Client>>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let Some(client) = self.0.take() else { return };
        client.publish("farewell", "").wait().unwrap();
        client.flush().wait_timeout(LONG).unwrap().unwrap();
        // Enough of them that the thread would read replies by itself.
        for _ in 0..50 {
            client.request("echo", "").wait_timeout(LONG).unwrap().unwrap();
        }
    }
}

thread_local! {
    static FAREWELL: Farewell = const { Farewell(RefCell::new(None)) };
}

#[test]
fn a_thread_may_wait_while_its_locals_are_dropped() {
    let server = NatsServer::start().unwrap();
    let client = connect(server.url()).unwrap();
    let mut farewell = client.subscribe("farewell").wait().unwrap();
    let echo = connect(server.url()).unwrap();
    let mut requests = echo.subscribe("echo").wait().unwrap();
    thread::spawn(move || {
        for request in requests.iter() {
            echo.respond(&request, "").wait().unwrap();
        }
    });
    let own = connect(server.url()).unwrap();
    // The first local of the thread is the last one to be dropped.
    let leaving = thread::spawn(move || {
        FAREWELL.with(|farewell| farewell.0.replace(Some(own.clone())));
        own.flush().wait().unwrap();
    });
    leaving.join().unwrap();
    assert!(farewell.next().wait_timeout(LONG).unwrap().is_some());
}

#[test]
fn what_cannot_be_found_or_dialled_is_said() {
    let error = connect("nats://name.invalid:1").unwrap_err().to_string();
    assert!(error.contains("name.invalid"), "{error}");
    let refused = connect("nats://127.0.0.1:1").unwrap_err();
    let ConnectError::Closed(CloseReason::NoServers { cause, .. }) = refused else {
        panic!("{refused}")
    };
    assert!(matches!(cause, DisconnectCause::Dial(_)), "{cause}");
}

#[test]
fn dials_that_hang_keep_a_bounded_number_of_threads() {
    let (dialing, dials) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let dialler = move |_| -> io::Result<TcpStream> {
        dialing.send(()).unwrap();
        let _ = released.lock().unwrap().recv();
        Err(io::ErrorKind::TimedOut.into())
    };
    let short = Duration::from_millis(1);
    let options = ConnectOptions::new("127.0.0.1:1")
        .retry_first_connect(true)
        .connect_timeout(short)
        .reconnect_wait(short, short)
        .reconnect_jitter(Duration::ZERO, Duration::ZERO);
    let client = midge_std::connect_through(options, dialler).unwrap();
    let refused = client.events().iter_timeout(LONG).find_map(|event| match event {
        Event::AttemptFailed { cause: DisconnectCause::Dial(why), .. } => Some(why),
        _ => None,
    });
    assert_eq!(refused.unwrap(), "64 threads are still busy with earlier attempts");
    for _ in 0..64 {
        dials.recv_timeout(LONG).unwrap();
    }
    assert!(dials.try_recv().is_err());
    drop(release);
    client.close().wait();
}

/// Its end takes until the next dial has begun.
struct Lingering {
    stream: TcpStream,
    dials: Arc<Mutex<Receiver<TcpStream>>>,
    waited: Sender<bool>,
}

impl Stream for Lingering {
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Stream::read(&self.stream, buffer)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Stream::write(&self.stream, bytes)
    }

    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
        Stream::set_write_timeout(&self.stream, timeout)
    }

    fn shutdown(&self) {
        let dialled = self.dials.lock().unwrap().recv_timeout(LONG).is_ok();
        let _ = self.waited.send(dialled);
        Stream::shutdown(&self.stream);
    }
}

#[test]
fn a_stream_that_takes_long_to_end_holds_up_no_other_thread() {
    let server = NatsServer::start().unwrap();
    let (dialling, dials) = mpsc::channel();
    let dials = Arc::new(Mutex::new(dials));
    let (waited, waits) = mpsc::channel();
    let dialler = {
        let dials = Arc::clone(&dials);
        move |to| {
            let stream = midge_std::tcp(to)?;
            dialling.send(stream.try_clone()?).unwrap();
            let (dials, waited) = (Arc::clone(&dials), waited.clone());
            Ok(Lingering { stream, dials, waited })
        }
    };
    // The thread that writes wakes for each PING, and finds what there is to do.
    let options = ConnectOptions::new(server.url()).ping_interval(Duration::from_millis(50));
    let client = midge_std::connect_through(options, dialler).unwrap();
    let first = dials.lock().unwrap().recv().unwrap();
    first.shutdown(Shutdown::Both).unwrap();
    assert!(waits.recv_timeout(LONG * 2).unwrap());
    drop(client);
}
