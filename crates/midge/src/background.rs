//! Work that goes on while nobody polls it: a future that the driver polls, with no lock held.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};

use crate::handler::Call;
use crate::shared::{Shared, lock};

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future that the driver polls in the turn after it was woken, until it is ready or stopped, or
/// the driver is gone: then it is dropped.
///
/// Who owns it must stop it. The future may keep the connection alive, and is itself kept by the
/// wakers that it has given away.
pub(crate) struct Background {
    shared: Weak<Shared>,
    /// Away while it is polled.
    work: Mutex<Option<Work>>,
    /// It waits to be polled.
    due: AtomicBool,
    stopped: AtomicBool,
}

impl Background {
    /// Begins it: the driver polls it in its next turn.
    pub(crate) fn begin(
        shared: &Arc<Shared>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Arc<Self> {
        let background = Arc::new(Self {
            shared: Arc::downgrade(shared),
            work: Mutex::new(Some(Box::pin(work))),
            due: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        });
        background.wake_by_ref();
        background
    }

    /// Polls it once. For the driver, with no lock held.
    pub(crate) fn run(self: &Arc<Self>) {
        // Before it is polled: what wakes it meanwhile is not to be lost.
        self.due.store(false, Ordering::SeqCst);
        let Some(mut work) = lock(&self.work).take() else { return };
        let waker = Waker::from(Arc::clone(self));
        let poll = work.as_mut().poll(&mut Context::from_waker(&waker));
        let mut place = lock(&self.work);
        if poll == Poll::Pending && !self.stopped.load(Ordering::SeqCst) {
            *place = Some(work);
            return;
        }
        drop(place);
        drop(work);
    }

    /// Drops the future; one that is being polled, right behind that.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let work = lock(&self.work).take();
        drop(work);
    }
}

impl Wake for Background {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.due.swap(true, Ordering::SeqCst) {
            return;
        }
        let turned = self.shared.upgrade().is_some_and(|shared| {
            shared.command_if(|inner| {
                let turned = !inner.abandoned;
                if turned {
                    inner.router.calls.push(Call::Background(Arc::clone(self)));
                }
                (turned, turned)
            })
        });
        if !turned {
            self.stop();
        }
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use midge_proto::Instant;

    use super::*;
    use crate::ConnectOptions;
    use crate::driver::{Clock, Driver, connect};

    struct Never;

    impl Clock for Never {
        fn now(&self) -> Instant {
            Instant::ZERO
        }
    }

    fn connection() -> (crate::Client, Driver) {
        let options = ConnectOptions::new("127.0.0.1").retry_first_connect(true);
        let (connecting, driver) = connect(options, Arc::new(Never)).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(client)) = std::pin::pin!(connecting).poll(&mut context) else {
            panic!("the client is there at once")
        };
        (client, driver)
    }

    fn turn(driver: &mut Driver) {
        let _: crate::driver::Turn = driver.turn(&mut Context::from_waker(Waker::noop()));
    }

    /// Counts its polls, keeps its waker, and shows whether it is still there.
    fn counting(
        client: &crate::Client,
    ) -> (Arc<Background>, Arc<AtomicU32>, Arc<Mutex<Option<Waker>>>) {
        let (polls, waker) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(None)));
        let (counted, kept) = (polls.clone(), waker.clone());
        let work = std::future::poll_fn(move |context| {
            counted.fetch_add(1, Ordering::SeqCst);
            *lock(&kept) = Some(context.waker().clone());
            Poll::Pending
        });
        (Background::begin(&client.handle().shared, work), polls, waker)
    }

    #[test]
    fn it_is_polled_once_for_each_time_it_was_woken() {
        let (client, mut driver) = connection();
        let (background, polls, waker) = counting(&client);
        assert_eq!(polls.load(Ordering::SeqCst), 0, "the driver polls it");
        turn(&mut driver);
        turn(&mut driver);
        assert_eq!(polls.load(Ordering::SeqCst), 1);
        for _ in 0..3 {
            lock(&waker).as_ref().unwrap().wake_by_ref();
        }
        turn(&mut driver);
        assert_eq!(polls.load(Ordering::SeqCst), 2);
        background.stop();
        assert_eq!(Arc::strong_count(&polls), 1, "it is dropped");
        let woken = lock(&waker).take();
        woken.unwrap().wake();
        turn(&mut driver);
        assert_eq!(polls.load(Ordering::SeqCst), 1 + 1);
    }

    #[test]
    fn without_a_driver_it_is_dropped() {
        let (client, mut driver) = connection();
        let (_due, due, _) = counting(&client);
        let (_waits, waits, waker) = counting(&client);
        turn(&mut driver);
        let (_new, new, _) = counting(&client);
        drop(driver);
        assert_eq!(Arc::strong_count(&new), 1, "it was to be polled");
        assert_eq!((Arc::strong_count(&due), Arc::strong_count(&waits)), (2, 2));
        let woken = lock(&waker).take();
        woken.unwrap().wake();
        assert_eq!(Arc::strong_count(&waits), 1, "as soon as it is woken");
        let (_late, late, _) = counting(&client);
        assert_eq!((late.load(Ordering::SeqCst), Arc::strong_count(&late)), (0, 1));
    }
}
