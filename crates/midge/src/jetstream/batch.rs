//! Messages that a stream stores all together or not at all.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use midge_jetstream::{
    ApiError, ApiLevel, Ask, Batch, BatchError, Commit, CommitError, Need, PubAck, PublishHeaders,
    PublishHeadersError, ReplyError,
};
use midge_proto::{AsSubject, HeaderMap, PublishError, RequestError, Subject};

use super::JetStream;
use super::headers::header_options;
use super::publish::{JetPublishError, read_ack};
use super::request::FeatureError;
use crate::room::{Room, RoomWait};
use crate::shared::{Inner, lock};
use crate::{Client, Requesting};

const BATCH: Need = Need::new("to store messages together", ApiLevel::V2_12);
const COMMIT_END: Need = Need::new("to commit a batch without a message", ApiLevel::V2_14);

impl JetStream {
    /// A batch: messages that their stream stores all together, once they are committed, or not at
    /// all (ADR-50). The stream must allow it (`allow_atomic`), and nats-server be 2.12 or newer.
    ///
    /// ```no_run
    /// # async fn example(js: &midge::jetstream::JetStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut batch = js.batch().await?;
    /// batch.add("users.7.street", "Elm Street 1").await?;
    /// batch.add("users.7.city", "Springwood").await?;
    /// let ack = batch.commit("users.7.zip", "45501").await?;
    /// assert_eq!(ack.count, Some(3));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FeatureError`] if the server is too old, or does not say.
    pub async fn batch(&self) -> Result<AtomicBatch, FeatureError> {
        self.require_of_messages(BATCH).await?;
        let client = self.client().clone();
        let inbox = client.new_inbox();
        let id = inbox.rsplit('.').next().unwrap_or_default().to_owned();
        let batch = Batch::new(id).expect("the token of an inbox has 22 letters and digits");
        let (js, timeout) = (self.clone(), self.timeout());
        Ok(AtomicBatch { js, client, batch, connects: None, last: None, timeout })
    }
}

/// Why a batch was not stored, or is not known to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AtomicBatchError {
    /// What was asked for contradicts itself. The message was not added.
    #[error(transparent)]
    Headers(#[from] PublishHeadersError),
    /// The batch cannot take the message, or cannot be committed.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The message is not valid, or there is no room for it. It was not added.
    #[error(transparent)]
    Publish(PublishError),
    /// The stream refused a message or the commit. Nothing of the batch is stored.
    #[error("the stream refused the batch: {0}")]
    Refused(ApiError),
    /// No stream took the message. Nothing of the batch is stored.
    #[error("no stream took the batch: none listens on the subject, or it has no leader for now")]
    NoStream,
    /// The connection was lost between two messages. Nothing of the batch is stored: begin another
    /// one.
    #[error(
        "the connection was lost, and the batch with it: nothing of it is stored, begin another one"
    )]
    Lost,
    /// The server is too old for the commit or for a header, or did not say whether it is. The batch
    /// goes on.
    #[error(transparent)]
    Feature(#[from] FeatureError),
    /// No answer came. After a commit, the batch may be stored.
    #[error(transparent)]
    Request(RequestError),
    /// The commit was answered, but not as it should be.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// What answered is no stream. After a commit, the batch may be stored.
    #[error("the answer is none of a stream: {0}")]
    Malformed(ReplyError),
}

impl From<JetPublishError> for AtomicBatchError {
    fn from(error: JetPublishError) -> Self {
        match error {
            JetPublishError::Headers(error) => Self::Headers(error),
            JetPublishError::Feature(error) => Self::Feature(error),
            JetPublishError::Refused(error) => Self::Refused(error),
            JetPublishError::NoStream { .. } => Self::NoStream,
            JetPublishError::Request(error) => Self::Request(error),
            JetPublishError::Malformed(error) => Self::Malformed(error),
        }
    }
}

/// A batch that is being put together. Made by [`JetStream::batch`].
///
/// Messages go to the server as they are added, 1,000 at most, and are stored with the commit. The
/// first one and every hundredth wait for the server's word, so that a batch that is refused is
/// noticed soon. A batch without a message for 10 s is forgotten by the server, and so is one that
/// is dropped. Nothing is sent again: after any error, and after a lost connection, begin another
/// batch.
#[derive(Debug)]
pub struct AtomicBatch {
    js: JetStream,
    client: Client,
    batch: Batch,
    /// The connection that it began on.
    connects: Option<u64>,
    /// The subject of the last message.
    last: Option<Subject>,
    timeout: Duration,
}

impl AtomicBatch {
    /// The longest wait for each word of the server. Default: that of the [`JetStream`].
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Messages of which one waits for the server's word. Default: 100; 0 for the first and the
    /// commit alone.
    #[must_use]
    pub fn ack_every(mut self, messages: u64) -> Self {
        self.batch = self.batch.ack_every(messages);
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.batch.id()
    }

