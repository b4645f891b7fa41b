//! How the layers of a transport are begun, fed and emptied.

use std::sync::Arc;

use midge_proto::{Attempt, DisconnectCause, ServerUrl, TlsMode, Wait};

use super::{Driver, TURN_BYTES, Turn};
use crate::layers::{self, Kept, Layers, Lent, Opening, Stack, WINDOW};
use crate::shared::lock;

/// The layers of the transport, if it needs any, and what must be known to make them.
pub(super) struct Layered {
    mode: TlsMode,
    dialing: Option<(Attempt, Arc<ServerUrl>)>,
    pub(super) stack: Option<Kept>,
    /// The transport has ended, and what it delivered is still being decoded.
    ended: Option<DisconnectCause>,
    /// The adapter was told to close the transport: from the next turn on, it has no layers.
    over: bool,
    /// Bytes decoded in this turn.
    pub(super) moved: usize,
}

impl Layered {
    pub(super) fn new(mode: TlsMode) -> Self {
        Self { mode, dialing: None, stack: None, ended: None, over: false, moved: 0 }
    }

    /// The layers of `attempt`.
    fn of(&mut self, attempt: Attempt) -> Option<&mut Stack> {
        match &mut self.stack {
            Some(stack) if stack.attempt() == attempt => Some(stack),
            _ => None,
        }
    }

    /// Keeps the cause of an end until all that came before is decoded, or gives it back.
    pub(super) fn transport_ended(
        &mut self,
        attempt: Attempt,
        cause: DisconnectCause,
    ) -> Option<DisconnectCause> {
        if self.of(attempt).is_none() {
            return Some(cause);
        }
        let _ = self.ended.get_or_insert(cause);
        None
    }

    /// A turn begins.
    pub(super) fn turn(&mut self) {
        self.moved = 0;
        if self.over {
            self.reset();
        }
    }

    fn reset(&mut self) {
        self.stack = None;
        self.ended = None;
        self.over = false;
    }
}

impl Driver {
    /// What a turn means when there are layers. `None`: the core has something new.
    pub(super) fn through_layers(&mut self, turn: Turn) -> Option<Turn> {
        match &turn {
            Turn::Connect { attempt, to } => {
                self.layered.reset();
                self.with(|inner| inner.tls = None);
                self.layered.dialing = Some((*attempt, Arc::clone(&to.server)));
            }
            Turn::Close { attempt } => {
                self.layered.dialing = None;
                self.say_goodbye(*attempt);
            }
            Turn::Idle(wait) if self.layered.stack.is_some() => return self.pump(*wait),
            _ => {}
        }
        Some(turn)
    }

    /// Begins with the layers that a fresh transport needs. False when it needs none.
    pub(super) fn begin_layers(&mut self, attempt: Attempt, secure: bool) -> bool {
        let Some((_, server)) = self.layered.dialing.take_if(|(of, _)| *of == attempt) else {
            return false;
        };
        let server_name = self.with(|inner| inner.connection.server_name().to_owned());
        let settings = &self.shared.settings.layers;
        match layers::at_connect(settings, self.layered.mode, &server, &server_name, secure) {
            Ok(None) => return false,
            Ok(Some((layers, secure))) => self.begin(attempt, Opening::Connect { secure }, layers),
            Err(cause) => self.ended(attempt, cause),
        }
        true
    }

    /// Begins with TLS behind INFO.
    pub(super) fn start_tls(&mut self, attempt: Attempt, server_name: &str) {
        match layers::start_tls(&self.shared.settings.layers, server_name) {
            Ok(layers) => self.begin(attempt, Opening::StartTls, layers),
            Err(cause) => self.ended(attempt, cause),
        }
    }

    fn begin(&mut self, attempt: Attempt, opening: Opening, layers: Layers) {
        self.layered.reset();
        self.with(|inner| inner.direct = None);
        self.layered.stack = Some(layers::kept(Stack::new(attempt, opening, layers)));
    }

    /// What the layers want to say before the transport closes.
    fn say_goodbye(&mut self, attempt: Attempt) {
        if let Some(stack) = self.layered.of(attempt) {
            stack.close();
            self.layered.over = true;
        }
    }

    /// Moves what is decoded to the core, and says what to wait for. `None`: the core has
    /// something new.
    fn pump(&mut self, wait: Wait) -> Option<Turn> {
        let now = self.now();
        let stack = self.layered.stack.as_mut()?;
        let attempt = stack.attempt();
        if let Some(opening) = stack.advance() {
            let session = stack.tls_session();
            self.with(|inner| {
                inner.tls = session;
                match opening {
                    Opening::Connect { secure } => {
                        inner.connection.connected(attempt, secure, now);
                    }
                    Opening::StartTls => inner.connection.tls_ready(attempt, now),
                }
            });
            return None;
        }
        if wait.read && stack.has_input() {
            if self.layered.moved >= 2 * TURN_BYTES {
                return Some(Turn::Yield);
            }
            if self.decode() > 0 {
                return None;
            }
        }
        let stack = self.layered.stack.as_ref()?;
        if let Some(cause) = stack.ended().cloned().or_else(|| self.layered.ended.take()) {
            self.with(|inner| inner.connection.closed(attempt, cause, now));
            if !self.keeps(attempt) {
                self.layered.reset();
                return None;
            }
            self.say_goodbye(attempt);
            return Some(Turn::Close { attempt });
        }
        let read = stack.wants_read(wait.read);
        let write = stack.wants_write() || wait.write && stack.takes();
        Some(Turn::Idle(Wait { read, write, ..wait }))
    }

    /// Decodes into the core's own read buffer, and gives the count. When that is nothing, a
    /// driver that was idle still is.
    fn decode(&mut self) -> usize {
        let Some(mut buffer) = lock(&self.shared.inner).connection.take_read() else { return 0 };
        let count = self.layered.stack.as_mut().map_or(0, |stack| stack.read(&mut buffer));
        let mut inner = lock(&self.shared.inner);
        inner.connection.filled(buffer, count);
        inner.idle &= count == 0;
        drop(inner);
        self.layered.moved += count;
        count
    }

    /// Bytes for the socket. What the layers take from the core counts as written.
    pub(super) fn encode(&mut self, max: usize) -> Option<Lent> {
        if self.layered.stack.as_ref()?.takes()
            && let Some(batch) = self.with(|inner| inner.connection.take_transmit(max.min(WINDOW)))
        {
            let stack = self.layered.stack.as_mut()?;
            if batch.attempt() == stack.attempt() {
                stack.write(batch.as_slice());
            }
            let all = batch.as_slice().len();
            self.settle_core(batch, all);
        }
        self.layered.stack.as_mut()?.take_transmit()
    }
}
