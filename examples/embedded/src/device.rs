//! What the device does: it answers, measures, and tells how it is.

use alloc::format;
use alloc::string::String;
use core::time::Duration;

use midge_proto::{
    Connection, Event, Instant, Message, PublishError, Sid, Subject, SubjectRef, SubscribeError,
};

/// What the device has of its memory in use, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Now.
    pub used: usize,
    /// At most, since the start.
    pub peak: usize,
}

/// Answers on `device.NAME.*`:
///
/// | subject | what happens |
/// |---|---|
/// | `device.NAME.echo` | the payload goes back |
/// | `device.NAME.status` | counters and memory, as text |
/// | `device.NAME.stop` | the connection closes, once everything is sent |
///
/// and publishes its memory to `telemetry.NAME` at an interval.
#[derive(Debug)]
pub struct Device {
    echo: Sid,
    status: Sid,
    stop: Sid,
    telemetry: Subject,
    interval: Duration,
    next: Instant,
    memory: fn() -> Memory,
    connects: u32,
    received: u64,
    oversized: u32,
    /// Answers and measurements that found no room.
    unsent: u32,
    closed: bool,
}

impl Device {
    /// Subscribes.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`] when `name` is no token of a subject, or the connection has no room.
    pub fn new(
        connection: &mut Connection,
        name: &str,
        interval: Duration,
        memory: fn() -> Memory,
    ) -> Result<Self, SubscribeError> {
        let mut subscribe = |what: &str| -> Result<Sid, SubscribeError> {
            let subject = Subject::new(&format!("device.{name}.{what}"))?;
            connection.subscribe(subject.borrowed(), None)
        };
        Ok(Self {
            echo: subscribe("echo")?,
            status: subscribe("status")?,
            stop: subscribe("stop")?,
            telemetry: Subject::new(&format!("telemetry.{name}"))?,
            interval,
            next: Instant::ZERO,
            memory,
            connects: 0,
            received: 0,
            oversized: 0,
            unsent: 0,
            closed: false,
        })
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many times a server was connected to.
    pub fn connects(&self) -> u32 {
        self.connects
    }

    /// Publishes a measurement when it is due. Returns when the next one is.
    pub fn measure(&mut self, connection: &mut Connection, now: Instant) -> Instant {
        if now >= self.next {
            self.next = now + self.interval;
            if connection.is_connected() {
                let text = self.text();
                let sent =
                    connection.publish(self.telemetry.borrowed(), None, None, text.as_bytes());
                self.note(sent.is_ok());
            }
        }
        self.next
    }

    /// What happened to the connection.
    pub fn told(&mut self, connection: &mut Connection, event: Event) {
        match event {
            Event::Message(sid, message) => {
                self.received += 1;
                if sid == self.stop {
                    connection.close(Duration::from_secs(2));
                } else if sid == self.status {
                    let text = self.text();
                    self.answer(connection, &message, text.as_bytes());
                } else if sid == self.echo {
                    self.answer(connection, &message, message.payload());
                }
            }
            Event::Oversized { .. } => self.oversized += 1,
            Event::Connected(_) => self.connects += 1,
            Event::Closed(_) => self.closed = true,
            _ => {}
        }
    }

    fn answer(&mut self, connection: &mut Connection, question: &Message, payload: &[u8]) {
        let Some(reply) = question.reply() else { return };
        let sent: Result<_, PublishError> = SubjectRef::new(reply)
            .map_err(PublishError::from)
            .and_then(|reply| connection.publish(reply, None, None, payload));
        self.note(sent.is_ok());
    }

    fn note(&mut self, sent: bool) {
        self.unsent += u32::from(!sent);
    }

    fn text(&self) -> String {
        let Memory { used, peak } = (self.memory)();
        format!(
            "connects {} received {} oversized {} unsent {} used {used} peak {peak}",
            self.connects, self.received, self.oversized, self.unsent
        )
    }
}
