//! For how long streams know message ids again: asked for before a message is sent twice.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use midge_jetstream::StreamInfo;
use midge_proto::{Instant, RequestError, Subject, SubjectRef};

use crate::jetstream::{CallError, JetStream};

/// What streams have by default.
const DEFAULT: Duration = Duration::from_secs(120);
/// Attempts when nobody answers, as while JetStream starts, and the time between.
const ATTEMPTS: u32 = 4;
const AGAIN: Duration = Duration::from_millis(250);
/// Subjects of streams that are kept in mind. Beyond, streams are asked again.
const MOST: usize = 1_024;

/// What is known of the streams that a publisher publishes to.
#[derive(Default)]
pub(super) struct Duplicates {
    /// The caller has said it for all of them.
    given: bool,
    /// Subjects of streams that were asked.
    known: Vec<Subject>,
    asking: Option<Asking>,
    /// How often it was refused, or nobody answered.
    refused: u32,
    /// It is not asked before.
    again: Option<Instant>,
}

type Asking = Pin<Box<dyn Future<Output = Result<Found, CallError>> + Send>>;

/// What was found about the stream of a subject.
struct Found {
    subjects: Vec<String>,
    window: Duration,
}

impl Duplicates {
    /// `window` is what the caller has given, or the longest time there is.
    pub(super) fn new(window: Duration) -> Self {
        Self { given: window != Duration::MAX, ..Self::default() }
    }

    /// Whether a message to `subject` may be sent again, by what is known.
    pub(super) fn knows(&self, subject: SubjectRef<'_>) -> bool {
        self.given || self.known.iter().any(|known| known.matches(subject.as_bytes()))
    }

    /// When [`poll`](Self::poll) goes on, if not by being woken.
    pub(super) fn due(&self) -> Option<Instant> {
        self.again
    }

    /// Asks for the stream of a subject. Ready with its window when that is known, or will not be:
    /// then it is taken for the default.
    pub(super) fn poll(
        &mut self,
        js: &JetStream,
        subject: SubjectRef<'_>,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Duration> {
        if self.again.is_some_and(|again| now < again) {
            return Poll::Pending;
        }
        self.again = None;
        let asking =
            self.asking.get_or_insert_with(|| Box::pin(ask(js.clone(), subject.to_subject())));
        let result = ready!(asking.as_mut().poll(context));
        self.asking = None;
        let found = match result {
            Ok(found) => found,
            Err(error) if self.is_final(&error) => {
                // Who is not told what streams there are takes them for ones with the default.
                Found { subjects: vec![">".into()], window: DEFAULT }
            }
            Err(_) => {
                self.again = Some(now + AGAIN);
                return Poll::Pending;
            }
        };
        self.learn(found.subjects, subject);
        Poll::Ready(found.window)
    }

    /// A stream has these subjects, and `subject` comes to it.
    fn learn(&mut self, subjects: Vec<String>, subject: SubjectRef<'_>) {
        if self.known.len() >= MOST {
            self.known.clear();
        }
        let subjects = subjects.into_iter().filter_map(|it| Subject::try_from(it).ok());
        self.known.extend(subjects.take(MOST));
        if !self.knows(subject) {
            self.known.push(subject.to_subject());
        }
    }

    /// Whether asking again would be of no use.
    fn is_final(&mut self, error: &CallError) -> bool {
        match error {
            CallError::Request { error, .. } => {
                matches!(error, RequestError::Permission(_) | RequestError::Publish(_))
            }
            CallError::Api(error) if error.code == 503 => false,
            CallError::Api(_) | CallError::NoResponders { .. } => {
                self.refused += 1;
                self.refused >= ATTEMPTS
            }
            _ => true,
        }
    }
}

async fn ask(js: JetStream, subject: Subject) -> Result<Found, CallError> {
    let Some(stream) = js.stream_by_subject(subject.as_str()).await? else {
        // It came to a stream under another subject, by a mapping or an import, or to none.
        return Ok(Found { subjects: Vec::new(), window: DEFAULT });
    };
    let info: StreamInfo = stream.info().await?;
    let window = info.config.duplicate_window.unwrap_or_default();
    Ok(Found { subjects: info.config.subjects, window })
}

impl fmt::Debug for Duplicates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Duplicates").field("known", &self.known).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_that_are_known_are_bounded() {
        let mut duplicates = Duplicates::new(Duration::MAX);
        let subject = |number: usize| Subject::new(&format!("a.{number}")).expect("it is valid");
        for number in 0..4 * MOST {
            duplicates.learn(Vec::new(), subject(number).borrowed());
            assert!(duplicates.knows(subject(number).borrowed()));
        }
        let many = (0..4 * MOST).map(|number| format!("b.{number}")).collect();
        duplicates.learn(many, subject(0).borrowed());
        assert!(duplicates.knows(subject(0).borrowed()));
        assert!(duplicates.known.len() <= 2 * MOST + 1, "{}", duplicates.known.len());
    }
}
