//! The options that every message to a stream has.

/// Methods of a builder with a field `headers` of
/// [`PublishHeaders`](midge_jetstream::PublishHeaders).
macro_rules! header_options {
    () => {
        /// The headers, in place of all that was set before.
        pub fn headers(mut self, headers: &midge_proto::HeaderMap) -> Self {
            self.headers.replace(headers);
            self
        }

        /// Adds a header. An invalid one makes the publish fail.
        pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
            self.headers.append(name, value.as_ref());
            self
        }

        /// The id by which the stream knows the message again, for as long as its duplicate window
        /// lasts: what is sent twice is stored once.
        pub fn message_id(mut self, id: impl AsRef<str>) -> Self {
            self.headers.message_id(id.as_ref());
            self
        }

        /// Refused unless it goes to this stream.
        pub fn expect_stream(mut self, stream: impl AsRef<str>) -> Self {
            self.headers.expect_stream(stream.as_ref());
            self
        }

        /// Refused unless the last message of the stream has this number.
        pub fn expect_last_sequence(mut self, seq: u64) -> Self {
            self.headers.expect_last_sequence(seq);
            self
        }

        /// Refused unless the last message of the stream has this id. Only for streams of one
        /// replica: on nats-server 2.15.1 a wrong id stops a replicated one on all of its servers,
        /// until they are restarted. [`expect_last_sequence`](Self::expect_last_sequence) does not.
        pub fn expect_last_message_id(mut self, id: impl AsRef<str>) -> Self {
            self.headers.expect_last_message_id(id.as_ref());
            self
        }

        /// Refused unless the last message of the same subject has this number in the stream; 0
        /// when there must be none.
        pub fn expect_last_subject_sequence(mut self, seq: u64) -> Self {
            self.headers.expect_last_subject_sequence(seq);
            self
        }

        /// Refused unless the last message of the subjects that match `filter` has this number in
        /// the stream; 0 when there must be none. Needs nats-server 2.11.
        pub fn expect_last_sequence_of(mut self, filter: impl AsRef<str>, seq: u64) -> Self {
            self.headers.expect_last_sequence_of(filter.as_ref(), seq);
            self
        }

        /// What it displaces in the stream, which must allow roll-ups.
        pub fn rollup(mut self, rollup: midge_jetstream::Rollup) -> Self {
            self.headers.rollup(rollup);
            self
        }

        /// The stream forgets it after this time: whole seconds, at least one. The stream must
        /// allow it (ADR-43), and nats-server be 2.11 or newer.
        pub fn ttl(mut self, ttl: std::time::Duration) -> Self {
            self.headers.ttl(ttl);
            self
        }

        /// The stream keeps it past its `max_age`.
        pub fn never_expires(mut self) -> Self {
            self.headers.never_expires();
            self
        }

        /// Adds to the counter that the subject is (ADR-49); the payload must be empty. The ack
        /// has what it came to.
        pub fn increment(mut self, by: impl Into<midge_jetstream::Integer>) -> Self {
            self.headers.increment(&by.into());
            self
        }

        /// Has the stream publish it by a schedule (ADR-51).
        pub fn schedule(mut self, schedule: &midge_jetstream::Schedule) -> Self {
            self.headers.schedule(schedule);
            self
        }

        /// Ends the schedule that `subject` holds. The message with this header must go to another
        /// subject of the stream. Needs nats-server 2.14.
        pub fn cancel_schedule(mut self, subject: impl AsRef<str>) -> Self {
            self.headers.cancel_schedule(subject.as_ref());
            self
        }

        /// The level of the API that it needs (ADR-44). nats-server 2.15.1 looks at it for
        /// requests of the API only.
        pub fn required_api_level(mut self, level: u32) -> Self {
            self.headers.required_api_level(level);
            self
        }
    };
}

pub(super) use header_options;
