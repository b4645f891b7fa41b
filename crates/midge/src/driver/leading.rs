//! Reading a reply by the thread that waits for it, where streams block.
//!
//! A future cannot read such a stream: nothing else that its thread waits for would be polled. So a
//! request whose reply is left to it, see `lending.rs`, is answered to as always, and its thread reads
//! before it goes to sleep, in `blocking.rs`. The driver reads if it does not get there.

use std::sync::Arc;
use std::time::Duration;

use midge_proto::{ReadBuffer, RequestId};

use super::direct::{Direct, call_driver};
use crate::shared::{Shared, lock};
use crate::waiters::Wakes;

/// How long a thread reads for a reply. Then it is the driver's: a stream cannot be left when
/// something else comes that the thread waits for, so that is late by as much at most.
const READ: Duration = Duration::from_millis(10);

/// The reply to a request, which this thread is to read, or the driver once this is dropped.
pub(crate) struct Lead {
    shared: Option<Arc<Shared>>,
    id: RequestId,
}

impl Lead {
    pub(crate) fn new(shared: Arc<Shared>, id: RequestId) -> Self {
        Self { shared: Some(shared), id }
    }

    /// The thread has `left` until it stops waiting: reads what comes, if that leaves enough time.
    pub(crate) fn read(mut self, left: Option<Duration>) {
        if left.is_none_or(|left| left >= READ)
            && let Some(shared) = self.shared.take()
        {
            shared.lead(self.id);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.give_up_reading(self.id);
        }
    }
}

/// The room for a read, which is given back if the read panics.
struct Held<'a> {
    shared: &'a Arc<Shared>,
    buffer: Option<ReadBuffer>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some(buffer) = self.buffer.take() else { return };
        let mut inner = lock(&self.shared.inner);
        inner.give_back(buffer, 0);
        call_driver(inner);
    }
}

impl Shared {
    fn lead(self: &Arc<Self>, id: RequestId) {
        let mut inner = lock(&self.inner);
        if inner.reader != Some(id) {
            return;
        }
        let stream = inner.direct.as_ref().and_then(Direct::blocking);
        let buffer = stream.as_ref().and_then(|_| inner.take_room());
        drop(inner);
        let (Some(stream), Some(buffer)) = (stream, buffer) else {
            return self.give_up_reading(id);
        };
        let mut held = Held { shared: self, buffer: Some(buffer) };
        let Some(buffer) = held.buffer.as_mut() else { return };
        let read = stream.read_within(buffer, READ);
        drop(stream);
        let Some(buffer) = held.buffer.take() else { return };
        let now = self.clock.now();
        let mut wakes = Wakes::default();
        let mut inner = lock(&self.inner);
        self.take_read(&mut inner, id, (buffer, read), now, &mut wakes, |inner| {
            inner.router.has_response(id).then_some(())
        });
        self.part(inner, &mut wakes);
    }

    fn give_up_reading(&self, id: RequestId) {
        let inner = lock(&self.inner);
        if inner.reader == Some(id) {
            call_driver(inner);
        }
    }
}
