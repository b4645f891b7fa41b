//! Making, finding and listing streams.

use std::sync::Arc;

use midge_jetstream::{
    Differences, ErrorCode, ListRequest, NameError, Pages, StreamConfig, StreamInfo, StreamName,
    StreamRequest,
};
use serde_json::Value;

use super::JetStream;
use super::list::List;
use super::request::{Call, CallError, StreamError};
use super::stream::Stream;

impl JetStream {
    /// A handle of a stream, which is not asked for: it may not be there.
    ///
    /// # Errors
    ///
    /// [`NameError`] when no stream can have the name.
    pub fn stream(&self, name: impl AsRef<str>) -> Result<Stream, NameError> {
        Ok(Stream::new(self.clone(), StreamName::new(name.as_ref())?, None))
    }

    /// A stream that is there, with what it is at the moment.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`ErrorCode::STREAM_NOT_FOUND`] when it is not there.
    pub async fn get_stream(&self, name: impl AsRef<str>) -> Result<Stream, CallError> {
        let stream = self.stream(name)?;
        let info = stream.info().await?;
        Ok(stream.with_info(info))
    }

    /// Creates a stream. One that is there with the same configuration is given as it is.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; [`ErrorCode::STREAM_NAME_EXIST`] when one of the name is there with
    /// another configuration.
    ///
    /// ```no_run
    /// use midge::jetstream::{JetStream, StreamConfig};
    ///
    /// # async fn example(client: midge::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// let jetstream = JetStream::new(client);
    /// let orders = jetstream
    ///     .create_stream(StreamConfig {
    ///         subjects: vec!["orders.>".into()],
    ///         ..StreamConfig::new("orders")
    ///     })
    ///     .await?;
    /// println!("{} messages", orders.info().await?.state.messages);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create_stream(&self, config: StreamConfig) -> Result<Stream, StreamError> {
        let mut call = self.prepare(&config).await?;
        self.configure(&mut call, "CREATE", &config).await
    }

    /// Changes the configuration of a stream into `config`, whole: what that leaves out becomes
    /// the default, and so do fields of a newer server that Midge does not know.
    ///
    /// # Errors
    ///
    /// [`StreamError`]; [`ErrorCode::STREAM_NOT_FOUND`] when it is not there.
    pub async fn update_stream(&self, config: StreamConfig) -> Result<Stream, StreamError> {
        let mut call = self.prepare(&config).await?;
        self.configure(&mut call, "UPDATE", &config).await
    }

    /// [Updates](Self::update_stream) a stream, or [creates](Self::create_stream) it when it is
    /// not there.
    ///
    /// # Errors
    ///
    /// [`StreamError`].
    pub async fn create_or_update_stream(
        &self,
        config: StreamConfig,
    ) -> Result<Stream, StreamError> {
        let mut call = self.prepare(&config).await?;
        let updated = self.configure(&mut call, "UPDATE", &config).await;
        if !matches!(&updated, Err(error) if error.code() == Some(ErrorCode::STREAM_NOT_FOUND)) {
            return updated;
        }
        let created = self.configure(&mut call, "CREATE", &config).await;
        if !matches!(&created, Err(error) if error.code() == Some(ErrorCode::STREAM_NAME_EXIST)) {
            return created;
        }
        // Somebody else created it in between.
        self.configure(&mut call, "UPDATE", &config).await
    }

    /// Checks what can be checked before anything is changed.
    async fn prepare(&self, config: &StreamConfig) -> Result<Call<'_>, StreamError> {
        config.check()?;
        let mut call = self.call();
        call.require(self.need_of(config.need())).await?;
        Ok(call)
    }

    async fn configure(
        &self,
        call: &mut Call<'_>,
        verb: &str,
        config: &StreamConfig,
    ) -> Result<Stream, StreamError> {
        let name = StreamName::new(&config.name)?;
        let request = StreamRequest { config, pedantic: self.context.pedantic };
        let info: StreamInfo = call.ask(&format!("STREAM.{verb}.{name}"), Some(&request)).await?;
        let differences = Differences::between(config, &info.config);
        if !differences.is_empty() {
            return Err(StreamError::Differs { differences, info: Box::new(info) });
        }
        Ok(Stream::new(self.clone(), name, Some(Arc::new(info))))
    }

    /// Deletes a stream with its messages and consumers.
    ///
    /// # Errors
    ///
    /// [`CallError`]; [`ErrorCode::STREAM_NOT_FOUND`] when it is not there.
    pub async fn delete_stream(&self, name: impl AsRef<str>) -> Result<(), CallError> {
        let name = StreamName::new(name.as_ref())?;
        self.call().ask_done(&format!("STREAM.DELETE.{name}"), None::<&()>).await
    }

    /// Every stream, in the order of the names.
    ///
    /// ```no_run
    /// use midge::jetstream::{JetStream, Listed};
    ///
    /// # async fn example(jetstream: JetStream) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut streams = jetstream.streams();
    /// while let Some(stream) = streams.next().await {
    ///     match stream? {
    ///         Listed::Found(info) => println!("{}: {}", info.config.name, info.state.messages),
    ///         other => println!("not in use: {other:?}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn streams(&self) -> List<StreamInfo> {
        List::new(self.clone(), "STREAM.LIST".into(), None)
    }

    /// Every stream that has a subject, which may hold wildcards.
    pub fn streams_of(&self, subject: &str) -> List<StreamInfo> {
        List::new(self.clone(), "STREAM.LIST".into(), Some(subject.into()))
    }

    /// The names of every stream, in their order.
    pub fn stream_names(&self) -> List<String> {
        List::new(self.clone(), "STREAM.NAMES".into(), None)
    }

    /// The names of every stream that has a subject, which may hold wildcards.
    pub fn stream_names_of(&self, subject: &str) -> List<String> {
        List::new(self.clone(), "STREAM.NAMES".into(), Some(subject.into()))
    }

    /// The stream that stores a subject; the first one if several store a part of one with
    /// wildcards. `None`: there is none.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn stream_by_subject(&self, subject: &str) -> Result<Option<Stream>, CallError> {
        let request = ListRequest { offset: 0, subject: Some(subject.into()) };
        request.check()?;
        let (call, subject) = (self.call(), request.subject.clone());
        let (asked, message) = call.request("STREAM.NAMES", Some(&request)).await?;
        let mut page = Pages::<String>::new(subject);
        page.receive(message.payload()).map_err(|error| CallError::reply(&asked, error))?;
        let name = page.pop().and_then(midge_jetstream::Listed::found);
        Ok(name.map(|name| self.stream(name)).transpose()?)
    }

    /// Seals a stream: its configuration as the server has it, with fields that Midge may not
    /// know, and one change.
    pub(super) async fn seal(&self, name: &StreamName) -> Result<StreamInfo, CallError> {
        let call = self.call();
        let info: Value = call.ask(&format!("STREAM.INFO.{name}"), None::<&()>).await?;
        let mut config = info.get("config").cloned().unwrap_or_default();
        if let Some(fields) = config.as_object_mut() {
            fields.insert("sealed".into(), true.into());
        }
        call.ask(&format!("STREAM.UPDATE.{name}"), Some(&config)).await
    }
}
