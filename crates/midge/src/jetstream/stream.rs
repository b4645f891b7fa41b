//! One stream: what it is, its messages, the end of it.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;

use midge_jetstream::{
    ConfigError, DeleteMessageRequest, ErrorCode, GetReply, GetRequest, PurgeRequest, Purged,
    StoredMessage, StreamInfo, StreamInfoRequest, StreamName, SubjectsPage, read_reply,
};

use super::JetStream;
use super::request::{Call, CallError};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream, which may or may not be there. Made by [`JetStream::stream`] and
/// [`JetStream::create_stream`], among others.
///
/// A clone is cheap, and is the same stream.
#[derive(Clone, Debug)]
pub struct Stream {
    context: JetStream,
    name: StreamName,
    info: Option<Arc<StreamInfo>>,
}

impl Stream {
    pub(crate) fn new(context: JetStream, name: StreamName, info: Option<Arc<StreamInfo>>) -> Self {
        Self { context, name, info }
    }

    pub(super) fn with_info(self, info: StreamInfo) -> Self {
        Self { info: Some(Arc::new(info)), ..self }
    }

    /// Its name.
    pub fn name(&self) -> &StreamName {
        &self.name
    }

    /// The context that it is of.
    pub fn context(&self) -> &JetStream {
        &self.context
    }

    /// What it was when this handle was made, if the server told that then. [`info`](Self::info)
    /// asks.
    pub fn cached_info(&self) -> Option<&StreamInfo> {
        self.info.as_deref()
    }

