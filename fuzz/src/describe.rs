//! Events as lines of a transcript: everything that a caller can see of them.

use std::fmt::Write;

use midge_proto::{Event, Message};

pub(super) fn describe(event: &Event) -> String {
    match event {
        Event::Message(sid, message) => format!("message {sid:?} {}", contents(message)),
        Event::Response(id, Ok(message)) => format!("response {id:?} {}", contents(message)),
        other => format!("{other:?}"),
    }
}

fn contents(message: &Message) -> String {
    let mut line = message.subject_bytes().escape_ascii().to_string();
    if let Some(reply) = message.reply_bytes() {
        let _ = write!(line, " reply {}", reply.escape_ascii());
    }
    if let Some(headers) = message.headers() {
        let _ = write!(line, " headers {}", headers.as_bytes().escape_ascii());
    }
    let _ = write!(line, " payload {}", message.payload().escape_ascii());
    line
}
