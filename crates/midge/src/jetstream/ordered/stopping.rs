//! Ending an ordered consumer: at once or behind what has come, also from elsewhere.

use std::sync::Arc;
use std::task::Context;

use midge_jetstream::OrderedEnd;

use super::Ordered;
use crate::jetstream::stop::{Control, Stopper, Wish};

/// How far an ordered consumer was told to end.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    /// Shared with those who stop it from elsewhere.
    control: Option<Arc<Control>>,
    /// The last wish of theirs that was carried out.
    seen: Wish,
    /// Nothing more is asked for: what has come is read out.
    pub(super) draining: bool,
}

impl Ordered {
    /// Ends it, and deletes its consumer.
    pub fn stop(&mut self) {
        self.finish(OrderedEnd::Stopped);
    }

    /// Asks for nothing more: what the server has sent comes, in order and without gaps, and then
    /// `None`. Its consumer is deleted then.
    pub fn drain(&mut self) {
        self.stopping.draining = true;
        match &mut self.inbox {
            // What comes before the server has answered is of a consumer that may not be there.
            Some(inbox) if self.creating.is_none() => drop(inbox.drain()),
            _ => self.stop(),
        }
    }

    /// Stops or drains it from elsewhere, and waits for its end.
    pub fn stopper(&mut self) -> Stopper {
        let control = self.stopping.control.get_or_insert_default().clone();
        if self.machine.end().is_some() {
            control.ended();
        }
        Stopper::new(control)
    }

    /// Does what a [`Stopper`] wants.
    #[inline]
    pub(super) fn heed(&mut self) {
        let Some(control) = &self.stopping.control else { return };
        let wish = control.wish();
        if wish <= self.stopping.seen {
            return;
        }
        self.stopping.seen = wish;
        match wish {
            Wish::Stop => self.stop(),
            _ => self.drain(),
        }
    }
}

impl Stopping {
    /// Waits also for a wish; false when there is one.
    pub(super) fn wait(&self, context: &Context<'_>) -> bool {
        self.control.as_ref().is_none_or(|control| control.wait(self.seen, context))
    }

    pub(super) fn ended(&self) {
        if let Some(control) = &self.control {
            control.ended();
        }
    }
}