    /// Messages that were added.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.batch.messages()
    }

    /// Adds a message. `.await` gives `Result<(), AtomicBatchError>`.
    ///
    /// Dropped before it is ready, the batch may be over.
    pub fn add<S: AsSubject, P: AsRef<[u8]>>(&mut self, subject: S, payload: P) -> Add<'_, S, P> {
        Add { batch: self, headers: PublishHeaders::new(), subject, payload }
    }

    /// Adds a last message and commits the batch. `.await` gives `Result<PubAck,
    /// AtomicBatchError>`; the ack has the number of the last message in the stream, those before it
    /// stand right before.
    pub fn commit<S: AsSubject, P: AsRef<[u8]>>(
        &mut self,
        subject: S,
        payload: P,
    ) -> CommitBatch<'_, S, P> {
        let how = Commit::WithMessage;
        CommitBatch { batch: self, headers: PublishHeaders::new(), subject, payload, how }
    }

    /// Commits the batch as it is, by a message that is not stored. Needs nats-server 2.14.
    ///
    /// # Errors
    ///
    /// [`AtomicBatchError`].
    pub async fn commit_end(&mut self) -> Result<PubAck, AtomicBatchError> {
        let subject = self.last.clone().ok_or(BatchError::Empty)?;
        self.js.require_of_messages(COMMIT_END).await?;
        let (headers, how) = (PublishHeaders::new(), Commit::End);
        CommitBatch { batch: self, headers, subject, payload: "", how }.await
    }

    /// The batch is still on the connection that it began on.
    fn check_connection(&mut self) -> Result<(), AtomicBatchError> {
        let inner = lock(&self.client.shared().inner);
        let connects = inner.connection.statistics().connects;
        let connected = inner.connection.is_connected();
        drop(inner);
        match self.connects {
            Some(began) if began != connects || !connected => {
                self.batch.fail();
                Err(AtomicBatchError::Lost)
            }
            _ => Ok(()),
        }
    }

    fn note_connection(&mut self) {
        let inner = lock(&self.client.shared().inner);
        let connects = inner.connection.statistics().connects;
        drop(inner);
        self.connects.get_or_insert(connects);
    }

    fn request<S: AsSubject, P: AsRef<[u8]>>(
        &mut self,
        headers: HeaderMap,
        subject: S,
        payload: P,
    ) -> Result<Requesting<'static, S, P>, AtomicBatchError> {
        let last = subject.as_subject().map_err(PublishError::Subject);
        self.last = Some(last.map_err(AtomicBatchError::Publish)?.to_subject());
        let request = self.client.request(subject, payload).timeout(self.timeout);
        Ok(request.own_headers(headers).into_future())
    }
}

fn lost_or(error: RequestError) -> AtomicBatchError {
    match error {
        RequestError::NoResponders => AtomicBatchError::NoStream,
        RequestError::Publish(error) => AtomicBatchError::Publish(error),
        error => AtomicBatchError::Request(error),
    }
}

/// A message that is about to be added to a batch. Made by [`AtomicBatch::add`].
#[derive(Debug)]
#[must_use = "nothing is added until `.await`"]
pub struct Add<'a, S, P> {
    batch: &'a mut AtomicBatch,
    headers: PublishHeaders,
    subject: S,
    payload: P,
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> Add<'a, S, P> {
    header_options!();
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for Add<'a, S, P> {
    type Output = Result<(), AtomicBatchError>;
    type IntoFuture = Adding<'a, S, P>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { batch, headers, subject, payload } = self;
        let room = RoomWait::new(Room::Messages);
        Adding { batch, room, state: AddState::New(headers, subject, payload) }
    }
}

#[derive(Debug)]
enum AddState<S, P> {
    New(PublishHeaders, S, P),
    Waiting(HeaderMap, S, P),
    Asking(Requesting<'static, S, P>),
    Over,
}

/// The future of an [`Add`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Adding<'a, S, P> {
    batch: &'a mut AtomicBatch,
    room: RoomWait,
    state: AddState<S, P>,
}

/// Nothing here is pinned by being polled.
impl<S, P> Unpin for Adding<'_, S, P> {}

