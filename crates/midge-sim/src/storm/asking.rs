//! A client that does nothing but to ask, mostly one thing after the other, so that replies are read
//! beside its driver.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use super::ledger::{Content, Ledger, Tag};
use super::plan::Plan;
use super::recovery;
use crate::net::Owner;
use crate::{Rng, World};
use midge::{Client, Message, RequestError};

/// What is done with a request.
enum Way {
    Waits,
    /// It is dropped before its time.
    GivenUp,
    /// It is never polled again, nor dropped.
    Forgotten,
    /// It is polled here first, and then by another task.
    Moved,
    /// Something is published while it waits.
    Disturbed,
    /// Another one is made while it waits.
    Doubled,
}

type Reply = Result<Message, RequestError>;
type Request = Pin<Box<dyn Future<Output = Reply> + Send>>;

#[derive(Clone)]
pub(super) struct Asking {
    world: World,
    ledger: Ledger,
    client: Client,
    owner: Owner,
    publisher: usize,
    plan: Plan,
}

impl Asking {
    pub(super) fn new(world: &World, plan: &Plan, ledger: &Ledger) -> Self {
        let options = plan.options(world).name("asking");
        let (connecting, driver) = world.connect_with(options).expect("the options are good");
        let owner = driver.owner();
        drop(world.spawn(driver));
        Self {
            world: world.clone(),
            ledger: ledger.clone(),
            client: super::ready(connecting).expect("it connects in the background"),
            owner,
            publisher: ledger.publisher(owner),
            plan: plan.clone(),
        }
    }

    pub(super) async fn run(self, mut rng: Rng) {
        while self.world.now() < self.plan.calm {
            for _ in 0..1 + rng.index(200) {
                // Others expect that all is quiet then.
                if self.world.now() < self.plan.calm {
                    self.ask(&mut rng).await;
                }
            }
            self.world.sleep(rng.between(Duration::ZERO, Duration::from_millis(200))).await;
        }
        // What was forgotten ends by its deadline.
        self.world.sleep(recovery(&self.plan)).await;
        let answered = self.client.flush().timeout(Duration::from_secs(5)).await;
        assert!(answered.is_ok(), "{answered:?} in {:?}", self.client.status());
        let closed = match rng.one_in(2) {
            true => self.client.drain().await,
            false => self.client.close().await,
        };
        self.ledger.ended(self.owner, &closed.fates);
    }

    async fn ask(&self, rng: &mut Rng) {
        let way = match rng.index(60) {
            0 | 1 => Way::GivenUp,
            2 => Way::Forgotten,
            3 | 4 => Way::Moved,
            5 => Way::Disturbed,
            6 => Way::Doubled,
            _ => Way::Waits,
        };
        // A deadline before one that the driver has been told is for the driver.
        let timeout = match rng.one_in(10) {
            true => rng.between(Duration::from_millis(1), Duration::from_secs(1)),
            false => Duration::from_millis(100),
        };
        let (tag, mut request) = self.request(timeout, rng);
        let first = poll_fn(|context| Poll::Ready(request.as_mut().poll(context))).await;
        if let Poll::Ready(reply) = first {
            return self.answered(tag, reply);
        }
        let reply = match way {
            Way::Waits => request.await,
            Way::GivenUp => match self.world.timeout(timeout / 2, request).await {
                Ok(reply) => reply,
                Err(_) => return,
            },
            Way::Forgotten => return std::mem::forget(request),
            Way::Moved => self.world.spawn(request).await,
            Way::Disturbed => {
                let beside = self.ledger.next(self.publisher);
                let payload = beside.payload(rng.index(50));
                if let Ok(position) = self.client.try_publish("a", &payload) {
                    let content = Content::new("a", false, &payload);
                    self.ledger.accepted(beside, Some(position), content);
                }
                request.await
            }
            Way::Doubled => {
                let (second, other) = self.request(timeout, rng);
                let other = self.world.spawn(other);
                let reply = request.await;
                self.answered(second, other.await);
                reply
            }
        };
        self.answered(tag, reply);
    }

    fn request(&self, timeout: Duration, rng: &mut Rng) -> (Tag, Request) {
        let tag = self.ledger.next(self.publisher);
        let payload = tag.payload(rng.index(200));
        let subject = if rng.one_in(20) { "nobody" } else { "service" };
        self.ledger.accepted(tag, None, Content::new(subject, false, &payload));
        let (client, world) = (self.client.clone(), self.world.clone());
        let request = async move {
            let deadline = world.now() + timeout;
            let reply = client.request(subject, &payload).timeout(timeout).await;
            let now = world.now();
            assert!(now <= deadline, "{tag} ended at {now:?}, after {deadline:?}: {reply:?}");
            reply
        };
        (tag, Box::pin(request))
    }

    fn answered(&self, tag: Tag, reply: Reply) {
        match reply {
            Ok(message) => {
                let (_, asked) = Tag::of(message.payload()).expect("answers bear a tag");
                assert!(asked.starts_with(tag.to_string().as_bytes()), "the answer to {tag}");
                self.ledger.is_certain(tag);
            }
            Err(RequestError::NoResponders) => self.ledger.is_certain(tag),
            Err(RequestError::NotSent(_) | RequestError::Publish(_)) => {
                self.ledger.is_not_sent(tag);
            }
            Err(RequestError::TimedOut | RequestError::Unknown) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
