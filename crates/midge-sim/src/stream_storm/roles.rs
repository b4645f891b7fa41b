//! Who publishes and who reads.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use midge::jetstream::{
    AckError, Consumer, DeliverPolicy, ErrorCode, JetMessage, JetPublishError, JetStream, Notice,
    PublishFailure, PublishOrder, Publisher, PublisherError, PullEnd, PullError, Report,
};
use midge_proto::Instant;

use super::book::{Book, Reads};
use super::{BATCHES, CHAIN, FULL, PUSHED, QUEUE, SHARED, WORK};
use crate::{Rng, World};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Publishes one by one, each until it is acknowledged.
    Publish,
    /// Publishes through a window.
    Window,
    /// The same, in order, to a stream of its own.
    Chain,
    /// The same, to a work queue that is full at times.
    Fill(PublishOrder),
    /// Publishes one by one to that, each once.
    Offer,
    /// Does what is in it.
    Empty,
    Consume,
    Fetch,
    /// Is pushed to, by a durable consumer with flow control.
    Push,
    Ordered,
    OrderedPush,
    /// Begins with the last message of each subject.
    LastOfEach,
    /// Deletes messages while it is not calm.
    Purge,
}

type Playing = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Role {
    pub(super) fn play(self, world: World, book: Book, js: JetStream, index: usize) -> Playing {
        let rng = world.rng();
        let player = Player { world, book, js, rng, index };
        match self {
            Self::Publish => Box::pin(player.publish()),
            Self::Window => Box::pin(player.window(PublishOrder::Sent, SHARED)),
            Self::Chain => Box::pin(player.window(PublishOrder::Chained, CHAIN)),
            Self::Fill(order) => Box::pin(player.window(order, FULL)),
            Self::Offer => Box::pin(player.offer()),
            Self::Empty => Box::pin(player.consume(FULL, QUEUE)),
            Self::Consume => Box::pin(player.consume(SHARED, WORK)),
            Self::Fetch => Box::pin(player.fetch()),
            Self::Push => Box::pin(player.pushed()),
            Self::Ordered => Box::pin(player.ordered(false, Reads::All)),
            Self::OrderedPush => Box::pin(player.ordered(true, Reads::All)),
            Self::Purge => Box::pin(player.purge()),
            Self::LastOfEach => {
                Box::pin(player.ordered(index.is_multiple_of(2), Reads::LastOfEach))
            }
        }
    }
}

/// Publishes until then: what says that messages flow again.
pub(super) async fn pulse(world: &World, book: &Book, js: &JetStream, until: Instant) {
    for number in 0.. {
        if world.now() >= until {
            return;
        }
        let payload = format!("pulse {number}");
        if let Ok(ack) = js.publish("s.pulse", &payload).message_id(&payload).await {
            book.acked(SHARED, ack.seq, &payload);
        }
        world.sleep(Duration::from_millis(100)).await;
    }
}

struct Player {
    world: World,
    book: Book,
    js: JetStream,
    rng: Rng,
    index: usize,
}

impl Player {
    async fn pause(&mut self, most: u64) {
        let time = self.rng.between(Duration::ZERO, Duration::from_millis(most));
        self.world.sleep(time).await;
    }