    /// Asks what it is now. `.await` gives `Result<StreamInfo, CallError>`;
    /// [`ErrorCode::STREAM_NOT_FOUND`] when it is not there.
    ///
    /// ```no_run
    /// # async fn example(stream: midge::jetstream::Stream) -> Result<(), Box<dyn std::error::Error>> {
    /// let info = stream.info().subjects("orders.eu.>").await?;
    /// for (subject, messages) in &info.state.subjects {
    ///     println!("{subject}: {messages}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn info(&self) -> Info<'_> {
        Info { stream: self, request: StreamInfoRequest::default() }
    }

    /// Deletes messages: all, unless it is told which. `.await` gives
    /// `Result<u64, PurgeError>`: how many there were.
    pub fn purge(&self) -> Purge<'_> {
        Purge { stream: self, request: PurgeRequest::default() }
    }

    /// Makes that no message comes or goes any more. It cannot be undone.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn seal(&self) -> Result<StreamInfo, CallError> {
        self.context.seal(&self.name).await
    }

    /// Deletes it with its messages and consumers.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`ErrorCode::STREAM_NOT_FOUND`] when it is not there.
    pub async fn delete(&self) -> Result<(), CallError> {
        self.context.delete_stream(&self.name).await
    }

    // ---- messages ------------------------------------------------------------------------

    /// The message of a sequence, as the leader of the stream has it.
    ///
    /// # Errors
    ///
    /// [`GetMessageError`].
    pub async fn message(&self, sequence: u64) -> Result<StoredMessage, GetMessageError> {
        self.get(GetRequest::Sequence { seq: sequence }).await
    }

    /// The last message of a subject, which may hold wildcards, as the leader of the stream has
    /// it.
    ///
    /// # Errors
    ///
    /// [`GetMessageError`].
    pub async fn last_message(&self, subject: &str) -> Result<StoredMessage, GetMessageError> {
        self.get(GetRequest::Last { last_by_subj: subject.into() }).await
    }

    /// The first message of a subject, which may hold wildcards, from a sequence on, as the
    /// leader of the stream has it.
    ///
    /// # Errors
    ///
    /// [`GetMessageError`].
    pub async fn next_message(
        &self,
        subject: &str,
        from: u64,
    ) -> Result<StoredMessage, GetMessageError> {
        self.get(GetRequest::Next { seq: from, next_by_subj: subject.into() }).await
    }

    async fn get(&self, request: GetRequest) -> Result<StoredMessage, GetMessageError> {
        request.check().map_err(CallError::Config)?;
        let call = format!("STREAM.MSG.GET.{}", self.name);
        match self.context.call().ask::<GetReply>(&call, Some(&request)).await {
            Ok(reply) => Ok(reply.into_message()),
            Err(error) if error.code() == Some(ErrorCode::NO_MESSAGE_FOUND) => {
                Err(GetMessageError::NotFound)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes the message of a sequence. What it held stays in storage until that is used
    /// again.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`ErrorCode::SEQUENCE_NOT_FOUND`] or
    /// [`ErrorCode::STREAM_MSG_DELETE_FAILED`], depending on the storage, when it is not there.
    pub async fn delete_message(&self, sequence: u64) -> Result<(), CallError> {
        self.delete_by(DeleteMessageRequest { seq: sequence, no_erase: true }).await
    }

    /// As [`delete_message`](Self::delete_message), and what it held is overwritten in storage,
    /// which takes longer.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`ErrorCode::SEQUENCE_NOT_FOUND`] or
    /// [`ErrorCode::STREAM_MSG_DELETE_FAILED`], depending on the storage, when it is not there.
    pub async fn secure_delete_message(&self, sequence: u64) -> Result<(), CallError> {
        self.delete_by(DeleteMessageRequest { seq: sequence, no_erase: false }).await
    }

    async fn delete_by(&self, request: DeleteMessageRequest) -> Result<(), CallError> {
        let call = format!("STREAM.MSG.DELETE.{}", self.name);
        self.context.call().ask_done(&call, Some(&request)).await
    }
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetMessageError {
    /// The stream has none such.
    #[error("the stream has no such message")]
    NotFound,
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A question for what a stream is. Made by [`Stream::info`]; `.await` asks it.
#[derive(Clone, Debug)]
#[must_use = "nothing is asked until `.await`"]
pub struct Info<'a> {
    stream: &'a Stream,
    request: StreamInfoRequest,
}

impl<'a> Info<'a> {
    /// With the subjects that match, which may hold wildcards, and how many messages each has. All
    /// of them, which may be several answers of the server: up to 100,000 at a time.
    pub fn subjects(mut self, filter: &str) -> Self {
        self.request.subjects_filter = Some(filter.into());
        self
    }

    /// With the sequences of deleted messages.
    pub fn deleted(mut self) -> Self {
        self.request.deleted_details = true;
        self
    }

    async fn ask(mut self) -> Result<StreamInfo, CallError> {
        self.request.check()?;
        let call = self.stream.context.call();
        let (mut info, mut page) = self.page(&call).await?;
        while let Some(further) = self.further(&info, page) {
            self.request.offset = further;
            self.request.deleted_details = false;
            let (more, next) = self.page(&call).await?;
            let before = info.state.subjects.len();
            info.state.subjects.extend(more.state.subjects);
            if info.state.subjects.len() == before {
                break;
            }
            page = next;
        }
        Ok(info)
    }

    async fn page(&self, call: &Call<'_>) -> Result<(StreamInfo, SubjectsPage), CallError> {
        let request = (self.request != StreamInfoRequest::default()).then_some(&self.request);
        let info = format!("STREAM.INFO.{}", self.stream.name);
        let (subject, message) = call.request(&info, request).await?;
        let malformed = |error| CallError::reply(&subject, error);
        let info = read_reply(message.payload()).map_err(malformed)?;
        let page = read_reply(message.payload()).map_err(malformed)?;
        Ok((info, page))
    }

    /// How many subjects were told, if there are more.
    fn further(&self, info: &StreamInfo, page: SubjectsPage) -> Option<u64> {
        let told = info.state.subjects.len() as u64;
        (self.request.subjects_filter.is_some() && told < page.total).then_some(told)
    }
}

impl<'a> IntoFuture for Info<'a> {
    type Output = Result<StreamInfo, CallError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}

/// Which messages of a stream to delete. Made by [`Stream::purge`]; `.await` deletes them.
#[derive(Clone, Debug)]
#[must_use = "nothing is deleted until `.await`"]
pub struct Purge<'a> {
    stream: &'a Stream,
    request: PurgeRequest,
}

impl<'a> Purge<'a> {
    /// Only those of a subject, which may hold wildcards.
    pub fn filter(mut self, subject: &str) -> Self {
        self.request.filter = Some(subject.into());
        self
    }

    /// Only those before a sequence; before 0 and 1 there are none. Not together with
    /// [`keep`](Self::keep).
    pub fn before(mut self, sequence: u64) -> Self {
        // Zero is no sequence for the server: it would delete everything.
        self.request.seq = sequence.max(1);
        self
    }

    /// All but so many of the last ones. Not together with [`before`](Self::before).
    pub fn keep(mut self, messages: u64) -> Self {
        self.request.keep = messages;
        self
    }

    async fn ask(self) -> Result<u64, PurgeError> {
        self.request.check()?;
        let request = (self.request != PurgeRequest::default()).then_some(&self.request);
        let call = format!("STREAM.PURGE.{}", self.stream.name);
        let purged: Purged = self.stream.context.call().ask(&call, request).await?;
        Ok(purged.purged)
    }
}

impl<'a> IntoFuture for Purge<'a> {
    type Output = Result<u64, PurgeError>;
    type IntoFuture = Boxed<'a, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.ask())
    }
}

/// Why messages were not purged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeError {
    /// What was asked for contradicts itself. Nothing was sent.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
}
