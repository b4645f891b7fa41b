//! Wakers that do what they may not: call the client, drop what waits, and panic.

use std::future::{Future, IntoFuture};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use midge::{Client, EndReason};

use crate::rig::{Rig, Task, message, options, ready};

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("on purpose");
    }
}

fn poll_with<F: Future>(future: Pin<&mut F>, waker: Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&waker))
}

/// Whichever of three is the one whose waker panics, in the turn that wakes them all.
#[test]
fn who_is_woken_beside_a_waker_that_panics_is_woken() {
    for which in 0..3 {
        let (client, mut rig) = Rig::connected(options());
        let mut subscriptions =
            Vec::from_iter((0..3).map(|_| ready(client.subscribe("s")).expect("there is room")));
        rig.run();
        let bytes: String = subscriptions.iter().map(|it| message(it.sid(), "x")).collect();
        let mut others = Vec::new();
        for (number, subscription) in subscriptions.iter_mut().enumerate() {
            if number == which {
                let next = std::pin::pin!(subscription.next());
                assert!(poll_with(next, Arc::new(Panics).into()).is_pending());
            } else {
                let mut next = Task::new(subscription.next());
                assert!(next.poll().is_pending());
                others.push(next);
            }
        }
        let panicked = catch_unwind(AssertUnwindSafe(|| rig.receive(&bytes)));
        assert!(panicked.is_err(), "who turns the driver hears of it");
        for next in &mut others {
            assert_eq!(next.wakes.take(), 1, "one beside number {which}");
            assert!(next.ready().is_some());
        }
        drop(rig);
    }
}

/// What its end wakes, when several panic.
#[test]
fn all_are_woken_by_the_end_though_wakers_panic() {
    let (client, rig) = Rig::connected(options());
    let mut bad = Vec::from_iter((0..3).map(|_| Box::pin(client.closed())));
    let mut good = Vec::from_iter((0..3).map(|_| Task::new(client.closed())));
    for (bad, good) in bad.iter_mut().zip(&mut good) {
        assert!(poll_with(bad.as_mut(), Arc::new(Panics).into()).is_pending());
        assert!(good.poll().is_pending());
    }
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(rig)));
    assert!(dropped.is_err());
    for good in &mut good {
        assert_eq!(good.wakes.take(), 1);
        good.ready();
    }
}

/// Does with a client all that can be done, from within each wake.
struct Meddler {
    client: Mutex<Option<Client>>,
    /// Futures and subscriptions that it drops.
    kept: Mutex<Vec<Box<dyn Send>>>,
    woken: AtomicUsize,
}

impl Meddler {
    fn new(client: &Client) -> Arc<Self> {
        Arc::new(Self {
            client: Mutex::new(Some(client.clone())),
            kept: Mutex::default(),
            woken: AtomicUsize::new(0),
        })
    }

    fn keep(&self, what: impl Send + 'static) {
        self.kept.lock().expect("no panic").push(Box::new(what));
    }

    fn meddle(self: &Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        let kept = std::mem::take(&mut *self.kept.lock().expect("no panic"));
        drop(kept);
        let client = self.client.lock().expect("no panic").clone();
        let Some(client) = client else { return };
        let _ = client.try_publish("a", "b");
        let waker = Waker::noop();
        let mut request = Box::pin(client.request("q", "").into_future());
        let _ = poll_with(request.as_mut(), waker.clone());
        let mut flush = Box::pin(client.flush().into_future());
        let _ = poll_with(flush.as_mut(), waker.clone());
        if let Ok(mut subscription) = client.subscribe("t").try_subscribe() {
            let _ = poll_with(Box::pin(subscription.next()).as_mut(), waker.clone());
            let _draining = subscription.drain();
        }
        let mut events = client.events();
        let _ = events.try_next();
        let _ = (client.status(), client.statistics());
    }

    fn waker(self: &Arc<Self>) -> Waker {
        Waker::from(self.clone())
    }

    fn woken(&self) -> usize {
        self.woken.swap(0, Ordering::SeqCst)
    }
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        self.meddle();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.meddle();
    }
}

#[test]
fn wakers_may_call_the_client_and_drop_what_waits() {
    let (client, mut rig) = Rig::connected(options());
    let meddler = Meddler::new(&client);
    // A message, a flush, a reply, an event: each wakes it, and it drops what was woken.
    let mut subscription = ready(client.subscribe("s")).unwrap();
    let sid = subscription.sid();
    rig.run();
    assert!(poll_with(Box::pin(subscription.next()).as_mut(), meddler.waker()).is_pending());
    meddler.keep(subscription);
    rig.receive(&message(sid, "x").repeat(2));
    assert_eq!(meddler.woken(), 1);

    let mut flush = Box::pin(client.flush().into_future());
    assert!(poll_with(flush.as_mut(), meddler.waker()).is_pending());
    meddler.keep(flush);
    rig.run();
    rig.receive(&"PONG\r\n".repeat(4));
    assert_eq!(meddler.woken(), 1);

    let mut request = Box::pin(client.request("q", "").into_future());
    assert!(poll_with(request.as_mut(), meddler.waker()).is_pending());
    meddler.keep(request);
    let mut events = client.events();
    assert!(poll_with(Box::pin(events.next()).as_mut(), meddler.waker()).is_pending());
    meddler.keep(events);
    rig.cut();
    assert!(meddler.woken() >= 1);
    rig.greet();

    // The last handle goes in a wake.
    let mut closed = Box::pin(client.closed());
    assert!(poll_with(closed.as_mut(), meddler.waker()).is_pending());
    let last = meddler.client.lock().unwrap().take().unwrap();
    let mut flush = Box::pin(client.flush().into_future());
    assert!(poll_with(flush.as_mut(), meddler.waker()).is_pending());
    meddler.keep((last, client));
    rig.run();
    rig.receive(&"PONG\r\n".repeat(4));
    drop(flush);
    rig.run();
    assert!(meddler.woken() >= 1);
    if !rig.done {
        rig.sleep(std::time::Duration::from_secs(10));
    }
    assert!(rig.done, "the last handle was dropped");
}

#[test]
fn a_wake_of_the_driver_may_call_the_client() {
    let (client, mut rig) = Rig::connected(options());
    let meddler = Meddler::new(&client);
    let turn = rig.driver.turn(&mut Context::from_waker(&meddler.waker()));
    assert!(matches!(turn, midge::driver::Turn::Idle(_)), "{turn:?}");
    client.try_publish("s", "x").unwrap();
    assert_eq!(meddler.woken(), 1);
    let mut subscription = ready(client.subscribe("s")).unwrap();
    drop(rig);
    assert!(ready(subscription.next()).is_none());
    assert_eq!(subscription.end(), Some(EndReason::Closed));
}