impl<S: AsSubject, P: AsRef<[u8]>> Future for Adding<'_, S, P> {
    type Output = Result<(), AtomicBatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        loop {
            match std::mem::replace(&mut this.state, AddState::Over) {
                AddState::New(headers, subject, payload) => {
                    this.batch.check_connection()?;
                    check_subject(&subject)?;
                    this.batch.js.check_known(headers.need())?;
                    let mut headers = headers.into_map()?.unwrap_or_default();
                    this.state = match this.batch.batch.add(&mut headers)? {
                        Ask::Yes => {
                            AddState::Asking(this.batch.request(headers, subject, payload)?)
                        }
                        Ask::No => AddState::Waiting(headers, subject, payload),
                    };
                }
                AddState::Waiting(headers, subject, payload) => {
                    let shared = this.batch.client.handle().shared.clone();
                    let connects = this.batch.connects;
                    let message = subject.as_subject().map_err(PublishError::Subject);
                    let message = message.map_err(AtomicBatchError::Publish)?;
                    let result = shared.poll_with_room(
                        &mut this.room,
                        context,
                        |error| matches!(error, AtomicBatchError::Publish(PublishError::Full)),
                        |inner: &mut Inner| {
                            let now = inner.connection.statistics().connects;
                            if !inner.connection.is_connected() || connects != Some(now) {
                                return Err(AtomicBatchError::Lost);
                            }
                            let payload = payload.as_ref();
                            let sent =
                                inner.connection.publish(message, None, Some(&headers), payload);
                            sent.map_err(AtomicBatchError::Publish)
                        },
                    );
                    match result {
                        Poll::Ready(Ok(_)) => return Poll::Ready(Ok(())),
                        Poll::Ready(Err(error)) => {
                            this.batch.batch.take_back();
                            if let AtomicBatchError::Lost = error {
                                this.batch.batch.fail();
                            }
                            return Poll::Ready(Err(error));
                        }
                        Poll::Pending => {
                            this.state = AddState::Waiting(headers, subject, payload);
                            return Poll::Pending;
                        }
                    }
                }
                AddState::Asking(mut requesting) => {
                    let Poll::Ready(result) = Pin::new(&mut requesting).poll(context) else {
                        this.state = AddState::Asking(requesting);
                        return Poll::Pending;
                    };
                    let answer = result.map_err(lost_or).and_then(|message| {
                        if message.payload().is_empty() {
                            return Ok(());
                        }
                        read_ack(message.payload())?;
                        Err(CommitError::NoBatch.into())
                    });
                    match &answer {
                        Ok(()) => this.batch.note_connection(),
                        Err(_) => this.batch.batch.fail(),
                    }
                    return Poll::Ready(answer);
                }
                AddState::Over => panic!("a message was added once"),
            }
        }
    }
}

fn check_subject(subject: &impl AsSubject) -> Result<(), AtomicBatchError> {
    let subject = subject.as_subject().map_err(PublishError::Subject);
    if subject.map_err(AtomicBatchError::Publish)?.has_wildcards() {
        return Err(AtomicBatchError::Publish(PublishError::Wildcard));
    }
    Ok(())
}

impl<S, P> Drop for Adding<'_, S, P> {
    fn drop(&mut self) {
        self.room.abandon(self.batch.client.shared());
        match self.state {
            AddState::Waiting(..) => self.batch.batch.take_back(),
            AddState::Asking(_) => self.batch.batch.fail(),
            AddState::New(..) | AddState::Over => {}
        }
    }
}

/// A batch that is about to be committed. Made by [`AtomicBatch::commit`].
#[derive(Debug)]
#[must_use = "nothing is committed until `.await`"]
pub struct CommitBatch<'a, S, P> {
    batch: &'a mut AtomicBatch,
    headers: PublishHeaders,
    subject: S,
    payload: P,
    how: Commit,
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> CommitBatch<'a, S, P> {
    header_options!();

    fn begin(self) -> Begun<S, P> {
        let Self { batch, headers, subject, payload, how } = self;
        batch.check_connection()?;
        check_subject(&subject)?;
        batch.js.check_known(headers.need())?;
        let mut headers = headers.into_map()?.unwrap_or_default();
        batch.batch.commit(&mut headers, how)?;
        Ok((batch.request(headers, subject, payload)?, batch.batch.clone()))
    }
}

impl<'a, S: AsSubject, P: AsRef<[u8]>> IntoFuture for CommitBatch<'a, S, P> {
    type Output = Result<PubAck, AtomicBatchError>;
    type IntoFuture = Committing<S, P>;

    fn into_future(self) -> Self::IntoFuture {
        Committing { begun: Some(self.begin()) }
    }
}

/// The future of a [`CommitBatch`]. Dropped before it is ready, the batch may be stored.
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Committing<S, P> {
    begun: Option<Begun<S, P>>,
}

type Begun<S, P> = Result<(Requesting<'static, S, P>, Batch), AtomicBatchError>;

/// Nothing here is pinned by being polled.
impl<S, P> Unpin for Committing<S, P> {}

impl<S: AsSubject, P: AsRef<[u8]>> Future for Committing<S, P> {
    type Output = Result<PubAck, AtomicBatchError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let begun = self.begun.take().expect("a commit is polled until it is ready");
        let (mut requesting, batch) = begun?;
        let Poll::Ready(result) = Pin::new(&mut requesting).poll(context) else {
            self.begun = Some(Ok((requesting, batch)));
            return Poll::Pending;
        };
        let ack = read_ack(result.map_err(lost_or)?.payload())?;
        batch.committed(&ack)?;
        Poll::Ready(Ok(ack))
    }
}