    fn notices(&self) -> impl FnMut(Notice) + Send + 'static {
        let book = self.book.clone();
        move |notice| book.noticed(matches!(notice, Notice::Recreated(_)))
    }

    // ---- publishers --------------------------------------------------------------------------

    async fn publish(mut self) {
        for number in 0.. {
            let payload = format!("one {} {number}", self.index);
            loop {
                if self.book.is_over() {
                    return;
                }
                let subject = format!("s.one.{}", number % 7);
                let publish = self.js.publish(subject, &payload).message_id(&payload);
                if let Ok(ack) = publish.await {
                    self.book.acked(SHARED, ack.seq, &payload);
                    break;
                }
                self.pause(50).await;
            }
            self.pause(100).await;
        }
    }

    async fn purge(mut self) {
        let stream = self.js.stream(SHARED).expect("the name is valid");
        while !self.book.is_calm() {
            self.pause(3000).await;
            let last = self.world.cluster(|cluster, _| cluster.stored(SHARED).len() as u64);
            let purge = match self.rng.index(4) {
                0 => stream.purge(),
                1 => stream.purge().before(self.rng.below(last + 1)),
                2 => stream.purge().filter("s.one.>").keep(self.rng.below(5)),
                _ => stream.purge().keep(self.rng.below(20)),
            };
            // Whether or not it is heard of, or carried out.
            if let Ok(purged) = purge.await {
                self.book.purged(purged);
            }
        }
    }

    async fn offer(mut self) {
        for number in 0_u64.. {
            if self.book.is_over() {
                return;
            }
            let payload = format!("offer {} {number}", self.index);
            let subject = format!("f.{}", number % 3);
            match self.js.publish(subject, &payload).message_id(&payload).await {
                Ok(ack) => self.book.acked(FULL, ack.seq, &payload),
                Err(error) => {
                    if let JetPublishError::Refused(error) = &error {
                        assert_eq!(error.err_code, ErrorCode::STREAM_STORE_FAILED, "{payload}");
                        self.book.refused();
                    }
                    self.book.failed(FULL, payload, error.may_be_stored());
                }
            }
            self.pause(200).await;
        }
    }

    async fn window(mut self, order: PublishOrder, stream: &'static str) {
        self.book.publishes(self.index);
        let window = 1 + self.rng.index(30);
        let ack_wait = self.rng.between(Duration::from_millis(300), Duration::from_secs(2));
        let builder = self.js.publisher().window(window, 1 << 20).order(order);
        let builder = builder.ack_wait(ack_wait).retries(4, Duration::from_millis(100));
        let builder = builder.stall(Duration::from_secs(60)).report_stored();
        let mut publisher = builder.await.expect("it waits for a connection");
        for number in 1.. {
            if self.book.is_over() {
                break;
            }
            let payload = self.payload(stream, number);
            let subject = match stream {
                CHAIN => "c.chain",
                FULL => ["f.0", "f.1", "f.2"][number as usize % 3],
                _ => "s.window",
            };
            loop {
                match publisher.publish(subject, &payload).await {
                    Ok(taken) => {
                        assert_eq!(taken, number, "messages are numbered as they are given");
                        self.book.given(self.index, number);
                        break;
                    }
                    Err(PublisherError::Unread { .. }) => {
                        self.reports(&mut publisher, stream);
                    }
                    Err(error) => panic!("the publisher ends: {error}"),
                }
            }
            self.reports(&mut publisher, stream);
            self.pause(50).await;
        }
        while let Some(report) = publisher.next_report().await {
            self.reported(&report, stream);
        }
        self.book.settled(self.index);
    }

    fn payload(&self, stream: &str, number: u64) -> String {
        match stream {
            CHAIN | FULL => number.to_string(),
            _ => format!("window {} {number}", self.index),
        }
    }

    fn reports(&self, publisher: &mut Publisher, stream: &str) {
        while let Some(report) = publisher.try_next_report() {
            self.reported(&report, stream);
        }
    }

    fn reported(&self, report: &Report, stream: &str) {
        match report {
            Report::Stored { number, ack } => {
                self.book.told(self.index, *number);
                self.book.acked(stream, ack.seq, &self.payload(stream, *number));
            }
            Report::Failed { number, failure, message } => {
                let payload = self.payload(stream, *number);
                assert_eq!(*message.payload, *payload.as_bytes(), "what failed is given back");
                self.book.told(self.index, *number);
                if let PublishFailure::Refused(error) = failure {
                    assert_eq!(error.err_code, ErrorCode::STREAM_STORE_FAILED, "{payload}");
                    assert_ne!(stream, CHAIN, "{payload} is refused by a stream that has room");
                    self.book.refused();
                }
                let may_be_stored = matches!(failure, PublishFailure::Unknown);
                self.book.failed(stream, payload, may_be_stored);
            }
            Report::Moved { number, .. } if stream == FULL => self.book.moved(*number),
            _ => {}
        }
    }

    // ---- readers -----------------------------------------------------------------------------

    fn consumer(&self, stream: &str, name: &'static str) -> Consumer {
        self.book.reads(self.index, Reads::Durable(name));
        self.js.consumer(stream, name).expect("it is a name")
    }

    async fn consume(mut self, stream: &str, name: &'static str) {
        let consumer = self.consumer(stream, name);
        let heartbeat = self.rng.between(Duration::from_millis(500), Duration::from_secs(1));
        let expires = self.rng.between(Duration::from_secs(2), Duration::from_secs(10));
        let messages = 1 + self.rng.below(40);
        let mut builder = consumer.consume();
        if self.rng.one_in(3) {
            builder = builder.max_bytes(200 + self.rng.below(2000));
        }
        let builder = builder.max_messages(messages).heartbeat(heartbeat).expires(expires);
        let mut consume = builder.on_notice(self.notices()).await.expect("the options are good");
        while let Some(item) = consume.next().await {
            let message = item.unwrap_or_else(|error| panic!("consuming ends: {error}"));
            self.book.read(self.index, &message);
            self.answer(&message).await;
        }
        panic!("consuming ends: {:?}", consume.end());
    }

    async fn fetch(mut self) {
        let consumer = self.consumer(SHARED, BATCHES);
        loop {
            let messages = 1 + self.rng.below(10);
            let expires = self.rng.between(Duration::from_millis(100), Duration::from_secs(3));
            let fetch = consumer.fetch(messages).expires(expires);
            let heartbeat = Duration::from_millis(500);
            let fetch = if expires >= heartbeat * 2 { fetch.heartbeat(heartbeat) } else { fetch };
            let mut fetch = fetch.await.expect("the options are good");
            while let Some(item) = fetch.next().await {
                match item {
                    Ok(message) => {
                        self.book.read(self.index, &message);
                        self.answer(&message).await;
                    }
                    Err(PullError::End(PullEnd::NoResponders | PullEnd::Disconnected)) => {}
                    Err(error) => panic!("a fetch ends: {error}"),
                }
            }
            if !self.book.is_over() {
                self.pause(100).await;
            }
        }
    }

    async fn pushed(mut self) {
        self.book.reads(self.index, Reads::Durable(PUSHED));
        let mut push = loop {
            let builder = self.js.push_consumer(SHARED, PUSHED).on_notice(self.notices());
            if let Ok(push) = builder.await {
                break push;
            }
            self.pause(500).await;
        };
        while let Some(item) = push.next().await {
            let message = item.unwrap_or_else(|end| panic!("a push consumer ends: {end}"));
            self.book.read(self.index, &message);
            self.answer(&message).await;
        }
        panic!("a push consumer ends: {:?}", push.end());
    }

    async fn answer(&mut self, message: &JetMessage) {
        if self.book.is_over() {
            drop(message.ack().await);
            return;
        }
        let answered = match self.rng.index(12) {
            // Forgotten.
            0 => return,
            1 => message.nak().await,
            2 => message.nak_after(Duration::from_millis(300)).await,
            3 => match message.in_progress().await {
                Ok(()) => message.ack().await,
                Err(error) => Err(error),
            },
            4 | 5 => message.double_ack().await,
            _ => message.ack().await,
        };
        match answered {
            Ok(()) | Err(AckError::Unconfirmed(_) | AckError::Publish(_)) => {}
            Err(error) => panic!("an answer is refused: {error}"),
        }
        if self.rng.one_in(30) {
            self.pause(1000).await;
        }
    }

    async fn ordered(mut self, push: bool, reads: Reads) {
        self.book.reads(self.index, reads);
        let heartbeat = self.rng.between(Duration::from_millis(500), Duration::from_secs(1));
        let messages = 5 + self.rng.below(100);
        let mut ordered = loop {
            let builder = self.js.ordered(SHARED).max_messages(messages).heartbeat(heartbeat);
            let builder = if push { builder.push() } else { builder };
            let builder = match reads {
                Reads::LastOfEach => builder.deliver(DeliverPolicy::LastPerSubject),
                _ => builder,
            };
            if let Ok(ordered) = builder.on_notice(self.notices()).await {
                break ordered;
            }
            self.pause(500).await;
        };
        while let Some(item) = ordered.next().await {
            let message = item.unwrap_or_else(|end| panic!("an ordered consumer ends: {end}"));
            self.book.ordered(self.index, &message);
            if self.rng.one_in(50) {
                self.pause(500).await;
            }
        }
        panic!("an ordered consumer ends: {:?}", ordered.end());
    }
}
