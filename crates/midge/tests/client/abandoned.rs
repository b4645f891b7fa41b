//! What JetStream does once nobody turns the driver any more, or the client is closed: each call ends at
//! once, with an error, and none waits or spins.

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use midge::Client;
use midge::jetstream::{FastBatch, FastBatchError, JetStream, Publisher, PublisherError};

use crate::rig::{Rig, Task, options, ready};

/// Polls a future as often as it is woken, which is not for ever.
fn ends<F: Future>(what: &str, task: &mut Task<F>) -> F::Output {
    for _ in 0..20 {
        if let Poll::Ready(output) = task.poll() {
            return output;
        }
        assert!(task.wakes.take() > 0, "{what} waits for nothing");
    }
    panic!("{what} spins");
}

fn publisher(client: &Client) -> Publisher {
    let made = ready(JetStream::new(client.clone()).publisher().stall(Duration::MAX));
    made.expect("there is room")
}

/// Two batches that are begun, with nothing in them.
fn batches(client: &Client, rig: &mut Rig) -> [FastBatch; 2] {
    const LEVEL: &str = r#"{"memory":0,"storage":0,"streams":0,"consumers":0,"limits":{},"api":{"level":4,"total":1,"errors":0}}"#;
    let js = JetStream::new(client.clone());
    let mut begin = Task::new(js.fast_batch().timeout(Duration::MAX));
    assert!(begin.poll().is_pending());
    rig.run();
    let sent = rig.take_sent();
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let asks = |line: &&str| line.contains("PUB $JS.API.INFO");
    let asked = words(sent.lines().find(asks).expect("it asks for the level"));
    let sid = words(sent.lines().find(|line| line.starts_with("SUB ")).expect("with an inbox"));
    rig.receive(&format!("MSG {} {} {}\r\n{LEVEL}\r\n", asked[2], sid[2], LEVEL.len()));
    let first = begin.ready().expect("the server is new enough");
    [first, ready(js.fast_batch().timeout(Duration::MAX)).expect("which is known now")]
}

type End = fn(&Client, Rig);

/// What ends a connection for good.
fn ways() -> [(&'static str, End); 2] {
    [
        ("dropped", |_, rig| drop(rig)),
        ("closed", |client, mut rig| {
            let closing = client.close();
            rig.run();
            rig.sleep(Duration::from_secs(10));
            drop(closing);
            assert!(rig.done);
            std::mem::forget(rig);
        }),
    ]
}

#[test]
fn fast_batches_end() {
    for (way, end) in ways() {
        let (client, mut rig) = Rig::connected(options());
        let [mut new, mut waiting] = batches(&client, &mut rig);
        ready(waiting.add("s", "x")).expect("there is room for one");
        let mut second = Task::new(waiting.add("s", "x"));
        assert!(second.poll().is_pending(), "the stream has not answered the first");
        end(&client, rig);
        let added = ends(way, &mut Task::new(new.add("s", "x")));
        assert!(matches!(added, Err(FastBatchError::Lost { .. })), "{added:?}");
        let added = ends(way, &mut second);
        assert!(matches!(added, Err(FastBatchError::Lost { .. })), "{added:?}");
        drop(second);
        assert!(ends(way, &mut Task::new(waiting.end())).is_err());
    }
}

#[test]
fn publishers_end() {
    for (way, end) in ways() {
        let (client, mut rig) = Rig::connected(options());
        let (mut idle, mut busy) = (publisher(&client), publisher(&client));
        ready(busy.publish("s", "x")).expect("there is room");
        rig.run();
        let mut flush = Box::pin(Task::new(busy.flush()));
        assert!(flush.poll().is_pending());
        end(&client, rig);
        assert!(ends(way, &mut flush).is_err());
        drop(flush);
        assert!(ends(way, &mut Task::new(busy.next_report())).is_some());
        let published = ends(way, &mut Task::new(idle.publish("s", "x")));
        assert!(matches!(published, Err(PublisherError::Closed)), "{published:?}");
        assert!(ends(way, &mut Task::new(idle.flush())).is_ok(), "nothing was published");
    }
}

#[test]
fn readers_end() {
    for (way, end) in ways() {
        let (client, mut rig) = Rig::connected(options());
        let js = JetStream::new(client.clone()).with_timeout(Duration::MAX);
        let consumer = js.consumer("S", "c").expect("the names are valid");
        let mut consume = ready(consumer.consume()).expect("it can be");
        let mut reading = Task::new(consume.next());
        let mut next = Task::new(consumer.next().expires(Duration::MAX));
        let mut fetch = ready(consumer.fetch(5).expires(Duration::MAX)).expect("it can be");
        let mut fetched = Task::new(fetch.next());
        let mut ordered = Task::new(js.ordered("S"));
        let mut pushed = Task::new(js.push_consumer("S", "c"));
        let mut stored = Task::new(js.publish("s", "x"));
        assert!(reading.poll().is_pending() && next.poll().is_pending());
        assert!(fetched.poll().is_pending() && ordered.poll().is_pending());
        assert!(pushed.poll().is_pending() && stored.poll().is_pending());
        rig.run();
        end(&client, rig);
        assert!(ends(way, &mut reading).is_none_or(|it| it.is_err()));
        assert!(ends(way, &mut next).is_err());
        assert!(ends(way, &mut fetched).is_none_or(|it| it.is_err()));
        assert!(ends(way, &mut ordered).is_err());
        assert!(ends(way, &mut pushed).is_err());
        assert!(ends(way, &mut stored).is_err());
        assert!(ends(way, &mut Task::new(consumer.next())).is_err());
        assert!(ends(way, &mut Task::new(js.ordered("S"))).is_err());
        assert!(ends(way, &mut Task::new(js.publish("s", "x"))).is_err());
        let mut names = js.stream_names();
        assert!(ends(way, &mut Task::new(names.next())).is_none_or(|it| it.is_err()));
        let mut buckets = js.key_values();
        assert!(ends(way, &mut Task::new(buckets.next())).is_none_or(|it| it.is_err()));
    }
}
