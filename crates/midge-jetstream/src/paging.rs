//! Lists, page by page.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::{self, ConfigError};
use crate::error::{ReplyError, read_reply};
use crate::wire::{is_default, or_default};

/// A request for a page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRequest {
    /// What comes before is left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub offset: u64,
    /// Of streams: only those that have this subject, which may hold wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

impl ListRequest {
    /// Checks it for what no server would take, and for an empty subject: servers take that for
    /// none, and list everything.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] when its subject is none.
    pub fn check(&self) -> Result<(), ConfigError> {
        check::optional_subject("subject", self.subject.as_deref())
    }
}

/// An entry of a list of streams or consumers.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Listed<T> {
    /// What it is.
    Found(T),
    /// It is there, and out of use: most often it needs a newer server (ADR-44).
    Offline {
        /// Its name.
        name: String,
        /// The server's words for why.
        reason: String,
    },
    /// It is there, and its server did not answer in time.
    Missing {
        /// Its name.
        name: String,
    },
    /// It is there, and this version of Midge does not understand what the server says of it.
    Unreadable {
        /// What was said.
        entry: Value,
        /// What is wrong with it.
        error: String,
    },
}

impl<T> Listed<T> {
    /// What it is, if it is in use.
    pub fn found(self) -> Option<T> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    total: u64,
    #[serde(default, alias = "streams", alias = "consumers", deserialize_with = "or_default")]
    entries: Vec<Value>,
    #[serde(default, deserialize_with = "or_default")]
    missing: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    offline: BTreeMap<String, String>,
}

/// A list, page by page (ADR-1).
#[derive(Clone, Debug)]
pub struct Pages<T> {
    request: ListRequest,
    over: bool,
    entries: VecDeque<Listed<T>>,
}

impl<T: DeserializeOwned> Pages<T> {
    /// A list that was not asked for yet; of streams, those of one subject, or all.
    #[must_use]
    pub fn new(subject: Option<String>) -> Self {
        let request = ListRequest { offset: 0, subject };
        Self { request, over: false, entries: VecDeque::new() }
    }

    /// An entry that has come.
    pub fn pop(&mut self) -> Option<Listed<T>> {
        self.entries.pop_front()
    }

    /// The request for the next page, unless all have come.
    #[must_use]
    pub fn request(&self) -> Option<&ListRequest> {
        (!self.over).then_some(&self.request)
    }

    /// Takes the answer to [`request`](Self::request).
    ///
    /// # Errors
    ///
    /// [`ReplyError`] when it is no page. It may be asked for again.
    pub fn receive(&mut self, reply: &[u8]) -> Result<(), ReplyError> {
        let Page { total, entries, missing, mut offline } = read_reply(reply)?;
        let before = self.entries.len();
        for entry in entries {
            self.entries.push_back(match T::deserialize(&entry) {
                Ok(found) => Listed::Found(found),
                Err(error) => Listed::Unreadable { error: error.to_string(), entry },
            });
        }
        // Those that are offline are among those that are missing.
        for name in missing {
            self.entries.push_back(match offline.remove(&name) {
                Some(reason) => Listed::Offline { name, reason },
                None => Listed::Missing { name },
            });
        }
        let rest = offline.into_iter().map(|(name, reason)| Listed::Offline { name, reason });
        self.entries.extend(rest);
        let came = (self.entries.len() - before) as u64;
        self.request.offset = self.request.offset.saturating_add(came);
        self.over = came == 0 || self.request.offset >= total;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pages: &mut Pages<String>) -> Vec<Listed<String>> {
        core::iter::from_fn(|| pages.pop()).collect()
    }

    #[test]
    fn pages_are_asked_for_until_all_have_come() {
        let mut pages = Pages::<String>::new(Some("a.>".into()));
        assert_eq!(
            serde_json::to_string(pages.request().unwrap()).unwrap(),
            r#"{"subject":"a.>"}"#
        );
        pages.receive(br#"{"total":3,"offset":0,"limit":2,"streams":["a","b"]}"#).unwrap();
        assert_eq!(names(&mut pages), [Listed::Found("a".into()), Listed::Found("b".into())]);
        assert_eq!(pages.request().unwrap().offset, 2);
        pages.receive(br#"{"total":3,"offset":2,"limit":2,"streams":["c"]}"#).unwrap();
        assert_eq!(names(&mut pages), [Listed::Found("c".into())]);
        assert_eq!(pages.request(), None);
    }

    #[test]
    fn a_list_that_becomes_shorter_ends() {
        let mut pages = Pages::<String>::new(None);
        pages.receive(br#"{"total":5000,"consumers":["a"]}"#).unwrap();
        pages.receive(br#"{"total":5000,"consumers":null}"#).unwrap();
        assert_eq!(pages.request(), None);
    }

    #[test]
    fn what_is_out_of_use_is_listed_and_counts() {
        let mut pages = Pages::<String>::new(None);
        let page = br#"{"total":4,"streams":["a"],"missing":["b","c"],"offline":{"b":"unsupported - required API level: 9, current API level: 5"}}"#;
        pages.receive(page).unwrap();
        let Listed::Found(a) = pages.pop().unwrap() else { panic!("a is found") };
        assert_eq!(a, "a");
        let Listed::Offline { name, reason } = pages.pop().unwrap() else { panic!("b is offline") };
        assert_eq!(name, "b");
        assert!(reason.contains("level: 9"));
        assert_eq!(pages.pop(), Some(Listed::Missing { name: "c".into() }));
        assert_eq!(pages.request().unwrap().offset, 3);
    }

    #[test]
    fn an_entry_that_cannot_be_read_spoils_no_other() {
        let mut pages = Pages::<crate::StreamInfo>::new(None);
        let page = br#"{"total":2,"streams":[{"config":7},{"config":{"name":"a"},"state":{"messages":0,"bytes":0,"first_seq":0,"last_seq":0}}]}"#;
        pages.receive(page).unwrap();
        assert!(matches!(pages.pop(), Some(Listed::Unreadable { .. })));
        assert_eq!(pages.pop().unwrap().found().unwrap().config.name, "a");
    }

    #[test]
    fn a_refusal_can_be_asked_for_again() {
        let mut pages = Pages::<String>::new(None);
        let refusal = br#"{"error":{"code":503,"err_code":10008}}"#;
        assert!(matches!(pages.receive(refusal), Err(ReplyError::Api(_))));
        assert!(pages.request().is_some());
    }
}
