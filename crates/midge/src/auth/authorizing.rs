//! The driver's part: a challenge of the server, and the future that answers it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use midge_proto::{Attempt, Credentials, ServerUrl};

use super::{Challenge, Methods};

type Answer = Result<Credentials, String>;
type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// At most one challenge at a time, as there is at most one attempt.
pub(crate) struct Authorizing {
    methods: Arc<Methods>,
    /// What stays the same at every connect.
    fixed: Credentials,
    /// The server of the latest attempt.
    server: Option<Arc<ServerUrl>>,
    asked: Option<(Attempt, Challenge)>,
    pending: Option<(Attempt, Answering)>,
}

impl Authorizing {
    pub(crate) fn new(methods: Methods, fixed: Credentials) -> Self {
        Self { methods: Arc::new(methods), fixed, server: None, asked: None, pending: None }
    }

    /// A server is about to be connected to.
    pub(crate) fn connects_to(&mut self, server: &Arc<ServerUrl>) {
        self.server = Some(server.clone());
    }

    /// Notes what the server asks. Nothing foreign is called: this may be under a lock.
    pub(crate) fn ask(&mut self, attempt: Attempt, nonce: Option<String>) {
        if let Some(server) = self.server.clone() {
            self.asked = Some((attempt, Challenge { nonce, server }));
        }
    }

    /// An answer is asked for, and is not there.
    pub(crate) fn is_busy(&self) -> bool {
        self.asked.is_some() || self.pending.is_some()
    }

    /// Works on the answer, if one is asked for, and gives it once it is there. Calls the
    /// application's code: no lock may be held.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Option<(Attempt, Answer)> {
        if let Some((attempt, challenge)) = self.asked.take() {
            let (methods, fixed) = (self.methods.clone(), self.fixed.clone());
            let answer = async move { methods.answer(fixed, challenge).await };
            self.pending = Some((attempt, Box::pin(answer)));
        }
        let (attempt, answer) = self.pending.as_mut()?;
        let attempt = *attempt;
        match answer.as_mut().poll(context) {
            Poll::Ready(answer) => {
                self.pending = None;
                Some((attempt, answer))
            }
            Poll::Pending => None,
        }
    }

    /// The attempt is over, whatever was asked in it.
    pub(crate) fn forget(&mut self, attempt: Attempt) {
        self.asked.take_if(|(asked, _)| *asked == attempt);
        self.pending.take_if(|(pending, _)| *pending == attempt);
    }
}
