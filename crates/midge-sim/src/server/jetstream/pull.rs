//! A request for messages that waits at a consumer.

use std::time::Duration;

use bytes::Bytes;
use midge_jetstream::ConsumerConfig;
use midge_proto::Instant;
use serde::Deserialize;

use super::Say;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Pull {
    pub(super) reply: Bytes,
    /// Messages that it still gets.
    pub(super) messages: u64,
    /// Bytes that it still gets, when it said how many.
    pub(super) bytes: Option<u64>,
    pub(super) expires: Option<Instant>,
    pub(super) heartbeat: Option<(Duration, Instant)>,
    /// It does not wait for more than there is.
    pub(super) no_wait: bool,
    /// It has got something.
    pub(super) served: bool,
}

#[derive(Deserialize, Default)]
struct Asked {
    #[serde(default)]
    batch: u64,
    #[serde(default)]
    max_bytes: u64,
    #[serde(default)]
    expires: u64,
    #[serde(default)]
    idle_heartbeat: u64,
    #[serde(default)]
    no_wait: bool,
}

impl Pull {
    /// Reads a request, or says why it is refused. `waits`: how many messages there are for it, and how many those want who
    /// wait already.
    pub(super) fn read(
        reply: &Bytes,
        payload: &[u8],
        config: &ConsumerConfig,
        waits: (u64, u64),
        now: Instant,
    ) -> Result<Self, String> {
        let no = str::to_owned;
        let asked = match payload {
            [] => Asked::default(),
            json => serde_json::from_slice(json).map_err(|_| no("400 Bad Request"))?,
        };
        let (expires, heartbeat) =
            (Duration::from_nanos(asked.expires), Duration::from_nanos(asked.idle_heartbeat));
        let messages = asked.batch.max(1);
        if heartbeat * 2 > expires && !heartbeat.is_zero() {
            return Err(no("400 Bad Request - heartbeat value too large"));
        }
        if let Some(most) = config.max_batch.filter(|&most| messages > u64::from(most)) {
            return Err(format!("409 Exceeded MaxRequestBatch of {most}"));
        }
        let (there, wanted) = waits;
        if asked.no_wait {
            if there == 0 && expires.is_zero() {
                return Err(no("404 No Messages"));
            }
            if there > 0 && there < wanted {
                return Err(no("408 Requests Pending"));
            }
        }
        Ok(Self {
            reply: reply.clone(),
            messages,
            bytes: (asked.max_bytes > 0).then_some(asked.max_bytes),
            expires: (!expires.is_zero()).then(|| now + expires),
            heartbeat: (!heartbeat.is_zero()).then(|| (heartbeat, now + heartbeat)),
            no_wait: asked.no_wait,
            served: false,
        })
    }

    /// It is over, for this reason; what it has not got is said with it.
    pub(super) fn over(&self, words: &str) -> Say {
        let (messages, bytes) = (self.messages, self.bytes.unwrap_or(0));
        let line =
            format!("{words}\r\nNats-Pending-Messages: {messages}\r\nNats-Pending-Bytes: {bytes}");
        Say::status(&self.reply, &line)
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    /// When it wants something done.
    pub(super) fn due(&self) -> Option<Instant> {
        self.expires.into_iter().chain(self.heartbeat.map(|(_, at)| at)).min()
    }
}
