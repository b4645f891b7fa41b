//! What a server knows of one client.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use midge_proto::Instant;
use midge_proto::wire::ConnectInfo;

use super::{Close, User};

/// One connection, from `accept` until its transport has ended.
#[derive(Debug)]
pub(super) struct Client {
    /// The server's place in the cluster.
    pub(super) server: usize,
    /// The server's number of it, in INFO.
    pub(super) number: u64,
    /// What CONNECT said, and before that what servers assume.
    pub(super) connect: ConnectInfo,
    /// Whether there was a CONNECT.
    pub(super) connected: bool,
    /// Whether there must be a CONNECT before anything else.
    pub(super) connect_expected: bool,
    /// Whether a PING behind CONNECT was answered, after which INFO may come at any time.
    pub(super) greeted: bool,
    /// Whether both sides want headers.
    pub(super) headers: bool,
    pub(super) user: Option<User>,
    pub(super) subscriptions: BTreeMap<Bytes, u64>,
    pub(super) input: Vec<u8>,
    pub(super) output: Output,
    pub(super) closing: Option<Close>,
    /// Whether it is in the list of clients that changed.
    pub(super) changed: bool,
    pub(super) pings_out: u32,
    pub(super) last_in: Option<Instant>,
    pub(super) last_ping: Option<Instant>,
    pub(super) deadlines: [Option<Instant>; 3],
}

impl Client {
    pub(super) fn new(server: usize, number: u64, connect_expected: bool) -> Self {
        let connect = ConnectInfo {
            verbose: true,
            pedantic: true,
            headers: false,
            no_responders: false,
            protocol: 0,
            ..ConnectInfo::default()
        };
        Self {
            server,
            number,
            connect,
            connected: false,
            connect_expected,
            greeted: false,
            headers: false,
            user: None,
            subscriptions: BTreeMap::new(),
            input: Vec::new(),
            output: Output::default(),
            closing: None,
            changed: false,
            pings_out: 0,
            last_in: None,
            last_ping: None,
            deadlines: [None; 3],
        }
    }

    pub(super) fn awaits_connect(&self) -> bool {
        self.connect_expected && !self.connected
    }

    pub(super) fn takes_info(&self) -> bool {
        self.greeted && self.connect.protocol >= 1 && self.closing.is_none()
    }
}

/// Bytes on their way to a client.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// Bytes at the front that were taken already.
    taken: usize,
    /// All that were ever taken.
    total_taken: u64,
    /// Where each delivery ends that is not yet wholly taken, counted as `total_taken` is.
    ends: VecDeque<u64>,
}

impl Output {
    pub(super) fn pending(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    /// What frames are appended to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// A delivery ends here.
    pub(super) fn mark(&mut self) {
        self.ends.push_back(self.total_taken + self.pending().len() as u64);
    }

    /// Takes `count` bytes and tells how many deliveries are wholly taken with them.
    pub(super) fn take(&mut self, count: usize) -> u64 {
        let count = count.min(self.pending().len());
        self.taken += count;
        self.total_taken += count as u64;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        } else if self.taken > 64 << 10 && self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        let mut whole = 0;
        while self.ends.front().is_some_and(|&end| end <= self.total_taken) {
            self.ends.pop_front();
            whole += 1;
        }
        whole
    }

    /// Throws away what was not taken.
    pub(super) fn discard(&mut self) {
        *self = Self { total_taken: self.total_taken, ..Self::default() };
    }
}
