//! The end of a run: with a server and a network that do all they should, every connection that is
//! not closed confirms what was published, and then closes.

use std::time::Duration;

use super::driver::{Driver, Id};

/// Deadlines that may pass until a flush comes through, or a close.
const PATIENCE: usize = 200;

impl Driver {
    /// Does everything that can be done now, as it should be done.
    pub(super) fn go(&mut self) {
        for _ in 0..50 {
            self.settle();
            let mut progress = self.asked.is_some();
            self.answer(0);
            if self.batch.is_some() {
                self.settle_batch(usize::MAX);
                progress = true;
            }
            if self.read.is_some() {
                self.give_back(usize::MAX);
                progress = true;
            }
            if progress {
                self.settle();
            }
            if self.wait.write {
                progress |= self.write(usize::MAX);
                self.settle();
            }
            while self.live.is_some() && self.server.pong() {
                progress = true;
            }
            progress |= self.feed(usize::MAX);
            if !progress {
                break;
            }
        }
    }

    /// Ends the run: `end` chooses a drain or a close.
    pub(super) fn finish(mut self, end: u8) -> (Vec<String>, Vec<u8>) {
        self.settle();
        if self.server.tainted {
            self.fail(0);
        }
        self.pause(false);
        self.move_on();
        self.confirm();
        if !self.closed {
            self.check_subscriptions();
            match end % 3 {
                0 => self.close(Duration::ZERO),
                1 => self.close(Duration::from_secs(1)),
                _ => self.drain(),
            }
            self.until_closed();
        }
        (std::mem::take(&mut self.events), std::mem::take(&mut self.written))
    }

    /// Until no move is under way.
    fn move_on(&mut self) {
        self.go();
        while self.moved_by.is_some() && !self.closed {
            self.wait_for_time();
            self.go();
        }
    }

    /// Until a flush comes through, or the connection is closed.
    fn confirm(&mut self) {
        let mut flush = None;
        for _ in 0..PATIENCE {
            self.go();
            if self.closed {
                return;
            }
            if let Some(facts) = flush.and_then(|id| self.ids.get(&id)).filter(|facts| facts.ended)
            {
                if facts.flushed {
                    return;
                }
                flush = None;
            }
            if flush.is_none() {
                flush = self.flush();
                self.polled = false;
                self.go();
                if self.closed || flush.is_some_and(|id| self.ids[&id].ended) {
                    continue;
                }
            }
            self.wait_for_time();
        }
        panic!("an honest server gets no flush through: {:?}", self.wait);
    }

    fn until_closed(&mut self) {
        for _ in 0..PATIENCE {
            self.go();
            if self.subscriptions_drained {
                self.connection.queues_drained();
                self.polled = false;
                self.go();
            }
            if self.closed {
                return;
            }
            self.wait_for_time();
        }
        panic!("the connection does not close: {:?}", self.wait);
    }

    fn wait_for_time(&mut self) {
        match self.wait.until {
            Some(until) => self.wake(until),
            None => panic!("the connection waits for nothing: {:?}", self.wait),
        }
    }

    /// The server has the subscriptions of the caller, and counts as the connection does.
    fn check_subscriptions(&mut self) {
        // A lame duck may be about to be left: it has been told to send no more.
        let unsure = self.moving || self.server.vague || self.server.tainted;
        if !self.connection.is_connected() || unsure {
            return;
        }
        let mut theirs = std::mem::take(&mut self.server.subscriptions);
        theirs.retain(|_, subscription| !subscription.subject.starts_with(b"_INBOX."));
        for (id, facts) in &self.ids {
            let Id::Subscription(sid) = id else { continue };
            if facts.ended || facts.draining {
                continue;
            }
            let found = theirs.remove(&sid.number());
            let found = found.unwrap_or_else(|| panic!("the server does not know {sid:?}"));
            assert_eq!((&found.subject, &found.queue), (&facts.subject, &facts.queue));
            let left = facts.max.map(|max| max - facts.delivered);
            assert_eq!(found.max.map(|max| max - found.sent), left, "messages left to {sid:?}");
        }
        assert!(theirs.is_empty(), "the server still has {theirs:?}");
    }
}
